"""What the server keeps: photos and results, in memory only, bounded, and forgotten after a while."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..photos.detect import Box, Face
from ..photos.photo import Photo
from ..predicting.api import Prediction
from ..protecting.engine import Label
from .asking import Ask
from .limits import Limits, Refused


@dataclass(frozen=True)
class Choice:
    """What the user said of a photo's faces, each of which goes by its points as bytes."""

    boxes: tuple[Box, ...] = ()
    off: frozenset[bytes] = frozenset()
    who: tuple[tuple[bytes, str], ...] = ()
    genders: tuple[tuple[bytes, str], ...] = ()


@dataclass(eq=False)
class Work:
    """A photo decoded, with all that was computed of it that takes room: changes by how and of whom.

    A change of a method that is proportional to its strength is the one at strength 1. ``after`` is the last result's,
    ``reads`` what is read off the faces before: guesses, and SFace's descriptors.
    """

    photo: Photo
    changes: dict[tuple[Any, ...], tuple[Label | None, NDArray[np.float32]]] = field(default_factory=dict)
    after: tuple[str, Photo] | None = None
    reads: dict[tuple[Box, ...], tuple[dict[int, Prediction], dict[int, NDArray[np.float32]]]] = field(
        default_factory=dict
    )

    @property
    def size(self) -> int:
        """Bytes, without what ``after`` shares with the photo."""
        own = self.photo.stored.nbytes + self.photo.width * self.photo.height * 3
        return own + sum(delta.nbytes for _, delta in self.changes.values())


@dataclass(eq=False)
class Held:
    """A photo: its file, what was found in it, and, as long as there is room, the photo decoded.

    ``facts`` are told of it, ``faces`` are those found, by the boxes given.
    """

    data: bytes
    name: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    choice: Choice = field(default_factory=Choice)
    facts: dict[str, Any] = field(default_factory=dict)
    faces: dict[tuple[Box, ...], list[Face]] = field(default_factory=dict)
    work: Work | None = None
    used: float = 0.0
    lock: threading.RLock = field(default_factory=threading.RLock)


@dataclass(eq=False)
class Kept:
    """A result: how it was made, what is told of it, and its file once somebody asked for that."""

    photo: Held
    ask: Ask
    choice: Choice
    about: dict[str, Any]
    name: str
    format: str
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    data: bytes | None = None


class Shelf:
    """Photos and their results by id. Safe to share between threads; ``clock`` is in seconds."""

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self._limits, self._clock = limits, clock
        self._lock = threading.Lock()
        self._photos: dict[str, Held] = {}
        self._results: dict[str, Kept] = {}
        self._claimed = 0

    @property
    def bytes(self) -> int:
        """What the files of photos and results take up, with bodies that are just being read."""
        with self._lock:
            return self._bytes()

    def _bytes(self) -> int:
        photos = sum(len(held.data) for held in self._photos.values())
        return photos + sum(len(kept.data or b"") for kept in self._results.values()) + self._claimed

    @contextmanager
    def claim(self) -> Iterator[Callable[[int], None]]:
        """Room for a body while it is read: call what is given with the bytes of each piece."""
        mine = 0

        def grow(count: int) -> None:
            nonlocal mine
            self.forget()
            with self._lock:
                if self._bytes() + count > self._limits.memory_bytes:
                    raise Refused(
                        507,
                        "memory_full",
                        "the server's memory is full of photos and results. Download what is done and remove it, or "
                        "wait: what nobody asks for is forgotten after "
                        f"{self._limits.kept_seconds / 60:.0f} minutes",
                    )
                self._claimed += count
                mine += count

        try:
            yield grow
        finally:
            with self._lock:
                self._claimed -= mine

    def add(self, held: Held) -> None:
        """Keep a photo."""
        with self._lock:
            held.used = self._clock()
            self._photos[held.id] = held

    def keep(self, kept: Kept) -> None:
        """Keep a result; a photo has its last few, and the ones before are forgotten."""
        with self._lock:
            if kept.photo.id not in self._photos:
                raise _gone("photo")
            kept.photo.used = self._clock()
            same = [old.id for old in self._results.values() if old.photo is kept.photo]
            for old in same[: max(0, len(same) - 7)]:
                del self._results[old]
            self._results[kept.id] = kept

    def photo(self, id: str) -> Held:
        """The photo of that id. Raises :class:`~halfmask.serving.limits.Refused` when there is none (any more)."""
        self.forget()
        with self._lock:
            if id not in self._photos:
                raise _gone("photo")
            self._photos[id].used = self._clock()
            return self._photos[id]

    def touch(self, ids: Sequence[str]) -> None:
        """Photos that are still waited for, so that they are not forgotten."""
        with self._lock:
            for id in ids:
                if id in self._photos:
                    self._photos[id].used = self._clock()

    def result(self, id: str) -> Kept:
        """The result of that id."""
        self.forget()
        with self._lock:
            if id not in self._results:
                raise _gone("result")
            self._results[id].photo.used = self._clock()
            return self._results[id]

    def drop_photo(self, id: str) -> None:
        """Forget a photo and its results."""
        with self._lock:
            if self._photos.pop(id, None) is None:
                raise _gone("photo")
            self._results = {k: r for k, r in self._results.items() if r.photo.id != id}

    def drop_result(self, id: str) -> None:
        """Forget a result."""
        with self._lock:
            if self._results.pop(id, None) is None:
                raise _gone("result")

    def forget(self) -> None:
        """Forget what nobody asked for in a while."""
        with self._lock:
            oldest = self._clock() - self._limits.kept_seconds
            self._photos = {k: p for k, p in self._photos.items() if p.used >= oldest}
            self._results = {k: r for k, r in self._results.items() if r.photo.id in self._photos}

    def let_go(self, newest: Held) -> None:
        """Let decoded photos go, the ones used longest ago first, until the rest fits; the newest stays."""
        with self._lock:
            decoded = sorted((h for h in self._photos.values() if h.work and h is not newest), key=lambda h: -h.used)
            total = newest.work.size if newest.work else 0
            for held in decoded:
                work = held.work
                total += work.size if work else 0
                if total > self._limits.decoded_bytes:
                    held.work = None

    def clear(self) -> None:
        """Forget everything."""
        with self._lock:
            self._photos, self._results = {}, {}


def _gone(what: str) -> Refused:
    return Refused(
        404,
        "not_found",
        f"there is no such {what}, or it was forgotten: nothing is kept for long. Give the photo again",
    )
