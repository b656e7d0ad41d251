"""What age classes mean in years, and that training means the same."""

from __future__ import annotations

from itertools import pairwise

import pytest

from halfmask.datasets.ages import AgeClass, age_class
from halfmask.errors import DataError
from halfmask.networks.readings import reading


def test_words_of_fairface() -> None:
    words = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
    found = [age_class(word) for word in words]
    assert [c.middle for c in found] == [1.5, 6.5, 15.0, 25.0, 35.0, 45.0, 55.0, 65.0, 75.0]
    assert [(c.low, c.high) for c in found[:2]] == [(0, 2), (3, 9)]
    assert found[-1] == AgeClass(70, None, 75.0)
    assert all(a.high is not None and a.high + 1 == b.low for a, b in pairwise(found))


@pytest.mark.parametrize("word", ["", "old", "9-3", "-5", "21.5", "1000", "²"])
def test_what_is_no_age(word: str) -> None:
    with pytest.raises(DataError, match="is no age; expected"):
        age_class(word)


@pytest.mark.parametrize("about", [{"years": [21, 60]}, {"groups": [0, 3, 10, 20, 30, 40, 50, 60, 70]}])
def test_training_means_the_same_years(about: dict[str, list[int]]) -> None:
    ages = reading("age", about)
    assert ages.years == tuple(age_class(word).middle for word in ages.words)
