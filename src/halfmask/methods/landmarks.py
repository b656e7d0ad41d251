"""68 landmarks of a face in a crop of the shared template, by face-api's ``face_landmark_68_model`` (MIT).

The network is rebuilt from ``src/faceFeatureExtractor/`` and ``src/faceLandmarkNet/`` of ``@vladmandic/face-api``
1.7.15 (V. Mühler, V. Mandic); its weights are 8-bit. It stands here and not in ``photos/`` because only methods need
more than the detector's five points.

The landmarks are those of iBUG 300-W: 0-16 the jaw from the subject's right ear over the chin (8) to the left ear,
17-26 the brows, 27-35 the nose, 36-47 the eyes, 48-67 the mouth.
"""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..photos.align import CROP, similarity, template
from ..weights import store
from ..weights.tfjs import Graph, read_weights
from .runtime import Faces, Network

Points = NDArray[np.float32]

SIZE = 112
_MEAN = np.array([122.782, 117.001, 104.298], np.float32)  # of RGB

#: The square of the template's crop that the network sees: left, top and side as shares of the crop's side.
SQUARE = (0.1, 0.2, 0.8)

#: What says where the detector's five points lie: eyes, nose tip and mouth corners.
FIVE = (slice(36, 42), slice(42, 48), slice(30, 31), slice(48, 49), slice(54, 55))

#: Models of the weight store that make the network.
MODELS = ("face-api-landmarks-manifest", "face-api-landmarks")

#: Which landmark of the mirror image is which of the face.
MIRROR = np.array(
    [
        *range(16, -1, -1),  # jaw
        *range(26, 16, -1),  # brows
        *(27, 28, 29, 30, 35, 34, 33, 32, 31),  # nose
        *(45, 44, 43, 42, 47, 46, 39, 38, 37, 36, 41, 40),  # eyes
        *(54, 53, 52, 51, 50, 49, 48, 59, 58, 57, 56, 55, 64, 63, 62, 61, 60, 67, 66, 65),  # mouth
    ]
)


def network(manifest: Path, weights: Path) -> bytes:
    """The network as ONNX: ``image`` float32 (N, 3, 112, 112), RGB in 0..255 → (N, 136), x and y in turn, in 0..1."""
    values = read_weights(json.loads(manifest.read_text()), weights.read_bytes())
    g = Graph("finding landmarks")

    def separable(x: str, name: str, stride: int = 1) -> str:
        depthwise = values[f"{name}/depthwise_filter"].transpose(2, 3, 0, 1)  # (3, 3, C, 1) -> (C, 1, 3, 3)
        x = g.add(
            "Conv", x, g.constant(depthwise), group=depthwise.shape[0], strides=[stride, stride], auto_pad="SAME_UPPER"
        )
        pointwise = values[f"{name}/pointwise_filter"].transpose(3, 2, 0, 1)
        return g.add("Conv", x, g.constant(pointwise), g.constant(values[f"{name}/bias"]))

    def first(x: str, name: str) -> str:
        filters = g.constant(values[f"{name}/filters"].transpose(3, 2, 0, 1))
        return g.add("Conv", x, filters, g.constant(values[f"{name}/bias"]), strides=[2, 2], auto_pad="SAME_UPPER")

    x = g.add("Sub", "image", g.constant(_MEAN.reshape(1, 3, 1, 1)))
    x = g.add("Div", x, g.constant(np.array(255, np.float32)))
    for block in ("dense0", "dense1", "dense2", "dense3"):  # denseBlock4: each layer sees the sum of those before it
        x = first(x, f"{block}/conv0") if block == "dense0" else separable(x, f"{block}/conv0", 2)
        x = total = g.add("Relu", x)
        for layer in ("conv1", "conv2", "conv3"):
            total = g.add("Add", total, separable(x, f"{block}/{layer}"))
            x = g.add("Relu", total)
    x = g.add("Flatten", g.add("AveragePool", x, kernel_shape=[7, 7], strides=[2, 2]))
    return g.model(SIZE, [g.add("Gemm", x, g.constant(values["fc/weights"]), g.constant(values["fc/bias"]))])


class Landmarks:
    """Finds the 68 landmarks in crops that :func:`halfmask.photos.align.crop_face` cut. Safe to share between threads.

    Recipe: the square is resized to 112 pixels bilinearly; the network sees RGB in 0..255 less a mean, over 255; what
    it says of the face and of its mirror image is averaged. A crop was cut so that the similarity from its face's five
    points to the template is the identity, so the landmarks are moved by the similarity that makes this true of theirs:
    on 100 LFW faces that takes their mean distance from the detector's points from 0.106 to 0.062 eye distances.

    Raises :class:`~halfmask.errors.WeightsError` when the weights cannot be had,
    :class:`~halfmask.errors.ExtraMissingError` when onnx, which builds the network, is not installed.
    """

    def __init__(self, threads: int = 0) -> None:
        self._net = Network(network(*(store.get(name) for name in MODELS)), threads)

    def __call__(self, crops: Faces) -> Points:
        """Landmarks, float32 (N, 68, 2), x then y in crop pixels, of RGB crops (N, 3, 224, 224) in [0, 1].

        They may lie outside the crop, as a broad chin does.
        """
        if not len(crops):
            return np.zeros((0, 68, 2), np.float32)
        left, top, side = (CROP * share for share in SQUARE)
        scale = SIZE / side
        matrix = np.array([[scale, 0, (0.5 - left) * scale - 0.5], [0, scale, (0.5 - top) * scale - 0.5]])
        seen = np.stack(
            [cv2.warpAffine(np.ascontiguousarray(c.transpose(1, 2, 0)), matrix, (SIZE, SIZE)) for c in crops]
        )
        batch = seen.transpose(0, 3, 1, 2) * np.float32(255)
        both = self._net(np.concatenate([batch, batch[..., ::-1]])).reshape(2, -1, 68, 2)
        mirrored = both[1][:, MIRROR]
        mirrored[..., 0] = 1 - mirrored[..., 0]
        mean = (both[0] + mirrored) / 2 * side + np.array([left, top]) - 0.5
        return np.stack([_aligned(points.astype(np.float32)) for points in mean])


def five(points: Points) -> Points:
    """The five points that the detector finds, (5, 2), by landmarks (68, 2)."""
    return np.stack([points[part].mean(0) for part in FIVE])


def _aligned(points: Points) -> Points:
    try:
        matrix = similarity(five(points), template())
    except ValueError:  # no face at all, so no landmark is right or wrong
        return points
    return points @ matrix[:, :2].T + matrix[:, 2]
