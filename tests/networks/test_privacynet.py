"""PrivacyNet's networks: shapes, normalisation, conditioning, and where the change lands."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn

from halfmask.errors import UsageError
from halfmask.networks.privacynet import Critic, Generator, _Norm, labels_of
from halfmask.photos.align import template


def small(residual: bool = True) -> Generator:
    torch.manual_seed(0)
    return Generator(5, width=8, blocks=1, size=32, residual=residual)


def test_sizes_of_the_paper_like_networks() -> None:
    """StarGAN's at 128 px, layer by layer as its authors' code lists them; a normalisation has 2 weights a channel."""
    k = 5
    generator = 49 * (3 + k) * 64 + 16 * 64 * 128 + 16 * 128 * 256 + 2 * (64 + 128 + 256)
    generator += 6 * 2 * (9 * 256 * 256 + 2 * 256)
    generator += 16 * 256 * 128 + 16 * 128 * 64 + 2 * (128 + 64) + 49 * 64 * 3
    assert sum(p.numel() for p in Generator(k).parameters()) == generator
    widths = [3, 64, 128, 256, 512, 1024, 2048]
    critic = sum(16 * a * b + b for a, b in itertools.pairwise(widths)) + 9 * 2048 + 4 * 2048 * k
    assert sum(p.numel() for p in Critic({"any": k}).parameters()) == critic


def test_normalises_each_face_as_instance_norm_does() -> None:
    norm = _Norm(6)
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    x = (3 * torch.randn(4, 6, 9, 9) + 1).requires_grad_()
    wanted = (x - x.mean((2, 3), keepdim=True)) / (x.var((2, 3), keepdim=True, correction=0) + 1e-5).sqrt()
    wanted = wanted * norm.weight[:, None, None] + norm.bias[:, None, None]
    for mode in (True, False):
        torch.testing.assert_close(norm.train(mode)(x), wanted)
    up = torch.randn_like(x)
    (expected,) = torch.autograd.grad(wanted, x, up)
    (got,) = torch.autograd.grad(norm.train()(x), x, up)
    torch.testing.assert_close(got, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("residual", [False, True])
def test_the_classes_matter_and_a_face_does_not_depend_on_its_neighbours(residual: bool) -> None:
    net = small(residual).eval()
    faces, labels = torch.rand(2, 3, 32, 32), torch.eye(5)[[0, 1]]
    with torch.no_grad():
        out = net(faces, labels)
        assert (net(faces, labels[[1, 0]]) - out).abs().mean() > 1e-4
        torch.testing.assert_close(net(faces[1:], labels[1:]), out[1:])
    assert 0 <= out.min() <= out.max() <= 1


def test_conditional_blocks_carry_the_classes_where_tiles_do_not_reach() -> None:
    """Inside a face, normalisation leaves of the tiles only what the zero padding at its edge lets through."""
    torch.manual_seed(0)
    faces, middle = torch.rand(1, 3, 128, 128), slice(60, 68)
    moved = {}
    for conditional in (False, True):
        net = Generator(5, width=8, blocks=1, size=128, conditional=conditional).eval()
        with torch.no_grad():
            one, two = (net(faces, torch.eye(5)[k : k + 1])[..., middle, middle] for k in (0, 1))
        moved[conditional] = float((one - two).abs().mean())
    assert moved[True] > 3 * moved[False]


def test_a_residual_generator_starts_near_the_face() -> None:
    faces, labels = torch.rand(2, 3, 32, 32), torch.eye(5)[:2]
    assert (small()(faces, labels) - faces).abs().mean() < 0.1
    assert (small(residual=False)(faces, labels) - faces).abs().mean() > 0.1


def test_the_change_lands_on_the_same_points_of_the_template(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dot on the left eye of the small face must come out on the left eye of the large one."""
    net = small()
    x, y = (round(float(v)) for v in template(32)[1])

    def dot(faces: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        out = faces.clone()
        out[:, :, y, x] += 1
        return out

    monkeypatch.setattr(net, "forward", dot)
    change = net.change(torch.zeros(1, 3, 224, 224), torch.zeros(1, 5))[0, 0]
    assert divmod(int(change.argmax()), 224) == (7 * y, 7 * x)
    assert change.max() == pytest.approx(1, abs=1e-5)


def test_critic_gives_patches_and_logits_of_each_attribute() -> None:
    src, attr = Critic({"gender": 2, "age": 3, "race": 4}, width=4, layers=5, size=112)(torch.rand(2, 3, 112, 112))
    assert src.shape == (2, 1, 3, 3)
    assert {name: tuple(z.shape) for name, z in attr.items()} == {"gender": (2, 2), "age": (2, 3), "race": (2, 4)}


def test_unknown_classes_are_zeros() -> None:
    ranks = {"gender": torch.tensor([1, -1]), "age": torch.tensor([-1, 2])}
    assert labels_of(ranks, {"gender": 2, "age": 3}).tolist() == [[0, 1, 0, 0, 0], [0, 0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("make", "what"),
    [
        (lambda: Generator(5, size=30), "multiple of 4"),
        (lambda: Generator(0), "above 0"),
        (lambda: Critic({"gender": 2}, layers=7, size=64), "lower the number of layers"),
    ],
)
def test_sizes_that_make_no_sense(make: object, what: str) -> None:
    with pytest.raises(UsageError, match=what):
        make()  # type: ignore[operator]
