"""Samples to the bytes of a picture file, the way the source file was made."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import (
    AvifImagePlugin,
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from ..errors import ExtraMissingError, PhotoError, UsageError
from . import isobmff, jpeg, png, samples, tiff, tones
from .palette import Palette
from .samples import Samples

# Their import registers them with Pillow, and no others: nothing here ever hands a file to Ghostscript.
_PLUGINS = (
    AvifImagePlugin, BmpImagePlugin, GifImagePlugin, JpegImagePlugin, PngImagePlugin, TiffImagePlugin, WebPImagePlugin,
)  # fmt: skip

#: Format → the suffixes that it goes by, the usual one first.
FORMATS = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "PNG": (".png", ".apng"),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp",),
    "WEBP": (".webp",),
    "GIF": (".gif",),
    "HEIF": (".heic", ".heif", ".hif"),
    "AVIF": (".avif",),
}
SUFFIXES = {suffix: name for name, suffixes in FORMATS.items() for suffix in suffixes}

#: The modes that each format holds without conversion, as this module writes it.
_MODES = {
    "JPEG": {"L", "RGB", "CMYK"},
    "PNG": {"1", "L", "LA", "P", "RGB", "RGBA", "I;16", "LA;16", "RGB;16", "RGBA;16"},
    "TIFF": {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16", "RGB;16", "RGBA;16"},
    "BMP": {"1", "L", "P", "RGB", "RGBA"},
    "WEBP": {"RGB", "RGBA"},
    "GIF": {"1", "L", "P"},
    "HEIF": {"RGB", "RGBA", "L", "LA"},
    "AVIF": {"RGB", "RGBA", "L"},
}

#: Pixels from which memory counts more than anything else: such JPEG files are written in strips.
LARGE = 40_000_000

_TIFF_LOSSLESS = ("packbits", "tiff_lzw", "tiff_adobe_deflate", "tiff_deflate", "zstd")
_LOSSY_QUALITY = {"JPEG": 95, "WEBP": 90, "HEIF": 90, "AVIF": 90}


@dataclass(frozen=True, eq=False)
class Traits:
    """How a source file was made: neither its pixels nor anything private.

    ``key`` is the colour that a PNG or GIF declares to be transparent, one number a channel. ``qtables`` and
    ``sampling`` are JPEG's, per component and in Pillow's numbering. ``chunks`` are PNG's about colour. ``cicp`` says
    what HEIC's, AVIF's or PNG's numbers mean, ``bits`` how many of 16 a HEIC fills. ``exif`` and ``xmp`` are already
    cleaned of previews, and written only on request.
    """

    icc: bytes | None = None
    dpi: tuple[float, float] | None = None
    key: tuple[int, ...] | None = None
    qtables: list[list[int]] | None = None
    sampling: int | None = None
    progressive: bool = False
    keep_rgb: bool = False
    compression: str | None = None
    lossless: bool = False
    chunks: tuple[tuple[bytes, bytes], ...] = ()
    cicp: isobmff.Cicp | None = None
    bits: int | None = None
    exif: bytes | None = None
    xmp: bytes | None = None

    @property
    def transfer(self) -> int | None:
        """PQ or HLG, None for samples that are shown as they are."""
        return self.cicp[1] if self.cicp and self.cicp[1] in (tones.PQ, tones.HLG) else None

    @property
    def like_srgb(self) -> bool:
        """Whether the numbers mean what a file says that says nothing: a profile, or sRGB."""
        return self.cicp is None or (self.transfer is None and (self.icc is not None or self.cicp[0] in (1, 2)))


def format_of(name: str) -> str:
    """The format that a name or suffix stands for. Raises :class:`~halfmask.errors.UsageError` on any other.

    >>> format_of("jpg"), format_of(".TIF"), format_of("heic")
    ('JPEG', 'TIFF', 'HEIF')
    """
    lower = name.lower().removeprefix(".")
    if lower.upper() in FORMATS:
        return lower.upper()
    if "." + lower in SUFFIXES:
        return SUFFIXES["." + lower]
    known = ", ".join(sorted(suffix[1:] for suffix in SUFFIXES))
    raise UsageError(f"no picture format is called {name!r}; expected one of: {known}")


def register_heif() -> bool:
    """Teach Pillow HEIF when pillow-heif is installed; says whether it is."""
    try:
        import pillow_heif
    except ImportError:
        return False
    if "HEIF" not in Image.OPEN:
        pillow_heif.register_heif_opener(thumbnails=False)
    return True


def to_pil(pixels: Samples, mode: str, palette: Palette | None) -> Image.Image:
    """A Pillow image of exactly these samples, with no info at all. 16-bit colour becomes 8-bit, which Pillow lacks."""
    if mode in ("LA;16", "RGB;16", "RGBA;16"):
        mode, pixels = mode.removesuffix(";16"), samples.to8(pixels)
    height, width = pixels.shape[:2]
    if mode == "1":
        image = Image.frombytes("L", (width, height), samples.to8(pixels).tobytes())
        return image.convert("1", dither=Image.Dither.NONE)
    if mode == "I;16":
        pixels = pixels.astype("<u2", copy=False)
    image = Image.frombytes(mode, (width, height), np.ascontiguousarray(pixels).data)
    if palette is not None:
        image.putpalette(palette.colours.tobytes())
    return image


def encode(
    pixels: Samples,
    mode: str,
    palette: Palette | None,
    traits: Traits,
    *,
    source: str | None,
    target: str,
    quality: int | None,
    keep_metadata: bool,
) -> bytes:
    """The whole file as bytes. ``source`` and ``target`` are names of :data:`FORMATS`; ``quality`` is 1 to 100 or None.

    Raises :class:`~halfmask.errors.PhotoError` when the format cannot hold the picture, and
    :class:`~halfmask.errors.ExtraMissingError` for HEIF without pillow-heif.
    """
    _check_quality(quality)
    _check_meaning(traits, target)
    if target == "HEIF":
        if not register_heif():
            raise ExtraMissingError('writing HEIC needs pillow-heif: pip install "halfmask[heic]", or --format jpeg')
        if "HEIF" not in Image.SAVE:
            raise PhotoError("this build of pillow-heif has no HEIC encoder; use --format jpeg or --format png")
    exif, xmp = (traits.exif, traits.xmp) if keep_metadata else (None, None)
    if target == "PNG" and mode in ("I;16", "LA;16", "RGB;16", "RGBA;16"):
        return png.encode16(pixels, _png16_chunks(traits, exif, xmp))

    if target == "TIFF" and mode in ("RGB;16", "RGBA;16"):
        compress = source != "TIFF" or traits.compression != "raw"
        return tiff.encode16(pixels, compress=compress, icc=traits.icc, dpi=traits.dpi, exif=exif, xmp=xmp)
    if target == "HEIF" and traits.bits and samples.depth(mode) == 16:
        return _heif(pixels, mode, traits, quality, _common(traits, traits.icc, keep_metadata))

    image, fitted = _fit(pixels, mode, palette, traits.key, target)
    # A profile describes one colour model only.
    options = _common(traits, traits.icc if _family(image.mode) == _family(mode) else None, keep_metadata)
    if fitted and target in ("PNG", "GIF"):
        options |= transparency(palette, traits.key, target)

    if target == "JPEG":
        options |= _jpeg(traits, quality, same=source == "JPEG")
    elif target == "PNG":
        info = PngImagePlugin.PngInfo()
        for kind, data in _png_colours(traits):
            info.add(kind, data)
        if xmp:
            info.add_itxt("XML:com.adobe.xmp", xmp.decode())
        options["pnginfo"] = info
    elif target == "TIFF":
        options |= _tiff(traits, image.mode, same=source == "TIFF")
        if xmp:
            options["tiffinfo"] = {700: xmp}
    elif target == "WEBP" and traits.lossless and quality is None:
        options |= {"lossless": True, "exact": True}  # exact: colours under full transparency stay as well
    elif target == "HEIF":
        return _heif(np.asarray(image), image.mode, traits, quality, options)
    elif target == "AVIF":
        return _avif(image, traits, options | {"quality": quality or _LOSSY_QUALITY[target]})
    elif target == "WEBP":
        options["quality"] = quality or _LOSSY_QUALITY[target]
    elif target == "BMP" and image.mode == "RGBA":
        return _bmp_rgba(image, traits.dpi)
    out = io.BytesIO()
    image.save(out, target, **options)
    return out.getvalue()


def large_jpeg(
    strip: Callable[[int, int], Image.Image],
    size: tuple[int, int],
    mode: str,
    traits: Traits,
    *,
    source: str | None,
    target: str,
    quality: int | None,
    keep_metadata: bool,
) -> bytes | None:
    """As :func:`encode`, of ``strip(y0, y1)``, rows of an L or RGB picture; None when it has to be whole."""
    if traits.progressive or traits.key is not None or target != "JPEG":
        return None
    _check_quality(quality)
    _check_meaning(traits, target)
    options = _common(traits, traits.icc, keep_metadata) | _jpeg(traits, quality, same=source == "JPEG")
    mcu = 16 if options["subsampling"] == 2 and mode == "RGB" else 8
    return jpeg.encode_in_strips(strip, *size, options, mcu)


def _common(traits: Traits, icc: bytes | None, keep_metadata: bool) -> dict[str, Any]:
    """Pillow's options for what most formats can say of a picture."""
    options = {"icc_profile": icc, "dpi": traits.dpi}
    if keep_metadata:
        options |= {"exif": traits.exif, "xmp": traits.xmp}
    return {name: value for name, value in options.items() if value}


