"""The age and race groups that prototypes are made for: young and old, white and black (slides 004, figure 4).

With the two genders they are the eight prototypes of the Ensemble SAN. The slides name the groups only; where youth
ends (:data:`OLD`), and that people of other words for race belong to none, was settled here.
"""

from __future__ import annotations

from .table import Row

#: The groups of either gender, in the order in which prototypes are kept, from 1; 0 is everybody.
GROUPS = ("young white", "young black", "old white", "old black")
#: The first year of age that counts as old.
OLD = 40

_RACES = ("white", "black")


def group(low: float | None, high: float | None, race: str | None) -> int:
    """The group, 1..4, of an age in ``low``..``high`` years and a race; 0 when that is not known or not one of them.

    >>> GROUPS[group(20, 29, "Black") - 1], group(30, 49, "White"), group(20, 29, "Indian"), group(None, None, None)
    ('young black', 0, 0, 0)
    """
    word = (race or "").casefold()
    if low is None or high is None or word not in _RACES or low < OLD <= high:
        return 0
    return 1 + 2 * (low >= OLD) + _RACES.index(word)


def group_of(row: Row) -> int:
    """The group, 0..4, of a labelled picture."""
    low, high = (row.age, row.age) if row.age is not None else row.age_range or (None, None)
    return group(low, high, row.race)
