"""A small face matcher to train from scratch by triplets (AMLC slides 2018, after FaceNet, Schroff et al. 2015)."""

from __future__ import annotations

from pathlib import Path

import torch.nn.functional as F
from torch import Tensor, nn

from ..photos.align import CROP
from .gendercnn import to_gray
from .resize import Resize
from .state import frozen, loading, read_weights, write_weights

_SIDE = 112  # pixels of the ArcFace cut of the template; five poolings leave 4 x 4
_ZOOM = 1.75  # the cut's 196 of the template's 224 pixels, for each of these
#: The side of the crops of which the network sees every pixel once.
CROPS = round(CROP / _ZOOM)


class MatcherCNN(nn.Module):
    """Five convolutions and one fully connected layer, to embeddings of length 1; cosine is the score.

    Takes faces (N, 3 or 1, S, S) in [0, 1], crops of ``template(S)``, and gives (N, ``size``) float32. With ``gray``
    it looks at luma only, which is what a SAN matches.

    >>> import torch
    >>> MatcherCNN()(torch.rand(2, 3, 224, 224)).shape
    torch.Size([2, 128])
    """

    def __init__(
        self, widths: tuple[int, ...] = (32, 64, 128, 256, 256), size: int = 128, *, gray: bool = False
    ) -> None:
        super().__init__()
        self.widths, self.size, self.gray = widths, size, gray
        self.resize = Resize(_SIDE, _ZOOM)
        layers: list[nn.Module] = []
        channels, side = 1 if gray else 3, _SIDE
        for width in widths:
            layers += [nn.Conv2d(channels, width, 3, padding=1, bias=False), nn.MaxPool2d(2, ceil_mode=True)]
            layers += [nn.BatchNorm2d(width), nn.LeakyReLU(0.1)]  # after pooling, at a quarter of the cost
            channels, side = width, -(-side // 2)
        self.features = nn.Sequential(*layers)
        self.head = nn.Linear(channels * side * side, size)

    def forward(self, faces: Tensor) -> Tensor:
        x = to_gray(faces) if self.gray else faces.expand(-1, 3, -1, -1)
        return F.normalize(self.head(self.features((self.resize(x) - 0.5) * 4).flatten(1)).float())

    def save(self, path: Path) -> None:
        """Write the weights and what is needed to build the network again, as safetensors."""
        about = {"widths": ",".join(map(str, self.widths)), "size": str(self.size), "gray": str(self.gray)}
        write_weights(path, self.state_dict(), about)

    @classmethod
    def load(cls, path: Path) -> MatcherCNN:
        """What :meth:`save` wrote, in evaluation mode, frozen. Raises :class:`~halfmask.errors.WeightsError`."""
        with loading(path, "the matcher", "halfmask train matcher"):
            about, state = read_weights(path)
            widths = tuple(int(w) for w in about["widths"].split(","))
            net = cls(widths, int(about["size"]), gray=about["gray"] == "True")
            net.load_state_dict(state)
        return frozen(net)
