"""What goes wrong around a run: a full disk, a target that is closed, clocks that are set, other runs in the folder.

Whatever it is, each output is whole or absent, and a run after it ends as one that nothing disturbed.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from halfmask.protecting import records as records_module
from halfmask.protecting.records import Records
from halfmask.storage import PART_SUFFIX, RECORD, whole

Run = Callable[..., tuple[int, str, str]]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, records and hidden ones among them."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def album(tmp_path: Path, jpeg: bytes) -> Path:
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    for i in range(20):
        (folder / ("sub" if i > 16 else "") / f"{i:02}.jpg").write_bytes(jpeg)
    return folder


@pytest.fixture
def undisturbed(run: Run, album: Path, tmp_path: Path) -> dict[str, bytes]:
    """What a run makes of the album when nothing happens."""
    assert run("protect", album, "-o", tmp_path / "undisturbed")[0] == 0
    return files(tmp_path / "undisturbed")


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of its own, which has room for a dozen of the photos."""
    folder = tmp_path / "disk"
    folder.mkdir()
    how = ["mount", "-t", "tmpfs", "-o", "size=160k", "halfmask-test", str(folder)]
    if shutil.which("mount") is None or subprocess.run(how, capture_output=True).returncode:
        pytest.skip("needs to mount a small disk, which only root may")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


def remount(disk: Path, options: str) -> None:
    subprocess.run(["mount", "-o", f"remount,{options}", str(disk)], check=True)


# --- no room ---


