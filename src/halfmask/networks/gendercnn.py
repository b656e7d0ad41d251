"""The auxiliary gender classifier of the SAN paper (Mirjalili et al. 2018, section 2.2.3)."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from torch import Tensor, nn

from ..errors import WeightsError
from ..photos.samples import LUMA
from .state import frozen, read_weights


def to_gray(faces: Tensor) -> Tensor:
    """RGB (N, 3, H, W) to gray (N, 1, H, W); gray passes through.

    >>> import torch
    >>> round(to_gray(torch.ones(1, 3, 2, 2)).mean().item(), 3)
    1.0
    """
    if faces.shape[1] == 1:
        return faces
    weights = faces.new_tensor(LUMA.tolist()).view(1, 3, 1, 1)
    return (faces * weights).sum(1, keepdim=True)


class GenderCNN(nn.Module):
    """Six convolutions, each with leaky ReLU and max-pooling, to 4 x 4 x 256, then two fully connected layers.

    The paper gives depth, the 4 x 4 x 256 and the dropout of 0.5, but no widths; these are those of the published
    Keras code (32, 64, 64, 128, 128, 256; 5 x 5 then 3 x 3), padded so that the 4 x 4 comes out. Pooling stands before
    the leaky ReLU: both are monotone, so the result is the same and costs a quarter. ``batch_norm`` is ours; the
    paper's network has none.

    ``forward`` takes faces (N, 1 or 3, ``size``, ``size``) in [0, 1] and returns logits (N, ``classes``), by default
    for female, male. With ``classes=0`` it has no last layer and returns the ``hidden`` features before it.

    >>> import torch
    >>> GenderCNN()(torch.rand(2, 3, 224, 224)).shape
    torch.Size([2, 2])
    >>> GenderCNN(classes=0, size=112)(torch.rand(2, 3, 112, 112)).shape
    torch.Size([2, 256])
    """

    def __init__(
        self,
        widths: tuple[int, ...] = (32, 64, 64, 128, 128, 256),
        hidden: int = 256,
        slope: float = 0.1,
        dropout: float = 0.5,
        batch_norm: bool = True,
        classes: int = 2,
        size: int = 224,
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels, side = 1, size
        for i, width in enumerate(widths):
            kernel = 5 if i == 0 else 3
            layers.append(nn.Conv2d(channels, width, kernel, padding=kernel // 2, bias=not batch_norm))
            layers.append(nn.MaxPool2d(2, ceil_mode=True))
            if batch_norm:
                # after pooling: a quarter of the work, and pooling a positively scaled map is the same map
                layers.append(nn.BatchNorm2d(width))
            layers.append(nn.LeakyReLU(slope))
            channels, side = width, -(-side // 2)
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(channels * side * side, hidden),
            nn.LeakyReLU(slope),
            nn.Dropout(dropout),
            *([nn.Linear(hidden, classes)] if classes else []),
        )
        self.out_features = hidden

    def forward(self, faces: Tensor) -> Tensor:
        gray = (to_gray(faces) - 0.5) * 4.0
        out: Tensor = self.head(self.features(gray))
        return out


def load_gender(path: Path) -> GenderCNN:
    """The trained classifier in eval mode, frozen. Raises :class:`~halfmask.errors.WeightsError`."""
    try:
        about, state = read_weights(path)
        net = GenderCNN(
            widths=tuple(int(w) for w in about["widths"].split(",")),
            batch_norm=about["batch_norm"] == "True",
            slope=float(about["slope"]),
        )
        missing, unexpected = net.load_state_dict(state, strict=False)
        if unexpected or [m for m in missing if not m.endswith("num_batches_tracked")]:
            raise WeightsError(f"{path} does not fit: missing {missing}, unexpected {unexpected}")
    except (OSError, SafetensorError, KeyError, ValueError, RuntimeError) as error:
        raise WeightsError(f"the gender classifier {path} cannot be loaded: {error}") from error
    return frozen(net)
