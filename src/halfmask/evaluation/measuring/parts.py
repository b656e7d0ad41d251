"""Work that is kept on disk between runs: a file is whole or absent, and its folder says what it was made from."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from ...errors import DataError


def digest_of(about: str, files: Iterable[tuple[str, Path]]) -> str:
    """Sixteen hex digits for what is made from ``about`` and from files, each given with its key.

    A file counts by its bytes and not by its date, which copying changes; an absent one as absent. What was kept of
    other files is not found.
    """
    digest = hashlib.sha256(about.encode())
    for key, path in files:
        try:
            with open(path, "rb") as stream:
                mark = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            mark = "absent"
        digest.update(f"{key} {mark}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]


def ensure_folder(folder: Path) -> Path:
    """The folder, made when absent. Raises :class:`~halfmask.errors.DataError` when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise DataError(f"the folder {folder} cannot be made: {error.strerror or error}; choose another") from error
    return folder


@contextmanager
def whole(path: Path) -> Iterator[Path]:
    """A name to write to, which then becomes ``path``: that is whole, or as it was.

    Raises :class:`~halfmask.errors.DataError` when the disk does not take it.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(Path(folder) / "a.txt") as fresh:
    ...         _ = fresh.write_text("all of it")
    ...     [p.name for p in Path(folder).iterdir()]
    ['a.txt']
    """
    fresh = path.with_name(f".{os.getpid()}-{path.name}")  # two processes may make the same file
    try:
        yield fresh
        os.replace(fresh, path)
    except OSError as error:
        raise DataError(
            f"{path} cannot be written: {error.strerror or error}. What was done before is kept: make room, or choose "
            "another folder, and run again"
        ) from error
    finally:
        fresh.unlink(missing_ok=True)


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Write an ``.npz`` that is whole or absent. Raises as :func:`whole`."""
    with whole(path) as fresh:
        np.savez(fresh, **arrays)
