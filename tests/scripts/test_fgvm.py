"""scripts/fgvm.py: how its settings become α, λ and ε, and the slides' "Percentage Improvement"."""

from __future__ import annotations

import pytest
from fgvm import PUBLISHED, RULES, absolute, improvements


def test_the_slides_improvements_are_those_of_their_figures() -> None:
    rows = [
        {"model": model, "method": RULES[rule], "l2": l2, "mssim": mssim, "wrong": rate}
        for model, methods in PUBLISHED.items()
        for rule, (l2, mssim, rate) in methods.items()
    ]
    found = {(row["model"], row["over"]): row for row in improvements(rows)}
    assert len(found) == 4
    wanted = {("a", "I-FGVM"): (0.363, 0.023, 0.002), ("a", "I-FGSM"): (0.404, 0.024, 0.007),
              ("b", "I-FGVM"): (0.209, 0.002, 0.03), ("b", "I-FGSM"): (0.632, 0.027, 0.017)}  # fmt: skip
    for key, values in wanted.items():
        got = [found[key][name] for name in ("l2", "mssim", "wrong")]
        assert got == pytest.approx(values, abs=0.0011)  # printed with one digit, some of them cut off


def test_nobody_wrong_is_no_division_by_zero() -> None:
    rows = [{"model": "a", "method": m, "l2": 1.0, "mssim": 0.9, "wrong": w} for m, w in (("P-FGVM", 1), ("I-FGSM", 0))]
    assert improvements(rows) == [{"model": "a", "over": "I-FGSM", "l2": 0.0, "mssim": 0.0}]


def test_a_first_step_is_as_long_for_each_rule() -> None:
    length, numbers = 4.0, 100
    for rule, tried in (("p-fgvm", {"pull": 0.1, "first": 0.2}), ("i-fgvm", {"epsilon": 0.1, "first": 0.2})):
        assert absolute(rule, tried, 0.2, length, numbers)["step"] * length == pytest.approx(0.2)
    chosen = absolute("i-fgsm", {"epsilon": 0.1, "first": 0.2}, 0.2, length, numbers)
    assert chosen["step"] * numbers**0.5 == pytest.approx(0.2)
    assert set(chosen) == {"step", "epsilon"}
