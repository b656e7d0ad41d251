"""What a network takes the faces in photos for, at addresses or by Ray; nothing is written there."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from pathlib import Path

from ..errors import PhotoError
from ..predicting.api import Predictor
from ..predicting.run import Seen, look, unseen
from .hands import hand_out
from .places import Found, Place, is_address
from .work import Done, Task


class Looker:
    """Loads the networks at its first photo; a task's ``output`` is its number."""

    def __init__(self, faces: str, network: Path | None, device: str, max_pixels: int) -> None:
        self._faces, self._network, self._device, self._max_pixels = faces, network, device, max_pixels
        self._places: dict[str, Place] = {}
        self._predictor: Predictor | None = None

    def __call__(self, task: Task) -> Done[Seen]:
        """Look at one photo; whatever is raised becomes its error."""
        try:
            if self._predictor is None:
                self._predictor = Predictor(self._network, 1, self._device)
            data = self._places.setdefault(task.source, Place(task.source)).read(task.path)
        except Exception as error:
            return Done(task, unseen(task.name, error))
        return Done(task, look(task.name, data, self._predictor, self._faces, self._max_pixels))

    def left(self, task: Task, reason: PhotoError) -> Done[Seen]:
        """What is told of a photo that is not tried again."""
        return Done(task, unseen(task.name, reason))


def find(sources: Sequence[str]) -> tuple[list[Task], Found]:
    """The photos of addresses, and of all that was found the rest.

    Raises :class:`~halfmask.errors.UsageError` when there is nothing, or it cannot be listed.
    """
    tasks: list[Task] = []
    ignored = 0
    problems: list[tuple[str, str]] = []
    pictures: list[tuple[str, str]] = []
    for source in dict.fromkeys(sources):
        place = Place(source)
        found = place.photos()
        ignored += found.ignored
        problems += found.problems
        pictures += found.pictures
        for entry in found.photos:
            name = source if entry.path == place.root else _below(source, entry.name)
            tasks.append(Task(name, source, entry.path, str(len(tasks)), entry.size, entry.state, ""))
    return tasks, Found((), ignored, tuple(problems), tuple(pictures))


def _below(source: str, name: str) -> str:
    """As a user reads it: an address, or the path that a run without Ray has."""
    return f"{source.rstrip('/')}/{name}" if is_address(source) else str(Path(source) / name)


def run(
    tasks: Sequence[Task],
    looker: Looker,
    *,
    on: str = "local",
    address: str | None = None,
    workers: int = 0,
) -> Generator[Seen, None, None]:
    """Look at the photos; gives what came of them in their order.

    Arguments and errors as those of :func:`halfmask.cluster.hands.hand_out`.
    """
    waiting: dict[str, Seen] = {}
    given = 0
    source = hand_out(tasks, looker, on=on, address=address, workers=workers)
    try:
        for done in source:
            if int(done.task.output) >= given:  # else a block that was lost with its machine comes again
                waiting[done.task.output] = done.outcome
            while (seen := waiting.pop(str(given), None)) is not None:
                yield seen
                given += 1
    finally:
        source.close()
