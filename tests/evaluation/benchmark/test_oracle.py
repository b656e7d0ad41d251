"""The oracle's choice, beside the same choice made by a loop."""

from __future__ import annotations

import numpy as np
import pytest

from halfmask.errors import DataError
from halfmask.evaluation.benchmark.oracle import oracle
from halfmask.evaluation.measuring.metrics import error_rate
from halfmask.evaluation.measuring.protocol import Measured


def members(count: int = 3, pictures: int = 60) -> list[Measured]:
    rng = np.random.default_rng(0)
    gender = rng.integers(-1, 2, pictures)
    made = []
    for k in range(count):
        enrolled = rng.random(pictures) > 0.4
        p = np.where(enrolled, rng.random(pictures), np.nan)
        embedding = np.where(enrolled[:, None], rng.random((pictures, 4)), np.nan)
        columns = {"p_male/a": p, "p_male/b": np.where(enrolled, rng.random(pictures), np.nan), "embed/m": embedding}
        columns |= {"ssim": np.where(enrolled, k, np.nan)}
        keys = [f"{i}.jpg" for i in range(pictures)]
        attempted = np.ones(pictures, bool)
        made.append(Measured(f"m{k}", keys, gender, [None] * pictures, enrolled, attempted, columns))
    return made


def test_it_takes_for_each_face_what_the_referee_gets_most_wrong() -> None:
    measured = members()
    best = oracle(measured, "a")
    lost = 0
    for i, gender in enumerate(best.gender.tolist()):
        right = {}
        for k, m in enumerate(measured):
            if m.enrolled[i]:
                p = float(m.columns["p_male/a"][i])
                right[k] = {1: p, 0: 1 - p, -1: k}[gender]
        if not right:
            lost += 1
            assert not best.enrolled[i]
            continue
        chosen = measured[min(right, key=lambda k: right[k])]
        assert best.enrolled[i]
        for column, values in best.columns.items():
            np.testing.assert_array_equal(values[i], chosen.columns[column][i])
    assert 0 < lost < 20
    assert best.variant == "oracle"
    # no member alone is more wrong
    known = best.gender >= 0
    for m in measured:
        both = known & m.enrolled & best.enrolled
        mine, bests = (error_rate(best.gender[both], x.columns["p_male/a"][both]) for x in (m, best))
        assert bests > mine
    assert not np.array_equal(oracle(measured, "b").columns["ssim"], best.columns["ssim"])


def test_what_does_not_go_together_is_refused() -> None:
    one, two = members(2)
    with pytest.raises(DataError, match="nothing to choose from"):
        oracle([], "a")
    with pytest.raises(DataError, match=r"m1 was measured on other pictures than m0"):
        oracle([one, members(2, 30)[1]], "a")
    with pytest.raises(DataError, match="m0 was not asked by the gender referee 'c'; it has: a, b"):
        oracle([one, two], "c")
