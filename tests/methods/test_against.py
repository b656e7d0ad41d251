"""P-FGVM, I-FGVM and I-FGSM as methods: they deceive the network that is named, and what cannot be is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_sans
import torch

from halfmask.errors import UsageError
from halfmask.methods import against, load
from halfmask.networks.identity import ModelA, load_identity

RULES = ("p-fgvm", "i-fgvm", "i-fgsm")
PEOPLE = ["ann", "bob", "cy"]


@pytest.fixture(scope="module")
def face(astronaut: np.ndarray) -> np.ndarray:
    return tiny_sans.portrait(astronaut).astype(np.float32)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, face: np.ndarray) -> Path:
    """A run folder of an untrained classifier that sees one of three people in the face, by a small lead."""
    torch.manual_seed(0)
    net = ModelA(PEOPLE, side=16).eval()
    with torch.no_grad():
        net.fc2.bias += torch.tensor([0.0, 0.004, 0.0]) - net(torch.from_numpy(face))[0]
    folder: Path = tmp_path_factory.mktemp("run")
    net.save(folder / "identity.safetensors")
    return folder


def says(run: Path, faces: np.ndarray) -> str:
    """Whom the classifier sees in an 8-bit copy."""
    rounded = np.round(np.clip(faces, 0, 1) * 255) / 255
    with torch.no_grad():
        return PEOPLE[int(load_identity(run / "identity.safetensors")(torch.from_numpy(rounded).float()).argmax())]


@pytest.mark.parametrize("rule", RULES)
def test_it_deceives_the_network_that_is_named(rule: str, run: Path, face: np.ndarray) -> None:
    own = says(run, face)
    for target in ("drawn", "away", *(name for name in PEOPLE if name != own)):
        method = load(rule, threads=1, against=str(run), target=target)
        after = says(run, face + method.change(face))
        assert after != own
        if target in PEOPLE:
            assert after == target


@pytest.mark.parametrize("rule", RULES)
def test_the_first_step_goes_equally_far(rule: str, run: Path, face: np.ndarray) -> None:
    change = load(rule, threads=1, against=str(run), target="away", steps=1).change(face)
    # a few numbers stand at 0 or 1 and cannot move; a sign is 0 where the gradient is
    assert np.linalg.norm(change) == pytest.approx(against.FIRST, rel=0.1)
    further = load(rule, threads=1, against=str(run), target="away", steps=1, step=1e-6).change(face)
    assert np.linalg.norm(further) < np.linalg.norm(change)


def test_lambda_draws_back_and_epsilon_is_a_box(run: Path, face: np.ndarray) -> None:
    common: dict[str, Any] = {"threads": 1, "against": str(run)}
    free, drawn = (load("p-fgvm", weight=w, steps=3, **common).change(face) for w in (0, 1e3))
    assert np.abs(drawn - free).max() > 0
    boxed = load("i-fgvm", epsilon=0.002, steps=40, step=10, **common).change(face)
    assert np.abs(boxed).max() == pytest.approx(0.002, rel=1e-3)


def test_a_matcher_is_left_when_it_no_longer_sees_the_person(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, face: np.ndarray
) -> None:
    from halfmask.networks import sface

    class Corners(torch.nn.Module):
        def forward(self, faces: torch.Tensor) -> torch.Tensor:
            parts = torch.nn.functional.avg_pool2d(faces.mean(1, keepdim=True), 28).flatten(1)
            return torch.nn.functional.normalize(parts - parts.mean(1, keepdim=True))

    (tmp_path / "weights").write_bytes(b"x")
    monkeypatch.setattr(against.store, "get", lambda name: tmp_path / "weights")
    monkeypatch.setattr(sface.SFace, "load", classmethod(lambda cls, path: Corners()))
    after = np.clip(face + load("i-fgsm", threads=1, against="sface", step=0.01, epsilon=0.5).change(face), 0, 1)
    one, two = (Corners()(torch.from_numpy(f).float()) for f in (face, after))
    assert float((one * two).sum()) < against.SAME_PERSON
    with pytest.raises(UsageError, match="target is 'ann', but sface knows nobody; expected away"):
        load("p-fgvm", against="sface", target="ann")


def test_what_makes_no_sense_is_named(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="p-fgvm deceives one network; say which: --against NETWORK"):
        load("p-fgvm")
    with pytest.raises(UsageError, match=r"there is no file .*identity\.safetensors; expected a folder or file of"):
        load("i-fgsm", against=str(tmp_path))
    with pytest.raises(UsageError, match="target is 'dora'; expected drawn, away or one of 3 people: ann, bob, cy"):
        load("i-fgvm", against=str(run), target="dora")
    with pytest.raises(UsageError, match="epsilon is '2'; expected a number from"):
        load("i-fgvm", against=str(run), epsilon="2")
    with pytest.raises(UsageError, match="'p-fgvm' has no setting 'epsilon'"):
        load("p-fgvm", against=str(run), epsilon=0.1)
