"""How sure a figure is: the bootstrap, with people drawn rather than pictures.

A resample is not copied out: the figure is given how often each face was drawn. A table of hundreds of intervals then
takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import MetricError

#: A figure of faces that count as often as the weights (N,) say; NaN when it cannot be given.
Weighted = Callable[[NDArray[np.float64]], float]


def interval(
    weighted: Weighted, persons: Sequence[Any] | NDArray[Any], resamples: int, seed: int = 0, level: float = 0.95
) -> tuple[float, float]:
    """The percentile bootstrap interval of a weighted figure, people drawn with all their faces.

    ``persons`` (N,) names the person of each face. Raises :class:`~halfmask.errors.MetricError` for fewer than two
    people, or when the figure cannot be given in half of the resamples or more.

    >>> low, high = interval(mean_of([0.0, 0.0, 1.0, 1.0]), ["a", "a", "b", "c"], 200)
    >>> low, high
    (0.0, 1.0)
    """
    who = np.unique(np.asarray(persons), return_inverse=True)[1]
    people = int(who.max()) + 1 if len(who) else 0
    if people < 2:
        raise MetricError(f"a confidence interval needs at least two persons, got {people}")
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, people, people), minlength=people)
        figure = weighted(drawn[who].astype(np.float64))
        if not np.isnan(figure):
            values.append(figure)
    if 2 * len(values) <= resamples:
        raise MetricError(
            f"only {len(values)} of {resamples} samples of {people} persons could be measured; give more persons"
        )
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def mean_of(values: ArrayLike) -> Weighted:
    """The mean of values (N,).

    >>> mean_of([1.0, 4.0])(np.array([2.0, 1.0]))
    2.0
    """
    v = np.asarray(values, np.float64)
    return lambda w: float(w @ v / w.sum())


def root_mean_square_of(values: ArrayLike) -> Weighted:
    """The root of the mean square of values (N,).

    >>> root_mean_square_of([1.0, 7.0])(np.array([1.0, 1.0]))
    5.0
    """
    mean = mean_of(np.asarray(values, np.float64) ** 2)
    return lambda w: float(np.sqrt(mean(w)))


def balanced_of(right: ArrayLike, classes: ArrayLike) -> Weighted:
    """Balanced accuracy: the mean over the classes (N,) of the share of ``right`` answers (N,); NaN without one class.

    >>> share = balanced_of([True, False, True], [0, 0, 1])
    >>> share(np.ones(3)), share(np.array([1.0, 1.0, 0.0]))
    (0.75, nan)
    """
    y = np.asarray(classes)
    each = (y[None] == np.unique(y)[:, None]).astype(np.float64)  # (classes, N)
    good = each * np.asarray(right, np.float64)

    def weighted(w: NDArray[np.float64]) -> float:
        shown = each @ w
        return float(np.mean((good @ w) / shown)) if shown.all() else float("nan")

    return weighted


def auc_of(labels: ArrayLike, scores: ArrayLike) -> Weighted:
    """Area under the ROC of labels (N,) of 0 and 1; NaN without one class.

    >>> auc_of([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.8])(np.ones(4))
    0.75
    """
    y = np.asarray(labels) == 1
    place = np.unique(np.asarray(scores), return_inverse=True)[1]
    steps = int(place.max()) + 1 if len(place) else 0

    def weighted(w: NDArray[np.float64]) -> float:
        ones = np.bincount(place, w * y, steps)
        zeros = np.bincount(place, w * ~y, steps)
        pairs = ones.sum() * zeros.sum()
        return float(ones @ (np.cumsum(zeros) - zeros / 2) / pairs) if pairs else float("nan")

    return weighted
