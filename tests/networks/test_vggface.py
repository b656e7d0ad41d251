"""VGG-Face: its size, its gray first layer, and reading weights in the layouts they are passed around in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from halfmask.errors import WeightsError
from halfmask.networks.vggface import MEAN, PARAMETERS, PARAMETERS_GRAY, VGGFace, _arrange, _to_torch

safetensors = pytest.importorskip("safetensors.torch")


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Random weights in a file of the published shapes (half precision, 290 MB), removed afterwards."""
    with torch.device("meta"):
        shapes = {name: value.shape for name, value in VGGFace().state_dict().items()}
    torch.manual_seed(0)
    line = torch.randn(1_000_003)  # repeated: 145 million draws would take seconds
    state = {}
    for name, shape in shapes.items():
        count = shape.numel()
        numbers = line.repeat(count // len(line) + 1)[:count].reshape(shape)
        state[name] = (numbers * (2 / shape[1:].numel()) ** 0.5).half()  # activations keep their size
    path = tmp_path_factory.mktemp("vgg") / "vgg_face.safetensors"
    safetensors.save_file(state, path)
    yield path
    path.unlink()


def test_sizes_are_the_published_ones():
    with torch.device("meta"):
        rgb, gray = VGGFace(), VGGFace(gray=True)
    assert sum(p.numel() for p in rgb.parameters()) == PARAMETERS == 145_002_878
    assert sum(p.numel() for p in gray.parameters()) == PARAMETERS_GRAY == PARAMETERS - 2 * 64 * 3 * 3
    assert sum(isinstance(m, torch.nn.Conv2d | torch.nn.Linear) for m in rgb.modules()) == 16


def test_gray_network_equals_the_gray_face_three_times(published: Path):
    net = VGGFace.load(published, normalize=False)
    gray = VGGFace.load(published, gray=True, normalize=False)
    assert not net.training
    assert not any(p.requires_grad for p in [*net.parameters(), *gray.parameters()])
    face = torch.rand(1, 1, 224, 224, requires_grad=True)

    # The published arithmetic, layer by layer, on the face three times.
    state = safetensors.load_file(published)
    x = (face.detach() * 255).expand(-1, 3, -1, -1) - torch.tensor(MEAN)[:, None, None]
    for s, count in enumerate((2, 2, 3, 3, 3), 1):
        for i in range(1, count + 1):
            name = f"conv{s}_{i}"
            x = F.relu(F.conv2d(x, state[f"{name}.weight"].float(), state[f"{name}.bias"].float(), padding=1))
            if s == i == 1:
                with torch.no_grad():  # its border too, where the padding meets the mean
                    first = gray._first(face * 255)
                assert (first - x).abs().max() < 1e-4 * x.abs().max()
        x = F.max_pool2d(x, 2)
    x = x.flatten(1)
    for name in ("fc6", "fc7", "fc8"):
        x = F.linear(x, state[f"{name}.weight"].float(), state[f"{name}.bias"].float())
        x = F.relu(x) if name != "fc8" else x
    assert x.shape == (1, 2622)
    assert x.std() > 0.1
    with torch.no_grad():
        seen = net(face)
    assert (seen - x).abs().max() < 1e-4 * x.abs().max()
    out = gray(face)
    assert (out - x).abs().max() < 1e-4 * x.abs().max()

    # Gradients reach the face; unit length is the option's whole effect; colour counts by its luma; any size goes in.
    (grad,) = torch.autograd.grad(out[0, 0], face)
    assert grad.abs().sum() > 0
    gray.normalize = True
    with torch.no_grad():
        assert torch.allclose(gray(face), F.normalize(x), atol=1e-5)
        assert torch.allclose(gray(face.expand(-1, 3, -1, -1)), F.normalize(x), atol=1e-5)
        assert gray(face[..., :96, :96]).shape == (1, 2622)


def _small(order: str) -> dict[str, torch.Tensor]:
    """The published names with shapes that fit memory, in PyTorch's or Keras' order."""
    file = {}
    with torch.device("meta"):
        names = [name.split(".")[0] for name in VGGFace().state_dict() if name.endswith("weight")]
    for name in names:
        out, width = 64 if name == "conv1_1" else 2, 3
        shape = (out, width, 3, 3) if name.startswith("conv") else (2, 512 * 49 if name == "fc6" else 4)
        weight = torch.randn(shape)
        if order == "keras" and name == "fc6":
            weight = weight.reshape(2, 512, 7, 7).permute(2, 3, 1, 0).reshape(-1, 2)
        elif order == "keras":
            weight = weight.permute(2, 3, 1, 0) if weight.ndim == 4 else weight.T
        kernel, bias = ("/kernel:0", "/bias:0") if order == "keras" else (".weight", ".bias")
        file |= {f"{name}{kernel}": weight, f"{name}{bias}": torch.randn(out)}
    return file


@pytest.mark.parametrize("order", ["torch", "keras"])
def test_layouts_give_the_same_layers(order: str):
    torch.manual_seed(0)
    wanted = _arrange(_small("torch"), Path("w"))
    torch.manual_seed(0)
    got = _arrange(_small(order), Path("w"))
    assert list(got) == list(wanted)
    assert all(torch.equal(got[name], wanted[name]) for name in wanted)


def test_fully_connected_layers_written_as_convolutions():
    weight, x = torch.randn(2, 512, 7, 7), torch.randn(1, 512, 7, 7)
    wanted = F.conv2d(x, weight).flatten(1)
    for stored, channels_last in ((weight, False), (weight.permute(2, 3, 1, 0), True)):
        assert torch.allclose(F.linear(x.flatten(1), _to_torch("fc6", stored, channels_last)), wanted, atol=1e-3)


def test_other_files_are_refused(tmp_path: Path):
    file = {name: value.numpy() for name, value in _small("torch").items()}
    np.savez(tmp_path / "narrow.npz", **file)
    with pytest.raises(WeightsError, match=r"conv1_2\.weight has shape \(2, 3, 3, 3\), expected \(64, 64, 3, 3\)"):
        VGGFace.load(tmp_path / "narrow.npz")
    del file["conv3_2.bias"]
    np.savez(tmp_path / "incomplete.npz", **file)
    with pytest.raises(WeightsError, match=r"has no conv3_2\.bias;"):
        VGGFace.load(tmp_path / "incomplete.npz")
    np.savez(tmp_path / "objects.npz", a=np.array([{}], dtype=object))
    with pytest.raises(WeightsError, match="cannot be read"):
        VGGFace.load(tmp_path / "objects.npz")
    (tmp_path / "damaged.safetensors").write_bytes(b"\x00" * 20)
    with pytest.raises(WeightsError, match="cannot be read"):
        VGGFace.load(tmp_path / "damaged.safetensors")
    (tmp_path / "w.h5").write_bytes(b"\x89HDF")
    with pytest.raises(WeightsError, match="convert to"):
        VGGFace.load(tmp_path / "w.h5")
    torch.save([1], tmp_path / "w.pth")
    with pytest.raises(WeightsError, match="holds a list"):
        VGGFace.load(tmp_path / "w.pth")
