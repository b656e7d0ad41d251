"""Every picture with every other: millions of scores in bounded memory, thresholds exact all the same."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import MetricError
from .metrics import threshold_at_fmr

Scores = NDArray[np.floating[Any]]

#: What a matcher gives for (N, D) and (M, D) descriptors: scores (N, M), higher = same person.
ScoreMatrix = Callable[[NDArray[np.float32], NDArray[np.float32]], Scores]


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
    probes: NDArray[np.float32] | None = None,
    rows: int = 256,
) -> Iterator[tuple[Scores, NDArray[np.bool_]]]:
    """Scores of every pair of pictures, a block at a time: (scores (K,), same person? (K,)).

    ``descriptors`` is (N, D), ``persons`` names the person of each, ``score_matrix`` is a matcher's. Without ``probes``
    each pair comes once. With them, the protected pictures' descriptors (N, D) in the same order, picture i's probe
    meets picture j's original for all i != j. Memory is ``rows`` x N, whatever the number of pairs.
    """
    if len(persons) != len(descriptors) or (probes is not None and len(probes) != len(descriptors)):
        raise MetricError(
            f"got {len(descriptors)} descriptors, {len(persons)} persons"
            + ("" if probes is None else f" and {len(probes)} probes")
            + "; expected as many of each"
        )
    who = np.unique(np.asarray(persons), return_inverse=True)[1]
    count = len(who)
    for start in range(0, count, rows):
        stop = min(start + rows, count)
        left = 0 if probes is not None else start  # pairs left of the diagonal have come already
        scores = score_matrix((descriptors if probes is None else probes)[start:stop], descriptors[left:])
        i, j = np.arange(start, stop)[:, None], np.arange(left, count)[None]
        keep = i != j if probes is not None else i < j
        yield scores[keep], (who[start:stop, None] == who[None, left:])[keep]


def all_pairs(
    descriptors: NDArray[np.float32],
    persons: Sequence[str],
    score_matrix: ScoreMatrix,
    *,
    fmr: float = 0.01,
    probes: NDArray[np.float32] | None = None,
    rows: int = 256,
) -> AllPairs:
    """All pairs of :func:`pair_blocks`, keeping of the impostors only what thresholds up to ``fmr`` need.

    Memory: the genuine scores, ``fmr`` x the impostor scores, and one block.

    >>> x = np.eye(4, dtype=np.float32)[[0, 0, 1, 2]]
    >>> pairs = all_pairs(x, ["ann", "ann", "bob", "cid"], lambda a, b: a @ b.T, fmr=0.5)
    >>> pairs.genuine.tolist(), pairs.impostors
    ([1.0], 5)
    """
    count = len(persons)
    sizes = np.unique(np.asarray(persons), return_counts=True)[1].astype(np.int64)
    ordered = count * (count - 1) - int((sizes * (sizes - 1)).sum())
    impostors = ordered if probes is not None else ordered // 2
    tail_size = int(np.floor(fmr * impostors + 1e-9)) + 1
    # the scores' own type is kept: a threshold just above a float32 score is lost when it is rounded to float32 later
    empty = score_matrix(descriptors[:0], descriptors[:0]).ravel()
    genuine, tail = [empty], empty
    for scores, same in pair_blocks(descriptors, persons, score_matrix, probes, rows):
        genuine.append(scores[same])
        tail = np.concatenate([tail, scores[~same]])
        if len(tail) > tail_size:
            tail = np.partition(tail, len(tail) - tail_size)[len(tail) - tail_size :]
    return AllPairs(np.concatenate(genuine), np.sort(tail)[::-1], impostors)
