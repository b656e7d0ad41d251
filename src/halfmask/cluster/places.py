"""Photos at any address that fsspec knows: listed, read, and written whole.

An address is a path, or ``s3://bucket/folder``, ``gs://…``, ``az://…``, ``memory://…`` and the like. Credentials are
those that the user has set up for the store; halfmask asks for none and keeps none.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import Any

from ..errors import PhotoError, UsageError, require, shown
from ..photos.kinds import HEAD, VIDEO_ELSEWHERE, left_out_by
from ..photos.listing import is_photo, list_photos
from ..protecting import plan
from ..storage import RECORD, ensure_folder, whole

#: Where a store's outputs keep their manifest.
MANIFEST = ".halfmask-manifest"
#: Stores in which a file is there as a whole or not at all, so it needs no other name while it is written.
_ATOMIC = frozenset({"s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "adl", "oss", "memory"})
#: What a store calls the state of a file, the surest first.
_STATES = ("ETag", "etag", "md5Hash", "content_md5", "mtime", "LastModified", "last_modified", "updated", "created")


@dataclass(frozen=True)
class Entry:
    """A file at an address.

    ``name`` is its path within the folder that was listed, ``path`` the one within the store, ``state`` what the store
    says of its content (an ETag, else a date): another content has another state.
    """

    name: str
    path: str
    size: int
    state: str


@dataclass(frozen=True)
class Found:
    """The photos of an address; the rest as in :class:`halfmask.protecting.plan.Plan`."""

    photos: tuple[Entry, ...]
    ignored: int = 0
    problems: tuple[tuple[str, str], ...] = ()
    pictures: tuple[tuple[str, str], ...] = ()


def is_address(text: str) -> bool:
    """Whether a text is an address and no plain path.

    >>> is_address("s3://archive/1999"), is_address("holiday/a.jpg")
    (True, False)
    """
    scheme, colon, _ = text.partition("://")
    return bool(colon) and len(scheme) > 1 and scheme.replace("+", "").isalnum()


class Place:
    """A file or folder at an address. Raises :class:`~halfmask.errors.UsageError` when no store goes by its name.

    >>> place = Place("memory://album")
    >>> place.write("a/b.bin", b"123").size, place.read(place.full("a/b.bin")), place.shared
    (3, b'123', False)
    """

    def __init__(self, address: str) -> None:
        require(("fsspec",), "an address such as s3://")
        from fsspec.core import url_to_fs

        self.address = address
        try:
            self.fs, path = url_to_fs(address)
        except ImportError as error:  # it says which package to install
            raise UsageError(f"{shown(address)} cannot be reached: {error}") from error
        except ValueError as error:
            raise UsageError(f"{shown(address)} is no address: {error}. Expected such as s3://bucket/folder") from error
        self.root = path.rstrip("/") or path
        protocol = self.fs.protocol
        self.protocols = frozenset({protocol} if isinstance(protocol, str) else protocol)
        self.local = bool(self.protocols & {"file", "local"})

    @property
    def shared(self) -> bool:
        """Whether other processes see the same; what is in memory is seen by one alone."""
        return "memory" not in self.protocols

    @property
    def last(self) -> str:
        """The last name of the address."""
        return Path(self.root).resolve().name if self.local else PurePosixPath(self.root).name

    def full(self, name: str) -> str:
        """The path within the store of a name below this place."""
        return f"{self.root}/{name}" if name else self.root

    def photos(self) -> Found:
        """Every photo at or below the address, by name.

        Raises :class:`~halfmask.errors.UsageError` when there is nothing, or it cannot be listed.
        """
        try:
            if self.fs.isfile(self.root):
                name = PurePosixPath(self.root).name
                return Found((self._entry(name, self.fs.info(self.root)),))
            if self.local:
                return self._local()
            files = dict(sorted(self.fs.find(self.root, detail=True).items()))
        except (OSError, ValueError) as error:
            raise UsageError(f"{shown(self.address)} cannot be listed: {_reason(error)}") from error
        if not files and not self.fs.exists(self.root):
            raise UsageError(f"there is no {shown(self.address)}; check the address")
        photos, pictures, ignored = [], [], 0
        for path, info in files.items():
            name = path.removeprefix(self.root).lstrip("/")
            last = PurePosixPath(name).name
            if MANIFEST in name.split("/") or last == RECORD:
                continue
            if is_photo(last) and not last.startswith("."):
                photos.append(self._entry(name, info))
            elif (why := left_out_by(self._head(path), last)) is not None:
                pictures.append((f"{self.address.rstrip('/')}/{name}", why))
            else:
                ignored += 1
        return Found(tuple(photos), ignored, (), tuple(pictures))

    def _local(self) -> Found:
        if not Path(self.root).is_dir():
            raise UsageError(f"there is no {shown(self.address)}; check the path")
        inside = list_photos(Path(self.root))
        photos = [
            self._entry(name, self.fs.info(str(path)))
            for name, path in inside.photos.items()
            if MANIFEST not in name.split("/")
        ]
        problems = tuple((self.full(name), why) for name, why in inside.problems)
        pictures = [*inside.pictures, *((name, VIDEO_ELSEWHERE) for name in inside.videos)]
        return Found(tuple(photos), inside.others, problems, tuple((self.full(n), why) for n, why in pictures))

    def _head(self, path: str) -> bytes:
        try:
            return bytes(self.fs.cat_file(path, start=0, end=HEAD))
        except (OSError, ValueError):
            return b""

    def files(self) -> dict[str, Entry]:
        """All files below this place by name, without what tells of them; empty when the place is not there."""
        try:
            found = self.fs.find(self.root, detail=True)
        except FileNotFoundError:
            return {}
        entries = (self._entry(path.removeprefix(self.root).lstrip("/"), info) for path, info in found.items())
        return {entry.name: entry for entry in entries if not {MANIFEST, RECORD} & set(entry.name.split("/"))}

    def exists(self, name: str) -> bool:
        """Whether there is a file of this name below this place."""
        self.fs.invalidate_cache()
        return bool(self.fs.exists(self.full(name)))

    def read(self, path: str) -> bytes:
        """A file's bytes; raises :class:`~halfmask.errors.PhotoError`."""
        try:
            return bytes(self.fs.cat_file(path))
        except (OSError, ValueError) as error:
            raise PhotoError(f"cannot read {shown(PurePosixPath(path).name)}: {_reason(error)}") from error

    def write(self, name: str, data: bytes) -> Entry:
        """Write a file below this place, whole or not at all.

        Raises :class:`~halfmask.errors.PhotoError` whose cause says what the store said.
        """
        path = self.full(name)
        try:
            if self.local:
                ensure_folder(Path(path).parent, error=PhotoError)
                with whole(Path(path), error=PhotoError) as fresh:
                    fresh.write_bytes(data)
            elif self.protocols & _ATOMIC:
                self.fs.pipe_file(path, data)
            else:
                self.fs.makedirs(str(PurePosixPath(path).parent), exist_ok=True)
                part = f"{path}.{secrets.token_hex(4)}.part"
                self.fs.pipe_file(part, data)
                self.fs.mv(part, path)
            self.fs.invalidate_cache()
            return self._entry(name, self.fs.info(path))
        except (OSError, ValueError) as error:
            raise PhotoError(f"cannot write {shown(name)} to {shown(self.address)}: {_reason(error)}") from error

    def parts(self) -> Iterator[tuple[str, bytes]]:
        """The files of the manifest, in the order of their names."""
        folder = self.full(MANIFEST)
        self.fs.invalidate_cache()
        try:
            found = sorted(self.fs.find(folder))
        except FileNotFoundError:
            return
        for path in found:
            if path.endswith(".jsonl"):
                yield PurePosixPath(path).name, self.read(path)

    def remove(self, name: str) -> None:
        """Remove a file below this place, if it is there."""
        try:
            self.fs.rm_file(self.full(name))
        except FileNotFoundError:
            pass
        except (OSError, ValueError, NotImplementedError) as error:
            raise PhotoError(f"cannot remove {shown(name)} at {shown(self.address)}: {_reason(error)}") from error

    def _entry(self, name: str, info: dict[str, Any]) -> Entry:
        state = next((info[key] for key in _STATES if info.get(key) is not None), "")
        if isinstance(state, datetime):  # one store, asked in two ways, gives a date or its seconds
            state = state.timestamp()
        return Entry(name, str(info["name"]), int(info.get("size") or 0), str(state))


def renamed(name: str, format: str | None) -> str:
    """A name with the suffix of a picture format; one that already is of it stays.

    >>> renamed("a/b.jpg", "PNG"), renamed("a/b.jpeg", "JPEG"), renamed("a/b.jpg", None)
    ('a/b.png', 'a/b.jpeg', 'a/b.jpg')
    """
    path = PurePosixPath(name)
    return str(path.with_name(plan.renamed(path.name, format)))


def _reason(error: Exception) -> str:
    """What went wrong in one line; stores put whole responses into their errors."""
    text = str(getattr(error, "strerror", None) or error).strip().splitlines()
    return shown(text[0][:200]) if text else type(error).__name__
