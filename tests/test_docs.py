"""What the docs promise of themselves: links lead somewhere, files that they name are there, and they stay readable."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "src" / "halfmask" / "weights" / "data"
DOCS = sorted([ROOT / "README.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").rglob("*.md"), *CARDS.glob("*.md")])
#: Text that may name a file of the repository, beside the docs.
NAMING = [
    *DOCS,
    *(f for place in ("src", "scripts", "configs") for f in (ROOT / place).rglob("*") if f.suffix in (".py", ".yaml")),
]
#: Of the past, in which files had other names.
HISTORY = {"CHANGELOG.md", "lab-log.md"}
#: Pages that a command writes, a paragraph a line.
WRITTEN = {f.stem for f in (ROOT / "src/halfmask/evaluation/benchmark/configs").glob("*.yaml")} | {"attributes"}
PROSE = 100


def name(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def prose(file: Path) -> list[tuple[int, str]]:
    """The numbered lines of a page that are neither code nor a table nor a picture."""
    lines, code = [], False
    for number, line in enumerate(file.read_text("utf-8").splitlines(), 1):
        if line.lstrip().startswith("```"):
            code = not code
        elif not code and not line.lstrip().startswith(("|", "![")):
            lines.append((number, line))
    return lines


def anchors(file: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    heads = (re.match(r"#+ (.*)", line) for _, line in prose(file))
    return {re.sub(r"[^\w\- ]", "", head[1].lower()).replace(" ", "-") for head in heads if head}


@pytest.mark.parametrize("file", DOCS, ids=name)
def test_every_relative_link_leads_somewhere(file: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", file.read_text("utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = file.parent / path if path else file
        assert there.exists(), f"{name(file)} links to {target}, which is not there"
        if anchor:
            assert anchor in anchors(there), f"{name(file)} links to {target}; {name(there)} has no such heading"


@pytest.mark.parametrize("file", [f for f in NAMING if f.name not in HISTORY], ids=name)
def test_files_that_are_named_are_there(file: Path) -> None:
    named = re.findall(
        r"(?<![\w./-])(?:benchmarks|configs|docs|examples|scripts|tests)/[\w./-]+\.(?:py|yaml|md)\b",
        file.read_text("utf-8"),
    )
    gone = sorted({path for path in named if not Path(path).stem.isupper() and not (ROOT / path).exists()})
    assert not gone, f"{name(file)} names {', '.join(gone)}"


@pytest.mark.parametrize("file", DOCS, ids=name)
def test_nothing_is_cited_that_a_reader_does_not_have(file: Path) -> None:
    text = file.read_text("utf-8")
    cited = re.findall(r"\.\./shared|\bthe issue\b|\bissue #?\d+|(?<![\w-])(?:papers|design)\.md", text, re.IGNORECASE)
    assert not cited, f"{name(file)} cites {cited[0]}"


@pytest.mark.parametrize("file", [f for f in DOCS if f.parent != CARDS and f.stem not in WRITTEN], ids=name)
def test_prose_is_wrapped(file: Path) -> None:
    wide = [number for number, line in prose(file) if len(line) > PROSE]
    assert not wide, f"{name(file)} has prose of more than {PROSE} columns in lines {wide}"


@pytest.mark.parametrize(("file", "most"), [("README.md", 99), ("docs/results.md", 79)])
def test_a_way_in_stays_short(file: str, most: int) -> None:
    assert len((ROOT / file).read_text("utf-8").splitlines()) <= most


def test_the_index_names_every_page_of_results() -> None:
    index = (ROOT / "docs/results.md").read_text("utf-8")
    for page in (ROOT / "docs/results").glob("*.md"):
        assert f"(results/{page.name})" in index, f"docs/results.md does not link to {page.name}"


def test_every_dependency_is_explained() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    wanted = [*project["dependencies"], *(d for extra in project["optional-dependencies"].values() for d in extra)]
    table = (ROOT / "docs/architecture.md").read_text("utf-8").partition("## Dependencies")[2]
    packages = {re.split(r"[<>=\[ ]", requirement)[0] for requirement in wanted} - {"halfmask"}
    missing = sorted(p for p in packages if p not in table and not (p.startswith("types-") and "types-*" in table))
    assert not missing, f"docs/architecture.md, Dependencies, lacks {', '.join(missing)}"


def test_ci_runs_the_readmes_test_command() -> None:
    commands = [line for line in (ROOT / "README.md").read_text("utf-8").splitlines() if "pytest" in line]
    assert commands
    assert commands[0] in (ROOT / ".ci/run").read_text("utf-8").splitlines()


def test_every_shipped_card_is_linked_and_stands_once() -> None:
    models = (ROOT / "docs/models.md").read_text("utf-8")
    for card in CARDS.glob("*.md"):
        assert f"(../{name(card)})" in models, f"docs/models.md does not link to {name(card)}"
        twins = [f for f in DOCS if f != card and f.read_text("utf-8") == card.read_text("utf-8")]
        assert not twins, f"{name(card)} stands again in {name(twins[0])}"
