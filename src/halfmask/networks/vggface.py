"""VGG-Face, the matcher of the SAN paper.

Parkhi, Vedaldi, Zisserman: *Deep Face Recognition*, BMVC 2015: 13 convolutions and 3 fully connected layers, 2622
outputs, one for each person of its training set. SAN (Mirjalili et al. 2018) takes these 2622 numbers as the
descriptor R_vgg and feeds gray faces by summing the first layer's filters over the three colours. The published
weights cannot be fetched by halfmask; :meth:`VGGFace.load` reads them where a user has them.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError
from .gendercnn import to_gray
from .legacy import load_legacy
from .resize import Resize
from .state import frozen

#: Mean of the training faces, R, G, B in 0..255, which the published network has subtracted from its input.
MEAN = (129.1863, 104.7624, 93.5940)
#: Numbers in the published weights. The gray network has 2 * 64 * 3 * 3 fewer.
PARAMETERS, PARAMETERS_GRAY = 145_002_878, 145_001_726

_STAGES = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # width and number of the convolutions before each pooling
_CONVS = [f"conv{s}_{i}" for s, (_, count) in enumerate(_STAGES, 1) for i in range(1, count + 1)]
_LAYERS = [*_CONVS, "fc6", "fc7", "fc8"]


class VGGFace(nn.Module):
    """Faces to 2622-d descriptors.

    Takes RGB in [0, 1], (N, 3, S, S), or gray ones, (N, 1, S, S), crops of ``template(S)``; any S is resampled to
    224. Gives (N, 2622) float32: of length 1 with ``normalize``, as the SAN authors' code has it, else as they are, as
    the paper writes J_M. With ``gray`` the network has a one-channel first layer, and colour faces count by their
    luma; without it gray faces are seen as three equal channels. ``VGGFace()`` has random weights and no dropout:
    halfmask never trains it.

    >>> with torch.device("meta"):  # shapes without the 580 MB of memory
    ...     sum(p.numel() for p in VGGFace().parameters())
    145002878
    """

    conv1_1: nn.Conv2d
    mean_filter: Tensor

    def __init__(self, *, gray: bool = False, normalize: bool = True) -> None:
        super().__init__()
        self.gray, self.normalize = gray, normalize
        self.resize = Resize(224, 1.0)
        width = 1 if gray else 3
        for s, (out, count) in enumerate(_STAGES, 1):
            for i in range(1, count + 1):
                setattr(self, f"conv{s}_{i}", nn.Conv2d(width, out, 3, padding=1))
                width = out
        self.fc6, self.fc7, self.fc8 = nn.Linear(512 * 7 * 7, 4096), nn.Linear(4096, 4096), nn.Linear(4096, 2622)
        if gray:
            # What the first layer makes of the mean face, per tap; see to_gray.
            self.register_buffer("mean_filter", torch.zeros(64, 1, 3, 3))

    @classmethod
    def load(cls, path: Path | str, *, gray: bool = False, normalize: bool = True) -> VGGFace:
        """The network with the weights in a file, in evaluation mode, frozen, channels-last.

        ``path`` is a PyTorch state dict (``vgg_face_dag.pth``; read without executing anything in it), a safetensors
        file or an ``.npz``, with the layers named conv1_1 .. conv5_3, fc6, fc7, fc8. Kernels may be in PyTorch's order
        or in TensorFlow's and Keras' (height, width, in, out). The file is the RGB network's in any case; ``gray``
        sums its first layer. Raises :class:`~halfmask.errors.WeightsError` naming the layer that is missing or has
        another shape.
        """
        path = Path(path)
        state = _arrange(_read(path), path)
        with torch.device("meta"):  # no memory for random numbers that are thrown away
            net = cls(normalize=normalize)
        net.resize = Resize(224, 1.0)
        wanted = {name: tuple(value.shape) for name, value in net.state_dict().items()}
        for name, shape in wanted.items():
            got = tuple(state[name].shape)
            if got != shape:
                raise WeightsError(f"{path} is not VGG-Face: {name} has shape {got}, expected {shape}")
        net.load_state_dict(state, assign=True)
        assert sum(p.numel() for p in net.parameters()) == PARAMETERS
        return frozen(net.to_gray() if gray else net)

    def to_gray(self) -> VGGFace:
        """The gray network that equals this one fed with the gray face three times. Shares all but the first layer.

        With filters w_c and means m_c of the colours c, sum_c w_c * (g - m_c) = (sum_c w_c) * g - (sum_c w_c m_c) * 1,
        where * is the convolution. The second term is a bias everywhere but along the border, where the padding
        takes part of the filter away from it: so it is kept as a filter, and applied to an image of ones.
        """
        with torch.device("meta"):
            net = VGGFace(gray=True, normalize=self.normalize)
        net.resize = Resize(224, 1.0).to(self.fc8.weight.device)
        state = self.state_dict()
        weight = state["conv1_1.weight"]
        mean = torch.tensor(MEAN, device=weight.device)[:, None, None]
        state["conv1_1.weight"] = weight.sum(1, keepdim=True)
        state["mean_filter"] = (weight * mean).sum(1, keepdim=True)
        net.load_state_dict(state, assign=True)
        return net.requires_grad_(self.fc8.weight.requires_grad).train(self.training)

    def forward(self, faces: Tensor) -> Tensor:
        x = self._first(self.resize(faces) * 255)
        for s, (_, count) in enumerate(_STAGES, 1):
            for i in range(1 + (s == 1), count + 1):
                x = F.relu(getattr(self, f"conv{s}_{i}")(x))
            x = F.max_pool2d(x, 2)
        out = self.fc8(F.relu(self.fc7(F.relu(self.fc6(x.flatten(1)))))).float()
        return F.normalize(out) if self.normalize else out

    def _first(self, pixels: Tensor) -> Tensor:
        """conv1_1 and its ReLU on 0..255 pixels, the mean subtracted."""
        if self.gray:
            pixels = to_gray(pixels)
            # 0..255 less half: rounding to bfloat16 then costs half as much. The rest of the mean goes into the filter.
            half = MEAN[1]
            x = torch.cat([pixels - half, torch.ones_like(pixels[:, :1])], 1)
            weight = torch.cat([self.conv1_1.weight, self.conv1_1.weight * half - self.mean_filter], 1)
            return F.relu(F.conv2d(x, weight, self.conv1_1.bias, padding=1))
        x = pixels - pixels.new_tensor(MEAN)[:, None, None]  # a gray face becomes three channels here
        return F.relu(self.conv1_1(x.contiguous(memory_format=torch.channels_last)))


def _read(path: Path) -> dict[str, Tensor]:
    if path.suffix in (".safetensors", ".npz"):
        try:
            if path.suffix == ".npz":
                with np.load(path, allow_pickle=False) as arrays:
                    return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
            from safetensors.torch import load_file

            return load_file(path)
        except Exception as error:  # safetensors' own class is no subclass of anything; numpy raises several
            raise WeightsError(
                f"{path} cannot be read: {type(error).__name__}: {error}. Fetch the file again"
            ) from error
    if path.suffix in (".h5", ".mat", ".caffemodel", ".t7"):
        raise WeightsError(f"{path}: files of this kind are not read; convert to .pth, .safetensors or .npz")
    return load_legacy(path)


def _arrange(file: dict[str, Tensor], path: Path) -> dict[str, Tensor]:
    """The file's arrays under our names, float32, in PyTorch's order: out, in, height, width."""
    state: dict[str, Tensor] = {}
    for name, value in file.items():
        match = re.search(r"(conv\d_\d|fc[678])[._/]+(weights?|kernel|W|bias(?:es)?|b)(?::0)?$", name)
        if match and match[1] in _LAYERS:
            state[f"{match[1]}.{'bias' if match[2].startswith('b') else 'weight'}"] = value.float()
    if missing := [f"{n}.{k}" for n in _LAYERS for k in ("weight", "bias") if f"{n}.{k}" not in state]:
        raise WeightsError(
            f"{path} is not VGG-Face: it has no {', '.join(missing)}; it holds {', '.join(list(file)[:8])}…"
        )
    channels_last = state["conv1_1.weight"].shape == (3, 3, 3, 64)
    for name in _LAYERS:
        state[f"{name}.weight"] = _to_torch(name, state[f"{name}.weight"], channels_last)
    return state


def _to_torch(name: str, weight: Tensor, channels_last: bool) -> Tensor:
    """One layer's weight in PyTorch's order; fully connected layers may be written as convolutions."""
    if channels_last:
        if weight.ndim == 2 and name == "fc6":  # its inputs were flattened row, column, channel
            weight = weight.reshape(7, 7, 512, -1)
        weight = weight.permute(3, 2, 0, 1) if weight.ndim == 4 else weight.T
    return (weight.flatten(1) if name.startswith("fc") else weight).contiguous()
