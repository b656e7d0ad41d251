"""From what the referees said to the rows of a table.

The keys that each docstring names are the columns of the published row (:class:`.figure.Row`). Every interval is a 95 %
bootstrap by *person*, of ``resamples`` resamples. A figure that cannot be given honestly is None, and the row's
``refused`` says why; it is empty otherwise.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.pairs import Pair
from ...datasets.table import Table
from ...errors import MetricError
from ..referees import Matcher, RaceReferee
from .bootstrap import auc_of, balanced_of, mean_of, root_mean_square_of
from .figure import Figure, Published, Row, fnir, fpir, give, mean, tmr, with_interval
from .groups import group_rows, pictures_of
from .identification import Found, Searches, cmc
from .matching import Comparisons, match_curve, match_figure, or_why
from .metrics import auc, balanced_accuracy, cumulative_score, eer, error_rate, mae, rmse, roc, threshold_at_fpir
from .protocol import BEFORE, LOOKS, Measured

__all__ = [
    "Published",
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


def gender_rows(measured: Mapping[str, Measured], *, resamples: int = 500) -> list[Row]:
    """Gender error, balanced accuracy, AUC and EER of every variant by every referee.

    Only labelled pictures that were attempted and enrolled count; ``lost`` says how many of those enrolled before were
    not found again. Keys: variant, referee, n, lost, error, error_low, error_high, balanced_accuracy, balanced_low,
    balanced_high, auc, auc_low, auc_high, eer, refused.
    """
    rows = []
    for name, m in measured.items():
        for referee, values in m.answers("p_male").items():
            about, used = _about(name, referee, m, measured[BEFORE], m.gender >= 0)
            y, p, persons = m.gender[used], values[used], m.persons[used]
            wrong = (p >= 0.5) != (y == 1)
            figures = [
                with_interval(give(about, measure, metric, y, p), weighted, persons, resamples)
                for measure, metric, weighted in (
                    ("error", error_rate, mean_of(wrong)),
                    ("balanced_accuracy", balanced_accuracy, balanced_of(~wrong, y)),
                    ("auc", auc, auc_of(y, p)),
                )
            ]
            rows.append(Row(_facts(about), figures, [give(about, "eer", eer, y, p)]))
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
        for referee, values in m.answers("age").items():
            about, used = _about(name, referee, m, measured[BEFORE], known)
            estimated, persons = values[used].astype(np.float64), m.persons[used]
            true = np.clip(estimated, low[used], high[used])  # the nearest age that the label allows
            off = np.abs(estimated - true)
            figures = [
                with_interval(give(about, measure, metric, true, estimated), weighted, persons, resamples)
                for measure, metric, weighted in (
                    ("mae", mae, mean_of(off)),
                    ("rmse", rmse, root_mean_square_of(off)),
                    ("cs5", cumulative_score, mean_of(off <= 5)),
                )
            ]
            rows.append(Row({**_facts(about), "truth": truth}, figures))
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
        for referee, values in m.answers("p_race").items():
            judge = races[referee]
            group = np.array([judge.group(p.race) for p in pictures], np.int64)
            if judge.trained_on == table.name or not (group >= 0).any():
                continue
            about, used = _about(name, referee, m, measured[BEFORE], group >= 0)
            y, p = group[used], values[used]
            balanced = give(about, "balanced_accuracy", several_balanced_accuracy, y, p)
            balanced = with_interval(balanced, balanced_of(p.argmax(1) == y, y), m.persons[used], resamples)
            facts = {**_facts(about), "groups": [judge.groups[i] for i in np.unique(y)]}
            rows.append(Row(facts, [balanced], [give(about, "auc", several_auc, y, p)]))
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
    fpirs: Sequence[float] = (0.1, 0.01),
    resamples: int = 500,
) -> list[Row]:
    """Verification and identification of every variant by every matcher.

    Originals stand in the gallery, and thresholds are fixed on originals. With ``pairs`` (LFW's), picture a stays as it
    is and picture b is protected; only pictures that were attempted count. Without, every two pictures of a person are
    a genuine pair and every two of different people an impostor pair. A protected face that was lost is a pair that
    does not match.

    Keys: variant, matcher, genuine and impostors (how many pairs; the impostors are the originals', which fix the
    thresholds), people (of the probes), tmr@FMR with tmr@FMR_low and _high (people of the probes drawn, thresholds
    held), auc and eer (of the variant's own genuine and impostor pairs), match_probability (mean over the genuine
    pairs, a lost face 0); of :mod:`.identification` gallery (how many people), mated and nonmated (how many searches),
    rank1, fnir@FPIR and fpir@FPIR, each with _low and _high; refused.
    """
    compared, searches = Comparisons(measured[BEFORE], pairs), Searches(measured[BEFORE], pairs)
    # of the originals alone, so once for all variants: every two pictures are over a million pairs
    fixed = {name: compared.thresholds(matcher, name, fmrs) for name, matcher in matchers.items()}
    cuts: dict[str, list[float | MetricError]] = {}
    for name, matcher in matchers.items():
        best = searches.search(measured[BEFORE], matcher, name).best
        cuts[name] = [or_why(threshold_at_fpir, best, share) for share in fpirs]
    rows = []
    for name, m in measured.items():
        persons = compared.persons[compared.probes(m)]
        for matcher_name, matcher in matchers.items():
            thresholds, impostors = fixed[matcher_name]
            genuine = compared.genuine(m, matcher, matcher_name)
            facts = {"variant": name, "matcher": matcher_name, "genuine": len(genuine), "impostors": impostors}
            found = searches.search(m, matcher, matcher_name)
            facts["people"] = len(np.unique(persons))
            facts |= {"gallery": len(searches.gallery), "mated": len(found.mated), "nonmated": len(found.nonmated)}
            about = Figure(variant=name, by=matcher_name, n=len(genuine))
            rates = [
                match_figure(about, tmr(fmr), genuine, threshold, persons, resamples)
                for fmr, threshold in zip(fmrs, thresholds, strict=True)
            ]
            rest = [give(about, "match_probability", mean, compared.match_probabilities(m, matcher_name))]
            try:
                curve = match_curve(genuine, compared.impostors(m, matcher, matcher_name))
                areas = [replace(about, measure=k, value=v) for k, v in (("auc", curve.auc), ("eer", curve.eer))]
            except MetricError as error:
                areas = [replace(about, measure=k, why=str(error)) for k in ("auc", "eer")]
            at = dict(zip(fpirs, cuts[matcher_name], strict=True))
            named = _identified(replace(about, n=None), found, compared.persons, at, resamples)
            rows.append(Row(facts, rates + named, areas + rest))
    return rows


def _identified(
    about: Figure,
    found: Found,
    persons: NDArray[np.str_],
    cuts: Mapping[float, float | MetricError],
    resamples: int,
) -> list[Figure]:
    """The figures of identification: rank 1, and at the threshold of each FPIR both kinds of error."""
    first = (found.ranks == 1).astype(np.float64)
    who, others = persons[found.mated], persons[found.nonmated]
    rank1 = give(about, "rank1", lambda ranks: float(cmc(ranks, 1)[0]), found.ranks)
    figures = [with_interval(rank1, mean_of(first), who, resamples)]
    for share, cut in cuts.items():
        missed = match_figure(about, fnir(share), found.own, cut, who, resamples, below=True)
        figures += [missed, match_figure(about, fpir(share), found.best, cut, others, resamples)]
    return figures


def looks_rows(measured: Mapping[str, Measured], *, resamples: int = 500) -> list[Row]:
    """How the aligned crop changed, by each measure the protocol took, mean over the enrolled pictures.

    Keys: variant, n, lost, ssim, mssim, psnr (dB, at most 99), l2, linf, each with _low and _high, refused.
    """
    rows = []
    for name, m in measured.items():
        if name == BEFORE:
            continue
        about, used = _about(name, "", m, measured[BEFORE], np.ones(len(m), bool))
        figures = [
            with_interval(give(about, k, mean, values), mean_of(values), m.persons[used], resamples)
            for k in LOOKS
            if k in m.columns
            for values in [m.columns[k][used]]
        ]
        rows.append(Row({"variant": name, "n": about.n, "lost": about.lost}, figures))
    return rows


def roc_curves(
    measured: Mapping[str, Measured],
    matchers: Mapping[str, Matcher],
    pairs: Sequence[Pair] | None = None,
    *,
    most: int = 400,
    digits: int = 17,
) -> Curves:
    """The ROC of gender by every referee and of matching by every matcher, of every variant, at most ``most`` points.

    ``{"gender": {referee: {variant: {"x": [...], "y": [...]}}}, "match": {matcher: ...}, "cmc": {matcher: ...}}``: x is
    the share of women taken for men and y that of men taken for men; or x is the FMR and y the TMR; or x is a rank from
    1 and y the share of mated searches of that rank at most. Points of a ROC are close where the curve bends and, on a
    logarithmic axis, at low FMR; numbers have so many ``digits``. A curve that cannot be given (one class only, or one
    person in the gallery) is absent.
    """
    curves: Curves = {"gender": {}, "match": {}, "cmc": {}}
    compared, searches = Comparisons(measured[BEFORE], pairs), Searches(measured[BEFORE], pairs)
    for name, m in measured.items():
        used = (m.gender >= 0) & m.attempted & m.enrolled
        for referee, values in m.answers("p_male").items():
            try:
                curve = roc(m.gender[used], values[used])
            except MetricError:
                continue
            curves["gender"].setdefault(referee, {})[name] = _thin(curve.fpr, curve.tpr, most, digits)
        for matcher_name, matcher in matchers.items():
            genuine = compared.genuine(m, matcher, matcher_name)
            try:
                exact = match_curve(genuine, compared.impostors(m, matcher, matcher_name))
            except MetricError:
                continue
            curves["match"].setdefault(matcher_name, {})[name] = _thin(exact.fmr, exact.tmr, most, digits)
            found = searches.search(m, matcher, matcher_name)
            if len(found.ranks) and len(searches.gallery) > 1:
                shares = cmc(found.ranks, len(searches.gallery))
                at = np.unique(np.geomspace(1, len(shares), most).astype(int))
                steps = {"x": at.astype(float).tolist(), "y": _digits(shares[at - 1], digits)}
                curves["cmc"].setdefault(matcher_name, {})[name] = steps
    return curves


def _thin(x: NDArray[np.float64], y: NDArray[np.float64], most: int, digits: int) -> dict[str, list[float]]:
    """At most ``most`` corners of a curve from (0, 0) to (1, 1): first, last, and the last of x = 0 among them."""
    least = np.log10(x[x > 0][0])
    # even steps along the curve, measured on a linear and on a logarithmic x axis at once
    lengths = np.diff(x) + np.diff(y) + np.diff(1 - np.log10(np.maximum(x, 10.0**least)) / min(least, -1e-9))
    along = np.concatenate([[0.0], np.cumsum(lengths)])
    chosen = np.searchsorted(along, np.linspace(0, along[-1], most - 1))
    none = np.flatnonzero(x == 0)[-1]  # what matches without a false match, where a logarithmic axis begins
    chosen = np.unique(np.concatenate([[0, none], np.minimum(chosen, len(x) - 1)[1:-1], [len(x) - 1]]))
    return {"x": _digits(x[chosen], digits), "y": _digits(y[chosen], digits)}


def _digits(values: NDArray[np.float64], digits: int) -> list[float]:
    return [float(f"{v:.{digits}g}") for v in values.tolist()]


def _about(
    variant: str, referee: str, m: Measured, before: Measured, labelled: NDArray[np.bool_]
) -> tuple[Figure, NDArray[np.bool_]]:
    """What all figures of a row share, and the pictures that count: labelled, attempted, enrolled before and now."""
    asked = labelled & m.attempted & before.enrolled
    used = asked & m.enrolled
    return Figure(variant=variant, by=referee, n=int(used.sum()), lost=int((asked & ~m.enrolled).sum())), used


def _facts(about: Figure) -> Published:
    return {"variant": about.variant, "referee": about.by, "n": about.n, "lost": about.lost}
