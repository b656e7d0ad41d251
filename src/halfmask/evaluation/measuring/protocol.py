"""Ask the referees about photos before and after protection, both as they lie on disk.

A method is run by ``halfmask protect`` into a folder; here only files are read, so what is measured is what a user
gets. For each photo of a table: find the face, find it again in every protected version of the photo, and ask every
referee. A face that is not found again is a *failure to enrol*: it stays in the figures, as a pair that does not match,
and its number stands beside them.

Results are kept in parts on disk, named by what they were computed from, so that a long run can be stopped and goes on
where it was, and two runs over the same files compute nothing twice.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...datasets.cache import centred_face
from ...datasets.table import Table
from ...errors import DataError, HalfmaskError
from ...photos.align import CROP, crop_face, warp
from ...photos.detect import Detector, Face
from ...photos.reading import read
from ...photos.samples import LUMA
from ...protecting.pipeline import cores
from ...storage import ensure_folder, save_arrays
from ..referees import DescriptorReferee, GenderAgeReferee, Referees, load
from .parts import digest_of

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: The name under which the unchanged photos stand in the results.
BEFORE = "before"

#: Photos a part holds: small enough that little is lost when a run is killed.
_PART = 48

#: How a protected crop differs from its original; metrics of these names.
LOOKS = ("ssim", "mssim", "psnr", "l2", "linf")


@dataclass(frozen=True)
class Measured:
    """What the referees said of one variant on one table; row i of every array is picture ``keys[i]``.

    ``columns`` holds ``p_male/REFEREE`` and ``age/REFEREE`` (N,), ``p_race/REFEREE`` (N, K), ``embed/MATCHER`` (N, D);
    the face, ``points`` (N, 5, 2) and ``box`` (N, 4); and, of a protected variant, how the aligned crop changed:
    ``ssim``, ``mssim``, ``psnr`` of its luma, ``l2``, ``linf`` of its RGB values in [0, 1], each (N,). Pictures that
    were not enrolled have NaN throughout. ``gender`` is -1 where unknown. ``attempted`` says which pictures have a
    protected version (before: in any variant, all when there is none); ``problems`` names each file that could not be
    read or measured, and why.
    """

    variant: str
    keys: list[str]
    gender: NDArray[np.int64]
    identity: list[str | None]
    enrolled: NDArray[np.bool_]
    attempted: NDArray[np.bool_]
    columns: dict[str, Floats]
    problems: list[tuple[str, str]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.keys)

    def answers(self, kind: str) -> dict[str, Floats]:
        """Who was asked → the answers, of ``kind`` p_male, age, p_race or embed."""
        return {
            judge: values
            for column, values in self.columns.items()
            for of, _, judge in [column.partition("/")]
            if of == kind and judge
        }

    @property
    def persons(self) -> NDArray[np.str_]:
        """The person of each picture; a picture of nobody known is a person of its own."""
        return np.array([i or k for i, k in zip(self.identity, self.keys, strict=True)])

    def face(self, i: int) -> Face | None:
        """The face that was measured in picture i, None where none was found."""
        return _face(self.columns["box"][i], self.columns["points"][i]) if self.enrolled[i] else None


def measure(
    table: Table,
    variants: Mapping[str, Mapping[str, Path]],
    *,
    referees: Referees,
    folder: Path,
    gray: bool = False,
    workers: int = 0,
    quiet: bool = False,
) -> dict[str, Measured]:
    """Measure the photos of a table and every protected version of them; returns them by name, ``before`` first.

    ``variants`` maps a name to the protected file of each picture, by the picture's key; a picture without one was not
    attempted and stays in the gallery. A protected file that is absent or unreadable is a face that was lost. With
    ``gray`` every photo is made gray first, as in the SAN papers.

    ``folder`` keeps the parts, which other calls with the same files and referees use again. Referees made by
    :func:`~halfmask.evaluation.referees.load` run in ``workers`` processes (0: one a core); others in this one.

    Raises :class:`~halfmask.errors.DataError` when no photo of the table shows a face, or the disk is full.
    """
    processes = workers or cores()
    about = {
        "gray": gray,
        "referees": {kind: sorted(getattr(referees, kind)) for kind in ("genders", "matchers", "ages", "races")},
    }
    home = _home(folder, table.name, about, [(row.key, row.path) for row in table])
    jobs = [
        _Job(home / f"part-{start:07d}.npz", [(r.key, r.path) for r in table.rows[start : start + _PART]], None, gray)
        for start in range(0, len(table), _PART)
    ]
    _work(jobs, referees, processes, f"measuring {table.name}", quiet)
    # before is compared with after, so it counts for the same pictures; the rest of the table is gallery
    attempted = {key for files in variants.values() for key in files} if variants else {row.key for row in table}
    result = {BEFORE: _gather(table, BEFORE, jobs, attempted)}
    before = result[BEFORE]
    if not before.enrolled.any():
        raise DataError(f"no picture of {table.name} shows a face that can be found")
    place = {key: i for i, key in enumerate(before.keys)}
    for name, files in variants.items():
        if unknown := [key for key in files if key not in place]:
            raise DataError(f"{name} has protected versions of pictures that {table.name} lacks, first: {unknown[0]}")
        todo = [(row, before.face(place[row.key])) for row in table if row.key in files]
        shown = [(row.key, row.path, files[row.key], face) for row, face in todo if face is not None]
        whole = [(key, path) for key, path, _, _ in shown] + [(key, path) for key, _, path, _ in shown]
        home = _home(folder, f"{table.name}-{name}", about, whole)
        jobs = [
            _Job(
                home / f"part-{start:07d}.npz",
                [(key, path) for key, _, path, _ in shown[start : start + _PART]],
                [(path, face) for _, path, _, face in shown[start : start + _PART]],
                gray,
            )
            for start in range(0, len(shown), _PART)
        ]
        _work(jobs, referees, processes, f"measuring {table.name}, {name}", quiet)
        measured = _gather(table, name, jobs, set(files))
        for column, values in before.columns.items():  # a variant that loses every face has said nothing in any column
            measured.columns.setdefault(column, np.full_like(values, np.nan))
        for column in LOOKS:
            measured.columns.setdefault(column, np.full(len(table), np.nan, np.float32))
        result[name] = measured
    return result


def same_face(faces: Iterable[Face], before: Face) -> Face | None:
    """The face among ``faces`` that is the one from before: its centre lies within half a face of the old centre.

    >>> was = Face((10, 10, 20, 20), np.zeros((5, 2), np.float32), 0.9)
    >>> same_face([Face((60, 60, 20, 20), was.points, 0.9)], was) is None
    True
    """
    x, y, w, h = before.box

    def distance(face: Face) -> float:
        a, b, c, d = face.box
        return float(np.hypot(a + c / 2 - x - w / 2, b + d / 2 - y - h / 2))

    best = min(faces, key=distance, default=None)
    return best if best is not None and distance(best) < max(w, h) / 2 else None


def read_rgb(path: Path, gray: bool = False) -> Pixels:
    """The photo's pixels, RGB uint8 (H, W, 3), upright; luma three times with ``gray``."""
    pixels = read(path).pixels
    if not gray:
        return pixels
    return np.repeat(np.rint(pixels @ LUMA).astype(np.uint8)[..., None], 3, 2)


