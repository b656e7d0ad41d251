"""Privacy against utility: where each method stands, and which of them others beat in both.

Utility is lost true match rate: how many points of TMR at FMR 0.1 % a method costs, mean over the matchers. Privacy is
what is still read of the gender: how far the AUC of the referees is from chance, on either side, or the balanced
accuracy of a classifier that was trained on protected photos. Of both, less is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...errors import MetricError
from ..measuring.figure import figures_in, tmr
from ..measuring.protocol import BEFORE

#: What can be read of the gender: measure → how an axis calls it, and what chance is.
PRIVACY = {
    "auc": ("|AUC − 0.5| of the gender, mean over referees", 0.0),
    "retrained": ("balanced accuracy of a retrained classifier", 0.5),
}
_RATE = tmr(0.001)


@dataclass(frozen=True)
class Point:
    """One method on one set. ``lost`` is in points of TMR, ``read`` the measure of PRIVACY; less is better of both.

    An ``oracle`` is an evaluation's bound and no method: it stands in the plot, and is neither on the front nor beats
    anything; so do the originals, which lose nothing and hide nothing.
    """

    label: str
    lost: float
    read: float
    oracle: bool = False

    @property
    def competes(self) -> bool:
        """Whether it is a method."""
        return not self.oracle and self.label != BEFORE

    def beats(self, other: Point) -> bool:
        """Whether it is as good in both and better in one.

        >>> Point("a", 2.0, 0.1).beats(Point("b", 2.0, 0.2)), Point("a", 2.0, 0.1).beats(Point("b", 1.0, 0.2))
        (True, False)
        """
        return (
            self.lost <= other.lost and self.read <= other.read and (self.lost, self.read) != (other.lost, other.read)
        )


def points(rows: Sequence[Mapping[str, Any]], privacy: str = "auc") -> list[Point]:
    """The points of one set's rows of :func:`.overview.overview_rows`, the originals' first.

    ``privacy`` is a key of PRIVACY. A row that lacks one of its figures has no point; without the originals' TMR, as on
    a set in which nobody is named, there are none at all.

    >>> rows = [{"variant": "before", "tmr@0.001/m": 0.9, "auc/r": 1.0}]
    >>> rows += [{"variant": "x", "tmr@0.001/m": 0.8, "auc/r": 0.3}]
    >>> [(p.label, round(p.lost, 6), round(p.read, 6)) for p in points(rows)]
    [('before', 0.0, 0.5), ('x', 10.0, 0.2)]
    """
    if privacy not in PRIVACY:
        raise MetricError(f"privacy is {privacy!r}; expected one of: {', '.join(PRIVACY)}")
    first = _values(next((row for row in rows if row["variant"] == BEFORE), {}), _RATE)
    placed = []
    for row in rows:
        lost = [100 * (first[by] - rate) for by, rate in _values(row, _RATE).items() if by in first]
        read = [abs(v - 0.5) if privacy == "auc" else v for v in _values(row, privacy).values()]
        if lost and read:
            placed.append(Point(row["variant"], float(np.mean(lost)), float(np.mean(read)), bool(row.get("oracle"))))
    return placed


def _values(row: Mapping[str, Any], measure: str) -> dict[str, float]:
    """Judge → the value of one measure, of those that gave one."""
    return {f.by: f.value for f in figures_in(row) if f.measure == measure and f.value is not None}


def dominated(placed: Sequence[Point]) -> dict[str, list[str]]:
    """Each method that another beats, and the labels of those that do.

    >>> dominated([Point("a", 1, 0.3), Point("b", 2, 0.4), Point("c", 3, 0.1)])
    {'b': ['a']}
    """
    methods = [p for p in placed if p.competes]
    beaten = {p.label: [q.label for q in methods if q.beats(p)] for p in methods}
    return {label: by for label, by in beaten.items() if by}


def front(placed: Sequence[Point]) -> list[Point]:
    """The methods that no other beats, by what they lose.

    >>> [p.label for p in front([Point("c", 3, 0.1), Point("a", 1, 0.3), Point("b", 2, 0.4)])]
    ['a', 'c']
    """
    beaten = dominated(placed)
    return sorted((p for p in placed if p.competes and p.label not in beaten), key=lambda p: (p.lost, p.read))


def panels(result: Mapping[str, Any]) -> dict[tuple[str, str], list[Point]]:
    """(set, privacy measure) → its points, for every panel that holds a method, of an overview's result."""
    placed = {
        (name, privacy): points([row for row in result["rows"] if row["set"] == name], privacy)
        for name in dict.fromkeys(row["set"] for row in result["rows"])
        for privacy in PRIVACY
    }
    return {about: some for about, some in placed.items() if any(p.label != BEFORE for p in some)}
