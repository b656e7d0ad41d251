"""A change of RGB added to a frame's own planes."""

from __future__ import annotations

from dataclasses import replace

import av
import numpy as np
import pytest

from halfmask.errors import PhotoError
from halfmask.photos.paste import Change
from halfmask.video import pictures
from halfmask.video.pictures import Colours

FORMATS = ["yuv420p", "yuvj420p", "yuv422p", "yuv440p", "yuv444p", "yuv420p10le", "yuv422p10le", "yuv444p12le"]
BOX = (11, 7, 40, 30)


def frame(pixels: str, rng: np.random.Generator, size: tuple[int, int] = (64, 48), matrix: int = 6) -> av.VideoFrame:
    """Smooth colours in the middle of their range, converted by swscale."""
    y, x = np.mgrid[: size[1], : size[0]]
    rgb = np.stack([100 + x / 2, 120 + y / 2, 160 - x / 2], 2) + rng.uniform(-3, 3, (*size[::-1], 3))
    full = pixels.startswith("yuvj")
    made = av.VideoFrame.from_ndarray(rgb.astype(np.uint8), "rgb24").reformat(
        format=pixels, dst_colorspace={6: 5}.get(matrix, matrix), src_color_range=2, dst_color_range=2 if full else 1
    )
    made.colorspace = matrix
    return made


def change(delta: tuple[float, float, float], box: tuple[int, int, int, int] = BOX) -> Change:
    shape = (box[3] - box[1], box[2] - box[0], 3)
    return Change(box, np.broadcast_to(np.float32(delta), shape).copy())


def held(planes: list[np.ndarray]) -> list[np.ndarray]:
    return [plane.copy() for plane in planes]


@pytest.mark.parametrize("pixels", [*FORMATS, "gray", "gray10le"])
@pytest.mark.parametrize("size", [(64, 48), (63, 47)])
def test_outside_the_change_every_sample_is_the_same(
    pixels: str, size: tuple[int, int], rng: np.random.Generator
) -> None:
    one = frame(pixels, rng, size)
    colours = pictures.colours(one)
    before = held(pictures.views(one, colours))
    assert pictures.add(one, [change((0.1, -0.05, 0.2))], pictures.samples(one, colours), colours) == [True]
    for old, new in zip(before, pictures.views(one, colours), strict=True):
        across, down = -(-size[0] // old.shape[1]), -(-size[1] // old.shape[0])
        inside = np.zeros(old.shape, bool)
        inside[BOX[1] // down : -(-BOX[3] // down), BOX[0] // across : -(-BOX[2] // across)] = True
        assert np.array_equal(old[~inside], new[~inside])
        assert not np.array_equal(old[inside], new[inside])


@pytest.mark.parametrize("pixels", ["yuv420p", "yuvj420p", "yuv444p", "yuv422p10le"])
@pytest.mark.parametrize("matrix", [1, 6, 9])
def test_what_is_seen_changes_by_the_change(pixels: str, matrix: int, rng: np.random.Generator) -> None:
    one = frame(pixels, rng, matrix=matrix)
    colours = pictures.colours(one)
    before = pictures.samples(one, colours).astype(int)
    delta = (0.1, -0.05, 0.2)
    pictures.add(one, [change(delta)], pictures.samples(one, colours), colours)
    moved = pictures.samples(one, colours).astype(int) - before
    x0, y0, x1, y1 = BOX
    middle = moved[y0 + 4 : y1 - 4, x0 + 4 : x1 - 4].mean((0, 1))
    assert middle == pytest.approx(255 * np.array(delta), abs=1.2)


def test_a_turned_frame_is_changed_where_it_is_seen(rng: np.random.Generator) -> None:
    one = frame("yuv420p", rng)
    colours = replace(pictures.colours(one), turn=3)
    before = pictures.samples(one, colours).astype(int)
    assert before.shape == (64, 48, 3)
    box = (4, 6, 20, 40)
    pictures.add(one, [change((0.2, 0.2, 0.2), box)], pictures.samples(one, colours), colours)
    moved = pictures.samples(one, colours).astype(int) - before
    assert moved[8:38, 6:18].mean() == pytest.approx(51, abs=1.5)
    moved[box[1] : box[3], box[0] : box[2]] = 0
    assert not moved.any()


@pytest.mark.parametrize("transfer", [16, 18])
def test_hdr_changes_by_what_is_seen_of_it(transfer: int, rng: np.random.Generator) -> None:
    one = frame("yuv420p10le", rng, matrix=9)
    one.color_trc, one.color_primaries = transfer, 9
    colours = pictures.colours(one)
    samples = pictures.samples(one, colours)
    assert samples.dtype == np.uint16
    before = pictures.seen(samples, colours).astype(int)
    pictures.add(one, [change((0.1, 0.1, 0.1))], samples, colours)
    moved = pictures.seen(pictures.samples(one, colours), colours).astype(int) - before
    assert moved[12:26, 16:36].mean() == pytest.approx(25.5, abs=2)
    moved[BOX[1] - 2 : BOX[3] + 2, BOX[0] - 2 : BOX[2] + 2] = 0
    assert not moved.any()


def test_a_change_of_nothing_leaves_the_frame(rng: np.random.Generator) -> None:
    one = frame("yuv420p", rng)
    colours = pictures.colours(one)
    before = held(pictures.views(one, colours))
    assert pictures.add(one, [change((0, 0, 0))], pictures.samples(one, colours), colours) == [False]
    assert all(np.array_equal(a, b) for a, b in zip(before, pictures.views(one, colours), strict=True))


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"format": "gbrp"}, "pixel format is gbrp; expected planar YUV"),
        ({"format": "yuva420p"}, "pixel format is yuva420p"),
        ({"matrix": 8}, "matrix is number 8"),
        ({"transfer": 9}, "transfer characteristic is number 9"),
    ],
)
def test_what_could_not_be_kept_is_refused(wrong: dict[str, int | str], words: str) -> None:
    fine = {"format": "yuv420p", "matrix": 1, "primaries": 1, "transfer": 1, "range": 1, "height": 720}
    Colours(**fine)  # type: ignore[arg-type]
    with pytest.raises(PhotoError, match=words):
        Colours(**{**fine, **wrong})  # type: ignore[arg-type]
