"""Privacy against utility: where each method stands, and which of them others beat in both.

Utility is lost true match rate: how many points of TMR at FMR 0.1 % a method costs, mean over the matchers. Privacy is
what is still read of the gender: how far the AUC of the referees is from chance, on either side, or the balanced
accuracy of a classifier that was trained on protected photos. Of both, less is better.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import MetricError, extra
from ...storage import ensure_folder, whole
from ...weights import store
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


def plot(result: Mapping[str, Any], path: Path) -> Path | None:
    """Draw an overview's result as a PNG: a line of panels a set, numbered points, the front as a stepped line.

    None, and no file, when no set has both figures. Raises :class:`~halfmask.errors.ExtraMissingError` without
    matplotlib and :class:`~halfmask.errors.DataError` when the file cannot be written.
    """
    shown = panels(result)
    if not shown:
        return None
    store.keep_matplotlib_here()
    extra("matplotlib", "the frontier's plot")
    from matplotlib.figure import Figure

    sets = list(dict.fromkeys(name for name, _ in shown))
    labels = list(dict.fromkeys(p.label for some in shown.values() for p in some if p.label != BEFORE))
    columns = [privacy for privacy in PRIVACY if any(p == privacy for _, p in shown)]
    figure = Figure(figsize=(4.2 * len(columns) + 2.6, 3.6 * len(sets) + 0.3), dpi=150, layout="constrained")
    axes = figure.subplots(len(sets), len(columns), squeeze=False)
    for line, name in zip(axes, sets, strict=True):
        for ax, privacy in zip(line, columns, strict=True):
            _panel(ax, shown.get((name, privacy), []), labels, privacy)
            ax.set_title(name, fontsize=10)
    key = "\n".join(f"{i}  {label}" for i, label in enumerate(labels, 1))
    key += "\n×  originals\n\nline: no method is better in both\nhollow: an oracle, no method\ndotted: chance"
    # an axes of its own, so that the layout leaves room for the names
    figure.legend([], [], loc="outside right upper", title=key, title_fontsize=8, frameon=False, alignment="left")
    with whole(ensure_folder(path.parent) / path.name) as fresh:
        figure.savefig(fresh, format="png", metadata={"Software": None})  # the same results, the same bytes
    return path


def _panel(ax: Any, placed: Sequence[Point], labels: Sequence[str], privacy: str) -> None:
    words, chance = PRIVACY[privacy]
    best = front(placed)
    if best:
        ax.step([p.lost for p in best], [p.read for p in best], where="post", color="#0072B2", linewidth=1.2, zorder=1)
    for p in placed:
        if p.label == BEFORE:
            ax.plot(p.lost, p.read, "x", color="#767676", markersize=7)
            continue
        fill = "white" if p.oracle else ("#0072B2" if p in best else "#D55E00")
        ax.plot(p.lost, p.read, "o", markersize=11, markerfacecolor=fill, markeredgecolor="#333333", alpha=0.9)
        number = str(labels.index(p.label) + 1)
        color = "black" if p.oracle else "white"
        ax.annotate(number, (p.lost, p.read), ha="center", va="center_baseline", fontsize=7, color=color)
    ax.axhline(chance, color="#767676", linestyle=":", linewidth=1)
    ax.set_xlabel("TMR lost at FMR 0.1 %, points, mean over matchers", fontsize=8)
    ax.set_ylabel(words, fontsize=8)
    ax.tick_params(labelsize=8)
    ax.spines[["top", "right"]].set_visible(False)
    if not placed:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")
