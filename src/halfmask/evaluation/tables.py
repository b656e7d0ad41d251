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
    rows = []
    for name, m in measured.items():
        for matcher_name, matcher in matchers.items():
            original = before.columns[f"embed/{matcher_name}"]
            changed = m.columns[f"embed/{matcher_name}"]
            if pairs is None:
                genuine, thresholds, counts = _all(before, m, original, changed, matcher, fmrs)
            else:
                genuine, thresholds, counts = _given(before, m, original, changed, matcher, fmrs, pairs)
            row: Row = {"variant": name, "matcher": matcher_name, "genuine": counts[0], "impostors": counts[1]}
            row |= {f"tmr@{fmr:g}": match_rate(genuine, t) for fmr, t in zip(fmrs, thresholds, strict=True)}
            rows.append(row)
    return rows


def _given(
    before: Measured,
    m: Measured,
    original: NDArray[np.float32],
    changed: NDArray[np.float32],
    matcher: Matcher,
    fmrs: Sequence[float],
    pairs: Sequence[Pair],
) -> tuple[NDArray[Any], list[float], tuple[int, int]]:
    place = {k: i for i, k in enumerate(before.keys)}
    absent = sorted({k for p in pairs for k in (p.a, p.b) if k not in place})
    if absent:
        raise DataError(f"{len(absent)} pictures of the pairs were not measured, first: {absent[0]}")
    a, b = (np.array([place[getattr(p, side)] for p in pairs]) for side in ("a", "b"))
    same = np.array([p.same for p in pairs])
    usable = before.enrolled[a] & before.enrolled[b]  # without a face before, there is nothing to protect
    a, b, same = a[usable], b[usable], same[usable]
    impostors = matcher.score(original[a[~same]], original[b[~same]])
    thresholds = [threshold_at_fmr(impostors, fmr) for fmr in fmrs]
    a, b = a[same & m.attempted[b]], b[same & m.attempted[b]]
    shown = m.enrolled[b]
    genuine = np.full(len(b), -np.inf)
    genuine[shown] = matcher.score(original[a[shown]], changed[b[shown]])
    return genuine, thresholds, (len(genuine), len(impostors))


def _all(
    before: Measured,
    m: Measured,
    original: NDArray[np.float32],
    changed: NDArray[np.float32],
    matcher: Matcher,
    fmrs: Sequence[float],
) -> tuple[NDArray[Any], list[float], tuple[int, int]]:
    usable = np.array([i is not None for i in before.identity]) & before.enrolled
    persons = [p for p, u in zip(before.identity, usable, strict=True) if u and p is not None]
    base = all_pairs(original[usable], persons, matcher.score_matrix, fmr=max(fmrs))
    thresholds = [base.threshold(fmr) for fmr in fmrs]
    shown, attempted = m.enrolled[usable], m.attempted[usable]
    probes = np.where(shown[:, None], changed[usable], original[usable])
    who = np.unique(np.array(persons), return_inverse=True)[1]
    genuine = []
    for i in range(len(who)):  # a person has few pictures, so row by row costs nothing
        mates = np.flatnonzero((who == who[i]) & (np.arange(len(who)) != i))
        if not len(mates) or not attempted[i]:
            continue
        if shown[i]:
            genuine.append(matcher.score_matrix(probes[i : i + 1], original[usable][mates])[0])
        else:
            genuine.append(np.full(len(mates), -np.inf))
    return np.concatenate(genuine), thresholds, (sum(map(len, genuine)), base.impostors)


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
