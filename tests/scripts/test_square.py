"""scripts/square.py: a run's figures by its answers, and what backbone and head change."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import square
import yaml

from halfmask.training.attribute import AttributeConfig
from halfmask.training.config import load_config


def run_of(folder: Path, name: str, **arrays: np.ndarray) -> Path:
    folder.mkdir(parents=True)
    config = replace(load_config(AttributeConfig, name), seed=1)
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)), "utf-8")
    np.savez(folder / "test.npz", keys=np.array([f"val/{i}.jpg" for i in range(4)]), **arrays)
    (folder / "test.json").write_text("{}", "utf-8")
    return folder


def said(gender: list[int], race: list[int], age: np.ndarray) -> dict[str, np.ndarray]:
    """Answers that are certain; true are a woman and a man of 20-29 and a woman and a man of 70+, one unlabelled."""
    return {
        "logits/gender": np.where(np.array(gender) == 1, 50.0, -50.0)[:, None].astype(np.float32),
        "logits/race": 50 * np.eye(7, dtype=np.float32)[race],
        "logits/age": age.astype(np.float32),
        "rank/gender": np.array([0, 1, 0, -1]),
        "rank/race": np.array([0, 0, 1, 1]),
        "rank/age": np.array([3, 3, 8, 8]),
    }


def test_figures_are_counted_on_a_runs_answers(tmp_path: Path) -> None:
    ages = 50 * np.eye(9)[[3, 4, 8, 7]]  # 25, 35, 75 and 65 years
    run = run_of(
        tmp_path / "fairface-gendercnn-1", "attributes/fairface-gendercnn", **said([0, 1, 1, 1], [0, 0, 1, 0], ages)
    )
    found = square.figures(run)
    assert found["gender"] == pytest.approx(2 / 3)
    assert found["race"] == pytest.approx(0.75)
    assert found["age"] == pytest.approx((0 + 6 + 0 + 5) / 4)  # to 20-29 and to 70
    assert found["group"] == pytest.approx(0.5)
    tasks = np.where(np.arange(8)[None] < np.array([3, 4, 8, 7])[:, None], 50.0, -50.0)  # CORAL says the same
    run = run_of(tmp_path / "attributes-1", "attributes/attributes", **said([0, 1, 1, 1], [0, 0, 1, 0], tasks))
    assert square.figures(run) == pytest.approx(found)


def test_changes_are_those_of_common_seeds() -> None:
    run = {"gender": 0.9, "race": 0.6, "age": 4.0, "group": 0.5}
    found = {
        ("fast CNN", "CORAL"): {1: run, 2: run},
        ("fast CNN", "cross-entropy"): {2: run | {"age": 3.0}},
        ("gray CNN", "CORAL"): {1: run | {"age": 5.0}, 2: run | {"age": 3.0}},
        ("gray CNN", "cross-entropy"): {},
    }
    rows = {row["what"]: row for row in square.effect_rows(found)}
    assert set(rows) == {"gray CNN for fast CNN, with CORAL", "cross-entropy for CORAL, fast CNN"}
    assert rows["cross-entropy for CORAL, fast CNN"]["age"] == "-1.00"
    assert rows["gray CNN for fast CNN, with CORAL"]["age"] == "+0.00 ± 1.41 (+1.00 / -1.00)"
    assert rows["gray CNN for fast CNN, with CORAL"]["gender"].startswith("+0.0% ±")
    corners = square.corner_rows(found)
    assert [row["seeds"] for row in corners] == [2, 1, 2]
    assert corners[1]["age"] == "3.00"
