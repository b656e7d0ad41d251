"""The parts of JPEG that Pillow does not do: what hangs on a photo, whether it is whole, speed, and writing in strips.

Format: ITU-T T.81 (markers: table B.1), CIPA DC-007 (MPF), Adobe XMP part 3 (extended XMP), Google's Ultra HDR and
Motion Photo formats, ISO 21496-1 (gain maps).
"""

from __future__ import annotations

import io
import re
import struct
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")
_XMP, _MORE_XMP = b"http://ns.adobe.com/xap/1.0/\0", b"http://ns.adobe.com/xmp/extension/\0"
_GAIN_MAP = re.compile(rb"hdrgm:|hdr-gain-map|HDRGainMap|\"GainMap\"|'GainMap'|>GainMap<", re.IGNORECASE)
_MOTION = re.compile(rb"MotionPhoto|MicroVideo")
_DEPTH = re.compile(rb"GDepth:|\"Depth\"|>Depth<|apdi:|AuxiliaryImageType")

EOI = b"\xff\xd9"
_SOF = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}

#: The options that decide how samples are coded; the others stand at the head of a file.
_TABLES = frozenset({"quality", "qtables", "subsampling", "keep_rgb", "progressive"})

#: Rows of MCUs in a strip: a megabyte or two of pixels, and far from the 65,535 MCUs that an interval may have.
_STRIP = 16


def segments(data: Any) -> Iterator[tuple[int, int, int]]:
    r"""(marker, start, end) of the contents of every segment up to the end of the picture; EOI has none.

    ``data`` is bytes or a memory map of a file. Stops without a word where the file is damaged or ends.

    >>> [hex(m) for m, _, _ in segments(b"\xff\xd8\xff\xfe\0\4hi\xff\xd9")]
    ['0xfe', '0xd9']
    """
    at = 2
    while found := _MARKER.search(data, at):
        marker, at = data[found.start() + 1], found.end()
        if marker == 0xD9:
            yield marker, at, at
            return
        if marker in (0x01, 0xD8):
            continue
        if at + 2 > len(data):
            return
        size = int.from_bytes(data[at : at + 2], "big")
        if size < 2:
            return
        yield marker, at + 2, at + size
        at += size


def parts(data: Any) -> list[str]:
    """What a JPEG file carries beside its photo: "gain map", "motion video", "depth map", "further picture" and others.

    ``data`` is bytes or a memory map of the whole file.
    """
    found: list[str] = []
    end = len(data)
    pictures = 0
    for marker, a, b in segments(data):
        if marker == 0xD9:
            end = a
        elif marker == 0xE1 and data[a : a + len(_XMP)] == _XMP:
            packet = bytes(data[a:b])
            found += ["gain map"] * bool(_GAIN_MAP.search(packet)) + ["motion video"] * bool(_MOTION.search(packet))
            found += ["depth map"] * bool(_DEPTH.search(packet))
        elif marker == 0xE1 and data[a : a + len(_MORE_XMP)] == _MORE_XMP:
            found.append("extended XMP")
        elif marker == 0xE2 and data[a : a + 28] == b"urn:iso:std:iso:ts:21496:-1\0":
            found.append("gain map")
        elif marker == 0xE2 and data[a : a + 4] == b"MPF\0":
            pictures = _mpf(bytes(data[a + 4 : b]))
    tail = bytes(data[end : end + 4096])
    # A video follows at once, or under a name that Samsung also lists at the end of the file.
    if b"ftyp" in tail[:64] or b"MotionPhoto_Data" in tail or b"MotionPhoto" in data[max(end, len(data) - 4096) :]:
        found.append("motion video")
    if _GAIN_MAP.search(tail):  # Apple's says so in its own header only
        found.append("gain map")
    tail = tail.lstrip(b"\0")
    others = pictures - 1 - sum(kind in found for kind in ("gain map", "depth map"))
    if others > 0 or (not found and tail[:3] == b"\xff\xd8\xff"):
        found.append("further picture")
    return list(dict.fromkeys(found))


def _mpf(block: bytes) -> int:
    """The number of pictures that a multi-picture index declares, 0 where it makes no sense."""
    order = {b"II": "<", b"MM": ">"}.get(block[:2])
    try:
        if order is None:
            return 0
        (at,) = struct.unpack_from(order + "I", block, 4)
        (count,) = struct.unpack_from(order + "H", block, at)
        for i in range(count):
            tag, _, _, value = struct.unpack_from(order + "HHII", block, at + 2 + 12 * i)
            if tag == 0xB001:
                return int(value)
    except struct.error:
        pass
    return 0


def ends(data: Any) -> bool:
    """Whether the end marker of the photo is there: after its first scan, since previews have markers as well."""
    last = data.rfind(EOI)  # looked for once: a damaged file may have a million scans
    return any(marker == 0xDA and b <= last for marker, _, b in segments(data))


