"""Files and folders that are whole or as they were, whatever happens while they are written.

:func:`whole` and :func:`whole_folder` give a temporary name beside the target to write to. At the end of the block
what was written goes to the disk and then takes the target's name. An error, or Ctrl-C, leaves the target as it was and
nothing beside it. A killed process or a power cut leaves the target as it was, and a hidden file or folder whose name
ends with :data:`PART_SUFFIX`; the next process that writes there removes it.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import secrets
import shutil
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from .errors import DataError, HalfmaskError, shown

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

#: Given a file that is about to take its name; what it gives stands around that.
Placing = Callable[[Path], contextlib.AbstractContextManager[object]]
#: Ends the name of what is being written. Such names begin with a dot, so no listing of photos takes them.
PART_SUFFIX = ".halfmask-part"
#: What runs before made in a folder, and how (:mod:`halfmask.protecting.records`).
RECORD = ".halfmask.jsonl"
_LONG_AGO = 86400  # seconds after which a part is nobody's, where locks do not tell
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)


@contextlib.contextmanager
def whole(
    path: Path,
    *,
    error: type[HalfmaskError] = DataError,
    exclusive: bool = False,
    mode: int = 0o666,
    placing: Placing = contextlib.nullcontext,
) -> Iterator[Path]:
    """A name to write to, of an empty file, which then becomes ``path``: that is whole, or as it was.

    Several processes and threads may write the same file at once; the last to finish wins, with ``exclusive`` the
    first, and a file that is there already stays. A link is replaced and not followed. The permission bits are those of
    an ordinary ``open``: ``mode`` less the umask for a new file, the old file's own otherwise. ``placing`` is given the
    finished file and stands around the one step in which it takes its name.

    Raises ``error`` when the folder is absent, cannot be written to or is full, and when what stands there is a folder,
    a device, a pipe or a file that must not be written; every ``OSError`` of the block counts as one of these.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole(Path(folder) / "a.txt") as fresh:
    ...         _ = fresh.write_text("all of it")
    ...     [p.name for p in Path(folder).iterdir()]
    ['a.txt']
    """
    with _told(path, error):
        if odd := not_replaceable(path):
            raise error(f"{shown(path)} could not be written: it {odd}; expected a file, or a name that is free")
        if path.exists() and not os.access(path, os.W_OK):
            raise PermissionError(errno.EACCES, "it may not be written to")
        _clear_once(path.parent.absolute())
        with _own_part(path.parent, mode) as part:
            yield part
            _keep_mode(path, part)
            _flush(part)
            with placing(part):
                _put(part, path, exclusive)
            _flush(path.parent)


@contextlib.contextmanager
def whole_folder(path: Path, *, error: type[HalfmaskError] = DataError, replace: bool = False) -> Iterator[Path]:
    """An empty folder to fill, which then becomes ``path``: that is whole, or as it was.

    Of two processes that make the same folder the first wins, and the other's is thrown away. With ``replace`` what
    stood there makes room; a process killed in between leaves it as ``NAME.old``, and :func:`restore` brings it back.

    Raises ``error`` as :func:`whole` does.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     with whole_folder(Path(folder) / "cache") as fresh:
    ...         _ = (fresh / "a.txt").write_text("all of it")
    ...     [p.name for p in Path(folder).rglob("*")]
    ['cache', 'a.txt']
    """
    with _told(path, error):
        if path.exists() and not path.is_dir():
            raise error(f"{shown(path)} could not be written: it is no folder; expected one, or a name that is free")
        with scratch(path.parent) as part:
            yield part
            for place, _, files in os.walk(part):
                for name in files:
                    _flush(Path(place, name))
                _flush(Path(place))
            _put_folder(part, path, replace)
            _flush(path.parent)


@contextlib.contextmanager
def scratch(folder: Path) -> Iterator[Path]:
    """An empty folder inside ``folder``, there for the time of the block; raises ``OSError`` when it cannot be made."""
    _clear_once(folder.absolute())
    with _own_part(folder, None) as part:
        yield part


def restore(path: Path) -> None:
    """Bring back what a process that was killed in ``whole_folder(path, replace=True)`` had moved out of the way."""
    if not path.exists() and (old := _old(path)).exists():
        old.replace(path)


def clear_leftovers(folder: Path) -> None:
    """Remove what killed processes left half written directly in a folder, and nothing that is being written now."""
    with contextlib.suppress(OSError):  # a folder that is absent or closed holds nothing of ours to clear
        for part in list(folder.glob(f".*{PART_SUFFIX}")):
            with contextlib.suppress(OSError), _abandoned(part) as nobodys:
                if not nobodys:
                    continue
                if part.is_dir() and not part.is_symlink():
                    shutil.rmtree(part)
                else:
                    part.unlink()


def ensure_folder(folder: Path, *, error: type[HalfmaskError] = DataError) -> Path:
    """The folder, made with those above it when absent. Raises ``error`` when it cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as reason:
        raise error(
            f"the folder {shown(folder)} cannot be made: {reason.strerror or reason}; choose another"
        ) from reason
    return folder


