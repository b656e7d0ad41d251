"""From a benchmark's rows to its files: JSON with everything, CSV to compute with, Markdown to read."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...storage import ensure_folder, whole
from ...tabular import NONE, csv_text, markdown
from ..measuring.figure import (
    Figure,
    Published,
    figure_of,
    figures_in,
    is_interval,
    is_measure,
    judge,
    measure,
    rate_of,
    side_by_side,
    tmr,
)
from ..measuring.protocol import BEFORE
from . import figures, frontier
from .overview import DETAILS

#: kind → the column that names the judge of a published figure.
_JUDGES = {"gender": "referee", "matching": "matcher", "age": "referee", "race": "referee", "attackers": "reader"}
#: kind → the measures that get a table of their own, beside the published ones; a rate ("tmr") at every share.
_MAIN = {
    "gender": ("error",),
    "matching": ("tmr", "rank1", "fnir", "fpir"),
    "age": ("mae",),
    "race": ("balanced_accuracy",),
    "attackers": ("balanced_accuracy",),
}
_ABOUT = ("set", "variant", "referee", "matcher", "attack", "reader", "attribute", "group", "measure", "note")
_COUNTS = ("n", "lost", "people", "genuine", "impostors", "gallery", "mated", "nonmated", "n_train", "n_test")
#: What the other columns of a row are called.
_FACTS = {
    "referee": "by",
    "matcher": "by",
    "n": "faces",
    "genuine": "genuine pairs",
    "impostors": "impostor pairs",
    "gallery": "people in the gallery",
    "mated": "mated searches",
    "nonmated": "non-mated searches",
    "n_train": "faces to learn on",
    "n_test": "faces judged",
}
#: The columns of an overview's main table, each for all of its referees, and what stands in the further ones.
_OVERVIEW = ("hides", "auc", "retrained", "probe", "neighbours", "kernel", "attacked", "tmr", "ssim", "ms")
_FURTHER = {
    "gender as the referees read it": ("n", "lost", "accuracy", "balanced_accuracy", "eer"),
    "identification, 1 to n": ("rank1", "fnir", "fpir"),
    "age and race": ("mae", "race", "years", "same"),
}
_PARTS = {
    "gender": "gender by the referees",
    "attackers": "gender by attackers that adapt",
    "matching": "matching",
    "age": "age, of pictures whose age is known",
    "race": "race, of pictures whose race is known",
    "moved": "how far the answers about age and race moved, whether right or not",
    "looks": "looks",
}


def write(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``NAME.json``, ``NAME.csv`` and ``NAME.md`` of a result of :func:`halfmask.evaluation.benchmark.run.run`.

    And every figure that it holds enough for (:func:`.figures.draw`). Each file is whole or as it was. Raises
    :class:`~halfmask.errors.DataError` when they cannot be written.
    """
    texts = {"json": json.dumps(result, indent=1, default=str) + "\n", "csv": to_csv(result), "md": to_markdown(result)}
    paths = []
    for suffix, text in texts.items():
        path = ensure_folder(folder) / f"{result['name']}.{suffix}"
        with whole(path) as fresh:
            fresh.write_text(text, "utf-8")
        paths.append(path)
    drawn = [folder / name for name in result.get("drawn", ())]
    return paths + figures.draw(result, folder) + drawn


def to_csv(result: Mapping[str, Any]) -> str:
    """Our rows and the published ones, a line each; ``source`` says whose, and what a row lacks is empty."""
    rows = [{"source": "here", **row} for row in result["rows"]]
    column = _JUDGES.get(result["kind"], "by")
    for given in result["published"]:
        about = {"source": given["source"], "set": given["set"], "variant": given["variant"], column: given["by"]}
        rows.append({**about, given["measure"]: given["value"]})
    return csv_text(rows)


