"""What can be asked of a protection, checked before any work starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from .. import __version__
from ..errors import UsageError
from ..methods import DEFAULT, METHODS, Method
from ..methods.choice import ATTRIBUTES, IDENTITY, OPPOSITE, PROTOTYPES, attributes, one_of
from ..methods.choice import strength as check_strength
from ..photos.detect import THRESHOLD, check_size, check_threshold
from ..photos.reading import MAX_PIXELS
from ..weights.running import CPU
from ..weights.running import check as check_device
from .choosing import Pick, how_many, picks

GENDERS = ("female", "male")
NO_FACE = ("skip", "copy", "fail")
STRENGTHS = ("low", "mid", "high")
#: Options that change no byte of an output; ``asked`` says what the last three come to.
_NOT_IN_THE_FILE = frozenset({"score", "if_no_face", "max_pixels", "device", "settings", "strength", "prototype"})


@dataclass(frozen=True)
class Options:
    """How to protect; the same for every photo of a run.

    ``gender`` is "female" or "male" for every face, None when it is read from a labels file or estimated.
    ``if_no_face`` is "skip", "copy" (unprotected) or "fail". ``format`` is a name or suffix of a picture format, None
    for the photo's own; ``quality`` is 1 to 100. A photo of more than ``max_pixels`` is refused.

    ``strength`` is "low", "mid", "high" or a number in [0, 1], for a method that has a setting of that name; None
    leaves it at the method's own. ``settings`` are the method's own, as :func:`halfmask.methods.load` takes them.
    ``hide`` is one attribute or several joined by commas, such as "gender,age", or "identity"; the method has to know
    each. None is the gender, or what the method hides when it does not hide that; it stands there afterwards.

    ``prototype`` is "sm", "nt" or "op", for a method that has a setting of that name: another way to give the setting.
    None is that setting, else "op"; it stands there afterwards.

    ``faces`` is "all", "largest" or how many of the largest; ``only`` and ``skip`` choose faces by number or place, see
    :func:`~halfmask.protecting.choosing.picks`. Faces of less than ``min_face`` pixels are left as they are, and
    ``detector_threshold`` is the score, from 0.2 to 1, from which a find is a face. With ``crop`` the output is the
    method's own, as in the papers: the aligned 224 x 224 face, gray for a gray method, of the largest face chosen.
    ``preview`` is (start, length) in seconds: no more of a video is made.

    ``device`` is where networks run: "cpu", "cuda", "coreml" or "directml".

    >>> Options(prototype="xx")
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: prototype is 'xx'; expected one of: sm, nt, op
    """

    method: str = DEFAULT
    hide: str | None = None
    gender: str | None = None
    prototype: str | None = None
    faces: str | int = "all"
    if_no_face: str = "skip"
    score: bool = False
    format: str | None = None
    quality: int | None = None
    keep_metadata: bool = False
    max_pixels: int = MAX_PIXELS
    only: tuple[Pick, ...] = ()
    skip: tuple[Pick, ...] = ()
    min_face: int | None = None
    detector_threshold: float = THRESHOLD
    device: str = CPU
    crop: bool = False
    preview: tuple[float, float] | None = None
    strength: str | float | None = None
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)  # some are secret

    def __post_init__(self) -> None:
        one_of("method", self.method, sorted(METHODS))
        method = METHODS[self.method].cls
        if self.hide is None:
            own = "gender" if "gender" in method.hides else ",".join(sorted(method.hides))
            object.__setattr__(self, "hide", own)  # frozen for everybody else
        if not self.hidden <= method.hides:
            raise UsageError(f"{self.method} cannot hide {self.hide}; it hides: {', '.join(sorted(method.hides))}")
        if self.gender is not None:
            one_of("gender", self.gender, GENDERS)
        self._settle_prototype(method)
        self._settle_faces()
        one_of("if_no_face", self.if_no_face, NO_FACE)
        check_device(self.device)
        if self.device != CPU and "torch" in method.needs:
            raise UsageError(f"{self.method} computes with torch on the CPU; leave device {self.device} out")
        if self.quality is not None and not (isinstance(self.quality, int) and 1 <= self.quality <= 100):
            raise UsageError(f"quality is {self.quality!r}; expected a whole number from 1 to 100")
        if isinstance(self.max_pixels, bool) or not isinstance(self.max_pixels, int) or self.max_pixels < 1:
            raise UsageError(f"max_pixels is {self.max_pixels!r}; expected a whole number above 0")
        if self.strength is not None:
            if "strength" not in method.settings:
                raise UsageError(f"{self.method} has no strength to set; leave it out, or see: halfmask methods")
            if "strength" in self.settings:
                raise UsageError("strength is given twice, by itself and among the settings; give it once")
            if not check_strength(self.strength, dict.fromkeys(STRENGTHS, 1.0)):
                raise UsageError("strength 0 changes nothing; expected more, up to 1")
        if "hide" in self.settings:
            raise UsageError("hide stands among the settings; give it by itself: --hide, or hide=")
        prototype = {"prototype": self.prototype} if "prototype" in method.settings else {}
        METHODS[self.method].check(dict(self.settings) | prototype)

    def _settle_prototype(self, method: type[Method]) -> None:
        """Take the prototype from where it was given."""
        given = self.settings.get("prototype")
        if self.prototype is not None:
            one_of("prototype", self.prototype, PROTOTYPES)
            if "prototype" not in method.settings and self.prototype != OPPOSITE:  # which says nothing new
                raise UsageError(
                    f"{self.method} has no prototypes to choose from; leave prototype {self.prototype!r} out"
                )
            if given is not None:
                raise UsageError("prototype is given twice, by itself and among the settings; give it once")
        object.__setattr__(self, "prototype", self.prototype or given or OPPOSITE)

    def _settle_faces(self) -> None:
        """Read which faces are meant, and see that it makes sense."""
        object.__setattr__(self, "faces", how_many(self.faces))
        object.__setattr__(self, "only", picks("only", self.only))
        object.__setattr__(self, "skip", picks("skip", self.skip))
        if self.only and self.faces != "all":
            raise UsageError(f"only says which faces and faces ({self.faces}) how many; give one of them")
        if both := [pick for pick in self.only if pick in self.skip]:
            raise UsageError(f"only and skip both name {both[0]}; give it to one of them")
        if self.crop and self.faces == "all":
            object.__setattr__(self, "faces", "largest")
        if self.min_face is not None:
            check_size(self.min_face)
        check_threshold(self.detector_threshold)

    @property
    def hidden(self) -> frozenset[str]:
        """What is to be hidden, as names.

        >>> sorted(Options().hidden), sorted(Options(method="deidentify").hidden)
        (['gender'], ['identity'])
        """
        return attributes(self.hide or "", (*ATTRIBUTES, IDENTITY))

    @property
    def asked(self) -> dict[str, Any]:
        """Everything that the method is loaded with: the settings, the strength, what it hides and its prototype.

        The last two only where the method has such a setting.

        >>> Options("san", prototype="nt", settings={"weights": "runs/mine"}).asked
        {'weights': 'runs/mine', 'prototype': 'nt'}
        """
        has = METHODS[self.method].cls.settings
        asked = dict(self.settings) | ({} if self.strength is None else {"strength": self.strength})
        if "hide" in has:
            asked["hide"] = ",".join(sorted(self.hidden))
        if "prototype" in has:
            asked["prototype"] = self.prototype
        return asked

    @property
    def notes(self) -> tuple[str, ...]:
        """What the method has to say of these options with every result.

        >>> Options().notes, len(Options(hide="gender,age").notes)
        ((), 1)
        """
        return METHODS[self.method].cls.notes(self.asked)

    @property
    def told(self) -> dict[str, Any]:
        """As :attr:`asked`, without what is secret.

        >>> Options(settings={"key": "mine"}).told
        {'key': '(secret)', 'hide': 'gender'}
        """
        return METHODS[self.method].told(self.asked)

    def report(self) -> dict[str, Any]:
        """All fields, for a report, without what is secret."""
        return {f.name: getattr(self, f.name) for f in fields(self)} | {
            "settings": METHODS[self.method].told(self.settings)
        }

    def how(self, fingerprint: str) -> dict[str, Any]:
        """All that an output depends on beside its photo, secrets among it; ``fingerprint`` is of the method's weights.

        What only says which photos are refused or left out, and what is told of them, is not in it.
        """
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in _NOT_IN_THE_FILE}
        return own | {"asked": self.asked, "weights": fingerprint, "halfmask": __version__}
