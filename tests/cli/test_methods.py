"""``halfmask methods``: what each hides, its figures and its cost; and the script that puts the figures there."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path
from typing import Any

import pytest

from halfmask.cli import main
from halfmask.errors import WeightsError
from halfmask.methods import METHODS, figures
from halfmask.weights import shipped

SCRIPT = Path(__file__).resolve().parents[2] / "scripts" / "method_figures.py"


def call(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    with pytest.raises(SystemExit) as end:
        main(["methods", *args])
    return int(end.value.code or 0), capsys.readouterr().out


def result(**changes: Any) -> dict[str, Any]:
    """As ``halfmask benchmark`` writes it for an overview: SAN, an oracle, and a set without matching."""
    about = {"method": "san", "hide": "gender", "prototype": "op", "strength": None, "settings": {}}
    row = {"hides": "gender", "n": 9, "auc/r": 0.85041, "retrained": 1.0, "tmr@0.001/m": 0.5, "ssim": 0.9, "eer/r": 0.2}
    before = row | {"auc/r": 0.99, "retrained": 0.96, "tmr@0.001/m": 0.8, "ssim": None}
    return {
        "name": "family", "kind": "overview", "most": None, "halfmask": "0.1.0", "created": "2026-11-21T12:00:00",
        "methods": [
            {"label": "SAN OP", **about, "fingerprint": "f", "ms": 9.123},
            {"label": "SAN SM", **about, "prototype": "sm", "fingerprint": "f", "ms": 21.0},
            {"label": "best", "best_of": ["SAN OP", "SAN SM"]},
        ],
        "rows": [
            {"set": "celeba", "variant": "before", **before},
            {"set": "celeba", "variant": "SAN OP", **row},
            {"set": "celeba", "variant": "SAN SM", **row, "ssim": 0.95},
            {"set": "celeba", "variant": "best", **row},
            {"set": "fairface", "variant": "before", **before, "tmr@0.001/m": None, "retrained": None},
            {"set": "fairface", "variant": "SAN OP", **row, "tmr@0.001/m": None, "retrained": None},
        ], **changes,
    }  # fmt: skip


def script(monkeypatch: pytest.MonkeyPatch, folder: Path, given: dict[str, Any]) -> Path:
    """Run the script on a result and give what it wrote."""
    (folder / "family.json").write_text(json.dumps(given))
    monkeypatch.setattr(sys, "argv", ["x", str(folder / "family.json"), "--out", str(folder / "figures.json")])
    runpy.run_path(str(SCRIPT), run_name="__main__")
    return folder / "figures.json"


def test_figures_of_a_whole_run_are_kept_with_set_and_referee(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = figures.measured(script(monkeypatch, tmp_path, result()))
    assert found["originals"]["celeba"] == {"auc/r": 0.99, "retrained": 0.96, "tmr@0.001/m": 0.8}
    assert [m["label"] for m in found["methods"]] == ["SAN OP", "SAN SM"]  # an oracle is no method
    assert found["methods"][0]["figures"] == {
        "celeba": {"auc/r": 0.8504, "retrained": 1.0, "tmr@0.001/m": 0.5, "ssim": 0.9},
        "fairface": {"auc/r": 0.8504, "ssim": 0.9},
    }
    assert found["methods"][0]["ms"] == 9.12


@pytest.mark.parametrize(("changes", "said"), [({"most": 60}, "a quick look"), ({"kind": "gender"}, "table of gender")])
def test_a_quick_look_is_no_measurement(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], said: str
) -> None:
    with pytest.raises(SystemExit, match=said):
        script(monkeypatch, tmp_path, result(**changes))
    assert not (tmp_path / "figures.json").exists()


def test_lists_what_was_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = script(monkeypatch, tmp_path, result())
    monkeypatch.setattr(figures, "PLACE", path)
    capsys.readouterr()
    code, said = call(capsys, "--figures")
    assert code == 0
    lines = [" ".join(line.split()) for line in said.splitlines()]
    size = sum(
        shipped.path(f"{name}.{kind}").stat().st_size for name in ("san", "san-plus") for kind in ("onnx", "npz")
    )
    assert f"san gender sm, nt, op given, or estimated {size / 1e6:.1f} MB 9.12–21" in lines
    at = lines.index("on celeba AUC r retrained TMR 0.1 % m SSIM")
    assert lines[at + 1 : at + 4] == [
        "originals 0.990 96.0% 80.0% –",
        "SAN OP 0.850 100.0% 50.0% 0.900",
        "SAN SM 0.850 100.0% 50.0% 0.950",
    ]
    at = lines.index("on fairface AUC r SSIM")
    assert lines[at + 1 : at + 3] == ["originals 0.990 –", "SAN OP 0.850 0.900"]
    assert "Measured by halfmask benchmark family, halfmask 0.1.0, 2026-11-21T12:00:00." in lines
    assert next(line for line in lines if line.startswith("not measured: ")).split(": ")[1].split(", ") == [
        name for name in METHODS if name != "san"
    ]
    code, said = call(capsys, "--json")
    found = {m["name"]: m for m in json.loads(said)["methods"]}
    assert list(found) == list(METHODS)
    assert found["san"]["weights_bytes"] == size
    assert [m["label"] for m in found["san"]["measured"]] == ["SAN OP", "SAN SM"]
    assert found["mixing"]["measured"] == []
    assert found["deidentify"]["hides"] == ["identity"]


def test_what_was_not_measured_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(figures, "PLACE", tmp_path / "absent.json")
    code, said = call(capsys, "--figures")
    assert code == 0
    assert f"not measured: {', '.join(METHODS)}" in said
    assert "Measured by" not in said


def test_which_one_to_use_is_answered_in_a_few_lines(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = call(capsys)
    assert code == 0
    head, *advice = said.split("\n\n")[0].splitlines()
    assert len(advice) == 6
    assert "halfmask (default)" in advice[0]
    at = head.index("take"), head.index("note")
    named = [name for line in advice for name in line[slice(*at)].replace("(default)", "").split(",")]
    assert sorted(map(str.strip, named)) == sorted(METHODS)
    assert max(map(len, said.splitlines())) <= 130
    assert "halfmask methods --figures" in said


def test_settings_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    code, said = call(capsys, "flowsan")
    assert code == 0
    given = [line.split("  ")[0] for line in said.splitlines()]
    assert given == ["setting", "--prototype", "--set steps=", "--set weights="]
    with pytest.raises(SystemExit) as end:
        main(["methods", "nonsense"])
    assert end.value.code == 2
    assert "no method is called 'nonsense'; known: deidentify," in capsys.readouterr().err
    with pytest.raises(SystemExit) as end:
        main(["methods", "san", "--figures"])
    assert end.value.code == 2


def test_a_damaged_file_is_refused(tmp_path: Path) -> None:
    for text in ("{", '{"format": 2}', "[]"):
        (tmp_path / "figures.json").write_text(text)
        with pytest.raises(WeightsError, match="Reinstall halfmask"):
            figures.measured(tmp_path / "figures.json")


def test_what_ships_was_measured_of_the_weights_that_ship() -> None:
    sums = [entry["sha256"] for entry in shipped.manifest().values()]
    for entry in figures.measured()["methods"]:
        assert entry["method"] in METHODS
        if "weights" not in entry["settings"]:
            for part in filter(None, entry["fingerprint"].split("-")):
                assert any(s.startswith(part) for s in sums), f"{entry['label']} was measured with other weights"
