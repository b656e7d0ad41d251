"""Our own trained weights, inside the package: ``data/`` with a model card beside each, and ``manifest.json``.

The manifest gives each file's sha256; a file that was damaged on the way is refused, not run.
"""

from __future__ import annotations

import json
from functools import cache
from pathlib import Path

from ..errors import WeightsError
from .store import sha256_of

DATA = Path(__file__).parent / "data"


@cache
def manifest() -> dict[str, dict[str, str]]:
    """File name → ``{"sha256": …, "card": …}`` of everything that is shipped."""
    path = DATA / "manifest.json"
    try:
        entries: dict[str, dict[str, str]] = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"{path} cannot be read: {error}. Reinstall halfmask.") from error
    return entries


@cache
def path(file: str) -> Path:
    """Path of a shipped file, sha256-checked once a process.

    Raises :class:`~halfmask.errors.WeightsError` when it is not shipped, absent or damaged.
    """
    entry = manifest().get(file)
    if entry is None:
        raise WeightsError(f"{file} is not among the shipped weights: {', '.join(sorted(manifest()))}")
    where = DATA / file
    if not where.is_file():
        raise WeightsError(f"the shipped weights {where} are missing. Reinstall halfmask.")
    got = sha256_of(where)
    if got != entry["sha256"]:
        raise WeightsError(f"{where} is damaged: sha256 {got}, expected {entry['sha256']}. Reinstall halfmask.")
    return where


def find(where: Path | str) -> Path:
    """The safetensors file that somebody names: one of theirs by its path, or one that ships by its name.

    >>> find("gender").name, find("runs/mine.safetensors").as_posix()
    ('gender.safetensors', 'runs/mine.safetensors')
    """
    ours = not Path(where).exists() and f"{where}.safetensors" in manifest()
    return path(f"{where}.safetensors") if ours else Path(where)


def card(file: str) -> str:
    """The model card of a shipped file, Markdown: data, licence, recipe, seed, figures."""
    return path(manifest()[file]["card"]).read_text("utf-8") if file in manifest() else path(file).read_text("utf-8")
