"""CelebA: 202,599 aligned photos of 10,177 people, 40 attributes each.

Format: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, "README.txt" (Liu et al., Deep Learning Face Attributes in
the Wild, ICCV 2015). Read are the official folders (``Img``, ``Anno``, ``Eval``), the same files side by side in the
root, and Kaggle's copy with its CSV files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from halfmask.datasets.labels import COLUMNS, csv_cells, text_lines
from halfmask.datasets.readers.layout import first_existing, key_of, nothing_found
from halfmask.datasets.table import Row, Split, Table
from halfmask.errors import shown
from halfmask.photos.listing import is_picture, list_pictures

_PICTURES = (
    "img_align_celeba/img_align_celeba",
    "img_align_celeba",
    "Img/img_align_celeba/img_align_celeba",
    "Img/img_align_celeba",
)
_SPLITS: dict[str, Split] = {"0": "train", "1": "valid", "2": "test"}


def read_celeba(root: Path) -> Table:
    """Read CelebA: gender from the attribute ``Male``, the identity, and the official partition by person as split.

    Expects ``img_align_celeba/NNNNNN.jpg`` and, as far as they are there, ``list_attr_celeba.txt``,
    ``identity_CelebA.txt`` and ``list_eval_partition.txt`` (or ``.csv``), in the root or in ``Img``,
    ``Anno``, ``Eval``.
    CelebA gives no age in years and no race. ``Male`` is 1 or -1 as published, or 1 or 0.

    Raises DataError when there is no picture folder.
    """
    folder = first_existing(root, _PICTURES)
    pictures = list_pictures(folder) if folder else {}
    if not pictures:
        raise nothing_found("celeba", root, "img_align_celeba/ with NNNNNN.jpg, and list_attr_celeba.txt")
    problems: list[str] = []
    gender = {
        name: int(word == "1")
        for name, word in _labels(root, pictures, "list_attr_celeba", {"1", "0", "-1"}, problems).items()
    }
    identity = _labels(root, pictures, "identity_CelebA", None, problems)
    split = {k: _SPLITS[v] for k, v in _labels(root, pictures, "list_eval_partition", set(_SPLITS), problems).items()}
    for name in sorted((gender.keys() | identity.keys() | split.keys()) - pictures.keys()):
        problems.append(f"{shown(name)}: named in the label files, but there is no such picture")
    rows = [
        Row(key_of(root, path), path, identity.get(name), gender.get(name), split=split.get(name))
        for name, path in pictures.items()
    ]
    return Table("celeba", root, rows, problems)


def _labels(
    root: Path, pictures: dict[str, Path], stem: str, allowed: set[str] | None, problems: list[str]
) -> dict[str, str]:
    """Picture name → value of one label file; of the attribute list, the value of ``Male``."""
    places = [f"{folder}{stem}{end}" for folder in ("", "Anno/", "Eval/") for end in (".txt", ".csv")]
    path = first_existing(root, places)
    values: dict[str, str] = {}
    if path is None:
        problems.append(f"{stem}.txt: not there, so what it says is unknown for every picture")
        return values
    rows = list(_cells(path))
    if len(rows) > 1 and len(rows[0][1]) == 1:
        del rows[0]  # the count of pictures that the text list starts with
    header = rows[0][1] if rows and not is_picture(rows[0][1][0]) else []
    rows = rows[1:] if header else rows
    column, width = 1, 2
    if stem == "list_attr_celeba":
        lower = [word.lower() for word in header]
        if "male" not in lower:
            got = shown(", ".join(header)[:80]) or "no header"
            problems.append(f"{path.name}: has no column Male (got: {got}), so no gender is taken from it")
            return values
        # the text file's header lacks a word for the column of names; a CSV has one, which may be empty
        width = len(header) + (header[0] != "" and lower[0] not in COLUMNS["file"])
        column = lower.index("male") + width - len(header)
        codes = {cells[column] for _, cells in rows if len(cells) == width}
        if {"0", "-1"} <= codes:
            problems.append(
                f"{path.name}: writes Male as {shown(', '.join(sorted(codes)[:8]))}; known are 1 and -1, or 1 and 0. "
                "No gender is taken from it, since a part would be lost"
            )
            return values
    for number, cells in rows:
        if len(cells) != width or (allowed is not None and cells[column] not in allowed):
            line = shown(" ".join(cells)[:60])
            problems.append(f"{path.name} line {number}: {line!r} is not a row of this list; skipped")
        elif cells[0] in values:
            problems.append(f"{path.name} line {number}: names {shown(cells[0])} a second time; the first row counts")
        else:
            values[cells[0]] = cells[column]
    without = [name for name in pictures if name not in values]
    if without:
        problems.append(f"{path.name}: has no row for {len(without)} pictures, the first is {shown(without[0])}")
    return values


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    yield from csv_cells(path) if path.suffix == ".csv" else ((n, line.split()) for n, line in text_lines(path))
