"""``halfmask predict`` from the command line."""

from __future__ import annotations

import csv
import io
import json
import os
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import halfmask
from halfmask.photos.drawing import drawings
from halfmask.predicting.picture import captions
from halfmask.storage import RECORD

Run = Callable[..., tuple[int, str, str]]


def test_text(run: Run, album: Path, onnx_file: Path) -> None:
    code, out, err = run(album, "--network", onnx_file)
    assert code == 3
    lines = out.splitlines()
    assert lines[0].split() == ["file", "face", "pixels", "gender", "age", "(90", "%", "interval)", "race"]
    assert [Path(line.split()[0]).name for line in lines[1:]] == ["a.png", "c.jpg", "b.png", "b.png"]
    (face,) = halfmask.predict(album / "a.png", network=onnx_file)
    assert f"{face.gender} {100 * face.probabilities['gender'][str(face.gender)]:.0f} %" in lines[1]
    assert f" {face.age:.0f} (" in lines[1]
    assert "no face found" in lines[2]
    assert "3 photos, 3 faces, 1 without a face found, 1 other file ignored" in err
    assert "1 failed:" in err
    assert "damaged.jpg cannot be read" in err
    assert "not facts about a person" in err
    assert "docs/results.md" in err


def test_json(run: Run, album: Path, onnx_file: Path, tmp_path: Path) -> None:
    target = tmp_path / "predictions.json"
    code, out, _ = run(album, "--network", onnx_file, "--format", "json", "-o", target)
    assert (code, out) == (3, "")
    found = json.loads(target.read_text("utf-8"))
    assert found["halfmask"] == halfmask.__version__
    assert found["network"]["heads"]["gender"] == {"kind": "binary", "classes": ["female", "male"]}
    photos = {Path(p["file"]).name: p for p in found["photos"]}
    assert list(photos) == ["a.png", "c.jpg", "damaged.jpg", "b.png"]
    assert set(photos["damaged.jpg"]) == {"file", "error"}
    assert (photos["b.png"]["width"], photos["b.png"]["height"]) == (640, 256)
    assert photos["c.jpg"]["faces"] == []
    one = photos["a.png"]["faces"][0]
    (face,) = halfmask.predict(album / "a.png", network=onnx_file)
    assert set(one) == {"box", "points", "detection", "gender", "age", "race"}
    assert one["box"] == pytest.approx(face.box, abs=0.06)
    assert np.shape(one["points"]) == (5, 2)
    assert one["gender"]["word"] == face.gender
    assert one["race"]["probabilities"] == pytest.approx(face.probabilities["race"], abs=1e-4)
    assert one["age"]["years"] == pytest.approx(face.age, abs=0.06)
    assert tuple(one["age"]["interval"]) == face.age_interval
    assert one["age"]["level"] == 0.9
    assert list(tmp_path.glob(".*")) == []


def test_csv(run: Run, album: Path, onnx_file: Path) -> None:
    code, out, _ = run(album / "sub", album / "a.png", "--network", onnx_file, "--format", "csv", "-q")
    assert code == 0
    rows = list(csv.DictReader(io.StringIO(out)))
    assert [(Path(r["file"]).name, r["face"]) for r in rows] == [("b.png", "1"), ("b.png", "2"), ("a.png", "1")]
    faces = [*halfmask.predict(album / "sub" / "b.png", network=onnx_file)]
    for row, face in zip(rows, faces, strict=False):
        assert row["gender"] == face.gender
        assert float(row["p_race_East Asian"]) == pytest.approx(face.probabilities["race"]["East Asian"], abs=1e-4)
        assert float(row["age"]) == pytest.approx(face.age, abs=0.06)
        assert face.age_interval is not None
        low, high = face.age_interval
        assert (row["age_low"], row["age_high"]) == (str(low), "" if high is None else str(high))


