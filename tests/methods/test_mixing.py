"""Face mixing: the geometry against matplotlib's triangulation, the method on a real portrait."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from matplotlib.tri import LinearTriInterpolator, Triangulation
from PIL import Image

from halfmask import methods
from halfmask.errors import DataError, UsageError, WeightsError
from halfmask.methods import choice, mixing
from halfmask.methods.labels import GenderEstimate
from halfmask.methods.mixing import STRENGTHS, Mixing, covered, face_mask, mix, toned, warps
from halfmask.methods.partners import _parts
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Detector


def load(**settings: object) -> Mixing:
    try:
        loaded = methods.load("mixing", threads=1, **settings)
    except WeightsError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"needs the landmarks' weights: {error}")
    assert isinstance(loaded, Mixing)
    return loaded


@pytest.fixture(scope="module")
def middle() -> Mixing:
    return load()


@pytest.fixture(scope="module")
def crop(astronaut: np.ndarray, detector: Detector) -> np.ndarray:
    """The astronaut's crop, (1, 3, 224, 224) in [0, 1]."""
    cut = crop_face(astronaut, detector(astronaut)[0].points)[0]
    return np.ascontiguousarray(cut.transpose(2, 0, 1)[None]).astype(np.float32) / 255


@pytest.fixture(scope="module")
def face(crop: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(crop[0].transpose(1, 2, 0))


WOMAN = [methods.Subject(0)]


@pytest.mark.parametrize(("given", "alpha"), [("low", 0.25), ("mid", 0.5), ("high", 0.75), (0, 0.0), ("0.9", 0.9)])
def test_strengths(given: str | float, alpha: float) -> None:
    assert choice.strength(given, STRENGTHS) == alpha


@pytest.mark.parametrize("given", ["huge", 1.01, -0.1, "nan", True, None])
def test_what_is_no_strength(given: object) -> None:
    with pytest.raises(UsageError, match="expected low, mid, high or a number from 0 to 1"):
        choice.strength(given, STRENGTHS)  # type: ignore[arg-type]


def test_the_warp_is_affine_on_each_delaunay_triangle(rng: np.random.Generator) -> None:
    grid = np.stack(np.meshgrid(np.linspace(30, 190, 7), np.linspace(30, 190, 7)), -1).reshape(-1, 2)
    shape = (grid + rng.uniform(-8, 8, grid.shape)).astype(np.float32)
    source = (shape + rng.uniform(-6, 6, grid.shape)).astype(np.float32)
    got = warps(shape, source, shape)
    (x, y), framed = (np.vstack([points, mixing._FRAME]).T for points in (shape, source))
    at = rng.integers(0, 224, (400, 2))
    reference = [LinearTriInterpolator(Triangulation(x, y), values)(at[:, 0], at[:, 1]) for values in framed]
    off = np.abs(got[0][at[:, 1], at[:, 0]] - np.ma.filled(reference, np.nan).T).max(1)
    assert np.mean(off < 1e-3) > 0.95
    assert off.max() < 1.0  # within a pixel of an edge, the triangle on its other side may be taken
    np.testing.assert_allclose(got[1][at[:, 1], at[:, 0]], at, atol=1e-3)  # a shape onto itself stays


def test_an_alpha_of_nothing_changes_nothing(middle: Mixing, crop: np.ndarray) -> None:
    none = load(strength=0)
    assert np.abs(none.change(crop, WOMAN)).max() < 1e-5
    assert np.abs(middle.change(crop, WOMAN)).max() > 0.1
    assert middle.change(crop[:0]).shape == (0, 3, 224, 224)


def test_a_face_mixed_with_itself_is_itself(middle: Mixing, crop: np.ndarray, face: np.ndarray) -> None:
    points = middle._find(crop)[0]
    assert np.abs(mix(face, points, face, points, 0.75) - face).max() < 0.01


def test_only_the_face_is_mixed(middle: Mixing, crop: np.ndarray) -> None:
    change = np.abs(middle.change(crop, WOMAN)[0]).mean(0)
    points = middle._find(crop)[0]
    assert np.isfinite(change).all()
    centre = change[90:190, 80:145].mean()
    for corner in (change[:20, :20], change[:20, -20:], change[:2], change[:, :4], change[:, -4:]):
        assert corner.mean() < centre / 5  # only what the moved shape drags along
    mask = face_mask(points)
    assert (mask[90:150, 100:125] > 0.99).all()
    assert (mask[:40].max(), mask[:, :20].max(), mask[:, -20:].max()) == (0, 0, 0)
    assert np.abs(np.diff(mask, axis=0)).max() < 0.12  # no edge that could show as a seam
    assert np.abs(np.diff(mask, axis=1)).max() < 0.12


def test_more_strength_is_more_of_the_other_gender(crop: np.ndarray) -> None:
    classifier = GenderEstimate(1)
    p, size = [float(classifier.p_male(crop)[0])], []
    for strength in ("low", "mid", "high"):
        change = load(strength=strength).change(crop, WOMAN)
        size.append(float(np.abs(change).mean()))
        p.append(float(classifier.p_male(np.clip(crop + change, 0, 1))[0]))
    assert p == sorted(p)
    assert p[3] > p[0] + 0.2
    assert size == sorted(size)


def test_the_label_decides_the_partner(middle: Mixing, crop: np.ndarray) -> None:
    points = middle._find(crop)[0]
    (male, _), (female, _) = (middle.partner(crop[0], points, gender) for gender in (0, 1))
    with np.load(mixing_means()) as kept:
        np.testing.assert_array_equal(np.round(male * 255), kept["male"])
        np.testing.assert_array_equal(np.round(female * 255), kept["female"])


def mixing_means() -> Path:
    from halfmask.weights import shipped

    return shipped.path("mixing.npz")


def test_the_partner_takes_on_colour_and_contrast(rng: np.random.Generator) -> None:
    face = 0.3 + 0.1 * rng.standard_normal((224, 224, 3)).astype(np.float32) * np.float32([1, 0.8, 0.6])
    partner = 0.7 + 0.08 * rng.standard_normal((224, 224, 3)).astype(np.float32)
    weight = np.zeros((224, 224), np.float32)
    weight[50:150, 50:150] = 1
    got = toned(partner, face, weight)[50:150, 50:150]
    np.testing.assert_allclose(got.mean((0, 1)), face[50:150, 50:150].mean((0, 1)), atol=1e-3)
    np.testing.assert_allclose(got.std((0, 1)), face[50:150, 50:150].std((0, 1)), rtol=1e-2)


def test_a_covered_forehead_is_told_from_a_free_one(middle: Mixing, crop: np.ndarray) -> None:
    points = middle._find(crop)[0]
    pixels = (crop[0].transpose(1, 2, 0) * 255).round().astype(np.uint8)
    capped = pixels.copy()
    capped[: int(points[17:27, 1].min()) - 2] = (20, 20, 60)
    assert covered(capped, points) > 1.5 * covered(pixels, points)
    assert covered(pixels, points - [0, 400]) == np.inf


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("faces", (None, "faces", None)),
        ("celeba:faces", ("celeba", "faces", None)),
        ("celeba:a b/faces:train", ("celeba", "a b/faces", "train")),
        ("faces:test", (None, "faces", "test")),
        ("C:faces:odd", (None, "C:faces:odd", None)),
    ],
)
def test_where_partners_are(text: str, parts: tuple[str | None, str, str | None]) -> None:
    layout, folder, split = _parts(text)
    assert (layout, str(folder), split) == parts


