"""What the samples of each picture mode mean: as RGB for the networks, and with a change added in the mode's own terms.

Modes are Pillow's names, plus three that Pillow lacks for 16-bit PNG: ``"LA;16"``, ``"RGB;16"`` and ``"RGBA;16"``.
Samples are (H, W) or (H, W, C); bool for mode ``"1"``, uint16 for the 16-bit modes, otherwise uint8.
"""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from . import tones
from .palette import Palette

Pixels = NDArray[np.uint8]
Samples = NDArray[Any]

#: Mode → channels, the ones that halfmask reads and writes.
CHANNELS = {
    "1": 1, "L": 1, "LA": 2, "P": 1, "PA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4,
    "I;16": 1, "LA;16": 2, "RGB;16": 3, "RGBA;16": 4,
}  # fmt: skip

#: ITU-R BT.601, the luma that Pillow and JPEG use.
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


def depth(mode: str) -> int:
    """Bits a sample: 1, 8 or 16.

    >>> depth("1"), depth("P"), depth("I;16")
    (1, 8, 16)
    """
    return 1 if mode == "1" else 16 if mode.endswith(";16") else 8


def gray(mode: str) -> bool:
    """Whether a mode holds no colour at all."""
    return mode in ("1", "L", "LA", "I;16", "LA;16")


def to8(samples: Samples) -> Pixels:
    """Samples of 1, 8 or 16 bits as 8 bits: full scale stays full scale, 16 bits are rounded to nearest.

    >>> to8(np.array([0, 128, 129, 65535], np.uint16)).tolist(), to8(np.array([True])).tolist()
    ([0, 0, 1, 255], [255])
    """
    if samples.dtype == np.uint16:
        return ((samples.astype(np.uint32) * 255 + 32767) // 65535).astype(np.uint8)
    return np.where(samples, np.uint8(255), np.uint8(0)) if samples.dtype == bool else samples


def to_rgb8(samples: Samples, mode: str, palette: Palette | None, transfer: int | None = None) -> Pixels:
    """The colours as 8-bit RGB (H, W, 3), alpha left off; no copy where the samples are that already.

    ``transfer`` is 16 for PQ and 18 for HLG, None for pictures that are shown as they are.
    """
    if palette is not None:
        return palette.colours[samples if samples.ndim == 2 else samples[..., 0]]
    if mode == "CMYK":
        ink = 255 - samples[..., :3].astype(np.uint16)
        return ((ink * (255 - samples[..., 3:].astype(np.uint16)) + 127) // 255).astype(np.uint8)
    shown = to8(samples) if transfer is None else tones.shown(samples, transfer)
    if gray(mode):
        return np.repeat(shown[..., None] if shown.ndim == 2 else shown[..., :1], 3, axis=2)
    return np.ascontiguousarray(shown[..., :3])


def add(
    region: Samples,
    mode: str,
    delta: NDArray[np.float32],
    key: tuple[int, ...] | None = None,
    transfer: int | None = None,
) -> None:
    """Add a change to samples in place, rounded to nearest and clipped. Not for palette pictures.

    ``region`` is a view (h, w[, C]) into a picture, ``delta`` float32 (h, w, 3) in units of full scale. Gray takes
    the change's luma, alpha stays, CMYK is reached by the inks first and by less black only where they do not
    suffice. In a bilevel picture the change is dithered. Samples whose delta is 0 stay bit-identical. ``key`` is the
    colour that a PNG declares to be transparent: pixels of that colour stay, and no other pixel becomes it.
    ``transfer`` is that of :func:`to_rgb8`: the change is added to what is seen.

    >>> picture = np.array([[10, 250]], np.uint8)
    >>> add(picture, "L", np.full((1, 2, 3), 0.1, np.float32))
    >>> picture.tolist()
    [[36, 255]]
    """
    if mode == "1":
        if key is not None:
            return  # one of the two values means transparent: no pixel can change and keep its alpha
        _add_bilevel(region, delta @ LUMA)
        return
    if mode == "CMYK":
        _add_cmyk(region, delta)
        return
    top = np.float32(65535 if region.dtype == np.uint16 else 255)
    if gray(mode):
        change = (delta @ LUMA)[..., None]
        colour = region[..., None] if region.ndim == 2 else region[..., :1]
    else:
        change = delta
        colour = region[..., :3]
    if transfer is None and key is None:
        # in one pass, rounded to nearest and clipped
        depth = cv2.CV_16U if region.dtype == np.uint16 else cv2.CV_8U
        colour[...] = cv2.add(change * top, np.ascontiguousarray(colour), dtype=depth).reshape(colour.shape)
        return
    result = change * top + colour if transfer is None else np.asarray(tones.add(colour, change, transfer), np.float32)
    np.rint(result, out=result)
    np.clip(result, 0, top, out=result)
    if key is not None:
        keyed = (colour == np.array(key)).all(axis=-1)
        clash = (result == np.array(key)).all(axis=-1)
        result[clash, -1] += -1.0 if key[-1] == top else 1.0
        result[keyed] = colour[keyed]
    colour[...] = result


def _add_bilevel(region: NDArray[np.bool_], change: NDArray[np.float32]) -> None:
    """Flip as many pixels, at random, as move the local mean by the change.

    The mean is all that a bilevel picture shows of a gray. Error diffusion would not do, since on pixels that are black
    or white already it is all clipped. The noise is the same in every run.
    """
    mean = np.asarray(cv2.GaussianBlur(region.astype(np.float32), (0, 0), 2.0), np.float32)
    movable = np.where(change > 0, 1.0 - mean, mean)  # the share of pixels around that can still follow
    noise = np.random.default_rng(0).random(region.shape, np.float32)
    region ^= (noise * movable < np.abs(change)) & (region == (change < 0))


def _add_cmyk(region: Pixels, delta: NDArray[np.float32]) -> None:
    moved = delta.any(axis=-1)
    inks = region[moved].astype(np.float32)
    light = 255.0 - inks[:, 3:]
    rgb = np.clip((255.0 - inks[:, :3]) * light / 255.0 + delta[moved] * 255.0, 0.0, 255.0)
    black = np.minimum(inks[:, 3], np.floor(255.0 - rgb.max(axis=1) + 1e-3))  # 1e-3: a rounding error is no request
    light = 255.0 - black[:, None]
    # Under full black the inks cannot be seen, so they stay what they were.
    inks[:, :3] = np.where(light > 0, 255.0 - 255.0 * rgb / np.maximum(light, 1.0), inks[:, :3])
    inks[:, 3] = black
    region[moved] = np.clip(np.rint(inks), 0, 255).astype(np.uint8)
