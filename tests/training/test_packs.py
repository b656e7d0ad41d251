"""A training set in one file: what comes back, and what is refused."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import DataError
from halfmask.training.data import open_faces
from halfmask.training.matcher import people_of
from halfmask.training.packs import read_pack, write_pack


@pytest.fixture
def crops(rng: np.random.Generator) -> Crops:
    small = rng.integers(40, 200, (5, 6, 6, 3)).astype(np.uint8)
    pixels = np.stack([cv2.resize(face, (144, 144), interpolation=cv2.INTER_CUBIC) for face in small])
    rows = [Row(f"a/{i}.png", Path(f"somewhere/a/{i}.png"), None, i % 2, age_range=(20, 29)) for i in range(4)]
    return Crops(pixels, [*rows, Row("b.png", Path("somewhere/b.png"), "p", None, age=31.0, race="x")], [])


def test_a_pack_gives_back_faces_and_labels(crops: Crops, tmp_path: Path) -> None:
    size = write_pack(tmp_path / "data.npz", {"one": crops, "two": Crops(crops.pixels[:1], crops.rows[:1], [])})
    assert size == (tmp_path / "data.npz").stat().st_size < crops.pixels.nbytes / 4
    assert b"somewhere" not in (tmp_path / "data.npz").read_bytes()
    again = read_pack(tmp_path / "data.npz", "one", 144)
    assert np.abs(again.pixels.astype(int) - crops.pixels).mean() < 4
    labels = ("key", "identity", "gender", "age", "age_range", "race", "split")
    assert [[getattr(r, n) for n in labels] for r in again.rows] == [
        [getattr(r, n) for n in labels] for r in crops.rows
    ]
    faces = open_faces([{"pack": str(tmp_path / "data.npz"), "part": "one"}], lambda row: row.gender == 1, size=112)
    assert [row.key for row in faces.rows] == ["a/1.png", "a/3.png"]
    assert faces.pixels(np.arange(2)).shape == (2, 112, 112, 3)
    assert {row.path.as_posix() for row in again.rows} == {
        f"{tmp_path.as_posix()}/data.npz/one/{r.key}" for r in crops.rows
    }


def test_better_quality_is_nearer_and_larger(crops: Crops, tmp_path: Path) -> None:
    low, high = (write_pack(tmp_path / f"{q}.npz", {"one": crops}, q) for q in (60, 95))
    off = [
        np.abs(read_pack(tmp_path / f"{q}.npz", "one", 144).pixels.astype(int) - crops.pixels).mean() for q in (60, 95)
    ]
    assert low < high
    assert off[0] > off[1]


def test_people_of_two_parts_are_not_one(crops: Crops, tmp_path: Path) -> None:
    rows = [Row(f"{i}.png", Path(f"{i}.png"), identity="7") for i in range(2)]
    write_pack(tmp_path / "data.npz", {name: Crops(crops.pixels[:2], rows, []) for name in ("one", "two")})
    faces = open_faces([{"pack": str(tmp_path / "data.npz"), "part": name} for name in ("one", "two")])
    assert [p.tolist() for p in people_of(faces)] == [[0, 1], [2, 3]]


def test_what_is_no_pack_is_refused(crops: Crops, tmp_path: Path) -> None:
    write_pack(tmp_path / "data.npz", {"one": crops})
    with pytest.raises(DataError, match="no part 'two'; it has: one"):
        read_pack(tmp_path / "data.npz", "two", 112)
    (tmp_path / "other.npz").write_bytes(b"nothing")
    with pytest.raises(DataError, match="cannot be read as a pack"):
        read_pack(tmp_path / "other.npz", "one", 112)
