"""AFAD, the Asian Face Age Dataset: 164,432 faces of 15 years and older, sorted into folders.

Format: https://afad-dataset.github.io/ and https://github.com/afad-dataset/tarball (Niu et al., Ordinal Regression with
Multiple Output CNN for Age Estimation, CVPR 2016): ``AFAD-Full/AGE/111/N.jpg`` of men, ``112`` of women.
"""

from __future__ import annotations

from pathlib import Path

from halfmask.datasets.labels import OLDEST
from halfmask.datasets.readers.layout import key_of, nothing_found
from halfmask.datasets.table import Row, Table
from halfmask.errors import shown
from halfmask.photos.listing import list_folders, list_pictures

_FOLDERS = ("AFAD-Full", "AFAD-Lite", "tarball/AFAD-Full", "tarball-lite/AFAD-Lite", ".")
_GENDERS = {"111": 1, "112": 0}


def read_afad(root: Path) -> Table:
    """Read AFAD or AFAD-Lite: age in whole years and gender. No identity, no race, no split.

    Expects ``AFAD-Full/15/111/109-0.jpg`` (or ``AFAD-Lite``, or the ages in the root). A folder that is neither an
    age nor, within one, 111 or 112 is named and skipped.

    Raises DataError when no such folder holds a picture.
    """
    rows: list[Row] = []
    problems: list[str] = []
    for place in _FOLDERS:
        for ages in list_folders(root / place) if not rows else ():
            if not (ages.name.isascii() and ages.name.isdigit() and int(ages.name) <= OLDEST):
                problems.append(f"{shown(key_of(root, ages))}: this folder is no age; skipped")
                continue
            for kind in list_folders(ages):
                if kind.name not in _GENDERS:
                    problems.append(f"{shown(key_of(root, kind))}: neither 111 (male) nor 112 (female); skipped")
                    continue
                for path in list_pictures(kind).values():
                    rows.append(Row(key_of(root, path), path, None, _GENDERS[kind.name], float(ages.name)))
    if not rows:
        raise nothing_found("afad", root, "AFAD-Full/AGE/111/ and 112/ with pictures")
    return Table("afad", root, rows, problems)
