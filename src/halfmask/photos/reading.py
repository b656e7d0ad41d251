"""Photos from files to samples and back, so that everything but the faces is kept.

:func:`read` gives a :class:`Photo` that is upright and holds its samples in the file's own mode and depth;
:meth:`Photo.with_changes` adds changes to the faces; :meth:`Photo.save` writes the same size, mode and format.
Kept: size, mode, bit depth, alpha, palette, ICC profile, resolution, JPEG's quantisation tables and sampling, TIFF's
compression, WebP's losslessness. Dropped unless asked for: EXIF with GPS, XMP. Always dropped: thumbnails, maker
notes, IPTC, comments, text chunks, and the further pictures that phones hang onto a JPEG (MPO).

Not read, each with an error that says so: animations and files of several pages (their other faces would stay as they
are), colour TIFF of more than 8 bits, LAB and floating-point pictures. HEIC is read at 8 bits a sample.
"""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from ..errors import ExtraMissingError, PhotoError, shown
from . import encode, metadata, png, samples
from .encode import SUFFIXES, Traits, format_of
from .listing import is_photo
from .palette import Palette
from .paste import Change
from .photo import Photo

__all__ = ["MAX_PIXELS", "SUFFIXES", "Change", "Photo", "format_of", "is_photo", "read"]

#: Width times height above which a picture is refused unread: Pillow's own limit, 512 MB as RGB.
MAX_PIXELS = 178_956_970

_KNOWN = "JPEG, PNG, TIFF, BMP, WebP, GIF or HEIC"


def read(source: str | Path | bytes | Image.Image | NDArray[Any], *, max_pixels: int = MAX_PIXELS) -> Photo:
    """Read a photo from a path, the bytes of a file, a Pillow image or an array.

    An array is uint8 or uint16, (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA, or bool (H,
    W); it is taken to be upright and is not copied, so leave it alone afterwards. Floating-point arrays are refused,
    since [0, 1] and [0, 255] cannot be told apart. A picture of more than ``max_pixels`` is refused before it is
    decoded.

    Raises :class:`~halfmask.errors.PhotoError` for anything that is not one whole still picture, and
    :class:`~halfmask.errors.ExtraMissingError` for HEIC when pillow-heif is not installed.
    """
    if isinstance(source, np.ndarray):
        return _from_array(source, max_pixels)
    if isinstance(source, Image.Image):
        name = f"the {source.mode} image"
        if source.size[0] * source.size[1] > max_pixels:
            raise _too_large(name, source.size, max_pixels)
        with _damage_as_photo_error(name):
            return _from_pil(source, source.format if source.format in encode.FORMATS else None, name)
    if isinstance(source, bytes | bytearray | memoryview):
        return _from_stream(io.BytesIO(source), "the picture", max_pixels)
    path = Path(source)
    try:
        with open(path, "rb") as stream:
            return _from_stream(stream, shown(path), max_pixels)
    except OSError as error:
        raise PhotoError(f"cannot read {shown(path)}: {error.strerror or error}. Check the path.") from error


def _from_array(array: NDArray[Any], max_pixels: int) -> Photo:
    modes: dict[tuple[np.dtype[Any], int], str] = {
        (np.dtype(bool), 1): "1",
        **{(np.dtype(np.uint8), c): m for c, m in ((1, "L"), (2, "LA"), (3, "RGB"), (4, "RGBA"))},
        **{(np.dtype(np.uint16), c): m for c, m in ((1, "I;16"), (2, "LA;16"), (3, "RGB;16"), (4, "RGBA;16"))},
    }
    channels = 1 if array.ndim == 2 else array.shape[2] if array.ndim == 3 else 0
    mode = modes.get((array.dtype.newbyteorder("="), channels))
    if mode is None or array.size == 0:
        hint = " Multiply floats in [0, 1] by 255, round, and convert to uint8." if array.dtype.kind == "f" else ""
        raise PhotoError(
            f"an array of shape {array.shape} and type {array.dtype} is no picture; expected uint8 or uint16, "
            f"(H, W) or (H, W, C) with C from 1 to 4 and no side 0.{hint}"
        )
    if array.shape[0] * array.shape[1] > max_pixels:
        raise _too_large("the array", (array.shape[1], array.shape[0]), max_pixels)
    pixels = np.ascontiguousarray(array, array.dtype.newbyteorder("=")).view()
    if channels == 1:
        pixels = pixels.reshape(array.shape[:2])
    pixels.setflags(write=False)
    return Photo(pixels, mode, None, "the array")


