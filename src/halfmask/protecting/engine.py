"""One photo through the engine: read → detect → choose → crop → change → paste → encode, each step callable by itself.

The library call runs them one after the other, the pipeline in threads, a server across requests; nothing here knows
which. Every step is safe to call from any thread.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .. import methods
from ..errors import PhotoError
from ..methods import Subject
from ..methods.labels import GenderEstimate
from ..methods.match import SFace
from ..photos import paste, reading
from ..photos.align import crop_face
from ..photos.detect import SMALLEST, Box, Detector, Face, smallest_searched
from ..photos.photo import Photo
from ..photos.samples import LUMA
from ..weights import running
from .choosing import left_out
from .known import NOTHING, Known
from .options import GENDERS, Options

#: Faces that go through the networks at once, in one thread. More do not fit the cache of a core: measured on 2 cores,
#: 1 or 2 faces take 12 s of CPU time and 0.3 GB for 300 photos, 4 take 17 s and 0.5 GB, 8 take 17 s and 0.85 GB.
BATCH = 2

#: Why a face is unprotected that no change reached.
UNCHANGED = "it could not be changed"


@dataclass(frozen=True)
class Label:
    """The gender that a face was changed by: 0 female, 1 male.

    ``origin`` is "given", "labels file" or "estimate"; ``p_male`` is our classifier's probability, for an estimate.
    """

    gender: int
    origin: str
    p_male: float | None = None


@dataclass(frozen=True, eq=False)
class FaceResult:
    """One face of a photo and what was done to it.

    ``box`` is (x, y, width, height) and ``points`` (5, 2), photo pixels; ``detection`` is the detector's score in
    [0, 1]. ``gender`` is "female" or "male", ``gender_origin`` "given", "labels file" or "estimate", and
    ``probability`` our classifier's, of that gender, for an estimate. ``match`` is SFace's cosine between the face
    before and after; SFace is an auxiliary that our methods train against, so it is no judge of them. The last four are
    None where they do not apply. ``changed`` says whether a pixel of the face differs.

    ``unprotected`` says why the face counts as unprotected, None when it does not: it could not be changed, was
    changed though which way up it is could not be told, or was left out; ``left_out`` says that this was asked for.
    ``origin`` is "detector"; for a box that was given "box", or "box alone" when no face was seen in it, so that the
    change is where an upright face has it.
    """

    box: tuple[float, float, float, float]
    points: NDArray[np.float32]
    detection: float
    changed: bool
    gender: str | None = None
    gender_origin: str | None = None
    probability: float | None = None
    match: float | None = None
    unprotected: str | None = None
    left_out: bool = False
    origin: str = "detector"


@dataclass(eq=False)
class Prepared:
    """A photo with its faces, largest first, and the crops of those to change, uint8 (224, 224, 3).

    ``given`` and ``who`` are the genders and names that are known, by face. ``left`` says of faces that are left out
    why; ``smallest`` is how small faces were searched for, in pixels. ``seconds`` are the steps' so far.
    """

    photo: Photo
    faces: list[Face]
    crops: dict[int, NDArray[np.uint8]]
    matrices: dict[int, NDArray[np.float32]]
    given: dict[int, Label]
    left: dict[int, str] = field(default_factory=dict)
    smallest: float = SMALLEST
    seconds: dict[str, float] = field(default_factory=dict)
    who: dict[int, str | None] = field(default_factory=dict)


@dataclass(eq=False)
class Changed:
    """What :meth:`Engine.change` adds to a :class:`Prepared`: per face a label and the crop's change (224, 224, 3)."""

    labels: dict[int, Label]
    deltas: dict[int, NDArray[np.float32]]

    def scaled(self, factor: float) -> Changed:
        """The change at ``factor`` times its size: computed once, pasted at any strength.

        It is for a method whose change is proportional to its strength, see
        :attr:`halfmask.methods.contract.Method.proportional`.

        >>> Changed({}, {0: np.full((1, 1, 3), 0.5, np.float32)}).scaled(0.5).deltas[0].max()
        np.float32(0.25)
        """
        return Changed(self.labels, {i: delta * np.float32(factor) for i, delta in self.deltas.items()})


