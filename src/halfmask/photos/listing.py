"""Which files of a folder are photos: one listing for protect, predict, audit, the checks and training."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import DataError, shown
from ..storage import RECORD
from .encode import SUFFIXES
from .kinds import is_video, left_out

#: What else data sets are published in. They are read there only, since a protected photo is written as it came.
DATA_SET_SUFFIXES = frozenset({".ppm", ".pgm"})


@dataclass
class PhotoList:
    """What stands in a folder. ``photos`` and ``videos`` map the path within the folder, with "/", to the path.

    ``pictures`` are (path within the folder, reason) of the pictures among the rest: of a kind that is not read,
    hidden, or without the suffix. ``others`` counts the files that are neither; ``problems`` are (path within the
    folder, reason) of folders that cannot be listed and of photos that are links to nothing.
    """

    photos: dict[str, Path] = field(default_factory=dict)
    videos: dict[str, Path] = field(default_factory=dict)
    pictures: list[tuple[str, str]] = field(default_factory=list)
    others: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)


def is_photo(path: str | Path, also: Iterable[str] = ()) -> bool:
    """Whether a file's name ends like a picture's (:data:`SUFFIXES`, and ``also``); the file is not opened.

    >>> is_photo("holiday/IMG_0001.JPG"), is_photo("labels.csv"), is_photo("00001_930831_fa.ppm", DATA_SET_SUFFIXES)
    (True, False, True)
    """
    suffix = Path(path).suffix.lower()
    return suffix in SUFFIXES or suffix in also


def is_picture(name: str) -> bool:
    """Whether a file name ends as a picture of a data set does. Dot files (macOS leaves ``._x.jpg``) are none."""
    return not name.startswith(".") and is_photo(name, DATA_SET_SUFFIXES)


def list_photos(root: Path, *, leave_out: Path | None = None, also: Iterable[str] = ()) -> PhotoList:
    """Every photo at or below a folder, in the order of their names, a folder's own before those below it.

    Hidden names are left out, and what lies in the folder ``leave_out``. Linked folders are followed, each real folder
    once, so loops end; a photo that is reached with and without a link goes by its real place. No photo is opened; of
    the other files the first bytes are read, to tell pictures that would go unprotected without a word.
    """
    listing = PhotoList()
    seen: set[tuple[int, int]] = set()
    if leave_out is not None and leave_out.is_dir():
        seen.add(_identity(leave_out))  # a link may lead into it
    for place, files in _folders(root, seen, listing.problems):
        for name in files:
            path = Path(place, name)
            key = path.relative_to(root).as_posix()
            if name == RECORD:
                continue  # our own, beside photos that were protected
            if not name.startswith(".") and is_video(path) and path.is_file():
                listing.videos[key] = path
            elif name.startswith(".") or not is_photo(name, also):
                reason = left_out(path, name) if path.is_file() else None
                if reason:
                    listing.pictures.append((key, reason))
                else:
                    listing.others += 1
            elif path.is_file():
                listing.photos[key] = path
            else:
                listing.problems.append((key, "is a link to nothing, or no regular file"))
    return listing


def list_pictures(folder: Path) -> dict[str, Path]:
    """File name → path of the pictures directly in a folder, by name; empty when there is no such folder.

    Raises :class:`~halfmask.errors.DataError` when it cannot be listed. No file is opened.
    """
    return {e.name: folder / e.name for e in _entries(folder) if is_picture(e.name) and e.is_file()}


def list_folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name, as :func:`list_pictures` lists; hidden ones are left out."""
    return [folder / e.name for e in _entries(folder) if not e.name.startswith(".") and e.is_dir()]


def _entries(folder: Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entries, key=lambda entry: entry.name)
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"the folder {shown(folder)} cannot be listed: {error.strerror}. Check that it may be read."
        ) from error


def _folders(
    root: Path, seen: set[tuple[int, int]], problems: list[tuple[str, str]]
) -> Iterator[tuple[str, list[str]]]:
    """Every folder at or below the root and the names of its files; what links lead to comes last."""
    errors: list[OSError] = []
    starts = [root]
    for start in starts:
        try:
            identity = _identity(start)
        except OSError as error:
            errors.append(error)
            continue
        if start != root and identity in seen:
            continue
        seen.add(identity)
        for place, folders, files in os.walk(start, onerror=errors.append):
            real = []
            for name in sorted(folders):
                path = Path(place, name)
                if name.startswith("."):
                    continue
                if path.is_symlink():
                    starts.append(path)
                    continue
                try:
                    identity = _identity(path)
                except OSError as error:
                    errors.append(error)
                    continue
                if identity not in seen:
                    seen.add(identity)
                    real.append(name)
            folders[:] = real
            yield place, sorted(files)
    for failed in errors:
        problems.append((Path(failed.filename).relative_to(root).as_posix(), f"cannot be listed: {failed.strerror}"))


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino
