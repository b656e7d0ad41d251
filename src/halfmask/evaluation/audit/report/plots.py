"""The report's plots, by matplotlib, as SVG inside data URIs.

Originals are a solid blue line or a hollow circle, protected pictures a dashed orange line or a filled diamond: two of
Okabe and Ito's colours, and told apart without colour as well. Text is drawn as outlines, so no font is needed.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from ....errors import missing
from ....weights import store
from ...measuring.figure import Figure, figure_of, measure, number
from .images import data_uri
from .scale import Row

if TYPE_CHECKING:
    from collections.abc import Iterator

_BLUE, _ORANGE, _GRAY = "#0072B2", "#D55E00", "#767676"
_STYLE = {
    "before": {"color": _BLUE, "linestyle": "-", "linewidth": 1.6, "label": "originals"},
    "protected": {"color": _ORANGE, "linestyle": (0, (4, 1.5)), "linewidth": 2.0, "label": "protected"},
}
_SETTINGS: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "halfmask",  # the same results give the same bytes
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "white",
    "text.parse_math": False,  # names come from files and may hold a $
}


@dataclass(frozen=True)
class Plot:
    """An image with the text that stands for it."""

    uri: str
    alt: str
    caption: str


def gender_roc(referee: str, curves: Mapping[str, Any], areas: Mapping[str, float | None]) -> Plot:
    """ROC of one gender referee, originals and protected, as in the papers' figures; ``areas`` are the AUC of both."""
    with _figure(3.6, 3.5) as (fig, ax, done):
        ax.plot([0, 1], [0, 1], color=_GRAY, linestyle=":", linewidth=1, label="guessing")
        for variant in _in_order(curves):
            ax.plot(curves[variant]["x"], curves[variant]["y"], **_STYLE[variant])
        ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", title=referee)
        ax.set_xlabel("women called men")
        ax.set_ylabel("men called men")
        ax.legend(frameon=False, loc="lower right")
        fig.tight_layout()
    values = ", ".join(f"{_STYLE[v]['label']} {a:.3f}" for v, a in areas.items() if a is not None)
    alt = f"ROC curves of the gender by {referee}" + (f"; area under the curve: {values}." if values else ".")
    return Plot(done[0], alt, f"Gender, by {referee}")


def match_roc(matcher: str, curves: Mapping[str, Any], rates: Mapping[str, float | None]) -> Plot:
    """ROC of one matcher with a logarithmic FMR axis; ``rates`` are the TMR at FMR 1 % of both."""
    with _figure(3.6, 3.5) as (fig, ax, done):
        lowest = 1.0
        for variant in _in_order(curves):
            points = [(x, y) for x, y in zip(curves[variant]["x"], curves[variant]["y"], strict=True) if x > 0]
            if points:
                lowest = min(lowest, points[0][0], *(x for x, _ in points))
                ax.plot(*zip(*points, strict=True), **_STYLE[variant])
        for fmr in (0.01, 0.001, 0.0001):
            if fmr >= lowest:
                ax.axvline(fmr, color=_GRAY, linewidth=0.8, linestyle=":")
        ax.set(xscale="log", xlim=(max(min(lowest, 0.01), 1e-6), 1), ylim=(-0.01, 1.01), title=matcher)
        ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")  # the usual 10^-2 would need math text
        ax.xaxis.set_minor_formatter(lambda x, _: "")
        ax.set_xlabel("false match rate (FMR)")
        ax.set_ylabel("true match rate (TMR)")
        if ax.get_legend_handles_labels()[0]:
            ax.legend(frameon=False, loc="lower right")
        fig.tight_layout()
    values = ", ".join(f"{_STYLE[v]['label']} {100 * a:.1f} %" for v, a in rates.items() if a is not None)
    alt = f"True match rate over false match rate by {matcher}" + (f"; TMR at FMR 1 %: {values}." if values else ".")
    return Plot(done[0], alt, f"Matching, by {matcher}")


