"""What a head's ranks mean: its words, and how a face's label in a data set becomes a rank."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets.ages import age_class
from ..datasets.table import Row
from ..errors import UsageError


@dataclass(frozen=True)
class Reading:
    """How one head's labels come from a row: its words, and a function from row to rank, -1 where unknown."""

    words: tuple[str, ...]
    rank: Callable[[Row], int]
    #: the year that a rank stands for, (K,), of an age head
    years: tuple[float, ...] | None = None


def reading(name: str, about: Mapping[str, Any]) -> Reading:
    """What a config says of a head, checked.

    >>> from pathlib import Path
    >>> ages = reading("age", {"kind": "coral", "groups": [0, 3, 10]})
    >>> ages.words, ages.rank(Row("a", Path("a"), age=4)), ages.rank(Row("b", Path("b"), age_range=(0, 2)))
    (('0-2', '3-9', '10+'), 1, 0)
    """
    if not isinstance(about, Mapping):
        raise UsageError(f"the head {name} is {about!r}, expected keys and values such as {{kind: categorical}}")
    if name == "gender":
        return Reading(("female", "male"), lambda row: -1 if row.gender is None else row.gender)
    if name == "race":
        return _by_word(about.get("classes"))
    if name != "age":
        raise UsageError(f"a head is called {name!r}; known: gender, age, race")
    if ("years" in about) == ("groups" in about):
        raise UsageError("an age head needs either 'years: [first, last]' or 'groups: [lowest year of each]'")
    what = "years" if "years" in about else "groups"
    given = about[what]
    rising = isinstance(given, Sequence) and all(type(y) is int for y in given) and sorted(set(given)) == [*given]
    if not rising or len(given) < 2 or (what == "years" and len(given) > 2):
        raise UsageError(f"{what} of the age head is {given!r}, expected rising whole years")
    return _by_year(*given) if what == "years" else _by_group(given)


def _by_word(classes: object) -> Reading:
    if not isinstance(classes, Mapping) or len(classes) < 2:
        raise UsageError("a race head needs 'classes': each with the data sets' words for it, at least two")
    place: dict[str, int] = {}
    for k, (name, words) in enumerate(classes.items()):
        for word in [words] if isinstance(words, str) else words:
            if place.setdefault(str(word), k) != k:
                raise UsageError(f"the race head's word {word!r} stands for two classes, {name} is the second")
    return Reading(tuple(map(str, classes)), lambda row: place.get(row.race or "", -1))


def _by_year(first: int, last: int) -> Reading:
    years = range(first, last + 1)

    def rank(row: Row) -> int:
        return int(row.age) - first if row.age is not None and first <= int(row.age) <= last else -1

    return Reading(tuple(map(str, years)), rank, tuple(map(float, years)))


def _by_group(lows: Sequence[int]) -> Reading:
    highs = [low - 1 for low in lows[1:]]
    words = (*(f"{a}-{b}" for a, b in zip(lows, highs, strict=False)), f"{lows[-1]}+")

    def rank(row: Row) -> int:
        ends = (row.age, row.age) if row.age is not None else row.age_range
        if ends is None:
            return -1
        # of a range, both ends must lie in one group; the last group has no end
        one, two = (int(np.searchsorted(lows, int(end), "right")) - 1 for end in ends)
        return one if one == two or one == len(lows) - 1 else -1

    return Reading(words, rank, tuple(age_class(word).middle for word in words))