def without_end(data: bytes, decode: Callable[[bytes], np.ndarray[Any, Any]]) -> bytes | None:
    """A JPEG whose end marker is missing, with one, when every row of it is there; None when it is truly cut.

    ``decode`` turns the bytes of a file into samples. libjpeg fills what is missing from whatever follows, so two files
    that go on differently come out alike only where nothing is missing. A progressive picture must also have had
    its last scan of every component.

    The second way to go on holds the restart markers for which a cut at the end of an interval would wait.
    """
    if _scans_missing(data):
        return None
    if data.endswith(b"\0\0"):  # a download that stopped, in a file that had its size before: zeros decode as well
        data = data.rstrip(b"\0")
    data = data.rstrip(b"\xff")
    rng = np.random.default_rng(0)
    last = max(data.rfind(bytes((0xFF, 0xD0 + i))) for i in range(8))
    following = data[last + 1] + 1 if last >= data.rfind(b"\xff\xda") else 0xD0
    strange = b"".join(
        rng.integers(1, 255, 256, np.uint8).tobytes() + bytes((0xFF, 0xD0 + (following + i) % 8)) for i in range(32)
    )
    whole = data + EOI
    try:
        same = np.array_equal(decode(whole), decode(data + strange + EOI))
    except (OSError, SyntaxError, ValueError):
        return None
    return whole if same else None


def _scans_missing(data: bytes) -> bool:
    """Whether a progressive picture lacks a scan of some coefficient down to its last bit."""
    left: dict[int, set[int]] = {}
    progressive = False
    for marker, a, b in segments(data):
        if marker in _SOF:
            progressive = marker in (0xC2, 0xC6, 0xCA, 0xCE)
            left = {data[a + 6 + 3 * i]: set(range(64)) for i in range(data[a + 5])} if b - a > 5 else {}
        elif marker == 0xDA and b - a >= 4:
            count = data[a]
            first, last, bits = data[b - 3], data[b - 2], data[b - 1]
            for i in range(count):
                if bits & 15 == 0:
                    left.get(data[a + 1 + 2 * i], set()).difference_update(range(first, last + 1))
    return progressive and any(left.values())


def quickly(data: bytes, image: Image.Image) -> np.ndarray[Any, Any] | None:
    """The samples of a JPEG as Pillow gives them, in a fraction of its time; None for what only Pillow should read.

    ``image`` is the same file, opened by Pillow and not yet loaded. Only gray and the usual three components are
    decoded, uint8 (H, W) or (H, W, 3), straight into an array of that size. What libjpeg warns of, such as a
    damaged stream, is left to Pillow, which says what is wrong with it or shows it as it always did.
    """
    layers = [layer[0] for layer in getattr(image, "layer", [])]
    gray = image.mode == "L" and len(layers) == 1
    # luma and two differences, the usual way; anything else may be meant in another way
    usual = image.mode == "RGB" and layers == [1, 2, 3] and image.info.get("adobe_transform", 1) == 1
    if not (gray or usual):
        return None
    width, height = image.size
    pixels = np.empty((height, width) if gray else (height, width, 3), np.uint8)
    try:
        got = simplejpeg.decode_jpeg(data, "GRAY" if gray else "RGB", buffer=pixels, strict=True)
    except (ValueError, RuntimeError):
        return None
    return pixels if got.size == pixels.size else None


def decode(data: bytes) -> np.ndarray[Any, Any]:
    """The samples of a JPEG by Pillow."""
    with Image.open(io.BytesIO(data), formats=["JPEG"]) as image:
        return np.asarray(image)


def encode_in_strips(
    strip: Callable[[int, int], Image.Image], width: int, height: int, options: dict[str, Any], mcu: int
) -> bytes | None:
    """A baseline JPEG written strip by strip, so that the picture never stands in memory a second time.

    ``strip(y0, y1)`` gives rows as a Pillow image, ``options`` are Pillow's for saving, ``mcu`` is the height of an MCU
    in pixels, which strips begin at. Each strip is a restart interval of the file; its blocks are those that
    the whole picture has. None where an interval would have too many MCUs, or strips do not share their tables.
    """
    rows = _STRIP * mcu
    out = bytearray()
    interval = 0
    first: bytes | None = None
    for number, y in enumerate(range(0, height, rows)):
        one = io.BytesIO()
        image = strip(y, min(height, y + rows))
        image.save(one, "JPEG", **(options if number == 0 else {k: v for k, v in options.items() if k in _TABLES}))
        data = one.getvalue()
        head, sof, tables, scan = b"", 0, b"", 0
        for marker, a, b in segments(data):
            if marker in _SOF:
                if marker != 0xC0:
                    return None
                sof = a
                across = max(data[a + 7 + 3 * i] >> 4 for i in range(data[a + 5]))
                gray = data[a + 5] == 1
                interval = _STRIP * -(-width // (8 if gray else 8 * across))
            elif marker in (0xC4, 0xDB):
                tables += bytes(data[a:b])
            elif marker == 0xDA:
                tables += bytes(data[a:b])
                scan, head = b, data[: a - 4]
                break
        if interval > 0xFFFF or not scan:
            return None
        if first is None:
            first = tables
            out += head[: sof + 1] + struct.pack(">H", height) + head[sof + 3 :]
            out += b"\xff\xdd\0\4" + struct.pack(">H", interval) + data[len(head) : scan]
        elif tables != first:
            return None
        else:
            out += bytes((0xFF, 0xD0 + (number - 1) % 8))
        out += data[scan : data.rindex(EOI)]
    return bytes(out + EOI)
