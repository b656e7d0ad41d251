"""Every mode and format: what is not the face stays, what is private goes, and a file is whole or absent."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, JpegImagePlugin, PngImagePlugin, features

from halfmask.errors import ExtraMissingError, PhotoError, UsageError
from halfmask.photos import encode, photo, png, reading
from halfmask.photos.reading import Change, is_photo, read
from halfmask.storage import PART_SUFFIX

BOX = (9, 5, 27, 19)
SIZE = (40, 30)  # width, height: odd enough that swapped axes show


def picture(rng: np.random.Generator, mode: str) -> Image.Image:
    """A random picture of a mode, at the size above."""
    width, height = SIZE
    if mode == "1":
        return Image.fromarray(rng.integers(0, 2, (height, width), np.uint8) * np.uint8(255)).convert("1")
    if mode == "I;16":
        return Image.fromarray(rng.integers(0, 65536, (height, width)).astype(np.uint16))
    if mode in ("P", "PA"):
        image = Image.frombytes(mode, SIZE, rng.integers(0, 100, (height, width * len(mode)), np.uint8).tobytes())
        image.putpalette(rng.integers(0, 256, 300, np.uint8).tobytes())
        return image
    channels = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4, "CMYK": 4}[mode]
    return Image.frombytes(mode, SIZE, rng.integers(0, 256, (height, width * channels), np.uint8).tobytes())


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def change(rng: np.random.Generator, strength: float = 0.4) -> Change:
    x0, y0, x1, y1 = BOX
    return Change(BOX, rng.uniform(-strength, strength, (y1 - y0, x1 - x0, 3)).astype(np.float32))


def outside() -> np.ndarray:
    inside = np.zeros(SIZE[::-1], bool)
    inside[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    return ~inside


def png16(samples: np.ndarray, extra: bytes = b"") -> bytes:
    """A 16-bit PNG written here, unfiltered, so that the reader is not tested against our own writer."""
    height, width = samples.shape[:2]
    kind = {1: 0, 2: 4, 3: 2, 4: 6}[1 if samples.ndim == 2 else samples.shape[2]]

    def chunk(name: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, kind, 0, 0, 0))
    return png.SIGNATURE + head + extra + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


LOSSLESS = [
    *[("PNG", mode) for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")],
    *[("TIFF", mode) for mode in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16")],
    *[("BMP", mode) for mode in ("1", "L", "P", "RGB")],
    *[("WEBP", mode) for mode in ("RGB", "RGBA")],
    ("GIF", "P"),
]


@pytest.mark.parametrize(("format", "mode"), LOSSLESS)
def test_lossless_keeps_everything_but_the_box(rng: np.random.Generator, format: str, mode: str) -> None:
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    data = encoded(picture(rng, mode), format, **options)
    before = read(data)
    assert (before.format, before.mode, (before.width, before.height)) == (format, mode, SIZE)

    unchanged = read(before.encode())
    np.testing.assert_array_equal(unchanged.samples, before.samples)

    after = read(before.with_changes([change(rng)]).encode())
    assert (after.format, after.mode, after.bit_depth) == (format, mode, before.bit_depth)
    np.testing.assert_array_equal(after.to_array()[outside()], before.to_array()[outside()])
    inside = ~outside()
    # Bilevel pixels move only by flipping, about as many as the mean size of the change.
    assert (after.to_array()[inside] != before.to_array()[inside]).mean() > (0.1 if mode == "1" else 0.2)
    if mode in ("LA", "RGBA", "PA"):
        np.testing.assert_array_equal(after.samples[..., -1], before.samples[..., -1])
    # Pillow, which knows nothing of this package, sees the same picture.
    shown = Image.open(io.BytesIO(before.encode()))
    np.testing.assert_array_equal(np.asarray(shown), np.asarray(Image.open(io.BytesIO(data))))


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "I;16", "LA"])
def test_the_sum_is_rounded_and_clipped(rng: np.random.Generator, mode: str) -> None:
    before = read(encoded(picture(rng, mode), "PNG"))
    one = change(rng, 0.7)
    after = before.with_changes([one])
    top = 65535 if mode == "I;16" else 255
    x0, y0, x1, y1 = BOX
    old = np.atleast_3d(before.samples)[y0:y1, x0:x1].astype(np.float64)
    new = np.atleast_3d(after.samples)[y0:y1, x0:x1].astype(np.float64)
    delta = one.delta.astype(np.float64)
    if mode in ("L", "LA", "I;16"):
        delta = (delta @ [0.299, 0.587, 0.114])[..., None]
    colours = delta.shape[2]
    exact = np.clip(old[..., :colours] + delta * top, 0, top)
    assert np.abs(new[..., :colours] - exact).max() <= 0.5 + 1e-2
    np.testing.assert_array_equal(new[..., colours:], old[..., colours:])


@pytest.mark.parametrize("shape", [(30, 40), (30, 40, 2), (30, 40, 3), (30, 40, 4)])
def test_16_bit_png_keeps_16_bits(rng: np.random.Generator, shape: tuple[int, ...]) -> None:
    samples = rng.integers(0, 65536, shape).astype(np.uint16)
    before = read(png16(samples))
    assert before.bit_depth == 16
    np.testing.assert_array_equal(before.samples, samples)
    again = read(before.encode())
    assert again.mode == before.mode
    np.testing.assert_array_equal(again.samples, samples)
    after = read(before.with_changes([change(rng)]).encode())
    np.testing.assert_array_equal(after.samples[outside()], samples[outside()])
    assert len(np.unique(after.samples & 0xFF)) > 100  # the lower byte lives in the box as well
    np.testing.assert_array_equal(before.pixels, np.rint(before.pixels))
    gray = np.atleast_3d(samples)[..., :1] / 257.0
    expected = gray if before.mode in ("I;16", "LA;16") else samples[..., :3] / 257.0
    assert np.abs(before.pixels - expected).max() <= 0.5 + 1e-9


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_16_bit_png_agrees_with_opencv(rng: np.random.Generator, channels: int) -> None:
    cv2 = pytest.importorskip("cv2")
    smooth = np.cumsum(rng.integers(-300, 300, (61, 47, channels)), axis=0) + 30000  # makes every filter worth choosing
    samples = smooth.astype(np.uint16)
    data = png.encode16(samples[..., 0] if channels == 1 else samples)
    decoded = np.atleast_3d(cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED))
    order = {1: [0], 3: [2, 1, 0], 4: [2, 1, 0, 3]}[channels]
    np.testing.assert_array_equal(decoded[..., order], samples)


def test_colour_key_stays_and_nobody_else_gets_it(rng: np.random.Generator) -> None:
    pixels = rng.integers(100, 104, (30, 40, 3)).astype(np.uint8)
    key = tuple(int(v) for v in pixels[10, 10])
    before = read(encoded(Image.fromarray(pixels), "PNG", transparency=key))
    after = Image.open(io.BytesIO(before.with_changes([change(rng, 0.02)]).encode()))
    assert after.info["transparency"] == key
    np.testing.assert_array_equal((np.asarray(after) == key).all(-1), (pixels == key).all(-1))


def test_4_bit_gray_with_a_colour_key() -> None:
    rows = b"".join(b"\0" + bytes([0x3F, 0x03]) for _ in range(2))
    data = png.SIGNATURE + png.chunk(b"IHDR", struct.pack(">IIBBBBB", 4, 2, 4, 0, 0, 0, 0))
    data += png.chunk(b"tRNS", struct.pack(">H", 3)) + png.chunk(b"IDAT", zlib.compress(rows)) + png.chunk(b"IEND", b"")
    before = read(data)
    assert before.samples[0].tolist() == [51, 255, 0, 51]
    alpha = np.asarray(Image.open(io.BytesIO(before.encode())).convert("RGBA"))[..., 3]
    assert alpha[0].tolist() == [0, 255, 255, 0]


# --- palette ---


def test_palette_uses_free_slots_and_keeps_alpha(rng: np.random.Generator) -> None:
    image = picture(rng, "P")
    alpha = bytes(rng.choice([0, 128, 255], 100).tolist())
    before = read(encoded(image, "PNG", transparency=alpha))
    one = change(rng, 0.3)
    after = read(before.with_changes([one]).encode())
    assert after.mode == "P"
    old, new = before.to_array(), after.to_array()
    np.testing.assert_array_equal(new[..., 3], old[..., 3])
    np.testing.assert_array_equal(new[outside()], old[outside()])
    x0, y0, x1, y1 = BOX
    target = np.clip(old[y0:y1, x0:x1, :3] + one.delta * 255, 0, 255)
    opaque = old[y0:y1, x0:x1, 3] == 255
    error = np.abs(new[y0:y1, x0:x1, :3] - target)[opaque]
    assert error.mean() < 6.0  # 156 free colours for about 84 opaque pixels


def test_full_palette_takes_the_nearest_colour(rng: np.random.Generator) -> None:
    indices = np.concatenate([np.arange(256), rng.integers(0, 256, 944)]).astype(np.uint8).reshape(30, 40)
    table = rng.integers(0, 256, (256, 3)).astype(np.uint8)
    image = Image.frombytes("P", SIZE, indices.tobytes())
    image.putpalette(table.tobytes())
    before = read(encoded(image, "GIF"))
    one = change(rng)
    after = read(before.with_changes([one]).encode())
    x0, y0, x1, y1 = BOX
    target = np.clip(np.rint(before.pixels[y0:y1, x0:x1] + one.delta * 255), 0, 255)
    distance = ((target[:, :, None] - table[None, None].astype(float)) ** 2).sum(-1)
    got = ((target - after.pixels[y0:y1, x0:x1]) ** 2).sum(-1)
    np.testing.assert_array_equal(got, distance.min(-1))


def test_gif_keeps_its_transparent_pixels(rng: np.random.Generator) -> None:
    before = read(encoded(picture(rng, "P"), "GIF", transparency=7))
    hidden = before.to_array()[..., 3] == 0
    assert 0 < hidden.sum() < hidden.size
    after = read(before.with_changes([change(rng)]).encode())
    np.testing.assert_array_equal(after.to_array()[..., 3] == 0, hidden)


# --- CMYK and bilevel ---


def test_cmyk_reaches_the_rgb_that_was_asked_for(rng: np.random.Generator) -> None:
    before = read(encoded(picture(rng, "CMYK"), "TIFF"))
    one = change(rng, 0.3)
    after = read(before.with_changes([one]).encode())
    assert after.mode == "CMYK"
    np.testing.assert_array_equal(before.pixels, np.asarray(before.to_pil().convert("RGB")))
    x0, y0, x1, y1 = BOX
    wanted = np.clip(before.pixels[y0:y1, x0:x1] + one.delta * 255, 0, 255)
    assert np.abs(after.pixels[y0:y1, x0:x1] - wanted).max() <= 2.0


def test_cmyk_jpeg_stays_cmyk(rng: np.random.Generator) -> None:
    flat = Image.new("CMYK", SIZE, (30, 90, 140, 20))
    before = read(encoded(flat, "JPEG", quality=95))
    lighter = Change(BOX, np.full((14, 18, 3), 0.2, np.float32))
    after = read(before.with_changes([lighter]).encode())
    assert (after.format, after.mode) == ("JPEG", "CMYK")
    moved = after.pixels.astype(int) - before.pixels
    assert np.abs(moved[12, 18] - 51).max() <= 4
    assert np.abs(moved[0:2, 34:]).max() <= 2


def test_bilevel_follows_the_mean() -> None:
    checks = (np.indices((64, 64)).sum(0) % 2).astype(bool)
    before = read(checks)
    assert before.mode == "1"
    after = before.with_changes([Change((8, 8, 56, 56), np.full((48, 48, 3), 0.25, np.float32))])
    assert after.samples.dtype == bool
    assert after.samples[8:56, 8:56].mean() == pytest.approx(0.75, abs=0.03)
    assert after.samples[8:56, 8:56][checks[8:56, 8:56]].all()  # what was white already did not get darker
    assert (after.samples[:8] == checks[:8]).all()


# --- orientation, metadata, colour ---


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(format: str, orientation: int) -> None:
    y, x = np.mgrid[0:48, 0:64]
    up = np.stack([x * 4, y * 5, np.full_like(x, 90)], -1).astype(np.uint8)
    back = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    image = Image.fromarray(np.ascontiguousarray(back[orientation](up)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"quality": 100, "subsampling": 0} if format == "JPEG" else {"lossless": True} if format == "WEBP" else {}
    before = read(encoded(image, format, exif=exif, dpi=(100, 200), **options))
    assert (before.width, before.height) == (64, 48)
    assert np.abs(before.pixels.astype(int) - up).max() <= (4 if format == "JPEG" else 0)
    for keep in (False, True):
        out = Image.open(io.BytesIO(before.encode(keep_metadata=keep)))
        assert out.size == (64, 48)
        assert out.getexif().get(0x0112, 1) == 1
        if format in ("JPEG", "PNG"):
            wanted = (200, 100) if orientation >= 5 else (100, 200)
            assert out.info["dpi"] == pytest.approx(wanted, abs=0.02)


def test_orientation_of_16_bit_png(rng: np.random.Generator) -> None:
    samples = rng.integers(0, 65536, (4, 6, 3)).astype(np.uint16)
    exif = Image.Exif()
    exif[0x0112] = 6
    data = png16(samples, png.chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")))
    np.testing.assert_array_equal(read(data).samples, np.rot90(samples, -1))


PLANTED = b"PLANTED-SECRET"
XMP = (
    b"<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF><rdf:Description tiff:Orientation='6' dc:creator='KEPT-XMP'>"
    b"<xmp:Thumbnails><rdf:Alt><xmpGImg:image>PLANTED-SECRET-thumb</xmpGImg:image></rdf:Alt></xmp:Thumbnails>"
    b"</rdf:Description></rdf:RDF></x:xmpmeta>"
)


def with_metadata(image: Image.Image, format: str) -> bytes:
    """A file with secrets in every corner: EXIF, GPS, maker note, EXIF thumbnail, XMP, comment, text chunk, IPTC."""
    exif = Image.Exif()
    exif[0x010F] = "KEPT-MAKE"
    exif[0x0112] = 6
    exif[0xC4A5] = PLANTED + b" print"
    details = exif.get_ifd(0x8769)
    details[0x927C] = PLANTED + b" maker note"
    details[0x9003] = "2020:01:02 03:04:05"
    details[0xA002], details[0xA003] = image.size
    exif[0x8769] = details
    gps = exif.get_ifd(0x8825)
    gps[0x1D] = "1999:12:31"
    exif[0x8825] = gps
    options: dict[str, object] = {"exif": exif}
    if format == "JPEG":
        options |= {"comment": PLANTED + b" comment", "xmp": XMP, "quality": 90}
        iptc = b"Photoshop 3.0\0" + b"8BIM\x04\x04\0\0\0\0\0\x14" + b"\x1c\x02\x50\0\x0f" + PLANTED + b"!"
        options["extra"] = b"\xff\xed" + struct.pack(">H", len(iptc) + 2) + iptc
    elif format == "PNG":
        info = PngImagePlugin.PngInfo()
        info.add_text("Comment", PLANTED.decode())
        info.add_text("Long", PLANTED.decode() * 20, zip=True)
        info.add_itxt("XML:com.adobe.xmp", XMP.decode())
        options["pnginfo"] = info
    elif format == "TIFF":
        options["tiffinfo"] = {700: XMP, 270: PLANTED.decode(), 33723: PLANTED}
        del options["exif"]
    elif format == "WEBP":
        options |= {"xmp": XMP, "lossless": True}
    data = encoded(image, format, **options)
    if format == "JPEG":  # Pillow writes no EXIF thumbnail, so one is put behind the file, as phones do with previews
        data += b"\xff\xd8" + PLANTED + b" trailing preview"
    return data


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_metadata_is_gone_by_default(rng: np.random.Generator, format: str) -> None:
    data = with_metadata(picture(rng, "RGB"), format)
    assert PLANTED in data
    before = read(data)
    out = before.with_changes([change(rng)]).encode()
    for secret in (PLANTED, b"KEPT-MAKE", b"KEPT-XMP", b"1999:12:31", b"2020:01:02", b"Exif", b"xmpmeta"):
        assert secret not in out
    assert not dict(Image.open(io.BytesIO(out)).getexif()).keys() & {0x010F, 0x8769, 0x8825, 0x0112, 270}
    assert "comment" not in Image.open(io.BytesIO(out)).info


@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP"])
def test_metadata_is_kept_on_request_but_no_preview(rng: np.random.Generator, format: str) -> None:
    before = read(with_metadata(picture(rng, "RGB"), format))
    assert (before.width, before.height) == SIZE[::-1]  # lying on its side
    out = before.encode(keep_metadata=True)
    assert PLANTED not in out
    exif = Image.open(io.BytesIO(out)).getexif()
    assert exif[0x010F] == "KEPT-MAKE"
    assert exif.get(0x0112) == 1
    details = exif.get_ifd(0x8769)
    assert details[0x9003] == "2020:01:02 03:04:05"
    assert (details[0xA002], details[0xA003]) == SIZE[::-1]
    assert 0x927C not in details
    assert exif.get_ifd(0x8825)[0x1D] == "1999:12:31"
    assert b"KEPT-XMP" in out
    assert b"tiff:Orientation='1'" in out


def test_metadata_of_16_bit_png_and_tiff_is_kept_on_request(rng: np.random.Generator) -> None:
    exif = Image.Exif()
    exif[0x010F] = "KEPT-MAKE"
    extra = png.chunk(b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0")) + png.chunk(b"tEXt", b"Comment\0" + PLANTED)
    before = read(png16(rng.integers(0, 65536, (4, 6, 3)).astype(np.uint16), extra))
    assert b"KEPT-MAKE" not in before.encode()
    out = before.encode(keep_metadata=True)
    assert PLANTED not in out
    assert Image.open(io.BytesIO(out)).getexif()[0x010F] == "KEPT-MAKE"

    tiff = read(with_metadata(picture(rng, "RGB"), "TIFF")).encode(keep_metadata=True)
    assert b"KEPT-XMP" in tiff
    assert b"xmpGImg" not in tiff


def test_exif_thumbnail_is_dropped(rng: np.random.Generator) -> None:
    thumbnail = encoded(Image.new("RGB", (16, 16)), "JPEG", comment=PLANTED)
    first = struct.pack("<HHHI4sI", 1, 0x010F, 2, 4, b"ABC\0", 26)  # IFD0 at 8: one entry, then IFD1 at 26
    second = struct.pack("<HHHIIHHIII", 2, 0x0201, 4, 1, 56, 0x0202, 4, 1, len(thumbnail), 0)
    exif = b"Exif\0\0II*\0\x08\0\0\0" + first + second + thumbnail
    data = encoded(picture(rng, "RGB"), "JPEG", exif=exif)
    assert PLANTED in data
    place = Image.open(io.BytesIO(data)).info["exif"].index(b"\xff\xd8")
    assert place == 6 + 56  # where the second directory says that the thumbnail lies
    kept = read(data).encode(keep_metadata=True)
    assert PLANTED not in kept
    assert Image.open(io.BytesIO(kept)).getexif()[0x010F] == "ABC"


def test_damaged_exif_is_no_reason_to_refuse(rng: np.random.Generator) -> None:
    data = encoded(picture(rng, "RGB"), "JPEG", exif=b"Exif\0\0II*\0\xff\xff\xff\xff" + rng.bytes(60))
    assert read(data).width == SIZE[0]
    assert read(read(data).encode(keep_metadata=True)).width == SIZE[0]


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_profile_and_resolution_stay(rng: np.random.Generator, format: str) -> None:
    from PIL import ImageCms

    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    options = {"lossless": True} if format == "WEBP" else {}
    data = encoded(picture(rng, "RGB"), format, icc_profile=profile, dpi=(300, 300), **options)
    out = Image.open(io.BytesIO(read(data).encode()))
    assert out.info["icc_profile"] == profile
    if format != "WEBP":
        assert out.info["dpi"] == pytest.approx((300, 300), abs=0.02)
    assert "icc_profile" not in Image.open(io.BytesIO(read(encoded(picture(rng, "RGB"), format)).encode())).info


def test_png_colour_chunks_and_16_bit_profile_stay(rng: np.random.Generator) -> None:
    gamma = png.chunk(b"gAMA", struct.pack(">I", 45455))
    icc = png.chunk(b"iCCP", b"x\0\0" + zlib.compress(b"a profile"))
    pixels = rng.integers(0, 65536, (4, 6, 3)).astype(np.uint16)
    out = Image.open(io.BytesIO(read(png16(pixels, gamma + icc)).encode()))
    assert out.info["gamma"] == pytest.approx(0.45455)
    assert out.info["icc_profile"] == b"a profile"
    eight = encoded(picture(rng, "RGB"), "PNG")
    head = 8 + 25
    out = Image.open(io.BytesIO(read(eight[:head] + gamma + eight[head:]).encode()))
    assert out.info["gamma"] == pytest.approx(0.45455)


# --- JPEG, WebP, TIFF: encoded as the source was ---


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
@pytest.mark.parametrize("quality", [5, 40, 75, 98])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_jpeg_keeps_tables_and_sampling(rng: np.random.Generator, mode: str, quality: int, subsampling: int) -> None:
    data = encoded(picture(rng, mode), "JPEG", quality=quality, subsampling=subsampling, progressive=quality == 40)
    old = Image.open(io.BytesIO(data))
    new = Image.open(io.BytesIO(read(data).encode()))
    assert [old.quantization[c[3]] for c in old.layer] == [new.quantization[c[3]] for c in new.layer]
    assert JpegImagePlugin.get_sampling(new) == JpegImagePlugin.get_sampling(old)
    assert new.info.get("progressive") == old.info.get("progressive")
    assert new.mode == mode
    sharper = Image.open(io.BytesIO(read(data).encode(quality=100)))
    assert max(sharper.quantization[0]) == 1


def test_jpeg_saved_again_hardly_moves(rng: np.random.Generator) -> None:
    y, x = np.mgrid[0:64, 0:96]
    smooth = np.stack([x * 2 + 20, y * 3 + 20, 200 - x], -1).astype(np.uint8)
    before = read(encoded(Image.fromarray(smooth), "JPEG", quality=80))
    after = read(before.encode())
    assert np.abs(before.pixels.astype(int) - after.pixels).mean() < 0.5


def test_lossless_webp_stays_lossless_and_lossy_lossy(rng: np.random.Generator) -> None:
    image = picture(rng, "RGB")
    assert b"VP8L" in read(encoded(image, "WEBP", lossless=True)).encode()
    assert b"VP8L" not in read(encoded(image, "WEBP", quality=60)).encode()
    with_alpha = read(encoded(picture(rng, "RGBA"), "WEBP", lossless=True, exact=True))
    assert b"VP8L" in with_alpha.encode()


@pytest.mark.parametrize("compression", ["raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"])
def test_tiff_keeps_its_compression(rng: np.random.Generator, compression: str) -> None:
    if compression != "raw" and not features.check("libtiff"):
        pytest.skip("this Pillow has no libtiff, so it cannot compress TIFF")
    data = encoded(picture(rng, "RGB"), "TIFF", compression=compression)
    assert Image.open(io.BytesIO(read(data).encode())).info["compression"] == compression


def test_group4_fax_stays(rng: np.random.Generator) -> None:
    data = encoded(picture(rng, "1"), "TIFF", compression="group4")
    out = Image.open(io.BytesIO(read(data).encode()))
    assert (out.info["compression"], out.mode) == ("group4", "1")


def test_bmp_keeps_alpha(rng: np.random.Generator) -> None:
    pixels = np.asarray(picture(rng, "RGBA"))
    data = read(pixels).encode("bmp")
    before = read(data)
    assert before.mode == "RGBA"
    np.testing.assert_array_equal(before.samples, pixels)
    np.testing.assert_array_equal(read(before.encode()).samples, pixels)


def test_heic_in_and_out(rng: np.random.Generator) -> None:
    pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    assert encode.register_heif()
    y, x = np.mgrid[0:64, 0:96]
    up = np.stack([x * 2 + 20, y * 3 + 20, 200 - x], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x010F] = "KEPT-MAKE"
    exif[0x0112] = 6
    data = encoded(Image.fromarray(np.rot90(up).copy()), "HEIF", exif=exif.tobytes(), quality=95)
    before = read(data)
    assert (before.format, before.width, before.height) == ("HEIF", 96, 64)
    assert np.abs(before.pixels.astype(int) - up).mean() < 3
    out = before.encode()
    assert b"KEPT-MAKE" not in out
    after = read(out)
    assert (after.format, after.width, after.height) == ("HEIF", 96, 64)
    assert np.abs(after.pixels.astype(int) - up).mean() < 4
    kept = Image.open(io.BytesIO(before.encode(keep_metadata=True)))
    assert kept.size == (96, 64)
    assert kept.getexif()[0x010F] == "KEPT-MAKE"


def test_heic_without_pillow_heif_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    with pytest.raises(ExtraMissingError, match=r"pip install \"halfmask\[heic\]\""):
        read(b"\0\0\0\x18ftypheic" + bytes(40))
    with pytest.raises(ExtraMissingError, match="halfmask"):
        read(np.zeros((8, 8, 3), np.uint8)).encode("heic")


# --- other formats on request ---


@pytest.mark.parametrize("target", ["jpeg", "png", "tiff", "bmp", "webp", "gif"])
@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_every_mode_can_be_written_in_every_format(rng: np.random.Generator, mode: str, target: str) -> None:
    before = read(picture(rng, mode))
    out = read(before.encode(target))
    assert out.format == encode.format_of(target)
    assert (out.width, out.height) == SIZE
    if target in ("png", "tiff", "bmp") and mode in ("1", "L", "P", "RGB"):
        np.testing.assert_array_equal(out.pixels, before.pixels)
    if target in ("png", "tiff") and mode == "RGBA":
        np.testing.assert_array_equal(out.samples, before.samples)


def test_transparency_survives_a_change_of_format(rng: np.random.Generator) -> None:
    alpha = bytes(rng.choice([0, 255], 100).tolist())
    before = read(encoded(picture(rng, "P"), "PNG", transparency=alpha))
    out = read(before.encode("tiff"))
    assert out.mode == "RGBA"
    np.testing.assert_array_equal(out.to_array(), before.to_array())
    paper = read(before.encode("jpeg", quality=100))
    assert paper.mode == "RGB"
    hidden = before.to_array()[..., 3] == 0
    assert paper.pixels[hidden].mean() > 220


def test_unknown_format_and_quality_are_usage_errors() -> None:
    one = read(np.zeros((2, 2), np.uint8))
    with pytest.raises(UsageError, match=r"'psd'; expected one of: .*jpg"):
        one.encode("psd")
    with pytest.raises(UsageError, match="quality is 101; expected"):
        one.encode("jpeg", quality=101)


# --- saving ---


def test_suffix_then_own_format_decides(rng: np.random.Generator, tmp_path: Path) -> None:
    one = read(encoded(picture(rng, "RGB"), "PNG"))
    one.save(tmp_path / "a.JPG")
    one.save(tmp_path / "b.unknown")
    one.save(str(tmp_path / "c.jpg"), format="bmp")
    assert [Image.open(tmp_path / name).format for name in ("a.JPG", "b.unknown", "c.jpg")] == ["JPEG", "PNG", "BMP"]
    stream = io.BytesIO()
    one.save(stream)
    assert stream.getvalue() == (tmp_path / "b.unknown").read_bytes()


@pytest.mark.parametrize("step", ["encode", "fsync", "replace", "interrupt"])
@pytest.mark.parametrize("existing", [False, True])
def test_whole_or_absent(
    rng: np.random.Generator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, existing: bool
) -> None:
    target = tmp_path / "out.png"
    if existing:
        target.write_bytes(b"the old file")
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    failure: BaseException = KeyboardInterrupt() if step == "interrupt" else full

    def fail(*args: object, **kwargs: object) -> None:
        raise failure

    one = read(picture(rng, "RGB"))
    if step == "encode":
        monkeypatch.setattr(Image.Image, "save", fail)
    elif step == "replace":
        monkeypatch.setattr(Path, "replace", fail)
    else:
        monkeypatch.setattr(photo.os, "fsync", fail)
    with pytest.raises(KeyboardInterrupt if step == "interrupt" else PhotoError) as caught:
        one.save(target)
    if step != "interrupt":
        assert "No space left" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == (["out.png"] if existing else [])
    if existing:
        assert target.read_bytes() == b"the old file"


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is POSIX")
def test_kill_leaves_no_half_file(tmp_path: Path) -> None:
    script = (
        "import os, signal, sys, numpy as np\n"
        "from halfmask.photos import photo\n"
        "one = photo.Photo(np.zeros((200, 200, 3), np.uint8), 'RGB')\n"
        "photo.os.fsync = lambda fd: os.kill(os.getpid(), signal.SIGKILL)\n"
        "one.save(sys.argv[1])\n"
    )
    target = tmp_path / "out.png"
    done = subprocess.run([sys.executable, "-c", script, str(target)], capture_output=True)
    assert done.returncode == -9
    assert not target.exists()
    left = list(tmp_path.iterdir())
    assert len(left) == 1
    assert left[0].name.endswith(PART_SUFFIX)
    assert not is_photo(left[0])


def test_save_to_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match=r"out\.png could not be written: No such file.*folder exists"):
        read(np.zeros((2, 2), np.uint8)).save(tmp_path / "absent" / "out.png")


def test_what_is_no_regular_file_is_never_replaced(tmp_path: Path) -> None:
    one = read(np.zeros((2, 2), np.uint8))
    pipe, folder, link = tmp_path / "pipe.png", tmp_path / "folder.png", tmp_path / "link.png"
    os.mkfifo(pipe)
    folder.mkdir()
    link.symlink_to(pipe)
    for target, what in ((pipe, "a pipe"), (folder, "is a folder"), (link, "a pipe")):
        with pytest.raises(PhotoError, match=rf"{target.name} could not be written: it .*{what}"):
            one.save(target)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.png", "link.png", "pipe.png"]
    assert pipe.is_fifo()
    assert folder.is_dir()


def test_messages_hold_no_terminal_escapes(tmp_path: Path) -> None:
    path = tmp_path / "a\x1b[31m\n.jpg"
    path.write_bytes(b"")
    with pytest.raises(PhotoError, match="is empty") as caught:
        read(path)
    assert str(caught.value).isprintable()
    assert r"a\x1b[31m\n.jpg" in str(caught.value)


def test_new_files_get_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    read(np.zeros((2, 2), np.uint8)).save(tmp_path / "a.png")
    assert (tmp_path / "a.png").stat().st_mode == (tmp_path / "plain").stat().st_mode


@pytest.mark.skipif(sys.platform in ("win32", "darwin"), reason="this file system wants UTF-8 names")
def test_name_that_is_not_utf8(tmp_path: Path) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.png"))
    read(np.zeros((2, 2), np.uint8)).save(path)
    assert read(path).name.encode()  # can be printed anywhere
    path.write_bytes(b"")
    with pytest.raises(PhotoError, match="caf") as caught:
        read(path)
    assert str(caught.value).encode()


# --- bad input ---


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
def test_truncated_at_any_place(rng: np.random.Generator, format: str) -> None:
    image = picture(rng, "P" if format == "GIF" else "RGB")
    data = encoded(image, format)
    whole = read(data).pixels
    errors = []
    cuts = [1, 4, 20, len(data) // 4, len(data) // 2, len(data) * 3 // 4, len(data) - 30, len(data) - 2]
    for cut in cuts:
        try:
            got = read(data[:cut]).pixels
        except PhotoError as error:
            errors.append(str(error))
        else:
            np.testing.assert_array_equal(got, whole)  # nothing but an end marker was missing
    assert len(errors) >= len(cuts) - 2
    assert all("expected" in message for message in errors)


def test_truncated_16_bit_png(rng: np.random.Generator) -> None:
    data = png16(rng.integers(0, 65536, (30, 40, 3)).astype(np.uint16))
    with pytest.raises(PhotoError, match="damaged or cut short"):
        read(data[: len(data) // 2])


@pytest.mark.parametrize("seed", range(40))
def test_flipped_bytes_never_escape_as_another_error(seed: int) -> None:
    rng = np.random.default_rng(seed)
    format, mode = LOSSLESS[seed % len(LOSSLESS)]
    data = bytearray(encoded(picture(rng, mode), format))
    for place in rng.integers(0, min(len(data), 400), 6):
        data[place] = int(rng.integers(0, 256))
    with contextlib.suppress(PhotoError):
        assert read(bytes(data), max_pixels=1_000_000).encode()


def test_not_a_picture(tmp_path: Path) -> None:
    text = tmp_path / "notes.jpg"
    text.write_text("hello, this is text")
    with pytest.raises(PhotoError, match=r"notes\.jpg is not a picture .*b'hello, t'; expected JPEG"):
        read(text)
    empty = tmp_path / "empty.jpg"
    empty.touch()
    with pytest.raises(PhotoError, match=r"empty\.jpg is empty \(0 bytes\)"):
        read(empty)
    with pytest.raises(PhotoError, match=r"cannot read .*absent\.jpg: No such file"):
        read(tmp_path / "absent.jpg")
    with pytest.raises(PhotoError, match="cannot read"):
        read(tmp_path)
    with pytest.raises(PhotoError, match="not a picture"):
        read(b"%!PS-Adobe-3.0 EPSF")  # Pillow would hand this to Ghostscript


def test_bomb_is_refused_without_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    head = png.chunk(b"IHDR", struct.pack(">IIBBBBB", 20_000, 20_000, 8, 2, 0, 0, 0))
    bomb = png.SIGNATURE + head + png.chunk(b"IDAT", zlib.compress(bytes(1000))) + png.chunk(b"IEND", b"")

    def never(self: Image.Image) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", never)
    with pytest.raises(PhotoError, match=r"20000 x 20000 = 400,000,000 pixels; the limit is 250,000,000.*--max-pixels"):
        read(bomb)
    with pytest.raises(PhotoError, match=r"the limit is 99"):
        read(encoded(Image.new("L", (10, 10)), "PNG"), max_pixels=99)
    with pytest.raises(PhotoError, match=r"the limit is 99"):
        read(Image.new("L", (10, 10)), max_pixels=99)


def test_the_limit_can_be_raised_above_pillows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    data = encoded(Image.new("L", (10, 10)), "PNG")
    assert read(data, max_pixels=100).width == 10


@pytest.mark.parametrize("format", ["GIF", "PNG", "WEBP", "TIFF"])
def test_animations_and_pages_are_refused(rng: np.random.Generator, format: str) -> None:
    frames = [picture(rng, "RGB") for _ in range(3)]
    data = encoded(frames[0], format, save_all=True, append_images=frames[1:])
    with pytest.raises(PhotoError, match="holds 3 pictures"):
        read(data)
    with pytest.raises(PhotoError, match="holds 3 pictures"):
        read(Image.open(io.BytesIO(data)))


def test_mpo_is_its_first_picture(rng: np.random.Generator) -> None:
    frames = [picture(rng, "RGB") for _ in range(2)]
    data = encoded(frames[0], "MPO", save_all=True, append_images=frames[1:])
    assert getattr(Image.open(io.BytesIO(data)), "n_frames", 1) == 2
    before = read(data)
    assert before.format == "JPEG"
    out = Image.open(io.BytesIO(before.encode()))
    assert (out.format, getattr(out, "n_frames", 1)) == ("JPEG", 1)


def test_floating_point_tiff_is_refused_not_flattened() -> None:
    with pytest.raises(PhotoError, match="32 bits"):
        read(encoded(Image.new("F", SIZE), "TIFF"))


@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
def test_one_pixel(format: str) -> None:
    before = read(encoded(Image.new("RGB", (1, 1), (200, 100, 50)), format))
    lighter = Change((0, 0, 1, 1), np.full((1, 1, 3), 0.1, np.float32))
    after = read(before.with_changes([lighter]).encode())
    assert (after.width, after.height) == (1, 1)
    assert after.pixels.mean() > before.pixels.mean()


# --- arrays and Pillow images ---


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
@pytest.mark.parametrize("shape", [(5, 7), (5, 7, 2), (5, 7, 3), (5, 7, 4)])
def test_arrays_come_back(rng: np.random.Generator, dtype: type, shape: tuple[int, ...]) -> None:
    array = rng.integers(0, np.iinfo(dtype).max, shape).astype(dtype)
    one = read(array)
    back = one.to_array()
    assert back.dtype == dtype
    np.testing.assert_array_equal(back, array)
    np.testing.assert_array_equal(read(one.encode()).to_array(), array)
    assert one.pixels.shape == (5, 7, 3)
    assert not one.pixels.flags.writeable
    back[:] = 0  # a fresh array
    np.testing.assert_array_equal(one.to_array(), array)
    array[0, 0] = array[0, 0]  # the caller's own array stays writable


@pytest.mark.parametrize(
    "array", [np.zeros((4, 4, 3)), np.zeros((4, 4, 3), np.float32), np.zeros((4, 4, 5), np.uint8),
              np.zeros(4, np.uint8), np.zeros((0, 4), np.uint8), np.zeros((4, 4), np.int32)],
)  # fmt: skip
def test_other_arrays_are_refused(array: np.ndarray) -> None:
    with pytest.raises(PhotoError, match="is no picture; expected uint8 or uint16") as caught:
        read(array)
    assert ("Multiply" in str(caught.value)) == (array.dtype.kind == "f")


@pytest.mark.parametrize("mode", ["1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"])
def test_pillow_images_come_back(rng: np.random.Generator, mode: str) -> None:
    image = picture(rng, mode)
    back = read(image).to_pil()
    assert back.mode == mode
    np.testing.assert_array_equal(np.asarray(back), np.asarray(image))
    if mode == "P":
        assert back.getpalette() == image.getpalette()


def test_pillow_image_of_another_mode_is_refused() -> None:
    with pytest.raises(PhotoError, match=r"has the mode HSV; expected one of 1, L"):
        read(Image.new("HSV", (4, 4)))


# --- changes ---


def test_no_change_is_the_same_photo_and_zero_is_bit_identical(rng: np.random.Generator) -> None:
    for mode in ("1", "L", "P", "PA", "RGB", "RGBA", "CMYK", "I;16"):
        before = read(picture(rng, mode))
        assert before.with_changes([]) is before
        zero = Change(BOX, np.zeros((14, 18, 3), np.float32))
        np.testing.assert_array_equal(before.with_changes([zero]).samples, before.samples)


def test_the_original_is_left_alone(rng: np.random.Generator) -> None:
    for mode in ("P", "RGB", "CMYK"):
        before = read(picture(rng, mode))
        kept = before.to_array()
        before.with_changes([change(rng)])
        np.testing.assert_array_equal(before.to_array(), kept)
        with pytest.raises(ValueError, match="read-only"):
            before.samples[0, 0] = 0


def test_boxes_must_lie_inside(rng: np.random.Generator) -> None:
    before = read(picture(rng, "RGB"))
    for box in ((-1, 0, 1, 2), (39, 0, 41, 2), (0, 29, 2, 31)):
        with pytest.raises(ValueError, match="is not inside a 40 x 30 photo"):
            before.with_changes([Change(box, np.zeros((2, 2, 3), np.float32))])


def test_is_photo_knows_every_format() -> None:
    assert all(is_photo(f"a{suffix}") and is_photo(f"a{suffix.upper()}") for suffix in reading.SUFFIXES)
    assert set(reading.SUFFIXES.values()) == set(encode.FORMATS)
    assert not any(is_photo(name) for name in ("a.txt", "jpg", ".jpg.part", "a.csv", "a"))


def test_lfw_photos_round_trip(shared_data: Path) -> None:
    paths = sorted((shared_data / "lfw").rglob("*.jpg"))[::400]
    assert paths
    for path in paths:
        before = read(path)
        after = read(before.encode())
        assert (after.mode, after.width, after.height) == (before.mode, 250, 250)
        assert np.abs(before.pixels.astype(int) - after.pixels).mean() < 1.0
