"""What all readers do alike: keys of pictures, names that carry labels, and what to say when nothing is there."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from ...errors import DataError, shown
from ...photos.listing import DATA_SET_SUFFIXES, list_folders, list_photos

NOT_NAMED = "not named"
"""What the problem of a picture says whose file name is not its layout's; recognise() counts these."""


def walk_pictures(root: Path, problems: list[str], *more: str) -> dict[str, Path]:
    """Key → path of every picture at or below a folder, by key; a folder that cannot be listed is named.

    ``more`` suffixes (".raw") are let through as well.
    """
    pictures = list_photos(root, also=DATA_SET_SUFFIXES.union(more))
    problems += [f"{shown(name)}: {reason}" for name, reason in pictures.problems if root.is_dir()]
    return dict(sorted(pictures.photos.items()))


def match_names(
    pictures: dict[str, Path], pattern: re.Pattern[str], shape: str, problems: list[str]
) -> Iterator[tuple[str, Path, re.Match[str]]]:
    """Key, path and match of each picture whose file name carries its labels; the others are named and skipped.

    ``shape`` says in words how the names should look, for the message.
    """
    for key, path in pictures.items():
        match = pattern.match(path.name)
        if match is None:
            problems.append(f"{shown(key)}: {NOT_NAMED} {shape}; skipped")
        else:
            yield key, path, match


def key_of(root: Path, path: Path) -> str:
    """A picture's key: its path relative to the data set's root, with forward slashes."""
    return path.relative_to(root).as_posix()


def first_existing(root: Path, places: Iterable[str]) -> Path | None:
    """The first of several places below the root where something stands."""
    return next((root / place for place in places if (root / place).exists()), None)


def nothing_found(layout: str, root: Path, expected: str) -> DataError:
    """The error of a root that holds nothing of a layout: says what was expected where.

    A folder that cannot be listed raises at once, since nobody knows what it holds.
    """
    where = shown(root)
    if not root.is_dir():
        return DataError(f"cannot read {layout}: {where} is not a folder. Give the folder that holds {expected}.")
    list_folders(root)
    return DataError(
        f"cannot read {layout}: {where} holds nothing of its layout. Expected {expected}. "
        "Give the folder as it was downloaded and unpacked."
    )
