"""YuNet on onnxruntime says of ordinary photos what OpenCV's own class says."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.errors import WeightsError
from halfmask.photos.detect import Detector
from halfmask.photos.reading import read
from halfmask.photos.yunet import YuNet
from halfmask.weights import store


def opencv(picture: np.ndarray, threshold: float) -> np.ndarray:
    """OpenCV's rows for an RGB picture, best first."""
    height, width = picture.shape[:2]
    net = cv2.FaceDetectorYN.create(str(store.get("yunet")), "", (width, height), threshold, 0.3, 5000)
    _, rows = net.detect(np.ascontiguousarray(picture[..., ::-1]))
    return np.zeros((0, 15), np.float32) if rows is None else rows[np.argsort(-rows[:, 14], kind="stable")]


def alike(ours: np.ndarray, theirs: np.ndarray) -> None:
    assert len(ours) == len(theirs)
    np.testing.assert_allclose(ours[:, :14], theirs[:, :14], atol=0.05)  # pixels
    np.testing.assert_allclose(ours[:, 14], theirs[:, 14], atol=1e-3)


def test_it_says_what_opencv_says_of_lfw(shared_data: Path, detector: Detector) -> None:
    """The bare network, and the whole search: of an upright face it gives the points that OpenCV's class gives."""
    net = YuNet(store.get("yunet"))
    paths = sorted((shared_data / "lfw").rglob("*.jpg"))[5::190][:20]
    assert len(paths) == 20
    for path in paths:
        pixels = read(path).pixels
        theirs = opencv(pixels, 0.7)
        alike(net(pixels[None], 0.7)[0], theirs)
        found = detector(pixels)
        for row in theirs[theirs[:, 14] > 0.85]:
            near = min(float(np.abs(face.points - row[4:14].reshape(5, 2)).max()) for face in found)
            assert near < 0.1 * max(row[2], row[3]), path.name


def test_what_is_no_such_network_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.onnx"
    other.write_bytes(b"a network with another input")
    with pytest.raises(WeightsError, match=r"other\.onnx does not load: it has no input of 640 x 640"):
        YuNet(other)