def _check_quality(quality: int | None) -> None:
    if quality is not None and not (isinstance(quality, int) and 1 <= quality <= 100):
        raise UsageError(f"quality is {quality!r}; expected a whole number from 1 to 100")


def _check_meaning(traits: Traits, target: str) -> None:
    """Refuse to write numbers where they would mean other colours."""
    if target not in ("HEIF", "AVIF", "PNG") and not traits.like_srgb:
        assert traits.cicp is not None
        raise PhotoError(
            f"its colours have primaries {traits.cicp[0]} and transfer {traits.cicp[1]} (CICP, H.273), which {target} "
            "cannot say; leave the format as it is, or use --format png"
        )
    if target == "AVIF" and traits.bits and traits.bits > 8:
        raise PhotoError(f"AVIF is written with 8 bits a sample, and it has {traits.bits}; use --format png")


def _heif(pixels: Samples, mode: str, traits: Traits, quality: int | None, options: dict[str, Any]) -> bytes:
    """A HEIC with the bit depth and the meaning of its source, looked at again before it is given away."""
    import pillow_heif

    options = {**options, "quality": quality or _LOSSY_QUALITY["HEIF"]}
    options.pop("dpi", None)
    bits = 8
    if samples.depth(mode) == 16:
        bits = options["bit_depth"] = traits.bits or 8
    if traits.cicp:
        # Matrix 0 is RGB itself, which has no subsampled colours; 2 is unspecified.
        matrix = traits.cicp[2] if traits.cicp[2] in (1, 5, 6, 9) else 6
        names = ("color_primaries", "transfer_characteristics", "matrix_coefficients", "full_range_flag")
        options["nclx_profile"] = dict(zip(names, (*traits.cicp[:2], matrix, 1), strict=True))
    out = io.BytesIO()
    height, width = pixels.shape[:2]
    one = pillow_heif.from_bytes(mode=mode, size=(width, height), data=np.ascontiguousarray(pixels).tobytes())
    one.save(out, **options)
    found = isobmff.contents(out.getbuffer())
    if found.bits != bits or (traits.cicp and (found.cicp is None or found.cicp[:2] != traits.cicp[:2])):
        raise PhotoError(
            f"this pillow-heif wrote {found.bits} bits a sample and CICP {found.cicp} where {bits} and {traits.cicp} "
            "were asked for; update it, or use --format png"
        )
    return out.getvalue()


