"""What ``halfmask protect`` must never do: take an unprotected photo for done, or write where it must not."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfmask.methods import Subject
from halfmask.methods.halfmask import Halfmask
from halfmask.protecting import report as report_module
from halfmask.weights import store

Run = Callable[..., tuple[int, str, str]]


def test_a_report_that_cannot_be_is_refused_before_any_work(run: Run, album: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    for target, message in (
        (tmp_path, "is a folder"),
        ("", "name is empty"),
        (tmp_path / "pipe.json", "is a device, a pipe"),
        (album / "a.jpg", "has a picture's name"),
    ):
        code, _, error = run("protect", album, "-o", tmp_path / "out", "--json", target)
        assert (code, message in error) == (2, True), error
    assert not (tmp_path / "out").exists()
    assert (tmp_path / "pipe.json").is_fifo()


def test_a_full_disk_under_the_report(run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Full(io.StringIO):
        def write(self, text: str) -> int:
            if self.tell() > 500:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return super().write(text)

        def close(self) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def opened(path: Path, *_: object, **__: object) -> Full:
        path.touch()
        return Full()

    monkeypatch.setattr(report_module, "open", opened, raising=False)
    target = tmp_path / "r.json"
    code, _, error = run("protect", album, "-o", tmp_path / "out", "--gender", "male", "--json", target)
    assert code == 3
    assert error.startswith("Error: the report ")
    assert "No space left on device" in error
    assert sorted(p.name for p in tmp_path.iterdir()) == ["album", "out"]


def test_stdout_takes_one_photo_that_is_there(
    run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "get", _never)  # nothing is fetched for a request that makes no sense
    for source, message in ((album, "is no file"), (tmp_path / "absent.jpg", "there is no")):
        code, said, error = run("protect", source, "-o", "-")
        assert (code, said) == (2, "")
        assert message in error


def test_the_limit_of_pixels(run: Run, album: Path, tmp_path: Path) -> None:
    code, said, _ = run("protect", album / "a.jpg", "-o", tmp_path / "o.jpg", "--max-pixels", 62_499)
    assert code == 3
    assert "250 x 250 = 62,500 pixels; the limit is 62,499" in said
    assert "--max-pixels" in said
    assert run("protect", album / "a.jpg", "-o", tmp_path / "o.jpg", "--max-pixels", 62_500)[0] == 0


def test_labels_with_two_folders(run: Run, tmp_path: Path, jpeg: bytes) -> None:
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.jpg").write_bytes(jpeg)
    table, report = tmp_path / "labels.csv", tmp_path / "r.json"
    table.write_text(f"file,gender\n{tmp_path}/A/p.jpg,male\n")
    common = ("protect", tmp_path / "A", tmp_path / "B", "-o", tmp_path / "out", "--method", "san")
    common += ("--labels", table, "--json", report)
    assert run(*common)[0] == 0
    origins = {p["file"]: p["faces"][0]["gender_origin"] for p in json.loads(report.read_text())["photos"]}
    assert origins == {f"{tmp_path}/A/p.jpg": "labels file", f"{tmp_path}/B/p.jpg": "estimate"}
    table.write_text("file,gender\np.jpg,male\n")
    code, _, error = run(*common)
    assert code == 2
    assert f"{tmp_path}/A/p.jpg or {tmp_path}/B/p.jpg" in error


def test_an_unprotected_copy_in_the_output_is_not_taken_for_done(run: Run, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    shutil.copy(album / "a.jpg", out / "a.jpg")
    code, said, _ = run("protect", album, "-o", out, "--gender", "male")
    assert code == 0
    assert "3 photos protected" in said
    assert (out / "a.jpg").read_bytes() == (out / "b.jpg").read_bytes() != (album / "a.jpg").read_bytes()


def test_copies_of_an_earlier_run_are_not_taken_for_done(run: Run, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    common = ("protect", album, "-o", out, "--gender", "male")
    assert run(*common, "--if-no-face", "copy")[0] == 0
    code, said, _ = run(*common, "--dry-run")
    assert "1 photos would be protected, 3 are there already" in said
    code, said, _ = run(*common)
    assert code == 3
    assert "3 photos already there" in said
    assert f"{out / 'wall.png'} of an earlier run is still there and may be an unprotected copy" in said
    assert (out / "wall.png").exists()
    code, said, _ = run(*common, "--if-no-face", "copy")
    assert code == 0
    assert "1 photo without a face found, copied UNPROTECTED" in said
    (out / "wall.png").unlink()
    code, said, _ = run(*common)
    assert code == 0


def test_faces_that_take_no_change_are_warned_of(
    run: Run, portrait: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Image.fromarray(np.hstack([portrait, portrait])).save(tmp_path / "two.png")
    change = Halfmask.change

    def first_only(self: Halfmask, crops: np.ndarray, subjects: Sequence[Subject]) -> np.ndarray:
        delta = change(self, crops, subjects).copy()
        delta[1:] = 0
        return delta

    monkeypatch.setattr(Halfmask, "change", first_only)
    report = tmp_path / "r.json"
    common = ("protect", tmp_path / "two.png", "-o", tmp_path / "out.png", "--gender", "male", "--json", report)
    code, said, _ = run(*common)
    assert code == 3
    assert "WARNING: 1 photo protected only in part:" in said
    assert "two.png: 1 of 2 faces could not be changed and are UNPROTECTED" in said
    told = json.loads(report.read_text())
    assert told["photos"][0]["warning"] == "1 of 2 faces could not be changed and are UNPROTECTED"
    assert told["summary"]["warnings"] == 1
    _, said, error = run(*common, "--overwrite", "--quiet")
    assert "protected only in part" in error
    assert "WARNING" not in run(*common, "--overwrite", "--faces", "largest")[1]


def _never(*_: object, **__: object) -> Path:
    raise AssertionError("something was fetched")