def _from_stream(stream: IO[bytes], name: str, max_pixels: int) -> Photo:
    head = stream.read(16)
    format = _sniff(head)
    if not head:
        raise PhotoError(f"{name} is empty (0 bytes); expected a picture. Copy it again from its source.")
    if format is None:
        raise PhotoError(
            f"{name} is not a picture that halfmask can read: it begins with {head[:8]!r}; expected {_KNOWN}. "
            "Convert it to one of these, or leave it out."
        )
    if format == "HEIF" and not encode.register_heif():
        raise ExtraMissingError(f'{name} is a HEIC picture; reading it needs pillow-heif: pip install "halfmask[heic]"')
    stream.seek(0)
    with _damage_as_photo_error(name):
        # Not Image.open: its size limit is a global of the process, ours an argument.
        image = Image.OPEN[format][0](stream, "")
        if image.size[0] * image.size[1] > max_pixels:
            raise _too_large(name, image.size, max_pixels)
        bits = 8
        chunks: tuple[tuple[bytes, bytes], ...] = ()
        if format == "PNG":
            place = stream.tell()
            bits, chunks = png.header(stream)
            stream.seek(place)
        photo = _from_pil(image, format, name, bits, chunks)
        if bits == 16:
            stream.seek(0)
            photo = _with_16_bits(photo, stream.read(), metadata.orientation(image))
        elif format == "PNG" and photo.mode == "L" and bits < 8 and photo.traits.key:
            # Pillow scaled the samples to 8 bits, but not the key.
            scaled = (photo.traits.key[0] * 255 // ((1 << bits) - 1),)
            photo = replace(photo, traits=replace(photo.traits, key=scaled))
        elif format == "WEBP":
            stream.seek(0)
            photo = replace(photo, traits=replace(photo.traits, lossless=_webp_lossless(stream)))
        return photo


def _sniff(head: bytes) -> str | None:
    """The format by a file's first 16 bytes; its name does not matter."""
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp" and head[8:12] in (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"):
        return "HEIF"
    starts = {
        "JPEG": (b"\xff\xd8\xff",), "PNG": (png.SIGNATURE,), "BMP": (b"BM",), "GIF": (b"GIF87a", b"GIF89a"),
        "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
    }  # fmt: skip
    return next((format for format, magic in starts.items() if head.startswith(magic)), None)


@contextlib.contextmanager
def _damage_as_photo_error(name: str) -> Iterator[None]:
    try:
        yield
    except (PhotoError, ExtraMissingError):
        raise
    except Exception as error:  # on damaged files Pillow's plugins raise almost anything
        raise PhotoError(
            f"{name} cannot be read: {shown(str(error)) or type(error).__name__}. It is damaged or cut short; expected "
            "a whole picture. Copy it again from its source."
        ) from error


def _from_pil(
    image: Image.Image, format: str | None, name: str, bits: int = 8, chunks: tuple[tuple[bytes, bytes], ...] = ()
) -> Photo:
    frames = getattr(image, "n_frames", 1)
    # A phone's JPEG may carry depth maps and second views (MPO); those are previews of one picture, and not written.
    if frames > 1 and format != "JPEG" and image.format != "MPO":
        raise PhotoError(
            f"{name} holds {frames} pictures (an animation or several pages); expected one, because faces in the "
            "others would stay unprotected. Split it into single pictures first."
        )
    traits = _traits(image, chunks)
    image.load()
    if max(_tiff_bits(image)) > 8 and not image.mode.startswith("I;16"):
        raise PhotoError(
            f"{name} is a TIFF of {max(_tiff_bits(image))} bits a sample in mode {image.mode}; expected 8 bits, or "
            "16-bit gray. Convert it to a 16-bit PNG, which is kept exactly."
        )
    mode = "I;16" if image.mode.startswith("I;16") or (image.mode == "I" and bits == 16) else image.mode
    if mode not in samples.CHANNELS:
        modes = ", ".join(m for m in samples.CHANNELS if not m.endswith(";16"))
        raise PhotoError(f"{name} has the mode {mode}; expected one of {modes} or 16-bit gray. Convert it to RGB.")
    # Pillow's own bilevel bytes are 0 and 255, which NumPy's bool does not expect.
    pixels: NDArray[Any] = np.asarray(image) if mode != "1" else np.asarray(image.convert("L")) > 0
    if mode == "I;16":
        pixels = pixels.astype(np.uint16)
    turned = metadata.orientation(image)
    pixels = metadata.upright(pixels, turned)
    pixels.setflags(write=False)
    height, width = pixels.shape[:2]
    dpi = traits.dpi[::-1] if traits.dpi and turned >= 5 else traits.dpi
    traits = replace(
        traits, dpi=dpi, exif=metadata.kept_exif(image, (width, height)), xmp=metadata.kept_xmp(image)
    )  # after loading: in a PNG both may stand behind the pixels
    palette = _palette(image, pixels) if mode in ("P", "PA") else None
    key = image.info.get("transparency") if palette is None else None
    if isinstance(key, int):
        key = (key,)
    if isinstance(key, tuple) and image.mode in ("1", "L", "RGB", "I;16"):
        traits = replace(traits, key=key)
    return Photo(pixels, mode, "JPEG" if image.format == "MPO" else format, name, palette, traits)