def _avif(image: Image.Image, traits: Traits, options: dict[str, Any]) -> bytes:
    """An AVIF that says what its source said of its colours, which Pillow cannot be told."""
    out = io.BytesIO()
    image.save(out, "AVIF", **options)
    if not traits.cicp or traits.cicp[0] == 2:
        return out.getvalue()
    data = bytearray(out.getvalue())
    places = isobmff.contents(data).cicp_places
    if not places and traits.transfer is None and traits.icc:
        return bytes(data)  # the profile says it
    if not places:
        raise PhotoError("this Pillow writes AVIF without CICP, which it needs; update Pillow, or use --format png")
    for place in places:
        struct.pack_into(">HH", data, place, *traits.cicp[:2])
    return bytes(data)


def _fit(
    pixels: Samples, mode: str, palette: Palette | None, key: tuple[int, ...] | None, target: str
) -> tuple[Image.Image, bool]:
    """The picture in a mode that the format holds, and whether its samples are still the same."""
    image = to_pil(pixels, mode, palette)
    transparent = palette is not None and palette.alpha is not None
    keyed = (transparent or key is not None) and mode not in ("LA;16", "RGB;16", "RGBA;16", "I;16")
    if mode in _MODES[target] and not (keyed and target not in ("PNG", "GIF")):
        return image, True
    if mode == "I;16":
        image = to_pil(samples.to8(pixels), "L", None)
    if keyed:
        options = transparency(palette, key, "PNG")
        image.info["transparency"] = options["transparency"]
        image = image.convert("RGBA")
        image.info.clear()
    if image.mode in _MODES[target]:
        return image, False
    alpha = image.mode in ("LA", "PA", "RGBA")
    if alpha and "RGBA" in _MODES[target]:
        return image.convert("RGBA"), False
    if alpha:  # JPEG and GIF cannot hold it: the picture as it looks on white paper
        paper = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")
    if target == "GIF":
        return image.convert("RGB").quantize(256), False
    if samples.gray(mode) and "L" in _MODES[target]:
        return image.convert("L"), False
    return image.convert("RGB"), False


