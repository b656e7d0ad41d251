from __future__ import annotations

from pathlib import Path

import pytest

from halfmask.datasets import Pair, lfw_pairs, read, read_pairs
from halfmask.errors import DataError


@pytest.fixture
def lfw(tmp_path: Path) -> Path:
    for name, count in (("Ann_Lee", 3), ("Bo", 2), ("Cy", 1)):
        folder = tmp_path / "lfw-deepfunneled" / name
        folder.mkdir(parents=True)
        for n in range(count):
            (folder / f"{name}_{n + 1:04d}.jpg").touch()
    return tmp_path


def key(name: str, n: int) -> str:
    return f"lfw-deepfunneled/{name}/{name}_{n:04d}.jpg"


def test_folds(lfw: Path) -> None:
    (lfw / "pairs.txt").write_text("2\t1\nAnn_Lee\t1\t3\nBo\t2\tCy\t1\nBo\t1\t2\nAnn_Lee\t2\tCy\t1\n")
    pairs = lfw_pairs(lfw)
    assert pairs == [
        Pair(key("Ann_Lee", 1), key("Ann_Lee", 3), True, 0),
        Pair(key("Bo", 2), key("Cy", 1), False, 0),
        Pair(key("Bo", 1), key("Bo", 2), True, 1),
        Pair(key("Ann_Lee", 2), key("Cy", 1), False, 1),
    ]
    assert pairs.problems == []


def test_view_one_has_no_folds(lfw: Path) -> None:
    (lfw / "pairsDevTrain.txt").write_text("1\nBo\t1\t2\nBo\t1\tCy\t1\n")
    pairs = lfw_pairs(lfw, "pairsDevTrain.txt")
    assert [(p.same, p.fold) for p in pairs] == [(True, None), (False, None)]


def test_bad_rows_are_named_and_move_no_fold(lfw: Path) -> None:
    (lfw / "pairs.txt").write_text("2 1\nAnn_Lee 1 9\nBo 2\nBo 1 2\nAnn_Lee 2 Dee 1\nBo 1 2\n")
    pairs = lfw_pairs(lfw)
    assert [(p.a, p.fold) for p in pairs] == [(key("Bo", 1), 1), (key("Bo", 1), 2)]
    assert [p.partition(":")[0] for p in pairs.problems] == [
        "pairs.txt",
        "pairs.txt line 2",
        "pairs.txt line 3",
        "pairs.txt line 5",
    ]
    assert "promises 4 pairs, it has 5 rows" in pairs.problems[0]
    assert "Ann_Lee_0009" in pairs.problems[1]


@pytest.mark.parametrize("text", ["", "Ann_Lee 1 2\n", "ten 300\n", "0 300\n"])
def test_header_that_is_none(lfw: Path, text: str) -> None:
    (lfw / "pairs.txt").write_text(text)
    with pytest.raises(DataError, match="expected folds and pairs a fold"):
        lfw_pairs(lfw)


def test_no_pairs_file(lfw: Path) -> None:
    with pytest.raises(DataError, match=r"pairs\.txt is not there"):
        lfw_pairs(lfw)


def test_csv(lfw: Path) -> None:
    bo, other, cy = key("Bo", 1), key("Bo", 2), key("Cy", 1)
    rows = ["A,B,Same,Fold", f"{bo},{other},TRUE,3", f"{bo},{cy},0,"]
    rows += [f"{bo},{cy},maybe,", "x.jpg,y.jpg,1,", f"{bo},{cy},0,last"]
    (lfw / "p.csv").write_text("\n".join(rows))
    pairs = read_pairs(lfw / "p.csv", read("lfw", lfw))
    assert pairs == [Pair(bo, other, True, 3), Pair(bo, cy, False, None)]
    assert [p.partition(":")[0] for p in pairs.problems] == ["p.csv line 4", "p.csv line 5", "p.csv line 6"]
    assert "no picture x.jpg and no y.jpg" in pairs.problems[1]


def test_csv_without_a_column(lfw: Path) -> None:
    (lfw / "p.csv").write_text("left,right\n1,2\n")
    with pytest.raises(DataError, match="its columns are left, right, expected a, b, same"):
        read_pairs(lfw / "p.csv", read("lfw", lfw))
    with pytest.raises(DataError, match="cannot read the label file"):
        read_pairs(lfw / "absent.csv", read("lfw", lfw))


def test_real_pairs(shared_data: Path) -> None:
    pairs = lfw_pairs(shared_data / "lfw")
    assert pairs.problems == []
    assert sum(p.same for p in pairs) == sum(not p.same for p in pairs) == 1500
    for fold in range(5):
        assert [p.same for p in pairs if p.fold == fold] == [True] * 300 + [False] * 300
    identity = {row.key: row.identity for row in read("lfw", shared_data / "lfw")}
    assert all((identity[p.a] == identity[p.b]) == p.same for p in pairs)
