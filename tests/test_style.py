"""The house is clean: the checks of .pre-commit-config.yaml, and what CITATION.cff says of the package is true."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import halfmask

ROOT = Path(__file__).resolve().parents[1]
HOOKS = [
    hook["entry"]
    for repo in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    for hook in repo["hooks"]
]


def test_pre_commit_checks_style_format_and_types() -> None:
    assert {"ruff check", "ruff format", "mypy"} <= {" ".join(hook.split()[2:4]) for hook in HOOKS}


@pytest.mark.parametrize("hook", HOOKS)
def test_is_clean(hook: str) -> None:
    python, *arguments = hook.split()
    assert python == "python"
    done = subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_citation_is_of_this_version() -> None:
    about = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    assert about["version"] == halfmask.__version__
    assert about["license"] == project["license"]
    assert [a["name"] for a in about["authors"]] == [a["name"] for a in project["authors"]]
    assert about["keywords"] == project["keywords"]
