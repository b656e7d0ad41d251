"""The parts of TIFF that Pillow does not do: which directory is the photo, and 16-bit colour.

Format: TIFF revision 6.0, TIFF/EP (ISO 12234-2) and DNG 1.7 for sub-directories and raw pictures, BigTIFF.
"""

from __future__ import annotations

import io
import struct
import zlib
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

_SIZES = {1: 1, 3: 2, 4: 4, 13: 4, 16: 8, 18: 8}
_LETTERS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC = 254, 255, 256, 257, 258, 262
_SAMPLES, _PLANAR, _SUB_IFDS, _EXTRA, _FORMAT, _DNG = 277, 284, 330, 338, 339, 50706
_WANTED = frozenset(
    {_SUBFILE, _OLD_SUBFILE, _WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANAR, _SUB_IFDS, _EXTRA, _FORMAT, _DNG}
)
_RAW = {32803, 34892}  # colour filter array, linear raw
_MOST = 1000
_READ = {0, 1, 2, 3, 5, 6, 8}

#: A picture without the mark of a preview is one when it is this small: in pixels, or as a share of the photo's sides.
_THUMBNAIL, _REDUCED = 320, 0.4


@dataclass
class Directory:
    """One picture of a file, by its tags; ``offset`` is its place, ``sub`` whether it hangs on another."""

    offset: int
    sub: bool
    tags: dict[int, tuple[int, ...]] = field(default_factory=dict)

    def get(self, tag: int, default: int) -> int:
        """A tag's first value."""
        values = self.tags.get(tag)
        return values[0] if values else default

    @property
    def size(self) -> tuple[int, int]:
        """Width and height as they are stored."""
        return self.get(_WIDTH, 0), self.get(_HEIGHT, 0)

    @property
    def bits(self) -> int:
        """Bits a sample, the most of any."""
        return max(self.tags.get(_BITS, (1,)))

    @property
    def reduced(self) -> bool:
        """Whether it says of itself that it is a preview or a mask."""
        return bool(self.get(_SUBFILE, 0) & 5) or self.get(_OLD_SUBFILE, 1) == 2

    @property
    def deep_colour(self) -> bool:
        """Whether it is RGB at 16 bits, with alpha or without, in the one layout that is read."""
        extra = self.tags.get(_EXTRA, ())
        return (
            self.get(_PHOTOMETRIC, 1) == 2
            and self.tags.get(_BITS) in ((16,) * 3, (16,) * 4, (16,))
            and (self.get(_SAMPLES, 3), extra) in ((3, ()), (4, (2,)))
            and self.get(_PLANAR, 1) == 1
        )

    def odd(self) -> str | None:
        """Why its samples cannot be kept as they are, in words; None when they can."""
        photometric, bits, kind = self.get(_PHOTOMETRIC, 1), self.bits, self.get(_FORMAT, 1)
        if kind in (2, 5) or kind == 3:
            return f"a TIFF of {bits} bits a sample in {'floating-point' if kind == 3 else 'signed'} numbers"
        if photometric not in _READ:
            return f"a TIFF whose colours are stored in way {photometric} (PhotometricInterpretation)"
        if self.get(_PLANAR, 1) == 2 and bits > 8:
            return f"a TIFF of {bits} bits a sample in separate planes"
        if bits in (1, 2, 4, 8) or (bits == 16 and photometric == 1 and self.get(_SAMPLES, 1) == 1):
            return None
        if self.deep_colour:
            return None
        return f"a TIFF of {self.get(_SAMPLES, 1)} samples of {bits} bits, PhotometricInterpretation {photometric}"


def directories(stream: IO[bytes]) -> list[Directory]:
    """Every picture of a file, in its order, with those that hang on others. Raises ``ValueError`` on damage."""
    stream.seek(0)
    head = stream.read(16)
    order = "<" if head[:2] == b"II" else ">"
    big = struct.unpack_from(order + "H", head, 2)[0] == 43
    if big and order == ">":
        raise ValueError("it is a BigTIFF in big-endian order, which Pillow does not read")
    waiting = [(struct.unpack_from(order + ("Q" if big else "I"), head, 8 if big else 4)[0], False)]
    found: list[Directory] = []
    seen: set[int] = set()
    for offset, sub in waiting:
        if offset in seen or not offset or len(found) >= _MOST:
            continue
        seen.add(offset)
        one = Directory(offset, sub)
        following = _read(stream, order, big, one)
        found.append(one)
        if not sub:
            waiting.append((following, False))
        waiting += [(place, True) for place in one.tags.get(_SUB_IFDS, ())]
    return found


