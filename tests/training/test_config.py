"""Recipes' configs: found by name, complete, and their data looked for where --data says."""

from __future__ import annotations

from dataclasses import dataclass, fields
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner

from halfmask.cli.train import RECIPES, train
from halfmask.errors import UsageError
from halfmask.training.config import find, load_config, placed, shipped


@dataclass
class Config:
    lr: float = 0.1
    seed: int = 3
    batch: int = 4


def sources(values: Any) -> list[dict[str, Any]]:
    """Every data source that a config names, wherever it stands."""
    inner = values.values() if isinstance(values, dict) else values if isinstance(values, list) else ()
    own = [values] if isinstance(values, dict) and {"layout", "root"} <= values.keys() else []
    return own + [source for value in inner for source in sources(value)]


def test_config_errors_name_the_keys(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_text("lr: 0.5\nlearning: 3\n")
    with pytest.raises(UsageError, match=r"learning.*known: batch, lr, seed"):
        load_config(Config, path)
    path.write_text("lr: 0.5\n")
    assert load_config(Config, path, seed=9) == Config(0.5, 9)
    path.write_text("- 1\n")
    with pytest.raises(UsageError, match="expected keys"):
        load_config(Config, path)
    path.write_text("lr: [1\n")
    with pytest.raises(UsageError, match="cannot be read"):
        load_config(Config, path)
    with pytest.raises(UsageError, match=r"no such file.*--list"):
        load_config(Config, tmp_path / "absent.yaml")


@pytest.mark.parametrize("name", list(shipped()))
def test_a_config_that_ships_is_one_of_a_recipe_and_names_no_place_of_its_own(name: str) -> None:
    values = yaml.safe_load(find(name).read_text("utf-8"))
    for module, kind, _ in RECIPES.values():
        config = getattr(import_module(f"halfmask.training.{module}"), kind)
        if set(values) <= {f.name for f in fields(config)}:
            load_config(config, name)
            break
    else:
        raise AssertionError(f"no recipe takes {', '.join(values)}")
    named = [str(s["root"]) for s in sources(values)]
    named += [
        str(f)
        for s in sources(values)
        for fs in s.get("lists", {}).values()
        for f in ([fs] if isinstance(fs, str) else fs)
    ]
    assert named
    assert not [path for path in named if path.startswith((".", "/", "~"))]


def test_sources_are_looked_for_in_the_data_folder_and_absolute_ones_where_they_are() -> None:
    nested = {"layout": "fairface", "root": "fairface", "heads": {"layout": "folder", "root": "/mine"}}
    listed = {"layout": "afad", "root": "afad", "lists": {"train": ["l/a.csv", "/b.csv"], "test": "l/c.csv"}}
    values = {"san": {"train": [nested]}, "source": listed, "heads": {"age": {"kind": "coral"}}, "start": "runs/x"}
    moved = placed(values, Path("sets"))
    assert moved["san"]["train"] == [{**nested, "root": "sets/fairface"}]
    assert moved["source"]["root"] == "sets/afad"
    assert moved["source"]["lists"] == {"train": ["sets/l/a.csv", "/b.csv"], "test": "sets/l/c.csv"}
    assert (moved["heads"], moved["start"]) == (values["heads"], "runs/x")
    assert placed(values, None) is values
    assert nested["root"] == "fairface"  # what was given stays as it is


def test_the_command_line_says_where_data_may_be(tmp_path: Path) -> None:
    listed = CliRunner().invoke(train, ["--list"])
    assert listed.exit_code == 0
    assert {line.split()[0] for line in listed.output.splitlines()} == {"config", *shipped()}
    lost = CliRunner().invoke(train, ["gender", "--config", "gender", "--out", str(tmp_path / "run")])
    assert "--data" in str(lost.exception)
    assert not (tmp_path / "run").exists()
    away = CliRunner().invoke(train, ["san", "-c", "san-papier", "-o", str(tmp_path / "run")])
    assert "no config is called san-papier" in str(away.exception)
