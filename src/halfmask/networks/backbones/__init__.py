"""The networks that look at a face before a head reads its attribute, one file a family.

:data:`BACKBONES` maps a name to a function that builds it: ``BACKBONES["resnet34"](size=120)``. What comes is a
:class:`Backbone`, which owns the way from a face crop to that network's input.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from ...errors import UsageError, WeightsError
from ...photos.align import CROP
from ..gendercnn import GenderCNN
from ..legacy import load_legacy
from ..resize import Resize
from .fastcnn import FastCNN
from .inception import InceptionV3
from .plain import Plain
from .resnet import DEPTHS, ResNet
from .separable import Separable
from .vgg import VGG16

_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
_HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_QUARTER = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))  # a face crop's own mean and spread, roughly
_RAW = ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


class Backbone(nn.Module):
    """Faces RGB in [0, 1], (N, 3, S, S), crops of ``template(S)``, to features (N, ``out_features``).

    ``size`` is the side in pixels that the network sees, ``cut`` how many of the template's 224 pixels lie in it (224:
    all; smaller: nearer to the eyes). ``net`` is the bare network under its published names, ``name`` its key in
    :data:`BACKBONES`.

    >>> backbone = BACKBONES["fastcnn"](size=112)
    >>> backbone.features(torch.rand(2, 3, 224, 224)).shape == (2, backbone.out_features)
    True
    """

    mean: Tensor
    spread: Tensor

    def __init__(
        self,
        name: str,
        net: nn.Module,
        size: int,
        cut: int = CROP,
        *,
        least: int = 32,
        normalise: tuple[tuple[float, ...], tuple[float, ...]] = _IMAGENET,
    ) -> None:
        super().__init__()
        if size < least or not 0 < cut <= CROP:
            raise UsageError(
                f"{name} got size={size}, cut={cut}; expected a size of at least {least} and a cut of 1 to {CROP}"
            )
        self.name, self.size, self.cut, self.net = name, size, cut, net
        self.out_features: int = net.out_features  # type: ignore[assignment]
        self.resize = Resize(size, cut / size)
        # Not state: they belong to the family, and must not stand in the way of published weights.
        self.register_buffer("mean", torch.tensor(normalise[0]).view(3, 1, 1), persistent=False)
        self.register_buffer("spread", torch.tensor(normalise[1]).view(3, 1, 1), persistent=False)

    def features(self, faces: Tensor) -> Tensor:
        """Features (N, ``out_features``) of crops (N, 3, S, S) of any S."""
        same = self.cut == CROP and faces.shape[2:] == (self.size, self.size)  # then resampling changes nothing
        return self.look(faces if same else self.resize(faces))

    def look(self, pixels: Tensor) -> Tensor:
        """Features of faces already brought to (N, 3, ``size``, ``size``), in [0, 1], as a recipe's crops are."""
        if pixels.shape[1:] != (3, self.size, self.size):
            raise ValueError(
                f"{self.name} got pixels of shape {tuple(pixels.shape)}, expected (N, 3, {self.size}, {self.size})"
            )
        x = (pixels - self.mean) / self.spread
        out: Tensor = self.net(x.contiguous(memory_format=torch.channels_last))
        return out

    def forward(self, faces: Tensor) -> Tensor:
        return self.features(faces)

    def load_published(self, path: Path) -> None:
        """Take torchvision's published weights, a ``.pth`` state dict or the same as safetensors; nothing is executed.

        The classifier of its 1000 classes is left out. Raises :class:`~halfmask.errors.WeightsError` when the file is
        damaged or another network's.
        """
        if path.suffix == ".safetensors":
            from safetensors import SafetensorError
            from safetensors.torch import load_file

            try:
                state = load_file(path)
            except (OSError, SafetensorError) as error:
                raise WeightsError(f"{path} cannot be read: {error}. Fetch the file again") from error
        else:
            state = load_legacy(path)
        state = {k: v for k, v in state.items() if not k.startswith(("fc.", "classifier.6.", "AuxLogits."))}
        try:
            missing, unexpected = self.net.load_state_dict(state, strict=False)
        except RuntimeError as error:  # torch's word for a wrong shape
            raise WeightsError(f"{path} is not {self.name}: {error}") from error
        # files from before torch 0.4.1, which torchvision still serves, do not count batches
        missing = [m for m in missing if not m.endswith("num_batches_tracked")]
        if missing or unexpected:
            raise WeightsError(f"{path} is not {self.name}: it lacks {missing[:5]} and has {unexpected[:5]} besides")


def _resnet(depth: int, size: int = CROP, cut: int = CROP) -> Backbone:
    return Backbone(f"resnet{depth}", ResNet(depth), size, cut)


def _vgg(batch_norm: bool, size: int = CROP, cut: int = CROP) -> Backbone:
    return Backbone("vgg16bn" if batch_norm else "vgg16", VGG16(batch_norm), size, cut)


def _inception(size: int = 299, cut: int = CROP) -> Backbone:
    return Backbone("inceptionv3", InceptionV3(), size, cut, least=75, normalise=_HALF)


def _gendercnn(size: int = CROP, cut: int = CROP) -> Backbone:
    return Backbone("gendercnn", GenderCNN(classes=0, size=size), size, cut, normalise=_RAW)


def _fastcnn(size: int = 112, cut: int = CROP) -> Backbone:
    return Backbone("fastcnn", FastCNN(), size, cut, normalise=_QUARTER)


def _separable(size: int = 96, cut: int = CROP) -> Backbone:
    return Backbone("separable", Separable(), size, cut, normalise=_QUARTER)


def _plain(size: int = 48, cut: int = CROP) -> Backbone:
    return Backbone("plain", Plain(), size, cut, normalise=_QUARTER)


#: Name → function of ``size`` and ``cut`` that builds the :class:`Backbone`, with random weights.
BACKBONES: dict[str, Callable[..., Backbone]] = {
    **{f"resnet{depth}": partial(_resnet, depth) for depth in DEPTHS},
    "vgg16": partial(_vgg, False),
    "vgg16bn": partial(_vgg, True),
    "inceptionv3": _inception,
    "gendercnn": _gendercnn,
    "fastcnn": _fastcnn,
    "separable": _separable,
    "plain": _plain,
}