def to_markdown(result: Mapping[str, Any]) -> str:
    """The page: the main figures beside the published ones, then everything that was measured, then what was not."""
    parts = [f"# {result['title']}", f"Source: {result['source']}. Measured by halfmask {result['halfmask']}."]
    parts += [_sets(result["sets"])] if result["sets"] else []
    measured = result["rows"]
    if result["kind"] == "overview":
        parts += _overview(result)
        measured = [row for rows in result.get("details", {}).values() for row in rows]
    else:
        for name in _main_measures(result):
            table = _beside_published(result, name)
            parts += [f"## {_word(name)}", table] if table else []
        parts += ["## Everything measured", _everything(measured)] if measured else []
    if refused := Counter((row["set"], row["refused"]) for row in measured if row.get("refused")):
        lines = [f"- {name}, in {count} rows: {reason}" for (name, reason), count in refused.items()]
        parts.append("Figures that cannot be given:\n\n" + "\n".join(lines))
    if result["skipped"]:
        lines = [f"- {entry['what']}: {entry['reason']}" for entry in result["skipped"]]
        parts.append("## Not measured here\n\n" + "\n".join(lines))
    if result["notes"]:
        parts.append("## Notes\n\n" + "\n".join(f"- {note}" for note in result["notes"]))
    return "\n\n".join(parts) + "\n"


def _sets(sets: Sequence[Mapping[str, Any]]) -> str:
    heads = {"name": "set", "photos": "photos", "people": "people", "women": "of women", "men": "of men"}
    heads["protected"] = "protected"
    return markdown([{key: _text(s[key]) for key in heads} for s in sets], heads)


