"""Coefficients of papers, by hand."""

from __future__ import annotations

import numpy as np
import pytest
from coefficients import folded, pic, suppression_rate, two_class_summary
from hypothesis import given
from hypothesis import strategies as st

from halfmask.errors import MetricError


@pytest.fixture
def two(rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """500 labels and overlapping scores."""
    labels = rng.integers(0, 2, 500)
    return labels, np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)


@given(st.floats(0, 1))
def test_folding_forgets_the_inversion(rate: float) -> None:
    assert folded(rate) == pytest.approx(folded(1 - rate))
    assert 0 <= folded(rate) <= 0.5


def test_flipped_classifier_has_the_same_folded_figures(two: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = two
    straight, flipped = two_class_summary(labels, scores), two_class_summary(labels, 1 - scores)
    assert straight["n"] == 500
    assert flipped["error"] == pytest.approx(1 - straight["error"])
    for key in ("folded_error", "folded_balanced_accuracy", "folded_auc"):
        assert flipped[key] == pytest.approx(straight[key])
    assert flipped["folded_eer"] == pytest.approx(straight["folded_eer"], abs=0.005)


def test_pic_and_suppression_rate_by_hand() -> None:
    assert pic(0.1, 0.3, 0.05, 0.10) == pytest.approx(2.0 - 1.0)
    assert pic(0.1, 0.1, 0.05, 0.05) == 0.0
    assert suppression_rate(0.96, 0.72) == pytest.approx(0.25)
    with pytest.raises(MetricError, match="divides by the errors before"):
        pic(0.1, 0.3, 0.0, 0.1)
    with pytest.raises(MetricError, match="divides by the accuracy before"):
        suppression_rate(0.0, 0.5)
