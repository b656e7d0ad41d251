"""The threads, with an engine that only pretend, so that order, bounds and failures can be seen."""

from __future__ import annotations

import errno
import os
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from halfmask.errors import PhotoError
from halfmask.photos.detect import Face
from halfmask.photos.photo import Photo
from halfmask.protecting import pipeline
from halfmask.protecting.engine import BATCH, Changed, FaceResult, Prepared
from halfmask.protecting.known import Known
from halfmask.protecting.options import Options
from halfmask.protecting.plan import Job
from halfmask.protecting.records import Records
from halfmask.storage import RECORD

FACE = Face((0, 0, 4, 4), np.zeros((5, 2), np.float32), 0.9)


class Pretend:
    """An engine for jobs named by a number: photo n has n % 3 faces. ``broken`` is step → names at which it raises."""

    def __init__(
        self,
        side: int = 8,
        broken: dict[str, set[str]] | None = None,
        error: Exception | None = None,
        if_no_face: str = "skip",
    ) -> None:
        self.options = Options(if_no_face=if_no_face)
        self.side = side
        self.broken = broken or {}
        self.error = error or ValueError("broken on purpose")
        self.batches: list[int] = []
        self.held = self.most = 0
        self.lock = threading.Lock()

    def _enter(self, stage: str, name: str) -> None:
        time.sleep(0.001)
        if name in self.broken.get(stage, set()):
            raise self.error

    def prepare(self, source: Path, known: Known) -> Prepared:
        self._enter("prepare", source.stem)
        with self.lock:
            self.held += 1
            self.most = max(self.most, self.held)
        faces = int(source.stem) % 3
        crops = {i: np.zeros((224, 224, 3), np.uint8) for i in range(faces)}
        photo = Photo(np.zeros((self.side, self.side, 3), np.uint8), "RGB", "PNG", source.stem)
        return Prepared(photo, [FACE] * faces, crops, {}, {})

    def change(self, batch: list[Prepared]) -> list[Changed]:
        self.batches.append(sum(len(prepared.crops) for prepared in batch))
        for prepared in batch:
            self._enter("change", prepared.photo.name)
        return [Changed({}, {}) for _ in batch]

    def paste(self, prepared: Prepared, changed: Changed) -> tuple[Photo, tuple[FaceResult, ...]]:
        with self.lock:
            self.held -= 1
        self._enter("paste", prepared.photo.name)
        return prepared.photo, tuple(FaceResult(f.box, f.points, f.score, True) for f in prepared.faces)

    def encode(self, photo: Photo, format: str | None) -> bytes:
        return photo.encode(format or "PNG")


def jobs(tmp_path: Path, count: int) -> list[Job]:
    made = [Job(tmp_path / f"{i}.png", tmp_path / "out" / f"{i}.png", f"{i}.png") for i in range(count)]
    for job in made:
        job.source.write_bytes(b"x")
        os.utime(job.source, (1, 1))  # older than what will be made of it
    return made


def run(engine: Any, todo: list[Job], **options: Any) -> dict[str, pipeline.Outcome]:
    done: dict[str, pipeline.Outcome] = {}
    worker = threading.Thread(
        target=lambda: done.update({o.job.source.stem: o for o in pipeline.run(todo, engine, **options)})
    )
    worker.start()
    worker.join(60)
    assert not worker.is_alive(), "the pipeline hangs"
    return done


@pytest.mark.parametrize("workers", [1, 2, 5])
def test_every_photo_comes_out_once(tmp_path: Path, workers: int) -> None:
    todo = jobs(tmp_path, 50)
    engine = Pretend()
    with Records({}) as records:
        done = run(engine, todo, workers=workers, records=records)
    assert len(done) == 50
    assert {o.status for n, o in done.items() if int(n) % 3} == {pipeline.PROTECTED}
    assert {o.status for n, o in done.items() if int(n) % 3 == 0} == {pipeline.SKIPPED}
    written = sorted(p.name for p in (tmp_path / "out").iterdir() if p.name != RECORD)
    assert written == sorted(f"{i}.png" for i in range(50) if i % 3)
    assert sum(engine.batches) == sum(i % 3 for i in range(50))
    assert max(engine.batches) < BATCH + 2 * (workers + 2)  # the last photos to be found may arrive together
    again = run(Pretend(), todo, workers=workers, records=Records({}))
    assert [o.status for o in again.values()].count(pipeline.THERE) == sum(i % 3 > 0 for i in range(50))


@pytest.mark.parametrize("stage", ["prepare", "change", "paste"])
@pytest.mark.parametrize("workers", [1, 3])
def test_a_stage_that_raises_neither_hangs_nor_stops_the_rest(tmp_path: Path, stage: str, workers: int) -> None:
    broken = {"4", "5", "31"}
    done = run(Pretend(broken={stage: broken}), jobs(tmp_path, 40), workers=workers)
    assert len(done) == 40
    failed = {n for n, o in done.items() if o.status == pipeline.FAILED}
    assert broken <= failed
    if stage != "change":  # a batch fails as a whole
        assert failed == broken
    assert done["4"].reason == "unexpected ValueError: broken on purpose"
    assert not any(o.fatal for o in done.values())


def test_all_raising(tmp_path: Path) -> None:
    done = run(Pretend(broken={"prepare": {str(i) for i in range(30)}}), jobs(tmp_path, 30), workers=2)
    assert {o.status for o in done.values()} == {pipeline.FAILED}
    assert len(done) == 30


def test_photos_in_memory_are_bounded_by_number_and_pixels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pipeline, "PHOTOS_HELD", 10)
    engine = Pretend(if_no_face="copy")  # so that every photo reaches the last stage
    assert len(run(engine, jobs(tmp_path, 80), workers=3)) == 80
    assert engine.most <= 10
    monkeypatch.setattr(pipeline, "PIXELS_HELD", 4 * 100 * 100)
    engine = Pretend(side=100, if_no_face="copy")
    assert len(run(engine, jobs(tmp_path, 40), workers=2)) == 40
    assert engine.most <= 4
    engine = Pretend(
        side=300, if_no_face="copy"
    )  # each alone is above the bound: one after the other, but none is refused
    assert len(run(engine, jobs(tmp_path, 12), workers=2)) == 12
    assert engine.most <= 2


def test_a_full_disk_is_told_from_a_bad_photo(tmp_path: Path) -> None:
    full = PhotoError("cannot write 7.png: No space left on device")
    full.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    done = run(Pretend(broken={"paste": {"7"}}, error=full), jobs(tmp_path, 9), workers=2)
    assert [n for n, o in done.items() if o.fatal] == ["7"]


def test_who_stops_iterating_stops_the_work(tmp_path: Path) -> None:
    engine = Pretend()
    outcomes = pipeline.run(jobs(tmp_path, 500), engine, workers=2)
    next(outcomes)
    outcomes.close()
    written = len(list((tmp_path / "out").glob("*")))
    assert written < 200
    time.sleep(0.1)
    assert len(list((tmp_path / "out").glob("*"))) == written  # nobody goes on in the background