@pytest.mark.usefixtures("middle")
def test_partners_that_cannot_be(tmp_path: Path, astronaut: np.ndarray, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="there is no folder"):
        methods.load("mixing", partners=tmp_path / "nowhere")
    with pytest.raises(UsageError, match="seed is 'x'; expected a whole number"):
        methods.load("mixing", seed="x")
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    with pytest.raises(DataError, match="none of 1 photos has a gender"):
        methods.load("mixing", partners=tmp_path)
    monkeypatch.setattr("halfmask.datasets.cache.default_folder", lambda: tmp_path / "cache")
    only = tmp_path / "UTKFace"
    only.mkdir()
    Image.fromarray(astronaut).save(only / "31_1_2_20170112232321.jpg.chip.jpg")
    with pytest.raises(DataError, match="shows no male face"):
        methods.load("mixing", partners=f"utkface:{tmp_path}")


def test_partners_of_a_folder(
    shared_data: Path, crop: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("halfmask.datasets.cache.default_folder", lambda: tmp_path)
    monkeypatch.setattr("halfmask.methods.partners.MOST", 6)
    where = f"celeba:{shared_data / 'celeba'}:train"
    one, again, other = (load(partners=where, seed=seed) for seed in (1, "1", 2))
    points = one._find(crop)[0]
    first = one.partner(crop[0], points, 0)[0]
    np.testing.assert_array_equal(first, again.partner(crop[0], points, 0)[0])
    assert not np.array_equal(first, other.partner(crop[0], points, 0)[0])
    np.testing.assert_array_equal(one.change(crop, WOMAN), again.change(crop, WOMAN))
    assert [len(crops) for crops, _ in one._pools] == [3, 3]
    assert (
        GenderEstimate(1).p_male(np.stack([c.transpose(2, 0, 1) for c in one._pools[1][0]]).astype(np.float32) / 255)
        > 0.5
    ).sum() >= 2


def test_a_black_picture_is_no_trouble(middle: Mixing) -> None:
    for level in (0.0, 1.0):
        change = middle.change(np.full((1, 3, 224, 224), level, np.float32), WOMAN)
        assert np.isfinite(change).all()
    assert cv2.countNonZero(face_mask(np.zeros((68, 2), np.float32))) < 10
