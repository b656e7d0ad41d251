"""SFace in torch against the published file, and the cut from our template to its crop."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from halfmask.errors import WeightsError
from halfmask.networks.resize import Resize, triangle
from halfmask.networks.sface import _BLOCKS, SFace, _fold
from halfmask.photos.align import ARC112, template, warp
from halfmask.weights import store


@pytest.fixture(scope="module")
def sface() -> SFace:
    if not store.present("sface"):
        pytest.skip("needs SFace in the cache; run: halfmask models get sface")
    return SFace.load()


def test_equals_the_published_file(sface: SFace, rng: np.random.Generator):
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(str(store.get("sface")), options, providers=["CPUExecutionProvider"])
    for _ in range(3):  # the file takes one face at a time
        pixels = rng.uniform(0, 255, (1, 3, 112, 112)).astype(np.float32)
        (wanted,) = session.run(None, {"data": pixels})
        got = sface.embed112(torch.from_numpy(pixels)).numpy()
        assert np.abs(got - wanted).max() < 1e-4
        assert np.abs(wanted).max() > 0.1  # not a comparison of zeros


def test_is_frozen_and_differentiable_in_its_input(sface: SFace):
    assert not sface.training
    assert not any(p.requires_grad for p in sface.parameters())
    faces = torch.rand(2, 3, 224, 224, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = sface(faces)
    assert out.dtype == torch.float32
    assert torch.allclose(out.norm(dim=1), torch.ones(2), atol=1e-5)
    (grad,) = torch.autograd.grad(out[:, 0].sum(), faces)
    # Gradients reach the ArcFace crop and nothing outside it: pixel 14 of 224 is its first, 208.25 its last.
    assert grad[:, :, 15:208, 15:208].abs().sum() > 0
    assert grad[:, :, :12].abs().sum() == 0
    assert grad[:, :, 211:].abs().sum() == 0


def test_tells_people_apart(sface: SFace, shared_data: Path):
    """Same person above another on LFW, without landmarks: deep funneling puts the eyes at about the same place."""
    zoom = 62 / 36.5  # eyes 36.5 pixels apart in a photo of LFW, 62 in the template; their middle is at (125, 113)
    matrix = np.array([[zoom, 0, 112 - 125 * zoom], [0, zoom, 104 - 113 * zoom]], np.float32)
    folders = sorted((shared_data / "lfw30" / "lfw-deepfunneled").iterdir())[:6]
    paths = [p for folder in folders for p in sorted(folder.glob("*.jpg"))[:3]]
    crops = [warp(cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB), matrix, (224, 224)) for p in paths]
    with torch.no_grad():
        e = sface(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255)
    scores = e @ e.T
    who = torch.arange(18) // 3
    same = who[:, None] == who
    assert scores[same & ~torch.eye(18, dtype=torch.bool)].mean() > scores[~same].mean() + 0.3


def test_folding_keeps_the_function(rng: np.random.Generator):
    """A random file in the published layout, run with its batch normalisations apart."""

    def norm(name: str, n: int) -> dict[str, torch.Tensor]:
        return {
            f"{name}_gamma": torch.rand(n) + 0.5,
            f"{name}_beta": torch.randn(n) * 0.1,
            f"{name}_moving_mean": torch.randn(n) * 0.1,
            f"{name}_moving_var": torch.rand(n) + 0.5,
        }

    def bn(x: torch.Tensor, name: str, eps: float) -> torch.Tensor:
        return F.batch_norm(x, *(file[f"{name}_{k}"] for k in ("moving_mean", "moving_var", "gamma", "beta")), eps=eps)

    torch.manual_seed(int(rng.integers(1 << 30)))
    file: dict[str, torch.Tensor] = {}
    shapes = [("conv_1", (32, 3, 3, 3), 1)]
    width = 32
    for i, (out, stride) in enumerate(_BLOCKS, 2):
        shapes += [(f"conv_{i}_dw", (width, 1, 3, 3), stride), (f"conv_{i}", (out, width, 1, 1), 1)]
        width = out
    for name, shape, _ in shapes:
        file[f"{name}_conv2d_weight"] = torch.randn(shape) / np.sqrt(np.prod(shape[1:]))
        file |= norm(f"{name}_batchnorm", shape[0])
        file[f"{name}_relu_gamma"] = torch.rand(shape[0], 1, 1)
    file |= norm("bn1", 1024) | norm("fc1", 128)
    file["pre_fc1_weight"], file["pre_fc1_bias"] = torch.randn(128, 50176) / 224, torch.randn(128)

    net = SFace().eval()
    net.load_state_dict(_fold(file))
    pixels = torch.rand(1, 3, 112, 112) * 255
    x = (pixels - 127.5) / 128
    for name, shape, stride in shapes:
        groups = shape[0] if shape[1] == 1 else 1
        x = F.conv2d(x, file[f"{name}_conv2d_weight"], stride=stride, padding=shape[2] // 2, groups=groups)
        x = F.prelu(bn(x, f"{name}_batchnorm", 1e-3), file[f"{name}_relu_gamma"].flatten())
    x = bn(x, "bn1", 2e-5).flatten(1)
    wanted = bn(F.linear(x, file["pre_fc1_weight"], file["pre_fc1_bias"]), "fc1", 2e-5)
    assert wanted.std() > 0.1
    with torch.no_grad():
        assert torch.allclose(net.embed112(pixels), wanted, atol=1e-4)


def test_another_file_is_refused(tmp_path: Path):
    bad = tmp_path / "face.onnx"
    bad.write_bytes(b"not a model at all")
    with pytest.raises(WeightsError):
        SFace.load(bad)
    bad.write_bytes(b"")  # a valid, empty protobuf message
    with pytest.raises(WeightsError, match="conv_1"):
        SFace.load(bad)


@pytest.mark.parametrize("size", [224, 112, 300])
def test_cut_lands_on_the_arcface_points(size: int):
    """A bright blob on each template point comes out on the ArcFace point, to a twentieth of a pixel."""
    y, x = np.mgrid[:size, :size]
    for point, wanted in zip(template(size), ARC112, strict=True):
        blob = np.exp(-((x - point[0]) ** 2 + (y - point[1]) ** 2) / (2 * (size / 40) ** 2)).astype(np.float32)
        out = Resize(112, 1.75)(torch.from_numpy(blob)[None, None])[0, 0].numpy()
        oy, ox = np.mgrid[:112, :112]
        found = np.array([(out * ox).sum(), (out * oy).sum()]) / out.sum()
        assert np.abs(found - wanted).max() < 0.05


def test_shrinking_does_not_alias():
    """Stripes finer than the output can show come out gray; plain bilinear would leave a beat pattern."""
    stripes = torch.zeros(1, 1, 224, 224)
    stripes[..., ::2] = 1
    out = Resize(112, 1.75)(stripes)
    assert (out - 0.5).abs().max() < 0.13
    weights = triangle(112, 224, 1.75, 14)
    assert torch.allclose(weights.sum(1), torch.ones(112))


def test_wrong_shape_is_named():
    with pytest.raises(ValueError, match=r"\(3, 224, 224\)"):
        Resize(112, 1.75)(torch.rand(3, 224, 224))
