"""The auxiliary gender classifiers by file or name, frozen: what a SAN learns to confound."""

from __future__ import annotations

from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from ..errors import WeightsError
from ..weights import shipped
from .attribute import AttributeNet
from .gendercnn import load_gender


def load_classifier(where: str | Path) -> nn.Module:
    """An auxiliary gender classifier, frozen, in eval mode: gray faces (N, 1, 224, 224) in [0, 1] to logits (N, 2).

    ``where`` is the file of a run of ``halfmask train gender`` or ``halfmask train attribute`` with a gender head, or
    the name of one that ships, such as ``gender`` or ``attributes``. Raises :class:`~halfmask.errors.WeightsError`.
    """
    path = shipped.find(where)
    try:
        with safe_open(path, "pt") as stream:
            about = stream.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise WeightsError(f"the gender classifier {path} cannot be loaded: {error}") from error
    return GenderOf(AttributeNet.load(path)) if "backbone" in about else load_gender(path)


class GenderOf(nn.Module):
    """The gender head of an attribute network as a gender classifier: faces (N, 1 or 3, H, W) to logits (N, 2).

    Raises :class:`~halfmask.errors.WeightsError` when the network has no head for female and male.
    """

    def __init__(self, net: AttributeNet) -> None:
        super().__init__()
        if "gender" not in net.heads or net.heads["gender"].words != ("female", "male"):
            raise WeightsError(f"the attribute network reads {', '.join(net.heads)}; expected gender, female and male")
        self.net = net

    def forward(self, faces: Tensor) -> Tensor:
        logits = self.net(faces.expand(-1, 3, -1, -1))["gender"]
        # a binary head says log p(male)/p(female) in one number
        return logits if logits.shape[1] == 2 else torch.cat([-logits / 2, logits / 2], 1)
