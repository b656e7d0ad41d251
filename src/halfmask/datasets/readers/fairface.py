"""FairFace: 97,698 faces balanced over seven races, with gender and nine age ranges.

Format: https://github.com/joojs/fairface (Kärkkäinen & Joo, FairFace, WACV 2021): a zip of pictures with margin 0.25
or 1.25, and two CSV files ``file,age,gender,race,service_test``.
"""

from __future__ import annotations

from pathlib import Path

from halfmask.datasets.readers.files import (
    csv_rows,
    first_existing,
    key_of,
    list_pictures,
    nothing_found,
    parse_ages,
    printable,
)
from halfmask.datasets.table import Row, Split, Table

_PICTURES = (".", "fairface-img-margin025-trainval", "fairface-img-margin125-trainval")
_SPLITS: dict[str, Split] = {"train": "train", "val": "valid"}
_GENDERS = {"Female": 0, "Male": 1}


def read_fairface(root: Path) -> Table:
    """Read FairFace: gender, race and age range; ``train`` is the split train and ``val`` is valid. No identities.

    Expects ``train/N.jpg``, ``val/N.jpg``, ``fairface_label_train.csv`` and ``fairface_label_val.csv``; the pictures
    may also stand in the folder that the zip unpacks to. ``"50-59"`` becomes the range (50, 59), ``"more than 70"``
    the range (70, 120). A picture that no row names is kept, unlabelled.

    Raises DataError when there are no pictures in ``train`` or ``val``.
    """
    base = next((root / p for p in _PICTURES if (root / p / "train").is_dir() or (root / p / "val").is_dir()), root)
    csvs = {
        part: first_existing(root, [f"fairface_label_{part}.csv", f"{base.name}/fairface_label_{part}.csv"])
        for part in _SPLITS
    }
    pictures = {part: list_pictures(base / part) for part in _SPLITS}
    if not any(pictures.values()) or not any(csvs.values()):
        raise nothing_found(
            "fairface", root, "train/ or val/ with N.jpg, and fairface_label_train.csv or fairface_label_val.csv"
        )
    rows: list[Row] = []
    problems: list[str] = []
    for part, split in _SPLITS.items():
        labels: dict[str, Row] = {}
        path = csvs[part]
        if path is None:
            problems.append(f"fairface_label_{part}.csv: not there, so the pictures in {part}/ have no labels")
        for number, cells in csv_rows(path) if path else ():
            file = cells.get("file", "")
            name = file.rpartition("/")[2]
            where = f"fairface_label_{part}.csv line {number} ({printable(file)})"
            if name not in pictures[part]:
                problems.append(f"{where}: there is no such picture; skipped")
                continue
            if name in labels:
                problems.append(f"{where}: names a picture a second time; the first row counts")
                continue
            gender, ages = _GENDERS.get(cells.get("gender", "")), parse_ages(cells.get("age", ""))
            if gender is None:
                problems.append(
                    f"{where}: gender {printable(cells.get('gender', ''))!r} is neither Female nor Male; unknown"
                )
            if ages is None:
                problems.append(f"{where}: age {printable(cells.get('age', ''))!r} is no range of years; unknown")
            picture = pictures[part][name]
            race = cells.get("race") or None
            labels[name] = Row(key_of(root, picture), picture, None, gender, None, ages, race, split)
        without = [name for name in pictures[part] if name not in labels]
        if path and without:
            problems.append(
                f"{path.name}: has no row for {len(without)} pictures, the first is {printable(without[0])}"
            )
        for name, picture in pictures[part].items():
            rows.append(labels.get(name) or Row(key_of(root, picture), picture, split=split))
    return Table("fairface", root, rows, problems)
