"""What recipes feed their networks: crops of several data sets in one index, and random changes to them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.cache import Crops, open_crops
from ..datasets.table import Row
from ..errors import DataError, UsageError
from ..photos.align import CROP
from .composites import open_composites
from .packs import read_pack
from .sources import source_table

Batch = TypeVar("Batch")


class Faces:
    """Crops of several tables behind one index, with the labels of their rows."""

    def __init__(self, parts: Sequence[tuple[Crops, Sequence[int]]]) -> None:
        self._parts = [(crops, np.asarray(chosen, np.int64)) for crops, chosen in parts]
        self.rows: list[Row] = [crops.rows[i] for crops, chosen in self._parts for i in chosen]
        self._part = np.concatenate([np.full(len(c), n) for n, (_, c) in enumerate(self._parts)])
        self._place = np.concatenate([c for _, c in self._parts])

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def ends(self) -> NDArray[np.int64]:
        """Part k holds the faces from ``ends[k]`` to ``ends[k + 1]``."""
        return np.cumsum([0, *(len(chosen) for _, chosen in self._parts)])

    def pixels(self, indices: NDArray[np.integer]) -> NDArray[np.uint8]:
        """Faces as uint8 (len(indices), size, size, 3)."""
        where = np.asarray(indices, np.int64)
        picked: NDArray[np.uint8] | None = None
        for n, (crops, _) in enumerate(self._parts):
            mine = np.flatnonzero(self._part[where] == n)
            if len(mine):
                part = crops.take(self._place[where[mine]])
                picked = np.empty((len(where), *part.shape[1:]), np.uint8) if picked is None else picked
                picked[mine] = part
        assert picked is not None, "no index was asked for"
        return picked

    def take(self, indices: NDArray[np.integer], *, gray: bool = False) -> Tensor:
        """Faces as float32 (len(indices), 3 or 1, size, size) in [0, 1]."""
        pixels = self.pixels(indices)
        return to_tensor(gray_pixels(pixels) if gray else pixels)

    def labels(self, column: str) -> NDArray[np.int64]:
        """A label column as integers, -1 where unknown."""
        return np.array([-1 if (v := getattr(r, column)) is None else int(v) for r in self.rows], np.int64)


def ahead(make: Callable[[int], Batch], steps: int) -> Callable[[int], Batch]:
    """``make`` of steps 0 to ``steps`` - 1, the next two made by threads while the caller still works on the last.

    A batch is a function of its step alone, so who makes it when changes nothing.

    >>> square = ahead(lambda i: i * i, 4)
    >>> [square(i) for i in range(4)]
    [0, 1, 4, 9]
    """
    threads = ThreadPoolExecutor(2)
    begun: dict[int, Future[Batch]] = {}

    def get(i: int) -> Batch:
        for k in range(i, min(i + 3, steps)):
            if k not in begun:
                begun[k] = threads.submit(make, k)
        return begun.pop(i).result()

    return get


def open_faces(
    sources: Sequence[Mapping[str, Any]],
    keep: Callable[[Row], bool] = lambda row: True,
    *,
    cache: Path | None = None,
    size: int = CROP,
) -> Faces:
    """Open the data that a config names.

    Each source is ``{layout, root, splits}``, see :func:`~halfmask.training.sources.source_table`. With ``heads``,
    another such source, its faces are put into that source's heads, each into ``each`` of them
    (:mod:`~halfmask.training.composites`); or it is
    ``{pack, part}``, a part of a file of :mod:`~halfmask.training.packs`, and may say which ``layout`` that was. Rows
    for which ``keep`` is false are left out. ``size`` is the crops' side. Raises
    :class:`~halfmask.errors.DataError` when a source has no face left.
    """
    if not sources:
        raise UsageError("no data source was given, expected a list of {layout, root, splits}")
    parts = []
    for source in sources:
        if "heads" in source:
            own = {name: value for name, value in source.items() if name not in ("heads", "each")}
            faces, heads = (_part(part, keep, cache, CROP) for part in (own, source["heads"]))
            crops = open_composites(faces, heads, size=size, each=int(source.get("each", 1)), folder=cache)
            parts.append((crops, list(range(len(crops)))))
        else:
            parts.append(_part(source, keep, cache, size))
    return Faces(parts)


def _part(
    source: Mapping[str, Any], keep: Callable[[Row], bool], cache: Path | None, size: int
) -> tuple[Crops, list[int]]:
    """The crops of one source, and which of them may be used."""
    if "pack" in source:
        crops = read_pack(Path(source["pack"]), str(source.get("part", "")), size)
        return crops, [i for i, r in enumerate(crops.rows) if keep(r)]
    crops = open_crops(source_table(source), cache, size=size)
    wanted = source.get("splits")
    chosen = [i for i, r in enumerate(crops.rows) if (not wanted or r.split in wanted) and keep(r)]
    if not chosen:
        raise DataError(
            f"no usable face in {dict(source)}; check splits and labels with: halfmask data check {source['root']}"
        )
    return crops, chosen


def gray_pixels(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """RGB (N, H, W, 3) to luma (N, H, W, 1), eight bits, as every reader of gray photos makes it."""
    n, h, w, _ = pixels.shape
    gray = np.asarray(cv2.cvtColor(pixels.reshape(n * h, w, 3), cv2.COLOR_RGB2GRAY), np.uint8)
    return gray.reshape(n, h, w, 1)


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 (N, H, W, C) to float32 (N, C, H, W) in [0, 1], channels last in memory as the convolutions want it."""
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float().mul_(1 / 255)


