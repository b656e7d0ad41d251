"""What can be asked of a protection, checked before any work starts."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import UsageError
from ..methods import DEFAULT, METHODS
from ..photos.files import MAX_PIXELS

HIDES = ("gender",)
GENDERS = ("female", "male")
PROTOTYPES = ("sm", "nt", "op")
FACES = ("all", "largest")
NO_FACE = ("skip", "copy", "fail")


@dataclass(frozen=True)
class Options:
    """How to protect; the same for every photo of a run.

    ``gender`` is "female" or "male" for every face, None when it is read from a labels file or estimated.
    ``if_no_face`` is "skip", "copy" (unprotected) or "fail". ``format`` is a name or suffix of a picture format, None
    for the photo's own; ``quality`` is 1 to 100. A photo of more than ``max_pixels`` is refused.

    >>> Options(prototype="xx")
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: prototype is 'xx'; expected one of: sm, nt, op
    """

    method: str = DEFAULT
    hide: str = "gender"
    gender: str | None = None
    prototype: str = "op"
    faces: str = "all"
    if_no_face: str = "skip"
    score: bool = False
    format: str | None = None
    quality: int | None = None
    keep_metadata: bool = False
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        _one_of("method", self.method, tuple(sorted(METHODS)))
        _one_of("hide", self.hide, HIDES)
        if self.gender is not None:
            _one_of("gender", self.gender, GENDERS)
        _one_of("prototype", self.prototype, PROTOTYPES)
        _one_of("faces", self.faces, FACES)
        _one_of("if_no_face", self.if_no_face, NO_FACE)
        if self.quality is not None and not (isinstance(self.quality, int) and 1 <= self.quality <= 100):
            raise UsageError(f"quality is {self.quality!r}; expected a whole number from 1 to 100")
        if isinstance(self.max_pixels, bool) or not isinstance(self.max_pixels, int) or self.max_pixels < 1:
            raise UsageError(f"max_pixels is {self.max_pixels!r}; expected a whole number above 0")


def _one_of(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise UsageError(f"{name} is {value!r}; expected one of: {', '.join(known)}")
