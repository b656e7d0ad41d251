"""1-to-n identification: who of a gallery is it, and is it anybody of it at all? In the terms of ISO/IEC 19795-1.

Half of the people, drawn by lot, stand in the gallery, each with one original; they have *mated* searches, with their
other pictures. The rest are outside the gallery, and all their pictures are *non-mated* searches. A search asks for the
scores with everybody in the gallery.

*Closed set*: the rank of the right person among all, and the share of mated searches where it is at most k (CMC).
*Open set*: a threshold decides whether anybody is named. FPIR is the share of non-mated searches that name somebody,
FNIR that of mated searches whose right person stays below the threshold. The threshold is fixed on the originals'
non-mated searches and carried over to the protected pictures.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...datasets.pairs import Pair
from ...errors import MetricError
from ..referees import Matcher
from .protocol import Measured

Indices = NDArray[np.int64]
Scores = NDArray[np.floating[Any]]

_ROWS = 256


def ranks(scores: ArrayLike, mates: ArrayLike) -> Indices:
    """The rank of the right person in each mated search, from 1; ``scores`` (S, G), ``mates`` (S,) says which of G.

    Whoever scores as high as the right person counts as before them. A search without a face (-inf throughout) has
    rank G + 1: nobody was found.

    >>> ranks([[0.9, 0.2, 0.4], [0.9, 0.2, 0.4], [0.5, 0.5, 0.1], [-np.inf] * 3], [0, 1, 0, 2]).tolist()
    [1, 3, 2, 4]
    """
    table, right = np.asarray(scores), np.asarray(mates, np.int64)
    if table.ndim != 2 or right.shape != table.shape[:1]:
        raise MetricError(f"expected scores (S, G) and the right person of each (S,), got {table.shape}, {right.shape}")
    own = table[np.arange(len(table)), right][:, None]
    return np.asarray(np.where(np.isneginf(own[:, 0]), table.shape[1] + 1, (table >= own).sum(1)), np.int64)


def cmc(found: ArrayLike, gallery: int) -> NDArray[np.float64]:
    """Cumulative match characteristic: for k from 1 to ``gallery`` the share of mated searches of rank at most k.

    ``found`` are the ranks (S,) of :func:`ranks`. Raises :class:`~halfmask.errors.MetricError` when there are none.

    >>> cmc([1, 3, 1, 4], 3).tolist()
    [0.5, 0.5, 0.75]
    """
    counts = np.asarray(found, np.int64)
    if not len(counts):
        raise MetricError("identification needs mated searches, got none: nobody in the gallery has another picture")
    return np.asarray(np.cumsum(np.bincount(counts, minlength=gallery + 2)[1 : gallery + 1]) / len(counts))


@dataclass(frozen=True)
class Found:
    """What the searches of one variant gave.

    ``ranks`` and ``own`` (M,) are the right person's rank and score in each mated search, ``best`` (K,) the highest
    score in each non-mated one; -inf where the face was lost. ``mated`` and ``nonmated`` are the pictures searched
    with, as rows of the table.
    """

    ranks: Indices
    own: Scores
    best: Scores
    mated: Indices
    nonmated: Indices


class Searches:
    """The gallery of a table, and the pictures that are searched with.

    ``before`` is what was measured of the originals; a picture without a face there is in no search. Somebody's picture
    in the gallery is one that was not protected, where there is such a one. With ``pairs`` that only pair each photo
    with itself (nobody is known), each stands for a person, and the protected one is searched for among the originals.

    ``gallery`` (G,) holds rows of the table.
    """

    def __init__(self, before: Measured, pairs: Sequence[Pair] | None = None) -> None:
        self.before = before
        genuine = [p for p in pairs or () if p.same]
        itself = bool(genuine) and all(p.a == p.b for p in genuine)
        known = before.enrolled & np.array([itself or who is not None for who in before.identity], bool)
        names = np.array(before.keys) if itself else before.persons
        pictures: dict[str, list[int]] = {}
        for i in np.flatnonzero(known).tolist():
            pictures.setdefault(str(names[i]), []).append(i)
        inside = sorted(pictures, key=_lot)[: (len(pictures) + 1) // 2]
        shown = [next((i for i in pictures[who] if not before.attempted[i]), pictures[who][0]) for who in inside]
        self.gallery: Indices = np.array(shown, np.int64)
        mated = [(i, g) for g, who in enumerate(inside) for i in pictures[who] if itself or i != shown[g]]
        self._mated, self._mates = np.array(mated, np.int64).reshape(-1, 2).T
        rest = set(pictures) - set(inside)
        self._nonmated: Indices = np.array(sorted(i for who in rest for i in pictures[who]), np.int64)

    def search(self, m: Measured, matcher: Matcher, name: str) -> Found:
        """Search the gallery's originals with every picture of ``m`` that was attempted."""
        gallery = self.before.answers("embed")[name][self.gallery]
        probes = m.answers("embed")[name]
        asked = m.attempted[self._mated]
        mated, mates = self._mated[asked], self._mates[asked]
        nonmated = self._nonmated[m.attempted[self._nonmated]]
        kind = matcher.score_matrix(gallery[:0], gallery[:0]).dtype
        place = np.full(len(mated), len(gallery) + 1, np.int64)
        own, best = np.full(len(mated), -np.inf, kind), np.full(len(nonmated), -np.inf, kind)
        for rows in _blocks(m.enrolled[mated]):
            scores = matcher.score_matrix(probes[mated[rows]], gallery)
            place[rows] = ranks(scores, mates[rows])
            own[rows] = scores[np.arange(len(rows)), mates[rows]]
        for rows in _blocks(m.enrolled[nonmated] & (len(gallery) > 0)):
            best[rows] = matcher.score_matrix(probes[nonmated[rows]], gallery).max(1)
        return Found(place, own, best, mated, nonmated)


def _lot(person: str) -> bytes:
    """A lot that falls the same way whoever else is there."""
    return hashlib.sha256(person.encode("utf-8", "surrogateescape")).digest()


def _blocks(chosen: NDArray[np.bool_]) -> list[Indices]:
    rows = np.flatnonzero(chosen)
    return [rows[start : start + _ROWS] for start in range(0, len(rows), _ROWS)]
