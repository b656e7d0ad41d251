"""VGG-16 (Simonyan, Zisserman: *Very Deep Convolutional Networks*, ICLR 2015, configuration D).

Names and layers are those of torchvision, so its published weights load.
"""

from __future__ import annotations

from torch import Tensor, nn

_WIDTHS = (64, 64, 0, 128, 128, 0, 256, 256, 256, 0, 512, 512, 512, 0, 512, 512, 512, 0)  # 0: halve the map


class VGG16(nn.Module):
    """Normalised RGB (N, 3, H, W) to features (N, 4096), or to ``classes`` logits if any.

    ``batch_norm`` puts a normalisation behind each convolution. A map that is not 7 x 7, as it is at 224 pixels, is
    pooled or repeated to it, as torchvision does. 119 of the 134 million weights are in the two dense layers.
    """

    def __init__(self, batch_norm: bool = False, classes: int = 0, dropout: float = 0.5) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inside = 3
        for width in _WIDTHS:
            if not width:
                layers.append(nn.MaxPool2d(2))
                continue
            layers.append(nn.Conv2d(inside, width, 3, padding=1))
            if batch_norm:
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.ReLU(inplace=True))
            inside = width
        self.out_features = 4096
        self.features = nn.Sequential(*layers)
        self.avgpool = nn.AdaptiveAvgPool2d(7)
        dense: list[nn.Module] = []
        for before in (512 * 49, 4096):
            dense += [nn.Linear(before, 4096), nn.ReLU(inplace=True), nn.Dropout(dropout)]
        self.classifier = nn.Sequential(*dense, *([nn.Linear(4096, classes)] if classes else []))
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                nn.init.zeros_(module.bias)  # type: ignore[arg-type]
            elif isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, 0, 0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.classifier(self.avgpool(self.features(x)).flatten(1))
        return out
