"""Inception-v3 (Szegedy et al.: *Rethinking the Inception Architecture*, CVPR 2016), names as torchvision's.

Each block is several branches whose maps are joined; a branch is a line of convolutions, written below as
``name: (width, kernel, padding, stride)``.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ...errors import UsageError


class InceptionV3(nn.Module):
    """Normalised RGB (N, 3, H, W), H, W >= 75, 299 in the paper, to features (N, 2048), or ``classes`` logits if any.

    ``auxiliary`` adds the second classifier that helps in training; :meth:`with_auxiliary` answers both.
    """

    def __init__(self, classes: int = 0, auxiliary: bool = False, dropout: float = 0.5) -> None:
        super().__init__()
        if auxiliary and not classes:
            raise UsageError("the auxiliary classifier of Inception-v3 needs the number of classes, got none")
        self.Conv2d_1a_3x3 = _Conv(3, 32, 3, stride=2)
        self.Conv2d_2a_3x3 = _Conv(32, 32, 3)
        self.Conv2d_2b_3x3 = _Conv(32, 64, 3, 1)
        self.Conv2d_3b_1x1 = _Conv(64, 80, 1)
        self.Conv2d_4a_3x3 = _Conv(80, 192, 3)
        self.Mixed_5b = _A(192, 32)
        self.Mixed_5c = _A(256, 64)
        self.Mixed_5d = _A(288, 64)
        self.Mixed_6a = _B(288)
        self.Mixed_6b = _C(128)
        self.Mixed_6c = _C(160)
        self.Mixed_6d = _C(160)
        self.Mixed_6e = _C(192)
        self.AuxLogits = _Auxiliary(classes) if auxiliary else None
        self.Mixed_7a = _D()
        self.Mixed_7b = _E(1280)
        self.Mixed_7c = _E(2048)
        self.dropout = nn.Dropout(dropout)
        self.out_features = 2048
        self.fc = nn.Linear(2048, classes) if classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.normal_(module.weight, std=0.1)

    def forward(self, x: Tensor) -> Tensor:
        return self._end(self._middle(x))

    def with_auxiliary(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Logits of the last and of the auxiliary classifier, both (N, classes); wants about 299 pixels."""
        if self.AuxLogits is None:
            raise UsageError("this Inception-v3 was made without its auxiliary classifier: InceptionV3(auxiliary=True)")
        middle = self._middle(x)
        return self._end(middle), self.AuxLogits(middle)

    def _middle(self, x: Tensor) -> Tensor:
        x = self.Conv2d_2b_3x3(self.Conv2d_2a_3x3(self.Conv2d_1a_3x3(x)))
        x = self.Conv2d_4a_3x3(self.Conv2d_3b_1x1(F.max_pool2d(x, 3, 2)))
        x = self.Mixed_5d(self.Mixed_5c(self.Mixed_5b(F.max_pool2d(x, 3, 2))))
        out: Tensor = self.Mixed_6e(self.Mixed_6d(self.Mixed_6c(self.Mixed_6b(self.Mixed_6a(x)))))
        return out

    def _end(self, x: Tensor) -> Tensor:
        x = self.Mixed_7c(self.Mixed_7b(self.Mixed_7a(x)))
        out: Tensor = self.fc(self.dropout(x.mean((2, 3))))
        return out


class _Conv(nn.Module):
    """Convolution, batch normalisation, ReLU."""

    def __init__(
        self, inside: int, out: int, kernel: int | tuple[int, int], padding: int | tuple[int, int] = 0, stride: int = 1
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inside, out, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out, eps=0.001)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.conv(x)), inplace=True)


def _pooled(x: Tensor) -> Tensor:
    return F.avg_pool2d(x, 3, 1, 1)


class _A(nn.Module):
    def __init__(self, inside: int, pool: int) -> None:
        super().__init__()
        self.branch1x1 = _Conv(inside, 64, 1)
        self.branch5x5_1 = _Conv(inside, 48, 1)
        self.branch5x5_2 = _Conv(48, 64, 5, 2)
        self.branch3x3dbl_1 = _Conv(inside, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, 1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, 1)
        self.branch_pool = _Conv(inside, pool, 1)

    def forward(self, x: Tensor) -> Tensor:
        five = self.branch5x5_2(self.branch5x5_1(x))
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch1x1(x), five, three, self.branch_pool(_pooled(x))], 1)