@dataclass(frozen=True)
class _Job:
    """One part: which files to look at, and for protected ones the original photo and its face."""

    part: Path
    files: list[tuple[str, Path]]
    originals: list[tuple[Path, Face]] | None
    gray: bool


def _home(folder: Path, name: str, about: dict[str, Any], files: Sequence[tuple[str, Path]]) -> Path:
    """The folder of the parts made from exactly these files; its name says what they were made from."""
    safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
    return ensure_folder(folder / f"{safe}-{digest_of(json.dumps(about, sort_keys=True), files)}")


def _work(jobs: Sequence[_Job], referees: Referees, processes: int, desc: str, quiet: bool) -> None:
    """Compute the parts that are missing."""
    todo = [job for job in jobs if not job.part.is_file()]
    total = sum(len(job.files) for job in jobs)
    there = total - sum(len(job.files) for job in todo)
    with tqdm(total=total, initial=there, desc=desc, unit="photo", disable=quiet or not todo) as bar:
        for job in _run(todo, referees, min(processes, len(todo))):
            bar.update(len(job.files))


def _run(todo: Sequence[_Job], referees: Referees, processes: int) -> Iterator[_Job]:
    if processes < 2 or referees.names is None:
        detector = Detector()
        for job in todo:
            _compute(job, referees, detector)
            yield job
        return
    # processes, not threads: dlib keeps the interpreter to itself while its network runs
    pool = ProcessPoolExecutor(processes, get_context("spawn"), _start, (referees.names,))
    try:
        futures = {pool.submit(_compute_here, job): job for job in todo}
        for future in as_completed(futures):
            future.result()
            yield futures[future]
    finally:
        pool.shutdown(cancel_futures=True)


