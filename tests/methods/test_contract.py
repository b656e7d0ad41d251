"""One table over every method: what each keeps to, with the weights that ship."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_sans
import torch
from PIL import Image
from stand_ins import subjects

import halfmask
from halfmask.errors import ExtraMissingError, UsageError, WeightsError
from halfmask.methods import METHODS, Method, Subject, load
from halfmask.methods.contract import genders
from halfmask.networks.identity import ModelA
from halfmask.protecting.engine import Engine, networks_for
from halfmask.protecting.known import Known
from halfmask.protecting.options import Options
from halfmask.weights import store

#: What each method is set to, so that it draws where it can and takes no longer than it must; more than one a method
#: where its ways differ.
TABLE: dict[str, dict[str, Any]] = {
    "halfmask": {"hide": "gender,age", "key": "mine"},
    "san": {"prototype": "nt"},
    "ensemble": {},
    "ensemble gibbs": {"combine": "gibbs", "key": "mine"},
    "flowsan": {"steps": 2},
    "mixing": {},
    "mixing partners": {"partners": "made up"},
    "deidentify": {"steps": 1, "matchers": "sface", "keep": 0},
    "stranger": {},
    "privacynet": {"hide": "gender,race", "key": "mine"},
    "p-fgvm": {"against": "made up", "steps": 40},
    "i-fgvm": {"against": "made up", "steps": 40, "target": "away"},
    "i-fgsm": {"against": "made up", "steps": 40, "target": "bob"},
}


def name_of(case: str) -> str:
    return case.partition(" ")[0]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray) -> Path:
    """Partners for mixing: two women and two men, all of them the astronaut, lighter or darker."""
    folder: Path = tmp_path_factory.mktemp("people")
    rows = ["file,gender"]
    for i, light in enumerate((0.8, 0.9, 1.0, 1.1)):
        photo = np.clip(astronaut[:250, 100:350] * light, 0, 255).astype(np.uint8)
        Image.fromarray(photo).save(folder / f"{i}.png")
        rows.append(f"{i}.png,{('female', 'male')[i % 2]}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small identity classifier of three people, untrained."""
    torch.manual_seed(0)
    path: Path = tmp_path_factory.mktemp("classifier") / "identity.safetensors"
    ModelA(["ann", "bob", "cy"], side=16).save(path)
    return path


@pytest.fixture(scope="module")
def settings(people: Path, classifier: Path) -> dict[str, dict[str, Any]]:
    """The table with its made-up files; only models that truly cannot be had skip a row."""
    made = {"partners": str(people), "against": str(classifier)}
    return {case: {name: made.get(name, value) if value == "made up" else value for name, value in given.items()}
            for case, given in TABLE.items()}  # fmt: skip


@pytest.fixture(scope="module", params=TABLE)
def case(request: pytest.FixtureRequest) -> str:
    try:
        for model in METHODS[name_of(request.param)].cls.models:
            store.get(model)
    except WeightsError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"{request.param} needs a network of others: {error}")
    return str(request.param)


@pytest.fixture(scope="module")
def method(case: str, settings: dict[str, dict[str, Any]]) -> Method:
    return load(name_of(case), threads=1, **settings[case])


@pytest.fixture(scope="module")
def faces(astronaut: np.ndarray) -> np.ndarray:
    """A face, its mirror image, and the face in less light."""
    face = tiny_sans.portrait(astronaut)
    return np.concatenate([face, face[..., ::-1], 0.7 * face]).astype(np.float32)


@pytest.fixture(scope="module")
def change(method: Method, faces: np.ndarray) -> np.ndarray:
    return method.change(faces, subjects([0, 1, 1]))


def test_the_table_is_whole() -> None:
    assert {name_of(case) for case in TABLE} == set(METHODS)


@pytest.mark.parametrize("name", METHODS)
def test_a_class_says_what_it_is_before_it_is_loaded(name: str) -> None:
    method = METHODS[name].cls
    assert issubclass(method, Method)
    assert method.hides
    assert set(method.models) <= set(store.MODELS)
    assert all(text and "\n" not in text for text in method.settings.values())
    assert set(method.choices) <= set(method.settings)
    assert isinstance(method.needs_label, bool)
    assert isinstance(method.whole, bool)
    # the page's dial has steps of .005, and stands at mid unless told otherwise
    assert list(method.strengths) == (["low", "mid", "high"] if "strength" in method.settings else [])
    assert list(method.strengths.values()) == sorted({round(200 * s) / 200 for s in method.strengths.values()})
    assert all(0.05 <= share <= 1 for share in method.strengths.values())


def test_shape_kind_and_range(change: np.ndarray, faces: np.ndarray) -> None:
    assert change.shape == faces.shape
    assert change.dtype == np.float32
    assert np.abs(change).max() <= 1.0
    assert np.abs(change).max(axis=(1, 2, 3)).min() > 1 / 255  # each of them would reach an 8-bit photo


def test_no_face_gets_no_change(method: Method, faces: np.ndarray) -> None:
    nothing = method.change(faces[:0], [])
    assert nothing.shape == (0, 3, 224, 224)
    assert nothing.dtype == np.float32


def test_one_face_and_many_agree(method: Method, faces: np.ndarray, change: np.ndarray) -> None:
    for i, who in enumerate(subjects([0, 1, 1])):
        np.testing.assert_allclose(method.change(faces[[i]], [who]), change[[i]], atol=1e-5)


def test_the_same_key_gives_the_same_again(
    case: str, settings: dict[str, dict[str, Any]], faces: np.ndarray, change: np.ndarray
) -> None:
    again = load(name_of(case), threads=1, **settings[case])
    np.testing.assert_array_equal(again.change(faces, subjects([0, 1, 1])), change)


