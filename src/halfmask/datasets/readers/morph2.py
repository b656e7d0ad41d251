"""MORPH-2 (Album 2, non-commercial): 55,134 mugshots of 13,618 people with age, gender and race.

Format: the header of the release's ``morph_2008_nonCommercial.csv`` (Ricanek & Tesafaye, MORPH: A Longitudinal Image
Database of Normal Adult Age-Progression, FGR 2006), columns ``id_num, picture_num, dob,
doa, race, gender, facial_hair, age, age_diff, glasses, photo``, where ``photo`` is ``Album2/009055_1M54.JPG``: person
009055, picture 1, male, 54 years old.
"""

from __future__ import annotations

import re
from pathlib import Path

from halfmask.datasets.labels import OLDEST, csv_rows
from halfmask.datasets.readers.layout import NOT_NAMED, first_existing, key_of, nothing_found
from halfmask.datasets.table import Row, Table
from halfmask.errors import shown
from halfmask.photos.listing import list_pictures

_NAME = re.compile(r"(\d+)_(\d+)([MF])(\d{1,3})\.\w+$", re.IGNORECASE)
_GENDERS = {"F": 0, "M": 1}
_RACES = {"W": "White", "B": "Black", "A": "Asian", "H": "Hispanic", "I": "Indian", "O": "Other", "U": None, "": None}


def read_morph2(root: Path) -> Table:
    """Read MORPH-2: identity (six digits), gender, age in whole years, and race. No split.

    Expects ``Album2/009055_1M54.JPG`` and the release's CSV in the root; without the CSV, identity, gender and age come
    from the file name and race is unknown. Race is written out: White, Black, Asian, Hispanic, Indian, Other.

    Raises DataError when there is no picture that the CSV lists or that is named as MORPH-2 names them.
    """
    folder = first_existing(root, ("Album2", "Album 2")) or root
    # Copies differ in the case of .JPG, so pictures are looked up by their name in capitals.
    pictures = {name.upper(): path for name, path in list_pictures(folder).items()}
    problems: list[str] = []
    labels = _labels(root, pictures, problems)
    rows = []
    for name, path in pictures.items():
        row = labels.get(name) or _from_name(root, path)
        if row is None:
            problems.append(f"{shown(key_of(root, path))}: {NOT_NAMED} 009055_1M54.JPG; skipped")
        else:
            rows.append(row)
    if not rows:
        raise nothing_found("morph2", root, "Album2/ with pictures named as 009055_1M54.JPG")
    return Table("morph2", root, rows, problems)


def _from_name(root: Path, path: Path) -> Row | None:
    match = _NAME.match(path.name)
    if match is None or int(match[4]) > OLDEST:
        return None
    return Row(key_of(root, path), path, match[1].zfill(6), _GENDERS[match[3].upper()], float(match[4]))


def _labels(root: Path, pictures: dict[str, Path], problems: list[str]) -> dict[str, Row]:
    """Name in capitals → row, of each picture that the release's CSV lists."""
    rows: dict[str, Row] = {}
    csvs = sorted(p for p in root.glob("*.csv") if p.name.lower().startswith("morph_"))
    if not csvs and pictures:
        problems.append(
            "morph_2008_nonCommercial.csv: not there, so race is unknown and the rest is read from file names"
        )
    for number, cells in csv_rows(csvs[0]) if csvs else ():
        name = cells.get("photo", "").replace("\\", "/").rpartition("/")[2].upper()
        where = f"{csvs[0].name} line {number} ({shown(name) or 'no photo'})"
        gender, race, age = cells.get("gender", "").upper(), cells.get("race", "").upper(), cells.get("age", "")
        if name not in pictures:
            problems.append(f"{where}: there is no such picture; skipped")
        elif name in rows:
            problems.append(f"{where}: names a picture a second time; the first row counts")
        elif gender not in _GENDERS or race not in _RACES or not age.isdecimal() or int(age) > OLDEST:
            got = shown(f"gender {gender!r}, race {race!r}, age {age!r}")
            problems.append(f"{where}: {got} is not a row of MORPH-2; the file name counts instead")
        else:
            path = pictures[name]
            match = _NAME.match(path.name)
            identity = (match[1] if match else cells.get("id_num", "")).zfill(6)
            rows[name] = Row(key_of(root, path), path, identity, _GENDERS[gender], float(age), race=_RACES[race])
    return rows
