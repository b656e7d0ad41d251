"""Runs that are ended from outside, in a process of their own."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from halfmask.storage import RECORD

PHOTOS = 200
_CODE = """
import signal, sys, pathlib
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored in whatever a shell runs in the background
import halfmask.weights.shipped as shipped
shipped.DATA = pathlib.Path(sys.argv.pop(1))
from halfmask.cli import main
main()
"""


@pytest.fixture
def album(tmp_path: Path, jpeg: bytes) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for i in range(PHOTOS):
        (folder / f"{i:03}.jpg").write_bytes(jpeg)
    return folder


def interrupted(album: Path, out: Path, weights: Path, number: int) -> subprocess.CompletedProcess[str]:
    """Send a signal as soon as three photos are written."""
    command = [sys.executable, "-c", _CODE, str(weights), "protect", str(album), "-o", str(out), "--gender", "male"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    deadline = time.monotonic() + 120
    while process.poll() is None and time.monotonic() < deadline and len(list(out.glob("*.jpg"))) < 3:
        time.sleep(0.002)
    process.send_signal(number)
    said, _ = process.communicate(timeout=120)
    return subprocess.CompletedProcess(command, process.returncode, said)


def whole(out: Path) -> int:
    """How many photos are there; every one has to decode."""
    photos = list(out.glob("*.jpg"))
    for path in photos:
        with Image.open(path) as image:
            image.load()
            assert image.size == (250, 250)
    return len(photos)


def test_kill_leaves_whole_files_and_a_second_run_does_the_rest(
    album: Path, tmp_path: Path, standin: Path, run: Callable[..., tuple[int, str, str]]
) -> None:
    out = tmp_path / "out"
    done = interrupted(album, out, standin, signal.SIGKILL)
    assert done.returncode == -signal.SIGKILL, done.stdout
    written = whole(out)
    assert 3 <= written < PHOTOS
    kept = {p.name: p.stat().st_mtime_ns for p in out.glob("*.jpg")}
    code, said, _ = run("protect", album, "-o", out, "--gender", "male")
    assert code == 0
    assert f"{PHOTOS - written} photos protected" in said
    assert f"{written} photos already there" in said
    assert whole(out) == PHOTOS
    assert all((out / name).stat().st_mtime_ns == time for name, time in kept.items())


def test_ctrl_c_leaves_whole_files_and_says_so(album: Path, tmp_path: Path, standin: Path) -> None:
    out = tmp_path / "out"
    done = interrupted(album, out, standin, signal.SIGINT)
    assert done.returncode == 130, done.stdout
    assert "Traceback" not in done.stdout
    assert "stopped early: interrupted. What is written is whole" in done.stdout
    assert 3 <= whole(out) < PHOTOS
    assert [p.name for p in out.iterdir() if p.suffix != ".jpg"] == [RECORD]
