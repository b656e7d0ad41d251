"""The papers' figures, drawn from what a benchmark measured and from the faces that it protected to be shown.

Curves are those of the protocol's own scores; no figure measures anything anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import drawing
from ...datasets.groups import GROUPS
from ...drawing import BLUE, GRAY, GREEN, INK, ORANGE, WIDTH, canvas
from ..measuring.figure import figures_in, measure, tmr
from ..measuring.protocol import BEFORE
from . import frontier

#: What the curves of a result are: how its file ends, the axes, and how a panel is drawn.
_CURVES: dict[str, tuple[str, str, str, Callable[..., None]]] = {
    "gender": ("roc", "women taken for men", "men taken for men", drawing.roc),
    "match": ("match-roc", "false match rate (FMR)", "true match rate (TMR)", drawing.match_roc),
    "cmc": ("cmc", "rank", "identification rate", drawing.cmc),
}
_MARKS = ("o", "D", "s", "^", "v", "P")
_ATTRIBUTES = ("gender", "age", "race")


def draw(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Every figure that a result of :func:`.run.run` holds enough for, as PNG files called after it in ``folder``.

    ``-roc``, ``-match-roc`` and ``-cmc``: a panel a judge and set, a line a variant (SAN's figures 6 and 7).
    Of an overview also ``-frontier``, ``-flowsan`` over the number of steps, and ``-privacynet`` over the combinations
    of attributes.

    Raises :class:`~halfmask.errors.ExtraMissingError` without matplotlib, :class:`~halfmask.errors.DataError` when a
    file cannot be written.
    """
    stem = result["name"]
    made = [curves(result, kind, folder / f"{stem}-{end}.png") for kind, (end, *_) in _CURVES.items()]
    if result["kind"] == "overview":
        made.append(trade(result, folder / f"{stem}-frontier.png"))
        made.append(flow(result, folder / f"{stem}-flowsan.png"))
        made.append(combinations(result, folder / f"{stem}-privacynet.png"))
    return [path for path in made if path is not None]


def curves(result: Mapping[str, Any], kind: str, path: Path) -> Path | None:
    """One kind of curve (gender, match, cmc), a line of panels a judge, a panel a set; None where there are none."""
    found = {name: of.get(kind) or {} for name, of in result.get("curves", {}).items()}
    found = {name: judges for name, judges in found.items() if judges}
    if not found:
        return None
    judges = list(dict.fromkeys(judge for of in found.values() for judge in of))
    there = {variant for of in found.values() for lines in of.values() for variant in lines}
    lines = drawing.styles(BEFORE, [m["label"] for m in result["methods"] if m["label"] in there])
    _, x, y, panel = _CURVES[kind]
    side = min(2.6, WIDTH / max(len(found), 2))
    how = {"sharey": True, "sharex": kind == "gender"}
    size = (max(side * len(found), 5.2), side * len(judges) * 0.95 + 0.7)
    with canvas(*size, len(judges), len(found), **how) as (figure, axes):
        for judge, row in zip(judges, axes, strict=True):
            for (name, of), ax in zip(found.items(), row, strict=True):
                if judge in of:
                    panel(ax, of[judge], lines)
                else:
                    ax.axis("off")
                ax.set_title(f"{judge}, {name}")
        for ax in axes[-1]:
            ax.set_xlabel(x)
        for ax in axes[:, 0]:
            ax.set_ylabel(y)
        drawing.key(figure, lines, {BEFORE: "Before"})
        return drawing.save(figure, path)


def trade(result: Mapping[str, Any], path: Path) -> Path | None:
    """What is read against what matching loses, a line of panels a set; the best methods on a stepped line."""
    shown = frontier.panels(result)
    if not shown:
        return None
    sets = list(dict.fromkeys(name for name, _ in shown))
    labels = list(dict.fromkeys(p.label for some in shown.values() for p in some if p.label != BEFORE))
    columns = [privacy for privacy in frontier.PRIVACY if any(p == privacy for _, p in shown)]
    with canvas(4.2 * len(columns) + 2.6, 3.6 * len(sets) + 0.3, len(sets), len(columns)) as (figure, axes):
        for line, name in zip(axes, sets, strict=True):
            for ax, privacy in zip(line, columns, strict=True):
                _trade_panel(ax, shown.get((name, privacy), []), labels, privacy)
                ax.set_title(name)
        key = "\n".join(f"{i}  {label}" for i, label in enumerate(labels, 1))
        key += "\n×  originals\n\nline: no method is better in both\nhollow: an oracle, no method\ndotted: chance"
        figure.legend([], [], loc="outside right upper", title=key, title_fontsize=8, alignment="left")
        return drawing.save(figure, path)