class Networks:
    """Every network that some options need, loaded once and shared by all threads.

    ``threads`` is what each network may use for itself, 0 all cores. Raises
    :class:`~halfmask.errors.WeightsError`, and :class:`~halfmask.errors.UsageError` for a setting that makes no sense.
    """

    def __init__(self, options: Options, threads: int) -> None:
        smallest = options.min_face or SMALLEST
        with running.on(options.device):
            self.detector = Detector(options.detector_threshold, smallest=smallest, threads=threads)
            self.method = methods.load(options.method, threads=threads, **options.asked)
            estimate = options.gender is None and self.method.needs_label
            self.classifier = GenderEstimate(threads) if estimate else None
            self.sface = SFace(threads) if options.score else None


def networks_for(options: Options, threads: int) -> Networks:
    """The networks that these options need, loaded once in a process, however many threads ask at the same time.

    The few that were asked for last are kept, since loading takes longer than a photo.
    """
    smallest, own = options.min_face or SMALLEST, sorted(options.asked.items())
    key = (options.method, own, options.gender is None, options.score, threads, options.detector_threshold, smallest,
           options.device, [_state(value) for _, value in own])  # fmt: skip
    with _loading:
        name = repr(key)
        if name not in _loaded:
            while len(_loaded) >= _KEPT:
                _loaded.popitem(last=False)
            _loaded[name] = Networks(options, threads)
        _loaded.move_to_end(name)
        return _loaded[name]


def _state(value: object) -> object:
    """What stands in a folder or file that a setting names, so that other weights in its place are loaded anew."""
    if not isinstance(value, str | Path) or not str(value):
        return None
    try:
        files = sorted(Path(value).iterdir()) if Path(value).is_dir() else [Path(value)]
        return [(p.name, p.stat().st_size, p.stat().st_mtime_ns) for p in files if p.is_file()]
    except (OSError, ValueError):
        return None  # no path, or none that can be looked at: loading will say so


_KEPT = 4
_loading = threading.Lock()
_loaded: OrderedDict[str, Networks] = OrderedDict()


