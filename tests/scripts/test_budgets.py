"""scripts/budgets.py: steps, faces and seconds of runs, as their logs tell them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from budgets import main, networks, taken


def logged(folder: Path, lines: list[tuple[int, float]], **config: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "log.jsonl").write_text("".join(json.dumps({"step": s, "seconds": t}) + "\n" for s, t in lines))
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    return folder


def test_a_resumed_run_counts_all_its_parts(tmp_path: Path) -> None:
    assert taken(logged(tmp_path / "a", [(20, 5.0), (40, 9.5)])) == (40, 9.5)
    assert taken(logged(tmp_path / "b", [(20, 5.0), (40, 9.5), (60, 4.0), (80, 8.0), (90, 1.0)])) == (90, 18.5)


def test_every_network_has_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    family = tmp_path / "flowsan"
    for k, seconds in ((1, 50.0), (2, 70.0)):
        stage = logged(family / f"stage-{k}", [(20, seconds)], batch=4, gender_classifier="attributes")
        logged(stage / "pretrain", [(10, 10.0)])
    own = {"train": [{"share": 3}, {"share": 2}], "gender_classifier": "runs/gender-free/gender.safetensors"}
    alone = logged(tmp_path / "alone", [(100, 30.0)], **own)
    assert networks(family) == [family / "stage-1", family / "stage-2"]
    monkeypatch.setattr("sys.argv", ["budgets.py", str(family), str(alone)])
    main()
    said = capsys.readouterr().out.splitlines()
    assert said[2:5] == [
        "| flowsan, stage-1 | attributes | 10 + 20 | 120 | 10 + 50 | 60 | 106% |",
        "| flowsan, stage-2 | attributes | 10 + 20 | 120 | 10 + 70 | 80 | 141% |",
        "| alone | gender-free | 100 | 500 | 30 | 30 | 53% |",
    ]
    assert said[-1] == "the longest took 167% more than the shortest"
    with pytest.raises(SystemExit, match=r"holds no log\.jsonl"):
        networks(tmp_path)
