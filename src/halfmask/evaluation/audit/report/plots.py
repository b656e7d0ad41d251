"""The report's plots, as SVG inside data URIs, in the one style of :mod:`halfmask.drawing`.

Originals are a solid blue line or a hollow circle, protected pictures a dashed orange line or a filled diamond: told
apart without colour as well.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .... import drawing
from ....drawing import BLUE, GRAY, ORANGE, canvas
from ...measuring.figure import Figure, figure_of, measure, number
from .images import data_uri
from .scale import Row

#: How the two variants are called.
_WORDS = {"before": "originals", "protected": "protected"}
_LINES = {name: {**look, "label": _WORDS[name]} for name, look in drawing.styles("before", ["protected"]).items()}


@dataclass(frozen=True)
class Plot:
    """An image with the text that stands for it."""

    uri: str
    alt: str
    caption: str


def gender_roc(referee: str, curves: Mapping[str, Any], areas: Mapping[str, float | None]) -> Plot:
    """ROC of one gender referee, originals and protected, as in the papers' figures; ``areas`` are the AUC of both."""
    with canvas(3.6, 3.6) as (figure, axes):
        ax = axes[0, 0]
        drawing.roc(ax, curves, _LINES)
        ax.set(title=referee, xlabel="women called men", ylabel="men called men")
        uri = _uri(figure, ax)
    values = ", ".join(f"{_WORDS[v]} {a:.3f}" for v, a in areas.items() if a is not None)
    alt = f"ROC curves of the gender by {referee}" + (f"; area under the curve: {values}." if values else ".")
    return Plot(uri, alt, f"Gender, by {referee}")


def match_roc(matcher: str, curves: Mapping[str, Any], rates: Mapping[str, float | None]) -> Plot:
    """ROC of one matcher with a logarithmic FMR axis; ``rates`` are the TMR at FMR 1 % of both."""
    with canvas(3.6, 3.6) as (figure, axes):
        ax = axes[0, 0]
        drawing.match_roc(ax, curves, _LINES)
        ax.set(title=matcher, xlabel="false match rate (FMR)", ylabel="true match rate (TMR)")
        uri = _uri(figure, ax)
    values = ", ".join(f"{_WORDS[v]} {100 * a:.1f} %" for v, a in rates.items() if a is not None)
    alt = f"True match rate over false match rate by {matcher}" + (f"; TMR at FMR 1 %: {values}." if values else ".")
    return Plot(uri, alt, f"Matching, by {matcher}")


def identification(matcher: str, curves: Mapping[str, Any]) -> Plot:
    """Cumulative match characteristic of one matcher."""
    with canvas(3.6, 3.6) as (figure, axes):
        ax = axes[0, 0]
        drawing.cmc(ax, curves, _LINES)
        ax.set(title=matcher, xlabel="rank", ylabel="identification rate")
        uri = _uri(figure, ax)
    first = ", ".join(f"{_WORDS[v]} {100 * c['y'][0]:.1f} %" for v, c in curves.items())
    return Plot(uri, f"Cumulative match characteristic by {matcher}; rank 1: {first}.", f"Identification, by {matcher}")


def attack_dots(rows: Sequence[Row], names: Sequence[str]) -> Plot:
    """Balanced accuracy of every attack with its interval, and the line of chance."""
    with canvas(6.4, 1.0 + 0.3 * len(rows)) as (drawn, axes):
        ax = axes[0, 0]
        ax.axvline(50, color=GRAY, linestyle=":", linewidth=1.2)
        for y, row in enumerate(rows):
            _whisker(ax, y, figure_of(row, "balanced_accuracy"), ORANGE, "D", ORANGE)
        _rows_axis(ax, names)
        ax.set_xlim(0, 101)
        ax.set_xlabel("balanced accuracy, % (dotted line: guessing)")
        uri = _uri(drawn)
    values = [f"{name} {figure_of(row, 'balanced_accuracy').text}" for name, row in zip(names, rows, strict=True)]
    alt = f"Balanced accuracy of each attack with its 95 % interval; guessing is 50 %. {'; '.join(values)}."
    return Plot(uri, alt, "Balanced accuracy of each attack, with 95 % intervals")


def group_dots(name: str, referee: str, rows: Sequence[Row]) -> Plot:
    """One measure by one referee for every group, originals above protected, each with its interval."""
    names, places, y, last = [], [], 0.0, None
    for row in rows:
        y += 0.6 if last not in (None, row.get("attribute")) else 0
        last = row.get("attribute")
        names.append(f"{row.get('group')} ({number(row, 'n') or 0:.0f})")
        places.append(y)
        y += 1
    with canvas(5.0, 1.3 + 0.32 * y) as (drawn, axes):
        ax = axes[0, 0]
        for place, row in zip(places, rows, strict=True):
            for variant, shift, colour, marker, face in (
                ("before", -0.17, BLUE, "o", "white"),
                ("protected", 0.17, ORANGE, "D", ORANGE),
            ):
                _whisker(ax, place + shift, figure_of(row, name, variant), colour, marker, face)
        _rows_axis(ax, names, places)
        ax.set_xlabel(measure(name).head + (", %" if measure(name).unit == "%" else ""))
        for marker, colour, face, label in (("o", BLUE, "white", "originals"), ("D", ORANGE, ORANGE, "protected")):
            ax.plot([], [], marker, color=colour, markerfacecolor=face, label=label)
        ax.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        uri = _uri(drawn)
    what = f"{measure(name).head}, {referee}" if referee else measure(name).head
    alt = f"{what}: originals and protected pictures of {len(rows)} groups with 95 % intervals; see the table."
    return Plot(uri, alt, what[0].upper() + what[1:])


def _rows_axis(ax: Any, names: Sequence[str], places: Sequence[float] | None = None) -> None:
    ax.set_yticks(range(len(names)) if places is None else places, [_short(name) for name in names])
    ax.invert_yaxis()
    ax.grid(visible=False, axis="y")


def _whisker(ax: Any, y: float, figure: Figure, colour: str, marker: str, face: str) -> None:
    if figure.value is None:
        return
    scale = measure(figure.measure).scale
    if figure.low is not None and figure.high is not None:
        ax.plot([scale * figure.low, scale * figure.high], [y, y], color=colour, linewidth=1.5, zorder=2)
    ax.plot([scale * figure.value], [y], marker, color=colour, markerfacecolor=face, markersize=5.5, zorder=3)


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


def _uri(figure: Any, ax: Any = None) -> str:
    """The figure as a data URI, with a legend in ``ax`` where it has lines of a name."""
    if ax is not None and ax.get_legend_handles_labels()[0]:
        ax.legend(loc="lower right")
    return data_uri(drawing.svg(figure), "image/svg+xml")
