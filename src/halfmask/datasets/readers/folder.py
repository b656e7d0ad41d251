"""Any folder of pictures, with a CSV of labels or without one."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from halfmask.datasets.readers.files import OLDEST, csv_rows, nothing_found, parse_ages, printable, walk_pictures
from halfmask.datasets.table import Row, Split, Table
from halfmask.errors import DataError

T = TypeVar("T")

COLUMNS: dict[str, tuple[str, ...]] = {
    "file": (
        "file",
        "filename",
        "file_name",
        "path",
        "image",
        "image_id",
        "image_name",
        "img_name",
        "img",
        "photo",
        "key",
    ),
    "identity": ("identity", "id", "person", "person_id", "subject", "subject_id", "identity_id"),
    "gender": ("gender", "sex"),
    "age": ("age", "years"),
    "race": ("race", "ethnicity"),
    "split": ("split", "partition", "set", "subset"),
}
"""Column → the header words it goes by, in any case."""
GENDER_WORDS = {"female": 0, "f": 0, "0": 0, "woman": 0, "w": 0, "male": 1, "m": 1, "1": 1, "man": 1}
"""Gender in a label file → 0 = female, 1 = male; in any case."""
_SPLIT_WORDS: dict[str, Split] = {
    "train": "train",
    "training": "train",
    "0": "train",
    "val": "valid",
    "valid": "valid",
    "validation": "valid",
    "dev": "valid",
    "1": "valid",
    "test": "test",
    "testing": "test",
    "2": "test",
}
_UNKNOWN = frozenset({"", "nan", "na", "n/a", "none", "null", "unknown", "?"})


def read_folder(root: Path) -> Table:
    """Read any folder, its pictures found recursively.

    With a CSV in the root: the pictures that it names, with its labels. Its header needs a column ``file`` (path from
    the root, or a file name that stands there once) and may have identity, gender (female, male, f, m, 0, 1), age
    (years, or a range such as 50-59), race, split (train, valid, test); see COLUMNS for other words taken. Of several
    such CSVs, ``labels.csv`` or else the first by name counts. A value that is none of these is named and unknown; a
    row whose file is missing is named and skipped.

    Without one: every picture, unlabelled.

    Raises DataError when there is no picture.
    """
    problems: list[str] = []
    pictures = walk_pictures(root, problems)
    if not pictures:
        raise nothing_found("folder", root, "pictures (.jpg, .png, …), and for labels a CSV with a column 'file'")
    path, header = _label_file(root, problems)
    if path is None:
        return Table("folder", root, [Row(key, picture) for key, picture in pictures.items()], problems)
    by_name: dict[str, list[str]] = {}
    for key in pictures:
        by_name.setdefault(key.rpartition("/")[2], []).append(key)
    rows: dict[str, Row] = {}
    name = printable(path.name)
    for number, cells in csv_rows(path):
        values = {column: cells.get(word, "") for column, word in header.items()}
        file = values["file"].replace("\\", "/").removeprefix("./")
        where = f"{name} line {number} ({printable(file) or 'no file'})"
        same_name = by_name.get(file, [])
        found = file if file in pictures else same_name[0] if len(same_name) == 1 else None
        if found is None:
            why = (
                f"{len(same_name)} pictures have this name; give the path" if same_name else "there is no such picture"
            )
            problems.append(f"{where}: {why}; skipped")
        elif found in rows:
            problems.append(f"{where}: names a picture a second time; the first row counts")
        else:
            rows[found] = _row(found, pictures[found], values, where, problems)
    left_out = [key for key in pictures if key not in rows]
    if left_out:
        problems.append(f"{name}: names {len(rows)} of {len(pictures)} pictures; {len(left_out)} left out, "
                        f"the first is {printable(left_out[0])}")  # fmt: skip
    if not rows:
        raise DataError(
            f"{printable(str(path))} names none of the {len(pictures)} pictures below its folder; {problems[0]}"
        )
    return Table("folder", root, list(rows.values()), problems)


def _label_file(root: Path, problems: list[str]) -> tuple[Path | None, dict[str, str]]:
    """The CSV in the root that has a column of files, and which header word stands for which column."""
    usable: list[tuple[Path, dict[str, str]]] = []
    for path in sorted(root.glob("*.[cC][sS][vV]"), key=lambda p: (p.name.lower() != "labels.csv", p.name)):
        _, cells = next(csv_rows(path), (0, dict[str, str]()))
        header = {
            column: next(word for word in words if word in cells)
            for column, words in COLUMNS.items()
            if any(word in cells for word in words)
        }
        if "file" in header:
            usable.append((path, header))
        else:
            got = printable(", ".join(cells)) or "no rows"
            problems.append(f"{printable(path.name)}: has no column 'file' (got: {got}); not used as labels")
    for path, _ in usable[1:]:
        problems.append(f"{printable(path.name)}: a second file of labels; only {printable(usable[0][0].name)} is used")
    return usable[0] if usable else (None, {})


def _row(key: str, path: Path, values: dict[str, str], where: str, problems: list[str]) -> Row:
    """One picture with its labels; a value that is none is named and unknown."""
    age_text = values.get("age", "")
    ages = None if age_text.lower() in _UNKNOWN else parse_ages(age_text)
    age = None
    if ages is None and age_text.lower() not in _UNKNOWN:
        age = parse_age(age_text)
        if age is None:
            problems.append(f"{where}: age {printable(age_text)!r} is not 0 to {OLDEST} years; unknown")
    race, identity = values.get("race", ""), values.get("identity", "")
    return Row(
        key,
        path,
        None if identity.lower() in _UNKNOWN else identity,
        _word("gender", values, GENDER_WORDS, where, problems),
        age,
        ages,
        None if race.lower() in _UNKNOWN else race,
        _word("split", values, _SPLIT_WORDS, where, problems),
    )


def _word(column: str, values: dict[str, str], words: Mapping[str, T], where: str, problems: list[str]) -> T | None:
    text = values.get(column, "")
    if text.lower() in _UNKNOWN:
        return None
    if text.lower() not in words:
        problems.append(f"{where}: {column} {printable(text)!r} is none of {', '.join(words)}; unknown")
    return words.get(text.lower())


def parse_age(text: str) -> float | None:
    """An age in years from 0 to 120, or None.

    >>> parse_age("31"), parse_age("31.5"), parse_age("-3"), parse_age("old")
    (31.0, 31.5, None, None)
    """
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age <= OLDEST else None
