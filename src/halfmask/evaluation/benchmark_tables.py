"""From a benchmark's rows to its files: JSON with everything, CSV to compute with, Markdown to read."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..storage import ensure_folder, whole
from . import frontier
from .overview import DETAILS
from .protocol import BEFORE
from .tables import Row, markdown

#: kind → what names the judge of a row. The figure of each judge stands in one line, variants side by side.
_JUDGES: dict[str, tuple[str, ...]] = {
    "gender": ("referee",),
    "matching": ("matcher",),
    "age": ("referee",),
    "race": ("referee",),
    "attackers": ("attack", "reader"),
}
#: kind → the figures that get a table of their own, beside the published ones; a prefix of the rows' keys.
_MAIN = {
    "gender": ("error",),
    "matching": ("tmr@",),
    "age": ("mae",),
    "race": ("balanced_accuracy",),
    "attackers": ("balanced_accuracy",),
}
_ABOUT = ("set", "variant", "referee", "matcher", "attack", "reader", "attribute", "group", "measure", "note")
_COUNTS = ("n", "lost", "people", "genuine", "impostors", "n_train", "n_test")
_PLAIN = ("auc", "ssim", "mssim", "linf", "match_probability")
_YEARS = ("mae", "rmse", "psnr", "l2", "years", "ms")
_WORDS = {
    "referee": "by",
    "matcher": "by",
    "n": "faces",
    "lost": "lost",
    "genuine": "genuine pairs",
    "impostors": "impostor pairs",
    "error": "error",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "eer": "EER",
    "mae": "MAE, years",
    "rmse": "RMSE, years",
    "cs5": "within 5 years",
    "ssim": "SSIM",
    "mssim": "MSSIM",
    "psnr": "PSNR, dB",
    "l2": "L2",
    "linf": "L∞",
    "match_probability": "match probability",
    "n_train": "faces to learn on",
    "n_test": "faces judged",
    "unattacked_balanced_accuracy": "without the attack",
    "originals_balanced_accuracy": "on originals",
    "retrained": "retrained CNN",
    "probe": "linear probe",
    "attacked": "best attacker",
    "race": "race",
    "years": "age moved, years",
    "same": "same race",
    "ms": "ms a face",
}
#: The columns of an overview's main table, each for all of its referees, and what stands in the further ones.
_OVERVIEW = ("hides", "auc", "retrained", "probe", "attacked", "tmr@", "ssim", "ms")
_FURTHER = {
    "gender as the referees read it": ("n", "lost", "accuracy", "balanced_accuracy", "eer"),
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
_NONE = "–"
_LOW, _HIGH = "_low", "_high"


def write(result: Mapping[str, Any], folder: Path) -> list[Path]:
    """Write ``NAME.json``, ``NAME.csv`` and ``NAME.md`` of a result of :func:`halfmask.evaluation.benchmark.run`.

    And of an overview ``NAME-frontier.png``, where it has what :mod:`halfmask.evaluation.frontier` shows. Each file is
    whole or as it was. Raises :class:`~halfmask.errors.DataError` when they cannot be written.
    """
    texts = {"json": json.dumps(result, indent=1, default=str) + "\n", "csv": to_csv(result), "md": to_markdown(result)}
    paths = []
    for suffix, text in texts.items():
        path = ensure_folder(folder) / f"{result['name']}.{suffix}"
        with whole(path) as fresh:
            fresh.write_text(text, "utf-8")
        paths.append(path)
    drawn = frontier.plot(result, folder / f"{result['name']}-frontier.png") if result["kind"] == "overview" else None
    return paths + ([drawn] if drawn else [])


def to_csv(result: Mapping[str, Any]) -> str:
    """Our rows and the published ones, a line each; ``source`` says whose, and what a row lacks is empty."""
    rows = [{"source": "here", **row} for row in result["rows"]]
    judge = _JUDGES.get(result["kind"], ("by",))[-1]
    for given in result["published"]:
        about = {"source": given["source"], "set": given["set"], "variant": given["variant"], judge: given["by"]}
        rows.append({**about, given["measure"]: given["value"]})
    columns = list(dict.fromkeys(key for row in rows for key in row))
    out = io.StringIO()
    writer = csv.DictWriter(out, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def to_markdown(result: Mapping[str, Any]) -> str:
    """The page: the main figures beside the published ones, then everything that was measured, then what was not."""
    parts = [f"# {result['title']}", f"Source: {result['source']}. Measured by halfmask {result['halfmask']}."]
    parts += [_sets(result["sets"])] if result["sets"] else []
    measured = result["rows"]
    if result["kind"] == "overview":
        parts += _overview(result)
        measured = [row for rows in result.get("details", {}).values() for row in rows]
    else:
        for measure in _main_measures(result):
            table = _side_by_side(result, measure)
            parts += [f"## {_word(measure)}", table] if table else []
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
    return markdown([{key: _text(key, s[key]) for key in heads} for s in sets], heads)


def _overview(result: Mapping[str, Any]) -> list[str]:
    """The sections of an overview: a table a set, who is on the frontier, and everything with its intervals."""
    sections = []
    for name in dict.fromkeys(row["set"] for row in result["rows"]):
        rows = [row for row in result["rows"] if row["set"] == name]
        sections += [f"## {name}", _columns(rows, _OVERVIEW)]
        for title, stems in _FURTHER.items():
            sections += [f"### {name}: {title}", _columns(rows, stems)]
    lines = []
    for (name, privacy), points in frontier.panels(result).items():
        kept = ", ".join(p.label for p in frontier.front(points))
        lines.append(f"- {name}, {frontier.PRIVACY[privacy][0]}: {kept}")
        lines += [f"  - {k} is beaten by {', '.join(by)}" for k, by in frontier.dominated(points).items()]
    if lines:
        said = "Methods that no other beats in both TMR at FMR 0.1 % and privacy:"
        sections += ["## Frontier of privacy and utility", said + "\n\n" + "\n".join(lines)]
    for part in DETAILS:
        if rows := result.get("details", {}).get(part):
            sections += [f"## Everything measured: {_PARTS[part]}", _everything(rows)]
    return sections


def _columns(rows: Sequence[Row], stems: Sequence[str]) -> str:
    """The columns of these stems, each for every referee that has it; those that no row fills are left out."""
    keys = [key for stem in stems for key in rows[0] if key.partition("/")[0] == stem or _is_rate(key, stem)]
    keys = [key for key in keys if any(row.get(key) not in (None, "") for row in rows)]
    cells = [{"variant": row["variant"], **{key: _text(_stem(key), row.get(key)) for key in keys}} for row in rows]
    heads = {key: ", ".join(filter(None, [_word(_stem(key)), key.partition("/")[2]])) for key in keys}
    return markdown(cells, {"variant": "method", **heads})


def _is_rate(key: str, stem: str) -> bool:
    return stem.endswith("@") and key.startswith(stem)


def _stem(key: str) -> str:
    return key.partition("/")[0]


def _main_measures(result: Mapping[str, Any]) -> list[str]:
    """The columns that get a table of their own: those of the kind, in the order they first come."""
    wanted = _MAIN.get(result["kind"], ())
    keys = dict.fromkeys(key for row in result["rows"] for key in row)
    keys |= dict.fromkeys(p["measure"] for p in result["published"])
    keys = {key: None for key in keys if not key.endswith((_LOW, _HIGH))}
    return [key for key in keys if any(key == w or _is_rate(key, w) for w in wanted)]


def _side_by_side(result: Mapping[str, Any], measure: str) -> str:
    """One line a set and judge, one column a variant; the published lines stand below ours of the same set."""
    judges = _JUDGES[result["kind"]]
    lines: dict[tuple[str, str], dict[str, str]] = {}
    for row in result["rows"]:
        line = (row["set"], ", ".join(str(row[j]) for j in judges if row.get(j)))
        lines.setdefault(line, {})[row["variant"]] = _with_interval(row, measure)
    for given in result["published"]:
        if given["measure"] == measure:
            line = (given["set"], f"{given['by']} ({given['source']})")
            lines.setdefault(line, {})[given["variant"]] = _text(measure, given["value"])
    order = [BEFORE, *(m["label"] for m in result["methods"])]
    order += [v for v in dict.fromkeys(p["variant"] for p in result["published"]) if v not in order]
    variants = [v for v in order if any(v in cells for cells in lines.values())]
    if not variants:
        return ""
    sets = list(dict.fromkeys(name for name, _ in lines))  # a set's lines stand together, ours first
    rows: list[Row] = []
    for (name, judge), cells in sorted(lines.items(), key=lambda line: sets.index(line[0][0])):
        rows.append({"set": name, "by": judge, **{f"v{i}": cells.get(v, _NONE) for i, v in enumerate(variants)}})
    return markdown(rows, {"set": "set", "by": "by", **{f"v{i}": v for i, v in enumerate(variants)}})


def _everything(rows: Sequence[Row]) -> str:
    """All rows; an interval stands in its figure's cell, and columns that no row fills are left out."""
    keys = dict.fromkeys(key for row in rows for key, value in row.items() if _shown(key, value))
    first = [key for key in (*_ABOUT[:-1], *_COUNTS) if key in keys]
    columns = first + [key for key in keys if key not in first and key != "note"] + (["note"] if "note" in keys else [])
    cells = [{key: _with_interval(row, key) for key in columns} for row in rows]
    return markdown(cells, {key: _word(key) for key in columns})