def test_a_photo_is_protected_to_the_same_bytes_twice(
    case: str, settings: dict[str, dict[str, Any]], astronaut: np.ndarray
) -> None:
    given = {name: value for name, value in settings[case].items() if name != "hide"}
    files = []
    for _ in range(2):
        out = io.BytesIO()
        halfmask.protect(
            astronaut[:250, 100:350].copy(), method=name_of(case), hide=settings[case].get("hide"), gender="female",
            score=False, threads=1, settings=given,
        ).save(out, format="png")  # fmt: skip
        files.append(out.getvalue())
    before = io.BytesIO()
    Image.fromarray(astronaut[:250, 100:350]).save(before, "PNG")
    assert files[0] == files[1] != before.getvalue()


def test_what_cannot_be_is_refused(method: Method, faces: np.ndarray) -> None:
    with pytest.raises(UsageError, match=r"crops have the shape \(1, 3, 112, 112\); expected \(N, 3, 224, 224\)"):
        method.change(faces[:1, :, ::2, ::2])
    with pytest.raises(UsageError, match="1 subjects were given for 3 crops; expected one a crop"):
        method.change(faces, subjects([0]))
    if method.needs_label:
        with pytest.raises(UsageError, match="the gender of 1 of 2 faces is not known"):
            method.change(faces[:2], [Subject(0), Subject()])
    else:
        assert method.change(faces[:1]).any()


@pytest.mark.parametrize("name", METHODS)
def test_settings_that_are_not_there_are_refused(name: str) -> None:
    method = METHODS[name].cls
    with pytest.raises(UsageError, match=f"method '{name}' has no setting 'flavour'; its settings are: "):
        load(name, flavour="sour")
    first = next(iter(method.settings))
    with pytest.raises(UsageError, match=rf"setting {first} is \[1\]; expected text, a number or a path"):
        load(name, **{first: [1]})
    for setting, words in method.choices.items():
        with pytest.raises(UsageError, match=f"{setting} is 'sour'; expected one of: {', '.join(words)}"):
            load(name, **{setting: "sour"})


def test_a_package_that_is_needed_and_not_there_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(METHODS["san"].cls, "needs", ("a_package_of_tomorrow",))
    with pytest.raises(ExtraMissingError, match="method 'san' needs a_package_of_tomorrow"):
        load("san")


# ------------------------------------------------------------------ who it is


@pytest.mark.parametrize("name", ["halfmask", "privacynet"])
def test_one_run_gives_each_person_one_target(name: str, faces: np.ndarray) -> None:
    """By their name, whatever the photo; a name beats the setting ``person``, which stands in where there is none."""
    hide = {"hide": "gender,age,race", "key": "mine"}
    method, named = load(name, threads=1, **hide), load(name, threads=1, person="anna", **hide)
    both = faces[[0, 0]]
    anna, berta = Subject(0, "anna"), Subject(0, "berta")
    one = method.change(both, [anna, berta])
    assert not np.array_equal(one[0], one[1])
    unnamed = method.change(both[:1], [Subject(0)])
    assert not np.array_equal(unnamed[0], one[0])
    np.testing.assert_allclose(named.change(both, [Subject(0), berta]), one, atol=1e-6)


def test_the_engine_tells_a_method_who_each_face_is(astronaut: np.ndarray) -> None:
    options = Options(hide="gender,age,race", settings={"key": "mine"})
    engine = Engine(options, networks_for(options, 1))
    portrait = astronaut[:250, 100:350].copy()
    twice = [engine.prepare(portrait, Known(who=(name,))) for name in ("anna", "anna", "berta")]
    anna, again, berta = (changed.deltas[0] for changed in engine.change(twice))
    np.testing.assert_allclose(anna, again, atol=1e-6)
    assert not np.allclose(anna, berta, atol=1e-3)


def test_a_subject_is_checked() -> None:
    with pytest.raises(UsageError, match="gender is 2; expected 0 for female, 1 for male, or None"):
        Subject(2)
    with pytest.raises(UsageError, match="who is empty"):
        Subject(who=" ")
    assert genders(subjects([1, 0])).tolist() == [1, 0]


# ------------------------------------------------------------------ the prototype, a setting of SAN's family


def test_a_prototype_may_be_given_by_itself_or_as_a_setting(astronaut: np.ndarray) -> None:
    portrait = astronaut[:250, 100:350].copy()
    common: dict[str, Any] = {"method": "san", "gender": "female", "score": False, "threads": 1}
    alone = halfmask.protect(portrait, prototype="sm", **common)
    setting = halfmask.protect(portrait, settings={"prototype": "sm"}, **common)
    other = halfmask.protect(portrait, **common)
    assert np.array_equal(alone.image, setting.image)
    assert not np.array_equal(alone.image, other.image)
    assert np.array_equal(other.image, halfmask.protect(portrait, prototype="op", **common).image)
    with pytest.raises(UsageError, match="prototype is given twice, by itself and among the settings; give it once"):
        halfmask.protect(portrait, prototype="sm", settings={"prototype": "nt"}, **common)
    with pytest.raises(UsageError, match="prototype is 'nt'; expected one of: op"):
        halfmask.protect(portrait, prototype="nt", **common | {"method": "flowsan"})
    with pytest.raises(UsageError, match="method 'halfmask' has no setting 'prototype'"):
        halfmask.protect(portrait, settings={"prototype": "op"}, score=False)
    halfmask.protect(portrait, prototype="op", score=False)  # which it would not be without it either
