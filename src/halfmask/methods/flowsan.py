"""FlowSAN as a method: SANs one after the other, each changing what the one before made."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .runtime import Faces, gray
from .san import luma_change, several, whole_number


class FlowSan:
    """FlowSAN (Mirjalili, Raschka, Ross 2019): n SANs in sequence, of which the first ``steps`` run.

    Each was trained on the opposite-gender output of the one before, so there is no other: more steps hide more and
    cost more of the match. ``steps`` is 1 to n, by default all.

    ``weights`` is the folder of a run of ``halfmask train flowsan``; without it, the shipped weights. Raises
    :class:`~halfmask.errors.UsageError` for a setting that makes no sense.
    """

    hides: frozenset[str] = frozenset({"gender"})
    prototypes: tuple[str, ...] = ("op",)
    needs_label = True
    settings: ClassVar[Mapping[str, str]] = {
        "steps": "how many of the networks run, 1, 2, and so on  [default: all]",
        "weights": "folder of a run of halfmask train flowsan  [default: the shipped weights]",
    }
    models: ClassVar[tuple[str, ...]] = ()

    def __init__(self, threads: int = 0, steps: str | float | None = None, weights: Path | str | None = None) -> None:
        self.name = "flowsan"
        self._sans = several("flowsan", weights, threads)
        self.steps = len(self._sans) if steps is None else whole_number("steps", steps, len(self._sans))
        #: of the files' sha256, 12 digits each: first the networks in order, then the prototypes
        self.fingerprint = self._sans.fingerprint

    def __len__(self) -> int:
        """How many networks there are."""
        return len(self._sans)

    def protected_gray(self, crops: Faces, gender: NDArray[np.integer], prototype: str = "op") -> Faces:
        """Gray faces (N, 1, 224, 224) for RGB crops (N, 3, 224, 224), both in [0, 1]; gender (N,) of 0, 1."""
        if prototype != "op":
            raise UsageError(f"prototype {prototype!r} is unknown to flowsan; use op")
        faces, groups = gray(crops), self._sans.groups(crops)
        for number in range(self.steps):
            faces = self._sans(number, faces, gender, prototype, groups)
        return faces

    def change(self, crops: Faces, gender: NDArray[np.integer], prototype: str = "op") -> Faces:
        """What to add to RGB crops (N, 3, 224, 224) in [0, 1]: same shape, in [-1, 1], luminance alone."""
        if not len(crops):
            return np.zeros_like(crops)
        return luma_change(self.protected_gray(crops, gender, prototype), crops)
