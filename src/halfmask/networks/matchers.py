"""The auxiliary matchers by name, frozen: what says while training whether a face still shows the same person."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..errors import UsageError
from .facenet import FaceNet
from .matchercnn import MatcherCNN
from .sface import SFace
from .vggface import VGGFace


def load_matcher(name: str, weights: str | None = None, normalize: bool = True) -> nn.Module:
    """A frozen auxiliary matcher: faces (N, 1 or 3, 224, 224) in [0, 1] of our template to descriptors (N, D).

    Without ``normalize`` a descriptor keeps its length, as in the SAN paper, but that of ``own``, which is 1:
    a matcher of ``halfmask train matcher``, its file in ``weights``, how good: docs/lab-log.md. ``vggface``, the
    paper's, needs its published weights in ``weights``. Names joined by ``+`` make one matcher of several. Raises
    :class:`~halfmask.errors.UsageError` for another name, :class:`~halfmask.errors.WeightsError` when the network
    cannot be had.
    """
    if "+" in name:
        return _Several([load_matcher(one, weights, normalize) for one in name.split("+")])
    if name in ("sface", "facenet"):
        net = SFace.load() if name == "sface" else FaceNet.load()
        net.normalize = normalize
        return net
    if name == "vggface":
        if not weights:
            raise UsageError("matcher vggface needs 'matcher_weights': the path of the published VGG-Face weights")
        return VGGFace.load(Path(weights), gray=True, normalize=normalize)
    if name == "own":
        if not weights:
            raise UsageError("matcher own needs 'matcher_weights': the path of a file of halfmask train matcher")
        return MatcherCNN.load(Path(weights))
    raise UsageError(f"matcher {name!r} is unknown; use sface, facenet, vggface or own")


class _Several(nn.Module):
    """Several matchers as one, whose squared distances are the mean of theirs."""

    def __init__(self, matchers: Sequence[nn.Module]) -> None:
        super().__init__()
        self.matchers = nn.ModuleList(matchers)

    def forward(self, faces: Tensor) -> Tensor:
        out: Tensor = torch.cat([m(faces).float() for m in self.matchers], 1) / len(self.matchers) ** 0.5
        return out
