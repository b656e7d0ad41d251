"""Find faces: box and five points, by YuNet (OpenCV Zoo, MIT)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError
from ..weights import store

#: Longest sides, in pixels, at which a photo is searched. At the first, a face of 1/60 of the photo's side is still
#: found, but one that fills it is not (YuNet knows faces of about 10 to 300 pixels); the second finds that one.
SEARCH_SIDES = (1280, 320)

#: Two boxes that overlap by more than this (intersection over union) are one face, as in the detector itself.
SAME_FACE = 0.3


@dataclass(frozen=True)
class Face:
    """A face found in a photo.

    ``box`` is (x, y, width, height) and ``points`` (5, 2), both in photo pixels: right eye, left eye, nose tip, right
    and left mouth corner (right is the subject's right, so it stands left in the picture). ``score`` is in [0, 1].
    """

    box: tuple[float, float, float, float]
    points: NDArray[np.float32]
    score: float


class Detector:
    """YuNet with its weights loaded. Not safe to share between threads: OpenCV keeps the input size inside.

    Raises :class:`~halfmask.errors.WeightsError` when the model cannot be had.
    """

    def __init__(self, threshold: float = 0.7, *, path: Path | None = None) -> None:
        path = path or store.get("yunet")
        cv2.utils.logging.setLogLevel(2)  # errors only: OpenCV 5 warns of a target it ignores, at every start
        try:
            self._net = cv2.FaceDetectorYN.create(str(path), "", (320, 320), threshold, 0.3, 5000)
        except cv2.error as error:
            raise WeightsError(f"the face detector {path} does not load: {error}. Delete it and run again.") from error

    def __call__(self, image: NDArray[np.uint8]) -> list[Face]:
        """Faces of an RGB photo, uint8 (H, W, 3), largest first."""
        height, width = image.shape[:2]
        if min(height, width) < 8:
            return []  # nothing that small holds a face, and YuNet's strides end there
        faces: list[Face] = []
        for side in SEARCH_SIDES:
            if side == SEARCH_SIDES[0] or max(height, width) > side:
                faces += [f for f in self._search(image, side) if all(overlap(f, g) <= SAME_FACE for g in faces)]
        return sorted(faces, key=lambda f: f.box[2] * f.box[3], reverse=True)

    def _search(self, image: NDArray[np.uint8], side: int) -> list[Face]:
        height, width = image.shape[:2]
        scale = min(1.0, side / max(height, width))
        small = image
        if scale < 1.0:
            size = (max(8, round(width * scale)), max(8, round(height * scale)))
            small = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), np.uint8)
        self._net.setInputSize((small.shape[1], small.shape[0]))
        _, rows = self._net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))
        if rows is None:
            return []
        back = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
        faces = []
        for row in np.asarray(rows, np.float32):
            x, y = (row[:2] * back).tolist()
            w, h = (row[2:4] * back).tolist()
            points = row[4:14].reshape(5, 2) * back
            faces.append(Face((x, y, w, h), points.astype(np.float32), float(row[14])))
        return faces


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, in [0, 1].

    >>> here = Face((0, 0, 2, 2), np.zeros((5, 2), np.float32), 0.9)
    >>> overlap(here, here), round(overlap(here, Face((1, 0, 2, 2), here.points, 0.9)), 3)
    (1.0, 0.333)
    """
    wide = min(a.box[0] + a.box[2], b.box[0] + b.box[2]) - max(a.box[0], b.box[0])
    high = min(a.box[1] + a.box[3], b.box[1] + b.box[3]) - max(a.box[1], b.box[1])
    both = max(0.0, wide) * max(0.0, high)
    union = a.box[2] * a.box[3] + b.box[2] * b.box[3] - both
    return both / union if union > 0 else 0.0
