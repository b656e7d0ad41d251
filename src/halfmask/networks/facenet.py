"""FaceNet (20180402-114759), an Inception-ResNet v1 trained on VGGFace2, in torch.

Schroff, Kalenichenko, Philbin: *FaceNet*, CVPR 2015; network after Szegedy et al.: *Inception-v4, Inception-ResNet*,
2016; weights by D. Sandberg (MIT), published as a frozen TensorFlow graph. TensorFlow is not needed: the graph is a
protocol buffer, and :func:`read_constants` takes the arrays out of it. An *auxiliary* matcher: it may train our
methods and never judges them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError
from ..weights import store
from .resize import Resize
from .state import frozen

_SIDE = 160
#: Cut 208 of the template's 224 pixels. The network was trained on another detector's boxes; on 400 pairs of LFW cuts
#: of 160 / 176 / 192 / 208 / 224 pixels gave best balanced accuracies of .980 / .985 / .993 / .995 / .995.
_ZOOM = 1.3


class FaceNet(nn.Module):
    """Faces to 512-d embeddings; cosine is the score.

    Takes RGB in [0, 1], (N, 3, S, S), crops of ``template(S)``, and gives (N, 512) float32 of length 1. Batch
    normalisations are folded into the convolutions, so the network is for inference and for gradients with respect
    to the input. ``FaceNet()`` has random weights, :meth:`load` the published ones. With ``normalize`` set to False
    an embedding keeps its length.

    >>> FaceNet()(torch.rand(1, 3, 224, 224)).shape
    torch.Size([1, 512])
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalize = True
        self.resize = Resize(_SIDE, _ZOOM)
        self.body = nn.Sequential(
            _Conv("Conv2d_1a_3x3", 3, 32, stride=2, pad=False),
            _Conv("Conv2d_2a_3x3", 32, 32, pad=False),
            _Conv("Conv2d_2b_3x3", 32, 64),
            nn.MaxPool2d(3, 2),
            _Conv("Conv2d_3b_1x1", 64, 80),
            _Conv("Conv2d_4a_3x3", 80, 192, pad=False),
            _Conv("Conv2d_4b_3x3", 192, 256, stride=2, pad=False),
            *(_Residual(f"Repeat/block35_{i}", 256, _block35, 0.17) for i in range(1, 6)),
            _Mixed("Mixed_6a", 256, [[("1a_3x3", 384)], [("0a_1x1", 192), ("0b_3x3", 192), ("1a_3x3", 256)]]),
            *(_Residual(f"Repeat_1/block17_{i}", 896, _block17, 0.10) for i in range(1, 11)),
            _Mixed(
                "Mixed_7a",
                896,
                [
                    [("0a_1x1", 256), ("1a_3x3", 384)],
                    [("0a_1x1", 256), ("1a_3x3", 256)],
                    [("0a_1x1", 256), ("0b_3x3", 256), ("1a_3x3", 256)],
                ],
            ),
            *(_Residual(f"Repeat_2/block8_{i}", 1792, _block8, 0.20) for i in range(1, 6)),
            _Residual("Block8", 1792, _block8, 1.0, relu=False),
        )
        self.bottleneck = nn.Linear(1792, 512)

    @classmethod
    def load(cls, path: Path | None = None) -> FaceNet:
        """The published network, in evaluation mode, frozen, its memory laid out channels-last.

        ``path`` is the frozen graph (``.pb``); None takes it from the store, which fetches and checks it. Raises
        :class:`~halfmask.errors.WeightsError` when the file is damaged or another network's.
        """
        path = path or store.get("facenet")
        net = cls()
        try:
            _fill(net, read_constants(path))
        except KeyError as error:
            raise WeightsError(f"{path} is not FaceNet 20180402-114759: it has no array {error}") from error
        except RuntimeError as error:  # torch's word for a wrong shape
            raise WeightsError(f"{path} is not FaceNet 20180402-114759: {error}") from error
        return frozen(net)

    def forward(self, faces: Tensor) -> Tensor:
        out = self.embed160(self.resize(faces) * 255).float()
        return F.normalize(out) if self.normalize else out

    def embed160(self, pixels: Tensor) -> Tensor:
        """The graph's own function before its last normalisation: RGB in 0..255, (N, 3, 160, 160), to (N, 512)."""
        x = ((pixels - 127.5) / 128).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.bottleneck(self.body(x).mean((2, 3)))
        return out


