"""One photo at an address, by one worker: bytes in, an outcome out. The worker keeps its networks."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Generic, TypeVar

from ..errors import PhotoError
from ..protecting import pipeline
from ..protecting.engine import Engine
from ..protecting.known import NOTHING, Known
from ..protecting.options import Options
from ..protecting.plan import Job
from .places import Place


@dataclass(frozen=True)
class Task:
    """One photo to protect: ``name`` and ``output`` are for reports and the place of the outputs.

    ``path`` is within the store of ``source``, ``format`` None writes the photo's own; ``known`` is what the user knows
    of its faces.
    """

    name: str
    source: str
    path: str
    output: str
    size: int
    etag: str
    mark: str
    format: str | None = None
    known: Known = NOTHING

    @property
    def job(self) -> Job:
        """As reports know it."""
        return Job(Path(self.name), Path(self.output), self.name, self.format, self.mark)


Outcome = TypeVar("Outcome")


@dataclass(frozen=True)
class Done(Generic[Outcome]):
    """What became of a task; ``etag`` is the output's, of a file its sha256, and empty when nothing was written."""

    task: Task
    outcome: Outcome
    etag: str = ""


class Worker:
    """Loads the networks at its first photo; one thread of it is one core."""

    def __init__(self, options: Options, output: str) -> None:
        self._options = options
        self._output = output
        self._places: dict[str, Place] = {}
        self._engine: Engine | None = None

    def __call__(self, task: Task) -> Done[pipeline.Outcome]:
        """Protect one photo; whatever it raises becomes its outcome."""
        try:
            return self._protect(task)
        except Exception as error:
            return Done(task, pipeline.failed(task.job, error))

    def left(self, task: Task, reason: PhotoError) -> Done[pipeline.Outcome]:
        """The outcome of a photo that is not tried again."""
        return Done(task, pipeline.failed(task.job, reason))

    def _protect(self, task: Task) -> Done[pipeline.Outcome]:
        if self._engine is None:
            self._engine = pipeline.load(self._options, workers=1, photos=2)
        engine = self._engine
        data = self._place(task.source).read(task.path)
        photo = replace(engine.read(data), name=task.name)
        prepared = engine.prepare_photo(photo, task.known)
        if not prepared.faces and self._options.if_no_face == "skip":
            if self._place(self._output).exists(task.output):
                raise pipeline.left_over(task.output)
            return Done(task, pipeline.Outcome(task.job, pipeline.SKIPPED, smallest=prepared.smallest))
        after, faces = engine.paste(prepared, engine.change([prepared])[0])
        place, encoded = self._place(self._output), engine.encode(after, task.format)
        written = place.write(task.output, encoded)
        outcome = pipeline.written(after, task.job, self._options, faces, prepared.seconds)
        return Done(task, outcome, hashlib.sha256(encoded).hexdigest() if place.local else written.state)

    def _place(self, address: str) -> Place:
        return self._places.setdefault(address, Place(address))
