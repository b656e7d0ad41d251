"""What is written is whole or as it was, and nothing is left beside it."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import IO

import numpy as np
import pytest

from halfmask import storage
from halfmask.errors import DataError, PhotoError
from halfmask.storage import (
    PART_SUFFIX,
    clear_leftovers,
    ensure_folder,
    restore,
    save_arrays,
    scratch,
    whole,
    whole_folder,
)

FULL = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.npz"
    save_arrays(path, {"a": np.arange(3)})

    def full(stream: IO[bytes], **arrays: object) -> None:
        stream.write(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(DataError, match=r"part.npz could not be written: No space left.*make room"):
            save_arrays(path, {"a": np.arange(9)})
    assert [p.name for p in tmp_path.iterdir()] == ["part.npz"]
    with np.load(path) as kept:
        assert kept["a"].tolist() == [0, 1, 2]


def test_an_interruption_leaves_nothing_half(tmp_path: Path) -> None:
    def interrupted() -> None:
        with whole(tmp_path / "a.json") as fresh:
            fresh.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_ensure_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made: Not a directory"):
        ensure_folder(tmp_path / "file" / "x")


def killed(folder: Path, lines: str) -> None:
    """Run lines in a process of their own, which kills itself by SIGKILL in the middle of them."""
    script = "import os, signal\nfrom pathlib import Path\nfrom halfmask.storage import *\n"
    script += "die = lambda: os.kill(os.getpid(), signal.SIGKILL)\n" + lines
    done = subprocess.run([sys.executable, "-c", script], cwd=folder, capture_output=True)
    assert done.returncode == -signal.SIGKILL, done.stderr


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_crash_leaves_the_old_file_and_the_next_run_clears_up(tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    killed(tmp_path, "with whole(Path('a.txt')) as fresh:\n    fresh.write_text('ha')\n    die()")
    assert target.read_text() == "old"
    (left,) = [p for p in tmp_path.iterdir() if p != target]
    assert left.name.startswith(".")
    assert left.name.endswith(PART_SUFFIX)
    with whole(target) as fresh:  # the first that this process writes here
        fresh.write_text("new")
    assert names(tmp_path) == ["a.txt"]
    assert target.read_text() == "new"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_a_crash_leaves_the_old_folder(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "run") as fresh:
        (fresh / "step").write_text("1")
    killed(tmp_path, "with whole_folder(Path('run'), replace=True) as f:\n    (f / 'step').write_text('2')\n    die()")
    assert (tmp_path / "run" / "step").read_text() == "1"
    assert len(names(tmp_path)) == 2
    clear_leftovers(tmp_path)
    assert names(tmp_path) == ["run"]


def test_what_is_being_written_is_no_leftover(tmp_path: Path) -> None:
    with whole(tmp_path / "a.txt") as fresh, scratch(tmp_path) as folder:
        for part in (fresh, folder):
            os.utime(part, (1, 1))  # a slow writer: hours without a byte
        clear_leftovers(tmp_path)
        assert {fresh.name, folder.name} == set(names(tmp_path))
        fresh.write_text("all")
    assert names(tmp_path) == ["a.txt"]


@pytest.mark.parametrize("days", [-20_000, 0, 7])
def test_a_leftover_is_nobodys_and_has_our_name(tmp_path: Path, days: int) -> None:
    written = max(1.0, time.time() + 86400 * days)
    """Whenever it was written by a clock that may have been set since."""
    left, folder = tmp_path / f".1{PART_SUFFIX}", tmp_path / f".2{PART_SUFFIX}"
    folder.mkdir()
    others = [tmp_path / f"mine{PART_SUFFIX}", tmp_path / ".hidden", tmp_path / "a.part"]
    for path in (left, folder / "x", *others):
        path.write_text("x")
    for path in (left, folder):
        os.utime(path, (written, written))
    clear_leftovers(tmp_path)
    assert names(tmp_path) == sorted(p.name for p in others)
    clear_leftovers(tmp_path / "absent")


@pytest.mark.parametrize("writer", [whole, whole_folder])
def test_who_clears_up_before_a_part_is_locked_does_no_harm(
    writer: type[whole], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, late = storage.lock, iter([True])

    def lock(descriptor: int, **how: bool) -> None:
        if next(late, False):
            clear_leftovers(tmp_path)  # as another process may do just then
            assert names(tmp_path) == []
        real(descriptor, **how)

    monkeypatch.setattr(storage, "lock", lock)
    with writer(tmp_path / "target") as fresh:
        clear_leftovers(tmp_path)
        (fresh / "x" if writer is whole_folder else fresh).write_text("new")
    assert names(tmp_path) == ["target"]


def test_where_locks_do_not_tell_only_age_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storage, "fcntl", None)
    hour, week = tmp_path / f".1{PART_SUFFIX}", tmp_path / f".2{PART_SUFFIX}"
    for path, age in ((hour, 3600), (week, 7 * 86400)):
        path.write_text("x")
        os.utime(path, (time.time() - age,) * 2)
    clear_leftovers(tmp_path)
    assert names(tmp_path) == [hour.name]
    with whole(tmp_path / "a.txt") as fresh:
        fresh.write_text("x")
    with whole_folder(tmp_path / "b") as place:
        (place / "c").write_text("x")
    assert names(tmp_path) == [hour.name, "a.txt", "b"]


@pytest.mark.parametrize("step", ["fsync", "replace"])
@pytest.mark.parametrize("writer", [whole, whole_folder])
def test_a_full_disk_at_the_end_cleans_up(
    writer: type[whole], step: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "target"
    with writer(target) as fresh:
        (fresh / "x" if writer is whole_folder else fresh).write_text("old")

    def full(*_: object) -> None:
        raise FULL

    def write() -> None:
        with writer(target, error=PhotoError, **({"replace": True} if writer is whole_folder else {})) as fresh:
            (fresh / "x" if writer is whole_folder else fresh).write_text("new")

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "fsync", full) if step == "fsync" else patch.setattr(Path, "replace", full)
        with pytest.raises(PhotoError, match="could not be written: No space left on device; nothing was changed"):
            write()
    assert names(tmp_path) == ["target"]
    assert (target / "x" if target.is_dir() else target).read_text() == "old"


def test_two_writers_at_once(tmp_path: Path) -> None:
    target, start, seen = tmp_path / "a.txt", threading.Barrier(8), set()
    texts = [str(i) * 200_000 for i in range(8)]

    def write(text: str) -> None:
        with whole(target) as fresh:
            start.wait()
            fresh.write_text(text)
        seen.add(target.read_text())

    threads = [threading.Thread(target=write, args=(text,)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert seen <= set(texts)
    assert target.read_text() in texts
    assert names(tmp_path) == ["a.txt"]


def test_the_first_wins_when_it_must(tmp_path: Path) -> None:
    target = tmp_path / "key"
    with whole(target, exclusive=True, mode=0o600) as slow:
        with whole(target, exclusive=True, mode=0o600) as quick:
            quick.write_text("quick")
        slow.write_text("slow")
    assert target.read_text() == "quick"
    assert target.stat().st_mode & 0o777 == 0o600
    assert names(tmp_path) == ["key"]


def test_the_first_folder_wins(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "cache") as slow:
        with whole_folder(tmp_path / "cache") as quick:
            (quick / "index").write_text("quick")
        (slow / "index").write_text("slow")
    assert (tmp_path / "cache" / "index").read_text() == "quick"
    assert names(tmp_path) == ["cache"]


def test_a_folder_is_replaced_and_brought_back(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint"
    for step in "12":
        with whole_folder(path, replace=True) as fresh:
            (fresh / step).write_text(step)
    assert names(path) == ["2"]
    assert names(tmp_path) == ["checkpoint"]
    path.replace(tmp_path / "checkpoint.old")  # killed between the two renames
    restore(path)
    assert names(path) == ["2"]
    path.replace(tmp_path / "checkpoint.old")
    with pytest.raises(KeyboardInterrupt), whole_folder(path, replace=True):
        raise KeyboardInterrupt
    restore(path)
    restore(path)  # nothing to do
    assert names(tmp_path) == ["checkpoint"]


def test_permissions_are_those_of_an_ordinary_open(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    (tmp_path / "folder").mkdir()
    new, old = tmp_path / "new", tmp_path / "old"
    old.touch()
    old.chmod(0o640)
    for path in (new, old):
        with whole(path) as fresh:
            fresh.write_text("x")
    with whole_folder(tmp_path / "made"):
        pass
    assert new.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert old.stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "made").stat().st_mode == (tmp_path / "folder").stat().st_mode


def test_a_link_is_replaced_and_not_followed(tmp_path: Path) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.write_text("kept")
    link.symlink_to(real)
    with whole(link) as fresh:
        fresh.write_text("new")
    assert not link.is_symlink()
    assert (link.read_text(), real.read_text()) == ("new", "kept")


def test_what_must_not_be_replaced_is_refused(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_text("x")
    os.mkfifo(tmp_path / "pipe")
    for name, what in (("folder", "it is a folder"), ("pipe", "it is a device, a pipe or a socket")):
        with pytest.raises(DataError, match=f"{name} could not be written: {what}"), whole(tmp_path / name):
            pytest.fail("nothing may be written")
    with pytest.raises(DataError, match="file could not be written: it is no folder"), whole_folder(tmp_path / "file"):
        pytest.fail("nothing may be written")
    assert names(tmp_path) == ["file", "folder", "pipe"]


def test_a_read_only_target_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    target = tmp_path / "a.txt"
    target.write_text("old")
    # tests may run as root, who may write anything
    monkeypatch.setattr(storage.os, "access", lambda path, how: path != target)
    with pytest.raises(DataError, match=r"a.txt could not be written: it may not be written to"), whole(target):
        pytest.fail("nothing may be written")
    monkeypatch.undo()

    def closed(*_: object) -> int:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    with monkeypatch.context() as patch:
        patch.setattr(storage.os, "open", closed)
        with pytest.raises(DataError, match=r"a.txt could not be written: Permission denied.*folder exists"):
            whole(target).__enter__()
    with pytest.raises(DataError, match="could not be written: No such file"), whole(tmp_path / "no" / "a.txt"):
        pytest.fail("nothing may be written")
    assert target.read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_long_names_can_be_written(tmp_path: Path) -> None:
    name = "n" * 255
    with whole(tmp_path / name) as fresh:
        fresh.write_text("x")
    assert names(tmp_path) == [name]


def test_an_error_of_the_block_is_not_touched(tmp_path: Path) -> None:
    def write() -> None:
        with whole(tmp_path / "a.txt") as fresh:
            fresh.write_text("half")
            raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        write()
    assert names(tmp_path) == []
