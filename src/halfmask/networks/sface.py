"""SFace, the face matcher of the OpenCV Zoo, in torch, so that gradients can flow through it.

Zhong, Deng, Hu, Zhao, Li, Wen: *SFace: Sigmoid-Constrained Hypersphere Loss for Robust Face Recognition*, IEEE TIP
2021. The published file is ONNX (2021dec, Apache-2.0): a MobileNet v1 of 27 convolutions. It is an *auxiliary*
matcher: it trains our methods and the tool shows its score to the user, so it never judges a method in the results.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError, missing
from ..weights import store
from .resize import Resize
from .state import frozen

# (width, stride) of the 13 depthwise-separable blocks after the first convolution, conv_2 .. conv_14 of the file
_BLOCKS = (
    *((64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2)),
    *((512, 1), (512, 1), (512, 1), (512, 1), (512, 1), (1024, 2), (1024, 1)),
)
_SIDE = 112


class _PReLU(nn.PReLU):
    """``nn.PReLU`` whose gradient is cheap: torch's own backward takes 5 to 10 times as long on a CPU in bfloat16."""

    def forward(self, x: Tensor) -> Tensor:
        rest = (1 - self.weight).to(x.dtype)[:, None, None]
        return torch.addcmul(x, rest, (-x).relu())


class _Depthwise(nn.Conv2d):
    """A 3 x 3 depthwise convolution.

    Stride 2 is stride 1 with every second pixel kept: the same numbers, but the gradient of a strided depthwise
    convolution takes torch ten times as long on a CPU.
    """

    def __init__(self, width: int, stride: int):
        super().__init__(width, width, 3, 1, 1, groups=width)
        self.keep = stride

    def forward(self, x: Tensor) -> Tensor:
        out = super().forward(x)
        return out if self.keep == 1 else out[:, :, :: self.keep, :: self.keep]


class SFace(nn.Module):
    """Faces to 128-d embeddings; cosine is the score.

    Takes RGB in [0, 1], (N, 3, S, S), crops of ``template(S)`` (S is 224 everywhere in halfmask; the network's own
    112 x 112 ArcFace crop is cut out of it and resampled here), and gives (N, 128) float32 of length 1. The batch
    normalisations are folded into the convolutions, so the network is for inference and for gradients with respect
    to its input only; ``SFace()`` has random weights, :meth:`load` has the published ones. With ``normalize`` set to
    False an embedding keeps its length.

    >>> SFace()(torch.rand(2, 3, 224, 224)).shape
    torch.Size([2, 128])
    """

    def __init__(self) -> None:
        super().__init__()
        self.normalize = True
        # The file's crop is the ArcFace crop, whose pixel p our template puts at (p - 56) * 1.75 + 112.
        self.resize = Resize(_SIDE, 1.75)
        layers: list[nn.Module] = [nn.Conv2d(3, 32, 3, 1, 1), _PReLU(32)]
        width = 32
        for out, stride in _BLOCKS:
            layers += [_Depthwise(width, stride), _PReLU(width)]
            layers += [nn.Conv2d(width, out, 1), _PReLU(out)]
            width = out
        self.body = nn.Sequential(*layers)
        self.head = nn.Linear(width * 7 * 7, 128)

    @classmethod
    def load(cls, path: Path | None = None) -> SFace:
        """The published network, in evaluation mode, frozen, its memory laid out channels-last.

        ``path`` is the ONNX file; None takes it from the store, which fetches and checks it. Raises
        :class:`~halfmask.errors.WeightsError` when the file is not SFace, :class:`~halfmask.errors.ExtraMissingError`
        without the ``onnx`` package.
        """
        net = cls()
        try:
            net.load_state_dict(_fold(_initialisers(path or store.get("sface"))))
        except RuntimeError as error:  # torch's word for a wrong shape
            raise WeightsError(f"the ONNX file is not SFace 2021dec: {error}") from error
        return frozen(net)

    def forward(self, faces: Tensor) -> Tensor:
        out = self.embed112(self.resize(faces) * 255).float()
        return F.normalize(out) if self.normalize else out

    def embed112(self, pixels: Tensor) -> Tensor:
        """The file's own function: RGB in 0..255, ArcFace crops (N, 3, 112, 112), to raw embeddings (N, 128)."""
        x = ((pixels - 127.5) / 128).contiguous(memory_format=torch.channels_last)
        out: Tensor = self.head(self.body(x).flatten(1))
        return out


def _initialisers(path: Path) -> dict[str, Tensor]:
    try:
        import onnx
        from onnx import numpy_helper
    except ImportError as error:
        raise missing(["onnx"], "SFace in torch") from error
    try:
        graph = onnx.load(str(path)).graph
    except Exception as error:  # onnx raises protobuf's own classes, which it does not export
        raise WeightsError(f"cannot read {path} as an ONNX file: {error}. Delete it and fetch it again") from error
    return {t.name: torch.from_numpy(numpy_helper.to_array(t).copy()) for t in graph.initializer}


def _fold(file: dict[str, Tensor]) -> dict[str, Tensor]:
    """State of :class:`SFace` from the file's arrays, with every batch normalisation y = s x + t folded away."""

    def affine(name: str, eps: float) -> tuple[Tensor, Tensor]:
        gamma, beta, mean, var = (file[f"{name}_{k}"].double() for k in ("gamma", "beta", "moving_mean", "moving_var"))
        s = gamma / (var + eps).sqrt()
        return s, beta - mean * s

    state: dict[str, Tensor] = {}
    stems = ["conv_1", *(f"conv_{i}{kind}" for i in range(2, len(_BLOCKS) + 2) for kind in ("_dw", ""))]
    try:
        for k, stem in enumerate(stems):
            s, t = affine(f"{stem}_batchnorm", 1e-3)
            state[f"body.{2 * k}.weight"] = (file[f"{stem}_conv2d_weight"].double() * s[:, None, None, None]).float()
            state[f"body.{2 * k}.bias"] = t.float()
            state[f"body.{2 * k + 1}.weight"] = file[f"{stem}_relu_gamma"].flatten()
        # bn1 stands before the fully connected layer, fc1 after it; each input channel feeds 7 x 7 columns.
        before, after = affine("bn1", 2e-5), affine("fc1", 2e-5)
        s, t = (v.repeat_interleave(49) for v in before)
        weight, bias = file["pre_fc1_weight"].double(), file["pre_fc1_bias"].double()
        bias = bias + weight @ t
        state["head.weight"] = (weight * s * after[0][:, None]).float()
        state["head.bias"] = (bias * after[0] + after[1]).float()
    except KeyError as error:
        raise WeightsError(f"the ONNX file is not SFace 2021dec: it has no array {error}") from error
    return state
