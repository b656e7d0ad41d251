"""From what the referees said to the rows of a table, and to Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.pairs import Pair
from ..errors import DataError
from .bootstrap import bootstrap
from .metrics import auc, eer, error_rate, match_rate, threshold_at_fmr
from .pairs import all_pairs
from .protocol import BEFORE, Measured
from .referees import Matcher

Row = dict[str, Any]


def gender_rows(measured: Mapping[str, Measured], *, resamples: int = 500) -> list[Row]:
    """Gender error, AUC and EER of every variant by every referee, with a 95 % interval of the error by person.

    Only labelled pictures that were attempted and enrolled count; ``lost`` says how many of those enrolled before were
    not found again.
    """
    rows = []
    for name, m in measured.items():
        labelled = (m.gender >= 0) & m.attempted & measured[BEFORE].enrolled
        used = labelled & m.enrolled
        persons = np.array([i or k for i, k in zip(m.identity, m.keys, strict=True)])[used]
        for column, values in m.columns.items():
            kind, _, referee = column.partition("/")
            if kind != "p_male":
                continue
            y, p = m.gender[used], values[used]
            span = bootstrap(error_rate, y, p, persons=persons, n=resamples)
            rows.append(
                {
                    "variant": name,
                    "referee": referee,
                    "n": int(used.sum()),
                    "lost": int((labelled & ~m.enrolled).sum()),
                    "error": span.value,
                    "error_low": span.low,
                    "error_high": span.high,
                    "auc": auc(y, p),
                    "eer": eer(y, p),
                }
            )
    return rows


def match_rows(
    measured: Mapping[str, Measured],
    matchers: Mapping[str, Matcher],
    pairs: Sequence[Pair] | None = None,
    fmrs: Sequence[float] = (0.01, 0.001),
) -> list[Row]:
    """TMR of every variant by every matcher, originals in the gallery, thresholds fixed on the originals.

    With ``pairs`` (LFW's), picture a stays as it is and picture b is protected; only pictures that were attempted
    count. Without, every two pictures of a person are a genuine pair and every two of different people an impostor
    pair. A protected face that was lost is a pair that does not match.
    """
    before = measured[BEFORE]
    given = None if pairs is None else _places(before, pairs)
    gallery = {name: before.columns[f"embed/{name}"] for name in matchers}
    # of the originals alone, so once for all variants: every two pictures are over a million pairs
    fixed = {name: _thresholds(before, gallery[name], matcher, fmrs, given) for name, matcher in matchers.items()}
    rows = []
    for name, m in measured.items():
        for matcher_name, matcher in matchers.items():
            changed = m.columns[f"embed/{matcher_name}"]
            thresholds, impostors = fixed[matcher_name]
            genuine = _genuine(before, m, gallery[matcher_name], changed, matcher, given)
            row: Row = {"variant": name, "matcher": matcher_name, "genuine": len(genuine), "impostors": impostors}
            row |= {f"tmr@{fmr:g}": match_rate(genuine, t) for fmr, t in zip(fmrs, thresholds, strict=True)}
            rows.append(row)
    return rows


#: Rows of pictures a and b of each pair, and whether they show the same person.
_Given = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]


def _places(before: Measured, pairs: Sequence[Pair]) -> _Given:
    place = {k: i for i, k in enumerate(before.keys)}
    absent = sorted({k for p in pairs for k in (p.a, p.b) if k not in place})
    if absent:
        raise DataError(f"{len(absent)} pictures of the pairs were not measured, first: {absent[0]}")
    a, b = (np.array([place[getattr(p, side)] for p in pairs]) for side in ("a", "b"))
    same = np.array([p.same for p in pairs])
    usable = before.enrolled[a] & before.enrolled[b]  # without a face before, there is nothing to protect
    return a[usable], b[usable], same[usable]


def _persons(before: Measured) -> tuple[NDArray[np.bool_], list[str]]:
    """Which pictures show a known person's face before, and who it is."""
    usable = np.array([i is not None for i in before.identity]) & before.enrolled
    return usable, [p for p, u in zip(before.identity, usable, strict=True) if u and p is not None]


def _thresholds(
    before: Measured, original: NDArray[np.float32], matcher: Matcher, fmrs: Sequence[float], given: _Given | None
) -> tuple[list[float], int]:
    """The thresholds that the originals' impostor pairs fix, and how many pairs these are."""
    if given is not None:
        a, b, same = given
        impostors = matcher.score(original[a[~same]], original[b[~same]])
        return [threshold_at_fmr(impostors, fmr) for fmr in fmrs], len(impostors)
    usable, persons = _persons(before)
    base = all_pairs(original[usable], persons, matcher.score_matrix, fmr=max(fmrs))
    return [base.threshold(fmr) for fmr in fmrs], base.impostors


def _genuine(
    before: Measured,
    m: Measured,
    original: NDArray[np.float32],
    changed: NDArray[np.float32],
    matcher: Matcher,
    given: _Given | None,
) -> NDArray[Any]:
    """Scores of the genuine pairs, original against changed, -inf where the changed face was lost."""
    if given is not None:
        a, b, same = given
        a, b = a[same & m.attempted[b]], b[same & m.attempted[b]]
        shown = m.enrolled[b]
        genuine = np.full(len(b), -np.inf)
        genuine[shown] = matcher.score(original[a[shown]], changed[b[shown]])
        return genuine
    usable, persons = _persons(before)
    gallery, probes = original[usable], changed[usable]
    shown, attempted = m.enrolled[usable], m.attempted[usable]
    who = np.unique(np.array(persons), return_inverse=True)[1]
    scores = []
    for i in range(len(who)):  # a person has few pictures, so row by row costs nothing
        mates = np.flatnonzero((who == who[i]) & (np.arange(len(who)) != i))
        if not len(mates) or not attempted[i]:
            continue
        if shown[i]:
            scores.append(matcher.score_matrix(probes[i : i + 1], gallery[mates])[0])
        else:
            scores.append(np.full(len(mates), -np.inf))
    return np.concatenate(scores)


def looks_rows(measured: Mapping[str, Measured]) -> list[Row]:
    """Mean SSIM and PSNR of the aligned luma crop, before against after, over the enrolled pictures."""
    return [
        {"variant": name, "ssim": float(np.nanmean(m.columns["ssim"])), "psnr": float(np.nanmean(m.columns["psnr"]))}
        for name, m in measured.items()
        if name != BEFORE
    ]


def markdown(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A Markdown table; ``columns`` maps a key of the rows to ``heading`` or ``heading|format``.

    >>> print(markdown([{"a": 0.125, "b": "x"}], {"b": "name", "a": "share|.1%"}))
    | name | share |
    |---|---|
    | x | 12.5% |
    """
    heads = [h.partition("|")[0] for h in columns.values()]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [format(row[key], spec.partition("|")[2]) for key, spec in columns.items()]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
