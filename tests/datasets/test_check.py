from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfmask.datasets.check import check
from halfmask.errors import DataError, UsageError


@pytest.fixture
def photos(tmp_path: Path, rng: np.random.Generator) -> Path:
    """Six pictures, of which four are broken each in its own way, and labels that put ann in two splits."""
    for name in ("a.jpg", "b.png", "cut.jpg"):
        Image.fromarray(rng.integers(0, 256, (48, 40, 3), np.uint8)).save(tmp_path / name)
    (tmp_path / "cut.jpg").write_bytes((tmp_path / "cut.jpg").read_bytes()[:900])
    (tmp_path / "empty.jpg").touch()
    (tmp_path / "text.jpg").write_text("I am no picture")
    png = bytearray((tmp_path / "b.png").read_bytes())
    png[200:260] = bytes(60)
    (tmp_path / "damaged.png").write_bytes(png)
    (tmp_path / "labels.csv").write_text(
        "file,gender,age,race,identity,split\n"
        "a.jpg,f,31,X,ann,train\nb.png,f,39,Y,ann,test\ncut.jpg,m,50-59,X,bob,train\n"
        "empty.jpg,,,,,\ntext.jpg,m,7,X,cy,test\ndamaged.png,m,101,X,dee,valid\ngone.jpg,m,1,X,eve,test\n"
    )
    return tmp_path


def test_report(photos: Path) -> None:
    report = check(photos, progress=False)
    assert (report.layout, report.pictures, report.people) == ("folder", 6, 4)
    assert report.genders == {"female": 2, "male": 3, "unknown": 1}
    assert report.races == {"X": 4, "Y": 1, "unknown": 1}
    assert list(report.ages.items()) == [("0-9", 1), ("30-39", 2), ("50-59", 1), ("100-109", 1), ("unknown", 1)]
    assert report.splits == {"train": 2, "valid": 1, "test": 2, "unknown": 1}
    assert report.people_by_split == {"train": 2, "valid": 1, "test": 2}
    assert [p.partition(":")[0] for p in report.broken] == ["cut.jpg", "empty.jpg", "text.jpg", "damaged.png"]
    assert report.in_two_splits == ["ann: test, train"]
    assert report.problems == ["labels.csv line 8 (gone.jpg): there is no such picture; skipped"]
    assert not report.ok


def test_what_is_printed(photos: Path) -> None:
    text = str(check(photos, progress=False))
    assert f"{photos}: folder, 6 pictures, 4 people" in text
    assert "gender: female 2, male 3, unknown 1" in text
    assert "4 broken pictures:\n  cut.jpg: cannot be decoded: " in text
    assert "1 people in two splits:\n  ann: test, train" in text
    assert "nothing wrong" not in text


def test_json(photos: Path) -> None:
    report = check(photos, progress=False)
    found = json.loads(report.to_json())
    assert found["ok"] is False
    assert found["genders"] == report.genders
    assert found["broken"] == report.broken


def test_labels_only(photos: Path) -> None:
    report = check(photos, decode=False)
    assert report.broken == []
    (photos / "labels.csv").unlink()
    clean = check(photos, decode=False)
    assert clean.ok
    assert "the pictures were not opened" in str(clean)


def test_long_lists_are_cut_in_print_and_whole_in_json(tmp_path: Path) -> None:
    for n in range(25):
        (tmp_path / f"{n:02d}.jpg").touch()
    report = check(tmp_path, progress=False)
    assert "… and 5 more" in str(report)
    assert "24.jpg" not in str(report)
    assert len(json.loads(report.to_json())["broken"]) == 25


def test_progress_bar_shows_the_time_left(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check(photos, progress=True)
    bar = capsys.readouterr().err
    assert "decoding: 100%" in bar
    assert "6/6" in bar


def test_ar_raw_files_are_decoded(tmp_path: Path) -> None:
    (tmp_path / "m-001-1.raw").write_bytes(bytes(768 * 576 * 3))
    (tmp_path / "m-001-2.raw").write_bytes(bytes(768 * 576))
    report = check(tmp_path, progress=False)
    assert report.layout == "arface"
    assert [p.partition(":")[0] for p in report.broken] == ["m-001-2.raw"]


def test_pairs_of_lfw_are_checked(tmp_path: Path) -> None:
    folder = tmp_path / "lfw-deepfunneled" / "Bo"
    folder.mkdir(parents=True)
    for n in (1, 2):
        (folder / f"Bo_000{n}.jpg").touch()
    (tmp_path / "pairs.txt").write_text("1 1\nBo 1 2\nBo 1 Cy 1\n")
    report = check(tmp_path, decode=False)
    assert report.pairs == {"same": 1, "different": 0, "folds": 1}
    assert any("Cy_0001" in p for p in report.problems)
    (tmp_path / "pairs.txt").write_text("Bo 1 2\n")
    assert any("first line" in p for p in check(tmp_path, decode=False).problems)


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="this file system takes only UTF-8 names")
def test_names_that_are_not_utf8_can_be_printed(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/Ren\xe9.jpg")).touch()
    report = check(tmp_path, progress=False)
    str(report).encode("utf-8")
    report.to_json().encode("utf-8")
    assert report.broken == ["Ren\\udce9.jpg: cannot be decoded: not a picture of a known kind"]


def test_layout_given_or_nothing_there(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot read celeba"):
        check(photos, layout="celeba")
    with pytest.raises(UsageError, match="'nope'"):
        check(photos, layout="nope")
    with pytest.raises(DataError, match="is not a folder"):
        check(tmp_path / "absent")


def test_real_lfw(shared_data: Path) -> None:
    report = check(shared_data / "lfw", decode=False)
    assert (report.layout, report.pictures, report.people) == ("lfw", 3811, 2086)
    assert report.pairs == {"same": 1500, "different": 1500, "folds": 5}
    assert report.ok


def test_real_pictures_decode(shared_data: Path) -> None:
    report = check(shared_data / "lfw30", progress=False)
    assert report.pictures == 1020
    assert report.ok


def test_nothing_is_said_of_labels_that_were_not_read(tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "a.png")
    report = check(tmp_path, progress=False)
    assert str(report).endswith("nothing wrong in the pictures; no labels were read")
    assert str(check(tmp_path, decode=False)).endswith("the pictures were not opened; no labels were read")
    (tmp_path / "ages.xlsx").write_bytes(b"PK")
    text = str(check(tmp_path, progress=False))
    assert text.endswith("not read, so nothing is said of what they hold: ages.xlsx")
    (tmp_path / "labels.csv").write_text("file,gender\na.png,f\n")
    text = str(check(tmp_path, progress=False))
    assert "nothing wrong in what was read\nnot read, so nothing is said of what they hold: ages.xlsx" in text
    (tmp_path / "ages.xlsx").unlink()
    assert str(check(tmp_path, progress=False)).endswith("\nnothing wrong")


def test_labels_beside_the_pictures_of_a_layout(tmp_path: Path) -> None:
    people = tmp_path / "lfw_funneled" / "Ann_A"
    people.mkdir(parents=True)
    Image.new("RGB", (8, 8)).save(people / "Ann_A_0001.png")
    (tmp_path / "lfw_attributes.txt").write_text("person Male\n")
    report = check(tmp_path, progress=False)
    assert (report.layout, report.genders, report.unread) == ("lfw", {}, ["lfw_attributes.txt"])
    assert "nothing wrong in what was read" in str(report)
