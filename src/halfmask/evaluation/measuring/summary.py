"""From what the referees said to the rows of a table.

A row is a plain dict. Every interval is a 95 % bootstrap by *person*, of ``resamples`` resamples. A figure that cannot
be given honestly is None, and the row's ``refused`` says why; it is empty otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.pairs import Pair
from ...datasets.table import Table
from ...errors import MetricError
from ..referees import Matcher, RaceReferee
from .figure import Row, auc_of, balanced_of, mean_of, put, put_interval, put_match_rate, refuse, root_mean_square_of
from .groups import group_rows, pictures_of
from .matching import Comparisons, match_curve
from .metrics import auc, balanced_accuracy, cumulative_score, eer, error_rate, mae, rmse, roc
from .protocol import BEFORE, Measured

__all__ = [
    "Row",
    "age_rows",
    "gender_rows",
    "group_rows",
    "looks_rows",
    "match_rows",
    "race_rows",
    "roc_curves",
]

Labels = NDArray[np.int64]
Curves = dict[str, dict[str, dict[str, dict[str, list[float]]]]]

_LOOKS = ("ssim", "mssim", "psnr", "l2", "linf")


def gender_rows(measured: Mapping[str, Measured], *, resamples: int = 500) -> list[Row]:
    """Gender error, balanced accuracy, AUC and EER of every variant by every referee.

    Only labelled pictures that were attempted and enrolled count; ``lost`` says how many of those enrolled before were
    not found again. Keys: variant, referee, n, lost, error, error_low, error_high, balanced_accuracy, balanced_low,
    balanced_high, auc, auc_low, auc_high, eer, refused.
    """
    rows = []
    for name, m in measured.items():
        for referee, values in _said(m, "p_male"):
            row, used = _row(name, referee, m, measured[BEFORE], m.gender >= 0)
            y, p, persons = m.gender[used], values[used], m.persons[used]
            wrong = (p >= 0.5) != (y == 1)
            put(row, "error", error_rate, y, p)
            put_interval(row, "error", mean_of(wrong), persons, resamples)
            put(row, "balanced_accuracy", balanced_accuracy, y, p)
            put_interval(row, "balanced_accuracy", balanced_of(~wrong, y), persons, resamples, stem="balanced")
            put(row, "auc", auc, y, p)
            put_interval(row, "auc", auc_of(y, p), persons, resamples)
            put(row, "eer", eer, y, p)
            rows.append(row)
    return rows


def age_rows(measured: Mapping[str, Measured], table: Table, *, resamples: int = 500) -> list[Row]:
    """Age error in years of every variant by every referee: MAE, RMSE and CS(5), each with an interval.

    Where the data set gives only a range (FairFace), the error is the distance to it, 0 within; ``truth`` says "age",
    "age range" or "age or age range". Keys: variant, referee, n, lost, truth, mae, rmse, cs5, each with _low and _high,
    refused. No rows when no picture has an age. Raises :class:`~halfmask.errors.DataError` for another table.
    """
    pictures = pictures_of(measured[BEFORE], table)
    exact = np.array([p.age is not None for p in pictures], bool)
    known = exact | np.array([p.age_range is not None for p in pictures], bool)
    spans = [(p.age, p.age) if p.age is not None else p.age_range or (np.nan, np.nan) for p in pictures]
    low, high = np.array(spans, np.float64).reshape(-1, 2).T
    truth = " or ".join(["age"] * bool((known & exact).any()) + ["age range"] * bool((known & ~exact).any()))
    rows = []
    for name, m in measured.items() if known.any() else ():
        for referee, values in _said(m, "age"):
            row, used = _row(name, referee, m, measured[BEFORE], known)
            said, persons = values[used].astype(np.float64), m.persons[used]
            true = np.clip(said, low[used], high[used])  # the nearest age that the label allows
            off = np.abs(said - true)
            row["truth"] = truth
            put(row, "mae", mae, true, said)
            put_interval(row, "mae", mean_of(off), persons, resamples)
            put(row, "rmse", rmse, true, said)
            put_interval(row, "rmse", root_mean_square_of(off), persons, resamples)
            put(row, "cs5", cumulative_score, true, said)
            put_interval(row, "cs5", mean_of(off <= 5), persons, resamples)
            rows.append(row)
    return rows


def race_rows(
    measured: Mapping[str, Measured], table: Table, races: Mapping[str, RaceReferee], *, resamples: int = 500
) -> list[Row]:
    """Balanced accuracy and AUC of race, of every variant by every referee that is fit to judge.

    A referee that was trained on the data set of this table is left out. Both figures are means over the ``groups``
    that occur among the labels, the AUC of each against the rest; an answer may be any of the referee's groups. Keys:
    variant, referee, n, lost, groups, balanced_accuracy, balanced_low, balanced_high, auc, refused. No rows when no
    picture has a race that the referee knows. Raises :class:`~halfmask.errors.DataError` for another table.
    """
    pictures = pictures_of(measured[BEFORE], table)
    rows = []
    for name, m in measured.items():
        for referee, values in _said(m, "p_race"):
            judge = races[referee]
            group = np.array([judge.group(p.race) for p in pictures], np.int64)
            if judge.trained_on == table.name or not (group >= 0).any():
                continue
            row, used = _row(name, referee, m, measured[BEFORE], group >= 0)
            y, p, persons = group[used], values[used], m.persons[used]
            row["groups"] = [judge.groups[i] for i in np.unique(y)]
            put(row, "balanced_accuracy", several_balanced_accuracy, y, p)
            share = balanced_of(p.argmax(1) == y, y)
            put_interval(row, "balanced_accuracy", share, persons, resamples, stem="balanced")
            put(row, "auc", several_auc, y, p)
            rows.append(row)
    return rows


def several_balanced_accuracy(labels: Labels, p: NDArray[np.floating[Any]]) -> float:
    """Mean over the classes that occur in ``labels`` (N,) of the share whose largest ``p`` (N, K) is their own.

    >>> several_balanced_accuracy(np.array([0, 0, 2]), np.array([[.5, .4, .1], [.1, .8, .1], [.2, .2, .6]]))
    0.75
    """
    _several(labels)
    return balanced_of(p.argmax(1) == labels, labels)(np.ones(len(labels)))


def several_auc(labels: Labels, p: NDArray[np.floating[Any]]) -> float:
    """Mean over the classes that occur in ``labels`` (N,) of the AUC of their column of ``p`` (N, K) against the rest.

    >>> several_auc(np.array([0, 0, 2]), np.array([[.5, .4, .1], [.1, .8, .1], [.2, .2, .6]]))
    0.75
    """
    return float(np.mean([auc(labels == c, p[:, c]) for c in _several(labels)]))


def _several(labels: Labels) -> Labels:
    classes = np.unique(labels)
    if len(classes) < 2:
        raise MetricError(f"{len(labels)} labels of {len(classes)} classes; this figure needs faces of at least two")
    return classes


def match_rows(
    measured: Mapping[str, Measured],
    matchers: Mapping[str, Matcher],
    pairs: Sequence[Pair] | None = None,
    fmrs: Sequence[float] = (0.01, 0.001, 0.0001),
    *,
    resamples: int = 500,
) -> list[Row]:
    """TMR of every variant by every matcher, originals in the gallery, thresholds fixed on the originals.

    With ``pairs`` (LFW's), picture a stays as it is and picture b is protected; only pictures that were attempted
    count. Without, every two pictures of a person are a genuine pair and every two of different people an impostor
    pair. A protected face that was lost is a pair that does not match.

    Keys: variant, matcher, genuine and impostors (how many pairs; the impostors are the originals', which fix the
    thresholds), people (of the probes), tmr@FMR with tmr@FMR_low and _high (people of the probes drawn, thresholds
    held), auc and eer (of the variant's own genuine and impostor pairs), match_probability (mean over the genuine
    pairs, a lost face 0), refused.
    """
    compared = Comparisons(measured[BEFORE], pairs)
    # of the originals alone, so once for all variants: every two pictures are over a million pairs
    fixed = {name: compared.thresholds(matcher, name, fmrs) for name, matcher in matchers.items()}
    rows = []
    for name, m in measured.items():
        persons = compared.persons[compared.probes(m)]
        for matcher_name, matcher in matchers.items():
            thresholds, impostors = fixed[matcher_name]
            genuine = compared.genuine(m, matcher, matcher_name)
            row: Row = {"variant": name, "matcher": matcher_name, "genuine": len(genuine), "impostors": impostors}
            row |= {"people": len(np.unique(persons)), "refused": ""}
            for fmr, threshold in zip(fmrs, thresholds, strict=True):
                put_match_rate(row, f"tmr@{fmr:g}", genuine, threshold, persons, resamples)
            try:
                curve = match_curve(genuine, compared.impostors(m, matcher, matcher_name))
                row |= {"auc": curve.auc, "eer": curve.eer}
            except MetricError as error:
                row |= {"auc": None, "eer": None}
                refuse(row, str(error))
            put(row, "match_probability", _mean, compared.match_probabilities(m, matcher_name))
            rows.append(row)
    return rows


def looks_rows(measured: Mapping[str, Measured], *, resamples: int = 500) -> list[Row]:
    """How the aligned crop changed, by each measure the protocol took, mean over the enrolled pictures.

    Keys: variant, n, lost, ssim, mssim, psnr (dB, at most 99), l2, linf, each with _low and _high, refused.
    """
    rows = []
    for name, m in measured.items():
        if name == BEFORE:
            continue
        row, used = _row(name, "", m, measured[BEFORE], np.ones(len(m), bool))
        del row["referee"]
        for measure in _LOOKS:
            if measure in m.columns:
                values = m.columns[measure][used]
                put(row, measure, _mean, values)
                put_interval(row, measure, mean_of(values), m.persons[used], resamples)
        rows.append(row)
    return rows


def roc_curves(
    measured: Mapping[str, Measured],
    matchers: Mapping[str, Matcher],
    pairs: Sequence[Pair] | None = None,
    *,
    most: int = 400,
) -> Curves:
    """The ROC of gender by every referee and of matching by every matcher, of every variant, at most ``most`` points.

    ``{"gender": {referee: {variant: {"x": [...], "y": [...]}}}, "match": {matcher: ...}}``: x is the share of women
    taken for men and y that of men taken for men; or x is the FMR and y the TMR. Points are close where the curve bends
    and, on a logarithmic axis, at low FMR. A curve that cannot be given (one class only) is absent.
    """
    found: Curves = {"gender": {}, "match": {}}
    compared = Comparisons(measured[BEFORE], pairs)
    for name, m in measured.items():
        used = (m.gender >= 0) & m.attempted & m.enrolled
        for referee, values in _said(m, "p_male"):
            try:
                curve = roc(m.gender[used], values[used])
            except MetricError:
                continue
            found["gender"].setdefault(referee, {})[name] = _thin(curve.fpr, curve.tpr, most)
        for matcher_name, matcher in matchers.items():
            genuine = compared.genuine(m, matcher, matcher_name)
            try:
                exact = match_curve(genuine, compared.impostors(m, matcher, matcher_name))
            except MetricError:
                continue
            found["match"].setdefault(matcher_name, {})[name] = _thin(exact.fmr, exact.tmr, most)
    return found


def _thin(x: NDArray[np.float64], y: NDArray[np.float64], most: int) -> dict[str, list[float]]:
    """At most ``most`` corners of a curve from (0, 0) to (1, 1), the first and the last among them."""
    least = np.log10(x[x > 0][0])
    # even steps along the curve, measured on a linear and on a logarithmic x axis at once
    lengths = np.diff(x) + np.diff(y) + np.diff(1 - np.log10(np.maximum(x, 10.0**least)) / min(least, -1e-9))
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    chosen = np.searchsorted(along, np.linspace(0, along[-1], most))
    chosen = np.unique(np.concatenate([[0], np.minimum(chosen, len(x) - 1)[1:-1], [len(x) - 1]]))
    return {"x": x[chosen].tolist(), "y": y[chosen].tolist()}


def _said(m: Measured, kind: str) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Each referee's name and column of a kind."""
    for column, values in m.columns.items():
        if column.partition("/")[0] == kind:
            yield column.partition("/")[2], values


def _row(
    variant: str, referee: str, m: Measured, before: Measured, labelled: NDArray[np.bool_]
) -> tuple[Row, NDArray[np.bool_]]:
    """A fresh row, and the pictures that count in it: labelled, attempted and enrolled, before and now."""
    asked = labelled & m.attempted & before.enrolled
    used = asked & m.enrolled
    row = {"variant": variant, "referee": referee, "n": int(used.sum()), "lost": int((asked & ~m.enrolled).sum())}
    return row | {"refused": ""}, used


def _mean(values: NDArray[np.floating[Any]]) -> float:
    if not len(values):
        raise MetricError("there is nothing to take the mean of: no picture is left")
    return float(np.mean(values))
