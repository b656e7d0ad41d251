import numpy as np
import pytest

from halfmask.errors import UsageError
from halfmask.methods import choice


def test_order_and_spaces_do_not_matter() -> None:
    assert choice.attributes("race,gender") == choice.attributes(" gender , race") == {"gender", "race"}
    assert choice.attributes(["age"]) == {"age"}


@pytest.mark.parametrize("hide", ["", "gender,", "beauty", "gender age", []])
def test_what_cannot_be_hidden(hide: str) -> None:
    with pytest.raises(UsageError, match=r"joined by commas, of: gender, age, race"):
        choice.attributes(hide)


def test_only_what_is_known() -> None:
    with pytest.raises(UsageError, match=r"of: gender$"):
        choice.attributes("gender,age", {"gender"})


def test_chance_is_the_keys_the_photos_and_the_persons(rng: np.random.Generator) -> None:
    one, two = rng.random((2, 3, 8, 8), np.float32)

    def first(*asked: object) -> float:
        return float(choice.drawn(*asked).random())  # type: ignore[arg-type]

    assert first("key", one) == first("key", one.copy())
    assert len({first("key", one), first("key", two), first("other", one), first("key", one, "ann")}) == 4
    assert first("key", one, "ann") == first("key", two, "ann") != first("key", two, "bea")
