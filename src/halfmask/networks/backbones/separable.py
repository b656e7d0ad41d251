"""A small depthwise separable network, the kind that phones and browsers run (Howard et al.: *MobileNets*, 2017)."""

from __future__ import annotations

from torch import nn

from .fastcnn import Staged


class Separable(Staged):
    """Normalised RGB (N, 3, H, W), H, W >= 32, to features (N, ``widths[-1]``): 0.1 million weights.

    Strides are average pools: on CPUs the gradient of a strided depthwise convolution is ten times slower.

    >>> import torch
    >>> Separable().eval()(torch.zeros(1, 3, 96, 96)).shape
    torch.Size([1, 192])
    """

    def __init__(self, stem: int = 24, widths: tuple[int, ...] = (48, 96, 144, 192), dropout: float = 0.2) -> None:
        first = nn.Sequential(nn.Conv2d(3, stem, 3, 2, 1, bias=False), nn.BatchNorm2d(stem))
        body: list[nn.Module] = []
        inside = stem
        for width in widths:
            body += [_pair(inside, width), nn.AvgPool2d(2), _pair(width, width)]
            inside = width
        super().__init__(first, body, dropout, inside)


def _pair(inside: int, out: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inside, inside, 3, 1, 1, groups=inside, bias=False),
        nn.Conv2d(inside, out, 1, bias=False),
        nn.BatchNorm2d(out),
        nn.ReLU(inplace=True),
    )
