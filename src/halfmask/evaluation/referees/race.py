"""Race, read off the referee matcher w600k_mbf by a linear map that was trained here (scripts/race_referee.py).

No pretrained race classifier of use can be had, so there are two of ours, each taught by one data set and fit to judge
every other. The five groups are UTKFace's. They are what a data set's annotators saw in a picture, not what a person
is: a referee of them says whether a machine still reads that impression off a face, and nothing about anybody.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import WeightsError
from ...photos.detect import Face
from ...weights import shipped
from .base import Floats, Matcher, Pixels
from .insightface import W600kMatcher

#: UTKFace's groups; its page says of the last "like Hispanic, Latino, Middle Eastern".
GROUPS = ("White", "Black", "Asian", "Indian", "Others")

_WORDS = {
    **{group.lower(): i for i, group in enumerate(GROUPS)},
    "east asian": 2,
    "southeast asian": 2,
    "latino_hispanic": 4,
    "latino": 4,
    "hispanic": 4,
    "middle eastern": 4,
    "other": 4,
}


def group_of(word: str | None) -> int:
    """The index in :data:`GROUPS` of UTKFace's or FairFace's word, in any case, -1 for an unknown one.

    >>> [group_of(word) for word in ("Southeast Asian", "Others", "Middle Eastern", "Martian", None)]
    [2, 4, 4, -1, -1]
    """
    return -1 if word is None else _WORDS.get(word.strip().lower(), -1)


def probabilities(x: NDArray[Any], weights: NDArray[Any], bias: NDArray[Any]) -> Floats:
    """Softmax of a linear map: descriptors (N, D), weights (D, K), bias (K,) → float32 (N, K), rows adding to 1.

    >>> probabilities(np.zeros((1, 2)), np.ones((2, 2)), np.log([3.0, 1.0])).tolist()
    [[0.75, 0.25]]
    """
    logits = x.astype(np.float64) @ weights + bias
    grown = np.exp(logits - logits.max(1, keepdims=True, initial=-np.inf))
    return np.asarray(grown / grown.sum(1, keepdims=True), np.float32)


class _LinearRace:
    """Recipe: the matcher's descriptor of length 1, a linear map, softmax. Give ``matcher`` to share one in memory."""

    name: str
    trained_on: str | None
    groups: tuple[str, ...] = GROUPS
    #: whose descriptors ``p_race_of`` takes
    descriptors_of: str = W600kMatcher.name

    def __init__(self, threads: int = 0, matcher: Matcher | None = None) -> None:
        file = f"{self.name}.npz"
        with np.load(shipped.path(file), allow_pickle=False) as arrays:
            self._weights, self._bias = arrays["weights"], arrays["bias"]
        if self._weights.shape != (512, len(GROUPS)) or self._bias.shape != (len(GROUPS),):
            raise WeightsError(
                f"{file} holds weights {self._weights.shape} and bias {self._bias.shape}, expected "
                f"(512, {len(GROUPS)}) and ({len(GROUPS)},). Reinstall halfmask."
            )
        self._matcher = W600kMatcher(threads) if matcher is None else matcher

    def p_race(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """The probability of each group, float32 (N, 5)."""
        return self.p_race_of(self._matcher.embed(images, faces))

    def p_race_of(self, descriptors: Floats) -> Floats:
        """The same from w600k_mbf's descriptors (N, 512), for who has them already."""
        return probabilities(descriptors, self._weights, self._bias)

    def group(self, word: str | None) -> int:
        """See :func:`group_of`."""
        return group_of(word)


class RaceFromUtkface(_LinearRace):
    """Taught by UTKFace. Balanced accuracy over five groups: .577 on FairFace's validation set."""

    name = "race-utkface"
    trained_on: str | None = "utkface"


class RaceFromFairface(_LinearRace):
    """Taught by FairFace's training set. Balanced accuracy over five groups: .572 on UTKFace."""

    name = "race-fairface"
    trained_on: str | None = "fairface"
