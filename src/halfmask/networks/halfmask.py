"""halfmask's own generator: a small U-Net that says what to add to a face.

The design answers what SAN's structure cannot do (docs/method.md): the change is a function of the whole face, not one
constant pattern; it is colour; and it is a *residual*, so a photo of any size takes it. Luminance changes at the
network's full 112 x 112 (smoothed over 3 x 3), chroma only at an eighth of that: free chroma paints coloured marks
where classifiers look, which fools the classifiers at hand and no others.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from .. import __version__
from ..photos.align import CROP
from .state import loading, read_exported, read_weights, write_weights

#: The side at which the network works.
SIDE = 112
#: The largest change of luma, and of each chroma (of Y, Cb, Cr as in JFIF, full range 1).
LUMA, CHROMA = 0.5, 0.15
#: What a generator hides: gender, age and race, or who is shown.
SOFT, IDENTITY = "attributes", "identity"
_FORMAT = "1"
Layer = TypeVar("Layer", nn.Conv2d, nn.Linear)
#: Cb, Cr → R, G, B of JFIF
_CHROMA_RGB = ((0.0, -0.344136, 1.772), (1.402, -0.714136, 0.0))


class Masker(nn.Module):
    """Faces and a code to what to add to them.

    ``forward`` takes RGB crops (N, 3, 112, 112) of ``template(112)`` in [0, 1] and codes (N, ``code``) of
    :meth:`encode`, and gives the change (N, 3, 112, 112) in RGB. ``ages`` and ``races`` are the groups that can be
    targets, each with its share in the population that targets are drawn from. ``hides`` says what it was trained for:
    attributes, or identity, whose code is that of no target. A fresh network changes nothing.

    >>> net = Masker(ages={"young": 0.6, "old": 0.4}, races={"a": 0.5, "b": 0.3, "c": 0.2})
    >>> code = net.encode(gender=torch.tensor([1, -1]), age=torch.tensor([-1, 0]), race=torch.tensor([-1, 2]))
    >>> net(torch.rand(2, 3, 112, 112), code).shape, code.tolist()[1]
    (torch.Size([2, 3, 112, 112]), [0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0])
    """

    chroma_rgb: Tensor

    def __init__(
        self,
        ages: Mapping[str, float],
        races: Mapping[str, float],
        widths: tuple[int, int, int] = (32, 64, 128),
        hides: str = SOFT,
    ) -> None:
        super().__init__()
        self.ages, self.races, self.widths, self.hides = dict(ages), dict(races), tuple(widths), hides
        self.code = 4 + len(self.ages) + len(self.races)
        one, two, three = widths
        self.read = nn.Sequential(nn.Linear(self.code, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU())
        self.stem = nn.Conv2d(3, one, 4, 2, 1)
        self.down = nn.ModuleList([_conv(one, two, 2), _conv(two, three, 2)])
        self.into = nn.ModuleList([_Block(one), _Block(two), _Block(three)])
        self.middle = nn.ModuleList([_Block(three), _Block(three)])
        self.up = nn.ModuleList([nn.Conv2d(three, two, 1), nn.Conv2d(two, one, 1)])
        self.out = nn.ModuleList([_Block(two), _Block(one)])
        # four values a place of the half-size map are the four pixels there
        self.luma, self.chroma = _zero(nn.Conv2d(one, 4, 3, 1, 1)), _zero(nn.Conv2d(three, 2, 3, 1, 1))
        self.register_buffer("chroma_rgb", torch.tensor(_CHROMA_RGB), persistent=False)

    def encode(self, gender: Tensor, age: Tensor, race: Tensor) -> Tensor:
        """Targets as codes (N, ``code``): each (N,) integers, a class's index, or -1 to keep what the face shows.

        Three flags say what is hidden; then the target: gender as -1, 0 or 1, age and race one-hot.
        """
        both = [F.one_hot(t + 1, n + 1)[:, 1:] for t, n in ((age, len(self.ages)), (race, len(self.races)))]
        flags = torch.stack([t >= 0 for t in (gender, age, race)], 1).float()
        side = torch.where(gender >= 0, 2.0 * gender - 1.0, 0.0)[:, None]
        return torch.cat([flags, side, *(b.float() for b in both)], 1)

    def forward(self, faces: Tensor, code: Tensor) -> Tensor:
        asked = self.read(code)
        x = self.into[0](self.stem(faces * 2 - 1), asked)
        skips = []
        for down, block in zip(self.down, self.into[1:], strict=True):
            skips.append(x)
            x = block(down(F.leaky_relu(x, 0.1)), asked)
        for block in self.middle:
            x = block(x, asked)
        chroma = CHROMA * torch.tanh(self.chroma(F.leaky_relu(x, 0.1)).float())
        for up, block, skip in zip(self.up, self.out, reversed(skips), strict=True):
            x = block(F.interpolate(up(x), scale_factor=2.0, mode="nearest") + skip, asked)
        luma = LUMA * torch.tanh(F.pixel_shuffle(self.luma(F.leaky_relu(x, 0.1)).float(), 2))
        luma = F.avg_pool2d(F.pad(luma, (1, 1, 1, 1), mode="replicate"), 3, 1)
        wide = F.interpolate(chroma, scale_factor=8.0, mode="bilinear", align_corners=False)
        return luma + torch.einsum("nchw,ck->nkhw", wide, self.chroma_rgb)

    def save(self, path: Path, dtype: torch.dtype = torch.float32) -> None:
        """Write weights and what is needed to build the network again, as safetensors; whole or absent."""
        about = {"format": _FORMAT, "halfmask": __version__, "widths": json.dumps(self.widths)}
        about |= {"ages": json.dumps(self.ages), "races": json.dumps(self.races), "hides": self.hides}
        write_weights(path, {k: v.to(dtype) for k, v in self.state_dict().items()}, about)

    @classmethod
    def load(cls, path: Path) -> Masker:
        """What :meth:`save` wrote, or the ONNX file made of it, float32, frozen, in evaluation mode.

        The kernels of an ONNX file were rounded to float16. Raises
        :class:`~halfmask.errors.WeightsError` when the file is damaged or something else's.
        """
        with loading(path, "the generator", "Masker.save"):
            about, state = _exported(path) if path.suffix == ".onnx" else read_weights(path, _FORMAT)
            ages, races, widths = (json.loads(about[k]) for k in ("ages", "races", "widths"))
            net = cls(ages, races, widths, about.get("hides", SOFT))  # older files do not say
            net.load_state_dict({name: v.float() for name, v in state.items()})
        return net.requires_grad_(False).eval()


def _exported(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """Description and state of what ``training.export.export_masker`` wrote."""
    about, state = read_exported(path)
    widths = [len(state[name]) for name in ("stem.weight", "down.0.weight", "down.1.weight")]
    return about | {"widths": json.dumps(widths)}, state


class MaskerForExport(nn.Module):
    """Crops (N, 3, 224, 224) and codes to changes (N, 3, 224, 224): the resampling on both sides is part of it.

    What :class:`~halfmask.networks.resize.Resize` does by matrices is done here by a convolution and by
    interpolation, in half the time; the difference is rounding.
    """

    kernel: Tensor
    edge: Tensor

    def __init__(self, net: Masker) -> None:
        super().__init__()
        assert CROP == 2 * SIDE, "every second pixel's centre is one of the small picture's"
        self.net = net
        line = torch.tensor([0.25, 0.5, 0.25])
        self.register_buffer("kernel", torch.outer(line, line).expand(3, 1, 3, 3).clone(), persistent=False)
        first = torch.ones(SIDE)
        first[0] = 4 / 3  # where the kernel leaves the crop, the weight goes to what is inside
        self.register_buffer("edge", torch.outer(first, first), persistent=False)

    def forward(self, face: Tensor, code: Tensor) -> Tensor:
        small = self.edge * F.conv2d(face, self.kernel, stride=2, padding=1, groups=3)
        change = self.net(small, code)
        wide = F.interpolate(change, (CROP - 1, CROP - 1), mode="bilinear", align_corners=True)
        return F.pad(wide, (0, 1, 0, 1), mode="replicate")


class Critic(nn.Module):
    """Patches of faces (N, 3, 112, 112) in [0, 1] to how real they look, (N, 1, 14, 14); spectrally normalised.

    Miyato et al. 2018, for the hinge loss. Small on purpose: it wins looks, and must not teach the generator to undo
    itself.
    """

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        normed = nn.utils.parametrizations.spectral_norm
        layers: list[nn.Module] = []
        inside = 3
        for out in (width, 2 * width, 3 * width):
            layers += [normed(nn.Conv2d(inside, out, 4, 2, 1)), nn.LeakyReLU(0.1)]
            inside = out
        self.body = nn.Sequential(*layers, normed(nn.Conv2d(inside, 1, 3, 1, 1)))

    def forward(self, faces: Tensor) -> Tensor:
        out: Tensor = self.body(faces * 2 - 1)
        return out


class _Block(nn.Module):
    """A residual block whose inner features are scaled and shifted by what is asked (FiLM, Perez et al. 2018).

    No normalisation: the last kernel starts at zero, so the block starts as the identity, and statistics of a batch
    would tie faces to each other.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.second = _conv(width, width), _zero(_conv(width, width))
        self.film = _zero(nn.Linear(64, 2 * width))

    def forward(self, x: Tensor, asked: Tensor) -> Tensor:
        scale, shift = self.film(asked)[:, :, None, None].chunk(2, 1)
        inner = self.first(F.leaky_relu(x, 0.1)) * (1 + scale) + shift
        out: Tensor = x + self.second(F.leaky_relu(inner, 0.1))
        return out


def _conv(inside: int, out: int, stride: int = 1) -> nn.Conv2d:
    conv = nn.Conv2d(inside, out, 3, stride, 1)
    nn.init.kaiming_normal_(conv.weight, a=0.1)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _zero(layer: Layer) -> Layer:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
    return layer
