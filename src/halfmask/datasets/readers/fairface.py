"""FairFace: 97,698 faces balanced over seven races, with gender and nine age ranges.

Format: https://github.com/joojs/fairface (Kärkkäinen & Joo, FairFace, WACV 2021): a zip of pictures with margin 0.25
or 1.25, and two CSV files ``file,age,gender,race,service_test``.
"""

from __future__ import annotations

from pathlib import Path

from halfmask.datasets.labels import about_dates, is_lost_date, parse_ages, parse_gender, read_label_file
from halfmask.datasets.readers.layout import first_existing, key_of, nothing_found
from halfmask.datasets.table import Row, Split, Table
from halfmask.errors import DataError, shown
from halfmask.photos.listing import list_pictures

_PICTURES = (".", "fairface-img-margin025-trainval", "fairface-img-margin125-trainval")
_SPLITS: dict[str, Split] = {"train": "train", "val": "valid"}


def read_fairface(root: Path) -> Table:
    """Read FairFace: gender, race and age range; ``train`` is the split train and ``val`` is valid. No identities.

    Expects ``train/N.jpg``, ``val/N.jpg``, ``fairface_label_train.csv`` and ``fairface_label_val.csv`` (Kaggle's copy
    calls them ``train_labels.csv`` and ``val_labels.csv``); the pictures may also stand in the folder that the zip
    unpacks to. ``"50-59"`` becomes the range (50, 59), ``"more than 70"`` the range (70, 120); dates that a spreadsheet
    made of ranges are what they were (:func:`halfmask.datasets.labels.was_a_range`). A picture that no row names is
    kept, unlabelled, and so are all when the CSV's columns are not known.

    Raises DataError when there are no pictures in ``train`` or ``val``.
    """
    base = next((root / p for p in _PICTURES if (root / p / "train").is_dir() or (root / p / "val").is_dir()), root)
    csvs = {
        part: first_existing(root, [f"{place}{name}" for place in ("", f"{base.name}/") for name in _lists(part)])
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
        listed = path.name if path else _lists(part)[0]
        if path is None:
            problems.append(f"{listed}: not there, so the pictures in {part}/ have no labels")
        try:
            label_rows = read_label_file(path, any_of=("gender", "age", "race")).rows if path else []
        except DataError as error:
            problems.append(f"{listed}: {error}")
            label_rows = []
        problems += about_dates(listed, [row.cells.get("age", "") for row in label_rows])
        for row in label_rows:
            name = row.file.rpartition("/")[2]
            where = f"{listed} line {row.line} ({shown(row.file)})"
            if name not in pictures[part]:
                problems.append(f"{where}: there is no such picture; skipped")
                continue
            if name in labels:
                problems.append(f"{where}: names a picture a second time; the first row counts")
                continue
            gender_word, age = row.cells.get("gender", ""), row.cells.get("age", "")
            gender, ages = parse_gender(gender_word), parse_ages(age)
            if gender is None:
                problems.append(f"{where}: gender {shown(gender_word)!r} is neither Female nor Male; unknown")
            if ages is None and not is_lost_date(age):
                problems.append(f"{where}: age {shown(age)!r} is no range of years; unknown")
            picture = pictures[part][name]
            race = row.cells.get("race") or None
            labels[name] = Row(key_of(root, picture), picture, None, gender, None, ages, race, split)
        without = [name for name in pictures[part] if name not in labels]
        if path and without:
            problems.append(f"{path.name}: has no row for {len(without)} pictures, the first is {shown(without[0])}")
        for name, picture in pictures[part].items():
            rows.append(labels.get(name) or Row(key_of(root, picture), picture, split=split))
    return Table("fairface", root, rows, problems)


def _lists(part: str) -> tuple[str, ...]:
    """What the list of a part is called: as published, or in Kaggle's copy."""
    return f"fairface_label_{part}.csv", f"{part}_labels.csv"
