"""The change goes back to where it came from, without a seam, and nowhere else."""

from __future__ import annotations

import math

import numpy as np
import pytest

from halfmask.photos.align import crop_face, invert, template, warp
from halfmask.photos.paste import BEYOND, INNER, OVAL, Change, Shared, combine, face_change, frame, mask
from halfmask.photos.reading import read

SIZE = 224


def placed(scale: float, degrees: float, x: float, y: float) -> np.ndarray:
    """The photo-to-crop matrix of a face whose crop's centre lies at (x, y); ``scale`` is crop pixels a photo pixel."""
    c, s = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    linear = np.array([[c, -s], [s, c]])
    centre = (SIZE - 1) / 2
    return np.hstack([linear, (np.array([centre, centre]) - linear @ [x, y])[:, None]]).astype(np.float32)


def smooth_change(rng: np.random.Generator) -> np.ndarray:
    """A change of waves no shorter than 28 crop pixels, in [-0.3, 0.3]."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    waves = []
    for _ in range(3):
        fx, fy, phase = rng.uniform(1, 8), rng.uniform(1, 8), rng.uniform(0, 6)
        waves.append(0.3 * np.sin(2 * np.pi * (fx * x + fy * y) / math.hypot(fx, fy) * 8 + phase))
    return np.stack(waves, -1).astype(np.float32)


def into(change: Change, width: int, height: int) -> np.ndarray:
    x0, y0, x1, y1 = change.box
    full = np.zeros((height, width, 3), np.float32)
    full[y0:y1, x0:x1] = change.delta
    return full


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0, 0.2, 1.2])
@pytest.mark.parametrize("degrees", [0.0, 20.0, -75.0])
def test_pasted_and_cropped_again_is_the_masked_change(rng: np.random.Generator, scale: float, degrees: float) -> None:
    side = int(SIZE / scale * 1.5) + 40
    delta = smooth_change(rng)
    matrix = placed(scale, degrees, side / 2 + 3.3, side / 2 - 1.7)
    change = face_change(delta, matrix, side, side)
    assert change is not None
    again = warp(into(change, side, side), matrix, (SIZE, SIZE))
    error = np.abs(again - delta * mask(SIZE)[..., None])
    # Waves of 28 crop pixels are 14 photo pixels at scale 2: low-pass and bilinear take up to a tenth of 0.3.
    assert error.max() < (0.015 if scale <= 1.0 else 0.04)
    assert error.mean() < (0.003 if scale <= 1.0 else 0.012)


def test_at_scale_1_without_rotation_it_is_exact(rng: np.random.Generator) -> None:
    delta = rng.uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32)
    matrix = np.array([[1, 0, -30], [0, 1, -12]], np.float32)
    change = face_change(delta, matrix, 300, 300)
    assert change is not None
    pasted = into(change, 300, 300)[12 : 12 + SIZE, 30 : 30 + SIZE]
    np.testing.assert_allclose(pasted, delta * mask(SIZE)[..., None], atol=1e-6)


@pytest.mark.parametrize("scale", [0.3, 0.5, 1.0, 1.7, 3.0, 9.0])
@pytest.mark.parametrize("degrees", [0.0, 33.0])
def test_outside_the_crop_is_exactly_zero(rng: np.random.Generator, scale: float, degrees: float) -> None:
    side = int(SIZE / scale * 2) + 20
    matrix = placed(scale, degrees, side / 2, side / 2)
    change = face_change(rng.uniform(-1, 1, (SIZE, SIZE, 3)).astype(np.float32), matrix, side, side)
    assert change is not None
    y, x = np.mgrid[0:side, 0:side]
    u, v = (m[0] * x + m[1] * y + m[2] for m in matrix.astype(np.float64))
    beyond = (np.minimum(u, v) < -0.05) | (np.maximum(u, v) > SIZE - 0.95)
    assert (into(change, side, side)[beyond] == 0.0).all()
    assert change.weight is not None
    assert 0.0 <= change.weight.min() <= change.weight.max() <= 1.0
    assert change.weight.max() == pytest.approx(1.0, abs=1e-3)


@pytest.mark.parametrize("scale", [0.25, 0.5, 1.0, 2.0, 4.0])
def test_no_seam(scale: float) -> None:
    """The steepest step of a constant change is that of the raised cosine; nowhere is there an edge."""
    side = int(SIZE / scale) + 60
    change = face_change(np.ones((SIZE, SIZE, 3), np.float32), placed(scale, 10.0, side / 2, side / 2), side, side)
    assert change is not None
    full = into(change, side, side)[..., 0]
    feather = (1 - INNER) * min(OVAL) * SIZE / scale  # photo pixels
    bound = 1.15 * math.pi / (2 * feather)
    assert max(np.abs(np.diff(full, axis=0)).max(), np.abs(np.diff(full, axis=1)).max()) < bound
    if scale <= 1.0:  # at the very border the step itself starts from nothing
        border = (full > 0) & (full < 0.01)
        steps = np.abs(np.diff(full, axis=1))
        assert steps[border[:, 1:]].max() < 0.4 * bound
    assert full.max() == pytest.approx(1.0, abs=1e-3)


def test_mask_is_1_over_the_face_and_0_at_the_border() -> None:
    weight = mask(SIZE)
    points = template().round().astype(int)
    assert (weight[points[:, 1], points[:, 0]] == 1.0).all()
    for edge in (weight[0], weight[-1], weight[:, 0], weight[:, -1]):
        assert (edge == 0.0).all()
    for corner in (weight[:30, :30], weight[-30:, :30]):  # where a photo shows what is behind the head
        assert (corner == 0.0).all()
    np.testing.assert_allclose(weight, weight[:, ::-1], atol=1e-7)
    np.testing.assert_allclose(weight, weight[::-1], atol=1e-7)
    assert (np.diff(weight[112, :113]) >= 0).all()
    assert [mask(n).shape for n in (1, 2, 3, 16)] == [(1, 1), (2, 2), (3, 3), (16, 16)]


@pytest.mark.parametrize("scale", [1.0, 0.5, 2.0, 0.2])
@pytest.mark.parametrize("degrees", [0.0, 20.0])
def test_a_whole_crop_is_changed_to_its_corners(rng: np.random.Generator, scale: float, degrees: float) -> None:
    side = int(SIZE / scale * 2) + 40
    delta = smooth_change(rng)
    matrix = placed(scale, degrees, side / 2 + 3.3, side / 2 - 1.7)
    change = face_change(delta, matrix, side, side, whole=True)
    assert change is not None
    full = into(change, side, side)
    error = np.abs(warp(full, matrix, (SIZE, SIZE)) - delta)
    assert error.mean() < (0.003 if scale <= 1.0 else 0.015)
    if scale <= 1.0:  # where the photo is finer than the crop; the mirror's crease at the very edge is interpolated
        assert error[2:-2, 2:-2].max() < 0.02
        assert error.max() < 0.05
    y, x = np.mgrid[0:side, 0:side]
    u, v = (m[0] * x + m[1] * y + m[2] for m in matrix.astype(np.float64))
    beyond = np.maximum(np.maximum(-u, u - SIZE + 1), np.maximum(-v, v - SIZE + 1))  # crop pixels
    assert (full[beyond > round(BEYOND * SIZE) + 0.05] == 0.0).all()
    assert np.abs(full[(beyond > 2) & (beyond < 8)]).mean() > 0.02


def test_a_whole_crops_change_goes_on_as_its_mirror_image_and_fades(rng: np.random.Generator) -> None:
    delta = smooth_change(rng)
    change = face_change(delta, np.array([[1, 0, -100], [0, 1, -100]], np.float32), 424, 424, whole=True)
    assert change is not None
    full, weight = into(change, 424, 424), frame(SIZE)
    np.testing.assert_allclose(full[100:324, 100:324], delta, atol=1e-6)
    for step in (1, 5, 20):
        np.testing.assert_allclose(
            full[100 - step, 100:324], delta[step] * weight[len(weight) // 2, round(BEYOND * SIZE) - step], atol=1e-5
        )
    assert change.weight is not None
    assert change.weight.max() == 1.0
    assert (np.diff(weight[100, : round(BEYOND * SIZE)]) > 0).all()


def test_the_edge_of_a_whole_crops_change_is_what_is_further_in(rng: np.random.Generator) -> None:
    delta, spoilt = smooth_change(rng), np.full((SIZE, SIZE, 3), 9.0, np.float32)
    spoilt[8:-8, 8:-8] = delta[8:-8, 8:-8]
    place = np.array([[1, 0, -100], [0, 1, -100]], np.float32)
    change = face_change(spoilt, place, 424, 424, whole=True, edge=8)
    assert change is not None
    full = into(change, 424, 424)
    np.testing.assert_allclose(full[108:316, 108:316], delta[8:-8, 8:-8], atol=1e-6)
    for step in (1, 5, 8):
        np.testing.assert_allclose(full[108 - step, 108:316], delta[8 + step, 8:-8], atol=1e-5)
    assert np.abs(full).max() < 1


def test_small_faces_do_not_alias() -> None:
    """A checkerboard of crop pixels means nothing to a face of a quarter of the size."""
    checks = np.where(np.indices((SIZE, SIZE)).sum(0) % 2, 1.0, -1.0).astype(np.float32)
    change = face_change(np.repeat(checks[..., None], 3, 2), placed(4.1, 7.0, 60, 60), 120, 120)
    assert change is not None
    assert np.abs(change.delta).max() < 0.02


def test_large_faces_overshoot_little() -> None:
    step = np.where(np.arange(SIZE) < SIZE // 2, -0.2, 0.2).astype(np.float32)
    delta = np.broadcast_to(step[None, :, None], (SIZE, SIZE, 3))
    change = face_change(delta, placed(0.2, 0.0, 600, 600), 1200, 1200)
    assert change is not None
    assert 0.2 <= np.abs(change.delta).max() < 0.2 + 0.12 * 0.4  # 12 % of the step


def test_a_face_outside_the_photo_is_none() -> None:
    delta = np.ones((SIZE, SIZE, 3), np.float32)
    assert face_change(delta, placed(1.0, 0.0, 1000, 50), 200, 200) is None
    assert face_change(delta, np.array([[1, 0, 223], [0, 1, 0]], np.float32), 200, 200) is None  # only the zero column
    half = face_change(delta, placed(1.0, 0.0, 0, 100), 200, 200)
    assert half is not None
    assert half.box[0] == 0
    assert half.delta[100, 0, 0] == 1.0  # no feather where the photo ends


@pytest.mark.parametrize("shape", [(224, 224), (224, 200, 3), (224, 224, 1)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"expected \(S, S, 3\)"):
        face_change(np.zeros(shape, np.float32), placed(1, 0, 112, 112), 300, 300)


def test_nan_is_refused() -> None:
    delta = np.zeros((SIZE, SIZE, 3), np.float32)
    delta[100, 100] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        face_change(delta, placed(1, 0, 112, 112), 300, 300)


# --- overlapping faces ---


def overlapping(rng: np.random.Generator) -> list[Change]:
    delta = rng.uniform(-0.4, 0.4, (3, SIZE, SIZE, 3)).astype(np.float32)
    places = [(80, 90), (150, 100), (110, 170)]
    changes = [face_change(d, placed(1.4, 5.0, x, y), 240, 260) for d, (x, y) in zip(delta, places, strict=True)]
    return [c for c in changes if c is not None]


def test_overlapping_faces_are_averaged_in_any_order(rng: np.random.Generator) -> None:
    changes = overlapping(rng)
    assert len(changes) == 3
    total = sum(into(c, 240, 260) for c in changes)
    weight = np.zeros((260, 240), np.float32)
    for c in changes:
        weight[c.box[1] : c.box[3], c.box[0] : c.box[2]] += c.weight
    assert weight.max() > 1.5
    expected = total / np.maximum(weight, 1.0)[..., None]
    for order in ([0, 1, 2], [2, 0, 1]):
        parts = [into(c, 240, 260) for c in combine([changes[i] for i in order])]
        np.testing.assert_allclose(sum(parts), expected, atol=1e-6)
        assert (np.sum([(p != 0).any(-1) for p in parts], 0) <= 1).all()  # each pixel in one change only
    photo = read(rng.integers(0, 256, (260, 240, 3)).astype(np.uint8))
    exact = np.clip(photo.pixels + expected * 255.0, 0, 255)
    for order in ([0, 1, 2], [2, 1, 0]):
        got = photo.with_changes([changes[i] for i in order]).pixels
        assert np.abs(got - exact).max() <= 0.501  # rounded once


@pytest.mark.parametrize("scale", [1.4, 0.25, 0.1])
def test_shared_rows_are_the_same_in_any_parts(rng: np.random.Generator, scale: float) -> None:
    delta = rng.uniform(-0.4, 0.4, (2, SIZE, SIZE, 3)).astype(np.float32)
    places = [(300, 320), (340, 360)]
    faces = [face_change(d, placed(scale, 5.0, x, y), 700, 720) for d, (x, y) in zip(delta, places, strict=True)]
    for change in combine([face for face in faces if face is not None]):
        assert isinstance(change, Shared)
        height = change.box[3] - change.box[1]
        parts = [change.rows(y, min(y + 13, height)) for y in range(0, height, 13)]
        assert np.array_equal(np.concatenate(parts), change.delta)


def test_the_same_face_twice_is_changed_once(rng: np.random.Generator) -> None:
    one = overlapping(rng)[0]
    photo = read(np.full((260, 240, 3), 120, np.uint8))
    once, twice = photo.with_changes([one]).pixels.astype(int), photo.with_changes([one, one]).pixels
    inside = np.zeros((260, 240), bool)
    inside[one.box[1] : one.box[3], one.box[0] : one.box[2]] = one.weight == 1.0
    assert inside.any()
    np.testing.assert_array_equal(once[inside], twice[inside])


def test_apart_changes_are_left_alone(rng: np.random.Generator) -> None:
    a = Change((0, 0, 2, 2), np.full((2, 2, 3), 0.1, np.float32))
    b = Change((2, 0, 4, 2), np.full((2, 2, 3), 0.1, np.float32))
    assert combine([a, b]) == [a, b]


# --- with real crops ---


def test_a_face_goes_out_and_comes_back(astronaut: np.ndarray) -> None:
    """Detecting is not needed: the astronaut's points are known to a pixel or two."""
    points = np.array([[199, 107], [242, 103], [223, 130], [206, 151], [243, 147]], np.float32)
    crop, matrix = crop_face(astronaut, points)
    photo = read(astronaut)
    lighter = np.full((SIZE, SIZE, 3), 0.2, np.float32)
    change = face_change(lighter, matrix, photo.width, photo.height)
    assert change is not None
    after = photo.with_changes([change])
    weight = mask(SIZE)[..., None]
    expected = np.clip(crop + 51.0 * weight, 0, 255)
    got = crop_face(after.pixels, points)[0]
    assert np.abs(got - expected).mean() < 1.5
    x0, y0, x1, y1 = change.box
    rest = np.ones(astronaut.shape[:2], bool)
    rest[y0:y1, x0:x1] = False
    np.testing.assert_array_equal(after.pixels[rest], astronaut[rest])
    corners = invert(matrix)[:, :2] @ np.array([[0, SIZE], [0, SIZE]]) + invert(matrix)[:, 2:]
    assert x0 <= max(0, corners[0].min() + 1)
    assert x1 >= min(512, corners[0].max() - 1)
