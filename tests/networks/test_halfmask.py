"""halfmask's generator: what it is told, where it may change a face, how it is kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from halfmask.errors import WeightsError
from halfmask.networks.halfmask import CHROMA, LUMA, SIDE, Critic, Masker, MaskerForExport
from halfmask.networks.resize import Resize, triangle

AGES, RACES = {"young": 0.7, "old": 0.3}, {"a": 0.2, "b": 0.3, "c": 0.5}


def awake(seed: int = 0) -> Masker:
    """A generator whose last layers are not zero any more."""
    torch.manual_seed(seed)
    net = Masker(AGES, RACES).eval()
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    return net


def code_of(net: Masker, gender: int, age: int = -1, race: int = -1) -> torch.Tensor:
    return net.encode(*(torch.tensor([t]) for t in (gender, age, race)))


def test_fresh_network_changes_nothing() -> None:
    net = Masker(AGES, RACES)
    assert not net(torch.rand(2, 3, SIDE, SIDE), code_of(net, 1).expand(2, -1)).any()


def test_every_attribute_is_told_apart() -> None:
    net = Masker(AGES, RACES)
    asked = [(-1, -1, -1), (0, -1, -1), (1, -1, -1), (-1, 0, -1), (-1, 1, -1), (-1, -1, 0), (-1, -1, 2), (1, 1, 2)]
    codes = {tuple(code_of(net, *targets)[0].tolist()) for targets in asked}
    assert len(codes) == len(asked)
    assert {len(c) for c in codes} == {net.code}


@torch.no_grad()
def test_the_code_matters_and_other_faces_do_not() -> None:
    net = awake()
    faces = torch.rand(2, 3, SIDE, SIDE)
    woman, man = (net(faces, code_of(net, g).expand(2, -1)) for g in (0, 1))
    assert (woman - man).abs().max() > 1e-4
    assert torch.allclose(woman[:1], net(faces[:1], code_of(net, 0)), atol=1e-4)


@torch.no_grad()
def test_chroma_changes_slowly_and_both_are_bounded() -> None:
    net = awake()
    with torch.no_grad():
        net.chroma.weight.mul_(100)
        net.luma.weight.mul_(100)
    change = net(torch.rand(1, 3, SIDE, SIDE), code_of(net, 1))[0]
    r, g, b = change
    luma = 0.299 * r + 0.587 * g + 0.114 * b  # JFIF
    assert luma.abs().max() <= LUMA + 1e-4
    for chroma in ((b - luma) / 1.772, (r - luma) / 1.402):
        assert chroma.abs().max() <= CHROMA + 1e-4
        # linear between places 8 pixels apart: no second difference but where two of the pieces meet
        bends = chroma.diff(n=2, dim=1).abs() > 1e-4
        assert bends.float().mean() < 0.3


@torch.no_grad()
def test_for_export_is_the_network_between_two_resamplings() -> None:
    net = awake()
    whole = MaskerForExport(net)
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 7, 7), (224, 224), mode="bicubic").clamp(0, 1)
    change = whole(smooth, code_of(net, 1))
    assert change.shape == (1, 3, 224, 224)
    # pixel 2i of the large crop lies on pixel i of the small one
    small = net(Resize(SIDE, 2.0)(smooth), code_of(net, 1))
    assert torch.allclose(change[..., ::2, ::2], small, atol=1e-5)
    # and what is between lies on lines, as by the matrices that training has
    faces = torch.rand(3, 3, 224, 224)
    wide, code = triangle(224, SIDE, 0.5, 0.0), code_of(net, 0, 1, 2)
    assert torch.allclose(whole(faces, code), wide @ net(Resize(SIDE, 2.0)(faces), code) @ wide.T, atol=1e-5)


def test_saved_and_loaded(tmp_path: Path) -> None:
    net = awake()
    net.save(tmp_path / "net.safetensors")
    again = Masker.load(tmp_path / "net.safetensors")
    faces, code = torch.rand(1, 3, SIDE, SIDE), code_of(net, 0, 1, 2)
    assert torch.equal(net(faces, code), again(faces, code))
    assert (again.ages, again.races) == (AGES, RACES)
    assert not any(p.requires_grad for p in again.parameters())


def test_damaged_file(tmp_path: Path) -> None:
    (tmp_path / "net.safetensors").write_bytes(b"no weights")
    with pytest.raises(WeightsError, match=r"Expected what Masker\.save wrote"):
        Masker.load(tmp_path / "net.safetensors")


def test_critic_is_lipschitz(rng: np.random.Generator) -> None:
    critic = Critic()
    one, two = torch.from_numpy(rng.random((2, 4, 3, SIDE, SIDE), np.float32))
    with torch.no_grad():
        for _ in range(20):  # the power iteration settles
            critic(one)
        critic.eval()
        apart = (critic(one) - critic(two)).flatten(1).norm(dim=1)
    # a kernel's norm bounds the convolution's up to the number of places that a pixel is read from (4 x 4, stride 2)
    assert (apart <= 2 * 2**3 * 3 * (one - two).flatten(1).norm(dim=1)).all()
    assert critic(one).shape == (4, 1, 14, 14)
