"""Models A and B: the slides' layers, gradients at the faces, files that say what they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from halfmask.errors import UsageError, WeightsError
from halfmask.networks import identity
from halfmask.networks.identity import ModelA, ModelB, load_identity

PEOPLE = ["ann", "bob", "cy"]


class Stand(nn.Module):
    """A trunk of 128 numbers, with a normalisation that training must leave alone."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3)
        self.linear = nn.Linear(3, 128)
        self.requires_grad_(False)

    def forward(self, faces: Tensor) -> Tensor:
        return self.linear(self.norm(faces).square().mean((2, 3)))


@pytest.fixture
def stand(monkeypatch: pytest.MonkeyPatch) -> Stand:
    torch.manual_seed(0)
    trunk = Stand()
    monkeypatch.setattr(identity, "load_trunk", lambda name, weights=None: trunk)
    return trunk


def test_model_a_is_the_slides():
    net = ModelA([str(k) for k in range(30)], side=64)
    shapes = {name: tuple(p.shape) for name, p in net.named_parameters() if p.ndim > 1}
    assert shapes == {
        "conv1.weight": (32, 3, 5, 5),
        "conv2.weight": (64, 32, 5, 5),
        "fc1.weight": (512, 64 * 16 * 16),
        "fc2.weight": (30, 512),
    }
    assert net.dropout.p == 0.9
    assert net(torch.rand(2, 3, 224, 224)).shape == (2, 30)
    wanted = 1e-3 * sum(float(p.detach().square().sum()) for n, p in net.named_parameters() if n in list(shapes)[:3])
    assert float(net.penalty().detach()) == pytest.approx(wanted, rel=1e-5)


def test_its_own_size_is_left_as_it_is():
    torch.manual_seed(0)
    net = ModelA(PEOPLE, side=16).eval()
    faces = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        small = net.resize(faces)
        assert small.shape == (2, 3, 16, 16)
        assert torch.allclose(net.resize(small), small, atol=1e-6)
        assert torch.allclose(net(small), net(faces), atol=1e-5)


def test_gradients_reach_every_pixel():
    net = ModelA(PEOPLE, side=16).eval()
    faces = torch.rand(2, 3, 224, 224, requires_grad=True)
    net(faces)[:, 0].sum().backward()
    assert faces.grad is not None
    assert (faces.grad.abs().sum(1) > 0).float().mean() > 0.95


def test_model_b_is_the_slides(stand: Stand):
    net = ModelB(PEOPLE, "sface")
    trained = {name: tuple(p.shape) for name, p in net.named_parameters() if p.requires_grad and p.ndim > 1}
    assert trained == {"head.0.weight": (256, 128), "head.3.weight": (3, 256)}
    assert float(net.penalty().detach()) == pytest.approx(1e-3 * float(net.head[0].weight.square().sum()), rel=1e-5)
    faces = torch.rand(4, 3, 32, 32, requires_grad=True)
    assert torch.allclose(net.features(faces).norm(dim=1), torch.tensor(128.0).sqrt())
    before = stand.norm.running_mean.clone()
    net.train()
    net(faces).sum().backward()
    assert torch.equal(stand.norm.running_mean, before)  # the trunk stays as it is
    assert faces.grad is not None
    assert net.head[1].training


def test_vgg_face_goes_into_model_b_as_it_is(stand: Stand):
    faces = torch.rand(4, 3, 32, 32)
    net = ModelB(PEOPLE, "vggface", "published.pth")
    assert torch.equal(net.features(faces), stand(faces))
    assert not torch.allclose(ModelB(PEOPLE, "sface").features(faces), stand(faces))


def test_the_trunk_is_vgg_face_without_its_normalisation(monkeypatch: pytest.MonkeyPatch):
    asked = []
    monkeypatch.setattr(identity.VGGFace, "load", lambda path, **how: asked.append((path, how)))
    identity.load_trunk("vggface", "published.pth")
    assert asked == [(Path("published.pth"), {"normalize": False})]


def test_files_say_what_they_are(tmp_path: Path, stand: Stand):
    faces = torch.rand(2, 3, 64, 64)
    for net in (ModelA(PEOPLE, side=16), ModelB(PEOPLE, "sface")):
        path = tmp_path / f"{net.model}.safetensors"
        net.eval().save(path)
        again = load_identity(path)
        assert type(again) is type(net)
        assert again.people == tuple(PEOPLE)
        assert not any(p.requires_grad for p in again.parameters())
        with torch.no_grad():
            assert torch.equal(again(faces), net(faces))
    assert (tmp_path / "b.safetensors").stat().st_size < 200_000  # a head, and no trunk
    (tmp_path / "a.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_identity(tmp_path / "a.safetensors")


def test_others_files_are_refused(tmp_path: Path):
    from safetensors.torch import save_file

    save_file({"x": torch.zeros(1)}, tmp_path / "other.safetensors", {"format": "9"})
    with pytest.raises(WeightsError, match="its format is 9, expected 1"):
        load_identity(tmp_path / "other.safetensors")
    net = ModelA(PEOPLE, side=16)
    save_file({"fc2.bias": torch.zeros(3)}, tmp_path / "part.safetensors", net.description())
    with pytest.raises(WeightsError, match="expected"):
        load_identity(tmp_path / "part.safetensors")


def test_what_makes_no_sense_is_named():
    with pytest.raises(UsageError, match="at least 2"):
        ModelA(["ann"])
    with pytest.raises(UsageError, match="each once"):
        ModelA(["ann", "ann"])
    with pytest.raises(UsageError, match="multiple of 4"):
        ModelA(PEOPLE, side=30)
    with pytest.raises(UsageError, match="known: vggface, facenet, sface"):
        ModelB(PEOPLE, "arcface")
    with pytest.raises(UsageError, match="needs 'weights'"):
        ModelB(PEOPLE, "vggface")
