"""The bootstrap as a textbook has it, of any statistic of any data: what the quick intervals are checked against."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from halfmask.errors import MetricError


class Interval(NamedTuple):
    """A figure and its confidence interval; ``resamples`` of those asked for could be computed."""

    value: float
    low: float
    high: float
    resamples: int


def bootstrap(
    statistic: Callable[..., float],
    *data: ArrayLike,
    persons: ArrayLike,
    n: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """Percentile bootstrap of ``statistic(*data)``, resampled by *person*: one person's photos are not independent.

    ``data`` are arrays of N rows each. ``persons`` (N,) names the person of each row; for pairs (N, 2) it names both,
    and a pair comes as often as the product of how often its two people were drawn. Samples that a metric refuses
    (a class is missing) are left out; when that is more than half, so is the interval.

    >>> from halfmask.evaluation.measuring.metrics import mae
    >>> ages = bootstrap(mae, [20, 30, 40, 50], [21, 33, 45, 57], persons=["a", "a", "b", "c"], n=200)
    >>> ages.value, ages.low < ages.value < ages.high
    (4.0, True)
    """
    columns = [np.asarray(column) for column in data]
    names = np.asarray(persons)
    if not columns or any(len(column) != len(names) for column in columns):
        raise MetricError(f"got {len(names)} persons for data of {[len(c) for c in columns]} rows; expected as many")
    who = np.unique(names, return_inverse=True)[1].reshape(names.shape)
    people = int(who.max()) + 1 if who.size else 0
    if people < 2:
        raise MetricError(f"a confidence interval needs at least two persons, got {people}")
    value = statistic(*columns)
    rng = np.random.default_rng(seed)
    values = []
    for _ in range(n):
        drawn = np.bincount(rng.integers(0, people, people), minlength=people)
        times = drawn[who]
        if times.ndim == 2:
            times = np.where(who[:, 0] == who[:, 1], times[:, 0], times[:, 0] * times[:, 1])
        rows = np.repeat(np.arange(len(names)), times)
        try:
            values.append(statistic(*[column[rows] for column in columns]))
        except MetricError:
            continue
    if 2 * len(values) <= n:
        raise MetricError(f"only {len(values)} of {n} samples of {people} persons could be measured; give more persons")
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(value), float(low), float(high), len(values))
