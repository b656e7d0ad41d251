"""Whom a face is mixed with: the mean faces that ship, or crops of a folder of photos, by gender."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DataError, UsageError
from ..weights import shipped

#: Partners of each gender that are taken from a folder: enough to choose from, few enough to be ready in seconds.
MOST = 120

_SPLITS = ("train", "valid", "test")


Pools = tuple[NDArray[np.uint8], NDArray[np.uint8]]
"""Crops of the shared template by gender, female and male, uint8 (N, 224, 224, 3) each, N at least 1."""


def means() -> Pools:
    """The mean female and male face of FairFace, which ship."""
    with np.load(shipped.path("mixing.npz")) as kept:
        return kept["female"][None], kept["male"][None]


def from_folder(where: str, seed: int = 0, *, quiet: bool = False) -> Pools:
    """At most :data:`MOST` faces of each gender, drawn by ``seed``, from ``[LAYOUT:]FOLDER[:SPLIT]``.

    LAYOUT is one of :data:`halfmask.datasets.READERS`, recognised when left out; the layout ``folder`` takes a labels
    file with a gender per photo. Crops are cached. Raises :class:`~halfmask.errors.UsageError` when there is no such
    folder, :class:`~halfmask.errors.DataError` when it does not hold a face of each gender.
    """
    from ..datasets import read, recognise  # only who names a folder pays for loading the readers
    from ..datasets.cache import open_crops

    layout, folder, split = _parts(where)
    if not folder.is_dir():
        raise UsageError(f"partners={where}: there is no folder {folder}; expected [LAYOUT:]FOLDER[:SPLIT]")
    table = read(layout or recognise(folder), folder)
    known = table.where(lambda row: row.gender is not None and (split is None or row.split == split))
    kept: set[str] = set()
    for gender in (0, 1):
        keys = [row.key for row in known if row.gender == gender]
        keys.sort(key=lambda key: hashlib.sha256(f"{seed} {key}".encode("utf-8", "surrogateescape")).digest())
        kept.update(keys[:MOST])
    if not kept:
        which = f" in its split {split!r}" if split else ""
        raise DataError(
            f"partners={where}: none of {len(table)} photos{which} has a gender; expected a published layout or a "
            "labels file with a gender per photo"
        )
    crops = open_crops(known.where(lambda row: row.key in kept), quiet=quiet)
    women, men = ([i for i, row in enumerate(crops.rows) if row.gender == gender] for gender in (0, 1))
    for word, people in (("female", women), ("male", men)):
        if not people:
            raise DataError(f"partners={where} shows no {word} face; expected faces of both genders")
    return crops.take(women), crops.take(men)


def _parts(where: str) -> tuple[str | None, Path, str | None]:
    from ..datasets import READERS

    layout, colon, rest = where.partition(":")
    if not (colon and layout in READERS):  # a folder, perhaps with a drive's letter
        layout, rest = "", where
    folder, colon, split = rest.rpartition(":")
    if not (colon and split in _SPLITS):
        folder, split = rest, ""
    return layout or None, Path(folder), split or None
