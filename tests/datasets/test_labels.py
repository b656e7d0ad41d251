"""Label files as people have them, read alike by protect, audit, the folder reader and training."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Callable
from pathlib import Path

import pytest

from halfmask.datasets import read
from halfmask.datasets.check import check
from halfmask.datasets.labels import csv_rows, parse_ages, read_label_file
from halfmask.errors import DataError, UsageError
from halfmask.evaluation.audit import pairing, told
from halfmask.photos.listing import list_photos
from halfmask.protecting.known import read_labels
from halfmask.protecting.plan import plan
from halfmask.training.sources import source_table

NFC = unicodedata.normalize("NFC", "Zoë.jpg")
NFD = unicodedata.normalize("NFD", NFC)


def by_protect(folder: Path, path: Path) -> dict[str, int | None]:
    jobs = plan([folder], folder.parent / "out").jobs
    return {source.name: known.genders[0] for source, known in read_labels(path, jobs).items()}


def by_audit(folder: Path, path: Path) -> dict[str, int | None]:
    table, _ = pairing.originals_of(folder)
    labelled, _ = told.read_labels(path, table)
    return {row.key: row.gender for row in labelled if row.gender is not None}


def by_folder(folder: Path, path: Path) -> dict[str, int | None]:
    (folder / "labels.csv").write_bytes(path.read_bytes())
    try:
        return {row.key: row.gender for row in read("folder", folder) if row.gender is not None}
    finally:
        (folder / "labels.csv").unlink()


def by_training(folder: Path, path: Path) -> dict[str, int | None]:
    """A training list says no gender; that it names the photo is what counts."""
    source = {"layout": "folder", "root": str(folder), "lists": {"train": str(path)}}
    genders = {"b.jpg": 0, NFC: 0, NFD: 0, "c.JPG": 1}
    return {row.key: genders[row.key] for row in source_table(source) if row.split == "train"}


READERS = [by_protect, by_audit, by_folder, by_training]
TEXTS = {
    "commas": b"file,gender\nb.jpg,female\nc.JPG,male\n",
    "semicolons and a mark": b"\xef\xbb\xbffile;gender\r\nb.jpg;F\r\nc.JPG;M\r\n",
    "tabs, as Excel's Unicode text": "image\tsex\r\nb.jpg\tW\r\nc.JPG\tman\r\n".encode("utf-16"),
    "big-endian": b"\xfe\xff" + "Filename,Gender\nb.jpg,woman\nc.JPG,1\n".encode("utf-16-be"),
    "pandas without a name": b",gender\nb.jpg,0\nc.JPG,1\n",
    "an index and names": b",image_id,gender\n0,b.jpg,f\n1,c.JPG,m\n",
    "blank lines and spaces": b"\n\nfile , gender\n\n b.jpg , f\n c.JPG, m\n",
    "backslashes and a path": b"path,gender\n.\\b.jpg,f\n./c.JPG,m\n",
}


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    folder.mkdir()
    for name in ("b.jpg", "c.JPG"):
        (folder / name).touch()
    return folder


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS.keys())
def test_what_one_reads_all_read(
    reader: Callable[[Path, Path], dict[str, int]], text: bytes, album: Path, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_bytes(text)
    assert reader(album, path) == {"b.jpg": 0, "c.JPG": 1}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize(("on_disk", "in_list"), [(NFC, NFD), (NFD, NFC)])
def test_accents_in_one_piece_or_two(
    reader: Callable[[Path, Path], dict[str, int]], on_disk: str, in_list: str, album: Path, tmp_path: Path
) -> None:
    (album / on_disk).touch()
    path = tmp_path / "list.csv"
    path.write_text(f"file,gender\n{in_list},female\nb.jpg,female\n", "utf-8")
    assert reader(album, path) == {on_disk: 0, "b.jpg": 0}


@pytest.mark.parametrize("reader", READERS[:3])
def test_an_unknown_gender_is_none(reader: Callable[[Path, Path], dict[str, int]], album: Path, tmp_path: Path) -> None:
    path = tmp_path / "list.csv"
    path.write_text("file,gender\nb.jpg,f\nc.JPG,unknown\n")
    assert reader(album, path) == {"b.jpg": 0}


@pytest.mark.parametrize("reader", READERS[:3])
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("Datei;Geschlecht\nb.jpg;f\n", "has the columns datei, geschlecht; expected a first line such as file,gender"),
        ("file,Geschlecht\nb.jpg,f\n", "has the columns file, geschlecht.*Known are for file: path, file.*gender, sex"),
        ("file,gender\nb.jpg,-1\nc.JPG,1\n", "-1"),
        ("PK\0\0\0", "holds binary data.*Save it as CSV"),
    ],
)
def test_what_is_not_known_is_refused_as_a_whole(
    reader: Callable[[Path, Path], dict[str, int]], text: str, message: str, album: Path, tmp_path: Path
) -> None:
    path = tmp_path / "list.csv"
    path.write_text(text)
    with pytest.raises((UsageError, DataError), match=message):
        reader(album, path)


def test_a_list_of_files_alone_is_a_list(album: Path) -> None:
    (album / "labels.csv").write_text("file\nb.jpg\n")
    assert [row.key for row in read("folder", album)] == ["b.jpg"]
    with pytest.raises(DataError, match="of which file and one other are needed"):
        read_label_file(album / "labels.csv", any_of=("gender",))


def test_the_first_of_two_columns_of_one_name_counts(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("a,b,a\n1,2,3\n4\n")
    assert list(csv_rows(tmp_path / "a.csv")) == [(2, {"a": "1", "b": "2"}), (3, {"a": "4", "b": ""})]


def test_a_set_that_is_no_split_is_told_once_and_left_alone(album: Path) -> None:
    pictures = sorted(p.name for p in album.iterdir() if p.suffix.lower() == ".jpg")
    lines = [f"{name},{'f' if k % 2 else 'm'},{'council' if k else 'staff'}" for k, name in enumerate(pictures)]
    (album / "labels.csv").write_text("\n".join(["file,gender,set", *lines]))
    table = read("folder", album)
    assert [row.split for row in table] == [None] * len(pictures)
    assert len({row.gender for row in table}) == 2
    (problem,) = [p for p in table.problems if "split" in p]
    assert "are no splits; that column is not used" in problem


def test_dates_that_were_ranges(album: Path) -> None:
    assert [parse_ages(t) for t in ("09-Mar", "03-Sep", "Oct-19", "19-Oct", "9. Mar", "Oct 19")] == [
        (3, 9), (3, 9), (10, 19), (10, 19), (3, 9), (10, 19),
    ]  # fmt: skip
    (album / "labels.csv").write_text("file,age\nb.jpg,19-Oct\nc.JPG,2019-10-01\n")
    table = read("folder", album)
    assert [(row.age, row.age_range) for row in table] == [(None, (10, 19)), (None, None)]
    assert len(table.problems) == 2
    assert "1 age ranges were made dates by a spreadsheet, such as '19-Oct'" in table.problems[0]
    assert "1 ages look like dates, such as '2019-10-01'; unknown" in table.problems[1]


def test_fairface_after_a_spreadsheet(tmp_path: Path) -> None:
    for i in range(1, 6):
        (tmp_path / "val").mkdir(exist_ok=True)
        (tmp_path / "val" / f"{i}.jpg").touch()
    (tmp_path / "fairface_label_val.csv").write_text(
        "file;age;gender;race;service_test\nval/1.jpg;3-9;Male;East Asian;True\nval/2.jpg;Oct-19;Female;Indian;False\n"
        "val/3.jpg;03-Sep;Female;Black;False\nval/4.jpg;10-19;female;Indian;True\nval/5.jpg;01.10.2019;Female;White;True\n"
    )
    table = read("fairface", tmp_path)
    assert [row.age_range for row in table] == [(3, 9), (10, 19), (3, 9), (10, 19), None]
    assert [row.gender for row in table] == [1, 0, 0, 0, 0]
    told = [text for text in table.problems if "spreadsheet" in text]
    assert len(told) == len(set(told)) == 2
    assert "2 age ranges were made dates" in told[0]
    assert not any("val/5.jpg" in text for text in table.problems)


def test_fairface_in_unknown_columns_is_refused_once(tmp_path: Path) -> None:
    (tmp_path / "val").mkdir()
    for i in range(3):
        (tmp_path / "val" / f"{i}.jpg").touch()
    (tmp_path / "fairface_label_val.csv").write_text("Bild,Alter\nval/0.jpg,3-9\nval/1.jpg,3-9\n")
    table = read("fairface", tmp_path)
    assert [row.age_range for row in table] == [None] * 3
    assert sum("has the columns bild, alter" in text for text in table.problems) == 1
    assert not any("no such picture" in text for text in table.problems)


@pytest.mark.parametrize(
    ("lines", "genders", "told"),
    [
        ([",5_o_Clock_Shadow,Male,Young", "1.jpg,-1,1,1", "2.jpg,-1,-1,1"], [1, 0], None),
        (["image_id,Bald,Male", "1.jpg,0,1", "2.jpg,0,0"], [1, 0], None),
        (["image_id;Bald;Male", "1.jpg;0;1", "2.jpg;0;0"], [1, 0], None),
        (["filename,male", "1.jpg,1", "2.jpg,-1"], [1, 0], None),
        (["image_id,Male", "1.jpg,-1", "2.jpg,0"], [None, None], "known are 1 and -1, or 1 and 0"),
        (["image_id,Mann", "1.jpg,1", "2.jpg,-1"], [None, None], "has no column Male (got: image_id, Mann)"),
    ],
)
def test_celeba_as_copies_write_it(
    tmp_path: Path, lines: list[str], genders: list[int | None], told: str | None
) -> None:
    (tmp_path / "img_align_celeba").mkdir()
    for i in (1, 2):
        (tmp_path / "img_align_celeba" / f"{i}.jpg").touch()
    (tmp_path / "list_attr_celeba.csv").write_text("\n".join(lines) + "\n")
    table = read("celeba", tmp_path)
    assert [row.gender for row in table] == genders
    about = [text for text in table.problems if "list_attr_celeba" in text]
    assert not about if told is None else (len(about) == 1 and told in about[0])


def test_celeba_of_0_and_1_as_text(tmp_path: Path) -> None:
    (tmp_path / "img_align_celeba").mkdir()
    for i in (1, 2):
        (tmp_path / "img_align_celeba" / f"{i}.jpg").touch()
    (tmp_path / "list_attr_celeba.txt").write_text("2\nBald Male\n1.jpg 0 1\n2.jpg 0 0\n")
    assert [row.gender for row in read("celeba", tmp_path)] == [1, 0]


def test_a_folder_that_cannot_be_listed_is_told(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed = album / "closed"
    closed.mkdir()
    scandir = os.scandir

    def guarded(path: str | Path = ".") -> object:  # tests may run as root, who may list anything
        if Path(path) == closed:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)
    assert list_photos(album).problems == [("closed", "cannot be listed: Permission denied")]
    assert plan([album], tmp_path / "out").problems == ((str(closed), "cannot be listed: Permission denied"),)
    with pytest.raises(UsageError, match="closed cannot be listed: Permission denied"):
        pairing.photos_in(album)
    assert check(album, decode=False).problems == ["closed: cannot be listed: Permission denied"]
    with pytest.raises(DataError, match="closed cannot be listed: Permission denied"):
        read("folder", closed)


def test_a_real_folder_beats_a_link_to_it(tmp_path: Path) -> None:
    (tmp_path / "x" / "real").mkdir(parents=True)
    (tmp_path / "x" / "real" / "1.jpg").touch()
    (tmp_path / "a").symlink_to(tmp_path / "x" / "real")
    (tmp_path / "x" / "real" / "round").symlink_to(tmp_path)
    (tmp_path / "outside").symlink_to(tmp_path.parent / f"{tmp_path.name}-other")
    (tmp_path.parent / f"{tmp_path.name}-other").mkdir()
    (tmp_path.parent / f"{tmp_path.name}-other" / "2.jpg").touch()
    assert list(list_photos(tmp_path).photos) == ["x/real/1.jpg", "outside/2.jpg"]
