"""YuNet (Wu et al. 2023; OpenCV Zoo, MIT) as a function of pictures: boxes, five points and a score each.

It runs on onnxruntime in any size and in batches, at about half the time that OpenCV's own class takes for small
pictures. What it says is the same (a test compares them).
"""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError, WeightsError
from ..weights import running

#: Columns of a row: x, y, width, height of the box, five points (x, y), score in [0, 1].
COLUMNS = 15

_STRIDES = (8, 16, 32)
# The file fixes its input to 1 x 3 x 640 x 640. In that shape, as protobuf writes it, each number but the 3 becomes
# a name, which leaves it free: none, "h" and "w". Nothing else is changed, and no length.
_FIXED = b"\x0a\x02\x08\x01\x0a\x02\x08\x03\x0a\x03\x08\x80\x05\x0a\x03\x08\x80\x05"
_FREE = b"\x0a\x02\x12\x00\x0a\x02\x08\x03\x0a\x03\x12\x01h\x0a\x03\x12\x01w"
_SAME = 0.3  # boxes that overlap by more (intersection over union) are one face, as in OpenCV's class

Rows = NDArray[np.float32]


class YuNet:
    """The network, loaded. Safe to share between threads; ``threads`` is what one call may use.

    Raises :class:`~halfmask.errors.WeightsError` when the file is not the network.
    """

    def __init__(self, path: Path, threads: int = 1) -> None:
        try:
            data = path.read_bytes()
            if data.count(_FIXED) != 1:
                raise ValueError("it has no input of 640 x 640")
            data = data.replace(_FIXED, _FREE)
            self._session = running.session(data, threads or 1)
        except UsageError:  # of the device
            raise
        except Exception as error:  # onnxruntime raises classes of its own that it does not export
            raise WeightsError(f"the face detector {path} does not load: {error}. Delete it and run again.") from error
        self._outputs = [f"{kind}_{stride}" for stride in _STRIDES for kind in ("cls", "obj", "bbox", "kps")]

    def __call__(self, pictures: NDArray[np.uint8], threshold: float) -> list[Rows]:
        """What is in RGB pictures, uint8 (N, H, W, 3): for each the rows of at least ``threshold``, best first.

        Rows are float32 (K, 15), see :data:`COLUMNS`, in pixels of the picture; overlapping ones are one.
        """
        count, height, width = pictures.shape[:3]
        high, wide = -(-height // 32) * 32, -(-width // 32) * 32
        batch = np.empty((count, 3, high, wide), np.float32)  # BGR, in [0, 255]
        batch[..., height:, :], batch[..., width:] = 0, 0
        for picture, planes in zip(pictures, batch, strict=True):
            for k, plane in enumerate(cv2.split(picture)):  # half the time of cv2.dnn.blobFromImages
                planes[2 - k, :height, :width] = plane
        outputs = iter(self._session.run(self._outputs, {"input": batch}))
        found: list[Rows] = [np.zeros((0, COLUMNS), np.float32)]
        where: list[NDArray[np.int64]] = [np.zeros(0, np.int64)]  # the picture of each
        for stride in _STRIDES:
            classes, objects, boxes, points = (
                np.asarray(next(outputs), np.float32).reshape(count, -1, n) for n in (1, 1, 4, 10)
            )
            products = classes[..., 0] * objects[..., 0]  # both are sigmoids
            picture, place = np.nonzero(products >= threshold**2)
            if not len(place):
                continue
            scores = np.sqrt(products[picture, place])
            cell = np.stack(np.divmod(place, wide // stride)[::-1], 1).astype(np.float32)
            box = boxes[picture, place]
            size = np.exp(box[:, 2:]) * stride
            corner = (cell + box[:, :2]) * stride - size / 2
            spots = (points[picture, place] + np.tile(cell, 5)) * stride
            found.append(np.concatenate([corner, size, spots, scores[:, None]], 1))
            where.append(picture)
        rows, owner = np.concatenate(found), np.concatenate(where)
        return [suppressed(rows[owner == n]) for n in range(count)]


def suppressed(rows: Rows) -> Rows:
    """Rows without those that overlap a better one, best first.

    >>> rows = np.zeros((2, 15), np.float32)
    >>> rows[:, 2:4] = 9
    >>> rows[:, 14] = 0.8, 0.9
    >>> suppressed(rows)[:, 14].tolist()
    [0.89...]
    """
    if not len(rows):
        return rows
    kept = cv2.dnn.NMSBoxes(rows[:, :4].tolist(), rows[:, 14].tolist(), 0.0, _SAME)
    best: Rows = rows[np.asarray(kept, int).ravel()]
    return best