def user_folder(variable: str, *below_home: str) -> Path:
    """``$VARIABLE/halfmask``, else ``halfmask`` in a folder below the user's home; it need not exist.

    The variable counts when it is an absolute path, as the XDG base directory specification wants it: an empty one, or
    a relative one, would mean the folder that one happens to be in. Raises :class:`~halfmask.errors.HalfmaskError`
    where no home is known.

    >>> os.environ["XDG_OF_NOBODY"] = ""
    >>> user_folder("XDG_OF_NOBODY", ".cache") == Path.home() / ".cache" / "halfmask"
    True
    """
    given = os.environ.get(variable, "")
    if given.strip() and Path(given).is_absolute():
        return Path(given) / "halfmask"
    try:
        home = Path.home()
    except RuntimeError as error:
        raise HalfmaskError(f"your home folder is not known: {error}. Set HOME, or {variable} to a folder") from error
    if not home.is_absolute():
        raise HalfmaskError(f"HOME is {shown(home)!r}, no absolute path; set it, or {variable}, to a folder")
    return home.joinpath(*below_home, "halfmask")


def save_arrays(path: Path, arrays: Mapping[str, Any], *, compressed: bool = False) -> None:
    """Write an ``.npz`` that is whole or absent. Raises as :func:`whole` does."""
    import numpy as np

    with whole(path) as fresh, open(fresh, "wb") as stream:  # given a name, numpy would add a suffix to it
        (np.savez_compressed if compressed else np.savez)(stream, **arrays)


def not_replaceable(path: Path) -> str | None:
    """Why what stands at a path must not be replaced by a file; None when it is a regular file or nothing.

    Renaming a file over a device or a pipe would succeed, and take it away from everybody else who uses it.
    """
    try:
        mode = path.stat().st_mode
    except OSError:
        return None  # absent; what else may be wrong, writing will say
    if stat.S_ISREG(mode):
        return None
    return "is a folder" if stat.S_ISDIR(mode) else "is a device, a pipe or a socket"


@contextlib.contextmanager
def _told(path: Path, error: type[HalfmaskError]) -> Iterator[None]:
    try:
        yield
    except OSError as reason:
        raise error(
            f"{shown(path)} could not be written: {reason.strerror or reason}; nothing was changed there. Check that "
            "the folder exists and can be written to; make room, or choose another, and run again"
        ) from reason


def _new_name() -> str:
    """A hidden name that nobody else uses; nothing of the target's, whose own may be as long as names can be."""
    return f".{secrets.token_hex(8)}{PART_SUFFIX}"


@contextlib.contextmanager
def _own_part(folder: Path, mode: int | None) -> Iterator[Path]:
    """An empty file of that mode, or a folder for None, with a new name, for the time of the block.

    No other process takes it for a leftover: it is locked. Should one have cleared it away between its making and its
    lock, it is made once more.
    """
    while True:
        part = folder / _new_name()
        descriptor = None
        try:
            if mode is not None:
                descriptor = os.open(part, _NEW_FILE, mode)
            else:
                part.mkdir()
                with contextlib.suppress(FileNotFoundError):
                    descriptor = os.open(part, os.O_RDONLY) if fcntl else None
            if descriptor is not None:
                if fcntl:
                    lock(descriptor, wait=True)
                else:  # Windows renames no file that is open
                    os.close(descriptor)
                    descriptor = None
            if not part.exists():
                continue
            yield part
            return
        finally:  # after Ctrl-C as well
            if mode is None:
                shutil.rmtree(part, ignore_errors=True)
            else:
                part.unlink(missing_ok=True)
            if descriptor is not None:
                os.close(descriptor)


def _old(path: Path) -> Path:
    return path.with_name(f"{path.name}.old")


def _put(part: Path, path: Path, exclusive: bool) -> None:
    if exclusive:
        with contextlib.suppress(FileExistsError):
            os.link(part, path)
    else:
        part.replace(path)


def _put_folder(part: Path, path: Path, replace: bool) -> None:
    if replace:
        restore(path)
        shutil.rmtree(_old(path), ignore_errors=True)
        if path.exists():
            path.replace(_old(path))
    try:
        part.replace(path)
    except OSError as reason:
        if reason.errno not in (errno.ENOTEMPTY, errno.EEXIST):
            raise
    if replace:
        shutil.rmtree(_old(path), ignore_errors=True)


def _keep_mode(path: Path, part: Path) -> None:
    with contextlib.suppress(OSError):
        old = path.lstat().st_mode
        if stat.S_ISREG(old):
            part.chmod(stat.S_IMODE(old))


def _flush(path: Path) -> None:
    """Have the disk take a file, or the names in a folder."""
    if path.is_dir():
        with contextlib.suppress(OSError):  # not every system can
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        return
    with open(path, "rb+") as stream:
        os.fsync(stream.fileno())


def lock(descriptor: int, *, wait: bool = False) -> None:
    """Keep an open file from other processes, where the system can: the lock goes when its process does."""
    if fcntl:
        with contextlib.suppress(OSError):  # some network disks know no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))


@contextlib.contextmanager
def _abandoned(part: Path) -> Iterator[bool]:
    """Whether a part is nobody's, kept from its maker for the time of the block. No clock is asked where locks tell."""
    if fcntl and not part.is_symlink():
        descriptor = os.open(part, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        except OSError:
            pass
        else:
            yield True
            return
        finally:
            os.close(descriptor)
    yield time.time() - part.lstat().st_mtime > _LONG_AGO


@functools.cache
def _clear_once(folder: Path) -> None:
    """Once a process, since a folder may hold a hundred thousand photos."""
    clear_leftovers(folder)