def attack_dots(rows: Sequence[Row], names: Sequence[str]) -> Plot:
    """Balanced accuracy of every attack with its interval, and the line of chance."""
    with _figure(6.4, 1.0 + 0.3 * len(rows)) as (fig, ax, done):
        ax.axvline(50, color=_GRAY, linestyle=":", linewidth=1.2)
        for y, row in enumerate(rows):
            _whisker(ax, y, figure_of(row, "balanced_accuracy"), _ORANGE, "D", _ORANGE)
        _rows_axis(ax, names)
        ax.set_xlim(0, 101)
        ax.set_xlabel("balanced accuracy, % (dotted line: guessing)")
        fig.tight_layout()
    values = [f"{name} {figure_of(row, 'balanced_accuracy').text}" for name, row in zip(names, rows, strict=True)]
    alt = f"Balanced accuracy of each attack with its 95 % interval; guessing is 50 %. {'; '.join(values)}."
    return Plot(done[0], alt, "Balanced accuracy of each attack, with 95 % intervals")


def group_dots(name: str, referee: str, rows: Sequence[Row]) -> Plot:
    """One measure by one referee for every group, originals above protected, each with its interval."""
    names, places, y, last = [], [], 0.0, None
    for row in rows:
        y += 0.6 if last not in (None, row.get("attribute")) else 0
        last = row.get("attribute")
        names.append(f"{row.get('group')} ({number(row, 'n') or 0:.0f})")
        places.append(y)
        y += 1
    with _figure(5.0, 1.3 + 0.32 * y) as (fig, ax, done):
        for place, row in zip(places, rows, strict=True):
            for variant, shift, colour, marker, face in (
                ("before", -0.17, _BLUE, "o", "white"),
                ("protected", 0.17, _ORANGE, "D", _ORANGE),
            ):
                _whisker(ax, place + shift, figure_of(row, name, variant), colour, marker, face)
        _rows_axis(ax, names, places)
        ax.set_xlabel(measure(name).head + (", %" if measure(name).unit == "%" else ""))
        for marker, colour, face, label in (("o", _BLUE, "white", "originals"), ("D", _ORANGE, _ORANGE, "protected")):
            ax.plot([], [], marker, color=colour, markerfacecolor=face, label=label)
        ax.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
        fig.tight_layout()
    what = f"{measure(name).head}, {referee}" if referee else measure(name).head
    alt = f"{what}: originals and protected pictures of {len(rows)} groups with 95 % intervals; see the table."
    return Plot(done[0], alt, what[0].upper() + what[1:])


def _in_order(curves: Mapping[str, Any]) -> list[str]:
    return [v for v in _STYLE if curves.get(v) and len(curves[v].get("x") or ())]


def _rows_axis(ax: Any, names: Sequence[str], places: Sequence[float] | None = None) -> None:
    ax.set_yticks(range(len(names)) if places is None else places, [_short(name) for name in names])
    ax.invert_yaxis()
    ax.grid(axis="x", color="#dddddd", linewidth=0.6)
    ax.set_axisbelow(True)


def _whisker(ax: Any, y: float, figure: Figure, colour: str, marker: str, face: str) -> None:
    if figure.value is None:
        return
    scale = measure(figure.measure).scale
    if figure.low is not None and figure.high is not None:
        ax.plot([scale * figure.low, scale * figure.high], [y, y], color=colour, linewidth=1.5, zorder=2)
    ax.plot([scale * figure.value], [y], marker, color=colour, markerfacecolor=face, markersize=5.5, zorder=3)


def _short(name: str, most: int = 40) -> str:
    return name if len(name) <= most else name[: most - 1] + "…"


@contextmanager
def _figure(width: float, height: float) -> Iterator[tuple[Any, Any, list[str]]]:
    """A figure with one pair of axes and a list that holds its data URI afterwards; no global state is touched."""
    store.keep_matplotlib_here()
    try:
        import matplotlib
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure as Canvas
    except ImportError as error:  # pragma: no cover - depends on the installation
        raise missing(["matplotlib"], "a plot") from error
    done: list[str] = []
    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the plot's font lacks
        fig = Canvas(figsize=(width, height))
        FigureCanvasAgg(fig)  # a figure of our own: no window, no global state
        yield fig, fig.add_subplot(), done
        stream = io.BytesIO()
        fig.savefig(stream, format="svg", metadata={"Date": None})
        done.append(data_uri(stream.getvalue(), "image/svg+xml"))
