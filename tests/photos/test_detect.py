"""YuNet finds the faces that are there, at any size of photo, and none where there is none."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.errors import UsageError, WeightsError
from halfmask.photos.align import scale_of, similarity, template
from halfmask.photos.detect import FINE, Detector, Face, overlap, smallest_searched, turn_of
from halfmask.photos.reading import read
from halfmask.photos.yunet import YuNet
from halfmask.weights import store


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
    other, *rest = detector(np.asarray(cv2.resize(astronaut, (side, side), interpolation=how), np.uint8))
    assert all(face.doubt for face in rest)  # five times as large, YuNet sees a face in her sleeve
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


def test_yunet_says_what_opencv_says(astronaut: np.ndarray, detector: Detector) -> None:
    theirs = cv2.FaceDetectorYN.create(str(store.get("yunet")), "", (500, 300), 0.2, 0.3, 5000)
    picture = np.ascontiguousarray(astronaut[:300, :500])  # no multiple of 32
    expected = theirs.detect(np.ascontiguousarray(picture[..., ::-1]))[1]
    one, two = YuNet(store.get("yunet"))(np.stack([picture, picture]), 0.2)
    np.testing.assert_allclose(one, expected, rtol=1e-3, atol=0.01)
    np.testing.assert_array_equal(one, two)


def turned(points: np.ndarray, quarter: int, width: int, height: int) -> np.ndarray:
    """Where np.rot90 takes points of a photo of that size."""
    for _ in range(quarter):
        points, width, height = np.stack([points[:, 1], width - points[:, 0]], 1), height, width
    return points


def lies_on(face: Face, points: np.ndarray) -> bool:
    """Whether a face's points are the given ones to within a third of the distance of the eyes."""
    eyes = np.hypot(*(points[0] - points[1]))
    return bool(np.abs(face.points - points).max() < eyes / 3)


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_a_photo_that_is_turned(quarter: int, detector: Detector, astronaut: np.ndarray) -> None:
    (upright,) = detector(astronaut)
    (face,) = detector(np.ascontiguousarray(np.rot90(astronaut, quarter)))
    assert lies_on(face, turned(upright.points, quarter, 512, 512))
    assert face.doubt is None
    assert abs((turn_of(face.points) + 90 * quarter + 180) % 360 - 180) < 15


@pytest.mark.parametrize("angle", [-135, -45, 45, 135])
def test_a_photo_that_is_turned_by_an_eighth(angle: int, detector: Detector, astronaut: np.ndarray) -> None:
    (upright,) = detector(astronaut)
    matrix = cv2.getRotationMatrix2D((223, 125), angle, 1.0)
    (face,) = detector(cv2.warpAffine(astronaut, matrix, (512, 512)))
    assert lies_on(face, upright.points @ matrix[:, :2].T + matrix[:, 2])


@pytest.mark.parametrize("quarter", [1, 2, 3])
def test_one_turned_head_in_a_group(quarter: int, detector: Detector, astronaut: np.ndarray) -> None:
    portrait = np.ascontiguousarray(astronaut[:250, 100:350])
    (upright,) = detector(portrait)
    group = np.hstack([portrait, np.rot90(portrait, quarter), portrait])
    faces = sorted(detector(np.ascontiguousarray(group)), key=lambda f: f.box[0])
    assert len(faces) == 3
    middle = np.add(turned(upright.points, quarter, 250, 250), (250, 0))
    expected = [upright.points, middle, np.add(upright.points, (500, 0))]
    assert all(lies_on(face, points) for face, points in zip(faces, expected, strict=True))