class Engine:
    """The steps under fixed options."""

    def __init__(self, options: Options, networks: Networks) -> None:
        self.options = options
        self.networks = networks

    def read(self, source: str | Path | bytes | Image.Image | NDArray[Any]) -> Photo:
        """A photo from a path, the bytes of a file, a Pillow image or an array, upright.

        Raises :class:`~halfmask.errors.PhotoError` when it cannot be read, or has too many pixels.
        """
        return reading.read(source, max_pixels=self.options.max_pixels)

    def detect(self, photo: Photo, boxes: Sequence[Box] = ()) -> list[Face]:
        """Its faces, largest first, among them one for each of the ``boxes`` that a user knows of."""
        return self.networks.detector(photo.pixels, boxes)

    def choose(self, photo: Photo, faces: Sequence[Face]) -> dict[int, str]:
        """The faces that the options leave as they are: place among the ``faces`` → why.

        Raises :class:`~halfmask.errors.PhotoError` when there is no face and that counts as a failure, and when there
        is none where the options say that one is.
        """
        options = self.options
        if not faces and options.if_no_face == "fail":
            raise PhotoError(f"no face was found in {photo.name} ({photo.width} x {photo.height} pixels)")
        return left_out(
            faces, photo.name, many=options.faces, only=options.only, skip=options.skip, min_face=options.min_face
        )

    def crop(self, photo: Photo, faces: Sequence[Face], left: Mapping[int, str], known: Known = NOTHING) -> Prepared:
        """Cut out the faces that are to be changed; ``known`` is what the user knows of them."""
        smallest = smallest_searched(photo.width, photo.height, self.networks.detector.smallest)
        prepared = Prepared(photo, list(faces), {}, {}, {}, dict(left), smallest)
        for i, face in enumerate(faces):
            if i in left:
                continue
            try:
                prepared.crops[i], prepared.matrices[i] = crop_face(photo.pixels, face.points)
            except ValueError:
                continue  # its five points coincide, so it is no face that could be told from another
        genders, who = known.of(faces)
        prepared.who.update(who)
        prepared.given = {i: Label(gender, "labels file") for i, gender in genders.items()}
        if self.options.gender is not None:
            prepared.given = dict.fromkeys(prepared.crops, Label(GENDERS.index(self.options.gender), "given"))
        return prepared

    def prepare(self, source: str | Path | bytes | Image.Image | NDArray[Any], known: Known = NOTHING) -> Prepared:
        """The four steps above, one after the other, and their seconds."""
        began = time.perf_counter()
        photo = self.read(source)
        return self.prepare_photo(photo, known, seconds={"read": time.perf_counter() - began})

    def prepare_photo(
        self, photo: Photo, known: Known = NOTHING, *, seconds: dict[str, float] | None = None
    ) -> Prepared:
        """As :meth:`prepare`, of a photo that is read; ``seconds`` are those that it took so far."""
        seconds = {} if seconds is None else seconds
        with timed(seconds, "detect"):
            faces = self.detect(photo, known.boxes)
        left = self.choose(photo, faces)
        with timed(seconds, "align"):
            prepared = self.crop(photo, faces, left, known)
        prepared.seconds = seconds
        return prepared

    def change(self, batch: Sequence[Prepared]) -> list[Changed]:
        """Label and change the crops of several photos together, at most :data:`BATCH` faces at once."""
        result = [Changed({}, {}) for _ in batch]
        places = [(n, i) for n, prepared in enumerate(batch) for i in prepared.crops]
        for start in range(0, len(places), BATCH):
            part = places[start : start + BATCH]
            crops = np.stack([batch[n].crops[i] for n, i in part])
            faces = np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32)
            faces /= np.float32(255)
            began = time.perf_counter()
            labels = self._labels([batch[n].given.get(i) for n, i in part], faces)
            labelled = time.perf_counter()
            subjects = [
                Subject(None if label is None else label.gender, batch[n].who.get(i))
                for label, (n, i) in zip(labels, part, strict=True)
            ]
            deltas = self.networks.method.change(faces, subjects)
            done = time.perf_counter()
            for (n, i), label, delta in zip(part, labels, deltas, strict=True):
                if label:
                    result[n].labels[i] = label
                result[n].deltas[i] = np.ascontiguousarray(delta.transpose(1, 2, 0))
                seconds = batch[n].seconds
                seconds["label"] = seconds.get("label", 0.0) + (labelled - began) / len(part)
                seconds["change"] = seconds.get("change", 0.0) + (done - labelled) / len(part)
        return result

    def _labels(self, given: Sequence[Label | None], faces: NDArray[np.float32]) -> list[Label | None]:
        labels = list(given)
        unknown = [k for k, label in enumerate(labels) if label is None]
        if unknown and self.networks.classifier is not None:
            for k, p in zip(unknown, self.networks.classifier.p_male(faces[unknown]).tolist(), strict=True):
                labels[k] = Label(int(p > 0.5), "estimate", p)
        return labels

    def placed(
        self, delta: NDArray[np.float32], matrix: NDArray[np.float32], width: int, height: int
    ) -> paste.FaceChange | None:
        """A crop's change as :func:`~halfmask.photos.paste.face_change` puts it into a picture, as the method asks."""
        method = self.networks.method
        return paste.face_change(delta, matrix, width, height, whole=method.whole, edge=method.edge)

    def paste(self, prepared: Prepared, changed: Changed) -> tuple[Photo, tuple[FaceResult, ...]]:
        """Put the changes into the photo and say what became of each face.

        Raises :class:`~halfmask.errors.PhotoError` when there were faces to change and none took a change, since the
        photo would pass for a protected one.
        """
        photo, seconds = prepared.photo, prepared.seconds
        with timed(seconds, "paste"):
            changes = {
                i: self.placed(delta, prepared.matrices[i], photo.width, photo.height)
                for i, delta in changed.deltas.items()
            }
            after = photo.with_changes([c for c in changes.values() if c is not None])
            differs = {i: c is not None and _differs(photo, after, c.box) for i, c in changes.items()}
        if prepared.faces and not any(differs.values()):
            if len(prepared.left) == len(prepared.faces):
                why = "; ".join(dict.fromkeys(prepared.left.values()))
                raise PhotoError(f"none of the {len(prepared.faces)} faces in {photo.name} is to be changed: {why}")
            raise PhotoError(
                f"none of the {len(prepared.faces)} faces in {photo.name} could be changed: a {photo.mode} picture of "
                f"{photo.width} x {photo.height} pixels may not hold the change. Convert it to RGB, or make it larger."
            )
        results = []
        with timed(seconds, "score"):
            for i, face in enumerate(prepared.faces):
                label = changed.labels.get(i)
                p = label.p_male if label else None
                match = None
                if self.networks.sface is not None and differs.get(i):
                    match = self.networks.sface.match(photo.pixels, after.pixels, face.points)
                results.append(
                    FaceResult(
                        box=face.box,
                        points=face.points,
                        detection=face.score,
                        changed=differs.get(i, False),
                        gender=GENDERS[label.gender] if label else None,
                        gender_origin=label.origin if label else None,
                        probability=None if p is None or label is None else p if label.gender else 1.0 - p,
                        match=match,
                        unprotected=prepared.left.get(i) or face.doubt or (None if differs.get(i) else UNCHANGED),
                        left_out=i in prepared.left,
                        origin=face.origin,
                    )
                )
        if self.networks.sface is None:
            del seconds["score"]
        if self.options.crop and prepared.faces:
            after = self._crop_after(prepared, changed)
        return after, tuple(results)

    def _crop_after(self, prepared: Prepared, changed: Changed) -> Photo:
        """The method's own output for the largest face that it changed, in the photo's format."""
        largest = min(changed.deltas)
        face = prepared.crops[largest].transpose(2, 0, 1).astype(np.float32) / np.float32(255)
        change = changed.deltas[largest].transpose(2, 0, 1)
        pixels = own_output(face, change, gray=self.networks.method.gray)
        return replace(reading.read(pixels), format=prepared.photo.format, name=prepared.photo.name)

    def encode(self, photo: Photo, format: str | None = None) -> bytes:
        """A photo as a file in ``format``, by default the options' or its own, with their quality and metadata."""
        options = self.options
        format = format or options.format or photo.format
        return photo.encode(format, quality=options.quality, keep_metadata=options.keep_metadata)

    def run(
        self, source: str | Path | bytes | Image.Image | NDArray[Any], known: Known = NOTHING
    ) -> tuple[Photo, tuple[FaceResult, ...], dict[str, float]]:
        """All steps but the last for one photo: the photo after, its faces, and seconds by step."""
        prepared = self.prepare(source, known)
        after, faces = self.paste(prepared, self.change([prepared])[0])
        return after, faces, prepared.seconds


