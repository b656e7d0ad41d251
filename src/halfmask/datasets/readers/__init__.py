"""One reader a published layout, each from a folder as downloaded to a Table.

A reader opens no picture: it lists each folder once and reads the label files. What is wrong with a row is named in
the table's problems and the row is skipped; a broken picture is found by :func:`halfmask.datasets.check`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from halfmask.datasets.readers.afad import read_afad
from halfmask.datasets.readers.allagefaces import read_allagefaces
from halfmask.datasets.readers.arface import read_arface
from halfmask.datasets.readers.cacd import read_cacd
from halfmask.datasets.readers.celeba import read_celeba
from halfmask.datasets.readers.fairface import read_fairface
from halfmask.datasets.readers.folder import read_folder
from halfmask.datasets.readers.layout import NOT_NAMED
from halfmask.datasets.readers.lfw import read_lfw
from halfmask.datasets.readers.morph2 import read_morph2
from halfmask.datasets.readers.muct import read_muct
from halfmask.datasets.readers.utkface import read_utkface
from halfmask.datasets.table import Table
from halfmask.errors import DataError, UsageError
from halfmask.photos.listing import list_folders, list_pictures

#: Folders around a data set that are looked through.
_DEEPEST = 3

READERS: dict[str, Callable[[Path], Table]] = {
    "celeba": read_celeba,
    "fairface": read_fairface,
    "utkface": read_utkface,
    "lfw": read_lfw,
    "muct": read_muct,
    "arface": read_arface,
    "morph2": read_morph2,
    "afad": read_afad,
    "cacd": read_cacd,
    "allagefaces": read_allagefaces,
    "folder": read_folder,
}
"""Layout name → reader; ``folder`` stands last because it takes any pictures."""


def read(layout: str, root: Path | str) -> Table:
    """Read the data set in a folder, laid out as ``layout`` (a key of READERS) is published.

    A copy from Kaggle, or an archive unpacked, often has one more folder around everything: a layout that is not in the
    folder is looked for in its only folder, and keys are still paths from ``root``.

    Raises UsageError for an unknown layout, DataError when the folder holds nothing of it.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> (root / "UTKFace").mkdir()
    >>> (root / "UTKFace" / "31_1_2_20170112232321.jpg.chip.jpg").touch()
    >>> table = read("utkface", root)
    >>> table[0].age, table[0].gender, table[0].race
    (31.0, 0, 'Asian')
    """
    if layout not in READERS:
        raise UsageError(f"unknown data set layout {layout!r}. Use one of: {', '.join(READERS)}.")
    root = Path(root)
    try:
        return READERS[layout](root)
    except DataError:
        inner = _only_folder(root) if layout != "folder" else None
        for _ in range(_DEEPEST):
            if inner is None:
                break
            try:
                table = READERS[layout](inner)
            except DataError:
                inner = _only_folder(inner)
                continue
            place = inner.relative_to(root).as_posix()
            return replace(table, root=root, rows=[replace(row, key=f"{place}/{row.key}") for row in table])
        raise


def _only_folder(root: Path) -> Path | None:
    """The one folder of a folder that holds no picture itself."""
    if not root.is_dir() or list_pictures(root):
        return None
    folders = [folder for folder in list_folders(root) if folder.name != "__MACOSX"]
    return folders[0] if len(folders) == 1 else None


def recognise(root: Path | str) -> str:
    """The layout of the data set in a folder: the first whose reader finds its pictures there, else ``folder``.

    A layout must fit more of the file names than it does not, so that one stray name in a folder of one's own photos
    does not decide. Raises DataError when there are no pictures at all.
    """
    root = Path(root)
    for layout in READERS:
        if layout == "folder":
            continue
        try:
            table = read(layout, root)
        except DataError:
            continue
        if len(table) > sum(NOT_NAMED in problem for problem in table.problems):
            return layout
    read_folder(root)
    return "folder"
