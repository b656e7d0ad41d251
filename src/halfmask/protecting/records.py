"""What earlier runs made, and how: which outputs are ours, and which the options of this run would change.

In each folder with outputs stands one hidden file, :data:`~halfmask.storage.RECORD`. It has a line an output: its name,
its sha256, and a mark of what it was made from and how (photo, options, weights), keyed by the user's own secret
(:func:`halfmask.methods.key.keyed`). So it tells nobody who is shown, when a photo was taken or what was asked, not
even those who try names.

Where no face was found nothing is written, and the line says :data:`NONE` for a sha256, so that nobody searches again.
Outputs that other machines are about to make are noted as :data:`BEGUN` and again when they are there: whatever a
killed run left of them is ours.

A line is on the disk before its output is: what a killed run wrote is known to the next one. Several runs may write to
one folder at once: whoever notes an output holds the record until the output has its name, so lines and outputs come in
one order, and whoever tidies meets nobody in between.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import stat
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from types import TracebackType

from ..errors import HalfmaskError, PhotoError, shown
from ..methods.key import keyed
from ..storage import RECORD, ensure_folder, lock, not_replaceable, whole
from ..weights.store import sha256_of
from .known import NOTHING, Known

#: What stands for the sha256 of an output that is not there, since no face was found, or that others are to make.
NONE, BEGUN = "none", "begun"
#: Name → sha256 → mark, in the order of the lines.
_Known = dict[str, dict[str, str]]
#: Folders whose records are kept in mind: a line takes half a kilobyte. And by how much a record is known again.
_FOLDERS, _LAST = 32, 256


def mark_of(how: str, state: Sequence[object], known: Known = NOTHING) -> str:
    """A mark of how an output is made, ``state`` of what and ``known`` by what, that only the user's key can repeat."""
    return keyed(json.dumps([how, state, astuple(known)]))


def state_of(source: Path | bytes) -> list[object]:
    """What tells a photo from what stood there before: size and date of a file, the sha256 of bytes."""
    try:
        if isinstance(source, bytes):
            return [hashlib.sha256(source).hexdigest()]
        about = source.stat()
    except OSError:  # reading it will say what is wrong
        return []
    return [about.st_size, about.st_mtime_ns]


def text_of(how: Mapping[str, object]) -> str:
    """All that outputs depend on beside the photo, as one text; the same for the same."""
    return json.dumps(how, sort_keys=True, default=str)


@dataclass
class _Part:
    """What was read of a record, to which lines are added all the time: up to ``end``, and ``last`` stood before that.

    ``whole`` says that all of it was read as it is now, and not only what seemed to be new; ``untidy`` that a run was
    killed, or is at work.
    """

    known: _Known = field(default_factory=dict)
    untidy: bool = False
    whole: bool = False
    state: tuple[int, ...] = ()
    end: int = 0
    last: bytes = b""

    def read(self, path: Path, *, whole: bool) -> None:
        """Read what is new, or the ``whole`` again; that, too, when another text is there. Raises ``OSError``."""
        try:
            if not stat.S_ISREG(path.lstat().st_mode):
                raise FileNotFoundError
            with path.open("rb") as record:
                about = os.fstat(record.fileno())  # before it is read: what is added meanwhile is read the next time
                state = (about.st_ino, about.st_size, about.st_mtime_ns)
                if state == self.state and (self.whole or not whole):
                    return
                grown = not whole and self.end > 0 and state[0] == self.state[0]
                record.seek(self.end - len(self.last) if grown else 0)
                data = record.read()
                if grown and not data.startswith(self.last):
                    grown = False
                    record.seek(0)
                    data = record.read()
        except FileNotFoundError:
            self.known, self.untidy, self.whole, self.state, self.end, self.last = {}, False, False, (), 0, b""
            return
        if grown:
            data = data[len(self.last) :]
            _parse(data, self.known)
            self.untidy |= bool(data)
        else:
            self.known, self.end, self.last = {}, 0, b""
            _parse(data, self.known)
            self.untidy = _untidy(data, self.known)
        lines = data[: data.rfind(b"\n") + 1]  # a half line is read again, once it is whole
        self.whole, self.state = not grown, state
        self.end += len(lines)
        self.last = lines[-_LAST:] or self.last