def _family(mode: str) -> str:
    return "cmyk" if mode == "CMYK" else "gray" if samples.gray(mode) else "rgb"


def transparency(palette: Palette | None, key: tuple[int, ...] | None, target: str) -> dict[str, Any]:
    """Pillow's ``transparency`` entry for a palette or colour key in a GIF or PNG; empty when all is opaque."""
    if palette is not None:
        if palette.alpha is None:
            return {}
        if target == "GIF":
            hidden = np.flatnonzero(palette.alpha < 128)
            return {"transparency": int(hidden[0])} if len(hidden) else {}
        return {"transparency": palette.alpha.tobytes()}
    if key is None:
        return {}
    return {"transparency": key if len(key) > 1 else key[0]}


def _jpeg(traits: Traits, quality: int | None, *, same: bool) -> dict[str, Any]:
    options: dict[str, Any] = {"progressive": traits.progressive, "keep_rgb": traits.keep_rgb}
    # An unusual sampling (4:1:1, 4:4:0) cannot be written by Pillow; full resolution loses nothing of it.
    options["subsampling"] = traits.sampling if traits.sampling is not None else 0
    if same and quality is None and traits.qtables:
        options["qtables"] = traits.qtables
    else:
        options["quality"] = quality or _LOSSY_QUALITY["JPEG"]
    return options


def _tiff(traits: Traits, mode: str, *, same: bool) -> dict[str, Any]:
    wanted = traits.compression if same else "tiff_adobe_deflate"
    if wanted in (None, "raw"):
        return {}
    if wanted in _TIFF_LOSSLESS or (wanted in ("group3", "group4", "tiff_ccitt") and mode == "1"):
        return {"compression": wanted}
    if wanted == "jpeg" and mode in ("L", "RGB", "CMYK"):
        return {"compression": "jpeg", "quality": _LOSSY_QUALITY["JPEG"]}
    return {"compression": "tiff_adobe_deflate"}  # libtiff writes no such stream of this mode; lossless is always right


def _png_colours(traits: Traits) -> list[tuple[bytes, bytes]]:
    """The chunks that say what the numbers mean, where the source is another format than PNG as well."""
    chunks = list(traits.chunks)
    if traits.cicp and not chunks and not (traits.like_srgb and traits.icc):
        chunks.append((b"cICP", bytes((traits.cicp[0], traits.cicp[1], 0, 1))))
    return chunks


def _png16_chunks(traits: Traits, exif: bytes | None, xmp: bytes | None) -> list[tuple[bytes, bytes]]:
    chunks = _png_colours(traits)
    if traits.icc:
        chunks.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(traits.icc)))
    if traits.key:
        chunks.append((b"tRNS", struct.pack(f">{len(traits.key)}H", *traits.key)))
    if traits.dpi:
        chunks.append((b"pHYs", struct.pack(">IIB", *(round(d / 0.0254) for d in traits.dpi), 1)))
    if exif:
        chunks.append((b"eXIf", exif.removeprefix(b"Exif\0\0")))
    if xmp:
        chunks.append((b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + xmp))
    return chunks


def _bmp_rgba(image: Image.Image, dpi: tuple[float, float] | None) -> bytes:
    """A 32-bit BMP with a version 4 header, whose masks declare the alpha that Pillow's own header leaves out."""
    width, height = image.size
    data = image.tobytes("raw", "BGRA", 0, -1)
    pels = [round(d / 0.0254) for d in dpi or (0, 0)]
    masks = (0x00FF0000, 0x0000FF00, 0x000000FF, 0xFF000000)
    bitfields = 3
    head = struct.pack("<IiiHHIIiiII", 108, width, height, 1, 32, bitfields, len(data), *pels, 0, 0)
    head += struct.pack("<4I4s", *masks, b"BGRs") + bytes(48)  # "sRGB" in little endian; then no end points, no gamma
    return struct.pack("<2sIHHI", b"BM", 14 + 108 + len(data), 0, 0, 14 + 108) + head + data
