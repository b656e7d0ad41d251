"""The referees: their recipes, fixed by what they say of one public-domain portrait."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stand_ins import opencv_face

from halfmask.datasets.readers.fairface import read_fairface
from halfmask.datasets.readers.lfw import read_lfw
from halfmask.datasets.readers.utkface import read_utkface
from halfmask.errors import UsageError, WeightsError
from halfmask.evaluation.measuring.metrics import balanced_accuracy
from halfmask.evaluation.measuring.summary import several_auc, several_balanced_accuracy
from halfmask.evaluation.referees import AGE, GENDER, MATCHERS, RACE, GenderAgeReferee, RaceReferee, load
from halfmask.evaluation.referees.base import chips, cut_square, session, square
from halfmask.evaluation.referees.dlibs import DlibMatcher
from halfmask.evaluation.referees.insightface import W600kMatcher
from halfmask.evaluation.referees.race import group_of, probabilities
from halfmask.photos.detect import Detector, Face

FACE = np.array([[200.1, 101.8], [247.1, 102.6], [220.4, 124.5], [198.6, 142.8], [239.7, 143.6]], np.float32)


def referee(make: Callable[[], Any]) -> Any:
    try:
        return make()
    except WeightsError as error:
        pytest.skip(f"needs the weights of a referee: {error}")


@pytest.fixture(scope="module")
def detector() -> Detector:
    return referee(Detector)


# ------------------------------------------------------------------- recipes


@pytest.fixture(scope="module")
def portrait(detector: Detector) -> tuple[np.ndarray, Face]:
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for its bundled photo")
    image = np.asarray(data.astronaut())
    return image, opencv_face(image)


# What each referee said of the astronaut when its recipe gave the accuracies in its docstring.
@pytest.mark.parametrize(("name", "p"), [("face-api", 0.1401), ("gender-v1", 0.1290), ("ssrnet-gender", 0.0)])
def test_gender_of_the_astronaut(portrait: tuple[np.ndarray, Face], name: str, p: float) -> None:
    assert GENDER[name].name == name
    got = referee(GENDER[name]).p_male([portrait[0]], [portrait[1]])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [p], atol=0.005)


def test_saturated_ssrnet_sees_channels_and_range(portrait: tuple[np.ndarray, Face]) -> None:
    """Its answer is 0 or 1, so its recipe is fixed where it tips: a dimmed portrait, and one with channels swapped."""
    image, face = portrait
    dim, dimmer = (image * 0.45).astype(np.uint8), (image * 0.3).astype(np.uint8)
    shown = [dim, dimmer, np.ascontiguousarray(dim[..., ::-1])]
    np.testing.assert_allclose(referee(GENDER["ssrnet-gender"]).p_male(shown, [face] * 3), [0, 1, 1], atol=0.01)


@pytest.mark.parametrize(("name", "years"), [("face-api", 28.78), ("ssrnet-age", 30.58)])
def test_age_of_the_astronaut(portrait: tuple[np.ndarray, Face], name: str, years: float) -> None:
    np.testing.assert_allclose(referee(AGE[name]).age([portrait[0]], [portrait[1]]), [years], atol=0.2)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("race-utkface", [0.7911, 0.1125, 0.0338, 0.0175, 0.0452]),
        ("race-fairface", [0.6742, 0.1439, 0.0228, 0.0725, 0.0866]),
    ],
)
def test_race_of_the_astronaut(portrait: tuple[np.ndarray, Face], name: str, said: list[float]) -> None:
    judge = referee(RACE[name])
    assert (judge.name, f"race-{judge.trained_on}") == (name, name)
    got = judge.p_race([portrait[0]], [portrait[1]])
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, [said], atol=0.02)
    np.testing.assert_allclose(got.sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("name", "first", "mirrored"),
    [
        ("dlib", [-0.0642, 0.0213, 0.0212, -0.0678, -0.1536, -0.0216], -0.178),
        ("w600k_mbf", [0.0539, -0.0335, -0.0426, -0.0094, -0.0103, -0.0344], 0.941),
    ],
)
def test_descriptor_of_the_astronaut(
    portrait: tuple[np.ndarray, Face], detector: Detector, name: str, first: list[float], mirrored: float
) -> None:
    matcher = referee(MATCHERS[name])
    mirror = np.ascontiguousarray(portrait[0][:, ::-1])
    both = matcher.embed([portrait[0], mirror], [portrait[1], opencv_face(mirror)])
    assert both.dtype == np.float32
    np.testing.assert_allclose(both[0, :6], first, atol=0.003)
    np.testing.assert_allclose(matcher.score(both[:1], both[1:]), [mirrored], atol=0.01)


@pytest.mark.parametrize("name", [*GENDER, *MATCHERS, *RACE])
def test_a_batch_says_what_single_faces_say(portrait: tuple[np.ndarray, Face], name: str) -> None:
    image, face = portrait
    images = [image, np.ascontiguousarray(image // 2), np.ascontiguousarray(image[:400, :400])]
    made = referee((GENDER | MATCHERS | RACE)[name])
    ask = made.p_male if name in GENDER else made.embed if name in MATCHERS else made.p_race
    together = ask(images, [face] * 3)
    for i, one in enumerate(images):
        np.testing.assert_allclose(together[i : i + 1], ask([one], [face]), atol=2e-4)
    assert ask([], []).shape == (0, *together.shape[1:])


@pytest.mark.slow
def test_referees_tell_women_from_men_on_lfw(shared_data: Path, detector: Detector) -> None:
    """80 people of LFW, one photo each: every referee is well above chance, and none is inverted."""
    from PIL import Image

    rows: list[Any] = []
    for gender in (0, 1):
        people = {row.identity: row for row in read_lfw(shared_data / "lfw") if row.gender == gender}
        rows += [people[name] for name in sorted(people, key=str)[::7][:40]]
    images, faces, labels = [], [], []
    for row in rows:
        image = np.asarray(Image.open(row.path).convert("RGB"))
        if found := detector(image):
            images.append(image)
            faces.append(found[0])
            labels.append(row.gender)
    assert len(labels) >= 75
    for make in GENDER.values():
        assert balanced_accuracy(labels, referee(make).p_male(images, faces)) > 0.85


@pytest.mark.slow
def test_race_referees_judge_what_they_were_not_trained_on(shared_data: Path, detector: Detector) -> None:
    """8 faces a group of the set that the other referee learned from: far above the chance of a fifth."""
    from PIL import Image

    for make, table in (
        (RACE["race-utkface"], read_fairface(shared_data / "fairface").split("valid")),
        (RACE["race-fairface"], read_utkface(shared_data / "utkface")),
    ):
        judge = referee(partial(make, 1))
        assert judge.trained_on != table.name
        images, faces, labels = [], [], []
        for group in range(len(judge.groups)):
            rows = [row for row in table if judge.group(row.race) == group]
            for row in rows[:: len(rows) // 8][:8]:
                image = np.asarray(Image.open(row.path).convert("RGB"))
                if found := detector(image):
                    images.append(image)
                    faces.append(found[0])
                    labels.append(group)
        assert len(labels) >= 36
        p = judge.p_race(images, faces)
        assert several_balanced_accuracy(np.array(labels), p) > 0.4
        assert several_auc(np.array(labels), p) > 0.7


def test_words_for_race() -> None:
    words = (
        "White",
        "black",
        "East Asian",
        "Southeast Asian",
        "Indian",
        "Others",
        "Latino_Hispanic",
        " Middle Eastern ",
    )
    assert [group_of(word) for word in words] == [0, 1, 2, 2, 3, 4, 4, 4]
    assert [group_of(word) for word in ("", "Klingon", None)] == [-1, -1, -1]


def test_race_is_a_softmax_of_the_descriptor(rng: np.random.Generator) -> None:
    """Against scikit-learn's own probabilities, and without overflow."""
    from sklearn.linear_model import LogisticRegression

    x, y = rng.normal(size=(60, 4)), np.arange(60) % 3
    model = LogisticRegression().fit(x, y)
    got = probabilities(x, model.coef_.T, model.intercept_)
    np.testing.assert_allclose(got, model.predict_proba(x), atol=1e-6)
    assert probabilities(x * 1e6, model.coef_.T, model.intercept_).sum(1) == pytest.approx(np.ones(60))
    assert probabilities(x[:0], model.coef_.T, model.intercept_).shape == (0, 3)


