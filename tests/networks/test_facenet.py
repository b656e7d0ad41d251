"""FaceNet in torch against its own graph, and the reader of that graph."""

from __future__ import annotations

import struct
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from halfmask.errors import WeightsError
from halfmask.networks import facenet
from halfmask.networks.facenet import FaceNet, read_constants
from halfmask.photos.align import warp
from halfmask.weights import store


@pytest.fixture(scope="module")
def net() -> FaceNet:
    if not store.present("facenet"):
        pytest.skip("needs FaceNet in the cache; run: halfmask models get facenet")
    return FaceNet.load()


# A writer of the few messages the reader knows, after the published .proto files.


def _number(value: int) -> bytes:
    out = b""
    while value > 127:
        out += bytes([value & 127 | 128])
        value >>= 7
    return out + bytes([value])


def _field(number: int, value: bytes | int) -> bytes:
    if isinstance(value, int):
        return _number(number << 3) + _number(value)
    return _number(number << 3 | 2) + _number(len(value)) + value


def _tensor(shape: list[int], numbers: bytes, field: int, dtype: int = 1) -> bytes:
    dims = b"".join(_field(2, _field(1, side)) for side in shape)
    return _field(1, dtype) + _field(2, dims) + _field(field, numbers)


def _node(name: str, op: str, tensor: bytes | None = None) -> bytes:
    out = _field(1, name.encode()) + _field(2, op.encode())
    out += _field(5, _field(1, b"dtype") + _field(2, _field(6, 1)))  # an attribute to pass over
    if tensor is not None:
        out += _field(5, _field(1, b"value") + _field(2, _field(8, tensor)))
    return _field(1, out)


def test_reader_on_a_written_graph(tmp_path: Path):
    path = tmp_path / "graph.pb"
    big = np.arange(300, dtype="<f4").reshape(2, 150)
    path.write_bytes(
        _node("scope/weights", "Const", _tensor([2, 150], big.tobytes(), 4))
        + _node("listed", "Const", _tensor([3], struct.pack("<3f", 1, 2, 3), 5))
        + _node("filled", "Const", _tensor([2, 2], struct.pack("<f", 7), 5))
        + _node("scalar", "Const", _tensor([], struct.pack("<f", 0.5), 5))
        + _node("whole numbers", "Const", _tensor([1], struct.pack("<i", 3), 4, dtype=3))
        + _node("not a constant", "Relu")
        + _field(2, _field(1, 21))  # the graph's version
    )
    got = read_constants(path)
    assert set(got) == {"scope/weights", "listed", "filled", "scalar"}
    assert np.array_equal(got["scope/weights"].numpy(), big)
    assert got["listed"].tolist() == [1, 2, 3]
    assert got["filled"].tolist() == [[7, 7], [7, 7]]
    assert got["scalar"].item() == 0.5
    with pytest.raises(WeightsError, match="not FaceNet"):
        FaceNet.load(path)


@pytest.mark.parametrize(
    "damage",
    [
        lambda good: good[:-3],
        lambda good: b"",
        lambda good: b"<html>not found</html>",
        lambda good: b"\xff" * 40,
        lambda good: _node("w", "Const", _tensor([5], struct.pack("<3f", 1, 2, 3), 4)),
        lambda good: _node("w", "Const", _tensor([3], b"12345", 4)),
        lambda good: _field(1, 5),
    ],
)
def test_reader_refuses_damage(tmp_path: Path, damage):
    path = tmp_path / "graph.pb"
    path.write_bytes(damage(_node("w", "Const", _tensor([2], struct.pack("<2f", 1, 2), 4))))
    with pytest.raises(WeightsError, match=r"graph\.pb"):
        read_constants(path)
    with pytest.raises(WeightsError):
        read_constants(tmp_path / "absent.pb")


