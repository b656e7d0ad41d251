from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import halfmask
from halfmask.errors import PhotoError, UsageError
from halfmask.methods.halfmask import Halfmask
from halfmask.methods.match import SFace, cut112

FEMALE_OP = 0.05 + 0.2 * 80 / 255  # what the stand-in adds
MALE_OP = 0.05 - 0.2 * 80 / 255


def lightened(result: halfmask.Result, before: np.ndarray) -> float:
    """Mean change between the eyes and the mouth, in [-1, 1]."""
    points = result.faces[0].points
    x0, y0 = points.min(0).astype(int)
    x1, y1 = points.max(0).astype(int)
    part = (slice(y0, y1), slice(x0, x1))
    return float((result.image[part].astype(float) - before[part]).mean() / 255)


@pytest.mark.usefixtures("standin")
@pytest.mark.parametrize(
    ("gender", "prototype", "change"),
    [("female", "op", FEMALE_OP), (1, "op", MALE_OP), ("male", "sm", 0.05), (0, "nt", 0.05 + 0.2 * 40 / 255)],
)
def test_the_change_is_what_the_method_says(
    portrait: np.ndarray, gender: str | int, prototype: str, change: float
) -> None:
    result = halfmask.protect(portrait, method="san", gender=gender, prototype=prototype, score=False)
    assert lightened(result, portrait) == pytest.approx(change, abs=0.004)
    face = result.faces[0]
    assert (face.gender, face.gender_origin, face.probability) == (
        "male" if gender in (1, "male") else "female", "given", None,
    )  # fmt: skip
    assert face.changed
    assert face.match is None
    assert set(result.timings) == {"read", "detect", "align", "label", "change", "paste"}
    assert all(seconds >= 0 for seconds in result.timings.values())


