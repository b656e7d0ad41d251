"""Referees whose answers are known, for every test that measures."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from halfmask.methods import Subject
from halfmask.photos.detect import Face


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