class _Graph:
    """The published graph run node by node with ``phase_train`` false: Switch and Merge pass their first input on."""

    def __init__(self, path: Path):
        self.constants = read_constants(path)
        self.nodes: dict[str, tuple[str, list[str], dict[str, object]]] = {}
        for number, node in facenet._fields(memoryview(path.read_bytes())):
            if number != 1:
                continue
            name, op, inputs, attributes = "", "", [], {}
            for n, value in facenet._fields(node):
                if n == 1:
                    name = bytes(value).decode()
                elif n == 2:
                    op = bytes(value).decode()
                elif n == 3:
                    inputs.append(bytes(value).decode().split(":")[0])
                elif n == 5:
                    entry = dict(facenet._fields(value))
                    key = bytes(entry[1]).decode()
                    for m, content in facenet._fields(entry[2]):
                        if m == 1 and key in ("strides", "ksize"):
                            attributes[key] = list(next(bytes(c) for _, c in facenet._fields(content)))
                        elif m == 2:
                            attributes[key] = bytes(content)
                        elif m == 4:
                            attributes[key] = struct.unpack("<f", content)[0]
            self.nodes[name] = op, inputs, attributes

    def __call__(self, pixels: torch.Tensor) -> torch.Tensor:
        self.values = {"input": pixels}
        return self.value("InceptionResnetV1/Bottleneck/BatchNorm/cond_1/Merge")

    def value(self, name: str) -> torch.Tensor:
        if name not in self.values:
            self.values[name] = self.constants[name] if name in self.constants else self._run(*self.nodes[name])
        return self.values[name]

    def _run(self, op: str, inputs: list[str], a: dict) -> torch.Tensor:
        if op == "ConcatV2":
            return torch.cat([self.value(i) for i in inputs[:-1]], 1)
        x = self.value(inputs[0])
        if op in ("Identity", "Switch", "Merge"):
            return x
        if op == "Relu":
            return F.relu(x)
        if op == "Reshape":  # to vectors before the bottleneck; about its normalisation, which takes them as they are
            return x.flatten(1)
        if op in ("MaxPool", "AvgPool"):
            assert a["padding"] == b"VALID"
            return (F.max_pool2d if op == "MaxPool" else F.avg_pool2d)(x, a["ksize"][1], a["strides"][1])
        y = self.value(inputs[1])
        if op == "Conv2D":
            h, w = y.shape[:2]
            padding = (h // 2, w // 2) if a["padding"] == b"SAME" else 0
            return F.conv2d(x, y.permute(3, 2, 0, 1), stride=a["strides"][1], padding=padding)
        if op == "BiasAdd":
            return x + y[:, None, None]
        if op == "MatMul":
            return x @ y
        if op == "FusedBatchNorm":
            beta, mean, var = (self.value(i) for i in inputs[2:5])
            return F.batch_norm(x, mean, var, y, beta, eps=a["epsilon"])
        return {"Add": torch.add, "Mul": torch.mul}[op](x, y)


def test_equals_the_published_graph(net: FaceNet):
    torch.manual_seed(0)
    pixels = F.interpolate(torch.rand(2, 3, 20, 20), (160, 160), mode="bicubic").clamp(0, 1) * 255
    with torch.no_grad():
        wanted = _Graph(store.get("facenet"))((pixels - 127.5) / 128)
        got = net.embed160(pixels)
    assert wanted.shape == (2, 512)
    assert wanted.std() > 0.1
    assert (got - wanted).abs().max() < 1e-4 * wanted.abs().max()


def test_is_frozen_and_differentiable_in_its_input(net: FaceNet):
    assert not net.training
    assert not any(p.requires_grad for p in net.parameters())
    faces = torch.rand(1, 3, 224, 224, requires_grad=True)
    with torch.autocast("cpu", torch.bfloat16):
        out = net(faces)
    assert out.dtype == torch.float32
    assert torch.allclose(out.norm(dim=1), torch.ones(1), atol=1e-5)
    (grad,) = torch.autograd.grad(out[:, 0].sum(), faces)
    assert grad[:, :, 20:200, 20:200].abs().sum() > 0


def test_tells_people_apart(net: FaceNet, shared_data: Path):
    """Two photos of each of 30 people: same and other pairs separate, which no wrongly rebuilt network does."""
    zoom = 62 / 36.5  # eyes 36.5 pixels apart in a photo of LFW, 62 in the template; their middle is at (125, 113)
    matrix = np.array([[zoom, 0, 112 - 125 * zoom], [0, zoom, 104 - 113 * zoom]], np.float32)
    folders = sorted((shared_data / "lfw30" / "lfw-deepfunneled").iterdir())[:30]
    paths = [p for folder in folders for p in sorted(folder.glob("*.jpg"))[:2]]
    crops = [warp(cv2.cvtColor(cv2.imread(str(p)), cv2.COLOR_BGR2RGB), matrix, (224, 224)) for p in paths]
    with torch.no_grad():
        e = net(torch.from_numpy(np.stack(crops)).permute(0, 3, 1, 2).float() / 255)
    scores = (e @ e.T).numpy()
    who = np.arange(60) // 2
    same = scores[np.arange(0, 60, 2), np.arange(1, 60, 2)]
    other = scores[who[:, None] < who]
    best = max(((same >= t).mean() + (other < t).mean()) / 2 for t in same)
    assert best > 0.95


def test_batch_norms_fold_into_their_convolutions():
    """One convolution of a random graph, with and without folding; the map sizes of the published network."""
    torch.manual_seed(0)
    net, file = FaceNet().eval(), {}
    for conv in net.modules():
        if isinstance(conv, facenet._Conv):
            scope = f"InceptionResnetV1/{conv.scope}"
            file[f"{scope}/weights"] = conv.weight.detach().permute(2, 3, 1, 0).clone()
            if conv.relu:
                for key in ("beta", "moving_mean", "moving_variance"):
                    file[f"{scope}/BatchNorm/{key}"] = torch.rand(conv.out_channels) + 0.1
            else:
                file[f"{scope}/biases"] = torch.rand(conv.out_channels)
    file["InceptionResnetV1/Bottleneck/weights"] = torch.randn(1792, 512)
    for key in ("beta", "moving_mean", "moving_variance"):
        file[f"InceptionResnetV1/Bottleneck/BatchNorm/{key}"] = torch.rand(512) + 0.1
    facenet._fill(net, file)
    conv, scope = net.body[0], "InceptionResnetV1/Conv2d_1a_3x3"
    beta, mean, var = (file[f"{scope}/BatchNorm/{k}"] for k in ("beta", "moving_mean", "moving_variance"))
    x = torch.randn(1, 3, 160, 160)
    plain = F.conv2d(x, file[f"{scope}/weights"].permute(3, 2, 0, 1), stride=2)
    with torch.no_grad():
        assert torch.allclose(conv(x), F.relu(F.batch_norm(plain, mean, var, None, beta, eps=1e-3)), atol=1e-5)
        assert net.body(x).shape == (1, 1792, 3, 3)
    del file["InceptionResnetV1/Block8/Conv2d_1x1/biases"]
    with pytest.raises(KeyError):
        facenet._fill(net, file)
