"""Hide who is shown in one pass: a generator trained to make a stranger of a face, of the same gender, age and race.

:mod:`halfmask.methods.deidentify` searches for each face's change anew, for seconds and with torch. Here a network
learned once what to add to any face (``halfmask train halfmask --config stranger``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np

from . import choice
from .contract import Crops, Method, Subject
from .generator import open_generator

#: What the change is multiplied by at strength 1. The words stand where faces keep an MSSIM of .975, .957 and .93
#: (scripts/deidentify_choose.py); training drew factors of 0.75 to 1.35, so high (1.48) goes beyond them.
FULL = 1.6
STRENGTHS: Mapping[str, float] = {"low": 0.48, "mid": 0.66, "high": 0.925}
#: The weights that ship by their names.
SHIPPED: Mapping[str, str] = {"free": "stranger.onnx"}


class Stranger(Method):
    """One forward pass a face, and no torch: recognisers are to see somebody else (docs/deidentify.md).

    ``strength`` scales the change. ``weights`` is ``free`` (FairFace and portraits), or the folder of a training run
    with ``halfmask.onnx``. Nothing is drawn, so the same face gets the same change. Raises
    :class:`~halfmask.errors.UsageError` for a setting that makes no sense.
    """

    hides = frozenset({choice.IDENTITY})
    steady = True
    strengths = STRENGTHS
    proportional = True
    settings: ClassVar[Mapping[str, str]] = {
        "strength": "low, mid, high or 0..1, the size of the change  [default: mid]",
        "weights": "free, or the folder of a run of halfmask train halfmask --config stranger  [default: free]",
    }

    def __init__(self, threads: int = 0, strength: str | float = "mid", weights: Path | str = "free") -> None:
        self.name = "stranger"
        self.share = np.float32(choice.strength(strength, STRENGTHS))
        self._generator = open_generator(weights, SHIPPED, choice.IDENTITY, threads)
        self.fingerprint = self._generator.fingerprint

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        nothing = np.zeros((len(crops), self._generator.code), np.float32)  # no attribute has a target
        return self.share * (np.float32(FULL) * self._generator.net(crops, nothing))