@pytest.mark.usefixtures("standin")
def test_only_the_face_changes_and_colours_stay(portrait: np.ndarray) -> None:
    result = halfmask.protect(portrait, gender="female", score=False)
    x, y, w, h = (int(v) for v in result.faces[0].box)
    difference = result.image.astype(int) - portrait
    assert difference[y : y + h, x : x + w].any()
    assert not difference[-8:].any()
    assert not difference[:, -8:].any()
    inner = difference[y + h // 3 : y + h // 2, x + w // 3 : x + w // 2]
    unclipped = (result.image[y + h // 3 : y + h // 2, x + w // 3 : x + w // 2] < 255).all(-1)
    assert np.ptp(inner[unclipped], axis=-1).max() <= 1  # the same amount in R, G and B, up to rounding


@pytest.mark.usefixtures("standin")
def test_an_estimate_is_said_to_be_one(portrait: np.ndarray) -> None:
    dark = portrait // 4
    for image, gender in ((np.minimum(portrait.astype(int) * 2, 255).astype(np.uint8), "male"), (dark, "female")):
        face = halfmask.protect(image, method="san", score=False).faces[0]
        assert (face.gender, face.gender_origin) == (gender, "estimate")
        assert face.probability is not None
        assert 0.5 <= face.probability <= 1


@pytest.mark.usefixtures("standin")
def test_every_kind_of_input_gives_the_same(portrait: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(portrait).save(path)
    wanted = halfmask.protect(portrait, gender="male", score=False).image
    for source in (path, str(path), path.read_bytes(), Image.fromarray(portrait)):
        result = halfmask.protect(source, gender="male", score=False)
        assert np.array_equal(result.image, wanted)
    assert np.array_equal(np.asarray(result.to_pil()), wanted)
    result.save(tmp_path / "b.png")
    assert np.array_equal(np.asarray(Image.open(tmp_path / "b.png")), wanted)
    stream = io.BytesIO()
    result.save(stream, format="png")
    assert stream.getvalue() == (tmp_path / "b.png").read_bytes()


@pytest.mark.usefixtures("standin")
def test_gray_stays_gray_and_alpha_stays(portrait: np.ndarray, rng: np.random.Generator) -> None:
    gray = np.asarray(Image.fromarray(portrait).convert("L"))
    result = halfmask.protect(gray, method="san", gender="female", score=False)
    assert result.image.shape == gray.shape
    assert lightened(result, gray) == pytest.approx(FEMALE_OP, abs=0.004)
    alpha = rng.integers(0, 256, gray.shape, np.uint8)
    result = halfmask.protect(np.dstack([portrait, alpha]), gender="female", score=False)
    assert np.array_equal(result.image[..., 3], alpha)


@pytest.mark.usefixtures("standin")
def test_largest_leaves_the_others_and_says_so(portrait: np.ndarray) -> None:
    small = np.asarray(Image.fromarray(portrait).resize((180, 180), Image.Resampling.LANCZOS))
    both = np.hstack([np.pad(small, ((0, 70), (0, 0), (0, 0))), portrait])
    result = halfmask.protect(both, faces="largest", gender="male", score=False)
    assert [face.changed for face in result.faces] == [True, False]
    assert result.faces[0].box[0] > 180 > result.faces[1].box[0]
    assert np.array_equal(result.image[:, :150], both[:, :150])
    assert result.faces[1].gender is None
    result = halfmask.protect(both, gender="male", score=False)
    assert [face.changed for face in result.faces] == [True, True]


@pytest.mark.usefixtures("standin")
def test_no_face(rng: np.random.Generator) -> None:
    wall = rng.integers(100, 110, (80, 80, 3), np.uint8)
    with pytest.raises(PhotoError, match="no face was found in the array"):
        halfmask.protect(wall, score=False)
    result = halfmask.protect(wall, if_no_face="copy", score=False)
    assert result.faces == ()
    assert np.array_equal(result.image, wall)


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("method", "magic", "method is 'magic'; expected one of: "),
        ("hide", "beauty", "hide is 'beauty'; expected one or several, joined by commas, of: gender, age, race"),
        ("gender", "robot", "gender is 'robot'; expected one of: female, male"),
        ("gender", True, "gender is True"),
        ("prototype", "xx", "prototype is 'xx'; expected one of: sm, nt, op"),
        ("faces", "none", "faces is 'none'"),
        ("max_pixels", 0, "max_pixels is 0; expected a whole number above 0"),
        ("if_no_face", "skip", "if_no_face is 'skip'; expected fail or copy"),
    ],
)
def test_unknown_options(portrait: np.ndarray, option: str, value: object, message: str) -> None:
    with pytest.raises(UsageError) as error:
        halfmask.protect(portrait, **{option: value})
    assert message in str(error.value)


@pytest.mark.usefixtures("standin")
def test_a_photo_that_takes_no_change_does_not_pass_as_protected(
    portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Halfmask, "change", lambda self, crops, subjects: np.zeros_like(crops))
    with pytest.raises(PhotoError, match="none of the 1 faces in the array could be changed"):
        halfmask.protect(portrait, gender="female", score=False)


@pytest.mark.usefixtures("standin")
def test_the_score_is_sfaces_cosine(portrait: np.ndarray) -> None:
    result = halfmask.protect(portrait, gender="female")
    match = result.faces[0].match
    assert match is not None
    sface = SFace(1)
    points = result.faces[0].points
    same = sface.match(portrait, portrait, points)
    mirrored = sface.match(portrait, np.ascontiguousarray(portrait[::-1]), points)
    assert same == pytest.approx(1, abs=1e-4)
    assert mirrored < 0.5 < match < same
    cut = cut112(portrait, points)
    assert np.linalg.norm(sface.embed(np.stack([cut, cut])), axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert sface.embed(np.zeros((0, 112, 112, 3), np.uint8)).shape == (0, 128)


def test_with_the_shipped_weights(portrait: np.ndarray) -> None:
    """The networks that are in the package: the astronaut is a woman, still herself afterwards, and changed."""
    for method, label in (("halfmask", (None, None)), ("san", ("female", "estimate"))):
        face = halfmask.protect(portrait, method=method).faces[0]
        assert (face.gender, face.gender_origin) == label
        assert face.changed
        assert face.match is not None
        assert 0.3 < face.match < 0.9999


def test_an_experimental_attribute_is_said_to_be(astronaut: np.ndarray) -> None:
    result = halfmask.protect(astronaut, hide="age", score=False, settings={"key": "k"})
    assert "EXPERIMENTAL" in result.notes[0]
    assert halfmask.protect(astronaut, score=False, settings={"key": "k"}).notes == ()
