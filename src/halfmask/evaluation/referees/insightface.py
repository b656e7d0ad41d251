"""InsightFace's matcher w600k_mbf, a MobileFaceNet trained on WebFace600K. The weights are for non-commercial use."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ...photos.align import ARC112, similarity, warp
from ...photos.detect import Face
from ...weights import store
from .base import Floats, Pixels, chips, session


def cut(image: Pixels, face: Face) -> Pixels:
    """ArcFace's aligned crop, uint8 (112, 112, 3) RGB, black beyond the photo."""
    return np.asarray(warp(image, similarity(face.points, ARC112), (112, 112), border=cv2.BORDER_CONSTANT), np.uint8)


class W600kMatcher:
    """w600k_mbf, 512-d, cosine.

    Recipe: five-point similarity transform to ArcFace's 112 x 112 template; (RGB - 127.5) / 127.5. Measured on 520 LFW
    photos of 130 people, all pairs: best balanced accuracy .999, TMR at FMR 0.1 % .999.
    """

    name = "w600k_mbf"

    def __init__(self, threads: int = 0) -> None:
        self._net = session(store.get("w600k_mbf"), threads)

    def embed(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """Descriptors of length 1, float32 (N, 512)."""
        out = [np.zeros((0, 512), np.float32)]
        for stack in chips(images, faces, cut):
            x = ((stack.astype(np.float32) - 127.5) / 127.5).transpose(0, 3, 1, 2)
            out.append(self._net.run(None, {"input.1": np.ascontiguousarray(x)})[0])
        raw = np.concatenate(out)
        return np.asarray(raw / np.maximum(np.linalg.norm(raw, axis=1, keepdims=True), np.float32(1e-12)), np.float32)

    def score(self, a: Floats, b: Floats) -> Floats:
        """Cosine similarity row by row, (N,) in [-1, 1]."""
        return np.asarray(np.einsum("nd,nd->n", a, b), np.float32)

    def score_matrix(self, a: Floats, b: Floats) -> Floats:
        """Cosine similarity of every row of ``a`` with every row of ``b``, (N, M) in [-1, 1]."""
        return a @ b.T
