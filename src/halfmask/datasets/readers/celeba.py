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
    gender = {k: int(v == "1") for k, v in _labels(root, "list_attr_celeba", {"1", "-1"}, problems)}
    identity = dict(_labels(root, "identity_CelebA", None, problems))
    split = {k: _SPLITS[v] for k, v in _labels(root, "list_eval_partition", set(_SPLITS), problems)}
    for name in sorted((gender.keys() | identity.keys() | split.keys()) - pictures.keys()):
        problems.append(f"{printable(name)}: named in the label files, but there is no such picture")
    rows = [
        Row(key_of(root, path), path, identity.get(name), gender.get(name), split=split.get(name))
        for name, path in pictures.items()
    ]
    return Table("celeba", root, rows, problems)


def _labels(root: Path, stem: str, allowed: set[str] | None, problems: list[str]) -> Iterator[tuple[str, str]]:
    """Picture name and value of each row of one label file; in the attribute list, the value of ``Male``."""
    places = [f"{folder}{stem}{end}" for folder in ("", "Anno/", "Eval/") for end in (".txt", ".csv")]
    path = first_existing(root, places)
    if path is None:
        problems.append(f"{stem}.txt: not there, so what it says is unknown for every picture")
        return
    column, width = 1, 2
    for number, cells in _cells(path):
        if stem == "list_attr_celeba" and "Male" in cells:
            # The text file's header lacks a word for the first column, the CSV's has "image_id".
            column, width = (
                (cells.index("Male") + 1, len(cells) + 1)
                if cells[0] != "image_id"
                else (cells.index("Male"), len(cells))
            )
        elif cells[0] == "image_id" or (number == 1 and len(cells) == 1):
            continue  # the CSV's header; the text list's count of pictures
        elif len(cells) != width or (allowed is not None and cells[column] not in allowed):
            problems.append(
                f"{path.name} line {number}: {printable(' '.join(cells)[:60])!r} is not a row of this list; skipped"
            )
        else:
            yield cells[0], cells[column]


def _cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    for number, line in text_lines(path):
        yield number, [c.strip() for c in line.split(",")] if path.suffix == ".csv" else line.split()
