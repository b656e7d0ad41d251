"""The measuring protocol and its tables, with stand-in referees whose answers are known."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.datasets.pairs import Pair
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, MetricError
from halfmask.evaluation import protocol, tables
from halfmask.photos.detect import Detector, Face


class Brightness:
    """Says "male" of dark pictures; its descriptor is a 4 x 4 thumbnail."""

    name = "brightness"

    def p_male(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        return np.array([1 - i.mean() / 255 for i in images], np.float32)

    def embed(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        small = np.stack([cv2.resize(i, (4, 4), interpolation=cv2.INTER_AREA).ravel() for i in images])
        centred = small - small.mean(1, keepdims=True, dtype=np.float32)
        return (centred / np.linalg.norm(centred, axis=1, keepdims=True)).astype(np.float32)

    def score(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return (a * b).sum(1)

    def score_matrix(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a @ b.T


@pytest.fixture
def table(tmp_path: Path, astronaut: np.ndarray, detector: Detector) -> Table:
    rows = []
    for i in range(6):
        path = tmp_path / f"{i}.png"
        photo = astronaut[:400, : 400 + 10 * i] * (0.9 if i % 2 else 0.6)
        cv2.imwrite(str(path), photo[..., ::-1].astype(np.uint8))
        rows.append(Row(f"{i}.png", path, f"p{i // 2}", int(i % 2 == 0)))
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((100, 100, 3), 99, np.uint8))
    rows.append(Row("wall.png", tmp_path / "wall.png", "p9", 1))
    (tmp_path / "bad.jpg").write_bytes(b"text")
    rows.append(Row("bad.jpg", tmp_path / "bad.jpg", "p9", 0))
    return Table("demo", tmp_path, rows)


def lighter(crops: np.ndarray, gender: np.ndarray) -> np.ndarray:
    return np.full_like(crops, 0.2)


def run(table: Table, folder: Path, **variants: protocol.Variant) -> dict[str, protocol.Measured]:
    referee = Brightness()
    return protocol.measure(table, variants, genders={"b": referee}, matchers={"b": referee}, folder=folder, quiet=True)


def test_measures_photos_as_a_user_gets_them(table: Table, tmp_path: Path) -> None:
    found = run(table, tmp_path / "out", lighter=lighter, nothing=lambda c, g: np.zeros_like(c))
    before, same, light = found["before"], found["nothing"], found["lighter"]
    assert before.enrolled.tolist() == [True] * 6 + [False] * 2  # the wall and the broken file have no face
    for column, values in before.columns.items():
        if column not in ("ssim", "psnr"):
            assert np.array_equal(values, same.columns[column], equal_nan=True)
    assert np.all(same.columns["ssim"][:6] == 1)
    assert np.all(light.columns["p_male/b"][:6] < before.columns["p_male/b"][:6])
    assert np.all(light.columns["ssim"][:6] < 1)
    assert np.isnan(light.columns["ssim"][6:]).all()


def test_a_face_that_is_lost_counts(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_again", lambda found, before: None)  # as if no face were there any more
    found = run(table, tmp_path / "out", erased=lighter)
    assert not found["erased"].enrolled.any()
    rows = tables.match_rows(found, {"b": Brightness()}, fmrs=(0.5,))
    assert rows[0]["tmr@0.5"] > 0
    assert rows[1]["tmr@0.5"] == 0
    with pytest.raises(MetricError):
        tables.gender_rows(found, resamples=5)


def test_resumes_from_its_parts(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_CHUNK", 3)
    calls: list[int] = []

    def dies(crops: np.ndarray, gender: np.ndarray) -> np.ndarray:
        calls.append(len(crops))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return lighter(crops, gender)

    with pytest.raises(KeyboardInterrupt):
        run(table, tmp_path / "out", x=dies)
    again = run(table, tmp_path / "out", x=dies)
    assert calls == [3, 3, 3]  # the first part was kept, the second made anew; the last has no face
    whole = run(table, tmp_path / "other", x=lighter)
    for column, values in whole["x"].columns.items():
        assert np.array_equal(values, again["x"].columns[column], equal_nan=True)
    with pytest.raises(DataError, match="other pictures, variants or referees"):
        run(table, tmp_path / "out", y=lighter)


def test_rows_agree_with_counting(table: Table, tmp_path: Path) -> None:
    found = run(table, tmp_path / "out", lighter=lighter)
    row = tables.gender_rows(found, resamples=20)[0]
    p, y = found["before"].columns["p_male/b"][:6], found["before"].gender[:6]
    assert row["error"] == pytest.approx(np.mean((p >= 0.5) != (y == 1)))
    assert (row["n"], row["lost"]) == (6, 0)
    pairs = [Pair("0.png", "1.png", True, 0), Pair("0.png", "2.png", False, 0), Pair("1.png", "4.png", False, 0)]
    matched = tables.match_rows(found, {"b": Brightness()}, pairs, fmrs=(0.5,))
    e = found["before"].columns["embed/b"]
    impostors = sorted([float(e[0] @ e[2]), float(e[1] @ e[4])])
    assert matched[0]["tmr@0.5"] == float(float(e[0] @ e[1]) > impostors[0])
    with pytest.raises(DataError, match="were not measured"):
        tables.match_rows(found, {"b": Brightness()}, [Pair("0.png", "absent.png", True, 0)])


def test_markdown_has_a_cell_for_each_column() -> None:
    text = tables.markdown([{"a": 1.0, "b": 0.25}], {"b": "B|.0%", "a": "A|.1f"})
    assert text.splitlines() == ["| B | A |", "|---|---|", "| 25% | 1.0 |"]


def test_a_gallery_is_measured_before_only(table: Table, tmp_path: Path) -> None:
    referee = Brightness()
    found = protocol.measure(
        table,
        {"x": lighter, "y": lighter},
        genders={"b": referee},
        matchers={"b": referee},
        folder=tmp_path / "out",
        only={"1.png", "2.png", "bad.jpg"},
        quiet=True,
    )
    assert found["before"].enrolled[:6].all()
    for name in ("x", "y"):
        assert np.flatnonzero(found[name].enrolled).tolist() == [1, 2]
    pairs = [Pair("0.png", "1.png", True, 0), Pair("2.png", "3.png", True, 0), Pair("1.png", "4.png", False, 0)]
    pairs.append(Pair("0.png", "4.png", False, 0))
    rows = tables.match_rows(found, {"b": referee}, pairs, fmrs=(0.5,))
    assert [r["genuine"] for r in rows] == [1, 1, 1]  # picture 3 was not attempted
    assert {r["n"] for r in tables.gender_rows(found, resamples=5)} == {2}
    everyone = tables.match_rows(found, {"b": referee}, fmrs=(0.5,))
    assert [r["genuine"] for r in everyone] == [2, 2, 2]


def test_only_the_same_face_counts_as_found_again() -> None:
    points = np.zeros((5, 2), np.float32)
    before = Face((100, 100, 80, 80), points, 0.9)
    moved = Face((110, 95, 80, 80), points, 0.5)
    other = Face((300, 100, 80, 80), points, 0.99)
    assert protocol._again([other, moved], before) is moved
    assert protocol._again([other], before) is None
    assert protocol._again([], before) is None
