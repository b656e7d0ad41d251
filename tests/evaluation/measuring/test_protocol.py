"""The measuring protocol and its tables, with stand-in referees whose answers are known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_ins import Brightness

from halfmask.datasets.pairs import Pair
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, WeightsError
from halfmask.evaluation.measuring import protocol, summary
from halfmask.evaluation.referees import Referees, load
from halfmask.photos.detect import Detector, Face


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


def protected(table: Table, folder: Path, change: Callable[[np.ndarray], np.ndarray]) -> dict[str, Path]:
    """A protected version of every picture that can be read, as `halfmask protect` would leave them."""
    folder.mkdir()
    files = {}
    for row in table:
        files[row.key] = folder / row.key
        pixels = cv2.imread(str(row.path))
        if pixels is not None:
            cv2.imwrite(str(folder / row.key), change(pixels))
    return files


def lighter(pixels: np.ndarray) -> np.ndarray:
    return np.clip(pixels.astype(int) + 50, 0, 255).astype(np.uint8)


def same(pixels: np.ndarray) -> np.ndarray:
    return pixels


def erased(pixels: np.ndarray) -> np.ndarray:
    return np.zeros_like(pixels)


def run(table: Table, folder: Path, **variants: dict[str, Path]) -> dict[str, protocol.Measured]:
    referee = Brightness()
    referees = Referees({"b": referee}, {"b": referee})
    return protocol.measure(table, variants, referees=referees, folder=folder, quiet=True)


def test_measures_photos_as_a_user_gets_them(table: Table, tmp_path: Path) -> None:
    files = protected(table, tmp_path / "l", lighter), protected(table, tmp_path / "s", same)
    found = run(table, tmp_path / "out", lighter=files[0], nothing=files[1])
    before, kept, light = found["before"], found["nothing"], found["lighter"]
    assert before.enrolled.tolist() == [True] * 6 + [False] * 2  # the wall and the broken file have no face
    assert [key for key, _ in before.problems] == ["bad.jpg"]
    for column, values in before.columns.items():
        assert np.array_equal(values, kept.columns[column], equal_nan=True)
    for column in ("ssim", "mssim"):
        assert np.all(kept.columns[column][:6] == 1)
        assert np.all(light.columns[column][:6] < 1)
        assert np.isnan(light.columns[column][6:]).all()
    assert np.all(light.columns["linf"][:6] == pytest.approx(50 / 255, abs=0.02))
    assert np.all(light.columns["p_male/b"][:6] < before.columns["p_male/b"][:6])
    face, again = before.face(0), Detector()(cv2.imread(str(table[0].path))[..., ::-1])[0]
    assert face is not None
    assert face.box == pytest.approx(again.box)
    assert np.allclose(face.points, again.points)
    assert before.face(6) is None


def test_a_face_that_is_lost_counts(table: Table, tmp_path: Path) -> None:
    found = run(table, tmp_path / "out", erased=protected(table, tmp_path / "e", erased))
    assert not found["erased"].enrolled.any()
    rows = summary.match_rows(found, {"b": Brightness()}, fmrs=(0.5,))
    assert rows[0]["tmr@0.5"] > 0
    assert rows[1]["tmr@0.5"] == 0


def test_a_protected_file_that_is_absent_or_broken_is_a_lost_face(table: Table, tmp_path: Path) -> None:
    files = protected(table, tmp_path / "s", same)
    files["0.png"].unlink()
    files["1.png"].write_bytes(b"text")
    found = run(table, tmp_path / "out", x=files)["x"]
    assert np.flatnonzero(found.enrolled).tolist() == [2, 3, 4, 5]
    assert found.attempted[:2].all()
    assert {key for key, _ in found.problems} == {"0.png", "1.png"}


def test_resumes_from_its_parts(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "_PART", 3)
    asked: list[int] = []

    class Dies(Brightness):
        def p_male(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
            asked.append(len(images))
            if len(asked) == 2:
                raise KeyboardInterrupt
            return super().p_male(images, faces)

    referees = Referees({"b": Dies()}, {"b": Brightness()})

    def measured(folder: str) -> protocol.Measured:
        return protocol.measure(table, {}, referees=referees, folder=tmp_path / folder, quiet=True)["before"]

    with pytest.raises(KeyboardInterrupt):
        measured("out")
    again = measured("out")
    assert asked == [3, 3, 3]  # the first part was kept, the second made anew; the last has no face
    whole = measured("other")
    assert len(asked) == 5
    for column, values in whole.columns.items():
        assert np.array_equal(values, again.columns[column], equal_nan=True)
    measured("out")
    assert len(asked) == 5
    cv2.imwrite(str(table[0].path), lighter(cv2.imread(str(table[0].path))))
    measured("out")  # another picture by the same name is not taken for the old one
    assert len(asked) > 5


def test_a_referee_that_fails_on_a_picture_takes_no_other_along(table: Table, tmp_path: Path) -> None:
    class Picky(Brightness):
        def p_male(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
            if any(image.shape[1] == 420 for image in images):
                raise ValueError("420 pixels are unlucky")
            return super().p_male(images, faces)

    referees = Referees({"b": Picky()}, {"b": Brightness()})
    found = protocol.measure(table, {}, referees=referees, folder=tmp_path / "out", quiet=True)["before"]
    assert np.flatnonzero(found.enrolled).tolist() == [0, 1, 3, 4, 5]
    assert any("420 pixels are unlucky" in reason and key == "2.png" for key, reason in found.problems)


def test_processes_say_what_one_does(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        referees = load(only=["face-api"])
    except WeightsError as error:
        pytest.skip(f"needs a referee's weights: {error}")
    monkeypatch.setattr(protocol, "_PART", 3)
    one, two = (
        protocol.measure(table, {}, referees=referees, folder=tmp_path / str(n), workers=n, quiet=True)["before"]
        for n in (1, 2)
    )
    assert set(one.columns) == {"p_male/face-api", "age/face-api", "points", "box"}
    for column, values in one.columns.items():
        assert np.allclose(values, two.columns[column], equal_nan=True, atol=1e-5)


def test_gray_is_measured_on_gray_photos(table: Table, tmp_path: Path) -> None:
    seen: list[np.ndarray] = []

    class Looks(Brightness):
        def p_male(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
            seen.extend(images)
            return super().p_male(images, faces)

    referees = Referees({"b": Looks()}, {})
    protocol.measure(table, {}, referees=referees, folder=tmp_path / "out", gray=True, quiet=True)
    assert seen
    assert all(np.ptp(image, axis=2).max() == 0 for image in seen)


def test_no_face_at_all_and_a_full_disk_are_told(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(DataError, match="shows a face"):
        run(table.where(lambda r: r.key == "wall.png"), tmp_path / "out")
    with pytest.raises(DataError, match="lacks, first: other"):
        run(table, tmp_path / "out", x={"other.png": tmp_path / "other.png"})

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(DataError, match=r"No space left on device.*make room"):
        run(table, tmp_path / "new")


def test_rows_agree_with_counting(table: Table, tmp_path: Path) -> None:
    found = run(table, tmp_path / "out", lighter=protected(table, tmp_path / "l", lighter))
    row = summary.gender_rows(found, resamples=20)[0]
    p, y = found["before"].columns["p_male/b"][:6], found["before"].gender[:6]
    assert row["error"] == pytest.approx(np.mean((p >= 0.5) != (y == 1)))
    assert (row["n"], row["lost"]) == (6, 0)
    pairs = [Pair("0.png", "1.png", True, 0), Pair("0.png", "2.png", False, 0), Pair("1.png", "4.png", False, 0)]
    matched = summary.match_rows(found, {"b": Brightness()}, pairs, fmrs=(0.5,))
    e = found["before"].columns["embed/b"]
    impostors = sorted([float(e[0] @ e[2]), float(e[1] @ e[4])])
    assert matched[0]["tmr@0.5"] == float(float(e[0] @ e[1]) > impostors[0])
    with pytest.raises(DataError, match="were not measured"):
        summary.match_rows(found, {"b": Brightness()}, [Pair("0.png", "absent.png", True, 0)])


def test_a_gallery_is_measured_before_only(table: Table, tmp_path: Path) -> None:
    files = protected(table, tmp_path / "l", lighter)
    some = {key: files[key] for key in ("1.png", "2.png", "bad.jpg")}
    found = run(table, tmp_path / "out", x=some, y=some)
    assert found["before"].enrolled[:6].all()
    for name in ("x", "y"):
        assert np.flatnonzero(found[name].enrolled).tolist() == [1, 2]
        assert np.flatnonzero(found[name].attempted).tolist() == [1, 2, 7]
    pairs = [Pair("0.png", "1.png", True, 0), Pair("2.png", "3.png", True, 0), Pair("1.png", "4.png", False, 0)]
    pairs.append(Pair("0.png", "4.png", False, 0))
    referee = Brightness()
    rows = summary.match_rows(found, {"b": referee}, pairs, fmrs=(0.5,))
    assert [r["genuine"] for r in rows] == [1, 1, 1]  # picture 3 was not attempted
    assert {r["n"] for r in summary.gender_rows(found, resamples=5)} == {2}
    everyone = summary.match_rows(found, {"b": referee}, fmrs=(0.5,))
    assert [r["genuine"] for r in everyone] == [2, 2, 2]


def test_only_the_same_face_counts_as_found_again() -> None:
    points = np.zeros((5, 2), np.float32)
    before = Face((100, 100, 80, 80), points, 0.9)
    moved = Face((110, 95, 80, 80), points, 0.5)
    other = Face((300, 100, 80, 80), points, 0.99)
    assert protocol.same_face([other, moved], before) is moved
    assert protocol.same_face([other], before) is None
    assert protocol.same_face([], before) is None
