"""A frame of a video as RGB for the networks, and changes added to its own planes.

A frame is never converted there and back: a change in RGB is a change in luma and chroma, which is added to the planes
where it is not 0. So what no face touches stays as the decoder gave it, bit for bit.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import PhotoError
from ..photos import tones
from ..photos.paste import Change, FaceChange, Shared, combine

if TYPE_CHECKING:
    import av

_FORMAT = re.compile(r"(yuvj?(420|422|440|444)p|gray)(9|10|12|14|16)?(le)?")
#: Weights of red and blue in luma, by the matrix's number in H.273.
_MATRICES = {1: (0.2126, 0.0722), 4: (0.30, 0.11), 5: (0.299, 0.114), 6: (0.299, 0.114), 7: (0.212, 0.087)}
_MATRICES[9] = (0.2627, 0.0593)
#: The same matrices as swscale numbers them.
_SWSCALE = {1: 1, 4: 4, 5: 5, 6: 5, 7: 7, 9: 9}
_UNSAID, _FULL, _LIMITED = 2, 2, 1
_HD = 720  # lines from which players take a video that does not say for BT.709


@dataclass(frozen=True)
class Colours:
    """What the samples of a clip's frames mean; kept by the clip that is written.

    ``matrix``, ``primaries`` and ``transfer`` are numbers of H.273 (2: not said), ``range`` is 1 for limited, 2 for
    full and 0 where it is not said. ``turn`` is by how many quarters against the clock a frame is turned to be seen.
    """

    format: str
    matrix: int
    primaries: int
    transfer: int
    range: int
    height: int
    turn: int = 0

    def __post_init__(self) -> None:
        """Refuse what cannot be kept."""
        if not _FORMAT.fullmatch(self.format):
            raise PhotoError(
                f"its pixel format is {self.format}; expected planar YUV 4:2:0, 4:2:2, 4:4:0 or 4:4:4, or gray. "
                "Convert it, for example by: ffmpeg -i IN -pix_fmt yuv420p OUT"
            )
        if self.matrix not in (*_MATRICES, _UNSAID):
            raise PhotoError(
                f"its colour matrix is number {self.matrix} of H.273, which halfmask does not know; expected BT.601, "
                "BT.709 or BT.2020 with non-constant luminance"
            )
        if self.hdr is None and self.transfer not in tones.ORDINARY | {0}:
            raise PhotoError(
                f"its transfer characteristic is number {self.transfer} of H.273, which halfmask does not know; "
                "expected that of an ordinary screen, PQ or HLG"
            )

    @property
    def hdr(self) -> int | None:
        """PQ or HLG by their number, None for an ordinary clip."""
        return self.transfer if self.transfer in (tones.PQ, tones.HLG) else None

    @property
    def bits(self) -> int:
        """Bits a sample."""
        found = _FORMAT.fullmatch(self.format)
        return int((found and found[3]) or 8)

    @property
    def full(self) -> bool:
        """Whether samples use their whole range."""
        return self.format.startswith("yuvj") or self.range == _FULL or (self.gray and self.range != _LIMITED)

    @property
    def gray(self) -> bool:
        """Whether there is luma alone."""
        return self.format.startswith("gray")

    @property
    def known_matrix(self) -> int:
        """The matrix, or the one that players take where it is not said."""
        return self.matrix if self.matrix in _MATRICES else 1 if self.height >= _HD else 6


def colours(frame: av.VideoFrame) -> Colours:
    """What a frame says of itself. Raises :class:`~halfmask.errors.PhotoError` for what is not read."""
    return Colours(
        frame.format.name, frame.colorspace, frame.color_primaries, frame.color_trc, frame.color_range, frame.height,
        round(frame.rotation / 90) % 4,
    )  # fmt: skip


def samples(frame: av.VideoFrame, colours: Colours) -> NDArray[Any]:
    """The frame upright as RGB, uint8 (H, W, 3); uint16, still in its own transfer, for PQ and HLG."""
    rgb = frame.reformat(
        format="rgb24" if colours.hdr is None else "rgb48le",
        src_colorspace=_SWSCALE[colours.known_matrix],
        src_color_range=2 if colours.full else 1,
        dst_color_range=2,
    ).to_ndarray()
    return np.ascontiguousarray(np.rot90(rgb, colours.turn))


def seen(samples: NDArray[Any], colours: Colours) -> NDArray[np.uint8]:
    """Those samples as an ordinary screen shows them, uint8 (H, W, 3)."""
    return samples if colours.hdr is None else tones.shown(samples, colours.hdr)


def add(
    frame: av.VideoFrame, changes: Iterable[Change | FaceChange], samples: NDArray[Any], colours: Colours
) -> list[bool]:
    """Add changes, in the upright frame, to the frame's planes; says of each whether any sample is another now.

    ``samples`` are those of :func:`samples`, of the frame as it was. Planes whose change is 0 stay bit-identical.
    """
    frame.make_writable()  # the decoder may still need what it was
    planes = views(frame, colours)
    differs = []
    for change in combine(changes):
        parts = _parts(_possible(change, samples, colours), colours)
        differs.append(False)
        for plane, part in zip(planes, parts, strict=True):
            differs[-1] |= _add(plane, part, change.box[:2], samples.shape, 2**colours.bits - 1)
    return differs


def views(frame: av.VideoFrame, colours: Colours) -> list[NDArray[Any]]:
    """The frame's planes, Y, Cb and Cr, as arrays to write to, turned as the frame is seen."""
    kind = np.dtype("<u2" if colours.bits > 8 else "u1")
    found = []
    for plane in frame.planes:
        rows = np.frombuffer(memoryview(plane), kind).reshape(-1, plane.line_size // kind.itemsize)
        found.append(np.rot90(rows[: plane.height, : plane.width], colours.turn))
    return found


def _possible(change: Change | FaceChange | Shared, samples: NDArray[Any], colours: Colours) -> NDArray[np.float32]:
    """A change, in units of the samples' full scale, as far as it stays within their range."""
    x0, y0, x1, y1 = change.box
    before = samples[y0:y1, x0:x1]
    top = np.float32(np.iinfo(samples.dtype).max)
    if colours.hdr is not None:
        return np.asarray((tones.add(before, change.delta, colours.hdr) - before) / top, np.float32)
    share = before / top
    # nothing is added to a sample at the end of its range; an exact 0 stays one
    return np.asarray(np.clip(change.delta, -share, np.float32(1) - share), np.float32)


def _parts(rgb: NDArray[np.float32], colours: Colours) -> list[NDArray[np.float32]]:
    """A change of RGB as one of Y, Cb and Cr, in units of samples."""
    red, blue = _MATRICES[colours.known_matrix]
    luma = rgb @ np.array([red, 1 - red - blue, blue], np.float32)
    top = 2**colours.bits - 1
    unit = 2 ** (colours.bits - 8)
    y, c = (top, top) if colours.full else (219 * unit, 224 * unit)
    if colours.gray:
        return [luma * np.float32(y)]
    cb = (rgb[..., 2] - luma) * np.float32(c / (2 * (1 - blue)))
    cr = (rgb[..., 0] - luma) * np.float32(c / (2 * (1 - red)))
    return [luma * np.float32(y), cb, cr]


def _add(
    plane: NDArray[Any], part: NDArray[np.float32], corner: tuple[int, int], shape: tuple[int, ...], top: int
) -> bool:
    """Add to a plane, whose samples may stand for several pixels each, a change with that corner in the frame."""
    across, down = -(-shape[1] // plane.shape[1]), -(-shape[0] // plane.shape[0])
    x, y = corner
    if (across, down) != (1, 1):
        left, above = x % across, y % down
        right, below = -(left + part.shape[1]) % across, -(above + part.shape[0]) % down
        part = np.pad(part, ((above, below), (left, right)))
        size = (part.shape[1] // across, part.shape[0] // down)
        part = np.asarray(cv2.resize(part, size, interpolation=cv2.INTER_AREA), np.float32)
        x, y = x // across, y // down
    region = plane[y : y + part.shape[0], x : x + part.shape[1]]
    before = region.copy()
    region[...] = np.clip(np.rint(before + part[: region.shape[0], : region.shape[1]]), 0, top)
    return not np.array_equal(before, region)
