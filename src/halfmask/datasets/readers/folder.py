"""Any folder of pictures, with a CSV of labels or without one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from halfmask.datasets.labels import (
    GENDER_WORDS,
    OLDEST,
    SPLIT_WORDS,
    UNKNOWN,
    LabelFile,
    Names,
    about_dates,
    is_lost_date,
    parse_age,
    parse_ages,
    read_label_file,
    refuse_half_a_gender,
)
from halfmask.datasets.readers.layout import nothing_found, walk_pictures
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, shown

T = TypeVar("T")


def read_folder(root: Path) -> Table:
    """Read any folder, its pictures found recursively.

    With a CSV in the root: the pictures that it names, with its labels. Its header needs a column ``file`` (path from
    the root, or a file name that stands there once) and may have identity, gender (female, male, f, m, 0, 1), age
    (years, or a range such as 50-59), race, split (train, valid, test); see
    :data:`~halfmask.datasets.labels.COLUMNS` for other words taken. Of several such CSVs, ``labels.csv`` or else the
    first by name counts. A value that is none of these is named and unknown; a row whose file is missing is named and
    skipped; a file that is not known as a whole is named and not used.

    Without one: every picture, unlabelled.

    Raises DataError when there is no picture, and for a ``labels.csv`` that is not known as a whole.
    """
    problems: list[str] = []
    pictures = walk_pictures(root, problems)
    if not pictures:
        raise nothing_found("folder", root, "pictures (.jpg, .png, …), and for labels a CSV with a column 'file'")
    labels = _label_file(root, problems)
    if labels is None:
        return Table("folder", root, [Row(key, picture) for key, picture in pictures.items()], problems)
    refuse_half_a_gender(labels)
    names: Names[str] = Names()
    for key, picture in pictures.items():
        names.add(key, key, picture)
    rows: dict[str, Row] = {}
    name = shown(labels.path.name)
    problems += about_dates(name, [row.cells.get("age", "") for row in labels.rows])
    split_words = {row.cells.get("split", "").lower() for row in labels.rows} - UNKNOWN
    no_split = bool(split_words) and not split_words & set(SPLIT_WORDS)  # a "set" may be anything else
    if no_split:
        problems.append(f"{name}: {shown(', '.join(sorted(split_words)[:3]))} are no splits; that column is not used")
    for row in labels.rows:
        where = f"{name} line {row.line} ({shown(row.file) or 'no file'})"
        keys = names.find(row.file)
        if len(keys) != 1:
            why = f"{len(keys)} pictures have this name; give the path" if keys else "there is no such picture"
            problems.append(f"{where}: {why}; skipped")
        elif (key := min(keys)) in rows:
            problems.append(f"{where}: names a picture a second time; the first row counts")
        else:
            cells = {c: v for c, v in row.cells.items() if not (no_split and c == "split")}
            rows[key] = _row(key, pictures[key], cells, where, problems)
    left_out = [key for key in pictures if key not in rows]
    if left_out:
        problems.append(f"{name}: names {len(rows)} of {len(pictures)} pictures; {len(left_out)} left out, "
                        f"the first is {shown(left_out[0])}")  # fmt: skip
    if not rows:
        raise DataError(
            f"{shown(labels.path)} names none of the {len(pictures)} pictures below its folder; {problems[0]}"
        )
    return Table("folder", root, list(rows.values()), problems)


def _label_file(root: Path, problems: list[str]) -> LabelFile | None:
    """The first CSV in the root that is a label file."""
    usable: list[LabelFile] = []
    for path in sorted(root.glob("*.[cC][sS][vV]"), key=lambda p: (p.name.lower() != "labels.csv", p.name)):
        try:
            usable.append(read_label_file(path))
        except DataError as error:
            if path.name.lower() == "labels.csv":
                raise
            problems.append(f"{shown(path.name)}: not used as labels: {error}")
    for other in usable[1:]:
        problems.append(f"{shown(other.path.name)}: a second file of labels; only {shown(usable[0].path.name)} is used")
    return usable[0] if usable else None


def _row(key: str, path: Path, values: Mapping[str, str], where: str, problems: list[str]) -> Row:
    """One picture with its labels; a value that is none is named and unknown."""
    age_text = values.get("age", "")
    ages = None if age_text.lower() in UNKNOWN else parse_ages(age_text)
    age = None
    if ages is None and age_text.lower() not in UNKNOWN:
        age = parse_age(age_text)
        if age is None and not is_lost_date(age_text):
            problems.append(f"{where}: age {shown(age_text)!r} is not 0 to {OLDEST} years; unknown")
    race, identity = values.get("race", ""), values.get("identity", "")
    return Row(
        key,
        path,
        None if identity.lower() in UNKNOWN else identity,
        _word("gender", values, GENDER_WORDS, where, problems),
        age,
        ages,
        None if race.lower() in UNKNOWN else race,
        _word("split", values, SPLIT_WORDS, where, problems),
    )


def _word(column: str, values: Mapping[str, str], words: Mapping[str, T], where: str, problems: list[str]) -> T | None:
    text = values.get(column, "")
    if text.lower() in UNKNOWN:
        return None
    if text.lower() not in words:
        problems.append(f"{where}: {column} {shown(text)!r} is none of {', '.join(words)}; unknown")
    return words.get(text.lower())
