"""PrivacyNet's generator and critic (Mirjalili, Raschka, Ross 2020), in the shape of StarGAN (Choi et al. 2018).

PrivacyNet's paper gives the roles: a generator G(X, c) that redraws the face X so that it shows the attribute classes
c, and a critic whose two sides share a trunk, D_src (is this a photograph?) and D_attr (which gender, age group,
race?). Widths, kernels and normalisation are StarGAN's, from its authors' code, because PrivacyNet's are not published.

``c`` is one row a face: the classes of gender, age and race as one 0-1 vector each, side by side, in the order of
:data:`~halfmask.methods.choice.ATTRIBUTES`. An attribute whose class is not known has zeros.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..photos.align import CROP
from .resize import Resize, triangle

#: How far a residual generator can move a channel of a pixel, of the full scale of 1. Without a limit, a short run at a
#: high learning rate drove patches to full red within 50 steps, where tanh and clamp have no gradient to lead back.
REACH = 0.25


class _Norm(nn.InstanceNorm2d):
    """Instance normalisation with weights, always by the face's own statistics, as StarGAN runs it too.

    In training on a CPU it is batch normalisation face by face: the same numbers, but torch has a kernel for channels
    last only for that. Measured on one core, forward and backward of (8, 128, 28, 28) in bfloat16 with the layout that
    convolutions want: 1.8 ms so, 38 ms as GroupNorm, 8 ms as sums of our own; InstanceNorm2d gives up the layout.
    """

    def __init__(self, width: int) -> None:
        super().__init__(width, affine=True)

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or x.is_cuda:
            return super().forward(x)
        faces = [F.batch_norm(one, None, None, self.weight, self.bias, True, eps=self.eps) for one in torch.split(x, 1)]
        return torch.cat(faces)


class _Residual(nn.Module):
    """A residual block; with ``classes``, its inner normalisation is conditional (Dumoulin et al. 2017)."""

    def __init__(self, width: int, classes: int = 0) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(width, width, 3, 1, 1, bias=False), _Norm(width))
        self.style = nn.Linear(classes, 2 * width) if classes else None
        self.rest = nn.Sequential(nn.ReLU(), nn.Conv2d(width, width, 3, 1, 1, bias=False), _Norm(width))

    def forward(self, x: Tensor, labels: Tensor) -> Tensor:
        inner = self.first(x)
        if self.style is not None:
            scale, shift = self.style(labels)[:, :, None, None].chunk(2, 1)
            inner = inner * (1 + scale) + shift
        out: Tensor = x + self.rest(inner)
        return out


class Generator(nn.Module):
    """G(X, c): faces RGB in [0, 1], (N, 3, S, S) of the template, and classes (N, ``classes``) to (N, 3, size, size).

    The output is in [0, 1], at the network's own ``size``, a multiple of 4. The labels are tiled as further input
    channels, and the padding is zero: StarGAN's authors note that the conditioning fails with reflection.

    ``residual`` is ours: the network draws what is to be added to the face instead of the face, at most :data:`REACH`,
    and starts at next to nothing, so a short run need not learn first to copy. ``conditional`` is ours too: the classes
    also scale and shift the features of each residual block. Tiles alone reach the features by little more than the
    picture's border, since normalisation takes away what is the same everywhere, and that takes long to learn.

    >>> net = Generator(9, width=8, blocks=1, size=32)
    >>> net(torch.rand(2, 3, 224, 224), torch.eye(9)[:2]).shape
    torch.Size([2, 3, 32, 32])
    """

    up: Tensor

    def __init__(
        self,
        classes: int,
        *,
        width: int = 64,
        blocks: int = 6,
        size: int = 128,
        residual: bool = False,
        conditional: bool = False,
    ) -> None:
        super().__init__()
        if size % 4 or min(classes, width, blocks, size) < 1:
            raise UsageError(
                f"a generator got classes={classes}, width={width}, blocks={blocks}, size={size}; "
                "expected numbers above 0 and a size that is a multiple of 4"
            )
        self.classes, self.size, self.residual = classes, size, residual
        down: list[nn.Module] = [nn.Conv2d(3 + classes, width, 7, 1, 3, bias=False), _Norm(width), nn.ReLU()]
        for w in (width, 2 * width):
            down += [nn.Conv2d(w, 2 * w, 4, 2, 1, bias=False), _Norm(2 * w), nn.ReLU()]
        self.encoder = nn.Sequential(*down)
        self.blocks = nn.ModuleList(_Residual(4 * width, classes if conditional else 0) for _ in range(blocks))
        back: list[nn.Module] = []
        for w in (4 * width, 2 * width):
            back += [nn.ConvTranspose2d(w, w // 2, 4, 2, 1, bias=False), _Norm(w // 2), nn.ReLU()]
        last = nn.Conv2d(width, 3, 7, 1, 3, bias=False)
        if residual:
            with torch.no_grad():
                last.weight *= 0.01
        self.decoder = nn.Sequential(*back, last)
        self.resize = Resize(size, CROP / size)
        self.register_buffer("up", triangle(CROP, size, size / CROP, 0.0), persistent=False)

    def small(self, faces: Tensor) -> Tensor:
        """Faces of any side as the network sees them, (N, 3, size, size)."""
        return faces if faces.shape[2:] == (self.size, self.size) else self.resize(faces)

    def forward(self, faces: Tensor, labels: Tensor) -> Tensor:
        x = self.small(faces) * 2 - 1
        labels = labels.to(x.dtype)
        tiles = labels[:, :, None, None].expand(-1, -1, self.size, self.size)
        y = self.encoder(torch.cat([x, tiles], 1).contiguous(memory_format=torch.channels_last))
        for block in self.blocks:
            y = block(y, labels)
        drawn = torch.tanh(self.decoder(y).float())
        if self.residual:
            drawn = (x + 2 * REACH * drawn).clamp(-1, 1)
        return (drawn + 1) / 2

    def change(self, faces: Tensor, labels: Tensor) -> Tensor:
        """What to add to crops (N, 3, 224, 224): output less input at the network's size, resampled to 224.

        The template scales about pixel 0 (see :class:`~halfmask.networks.resize.Resize`), and so does this.
        """
        small = self.small(faces)
        out: Tensor = self.up @ (self(small, labels) - small) @ self.up.T
        return out


class Critic(nn.Module):
    """D: faces RGB in [0, 1], (N, 3, size, size), to (src, attr).

    src (N, 1, h, w) judges patches, higher is more like a photograph (unbounded, as WGAN wants); attr holds logits (N,
    K) by attribute. ``groups`` gives each attribute's number of classes. Each of ``layers`` halves the side.

    >>> src, attr = Critic({"gender": 2, "age": 3}, width=8, layers=3, size=32)(torch.rand(2, 3, 32, 32))
    >>> src.shape, attr["age"].shape
    (torch.Size([2, 1, 4, 4]), torch.Size([2, 3]))
    """

    def __init__(self, groups: Mapping[str, int], *, width: int = 64, layers: int = 6, size: int = 128) -> None:
        super().__init__()
        side = size >> layers
        if layers < 1 or side < 1:
            raise UsageError(
                f"a critic of {layers} layers halves {size} pixels to {side}; expected at least 1 layer "
                "and 1 pixel: lower the number of layers"
            )
        self.groups, self.size = dict(groups), size
        trunk: list[nn.Module] = []
        before = 3
        for i in range(layers):
            trunk += [nn.Conv2d(before, width << i, 4, 2, 1), nn.LeakyReLU(0.01)]
            before = width << i
        self.trunk = nn.Sequential(*trunk)
        self.source = nn.Conv2d(before, 1, 3, 1, 1, bias=False)
        self.attributes = nn.Conv2d(before, sum(self.groups.values()), side, bias=False)

    def forward(self, faces: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        x = self.trunk((faces * 2 - 1).contiguous(memory_format=torch.channels_last))
        logits = self.attributes(x).flatten(1).split(list(self.groups.values()), 1)
        return self.source(x), dict(zip(self.groups, logits, strict=True))


def labels_of(ranks: Mapping[str, Tensor], groups: Mapping[str, int]) -> Tensor:
    """c, (N, sum of K) float32, from ranks (N,) by attribute; -1, unknown, becomes zeros.

    >>> labels_of({"gender": torch.tensor([1, -1])}, {"gender": 2}).tolist()
    [[0.0, 1.0], [0.0, 0.0]]
    """
    return torch.cat([F.one_hot(ranks[name] + 1, k + 1)[:, 1:] for name, k in groups.items()], 1).float()
