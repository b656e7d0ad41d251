"""The AR Face Database: 126 people, two sessions, the labels written in the file name.

Format: http://www2.ece.ohio-state.edu/~aleix/ARdatabase.html (Martinez & Benavente, The AR Face Database, CVC
Technical Report 24, 1998): ``M-xx-yy.raw`` of men and ``F-xx-yy.raw`` of women, where the files themselves say ``w``
for women; xx is the person, yy the condition (1 to 13, and 14 to 26 in the second session). The cropped
edition has the same names with ``.bmp``.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halfmask.datasets.readers.layout import match_names, nothing_found, walk_pictures
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, shown

_NAME = re.compile(r"([mfw])-(\d{2,3})-(\d{1,2})\.\w+$", re.IGNORECASE)
CONDITIONS = (
    "neutral",
    "smile",
    "anger",
    "scream",
    "left light",
    "right light",
    "both lights",
    "sunglasses",
    "sunglasses, left light",
    "sunglasses, right light",
    "scarf",
    "scarf, left light",
    "scarf, right light",
)
"""Of the pictures 1 to 13 of a person; 14 to 26 are the same in the second session."""
RAW_SHAPE = (3, 576, 768)
"""A ``.raw`` file: the red, then the green, then the blue plane, 576 rows of 768 bytes each, and nothing else."""


def read_arface(root: Path) -> Table:
    """Read AR: identity (as ``m-001`` or ``w-001``; men and women are numbered apart), gender and condition.

    Expects ``m-001-1.raw`` or ``M-001-01.bmp`` (any picture format) anywhere below the root. AR gives no age, no race
    and no split. The condition is one of :data:`CONDITIONS`. The pixels of a ``.raw`` file are read by
    :func:`read_raw`.

    Raises DataError when no picture is named as AR names them.
    """
    problems: list[str] = []
    rows = []
    pictures = walk_pictures(root, problems, ".raw")
    for key, path, labels in match_names(pictures, _NAME, "M-001-01.bmp or w-001-1.raw", problems):
        gender = int(labels[1].lower() == "m")
        number = int(labels[3])
        condition = CONDITIONS[(number - 1) % len(CONDITIONS)] if 1 <= number <= 2 * len(CONDITIONS) else None
        rows.append(Row(key, path, f"{'wm'[gender]}-{int(labels[2]):03d}", gender, condition=condition))
    if not rows:
        raise nothing_found("arface", root, "pictures named as m-001-1.raw or M-001-01.bmp")
    return Table("arface", root, rows, problems)


def read_raw(path: Path) -> NDArray[np.uint8]:
    """The pixels of an AR ``.raw`` file: uint8 (576, 768, 3) RGB.

    Raises DataError when the file cannot be read or has not exactly 576 · 768 · 3 bytes.
    """
    try:
        data = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"cannot read {shown(path)}: {error.strerror}.") from error
    size = int(np.prod(RAW_SHAPE))
    if data.size != size:
        raise DataError(f"{shown(path.name)} is no AR picture: it has {data.size} bytes, expected {size} (576·768·3).")
    return np.ascontiguousarray(data.reshape(RAW_SHAPE).transpose(1, 2, 0))
