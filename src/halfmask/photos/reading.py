"""Photos from files to samples and back, so that everything but the faces is kept.

:func:`read` gives a :class:`Photo` that is upright and holds its samples in the file's own mode and depth;
:meth:`Photo.with_changes` adds changes to the faces; :meth:`Photo.save` writes the same size, mode and format.
Kept: size, mode, bit depth, alpha, palette, ICC profile or CICP, resolution, JPEG's quantisation tables and sampling,
TIFF's compression, WebP's losslessness. Dropped unless asked for: EXIF with GPS, XMP. Always dropped: thumbnails, maker
notes, IPTC, comments, text chunks, and what phones hang onto a photo: gain maps, depth maps, motion videos, further
pictures (MPO); :attr:`Photo.notes` says so.

Not read, each with an error that says so: animations and files of several pages (their other faces would stay as they
are), AVIF of more than 8 bits, LAB and floating-point pictures. ``docs/formats.md`` has the whole table.
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
from . import encode, isobmff, jpeg, metadata, png, samples, tiff, tones
from .encode import SUFFIXES, Traits, format_of
from .kinds import HEAD, format_by_content, unread
from .listing import is_photo
from .palette import Palette
from .paste import Change
from .photo import DAMAGED, Photo

__all__ = ["MAX_PIXELS", "SUFFIXES", "Change", "Photo", "format_of", "is_photo", "read"]

#: Width times height above which a picture is refused unread: phones take 200 million, and 250 are 750 MB as RGB.
MAX_PIXELS = 250_000_000
#: A file holds no more: RGBA of 16 bits a pixel, and a motion video or previews beside.
_MOST_BYTES, _BESIDE = 8, 1 << 28

_NO_END = f"{DAMAGED}the end marker of the file is missing, but every row of the picture is there"
_KNOWN = "JPEG, PNG, TIFF, BMP, WebP, GIF, HEIC or AVIF"


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
            nclx = source.info.get("nclx_profile") or {}
            names = ("color_primaries", "transfer_characteristics", "matrix_coefficients", "full_range_flag")
            cicp = tuple(nclx[key] for key in names) if all(key in nclx for key in names) else None
            _check_transfer(cicp, name)
            return _from_pil(source, source.format if source.format in encode.FORMATS else None, name, cicp=cicp)
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
    head = stream.read(HEAD)
    format = format_by_content(head)
    if not head:
        raise PhotoError(f"{name} is empty (0 bytes); expected a picture. Copy it again from its source.")
    if format is None:
        kind = unread(head, "")
        what = f"{name} is {kind}" if kind else f"{name} is not a picture that halfmask can read: it begins with"
        raise PhotoError(
            f"{what}{'' if kind else f' {head[:8]!r}'}; expected {_KNOWN}. Convert it to one of these, or leave it out."
        )
    size = stream.seek(0, 2)
    if size > _MOST_BYTES * max_pixels + _BESIDE:  # before it is read into memory
        raise PhotoError(
            f"{name} has {size:,} bytes, more than any {format} picture of {max_pixels:,} pixels, the limit, needs; "
            "expected a photo. Look at what it is."
        )
    if format == "HEIF" and not encode.register_heif():
        raise ExtraMissingError(f'{name} is a HEIC picture; reading it needs pillow-heif: pip install "halfmask[heic]"')
    if format == "AVIF" and "AVIF" not in Image.SAVE:
        raise PhotoError(f"{name} is an AVIF picture, which this build of Pillow does not read: pip install -U pillow")
    with _damage_as_photo_error(name):
        return _OF_FORMAT.get(format, _from_plain)(stream, format, name, max_pixels)


def _opened(stream: IO[bytes], format: str, name: str, max_pixels: int) -> Image.Image:
    stream.seek(0)
    # Not Image.open: its size limit is a global of the process, ours an argument.
    image = Image.OPEN[format][0](stream, "")
    if image.size[0] * image.size[1] > max_pixels:
        raise _too_large(name, image.size, max_pixels)
    return image


def _bytes_of(stream: IO[bytes]) -> bytes:
    """A whole file. Not mapped: a file that shrinks while it is read would end the process."""
    stream.seek(0)
    return stream.read()


def _from_plain(stream: IO[bytes], format: str, name: str, max_pixels: int) -> Photo:
    photo = _from_pil(_opened(stream, format, name, max_pixels), format, name)
    if format == "WEBP":
        photo = replace(photo, traits=replace(photo.traits, lossless=_webp_lossless(stream)))
    return photo


def _from_png(stream: IO[bytes], format: str, name: str, max_pixels: int) -> Photo:
    image = _opened(stream, format, name, max_pixels)
    place = stream.tell()
    bits, chunks = png.header(stream)
    stream.seek(place)
    cicp = next((data for kind, data in chunks if kind == b"cICP" and len(data) == 4), None)
    meaning = (cicp[0], cicp[1], cicp[2], bool(cicp[3])) if cicp else None
    _check_transfer(meaning, name)
    photo = _from_pil(image, format, name, bits, chunks, cicp=meaning)
    if not png.ends(stream):
        photo = replace(photo, notes=(_NO_END,))
    if bits == 16:
        return _with_16_bits(photo, _bytes_of(stream), metadata.orientation(image))
    if photo.mode == "L" and bits < 8 and photo.traits.key:
        # Pillow scaled the samples to 8 bits, but not the key.
        scaled = (photo.traits.key[0] * 255 // ((1 << bits) - 1),)
        photo = replace(photo, traits=replace(photo.traits, key=scaled))
    return photo


def _from_jpeg(stream: IO[bytes], format: str, name: str, max_pixels: int) -> Photo:
    image = _opened(stream, format, name, max_pixels)
    data = _bytes_of(stream)
    notes = _dropped(jpeg.parts(data))
    if not jpeg.ends(data):
        whole = jpeg.without_end(data, jpeg.decode)
        if whole is None:
            raise PhotoError(
                f"{name} is damaged or cut short: its end marker is missing, and so are rows of its picture; expected "
                "a whole JPEG. Copy it again from its source."
            )
        notes = (_NO_END, *notes)
        data = whole
    image = _opened(io.BytesIO(data), format, name, max_pixels)
    return replace(_from_pil(image, format, name, pixels=jpeg.quickly(data, image)), notes=notes)


def _from_tiff(stream: IO[bytes], format: str, name: str, max_pixels: int) -> Photo:
    found = tiff.directories(stream)
    pages, previews, raw = tiff.choose(found)
    if raw:
        raise PhotoError(
            f"{name} is a camera's raw picture (DNG, NEF or the like), of which only the preview could be changed. "
            "Develop it to a JPEG or TIFF first."
        )
    if len(pages) > 1:
        raise _several(name, len(pages))
    if odd := pages[0].odd():
        raise PhotoError(f"{name} is {odd}; expected whole numbers of 8 or 16 bits. Convert it to a 16-bit PNG.")
    if pages[0] is not found[0]:
        stream = io.BytesIO(tiff.beginning_at(_bytes_of(stream), pages[0].offset))
    image = _opened(stream, format, name, max_pixels)
    turned = metadata.orientation(image)
    photo = _from_pil(image, format, name, pages[0].bits, pages=len(found))
    if pages[0].deep_colour:
        photo = _with_deep_colours(photo, _bytes_of(stream), turned)
    return replace(photo, notes=_dropped(["preview"] if previews else []))


def _with_deep_colours(photo: Photo, data: bytes, turned: int) -> Photo:
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if decoded is None or decoded.ndim != 3:
        raise ValueError("its 16-bit samples do not decode")
    order = cv2.COLOR_BGR2RGB if decoded.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    decoded = np.asarray(cv2.cvtColor(decoded, order))
    # Some versions of OpenCV turn a TIFF upright and some do not; Pillow does, and knows the upper 8 bits.
    for deep in (decoded, metadata.upright(decoded, turned)):
        if tiff.same_picture(deep, photo.stored):
            deep.setflags(write=False)
            return replace(photo, stored=deep, mode=photo.mode + ";16")
    raise ValueError("its 16-bit samples decode to another picture than their upper 8 bits")


def _from_isobmff(stream: IO[bytes], format: str, name: str, max_pixels: int) -> Photo:
    contents = isobmff.contents(_bytes_of(stream))
    if contents.sequence and format == "HEIF":
        raise PhotoError(
            f"{name} holds an image sequence; expected one picture, because faces in the others would stay "
            "unprotected. Split it into single pictures first."
        )
    _check_transfer(contents.cicp, name)
    bits = contents.bits or 8
    if format == "AVIF" and bits > 8:
        raise PhotoError(
            f"{name} is an AVIF of {bits} bits a sample; expected 8, since its depth would be lost. Convert it to a "
            "16-bit PNG or TIFF, which are kept exactly."
        )
    image = _opened(stream, format, name, max_pixels)
    photo = _from_pil(image, format, name, cicp=contents.cicp)
    if contents.sequence:
        contents.parts.append("image sequence")
    if bits > 8:
        photo = _with_heif_bits(photo, stream, bits)
    return replace(photo, notes=_dropped(contents.parts))


def _with_heif_bits(photo: Photo, stream: IO[bytes], bits: int) -> Photo:
    """The same photo with the full depth of its HEIC, of which Pillow keeps the upper 8 bits."""
    import pillow_heif

    deep = np.asarray(pillow_heif.open_heif(_bytes_of(stream), convert_hdr_to_8bit=False))
    mode = {"L": "I;16", "LA": "LA;16", "RGB": "RGB;16", "RGBA": "RGBA;16"}.get(photo.mode)
    if mode is None or deep.dtype != np.uint16 or deep.shape[:2] != photo.stored.shape[:2]:
        raise ValueError(f"its {bits}-bit samples do not decode")
    deep = np.ascontiguousarray(deep.reshape(photo.stored.shape))
    deep.setflags(write=False)
    return replace(photo, stored=deep, mode=mode, traits=replace(photo.traits, bits=bits))


def _check_transfer(cicp: isobmff.Cicp | None, name: str) -> None:
    if cicp and cicp[1] not in tones.ORDINARY | {tones.PQ, tones.HLG}:
        raise PhotoError(
            f"{name} stores its light by transfer characteristics {cicp[1]} (CICP, H.273), which halfmask does not "
            "know how to show; expected sRGB, BT.709, PQ or HLG. Convert it to one of these."
        )


def _dropped(parts: list[str]) -> tuple[str, ...]:
    """What hung on a photo and is not written, as notes."""
    words = {
        "gain map": "an HDR gain map was dropped: it holds the faces as they were. HDR screens show the photo plainly",
        "motion video": "a motion video in the file was dropped: it shows the faces as they were",
        "preview": "a preview in the file was dropped: it shows the faces as they were",
    }
    named = [part for part in parts if part not in ("thumbnail", "extended XMP")]
    return tuple(
        words.get(p, f"{'an' if p[0] in 'ai' else 'a'} {p} in the file was dropped, only the main picture is kept")
        for p in named
    )


_OF_FORMAT = {
    "JPEG": _from_jpeg, "PNG": _from_png, "TIFF": _from_tiff, "HEIF": _from_isobmff, "AVIF": _from_isobmff,
}  # fmt: skip


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
    image: Image.Image,
    format: str | None,
    name: str,
    bits: int = 8,
    chunks: tuple[tuple[bytes, bytes], ...] = (),
    *,
    cicp: isobmff.Cicp | None = None,
    pixels: NDArray[Any] | None = None,
    pages: int | None = None,
) -> Photo:
    """A photo of what Pillow reads; ``pixels`` are its samples where they are known, ``pages`` are taken care of."""
    frames = getattr(image, "n_frames", 1) if pages is None else 1
    # A phone's JPEG may carry depth maps and second views (MPO); those are previews of one picture, and not written.
    if frames > 1 and format != "JPEG" and image.format != "MPO":
        raise _several(name, frames)
    traits = replace(_traits(image, chunks), cicp=cicp)
    turned = metadata.orientation(image)
    if pixels is None:
        image.load()
        turned = metadata.orientation(image)
        pixels, mode = _samples(image, bits, name)
    else:
        mode = image.mode
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


def _several(name: str, count: int) -> PhotoError:
    return PhotoError(
        f"{name} holds {count} pictures (an animation or several pages); expected one, because faces in the "
        "others would stay unprotected. Split it into single pictures first."
    )


def _samples(image: Image.Image, bits: int, name: str) -> tuple[NDArray[Any], str]:
    """The samples of a loaded picture, and their mode."""
    if max(_tiff_bits(image)) > 8 and not image.mode.startswith("I;16") and bits < 16:
        raise PhotoError(
            f"{name} is a TIFF of {max(_tiff_bits(image))} bits a sample in mode {image.mode}; expected 8 bits, or "
            "16-bit gray or RGB. Convert it to a 16-bit PNG, which is kept exactly."
        )
    mode = "I;16" if image.mode.startswith("I;16") or (image.mode == "I" and bits == 16) else image.mode
    if mode not in samples.CHANNELS:
        modes = ", ".join(m for m in samples.CHANNELS if not m.endswith(";16"))
        raise PhotoError(f"{name} has the mode {mode}; expected one of {modes} or 16-bit gray. Convert it to RGB.")
    # Pillow's own bilevel bytes are 0 and 255, which NumPy's bool does not expect.
    pixels: NDArray[Any] = np.asarray(image) if mode != "1" else np.asarray(image.convert("L")) > 0
    return (pixels.astype(np.uint16) if mode == "I;16" else pixels), mode


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
    return replace(photo, stored=pixels, mode=mode)


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
