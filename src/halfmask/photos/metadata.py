"""What a picture file says beside its pixels: which way is up, and what may be kept when the user asks for it.

Metadata is private by default: it holds places, names, serial numbers, and previews that show the face unprotected.
Even when it is kept, everything that can hide a preview (the thumbnail directory, maker notes, XMP thumbnails and
depth images) is dropped.
"""

from __future__ import annotations

import re
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112
_EXIF, _GPS = 0x8769, 0x8825
_MAKER_NOTE = 0x927C
_INTEROP = 0xA005
_WIDTH, _HEIGHT = 0xA002, 0xA003

#: What is kept of the first directory: description, make, model, resolution, software, date, artist, copyright, XP*.
#: A list of the kept rather than the dropped, since TIFF keeps offsets and private blocks in the same directory.
_KEPT = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298, *range(0x9C9B, 0x9CA0))

_XMP_PREVIEW = re.compile(rb"<([\w.-]+:)?Thumbnails\b.*?</\1Thumbnails\s*>|<([\w.-]+:)?Thumbnails\b[^>]*/>", re.DOTALL)
_XMP_IMAGE = re.compile(rb"GImg|GImage|GDepth|Thumbnails|base64", re.IGNORECASE)
_XMP_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>\s*))\d")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when there is none or it makes no sense. Never raises."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block raises almost anything, and is no reason to refuse the pixels
        return 1
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(samples: NDArray[Any], value: int) -> NDArray[Any]:
    """Turn samples (H, W[, C]) stored with this EXIF orientation so that up is up. Copies only for 2 to 8.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()  # stored lying on its left side
    [[3, 1], [4, 2]]
    """
    if value >= 5:
        samples = samples.swapaxes(0, 1)
    if value in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if value in (3, 4, 7, 8):
        samples = samples[::-1]
    return np.ascontiguousarray(samples)


def kept_exif(image: Image.Image, size: tuple[int, int]) -> bytes | None:
    """The EXIF block to write when metadata is kept: upright, of the new ``size`` (width, height), without a preview.

    None when there is none, or when it is too damaged to be written again.
    """
    try:
        source = image.getexif()
        exif = Image.Exif()
        for tag in _KEPT:
            if tag in source:
                exif[tag] = source[tag]
        for tag in (_EXIF, _GPS):
            directory = {k: v for k, v in source.get_ifd(tag).items() if k not in (_MAKER_NOTE, _INTEROP)}
            for name, number in zip((_WIDTH, _HEIGHT), size, strict=True):
                if tag == _EXIF and name in directory:
                    directory[name] = number
            if directory:
                exif.get_ifd(tag).update(directory)
                exif[tag] = exif.get_ifd(tag)
        if not len(exif):
            return None
        exif[ORIENTATION] = 1
        return exif.tobytes()
    except Exception:  # as above: metadata that cannot be read is metadata that is not there
        return None


def kept_xmp(image: Image.Image) -> bytes | None:
    """The XMP packet to write when metadata is kept: upright and without previews. None when there is none.

    A packet that still holds image data after its thumbnails were cut out is dropped whole.
    """
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if packet is None:
        packet = getattr(image, "tag_v2", {}).get(700)
    if isinstance(packet, str):
        packet = packet.encode()
    if not isinstance(packet, bytes):
        return None
    packet = _XMP_ORIENTATION.sub(rb"\g<1>1", _XMP_PREVIEW.sub(b"", packet.rstrip(b"\0")))
    if _XMP_IMAGE.search(packet):
        return None
    try:
        packet.decode()
    except UnicodeDecodeError:  # UTF-16 would have hidden a preview from the patterns above
        return None
    return packet if b"\0" not in packet else None
