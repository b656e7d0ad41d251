"""scripts/reach.py: which networks it opens, the reach of a loss, and the reach that it puts into a run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from reach import opened, published, reach_at, write_reach

from halfmask.methods.san import PLUS, San
from halfmask.weights import shipped


def test_the_reach_of_a_loss_lies_between_those_that_were_tried() -> None:
    rows = [{"reach": r, "lost": lost} for r, lost in ((0.0, 0.0), (1.0, 3.0), (1.5, 2.5), (2.0, 6.5))]
    assert reach_at(rows, 1.5) == 0.5
    assert reach_at(rows, 4.5) == 1.75
    assert reach_at(rows, 7) is None


def test_a_run_is_opened_by_its_folder_and_keeps_the_reach_that_is_written(tmp_path: Path) -> None:
    for kind in ("onnx", "npz"):
        (tmp_path / f"san.{kind}").write_bytes(shipped.path(f"san-plus.{kind}").read_bytes())
    label, method = opened(f"mine={tmp_path}", 1)
    assert (label, method.prototypes.reach) == ("mine", San(weights=PLUS).reach)
    means = method.prototypes.means
    write_reach(tmp_path, 0.85)
    _, again = opened(f"mine={tmp_path}", 1)
    assert again.prototypes.reach == 0.85
    assert np.array_equal(again.prototypes.means, means)
    assert [opened(name, 1)[0] for name in ("plus", "ensemble", "flowsan")] == ["SAN+", "Ensemble", "FlowSAN"]
    with pytest.raises(SystemExit, match=r"holds no san\.npz"):
        opened(f"x={tmp_path / 'nothing'}", 1)
    with pytest.raises(SystemExit, match="expected NAME=FOLDER, or one of: san, plus, ensemble, flowsan"):
        opened("sun", 1)


def test_the_papers_points_are_those_of_its_tables() -> None:
    lost, gained = published()["lfw"]
    assert round(lost, 1) == 6.8
    assert round(gained, 1) == 16.0
