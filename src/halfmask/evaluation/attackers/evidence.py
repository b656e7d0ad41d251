"""What attackers see: protected photos with labels, and for their own people the originals as well."""

from __future__ import annotations

import hashlib
import json
import os
import threading
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ... import __version__
from ...datasets.cache import centred_face
from ...datasets.table import Row, Table
from ...errors import DataError, HalfmaskError
from ...photos.align import crop_face, similarity, template, warp
from ...photos.detect import Detector, Face
from ...storage import ensure_folder, save_arrays
from ..measuring.parts import digest_of
from ..measuring.protocol import BEFORE, Measured, read_rgb, same_face

Pixels = NDArray[np.uint8]

#: Side of the crops that attackers learn from, pixels: ArcFace's size, at which gender is read as well as at 224.
SIZE = 112

_PART = 128
_CROPS = ("before", "after", "paired")
_LEFT_OUT = ("not protected", "no gender", "unreadable", "no face before", "face lost")


@dataclass(frozen=True, eq=False)
class Evidence:
    """Protected photos, their originals and labels, one row a picture with a face before and after.

    ``gender`` (N,) is 0 female, 1 male; ``persons`` (N,) names who is shown, the picture's key where nobody knows;
    ``train`` (N,) marks the attackers' own people, whose originals they have; they are judged on the others.
    ``faces_before`` and ``faces_after`` hold the faces as found in the original and in the protected photo.
    ``crops_before`` and ``crops_after``, uint8 (N, 112, 112, 3) RGB, are cut by our template from each photo by its own
    face; ``crops_paired`` is the original cut exactly where ``crops_after`` was, to learn from pixel by pixel.
    ``left_out`` counts the pictures that have no row, by reason.

    Raises :class:`~halfmask.errors.DataError` when a person stands on both sides, or a side lacks women or men.
    """

    keys: list[str]
    original: list[Path]
    protected: list[Path]
    gender: NDArray[np.int64]
    persons: NDArray[np.str_]
    train: NDArray[np.bool_]
    faces_before: list[Face]
    faces_after: list[Face]
    crops_before: Pixels
    crops_after: Pixels
    crops_paired: Pixels
    left_out: Mapping[str, int] = field(default_factory=dict)
    persons_known: bool = True
    digest: str = ""

    def __post_init__(self) -> None:
        both = sorted(set(self.persons[self.train]) & set(self.persons[~self.train]))
        if both:
            raise DataError(
                f"{len(both)} people stand among the attackers' own and among those they are judged on, first: "
                f"{both[0]}; an attacker would be rewarded for knowing faces. Split by person."
            )
        for side, mask in (("to learn from", self.train), ("to be judged on", ~self.train)):
            count = Counter(self.gender[mask].tolist())
            if not count[0] or not count[1]:
                raise DataError(
                    f"attackers need women and men on both sides; {side} there are {count[0]} pictures of women and "
                    f"{count[1]} of men with a face before and after. Give more labelled pictures of more people."
                )

    def __len__(self) -> int:
        return len(self.keys)

    @classmethod
    def gather(
        cls,
        table: Table,
        protected: Mapping[str, Path],
        *,
        folder: Path,
        train: Callable[[Row], bool] | None = None,
        seed: int = 0,
        measured: Mapping[str, Measured] | None = None,
        workers: int = 0,
        quiet: bool = False,
    ) -> Evidence:
        """Find and cut the faces of a table's photos and of their protected versions (``protected``: key → file).

        ``train`` says which rows belong to the attackers; None gives them half of the people of each gender, drawn by
        ``seed``. Rows without a gender, a protected file or a face in both photos are left out and counted. With
        ``measured``, the result of :func:`~halfmask.evaluation.measuring.protocol.measure` for this table and these
        files (before and one variant), its faces are taken and none is searched again.

        Crops are kept in ``folder``; parts that are there already are not made again. ``workers`` 0: a thread a core.
        """
        counts = dict.fromkeys(_LEFT_OUT, 0)
        labelled = [row for row in table if row.key in protected and row.gender is not None]
        counts["not protected"] = sum(row.key not in protected for row in table)
        counts["no gender"] = len(table) - counts["not protected"] - len(labelled)
        home = folder / f"crops-{_key(labelled, protected)}"
        cuts = _cut_all(labelled, protected, home, _known(measured), workers, quiet)
        states = [str(s) for s in cuts["state"]]
        for state in filter(None, states):
            counts[state] += 1
        usable = [row for row, state in zip(labelled, states, strict=True) if not state]
        if not usable:
            raise DataError(
                f"no labelled picture of {table.name} shows a face before and after protection; left out: "
                + (", ".join(f"{v} {k}" for k, v in counts.items() if v) or "none, the table is empty")
            )
        faces: tuple[list[Face], list[Face]] = ([], [])
        for points, boxes in zip(cuts["points"], cuts["boxes"], strict=True):
            for side in (0, 1):
                x, y, w, h = boxes[side].tolist()
                faces[side].append(Face((x, y, w, h), points[side], 1.0))
        crops = {name: np.load(home / f"{name}.npy", mmap_mode="r") for name in _CROPS}
        gender = np.array([row.gender for row in usable], np.int64)
        persons = np.array([row.identity or row.key for row in usable])
        mine = split_people(gender, persons, seed) if train is None else np.array([train(row) for row in usable], bool)
        about = hashlib.sha256(home.name.encode() + mine.tobytes() + gender.tobytes() + "\n".join(persons).encode())
        return cls(
            keys=[row.key for row in usable],
            original=[row.path for row in usable],
            protected=[protected[row.key] for row in usable],
            gender=gender,
            persons=persons,
            train=mine,
            faces_before=faces[0],
            faces_after=faces[1],
            crops_before=crops["before"],
            crops_after=crops["after"],
            crops_paired=crops["paired"],
            left_out=counts,
            persons_known=all(row.identity is not None for row in usable),
            digest=about.hexdigest()[:16],
        )