def test_race_weights_of_another_shape_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    np.savez(tmp_path / "race.npz", weights=np.zeros((512, 7)), bias=np.zeros(7))
    monkeypatch.setattr("halfmask.weights.shipped.path", lambda file: tmp_path / "race.npz")
    with pytest.raises(WeightsError, match=r"race-utkface\.npz holds weights \(512, 7\) and bias \(7,\), expected"):
        RACE["race-utkface"](1, matcher=W600kMatcher.__new__(W600kMatcher))


def test_load_makes_what_is_asked_for() -> None:
    some = referee(lambda: load(only=["face-api", "w600k_mbf", "race-utkface"]))
    assert [list(kind) for kind in (some.genders, some.matchers, some.ages, some.races)] == [
        ["face-api"],
        ["w600k_mbf"],
        ["face-api"],
        ["race-utkface"],
    ]
    assert some.genders["face-api"] is some.ages["face-api"]  # one network, so that both cost one
    assert isinstance(some.ages["face-api"], GenderAgeReferee)
    assert isinstance(some.races["race-utkface"], RaceReferee)
    everything = referee(load)
    for kind, made in ((GENDER, everything.genders), (MATCHERS, everything.matchers), (AGE, everything.ages)):
        assert {name: r.name for name, r in made.items()} == {name: name for name in kind}
    assert set(everything.races) == set(RACE)
    with pytest.raises(UsageError, match=r"no referee is called elo, gut; there are dlib, face-api, .*w600k_mbf"):
        load(only=["gut", "dlib", "elo"])


