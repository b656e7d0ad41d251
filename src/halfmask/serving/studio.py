"""What is done to photos, in worker threads: every method here is one piece of work at the desk."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import replace
from typing import Any, TypeVar

import cv2
import numpy as np

from ..errors import UsageError, WeightsError
from ..methods import DEFAULT, METHODS
from ..methods.match import SFace, cut112
from ..photos.detect import SMALLEST, Box, Face, smallest_searched
from ..photos.encode import format_of
from ..photos.photo import Photo
from ..predicting.api import Prediction, Predictor
from ..predicting.report import as_dict as read_as_dict
from ..protecting.engine import Changed, Engine, FaceResult, Prepared, networks_for
from ..protecting.known import Known
from ..protecting.options import GENDERS
from ..protecting.report import as_dict as face_as_dict
from ..weights import store
from . import command
from .asking import Ask, Change
from .limits import Limits, Refused
from .memory import Choice, Held, Kept, Shelf, Work
from .names import in_format

#: Changes that are kept of one photo, 0.6 MB each; and searches, each with other boxes.
_CHANGES, _SEARCHES = 100, 8
#: What a network may use. Requests run beside each other, and a photo is found and changed the same by one as by many.
_THREADS = 1
_PREVIEW = 95  # JPEG quality

T = TypeVar("T")


class Studio:
    """The engine's steps on photos that are held, with what was computed before used again."""

    def __init__(self, limits: Limits, shelf: Shelf) -> None:
        self._limits, self._shelf = limits, shelf
        self._loading = threading.Lock()
        self._predictor: Predictor | None = None
        self._sface: SFace | None = None

    def take(self, data: bytes, name: str) -> tuple[Held, dict[str, Any]]:
        """A photo that came, decoded and searched, not yet kept; and what is told of it."""
        held = Held(data, name)
        return held, self.describe(held)

    def describe(self, held: Held) -> dict[str, Any]:
        """What is told of a photo: its size and kind, and its faces as they are chosen."""
        with held.lock:
            choice, faces = held.choice, self._faces(held, held.choice.boxes)
        who, genders = dict(choice.who), dict(choice.genders)
        return {
            "id": held.id,
            "name": held.name,
            **held.facts,
            "boxes": [list(box) for box in choice.boxes],
            "faces": [
                {
                    "number": number,
                    "box": [round(v, 1) for v in face.box],
                    "points": [[round(v, 1) for v in point] for point in face.points.tolist()],
                    "detection": round(face.score, 3),
                    "doubt": face.doubt,
                    "origin": face.origin,
                    "on": face.points.tobytes() not in choice.off,
                    "who": who.get(face.points.tobytes()),
                    "gender": genders.get(face.points.tobytes()),
                }
                for number, face in enumerate(faces, 1)
            ],
        }

    def count(self, held: Held) -> tuple[int, int, int]:
        """How many faces are seen in it now, its width and its height."""
        with held.lock:
            return len(self._faces(held, held.choice.boxes)), held.facts["width"], held.facts["height"]

    def choose(self, held: Held, changes: Sequence[Change], boxes: tuple[Box, ...] | None) -> None:
        """Take down what the user says of faces, by their present numbers, and of boxes."""
        with held.lock:
            faces = self._faces(held, held.choice.boxes)
            off, who, genders = set(held.choice.off), dict(held.choice.who), dict(held.choice.genders)
            for change in changes:
                face = faces[change.number - 1].points.tobytes()
                if change.on is not None:
                    (off.discard if change.on else off.add)(face)
                for given, said, value in (("who", who, change.who), ("gender", genders, change.gender)):
                    if given in change.given:
                        said.pop(face, None)
                        if value is not None:
                            said[face] = value
            boxes = held.choice.boxes if boxes is None else boxes
            held.choice = Choice(boxes, frozenset(off), tuple(who.items()), tuple(genders.items()))

    def protect(self, held: Held, ask: Ask) -> Kept:
        """Change a photo as asked; the result's file is made when somebody asks for it, see :meth:`encode`."""
        with held.lock:
            choice = held.choice
            kept = Kept(held, ask, choice, {}, "", "")
            engine, photo, faces = self._protected(kept)
            kept.format = format_of(ask.format) if ask.format else photo.format or "PNG"
            kept.name = in_format(held.name, kept.format)
            found = self._faces(held, choice.boxes)
            kept.about = {
                "id": kept.id,
                "photo": held.id,
                "name": kept.name,
                "format": kept.format,
                "width": photo.width,
                "height": photo.height,
                "faces": [_told(number, face) for number, face in enumerate(faces, 1)],
                "unprotected": sum(face.unprotected is not None for face in faces),
                "notes": [*engine.options.notes, *photo.notes],
                **command.of(held.name, kept.name, ask, choice, found),
            }
            return kept

    def encode(self, kept: Kept) -> bytes:
        """The result's file."""
        with kept.photo.lock:
            if kept.data is None:
                photo = self._after(kept)
                data = photo.encode(kept.format, quality=kept.ask.quality, keep_metadata=kept.ask.keep_metadata)
                with self._shelf.claim() as grow:
                    grow(len(data))
                    kept.data = data
            return kept.data

    def picture(self, of: Held | Kept, side: int) -> bytes:
        """A JPEG for the screen, its longer side at most so many pixels, upright."""
        if isinstance(of, Kept):
            with of.photo.lock:
                photo = self._after(of)
        else:
            with of.lock:
                photo = self._work(of).photo
        pixels = photo.pixels
        scale = side / max(pixels.shape[:2])
        if scale < 1:
            size = tuple(max(1, round(v * scale)) for v in pixels.shape[1::-1])
            pixels = np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_AREA), np.uint8)
        how = [cv2.IMWRITE_JPEG_QUALITY, _PREVIEW, cv2.IMWRITE_JPEG_SAMPLING_FACTOR,
               cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444]  # fmt: skip
        done, data = cv2.imencode(".jpg", pixels[..., ::-1], how)
        if not done:
            raise Refused(500, "failed", "no picture for the screen could be made")
        return bytes(data)

    def reads(self, held: Held, kept: Kept | None) -> dict[str, Any]:
        """What our own classifiers take each face for, before and, with a result, after; they are no judges."""
        predictor = self._reader()
        with held.lock:
            choice = kept.choice if kept else held.choice
            work, faces = self._work(held), self._faces(held, choice.boxes)
            before = self._before(work, choice.boxes, faces)[0]
            after = None if kept is None else self._after(kept)
        changed = {f["number"] - 1 for f in kept.about["faces"] if f["changed"]} if kept else set()
        then = {} if after is None else predictor.of(after.pixels, faces)
        matches = {} if kept is None else self.matches(kept)
        return {
            "network": predictor.network.about,
            "faces": [
                {
                    "number": i + 1,
                    "before": _read(before[i]) if i in before else None,
                    "after": _read(then[i]) if i in then and i in changed else None,
                    "match": matches.get(i),
                }
                for i in range(len(faces))
            ],
        }

    def matches(self, kept: Kept) -> dict[int, float]:
        """SFace's cosine between each changed face before and after, by place; empty where SFace is not here."""
        matcher = self._matcher()
        if matcher is None:
            return {}
        with kept.photo.lock:
            work, faces = self._work(kept.photo), self._faces(kept.photo, kept.choice.boxes)
            before = self._before(work, kept.choice.boxes, faces)[1]
            after = self._after(kept)
        changed = [f["number"] - 1 for f in kept.about["faces"] if f["changed"]]
        if not changed:
            return {}
        then = matcher.embed(np.stack([cut112(after.pixels, faces[i].points) for i in changed]))
        return {i: round(float(before[i] @ now), 4) for i, now in zip(changed, then, strict=True)}

    def predict(self, data: bytes) -> dict[str, Any]:
        """What our own classifiers take the faces of a photo for."""
        predictor = self._reader()
        photo = self._engine(Ask()).read(data)
        seen = predictor(photo.pixels)
        return {
            "width": photo.width,
            "height": photo.height,
            "network": predictor.network.about,
            "faces": [read_as_dict(face) for face in seen],
        }

    def need(self, names: Sequence[str]) -> None:
        """Refuse when a model is not here: nothing is ever fetched that nobody asked for."""
        if absent := [name for name in names if not store.present(name)]:
            raise Refused(
                409,
                "model_missing",
                f"this needs {' and '.join(absent)}, which {'is' if len(absent) == 1 else 'are'} not on this computer "
                f"yet. Fetch by POST /api/v1/models, or on the command line: halfmask models get {' '.join(absent)}",
                more={"models": absent},
            )

    def _engine(self, ask: Ask, skip: Sequence[int] = ()) -> Engine:
        self.need(("yunet", *METHODS[ask.method].cls.models))
        options = ask.options(max_pixels=self._limits.pixels, skip=skip, full=True)
        try:
            return Engine(options, networks_for(options, _THREADS))
        except WeightsError as error:
            raise Refused(
                503, "model_damaged", "a network is damaged; the server's owner finds which by: halfmask models check"
            ) from error

    def _reader(self) -> Predictor:
        self.need(("yunet",))
        with self._loading:
            if self._predictor is None:
                self._predictor = Predictor(threads=_THREADS)
            return self._predictor

    def _matcher(self) -> SFace | None:
        with self._loading:
            if self._sface is None and store.present("sface"):
                self._sface = SFace(_THREADS)
            return self._sface

    def _before(
        self, work: Work, boxes: tuple[Box, ...], faces: Sequence[Face]
    ) -> tuple[dict[int, Prediction], dict[int, Any]]:
        """What is read off the faces of the photo as it came: guesses, and SFace's descriptors where it is here."""
        matcher = self._matcher()
        if boxes not in work.reads or (matcher and not work.reads[boxes][1]):
            _trim(work.reads, _SEARCHES)
            pixels = work.photo.pixels
            read = self._reader().of(pixels, faces)
            cuts = np.stack([cut112(pixels, faces[i].points) for i in read]) if read and matcher else None
            found: Sequence[Any] = [] if matcher is None or cuts is None else list(matcher.embed(cuts))
            work.reads[boxes] = read, dict(zip(read, found, strict=False))
        return work.reads[boxes]

    def _work(self, held: Held) -> Work:
        """The photo decoded, again when it was let go."""
        work = held.work
        if work is None:
            photo = self._engine(Ask(DEFAULT)).read(held.data)
            work = held.work = Work(photo)
            held.facts = {
                "width": photo.width,
                "height": photo.height,
                "format": photo.format,
                "mode": photo.mode,
                "notes": list(photo.notes),
                "smallest_face": round(smallest_searched(photo.width, photo.height, SMALLEST), 1),
            }
            self._shelf.let_go(held)
        return work

    def _faces(self, held: Held, boxes: tuple[Box, ...]) -> list[Face]:
        if boxes not in held.faces:
            _trim(held.faces, _SEARCHES)
            held.faces[boxes] = self._engine(Ask(DEFAULT)).detect(self._work(held).photo, boxes)
        return held.faces[boxes]

    def _protected(self, kept: Kept) -> tuple[Engine, Photo, tuple[FaceResult, ...]]:
        """The steps from choosing to pasting, of which only what is new is computed; remembers the photo after."""
        held, ask, choice = kept.photo, kept.ask, kept.choice
        work, faces = self._work(held), self._faces(held, choice.boxes)
        keys = [face.points.tobytes() for face in faces]
        engine = self._engine(ask, [n for n, key in enumerate(keys, 1) if key in choice.off])
        who, genders = dict(choice.who), dict(choice.genders)
        known = Known(
            genders=tuple(GENDERS.index(genders[key]) if key in genders else None for key in keys),
            who=tuple(who.get(key) for key in keys),
        )
        prepared = engine.crop(work.photo, faces, engine.choose(work.photo, faces), known)
        how = tuple(sorted(engine.options.asked.items()))
        names = {i: (ask.method, how, keys[i], prepared.who.get(i), prepared.given.get(i)) for i in prepared.crops}
        absent = {i: prepared.crops[i] for i, name in names.items() if name not in work.changes}
        if absent:
            changed = self._change(engine, replace(prepared, crops=absent))
            _trim(work.changes, max(0, _CHANGES - len(names)))
            for i, delta in changed.deltas.items():
                work.changes[names[i]] = (changed.labels.get(i), delta)
        both = {i: work.changes[name] for i, name in names.items()}
        changed = Changed({i: label for i, (label, _) in both.items() if label}, {i: d for i, (_, d) in both.items()})
        share = ask.share
        after, results = engine.paste(prepared, changed if share is None else changed.scaled(share))
        work.after = kept.id, after
        self._shelf.let_go(held)
        return engine, after, results

    def _change(self, engine: Engine, prepared: Prepared) -> Changed:
        try:
            return engine.change([prepared])[0]
        except UsageError as error:  # what a request may say was checked, so this is the server's: its key
            raise Refused(500, "failed", "the server's settings do not allow this; its log says why") from error

    def _after(self, kept: Kept) -> Photo:
        work = kept.photo.work
        if work is None or work.after is None or work.after[0] != kept.id:
            return self._protected(kept)[1]
        return work.after[1]


def _trim(of: dict[Any, Any], most: int) -> None:
    while len(of) > most:
        del of[next(iter(of))]


def _told(number: int, face: FaceResult) -> dict[str, Any]:
    return {"number": number, **face_as_dict(face)}


def _read(face: Any) -> dict[str, Any]:
    told = read_as_dict(face)
    return {name: told[name] for name in ("gender", "age", "race") if name in told}
