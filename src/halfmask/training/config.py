"""Recipes' configs: the YAML files that ship, found by name, and what one says as a recipe's dataclass."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import yaml

from ..errors import UsageError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Config = TypeVar("Config")
Staged = TypeVar("Staged", bound="DataclassInstance")

#: Where the configs that ship lie.
SHIPPED = Path(__file__).parent / "configs"


def shipped() -> dict[str, Path]:
    """The configs that come with halfmask: name → YAML file.

    >>> "san-paper" in shipped(), "age/coral" in shipped()
    (True, True)
    """
    return {path.relative_to(SHIPPED).with_suffix("").as_posix(): path for path in sorted(SHIPPED.rglob("*.yaml"))}


def about(path: Path) -> str:
    """The first sentence of what a config says of itself, to list it; of one that was not run, that first.

    >>> about(shipped()["age-papers/morph2"])
    'NOT RUN. MORPH-2, ages 16 to 70'
    """
    lines = path.read_text("utf-8").splitlines()
    comment = " ".join(line[2:] for line in takewhile(lambda line: line.startswith("# "), lines))
    sentence = re.match(r"((?:NOT RUN\. )?.+?)[.;:](?: |$)", comment)
    return sentence[1] if sentence else comment


def find(given: str | Path) -> Path:
    """The YAML file asked for, by the name of one that ships or by its path.

    Raises :class:`~halfmask.errors.UsageError` when there is neither.

    >>> find("nothing")
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: no config is called nothing, and there is no such file; ...
    """
    path = shipped().get(str(given), Path(given))
    if not path.is_file():
        raise UsageError(
            f"no config is called {given}, and there is no such file; those that ship: halfmask train --list. Or give "
            "a YAML of your own"
        )
    return path


def load_config(
    kind: type[Config], given: str | Path | None = None, data: Path | None = None, **changes: Any
) -> Config:
    """Read a YAML config into a recipe's dataclass; ``changes`` win over the file, defaults fill the rest.

    ``given`` is the name of a config that ships, or a file. What it says of data is looked for in ``data``, see
    :func:`placed`. Raises :class:`~halfmask.errors.UsageError` naming every unknown key and what is known.
    """
    values: dict[str, Any] = {}
    if given is not None:
        path = find(given)
        try:
            values = yaml.safe_load(path.read_text("utf-8")) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise UsageError(f"the config {path} cannot be read: {error}") from error
        if not isinstance(values, dict):
            raise UsageError(f"the config {path} holds a {type(values).__name__}, expected keys and values")
    values = placed(values | changes, data)
    assert is_dataclass(kind)
    known = {f.name for f in fields(kind)}
    if unknown := sorted(set(values) - known):
        raise UsageError(
            f"unknown key{'s' if len(unknown) > 1 else ''} {', '.join(unknown)} in {given or 'the config'}; "
            f"known: {', '.join(sorted(known))}"
        )
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"the config {given or ''} is not complete: {error}") from error


def stages_of(config: Staged) -> list[tuple[str, Staged]]:
    """The stages of a config that has ``stages``, changes each with a ``name``: the name and the changed config.

    One without a name when there are none. Raises :class:`~halfmask.errors.UsageError` for a name that is absent, there
    twice or no folder's, and for an unknown key.
    """
    stages: list[dict[str, Any]] = config.stages  # type: ignore[attr-defined]
    known = {f.name for f in fields(config)} - {"stages"}
    names = [str(changes.get("name", "")) for changes in stages]
    if len(set(names)) < len(names) or not all(name and Path(name).name == name for name in names):
        raise UsageError(f"the stages are called {names}; expected a name of its own for each")
    plain, found = replace(config, stages=[]), []
    for name, changes in zip(names, stages, strict=True):
        if unknown := sorted(set(changes) - known - {"name"}):
            raise UsageError(f"stage {name} sets {', '.join(unknown)}; known: {', '.join(sorted(known))}")
        found.append((name, replace(plain, **{key: value for key, value in changes.items() if key in known})))
    return found or [("", plain)]


def placed(values: Any, data: Path | None) -> Any:
    """The same values, with the ``root`` and the ``lists`` of every data source taken from the folder ``data``.

    A data source is a mapping with ``layout`` and ``root``, wherever it stands. An absolute path stays as it is, and
    so does everything when ``data`` is None: paths are then from where the command runs.

    >>> placed({"train": [{"layout": "lfw", "root": "lfw"}], "seed": 1}, Path("/sets"))
    {'train': [{'layout': 'lfw', 'root': '/sets/lfw'}], 'seed': 1}
    """
    if data is None:
        return values
    if isinstance(values, list):
        return [placed(value, data) for value in values]
    if not isinstance(values, Mapping):
        return values
    out = {key: placed(value, data) for key, value in values.items()}
    if "layout" in out and "root" in out:
        out["root"] = str(data / str(out["root"]))
        if isinstance(lists := out.get("lists"), Mapping):
            out["lists"] = {split: _below(data, files) for split, files in lists.items()}
    return out


def _below(data: Path, files: Any) -> Any:
    return [str(data / str(file)) for file in files] if isinstance(files, list) else str(data / str(files))
