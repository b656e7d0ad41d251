"""What a referee is, and the few things that every referee needs.

A referee only measures. It never trains anything, shares no code with training and imports no torch, so that what it
says about a protected face is independent of what protected it. Each one owns its recipe: it is given the whole photo
and the face found in it, and cuts, scales and normalises as its makers did.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import cv2
import numpy as np
from numpy.typing import NDArray

from ...errors import UsageError, WeightsError
from ...photos.align import warp
from ...photos.detect import Face

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]

#: Faces a network sees at once. Larger is no faster on a CPU and only takes memory.
BATCH = 32


class Matcher(Protocol):
    """Says how alike two faces are. ``name`` goes beside every figure."""

    name: str

    def embed(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """One descriptor a face, float32 (N, D). ``images[i]`` is the RGB photo in which ``faces[i]`` was found."""
        ...

    def score(self, a: Floats, b: Floats) -> Floats:
        """Row-wise scores of two (N, D) arrays of descriptors, float32 (N,), higher = same person."""
        ...

    def score_matrix(self, a: Floats, b: Floats) -> Floats:
        """Scores of every row of ``a`` (N, D) with every row of ``b`` (M, D), float32 (N, M)."""
        ...


class GenderReferee(Protocol):
    """Says how likely a face is a man's."""

    name: str

    def p_male(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """The probability of male, float32 (N,) in [0, 1]; 0.5 is the referee's own threshold."""
        ...


class AgeReferee(Protocol):
    """Says how old a face looks."""

    name: str

    def age(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """Apparent age in years, float32 (N,)."""
        ...


@runtime_checkable
class GenderAgeReferee(Protocol):
    """Says both from one network. Who wants both asks ``predict`` once, at the price of one."""

    name: str

    def predict(self, images: Sequence[Pixels], faces: Sequence[Face]) -> tuple[Floats, Floats]:
        """What ``p_male`` and what ``age`` would say, each float32 (N,)."""
        ...


@runtime_checkable
class RaceReferee(Protocol):
    """Says which of ``groups`` a face is read as.

    ``trained_on`` names the data set that taught it, as :func:`halfmask.datasets.read` names it: of that set's faces it
    is no judge. None when that is not known.
    """

    name: str
    groups: tuple[str, ...]
    trained_on: str | None

    def p_race(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """The probability of each group, float32 (N, len(groups)), rows adding to 1."""
        ...

    def group(self, word: str | None) -> int:
        """The index in ``groups`` of a data set's own word for a race, -1 when unknown or not among them."""
        ...


@runtime_checkable
class DescriptorReferee(Protocol):
    """A race referee that reads a matcher's descriptors. Who has asked that matcher already need not ask it again."""

    descriptors_of: str

    def p_race_of(self, descriptors: Floats) -> Floats:
        """What ``p_race`` would say of the faces that ``descriptors_of`` described so, float32 (N, K)."""
        ...


def chips(
    images: Sequence[Pixels], faces: Sequence[Face], cut: Callable[[Pixels, Face], Pixels], batch: int = BATCH
) -> Iterator[Pixels]:
    """Cut every face and yield the chips in stacks, uint8 (n, H, W, 3) with n <= ``batch``.

    Raises :class:`~halfmask.errors.UsageError` when there are not as many faces as photos, or a photo is not
    uint8 (H, W, 3).
    """
    if len(images) != len(faces):
        raise UsageError(f"a referee wants one face a photo: got {len(images)} photos and {len(faces)} faces")
    for start in range(0, len(faces), batch):
        stack = []
        for i in range(start, min(start + batch, len(faces))):
            image = images[i]
            if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
                raise UsageError(
                    f"photo {i} is {image.dtype} {image.shape}, expected RGB uint8 (height, width, 3); convert it first"
                )
            try:
                stack.append(cut(image, faces[i]))
            except ValueError as error:  # its points coincide
                raise UsageError(f"face {i} cannot be cut out: {error}; leave it out and count it as lost") from error
        yield np.stack(stack)


def square(points: Floats, size: int, side: float, top: float, turn: bool) -> Floats:
    """The 2 x 3 matrix from photo to a ``size`` x ``size`` chip that is measured by the eyes and the mouth.

    ``points`` are a face's five points, (5, 2) in photo pixels. With e the mean distance from the eyes to the middle
    of the mouth, the square's side is ``side`` * e; the mean of the eyes and the mouth's middle lies at its half width
    and at ``top`` of its height. With ``turn`` the eyes are brought level, without it the photo is not turned.

    >>> face = np.array([[40, 50], [60, 50], [50, 60], [42, 70], [58, 70]], np.float32)
    >>> (square(face, 100, 4.0, 0.5, turn=True) @ [50, 170 / 3, 1]).round(3).tolist()  # the middle of the chip
    [50.0, 50.0]
    """
    right, left, mouth = points[0].astype(float), points[1].astype(float), points[3:5].mean(0, dtype=float)
    e = (np.hypot(*(mouth - right)) + np.hypot(*(mouth - left))) / 2
    if e < 1e-3:
        raise ValueError("the eyes and the mouth of the face coincide; there is no chip to cut")
    scale = size / (side * e)
    angle = np.arctan2(*(left - right)[::-1]) if turn else 0.0
    linear = scale * np.array([[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]])
    middle = (right + left + mouth) / 3
    return np.hstack([linear, (np.array([0.5, top]) * size - linear @ middle)[:, None]]).astype(np.float32)


def cut_square(image: Pixels, face: Face, size: int, side: float, top: float, turn: bool) -> Pixels:
    """The chip of :func:`square`, uint8 (size, size, 3). Beyond the photo's edge it is black."""
    matrix = square(face.points, size, side, top, turn)
    return np.asarray(warp(image, matrix, (size, size), border=cv2.BORDER_CONSTANT), np.uint8)


def session(model: Any, threads: int = 0) -> Any:
    """An onnxruntime session on the CPU for a path or the bytes of an ONNX model.

    ``threads`` 0 takes every core. Raises :class:`~halfmask.errors.WeightsError` when the model does not load.
    """
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # files of others warn about their own unused initialisers
    try:
        source = model if isinstance(model, bytes) else str(model)
        return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # onnxruntime raises a dozen classes with no common base
        what = "a model built from its weights" if isinstance(model, bytes) else model
        raise WeightsError(
            f"{what} does not load in onnxruntime: {error}. Delete the file and fetch it again."
        ) from error
