"""The steps one by one give what the library gives, and what only they can do."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest

import halfmask
from halfmask.methods import METHODS, Subject
from halfmask.methods.choice import strength
from halfmask.methods.runtime import gray
from halfmask.protecting import engine as rooms
from halfmask.protecting.engine import Engine, networks_for
from halfmask.protecting.known import Known
from halfmask.protecting.options import Options


def engine(**asked: Any) -> Engine:
    options = Options(settings={"key": "mine"}, **asked)
    return Engine(options, networks_for(options, 1))


def test_steps_by_hand_are_the_library(portrait: np.ndarray) -> None:
    own = engine()
    photo = own.read(portrait)
    faces = own.detect(photo)
    prepared = own.crop(photo, faces, own.choose(photo, faces))
    after, results = own.paste(prepared, own.change([prepared])[0])
    whole = halfmask.protect(portrait, settings={"key": "mine"}, score=False)
    np.testing.assert_array_equal(after.pixels, whole.image)
    assert [r.box for r in results] == [r.box for r in whole.faces]
    assert own.encode(after, "PNG") == whole.photo.encode("PNG")


@pytest.mark.parametrize("word", ["low", "mid", "high", 0.3])
def test_a_change_is_computed_once_and_pasted_at_any_strength(portrait: np.ndarray, word: str | float) -> None:
    shares = METHODS["halfmask"].cls.strengths
    full = engine(strength=1.0)
    prepared = full.prepare(portrait)
    (change,) = full.change([prepared])
    after, _ = full.paste(prepared, change.scaled(strength(word, shares)))
    expected = halfmask.protect(portrait, settings={"key": "mine"}, strength=word, score=False).image
    np.testing.assert_array_equal(after.pixels, expected)  # to the last bit


def test_the_edge_that_a_method_names_does_not_count_in_a_photo(
    portrait: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = engine()
    prepared = own.prepare(portrait)
    (change,) = own.change([prepared])
    expected, _ = own.paste(prepared, change)
    edge = own.networks.method.edge
    assert edge > 0
    for delta in change.deltas.values():  # whatever the network says there
        for side in (delta[:edge], delta[-edge:], delta[:, :edge], delta[:, -edge:]):
            side[...] = 0.5
    after, _ = own.paste(prepared, change)
    np.testing.assert_array_equal(after.pixels, expected.pixels)
    monkeypatch.setattr(type(own.networks.method), "edge", 0)
    assert not np.array_equal(own.paste(prepared, change)[0].pixels, expected.pixels)


def test_every_method_that_says_it_is_proportional_is(portrait: np.ndarray) -> None:
    crop = engine().prepare(portrait).crops[0].astype(np.float32).transpose(2, 0, 1)[None] / 255
    tried = 0
    for name, kind in METHODS.items():
        if not kind.cls.proportional:
            continue
        tried += 1
        key = {"key": "mine"} if "key" in kind.cls.settings else {}
        one, half = (kind.cls(threads=1, strength=s, **key).change(crop, [Subject(1)]) for s in (1.0, 0.5))
        np.testing.assert_allclose(half, one / 2, atol=1e-6, err_msg=name)
    assert tried


@pytest.mark.parametrize(("method", "channels"), [("san", 2), ("halfmask", 3)])
def test_a_crop_is_the_methods_own_output(portrait: np.ndarray, method: str, channels: int) -> None:
    result_of = Options(method=method, gender="male", crop=True, settings={} if method == "san" else {"key": "mine"})
    own = Engine(result_of, networks_for(result_of, 1))
    prepared = own.prepare(portrait)
    after, faces = own.paste(prepared, own.change([prepared])[0])
    assert after.pixels.shape[:2] == (224, 224)
    assert after.mode == ("L" if channels == 2 else "RGB")
    assert [face.changed for face in faces] == [True]
    crop = prepared.crops[0].astype(np.float32).transpose(2, 0, 1)[None] / 255
    delta = own.networks.method.change(crop, [Subject(1)])
    expected = gray(crop)[0, 0] + delta[0, 0] if method == "san" else (crop + delta)[0].transpose(1, 2, 0)
    np.testing.assert_allclose(after.to_array() / 255, expected.clip(0, 1), atol=0.6 / 255)


def test_networks_are_loaded_once_however_many_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[object] = []
    real = rooms.Networks
    start = threading.Barrier(6)

    def slowly(*args: Any) -> Any:
        loaded.append(args)
        return real(*args)

    monkeypatch.setattr(rooms, "Networks", slowly)
    rooms._loaded.clear()
    options = Options(settings={"key": "another"})

    def ask(_: int) -> object:
        start.wait()
        return networks_for(options, 1)

    with ThreadPoolExecutor(6) as pool:
        asked = list(pool.map(ask, range(6)))
    assert len(loaded) == 1
    assert all(one is asked[0] for one in asked)


def test_each_face_of_a_photo_may_have_a_name(portrait: np.ndarray) -> None:
    twins = np.concatenate([portrait, portrait[:, ::-1]], axis=1)
    own = engine()
    faces = own.detect(own.read(twins))
    assert len(faces) == 2
    prepared = own.prepare(twins, Known(boxes=(faces[1].box, faces[0].box), box_who=("anna", None), box_genders=()))
    named = {i for i, who in prepared.who.items() if who == "anna"}
    assert len(named) == 1
    x = prepared.faces[named.pop()].box[0]
    assert abs(x - faces[1].box[0]) < 20
