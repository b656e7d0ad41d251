"""CACD, the Cross-Age Celebrity Dataset: 163,446 photos of 2,000 people from 14 to 62 years.

Format: https://bcsiriuschen.github.io/CARC/ (Chen, Chen & Hsu, Cross-Age Reference Coding, ECCV 2014): one folder of
``AGE_First_Last_NNNN.jpg``. ``celebrity2000_meta.mat`` repeats age and person of each file and is not needed.
"""

from __future__ import annotations

import re
from pathlib import Path

from halfmask.datasets.readers.layout import key_of, match_names, nothing_found
from halfmask.datasets.table import Row, Table
from halfmask.photos.listing import list_pictures

_FOLDERS = ("CACD2000", "CACD2000/CACD2000", "CACD", ".")
_NAME = re.compile(r"(\d{1,3})_(\D.*)_(\d{4})\.\w+$")


def read_cacd(root: Path) -> Table:
    """Read CACD: age in years (photo's year less birth year, so a guess by one) and identity (the name in the file).

    Expects ``CACD2000/53_Robin_Williams_0001.jpg``, or the pictures in the root. CACD gives no gender, no race and no
    split.

    Raises DataError when no picture is named as CACD names them.
    """
    for folder in _FOLDERS:
        problems: list[str] = []
        pictures = {key_of(root, path): path for path in list_pictures(root / folder).values()}
        rows = [
            Row(key, path, labels[2], None, float(labels[1]))
            for key, path, labels in match_names(pictures, _NAME, "53_Robin_Williams_0001.jpg", problems)
        ]
        if rows:
            return Table("cacd", root, rows, problems)
    raise nothing_found("cacd", root, "CACD2000/ with pictures named as 53_Robin_Williams_0001.jpg")
