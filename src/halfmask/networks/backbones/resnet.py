"""ResNet (He, Zhang, Ren, Sun: *Deep Residual Learning*, CVPR 2016), 18, 34, 50 and 101 layers.

Names and arithmetic are torchvision's, so its published weights load: in the bottleneck of 50 and 101 the stride sits
on the 3 x 3 convolution ("v1.5").
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

#: Layers → blocks of each stage, and whether they are bottlenecks.
DEPTHS = {
    18: ((2, 2, 2, 2), False),
    34: ((3, 4, 6, 3), False),
    50: ((3, 4, 6, 3), True),
    101: ((3, 4, 23, 3), True),
}


class ResNet(nn.Module):
    """Normalised RGB (N, 3, H, W) to features (N, 512), of the deeper two (N, 2048), or to ``classes`` logits if any.

    >>> import torch
    >>> ResNet(18).eval()(torch.zeros(1, 3, 64, 64)).shape
    torch.Size([1, 512])
    """

    def __init__(self, depth: int, classes: int = 0) -> None:
        super().__init__()
        counts, deep = DEPTHS[depth]
        self.conv1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inside = 64
        for stage, count in enumerate(counts):
            width, blocks = 64 * 2**stage, []
            for i in range(count):
                blocks.append(_Block(inside, width, 2 if stage and not i else 1, deep))
                inside = width * 4 if deep else width
            self.add_module(f"layer{stage + 1}", nn.Sequential(*blocks))
        self.out_features = inside
        self.fc = nn.Linear(inside, classes) if classes else nn.Identity()
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        for stage in range(1, 5):
            x = self.get_submodule(f"layer{stage}")(x)
        out: Tensor = self.fc(x.mean((2, 3)))
        return out


class _Block(nn.Module):
    """Two 3 x 3 convolutions, or 1 x 1, 3 x 3 and 1 x 1 to four times the width, and the way around them."""

    def __init__(self, inside: int, width: int, stride: int, deep: bool) -> None:
        super().__init__()
        out = width * 4 if deep else width
        shapes = [(inside, width, 1, 1), (width, width, 3, stride), (width, out, 1, 1)]
        if not deep:
            shapes = [(inside, width, 3, stride), (width, width, 3, 1)]
        self.count = len(shapes)
        for i, (before, after, kernel, step) in enumerate(shapes, 1):
            self.add_module(f"conv{i}", nn.Conv2d(before, after, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{i}", nn.BatchNorm2d(after))
        self.downsample: nn.Module | None = None
        if stride > 1 or inside != out:
            self.downsample = nn.Sequential(nn.Conv2d(inside, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        around = x if self.downsample is None else self.downsample(x)
        for i in range(1, self.count + 1):
            x = self.get_submodule(f"bn{i}")(self.get_submodule(f"conv{i}")(x))
            if i < self.count:
                x = F.relu(x, inplace=True)
        return F.relu(x + around, inplace=True)
