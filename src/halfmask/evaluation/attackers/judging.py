"""From an attacker's answers to a row: a rule chosen on the attacker's own people, judged on the others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.metrics import roc_curve

from ..measuring.bootstrap import auc_of, balanced_of
from ..measuring.figure import Figure, Row, give, with_interval
from ..measuring.metrics import auc, balanced_accuracy


class Rule(NamedTuple):
    """How scores are read: ``sign * score >= threshold`` answers 1 (male, protected)."""

    sign: int
    threshold: float

    def says(self, scores: ArrayLike) -> NDArray[np.float64]:
        """Scores turned so that 0 is the threshold and higher means class 1, float64 (N,)."""
        return self.sign * np.asarray(scores, np.float64) - self.threshold


#: How a referee reads its own probabilities.
OWN = Rule(1, 0.5)


def choose(labels: ArrayLike, scores: ArrayLike) -> Rule:
    """The sign and threshold of the highest balanced accuracy, among the middles between neighbouring scores.

    ``labels`` (N,) of 0 and 1 and ``scores`` (N,) are of the attacker's own people. Of equally good rules the one as
    it is wins over the turned one, and a threshold near 1/2 over others.

    >>> choose([0, 0, 1, 1], [0.9, 0.6, 0.4, 0.1])
    Rule(sign=-1, threshold=-0.5)
    """
    y, s = np.asarray(labels), np.asarray(scores, np.float64)
    best: tuple[float, int, float] | None = None
    rule = OWN
    for sign in (1, -1):
        fpr, tpr, thresholds = roc_curve(y, sign * s, drop_intermediate=False)
        values = np.unique(sign * s)
        below = np.concatenate([[-np.inf], values])[np.searchsorted(values, thresholds[1:])]
        middles = np.where(np.isfinite(below), (thresholds[1:] + below) / 2, thresholds[1:])
        for gain, middle in zip((tpr - fpr)[1:], middles, strict=True):
            rank = (round(float(gain), 9), sign, -abs(float(middle) - sign * 0.5))
            if best is None or rank > best:
                best, rule = rank, Rule(sign, float(middle))
    return rule


def row(
    attack: str,
    reader: str,
    *,
    n_train: int,
    labels: ArrayLike,
    says: ArrayLike,
    persons: Sequence[str] | NDArray[np.str_],
    unattacked: float | None = None,
    originals: float | None = None,
    note: str = "",
    resamples: int = 1000,
    seed: int = 0,
) -> Row:
    """A row of the attackers' table; ``says`` (N,) is an attacker's verdict, at least 0 for class 1.

    Intervals are 95 % bootstrap by person. What cannot be given is None, with the reason in ``refused``.
    """
    y, s = np.asarray(labels, np.int64), np.asarray(says, np.float64)
    who, about = np.asarray(persons), Figure(by=reader, n=len(y))
    right = balanced_of((s >= 0) == (y == 1), y)
    figures = [
        with_interval(give(about, name, metric, y, s), weighted, who, resamples, seed)
        for name, metric, weighted in (
            ("balanced_accuracy", lambda y, s: balanced_accuracy(y, s, 0.0), right),
            ("auc", auc, auc_of(y, s)),
        )
    ]
    facts = {"attack": attack, "reader": reader, "n_train": int(n_train), "n_test": len(y)}
    compared = {"unattacked_balanced_accuracy": unattacked, "originals_balanced_accuracy": originals}
    return Row(facts, figures, [replace(about, measure=name, value=v) for name, v in compared.items()], note)