def _shown(key: str, value: object) -> bool:
    if key == "refused" or key.endswith((_LOW, _HIGH)):
        return False
    return isinstance(value, str | int | float)


def _with_interval(row: Row, key: str) -> str:
    text = _text(key, row.get(key))
    stem = key.removesuffix("_accuracy")
    low, high = row.get(stem + _LOW), row.get(stem + _HIGH)
    if low is None or high is None or text == _NONE:
        return text
    return f"{text} ({_text(key, low).rstrip('%')}–{_text(key, high).rstrip('%')})"


def _word(key: str) -> str:
    if key.startswith("tmr@"):
        return f"TMR at FMR {float(key.removeprefix('tmr@')) * 100:g} %"
    return _WORDS.get(key, key.replace("_", " "))


def _text(key: str, value: Any) -> str:
    """A figure as text: shares as percent, others plain.

    >>> _text("error", 0.225), _text("auc", 0.8512), _text("psnr", 20.71), _text("n", 1598), _text("eer", None)
    ('22.5%', '0.851', '20.7', '1598', '–')
    """
    if value is None or value == "":
        return _NONE
    if key == "measure":
        return _word(str(value))
    if isinstance(value, bool | str | int):
        return str(value).replace("|", "/")
    form: Callable[[float], str] = "{:.1%}".format
    if key in _PLAIN:
        form = "{:.3f}".format
    elif key in _YEARS:
        form = "{:.1f}".format
    return _NONE if value != value else form(value)
