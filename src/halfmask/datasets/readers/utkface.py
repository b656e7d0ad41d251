"""UTKFace: 23,708 faces, the labels written in the file name.

Format: https://susanqq.github.io/UTKFace/ (Zhang, Song & Qi, Age Progression/Regression by Conditional Adversarial
Autoencoder, CVPR 2017): ``[age]_[gender]_[race]_[date&time].jpg``, of the aligned and cropped faces
``….jpg.chip.jpg``.
"""

from __future__ import annotations

import re
from pathlib import Path

from halfmask.datasets.readers.layout import key_of, match_names, nothing_found
from halfmask.datasets.table import Row, Table
from halfmask.photos.listing import list_pictures

_FOLDERS = ("UTKFace", "utkface_aligned_cropped/UTKFace", "crop_part1", "part1", "part2", "part3", ".")
_NAME = re.compile(r"(\d{1,3})_([01])_([0-4])_(?=\d)")
_RACES = ("White", "Black", "Asian", "Indian", "Others")


def read_utkface(root: Path) -> Table:
    """Read UTKFace: exact age in years, gender, and race White, Black, Asian, Indian or Others. No identity, no split.

    UTKFace writes 0 for male and 1 for female; here, as everywhere in halfmask, 0 is female and 1 is male. Expects
    the pictures in ``UTKFace/`` (or ``crop_part1``, or ``part1`` to ``part3`` of the in-the-wild faces) or in the root
    itself. A few published names lack a field; they are named in the problems and skipped.

    Raises DataError when no picture is named as UTKFace names them.
    """
    rows: list[Row] = []
    problems: list[str] = []
    for folder in _FOLDERS:
        if folder == "." and rows:
            break  # loose pictures beside the official folders are not UTKFace's
        pictures = {key_of(root, path): path for path in list_pictures(root / folder).values()}
        for key, path, labels in match_names(pictures, _NAME, "AGE_GENDER_RACE_DATE.jpg", problems):
            age, gender, race = (int(text) for text in labels.groups())
            rows.append(Row(key, path, None, 1 - gender, float(age), None, _RACES[race]))
    if not rows:
        raise nothing_found("utkface", root, "UTKFace/ with AGE_GENDER_RACE_DATE.jpg.chip.jpg")
    return Table("utkface", root, rows, problems)
