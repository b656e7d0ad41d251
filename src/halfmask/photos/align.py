"""From a face in a photo to an upright crop of fixed size, and the change back into the photo.

One template serves every method, every data set and every prototype: the five points of the ArcFace template
(Deng et al. 2019), widened about the centre so that hair, ears and chin are inside, because gender and age are read
there too. Since all crops share the template, a prototype made of mean crops is aligned to every face.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Pixels = NDArray[np.uint8]

#: Bump when the template or the resampling changes: crop caches and prototypes made before no longer fit.
TEMPLATE_VERSION = 1

#: Crop side in pixels, the SAN papers' 224.
CROP = 224

#: ArcFace's five points in its 112 x 112 crop: right eye, left eye (as seen), nose, right and left mouth corner.
ARC112: Array = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]], np.float32
)

_ZOOM = 1.75  # ArcFace's own crop is 2.0 at this size; smaller shows more of the head (eyes 62 px apart in 224)


def template(size: int = CROP) -> Array:
    """The five template points in a ``size`` x ``size`` crop, shape (5, 2), x then y, pixels.

    >>> template().round().tolist()[0]
    [81.0, 104.0]
    """
    return (((ARC112 - 56.0) * _ZOOM + CROP / 2) * (size / CROP)).astype(np.float32)


def similarity(points: Array, target: Array) -> Array:
    """The similarity transform (rotation, scale, shift) that brings points onto target in the least squares sense.

    Umeyama 1991 without reflection. ``points`` and ``target`` are (K, 2); returns the 2 x 3 matrix of
    ``x' = M[:, :2] @ x + M[:, 2]``. Raises ``ValueError`` when all points coincide.

    >>> bool(np.allclose(similarity(template(), template() + 5), [[1, 0, 5], [0, 1, 5]], atol=1e-4))
    True
    """
    p = points.astype(np.float64)
    t = target.astype(np.float64)
    pm, tm = p.mean(0), t.mean(0)
    pc, tc = p - pm, t - tm
    norm = float((pc**2).sum())
    if norm < 1e-6:
        raise ValueError("the five points of the face coincide; there is no transform")
    # Complex least squares: t = a p with a = scale * e^(i angle).
    a = float((pc * tc).sum()) / norm
    b = float((pc[:, 0] * tc[:, 1] - pc[:, 1] * tc[:, 0]).sum()) / norm
    linear = np.array([[a, -b], [b, a]])
    return np.hstack([linear, (tm - linear @ pm)[:, None]]).astype(np.float32)


def invert(matrix: Array) -> Array:
    """The inverse of a 2 x 3 transform."""
    return np.asarray(cv2.invertAffineTransform(matrix), np.float32)


def scale_of(matrix: Array) -> float:
    """Crop pixels per photo pixel of a similarity transform."""
    return float(np.sqrt(abs(np.linalg.det(matrix[:, :2].astype(np.float64)))))


def warp(
    image: NDArray[Any], matrix: Array, size: tuple[int, int], border: int = cv2.BORDER_REFLECT_101
) -> NDArray[Any]:
    """Resample ``image`` by ``matrix`` to ``size`` (width, height), without aliasing when that makes it smaller.

    ``image`` is uint8 or float32, (H, W) or (H, W, C). Where the photo ends it is mirrored (``border``).
    """
    shrink = 1.0 / max(scale_of(matrix), 1e-6)
    if shrink > 1.5:  # bilinear looks at 2 x 2 pixels only, so average first what it would skip
        box = matrix_bounds(invert(matrix), size, image.shape[1], image.shape[0])
        if box is None:
            return np.zeros((size[1], size[0], *image.shape[2:]), image.dtype)
        x0, y0, x1, y1 = box
        part = image[y0:y1, x0:x1]
        w, h = max(1, round((x1 - x0) / shrink)), max(1, round((y1 - y0) / shrink))
        sx, sy = w / (x1 - x0), h / (y1 - y0)
        small = cv2.resize(part, (w, h), interpolation=cv2.INTER_AREA)
        # pixel centres: small = (photo + 0.5 - x0) * s - 0.5
        back = np.array([[1 / sx, 0, x0 + 0.5 / sx - 0.5], [0, 1 / sy, y0 + 0.5 / sy - 0.5]], np.float64)
        full = matrix[:, :2].astype(np.float64) @ back
        full[:, 2] += matrix[:, 2]
        return cv2.warpAffine(small, full, size, flags=cv2.INTER_LINEAR, borderMode=border)
    return cv2.warpAffine(image, matrix, size, flags=cv2.INTER_LINEAR, borderMode=border)


def matrix_bounds(
    matrix: Array, size: tuple[int, int], width: int, height: int, margin: int = 4
) -> tuple[int, int, int, int] | None:
    """The box (x0, y0, x1, y1) that a (width, height) = ``size`` crop covers in a photo, or None when outside it.

    ``matrix`` maps crop to photo.
    """
    w, h = size
    corners = np.array([[0, 0], [w, 0], [0, h], [w, h]], np.float64)
    there = corners @ matrix[:, :2].T.astype(np.float64) + matrix[:, 2]
    x0, y0 = np.floor(there.min(0)).astype(int) - margin
    x1, y1 = np.ceil(there.max(0)).astype(int) + margin
    x0, y0, x1, y1 = max(0, int(x0)), max(0, int(y0)), min(width, int(x1)), min(height, int(y1))
    return (x0, y0, x1, y1) if x1 > x0 and y1 > y0 else None


def crop_face(image: Pixels, points: Array, size: int = CROP) -> tuple[Pixels, Array]:
    """Cut the face with these five points out of an RGB photo.

    ``image`` is uint8 (H, W, 3), ``points`` (5, 2) in photo pixels. Returns the crop, uint8 (size, size, 3), and the
    2 x 3 matrix from photo to crop that :func:`~halfmask.photos.paste.face_change` needs.
    """
    matrix = similarity(points, template(size))
    return warp(image, matrix, (size, size)), matrix
