"""Faces put into heads: who is used, what of the picture changes, and that it is made once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import DataError
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Detector
from halfmask.training.composites import composite, open_composites


@pytest.fixture(scope="module")
def face() -> np.ndarray:
    image = cv2.cvtColor(cv2.imread("examples/astronaut.jpg"), cv2.COLOR_BGR2RGB)
    return crop_face(image, Detector()(image)[0].points)[0]


def crops(faces: list[np.ndarray], genders: list[int | None]) -> tuple[Crops, list[int]]:
    rows = [Row(f"{i}.png", Path(f"{i}.png"), f"p{i}", g, age=30.0) for i, g in enumerate(genders)]
    return Crops(np.stack(faces), rows, []), list(range(len(rows)))


def test_the_face_goes_into_a_head_of_its_gender(face: np.ndarray, tmp_path: Path) -> None:
    lighter = np.clip(face.astype(int) + 12, 0, 255).astype(np.uint8)
    gray = np.repeat(face.mean(2, keepdims=True), 3, 2).astype(np.uint8)
    nobody = np.full_like(face, 90)
    faces = crops([face, gray, nobody, face], [0, 0, 0, 1])
    heads = crops([lighter, nobody], [0, 1])
    made = open_composites(faces, heads, size=224, folder=tmp_path)
    # gray pictures, pictures without a face and faces that no head's gender fits are left out
    assert [row.key for row in made.rows] == ["composite/0.png"]
    assert (made.rows[0].gender, made.rows[0].identity, made.rows[0].age) == (0, None, 30.0)
    picture = np.asarray(made.pixels[0])
    corners = np.s_[:40, :40]
    assert np.array_equal(picture[corners], lighter[corners]), "outside the oval the head stays as it is"
    small = open_composites(faces, heads, size=96, folder=tmp_path)
    assert small.pixels.shape == (1, 96, 96, 3)
    assert np.abs(cv2.resize(picture, (96, 96), interpolation=cv2.INTER_AREA).astype(int) - small.pixels[0]).max() <= 1


def test_a_face_blended_into_itself_stays_itself(face: np.ndarray) -> None:
    assert np.abs(composite(face, face).astype(int) - face).mean() < 1


def test_nobody_to_use_is_an_error(face: np.ndarray, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face can be put into a head"):
        open_composites(crops([np.full_like(face, 90)], [0]), crops([face], [0]), size=224, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_face_goes_into_several_heads_the_likeliest_first(face: np.ndarray, tmp_path: Path) -> None:
    lighter, darker = (np.clip(face.astype(int) + by, 0, 255).astype(np.uint8) for by in (3, -15))
    faces, heads = crops([face], [0]), crops([darker, lighter, lighter], [0, 0, 1])
    made = open_composites(faces, heads, size=224, each=3, folder=tmp_path)
    assert [row.key for row in made.rows] == ["composite/0.png", "composite/0.png/2"], "no head of another gender"
    corners = np.s_[:40, :40]
    assert np.array_equal(made.pixels[0][corners], lighter[corners])
    assert np.array_equal(made.pixels[1][corners], darker[corners])
    assert len(open_composites(faces, heads, size=224, folder=tmp_path)) == 1, "made anew for another number"
