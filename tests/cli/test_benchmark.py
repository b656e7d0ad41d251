"""``halfmask benchmark`` as a user runs it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.cli import main
from halfmask.evaluation.benchmark import run as benchmark
from halfmask.evaluation.referees import Referees

Call = Callable[..., tuple[int, str, str]]

CONFIG = """
title: A made-up table
source: Nobody 2018, Table 9
kind: looks
sets: [{layout: folder, name: made}, {layout: muct}]
methods: [{label: SAN OP, method: san}]
"""


@pytest.fixture
def call(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command line: (exit code, stdout, stderr). No referee is loaded: looks need none."""
    monkeypatch.setattr(benchmark, "load", lambda **_: Referees())

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["benchmark", *map(str, args)])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


@pytest.fixture
def place(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """A folder with a config and a data folder of two photos of two people."""
    (tmp_path / "mine.yaml").write_text(CONFIG)
    root = tmp_path / "data" / "folder"
    root.mkdir(parents=True)
    for i in range(2):
        cv2.imwrite(str(root / f"{i}.png"), np.ascontiguousarray(astronaut[:250, 100 + i : 350 + i, ::-1]))
    return tmp_path


def test_lists_what_ships(call: Call) -> None:
    code, out, _ = call("--list")
    assert code == 0
    assert "san-table2" in out
    assert "True match rate before and after protection" in out


def test_runs_a_config_of_ones_own(call: Call, place: Path) -> None:
    line = (place / "mine.yaml", "--data", place / "data", "-o", place / "out", "--workers", 1)
    code, out, err = call(*line)
    assert code == 0
    assert "# A made-up table" in out
    assert "| made | SAN OP | 2 | 0 |" in out
    assert "mine: left out set muct: there is no folder muct" in err
    found = json.loads((place / "out" / "mine.json").read_text())
    assert found["rows"][0]["n"] == 2
    code, out, err = call(*line, "--quiet")
    assert (code, out) == (0, "")
    assert json.loads((place / "out" / "mine.json").read_text())["rows"] == found["rows"]


def test_what_makes_no_sense_is_refused(call: Call, place: Path) -> None:
    data = ("--data", place / "data", "-o", place / "out")
    assert call("nope", *data)[0] == 2
    assert call(place / "mine.yaml", "--data", place / "absent")[0] == 2
    code, _, err = call(place / "mine.yaml", *data, "--only", "magic")
    assert code == 2
    assert "no method is called magic; there are: SAN OP, san" in err
    (place / "bad.yaml").write_text(CONFIG + "colour: red\n")
    code, _, err = call(place / "mine.yaml", place / "bad.yaml", *data)
    assert code == 2
    assert "unknown key colour" in err
    assert not (place / "out").exists()  # all configs are read before the first one runs


def test_nothing_to_measure_is_a_failure(call: Call, place: Path) -> None:
    (place / "data" / "empty").mkdir()
    code, out, err = call(place / "mine.yaml", "--data", place / "data" / "empty", "-o", place / "out")
    assert code == 3
    assert "nothing was measured" in err
    assert "- set made: there is no folder folder" in out


def test_one_that_fails_does_not_stop_the_others(call: Call, place: Path) -> None:
    walls = place / "walls"
    walls.mkdir()
    cv2.imwrite(str(walls / "wall.png"), np.full((100, 100, 3), 99, np.uint8))
    (place / "walls.yaml").write_text(CONFIG.replace("name: made", "name: made, root: '${data}/../walls'"))
    code, out, err = call(
        place / "walls.yaml", place / "mine.yaml", "--data", place / "data", "-o", place / "out", "--workers", 1
    )
    assert code == 3
    assert "walls: left out set made: no picture of folder shows a face" in err
    assert "| made | SAN OP | 2 | 0 |" in out
