"""Aligned crops of a data set as one memory-mapped array, made once.

Finding and cutting faces costs more than reading the crops back, so training never does it twice. A cache is keyed by
the data (names, sizes and dates of the files), the versions of the template and of the face search, and the crop size:
change one of them and a new cache is made. A picture that cannot be decoded or shows no face is named in ``problems``
and left out.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..errors import DataError, HalfmaskError
from ..photos import reading
from ..photos.align import CROP, TEMPLATE_VERSION, crop_face
from ..photos.detect import DETECTOR_VERSION, Detector, Face
from ..photos.encode import SUFFIXES
from ..storage import ensure_folder, whole_folder
from .readers.arface import read_raw
from .table import Row, Table


@dataclass(frozen=True)
class Crops:
    """Crops of a table's pictures.

    ``pixels`` is a read-only memory map, uint8 (N, size, size, 3) RGB; ``rows[i]`` belongs to ``pixels[i]``;
    ``problems`` names the pictures without a crop, and why.
    """

    pixels: NDArray[np.uint8]
    rows: list[Row]
    problems: list[str]

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, indices: Sequence[int] | NDArray[np.integer]) -> NDArray[np.uint8]:
        """Some crops, uint8 (len(indices), size, size, 3)."""
        return np.asarray(self.pixels[np.asarray(indices, np.int64)])


def default_folder() -> Path:
    """Where caches go unless told otherwise: ``crops/`` beside the fetched models, outside any repository."""
    from ..weights.store import cache_dir

    return cache_dir() / "crops"


def key_of(table: Table, size: int = CROP) -> str:
    """The name of a table's cache: 16 hex digits over its files' names, sizes and dates, template and search."""
    digest = hashlib.sha256(f"{TEMPLATE_VERSION} {DETECTOR_VERSION} {size} {table.name}".encode())
    for row in table:
        try:
            stat = row.path.stat()
            mark = f"{row.key} {stat.st_size} {stat.st_mtime_ns}"
        except OSError:
            mark = f"{row.key} absent"
        digest.update(mark.encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def centred_face(faces: Sequence[Face], width: int, height: int) -> Face | None:
    """The face a data-set picture is about: large and near the middle, since data sets centre their subject."""

    def rank(face: Face) -> float:
        x, y, w, h = face.box
        off = np.hypot((x + w / 2) / width - 0.5, (y + h / 2) / height - 0.5)
        return float(np.sqrt(w * h) / max(width, height) - 2.0 * off)

    return max(faces, key=rank, default=None)


def open_crops(
    table: Table, folder: Path | None = None, *, size: int = CROP, workers: int | None = None, quiet: bool = False
) -> Crops:
    """The crops of a table, from the cache, or made now with a progress bar and then cached.

    Raises :class:`~halfmask.errors.DataError` when the table is empty or no picture has a face. A killed build leaves
    nothing that looks like a cache.
    """
    if not len(table):
        raise DataError(f"{table.name} at {table.root} has no rows to cut crops from")
    home = (folder or default_folder()) / f"{table.name}-{size}-{key_of(table, size)}"
    if not (home / "index.json").is_file():
        _build(table, home, size, workers or os.cpu_count() or 1, quiet)
    if not (home / "index.json").is_file():
        raise DataError(f"the crop cache {home} is damaged: it holds other things; delete it and run again")
    index = json.loads((home / "index.json").read_text("utf-8"))
    rows: list[int] = index["rows"]
    if (home / "crops.u8").stat().st_size != len(rows) * size * size * 3:
        raise DataError(f"the crop cache {home} is damaged; delete it and run again")
    pixels = np.memmap(home / "crops.u8", np.uint8, "r", shape=(len(rows), size, size, 3))
    return Crops(pixels, [table[i] for i in rows], index["problems"])


def _decode(path: Path) -> NDArray[np.uint8]:
    if path.suffix.lower() == ".raw":  # AR-face as first published
        return read_raw(path)
    if SUFFIXES.get(path.suffix.lower()) == "HEIF":  # which OpenCV does not know
        return reading.read(path).pixels
    data = np.fromfile(path, np.uint8)
    image = cv2.imdecode(data, cv2.IMREAD_COLOR) if data.size else None
    if image is None:
        raise ValueError("not a picture, or damaged")
    return np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _build(table: Table, home: Path, size: int, workers: int, quiet: bool) -> None:
    ensure_folder(home.parent)
    local = threading.local()

    def cut(row: Row) -> NDArray[np.uint8] | str:
        if not hasattr(local, "detector"):
            local.detector = Detector()
        try:
            rgb = _decode(row.path)
        except (OSError, ValueError, HalfmaskError, cv2.error) as error:
            return f"{row.key}: cannot be read: {error}"
        face = centred_face(local.detector(rgb), rgb.shape[1], rgb.shape[0])
        if face is None:
            return f"{row.key}: no face found"
        return crop_face(rgb, face.points, size)[0]

    with whole_folder(home) as work:
        rows: list[int] = []
        problems: list[str] = []
        with open(work / "crops.u8", "wb") as out, ThreadPoolExecutor(workers) as pool:
            todo = tqdm(
                pool.map(cut, table), total=len(table), desc=f"cutting {table.name}", unit="face", disable=quiet
            )
            for i, crop in enumerate(todo):
                if isinstance(crop, str):
                    problems.append(crop)
                else:
                    out.write(crop.tobytes())
                    rows.append(i)
        if not rows:
            raise DataError(f"no face in any of the {len(table)} pictures of {table.name}; first: {problems[0]}")
        index = {"rows": rows, "problems": problems}
        (work / "index.json").write_text(json.dumps(index), "utf-8")
