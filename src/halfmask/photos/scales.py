"""A photo at the scales at which its faces are searched: smaller copies, and tiles of one scale.

Most looks need a fraction of a photo's pixels, so they are taken from the smallest copy that has them.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from .cover import cover

Pixels = NDArray[np.uint8]
#: (left, top, right, bottom)
Tile = tuple[int, int, int, int]

#: Pixels of a tile's longer side, and by how much tiles overlap: a face larger than that is found at the next scale.
TILE, LAP = 1280, 80
_CELL = 32  # pixels, what YuNet's sides are multiples of
_SMALL = 500  # copies of a photo are at least as long, so that most looks need not touch the photo itself
_COPIED = 10_000_000  # pixels of the largest copy


def size_at(image: Pixels, scale: float) -> tuple[int, int]:
    """(width, height) of a picture (H, W, 3) at a scale, 8 at least.

    >>> size_at(np.zeros((300, 400, 3), np.uint8), 0.5)
    (200, 150)
    """
    return max(8, round(image.shape[1] * scale)), max(8, round(image.shape[0] * scale))


def copies_of(image: Pixels) -> list[Pixels]:
    """A photo and smaller copies of it, each half of the one before, none shorter than ``_SMALL``.

    Of a very large photo the first copy is smaller than half, so that memory does not grow with it.
    """
    copies = [image]
    whole = 2
    while image.shape[0] * image.shape[1] > _COPIED * whole**2:
        whole *= 2
    while max(copies[-1].shape[:2]) >= whole * _SMALL and min(copies[-1].shape[:2]) >= 8 * whole:
        copies.append(_by_area(copies[-1], whole))
        whole = 2
    return copies


def copy_for(copies: Sequence[Pixels], scale: float) -> Pixels:
    """The smallest copy that is not to be enlarged for a scale."""
    return next(c for c in reversed(copies) if c is copies[0] or c.shape[1] >= scale * copies[0].shape[1])


def shrunk(image: Pixels, side: int) -> Pixels:
    """The picture with that length of its longer side, or as it is when it is smaller."""
    return resized(image, size_at(image, min(1.0, side / max(image.shape[:2]))))


def resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    """The picture as (width, height), of which neither is larger than its own, without aliasing."""
    whole = min(image.shape[1] // size[0], image.shape[0] // size[1])
    if whole > 1:
        image = _by_area(image, whole)
    if image.shape[1::-1] == size:
        return image
    return np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_LINEAR), np.uint8)  # by less than 2


def _by_area(image: Pixels, whole: int) -> Pixels:
    """The picture smaller by a whole number, which is ten times faster than by others.

    What does not fit is less than a pixel of the result.
    """
    wide, high = image.shape[1] // whole, image.shape[0] // whole
    part = image[: high * whole, : wide * whole]
    return np.asarray(cv2.resize(part, (wide, high), interpolation=cv2.INTER_AREA), np.uint8)


def tile_ends(length: int) -> list[tuple[int, int]]:
    """Where tiles begin and end along a length: as few as possible, of like size, overlapping.

    >>> tile_ends(1280), tile_ends(1300)
    ([(0, 1280)], [(0, 690), (610, 1300)])
    """
    count = max(1, math.ceil((length - LAP) / (TILE - LAP)))
    size = math.ceil((length + (count - 1) * LAP) / count)
    starts = [round(i * (length - size) / max(1, count - 1)) for i in range(count)]
    return [(start, start + size) for start in starts]


def around(rows: NDArray[np.float32], size: tuple[int, int], scale: float) -> list[Tile]:
    """The tiles, (left, top, right, bottom) in a photo of that ``size`` at ``scale``, that hold faces like the rows.

    Rows are in pixels of the photo; larger faces than the tiles' overlap are left out.
    """
    small = rows[rows[:, 2:4].max(1) * scale <= LAP]
    middles = (small[:, :2] + small[:, 2:4] / 2) * scale
    room = LAP / 2
    columns, lines = (-(-length // _CELL) for length in size)
    grid = np.zeros((lines, columns), bool)
    corners = np.concatenate([np.floor((middles - room) / _CELL), np.floor((middles + room) / _CELL) + 1], 1)
    for x0, y0, x1, y1 in corners.astype(int).clip(0):
        grid[y0:y1, x0:x1] = True
    lap = math.ceil(LAP / _CELL)
    return [
        (x0 * _CELL, y0 * _CELL, min(x1 * _CELL, size[0]), min(y1 * _CELL, size[1]))
        for x0, y0, x1, y1 in cover(grid, TILE // _CELL, lap)
    ]