@pytest.mark.slow
def test_matchers_tell_people_apart_on_lfw(shared_data: Path, detector: Detector) -> None:
    """20 people of LFW, two photos each: the nearest of the other 39 is the same person nearly always."""
    from PIL import Image

    by_person: dict[str, list[Any]] = {}
    for row in read_lfw(shared_data / "lfw"):
        by_person.setdefault(str(row.identity), []).append(row)
    rows = [row for name in sorted(by_person) if len(by_person[name]) >= 2 for row in by_person[name][:2]][:40]
    images = [np.asarray(Image.open(row.path).convert("RGB")) for row in rows]
    faces = [detector(image)[0] for image in images]
    for make in MATCHERS.values():
        matcher = referee(make)
        x = matcher.embed(images, faces)
        scores = matcher.score_matrix(x, x)
        np.fill_diagonal(scores, -np.inf)
        assert np.mean(scores.argmax(1) // 2 == np.arange(40) // 2) > 0.9


@pytest.mark.parametrize(("kind", "same"), [(DlibMatcher, 0.0), (W600kMatcher, 1.0)])
def test_scores_row_by_row_are_the_diagonal(kind: type, same: float, rng: np.random.Generator) -> None:
    matcher = object.__new__(kind)  # scores need no weights
    a, b = rng.normal(size=(2, 9, 32)).astype(np.float32)
    a /= np.linalg.norm(a, axis=1, keepdims=True)
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    matrix = matcher.score_matrix(a, b)
    np.testing.assert_allclose(matcher.score(a, b), np.diagonal(matrix), atol=1e-6)
    assert (matcher.score(a, a) > matcher.score(a, b)).all()
    np.testing.assert_allclose(matcher.score(a, a), same, atol=1e-6)
    np.testing.assert_allclose(matrix[2, 5], matcher.score(a[2:3], b[5:6])[0], atol=1e-6)


def test_referees_need_no_torch() -> None:
    """And importing them loads neither onnxruntime nor dlib."""
    code = (
        "import sys, halfmask.evaluation.referees;"
        "print([m for m in ('torch', 'onnxruntime', 'onnx', 'dlib', 'halfmask.training') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --------------------------------------------------------------------- chips


def test_square_levels_the_eyes() -> None:
    angle = np.deg2rad(20)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    points = ((FACE - FACE.mean(0)) @ turn.T + 200).astype(np.float32)
    matrix = square(points, 100, 3.0, 0.4, turn=True)
    there = points @ matrix[:, :2].T + matrix[:, 2]
    assert there[0, 1] == pytest.approx(there[1, 1], abs=1e-3)
    mouth = there[3:].mean(0)
    e = (np.hypot(*(mouth - there[0])) + np.hypot(*(mouth - there[1]))) / 2
    assert e == pytest.approx(100 / 3.0, abs=1e-3)
    np.testing.assert_allclose((there[0] + there[1] + mouth) / 3, [50, 40], atol=1e-3)
    upright = square(points, 100, 3.0, 0.4, turn=False)
    assert upright[0, 1] == upright[1, 0] == 0


def test_chip_is_black_beyond_the_photo() -> None:
    image = np.full((120, 120, 3), 200, np.uint8)
    points = (FACE - FACE.min(0)).astype(np.float32)  # the face touches the upper left corner
    chip = cut_square(image, Face((0, 0, 50, 50), points, 1.0), 64, 4.0, 0.5, turn=False)
    assert chip.shape == (64, 64, 3)
    assert (chip[0, 0] == 0).all()
    assert (chip[40, 40] == 200).all()


def small(image: np.ndarray, face: Face) -> np.ndarray:
    return cut_square(image, face, 8, 2.2, 0.43, turn=False)


def test_chips_come_in_batches() -> None:
    face = Face((180, 80, 90, 110), FACE, 1.0)
    image = np.zeros((256, 320, 3), np.uint8)
    assert [len(stack) for stack in chips([image] * 7, [face] * 7, small, batch=3)] == [3, 3, 1]


@pytest.mark.parametrize(
    ("images", "points", "reason"),
    [
        ([], FACE, "got 0 photos and 1 faces"),
        ([np.zeros((256, 320), np.uint8)], FACE, "expected RGB uint8"),
        ([np.zeros((256, 320, 3), np.float32)], FACE, "expected RGB uint8"),
        ([np.zeros((256, 320, 4), np.uint8)], FACE, "expected RGB uint8"),
        ([np.zeros((256, 320, 3), np.uint8)], np.ones_like(FACE), "face 0 cannot be cut out"),
    ],
    ids=["no photo", "gray", "float", "alpha", "no face"],
)
def test_what_a_referee_cannot_see(images: list[np.ndarray], points: np.ndarray, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        list(chips(images, [Face((0, 0, 9, 9), points, 1.0)], small))


def test_broken_model_is_reported(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"not a model")
    with pytest.raises(WeightsError, match=r"m\.onnx does not load"):
        session(tmp_path / "m.onnx")
