"""One reader a published layout, each from a folder as downloaded to a Table.

A reader opens no picture: it lists each folder once and reads the label files. What is wrong with a row is named in
the table's problems and the row is skipped; a broken picture is found by :func:`halfmask.datasets.check`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from halfmask.datasets.readers.celeba import read_celeba
from halfmask.datasets.readers.fairface import read_fairface
from halfmask.datasets.readers.lfw import read_lfw
from halfmask.datasets.readers.utkface import read_utkface
from halfmask.datasets.table import Table
from halfmask.errors import UsageError

READERS: dict[str, Callable[[Path], Table]] = {
    "celeba": read_celeba,
    "fairface": read_fairface,
    "utkface": read_utkface,
    "lfw": read_lfw,
}
"""Layout name → reader."""


def read(layout: str, root: Path | str) -> Table:
    """Read the data set in a folder, laid out as ``layout`` (a key of READERS) is published.

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
    return READERS[layout](Path(root))