class _Conv(nn.Conv2d):
    """A convolution and ReLU that knows its scope in the published graph; the scope's last word is its kernel."""

    def __init__(self, scope: str, width: int, out: int, *, stride: int = 1, pad: bool = True, relu: bool = True):
        h, w = (int(side) for side in scope.rsplit("_", 1)[1].split("x"))
        super().__init__(width, out, (h, w), stride, (h // 2, w // 2) if pad else 0)
        self.scope, self.relu = scope, relu

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(super().forward(x)) if self.relu else super().forward(x)


_Branches = list[list[tuple[str, int]]]  # of each branch, of each convolution: name, width out

_block35: _Branches = [
    [("1x1", 32)],
    [("0a_1x1", 32), ("0b_3x3", 32)],
    [("0a_1x1", 32), ("0b_3x3", 32), ("0c_3x3", 32)],
]
_block17: _Branches = [[("1x1", 128)], [("0a_1x1", 128), ("0b_1x7", 128), ("0c_7x1", 128)]]
_block8: _Branches = [[("1x1", 192)], [("0a_1x1", 192), ("0b_1x3", 192), ("0c_3x1", 192)]]


def _branches(scope: str, width: int, branches: _Branches) -> nn.ModuleList:
    out = nn.ModuleList()
    for b, branch in enumerate(branches):
        widths = [width, *(w for _, w in branch)]
        out.append(
            nn.Sequential(
                *(
                    # The convolution named 1a is the one that halves the map, without padding.
                    _Conv(f"{scope}/Branch_{b}/Conv2d_{name}", before, after, stride=1 + halves, pad=not halves)
                    for (name, after), before in zip(branch, widths, strict=False)
                    for halves in (name.startswith("1a"),)
                )
            )
        )
    return out


class _Residual(nn.Module):
    def __init__(self, scope: str, width: int, branches: _Branches, scale: float, relu: bool = True):
        super().__init__()
        self.branches = _branches(scope, width, branches)
        self.up = _Conv(f"{scope}/Conv2d_1x1", sum(b[-1][1] for b in branches), width, relu=False)
        self.scale, self.relu = scale, relu

    def forward(self, x: Tensor) -> Tensor:
        out = x + self.scale * self.up(torch.cat([branch(x) for branch in self.branches], 1))
        return F.relu(out) if self.relu else out


class _Mixed(nn.Module):
    def __init__(self, scope: str, width: int, branches: _Branches):
        super().__init__()
        self.branches = _branches(scope, width, branches)

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([*(branch(x) for branch in self.branches), F.max_pool2d(x, 3, 2)], 1)


def _fill(net: FaceNet, file: dict[str, Tensor]) -> None:
    """Copy the graph's arrays, batch normalisations folded in: they have no gain, and epsilon 0.001."""

    def affine(scope: str) -> tuple[Tensor, Tensor]:
        norm = f"InceptionResnetV1/{scope}/BatchNorm"
        s = 1 / (file[f"{norm}/moving_variance"].double() + 1e-3).sqrt()
        return s, file[f"{norm}/beta"].double() - file[f"{norm}/moving_mean"].double() * s

    state: dict[str, Tensor] = {}
    for name, conv in net.named_modules():
        if isinstance(conv, _Conv):
            weight = file[f"InceptionResnetV1/{conv.scope}/weights"].permute(3, 2, 0, 1)  # was height, width, in, out
            if conv.relu:
                s, bias = affine(conv.scope)
                weight = weight.double() * s[:, None, None, None]
            else:  # the end of a residual block has a bias instead
                bias = file[f"InceptionResnetV1/{conv.scope}/biases"]
            state |= {f"{name}.weight": weight, f"{name}.bias": bias}
    s, bias = affine("Bottleneck")
    state["bottleneck.weight"] = file["InceptionResnetV1/Bottleneck/weights"].T.double() * s[:, None]
    state["bottleneck.bias"] = bias
    net.load_state_dict(state)


def read_constants(path: Path) -> dict[str, Tensor]:
    """The float32 constants of a frozen TensorFlow graph, by node name, in their own shapes.

    Reads the wire format of protocol buffers (GraphDef.node = 1; NodeDef.name = 1, op = 2, attr = 5;
    AttrValue.tensor = 8; TensorProto.dtype = 1, tensor_shape = 2, tensor_content = 4, float_val = 5;
    TensorShapeProto.dim = 2, its size = 1). Raises :class:`~halfmask.errors.WeightsError` when the file is damaged or
    is no such graph.
    """
    constants: dict[str, Tensor] = {}
    try:
        for number, node in _fields(memoryview(Path(path).read_bytes())):
            if number == 1:
                constants |= _constant(_message(node))
    except (OSError, ValueError, IndexError, KeyError, TypeError, struct.error) as error:
        raise WeightsError(
            f"{path} cannot be read as a frozen TensorFlow graph: {type(error).__name__}: {error}. Fetch the file again"
        ) from error
    if not constants:
        raise WeightsError(f"{path} holds no float constants, expected a frozen TensorFlow graph")
    return constants


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        at += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, at
        shift += 7
        if shift > 63:
            raise ValueError(f"a number at byte {at} does not end")


def _fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Field numbers and values of one message; messages, strings and fixed-size numbers come as their bytes."""
    at = 0
    while at < len(data):
        key, at = _varint(data, at)
        number, wire = key >> 3, key & 7
        if wire == 0:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire == 2:
            size, at = _varint(data, at)
        elif wire in (1, 5):
            size = 8 if wire == 1 else 4
        else:
            raise ValueError(f"wire type {wire} at byte {at} is unknown")
        if at + size > len(data):
            raise ValueError(f"a field of {size} bytes at byte {at} runs over the end at {len(data)}")
        yield number, data[at : at + size]
        at += size


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message should")
    return value


def _constant(node: memoryview) -> dict[str, Tensor]:
    """Name and value of a NodeDef, or nothing when it is no float constant."""
    name = op = ""
    tensor: memoryview | None = None
    for number, value in _fields(node):
        if number == 1:
            name = str(_message(value), "utf-8")
        elif number == 2:
            op = str(_message(value), "utf-8")
        elif number == 5:
            entry = dict(_fields(_message(value)))
            if bytes(_message(entry[1])) == b"value":
                tensor = next((_message(v) for n, v in _fields(_message(entry[2])) if n == 8), None)
    if op != "Const" or tensor is None:
        return {}
    dtype, shape, content, listed = 0, [], b"", b""
    for number, value in _fields(tensor):
        if number == 1:
            dtype = int(value) if isinstance(value, int) else 0
        elif number == 2:
            shape = [dict(_fields(_message(dim))).get(1, 0) for n, dim in _fields(_message(value)) if n == 2]
        elif number == 4:
            content = bytes(_message(value))
        elif number == 5:
            listed += bytes(_message(value))
    if dtype != 1:  # DT_FLOAT
        return {}
    sides = [int(s) for s in shape if isinstance(s, int)]
    raw = bytearray(content or listed)
    values = torch.frombuffer(raw, dtype=torch.float32) if raw else torch.zeros(0)
    if len(values) == 1:
        return {name: values.reshape([1] * len(sides)).expand(sides)}  # one value stands for all
    if len(values) != torch.Size(sides).numel():
        raise ValueError(f"constant {name!r} has {len(values)} numbers for the shape {sides}")
    return {name: values.reshape(sides)}
