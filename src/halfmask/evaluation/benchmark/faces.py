"""A few faces before and after, side by side: FairFace's, whose licence (CC BY 4.0) lets them be shown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ... import drawing
from ...datasets import Table, read
from ...datasets.cache import centred_face
from ...errors import DataError, HalfmaskError
from ...photos.detect import Detector, Face
from ..measuring.protocol import read_rgb

Pixels = NDArray[np.uint8]


def chosen(keys: Sequence[str], data: Path) -> Table:
    """FairFace's photos of these keys, in their order.

    Raises :class:`~halfmask.errors.DataError` when the set is not in the data folder or lacks one.
    """
    root = data / "fairface"
    if not root.is_dir():
        raise DataError("there is no folder fairface in the data folder, whose faces are shown")
    table = read("fairface", root)
    rows = {row.key: row for row in table if row.key in keys}
    if absent := [key for key in keys if key not in rows]:
        raise DataError(f"fairface has no photo {absent[0]}, which is to be shown")
    return Table(table.name, table.root, [rows[key] for key in keys])


def strip(table: Table, protected: Mapping[str, Mapping[str, Path]], path: Path) -> Path:
    """A line a photo: its face before, and as each variant of ``protected`` (label → key → file) has it.

    All are the same square of the photo about the face; a protected file of another size, such as a cut face, is shown
    whole. A file that is absent leaves its place empty.
    """
    detector = Detector()
    lines: list[list[Pixels | None]] = []
    for row in table:
        photo = read_rgb(row.path)
        face = centred_face(detector(photo), photo.shape[1], photo.shape[0])
        if face is None:
            raise DataError(f"no face is found in {row.key}, which is to be shown")
        place = _square(face, photo.shape[0], photo.shape[1])
        line: list[Pixels | None] = [photo[place]]
        for files in protected.values():
            try:
                after = read_rgb(files[row.key])
            except (HalfmaskError, OSError):
                line.append(None)
                continue
            line.append(after[place] if after.shape == photo.shape else after)
        lines.append(line)
    return drawing.faces(path, lines, ["Before", *protected])


def _square(face: Face, height: int, width: int) -> tuple[slice, slice]:
    """Twice the face about its centre, or as much as the photo has."""
    x, y, w, h = face.box
    side = min(height, width, round(2 * max(w, h)))
    top = round(min(max(y + h / 2 - side / 2, 0), height - side))
    left = round(min(max(x + w / 2 - side / 2, 0), width - side))
    return slice(top, top + side), slice(left, left + side)