def split_people(gender: NDArray[np.int64], persons: NDArray[np.str_], seed: int) -> NDArray[np.bool_]:
    """Which rows belong to the half of the people drawn by ``seed``, half of the women and half of the men.

    >>> split_people(np.array([0, 0, 1, 1]), np.array(["a", "b", "c", "d"]), 0).sum().item()
    2
    """
    names, who = np.unique(persons, return_inverse=True)
    share = np.bincount(who, gender) / np.bincount(who)  # a person labelled both ways counts once
    rng = np.random.default_rng(seed)
    chosen = np.zeros(len(names), bool)
    for group in (share < 0.5, share >= 0.5):
        people = rng.permutation(np.flatnonzero(group))
        chosen[people[: (len(people) + 1) // 2]] = True
    return np.asarray(chosen[who], bool)


_Faces = Mapping[str, tuple[Face | None, Face | None]]


def _known(measured: Mapping[str, Measured] | None) -> _Faces:
    """The faces that a measurement found already, before and after, by key."""
    if measured is None:
        return {}
    variants = [m for name, m in measured.items() if name != BEFORE]
    if BEFORE not in measured or len(variants) != 1:
        raise DataError(f"expected measurements of {BEFORE!r} and one variant, got {', '.join(measured)}")
    before, after = measured[BEFORE], variants[0]
    return {key: (before.face(i), after.face(i)) for i, key in enumerate(before.keys)}


def _key(rows: Sequence[Row], protected: Mapping[str, Path]) -> str:
    both = [(row.key, path) for row in rows for path in (row.path, protected[row.key])]
    return digest_of(f"{SIZE}", both)


def _cut_all(
    rows: Sequence[Row], protected: Mapping[str, Path], home: Path, known: _Faces, workers: int, quiet: bool
) -> dict[str, NDArray[Any]]:
    """Find and cut every face, unless it was done before; returns states of all rows, points and boxes of the good."""
    whole = home / "faces.npz"
    if whole.is_file():
        with np.load(whole) as stored:
            return dict(stored)
    ensure_folder(home)
    local = threading.local()

    def look(row: Row) -> _Seen | str:
        if not hasattr(local, "detector"):
            local.detector = Detector()
        return _look(row, protected[row.key], known.get(row.key), local.detector)

    parts = []
    with (
        ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool,
        tqdm(total=len(rows), desc="cutting faces for the attackers", unit="photo", disable=quiet) as bar,
    ):
        for start in range(0, len(rows), _PART):
            part = home / f"part-{start:07d}.npz"
            parts.append(part)
            chunk = rows[start : start + _PART]
            if not part.is_file():
                seen = list(pool.map(look, chunk))
                good = [s for s in seen if not isinstance(s, str)]
                arrays: dict[str, Any] = {
                    "state": np.array([s if isinstance(s, str) else "" for s in seen], "U16"),
                    "points": np.array([[f.points for f in s.faces] for s in good], np.float32).reshape(-1, 2, 5, 2),
                    "boxes": np.array([[f.box for f in s.faces] for s in good], np.float32).reshape(-1, 2, 4),
                    "crops": np.array([s.crops for s in good], np.uint8).reshape(-1, 3, SIZE, SIZE, 3),
                }
                save_arrays(part, arrays)
            bar.update(len(chunk))
    return _join(home, parts)


def _join(home: Path, parts: Sequence[Path]) -> dict[str, NDArray[Any]]:
    """Make one file of the parts' faces and one memory map of each kind of crop, then delete the parts."""
    pieces: dict[str, list[NDArray[Any]]] = {"state": [], "points": [], "boxes": []}
    for part in parts:
        with np.load(part) as arrays:
            for name, piece in pieces.items():
                piece.append(arrays[name])
    joined = {name: np.concatenate(piece) for name, piece in pieces.items() if piece}
    if not joined:
        return {"state": np.zeros(0, "U16"), "points": np.zeros((0, 2, 5, 2)), "boxes": np.zeros((0, 2, 4))}
    shape = (len(joined["points"]), SIZE, SIZE, 3)
    try:
        maps = [np.lib.format.open_memmap(home / f"{n}.npy", "w+", np.uint8, shape) for n in _CROPS] if shape[0] else []
        start = 0
        for part in parts:
            with np.load(part) as arrays:
                crops = arrays["crops"]
            for i, target in enumerate(maps):
                target[start : start + len(crops)] = crops[:, i]
            start += len(crops)
        for target in maps:
            target.flush()
    except OSError as error:
        raise DataError(f"the crops cannot be written to {home}: {error.strerror or error}; free some space") from error
    save_arrays(home / "faces.npz", joined)  # last: what it stands beside is whole
    for part in parts:
        part.unlink()
    return joined


@dataclass(frozen=True)
class _Seen:
    faces: tuple[Face, Face]
    crops: tuple[Pixels, Pixels, Pixels]


def _look(row: Row, protected: Path, known: tuple[Face | None, Face | None] | None, detector: Detector) -> _Seen | str:
    """The faces and crops of one picture, or why there are none."""
    try:
        before = read_rgb(row.path)
        face = known[0] if known else centred_face(detector(before), before.shape[1], before.shape[0])
        if face is None:
            return "no face before"
        after = read_rgb(protected)
        again = known[1] if known else same_face(detector(after), face)
        if again is None:
            return "face lost"
        first = crop_face(before, face.points, SIZE)[0]
        second, matrix = crop_face(after, again.points, SIZE)
        if before.shape != after.shape:  # another tool's output: cut by the original's own face, as near as can be had
            matrix = similarity(face.points, template(SIZE))
        return _Seen((face, again), (first, second, np.asarray(warp(before, matrix, (SIZE, SIZE)), np.uint8)))
    except (HalfmaskError, OSError, ValueError):  # ValueError: the points coincide
        return "unreadable"


def file_key(parts: Sequence[object]) -> str:
    """Sixteen hex digits that stand for a list of plain things, as this version of halfmask computes with them."""
    return hashlib.sha256(json.dumps([__version__, *map(str, parts)]).encode()).hexdigest()[:16]
