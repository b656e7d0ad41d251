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
from ...photos.align import CROP, crop_face, warp
from ...photos.detect import Detector
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

    All are cut where the face was before; a protected file that is itself a cut face is shown whole. A file that is
    absent leaves its place empty.
    """
    detector = Detector()
    lines: list[list[Pixels | None]] = []
    for row in table:
        photo = read_rgb(row.path)
        face = centred_face(detector(photo), photo.shape[1], photo.shape[0])
        if face is None:
            raise DataError(f"no face is found in {row.key}, which is to be shown")
        before, matrix = crop_face(photo, face.points)
        line: list[Pixels | None] = [before]
        for files in protected.values():
            try:
                after = read_rgb(files[row.key])
            except (HalfmaskError, OSError):
                line.append(None)
                continue
            whole = after.shape != photo.shape
            line.append(after if whole else np.asarray(warp(after, matrix, (CROP, CROP)), np.uint8))
        lines.append(line)
    return drawing.faces(path, lines, ["Before", *protected])