_here: tuple[Referees, Detector] | None = None


def _start(names: Sequence[str]) -> None:
    """Load the referees once in a worker process, one thread each."""
    import cv2

    global _here
    cv2.setNumThreads(1)
    _here = load(threads=1, only=names), Detector()


def _compute_here(job: _Job) -> None:
    assert _here is not None
    _compute(job, *_here)


def _compute(job: _Job, referees: Referees, detector: Detector) -> None:
    """Measure the files of one part and write it, whole or not at all."""
    save_arrays(job.part, _measure_files(job, referees, detector))


def _measure_files(job: _Job, referees: Referees, detector: Detector) -> dict[str, Any]:
    photos: list[Pixels] = []
    faces: list[Face] = []
    places: list[int] = []
    problems: list[tuple[str, str]] = []
    for i, (key, path) in enumerate(job.files):
        try:
            pixels = read_rgb(path, job.gray)
        except (HalfmaskError, OSError) as error:
            problems.append((key, str(error)))
            continue
        detected = detector(pixels)
        if job.originals is None:
            face = centred_face(detected, pixels.shape[1], pixels.shape[0])
        else:
            face = same_face(detected, job.originals[i][1])
        if face is not None:
            photos.append(pixels)
            faces.append(face)
            places.append(i)
    answers, refused = _ask(photos, faces, referees)
    problems += [(job.files[places[n]][0], reason) for n, reason in refused.items()]
    good = [n for n in range(len(faces)) if n not in refused]
    if job.originals is not None and good:
        originals = job.originals
        answers |= _looks([originals[places[n]] for n in good], [photos[n] for n in good], job.gray)
    if good:
        answers["points"] = np.stack([np.asarray(faces[n].points, np.float32) for n in good])
        answers["box"] = np.array([faces[n].box for n in good], np.float32)
    where = np.array([places[n] for n in good], np.int64)
    enrolled = np.zeros(len(job.files), bool)
    enrolled[where] = True
    arrays: dict[str, Any] = {
        "enrolled": enrolled,
        "keys": np.array([key for key, _ in job.files], np.str_),
        "problems": np.array(problems, np.str_).reshape(-1, 2),
    }
    for column, values in answers.items():
        full = np.full((len(job.files), *values.shape[1:]), np.nan, np.float32)
        full[where] = values
        arrays[f"|{column}"] = full
    return arrays


