"""Put the change of a crop back into its photo: the *change* is resampled and added, never the face itself.

So a face that is larger than the crop keeps its sharpness, and a photo whose method changes nothing comes out
bit-identical. Three choices are worth knowing:

* Where the photo's face is smaller than the crop, the change is low-passed first, so nothing aliases; where it is
  larger, it is interpolated with cubics. Linear interpolation would leave a visible grid of creases at four times
  enlargement; the price of cubics is an overshoot of up to 11 % of a step in the *change* (not in the photo).
* The weight is 1 over the face and falls as a raised cosine to exactly 0 along an oval that just fits into the crop:
  hair and ears take part of the change, the background beside the head next to none, so that no patch shows on a plain
  wall. It is applied after resampling, so no low-pass can carry a change across the border. A method that was trained
  to change hair and background as well asks for the ``whole`` crop: then the weight is 1 in all of it, and the change
  goes on beyond as its own mirror image and fades there.
* Where the face is much larger than the crop, cubics give the change at a fraction of the photo's resolution, at least
  ``OVERSAMPLED`` values for each of the crop's, and lines between these the rest: a fifth of the work, and no crease
  that an eye could find. Rows are resampled when they are added, so no change is ever as large in memory as its face.
* Where faces overlap, the changes are averaged by their weights once the weights sum to more than 1
  (:func:`combine`): no pixel is changed more than a single face would change it, and no order matters.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache

import cv2
import numpy as np
from numpy.typing import NDArray

from .align import Array, invert, matrix_bounds, scale_of

#: Half axes of the oval outside which nothing is changed, as shares of the crop's side: a head with its hair.
OVAL = (0.45, 0.49)

#: Share of the oval's radius from which the weight falls.
INNER = 0.66

#: How far a change of the whole crop goes on beyond it, as a share of the crop's side.
BEYOND = 0.12


#: Values for each of a crop's, to each side, from which lines between them will do.
OVERSAMPLED = 3


@dataclass(frozen=True, eq=False)
class Change:
    """What is to be added to the RGB of a photo within a box.

    ``box`` is (x0, y0, x1, y1) in photo pixels, x1 and y1 exclusive, inside the photo. ``delta`` is float32 (y1 - y0,
    x1 - x0, 3) in units of full scale, so in [-1, 1], already multiplied by the mask. ``weight`` is that mask,
    float32 (y1 - y0, x1 - x0) in [0, 1]; None means 1 wherever delta is not 0.

    >>> Change((2, 1, 4, 2), np.full((1, 2, 3), 0.1, np.float32)).delta.shape
    (1, 2, 3)
    >>> Change((2, 1, 4, 2), np.zeros((2, 1, 3), np.float32))
    Traceback (most recent call last):
    ...
    ValueError: a change of shape (2, 1, 3) does not fit its box (2, 1, 4, 2); expected (1, 2, 3)
    """

    box: tuple[int, int, int, int]
    delta: NDArray[np.float32]
    weight: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        x0, y0, x1, y1 = self.box
        shape = (y1 - y0, x1 - x0, 3)
        if self.delta.shape != shape or min(shape) < 1:
            raise ValueError(f"a change of shape {self.delta.shape} does not fit its box {self.box}; expected {shape}")
        if self.weight is not None and self.weight.shape != shape[:2]:
            raise ValueError(f"a weight of shape {self.weight.shape} does not fit its box; expected {shape[:2]}")
        if not np.isfinite(self.delta).all():
            raise ValueError(_NOT_FINITE)

    def rows(self, y0: int, y1: int) -> NDArray[np.float32]:
        """The delta of some rows, counted from the box's first."""
        return self.delta[y0:y1]

    def weight_rows(self, y0: int, y1: int) -> NDArray[np.float32]:
        """The weight of some rows, counted from the box's first."""
        if self.weight is None:
            return np.asarray(self.delta[y0:y1].any(axis=-1), np.float32)
        return self.weight[y0:y1]


_NOT_FINITE = "a change holds NaN or infinity; expected finite numbers in [-1, 1]"