@pytest.mark.parametrize(("height", "columns", "width"), [(60, 20, 9000), (36, 10, 4000)])
def test_small_faces_in_wide_photos(
    height: int, columns: int, width: int, detector: Detector, astronaut: np.ndarray
) -> None:
    (face,) = detector(astronaut)
    scale = height / face.box[3]
    head = cv2.resize(astronaut[30:230, 120:330], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    photo = np.full((400, width, 3), 120, np.uint8)
    corners = [(x, y) for x in np.linspace(5, width - 150, columns).astype(int) for y in (20, 230)]
    for x, y in corners:
        photo[y : y + head.shape[0], x : x + head.shape[1]] = head
    faces = detector(photo)
    assert len(faces) == len(corners)
    for x, y in corners:
        expected = (face.points - [120, 30]) * scale + [x, y]
        assert sum(lies_on(found, expected) for found in faces) == 1
    assert smallest_searched(width, 400) == 32.0


def test_small_faces_beside_a_large_one_and_on_it(detector: Detector, astronaut: np.ndarray) -> None:
    (face,) = detector(astronaut)
    factor = 2400 / 512  # her face is 500 pixels high then, and searched for at other scales
    photo = np.full((3000, 4000, 3), astronaut[5, 5], np.uint8)
    photo[600:, 1000:3400] = cv2.resize(astronaut, (2400, 2400), interpolation=cv2.INTER_CUBIC)
    x, y, w, h = (factor * side for side in face.box)
    scale = 40 / face.box[3]
    head = cv2.resize(astronaut[30:230, 120:330], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    corners = [(20, 20), (3800, 2800), (round(1000 + x - 100), round(600 + y + h / 2)),
               (round(1000 + x + 0.6 * w), round(600 + y + 0.55 * h))]  # the last on her cheek  # fmt: skip
    for left, top in corners:
        photo[top : top + head.shape[0], left : left + head.shape[1]] = head
    found = detector(photo)
    assert lies_on(found[0], face.points * factor + [1000, 600])
    for left, top in corners:
        expected = (face.points - [120, 30]) * scale + [left, top]
        assert sum(lies_on(other, expected) for other in found) == 1, (left, top)


@pytest.mark.parametrize("length", [900, 1000])
def test_faces_of_the_least_size_on_both_sides_of_a_large_photos_limit(
    length: int, detector: Detector, astronaut: np.ndarray
) -> None:
    (face,) = detector(astronaut)
    scale = 26 / face.box[3]
    head = cv2.resize(astronaut[30:230, 120:330], None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    photo = np.full((700, length, 3), 120, np.uint8)
    corners = [(x, y) for x in range(10, length - 60, 120) for y in range(10, 640, 120)]
    for left, top in corners:
        photo[top : top + head.shape[0], left : left + head.shape[1]] = head
    found = detector(photo)
    hit = sum(any(lies_on(f, (face.points - [120, 30]) * scale + [x, y]) for f in found) for x, y in corners)
    assert hit >= 0.95 * len(corners)


def test_where_no_turn_is_better_it_is_said(
    detector: Detector, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    sideways = np.ascontiguousarray(np.rot90(astronaut))
    looks = Detector._turns

    def alike(self: Detector, cut: object, eighths: list[int]) -> dict[int, Face]:
        return {k: Face(f.box, f.points, 0.9) for k, f in looks(self, cut, eighths).items()}

    monkeypatch.setattr(Detector, "_turns", alike)
    faces = detector(sideways)
    assert faces
    assert all(face.doubt == "which way up it is cannot be told" for face in faces)


def test_given_boxes(detector: Detector, astronaut: np.ndarray) -> None:
    (found,) = detector(astronaut)
    box = tuple(v + 5 for v in found.box)
    (face,) = detector(astronaut, [box])  # in the place of the one that is found
    assert face.box == box
    assert face.origin == "box"
    assert lies_on(face, found.points)
    wall = np.full((200, 200, 3), 127, np.uint8)
    (alone,) = detector(wall, [(50, 40, 80, 100)])
    assert alone.origin == "box alone"
    check_points(alone.points, alone.box)
    usual = Face(found.box, detector(wall, [found.box])[0].points, 1.0)
    assert lies_on(usual, found.points)  # the default is about where faces have their points


@pytest.mark.parametrize(("threshold", "smallest"), [(0.1, 32), (1.5, 32), ("high", 32), (0.7, 9), (0.7, 30.5)])
def test_numbers_that_make_no_sense(threshold: object, smallest: object, detector: Detector) -> None:
    with pytest.raises(UsageError, match=r"expected a (whole )?number from"):
        Detector(threshold, smallest=smallest)  # type: ignore[arg-type]


def test_a_threshold_is_kept_to(detector: Detector, astronaut: np.ndarray) -> None:
    assert Detector(0.99)(astronaut) == []
    (strict,), (usual,) = Detector(0.9)(astronaut), detector(astronaut)
    assert overlap(strict, usual) > 0.9
