"""What a config says of a head: which rank a face has, and at which frequencies the head starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from halfmask.datasets.table import Row
from halfmask.errors import UsageError
from halfmask.networks.readings import reading
from halfmask.training import attribute as recipe

#: Two data sets' words for three classes.
CLASSES = {"White": ["White"], "Black": ["Black"], "Asian": ["Asian", "East Asian", "Southeast Asian"]}


def test_ranks_of_ages() -> None:
    years = reading("age", {"kind": "corn", "years": [21, 60]})
    row = Row("a", Path("a"))
    assert [years.rank(replace(row, age=a)) for a in (20.9, 21.0, 60.9, 61.0)] == [-1, 0, 39, -1]
    assert years.rank(replace(row, age_range=(30, 30))) == -1  # a range is not a year
    groups = reading("age", {"kind": "coral", "groups": [0, 3, 10, 70]})
    assert groups.words == ("0-2", "3-9", "10-69", "70+")
    assert groups.years == (1.5, 6.5, 40.0, 75.0)
    ranges = [(0, 2), (3, 9), (2, 3), (20, 29), (70, 120), (60, 80)]
    assert [groups.rank(replace(row, age_range=r)) for r in ranges] == [0, 1, -1, 2, 3, -1]
    assert [groups.rank(replace(row, age=a)) for a in (2.9, 3.0, 99.0)] == [0, 1, 3]
    assert groups.rank(row) == -1
    late = reading("age", {"groups": [18, 40]})
    assert [late.rank(replace(row, age=a)) for a in (17.0, 18.0)] == [-1, 0]


def test_races_go_by_the_words_of_several_data_sets() -> None:
    race = reading("race", {"kind": "categorical", "classes": {"White": "White", **CLASSES}})
    row = Row("a", Path("a"))
    words = ("White", "Southeast Asian", "Asian", "Martian", None)
    assert [race.rank(replace(row, race=w)) for w in words] == [0, 2, 2, -1, -1]


@pytest.mark.parametrize(
    ("name", "about", "match"),
    [
        ("height", {"kind": "corn"}, "known: gender, age, race"),
        ("age", {"kind": "corn"}, "needs either"),
        ("age", {"kind": "corn", "years": [21, 60], "groups": [0, 30]}, "needs either"),
        ("age", {"kind": "corn", "years": [60, 21]}, "rising"),
        ("age", {"kind": "corn", "years": [20, 30, 40]}, "rising"),
        ("age", {"kind": "corn", "groups": [0, "30"]}, "rising"),
        ("age", {"kind": "corn", "groups": 5}, "rising"),
        ("age", "corn", "expected keys and values"),
        ("race", {"kind": "categorical"}, "needs 'classes'"),
        ("race", {"classes": {"A": ["x", "y"], "B": ["y"]}}, "'y' stands for two classes"),
    ],
)
def test_heads_that_make_no_sense_are_refused(name: str, about: Any, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        reading(name, about)


@pytest.mark.parametrize("kind", ["categorical", "or", "coral", "corn"])
def test_a_head_may_start_at_the_frequencies_of_its_labels(kind: str) -> None:
    head = recipe.HEADS[kind](5, 6)
    labels = torch.tensor([3, 3, 0, 1, 1, 1, -1, -1])  # nobody has 2, 4 or 5
    recipe.start_at_prior(head, labels)
    p = head.probabilities(head(torch.zeros(2, 5)))
    assert torch.allclose(p, torch.tensor([2, 4, 1, 3, 1, 1.0]) / 12, atol=1e-6)
