"""The report on disk: the page, one CSV a table, and ``results.json``; each whole or absent."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ....errors import HalfmaskError
from ....storage import ensure_folder, whole
from ....tabular import csv_text

if TYPE_CHECKING:
    from .images import Picture

#: The tables that become CSV files, with the columns that they have even when there is no row.
CSV_COLUMNS = {
    "gender": ("variant", "referee", "n", "lost", "error", "balanced_accuracy", "auc", "eer"),
    "matching": ("variant", "matcher", "genuine", "impostors", "tmr@0.01", "tmr@0.001", "tmr@0.0001", "auc", "eer"),
    "recognition": ("attack", "variant", "matcher", "n_train", "genuine", "impostors", "tmr@0.01", "tmr@0.001", "auc"),
    "attacks": ("attack", "reader", "n_train", "n_test", "balanced_accuracy", "auc"),
    "groups": ("attribute", "group", "n", "people", "referee", "measure", "before", "protected"),
    "age": ("variant", "referee", "n", "lost", "mae", "rmse", "cs5"),
    "race": ("variant", "referee", "n", "lost", "balanced_accuracy", "auc"),
    "looks": ("measure", "mean", "low", "high"),
}


def write(
    results: Mapping[str, Any], folder: Path, pictures: Sequence[Picture] = (), *, inverse: Path | None = None
) -> Path:
    """Write ``report.html``, a CSV a table and ``results.json`` into ``folder``; gives the page's path.

    ``results`` is the dictionary of ``results.json`` (numpy numbers are welcome; NaN and infinity become null),
    ``pictures`` are the faces to show, ``inverse`` is the strip of the learned inverse. A table without rows gives a
    CSV of its heading alone. Nothing is put in place before all of it is written.

    Raises :class:`~halfmask.errors.HalfmaskError` when the folder cannot be written to or the disk is full, and
    :class:`~halfmask.errors.ExtraMissingError` without ``halfmask[audit]``.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     write({"set": {"originals": "mine"}}, Path(folder)).name
    'report.html'
    """
    from .page import render

    results = plain(results)
    page = folder / "report.html"
    texts = {"results.json": json.dumps(results, indent=1, allow_nan=False) + "\n"}
    texts |= {
        f"{name}.csv": csv_text(_rows(results, name), columns)
        for name, columns in CSV_COLUMNS.items()
        if name != "recognition" or name in results  # of one direction alone
    }
    texts[page.name] = render(results, pictures, inverse=inverse)  # last in place: where it is, the rest is
    ensure_folder(folder, error=HalfmaskError)
    with contextlib.ExitStack() as places:  # nothing is put in place before all is written; the page, first in, is last
        for name, text in reversed(texts.items()):
            fresh = places.enter_context(whole(folder / name, error=HalfmaskError))
            # a file name that is not UTF-8 cannot be written as it is
            fresh.write_bytes(text.encode("utf-8", "backslashreplace"))
    return page


def _rows(results: Mapping[str, Any], name: str) -> Sequence[Mapping[str, Any]]:
    if name == "looks":
        return [{"measure": measure, **(row or {})} for measure, row in (results.get("looks") or {}).items()]
    return results.get(name) or ()


def plain(value: Any) -> Any:
    """A value as JSON knows it: numpy becomes Python, a tuple a list, a path a text, NaN and infinity None.

    >>> plain({"auc": np.float32(0.5), "n": np.int64(3), "no": float("nan"), "x": np.arange(2)})
    {'auc': 0.5, 'n': 3, 'no': None, 'x': [0, 1]}
    """
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [plain(v) for v in value]
    if isinstance(value, float) and not isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value
