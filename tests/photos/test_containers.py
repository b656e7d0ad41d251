"""Files that hold more than one picture, or whose numbers mean more than they say: the photo is kept, the rest told."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from halfmask.errors import PhotoError
from halfmask.photos import encode, isobmff, jpeg, png, tiff, tones
from halfmask.photos.photo import DAMAGED
from halfmask.photos.reading import Change, read

SIZE = (96, 64)
BOX = (20, 10, 60, 50)


def smooth(width: int = SIZE[0], height: int = SIZE[1]) -> np.ndarray:
    y, x = np.mgrid[0:height, 0:width]
    return np.stack([x * 200 // width + 20, y * 180 // height + 30, 200 - x * 150 // width], -1).astype(np.uint8)


def encoded(image: Image.Image, format: str, **options: object) -> bytes:
    out = io.BytesIO()
    image.save(out, format, **options)
    return out.getvalue()


def lighter(by: float = 0.1) -> Change:
    x0, y0, x1, y1 = BOX
    return Change(BOX, np.full((y1 - y0, x1 - x0, 3), by, np.float32))


def outside() -> np.ndarray:
    inside = np.zeros(SIZE[::-1], bool)
    inside[BOX[1] : BOX[3], BOX[0] : BOX[2]] = True
    return ~inside


# --- TIFF: which directory is the photo ---


def directory(pixels: np.ndarray, order: str = "<", **tags: Any) -> dict[str, Any]:
    """A page for :func:`tiff_file`; ``t254=1`` sets a tag, ``subs`` are pages that hang on it."""
    return {"pixels": pixels, "subs": tags.pop("subs", []), "tags": {int(k[1:]): v for k, v in tags.items()}}


def tiff_file(pages: list[dict[str, Any]], order: str = "<", big: bool = False) -> bytes:
    """An uncompressed TIFF written here, so that the reader is not tested against a writer that shares its ideas."""
    word, entry = ("Q", 20) if big else ("I", 12)
    out = bytearray((b"II" if order == "<" else b"MM") + struct.pack(order + "H", 43 if big else 42))
    out += struct.pack(order + "HH", 8, 0) if big else b""
    link = len(out)
    out += bytes(struct.calcsize(word))

    def put(page: dict[str, Any], link: int | None) -> int:
        subs = [put(sub, None) for sub in page["subs"]]
        pixels = page["pixels"]
        data = pixels.astype(pixels.dtype.newbyteorder(order)).tobytes()
        channels = 1 if pixels.ndim == 2 else pixels.shape[2]
        at = len(out)
        out.extend(data)
        tags: dict[int, Any] = {
            256: pixels.shape[1], 257: pixels.shape[0], 258: (pixels.dtype.itemsize * 8,) * channels, 259: 1,
            262: 2 if channels >= 3 else 1, 273: at, 277: channels, 278: pixels.shape[0], 279: len(data), 284: 1,
        }  # fmt: skip
        tags |= page["tags"] | ({330: tuple(subs)} if subs else {}) | ({338: 2} if channels == 4 else {})
        block, extra = b"", {}
        for tag, value in sorted(tags.items()):
            values = value if isinstance(value, tuple) else (value,)
            kind, letter = (4, "I") if tag in (254, 256, 257, 273, 278, 279, 330) else (3, "H")
            packed = struct.pack(f"{order}{len(values)}{letter}", *values)
            if len(packed) > struct.calcsize(word):
                extra[tag] = len(out)
                out.extend(packed)
                packed = struct.pack(order + word, extra[tag])
            wide = struct.calcsize(word)
            block += struct.pack(order + "HH" + word, tag, kind, len(values)) + packed.ljust(wide, b"\0")
        out.extend(bytes(len(out) % 2))
        offset = len(out)
        out.extend(struct.pack(order + ("Q" if big else "H"), len(block) // entry))
        out.extend(block + bytes(struct.calcsize(word)))
        if link is not None:
            struct.pack_into(order + word, out, link, offset)
        return offset

    for page in pages:
        put(page, link)
        link = len(out) - struct.calcsize(word)
    return bytes(out)


PREVIEW = np.full((16, 24, 3), 7, np.uint8)


@pytest.mark.parametrize(("order", "big"), [("<", False), (">", False), ("<", True)])
@pytest.mark.parametrize("how", ["flag first", "flag last", "old flag", "small first", "sub", "photo in sub", "mask"])
def test_the_full_size_directory_of_a_tiff_is_the_photo(order: str, big: bool, how: str) -> None:
    photo = smooth()
    pages = {
        "flag first": [directory(PREVIEW, t254=1), directory(photo, t254=0)],
        "flag last": [directory(photo), directory(photo[::2, ::2].copy(), t254=1)],
        "old flag": [directory(PREVIEW, t255=2), directory(photo, t255=1)],
        "small first": [directory(PREVIEW), directory(photo)],
        "sub": [directory(photo, subs=[directory(photo[::2, ::2].copy(), t254=1), directory(PREVIEW, t254=1)])],
        "photo in sub": [directory(PREVIEW, t254=1, subs=[directory(photo, t254=0)])],
        "mask": [directory(photo), directory(photo[..., 0].copy(), t254=4)],
    }[how]
    before = read(tiff_file(pages, order, big))
    np.testing.assert_array_equal(before.samples, photo)
    assert len(before.notes) == 1
    assert "preview in the file was dropped" in before.notes[0]
    out = before.with_changes([lighter()]).encode()
    assert getattr(Image.open(io.BytesIO(out)), "n_frames", 1) == 1
    assert len(tiff.directories(io.BytesIO(out))) == 1
    assert read(out).notes == ()


def test_pages_of_a_tiff_are_refused_and_a_raw_picture_too() -> None:
    photo = smooth()
    with pytest.raises(PhotoError, match=r"holds 2 pictures \(an animation or several pages\)"):
        read(tiff_file([directory(photo), directory(photo[:50].copy())]))
    with pytest.raises(PhotoError, match="holds 2 pictures"):  # A4 and A5: half the size, and no preview
        read(tiff_file([directory(smooth(800, 600)), directory(smooth(400, 300))]))
    raw = directory(np.zeros((64, 96), np.uint16), t262=32803)
    for pages in ([directory(PREVIEW, t254=1, subs=[raw])], [directory(PREVIEW), raw]):
        with pytest.raises(PhotoError, match="camera's raw picture"):
            read(tiff_file(pages))


@pytest.mark.parametrize(
    ("page", "what"),
    [
        (directory(np.zeros((9, 9, 3), np.float32), t339=(3, 3, 3)), "32 bits a sample in floating-point"),
        (directory(np.zeros((9, 9), np.float16), t339=3), "16 bits a sample in floating-point"),
        (directory(np.zeros((9, 9), np.int16), t339=2), "in signed numbers"),
        (directory(np.zeros((9, 9), np.uint16), t262=0), "16 bits, PhotometricInterpretation 0"),
        (directory(np.zeros((9, 9, 4), np.uint16), t262=5), "16 bits, PhotometricInterpretation 5"),
        (directory(np.zeros((9, 9, 3), np.uint32)), "3 samples of 32 bits"),
        (directory(np.zeros((9, 9), np.uint16), t258=12), "1 samples of 12 bits"),
        (directory(np.zeros((9, 9, 3), np.uint8), t262=8), "has the mode LAB"),
        (directory(np.zeros((9, 9, 3), np.uint8), t262=32845), r"in way 32845"),
    ],
)
def test_tiff_samples_that_cannot_be_kept_are_refused(page: dict[str, Any], what: str) -> None:
    with pytest.raises(PhotoError, match=what):
        read(tiff_file([page]))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("channels", [3, 4])
def test_16_bit_colour_tiff_keeps_16_bits(rng: np.random.Generator, order: str, channels: int) -> None:
    samples = rng.integers(0, 65536, (*SIZE[::-1], channels)).astype(np.uint16)
    before = read(tiff_file([directory(samples)], order))
    assert (before.mode, before.format) == ("RGB;16" if channels == 3 else "RGBA;16", "TIFF")
    np.testing.assert_array_equal(before.samples, samples)
    out = before.with_changes([lighter()]).encode()
    after = read(out)
    assert after.mode == before.mode
    np.testing.assert_array_equal(after.samples[outside()], samples[outside()])
    assert len(np.unique(after.samples[..., :3][~outside()] & 0xFF)) > 100
    for target in ("png", "tiff"):
        np.testing.assert_array_equal(read(before.encode(target)).samples, samples)
    shown = np.asarray(Image.open(io.BytesIO(before.encode())))  # Pillow knows the upper 8 bits of it
    np.testing.assert_array_equal(shown, samples >> 8)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_16_bit_colour_tiff_is_turned_upright(orientation: int) -> None:
    up = smooth().astype(np.uint16) * 257 + 3
    back = {
        1: lambda a: a, 2: np.fliplr, 3: lambda a: np.rot90(a, 2), 4: np.flipud,
        5: lambda a: a.transpose(1, 0, 2), 6: lambda a: np.rot90(a, 1),
        7: lambda a: np.rot90(a.transpose(1, 0, 2), 2), 8: lambda a: np.rot90(a, -1),
    }  # fmt: skip
    page = directory(np.ascontiguousarray(back[orientation](up)), t274=orientation)
    np.testing.assert_array_equal(read(tiff_file([page])).samples, up)


def test_16_bit_colour_tiff_keeps_profile_resolution_and_metadata() -> None:
    samples = smooth().astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x010F] = "KEPT-MAKE"
    details = exif.get_ifd(0x8769)
    details[0x9003] = "2020:01:02 03:04:05"
    exif[0x8769] = details
    exif_chunk = (b"eXIf", exif.tobytes().removeprefix(b"Exif\0\0"))
    before = read(png.encode16(samples, [exif_chunk, (b"iCCP", b"x\0\0" + zlib.compress(b"PROFILE"))]))
    private = Image.open(io.BytesIO(before.encode("tiff")))
    assert private.info["icc_profile"] == b"PROFILE"
    assert 0x010F not in private.getexif()
    kept = Image.open(io.BytesIO(before.encode("tiff", keep_metadata=True)))
    assert isinstance(kept, TiffImagePlugin.TiffImageFile)
    assert kept.getexif()[0x010F] == "KEPT-MAKE"
    assert kept.getexif().get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def test_cmyk_tiff_stays(rng: np.random.Generator) -> None:
    pixels = rng.integers(0, 256, (*SIZE[::-1], 4)).astype(np.uint8)
    before = read(encoded(Image.fromarray(pixels, "CMYK"), "TIFF"))
    np.testing.assert_array_equal(read(before.with_changes([lighter()]).encode()).samples[outside()], pixels[outside()])


# --- AVIF and HEIC ---


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "L"])
def test_avif_in_and_out(mode: str) -> None:
    image = Image.fromarray(smooth()).convert(mode)
    if mode == "RGBA":  # an alpha that is opaque everywhere is left out by the encoder
        image.putalpha(Image.fromarray(smooth()[..., 0]))
    before = read(encoded(image, "AVIF", quality=95))
    assert (before.format, before.mode, (before.width, before.height)) == ("AVIF", mode, SIZE)
    out = before.with_changes([lighter(0.2)]).encode()
    after = read(out)
    assert (after.format, after.mode) == ("AVIF", mode)
    assert np.abs(after.pixels.astype(int) - before.pixels)[outside()].mean() < 3
    moved = after.pixels[30, 40].astype(int) - before.pixels[30, 40]
    assert np.abs(moved - 51).max() < 12
    assert isobmff.contents(out).cicp == isobmff.contents(encoded(image, "AVIF")).cicp


def with_cicp(data: bytes, primaries: int, transfer: int) -> bytes:
    changed = bytearray(data)
    places = isobmff.contents(data).cicp_places
    assert places
    for place in places:
        struct.pack_into(">HH", changed, place, primaries, transfer)
    return bytes(changed)


def heic(pixels: np.ndarray, primaries: int = 1, transfer: int = 13, bits: int = 8, quality: int = 95) -> bytes:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    mode = "RGB;16" if pixels.dtype == np.uint16 else "RGB"
    one = pillow_heif.from_bytes(mode=mode, size=pixels.shape[1::-1], data=pixels.tobytes())
    out = io.BytesIO()
    nclx = {
        "color_primaries": primaries, "transfer_characteristics": transfer,
        "matrix_coefficients": 9 if primaries == 9 else 6, "full_range_flag": 1,
    }  # fmt: skip
    one.save(out, quality=quality, nclx_profile=nclx, bit_depth=bits)
    return out.getvalue()


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16), (9, 18)])
def test_avif_keeps_what_its_colours_mean(primaries: int, transfer: int) -> None:
    before = read(with_cicp(encoded(Image.fromarray(smooth()), "AVIF", quality=95), primaries, transfer))
    out = before.with_changes([lighter()]).encode()
    cicp = isobmff.contents(out).cicp
    assert cicp is not None
    assert cicp[:2] == (primaries, transfer)
    assert np.abs(read(out).samples.astype(int) - before.samples)[outside()].mean() < 3


@pytest.mark.parametrize(("primaries", "transfer"), [(12, 13), (9, 16), (9, 18), (1, 13)])
@pytest.mark.parametrize("bits", [8, 10, 12])
def test_heic_keeps_depth_and_meaning(primaries: int, transfer: int, bits: int) -> None:
    step = 1 << (16 - bits)
    pixels = smooth() if bits == 8 else (smooth().astype(np.uint16) * 257 // step * step).astype(np.uint16)
    data = heic(pixels, primaries, transfer, bits)
    before = read(data)
    assert before.mode == ("RGB" if bits == 8 else "RGB;16")
    for changes in ([], [lighter()]):
        found = isobmff.contents(before.with_changes(changes).encode())
        assert found.bits == bits
        assert found.cicp is not None
        assert found.cicp[:2] == (primaries, transfer)
    after = read(before.with_changes([lighter()]).encode())
    apart = np.abs(after.samples.astype(float) - before.samples)[outside()].mean()
    assert apart < (3 if bits == 8 else 3 * 257)
    rise = after.pixels.astype(int)[BOX[1] + 9 : BOX[3] - 9, BOX[0] + 9 : BOX[2] - 9] - before.pixels[19:41, 29:51]
    assert rise.mean() == pytest.approx(25.5, abs=6)  # the change is seen as large as it was asked for, in HDR as well
    if (primaries, transfer) != (1, 13):
        with pytest.raises(PhotoError, match=rf"primaries {primaries} and transfer {transfer} .*--format png"):
            before.encode("jpeg")
    as_png = before.encode("png")
    assert png.header(io.BytesIO(as_png))[1] == ((b"cICP", bytes((primaries, transfer, 0, 1))),)
    np.testing.assert_array_equal(read(as_png).samples, before.samples)


def test_deep_avif_and_odd_light_are_refused() -> None:
    data = bytearray(encoded(Image.fromarray(smooth()), "AVIF"))
    place = data.index(b"pixi")
    data[place + 9 : place + 12] = bytes((10, 10, 10))
    with pytest.raises(PhotoError, match="AVIF of 10 bits a sample; expected 8"):
        read(bytes(data))
    with pytest.raises(PhotoError, match="transfer characteristics 8"):
        read(with_cicp(encoded(Image.fromarray(smooth()), "AVIF"), 1, 8))
    ten = heic(smooth().astype(np.uint16) * 257, bits=10)
    with pytest.raises(PhotoError, match="AVIF is written with 8 bits"):
        read(ten).encode("avif")


@pytest.mark.parametrize("format", ["PNG", "HEIF"])
def test_hdr_looks_on_screen_as_it_should(format: str) -> None:
    """Diffuse white, 203 nits, is 0.58 in PQ (BT.2408); taken for sRGB it would look like a middle gray."""
    white = np.full((64, 64, 3), round(0.58 * 255), np.uint8)
    if format == "HEIF":
        shown = read(heic(white, 9, 16)).pixels
    else:
        data = encoded(Image.fromarray(white), "PNG")
        shown = read(data[:33] + png.chunk(b"cICP", bytes((9, 16, 0, 1))) + data[33:]).pixels
    assert 175 < shown.mean() < 205
    assert tones.shown(np.array([0, 255], np.uint8), 16).tolist() == [0, 255]


@pytest.mark.parametrize("transfer", [16, 18])
@pytest.mark.parametrize("depth", [np.uint8, np.uint16])
def test_a_zero_change_of_hdr_is_no_change(transfer: int, depth: type) -> None:
    every = np.arange(np.iinfo(depth).max + 1, dtype=depth)
    np.testing.assert_array_equal(tones.add(every, np.zeros(every.shape, np.float32), transfer), every)
    assert (np.diff(tones.add(every, np.full(every.shape, 0.01, np.float32), transfer)) >= 0).all()


def test_several_pictures_in_a_heic_or_avif_are_refused() -> None:
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    two = pillow_heif.HeifFile()
    for _ in range(2):
        two.add_from_pillow(Image.fromarray(smooth()))
    out = io.BytesIO()
    two.save(out)
    with pytest.raises(PhotoError, match="holds 2 pictures"):
        read(out.getvalue())
    moving = encoded(Image.fromarray(smooth()), "AVIF", save_all=True, append_images=[Image.fromarray(smooth()[::-1])])
    with pytest.raises(PhotoError, match="holds 2 pictures"):
        read(moving)
    with pytest.raises(PhotoError, match="image sequence"):
        read(heic(smooth()) + struct.pack(">I4s", 8, b"moov"))


def box(kind: bytes, *contents: bytes) -> bytes:
    return struct.pack(">I4s", 8 + sum(map(len, contents)), kind) + b"".join(contents)


def with_auxiliary(urn: bytes, tail: bytes = b"") -> bytes:
    """The boxes of a HEIC whose picture 1 has the auxiliary picture 2; there are no pixels in it."""
    full = bytes(4)
    infe = [box(b"infe", b"\2\0\0\0", struct.pack(">HH4s", n, 0, b"hvc1"), b"\0") for n in (1, 2)]
    ipma = struct.pack(">IHBBHBB", 2, 1, 1, 1, 2, 1, 2)
    meta = box(
        b"meta", full, box(b"pitm", full, b"\0\1"), box(b"iinf", full, b"\0\2", *infe),
        box(b"iref", full, box(b"auxl", struct.pack(">HHH", 2, 1, 1))),
        box(b"iprp", box(b"ipco", box(b"colr", b"nclx", struct.pack(">HHHB", 12, 13, 5, 0x80)),
                         box(b"auxC", full, urn + b"\0")), box(b"ipma", full, ipma)),
    )  # fmt: skip
    return box(b"ftyp", b"heic", full) + meta + tail


def test_what_hangs_on_a_heic_is_seen() -> None:
    gain = isobmff.contents(with_auxiliary(b"urn:com:apple:photo:2020:aux:hdrgainmap"))
    assert (gain.parts, gain.cicp) == (["gain map"], (12, 13, 5, True))
    assert isobmff.contents(with_auxiliary(b"urn:mpeg:hevc:2015:auxid:2")).parts == ["depth map"]
    assert isobmff.contents(with_auxiliary(b"urn:mpeg:mpegB:cicp:systems:auxiliary:alpha")).parts == []
    assert isobmff.contents(with_auxiliary(b"x", box(b"mpvd", b"film"))).parts == ["motion video", "auxiliary picture"]


def test_a_motion_video_behind_a_heic_is_told_and_gone() -> None:
    before = read(heic(smooth()) + box(b"mpvd", b"FILM-OF-THE-FACE"))
    assert any("motion video in the file was dropped" in note for note in before.notes)
    assert b"FILM-OF-THE-FACE" not in before.encode(keep_metadata=True)


# --- JPEG: what hangs on it ---

XMP_HEAD = b"http://ns.adobe.com/xap/1.0/\0"


def xmp(body: str, **spaces: str) -> bytes:
    declared = "".join(f" xmlns:{name}='{space}'" for name, space in spaces.items())
    return (
        "<x:xmpmeta xmlns:x='adobe:ns:meta/'><rdf:RDF xmlns:rdf='http://www.w3.org/1999/02/22-rdf-syntax-ns#'>"
        f"<rdf:Description rdf:about='' xmlns:dc='http://purl.org/dc/elements/1.1/'{declared} {body}"
        "</rdf:RDF></x:xmpmeta>"
    ).encode()


GAIN = xmp(
    "hdrgm:Version='1.0' dc:format='KEPT'><Container:Directory><rdf:Seq><rdf:li rdf:parseType='Resource'>"
    "<Container:Item Item:Semantic='GainMap' Item:Length='99'/></rdf:li></rdf:Seq></Container:Directory>"
    "</rdf:Description>",
    hdrgm="http://ns.adobe.com/hdr-gain-map/1.0/", Container="http://ns.google.com/photos/1.0/container/",
    Item="http://ns.google.com/photos/1.0/container/item/",
)  # fmt: skip
MOTION = xmp(
    "GCamera:MotionPhoto='1' GCamera:MicroVideoOffset='99' dc:format='KEPT'/>",
    GCamera="http://ns.google.com/photos/1.0/camera/",
)
EXTENDED = xmp("xmpNote:HasExtendedXMP='0123456789ABCDEF' dc:format='KEPT'/>", xmpNote="http://ns.adobe.com/xmp/note/")
HISTORY = xmp(
    "xmpMM:DocumentID='xmp.did:SECRET' crs:Version='1' dc:format='KEPT'><xmp:Thumbnails><rdf:Alt><rdf:li "
    "rdf:parseType='Resource'><g:image>SECRET</g:image></rdf:li></rdf:Alt></xmp:Thumbnails><dc:title><rdf:Alt>"
    "<rdf:li xml:lang='x-default'>A &lt;title&gt; &amp; more</rdf:li></rdf:Alt></dc:title></rdf:Description>",
    xmpMM="http://ns.adobe.com/xap/1.0/mm/", crs="http://ns.adobe.com/camera-raw-settings/1.0/",
    xmp="http://ns.adobe.com/xap/1.0/", g="http://ns.adobe.com/xap/1.0/g/img/",
)  # fmt: skip


@pytest.mark.parametrize(
    ("packet", "tail", "told"),
    [(GAIN, b"\xff\xd8\xffGAIN", "gain map"), (MOTION, box(b"ftyp", b"mp42"), "motion video"), (EXTENDED, b"", None),
     (HISTORY, b"", None)],
)  # fmt: skip
def test_no_xmp_points_at_what_is_gone(packet: bytes, tail: bytes, told: str | None) -> None:
    before = read(encoded(Image.fromarray(smooth()), "JPEG", quality=90, xmp=packet) + tail)
    assert [told in note for note in before.notes] == ([True] if told else [])
    for target in ("jpeg", "png", "webp", "tiff"):
        out = before.encode(target, keep_metadata=True)
        assert b"KEPT" in out
        for gone in (b"GainMap", b"hdrgm", b"Motion", b"MicroVideo", b"Extended", b"SECRET", b"Container", b"xmpMM"):
            assert gone not in out
        if packet is HISTORY:
            assert b"A &lt;title&gt; &amp; more" in out
        assert b"KEPT" not in before.encode(target)


def test_a_packet_that_is_no_xml_is_dropped() -> None:
    bomb = b"<!DOCTYPE a [<!ENTITY b 'cccc'>]><x:xmpmeta xmlns:x='adobe:ns:meta/'>&b;</x:xmpmeta>"
    for packet in (b"<x:xmpmeta", bomb, GAIN.decode().encode("utf-16"), b"<a>" * 100_000):
        one = encoded(Image.fromarray(smooth()), "WEBP", xmp=packet)
        assert b"XMP " not in read(one).encode(keep_metadata=True)


def test_exif_keeps_only_what_is_on_the_list() -> None:
    exif = Image.Exif()
    details = exif.get_ifd(0x8769)
    details[0x9003], details[0x927C], details[0xEA1C] = "2020:01:02 03:04:05", b"SECRET-NOTE", b"SECRET-PAD"
    details[0xA40B], details[0x9286] = b"SECRET-SETTINGS", b"ASCII\0\0\0" + b"SECRET" * 2000
    exif[0x8769] = details
    out = read(encoded(Image.fromarray(smooth()), "JPEG", exif=exif)).encode(keep_metadata=True)
    assert b"SECRET" not in out
    assert Image.open(io.BytesIO(out)).getexif().get_ifd(0x8769)[0x9003] == "2020:01:02 03:04:05"


def test_apples_gain_map_is_known_by_its_own_header() -> None:
    packet = xmp("h:HDRGainMapVersion='65536'/>", h="http://ns.apple.com/HDRGainMap/1.0/")
    gain = encoded(Image.fromarray(smooth()).convert("L"), "JPEG", xmp=packet)
    before = read(encoded(Image.fromarray(smooth()), "JPEG") + gain)
    assert ["gain map" in note for note in before.notes] == [True]


def test_multi_picture_jpeg_is_told_and_only_the_main_picture_kept() -> None:
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    before = read(encoded(frames[0], "MPO", save_all=True, append_images=frames[1:]))
    assert before.notes == ("a further picture in the file was dropped, only the main picture is kept",)
    out = before.encode()
    assert jpeg.parts(out) == []
    assert out.count(b"\xff\xd8\xff") == 1


# --- JPEG: damaged or whole ---

VARIANTS: list[dict[str, Any]] = [
    {}, {"progressive": True}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3}, {"subsampling": 0},
]  # fmt: skip


@pytest.mark.parametrize("options", VARIANTS)
@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
def test_a_jpeg_that_only_lacks_its_end_marker_is_read_with_a_warning(options: dict[str, Any], mode: str) -> None:
    data = encoded(Image.fromarray(smooth()).convert(mode), "JPEG", quality=80, **options)
    whole = read(data)
    assert whole.notes == ()
    for end in (data[:-2], data[:-1]):
        one = read(end)
        assert one.notes[0].startswith(DAMAGED)
        np.testing.assert_array_equal(one.samples, whole.samples)


def test_a_png_that_only_lacks_its_end_is_read_with_a_warning() -> None:
    data = encoded(Image.fromarray(smooth()), "PNG")
    assert read(data).notes == ()
    one = read(data[:-12])
    assert one.notes[0].startswith(DAMAGED)
    np.testing.assert_array_equal(one.samples, smooth())


@pytest.mark.parametrize("options", VARIANTS)
def test_a_jpeg_that_is_cut_is_refused(options: dict[str, Any], rng: np.random.Generator) -> None:
    noisy = (smooth().astype(int) + rng.integers(-20, 20, (*SIZE[::-1], 3))).clip(0, 255).astype(np.uint8)
    data = encoded(Image.fromarray(noisy), "JPEG", quality=80, **options)
    boundaries = [i for i in range(len(data) - 2) if data[i] == 0xFF and 0xD0 <= data[i + 1] <= 0xD7]
    scans = [a - 4 for marker, a, _ in jpeg.segments(data) if marker == 0xDA]
    cuts = {len(data) - n for n in (3, 4, 5, 20, 200, 900)} | {b + n for b in boundaries[-9:] for n in (0, 1, 2)}
    for cut in cuts | {*scans}:
        with pytest.raises(PhotoError, match="cut short"):
            read(data[:cut])


@pytest.mark.parametrize("options", VARIANTS)
def test_a_cut_jpeg_that_is_filled_up_with_zeros_is_refused(options: dict[str, Any], rng: np.random.Generator) -> None:
    noisy = (smooth().astype(int) + rng.integers(-20, 20, (*SIZE[::-1], 3))).clip(0, 255).astype(np.uint8)
    data = encoded(Image.fromarray(noisy), "JPEG", quality=80, **options)
    with pytest.raises(PhotoError, match="cut short"):
        read(data[: len(data) * 3 // 4] + bytes(len(data)))
    np.testing.assert_array_equal(read(data[:-2] + bytes(100)).samples, read(data).samples)


# --- JPEG: large ones ---


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("size", [(531, 333), (333, 531), (300, 7)])
def test_large_jpegs_are_the_same_in_strips(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, mode: str, subsampling: int, size: tuple[int, int]
) -> None:
    image = Image.fromarray(smooth(*size)).convert(mode)
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "KEPT"
    data = encoded(image, "JPEG", quality=85, subsampling=subsampling, exif=exif, icc_profile=b"PROFILE", dpi=(72, 72))
    before = read(data)
    change = Change((1, 40, 6, 90), np.full((50, 5, 3), 0.2, np.float32))  # turned upright, it is 7 wide at least
    expected = before.with_changes([change])
    monkeypatch.setattr(encode, "LARGE", 1)
    (tmp_path / "large.jpg").write_bytes(data)
    for large in (read(data), read(tmp_path / "large.jpg")):
        np.testing.assert_array_equal(large.samples, before.samples)
    for keep in (False, True):
        out = large.with_changes([change]).encode(keep_metadata=keep)
        assert b"\xff\xdd\0\4" in out
        again = Image.open(io.BytesIO(out))
        assert again.info["icc_profile"] == b"PROFILE"
        assert (0x010F in again.getexif()) == keep
        monkeypatch.setattr(encode, "LARGE", 10**9)
        np.testing.assert_array_equal(np.asarray(again), read(expected.encode()).samples)
        monkeypatch.setattr(encode, "LARGE", 1)


def test_a_changed_photo_shares_what_was_not_changed(rng: np.random.Generator) -> None:
    before = read(rng.integers(0, 256, (64, 96, 3)).astype(np.uint8))
    boxes = [(0, 0, 30, 30), (20, 20, 50, 50), (90, 60, 96, 64)]
    changes = [Change((a, b, c, d), np.full((d - b, c - a, 3), 0.1, np.float32)) for a, b, c, d in boxes]
    after = before.with_changes(changes)
    assert after.stored is before.stored
    expected = before.samples.astype(int)
    inside = np.zeros(expected.shape[:2], bool)
    for a, b, c, d in boxes:
        inside[b:d, a:c] = True
    expected[inside] = np.minimum(np.rint(expected[inside] + np.float32(0.1) * 255), 255)
    assert np.abs(after.samples - expected).max() <= 1
    np.testing.assert_array_equal(after.samples[~inside], before.samples[~inside])
    np.testing.assert_array_equal(after.region((10, 5, 93, 62)), after.samples[5:62, 10:93])
    twice = after.with_changes(changes[:1])
    np.testing.assert_array_equal(twice.samples[30:], after.samples[30:])
    assert (twice.samples[:30, :30] >= after.samples[:30, :30]).all()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is asked of Linux")
def test_a_large_jpeg_stands_in_memory_once(tmp_path: Path) -> None:
    """Read, changed and written, 48 million pixels take 144 MB and little more; as Pillow images they took 500."""
    script = (
        "import sys, numpy as np\n"
        "from pathlib import Path\n"
        "from halfmask.photos.reading import Change, read\n"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]) * 1024\n"
        "before = peak()\n"
        "photo = read(sys.argv[1])\n"
        "photo.pixels\n"
        "change = Change((100, 100, 900, 900), np.full((800, 800, 3), 0.1, np.float32))\n"
        "photo.with_changes([change]).save(sys.argv[2])\n"
        "print((peak() - before) / (photo.width * photo.height))\n"
    )
    width, height = 8000, 6000
    data = jpeg.encode_in_strips(
        lambda y0, y1: Image.new("RGB", (width, y1 - y0), (90, 120, y0 % 200)), width, height, {"quality": 80}, 16
    )
    assert data is not None
    source = tmp_path / "large.jpg"
    source.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", script, source, tmp_path / "out.jpg"], capture_output=True, text=True, check=True
    )
    assert float(done.stdout) < 4.5  # bytes a pixel, of which the pixels are 3
    assert Image.open(tmp_path / "out.jpg").size == (width, height)


# --- animations ---


@pytest.mark.parametrize("format", ["GIF", "WEBP", "PNG", "AVIF", "TIFF"])
def test_animations_and_pages_are_refused(format: str) -> None:
    frames = [Image.fromarray(smooth()), Image.fromarray(smooth()[::-1])]
    with pytest.raises(PhotoError, match="holds 2 pictures"):
        read(encoded(frames[0], format, save_all=True, append_images=frames[1:]))
