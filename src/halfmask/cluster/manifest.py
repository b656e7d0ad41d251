"""What was done at an address: which outputs are ours, whole and up to date, so that a second run does only the rest.

Object stores cannot append, so the manifest is a folder of parts, each written once and whole: a line a photo and
event. Before any work starts the photos are noted as *begun*, so that whatever a killed run wrote is known as ours. At
a run's end all parts become one. Like :mod:`halfmask.protecting.records`, it tells nobody what was asked: what an
output depends on stands in it as a mark that only the user's key can repeat.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from ..errors import DataError, shown
from .places import MANIFEST, Entry, Place

BEGUN = "begun"
_PART = 50_000  # lines
_FIELDS = ("source", "size", "etag", "mark", "output", "status", "output_etag")


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


class Manifest:
    """The manifest of a place. Raises :class:`~halfmask.errors.DataError` when a part is no manifest's.

    >>> place = Place("memory://doctest-manifest")
    >>> line = Line("a.jpg", 3, "e1", "m1", "a.jpg", "protected", place.write("a.jpg", b"out").state)
    >>> manifest = Manifest(place)
    >>> manifest.add(line)
    >>> manifest.close()
    >>> again, files = Manifest(place), place.files()
    >>> again.state("a.jpg", "m1", files.get("a.jpg")), again.state("a.jpg", "m2", files.get("a.jpg"))
    ('done', 'ours')
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self.lines: dict[str, Line] = {}
        self._old: list[str] = []
        self._fresh: list[Line] = []
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
                line = Line(**{field: row[field] for field in _FIELDS})
                self.lines[line.output] = line
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(
                f"{shown(self.place.address)}/{MANIFEST}/{shown(name)} is no manifest of halfmask: {error}. Move it "
                "away; outputs that nothing tells of are then left as they are"
            ) from error

    def state(self, output: str, mark: str, there: Entry | None) -> str:
        """What there is of an output: "done", "ours" (to be made anew), "none", or "foreign": not made by us."""
        line = self.lines.get(output)
        if there is None:
            return "done" if line and line.mark == mark and line.status == "no face, skipped" else "none"
        if line is None:
            return "foreign"
        if line.status == BEGUN:
            return "ours"
        if line.output_etag != there.state:
            return "foreign"
        return "done" if line.mark == mark and line.status == "protected" else "ours"

    def begin(self, lines: Iterable[Line]) -> None:
        """Note outputs that are about to be made; on the store when this returns."""
        for line in lines:
            self.add(line)
        self.flush()

    def add(self, line: Line) -> None:
        """Note what became of a photo; it is written with others at the next :meth:`flush`."""
        self.lines[line.output] = line
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
            whole = [self.lines[name] for name in sorted(self.lines)]
            self._write(f"{self._number:06}-{secrets.token_hex(4)}.jsonl", whole)
            for name in self._old:
                self.place.remove(f"{MANIFEST}/{name}")
            self._old = []

    def _write(self, name: str, lines: Iterable[Line]) -> str:
        text = "".join(json.dumps(asdict(line), ensure_ascii=True) + "\n" for line in lines)
        self.place.write(f"{MANIFEST}/{name}", text.encode())
        return name


def _number(name: str) -> int:
    first = name.partition("-")[0]
    return int(first) if first.isascii() and first.isdigit() else 0