class _B(nn.Module):
    def __init__(self, inside: int) -> None:
        super().__init__()
        self.branch3x3 = _Conv(inside, 384, 3, stride=2)
        self.branch3x3dbl_1 = _Conv(inside, 64, 1)
        self.branch3x3dbl_2 = _Conv(64, 96, 3, 1)
        self.branch3x3dbl_3 = _Conv(96, 96, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        three = self.branch3x3dbl_3(self.branch3x3dbl_2(self.branch3x3dbl_1(x)))
        return torch.cat([self.branch3x3(x), three, F.max_pool2d(x, 3, 2)], 1)


class _C(nn.Module):
    def __init__(self, mid: int) -> None:
        super().__init__()
        flat, tall = ((1, 7), (0, 3)), ((7, 1), (3, 0))
        self.branch1x1 = _Conv(768, 192, 1)
        self.branch7x7_1 = _Conv(768, mid, 1)
        self.branch7x7_2 = _Conv(mid, mid, *flat)
        self.branch7x7_3 = _Conv(mid, 192, *tall)
        self.branch7x7dbl_1 = _Conv(768, mid, 1)
        self.branch7x7dbl_2 = _Conv(mid, mid, *tall)
        self.branch7x7dbl_3 = _Conv(mid, mid, *flat)
        self.branch7x7dbl_4 = _Conv(mid, mid, *tall)
        self.branch7x7dbl_5 = _Conv(mid, 192, *flat)
        self.branch_pool = _Conv(768, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch7x7_3(self.branch7x7_2(self.branch7x7_1(x)))
        twice = self.branch7x7dbl_3(self.branch7x7dbl_2(self.branch7x7dbl_1(x)))
        twice = self.branch7x7dbl_5(self.branch7x7dbl_4(twice))
        return torch.cat([self.branch1x1(x), once, twice, self.branch_pool(_pooled(x))], 1)


class _D(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.branch3x3_1 = _Conv(768, 192, 1)
        self.branch3x3_2 = _Conv(192, 320, 3, stride=2)
        self.branch7x7x3_1 = _Conv(768, 192, 1)
        self.branch7x7x3_2 = _Conv(192, 192, (1, 7), (0, 3))
        self.branch7x7x3_3 = _Conv(192, 192, (7, 1), (3, 0))
        self.branch7x7x3_4 = _Conv(192, 192, 3, stride=2)

    def forward(self, x: Tensor) -> Tensor:
        seven = self.branch7x7x3_4(self.branch7x7x3_3(self.branch7x7x3_2(self.branch7x7x3_1(x))))
        return torch.cat([self.branch3x3_2(self.branch3x3_1(x)), seven, F.max_pool2d(x, 3, 2)], 1)


class _E(nn.Module):
    def __init__(self, inside: int) -> None:
        super().__init__()
        flat, tall = ((1, 3), (0, 1)), ((3, 1), (1, 0))
        self.branch1x1 = _Conv(inside, 320, 1)
        self.branch3x3_1 = _Conv(inside, 384, 1)
        self.branch3x3_2a = _Conv(384, 384, *flat)
        self.branch3x3_2b = _Conv(384, 384, *tall)
        self.branch3x3dbl_1 = _Conv(inside, 448, 1)
        self.branch3x3dbl_2 = _Conv(448, 384, 3, 1)
        self.branch3x3dbl_3a = _Conv(384, 384, *flat)
        self.branch3x3dbl_3b = _Conv(384, 384, *tall)
        self.branch_pool = _Conv(inside, 192, 1)

    def forward(self, x: Tensor) -> Tensor:
        once = self.branch3x3_1(x)
        twice = self.branch3x3dbl_2(self.branch3x3dbl_1(x))
        return torch.cat(
            [
                self.branch1x1(x),
                self.branch3x3_2a(once),
                self.branch3x3_2b(once),
                self.branch3x3dbl_3a(twice),
                self.branch3x3dbl_3b(twice),
                self.branch_pool(_pooled(x)),
            ],
            1,
        )


class _Auxiliary(nn.Module):
    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv0 = _Conv(768, 128, 1)
        self.conv1 = _Conv(128, 768, 5)
        self.fc = nn.Linear(768, classes)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.fc(self.conv1(self.conv0(F.avg_pool2d(x, 5, 3))).mean((2, 3)))
        return out
