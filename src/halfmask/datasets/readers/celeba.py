"""CelebA: 202,599 aligned photos of 10,177 people, 40 attributes each.

Format: https://mmlab.ie.cuhk.edu.hk/projects/CelebA.html, "README.txt" (Liu et al., Deep Learning Face Attributes in
the Wild, ICCV 2015). Read are the official folders (``Img``, ``Anno``, ``Eval``), the same files side by side in the
root, and Kaggle's copy with its CSV files.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from halfmask.datasets.readers.files import (
    first_existing,
    key_of,
    list_pictures,
    nothing_found,
    printable,
    text_lines,
)
from halfmask.datasets.table import Row, Split, Table

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
    CelebA gives no age in years and no race.

    Raises DataError when there is no picture folder.
    """
    folder = first_existing(root, _PICTURES)
    pictures = list_pictures(folder) if folder else {}
    if not pictures:
        raise nothing_found("celeba", root, "img_align_celeba/ with NNNNNN.jpg, and list_attr_celeba.txt")
    problems: list[str] = []
    gender = {k: int(v == "1") for k, v in _labels(root, pictures, "list_attr_celeba", {"1", "-1"}, problems).items()}
    identity = _labels(root, pictures, "identity_CelebA", None, problems)
    split = {k: _SPLITS[v] for k, v in _labels(root, pictures, "list_eval_partition", set(_SPLITS), problems).items()}
    for name in sorted((gender.keys() | identity.keys() | split.keys()) - pictures.keys()):
        problems.append(f"{printable(name)}: named in the label files, but there is no such picture")
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
    found: dict[str, str] = {}
    if path is None:
        problems.append(f"{stem}.txt: not there, so what it says is unknown for every picture")
        return found
    column, width = 1, 2
    for number, cells in _cells(path):
        if stem == "list_attr_celeba" and "Male" in cells:
            # The text file's header lacks a word for the column of names; the CSV's has "image_id".
            lacking = cells[0] != "image_id"
            column, width = cells.index("Male") + lacking, len(cells) + lacking
        elif cells[0] == "image_id" or (number == 1 and len(cells) == 1):
            continue  # the CSV's header, or the count of pictures that the text list starts with
        elif len(cells) != width or (allowed is not None and cells[column] not in allowed):
            line = printable(" ".join(cells)[:60])
            problems.append(f"{path.name} line {number}: {line!r} is not a row of this list; skipped")
        elif cells[0] in found:
            problems.append(
                f"{path.name} line {number}: names {printable(cells[0])} a second time; the first row counts"
            )
        else:
            found[cells[0]] = cells[column]
    without = [name for name in pictures if name not in found]
    if without:
        problems.append(f"{path.name}: has no row for {len(without)} pictures, the first is {printable(without[0])}")
    return found


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in text_lines(path):
        yield number, [c.strip() for c in line.split(",")] if path.suffix == ".csv" else line.split()