def _trade_panel(ax: Any, placed: Sequence[frontier.Point], labels: Sequence[str], privacy: str) -> None:
    words, chance = frontier.PRIVACY[privacy]
    best = frontier.front(placed)
    if best:
        ax.step([p.lost for p in best], [p.read for p in best], where="post", color=BLUE, linewidth=1.2, zorder=1)
    for p in placed:
        if p.label == BEFORE:
            ax.plot(p.lost, p.read, "x", color=GRAY, markersize=7)
            continue
        fill = "white" if p.oracle else (BLUE if p in best else ORANGE)
        ax.plot(p.lost, p.read, "o", markersize=11, markerfacecolor=fill, markeredgecolor=INK, alpha=0.9)
        colour = "black" if p.oracle else "white"
        number = str(labels.index(p.label) + 1)
        ax.annotate(number, (p.lost, p.read), ha="center", va="center_baseline", fontsize=7, color=colour)
    ax.axhline(chance, color=GRAY, linestyle=":", linewidth=1)
    ax.set(xlabel="TMR lost at FMR 0.1 %, points, mean over matchers", ylabel=words)
    if not placed:
        ax.text(0.5, 0.5, "not measured", transform=ax.transAxes, ha="center", va="center")


def flow(result: Mapping[str, Any], path: Path) -> Path | None:
    """FlowSAN over its number of steps: EER of the gender and TMR, a line a judge; step 0 are the originals.

    None without two FlowSANs that differ in nothing but their steps.
    """
    steps = {m["label"]: int(m["settings"]["steps"]) for m in _of(result, "flowsan") if _only_steps(m)}
    rows = _rows(result, steps)
    if len(steps) < 2 or not rows:
        return None
    at = {BEFORE: 0, **steps}
    with canvas(WIDTH, 2.7 * len(rows) + 0.3, len(rows), 2, sharex=True) as (figure, axes):
        for (name, of), row in zip(rows.items(), axes, strict=True):
            for ax, wanted in zip(row, ("eer", tmr(0.01)), strict=True):
                for judge, look in _judges(of, wanted).items():
                    points = sorted((at[v], 100 * _value(r, wanted, judge)) for v, r in of.items())
                    ax.plot(*zip(*points, strict=True), label=judge, **look)
                if not ax.lines:
                    words = "no gender is known" if wanted == "eer" else "nobody is named"
                    ax.text(0.5, 0.5, words, transform=ax.transAxes, ha="center", color=GRAY)
                else:
                    ax.legend(loc="best")
                chance = wanted == "eer"
                if chance:
                    ax.axhline(50, color=GRAY, linestyle=":", linewidth=1)
                ax.set(title=name, ylim=(0, 60) if chance else (0, 101), xticks=sorted(at.values()))
                ax.set_ylabel("EER of the gender, %" if chance else "TMR at FMR 1 %, %")
        for ax in axes[-1]:
            ax.set_xlabel("SANs in a row, 0: originals")
        return drawing.save(figure, path)