@dataclass(frozen=True, eq=False)
class FaceChange:
    """A :class:`Change` of one face, resampled when it is asked for.

    ``values`` float32 (h, w, 3), already multiplied by ``weights`` (h, w), are at every ``coarse``-th pixel of the
    box, the first in the middle of the first ``coarse`` pixels.
    """

    box: tuple[int, int, int, int]
    values: NDArray[np.float32]
    weights: NDArray[np.float32]
    coarse: int

    def rows(self, y0: int, y1: int) -> NDArray[np.float32]:
        """The delta of some rows, counted from the box's first; the same in whatever parts they are asked for."""
        return self._enlarged(self.values, y0, y1)

    def weight_rows(self, y0: int, y1: int) -> NDArray[np.float32]:
        """The weight of some rows, likewise."""
        return self._enlarged(self.weights, y0, y1)

    @cached_property
    def delta(self) -> NDArray[np.float32]:
        """All rows, as in a :class:`Change`."""
        return self.rows(0, self.box[3] - self.box[1])

    @cached_property
    def weight(self) -> NDArray[np.float32]:
        """The mask, as in a :class:`Change`."""
        return self.weight_rows(0, self.box[3] - self.box[1])

    def _enlarged(self, grid: NDArray[np.float32], y0: int, y1: int) -> NDArray[np.float32]:
        if self.coarse == 1:
            return grid[y0:y1]
        # a row more on each side, since the lines lead there
        first, last = max(0, y0 // self.coarse - 1), min(len(grid), -(-y1 // self.coarse) + 1)
        size = (grid.shape[1] * self.coarse, (last - first) * self.coarse)
        large = cv2.resize(grid[first:last], size, interpolation=cv2.INTER_LINEAR)
        top = first * self.coarse
        return np.asarray(large[y0 - top : y1 - top, : self.box[2] - self.box[0]], np.float32)


@dataclass(frozen=True, eq=False)
class Shared:
    """A change where others reach into its box: averaged with them by weight, and without what an earlier one covers.

    ``others`` are those that overlap it, each with the box that both share, in photo pixels, and whether it comes
    first. Rows are made when they are asked for, as a :class:`FaceChange`'s.
    """

    own: Change | FaceChange
    others: Sequence[tuple[Change | FaceChange, tuple[int, int, int, int], bool]]

    @property
    def box(self) -> tuple[int, int, int, int]:
        """That of the change."""
        return self.own.box

    def rows(self, y0: int, y1: int) -> NDArray[np.float32]:
        """The delta of some rows, counted from the box's first."""
        left, top = self.box[:2]
        delta, total = self.own.rows(y0, y1).copy(), self.own.weight_rows(y0, y1).copy()
        covered = []
        for other, shared, first in self.others:
            begin, end = max(shared[1], top + y0), min(shared[3], top + y1)
            if begin >= end:
                continue
            here = slice(begin - top - y0, end - top - y0), slice(shared[0] - left, shared[2] - left)
            x, y = other.box[:2]
            columns = slice(shared[0] - x, shared[2] - x)
            delta[here] += other.rows(begin - y, end - y)[:, columns]
            total[here] += other.weight_rows(begin - y, end - y)[:, columns]
            if first:
                covered.append(here)
        delta /= np.maximum(total, 1.0)[..., None]
        for here in covered:
            delta[here] = 0.0
        return delta

    @cached_property
    def delta(self) -> NDArray[np.float32]:
        """All rows, as in a :class:`Change`."""
        return self.rows(0, self.box[3] - self.box[1])


@lru_cache(maxsize=8)
def mask(size: int) -> NDArray[np.float32]:
    """The feathered weight of a crop, float32 (size, size) in [0, 1], read-only: 1 inside, 0 on the outermost pixels.

    >>> m = mask(224)
    >>> float(m[112, 112]), float(m[0].max()), float(m[:, -1].max())
    (1.0, 0.0, 0.0)
    """
    place = (np.arange(size) - (size - 1) / 2) / max(1.0, size - 1.0)
    radius = np.hypot(place[None, :] / OVAL[0], place[:, None] / OVAL[1])
    falling = np.clip((1.0 - radius) / (1.0 - INNER), 0.0, 1.0)
    result = np.asarray(0.5 - 0.5 * np.cos(np.pi * falling), np.float32)
    result.setflags(write=False)
    return result


@lru_cache(maxsize=8)
def frame(size: int) -> NDArray[np.float32]:
    """The weight of a whole crop and of what lies ``BEYOND`` it, float32 (N, N), read-only: 1 in the crop, 0 outermost.

    >>> w = frame(100)
    >>> w.shape, float(w[12:112, 12:112].min()), float(w[0].max())
    ((124, 124), 1.0, 0.0)
    """
    beyond = round(BEYOND * size)
    rising = 0.5 - 0.5 * np.cos(np.pi * np.arange(beyond) / max(1, beyond))
    line = np.concatenate([rising, np.ones(size), rising[::-1]])
    result = np.outer(line, line).astype(np.float32)
    result.setflags(write=False)
    return result


def face_change(
    delta: NDArray[np.float32], matrix: Array, width: int, height: int, *, whole: bool = False, edge: int = 0
) -> FaceChange | None:
    """Resample a crop's change into a photo of ``width`` x ``height`` pixels.

    ``delta`` is float32 (S, S, 3) in [-1, 1], ``matrix`` the 2 x 3 transform from photo to crop that
    :func:`~halfmask.photos.align.crop_face` gave. The change counts within an oval, or in the ``whole`` crop and a
    little beyond; there the outer ``edge`` pixels are left out, and what is further in goes on in their place. Returns
    None when the crop lies outside the photo or reaches it with nothing but the mask's zero edge. Raises
    ``ValueError`` on any other shape, or NaN.

    >>> identity = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    >>> change = face_change(np.full((224, 224, 3), 0.5, np.float32), identity, 300, 200)
    >>> change.box, float(change.delta[112, 112, 0])
    ((0, 0, 225, 200), 0.5)
    """
    size = delta.shape[0]
    if delta.shape != (size, size, 3):
        raise ValueError(f"the change of a crop has shape {delta.shape}; expected (S, S, 3)")
    if not np.isfinite(delta).all():
        raise ValueError(_NOT_FINITE)
    weights = mask(size)
    if whole:
        weights = frame(size)
        beyond = (len(weights) - size) // 2
        inner = delta[edge : size - edge, edge : size - edge]
        delta = np.asarray(cv2.copyMakeBorder(inner, *4 * (beyond + edge,), cv2.BORDER_REFLECT_101), np.float32)
        matrix = matrix + np.array([[0, 0, beyond], [0, 0, beyond]], np.float32)
    box = matrix_bounds(invert(matrix), weights.shape, width, height, margin=1)
    if box is None:
        return None
    scale = scale_of(matrix)
    coarse = max(1, int(1.0 / (OVERSAMPLED * scale)))
    # the middle of every so many pixels of the box: photo = box + coarse (grid + 1/2) - 1/2
    from_grid = matrix.astype(np.float64)
    from_grid[:, 2] += from_grid[:, :2] @ (np.array(box[:2], np.float64) + (coarse - 1) / 2)
    from_grid[:, :2] *= coarse
    size = (-(-(box[2] - box[0]) // coarse), -(-(box[3] - box[1]) // coarse))
    weight = _sample(weights, from_grid, size, cv2.INTER_LINEAR, cv2.BORDER_CONSTANT)
    if not weight.any():
        return None
    smooth = np.ascontiguousarray(delta, np.float32)
    if scale > 1.0:  # this Gaussian leaves about 1/3 at the photo's Nyquist frequency, and nothing at scale 1
        sigma = 0.5 * math.sqrt(scale**2 - 1.0)
        smooth = np.asarray(cv2.GaussianBlur(smooth, (0, 0), sigma, borderType=cv2.BORDER_REPLICATE), np.float32)
    how = cv2.INTER_LINEAR if scale >= 1.0 else cv2.INTER_CUBIC
    values = _sample(smooth, from_grid, size, how, cv2.BORDER_REPLICATE)
    values *= weight[..., None]
    return FaceChange(box, values, weight, coarse)


def _sample(
    image: NDArray[np.float32], from_grid: NDArray[np.float64], size: tuple[int, int], how: int, border: int
) -> NDArray[np.float32]:
    warped = cv2.warpAffine(image, from_grid, size, flags=how | cv2.WARP_INVERSE_MAP, borderMode=border)
    return np.asarray(warped, np.float32)


def combine(changes: Iterable[Change | FaceChange]) -> list[Change | FaceChange | Shared]:
    """Make several changes disjoint in effect: afterwards each pixel is changed by at most one of them.

    Where boxes overlap the delta is ``sum(delta_i) / max(1, sum(weight_i))``. Since each pixel ends up in one change,
    the caller rounds once. Boxes are kept; a change's share of a pixel that an earlier box covers is set to 0.

    >>> one = Change((0, 0, 2, 1), np.full((1, 2, 3), 0.2, np.float32))
    >>> two = Change((1, 0, 3, 1), np.full((1, 2, 3), 0.4, np.float32))
    >>> [c.delta[0, :, 0].round(2).tolist() for c in combine([one, two])]
    [[0.2..., 0.3...], [0.0, 0.4...]]
    """
    given = list(changes)
    result: list[Change | FaceChange | Shared] = []
    for i, change in enumerate(given):
        others = [
            (other, shared, j < i)
            for j, other in enumerate(given)
            if j != i and (shared := _overlap(change, other)) is not None
        ]
        result.append(Shared(change, others) if others else change)
    return result


def _overlap(a: Change | FaceChange, b: Change | FaceChange) -> tuple[int, int, int, int] | None:
    x0, y0 = max(a.box[0], b.box[0]), max(a.box[1], b.box[1])
    x1, y1 = min(a.box[2], b.box[2]), min(a.box[3], b.box[3])
    return (x0, y0, x1, y1) if x0 < x1 and y0 < y1 else None
