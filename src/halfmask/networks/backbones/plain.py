"""Convolutions and pooling, nothing else: the small classifiers of 30 to 60 pixels that many tools carry."""

from __future__ import annotations

from torch import Tensor, nn


class Plain(nn.Module):
    """Normalised RGB (N, 3, H, W), H, W >= 32, to features (N, ``widths[-1]``); every stage halves the map.

    >>> import torch
    >>> Plain().eval()(torch.zeros(1, 3, 32, 32)).shape
    torch.Size([1, 128])
    """

    def __init__(self, widths: tuple[int, ...] = (32, 64, 96, 128), dropout: float = 0.3) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for width in widths:
            layers += [nn.Conv2d(inside, width, 3, 1, 1, bias=False), nn.MaxPool2d(2)]
            # after pooling: a quarter of the work
            layers += [nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
            inside = width
        self.body = nn.Sequential(*layers)
        self.dropout = nn.Dropout(dropout)
        self.out_features = inside

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.dropout(self.body(x).amax((2, 3)))
        return out
