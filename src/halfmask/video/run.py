"""Videos through the engine, one after the other: find everybody in two passes over the frames, and change them.

The first pass follows every face (:mod:`~halfmask.video.tracks`), the second computes each face's change, steadies it
over time in the crop and adds it to the frame. One person gets one target in a clip, drawn by the user's key.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import PhotoError, shown
from ..methods.match import SFace, cut112
from ..photos import paste
from ..photos.align import crop_face
from ..photos.detect import SMALLEST, Detector, Face, smallest_searched
from ..photos.photo import Photo
from ..protecting.choosing import left_out
from ..protecting.engine import UNCHANGED, Engine, FaceResult, Label, Prepared
from ..protecting.known import NOTHING, Known
from ..protecting.options import GENDERS
from ..protecting.pipeline import COPIED, FAILED, PROTECTED, SKIPPED, THERE, Outcome, failed, left_over
from ..protecting.plan import Job
from ..protecting.records import NONE, Records
from ..storage import Placing, ensure_folder, whole
from ..weights import running
from ..weights.store import sha256_of
from . import pictures, tracks
from .container import Clip, Span
from .tracks import Gap, Person, Place

Pixels = NDArray[np.uint8]

#: Seconds after which a change has all but followed (1 - 1/e) that of its frame.
FOLLOW = 0.25
_NAMED = 10

#: How far a clip has come: frames done of about so many, in both passes together.
Progress = Callable[[int, int], None]


class Look:
    """The detector and SFace, as the tracks want them."""

    def __init__(self, detector: Detector, sface: SFace) -> None:
        self._sface = sface
        self.full = detector.__call__
        self.glance = detector.glance
        self.again = detector.again

    def embed(self, image: Pixels, face: Face) -> NDArray[np.float32]:
        """SFace's descriptor of a face."""
        try:
            return np.asarray(self._sface.embed(cut112(image, face.points)[None])[0])
        except ValueError:  # its points coincide: like nobody
            return np.zeros(128, np.float32)


@dataclass(eq=False)
class Found:
    """What the first pass leaves: who is where in every frame, and the frames' own times."""

    persons: list[Person]
    where: dict[int, list[Place]]
    gaps: list[Gap]
    times: list[float]
    cuts: list[int]
    stamps: list[int]


