"""What was done at an address: which outputs are ours, whole and up to date, so that a second run does only the rest.

Folders have the records that every run there keeps. Object stores cannot append, so their manifest is a folder of
parts, each written once and whole: a line a photo and event. At a run's end all parts become one. Either way the photos
are noted as *begun* before any work starts, so that whatever a killed run wrote is known as ours, and nobody is told
what was asked: what an output depends on is a mark that only the user's key can repeat.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

from ..errors import DataError, shown
from ..protecting import pipeline, records
from ..protecting.records import Records
from ..storage import RECORD
from .places import MANIFEST, Entry, Place
from .work import Task

BEGUN = "begun"
_PART = 50_000  # lines


@dataclass(frozen=True)
class Line:
    """What is known of one output: its photo's name, size and etag, what it depends on, and what became of it.

    ``status`` is :data:`BEGUN` or one of the five of :mod:`halfmask.protecting.pipeline`; ``output_etag`` is empty when
    nothing was written.
    """

    source: str
    size: int
    etag: str
    mark: str
    output: str
    status: str
    output_etag: str = ""


#: What there is of an output: it is up to date; no face was found, so there is none; ours, or none, and to be made; or
#: not made by us.
DONE, WITHOUT, TODO, FOREIGN = "done", "without", "todo", "foreign"


class Kept(Protocol):
    """What is known of the outputs of a place, and kept for the next run."""

    #: The file that says so, for messages.
    name: str

    def state(self, task: Task, photo: Path | bytes) -> str:
        """What there is of a task's output, one of the four; ``photo`` is its own where it is a file, else empty."""

    def begin(self, tasks: Iterable[Task]) -> None:
        """Note outputs that are about to be made; on the store when this returns."""

    def add(self, task: Task, status: str, etag: str) -> None:
        """Note what became of a task; it is written with others at the next :meth:`flush`."""

    def flush(self) -> None:
        """Write what was added."""

    def close(self) -> None:
        """Write what was added, and put all in order."""


def kept(place: Place) -> Kept:
    """What is known of a place: a folder's in the records that every run there keeps, else in a manifest."""
    return Beside(place) if place.local else Manifest(place)


class Beside:
    """The records of folders (:mod:`halfmask.protecting.records`), written by the driver alone.

    ``etag`` is an output's sha256 here. A run by Ray goes on where one without it was, and the other way round.
    """

    name = RECORD

    def __init__(self, place: Place) -> None:
        self._root = Path(place.root)
        self._records = Records({})
        self._fresh: list[tuple[Path, str, str]] = []

    def state(self, task: Task, photo: Path | bytes) -> str:
        """As :meth:`Kept.state`."""
        output = self._root / task.output
        if self._records.skipped(output, task.mark):
            return WITHOUT
        reason = self._records.there(photo, output, task.mark)
        return DONE if reason == "" else TODO if reason is None else FOREIGN

    def begin(self, tasks: Iterable[Task]) -> None:
        """As :meth:`Kept.begin`."""
        self._records.note((self._root / task.output, records.BEGUN, "") for task in tasks)

    def add(self, task: Task, status: str, etag: str) -> None:
        """As :meth:`Kept.add`."""
        mark = "" if status == pipeline.COPIED else task.mark  # an unprotected copy is made anew
        self._fresh.append((self._root / task.output, etag or records.NONE, mark))

    def flush(self) -> None:
        """As :meth:`Kept.flush`."""
        self._records.note(self._fresh)
        self._fresh = []

    def close(self) -> None:
        """As :meth:`Kept.close`."""
        with self._records:
            self.flush()


