"""A training set in one small file, to travel to a machine that has none of the data.

Crops are WebP, rows are JSON, and both are in one ``.npz`` that holds no code. A config takes it as a source
``{pack: FILE, part: NAME}`` in place of ``{layout, root, splits}``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..datasets.cache import Crops
from ..datasets.table import Row
from ..errors import DataError
from ..storage import save_arrays

QUALITY = 82


def write_pack(path: Path, parts: Mapping[str, Crops], quality: int = QUALITY) -> int:
    """Write the crops of several sources, each under a name; returns the file's size in bytes.

    ``quality`` is WebP's, from 1 to 100: at 82 a crop of 224 pixels takes some 4.6 kB, at 92 half as much again.
    """
    arrays: dict[str, NDArray[np.uint8] | NDArray[np.int64]] = {}
    for name, crops in parts.items():
        files = []
        for face in crops.pixels:
            done, data = cv2.imencode(
                ".webp", np.ascontiguousarray(face[..., ::-1]), [cv2.IMWRITE_WEBP_QUALITY, quality]
            )
            assert done
            files.append(data.ravel())
        rows = [asdict(row) | {"path": row.key} for row in crops.rows]  # where it lay is nobody else's business
        arrays |= {
            f"{name}/faces": np.concatenate(files),
            f"{name}/ends": np.cumsum([len(f) for f in files]),
            f"{name}/rows": np.frombuffer(json.dumps(rows).encode(), np.uint8),
        }
    save_arrays(path, arrays)
    return path.stat().st_size


def read_pack(path: Path, name: str, size: int) -> Crops:
    """One part of a pack, its crops brought to ``size`` pixels.

    Raises :class:`~halfmask.errors.DataError` when the file is no pack, or has no such part.
    """
    try:
        with np.load(path, allow_pickle=False) as pack:
            known = sorted(key.removesuffix("/rows") for key in pack.files if key.endswith("/rows"))
            if name not in known:
                raise DataError(f"the pack {path} has no part {name!r}; it has: {', '.join(known) or 'none'}")
            data, ends = pack[f"{name}/faces"], pack[f"{name}/ends"]
            described = json.loads(pack[f"{name}/rows"].tobytes())
    except (OSError, ValueError, KeyError) as error:
        raise DataError(f"{path} cannot be read as a pack: {error}. Write it anew with scripts/pack.py") from error

    def opened(i: int) -> NDArray[np.uint8]:
        face = cv2.imdecode(data[ends[i - 1] if i else 0 : ends[i]], cv2.IMREAD_COLOR)
        if face is None:
            raise DataError(f"face {i} of {name} in the pack {path} is damaged; write it anew with scripts/pack.py")
        if face.shape[0] != size:
            way = cv2.INTER_AREA if face.shape[0] > size else cv2.INTER_LINEAR
            face = cv2.resize(face, (size, size), interpolation=way)
        return np.asarray(face, np.uint8)[..., ::-1]

    pixels = np.empty((len(described), size, size, 3), np.uint8)
    with ThreadPoolExecutor() as threads:
        for i, face in enumerate(threads.map(opened, range(len(described)))):
            pixels[i] = face
    rows = []
    for about in described:
        years = about.pop("age_range")
        # two packs, or two parts of one, are two data sets, whose people may bear the same numbers
        where = Path(f"{path}/{name}/{about['key']}")
        rows.append(Row(**(about | {"path": where, "age_range": tuple(years) if years else None})))
    return Crops(pixels, rows, [])