def _read(stream: IO[bytes], order: str, big: bool, into: Directory) -> int:
    """Read the tags that count; gives the place of the next directory."""
    entry, word = (20, "Q") if big else (12, "I")
    wide = struct.calcsize(word)
    stream.seek(into.offset)
    try:
        (count,) = struct.unpack(order + ("Q" if big else "H"), stream.read(8 if big else 2))
        if count > 4096:
            raise ValueError(f"a directory of {count} entries")
        block = stream.read(count * entry)
        (following,) = struct.unpack(order + word, stream.read(wide).rjust(wide, b"\0"))
        places = {}
        for i in range(count):
            (tag,) = struct.unpack_from(order + "H", block, i * entry)
            if tag in _WANTED:
                places[tag] = i * entry  # the last of a tag that stands there again, as for Pillow
        for tag, place in places.items():
            (kind,) = struct.unpack_from(order + "H", block, place + 2)
            (number,) = struct.unpack_from(order + word, block, place + 4)
            if kind not in _SIZES or not 0 < number <= 4096:
                continue
            size, at = _SIZES[kind] * number, place + 4 + wide
            values = block[at : at + size]
            if size > wide:
                stream.seek(struct.unpack_from(order + word, block, at)[0])
                values = stream.read(size)
            into.tags[tag] = struct.unpack(f"{order}{number}{_LETTERS[kind]}", values)
    except struct.error as error:
        raise ValueError(f"a directory at {into.offset} is cut short") from error
    return int(following)


def choose(found: list[Directory]) -> tuple[list[Directory], int, bool]:
    """The full-size pictures of a file, how many previews were left aside, and whether it is a camera's raw file.

    More than one full-size picture means that these are pages. A picture is a preview when it says so, or when it is a
    thumbnail or a small copy beside the largest.
    """
    raw = any(d.get(_PHOTOMETRIC, 1) in _RAW or _DNG in d.tags for d in found)
    if not found:
        raise ValueError("it holds no picture")
    full = [d for d in found if not d.reduced]
    largest = max(full or found, key=lambda d: d.size[0] * d.size[1])  # in TIFF/EP it hangs on a thumbnail
    kept = [d for d in full or found if d is largest or not (d.sub or _copy_of(d, largest))]
    return kept, len(found) - len(kept), raw


def _copy_of(one: Directory, other: Directory) -> bool:
    (w, h), (width, height) = one.size, other.size
    if max(w, h) >= max(width, height):
        return False
    same = abs(w * height - h * width) <= 0.03 * w * height + max(width, height)
    return max(w, h) <= _THUMBNAIL or (same and max(w, h) < _REDUCED * max(width, height))


def beginning_at(data: bytes, offset: int) -> bytes:
    """A file whose first picture is the one at this offset: what readers of a first picture take then."""
    order = "<" if data[:2] == b"II" else ">"
    if struct.unpack_from(order + "H", data, 2)[0] == 43:
        return data[:8] + struct.pack(order + "Q", offset) + data[16:]
    return data[:4] + struct.pack(order + "I", offset) + data[8:]


def encode16(
    samples: NDArray[np.uint16],
    *,
    compress: bool,
    icc: bytes | None,
    dpi: tuple[float, float] | None,
    exif: bytes | None,
    xmp: bytes | None,
) -> bytes:
    """A TIFF of uint16 samples (H, W, 3) RGB or (H, W, 4) RGBA, raw or by deflate with horizontal differences.

    >>> data = encode16(np.zeros((2, 3, 3), np.uint16), compress=True, icc=None, dpi=None, exif=None, xmp=None)
    >>> [d.size for d in directories(io.BytesIO(data))]
    [(3, 2)]
    """
    height, width, channels = samples.shape
    ifd = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    if exif:
        described = Image.Exif()
        described.load(exif)
        for tag, value in described.items():
            ifd[tag] = value
        for tag in (0x8769, 0x8825):
            if inner := dict(described.get_ifd(tag)):
                ifd[tag] = inner
    rows = max(1, (1 << 20) // (width * channels * 2))
    strips = []
    for y in range(0, height, rows):
        band = samples[y : y + rows].astype("<u2")
        if compress:
            band[:, 1:] -= samples[y : y + rows, :-1]
        strips.append(zlib.compress(band.tobytes()) if compress else band.tobytes())
    lengths = [len(strip) for strip in strips]
    ifd[_WIDTH], ifd[_HEIGHT], ifd[_BITS], ifd[259] = width, height, (16,) * channels, 8 if compress else 1
    ifd[_PHOTOMETRIC], ifd[_SAMPLES], ifd[278], ifd[_PLANAR] = 2, channels, rows, 1
    ifd[273], ifd[279] = tuple(int(n) for n in np.cumsum([0, *lengths[:-1]])), tuple(lengths)
    ifd.tagtype[273] = ifd.tagtype[279] = 4
    if compress:
        ifd[317] = 2
    if channels == 4:
        ifd[_EXTRA] = 2
    if dpi:
        ifd[282], ifd[283], ifd[296] = dpi[0], dpi[1], 2
    if icc:
        ifd.tagtype[34675] = 7
        ifd[34675] = icc
    if xmp:
        ifd.tagtype[700] = 1
        ifd[700] = xmp
    out = io.BytesIO()
    ifd.save(out)
    for strip in strips:
        out.write(strip)
    return out.getvalue()


def same_picture(deep: NDArray[Any], shown: NDArray[Any]) -> bool:
    """Whether samples of 16 bits are those of which ``shown`` are the upper 8."""
    if deep.dtype != np.uint16 or deep.shape != shown.shape:
        return False
    return all(np.array_equal(deep[y] >> 8, shown[y]) for y in range(len(deep)))
