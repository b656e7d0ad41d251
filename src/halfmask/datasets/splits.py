"""Splits in which nobody stands twice, and small sets of whole people."""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import get_args

import numpy as np

from halfmask.datasets.table import Row, Split, Table
from halfmask.errors import UsageError


def subject_disjoint(table: Table, shares: Mapping[Split, float], seed: int = 0) -> Table:
    """Set ``split`` so that no identity stands in two splits and women and men are shared out alike.

    ``shares`` gives each split its share *of the people* (they add up to 1); a row without an identity is a person of
    its own. Of every gender (and of those without one) each split gets its share, rounded by the largest remainder. The
    same identities and seed give the same split on any machine, in whatever order the rows come. A person whose
    pictures disagree on gender counts as what most of them say.

    Raises UsageError for a share that is not in [0, 1], a sum that is not 1, or a split of another name.

    >>> from pathlib import Path
    >>> rows = [Row(f"{i}.jpg", Path(f"{i}.jpg"), f"p{i // 2}", i // 2 % 2) for i in range(40)]
    >>> t = subject_disjoint(Table("demo", Path(), rows), {"train": 0.8, "test": 0.2}, seed=1)
    >>> {s: sorted(t.split(s).counts("gender").items()) for s in ("train", "test")}
    {'train': [(0, 16), (1, 16)], 'test': [(0, 4), (1, 4)]}
    """
    _check_shares(shares)
    genders: dict[str, Counter[int]] = {}
    for row in table:
        votes = genders.setdefault(_person(row), Counter())
        if row.gender is not None:
            votes[row.gender] += 1
    strata: dict[int | None, list[str]] = {}
    for person, votes in genders.items():
        # On a tie the lower gender, so that the order of the rows does not matter.
        gender = min(votes, key=lambda g: (-votes[g], g)) if votes else None
        strata.setdefault(gender, []).append(person)
    split_of: dict[str, Split] = {}
    for people in strata.values():
        people.sort(key=lambda person: _draw(seed, person))
        start = 0
        for split, count in _counts(len(people), shares).items():
            split_of.update(dict.fromkeys(people[start : start + count], split))
            start += count
    rows = [replace(row, split=split_of[_person(row)]) for row in table]
    return replace(table, rows=rows, problems=list(table.problems))


def most_people(table: Table, most: int, seed: int = 0) -> Table:
    """Whole people, in the order of a fixed shuffle, until there are at least ``most`` pictures.

    For a quick look at a large set: everybody stays with all of their pictures, so genuine pairs stay as common a
    person as they were. A row without an identity is a person of its own. The same people and seed give the same
    choice, in whatever order the rows come, and a smaller ``most`` gives people of the larger one.

    Raises UsageError when ``most`` is less than 1.

    >>> from pathlib import Path
    >>> t = Table("demo", Path(), [Row(f"{i}.jpg", Path(f"{i}.jpg"), f"p{i // 4}") for i in range(40)])
    >>> few = most_people(t, 10)
    >>> len(few), sorted({len(t.where(lambda r, p=p: r.identity == p)) for p in {r.identity for r in few}})
    (12, [4])
    """
    if most < 1:
        raise UsageError(f"cannot take {most} pictures of {table.name}: expected 1 or more.")
    sizes = Counter(_person(row) for row in table)
    # by the name alone, so that an identity stands where it did whether or not others are known
    people = sorted(sizes, key=lambda person: person.partition(" ")[2])
    np.random.default_rng(seed).shuffle(people)
    chosen: set[str] = set()
    total = 0
    for person in people:
        if total >= most:
            break
        chosen.add(person)
        total += sizes[person]
    return table.where(lambda row: _person(row) in chosen)


def _person(row: Row) -> str:
    # The prefixes keep a key from being taken for an identity of the same name.
    return f"key {row.key}" if row.identity is None else f"identity {row.identity}"


def _draw(seed: int, person: str) -> bytes:
    """A person's place in the draw: a hash, which unlike a generator's stream never changes between versions."""
    return hashlib.sha256(f"{seed} {person}".encode("utf-8", "surrogateescape")).digest()


def _counts(people: int, shares: Mapping[Split, float]) -> dict[Split, int]:
    """How many of so many people each split gets: the whole part of its share, and the rest by largest remainder."""
    exact = {split: people * share for split, share in shares.items()}
    # The nudge keeps 10 · 0.3 = 2.9999… from losing a person to rounding.
    counts = {split: math.floor(value + 1e-9) for split, value in exact.items()}
    by_remainder = sorted(shares, key=lambda split: counts[split] - exact[split])
    for split in by_remainder[: people - sum(counts.values())]:
        counts[split] += 1
    return counts


def _check_shares(shares: Mapping[Split, float]) -> None:
    names = get_args(Split)
    for split, share in shares.items():
        if split not in names:
            raise UsageError(f"cannot split: {split!r} is no split. Use {', '.join(names)}.")
        if not 0 <= share <= 1:
            raise UsageError(f"cannot split: the share of {split} is {share}, expected 0 to 1.")
    if not math.isclose(sum(shares.values()), 1.0, abs_tol=1e-6):
        raise UsageError(f"cannot split: the shares add up to {sum(shares.values()):g}, expected 1.")