def _overview(result: Mapping[str, Any]) -> list[str]:
    """The sections of an overview: a table a set, who is on the frontier, and everything with its intervals."""
    sections = []
    for name in dict.fromkeys(row["set"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["set"] == name]
        sections += [f"## {name}", _columns(rows, _OVERVIEW)]
        for title, stems in _FURTHER.items():
            table = _columns(rows, stems)
            sections += [f"### {name}: {title}", table] if table.splitlines()[0] != "| method |" else []
        if table := _combinations(result, rows):
            sections += [f"### {name}: hidden and kept", table]
    lines = []
    for (name, privacy), points in frontier.panels(result).items():
        best = ", ".join(p.label for p in frontier.front(points))
        lines.append(f"- {name}, {frontier.PRIVACY[privacy][0]}: {best}")
        lines += [f"  - {k} is beaten by {', '.join(by)}" for k, by in frontier.dominated(points).items()]
    if lines:
        heading = "Methods that no other beats in both TMR at FMR 0.1 % and privacy:"
        sections += ["## Frontier of privacy and utility", heading + "\n\n" + "\n".join(lines)]
    for part in DETAILS:
        if rows := result.get("details", {}).get(part):
            sections += [f"## Everything measured: {_PARTS[part]}", _everything(rows)]
    return sections


def _columns(rows: Sequence[Published], names: Sequence[str]) -> str:
    """The columns of these measures and facts, each for every referee that has it, but those that no row fills."""
    figures = {side_by_side(figure): figure for figure in figures_in(rows[0])}
    heads: dict[str, str] = {}
    for name in names:
        named = {key: f for key, f in figures.items() if _is(f.measure, name)}
        heads |= {key: ", ".join(filter(None, [_word(f.measure), f.by])) for key, f in named.items()}
        heads |= {name: _word(name)} if name in rows[0] and name not in figures else {}
    heads = {key: word for key, word in heads.items() if any(row.get(key) not in (None, "") for row in rows)}
    cells = []
    for row in rows:
        told = {side_by_side(figure): _told(figure) for figure in figures_in(row)}
        cells.append({"variant": row["variant"], **{key: told.get(key) or _text(row.get(key)) for key in heads}})
    return markdown(cells, {"variant": "method", **heads})


def _combinations(result: Mapping[str, Any], rows: Sequence[Published]) -> str:
    """PrivacyNet's combinations on one set: the gender's AUC, and by how much all else differs from the originals.

    What is to be hidden is bold. Empty without two combinations.
    """
    hidden = {m["label"]: str(m["hide"]).split(",") for m in result["methods"] if m.get("method") == "privacynet"}
    before = {side_by_side(f): f for row in rows if row["variant"] == BEFORE for f in figures_in(row)}
    wanted = {"auc": "gender", "mae": "age", "race": "race", tmr(0.01): "", "ssim": ""}
    names = [key for kind in wanted for key, f in before.items() if f.measure == kind]
    if len(hidden) < 2 or not names:
        return ""
    words = {
        "auc": "gender, AUC",
        "mae": "age, MAE in years",
        "race": "race, points",
        tmr(0.01): "TMR at FMR 1 %, points",
    }
    heads = {key: ", ".join(filter(None, [words.get(f.measure, "SSIM"), f.by])) for key, f in before.items()}
    lines = [{"variant": BEFORE, **{key: _told(replace(before[key], low=None)) for key in names}}]
    for row in (row for row in rows if row["variant"] in hidden):
        line = {"variant": row["variant"]}
        for key, f in {side_by_side(f): f for f in figures_in(row) if side_by_side(f) in names}.items():
            was, scale = before[key].value, measure(f.measure).scale
            absolute = f.measure in ("auc", "ssim")
            if f.value is None or (was is None and not absolute):
                line[key] = NONE
                continue
            line[key] = f.text if absolute else f"{scale * (f.value - (was or 0)):+.1f}"
            if wanted[f.measure] in hidden[row["variant"]]:
                line[key] = f"**{line[key]}**"
        lines.append(line)
    filled = [key for key in names if any(line.get(key, NONE) != NONE for line in lines[1:])]
    return markdown(lines, {"variant": "hidden", **{key: heads[key] for key in filled}})


def _is(measure: str, name: str) -> bool:
    rate = rate_of(measure)
    return measure == name or (rate is not None and rate[0] == name)


def _main_measures(result: Mapping[str, Any]) -> list[str]:
    """The columns that get a table of their own: those of the kind, in the order they first come."""
    wanted = _MAIN.get(result["kind"], ())
    keys = dict.fromkeys(key for row in result["rows"] for key in row)
    keys |= dict.fromkeys(p["measure"] for p in result["published"])
    return [key for key in keys if any(_is(key, name) for name in wanted)]


def _beside_published(result: Mapping[str, Any], name: str) -> str:
    """One line a set and judge, one column a variant; the published lines stand below ours of the same set."""
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in result["rows"]:
        line = (row["set"], judge(row))
        lines.setdefault(line, {})[row["variant"]] = _told(figure_of(row, name))
    for given in result["published"]:
        if given["measure"] == name:
            line = (given["set"], f"{given['by']} ({given['source']})")
            lines.setdefault(line, {})[given["variant"]] = _told(Figure(measure=name, value=given["value"]))
    order = [BEFORE, *(m["label"] for m in result["methods"])]
    order += [v for v in dict.fromkeys(p["variant"] for p in result["published"]) if v not in order]
    variants = [v for v in order if any(v in cells for cells in lines.values())]
    if not variants:
        return ""
    sets = list(dict.fromkeys(name for name, _ in lines))  # a set's lines stand together, ours first
    rows: list[Published] = []
    for (place, by), cells in sorted(lines.items(), key=lambda line: sets.index(line[0][0])):
        rows.append({"set": place, "by": by, **{f"v{i}": cells.get(v, NONE) for i, v in enumerate(variants)}})
    return markdown(rows, {"set": "set", "by": "by", **{f"v{i}": v for i, v in enumerate(variants)}})


def _everything(rows: Sequence[Published]) -> str:
    """All rows; an interval stands in its figure's cell, and columns that no row fills are left out."""
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if _shown(key, value))
    first = [key for key in (*_ABOUT[:-1], *_COUNTS) if key in keys]
    columns = first + [key for key in keys if key not in first and key != "note"] + (["note"] if "note" in keys else [])
    cells = [{key: _cell(row, key) for key in columns} for row in rows]
    return markdown(cells, {key: _word(key) for key in columns})


def _shown(key: str, value: object) -> bool:
    return key != "refused" and not is_interval(key) and isinstance(value, str | int | float)


def _word(key: str) -> str:
    return _FACTS.get(key) or measure(key).head


def _cell(row: Published, key: str) -> str:
    """What stands in a column of a row: a figure with its interval, a fact, or a dash."""
    if key in ("before", "protected") and "measure" in row:
        return _told(figure_of(row, str(row["measure"]), key))
    if key == "measure":
        return _word(str(row[key])) if row.get(key) else NONE
    return _told(figure_of(row, key)) if is_measure(key) else _text(row.get(key))


def _told(figure: Figure) -> str:
    """A figure with its interval, in a cell's width.

    >>> _told(Figure(measure="error", value=0.225, low=0.2, high=0.25)), _told(Figure(measure="auc"))
    ('22.5% (20.0–25.0)', '–')
    """
    if figure.value is None:
        return NONE
    interval = f" ({figure.interval.removesuffix(' %')})" if figure.interval else ""
    return figure.text.replace(" %", "%") + interval


def _text(value: Any) -> str:
    return NONE if value is None or value == "" else str(value)
