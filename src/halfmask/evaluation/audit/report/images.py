"""The pictures of the report: before, after, and their difference made visible; all inside the page as data URIs."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ....errors import DataError

Pixels = NDArray[np.uint8]

#: How often the difference may be amplified.
AMPLIFICATIONS = (1, 2, 4, 8, 16)
#: Share of pixel values that may leave the range when amplified.
_CLIPPED = 0.01


@dataclass(frozen=True, eq=False)
class Picture:
    """A face before and after: uint8 RGB (H, W, 3), both of one size, and the name of the file they come from.

    Raises :class:`~halfmask.errors.DataError` for other arrays.
    """

    file: str
    before: Pixels
    after: Pixels

    def __post_init__(self) -> None:
        for side, pixels in (("before", self.before), ("after", self.after)):
            if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.size == 0:
                raise DataError(
                    f"the picture {side} of {self.file} is {pixels.dtype} {pixels.shape}; expected uint8 (H, W, 3)"
                )
        if self.before.shape != self.after.shape:
            raise DataError(
                f"the pictures of {self.file} differ in size: {self.before.shape} before, {self.after.shape} after; "
                "cut both alike"
            )


def amplification(pictures: Sequence[Picture]) -> int:
    """How much the differences of these pictures can be amplified, all alike, with at most 1 % of values clipped.

    >>> gray = np.full((8, 8, 3), 128, np.uint8)
    >>> amplification([Picture("a", gray, gray + np.uint8(20))])
    4
    """
    if not pictures:
        return 1
    sizes = np.concatenate([np.abs(_change(p)).ravel() for p in pictures])
    fits = [k for k in AMPLIFICATIONS if np.mean(sizes.astype(np.int64) * k > 127) <= _CLIPPED]
    return max(fits, default=1)


def difference(picture: Picture, times: int) -> Pixels:
    """What was added, ``times`` as strong, on mid-grey (128): lighter is added, darker taken away, uint8 (H, W, 3).

    >>> gray = np.full((1, 1, 3), 100, np.uint8)
    >>> difference(Picture("a", gray, gray + np.uint8(5)), 4)[0, 0].tolist()
    [148, 148, 148]
    """
    return np.clip(128 + times * _change(picture).astype(np.int64), 0, 255).astype(np.uint8)


def _change(picture: Picture) -> NDArray[np.int16]:
    return picture.after.astype(np.int16) - picture.before.astype(np.int16)


def png_uri(pixels: Pixels) -> str:
    """A picture (H, W, 3) as the data URI of a PNG, which loses nothing."""
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return data_uri(stream.getvalue(), "image/png")


def data_uri(data: bytes, kind: str) -> str:
    """Bytes as a data URI.

    >>> data_uri(b"hm", "text/plain")
    'data:text/plain;base64,aG0='
    """
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def file_uri(path: Path) -> str:
    """A picture file as the data URI of a PNG. Raises :class:`~halfmask.errors.DataError` when it cannot be read."""
    try:
        with Image.open(path) as image:
            return png_uri(np.asarray(image.convert("RGB"), np.uint8))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise DataError(f"{path.name} cannot be shown: {error}") from error
