"""What a request may ask of a protection: these words and no others, so neither weights nor keys nor paths."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import UsageError
from ..methods import DEFAULT, METHODS
from ..methods.choice import one_of
from ..methods.choice import strength as share_of
from ..photos.detect import Box
from ..photos.encode import format_of
from ..protecting.choosing import check_boxes
from ..protecting.options import GENDERS, NO_FACE, Options
from .limits import Refused

_LONGEST = 200
_BOXES = 100
#: Every option, and what it may be; Options says which values make sense.
OPTIONS: Mapping[str, tuple[type, ...]] = {
    "method": (str,),
    "hide": (str,),
    "strength": (str, int, float),
    "prototype": (str,),
    "gender": (str,),
    "format": (str,),
    "quality": (int,),
    "keep_metadata": (bool,),
    "if_no_face": (str,),
}
#: The methods that are served: not those that have to be told of a file.
SERVED = tuple(name for name, kind in METHODS.items() if not kind.cls.required)
_WORDS = {str: "a text", int: "a number", float: "a number", bool: "true or false"}


@dataclass(frozen=True)
class Ask:
    """What was asked, checked: arguments of :class:`~halfmask.protecting.options.Options`."""

    method: str = DEFAULT
    hide: str | None = None
    strength: str | float | None = None
    prototype: str | None = None
    gender: str | None = None
    format: str | None = None
    quality: int | None = None
    keep_metadata: bool = False
    if_no_face: str = "fail"

    @property
    def share(self) -> float | None:
        """The strength as a share of the change at strength 1; None for a method that is not proportional to it."""
        method = METHODS[self.method].cls
        if not method.proportional:
            return None
        return share_of("mid" if self.strength is None else self.strength, method.strengths)

    def options(self, *, max_pixels: int, skip: Sequence[int] = (), score: bool = False, full: bool = False) -> Options:
        """The options; ``full`` has a method that is proportional to its strength at 1, whose change is then scaled.

        Raises :class:`~halfmask.errors.UsageError` for what makes no sense.
        """
        strength = 1.0 if full and self.share is not None else self.strength
        return Options(
            method=self.method,
            hide=self.hide,
            strength=strength,
            prototype=self.prototype,
            gender=self.gender,
            format=self.format,
            quality=self.quality,
            keep_metadata=self.keep_metadata,
            if_no_face=self.if_no_face,
            skip=tuple(skip),
            score=score,
            max_pixels=max_pixels,
        )


def options_of(given: Mapping[str, Any], **fixed: Any) -> Ask:
    """The options in a JSON object. Raises :class:`~halfmask.serving.limits.Refused` for any that is unknown or odd.

    >>> options_of({"strength": 0.5}).strength
    0.5
    >>> options_of({"weights": "/etc"})
    Traceback (most recent call last):
    ...
    halfmask.serving.limits.Refused: (422, 'unknown_option', "'weights' is no option here; known: ...
    """
    asked: dict[str, Any] = {}
    for name, value in given.items():
        if name not in OPTIONS:
            raise Refused(422, "unknown_option", f"{name[:40]!r} is no option here; known: {', '.join(OPTIONS)}")
        if value is None:
            continue
        kinds = OPTIONS[name]
        fits = isinstance(value, kinds) and (bool in kinds or not isinstance(value, bool))
        if not fits or (isinstance(value, str) and len(value) > _LONGEST):
            expected = " or ".join(dict.fromkeys(_WORDS[kind] for kind in kinds))
            raise Refused(422, "bad_option", f"{name} is {str(value)[:40]!r}; expected {expected}")
        asked[name] = value
    ask = Ask(**asked | fixed)
    try:
        one_of("method", ask.method, SERVED)
        if ask.format is not None:
            format_of(ask.format)
        one_of("if_no_face", ask.if_no_face, [word for word in NO_FACE if word != "skip"])
        ask.options(max_pixels=1)
    except UsageError as error:
        raise Refused(422, "bad_option", str(error)) from error
    return ask


def from_text(given: Mapping[str, str], **fixed: Any) -> Ask:
    """The options in a query or a form, where all is text.

    >>> from_text({"quality": "80", "keep_metadata": "true"}).quality
    80
    """
    typed: dict[str, Any] = {}
    for name, text in given.items():
        kinds = OPTIONS.get(name, (str,))
        if bool in kinds and text in ("true", "false"):
            typed[name] = text == "true"
        elif kinds == (int,) and text.isascii() and text.isdigit() and len(text) < 10:
            typed[name] = int(text)
        else:
            typed[name] = text
    return options_of(typed, **fixed)


@dataclass(frozen=True)
class Change:
    """What is said of faces by their numbers: on or off, who it is, which gender; None where nothing is."""

    number: int
    on: bool | None
    who: str | None
    gender: str | None
    given: frozenset[str]


def faces_of(given: Any, count: int) -> list[Change]:
    """What is said of ``count`` faces: a list of objects with a ``number`` from 1 and ``on``, ``who`` or ``gender``."""
    changes = []
    for one in _list("faces", given):
        if not isinstance(one, Mapping) or not set(one) <= {"number", "on", "who", "gender"}:
            raise Refused(422, "bad_faces", "each of faces is an object of number, on, who and gender")
        number, on, who, gender = (one.get(name) for name in ("number", "on", "who", "gender"))
        if isinstance(number, bool) or not isinstance(number, int) or not 1 <= number <= count:
            raise Refused(422, "bad_faces", f"there is no face {str(number)[:20]}; the photo has {count}, from 1 on")
        if not isinstance(on, bool | None):
            raise Refused(422, "bad_faces", f"on of face {number} is neither true nor false")
        if not isinstance(who, str | None) or len(who or "") > _LONGEST:
            raise Refused(422, "bad_faces", f"who of face {number} is no text of at most {_LONGEST} letters")
        if gender not in (*GENDERS, None):
            raise Refused(422, "bad_faces", f"gender of face {number} is none of: {', '.join(GENDERS)}")
        changes.append(Change(number, on, (who or "").strip() or None, gender, frozenset(one)))
    return changes


def boxes_of(given: Any, width: int, height: int) -> tuple[Box, ...]:
    """Boxes (x, y, width, height) that a user drew in a photo of that size; each has to lie in it, at least partly."""
    drawn = _list("boxes", given)
    if not all(isinstance(box, Sequence) and not isinstance(box, str) and len(box) == 4 and
               all(isinstance(v, int | float) and not isinstance(v, bool) for v in box) for box in drawn):  # fmt: skip
        raise Refused(422, "bad_boxes", "each of boxes is four numbers: x, y, width, height in photo pixels")
    try:
        boxes = check_boxes(drawn)
    except UsageError as error:
        raise Refused(422, "bad_boxes", str(error)) from error
    for x, y, w, h in boxes:
        inside = x < width and y < height and x + w > 0 and y + h > 0 and w <= 2 * width and h <= 2 * height
        if not (inside and math.isfinite(x + w + y + h)):
            raise Refused(
                422, "bad_boxes", f"the box {x:g}, {y:g}, {w:g}, {h:g} is not in a photo of {width} x {height}"
            )
    return boxes


def _list(name: str, given: Any) -> Sequence[Any]:
    if not isinstance(given, Sequence) or isinstance(given, str) or len(given) > _BOXES:
        raise Refused(422, f"bad_{name}", f"{name} is no list of at most {_BOXES}")
    return given


def only(given: Any, *names: str) -> Mapping[str, Any]:
    """A JSON object with no other fields than these."""
    if not isinstance(given, Mapping):
        raise Refused(422, "bad_body", "the request's body is no JSON object")
    if odd := sorted(set(given) - set(names)):
        raise Refused(422, "unknown_field", f"{odd[0][:40]!r} is no field here; known: {', '.join(names)}")
    return given