class Manifest:
    """The manifest of a place. Raises :class:`~halfmask.errors.DataError` when a part is no manifest's.

    Several runs may write to one place at once, so an output may have a line of each: which counts its etag tells.

    >>> from dataclasses import replace
    >>> place = Place("memory://doctest-manifest")
    >>> task = Task("a.jpg", "memory://in", "/in/a.jpg", "a.jpg", 3, "e1", "m1")
    >>> manifest = Manifest(place)
    >>> manifest.add(task, pipeline.PROTECTED, place.write("a.jpg", b"out").state)
    >>> manifest.close()
    >>> again = Manifest(place)
    >>> again.state(task), again.state(replace(task, mark="m2"))
    ('done', 'todo')
    """

    name = MANIFEST

    def __init__(self, place: Place) -> None:
        self.place = place
        self.lines: dict[str, dict[str, Line]] = {}  # output → its etag, or status where there is none
        self._old: list[str] = []
        self._fresh: list[Line] = []
        self._there: dict[str, Entry] | None = None
        number = 0
        for name, data in place.parts():
            self._old.append(name)
            number = max(number, _number(name))
            self._read(name, data)
        self._number = number

    def _read(self, name: str, data: bytes) -> None:
        try:
            for text in data.decode().splitlines():
                row = json.loads(text)
                self._take(Line(**{field.name: row[field.name] for field in fields(Line)}))
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{shown(self.place.address)}/{MANIFEST}/{shown(name)} is no manifest of halfmask: {error}. Move it "
                "away; outputs that nothing tells of are then left as they are"
            ) from error

    def _take(self, line: Line) -> None:
        lines = self.lines.setdefault(line.output, {})
        if line.status != BEGUN:
            lines.pop(BEGUN, None)
        lines[line.output_etag or line.status] = line

    def state(self, task: Task, photo: Path | bytes = b"") -> str:
        """As :meth:`Kept.state`; the place is listed once."""
        if self._there is None:
            self._there = self.place.files()
        lines, there = self.lines.get(task.output, {}), self._there.get(task.output)
        if there is None:
            without = lines.get(pipeline.SKIPPED)
            return WITHOUT if without and without.mark == task.mark else TODO
        line = lines.get(there.state)
        if line is None:
            return TODO if BEGUN in lines else FOREIGN
        return DONE if line.mark == task.mark and line.status == pipeline.PROTECTED else TODO

    def begin(self, tasks: Iterable[Task]) -> None:
        """As :meth:`Kept.begin`."""
        for task in tasks:
            self.add(task, BEGUN)
        self.flush()

    def add(self, task: Task, status: str, etag: str = "") -> None:
        """As :meth:`Kept.add`."""
        line = Line(task.name, task.size, task.etag, task.mark, task.output, status, etag)
        self._take(line)
        self._fresh.append(line)
        if len(self._fresh) >= _PART:
            self.flush()

    def flush(self) -> None:
        """Write what was added as a new part."""
        if self._fresh:
            self._number += 1
            self._old.append(self._write(f"{self._number:06}-{secrets.token_hex(4)}.jsonl", self._fresh))
            self._fresh = []

    def close(self) -> None:
        """Put all parts that this run has read or written into one."""
        self.flush()
        if len(self._old) > 1:
            self._number += 1
            whole = [line for _, lines in sorted(self._standing().items()) for line in lines.values()]
            self._write(f"{self._number:06}-{secrets.token_hex(4)}.jsonl", whole)
            for name in self._old:
                self.place.remove(f"{MANIFEST}/{name}")
            self._old = []

    def _standing(self) -> dict[str, dict[str, Line]]:
        """The lines without those of what outputs were before."""
        if all(len(lines) == 1 for lines in self.lines.values()):
            return self.lines
        there = self.place.files()
        standing = {}
        for output, lines in self.lines.items():
            key = there[output].state if output in there else pipeline.SKIPPED
            standing[output] = {key: lines[key]} if key in lines else lines
        return standing

    def _write(self, name: str, lines: Iterable[Line]) -> str:
        text = "".join(json.dumps(asdict(line), ensure_ascii=True) + "\n" for line in lines)
        self.place.write(f"{MANIFEST}/{name}", text.encode())
        return name


def _number(name: str) -> int:
    first = name.partition("-")[0]
    return int(first) if first.isascii() and first.isdigit() else 0
