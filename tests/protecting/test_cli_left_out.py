"""``halfmask protect`` says what it did not protect, and what it dropped."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

Run = Callable[..., tuple[int, str, str]]


def avif(portrait: np.ndarray) -> bytes:
    out = io.BytesIO()
    Image.fromarray(portrait).save(out, "AVIF", quality=90)
    return out.getvalue()


@pytest.fixture
def mixed(album: Path, jpeg: bytes) -> Path:
    """The album with four pictures that are not read, or not taken for photos, and another text."""
    (album / "raw.NEF").write_bytes(b"MM\0*" + bytes(60))
    (album / "sub" / "new.jxl").write_bytes(b"\xff\x0a" + bytes(60))
    (album / "IMG_0001").write_bytes(jpeg)
    (album / ".hidden.jpg").write_bytes(jpeg)
    (album / "more.txt").write_text("no photo either")
    return album


def test_pictures_that_are_left_out_are_named_and_counted(run: Run, mixed: Path, tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    code, said, _ = run("protect", mixed, "-o", tmp_path / "out", "--gender", "male", "--json", report)
    assert code == 3
    assert "3 photos protected" in said
    assert "2 other files ignored, none of them a picture" in said
    assert "4 pictures NOT PROTECTED, left out and not written:" in said
    for name, why in (
        ("raw.NEF", "a camera raw picture"), ("sub/new.jxl", "a JPEG XL picture"),
        ("IMG_0001", "its name does not end like one"), (".hidden.jpg", "hidden by the dot"),
    ):  # fmt: skip
        assert any(str(mixed / name) in line and why in line for line in said.splitlines()), name
    told = json.loads(report.read_text())["summary"]
    assert {Path(entry["file"]).name for entry in told["pictures"]} == {"raw.NEF", "new.jxl", "IMG_0001", ".hidden.jpg"}
    assert all(entry["reason"] for entry in told["pictures"])
    assert told["ignored"] == 2
    for quiet in ([], ["-q"]):  # the second run says so again, and quiet hides no warning
        code, said, error = run("protect", mixed, "-o", tmp_path / "out", "--gender", "male", *quiet)
        assert code == 3
        assert "4 pictures NOT PROTECTED" in said + error


def test_a_dry_run_and_predict_name_them_too(run: Run, mixed: Path, tmp_path: Path) -> None:
    code, said, error = run("protect", mixed, "-o", tmp_path / "out", "--dry-run")
    assert code == 3
    assert "pictures left out: 4, other files ignored: 2" in said
    assert "raw.NEF: is a camera raw picture" in error


def test_only_pictures_that_are_left_out(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "raws"
    folder.mkdir()
    (folder / "a.cr3").write_bytes(b"x")
    code, said, _ = run("protect", folder, "-o", tmp_path / "out", "--gender", "male")
    assert code == 3
    assert "1 picture NOT PROTECTED" in said


def test_a_nameless_photo_that_is_given_by_itself_is_protected(run: Run, mixed: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, _ = run("protect", mixed / "IMG_0001", "-o", out, "--gender", "male")
    assert code == 0, said
    assert Image.open(out / "IMG_0001").format == "JPEG"


def test_avif_is_protected_by_whatever_name(run: Run, portrait: np.ndarray, tmp_path: Path) -> None:
    """The name stays, and what the file really is stays too: a wrong suffix is not made right behind one's back."""
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "photo.avif").write_bytes(avif(portrait))
    (folder / "avif_as_jpg.jpg").write_bytes(avif(portrait))
    code, said, _ = run("protect", folder, "-o", tmp_path / "out", "--gender", "male")
    assert code == 0, said
    assert "2 photos protected, 2 faces changed" in said
    for name in ("photo.avif", "avif_as_jpg.jpg"):
        with Image.open(tmp_path / "out" / name) as out, Image.open(folder / name) as before:
            assert (out.format, out.size) == ("AVIF", before.size)
            moved = np.asarray(out).astype(int) - np.asarray(before)
            assert moved[100:140, 110:140].mean() > 4  # 5 or 15, as the target is drawn by the crop, and AVIF's loss
    code, said, _ = run("protect", folder, "-o", tmp_path / "jpegs", "--gender", "male", "--format", "jpg")
    assert code == 0
    with Image.open(tmp_path / "jpegs" / "avif_as_jpg.jpg") as out:
        assert out.format == "JPEG"


def test_what_was_dropped_and_what_was_damaged_is_said(run: Run, jpeg: bytes, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    film = b"\0\0\0\x18ftypmp42" + b"A FILM OF THE FACE"
    for name in ("a.jpg", "b.jpg"):
        (folder / name).write_bytes(jpeg + film)
    (folder / "noend.jpg").write_bytes(jpeg[:-2])
    report = tmp_path / "report.json"
    code, said, _ = run("protect", folder, "-o", tmp_path / "out", "--gender", "male", "--json", report)
    assert code == 0, said
    assert "2 photos: a motion video in the file was dropped: it shows the faces as they were:" in said
    assert "WARNING: 1 photo: DAMAGED: the end marker of the file is missing" in said
    assert b"A FILM" not in (tmp_path / "out" / "a.jpg").read_bytes()
    notes = {Path(p["file"]).name: p["notes"] for p in json.loads(report.read_text())["photos"]}
    assert [len(notes[name]) for name in ("a.jpg", "b.jpg", "noend.jpg")] == [1, 1, 1]
    shutil.rmtree(tmp_path / "out")
    code, said, error = run("protect", folder, "-o", tmp_path / "out", "--gender", "male", "-q")
    assert "DAMAGED" in said + error
    assert "motion video" not in said + error
    (folder / "noend.jpg").write_bytes(jpeg[: len(jpeg) * 2 // 3])
    code, said, _ = run("protect", folder, "-o", tmp_path / "out", "--gender", "male", "--overwrite")
    assert code == 3
    assert "cut short: its end marker is missing" in said
