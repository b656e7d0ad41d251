"""Aligned crops in the place of whole photos, as the SAN papers protect and judge them: 224 x 224, nothing pasted back.

Originals are the crops that training sees, written as PNG; a method's own output for a crop is what is judged. So
neither a mask nor a JPEG stands between the method and the referees.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...datasets.cache import open_crops
from ...datasets.table import Row, Table
from ...errors import DataError
from ...methods import Method, Subject
from ...photos.reading import read
from ...protecting.engine import BATCH, own_output
from ...protecting.pipeline import cores
from ...storage import ensure_folder, whole
from .sets import OpenSet


def cropped(s: OpenSet, folder: Path, *, quiet: bool = False) -> tuple[OpenSet, list[str]]:
    """The set with each picture replaced by its aligned crop, RGB PNG 224 x 224 in ``folder``; and what has none.

    The crop is of the face nearest the middle, :func:`~halfmask.datasets.cache.open_crops`. A picture without a crop is
    no part of the set. Crops of an earlier run stay. Raises :class:`~halfmask.errors.DataError` when no picture has
    one, or the disk is full.
    """
    crops = open_crops(s.table, quiet=quiet)
    rows = []
    for i, row in enumerate(crops.rows):
        path = folder / f"{row.key}.png"
        if not path.is_file():
            _write(path, crops.take([i])[0])
        rows.append(replace(row, path=path))
    here = {row.key for row in rows}
    pairs = None if s.pairs is None else [p for p in s.pairs if p.a in here and p.b in here]
    table = Table(s.table.name, folder, rows)
    return replace(s, table=table, keys=s.keys & here, train=s.train & here, pairs=pairs), crops.problems


def protect_crops(
    table: Table,
    keys: Collection[str],
    method: Method,
    folder: Path,
    *,
    workers: int = 0,
    desc: str = "protecting",
    quiet: bool = False,
) -> tuple[dict[str, Path], list[tuple[str, str]]]:
    """A method's own output for the crops of a table of :func:`cropped` with these keys, by their true labels.

    Gives key → PNG in ``folder``, gray for a gray method, and (key, reason) of those that could not be made: a face
    whose gender is not known, for a method that needs it. Every key is in the mapping. Files of an earlier run stay.
    """
    wanted = [row for row in table if row.key in keys]
    files = {row.key: folder / f"{row.key}.png" for row in wanted}
    left_out = [(row.key, "its gender is not known") for row in wanted if method.needs_label and row.gender is None]
    refused = {key for key, _ in left_out}
    todo = [row for row in wanted if row.key not in refused and not files[row.key].is_file()]

    def make(rows: Sequence[Row]) -> int:
        crops = np.stack([read(row.path).pixels for row in rows])
        faces = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(255)
        changes = method.change(faces, [Subject(row.gender) for row in rows])
        for row, face, change in zip(rows, faces, changes, strict=True):
            _write(files[row.key], own_output(face, change, gray=method.gray))
        return len(rows)

    parts = [todo[i : i + BATCH] for i in range(0, len(todo), BATCH)]
    with (
        ThreadPoolExecutor(workers or cores()) as pool,
        tqdm(total=len(todo), desc=desc, unit="face", disable=quiet or not todo) as bar,
    ):
        for done in pool.map(make, parts):
            bar.update(done)
    return files, left_out


def _write(path: Path, pixels: NDArray[np.uint8]) -> None:
    coded, data = cv2.imencode(".png", pixels if pixels.ndim == 2 else pixels[..., ::-1])
    if not coded:
        raise DataError(f"{path.name} could not be coded as PNG")
    ensure_folder(path.parent)
    with whole(path) as fresh:
        fresh.write_bytes(data.tobytes())
