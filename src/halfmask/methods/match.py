"""Does the protected face still match the original? A score by SFace, the matcher that everybody can fetch.

SFace is an *auxiliary*: our methods are trained against it, so its score says whether a photo came out as intended,
never how well a method keeps identities. For that see the referees in :mod:`halfmask.evaluation`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from ..photos.align import ARC112, similarity, warp
from ..weights import store
from .runtime import Faces, Network

#: OpenCV's documentation calls two photos the same person from this cosine on.
SAME_PERSON = 0.363


def cut112(image: NDArray[np.uint8], points: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The ArcFace crop that SFace takes, uint8 (112, 112, 3), of the face with these five points (5, 2).

    >>> cut112(np.full((200, 200, 3), 9, np.uint8), ARC112 + 20).shape
    (112, 112, 3)
    """
    return np.asarray(warp(image, similarity(points, ARC112), (112, 112)), np.uint8)


class SFace:
    """SFace (Zhong et al. 2021; OpenCV Zoo, Apache-2.0) on onnxruntime. Safe to share between threads.

    Raises :class:`~halfmask.errors.WeightsError` when its file cannot be had.
    """

    def __init__(self, threads: int = 0) -> None:
        self._net = Network(store.get("sface"), threads)

    def embed(self, crops: NDArray[np.uint8]) -> Faces:
        """Embeddings of length 1, float32 (N, 128), of RGB crops uint8 (N, 112, 112, 3) cut by :func:`cut112`."""
        if not len(crops):
            return np.zeros((0, 128), np.float32)
        # One by one: the published file fixes its batch to 1. It takes RGB in [0, 255] and normalises inside.
        descriptors = np.concatenate([self._net(crop.transpose(2, 0, 1)[None].astype(np.float32)) for crop in crops])
        return np.asarray(descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True), np.float32)

    def match(self, before: NDArray[np.uint8], after: NDArray[np.uint8], points: NDArray[np.float32]) -> float:
        """Cosine between the same face in two photos of one size, in [-1, 1], higher = more alike.

        ``before`` and ``after`` are RGB uint8 (H, W, 3), ``points`` (5, 2) the face's points in both. OpenCV's
        documentation calls two photos the same person from 0.363 on.
        """
        one, two = self.embed(np.stack([cut112(before, points), cut112(after, points)]))
        return float(one @ two)
