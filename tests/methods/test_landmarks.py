"""The landmarks: against face-api itself, and against the detector's five points on real faces."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from halfmask.datasets import read
from halfmask.datasets.cache import centred_face
from halfmask.errors import WeightsError
from halfmask.methods.landmarks import MIRROR, MODELS, SIZE, Landmarks, Points, five, network
from halfmask.methods.runtime import Network
from halfmask.photos.align import crop_face, similarity, template
from halfmask.photos.detect import Detector
from halfmask.weights import store


@pytest.fixture(scope="module")
def landmarks() -> Landmarks:
    try:
        return Landmarks(1)
    except WeightsError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"needs the landmarks' weights: {error}")


def found(landmarks: Landmarks, image: np.ndarray, points: Points) -> tuple[Points, Points]:
    """Landmarks in the crop of a face, and its five points there."""
    crop, matrix = crop_face(image, points)
    got = landmarks(crop.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    assert got.shape == (1, 68, 2)
    assert got.dtype == np.float32
    return got[0], points @ matrix[:, :2].T + matrix[:, 2]


@pytest.mark.usefixtures("landmarks")
def test_the_network_is_face_apis(astronaut: np.ndarray) -> None:
    part = np.ascontiguousarray(astronaut[40:242, 160:362])
    chip = cv2.resize(part, (SIZE, SIZE), interpolation=cv2.INTER_AREA).astype(np.float32)
    got = Network(network(*(store.get(name) for name in MODELS)), 1)(chip.transpose(2, 0, 1)[None])[0].reshape(68, 2)
    # FaceLandmark68Net of @vladmandic/face-api 1.7.15 in node (tfjs, CPU) on the same 112 x 112 pixels
    wanted = {
        0: (0.09276, 0.27333),
        8: (0.34976, 0.73427),
        16: (0.73694, 0.27360),
        30: (0.33828, 0.42884),
        36: (0.18895, 0.29918),
        45: (0.53777, 0.31015),
        48: (0.23543, 0.52664),
        54: (0.46683, 0.52194),
        66: (0.34270, 0.56770),
    }
    np.testing.assert_allclose(got[list(wanted)], list(wanted.values()), atol=2e-5)


def test_a_mirror_image_has_the_mirrored_landmarks(landmarks: Landmarks, astronaut: np.ndarray) -> None:
    assert sorted(MIRROR) == list(range(68))
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(68))
    crop = np.ascontiguousarray(astronaut[20:244, 112:336].transpose(2, 0, 1)[None]).astype(np.float32) / 255
    here, there = landmarks(np.concatenate([crop, crop[..., ::-1]]))
    back = there[MIRROR]
    back[:, 0] = 223 - back[:, 0]
    matrix = similarity(back, here)  # the template, to which both were brought, is not quite symmetrical itself
    assert np.abs(here - (back @ matrix[:, :2].T + matrix[:, 2])).max() < 1.0


def test_the_astronaut(landmarks: Landmarks, astronaut: np.ndarray, detector: Detector) -> None:
    points, there = found(landmarks, astronaut, detector(astronaut)[0].points)
    off = np.linalg.norm(five(points) - there, axis=1) / np.linalg.norm(there[0] - there[1])
    assert off.mean() < 0.08
    assert points[8, 1] > points[57, 1] > points[33, 1] > points[27, 1] > points[19, 1]  # chin, lip, nose, bridge, brow
    assert points[0, 0] < points[36, 0] < points[45, 0] < points[16, 0]


def test_lfw(landmarks: Landmarks, shared_data: object, detector: Detector) -> None:
    table = read("lfw", f"{shared_data}/lfw")
    off, template_off = [], []
    for row in list(table)[:: len(table) // 30]:
        image = cv2.cvtColor(cv2.imread(str(row.path)), cv2.COLOR_BGR2RGB)
        face = centred_face(detector(image), 250, 250)
        assert face is not None
        points, there = found(landmarks, image, face.points)
        eyes = np.linalg.norm(there[0] - there[1])
        off.append(np.linalg.norm(five(points) - there, axis=1).mean() / eyes)
        template_off.append(np.linalg.norm(template() - there, axis=1).mean() / eyes)
    assert np.mean(off) < 0.075
    assert np.max(off) < 0.2
    assert np.mean(off) < np.mean(template_off)  # they know more than where a face's points are on average


def test_no_crops(landmarks: Landmarks) -> None:
    assert landmarks(np.zeros((0, 3, 224, 224), np.float32)).shape == (0, 68, 2)
