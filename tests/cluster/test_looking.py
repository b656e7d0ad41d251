"""``halfmask predict`` at addresses: what it says is what it says of paths."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfmask.cli import main

fsspec = pytest.importorskip("fsspec", reason="needs halfmask[ray]")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """``halfmask predict`` with these arguments: exit code, stdout, stderr."""

    def call(*args: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main(["predict", *map(str, args)])
        return int(ended.value.code or 0), *capsys.readouterr()

    return call


@pytest.fixture
def album(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """Four photos with a face, one without, one damaged, and what is no photo."""
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    portrait = np.ascontiguousarray(astronaut[:250, 100:350])
    for n, name in enumerate(("a.jpg", "b.png", "sub/c.jpg", "sub/d.png")):
        Image.fromarray(np.roll(portrait, 5 * n, axis=1)).save(folder / name)
    Image.fromarray(np.full((64, 64, 3), 200, np.uint8)).save(folder / "wall.png")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff nothing")
    (folder / "note.txt").write_text("no picture")
    return folder


def test_an_address_is_told_of_as_a_path(run: Run, album: Path, memory: str, tmp_path: Path) -> None:
    code, text, said = run(album, "--format", "json", "--workers", 1)
    assert code == 3
    there = run(memory, "--format", "json", "--workers", 2, "-o", tmp_path / "found.json")
    assert there[:2] == (3, "")
    local, found = json.loads(text), json.loads((tmp_path / "found.json").read_text())
    assert found["network"] == local["network"]
    by_name = {photo["file"].removeprefix(f"{album}/"): photo for photo in local["photos"]}
    assert [photo["file"] for photo in found["photos"]] == [f"{memory}/{name}" for name in sorted(by_name)]
    for photo in found["photos"]:
        name = photo["file"].removeprefix(f"{memory}/")
        assert photo.get("faces") == by_name[name].get("faces")
        assert ("error" in photo) == (name == "damaged.jpg")
    for line in ("5 photos, 4 faces, 1 without a face found, 1 other file ignored", "1 failed:", "damaged.jpg"):
        assert line in said
        assert line in there[2]


@pytest.mark.parametrize("format", ["text", "csv"])
def test_paths_come_in_their_order(run: Run, album: Path, format: str) -> None:
    """As with a store, so with a folder at an address: the bytes are those of a run without one, but for the names."""
    _, here, _ = run(album, "--format", format, "--workers", 1)
    _, there, _ = run(f"file://{album}", "--format", format, "--workers", 2)
    assert there.replace(f"file://{album}", str(album)).split() == here.split()
    assert len(here.splitlines()) > 4


def test_one_photo_and_two_places(run: Run, memory: str) -> None:
    code, text, _ = run(f"{memory}/a.jpg", f"{memory}/sub", "--format", "csv", "--faces", "largest")
    assert code == 0
    names = [line.split(",")[0] for line in text.splitlines()[1:]]
    assert names == [f"{memory}/a.jpg", f"{memory}/sub/c.jpg", f"{memory}/sub/d.png"]


def test_requests_that_make_no_sense(run: Run, album: Path, memory: str, tmp_path: Path) -> None:
    for args, message in (
        ((memory, "--format", "picture", "-o", tmp_path / "out"), "--format picture knows neither"),
        ((memory, "--on", "ray"), "one process alone"),
        ((album, "--address", "auto"), "--on ray asks for"),
        (("memory://nowhere",), "there is no memory://nowhere"),
        ((memory, "-o", tmp_path / "seen.jpg"), "has a picture's name"),
        ((memory, "-o", ""), "-o is empty"),
    ):
        code, _, said = run(*args)
        assert (code, message in said) == (2, True), (args, said)
    code, _, said = run(memory, "--network", tmp_path / "absent.onnx")
    assert (code, "there is no network" in said) == (run(album, "--network", tmp_path / "absent.onnx")[0], True)
