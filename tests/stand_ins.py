"""Referees whose answers are known, for every test that measures."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np

from halfmask.methods import Subject
from halfmask.photos.detect import Face
from halfmask.weights import store


def subjects(genders: np.ndarray | Sequence[int]) -> list[Subject]:
    """Nameless people of these genders (N,)."""
    return [Subject(int(gender)) for gender in genders]


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


def opencv_face(image: np.ndarray) -> Face:
    """The largest face as OpenCV's own YuNet finds it at the photo's size, whatever our search does.

    Figures that were taken down once are of this face.
    """
    height, width = image.shape[:2]
    net = cv2.FaceDetectorYN.create(str(store.get("yunet")), "", (width, height), 0.7)
    _, rows = net.detect(np.ascontiguousarray(image[..., ::-1]))
    row = max(rows, key=lambda r: r[2] * r[3])
    return Face(tuple(float(v) for v in row[:4]), row[4:14].reshape(5, 2), float(row[14]))


class Cosine:
    """A matcher for descriptors of length 1."""

    name = "cosine"

    def embed(self, images: Any, faces: Any) -> np.ndarray:
        raise AssertionError("tables ask no network")

    def score(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return np.einsum("nd,nd->n", a, b)

    def score_matrix(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a @ b.T