def test_a_disk_that_is_full_and_then_larger(
    run: Run, album: Path, disk: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = disk / "out"
    code, said, _ = run("protect", album, "-o", out)
    assert code == 3
    assert "No space left on device" in said
    assert "stopped early: no room" in said
    there = {name: data for name, data in files(out).items() if not name.endswith(RECORD)}
    assert 0 < len(there) < 20
    assert there.items() <= undisturbed.items()
    remount(disk, "size=2m")
    code, said, _ = run("protect", album, "-o", out)
    assert code == 0
    assert f"{len(there)} photos already there" in said
    assert files(out) == undisturbed


@pytest.mark.parametrize("room", [0, 30])
def test_a_record_that_fills_the_disk(
    run: Run, album: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, room: int
) -> None:
    """Nothing, or the half of its line, is written of the fourth."""
    out, write, lines = tmp_path / "out", os.write, iter(range(100))

    def full(descriptor: int, data: bytes) -> int:
        if not data.strip().startswith(b'{"file"') or next(lines) < 3:
            return write(descriptor, data)
        if room == 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(descriptor, data[:room])

    with monkeypatch.context() as patch:
        patch.setattr(records_module.os, "write", full)
        code, said, _ = run("protect", album, "-o", out, "--workers", 1)
    assert code == 3
    assert f"its record {RECORD} beside it could not: No space left on device" in said
    assert "stopped early: no room" in said
    assert len([name for name in files(out) if not name.endswith(RECORD)]) == 3
    code, said, _ = run("protect", album, "-o", out)
    assert (code, "3 photos already there" in said) == (0, True)
    assert files(out) == undisturbed


# --- no right to write ---


def test_a_target_that_becomes_read_only(run: Run, album: Path, disk: Path, undisturbed: dict[str, bytes]) -> None:
    remount(disk, "size=2m")
    out = disk / "out"
    assert run("protect", album, "-o", out)[0] == 0
    remount(disk, "ro")
    code, _, error = run("protect", album, "-o", out, "--strength", "high")
    assert code == 2
    assert "nothing can be written to" in error
    assert "Read-only file system" in error
    assert files(out) == undisturbed


def test_a_folder_that_may_not_be_written_to(
    run: Run, album: Path, undisturbed: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The others are protected, and later it is, too."""
    out, real = tmp_path / "out", os.open
    closed = out / "sub"

    def guarded(path: object, flags: int, *mode: int, **others: int) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR) and Path(str(path)).parent == closed:  # root may write anywhere
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(path, flags, *mode, **others)  # type: ignore[arg-type]

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", guarded)
        code, said, _ = run("protect", album, "-o", out)
    assert code == 3
    assert "17 photos protected" in said
    assert "3 failed" in said
    assert "Permission denied" in said
    assert files(closed) == {}
    assert run("protect", album, "-o", out)[0] == 0
    assert files(out) == undisturbed


# --- killed ---


def test_a_run_that_was_killed_when_all_was_done(
    run: Run, album: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Before it could put its records in order: the next does, though it has nothing else to do."""
    out = tmp_path / "out"
    assert run("protect", album, "-o", out)[0] == 0
    for record in (out / RECORD, out / "sub" / RECORD):
        lines = record.read_text().splitlines()
        record.write_text("".join(f"{line}\n" for line in [*lines[::-1], lines[0]]))
    code, said, _ = run("protect", album, "-o", out)
    assert (code, "20 photos already there" in said) == (0, True)
    assert files(out) == undisturbed


# --- clocks ---


@pytest.mark.parametrize("years", [-40, 80])
def test_clocks_that_are_set_between_runs(
    run: Run, album: Path, undisturbed: dict[str, bytes], tmp_path: Path, years: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is there counts by what it holds. Dates of outputs, records and leftovers may be anything."""
    out = tmp_path / "out"
    assert run("protect", album, "-o", out)[0] == 0
    (out / f".0{PART_SUFFIX}").write_bytes(b"of a run that was killed")
    (out / "05.jpg").unlink()
    date = 1_700_000_000 + years * 31_556_952
    for path in [*out.rglob("*"), *out.rglob(".*")]:
        os.utime(path, (date, date))
    monkeypatch.setattr("time.time", lambda: 1_700_000_000.0)
    code, said, _ = run("protect", album, "-o", out)
    assert code == 0
    assert "1 photo protected" in said
    assert "19 photos already there" in said
    assert files(out) == undisturbed


# --- other runs ---

_CODE = """
import pathlib, sys, time
import halfmask.weights.shipped as shipped
shipped.DATA = pathlib.Path(sys.argv.pop(1))
go = pathlib.Path(sys.argv.pop(1))
from halfmask.cli import main
from halfmask.protecting import pipeline
(go.parent / f"{go.name}-{sys.argv.pop(1)}").touch()
while not go.exists():
    time.sleep(0.001)
main()
"""


def at_once(tmp_path: Path, weights: Path, *commands: tuple[object, ...]) -> list[tuple[int, str]]:
    """Command lines in processes that begin together: exit codes, and what they say."""
    go = tmp_path / "go"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", _CODE, str(weights), str(go), str(number), *map(str, command)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for number, command in enumerate(commands)
    ]  # fmt: skip
    ready = [tmp_path / f"go-{number}" for number in range(len(commands))]
    while not all(path.exists() for path in ready) and all(process.poll() is None for process in processes):
        threading.Event().wait(0.01)
    go.touch()
    said = [process.communicate(timeout=120)[0] for process in processes]
    return [(process.returncode, text) for process, text in zip(processes, said, strict=True)]


def test_two_runs_at_once_into_one_folder(
    album: Path, standin: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    out = tmp_path / "out"
    for code, said in at_once(tmp_path, standin, *[("protect", album, "-o", out)] * 2):
        assert code == 0, said
        assert "failed" not in said
    assert files(out) == undisturbed


def test_two_runs_at_once_that_want_different_things(
    run: Run, album: Path, standin: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    """Each output is one run's or the other's, and either of them can be had afterwards."""
    out, high = tmp_path / "out", ("--strength", "high")
    assert run("protect", album, "-o", tmp_path / "high", *high)[0] == 0
    other = files(tmp_path / "high")
    for code, said in at_once(tmp_path, standin, ("protect", album, "-o", out), ("protect", album, "-o", out, *high)):
        assert code == 0, said
    for name, data in files(out).items():
        assert name.endswith(RECORD) or data in (undisturbed[name], other[name])
    assert run("protect", album, "-o", out, *high)[0] == 0
    assert files(out) == other
    assert run("protect", album, "-o", out)[0] == 0
    assert files(out) == undisturbed


def write(records: Records, photo: Path, output: Path, data: bytes, slow: Callable[[], object] = lambda: None) -> None:
    """As a run does; ``slow`` is called when the output is noted and does not have its name yet."""

    @contextlib.contextmanager
    def placing(part: Path) -> Iterator[None]:
        with records.placing(output, records.mark(photo), part):
            slow()
            yield

    with whole(output, placing=placing) as fresh:
        fresh.write_bytes(data)


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    (tmp_path / "photo").write_bytes(b"a photo")
    return tmp_path / "photo"


def test_the_first_to_note_an_output_and_the_last_to_write_it(photo: Path, tmp_path: Path) -> None:
    """Two runs that want different things write one output, and one of them is slow between its line and its file."""
    output = tmp_path / "a.jpg"
    low, high = Records({"strength": "low"}), Records({"strength": "high"})
    other = threading.Thread(target=write, args=(high, photo, output, b"high"))

    def slow() -> None:
        other.start()
        other.join(0.3)  # it would be done by now, did it not have to wait

    with high:
        with low:
            write(low, photo, output, b"low", slow)
        other.join()
    assert output.read_bytes() == b"high"
    assert Records({"strength": "high"}).there(photo, output, high.mark(photo)) == ""
    assert len((tmp_path / RECORD).read_text().splitlines()) == 1


@pytest.mark.parametrize("first", ["low", "high"])
def test_lines_in_another_order_than_the_outputs(photo: Path, tmp_path: Path, first: str) -> None:
    """As runs without locks leave them: what stands there counts, and the next run puts the record in order."""
    output, record = tmp_path / "a.jpg", tmp_path / RECORD
    lines = []
    for strength in ("high", "low"):
        with Records({"strength": strength}) as records:
            write(records, photo, output, strength.encode())
        lines.append(record.read_text())
    record.write_text("".join(lines if first == "high" else lines[::-1]))
    with Records({"strength": "low"}) as again:
        assert again.there(photo, output, again.mark(photo)) == ""
    assert record.read_text() == lines[1]


def test_an_output_that_another_run_replaces_while_it_is_looked_at(
    photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was read is no longer known to the record, which was tidied: it is ours all the same."""
    output = tmp_path / "a.jpg"
    with Records({"strength": "low"}) as records:
        write(records, photo, output, b"low")
    digest = records_module.sha256_of

    def between(path: Path) -> str:
        found = digest(path)
        monkeypatch.setattr(records_module, "sha256_of", digest)
        with Records({"strength": "high"}) as other:
            write(other, photo, output, b"high")
        return found

    high = Records({"strength": "high"})
    mark = high.mark(photo)
    monkeypatch.setattr(records_module, "sha256_of", between)
    assert high.there(photo, output, mark) == ""
    assert len((tmp_path / RECORD).read_text().splitlines()) == 1
