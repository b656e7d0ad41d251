"""YuNet finds the faces that are there, at any size of photo, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.errors import WeightsError
from halfmask.photos.align import scale_of, similarity, template
from halfmask.photos.detect import FINE, Detector
from halfmask.photos.reading import read


def check_points(points: np.ndarray, box: tuple[float, float, float, float]) -> None:
    """Right eye left of the left eye in the picture, eyes over nose over mouth, and all inside the box."""
    right_eye, left_eye, nose, right_mouth, left_mouth = points
    assert right_eye[0] < left_eye[0]
    assert right_mouth[0] < left_mouth[0]
    assert max(right_eye[1], left_eye[1]) < nose[1] < min(right_mouth[1], left_mouth[1])
    x, y, w, h = box
    slack = 0.15 * max(w, h)
    assert (points >= np.array([x, y]) - slack).all()
    assert (points <= np.array([x + w, y + h]) + slack).all()


def test_the_astronaut_has_one_face(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector(astronaut)
    check_points(face.points, face.box)
    assert 0.7 <= face.score <= 1.0
    x, y, w, h = face.box
    assert x < 223 < x + w
    assert y < 125 < y + h
    assert 60 < w < 150
    # By eye in the photo: eyes and mouth corners, to within a tenth of the face.
    np.testing.assert_allclose(face.points[0], [199, 107], atol=9)
    np.testing.assert_allclose(face.points[1], [242, 103], atol=9)


@pytest.mark.parametrize("scale", [0.5, 2.0, 5.0])
def test_points_are_in_photo_pixels_at_every_size(detector: Detector, astronaut: np.ndarray, scale: float) -> None:
    (face,) = detector(astronaut)
    side = round(512 * scale)
    assert (side > FINE) == (scale == 5.0)
    how = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    (other,) = detector(np.asarray(cv2.resize(astronaut, (side, side), interpolation=how), np.uint8))
    np.testing.assert_allclose(other.points / scale, face.points, atol=8)  # her eyes are 47 pixels apart
    np.testing.assert_allclose(np.array(other.box) / scale, face.box, atol=8)


def test_largest_first_and_odd_shapes(detector: Detector, astronaut: np.ndarray) -> None:
    small = cv2.resize(astronaut, (256, 256), interpolation=cv2.INTER_AREA)
    wide = np.full((512, 801, 3), 90, np.uint8)
    wide[100:356, :256] = small
    wide[:, 289:] = astronaut
    first, second = detector(wide)
    assert first.box[2] > 1.6 * second.box[2]
    assert first.points[:, 0].min() > 289
    assert second.points[:, 0].max() < 256


def test_no_face_is_an_empty_list(detector: Detector, rng: np.random.Generator) -> None:
    for shape in ((1, 1, 3), (7, 300, 3), (8, 8, 3), (200, 300, 3), (9, 2000, 3)):
        assert detector(np.full(shape, 127, np.uint8)) == []
    assert detector(rng.integers(0, 256, (200, 200, 3)).astype(np.uint8)) == []


def test_the_detector_does_not_change_the_photo(detector: Detector, astronaut: np.ndarray) -> None:
    photo = astronaut.copy()
    photo.setflags(write=False)
    assert len(detector(photo)) == 1
    np.testing.assert_array_equal(photo, astronaut)


def test_a_damaged_model_says_what_to_do(tmp_path: Path) -> None:
    broken = tmp_path / "broken.onnx"
    broken.write_bytes(b"this is no network")
    with pytest.raises(WeightsError, match=r"(?s)broken\.onnx does not load.*Delete it"):
        Detector(path=broken)


def test_every_lfw_photo_has_its_face(detector: Detector, shared_data: Path) -> None:
    paths = sorted((shared_data / "lfw").rglob("*.jpg"))[::190][:20]
    assert len(paths) == 20
    for path in paths:
        faces = detector(read(path).pixels)
        assert faces, path.name
        # LFW is funneled: the person of the photo stands in its middle, upright, of known size.
        middle = min(faces, key=lambda f: float(np.abs(f.points.mean(0) - 125).sum()))
        matrix = similarity(middle.points, template())
        assert 1.0 < scale_of(matrix) < 2.5, path.name
        assert np.abs(middle.points.mean(0) - [125, 130]).max() < 25, path.name


@pytest.mark.parametrize("side", [250, 900, 3000])
def test_a_face_that_fills_the_photo_is_found(side: int, astronaut: np.ndarray, detector: Detector) -> None:
    close_up = cv2.resize(astronaut[30:200, 140:310], (side, side), interpolation=cv2.INTER_CUBIC)
    faces = detector(close_up)
    assert len(faces) == 1
    assert faces[0].box[2] > 0.3 * side
