"""The data that a config names: which pictures of which data set, and which part of it each belongs to."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from ..datasets import Split, Table, read, subject_disjoint
from ..datasets.labels import read_label_file
from ..errors import DataError, UsageError

#: What a source may say of its data.
KEYS = ("layout", "root", "splits", "lists", "hold_out")


def source_table(source: Mapping[str, Any]) -> Table:
    """The data set of one source, every picture of it, each with its split.

    A source is ``{layout, root}`` and, if wanted, ``splits``, a list of those that the recipe takes. A root that is not
    absolute lies below the folder of ``--data`` (:func:`.config.placed`). A data set without an official split, of
    which splits are wanted, is split 80/10/10 by person with seed 0, the same for every recipe.

    ``lists`` gives a published split instead: for each split the CSV or CSVs that name its pictures, by path or file
    name. A picture in none of them has no split.

    ``hold_out: 0.1`` is for data that have train and one other part: that share of the people of train, drawn with
    seed 0, becomes valid, and what was valid becomes test. So a network can be chosen without looking at what it is
    judged on.

    Raises :class:`~halfmask.errors.UsageError` for a source that makes no sense, and
    :class:`~halfmask.errors.DataError` for data or lists that are not there.
    """
    if unknown := sorted(set(source) - set(KEYS)):
        raise UsageError(f"unknown key {unknown} in a data source; known: {', '.join(KEYS)}")
    if absent := sorted({"layout", "root"} - set(source)):
        raise UsageError(f"a data source lacks {', '.join(absent)}: {dict(source)}")
    wanted = source.get("splits") or []
    if isinstance(wanted, str) or any(split not in get_args(Split) for split in wanted):
        raise UsageError(f"splits is {wanted!r} in a data source, expected a list of {', '.join(get_args(Split))}")
    root = Path(source["root"])
    if not root.is_dir():
        raise DataError(
            f"there is no folder {root}, of which the config wants {source['layout']}; give --data FOLDER, which holds "
            "the data sets, each in the folder that the config calls its root"
        )
    table = read(source["layout"], root)
    if "lists" in source:
        table = _listed(table, source["lists"])
    elif wanted and all(row.split is None for row in table):
        table = subject_disjoint(table, {"train": 0.8, "valid": 0.1, "test": 0.1}, seed=0)
    return _held_out(table, source["hold_out"]) if "hold_out" in source else table


def _held_out(table: Table, share: object) -> Table:
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 < share < 1:
        raise UsageError(f"hold_out is {share!r}, expected the share of train to hold out, such as 0.1")
    splits = {row.split for row in table}
    if "train" not in splits or {"valid", "test"} <= splits:
        raise UsageError(
            f"hold_out needs data with train and one other part, {table.name} has "
            f"{', '.join(sorted(s for s in splits if s)) or 'no split'}; leave it out, and name the splits"
        )
    drawn = subject_disjoint(table.split("train"), {"train": 1 - share, "valid": share}, seed=0)
    now = {row.key: row.split for row in drawn}
    return replace(
        table, rows=[replace(r, split=now.get(r.key, "test" if r.split == "valid" else r.split)) for r in table]
    )


def _listed(table: Table, lists: object) -> Table:
    if not isinstance(lists, Mapping) or not lists or any(split not in get_args(Split) for split in lists):
        raise UsageError(f"lists is {lists!r}, expected the CSV files of each of {', '.join(get_args(Split))}")
    places: dict[str, list[int]] = {}
    for i, row in enumerate(table):
        places.setdefault(_plain(row.key).rpartition("/")[2], []).append(i)
    found: dict[int, Split] = {}
    problems = list(table.problems)
    for split, files in lists.items():
        for path in map(Path, [files] if isinstance(files, str) else files):
            names = _names(path)
            absent = 0
            for name in names:
                mine = [i for i in places.get(name.rpartition("/")[2], ()) if _same(table[i].key, name)]
                if len(mine) > 1:
                    raise DataError(f"{path} names {name}, and {len(mine)} pictures are called so; give their paths")
                absent += not mine
                if mine and found.setdefault(mine[0], split) != split:
                    raise DataError(f"{table[mine[0]].key} is listed as {found[mine[0]]} and, in {path}, as {split}")
            if names and absent == len(names):
                raise DataError(f"{path} names none of the {len(table)} pictures of {table.name} at {table.root}")
            if absent:
                problems.append(f"{path.name}: {absent} of {len(names)} pictures listed as {split} are not there")
    return replace(table, rows=[replace(r, split=found.get(i)) for i, r in enumerate(table)], problems=problems)


def _same(key: str, name: str) -> bool:
    return f"/{_plain(key)}".endswith(f"/{name}")


def _names(path: Path) -> Sequence[str]:
    if not path.is_file():
        raise DataError(f"there is no list {path}; the config says where it is published, or leave 'lists' out")
    return [_plain(row.file) for row in read_label_file(path, any_of=("file",)).rows]


def _plain(name: str) -> str:
    """A path as it is compared: copies differ in .JPG, in the folders above and in how accents are written."""
    return unicodedata.normalize("NFC", name.replace("\\", "/").removeprefix("./")).casefold()
