from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from halfmask.datasets import Row, Table, most_people, read, subject_disjoint
from halfmask.errors import UsageError

SHARES = {"train": 0.8, "valid": 0.1, "test": 0.1}


def table(people: int, rng: np.random.Generator) -> Table:
    """One to four pictures a person, a third of the people women."""
    rows = []
    for person in range(people):
        for n in range(int(rng.integers(1, 5))):
            key = f"{person}/{n}.jpg"
            rows.append(Row(key, Path(key), f"p{person}", int(person % 3 > 0)))
    return Table("made-up", Path(), rows)


def people(t: Table, split: str, gender: int) -> set[str | None]:
    return {r.identity for r in t if r.split == split and r.gender == gender}


def test_shares_disjoint_and_stratified(rng: np.random.Generator) -> None:
    t = subject_disjoint(table(300, rng), SHARES, seed=3)
    for gender, sizes in ((0, (80, 10, 10)), (1, (160, 20, 20))):
        sets = [people(t, split, gender) for split in SHARES]
        assert tuple(len(s) for s in sets) == sizes
        assert len(set.union(*sets)) == sum(sizes)


def test_order_of_rows_changes_nothing_and_seed_does(rng: np.random.Generator) -> None:
    t = table(60, rng)
    mixed = Table(t.name, t.root, [t[i] for i in rng.permutation(len(t))])
    once = {r.key: r.split for r in subject_disjoint(t, SHARES, seed=1)}
    assert once == {r.key: r.split for r in subject_disjoint(mixed, SHARES, seed=1)}
    assert once != {r.key: r.split for r in subject_disjoint(t, SHARES, seed=2)}


def test_the_draw_never_changes_between_versions() -> None:
    rows = [Row(f"{i}.jpg", Path(f"{i}.jpg"), f"p{i}") for i in range(8)]
    t = subject_disjoint(Table("t", Path(), rows), {"train": 0.5, "test": 0.5}, seed=0)
    # By hand: the four people whose sha256 of "0 identity pN" comes first.
    assert [r.identity for r in t.split("train")] == ["p0", "p2", "p4", "p7"]


def test_rows_without_identity_are_their_own_people() -> None:
    rows = [Row(f"{i}.jpg", Path(f"{i}.jpg"), gender=i % 2) for i in range(40)]
    t = subject_disjoint(Table("t", Path(), rows), {"train": 0.5, "test": 0.5})
    assert t.counts("split") == {"test": 20, "train": 20}
    assert t.split("train").counts("gender") == {0: 10, 1: 10}


def test_an_identity_named_like_a_key_is_another_person() -> None:
    rows = [Row("a.jpg", Path("a.jpg")), Row("b.jpg", Path("b.jpg"), identity="a.jpg")]
    t = subject_disjoint(Table("t", Path(), rows), {"train": 0.5, "test": 0.5})
    assert {r.split for r in t} == {"train", "test"}


def test_pictures_that_disagree_on_gender_keep_their_person_together() -> None:
    rows = [Row(f"{p}/{n}.jpg", Path(), f"p{p}", int(n > 0)) for p in range(20) for n in range(3)]
    t = subject_disjoint(Table("t", Path(), rows, ["a problem"]), {"train": 0.5, "test": 0.5})
    assert all(len({r.split for r in t if r.identity == f"p{p}"}) == 1 for p in range(20))
    assert t.counts("split") == {"test": 30, "train": 30}
    assert t.problems == ["a problem"]


@given(n=st.integers(0, 60), cut=st.tuples(st.floats(0, 1), st.floats(0, 1)), seed=st.integers())
def test_everyone_is_placed_and_counts_are_within_one(n: int, cut: tuple[float, float], seed: int) -> None:
    low, high = sorted(cut)
    shares = {"train": low, "valid": high - low, "test": 1 - high}
    rows = [Row(f"{i}.jpg", Path(), f"p{i}", 1) for i in range(n)]
    counts = subject_disjoint(Table("t", Path(), rows), shares, seed).counts("split")  # type: ignore[arg-type]
    assert sum(counts.values()) == n
    assert all(abs(counts.get(split, 0) - n * share) < 1 + 1e-6 for split, share in shares.items())


@pytest.mark.parametrize(
    ("shares", "words"),
    [({"train": 0.8, "test": 0.3}, "add up to 1.1"), ({"train": 1.2, "test": -0.2}, "0 to 1"), ({"dev": 1.0}, "'dev'")],
)
def test_senseless_shares(shares: dict[str, float], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        subject_disjoint(Table("t", Path()), shares)  # type: ignore[arg-type]


def test_real_celeba(shared_data: Path) -> None:
    t = subject_disjoint(read("celeba", shared_data / "celeba"), SHARES, seed=0)
    who = [{r.identity for r in t.split(split)} for split in ("train", "valid", "test")]
    assert len(set.union(*who)) == sum(len(w) for w in who) == 1300
    assert all(abs(len(w) - 1300 * share) <= 1 for w, share in zip(who, SHARES.values(), strict=True))


def test_a_small_set_is_of_whole_people(rng: np.random.Generator) -> None:
    whole = table(30, rng)
    sizes = {p: sum(r.identity == p for r in whole) for p in {r.identity for r in whole}}
    few = most_people(whole, 20)
    assert 20 <= len(few) < 20 + max(sizes.values())
    assert all(sum(r.identity == p for r in few) == sizes[p] for p in {r.identity for r in few})
    fewer = {r.key for r in most_people(whole, 8)}
    assert fewer < {r.key for r in few}
    mixed = Table(whole.name, whole.root, whole.rows[::-1])
    assert {r.key for r in most_people(mixed, 20)} == {r.key for r in few}
    assert {r.key for r in most_people(whole, 20, seed=1)} != {r.key for r in few}
    assert len(most_people(whole, 10_000)) == len(whole)
    with pytest.raises(UsageError, match="expected 1 or more"):
        most_people(whole, 0)


def test_pictures_of_nobody_known_are_people_of_their_own() -> None:
    rows = [Row(f"{i}.jpg", Path(f"{i}.jpg")) for i in range(9)]
    assert len(most_people(Table("made-up", Path(), rows), 4)) == 4
