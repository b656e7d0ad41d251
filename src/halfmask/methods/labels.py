"""The gender label that a method needs when nobody gave one: an estimate by our own classifier."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..weights import shipped
from .runtime import Faces, Network, gray


class GenderEstimate:
    """Our auxiliary gender classifier (SAN paper, section 2.2.3), from crops of the shared template.

    ``path`` is the ``gender.onnx`` of a run; without it the one that ships is taken.
    """

    def __init__(self, threads: int = 0, path: Path | None = None) -> None:
        self._net = Network(path or shipped.path("gender.onnx"), threads)

    def p_male(self, crops: Faces) -> NDArray[np.float64]:
        """Probability of male, (N,), for RGB crops (N, 3, 224, 224) in [0, 1]; face and mirror image averaged."""
        if not len(crops):
            return np.zeros(0)
        g = gray(crops)
        logits = (self._net(g) + self._net(g[..., ::-1])).astype(np.float64) / 2
        return 1.0 / (1.0 + np.exp(logits[:, 0] - logits[:, 1]))
