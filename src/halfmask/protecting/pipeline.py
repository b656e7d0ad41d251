"""Many photos through the engine, in threads.

Every step of a photo is a task of one thread pool, and each task uses one core: decoding and preparing faces, a batch
of faces through the networks, pasting and writing. The calling thread only hands them out. So all cores are busy
whatever the mix of work, nothing waits on a queue that could fill up, and stopping means handing out no more.

Memory is bounded by the pixels of the photos between their first and last task, not by their number.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2

from ..errors import HalfmaskError, PhotoError, shown
from ..photos.detect import SMALLEST, smallest_searched
from ..photos.photo import Photo
from ..storage import Placing, ensure_folder, whole
from ..weights.memory import keep_memory
from .engine import BATCH, Changed, Engine, FaceResult, Prepared, networks_for, timed
from .known import NOTHING, Known
from .options import Options
from .plan import Job
from .records import NONE, Records

#: Pixels of photos that may be in memory at once, before the ones that are just being decoded.
PIXELS_HELD = 60_000_000
#: Photos that may be in memory at once, however small.
PHOTOS_HELD = 64

PROTECTED, COPIED, SKIPPED, THERE, FAILED = (
    "protected",
    "no face, copied",
    "no face, skipped",
    "already there",
    "failed",
)


@dataclass(frozen=True, eq=False)
class Outcome:
    """What became of one photo. ``status`` is one of the five above; ``fatal`` says that no other will fare better.

    ``warning`` tells of a protected photo that some of its faces are not, though they were to be; ``notes`` what was
    lost or put right (:attr:`halfmask.photos.photo.Photo.notes`). ``smallest`` is the size, in pixels, of the smallest
    faces that the photo was searched for; None when it was not.

    Of a video ``faces`` are one a person, ``frames`` is how many frames it has (None: a photo), and ``gaps`` are where
    somebody is not protected or may be changed in the wrong place: (person, from 1; first and last second; why).
    """

    job: Job
    status: str
    faces: tuple[FaceResult, ...] = ()
    reason: str | None = None
    warning: str | None = None
    notes: tuple[str, ...] = ()
    smallest: float | None = None
    fatal: bool = False
    seconds: dict[str, float] = field(default_factory=dict)
    frames: int | None = None
    gaps: tuple[tuple[int, float, float, str], ...] = ()


@dataclass(eq=False)
class _Task:
    """What a running future is about: jobs in its first stage, and with what was found in the later ones."""

    stage: str
    jobs: list[Job]
    prepared: list[Prepared]


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def load(options: Options, *, workers: int, photos: int) -> Engine:
    """Load the networks for a run of that many photos; a single photo gets all cores inside the networks instead.

    OpenCV's number of threads, which belongs to the whole process, is set to the same, and the process keeps the memory
    that photos free (:func:`~halfmask.weights.memory.keep_memory`).
    """
    threads = workers if photos == 1 else 1
    if photos > 1:
        keep_memory(shared=True)
    cv2.setNumThreads(threads)
    return Engine(options, networks_for(options, threads))


def run(
    jobs: Sequence[Job],
    engine: Engine,
    *,
    known: Mapping[Path, Known] | None = None,
    workers: int = 0,
    records: Records | None = None,
) -> Generator[Outcome, None, None]:
    """Protect the photos of the jobs; gives the outcome of each as it is done, in no fixed order.

    ``known`` is a job's source → what the user knows of the photo's faces. ``workers`` 0 means one a core.
    ``records`` tell which outputs are there and need not be made; without them all are made and none is recorded.
    Whatever happens to one photo, others go on. When the caller stops iterating (or is interrupted), no new task starts
    and those running are waited for, so every file is whole.
    """
    workers = workers or cores()
    known = known or {}
    waiting = iter(jobs)
    more = True
    running: dict[Future[Any], _Task] = {}
    ready: list[tuple[Job, Prepared]] = []  # found, not yet in a batch
    held = largest = 0  # pixels from found to written; the largest photo so far
    pool = ThreadPoolExecutor(workers, thread_name_prefix="halfmask")
    try:
        while True:
            preparing = sum(task.stage == "prepare" for task in running.values())
            photos = sum(len(task.jobs) for task in running.values()) + len(ready)
            # Until a first size is known, no more than are decoded at the same time anyway.
            while more and preparing < (workers + 2 if largest else workers) and photos < PHOTOS_HELD:
                if photos and held + (preparing + 1) * largest > PIXELS_HELD:
                    break
                job = next(waiting, None)
                if job is None:
                    more = False
                    break
                about = known.get(job.source, NOTHING)
                if records is not None:
                    job = replace(job, mark=records.mark(job.source, about))
                    if engine.options.if_no_face == "skip" and records.skipped(job.output, job.mark):
                        yield Outcome(job, SKIPPED)
                        continue
                    reason = records.there(job.source, job.output, job.mark)
                    if reason is not None:
                        yield Outcome(job, FAILED if reason else THERE, reason=reason or None)
                        continue
                future: Future[Any] = pool.submit(engine.prepare, job.source, about)
                running[future] = _Task("prepare", [job], [])
                preparing, photos = preparing + 1, photos + 1
            faces = sum(len(prepared.crops) for _, prepared in ready)
            if ready and (faces >= BATCH or not preparing):
                task = _Task("change", [job for job, _ in ready], [prepared for _, prepared in ready])
                running[pool.submit(engine.change, task.prepared)] = task
                ready = []
            if not running:
                if not more:
                    return
                continue
            for future in wait(running, return_when=FIRST_COMPLETED).done:
                task = running.pop(future)
                if error := future.exception():
                    held -= sum(_pixels(prepared.photo) for prepared in task.prepared)
                    for job in task.jobs:
                        yield failed(job, error)
                elif task.stage == "prepare":
                    prepared = future.result()
                    size = _pixels(prepared.photo)
                    held, largest = held + size, max(largest, size)
                    if prepared.crops:
                        ready.append((task.jobs[0], prepared))
                    else:
                        write = pool.submit(_finish, engine, records, task.jobs[0], prepared, Changed({}, {}))
                        running[write] = _Task("finish", task.jobs, [prepared])
                elif task.stage == "change":
                    for job, prepared, changed in zip(task.jobs, task.prepared, future.result(), strict=True):
                        write = pool.submit(_finish, engine, records, job, prepared, changed)
                        running[write] = _Task("finish", [job], [prepared])
                else:
                    held -= _pixels(task.prepared[0].photo)
                    yield future.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _pixels(photo: Photo) -> int:
    return photo.width * photo.height


def _finish(engine: Engine, records: Records | None, job: Job, prepared: Prepared, changed: Changed) -> Outcome:
    options = engine.options
    if not prepared.faces and options.if_no_face == "skip":
        if job.output.exists():
            raise left_over(job.output)
        if records is not None and job.output.parent.is_dir():  # no folder is made for what is not there
            records.note([(job.output, NONE, job.mark)])
        return Outcome(job, SKIPPED, smallest=prepared.smallest, seconds=prepared.seconds)
    after, faces = engine.paste(prepared, changed)
    with timed(prepared.seconds, "write"):
        write(engine, after, job, records, copied=not faces)
    return written(after, job, options, faces, prepared.seconds)


def written(
    photo: Photo, job: Job, options: Options, faces: tuple[FaceResult, ...], seconds: dict[str, float]
) -> Outcome:
    """The outcome of a photo that was written; faces that were to be protected and may not be are warned of."""
    wanted = [face for face in faces if face.unprotected and not face.left_out]
    told = []
    if unchanged := sum(not face.changed for face in wanted):
        told.append(f"{unchanged} of {len(faces)} faces could not be changed and are UNPROTECTED")
    for why in dict.fromkeys(face.unprotected for face in wanted if face.changed):
        count = sum(face.changed and face.unprotected == why for face in wanted)
        told.append(f"{count} of {len(faces)} faces may be changed in the wrong place and count as UNPROTECTED: {why}")
    return Outcome(
        job,
        PROTECTED if faces else COPIED,
        faces,
        warning="; ".join(told) or None,
        notes=photo.notes,
        smallest=smallest_searched(photo.width, photo.height, options.min_face or SMALLEST),
        seconds=seconds,
    )


def write(engine: Engine, photo: Photo, job: Job, records: Records | None, *, copied: bool = False) -> None:
    """Write a photo where its job says, making the folders that are missing, and record it.

    An unprotected copy gets the date of its photo, and no mark, so later runs make it anew.
    """
    ensure_folder(job.output.parent, error=PhotoError)
    data = engine.encode(photo, job.format)
    placing: Placing = nullcontext
    if records is not None:
        placing = partial(records.placing, job.output, "" if copied else job.mark)
    with whole(job.output, error=PhotoError, placing=placing) as fresh:
        fresh.write_bytes(data)
        if copied and job.source.is_file():  # not stdin
            old = job.source.stat()
            os.utime(fresh, ns=(old.st_atime_ns, old.st_mtime_ns))


def left_over(output: Path | str) -> PhotoError:
    """What to raise when nothing is to be written, and an output is there."""
    return PhotoError(
        f"no face was found, so nothing was written, but {shown(output)} of an earlier run is still there "
        "and may be an unprotected copy; look at it and remove it"
    )


def failed(job: Job, error: BaseException) -> Outcome:
    """The outcome of a photo at which something was raised."""
    reason = (
        str(error) if isinstance(error, HalfmaskError) else f"unexpected {type(error).__name__}: {shown(str(error))}"
    )
    return Outcome(job, FAILED, reason=reason, fatal=_no_room(error))


def _no_room(error: BaseException | None) -> bool:
    """Whether the disk is full or cannot be written to at all."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
            return True
        error = error.__cause__
    return False
