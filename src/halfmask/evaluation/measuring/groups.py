"""What a method does to the people of each gender, race and age group."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...datasets.pairs import Pair
from ...datasets.table import Row as Picture
from ...datasets.table import Table
from ...errors import DataError
from ..referees import Matcher
from .bootstrap import balanced_of, mean_of
from .figure import Figure, Published, Row, give, tmr, with_interval
from .matching import Comparisons, match_figure
from .metrics import balanced_accuracy, error_rate
from .protocol import BEFORE, Measured

#: Groups of age, in years, both included.
AGE_GROUPS = ((0, 19), (20, 39), (40, 59), (60, 200))


def group_rows(
    measured: Mapping[str, Measured],
    table: Table,
    matchers: Mapping[str, Matcher],
    pairs: Sequence[Pair] | None = None,
    *,
    fmr: float = 0.01,
    resamples: int = 500,
) -> list[Row]:
    """Every variant by gender, race and age group: before and protected side by side.

    Gender by every gender referee: ``accuracy`` on women and on men, ``balanced_accuracy`` within a race or an age
    group. Matching by every matcher: ``tmr@FMR`` of the genuine pairs whose probe is of the group, with the threshold
    that all originals fix. What was not attempted is in neither; a lost face is left out of the accuracy after
    protection, and is a pair that does not match.

    Keys: variant, attribute ("gender", "race", "age"), group, n (pictures, or genuine pairs), people, lost (of n),
    referee, measure, before, before_low, before_high, protected, protected_low, protected_high, refused. Groups without
    a picture have no row. Raises :class:`~halfmask.errors.DataError` for another table.
    """
    before = measured[BEFORE]
    groups = list(_groups(pictures_of(before, table), before.gender))
    compared = Comparisons(before, pairs)
    fixed = {name: compared.thresholds(matcher, name, [fmr])[0][0] for name, matcher in matchers.items()}
    referees = list(before.answers("p_male"))
    rows: list[Row] = []
    for name, m in measured.items():
        if name == BEFORE:
            continue
        asked = m.attempted & before.enrolled & (before.gender >= 0)
        probes = compared.probes(m)
        original = replace(before, attempted=m.attempted)  # the same comparisons, before
        scores = {k: [compared.genuine(side, r, k) for side in (original, m)] for k, r in matchers.items()}
        for attribute, group, inside in groups:
            about = {"variant": name, "attribute": attribute, "group": group}
            used, chosen = asked & inside, inside[probes]
            for referee in referees:
                facts = about | _counts(before.persons[used], m.enrolled[used]) | {"referee": referee}
                sides = [
                    _gender(Figure(variant=side, by=referee), of, used & of.enrolled, attribute != "gender", resamples)
                    for side, of in (("before", original), ("protected", m))
                ]
                rows.append(Row(facts, sides, sides=True))
            persons, shown = before.persons[probes][chosen], m.enrolled[probes][chosen]
            for matcher in scores:
                facts = about | _counts(persons, shown) | {"referee": matcher}
                rates = [
                    match_figure(
                        Figure(variant=side, by=matcher), tmr(fmr), genuine[chosen], fixed[matcher], persons, resamples
                    )
                    for side, genuine in zip(("before", "protected"), scores[matcher], strict=True)
                ]
                rows.append(Row(facts, rates, sides=True))
    return [row for row in rows if row.facts["n"]]


def pictures_of(before: Measured, table: Table) -> list[Picture]:
    """The table's rows, in the order in which they were measured.

    Raises :class:`~halfmask.errors.DataError` when the table is not the one that was measured.
    """
    if [row.key for row in table] != before.keys:
        raise DataError(
            f"{table.name} holds {len(table)} pictures that are not the {len(before)} measured, in their order; "
            "give the table that was measured"
        )
    return table.rows


def _counts(persons: NDArray[np.str_], shown: NDArray[np.bool_]) -> Published:
    return {"n": len(persons), "people": len(np.unique(persons)), "lost": int((~shown).sum())}


def _gender(about: Figure, m: Measured, used: NDArray[np.bool_], both: bool, resamples: int) -> Figure:
    """Balanced accuracy where ``both`` genders are in the group, else the share of right answers."""
    y, p, persons = m.gender[used], m.answers("p_male")[about.by][used], m.persons[used]
    right = (p >= 0.5) == (y == 1)
    if both:
        figure = give(about, "balanced_accuracy", balanced_accuracy, y, p)
        return with_interval(figure, balanced_of(right, y), persons, resamples)
    figure = give(about, "accuracy", lambda y, p: 1 - error_rate(y, p), y, p)
    return with_interval(figure, mean_of(right), persons, resamples)


def _groups(pictures: Sequence[Picture], gender: NDArray[np.int64]) -> Iterator[tuple[str, str, NDArray[np.bool_]]]:
    """Attribute, group, and which pictures belong to it (N,)."""
    for value, word in ((0, "female"), (1, "male")):
        yield "gender", word, gender == value
    races = np.array([p.race or "" for p in pictures])
    for race in sorted(set(races.tolist()) - {""}):
        yield "race", race, races == race
    # ages are whole years in the data sets: of someone of 19.5 the label would say 19
    spans = [(p.age, p.age) if p.age is not None else p.age_range or (np.nan, np.nan) for p in pictures]
    low, high = np.floor(np.array(spans, np.float64)).reshape(-1, 2).T
    for first, last in AGE_GROUPS:
        word = f"{first}-{last}" if last < 120 else f"{first} and over"
        yield "age", word, (low >= first) & (high <= last)
