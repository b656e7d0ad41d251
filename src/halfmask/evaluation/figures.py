"""A figure of a row with its interval, or why there is none.

Intervals are those of :func:`~halfmask.evaluation.bootstrap.bootstrap` and draw the same people; only, a resample is
not copied out but given as how often each face was drawn. A table of hundreds of intervals then takes seconds.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..errors import MetricError
from .metrics import match_rate

Row = dict[str, Any]

#: A figure of faces that count as often as the weights (N,) say; NaN when it cannot be given.
Weighted = Callable[[NDArray[np.float64]], float]


def put(row: Row, name: str, metric: Callable[..., float], *data: ArrayLike) -> None:
    """Set ``row[name]`` to the metric of the data, or to None with the reason in ``row["refused"]``.

    >>> from halfmask.evaluation.metrics import auc
    >>> row = {"refused": ""}
    >>> put(row, "auc", auc, [1, 1], [0.3, 0.9])
    >>> row
    {'refused': 'all 2 labels are 1; this figure needs faces of both classes', 'auc': None}
    """
    try:
        row[name] = float(metric(*data))
    except MetricError as error:
        row[name] = None
        refuse(row, str(error))


def put_interval(
    row: Row, name: str, weighted: Weighted, persons: NDArray[Any], resamples: int, *, stem: str | None = None
) -> None:
    """Set ``row[stem_low]`` and ``row[stem_high]`` for the figure ``row[name]``; ``stem`` is ``name`` unless given.

    Both are None where the figure is, and where it alone can be given, with the reason.
    """
    low, high = f"{stem or name}_low", f"{stem or name}_high"
    row[low] = row[high] = None
    if row[name] is not None:
        try:
            row[low], row[high] = interval(weighted, persons, resamples)
        except MetricError as error:
            refuse(row, str(error))


def put_match_rate(
    row: Row,
    name: str,
    scores: NDArray[Any],
    threshold: float | MetricError,
    persons: NDArray[Any],
    resamples: int,
) -> None:
    """Set the share of scores at or above a threshold, with its interval; or None when there is no threshold."""
    if isinstance(threshold, MetricError):
        row[name] = None
        refuse(row, str(threshold))
        row[f"{name}_low"] = row[f"{name}_high"] = None
        return
    put(row, name, match_rate, scores, threshold)
    matched = scores.astype(np.float64) >= threshold  # float32 would round the threshold
    put_interval(row, name, mean_of(matched), persons, resamples)


def refuse(row: Row, reason: str) -> None:
    """Add a reason to the row's ``refused``, once."""
    if reason not in row["refused"]:
        row["refused"] = "; ".join(filter(None, [row["refused"], reason]))


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
    found = []
    for _ in range(resamples):
        drawn = np.bincount(rng.integers(0, people, people), minlength=people)
        figure = weighted(drawn[who].astype(np.float64))
        if not np.isnan(figure):
            found.append(figure)
    if 2 * len(found) <= resamples:
        raise MetricError(
            f"only {len(found)} of {resamples} samples of {people} persons could be measured; give more persons"
        )
    low, high = np.quantile(found, [(1 - level) / 2, (1 + level) / 2])
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
