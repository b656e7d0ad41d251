"""Measure methods on whole photos: photo in, protected photo out, and only then the referees look.

What ``halfmask protect`` does otherwise: here the true label is given, the subject's face alone is changed, and the
protected photo is not encoded again.

For each photo of a table: find the face, let every variant change it and put it back, find the face again in the
protected photo, and ask every referee. A face that is not found again is a *failure to enrol*: it stays in the
figures, as a pair that does not match, and its number stands beside them. Results are kept in parts on disk, so that
a long run can be stopped and goes on where it was.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ..datasets.cache import centred_face
from ..datasets.table import Row, Table
from ..errors import DataError, HalfmaskError
from ..photos.align import CROP, TEMPLATE_VERSION, crop_face, warp
from ..photos.detect import Detector, Face
from ..photos.files import read
from ..photos.paste import face_change
from ..photos.samples import LUMA
from .referees import GenderReferee, Matcher

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: A variant maps RGB crops (N, 3, 224, 224) in [0, 1] and true gender labels (N,) to their change, the same shape.
Variant = Callable[[Floats, NDArray[np.int64]], Floats]

#: The name under which the unchanged photos stand in the results.
BEFORE = "before"

_CHUNK = 48


@dataclass(frozen=True)
class Measured:
    """What the referees said of one variant on one table; row i of every array is picture ``keys[i]``.

    ``columns`` holds ``p_male/REFEREE`` (N,), ``embed/MATCHER`` (N, D), and ``ssim``, ``psnr`` (N,) of the aligned
    luma crop before and after. Pictures that were not enrolled have NaN throughout. ``gender`` is -1 where unknown.
    ``attempted`` says which pictures the variants were asked to change; the others were measured before only.
    """

    variant: str
    keys: list[str]
    gender: NDArray[np.int64]
    identity: list[str | None]
    enrolled: NDArray[np.bool_]
    attempted: NDArray[np.bool_]
    columns: dict[str, Floats]

    def __len__(self) -> int:
        return len(self.keys)


def measure(
    table: Table,
    variants: Mapping[str, Variant],
    *,
    genders: Mapping[str, GenderReferee],
    matchers: Mapping[str, Matcher],
    folder: Path,
    only: Collection[str] | None = None,
    gray: bool = False,
    tag: str = "",
    quiet: bool = False,
) -> dict[str, Measured]:
    """Run every variant and the unchanged photo over a table; returns them by name, ``before`` first.

    ``folder`` keeps the parts: a second call with the same table, variants and referees computes only what is
    missing, and one with others is refused; ``tag`` says which weights stand behind the variants' names. With ``only``,
    the variants change the pictures with these keys alone, and the rest are measured before only, as a gallery. With
    ``gray`` every photo is made gray first, as in the SAN papers.

    Raises :class:`~halfmask.errors.DataError` when no photo of the table shows a face.
    """
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "table": table.name,
        "pictures": [row.key for row in table],
        "variants": [BEFORE, *variants],
        "genders": sorted(genders),
        "matchers": sorted(matchers),
        "only": None if only is None else sorted(only),
        "gray": gray,
        "template": TEMPLATE_VERSION,
        "tag": tag,
    }
    plan = folder / "plan.json"
    if plan.is_file() and json.loads(plan.read_text("utf-8")) != about:
        raise DataError(f"{folder} holds measurements of other pictures, variants or referees; give another folder")
    plan.write_text(json.dumps(about), "utf-8")
    detector = Detector()
    starts = range(0, len(table), _CHUNK)
    with tqdm(total=len(table), desc=f"measuring {table.name}", unit="photo", disable=quiet) as bar:
        for start in starts:
            rows = table.rows[start : start + _CHUNK]
            part = folder / f"part-{start:07d}.npz"
            if not part.is_file():
                arrays = _chunk(rows, variants, genders, matchers, detector, only, gray)
                fresh = part.with_name(f".{part.name}")
                np.savez(fresh, **arrays)
                os.replace(fresh, part)
            bar.update(len(rows))
    return _gather(table, folder, [BEFORE, *variants], starts, only)


def _chunk(
    rows: Sequence[Row],
    variants: Mapping[str, Variant],
    genders: Mapping[str, GenderReferee],
    matchers: Mapping[str, Matcher],
    detector: Detector,
    only: Collection[str] | None,
    gray: bool,
) -> dict[str, Any]:
    """The arrays of one part, named ``VARIANT|COLUMN``."""
    photos: list[Pixels] = []
    faces: list[Face] = []
    crops, matrices, places = [], [], []
    for i, row in enumerate(rows):
        try:
            pixels = read(row.path).pixels
        except HalfmaskError:
            continue  # a broken picture has no face before either: it is in no figure
        if gray:
            luma = np.rint(pixels @ LUMA).astype(np.uint8)
            pixels = np.repeat(luma[..., None], 3, 2)
        face = centred_face(detector(pixels), pixels.shape[1], pixels.shape[0])
        if face is None:
            continue
        crop, matrix = crop_face(pixels, face.points)
        photos.append(pixels)
        faces.append(face)
        crops.append(crop)
        matrices.append(matrix)
        places.append(i)
    arrays: dict[str, Any] = {}
    for name in (BEFORE, *variants):
        if name != BEFORE and only is not None:  # variants come after before: the rest is not needed any more
            kept = [n for n, i in enumerate(places) if rows[i].key in only]
            photos, faces = [photos[n] for n in kept], [faces[n] for n in kept]
            crops, matrices, places = [crops[n] for n in kept], [matrices[n] for n in kept], [places[n] for n in kept]
        where = np.array(places, np.int64)
        labels = np.array([-1 if (g := rows[i].gender) is None else g for i in places], np.int64)
        if name == BEFORE or not crops:
            shown, found = photos, list[Face | None](faces)
        else:
            floats = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
            # a picture without a label cannot be given to a method that needs one: it is left as it is
            changes = variants[name](floats, np.maximum(labels, 0)) * (labels >= 0).reshape(-1, 1, 1, 1)
            shown = [_apply(p, c, m) for p, c, m in zip(photos, changes, matrices, strict=True)]
            found = [_again(detector(p), f) for p, f in zip(shown, faces, strict=True)]
        seen = [i for i, f in enumerate(found) if f is not None]
        column = _ask([shown[i] for i in seen], [f for f in found if f is not None], genders, matchers)
        column |= _looks([crops[i] for i in seen], [crop_face_with(shown[i], matrices[i]) for i in seen])
        enrolled = np.zeros(len(rows), bool)
        enrolled[where[seen]] = True
        arrays[f"{name}|enrolled"] = enrolled
        for key, values in column.items():
            whole = np.full((len(rows), *values.shape[1:]), np.nan, np.float32)
            whole[where[seen]] = values
            arrays[f"{name}|{key}"] = whole
    return arrays


def crop_face_with(image: Pixels, matrix: NDArray[np.float32]) -> Pixels:
    """The crop that a known matrix cuts, so that before and after are compared pixel by pixel."""
    return np.asarray(warp(image, matrix, (CROP, CROP)), np.uint8)


def _apply(photo: Pixels, change: Floats, matrix: NDArray[np.float32]) -> Pixels:
    """The photo with one face changed, as ``protect`` writes it in a lossless format."""
    done = face_change(np.ascontiguousarray(change.transpose(1, 2, 0)), matrix, photo.shape[1], photo.shape[0])
    if done is None:
        return photo
    x0, y0, x1, y1 = done.box
    out = photo.copy()
    out[y0:y1, x0:x1] = np.clip(np.rint(photo[y0:y1, x0:x1] + 255 * done.delta), 0, 255).astype(np.uint8)
    return out


def _again(found: Sequence[Face], before: Face) -> Face | None:
    """The face among ``found`` that is the one from before: its centre lies within half a face of the old centre."""
    x, y, w, h = before.box

    def distance(face: Face) -> float:
        a, b, c, d = face.box
        return float(np.hypot(a + c / 2 - x - w / 2, b + d / 2 - y - h / 2))

    best = min(found, key=distance, default=None)
    return best if best is not None and distance(best) < max(w, h) / 2 else None


def _ask(
    photos: Sequence[Pixels],
    faces: Sequence[Face],
    genders: Mapping[str, GenderReferee],
    matchers: Mapping[str, Matcher],
) -> dict[str, Floats]:
    if not faces:
        return {}
    said = {f"p_male/{name}": np.asarray(r.p_male(photos, faces), np.float32) for name, r in genders.items()}
    return said | {f"embed/{name}": np.asarray(m.embed(photos, faces), np.float32) for name, m in matchers.items()}


def _looks(before: Sequence[Pixels], after: Sequence[Pixels]) -> dict[str, Floats]:
    from .metrics import psnr, ssim

    if not before:
        return {}

    def luma(crop: Pixels) -> NDArray[np.float64]:
        return crop @ LUMA.astype(np.float64) / 255

    pairs = [(luma(a), luma(b)) for a, b in zip(before, after, strict=True)]
    return {
        "ssim": np.array([ssim(a, b) for a, b in pairs], np.float32),
        "psnr": np.array([min(psnr(a, b), 99.0) for a, b in pairs], np.float32),
    }


def _gather(
    table: Table, folder: Path, names: Sequence[str], starts: range, only: Collection[str] | None
) -> dict[str, Measured]:
    parts: dict[str, list[tuple[int, NDArray[Any]]]] = {}
    for start in starts:
        with np.load(folder / f"part-{start:07d}.npz") as part:
            for key in part.files:
                parts.setdefault(key, []).append((start, part[key]))
    result = {}
    gender = np.array([-1 if row.gender is None else row.gender for row in table], np.int64)
    attempted = np.array([only is None or row.key in only for row in table], bool)
    for name in names:
        columns = {}
        enrolled = np.zeros(len(table), bool)
        for key, pieces in parts.items():
            variant, _, column = key.partition("|")
            if variant != name:
                continue
            if column == "enrolled":
                for start, values in pieces:
                    enrolled[start : start + len(values)] = values
            else:
                whole = np.full((len(table), *pieces[0][1].shape[1:]), np.nan, np.float32)
                for start, values in pieces:
                    whole[start : start + len(values)] = values
                columns[column] = whole
        keys, identity = [row.key for row in table], [row.identity for row in table]
        result[name] = Measured(name, keys, gender, identity, enrolled, attempted, columns)
    for measured in result.values():  # a variant that loses every face has said nothing, in every column
        for column, values in result[BEFORE].columns.items():
            measured.columns.setdefault(column, np.full_like(values, np.nan))
    if not result[BEFORE].enrolled.any():
        raise DataError(f"no picture of {table.name} shows a face that can be found")
    return result
