"""How every figure looks: one style, and the panels that several figures share.

Colours are Okabe and Ito's, and every line has a dash of its own, so that no figure needs colour. Text is outlines in
an SVG. No global state of matplotlib is touched, no window is opened, and the same data give the same bytes.
"""

from __future__ import annotations

import io
import textwrap
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import extra
from .storage import ensure_folder, whole
from .weights import store

#: Okabe and Ito's colours; the first is that of originals.
BLUE, ORANGE, GREEN, PINK, SKY, YELLOW = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#56B4E9", "#E69F00"
GRAY, INK = "#767676", "#222222"

#: The width of a figure in a README, in inches: nothing in it becomes smaller than ten pixels.
WIDTH = 8.4

_SETTINGS: Any = {
    "svg.fonttype": "path",
    "svg.hashsalt": "halfmask",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.labelsize": 9,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "legend.fontsize": 9,
    "legend.frameon": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.axisbelow": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.6,
    "figure.facecolor": "white",
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # names come from files and may hold a $
}
_DASHES: tuple[Any, ...] = ("-", (0, (5, 1.6)), (0, (6, 1.5, 1.2, 1.5)), (0, (1.2, 1.2)), (0, (9, 2)))
_COLOURS = (ORANGE, GREEN, PINK, YELLOW, SKY, INK)

#: A curve: ``x`` and ``y``, as many of each.
Curve = Mapping[str, Sequence[float]]


@contextmanager
def canvas(width: float, height: float, rows: int = 1, columns: int = 1, **grid: Any) -> Iterator[tuple[Any, Any]]:
    """A figure of so many inches and its axes, an array (rows, columns); ``grid`` goes to matplotlib's ``subplots``.

    Use :func:`save` or :func:`svg` within. Raises :class:`~halfmask.errors.ExtraMissingError` without matplotlib.
    """
    store.keep_matplotlib_here()
    matplotlib = extra("matplotlib", "every figure")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_SETTINGS), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing")  # a name in a script that the font lacks
        figure = Figure(figsize=(width, height))
        FigureCanvasAgg(figure)
        yield figure, figure.subplots(rows, columns, squeeze=False, **grid)