def augment(
    pixels: NDArray[np.uint8],
    rng: np.random.Generator,
    *,
    flip: bool = True,
    rotate: float = 8.0,
    scale: float = 0.08,
    shift: float = 0.04,
    light: float = 0.2,
    blur: float = 0.3,
) -> NDArray[np.uint8]:
    """Random flip, similarity, brightness, contrast and low resolution, drawn per face from ``rng``.

    ``pixels`` is uint8 (N, H, W, C); ``rotate`` in degrees, ``scale`` and ``shift`` as fractions of the side, ``light``
    the largest change of gain and twice that of offset, ``blur`` the share of faces that lose resolution.

    >>> faces = np.full((2, 8, 8, 1), 100, np.uint8)
    >>> augment(faces, np.random.default_rng(0), light=0).mean()
    np.float64(100.0)
    """
    n, h, w, _ = pixels.shape
    out = np.empty_like(pixels)
    levels = np.arange(256, dtype=np.float32)
    for i in range(n):
        angle, zoom = math.radians(rng.uniform(-rotate, rotate)), 1 + rng.uniform(-scale, scale)
        mirror = -1.0 if flip and rng.random() < 0.5 else 1.0
        a, b = zoom * math.cos(angle), zoom * math.sin(angle)
        linear = np.array([[a * mirror, -b], [b * mirror, a]])
        centre = np.array([w - 1, h - 1]) / 2
        move = centre - linear @ centre + rng.uniform(-shift, shift, 2) * (w, h)
        face = pixels[i]
        if rng.random() < blur:
            factor = rng.uniform(0.25, 0.75)
            face = cv2.resize(face, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
            face = cv2.resize(face, (w, h), interpolation=cv2.INTER_LINEAR)
        matrix = np.hstack([linear, move[:, None]])
        face = cv2.warpAffine(face, matrix, (w, h), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
        gain, offset = 1 + rng.uniform(-light, light), rng.uniform(-light / 2, light / 2)
        table = np.clip((levels - 127.5) * gain + 127.5 + 255 * offset + 0.5, 0, 255).astype(np.uint8)
        out[i] = cv2.LUT(face, table).reshape(pixels.shape[1:])
    return out