def _tiff_bits(image: Image.Image) -> tuple[int, ...]:
    bits = getattr(image, "tag_v2", {}).get(258, (8,))
    return bits if isinstance(bits, tuple) else (int(bits),)


def _traits(image: Image.Image, chunks: tuple[tuple[bytes, bytes], ...]) -> Traits:
    info = image.info
    dpi = info.get("dpi")
    if not (isinstance(dpi, tuple) and len(dpi) == 2 and all(0 < float(d) < 1e6 for d in dpi)):
        dpi = None
    traits = Traits(
        icc=info.get("icc_profile") or None,
        dpi=(float(dpi[0]), float(dpi[1])) if dpi else None,
        compression=info.get("compression") if image.format == "TIFF" else None,
        chunks=chunks,
    )
    if not isinstance(image, JpegImagePlugin.JpegImageFile):
        return traits
    sampling = JpegImagePlugin.get_sampling(image)
    tables = [list(image.quantization[number]) for _, _, _, number in image.layer]
    while len(tables) > 1 and tables[-1] == tables[-2]:
        tables.pop()  # components that share a table share it in the new file as well
    return replace(
        traits,
        qtables=tables,
        sampling=sampling if sampling >= 0 else None,
        progressive=bool(info.get("progressive")),
        keep_rgb=image.mode == "RGB" and info.get("adobe_transform") == 0,
    )


def _palette(image: Image.Image, pixels: NDArray[np.uint8]) -> Palette:
    table = np.array(image.getpalette("RGBA"), np.uint8).reshape(-1, 4)
    index = pixels if pixels.ndim == 2 else pixels[..., 0]
    needed = int(index.max()) + 1
    if needed > len(table):  # a damaged palette: Pillow shows such pixels black
        table = np.vstack([table, np.tile(np.array([[0, 0, 0, 255]], np.uint8), (needed - len(table), 1))])
    alpha = table[:, 3].copy()
    transparency = image.info.get("transparency")
    if isinstance(transparency, bytes):
        alpha[: len(transparency)] = np.frombuffer(transparency[: len(alpha)], np.uint8)
    elif isinstance(transparency, int) and transparency < len(alpha):
        alpha[transparency] = 0
    return Palette(np.ascontiguousarray(table[:, :3]), alpha if (alpha < 255).any() else None)


def _with_16_bits(photo: Photo, data: bytes, turned: int) -> Photo:
    """The same photo with the full depth of its PNG, of which Pillow keeps the upper 8 bits in colour."""
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.dtype != np.uint16:
        raise ValueError("its 16-bit samples do not decode")
    colour_type = data[25]
    if colour_type == 0:
        mode, pixels = "I;16", decoded if decoded.ndim == 2 else decoded[..., 0]
    elif colour_type == 4:
        mode, pixels = "LA;16", decoded[..., (0, -1)]
    elif colour_type == 2:  # OpenCV makes alpha of a colour key; the key is kept as it is instead
        mode, pixels = "RGB;16", decoded[..., 2::-1]
    else:
        mode, pixels = "RGBA;16", cv2.cvtColor(decoded, cv2.COLOR_BGRA2RGBA)
    pixels = metadata.upright(pixels, turned)
    pixels.setflags(write=False)
    return replace(photo, samples=pixels, mode=mode)


def _webp_lossless(stream: IO[bytes]) -> bool:
    """Whether a still WebP holds a VP8L stream (RFC 9649, section 2)."""
    stream.seek(12)
    while len(head := stream.read(8)) == 8:
        if head[:4] in (b"VP8L", b"VP8 "):
            return head[:4] == b"VP8L"
        length = int.from_bytes(head[4:], "little")
        stream.seek(length + length % 2, 1)
    return False


def _too_large(name: str, size: tuple[int, int], max_pixels: int) -> PhotoError:
    return PhotoError(
        f"{name} has {size[0]} x {size[1]} = {size[0] * size[1]:,} pixels; the limit is {max_pixels:,}, against "
        "pictures made to fill the memory. Make it smaller, or, if you trust it, raise the limit: "
        "halfmask.protect(..., max_pixels=...), on the command line --max-pixels."
    )
