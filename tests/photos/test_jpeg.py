"""JPEG decoded by simplejpeg is JPEG decoded by Pillow, to the bit; what it should not decode goes to Pillow."""

from __future__ import annotations

import io
from typing import Any

import cv2
import numpy as np
import pytest
from PIL import Image, ImageCms

from halfmask.errors import PhotoError
from halfmask.photos import jpeg
from halfmask.photos.reading import read

SIZES = [(1, 1), (7, 5), (8, 8), (16, 17), (33, 31), (100, 1), (1, 90), (131, 257)]
SAMPLINGS = {
    "4:4:4": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_444,
    "4:2:2": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_422,
    "4:2:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_420,
    "4:4:0": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_440,
    "4:1:1": cv2.IMWRITE_JPEG_SAMPLING_FACTOR_411,
}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng()


def picture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """Edges and noise at full contrast, so that every rounding and clipping of a decoder is met."""
    coarse = rng.integers(0, 256, (max(1, height // 9), max(1, width // 9), 3), np.uint8)
    plain = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_NEAREST).astype(int)
    return np.clip(plain + rng.normal(0, 25, plain.shape), 0, 255).astype(np.uint8)


def by_opencv(pixels: np.ndarray, *options: int) -> bytes:
    done, data = cv2.imencode(".jpg", pixels, list(options))
    assert done
    return data.tobytes()


def by_pillow(image: Image.Image, **options: Any) -> bytes:
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    return out.getvalue()


def quickly(data: bytes) -> np.ndarray | None:
    return jpeg.quickly(data, Image.open(io.BytesIO(data)))


@pytest.mark.parametrize("sampling", SAMPLINGS)
@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 2)])
def test_the_bits_are_pillows(rng: np.random.Generator, sampling: str, options: tuple[int, ...]) -> None:
    for width, height in SIZES:
        quality = int(rng.integers(5, 101))
        how = (cv2.IMWRITE_JPEG_SAMPLING_FACTOR, SAMPLINGS[sampling], cv2.IMWRITE_JPEG_QUALITY, quality, *options)
        data = by_opencv(picture(rng, width, height), *how)
        got = quickly(data)
        assert got is not None
        assert np.array_equal(got, jpeg.decode(data)), (width, height, quality)
        assert np.array_equal(read(data).pixels, got)


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_blocks": 3}, {"optimize": True}])
def test_gray_is_pillows(rng: np.random.Generator, options: dict[str, Any]) -> None:
    for width, height in SIZES:
        data = by_pillow(Image.fromarray(picture(rng, width, height)[..., 0]), **options)
        got = quickly(data)
        assert got is not None
        assert got.shape == (height, width)
        assert np.array_equal(got, jpeg.decode(data))
        photo = read(data)
        assert photo.mode == "L"
        assert np.array_equal(photo.samples, got)


def test_what_hangs_on_the_photo_is_read_as_before(rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch) -> None:
    """All that a file says beside its pixels is the same whoever decodes it."""
    image = Image.fromarray(picture(rng, 50, 30))
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    data = by_pillow(image, exif=exif, icc_profile=profile, dpi=(300, 200), progressive=True, subsampling=1)
    quick = read(data)
    assert (quick.width, quick.height) == (30, 50)
    monkeypatch.setattr(jpeg, "quickly", lambda *_: None)
    slow = read(data)
    assert np.array_equal(quick.samples, slow.samples)
    assert vars(quick.traits) == vars(slow.traits)
    assert (quick.mode, quick.notes, quick.traits.icc) == (slow.mode, slow.notes, profile)
    assert quick.traits.exif


@pytest.mark.parametrize("mode", ["CMYK", "RGB kept"])
def test_other_colours_are_left_to_pillow(rng: np.random.Generator, mode: str) -> None:
    pixels = picture(rng, 40, 24)
    if mode == "CMYK":
        data = by_pillow(Image.frombytes("CMYK", (40, 24), np.dstack([pixels, pixels[..., 0]]).tobytes()))
    else:
        data = by_pillow(Image.fromarray(pixels), keep_rgb=True)
    assert quickly(data) is None
    assert np.array_equal(read(data).samples, jpeg.decode(data))


def test_damage_is_pillows_to_judge(rng: np.random.Generator) -> None:
    """Whatever happens to the bytes: the outcome is that of Pillow, which shows a flaw in the stream and no more."""
    data = by_opencv(picture(rng, 90, 70), cv2.IMWRITE_JPEG_RST_INTERVAL, 3)
    begin = data.index(b"\xff\xda") + 14
    shown = 0
    for _ in range(60):
        bad = bytearray(data)
        for place in rng.integers(begin, len(data) - 2, 3):
            bad[place] = int(rng.integers(0, 255))
        try:
            expected = jpeg.decode(bytes(bad))
        except (OSError, ValueError):
            with pytest.raises(PhotoError):
                read(bytes(bad))
            continue
        shown += not np.array_equal(expected, jpeg.decode(data))
        assert np.array_equal(read(bytes(bad)).samples, expected)
    assert shown
