"""Over-sampling: some of a training set's faces more than once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.table import Row
from ..errors import DataError, UsageError

_GENDERS = ("female", "male")
_KEYS = ("race", "gender", "age", "share", "factor", "seed")


def oversampled(rows: Sequence[Row], rules: Sequence[Mapping[str, Any]]) -> NDArray[np.int64]:
    """Which faces an epoch sees: every index once, and again as often as the rules say, in rising order.

    A rule is ``{factor: 3}`` with what it holds for: ``race``, a list of the data set's words; ``gender``, "female" or
    "male"; ``age``, lowest and highest year, both included; or several of these, which must then all be so. ``share``
    takes a random part of those, drawn by ``seed``: ``{share: 0.3, factor: 2, seed: 1}`` doubles three faces in ten, as
    in the slides ("a random subset of samples are duplicated"). A face of several rules gets the copies of each.

    Raises :class:`~halfmask.errors.UsageError` for a rule that makes no sense and
    :class:`~halfmask.errors.DataError` for one that holds for no face.

    >>> from pathlib import Path
    >>> rows = [Row(k, Path(k), race=r) for k, r in (("a", "Black"), ("b", "White"))]
    >>> oversampled(rows, [{"race": ["Black"], "factor": 3}]).tolist()
    [0, 0, 0, 1]
    """
    times = np.ones(len(rows), np.int64)
    for rule in rules:
        chosen = _chosen(rows, rule)
        if not len(chosen):
            raise DataError(f"the oversample rule {dict(rule)} holds for none of the {len(rows)} faces")
        times[chosen] += rule["factor"] - 1
    return np.repeat(np.arange(len(rows)), times)


def _chosen(rows: Sequence[Row], rule: Mapping[str, Any]) -> NDArray[np.int64]:
    unknown = sorted(set(rule) - set(_KEYS)) if isinstance(rule, Mapping) else [rule]
    if unknown:
        raise UsageError(f"oversample has a rule with {unknown}; a rule's keys are: {', '.join(_KEYS)}")
    factor, share, age = rule.get("factor"), rule.get("share", 1.0), rule.get("age", [0, 200])
    races = rule.get("race", [])
    if type(factor) is not int or factor < 2:
        raise UsageError(f"the factor of an oversample rule is {factor!r}; expected a whole number from 2")
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share <= 1:
        raise UsageError(f"the share of an oversample rule is {share!r}; expected a number above 0, at most 1")
    if not isinstance(age, Sequence) or len(age) != 2:
        raise UsageError(f"the age of an oversample rule is {age!r}; expected [lowest, highest]")
    if rule.get("gender", "female") not in _GENDERS:
        raise UsageError(f"the gender of an oversample rule is {rule['gender']!r}; expected female or male")
    words = {races} if isinstance(races, str) else set(races)
    gender = _GENDERS.index(rule["gender"]) if "gender" in rule else None

    def holds(row: Row) -> bool:
        low, high = (row.age, row.age) if row.age is not None else row.age_range or (-1, 999)
        return (
            ("race" not in rule or row.race in words)
            and (gender is None or row.gender == gender)
            and ("age" not in rule or (low >= age[0] and high <= age[1]))
        )

    matching = np.array([i for i, row in enumerate(rows) if holds(row)], np.int64)
    if share == 1:
        return matching
    count = round(share * len(matching))
    return np.random.default_rng(rule.get("seed", 0)).permutation(matching)[:count]