def combinations(result: Mapping[str, Any], path: Path) -> Path | None:
    """PrivacyNet over its combinations of attributes: what is still read of each, and whether faces match.

    Filled marks are attributes to be hidden, hollow ones are to be kept; the line is the originals. None without two
    combinations.
    """
    hidden = {m["label"]: m["hide"].split(",") for m in _of(result, "privacynet")}
    order = sorted(hidden, key=lambda k: (len(hidden[k]), [_ATTRIBUTES.index(a) for a in sorted(hidden[k], key=_at)]))
    panels = []
    for name, of in _rows(result, hidden).items():
        for attribute, wanted in (("gender", "auc"), ("age", "mae"), ("race", "race"), ("", tmr(0.01))):
            if judges := _judges(of, wanted):
                panels.append((name, of, attribute, wanted, judges))
    if len(hidden) < 2 or not panels:
        return None
    columns = 2
    lines = -(-len(panels) // columns)
    with canvas(WIDTH, 2.5 * lines + 0.4, lines, columns) as (figure, axes):
        for ax in axes.flat[len(panels) :]:
            ax.axis("off")
        for ax, (name, of, attribute, wanted, judges) in zip(axes.flat, panels, strict=False):
            scale = measure(wanted).scale
            for shift, (judge, look) in zip(_spread(len(judges)), judges.items(), strict=True):
                ax.axhline(scale * _value(of[BEFORE], wanted, judge), color=look["color"], linewidth=1, alpha=0.6)
                for i, label in enumerate(order):
                    fill = look["color"] if attribute in hidden[label] else "white"
                    value = scale * _value(of[label], wanted, judge)
                    ax.plot(i + shift, value, look["marker"], color=look["color"], markerfacecolor=fill, markersize=6)
                ax.plot([], [], look["marker"], color=look["color"], label=judge)
            ax.set_xticks(range(len(order)), ["".join(a[0].upper() for a in sorted(hidden[k], key=_at)) for k in order])
            head = {"auc": "AUC of the gender", "mae": "age, MAE in years", "race": "race, balanced accuracy, %"}
            ax.set_title(f"{head.get(wanted, 'TMR at FMR 1 %, %')}, {name}")
            low, high = ax.get_ylim()
            ax.set_ylim(low, high + 0.22 * (high - low))  # the legend stands above the marks
            ax.legend(loc="upper center", ncols=len(judges), fontsize=8, columnspacing=1.2, handletextpad=0.3)
        words = "hidden: G gender, A age, R race; filled: to be hidden, hollow: to be kept, line: originals"
        figure.supxlabel(words, fontsize=8.5)
        return drawing.save(figure, path)


def prototypes(path: Path, means: NDArray[Any], neutral: NDArray[Any], groups: NDArray[Any] | None = None) -> Path:
    """The prototypes: female, male and neutral (SAN, figure 3), and the eight of Ensemble's figure 4.

    ``means`` are (2, 3, H, W) in [0, 1] by gender label, ``neutral`` (3, H, W), ``groups`` (4, 2, 3, H, W) in the order
    of :data:`~halfmask.datasets.groups.GROUPS`.
    """
    pictures = [(head, face) for head, face in zip(("female", "male", "neutral"), (*means, neutral), strict=True)]
    rows: list[list[tuple[str, NDArray[Any]]]] = [pictures]
    if groups is not None:
        for gender in (1, 0):
            letter = "FM"[gender]
            names = [f"{age[0].upper()}{letter}{race[0].upper()}" for age, race in (g.split() for g in GROUPS)]
            rows.append(list(zip(names, groups[:, gender], strict=True)))
    columns = max(len(row) for row in rows)
    side = 1.45
    with canvas(side * columns, (side + 0.25) * len(rows), len(rows), columns) as (figure, axes):
        for ax in axes.flat:
            ax.axis("off")
        for line, row in zip(axes, rows, strict=True):
            for ax, (head, face) in zip(line, row, strict=False):
                ax.imshow(np.clip(np.asarray(face).transpose(1, 2, 0), 0, 1), interpolation="antialiased")
                ax.set_title(head)
        return drawing.save(figure, path)


def _spread(count: int) -> NDArray[np.float64]:
    """Where so many marks stand side by side about a tick."""
    return np.asarray((np.arange(count) - (count - 1) / 2) * 0.2, np.float64)


def _at(attribute: str) -> int:
    return _ATTRIBUTES.index(attribute)


def _of(result: Mapping[str, Any], method: str) -> list[Mapping[str, Any]]:
    return [m for m in result["methods"] if m.get("method") == method]


def _only_steps(m: Mapping[str, Any]) -> bool:
    return set(m["settings"]) == {"steps"} and m["prototype"] in (None, "op")


def _rows(result: Mapping[str, Any], labels: Mapping[str, Any]) -> dict[str, dict[str, Mapping[str, Any]]]:
    """Set → variant → its row, of the originals and these labels, of every set that has all of them."""
    sets: dict[str, dict[str, Mapping[str, Any]]] = {}
    for row in result["rows"]:
        if row["variant"] in (BEFORE, *labels):
            sets.setdefault(row["set"], {})[row["variant"]] = row
    return {name: of for name, of in sets.items() if len(of) == len(labels) + 1}


def _judges(of: Mapping[str, Mapping[str, Any]], wanted: str) -> dict[str, dict[str, Any]]:
    """The judges that gave this figure of every row, each with its look."""
    given = [{f.by for f in figures_in(r) if f.measure == wanted and f.value is not None} for r in of.values()]
    names = sorted(set.intersection(*given)) if given else []
    colours = (BLUE, ORANGE, GREEN, INK)
    return {
        name: {"color": colours[i % len(colours)], "marker": _MARKS[i % len(_MARKS)], "markersize": 5}
        for i, name in enumerate(names)
    }


def _value(row: Mapping[str, Any], wanted: str, judge: str) -> float:
    return next(f.value for f in figures_in(row) if f.measure == wanted and f.by == judge and f.value is not None)
