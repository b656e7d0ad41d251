"""The semi-adversarial network's convolutional autoencoder (Mirjalili et al. 2018, section 2.2.1, figure 2).

A gray face and its same-gender prototype go through two (convolution, leaky ReLU, average pooling) blocks to a
56 x 56 x 12 code and back through two (convolution, leaky ReLU, nearest up-sampling) blocks to 224 x 224 x 128. The
proto-combiner puts a prototype's three channels beside these and makes one gray face of the 131: with the
same-gender prototype the SM output, with the neutral one NT, with the opposite one OP. Widths and slopes are those of
the authors' released code; it has 324,248 parameters.
"""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import WeightsError
from .state import read_weights


class SAN(nn.Module):
    """The autoencoder with proto-combiner.

    >>> net = SAN()
    >>> sum(p.numel() for p in net.parameters())
    324248
    >>> face, prototype = torch.rand(2, 1, 224, 224), torch.rand(2, 3, 224, 224)
    >>> sm, op = net(face, prototype, [prototype, 1 - prototype])
    >>> sm.shape
    torch.Size([2, 1, 224, 224])
    """

    def __init__(self, slope: float = 0.01) -> None:
        super().__init__()
        self.slope = slope
        self.enc1 = nn.Conv2d(4, 8, 3, padding=1)
        self.enc2 = nn.Conv2d(8, 12, 3, padding=1)
        self.dec1 = nn.Conv2d(12, 256, 3, padding=1)
        self.dec2 = nn.Conv2d(256, 128, 3, padding=1)
        self.combine = nn.Conv2d(131, 1, 1)

    def _code(self, face: Tensor, same: Tensor) -> Tensor:
        x = torch.cat([face, same], 1)
        x = F.avg_pool2d(F.leaky_relu(self.enc1(x), self.slope), 2)
        x = F.avg_pool2d(F.leaky_relu(self.enc2(x), self.slope), 2)
        return F.leaky_relu(self.dec1(x), self.slope)

    def forward(self, face: Tensor, same: Tensor, prototypes: list[Tensor]) -> list[Tensor]:
        """One output for each of ``prototypes``, computed as written above but without doing work twice.

        ``face`` (N, 1, H, W) in [0, 1]; ``same`` and each prototype (N, 3, H, W) in [0, 1], H and W multiples of 4.
        Returns gray faces (N, 1, H, W) in (0, 1).

        Two exact identities make it cheap. Up-sampling by repetition and a 3 x 3 convolution are together four
        2 x 2 convolutions on the small map, one for each pixel of a 2 x 2 block (:func:`fold`). And the last
        up-sampling may come after the 1 x 1 combiner instead of before it, since both act on every pixel alike.
        """
        logit = self._face_logit(face, same)
        weight = self.combine.weight[:, 128:]
        return [torch.sigmoid(logit + F.conv2d(p, weight)) for p in prototypes]

    def _face_logit(self, face: Tensor, same: Tensor) -> Tensor:
        """The combiner's output before the prototype is added, (N, 1, H, W)."""
        weight, bias = fold(self.dec2.weight, self.dec2.bias)
        x = F.leaky_relu(F.conv2d(self._code(face, same), weight, bias, padding=1), self.slope)
        assert self.combine.bias is not None
        to_gray = self.combine.weight[:, :128].expand(4, -1, -1, -1)
        return F.interpolate(unfold_phases(F.conv2d(x, to_gray, self.combine.bias.expand(4), groups=4)), scale_factor=2)

    def layer_by_layer(self, face: Tensor, same: Tensor, prototypes: list[Tensor]) -> list[Tensor]:
        """The same outputs, each layer as the paper draws it: the reference for tests and for the speed benchmark."""
        x = F.interpolate(self._code(face, same), scale_factor=2)
        x = F.interpolate(F.leaky_relu(self.dec2(x), self.slope), scale_factor=2)
        return [torch.sigmoid(self.combine(torch.cat([x, p], 1))) for p in prototypes]


def fold(weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Nearest x2 up-sampling followed by this 3 x 3 convolution (padding 1), as one 2 x 2 convolution.

    ``weight`` (C, D, 3, 3) becomes (4 C, D, 2, 2): four groups of C outputs, for the block's pixels (0, 0), (0, 1),
    (1, 0), (1, 1). Run it with padding 1 and pick each group's part with :func:`unfold_phases`. An even pixel sees two
    different source rows through taps {0} and {1, 2}, an odd one through {0, 1} and {2}.
    """
    top, middle, bottom = weight.unbind(2)
    rows = (torch.stack([top, middle + bottom], 2), torch.stack([top + middle, bottom], 2))
    groups = []
    for half in rows:
        left, centre, right = half.unbind(3)
        groups += [torch.stack([left, centre + right], 3), torch.stack([left + centre, right], 3)]
    return torch.cat(groups), None if bias is None else bias.repeat(4)


def unfold_phases(x: Tensor) -> Tensor:
    """Put the four groups of a folded convolution's output together: (N, 4 C, h + 1, w + 1) to (N, C, 2 h, 2 w)."""
    n, c, h, w = x.shape[0], x.shape[1] // 4, x.shape[2] - 1, x.shape[3] - 1
    a, b, d, e = torch.split(x, c, 1)
    parts = torch.stack([a[:, :, :h, :w], b[:, :, :h, 1:], d[:, :, 1:, :w], e[:, :, 1:, 1:]], 2)
    return F.pixel_shuffle(parts.reshape(n, 4 * c, h, w), 2)


class SANForExport(nn.Module):
    """What runs without torch: face, same-gender prototype and chosen prototype in, one gray face out.

    Inputs ``face`` (N, 1, 224, 224), ``same`` and ``chosen`` (N, 3, 224, 224); output (N, 1, 224, 224). The folded
    weights are stored, so that the graph holds no weight arithmetic.
    """

    def __init__(self, net: SAN) -> None:
        super().__init__()
        self.net = net
        weight, bias = fold(net.dec2.weight, net.dec2.bias)
        assert bias is not None
        assert net.combine.bias is not None
        self.folded = nn.Parameter(weight.detach().clone())
        self.folded_bias = nn.Parameter(bias.detach().clone())
        self.to_gray = nn.Parameter(net.combine.weight[:, :128].detach().expand(4, -1, -1, -1).clone())
        self.to_gray_bias = nn.Parameter(net.combine.bias.detach().expand(4).clone())
        self.from_prototype = nn.Parameter(net.combine.weight[:, 128:].detach().clone())

    def forward(self, face: Tensor, same: Tensor, chosen: Tensor) -> Tensor:
        x = F.conv2d(self.net._code(face, same), self.folded, self.folded_bias, padding=1)
        x = F.conv2d(F.leaky_relu(x, self.net.slope), self.to_gray, self.to_gray_bias, groups=4)
        logit = F.interpolate(unfold_phases(x), scale_factor=2)
        return torch.sigmoid(logit + F.conv2d(chosen, self.from_prototype))


def load_san(path: Path) -> SAN:
    """The network of a ``san.safetensors`` or of a checkpoint. Raises :class:`~halfmask.errors.WeightsError`."""
    try:
        about, state = read_weights(path)
        net = SAN(float(about.get("slope", 0.01)))
        net.load_state_dict(state)
    except (OSError, SafetensorError, ValueError, RuntimeError) as error:
        raise WeightsError(f"the SAN {path} cannot be loaded: {error}; give a run's san.safetensors") from error
    return net
