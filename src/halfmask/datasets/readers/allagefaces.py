"""All-Age-Faces: 13,322 faces, each of another person, from 2 to 80 years.

Format: https://github.com/JingchunCheng/All-Age-Faces-Dataset (Cheng et al., Exploiting Effective Facial Patches for
Robust Gender Recognition, Tsinghua Science and Technology 24(3), 2019): ``SSSSSAYY.jpg`` is serial number and age;
serials 00000 to 07380 are female, the rest male; ``image sets/train.txt`` and ``val.txt`` hold name and gender.
"""

from __future__ import annotations

import re
from pathlib import Path

from halfmask.datasets.labels import text_lines
from halfmask.datasets.readers.layout import first_existing, key_of, match_names, nothing_found
from halfmask.datasets.table import Row, Split, Table
from halfmask.errors import shown
from halfmask.photos.listing import list_pictures

# "aglined faces" is how the download spells it.
_PICTURES = ("original images", "aglined faces", "aligned faces")
_NAME = re.compile(r"(\d{5})A(\d{2})\.\w+$", re.IGNORECASE)
_SPLITS: dict[str, Split] = {"train": "train", "val": "valid"}
LAST_FEMALE = 7380


def read_allagefaces(root: Path) -> Table:
    """Read All-Age-Faces: identity (the serial number), gender, age in years, and the authors' split (train, valid).

    Expects ``original images/00000A02.jpg`` (else ``aglined faces/``) and ``image sets/train.txt``, ``val.txt``, in the
    root or in ``All-Age-Faces Dataset/``. A picture in no list gets its gender from its serial number, and no split.

    Raises DataError when no picture is named as All-Age-Faces names them.
    """
    base = next((b for b in (root, root / "All-Age-Faces Dataset") if first_existing(b, _PICTURES)), root)
    folder = first_existing(base, _PICTURES) or base
    pictures = {key_of(root, path): path for path in list_pictures(folder).values()}
    problems: list[str] = []
    listed = _lists(base, {path.name for path in pictures.values()}, problems)
    rows = []
    for key, path, labels in match_names(pictures, _NAME, "00000A02.jpg", problems):
        gender, split = listed.get(path.name, (int(int(labels[1]) > LAST_FEMALE), None))
        rows.append(Row(key, path, labels[1], gender, float(labels[2]), split=split))
    if not rows:
        raise nothing_found("allagefaces", root, "original images/ with pictures named as 00000A02.jpg")
    return Table("allagefaces", root, rows, problems)


def _lists(base: Path, names: set[str], problems: list[str]) -> dict[str, tuple[int, Split | None]]:
    """Picture name → gender and split, as the two lists say."""
    labels: dict[str, tuple[int, Split | None]] = {}
    for stem, split in _SPLITS.items():
        path = first_existing(base, [f"image sets/{stem}.txt"])
        for number, line in text_lines(path) if path else ():
            name, _, gender = line.partition(" ")
            name = name if "." in name else f"{name}.jpg"
            where = f"image sets/{stem}.txt line {number} ({shown(line[:60])})"
            if gender not in ("0", "1"):
                problems.append(f"{where}: not a name and 0 or 1; skipped")
            elif name not in names:
                problems.append(f"{where}: there is no such picture; skipped")
            elif name in labels:
                problems.append(f"{where}: names a picture a second time; the first row counts")
            else:
                labels[name] = int(gender), split
    return labels