def run(
    jobs: Sequence[Job],
    engine: Engine,
    *,
    known: Mapping[Path, Known] | None = None,
    records: Records | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Generator[Outcome, None, None]:
    """Protect the videos of the jobs; gives the outcome of each as it is done, in their order.

    Arguments as those of :func:`halfmask.protecting.pipeline.run`; ``progress`` is told of the frames of each clip.
    ``threads`` is what a clip is decoded and encoded with. A clip is written whole or not at all.
    """
    known = known or {}
    look: Look | None = None
    for job in jobs:
        about = known.get(job.source, NOTHING)
        if records is not None:
            job = replace(job, mark=records.mark(job.source, about))
            if engine.options.if_no_face == "skip" and records.skipped(job.output, job.mark):
                yield Outcome(job, SKIPPED)
                continue
            if (reason := records.there(job.source, job.output, job.mark)) is not None:
                yield Outcome(job, FAILED if reason else THERE, reason=reason or None)
                continue
        try:
            if look is None:
                with running.on(engine.options.device):
                    look = Look(engine.networks.detector, SFace(threads))
            yield protect(job, engine, look, known=about, records=records, threads=threads, progress=progress)
        except Exception as error:
            yield failed(job, error)


def protect(
    job: Job,
    engine: Engine,
    look: tracks.Eyes,
    *,
    known: Known = NOTHING,
    records: Records | None = None,
    threads: int = 0,
    progress: Progress | None = None,
) -> Outcome:
    """Protect one video. Raises :class:`~halfmask.errors.PhotoError` when that cannot be."""
    options = engine.options
    if not engine.networks.method.steady:
        raise PhotoError(
            f"{shown(job.source)} is a video, and {options.method} changes photos only: what it does to one frame says "
            "nothing of the next; choose another method, see: halfmask methods"
        )
    if known.boxes:
        raise PhotoError(f"{shown(job.source)} is a video, for which --boxes has no meaning; leave its rows out")
    seconds: dict[str, float] = {}
    clip = Clip(job.source, threads=threads, span=None if options.preview is None else Span(*options.preview))
    began = time.perf_counter()
    found = find(clip, look, progress)
    seconds["find"] = time.perf_counter() - began
    smallest = smallest_searched(*clip.size, options.min_face or SMALLEST)
    if not found.persons and options.if_no_face != "copy":
        if options.if_no_face == "fail":
            raise PhotoError(f"no face was found in {shown(job.source)} ({len(found.times)} frames)")
        if job.output.exists():
            raise left_over(job.output)
        if records is not None and job.output.parent.is_dir():  # no folder is made for what is not there
            records.note([(job.output, NONE, job.mark)])
        return Outcome(job, SKIPPED, smallest=smallest, seconds=seconds, frames=len(found.times))
    # a name that nobody shares, unless one was given for everybody
    who = None if "person" in options.settings else f"video {sha256_of(job.source)}"
    changer = Changer(clip, found, engine, known, look, who)
    if found.persons and len(changer.left) == len(found.persons):
        why = "; ".join(dict.fromkeys(changer.left.values()))
        raise PhotoError(f"none of the {len(found.persons)} people in {shown(job.source)} is to be changed: {why}")
    began = time.perf_counter()
    ensure_folder(job.output.parent, error=PhotoError)
    placing: Placing = nullcontext
    if records is not None:
        placing = partial(records.placing, job.output, job.mark if found.persons else "")
    with whole(job.output, error=PhotoError, placing=placing) as fresh:

        def change(frame: Any) -> None:
            if found.stamps[changer.done : changer.done + 1] != [frame.pts]:
                raise PhotoError(f"{shown(job.source)} changed while it was read; leave it alone and run again")
            changer(frame)
            if progress is not None:
                progress(len(found.times) + changer.done, 2 * len(found.times))

        clip.rewrite(
            fresh,
            change,
            found.stamps,
            quality=options.quality,
            keep_metadata=options.keep_metadata,
            threads=threads,
        )
        if changer.done < len(found.times):
            raise PhotoError(f"{shown(job.source)} changed while it was read; leave it alone and run again")
        if found.persons and not any(changer.differs):
            raise PhotoError(f"none of the {len(found.persons)} people in {shown(job.source)} could be changed")
    seconds["change"] = time.perf_counter() - began
    faces = changer.results()
    notes = list(clip.notes)
    if clip.span is not None:
        notes.append(f"a preview of {clip.span.length:g} s from {tracks.timecode(clip.span.start)} on")
    return Outcome(
        job,
        PROTECTED if faces else COPIED,
        faces,
        warning=_warning(changer.gaps, faces),
        notes=tuple(notes),
        smallest=smallest,
        seconds=seconds,
        frames=len(found.times),
        gaps=tuple((gap.person + 1, round(gap.start, 3), round(gap.end, 3), gap.reason) for gap in changer.gaps),
    )


def find(clip: Clip, look: tracks.Eyes, progress: Progress | None = None) -> Found:
    """The first pass: who is where."""
    follower = tracks.Follower(look)
    stamps: list[int] = []
    for frame in clip.frames():
        follower.add(clip.time(frame), pictures.seen(pictures.samples(frame, clip.colours), clip.colours))
        stamps.append(int(frame.pts or 0))
        if progress is not None:
            progress(len(stamps), 2 * max(clip.about, len(stamps)))
    persons = tracks.people(follower.finish())
    where, gaps = tracks.places(persons, follower.times, follower.cuts, clip.seen_size)
    return Found(persons, where, gaps, follower.times, follower.cuts, stamps)


class Changer:
    """Changes the frames of a clip in their order; call it with each. ``left`` says who is left as they are, and why.

    ``differs`` says of each person whether any sample was changed.
    """

    def __init__(
        self, clip: Clip, found: Found, engine: Engine, known: Known, look: tracks.Eyes, who: str | None
    ) -> None:
        self._clip, self._found, self._engine, self._look = clip, found, engine, look
        self.done = 0
        persons, options = found.persons, engine.options
        self._faces = [person.spots[person.largest] for person in persons]
        order = sorted(range(len(persons)), key=lambda n: -self._faces[n].box[2] * self._faces[n].box[3])
        by_size = [self._faces[n] for n in order]
        left = left_out(by_size, shown(clip.path), many=options.faces, min_face=options.min_face)
        self.left = {order[k]: why for k, why in left.items()}
        self.gaps = [gap for gap in found.gaps if gap.person not in self.left]
        genders, names = known.of(by_size)
        self._who = {n: names.get(k) or (who and f"{who} {n}") for k, n in enumerate(order)}
        self._labels = {order[k]: Label(gender, "labels file") for k, gender in genders.items()}
        if options.gender is not None:
            self._labels = dict.fromkeys(order, Label(GENDERS.index(options.gender), "given"))
        self._estimate()
        self.differs = [False] * len(persons)
        self._match: dict[int, float] = {}
        self._steady: dict[int, tuple[int, NDArray[np.float32]]] = {}  # the frame and the change, by person

    def _estimate(self) -> None:
        """Read the gender of those for whom it is needed and not known, off their largest faces."""
        classifier = self._engine.networks.classifier
        for n, person in enumerate(self._found.persons):
            if classifier is not None and n not in self._labels and n not in self.left and person.crops:
                crops = np.stack(person.crops).transpose(0, 3, 1, 2).astype(np.float32) / 255
                p = float(np.mean(classifier.p_male(np.ascontiguousarray(crops))))
                self._labels[n] = Label(int(p > 0.5), "estimate", p)

    def __call__(self, frame: Any) -> None:
        """Change the next frame in place."""
        i = self.done
        self.done += 1
        places = [p for p in self._found.where.get(i, ()) if p.person not in self.left]
        if not places:
            return
        colours = self._clip.colours
        samples = pictures.samples(frame, colours)
        seen = pictures.seen(samples, colours)
        width, height = self._clip.seen_size
        pasted: dict[int, paste.FaceChange] = {}
        for n, (delta, matrix) in self._changes(i, places, seen).items():
            change = self._engine.placed(delta, matrix, width, height)
            if change is not None:
                pasted[n] = change
        for n, differs in zip(pasted, pictures.add(frame, pasted.values(), samples, colours), strict=True):
            self.differs[n] |= differs
        for n in pasted if self._engine.options.score else ():
            if i == self._found.persons[n].largest:
                after = pictures.seen(pictures.samples(frame, colours), colours)
                one, two = (self._look.embed(image, self._faces[n]) for image in (seen, after))
                self._match[n] = float(one @ two)

    def _changes(
        self, i: int, places: Sequence[Place], seen: Pixels
    ) -> dict[int, tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Person → the steadied change of the crop, and where the crop is in the frame."""
        times, cuts = self._found.times, self._found.cuts
        before = {
            n: (times[i] - times[j], delta)
            for n, (j, delta) in self._steady.items()
            if times[i] - times[j] <= tracks.GAP and not tracks.between(cuts, j, i)
        }
        crops: dict[int, Pixels] = {}
        matrices: dict[int, NDArray[np.float32]] = {}
        for place in places:
            try:
                crop, matrices[place.person] = crop_face(seen, place.points)
            except ValueError:
                continue  # its points coincide
            if place.seen or place.person not in before:
                crops[place.person] = crop
        given = {n: self._labels[n] for n in crops if n in self._labels}
        who = {n: self._who[n] for n in crops}
        prepared = Prepared(Photo(seen, "RGB"), [], crops, matrices, given, who=who)
        changed = self._engine.change([prepared])[0]
        for n, label in changed.labels.items():
            self._labels.setdefault(n, label)
        result = {}
        for n, matrix in matrices.items():
            if n not in crops:
                delta = before[n][1]  # a face that was not seen here: as it was before
            elif n in before:
                apart, delta = before[n]
                delta = delta + np.float32(1 - math.exp(-apart / FOLLOW)) * (changed.deltas[n] - delta)
            else:
                delta = changed.deltas[n]
            self._steady[n] = (i, delta)
            result[n] = (delta, matrix)
        return result

    def results(self) -> tuple[FaceResult, ...]:
        """What became of each person, in the order of their first frames, told of the frame with the largest face."""
        results = []
        for n, face in enumerate(self._faces):
            label, differs = self._labels.get(n), self.differs[n]
            p = None if label is None else label.p_male
            gap = next((gap.reason for gap in self.gaps if gap.person == n), None)
            results.append(
                FaceResult(
                    box=face.box,
                    points=face.points,
                    detection=face.score,
                    changed=differs,
                    gender=GENDERS[label.gender] if label else None,
                    gender_origin=label.origin if label else None,
                    probability=None if p is None or label is None else p if label.gender else 1.0 - p,
                    match=self._match.get(n),
                    unprotected=self.left.get(n) or gap or (None if differs else UNCHANGED),
                    left_out=n in self.left,
                )
            )
        return tuple(results)


def _warning(gaps: Sequence[Gap], faces: Sequence[FaceResult]) -> str | None:
    """What of a clip may be unprotected though it was to be."""
    told = [str(gap) for gap in gaps[:_NAMED]]
    if len(gaps) > _NAMED:
        told.append(f"and {len(gaps) - _NAMED} more; --json FILE lists all")
    if unchanged := sum(not face.changed and not face.left_out for face in faces):
        told.append(f"{unchanged} of {len(faces)} people could not be changed and are UNPROTECTED")
    return "; ".join(told) or None
