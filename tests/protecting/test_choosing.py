"""Which faces are changed, what is said of the others, and ``halfmask faces``."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import halfmask
from halfmask.errors import PhotoError, UsageError
from halfmask.photos.detect import Detector, Face
from halfmask.protecting.options import Options

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def couple(portrait: np.ndarray) -> np.ndarray:
    """A smaller face on the left (180 pixels of photo) and a larger one on the right."""
    small = np.asarray(Image.fromarray(portrait).resize((180, 180), Image.Resampling.LANCZOS))
    return np.hstack([np.pad(small, ((0, 70), (0, 0), (0, 0))), portrait])


@pytest.fixture
def photo(couple: np.ndarray, tmp_path: Path) -> Path:
    path = tmp_path / "couple.png"
    Image.fromarray(couple).save(path)
    return path


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_the_change_lands_on_a_turned_face(portrait: np.ndarray, quarter: int) -> None:
    upright = halfmask.protect(portrait, method="san", gender="female", score=False)
    turned = np.ascontiguousarray(np.rot90(portrait, quarter))
    result = halfmask.protect(turned, method="san", gender="female", score=False)
    (face,) = result.faces
    assert (face.changed, face.unprotected) == (True, None)
    back = np.rot90(result.image, -quarter).astype(float) - portrait
    expected = upright.image.astype(float) - portrait
    assert np.corrcoef(back.ravel(), expected.ravel())[0, 1] > 0.95


@pytest.mark.usefixtures("standin")
def test_one_turned_face_beside_an_upright_one(portrait: np.ndarray) -> None:
    both = np.hstack([portrait, np.ascontiguousarray(np.rot90(portrait, 2))])
    result = halfmask.protect(both, gender="male", score=False)
    assert [face.changed for face in result.faces] == [True, True]
    below = [face.points[3:, 1].mean() > face.points[:2, 1].mean() for face in result.faces]
    assert sorted(below) == [False, True]  # one mouth is above its eyes


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(
    ("asked", "changed"),
    [
        ({"faces": 1}, [True, False]),
        ({"faces": "2"}, [True, True]),
        ({"only": [2]}, [False, True]),
        ({"only": ["1"]}, [True, False]),
        ({"skip": [1]}, [False, True]),
        ({"only": [(70.0, 90.0)]}, [False, True]),
        ({"skip": ["70,90"]}, [True, False]),
        ({"min_face": 95}, [True, False]),
    ],
)
def test_choices(couple: np.ndarray, asked: dict[str, object], changed: list[bool]) -> None:
    result = halfmask.protect(couple, gender="male", score=False, **asked)  # type: ignore[arg-type]
    assert [face.changed for face in result.faces] == changed
    assert [face.unprotected is None for face in result.faces] == changed
    assert [face.left_out for face in result.faces] == [not c for c in changed]
    if not all(changed):
        left = result.faces[changed.index(False)]
        x, y, w, h = (round(v) for v in left.box)
        assert np.array_equal(result.image[y : y + h, x : x + w], couple[y : y + h, x : x + w])


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"only": [3]}, "there is no face 3 in the array, which has: 1 at "),
        ({"skip": [(5, 245)]}, "there is no face at 5,245 in the array"),
        ({"min_face": 300}, "none of the 2 faces in the array is to be changed: it is smaller than 300 pixels"),
    ],
)
def test_no_such_face(couple: np.ndarray, asked: dict[str, object], said: str) -> None:
    with pytest.raises(PhotoError, match=said):
        halfmask.protect(couple, score=False, **asked)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"faces": "some"}, "faces is 'some'; expected one of: all, largest, or a number from 1 on"),
        ({"faces": 0}, "faces is 0"),
        ({"only": ["left"]}, "only is 'left'; expected a place"),
        ({"skip": [0]}, "skip is 0"),
        ({"only": [(1, 2, 3)]}, r"only is \(1, 2, 3\)"),
        ({"only": [1], "skip": [1]}, "only and skip both name 1"),
        ({"only": [1], "faces": "largest"}, "give one of them"),
        ({"min_face": 5}, "the smallest face is 5 pixels"),
        ({"detector_threshold": 0.05}, "threshold is 0.05"),
    ],
)
def test_choices_that_make_no_sense(asked: dict[str, object], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        Options(**asked)  # type: ignore[arg-type]


@pytest.mark.usefixtures("standin")
def test_a_box_of_the_users(portrait: np.ndarray) -> None:
    (found,) = halfmask.protect(portrait, gender="male", score=False).faces
    wall = np.pad(portrait, ((0, 0), (0, 250), (0, 0)), constant_values=120)
    result = halfmask.protect(wall, gender="male", score=False, boxes=[(330, 60, 90, 110)])
    assert sorted((face.origin, face.changed) for face in result.faces) == [("box alone", True), ("detector", True)]
    result = halfmask.protect(portrait, gender="male", score=False, boxes=[found.box], detector_threshold=0.99)
    (face,) = result.faces
    assert (face.origin, face.changed) == ("box", True)
    assert np.abs(face.points - found.points).max() < 12
    with pytest.raises(UsageError, match="is none; expected x, y, width, height"):
        halfmask.protect(portrait, boxes=[(1, 2, 3)])  # type: ignore[list-item]


def test_what_is_left_is_said(run: Run, photo: Path, tmp_path: Path) -> None:
    report, out = tmp_path / "r.json", tmp_path / "out.png"
    common = ("protect", photo, "-o", out, "--gender", "male", "--overwrite", "--json", report)
    code, said, _ = run(*common, "--skip", "1")
    assert code == 0  # it was asked for
    assert "1 face UNPROTECTED: it was to be skipped" in said
    assert "searched for faces of 22 pixels and more" in said
    told = json.loads(report.read_text("utf-8"))
    assert told["options"]["skip"] == [1]
    assert told["photos"][0]["smallest_face"] == told["summary"]["smallest_face"] == 22
    assert [face["unprotected"] for face in told["photos"][0]["faces"]] == ["it was to be skipped", None]
    assert told["summary"]["unprotected"] == {"it was to be skipped": 1}
    assert run(*common, "--faces", "1")[0] == 0


def test_a_face_in_doubt_counts_as_unprotected(
    run: Run, photo: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    search = Detector.__call__

    def unsure(self: Detector, image: np.ndarray, boxes: object = ()) -> list[Face]:
        first, *rest = search(self, image)
        return [Face(first.box, first.points, first.score, doubt="which way up it is cannot be told"), *rest]

    monkeypatch.setattr(Detector, "__call__", unsure)
    code, said, _ = run("protect", photo, "-o", tmp_path / "out.png", "--gender", "male")
    assert code == 3
    assert "1 of 2 faces may be changed in the wrong place and count as UNPROTECTED: which way up" in said
    assert "1 face UNPROTECTED: which way up it is cannot be told" in said


def test_only_is_for_one_photo(run: Run, album: Path, tmp_path: Path) -> None:
    code, _, error = run("protect", album, "-o", tmp_path / "out", "--only", "1")
    assert code == 2
    assert "--only and --skip are for the faces of one photo; 4 photos were given" in error


def test_boxes_from_a_file(run: Run, album: Path, tmp_path: Path) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text("file,x,y,width,height\nwall.png,10,5,30,32\n", "utf-8")
    code, said, _ = run("protect", album, "-o", tmp_path / "out", "--gender", "male", "--boxes", boxes)
    assert code == 0
    assert "4 photos protected, 4 faces changed" in said
    assert "1 face changed by the given box alone: no face was seen in it" in said


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("file,x,y,width\nwall.png,1,2,3\n", "has no column height; expected a first line file,x,y,width,height"),
        ("file,x,y,width,height\nwall.png,1,2,3,0\n", "line 2 holds 1, 2, 3, 0, which is no box"),
        ("file,x,y,width,height\nwall.png,1,2,wide,9\n", "line 2 holds 1, 2, wide, 9, which is no box"),
        ("file,x,y,width,height\nother.png,1,2,30,30\n", "line 2 names other.png, which is not among the inputs"),
    ],
)
def test_boxes_that_make_no_sense(run: Run, album: Path, tmp_path: Path, text: str, said: str) -> None:
    boxes = tmp_path / "boxes.csv"
    boxes.write_text(text, "utf-8")
    code, _, error = run("protect", album, "-o", tmp_path / "out", "--boxes", boxes)
    assert code == 2
    assert said in error
    assert not (tmp_path / "out").exists()


def test_faces_lists_and_draws(run: Run, photo: Path, tmp_path: Path, couple: np.ndarray) -> None:
    drawn = tmp_path / "drawn.png"
    code, said, _ = run("faces", photo, "-o", drawn)
    assert code == 0
    assert [line.split()[0] for line in said.splitlines()[1:] if line[:1].isdigit()] == ["1", "2"]
    picture = np.asarray(Image.open(drawn))
    assert picture.shape == couple.shape
    assert not np.array_equal(picture, couple)
    assert np.array_equal(np.asarray(Image.open(photo)), couple)
    code, said, _ = run("faces", photo, "--format", "json", "--skip", "2")
    told = json.loads(said)
    assert (code, told["width"], told["height"], told["smallest_face"]) == (0, 430, 250, 22)
    assert [face["unprotected"] for face in told["faces"]] == [None, "it was to be skipped"]
    # what it shows is what --only takes
    x, y, w, h = told["faces"][1]["box"]
    out = tmp_path / "out.png"
    code, _, _ = run("protect", photo, "-o", out, "--gender", "male", "--only", f"{x + w / 2:.0f},{y + h / 2:.0f}")
    changed = (np.asarray(Image.open(out)) != couple).any((0, 2))
    assert code == 0
    assert changed[:180].any()
    assert not changed[330:].any()


def test_faces_refuses(run: Run, photo: Path, album: Path) -> None:
    before = photo.read_bytes()
    assert run("faces", photo, "-o", photo, "--overwrite")[0] == 2
    assert photo.read_bytes() == before
    assert run("faces", album)[0] == 2
    code, said, _ = run("faces", album / "wall.png")
    assert code == 3
    assert "no face found" in said