def test_a_file_name_is_no_formula(run: Run, album: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (album / "a.png").rename(album / "=HYPERLINK(1).png")
    monkeypatch.chdir(album)
    out = run("=HYPERLINK(1).png", "--network", onnx_file, "--format", "csv", "-q")[1]
    assert [row["file"] for row in csv.DictReader(io.StringIO(out))] == ["'=HYPERLINK(1).png"]


def test_what_a_network_does_not_read_has_no_column(run: Run, album: Path, gender_file: Path) -> None:
    args = (album / "a.png", "--network", gender_file)
    assert run(*args)[1].splitlines()[0].split() == ["file", "face", "pixels", "gender"]
    header = run(*args, "--format", "csv")[1].splitlines()[0]
    assert header == "file,face,x,y,width,height,detection,gender,p_gender_female,p_gender_male"
    face = json.loads(run(*args, "--format", "json")[1])["photos"][0]["faces"][0]
    assert set(face) == {"box", "points", "detection", "gender"}


def test_pictures(run: Run, album: Path, onnx_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "seen"
    args = (album, "--network", onnx_file, "--format", "picture", "-o", out)
    code, said, _ = run(*args)
    assert (code, said) == (3, "")
    pictures = sorted(p.relative_to(out).as_posix() for p in out.rglob("*.*") if p.name != RECORD)
    assert pictures == ["a.png", "c.jpg", "sub/b.png"]
    for name, count in (("a.png", 1), ("sub/b.png", 2)):
        before, after = (np.asarray(Image.open(folder / name)) for folder in (album, out))
        faces = halfmask.predict(before, network=onnx_file)
        mask = np.zeros(before.shape[:2], bool)
        for d in drawings(before.shape[1], before.shape[0], captions(faces)):
            for x0, y0, x1, y1 in (d.frame, d.caption):
                mask[y0:y1, x0:x1] = True
        assert len(faces) == count
        assert np.array_equal(before[~mask], after[~mask])
        assert not np.array_equal(before[mask], after[mask])
    made = (out / "a.png").stat().st_mtime_ns
    assert "2 already there" in run(*args)[2]  # the one without a face came out as it was, so it counts as a copy
    assert (out / "a.png").stat().st_mtime_ns == made
    time.sleep(0.01)
    run(*args, "--overwrite")
    assert (out / "a.png").stat().st_mtime_ns > made
    made = (out / "sub/b.png").stat().st_mtime_ns
    run(*args, "--faces", "largest")  # another way, so they are made anew
    assert (out / "sub/b.png").stat().st_mtime_ns > made
    (out / "a.png").write_bytes(b"somebody's")
    assert "was not made by halfmask" in run(*args)[2]
    assert (out / "a.png").read_bytes() == b"somebody's"


def test_the_largest_face_only(run: Run, album: Path, onnx_file: Path) -> None:
    out = run(album / "sub", "--network", onnx_file, "--faces", "largest", "--format", "csv", "--workers", "3")[1]
    assert len(out.splitlines()) == 2


def test_quiet_says_only_what_failed(run: Run, album: Path, onnx_file: Path) -> None:
    assert run(album / "a.png", "--network", onnx_file, "-q")[2] == ""
    err = run(album, "--network", onnx_file, "-q")[2].splitlines()
    assert err[0] == "1 failed:"
    assert len(err) == 2


def test_files_of_one_name_and_odd_names(run: Run, album: Path, onnx_file: Path) -> None:
    same = album / "sub" / "a.png"
    same.write_bytes((album / "a.png").read_bytes())
    code, out, _ = run(album / "a.png", same, "--network", onnx_file, "--format", "csv")
    assert (code, len(out.splitlines())) == (0, 3)
    odd = album / "sub" / os.fsdecode(b"\xff\x1b.png")
    try:
        same.rename(odd)
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    code, out, _ = run(odd, "--network", onnx_file)
    assert code == 0
    assert r"\udcff\x1b.png" in out
    assert json.loads(run(odd, "--network", onnx_file, "--format", "json")[1])["photos"][0]["file"] == str(odd)


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["absent.jpg"], 2, "there is no absent.jpg"),
        (["a.png", "--format", "picture"], 2, "give -o FOLDER"),
        (["a.png", "--format", "json", "-o", "x.png"], 2, "has a picture's name; expected one such as predictions"),
        (["a.png", "--format", "json", "-o", "sub"], 2, "is a folder"),
        (["a.png", "--format", "json", "-o", "no/such/x.json"], 3, "could not be written: No such file"),
        (["a.png", "-o", ""], 2, "-o is empty"),
        (["a.png", "--format", "picture", "-o", "a.png"], 2, "would replace the input"),
        ([".", "--format", "picture", "-o", "sub/out"], 2, "lies inside the input folder"),
        (["a.png", "--network", "absent.onnx"], 3, "there is no network absent.onnx"),
        (["a.png", "--format", "yaml"], 2, "'yaml' is not one of"),
    ],
)
def test_bad_requests(
    run: Run, album: Path, onnx_file: Path, monkeypatch: pytest.MonkeyPatch, args: list[str], code: int, says: str
) -> None:
    monkeypatch.chdir(album)
    before = sorted(p.name for p in album.rglob("*"))
    got, out, err = run(*(["--network", onnx_file] if "--network" not in args else []), *args)
    assert (got, out) == (code, "")
    assert says in " ".join(err.split())
    assert sorted(p.name for p in album.rglob("*")) == before


def test_an_output_is_whole_or_as_it_was(
    run: Run, album: Path, onnx_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "x.json"
    target.write_text("old")
    monkeypatch.setattr("halfmask.predicting.report.as_dict", lambda face: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        run(album, "--network", onnx_file, "--format", "json", "-o", target)
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir() if p.is_file()] == ["x.json"]


def test_nothing_to_look_at(run: Run, tmp_path: Path, onnx_file: Path) -> None:
    (tmp_path / "empty").mkdir()
    code, out, err = run(tmp_path / "empty", "--network", onnx_file)
    assert (code, out) == (0, "")
    assert err.startswith("0 photos, 0 faces")
    assert json.loads(run(tmp_path / "empty", "--network", onnx_file, "--format", "json")[1])["photos"] == []


def test_help_is_honest(run: Run) -> None:
    code, out, _ = run("--help")
    text = " ".join(out.split())
    assert code == 0
    assert "not facts about a person" in text
    assert "docs/results.md" in text
    assert "--network" in text