def save(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, or as JPEG where the name ends in .jpg, whole or as it was; gives the path.

    Raises :class:`~halfmask.errors.DataError` when it cannot be written.
    """
    how: dict[str, Any] = {"format": "png", "metadata": {"Software": None}}
    if path.suffix == ".jpg":
        how = {"format": "jpeg", "pil_kwargs": {"quality": 88}}
    with whole(ensure_folder(path.parent) / path.name) as fresh:
        figure.savefig(fresh, dpi=150, **how)
    return path


def svg(figure: Any) -> bytes:
    """A figure as SVG."""
    stream = io.BytesIO()
    figure.savefig(stream, format="svg", metadata={"Date": None})
    return stream.getvalue()


def styles(first: str, others: Sequence[str]) -> dict[str, dict[str, Any]]:
    """How the line of each is drawn: ``first`` (the originals) solid and blue, the others each in its own way.

    >>> lines = styles("before", ["SM", "NT", "OP"])
    >>> len({line["color"] for line in lines.values()}), lines["before"]["linestyle"]
    (4, '-')
    """
    looks = {first: {"color": BLUE, "linestyle": "-", "linewidth": 1.7}}
    kinds = islice(zip(cycle(_COLOURS), cycle(_DASHES[1:]), strict=False), len(others))
    for name, (colour, dash) in zip(others, kinds, strict=True):
        looks[name] = {"color": colour, "linestyle": dash, "linewidth": 1.7}
    return looks


def roc(ax: Any, curves: Mapping[str, Curve], lines: Mapping[str, Mapping[str, Any]]) -> None:
    """A ROC of the gender, man being the positive class, and the diagonal of chance."""
    ax.plot([0, 1], [0, 1], color=GRAY, linestyle=":", linewidth=1)
    for name in _in_order(curves, lines):
        ax.plot(curves[name]["x"], curves[name]["y"], **lines[name])
    ax.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1], aspect="equal")


def match_roc(ax: Any, curves: Mapping[str, Curve], lines: Mapping[str, Mapping[str, Any]]) -> None:
    """A ROC of matching over a logarithmic FMR, which ends where the pairs do; FMR 1 % and 0.1 % are marked."""
    shown = {name: np.array([curves[name]["x"], curves[name]["y"]], float) for name in _in_order(curves, lines)}
    lowest = max(1e-6, min([0.1, *(x for xs, _ in shown.values() for x in xs if x > 0)]))
    for name, (x, y) in shown.items():
        some = x > 0
        x, y, at_none = x[some], y[some], y[~some].max(initial=0.0)
        if len(x) and x[0] > lowest:  # down to an FMR of 0 the TMR is that without a false match
            x, y = np.append(lowest, x), np.append(at_none, y)
        ax.plot(x, y, **lines[name])
    for fmr in (0.01, 0.001, 0.0001):
        if fmr >= lowest:
            ax.axvline(fmr, color=GRAY, linewidth=0.8, linestyle=":")
    ax.set(xscale="log", xlim=(min(lowest, 0.01), 1), ylim=(-0.01, 1.01))
    ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g} %")  # the usual 10^-2 would need math text
    ax.xaxis.set_minor_formatter(lambda x, _: "")


def cmc(ax: Any, curves: Mapping[str, Curve], lines: Mapping[str, Mapping[str, Any]]) -> None:
    """A cumulative match characteristic over a logarithmic rank."""
    last = 2.0
    for name in _in_order(curves, lines):
        ax.plot(curves[name]["x"], curves[name]["y"], **lines[name])
        last = max(last, curves[name]["x"][-1])
    ax.set(xscale="log", xlim=(1, last), ylim=(-0.01, 1.01))
    ax.xaxis.set_major_formatter(lambda x, _: f"{x:g}")
    ax.xaxis.set_minor_formatter(lambda x, _: "")


def key(figure: Any, lines: Mapping[str, Mapping[str, Any]], words: Mapping[str, str] | None = None) -> None:
    """What each line is, in one row (or two) below the whole figure."""
    from matplotlib.lines import Line2D

    shown = [Line2D([], [], **look, label=(words or {}).get(name, name)) for name, look in lines.items()]
    wide = max(len(str(line.get_label())) for line in shown)
    columns = min(len(shown), max(2, int(15 * figure.get_figwidth() / (wide + 7))))
    figure.legend(handles=shown, loc="outside lower center", ncols=columns)


def faces(
    path: Path,
    rows: Sequence[Sequence[NDArray[Any] | None]],
    heads: Sequence[str],
    names: Sequence[str] = (),
    side: float = 1.3,
) -> Path:
    """A grid of pictures, uint8 (H, W, 3) or gray (H, W): a line a row, ``heads`` above, ``names`` at the left.

    A picture that is absent leaves its place empty. ``side`` is that of a picture in inches, or what fits WIDTH.
    """
    left = 0.09 * max((len(name) for name in names), default=0)
    side = min(side, (WIDTH - left) / len(heads))
    heads = [textwrap.fill(head, int(11 * side)) for head in heads]
    top = 0.17 * (1 + max(head.count("\n") for head in heads)) + 0.1
    with canvas(side * len(heads) + left, side * len(rows) + top, len(rows), len(heads)) as (figure, axes):
        figure.get_layout_engine().set(w_pad=0.02, h_pad=0.02, wspace=0.02, hspace=0.02)
        for line, pictures in zip(axes, rows, strict=True):
            for ax, picture in zip(line, pictures, strict=True):
                if picture is not None:
                    ax.imshow(np.asarray(picture), cmap="gray", vmin=0, vmax=255, interpolation="antialiased")
                ax.set(xticks=[], yticks=[])
                ax.grid(visible=False)
                ax.spines[:].set_visible(False)
        for line, name in zip(axes, names, strict=False):
            line[0].set_ylabel(name, rotation=0, ha="right", va="center")
        for ax, head in zip(axes[0], heads, strict=True):
            ax.set_title(head, fontsize=9)
        return save(figure, path)


def _in_order(curves: Mapping[str, Curve], lines: Mapping[str, Any]) -> list[str]:
    return [name for name in lines if curves.get(name) and len(curves[name]["x"])]
