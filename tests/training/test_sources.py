"""What a config's data source means: splits, published lists, held-out parts, and what is refused."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from halfmask.errors import DataError, UsageError
from halfmask.training.sources import source_table


def put(root: Path, *names: str) -> None:
    """Empty files: a reader opens no picture."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def fairface(root: Path, train: int = 100, val: int = 10) -> dict[str, Any]:
    for part, count in (("train", train), ("val", val)):
        put(root, *(f"{part}/{i}.jpg" for i in range(count)))
        lines = [f"{part}/{i}.jpg,20-29,{('Male', 'Female')[i % 2]},White,True" for i in range(count)]
        text = "\n".join(["file,age,gender,race,service_test", *lines])
        (root / f"fairface_label_{part}.csv").write_text(text)
    return {"layout": "fairface", "root": str(root)}


def splits(source: dict[str, Any]) -> dict[str, str | None]:
    return {row.key: row.split for row in source_table(source)}


def test_a_tenth_of_train_is_held_out_and_valid_becomes_test(tmp_path: Path) -> None:
    plain = fairface(tmp_path)
    held = splits({**plain, "hold_out": 0.1})
    assert Counter(held.values()) == {"train": 90, "valid": 10, "test": 10}
    assert {k for k, s in held.items() if s == "test"} == {k for k in held if k.startswith("val/")}
    table = source_table({**plain, "hold_out": 0.1, "splits": ["valid"]})
    assert Counter(row.gender for row in table if row.split == "valid") == {0: 5, 1: 5}
    assert splits({**plain, "hold_out": 0.1}) == held  # drawn by the names, not by chance
    assert Counter(splits(plain).values()) == {"train": 100, "valid": 10}


def test_data_without_a_split_are_split_by_the_same_draw(tmp_path: Path) -> None:
    put(tmp_path, *(f"CACD2000/20_Person_{chr(65 + p)}_{i:04d}.jpg" for p in range(20) for i in range(3)))
    source = {"layout": "cacd", "root": str(tmp_path)}
    assert set(splits(source).values()) == {None}
    found = splits({**source, "splits": ["train"]})
    assert Counter(found.values()) == {"train": 48, "valid": 6, "test": 6}
    people: dict[str, set[str | None]] = {}
    for key, split in found.items():
        people.setdefault(key[: -len("0000.jpg")], set()).add(split)
    assert all(len(s) == 1 for s in people.values())


@pytest.mark.parametrize(
    ("layout", "pictures", "header", "names"),
    [
        ("morph2", "Album2/{:06d}_1M54.JPG", ",id_num", "{:06d}_1M54.jpg,9055"),
        ("afad", "AFAD-Full/39/112/{}-0.jpg", "file,path,age", "{0}-0.jpg,39/112/{0}-0.jpg,24"),
        ("cacd", "CACD2000/53_Brocheré_{:04d}.jpg", ",file,age", "7,53_Brocheré_{:04d}.jpg,39"),
        ("utkface", "UTKFace/3{}_1_0_2017.jpg.chip.jpg", ",file,age", "7,3{}_1_0_2017.jpg.chip.jpg,3"),
    ],
)
def test_lists_as_coral_publishes_them(tmp_path: Path, layout: str, pictures: str, header: str, names: str) -> None:
    put(tmp_path, *(pictures.format(i) for i in range(8)))
    for part, numbers in (("train", (0, 1, 2)), ("valid", (3,)), ("test", (4, 5, 99))):
        lines = [header, *(names.format(i) for i in numbers)]
        (tmp_path / f"{part}.list").write_text("\n".join(lines) + "\n", "utf-8")
    lists = {part: str(tmp_path / f"{part}.list") for part in ("train", "valid", "test")}
    source = {"layout": layout, "root": str(tmp_path), "lists": lists}
    expected = ["train"] * 3 + ["valid"] + ["test"] * 2 + [None] * 2
    assert splits(source) == {pictures.format(i): split for i, split in enumerate(expected)}
    assert "test.list: 1 of 3 pictures listed as test are not there" in source_table(source).problems


def test_a_validation_list_may_go_back_to_train_and_be_drawn_anew(tmp_path: Path) -> None:
    put(tmp_path, *(f"AFAD-Full/{a}/111/{i}.jpg" for a in (20, 30) for i in range(50)))
    for part, age, numbers in (("train", 20, range(50)), ("valid", 30, range(40)), ("test", 30, range(40, 50))):
        (tmp_path / f"{part}.list").write_text(
            "\n".join(["file,path", *(f"{i}.jpg,{age}/111/{i}.jpg" for i in numbers)])
        )
    lists = {"train": [str(tmp_path / f"{p}.list") for p in ("train", "valid")], "test": str(tmp_path / "test.list")}
    found = splits({"layout": "afad", "root": str(tmp_path), "lists": lists, "hold_out": 0.1})
    assert Counter(found.values()) == {"train": 81, "valid": 9, "test": 10}
    assert {k.split("/")[1] for k, s in found.items() if s == "valid"} == {"20", "30"}
    assert all(found[f"AFAD-Full/30/111/{i}.jpg"] == "test" for i in range(40, 50))


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"path": "x"}, UsageError, r"unknown key \['path'\].*hold_out"),
        ({"root": None}, UsageError, "lacks root"),
        ({"splits": "train"}, UsageError, "expected a list of train, valid, test"),
        ({"splits": ["val"]}, UsageError, "expected a list of train, valid, test"),
        ({"hold_out": 10}, UsageError, "hold_out is 10"),
        ({"hold_out": True}, UsageError, "hold_out is True"),
        ({"lists": "train.csv"}, UsageError, "expected the CSV files"),
        ({"lists": {"val": "x.csv"}}, UsageError, "expected the CSV files"),
        ({"lists": {"train": "absent.csv"}}, DataError, "there is no list absent.csv"),
    ],
)
def test_sources_that_make_no_sense_are_refused(
    tmp_path: Path, change: dict[str, Any], error: type[Exception], match: str
) -> None:
    source = {k: v for k, v in {**fairface(tmp_path), **change}.items() if v is not None}
    with pytest.raises(error, match=match):
        source_table(source)


def test_holding_out_of_data_that_have_all_three_is_refused(tmp_path: Path) -> None:
    put(tmp_path, *(f"CACD2000/20_Person_{i:04d}.jpg" for i in range(9)), "CACD2000/21_B_0001.jpg")
    with pytest.raises(UsageError, match="no split"):
        source_table({"layout": "cacd", "root": str(tmp_path), "hold_out": 0.1})
    put(tmp_path, *(f"CACD2000/20_{chr(65 + i)}_0001.jpg" for i in range(20)))
    with pytest.raises(UsageError, match="train and one other part"):
        source_table({"layout": "cacd", "root": str(tmp_path), "splits": ["train"], "hold_out": 0.1})


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        (["file", "b.jpg"], "names none of the 110"),
        (["picture", "1.jpg"], "columns picture; expected a first line such as file. Known are for file: path, file"),
        (["file", "1.jpg"], "2 pictures are called so"),
        (["path", "train/1.jpg"], "listed as train and.*as test"),
    ],
)
def test_lists_that_do_not_fit_are_refused(tmp_path: Path, lines: list[str], match: str) -> None:
    source = fairface(tmp_path)
    (tmp_path / "one.txt").write_text("path\ntrain/1.jpg\n")
    (tmp_path / "two.txt").write_text("\n".join(lines))
    lists = {"train": str(tmp_path / "one.txt"), "test": str(tmp_path / "two.txt")}
    with pytest.raises(DataError, match=match):
        source_table({**source, "lists": lists})