def _ask(
    photos: Sequence[Pixels], faces: Sequence[Face], referees: Referees
) -> tuple[dict[str, Floats], dict[int, str]]:
    """What every referee says of the faces, and which of them made a referee fail: those are in no array."""
    if not faces:
        return {}, {}
    try:
        return _questions(photos, faces, referees), {}
    except Exception:  # one odd face must not take its neighbours along: find out which it is
        refused: dict[int, str] = {}
        answers: list[dict[str, Floats]] = []
        for n in range(len(faces)):
            try:
                answers.append(_questions(photos[n : n + 1], faces[n : n + 1], referees))
            except Exception as error:
                refused[n] = f"a referee failed: {error}"
        if not answers:
            return {}, refused
        return {column: np.concatenate([a[column] for a in answers]) for column in answers[0]}, refused


def _questions(photos: Sequence[Pixels], faces: Sequence[Face], referees: Referees) -> dict[str, Floats]:
    answers: dict[str, Any] = {}
    for name, gender in referees.genders.items():
        both: object = referees.ages.get(name)
        if gender is both and isinstance(gender, GenderAgeReferee):
            answers[f"p_male/{name}"], answers[f"age/{name}"] = gender.predict(photos, faces)
        else:
            answers[f"p_male/{name}"] = gender.p_male(photos, faces)
    for name, ages in referees.ages.items():
        if f"age/{name}" not in answers:
            answers[f"age/{name}"] = ages.age(photos, faces)
    answers |= {f"embed/{name}": matcher.embed(photos, faces) for name, matcher in referees.matchers.items()}
    for name, race in referees.races.items():
        described = answers.get(f"embed/{race.descriptors_of}") if isinstance(race, DescriptorReferee) else None
        if isinstance(race, DescriptorReferee) and described is not None:
            answers[f"p_race/{name}"] = race.p_race_of(described)
        else:
            answers[f"p_race/{name}"] = race.p_race(photos, faces)
    return {column: np.asarray(values, np.float32) for column, values in answers.items()}


def _looks(before: Sequence[tuple[Path, Face]], after: Sequence[Pixels], gray: bool) -> dict[str, Floats]:
    """How the aligned crops changed. Both are cut where the original's face was, so they compare pixel by pixel."""
    from .metrics import l2, linf, mssim, psnr, ssim

    rows = []
    for (path, face), photo in zip(before, after, strict=True):
        crop, matrix = crop_face(read_rgb(path, gray), face.points)
        a = crop.astype(np.float64) / 255
        b = np.asarray(warp(photo, matrix, (CROP, CROP)), np.float64) / 255
        la, lb = a @ LUMA.astype(np.float64), b @ LUMA.astype(np.float64)
        rows.append((ssim(la, lb), mssim(la, lb), min(psnr(la, lb), 99.0), l2(a, b), linf(a, b)))
    return {name: np.array(values, np.float32) for name, values in zip(LOOKS, zip(*rows, strict=True), strict=True)}


def _face(box: Floats, points: Floats) -> Face:
    x, y, w, h = (float(v) for v in box)
    return Face((x, y, w, h), np.asarray(points, np.float32), 1.0)


def _gather(table: Table, name: str, jobs: Sequence[_Job], attempted: set[str]) -> Measured:
    place = {row.key: i for i, row in enumerate(table)}
    columns: dict[str, Floats] = {}
    enrolled = np.zeros(len(table), bool)
    problems: list[tuple[str, str]] = []
    for job in jobs:
        with np.load(job.part) as part:
            where = np.array([place[str(key)] for key in part["keys"]], np.int64)
            enrolled[where] = part["enrolled"]
            problems += [(str(key), str(reason)) for key, reason in part["problems"]]
            for column in part.files:
                if column.startswith("|"):
                    values = part[column]
                    whole = columns.setdefault(column[1:], np.full((len(table), *values.shape[1:]), np.nan, np.float32))
                    whole[where] = values
    return Measured(
        name,
        [row.key for row in table],
        np.array([-1 if row.gender is None else row.gender for row in table], np.int64),
        [row.identity for row in table],
        enrolled,
        np.array([row.key in attempted for row in table], bool),
        columns,
        problems,
    )
