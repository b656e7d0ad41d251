"""Ensemble SAN as a method: several SANs that differ, and one output made of theirs."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from .choice import OPPOSITE, PROTOTYPES, drawn, one_of, secret
from .key import own_key
from .runtime import Faces, gray
from .san import PROTOTYPE, SanFamily, several, whole_number

#: How one output is made of several.
COMBINE = ("average", "gibbs")


class Ensemble(SanFamily):
    """Ensemble SAN (Mirjalili, Raschka, Ross 2018): n SANs, and of their outputs one.

    ``combine`` says which: ``average`` is the mean of the n outputs; ``gibbs`` the output of one member, drawn for each
    face by the secret ``key`` and the face's pixels, so the same photo always gets the same one and nobody else knows
    which. ``member`` takes the output of that one alone, 1 to n: protecting the photos n times, with 1, 2, … n, writes
    out all. Which member confounds a given classifier best is for an evaluation to know, not for a user:
    :func:`halfmask.evaluation.benchmark.oracle.oracle`.

    ``weights`` is the folder of a run of ``halfmask train ensemble``; without it, the shipped weights. Raises
    :class:`~halfmask.errors.UsageError` for a setting that makes no sense.
    """

    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"prototype": PROTOTYPES, "combine": COMBINE}
    settings: ClassVar[Mapping[str, str]] = {
        "prototype": PROTOTYPE,
        "combine": "average of all members' outputs, or gibbs: one member a face, by chance  [default: average]",
        "member": "the output of this member alone, 1, 2, and so on  [default: all, combined]",
        "key": "a secret text that gibbs draws by  [default: $HALFMASK_KEY, else your own, made at first use]",
        "weights": "folder of a run of halfmask train ensemble  [default: the shipped weights]",
    }
    secrets = frozenset({"key"})

    def __init__(
        self,
        threads: int = 0,
        combine: str | None = None,
        member: str | float | None = None,
        key: str | float | None = None,
        weights: Path | str | None = None,
        prototype: str = OPPOSITE,
    ) -> None:
        if combine is not None:
            one_of("combine", combine, COMBINE)
        if combine is not None and member is not None:
            raise UsageError(f"combine={combine} and member={member} exclude one another; give one of them")
        if key is not None and combine != "gibbs":
            raise UsageError("only combine=gibbs draws, so there is nothing to do with a key; leave it out")
        super().__init__("ensemble", several("ensemble", weights, threads), prototype)
        self._member = None if member is None else whole_number("member", member, len(self._sans)) - 1
        given = secret("key", key)
        self._key = None if combine != "gibbs" else given or own_key()
        self.steady = self._key is None  # who draws for each crop draws for each frame

    def members(self, crops: Faces) -> NDArray[np.intp]:
        """Which member each of the crops (N, 3, 224, 224) gets, (N,) from 0; all -1 for the average."""
        if self._key is None:
            return np.full(len(crops), -1 if self._member is None else self._member)
        return np.array([drawn(self._key, crop).integers(len(self._sans)) for crop in crops], np.intp)

    def protected_gray(self, crops: Faces, gender: NDArray[np.integer]) -> Faces:
        """As :meth:`~halfmask.methods.san.SanFamily.protected_gray` says."""
        faces, groups = gray(crops), self._sans.groups(crops)
        which = self.members(crops)
        out = np.zeros_like(faces)
        for number in range(len(self._sans)):
            chosen = np.flatnonzero((which == number) | (which < 0))
            if len(chosen):
                part = None if groups is None else groups[chosen]
                made = self._sans(number, faces[chosen], np.asarray(gender)[chosen], self.prototype, part)
                out[chosen] += made / np.where(which[chosen] < 0, len(self._sans), 1)[:, None, None, None]
        return out.astype(np.float32)