class Records:
    """The records of every folder that a run writes to. Safe to share between threads.

    ``how`` is all that outputs depend on beside the photo, as JSON can hold it. With ``overwrite`` everything is made,
    whatever is there. Use it as a context: at its end each record is put in the order of the names, without the lines
    of what an output was before.

    >>> import tempfile
    >>> folder = Path(tempfile.mkdtemp())
    >>> photo, output = folder / "a.jpg", folder / "out.jpg"
    >>> _ = photo.write_bytes(b"a photo")
    >>> for strength in ("mid", "mid", "high"):
    ...     with Records({"strength": strength}) as records:
    ...         mark = records.mark(photo)
    ...         if (there := records.there(photo, output, mark)) is None:
    ...             with whole(output, placing=lambda part: records.placing(output, mark, part)) as fresh:
    ...                 _ = fresh.write_bytes(b"protected")
    ...     print(strength, "is made" if there is None else "is there")
    mid is made
    mid is there
    high is made
    """

    def __init__(self, how: Mapping[str, object], *, overwrite: bool = False) -> None:
        self._how = text_of(how)
        self._overwrite = overwrite
        self._folders: OrderedDict[Path, _Part] = OrderedDict()  # those that were asked for last
        self._untidy: set[Path] = set()
        self._lock = threading.Lock()

    def mark(self, source: Path | bytes, known: Known = NOTHING) -> str:
        """What an output of this photo is marked by; ``known`` is what is known of this photo alone."""
        return mark_of(self._how, state_of(source), known)

    def there(self, source: Path | bytes, output: Path, mark: str) -> str | None:
        """Whether an output is done: "" when it is, None when it is to be made, else why it must not be made.

        One of ours is made anew when its mark is another or none, and so is a plain copy of the photo.
        """
        try:
            output.stat()
        except OSError:
            return None
        if odd := not_replaceable(output):
            return f"the output {shown(output)} {odd}; move it away"
        if self._overwrite:
            return None
        try:
            digest, found = self._known_as(output)
        except FileNotFoundError:  # whoever removed it meanwhile
            return None
        except OSError as error:
            return f"the output {shown(output)} cannot be read: {error.strerror or error}; move it away"
        if _copied(source, output, digest):
            return None
        if found is None:
            return not_ours(output, f"{RECORD} beside it")
        return "" if found == mark else None

    @contextlib.contextmanager
    def placing(self, output: Path, mark: str, part: Path) -> Iterator[None]:
        """Note an output in its folder's record; in the block, and only there, ``part`` is to take its name.

        Raises :class:`~halfmask.errors.PhotoError` when the record cannot be written.
        """
        folder, digest = output.parent, sha256_of(part)
        line = json.dumps({"file": output.name, "sha256": digest, "made": mark})
        with self._lock, contextlib.ExitStack() as held:
            with _needed(output):
                _append(held.enter_context(_held(folder / RECORD)), f"{line}\n".encode())
            self._untidy.add(folder)
            if folder in self._folders:
                _parse(line.encode(), self._folders[folder].known)
            yield

    def note(self, lines: Iterable[tuple[Path, str, str]]) -> None:
        """Note outputs, each with its sha256, :data:`NONE` or :data:`BEGUN`, and its mark; on the disk afterwards.

        Folders are made when absent. Raises :class:`~halfmask.errors.PhotoError` when that, or a record, cannot be.
        """
        texts: dict[Path, list[str]] = {}
        for output, digest, mark in lines:
            ours = texts.setdefault(output.parent, [])
            ours.append(json.dumps({"file": output.name, "sha256": digest, "made": mark}) + "\n")
        for folder, ours in texts.items():
            ensure_folder(folder, error=PhotoError)
            with self._lock, _needed(folder), _held(folder / RECORD) as record:
                _append(record, "".join(ours).encode())
                self._untidy.add(folder)

    def skipped(self, output: Path, mark: str) -> bool:
        """Whether there is no output since no face was found, in this photo and in this way."""
        try:
            return not (self._overwrite or os.path.lexists(output)) and self._find(output, NONE, sure=False) == mark
        except OSError:
            return False

    def _known_as(self, output: Path) -> tuple[str, str | None]:
        """An output's sha256, and the mark that a record has of it, None without."""
        while True:
            before = output.stat()
            digest = sha256_of(output)
            found = self._find(output, digest, sure=True)
            if found is not None or os.path.samestat(before, output.stat()):
                return digest, found
            # another run replaced it in between, and tidied away what it was

    def _find(self, output: Path, digest: str, *, sure: bool) -> str | None:
        """The mark of the output with this content, "" when it was begun; None when no record has it.

        Other runs put the record in order meanwhile, which may look as if it had only grown; to be ``sure`` of a None,
        and not only to know what this run has noted, all of it is read again.
        """
        folder, name = output.parent, output.name
        with self._lock:
            part = self._folders.setdefault(folder, _Part())
            self._folders.move_to_end(folder)
            if len(self._folders) > _FOLDERS:
                self._folders.popitem(last=False)
            for whole_of_it in (False, True) if sure else (False,):
                if digest in part.known.get(name, {}):
                    break
                part.read(folder / RECORD, whole=whole_of_it)  # another run may have made it meanwhile
                if part.untidy:
                    self._untidy.add(folder)
            known = part.known.get(name, {})
            return known.get(digest, "" if BEGUN in known else None)

    def __enter__(self) -> Records:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for folder in sorted(self._untidy):
            with contextlib.suppress(OSError, HalfmaskError):  # it says the same as it is, only longer
                self._tidy(folder)

    def _tidy(self, folder: Path) -> None:
        path = folder / RECORD
        with _held(path):
            known = _read(path)
            for name, digests in known.items():
                if len(digests) > 1 and (stands := _standing(folder / name, digests)) in digests:
                    known[name] = {stands: digests[stands]}
            with whole(path) as fresh:
                fresh.write_bytes(_text(known).encode())


