"""FlowSAN as a method: SANs one after the other, each changing what the one before made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from .choice import OPPOSITE
from .runtime import Faces, gray
from .san import SanFamily, several, whole_number


class FlowSan(SanFamily):
    """FlowSAN (Mirjalili, Raschka, Ross 2019): n SANs in sequence, of which the first ``steps`` run.

    Each was trained on the opposite-gender output of the one before, so ``prototype`` is ``op``. More steps
    hide more and cost more of the match. ``steps`` is 1 to n, by default all.

    ``weights`` is the folder of a run of ``halfmask train flowsan``; without it, the shipped weights. Raises
    :class:`~halfmask.errors.UsageError` for a setting that makes no sense.
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"prototype": (OPPOSITE,)}
    settings: ClassVar[Mapping[str, str]] = {
        "prototype": "only op: the mean face of the opposite gender is mixed in  [default: op]",
        "steps": "how many of the networks run, 1, 2, and so on  [default: all]",
        "weights": "folder of a run of halfmask train flowsan  [default: the shipped weights]",
    }

    def __init__(
        self,
        threads: int = 0,
        steps: str | float | None = None,
        weights: Path | str | None = None,
        prototype: str = OPPOSITE,
    ) -> None:
        super().__init__("flowsan", several("flowsan", weights, threads), prototype)
        self.steps = len(self._sans) if steps is None else whole_number("steps", steps, len(self._sans))

    def protected_gray(self, crops: Faces, gender: NDArray[np.integer]) -> Faces:
        """As :meth:`~halfmask.methods.san.SanFamily.protected_gray` says."""
        faces, groups = gray(crops), self._sans.groups(crops)
        for number in range(self.steps):
            faces = self._sans(number, faces, gender, self.prototype, groups)
        return faces
