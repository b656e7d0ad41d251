"""What the user tells of an audit's photos: labels, and pairs."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from ...datasets.labels import (
    OLDEST,
    UNKNOWN,
    Names,
    about_dates,
    parse_age,
    parse_ages,
    parse_gender,
    read_label_file,
)
from ...datasets.pairs import Pair, lfw_pairs, read_pairs
from ...datasets.table import Table
from ...errors import DataError, UsageError, shown
from .pairing import some

_LABELS = ("gender", "identity", "age", "race")


def read_labels(path: Path | str, table: Table) -> tuple[Table, list[str]]:
    """The table with what a CSV says of its photos, which beats what the table knew; and notes.

    The CSV's header needs ``file`` and one or more of ``gender``, ``identity``, ``age`` and ``race``
    (:data:`halfmask.datasets.labels.COLUMNS` has further words for each). A file is named by its path within
    ORIGINALS, by its bare name when only one photo has it, or by its whole path. Genders are female, f, 0, male, m, 1
    in any case, ages years or a range such as 50-59; an empty cell is unknown. Rows of photos that are not there are
    left out, and a note names them.

    Raises :class:`~halfmask.errors.UsageError` for a file that cannot be read, lacks a column, names no photo that is
    there, uses a name that several photos go by, or holds other values or two for one photo; it lists all of a kind
    with their lines.
    """
    path = Path(path)
    place = shown(path)
    names: Names[str] = Names()
    for row in table:
        names.add(row.key, row.key, row.path, os.path.abspath(row.path))  # noqa: PTH100  links stay as they are
    rows = {row.key: row for row in table}
    labels: dict[tuple[str, str], object] = {}
    absent: list[str] = []
    ambiguous: list[str] = []
    odd, clashing = [], []
    try:
        lines = read_label_file(path, any_of=_LABELS).rows
    except DataError as error:
        raise UsageError(f"the labels cannot be used: {error}") from error
    if not lines:
        raise UsageError(f"the labels file {place} has a first line and no rows below it; expected a row a photo")
    for line in lines:
        keys = names.find(line.file)
        if len(keys) != 1:
            (ambiguous if keys else absent).append(f"{shown(line.file)} (line {line.line})")
            continue
        key = min(keys)
        for column in _LABELS:
            text = line.cells.get(column, "")
            if text.lower() in UNKNOWN:
                continue
            value = _value(column, text)
            if value is None:
                odd.append(f"{column} {shown(text)} (line {line.line})")
            elif labels.setdefault((key, column), value) != value:
                clashing.append(f"{column} of {shown(line.file)} (line {line.line})")
    notes = about_dates(shown(path.name), [line.cells.get("age", "") for line in lines])
    problems = []
    if ambiguous:
        problems.append(f"uses names that several photos go by: {some(ambiguous)}")
    if odd:
        problems.append(
            f"holds values that are none: {some(odd)}; expected female or male, and ages from 0 to {OLDEST} years"
        )
    if clashing:
        problems.append(f"says two things about one photo: {some(clashing)}")
    if lines and len(absent) == len(lines):
        problems.append(f"names no photo of ORIGINALS: {some(absent, 3)}; ORIGINALS holds {some(list(rows), 3)}")
    if problems:
        raise UsageError(f"the labels file {place} " + "; it ".join(problems))
    for (key, column), value in labels.items():
        if column == "age":
            age, ages = (None, value) if isinstance(value, tuple) else (value, None)
            rows[key] = replace(rows[key], age=age, age_range=ages)  # type: ignore[arg-type]
        else:
            rows[key] = replace(rows[key], **{column: value})  # type: ignore[arg-type]
    if absent:
        notes.append(f"{shown(path.name)} names {len(absent)} photos that are not among the originals: {some(absent)}.")
    return replace(table, rows=list(rows.values())), notes


def _value(column: str, text: str) -> object | None:
    """What a cell says: 0 or 1, years, a range of years or a word; None when it is none."""
    if column == "gender":
        return parse_gender(text)
    if column == "age":
        age = parse_age(text)
        return parse_ages(text) if age is None else age
    return text


def read_pair_list(path: Path | str, table: Table) -> tuple[list[Pair], list[str]]:
    """The pairs that a CSV (columns a, b, same) or LFW's own ``pairs.txt`` names, and notes of what was left out.

    Raises :class:`~halfmask.errors.UsageError` when the file cannot be read or none of its pairs is left.
    """
    path = Path(path)
    try:
        pairs = (
            lfw_pairs(table.root, str(path.resolve()))
            if path.suffix.lower() == ".txt" and table.name == "lfw"
            else read_pairs(path, table)
        )
    except DataError as error:
        raise UsageError(f"the pairs file {shown(path)} cannot be used: {error}") from error
    keys = {row.key for row in table}
    usable = [pair for pair in pairs if pair.a in keys and pair.b in keys]
    problems = list(pairs.problems)
    if not usable:
        why = f": {some(problems)}" if problems else ""
        raise UsageError(f"the pairs file {shown(path)} names no two photos that are here{why}; ORIGINALS holds "
                         f"{some([shown(row.key) for row in table], 3)}")  # fmt: skip
    notes = []
    if problems:
        notes.append(f"{len(problems)} rows of {shown(path.name)} were left out: {some(problems)}.")
    if len(usable) < len(pairs):
        notes.append(f"{len(pairs) - len(usable)} pairs name photos that are not in this set and were left out.")
    return usable, notes