def not_ours(output: Path | str, teller: str) -> str:
    """Why an output must not be replaced."""
    return (
        f"the output {shown(output)} was not made by halfmask, or changed since, as {teller} tells, so it is left as "
        "it is; give --overwrite to replace it, or choose another -o"
    )


def _standing(output: Path, digests: Mapping[str, str]) -> str:
    """Which of the contents that an output was noted with is there."""
    first, *rest = digests
    if first == BEGUN and len(rest) == 1:  # noted when it was there
        return rest[0]
    try:
        return sha256_of(output)
    except FileNotFoundError:
        return NONE
    except OSError:
        return ""


def _copied(source: Path | bytes, output: Path, digest: str) -> bool:
    """Whether an output is the very photo, which then loses nothing."""
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest() == digest
    try:
        return source.stat().st_size == output.stat().st_size and sha256_of(source) == digest
    except OSError:
        return False  # reading it will say what is wrong


def _text(known: _Known) -> str:
    """A record in the order of the names."""
    lines = [
        json.dumps({"file": name, "sha256": digest, "made": made}) + "\n"
        for name, digests in sorted(known.items())
        for digest, made in digests.items()
    ]
    return "".join(lines)


def _read(path: Path) -> _Known:
    """What a record says. Raises ``OSError``."""
    part = _Part()
    part.read(path, whole=True)
    return part.known


def _parse(data: bytes, known: _Known) -> None:
    """Add what lines say. A last line that a killed run wrote half does not count."""
    for line in data.decode("utf-8", "replace").splitlines():
        try:
            entry = json.loads(line)
            name, digest, mark = (str(entry[key]) for key in ("file", "sha256", "made"))
        except (ValueError, KeyError, TypeError):
            continue
        digests = known.setdefault(name, {})
        digests.pop(digest, None)  # the last line counts
        digests[digest] = mark


def _untidy(data: bytes, known: _Known) -> bool:
    """Whether a record is not in order."""
    return data != _text(known).encode() or any(len(digests) > 1 for digests in known.values())


@contextlib.contextmanager
def _held(path: Path) -> Iterator[int]:
    """A record opened for appending, no other process's meanwhile: the one that stands there once it is free."""
    while True:
        flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
        record = os.open(path, flags, 0o666)
        try:
            lock(record, wait=True)
            mine = os.fstat(record)
            if not stat.S_ISREG(mine.st_mode):
                raise OSError(errno.EINVAL, "it is no file")
            try:
                there = path.stat()
            except FileNotFoundError:
                continue
            if (mine.st_dev, mine.st_ino) == (there.st_dev, there.st_ino):  # else another run tidied it
                yield record
                return
        finally:
            os.close(record)


@contextlib.contextmanager
def _needed(output: Path) -> Iterator[None]:
    """Say that an output cannot be written when its record cannot."""
    try:
        yield
    except OSError as error:
        raise PhotoError(
            f"{shown(output)} could not be written, since its record {RECORD} beside it could not: "
            f"{error.strerror or error}; make room or the right to write there, or choose another -o"
        ) from error


def _append(record: int, line: bytes) -> None:
    size = os.fstat(record).st_size
    if size:
        os.lseek(record, size - 1, os.SEEK_SET)
        if os.read(record, 1) != b"\n":  # a killed run's half line
            line = b"\n" + line
    if os.write(record, line) < len(line):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    os.fsync(record)
