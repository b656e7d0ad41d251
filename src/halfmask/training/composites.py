"""Faces put into other people's heads: hair, neck and background for data that end at the face.

FairFace's pictures are cut close, so in our crop hair and neck are a mirror image; portraits have both, but show few
people. Each face that looks at the camera is blended (Pérez, Gangnet, Blake: *Poisson Image Editing*, 2003) into the
portrait of somebody of the same gender and a like complexion: FairFace's variety of faces with real hair around them.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..datasets.cache import Crops, default_folder
from ..errors import DataError
from ..photos.align import CROP, template
from ..photos.detect import Detector
from ..storage import ensure_folder, whole_folder

_VERSION = 1
#: A face whose five points lie further than this from the template's, on average (pixels of 224), looks away.
_FRONTAL = 7.0
#: No head fits a face whose complexion is further than this from each (L*a*b*, L halved).
_UNLIKE = 12.0
#: Less colour than this is a gray picture.
_GRAY = 4.0
#: Forehead to chin: centre and half axes in the crop of 224.
_OVAL = ((112, 137), (54, 72))
#: Of so many heads drawn for a face, those of the likeliest complexion are taken.
_DRAWN = 40


def open_composites(
    faces: tuple[Crops, Sequence[int]],
    heads: tuple[Crops, Sequence[int]],
    *,
    size: int,
    each: int = 1,
    folder: Path | None = None,
) -> Crops:
    """Each frontal face of ``faces`` in ``each`` heads of ``heads``, from the cache, or made now and then cached.

    Both are crops of 224 with the rows that may be used. Left out are faces that look away, gray pictures, and faces
    whose complexion no head has: the seam would show. A composite keeps its face's labels; it is nobody's picture,
    so it has no identity. Raises :class:`~halfmask.errors.DataError` when no face or no head can be used.
    """
    keys = [[c.rows[i].key for i in chosen] for c, chosen in (faces, heads)]
    key = hashlib.sha256(json.dumps([_VERSION, *keys, *([each] if each > 1 else [])]).encode()).hexdigest()[:16]
    home = ensure_folder(folder or default_folder()) / f"composites-{CROP}-{key}"
    if not (home / "index.json").is_file():
        with whole_folder(home) as work:
            _build(faces, heads, each, work)
    if size != CROP:
        large, home = home, home.with_name(f"composites-{size}-{key}")
        if not (home / "index.json").is_file():
            with whole_folder(home) as work:
                _resize(large, size, work)
    index = json.loads((home / "index.json").read_text("utf-8"))
    pixels = np.memmap(home / "crops.u8", np.uint8, "r", shape=(len(index), size, size, 3))
    seen: Counter[int] = Counter()
    rows = []
    for i in index:
        seen[i] += 1
        again = f"/{seen[i]}" if seen[i] > 1 else ""
        rows.append(replace(faces[0].rows[i], key=f"composite/{faces[0].rows[i].key}{again}", identity=None))
    return Crops(pixels, rows, [])


def composite(face: NDArray[np.uint8], head: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """One face blended into one head: RGB crops (224, 224, 3) of the template, uint8.

    >>> gray = np.full((224, 224, 3), 90, np.uint8)
    >>> composite(gray, gray).shape
    (224, 224, 3)
    """
    (x, y), (a, b) = _OVAL
    mask = np.zeros(face.shape[:2], np.uint8)
    cv2.ellipse(mask, (x, y), (a, b), 0, 0, 360, 255, -1)
    return np.asarray(cv2.seamlessClone(face, head, mask, (x, y), cv2.NORMAL_CLONE), np.uint8)


def complexion(face: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean colour of nose and cheeks in L*a*b*, (3,), L halved: light differs more than skin does."""
    middle = np.ascontiguousarray(face[120:165, 75:150])
    mean = cv2.cvtColor(middle, cv2.COLOR_RGB2LAB).reshape(-1, 3).mean(0)
    return np.asarray(mean * (0.5, 1, 1), np.float32)


def frontal(faces: Crops, chosen: Sequence[int]) -> list[int]:
    """Those of ``chosen`` whose face looks at the camera: found again in the crop, its points near the template's."""
    detector, points = Detector(), template()
    good = []
    for i in tqdm(chosen, desc="looking for frontal faces", unit="face"):
        away = [float(np.linalg.norm(f.points - points, axis=1).mean()) for f in detector(faces.pixels[i])]
        if away and min(away) < _FRONTAL:
            good.append(i)
    return good


def _resize(large: Path, size: int, work: Path) -> None:
    index = json.loads((large / "index.json").read_text("utf-8"))
    pixels = np.memmap(large / "crops.u8", np.uint8, "r", shape=(len(index), CROP, CROP, 3))
    with open(work / "crops.u8", "wb") as out:
        for face in pixels:
            out.write(cv2.resize(face, (size, size), interpolation=cv2.INTER_AREA).tobytes())
    (work / "index.json").write_text(json.dumps(index), "utf-8")


def _build(faces: tuple[Crops, Sequence[int]], heads: tuple[Crops, Sequence[int]], each: int, work: Path) -> None:
    fair, inner = faces[0], frontal(*faces)
    port, outer = heads[0], frontal(*heads)
    by_gender = {g: [i for i in outer if port.rows[i].gender == g] for g in (0, 1)}
    tone = {i: complexion(port.pixels[i]) for i in outer}
    rng = np.random.default_rng(_VERSION)
    used: list[int] = []
    with open(work / "crops.u8", "wb") as out:
        for i in tqdm(inner, desc="putting faces into heads", unit="face"):
            gender, own = fair.rows[i].gender, complexion(fair.pixels[i])
            pool = by_gender[gender] if gender is not None else []
            drawn = rng.permutation(pool)[:_DRAWN]
            apart = {int(k): float(np.linalg.norm(tone[k] - own)) for k in drawn}
            if np.abs(own[1:] - 128).sum() < _GRAY:
                continue
            for k in sorted((k for k in apart if apart[k] <= _UNLIKE), key=lambda k: apart[k])[:each]:
                out.write(composite(fair.pixels[i], port.pixels[k]).tobytes())
                used.append(int(i))
    if not used:
        raise DataError("no face can be put into a head: none looks at the camera, or no head is like it")
    (work / "index.json").write_text(json.dumps(used), "utf-8")
