"""What ordinal heads promise and what they keep: answers "is the rank above k?" that do not contradict each other."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike, NDArray

from halfmask.errors import MetricError
from halfmask.networks.heads import HEADS, Head
from halfmask.networks.readings import reading
from halfmask.training.attribute import AttributeConfig
from halfmask.training.config import load_config


def head_of(run: Path) -> Head:
    """The age head of a run of ``halfmask train attribute`` as its config describes it, to ask what logits mean.

    Its weights are new: what a run answered stands in its ``test.npz``, and large networks need not be kept.
    """
    about = load_config(AttributeConfig, run / "config.yaml").heads["age"]
    return HEADS[about["kind"]](1, reading("age", about).words)


def rank_inconsistencies(exceedance: ArrayLike, tolerance: float = 1e-5) -> NDArray[np.int64]:
    """How often each face's answers contradict each other: P(rank > k+1) > P(rank > k) + ``tolerance``, (N,).

    ``exceedance`` are the P(rank > k), (N, K-1), of an ordinal head (CORAL paper, table 2, and its tolerance).

    >>> rank_inconsistencies([[0.9, 0.5, 0.6], [0.9, 0.5, 0.5]]).tolist()
    [1, 0]
    """
    p = np.asarray(exceedance, np.float64)
    if p.ndim != 2 or np.isnan(p).any():
        raise MetricError(f"expected one row of probabilities a face and none missing, got shape {p.shape}")
    return np.asarray((np.diff(p, axis=1) > tolerance).sum(1), np.int64)


def biases_ordered(biases: ArrayLike) -> bool:
    """Whether CORAL's biases do not increase, as its Theorem 1 says of the minimum: then no answers contradict.

    >>> biases_ordered([2.0, 1.0, 1.0, -3.0]), biases_ordered([0.0, 0.1])
    (True, False)
    """
    return bool((np.diff(np.asarray(biases, np.float64)) <= 0).all())
