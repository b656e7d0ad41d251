"""Deidentify with small random networks in the place of the matchers, and once with the real SFace."""

from __future__ import annotations

import sys
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from stand_ins import opencv_face

import halfmask
from halfmask import methods
from halfmask.errors import ExtraMissingError, UsageError, WeightsError
from halfmask.evaluation.measuring.metrics import mssim
from halfmask.methods import deidentify
from halfmask.methods.choice import IDENTITY, attributes
from halfmask.methods.deidentify import FULL, STRENGTHS, Deidentify
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Detector
from halfmask.photos.paste import mask
from halfmask.photos.samples import LUMA
from halfmask.weights import store


def matcher(seed: int) -> torch.nn.Module:
    """Faces (N, 3, 224, 224) to random features of a 28 x 28 thumbnail, of length 1."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = torch.nn.Sequential(
            torch.nn.AvgPool2d(8), torch.nn.Conv2d(3, 8, 5), torch.nn.Tanh(), torch.nn.Flatten(),
            torch.nn.Linear(8 * 24 * 24, 32, bias=False),
        )  # fmt: skip
        net[1].weight.data -= net[1].weight.data.mean((2, 3), keepdim=True)  # blind to how light a face is
    return net.requires_grad_(False)


class Unit(torch.nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        self.net = matcher(seed)

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return torch.nn.functional.normalize(self.net(faces.float()))


class Keeper:
    """Reads one attribute of two classes: how much lighter the eyes' part of a face is than the mouth's."""

    def probabilities(self, faces: torch.Tensor) -> dict[str, torch.Tensor]:
        light = faces.float().mean(1)[:, :, 60:164]
        logit = 30 * (light[:, 84:124].mean((1, 2)) - light[:, 140:180].mean((1, 2)))
        return {"gender": torch.softmax(torch.stack([logit, -logit], 1), 1)}


@pytest.fixture
def nets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Unit]:
    """Two stand-ins by the names of the matchers, which the method gets instead of them."""
    both = {"sface": Unit(1), "facenet": Unit(2)}
    monkeypatch.setattr(deidentify, "_load", both.__getitem__)
    monkeypatch.setattr(deidentify, "_keeper", lambda name: Keeper())
    return both


@pytest.fixture(scope="module")
def face(astronaut: np.ndarray, detector: Detector) -> np.ndarray:
    """A crop, float32 (3, 224, 224) in [0, 1]."""
    crop, _ = crop_face(astronaut, opencv_face(astronaut).points)
    return np.ascontiguousarray(crop.transpose(2, 0, 1).astype(np.float32) / 255)


def pasted(face: np.ndarray, delta: np.ndarray) -> np.ndarray:
    return np.asarray(face + mask(224) * delta)


def lost(face: np.ndarray, delta: np.ndarray) -> float:
    """The MSSIM that a change costs, by the metric of the evaluation."""
    before, after = (np.tensordot(LUMA, x, (0, 0)).astype(np.float64) for x in (face, pasted(face, delta)))
    return 1 - mssim(before, np.clip(after, 0, 1))


def cosine(net: Unit, face: np.ndarray, delta: np.ndarray) -> float:
    one, two = net(torch.from_numpy(np.stack([face, pasted(face, delta)])))
    return float(one @ two)


def test_every_attacked_matcher_is_led_away_within_the_strength(nets: dict[str, Unit], face: np.ndarray) -> None:
    found = []
    for name, strength in STRENGTHS.items():
        method = Deidentify(1, strength=name, steps=16, keep=0)
        assert method.hides == {"identity"}
        (delta,) = method.change(face[None])
        assert delta.dtype == np.float32
        assert face.min() >= 0 <= (face + delta).min()
        assert (face + delta).max() <= 1
        assert 0.6 * FULL * strength < lost(face, delta) < FULL * strength + 2e-3
        found.append([cosine(net, face, delta) for net in nets.values()])
    low, mid, high = np.array(found)
    assert (low > mid).all()
    assert (mid > high).all()
    by_chance = np.random.default_rng(0).normal(0, 1, face.shape).astype(np.float32)
    by_chance *= np.abs(delta).mean() / np.abs(by_chance).mean()
    chance = np.mean([1 - cosine(net, face, by_chance) for net in nets.values()])
    assert (1 - high).mean() > 5 * chance


def test_a_matcher_that_is_left_out_is_led_away_less(nets: dict[str, Unit], face: np.ndarray) -> None:
    (delta,) = Deidentify(1, steps=6, matchers="facenet").change(face[None])
    led, left = (1 - cosine(nets[name], face, delta) for name in ("facenet", "sface"))
    assert led > 3 * left


@pytest.mark.usefixtures("nets")
def test_the_same_face_gets_the_same_change_whatever_stands_beside_it(face: np.ndarray) -> None:
    method = Deidentify(1, steps=3)
    both = method.change(np.stack([face[:, :, ::-1], face]))
    assert np.array_equal(both[1:], Deidentify(1, steps=3).change(face[None]))
    assert not np.array_equal(both[0], both[1])
    assert method.change(face[None][:0]).shape == (0, 3, 224, 224)


@pytest.mark.usefixtures("nets")
def test_colours_change_only_when_asked_and_never_of_a_gray_face(face: np.ndarray) -> None:
    gray = np.repeat(np.tensordot(LUMA, face, (0, 0))[None].astype(np.float32), 3, 0)
    for crop, colour, coloured in ((gray, 1, False), (face, 0, False), (face, 1, True)):
        (delta,) = Deidentify(1, steps=3, colour=colour).change(crop[None])
        inside = ((crop > 0.1) & (crop < 0.9)).all(0)  # where no channel was clipped
        assert np.abs(delta).max() > 0.01
        assert (np.ptp(delta, axis=0)[inside].max() > 0.01) == coloured


@pytest.mark.usefixtures("nets")
def test_masking_keeps_the_change_to_texture(face: np.ndarray) -> None:
    light = np.tensordot(LUMA, face, (0, 0))
    spread = np.sqrt(np.maximum(cv2.blur(light**2, (15, 15)) - cv2.blur(light, (15, 15)) ** 2, 0))
    middle = mask(224) > 0.9
    plain = middle & (spread < np.median(spread[middle]))
    shares = []
    for masking in (0, 1):
        (delta,) = Deidentify(1, steps=4, masking=masking).change(face[None])
        shares.append(np.abs(delta[:, plain]).mean() / np.abs(delta[:, middle]).mean())
    assert shares[1] < 0.8 * shares[0]


@pytest.mark.usefixtures("nets")
def test_smoothing_leaves_less_fine_detail_in_the_change(face: np.ndarray) -> None:
    fine = []
    for smoothing in (0, "4"):
        (delta,) = Deidentify(1, steps=4, smoothing=smoothing).change(face[None])
        fine.append(np.abs(np.diff(delta, axis=2)).mean() / np.abs(delta).mean())
    assert fine[1] < 0.8 * fine[0]


@pytest.mark.usefixtures("nets")
def test_what_is_to_be_kept_drifts_less(face: np.ndarray) -> None:
    def said(delta: np.ndarray) -> float:
        return float(Keeper().probabilities(torch.from_numpy(pasted(face, delta)[None]))["gender"][0, 0])

    drifts = []
    for keep in (0, 3):
        (delta,) = Deidentify(1, keep=keep, strength="high").change(face[None])
        drifts.append(abs(said(delta) - said(np.zeros_like(face))))
    assert drifts[1] < 0.5 * drifts[0], drifts


@pytest.mark.usefixtures("nets")
def test_threads_of_torch_are_as_before(face: np.ndarray) -> None:
    before = torch.get_num_threads()
    Deidentify(before + 1, steps=1).change(face[None])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"strength": "strong"}, "strength is 'strong'; expected low, mid, high or a number"),
        ({"steps": "many"}, "steps is 'many'; expected a whole number from 1 to 1000"),
        ({"steps": 2.5}, r"steps is 2\.5; expected a whole number"),
        ({"smoothing": -1}, "smoothing is -1; expected a number from 0 to 30"),
        ({"colour": 2}, "colour is 2; expected a number from 0 to 1"),
        ({"keep": "all"}, "keep is 'all'; expected a number from 0 to 100"),
        ({"masking": ""}, "masking is ''; expected a number from 0 to 1"),
        ({"matchers": "dlib"}, "matchers is 'dlib'; expected one or both, joined by"),
        ({"matchers": "sface+sface"}, "matchers is 'sface.sface'"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        methods.load("deidentify", **settings)


@pytest.mark.parametrize(("package", "extra"), [("torch", "train"), ("onnx", "audit")])
def test_without_the_extra_it_says_so_before_anything_is_fetched(
    monkeypatch: pytest.MonkeyPatch, package: str, extra: str, astronaut: np.ndarray
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.setattr(store, "get", lambda *args, **options: pytest.fail("fetched"))
    for call in (lambda: methods.load("deidentify"), lambda: halfmask.deidentify(astronaut)):
        with pytest.raises(
            ExtraMissingError, match=rf"deidentify' needs {package}.*pip install \"halfmask\[{extra}\]\""
        ):
            call()


def test_identity_is_hidden_only_by_who_can() -> None:
    assert attributes("identity", {IDENTITY}) == {"identity"}
    with pytest.raises(UsageError, match=r"expected one or several, joined by commas, of: gender, age, race$"):
        attributes("identity")
    with pytest.raises(UsageError, match="san cannot hide identity; it hides: gender"):
        halfmask.protect(np.zeros((9, 9), np.uint8), method="san", hide="identity")
    with pytest.raises(UsageError, match="deidentify cannot hide gender; it hides: identity"):
        halfmask.protect(np.zeros((9, 9), np.uint8), method="deidentify", hide="gender")


def test_sface_no_longer_takes_it_for_the_same_person(astronaut: np.ndarray) -> None:
    try:
        store.get("sface")
    except WeightsError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"needs SFace's weights: {error}")
    photo = np.ascontiguousarray(astronaut[:250, 100:350])
    result = halfmask.deidentify(photo, threads=1, settings={"matchers": "sface", "steps": 6})
    match = result.faces[0].match
    assert match is not None
    assert match < 0.363
    assert mssim(*(x @ LUMA.astype(np.float64) / 255 for x in (photo, result.image))) > 0.93
