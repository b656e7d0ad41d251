"""scripts/ages.py: which config each kind of its table is trained by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import ages_figure
import numpy as np
import pytest
from ages import config_of

from halfmask.errors import UsageError


def test_weighted_kinds_are_the_same_configs_with_weights() -> None:
    for kind in ("or", "coral", "corn"):
        plain, weighted = config_of(kind, 3), config_of(f"{kind}+iw", 3)
        assert (plain.seed, plain.importance, plain.heads["age"]["kind"]) == (3, False, kind)
        assert weighted == replace(plain, importance=True)
    with pytest.raises(UsageError, match="no tasks to weigh"):
        config_of("ce+iw", 1)


def test_figures_of_ages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = []
    monkeypatch.setattr(ages_figure, "save", lambda figure, path: seen.append((figure, path)))
    ages = np.repeat([21, 22, 23, 24], [50, 30, 15, 5])
    weights = ages_figure.importance(ages, 21, 24, tmp_path / "w.png")
    m = [max((ages > k).sum(), (ages <= k).sum()) for k in (21, 22, 23)]
    assert np.allclose(weights, np.sqrt(m) / np.sqrt(max(m)))
    bars, line = seen[0][0].axes
    assert [bar.get_height() for bar in bars.patches] == [50, 30, 15, 5]
    assert np.allclose(line.lines[0].get_xydata()[:, 1], weights)
    falls, rises = np.array([[0.9, 0.5, 0.2]] * 3), np.array([[0.9, 0.5, 0.2], [0.9, 0.4, 0.6], [0.1, 0.2, 0.3]])
    given = {"or": (rises, ["21", "22", "23", "24"]), "coral": (falls, ["21", "22", "23", "24"])}
    monkeypatch.setattr(ages_figure, "answers", lambda run: given[run.name])
    ages_figure.draw({kind: [Path(kind)] for kind in given}, tmp_path / "or.png")
    left, right = seen[1][0].axes
    assert [bar.get_height() for bar in left.patches] == [1, 2, 0, 0]
    shown = right.lines[0].get_ydata()
    assert np.allclose(shown, rises[2]) or np.allclose(shown, rises[1])  # a picture with a contradiction
