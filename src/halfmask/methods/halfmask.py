"""halfmask's own method: any of gender, age and race is drawn toward a target that chance chooses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from . import choice
from .contract import Crops, Method, Subject
from .generator import ATTRIBUTES, open_generator
from .key import own_key

#: What the change is multiplied by at strength 1. It was trained with factors of 1 to 2. Where the words stand was set
#: by auxiliary models on validation people (scripts/choose.py): mid is 2, at a mean match distance of .09.
FULL = 2.4
STRENGTHS: Mapping[str, float] = {"low": 0.53, "mid": 0.83, "high": 0.96}
#: The weights that ship by their names (docs/method.md), the first the default.
SHIPPED: Mapping[str, str] = {"free": "halfmask.onnx", "research": "halfmask-research.onnx"}
#: Its network sees nothing beyond the crop, so over this width its change is weaker, down to half. Mirrored beyond the
#: crop that would be a line on a plain wall.
EDGE = 8
#: What halfmask hides well enough to say so.
_PROVEN = frozenset({"gender"})


class Halfmask(Method):
    """A generator that changes faces so that classifiers read a target, not the truth (docs/method.md).

    No label is needed: for each face and each attribute in ``hide`` a target is drawn by the secret ``key`` and the
    face's pixels, independently of what the face shows, so inverting an answer gains nothing. For a face whose person
    is named it is drawn by key and that name instead: all photos of one person then get the same target, and averaging
    what is read from them gains nothing either. ``person`` names every face that is not named by its
    :class:`~halfmask.methods.contract.Subject`.

    ``strength`` scales the change. ``weights`` is ``free`` (FairFace and portraits), ``research`` (with CelebA, for
    non-commercial research), or the folder of a training run with ``halfmask.onnx``. Hiding age and race is
    experimental. Raises :class:`~halfmask.errors.UsageError` for a setting that makes no sense.
    """

    hides = frozenset(choice.ATTRIBUTES)
    whole = True
    edge = EDGE
    steady = True
    strengths = STRENGTHS
    proportional = True
    settings: ClassVar[Mapping[str, str]] = {
        "hide": "gender, age, race, or several joined by commas; the last two are EXPERIMENTAL  [default: gender]",
        "strength": "low, mid, high or 0..1, the size of the change  [default: mid]",
        "key": "a secret text that targets are drawn by  [default: $HALFMASK_KEY, else your own, made at first use]",
        "person": "draw by this name instead of the photo: the same target in all photos of one person",
        "weights": "free, research (non-commercial), or the folder of a training run  [default: free]",
    }
    secrets = frozenset({"key", "person"})

    def __init__(
        self,
        threads: int = 0,
        hide: str = "gender",
        strength: str | float = "mid",
        key: str | float | None = None,
        person: str | float | None = None,
        weights: Path | str = "free",
    ) -> None:
        self.name = "halfmask"
        self.hidden = choice.attributes(hide)
        self.share = np.float32(choice.strength(strength, STRENGTHS))
        self._given_key = choice.secret("key", key)
        self._person = choice.secret("person", person)
        generator = open_generator(weights, SHIPPED, ATTRIBUTES, threads)
        self._net, self.fingerprint = generator.net, generator.fingerprint
        #: group → its share among the targets, by attribute
        self.groups = generator.groups

    @classmethod
    def notes(cls, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """That age and race are experimental, and whose terms the research weights have."""
        notes = []
        if unproven := sorted(choice.attributes(settings.get("hide", "gender")) - _PROVEN):
            notes.append(f"hiding {' and '.join(unproven)} is EXPERIMENTAL: classifiers still read most of it")
        if settings.get("weights") == "research":
            notes.append("the research weights learned from CelebA too, whose terms are non-commercial research")
        return tuple(notes)

    @cached_property
    def _key(self) -> str:
        return own_key() if self._given_key is None else self._given_key  # made when a face first needs it

    def targets(self, crop: NDArray[np.float32], who: str | None = None) -> dict[str, int]:
        """What is drawn for one crop (3, 224, 224) of a person: attribute → class index, of hidden ones only."""
        rng = choice.drawn(self._key, crop, who or self._person)
        # all three are drawn, whatever is hidden, so that hiding age too leaves the gender's target as it was
        found = {"gender": int(rng.integers(0, 2))}
        for name, shares in self.groups.items():
            odds = np.array(list(shares.values()))
            found[name] = int(rng.choice(len(odds), p=odds / odds.sum()))
        return {name: found[name] for name in choice.ATTRIBUTES if name in self.hidden}

    def code(self, targets: Mapping[str, int]) -> NDArray[np.float32]:
        """What tells the network of targets: (C,) float32, as :meth:`halfmask.networks.halfmask.Masker.encode`."""
        flags = [float(name in targets) for name in choice.ATTRIBUTES]
        side = 2.0 * targets["gender"] - 1.0 if "gender" in targets else 0.0
        hot = [float(targets.get(name) == k) for name, shares in self.groups.items() for k in range(len(shares))]
        return np.array([*flags, side, *hot], np.float32)

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        codes = [self.code(self.targets(crop, s.who)) for crop, s in zip(crops, subjects, strict=True)]
        # not clipped, and multiplied last, so that strength scales it to the last bit
        return self.share * (np.float32(FULL) * self._net(crops, np.stack(codes)))
