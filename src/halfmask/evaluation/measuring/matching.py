"""Which pictures meet which when matching is measured; thresholds and the whole ROC, exact, of millions of scores.

Originals stand in the gallery, the protected pictures are the probes. A protected face that was lost is a probe that
matches nobody: its scores are -inf.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.pairs import Pair
from ...errors import DataError, MetricError
from ..referees import Matcher
from .bootstrap import mean_of
from .figure import Figure, give, with_interval
from .metrics import crossing, match_probability, match_rate, threshold_at_fmr
from .protocol import Measured

Scores = NDArray[np.floating[Any]]
Indices = NDArray[np.int64]

#: What a matcher gives for (N, D) and (M, D) descriptors: scores (N, M), higher = same person.
ScoreMatrix = Callable[[NDArray[np.float32], NDArray[np.float32]], Scores]

_ROWS = 256


@dataclass(frozen=True)
class AllPairs:
    """Scores of all pairs of a set: ``genuine`` whole, of the impostors the number and the highest, descending."""

    genuine: Scores
    impostor_tail: Scores
    impostors: int

    def threshold(self, fmr: float) -> float:
        """``metrics.threshold_at_fmr`` of all impostor pairs, exact for any ``fmr`` up to the one asked for."""
        return threshold_at_fmr(self.impostor_tail, fmr, pairs=self.impostors)


def pair_blocks(
    descriptors: NDArray[np.float32],
    persons: Sequence[str],
    score_matrix: ScoreMatrix,
    rows: int = _ROWS,
) -> Iterator[tuple[Scores, NDArray[np.bool_]]]:
    """Scores of every pair of pictures, a block at a time: (scores (K,), same person? (K,)).

    ``descriptors`` is (N, D), ``persons`` names the person of each, ``score_matrix`` is a matcher's. Each pair comes
    once. Memory is ``rows`` x N, whatever the number of pairs.
    """
    if len(persons) != len(descriptors):
        raise MetricError(f"got {len(descriptors)} descriptors, {len(persons)} persons; expected as many of each")
    who = np.unique(np.asarray(persons), return_inverse=True)[1]
    count = len(who)
    for start in range(0, count, rows):
        stop = min(start + rows, count)
        scores = score_matrix(descriptors[start:stop], descriptors[start:])  # what is left of the diagonal has come
        keep = np.arange(start, stop)[:, None] < np.arange(start, count)[None]
        yield scores[keep], (who[start:stop, None] == who[None, start:])[keep]


def all_pairs(
    descriptors: NDArray[np.float32],
    persons: Sequence[str],
    score_matrix: ScoreMatrix,
    *,
    fmr: float = 0.01,
    rows: int = _ROWS,
) -> AllPairs:
    """All pairs of :func:`pair_blocks`, keeping of the impostors only what thresholds up to ``fmr`` need.

    Memory: the genuine scores, ``fmr`` x the impostor scores, and one block.

    >>> x = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    >>> pairs = all_pairs(x, ["ann", "ann", "bob", "cid"], lambda a, b: a @ b.T, fmr=0.5)
    >>> pairs.genuine.tolist(), pairs.impostors
    ([1.0], 5)
    """
    sizes = np.unique(np.asarray(persons), return_counts=True)[1].astype(np.int64)
    impostors = (len(persons) * (len(persons) - 1) - int((sizes * (sizes - 1)).sum())) // 2
    tail_size = int(np.floor(fmr * impostors + 1e-9)) + 1
    # the scores' own type is kept: a threshold just above a float32 score is lost when it is rounded to float32 later
    empty = score_matrix(descriptors[:0], descriptors[:0]).ravel()
    genuine, tail = [empty], empty
    for scores, same in pair_blocks(descriptors, persons, score_matrix, rows):
        genuine.append(scores[same])
        tail = np.concatenate([tail, scores[~same]])
        if len(tail) > tail_size:
            tail = np.partition(tail, len(tail) - tail_size)[len(tail) - tail_size :]
    return AllPairs(np.concatenate(genuine), np.sort(tail)[::-1], impostors)


class Comparisons:
    """The comparisons of one table: the pairs that were given, or every two pictures of known people.

    ``before`` is what was measured of the originals; a picture without a face there is in no comparison. With ``pairs``
    (LFW's), picture a is the gallery's and picture b the probe. Without, every two pictures of a person are a genuine
    comparison, each as gallery and as probe, and every two of different people an impostor comparison.

    Raises :class:`~halfmask.errors.DataError` when a pair names a picture that was not measured.
    """

    def __init__(self, before: Measured, pairs: Sequence[Pair] | None = None) -> None:
        self.before = before
        self.persons = before.persons
        self._given: tuple[Indices, Indices] | None = None
        self._usable = np.array([i is not None for i in before.identity], bool) & before.enrolled
        if pairs is None:
            self._gallery, self._probe = _mates(np.flatnonzero(self._usable), self.persons)
        else:
            a, b, same = _places(before, pairs)
            self._gallery, self._probe = a[same], b[same]
            self._given = a[~same], b[~same]

    def thresholds(self, matcher: Matcher, name: str, fmrs: Sequence[float]) -> tuple[list[float | MetricError], int]:
        """The threshold of each FMR, or why there is none, by the originals' impostor pairs, and how many these are.

        Two originals count as one pair, whichever of them is the probe.
        """
        original = self.before.answers("embed")[name]
        if self._given is not None:
            # two originals are one comparison, in whichever order and however often they were given: of few photos,
            # pairs that come twice would seem enough for an FMR that half of them cannot show
            a, b = np.unique(np.sort(np.stack(self._given), axis=0), axis=1)
            impostors = matcher.score(original[a], original[b])
            return [or_why(threshold_at_fmr, impostors, fmr) for fmr in fmrs], len(impostors)
        known = original[self._usable]
        base = all_pairs(known, self.persons[self._usable].tolist(), matcher.score_matrix, fmr=max(fmrs))
        return [or_why(base.threshold, fmr) for fmr in fmrs], base.impostors

    def probes(self, m: Measured) -> Indices:
        """The probe of each genuine comparison that was attempted, (G,), as a row of the table."""
        return self._probe[m.attempted[self._probe]]

    def genuine(self, m: Measured, matcher: Matcher, name: str) -> Scores:
        """The score of each comparison of :meth:`probes`, (G,)."""
        gallery, changed = self.before.answers("embed")[name], m.answers("embed")[name]
        asked = m.attempted[self._probe]
        a, b = self._gallery[asked], self._probe[asked]
        shown = m.enrolled[b]
        if self._given is not None:
            scores = np.full(len(b), -np.inf)
            scores[shown] = matcher.score(gallery[a[shown]], changed[b[shown]])
            return scores
        # the type and the way of the thresholds' scores: a threshold lies one rounding above an impostor's score
        scores = np.full(len(b), -np.inf, matcher.score_matrix(gallery[:0], gallery[:0]).dtype)
        bounds = np.flatnonzero(np.diff(b, prepend=-1, append=-1))
        for start, stop in pairwise(bounds):  # a probe's mates stand together
            if shown[start]:
                probe = changed[b[start : start + 1]]
                scores[start:stop] = matcher.score_matrix(probe, gallery[a[start:stop]])[0]
        return scores

    def match_probabilities(self, m: Measured, name: str) -> NDArray[np.float64]:
        """:func:`~halfmask.evaluation.measuring.metrics.match_probability` of each comparison of :meth:`probes`, (G,).

        d is the Euclidean distance of the descriptors scaled to length 1; a lost face is infinitely far, so 0.
        """
        asked = m.attempted[self._probe]
        a, b = self._gallery[asked], self._probe[asked]
        probabilities = np.zeros(len(b))
        for start in range(0, len(b), 1 << 14):
            part = slice(start, start + (1 << 14))
            ends = [_unit(self.before.answers("embed")[name][a[part]]), _unit(m.answers("embed")[name][b[part]])]
            probabilities[part] = match_probability(np.linalg.norm(ends[0] - ends[1], axis=1))
        return np.where(m.enrolled[b], probabilities, 0.0)

    def impostors(self, m: Measured, matcher: Matcher, name: str) -> Iterator[Scores]:
        """The impostor scores of the attempted probes with the originals, a block at a time."""
        gallery, changed = self.before.answers("embed")[name], m.answers("embed")[name]
        if self._given is not None:
            a, b = self._given
            a, b = a[m.attempted[b]], b[m.attempted[b]]
            shown = m.enrolled[b]
            yield matcher.score(gallery[a[shown]], changed[b[shown]])
            yield np.full(int((~shown).sum()), -np.inf)
            return
        known = np.flatnonzero(self._usable)
        who = np.unique(self.persons[known], return_inverse=True)[1]
        asked = m.attempted[known]
        for rows in _blocks(np.flatnonzero(asked & m.enrolled[known])):
            scores = matcher.score_matrix(changed[known[rows]], gallery[known])
            yield scores[who[rows, None] != who[None]]
        for rows in _blocks(np.flatnonzero(asked & ~m.enrolled[known])):
            yield np.full(int((who[rows, None] != who[None]).sum()), -np.inf)


@dataclass(frozen=True)
class MatchCurve:
    """A ROC of matching, exact: corners ``fmr`` and ``tmr`` from (0, 0) to (1, 1), and the number of impostor scores.

    Between corners the ROC is straight, so that the area and the equal error rate are those of all scores.
    """

    fmr: NDArray[np.float64]
    tmr: NDArray[np.float64]
    impostors: int

    @property
    def auc(self) -> float:
        """Area under the ROC, in [0, 1]."""
        return float(np.sum(np.diff(self.fmr) * (self.tmr[1:] + self.tmr[:-1]) / 2))

    @property
    def eer(self) -> float:
        """Equal error rate, in [0, 1]: where the ROC has FMR = 1 - TMR."""
        return crossing(self.fmr, self.tmr)


def match_curve(genuine: Scores, impostors: Iterable[Scores]) -> MatchCurve:
    """The ROC of ``genuine`` scores (G,) against blocks of impostor scores, of which no block is kept.

    Each impostor is only counted between which two genuine scores it falls: that is all that the ROC can show.
    Raises :class:`~halfmask.errors.MetricError` when there are no scores of a kind.

    >>> curve = match_curve(np.array([0.4, 0.8]), [np.array([0.1]), np.array([0.6])])
    >>> curve.auc, curve.eer
    (0.75, 0.5)
    """
    steps, times = np.unique(genuine, return_counts=True)
    equal, above = np.zeros(len(steps), np.int64), np.zeros(len(steps) + 1, np.int64)
    for block in impostors:
        place = np.searchsorted(steps, block, side="right")  # steps[place - 1] <= score < steps[place]
        tied = (place > 0) & (steps[np.maximum(place - 1, 0)] == block) if len(steps) else np.zeros(len(block), bool)
        equal += np.bincount(place[tied] - 1, minlength=len(steps))
        above += np.bincount(place[~tied], minlength=len(steps) + 1)
    total = int(equal.sum() + above.sum())
    if not len(genuine) or not total:
        raise MetricError(
            f"a ROC of matching needs genuine and impostor pairs, got {len(genuine)} genuine and {total} impostor"
        )
    # from the highest score down: the impostors above a step move right, then the step itself moves up (and right)
    false = np.zeros(2 * len(steps) + 1, np.int64)
    true = np.zeros(2 * len(steps) + 1, np.int64)
    false[0::2], false[1::2], true[1::2] = above[::-1], equal[::-1], times[::-1]
    x = np.concatenate([[0.0], np.cumsum(false) / total])
    y = np.concatenate([[0.0], np.cumsum(true) / len(genuine)])
    return MatchCurve(x, y, total)


def match_figure(
    about: Figure,
    name: str,
    scores: Scores,
    threshold: float | MetricError,
    persons: NDArray[Any],
    resamples: int,
    *,
    below: bool = False,
) -> Figure:
    """The share of scores at or above a threshold (or ``below`` it) with its interval, or why there is none."""
    if isinstance(threshold, MetricError):
        return replace(about, measure=name, why=str(threshold))
    counted = (scores.astype(np.float64) >= threshold) != below  # float32 would round the threshold

    def rate(scores: Scores, threshold: float) -> float:
        return 1 - match_rate(scores, threshold) if below else match_rate(scores, threshold)

    return with_interval(give(about, name, rate, scores, threshold), mean_of(counted), persons, resamples)


def or_why(threshold: Callable[..., float], *given: Any) -> float | MetricError:
    """The threshold that a metric gives, or why there is none."""
    try:
        return float(threshold(*given))
    except MetricError as error:
        return error


def _unit(x: NDArray[np.float32]) -> NDArray[np.float64]:
    wide = x.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), np.float64)


def _blocks(rows: Indices) -> Iterator[Indices]:
    for start in range(0, len(rows), _ROWS):
        yield rows[start : start + _ROWS]


def _mates(usable: Indices, persons: NDArray[np.str_]) -> tuple[Indices, Indices]:
    """Every ordered pair of two pictures of one person, (gallery, probe), a probe's together."""
    of: dict[str, list[int]] = {}
    for i in usable.tolist():
        of.setdefault(str(persons[i]), []).append(i)
    pairs = [(mate, i) for i in usable.tolist() for mate in of[str(persons[i])] if mate != i]
    a, b = np.array(pairs, np.int64).reshape(-1, 2).T
    return a, b


def _places(before: Measured, pairs: Sequence[Pair]) -> tuple[Indices, Indices, NDArray[np.bool_]]:
    """Rows of pictures a and b of each pair, and whether they show the same person, where both have a face before."""
    place = {k: i for i, k in enumerate(before.keys)}
    absent = sorted({k for p in pairs for k in (p.a, p.b) if k not in place})
    if absent:
        raise DataError(f"{len(absent)} pictures of the pairs were not measured, first: {absent[0]}")
    a, b = (np.array([place[getattr(p, side)] for p in pairs], np.int64) for side in ("a", "b"))
    same = np.array([p.same for p in pairs], bool)
    usable = before.enrolled[a] & before.enrolled[b]  # without a face before, there is nothing to protect
    return a[usable], b[usable], same[usable]