def own_output(face: NDArray[np.float32], change: NDArray[np.float32], *, gray: bool) -> NDArray[np.uint8]:
    """What a method makes of a crop, (3, 224, 224) in [0, 1]: uint8 (224, 224, 3), or (224, 224) of a gray method.

    >>> face, change = np.full((3, 224, 224), 0.5, np.float32), np.full((3, 224, 224), 0.1, np.float32)
    >>> own_output(face, change, gray=True).max(), own_output(face, change, gray=False).shape
    (np.uint8(153), (224, 224, 3))
    """
    out = np.tensordot(LUMA, face, 1) + change[0] if gray else (face + change).transpose(1, 2, 0)
    return np.asarray(np.rint(255 * out).clip(0, 255), np.uint8)


def _differs(before: Photo, after: Photo, box: tuple[int, int, int, int]) -> bool:
    x0, top, x1, bottom = box
    for y0 in range(top, bottom, 64):  # most differ in the first rows already
        y1 = min(bottom, y0 + 64)
        part = (x0, y0, x1, y1)
        one, two = (p.region(part) if p.palette is None else p.pixels[y0:y1, x0:x1] for p in (before, after))
        if not np.array_equal(one, two):
            return True
    return False


@contextmanager
def timed(seconds: dict[str, float], stage: str) -> Iterator[None]:
    """Note how long a stage takes."""
    began = time.perf_counter()
    yield
    seconds[stage] = time.perf_counter() - began
