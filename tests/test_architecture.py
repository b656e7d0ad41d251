"""The table of rooms in docs/architecture.md is what the code does: every import is allowed, every arrow is used."""

from __future__ import annotations

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from halfmask.cli.train import RECIPES

ROOT = Path(__file__).resolve().parents[1]
SOURCE = ROOT / "src" / "halfmask"
#: What hands everything on: the package, which says its version, and the way in by ``python -m``.
ENTRIES = {"__init__", "__main__"}
ANYTHING = "everything above"
EVERYWHERE = "every room"


def imports(file: Path) -> set[tuple[str, ...]]:
    """What a module imports of halfmask, as names below it: ("photos", "align", "CROP")."""
    package = ("halfmask", *file.relative_to(SOURCE).parts[:-1])
    found: set[tuple[str, ...]] = set()
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found.update(tuple(alias.name.split(".")) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = tuple(node.module.split(".")) if node.module else ()
            found.update((*base, *module, alias.name) for alias in node.names)
    return {name[1:] for name in found if name[0] == "halfmask" and len(name) > 1}


def rooms_of_the_code() -> dict[str, set[tuple[str, ...]]]:
    """Room → what its modules import of other rooms."""
    found: dict[str, set[tuple[str, ...]]] = {}
    for file in SOURCE.rglob("*.py"):
        room = file.relative_to(SOURCE).with_suffix("").parts[0]
        if room not in ENTRIES:
            known = found.setdefault(room, set())
            known |= {name for name in imports(file) if name[0] not in (room, "__version__")}
    return found


def rooms_of_the_table() -> dict[str, set[tuple[str, ...]] | None]:
    """Room → what it may import, as names below halfmask; None for everything."""
    text = (ROOT / "docs" / "architecture.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)(?:/|\.py)` \|.*\| ([^|]*) \|$", text, re.MULTILINE)
    shared = re.search(r"Every room may import ([^,]*),", text)
    assert shared, "docs/architecture.md no longer says what every room may import"
    return {room: None if may == ANYTHING else _names(may) for room, may in rows} | {EVERYWHERE: _names(shared[1])}


def _names(cell: str) -> set[tuple[str, ...]]:
    return {tuple(name.split(".")) for name in re.findall(r"`([\w.]+)`", re.sub(r"\([^)]*\)", "", cell))}


CODE, TABLE = rooms_of_the_code(), rooms_of_the_table()
#: What every room may import, but need not.
SHARED = TABLE.pop(EVERYWHERE) or set()


def test_every_room_stands_in_the_table() -> None:
    assert set(TABLE) | {name for name, *_ in SHARED} == set(CODE)


@pytest.mark.parametrize("room", sorted(CODE))
def test_a_room_imports_what_the_table_allows(room: str) -> None:
    may = TABLE.get(room, set())
    if may is not None:
        odd = sorted(".".join(n) for n in CODE[room] if not any(n[: len(m)] == m for m in may | SHARED))
        assert not odd, f"{room} imports {', '.join(odd)}, which docs/architecture.md does not allow it"


@pytest.mark.parametrize("room", sorted(TABLE))
def test_the_table_names_no_import_that_is_not_there(room: str) -> None:
    for may in TABLE[room] or ():
        assert any(n[: len(may)] == may for n in CODE[room]), f"{room} does not import {'.'.join(may)}"


def test_no_room_stands_in_a_circle() -> None:
    list(TopologicalSorter({room: {name[0] for name in names} for room, names in CODE.items()}).static_order())


def test_no_recipe_imports_another() -> None:
    recipes = {module for module, _, _ in RECIPES.values()}
    for recipe in recipes:
        others = {name[1] for name in imports(SOURCE / "training" / f"{recipe}.py") if name[0] == "training"}
        assert not others & (recipes - {recipe}), f"training/{recipe}.py imports another recipe"
