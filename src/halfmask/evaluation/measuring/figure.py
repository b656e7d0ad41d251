"""A figure of a row with its interval, or why there is none."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import MetricError
from .bootstrap import Weighted, auc_of, balanced_of, interval, mean_of, root_mean_square_of
from .metrics import match_rate

# a table takes its figures and their intervals from here
__all__ = [
    "Row",
    "Weighted",
    "auc_of",
    "balanced_of",
    "interval",
    "mean_of",
    "put",
    "put_interval",
    "put_match_rate",
    "refuse",
    "root_mean_square_of",
]

Row = dict[str, Any]


def put(row: Row, name: str, metric: Callable[..., float], *data: ArrayLike) -> None:
    """Set ``row[name]`` to the metric of the data, or to None with the reason in ``row["refused"]``.

    >>> from halfmask.evaluation.measuring.metrics import auc
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
