"""scripts/ages.py and ages_papers.py: which config each kind is trained by, and the figures of a run."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import ages_figure
import ages_papers
import numpy as np
import pytest
import yaml
from ages import HEADS, config_of, figures, row
from ages_papers import BIASES, into

from halfmask.errors import DataError, UsageError

ROOT = Path(__file__).resolve().parents[2]


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


def run_of(folder: Path, kind: str, logits: np.ndarray, rank: list[int]) -> Path:
    """What a run leaves behind, without its weights."""
    folder.mkdir()
    config = replace(config_of("coral", 1), heads={"age": {"kind": kind, "years": [21, 24]}})
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)), "utf-8")
    np.savez(folder / "test.npz", **{"logits/age": logits.astype(np.float32), "rank/age": np.array(rank)})
    return folder


def test_figures_need_a_runs_answers_and_not_its_weights(tmp_path: Path) -> None:
    shared = np.array([[4.0], [0.0], [-4.0]])
    found = figures(run_of(tmp_path / "a", "coral", shared + np.array([1.0, 0.5, -1.0]), [3, 1, 0]))
    # above 24's threshold; above 21 and 22, not 23; above none
    assert (found["mae"], found["n"], found["ordered"], found["contradictions"]) == (pytest.approx(1 / 3), 3, 1, 0)
    assert found["rmse"] == pytest.approx(3**-0.5)
    assert (found["span"], found["fall"]) == (2.0, 0.5)
    found = figures(run_of(tmp_path / "b", "coral", shared + np.array([1.0, -1.0, 0.5]), [3, 1, 0]))
    assert (found["ordered"], found["contradictions"], found["fall"]) == (0, 1, -1.5)
    found = figures(run_of(tmp_path / "c", "categorical", np.eye(4)[[3, 1, 0]], [3, 1, 0]))
    assert found == {"mae": 0, "rmse": 0, "cs5": 1, "n": 3}
    line = row("CORAL", [{**found, "contradictions": 0.0, "ordered": 1.0}] * 2)
    assert (line["mae"], line["seeds"], line["ordered"]) == ("0.00 ± 0.00", "0.00 / 0.00", "yes")
    assert (line["span"], line["fall"]) == ("–", "–")
    assert set(line) == set(HEADS | BIASES)


def test_tables_go_into_a_page_below_what_is_said(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Title\n\nSaid.\n\n## Old\n\n| a |\n\n## Older\n", "utf-8")
    into(page, "## New\n\n| b |\n")
    assert page.read_text("utf-8") == "# Title\n\nSaid.\n\n## New\n\n| b |\n"
    page.write_text("# Title\n", "utf-8")
    with pytest.raises(DataError, match="no heading of level two"):
        into(page, "## New\n")


def test_the_shipped_page_is_what_the_script_makes_of_the_papers() -> None:
    published = yaml.safe_load((ROOT / "scripts" / "ages_papers.yaml").read_text("utf-8"))["published"]
    page = (ROOT / "docs" / "results" / "age-papers.md").read_text("utf-8")
    for section in ages_papers.page({}, published, {}).split("\n\n## ")[2:]:  # those that hold no line of ours
        assert section.strip() in page
