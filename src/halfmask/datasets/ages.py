"""What the words of age classes mean: ``"21"`` is one year, ``"3-9"`` a group, ``"70+"`` a group without end."""

from __future__ import annotations

from dataclasses import dataclass

from ..errors import DataError
from .labels import parse_ages

#: An open group's middle lies this many years above its lowest one.
_OPEN = 5


@dataclass(frozen=True)
class AgeClass:
    """Completed years ``low`` to ``high``, both inside; ``high`` None means no end. ``middle`` stands for the class.

    A single year's middle is the year itself, as its labels are; a group's is that of the time span, so 6.5 for 3 to 9,
    which ends on the tenth birthday; an open group counts as its lowest year + 5.
    """

    low: int
    high: int | None
    middle: float


def age_class(word: str) -> AgeClass:
    """The years that an age class's word names.

    Raises :class:`~halfmask.errors.DataError` when it names none.

    >>> age_class("21").middle, age_class("3-9").middle, age_class("70+")
    (21.0, 6.5, AgeClass(low=70, high=None, middle=75.0))
    """
    years = parse_ages(f"{word}-{word}" if word.isdigit() else word)
    if years is None:
        raise DataError(f"the age class {word!r} is no age; expected a year such as '21', or '3-9', or '70+'")
    low, high = years
    if word.isdigit():
        return AgeClass(low, high, float(low))
    if "-" not in word:
        return AgeClass(low, None, float(low + _OPEN))
    return AgeClass(low, high, (low + high + 1) / 2)
