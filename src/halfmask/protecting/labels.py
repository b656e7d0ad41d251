"""A labels file: the gender that the user knows, which beats any estimate."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError
from ..photos.photo import shown
from .plan import Job

_WORDS = {"female": 0, "f": 0, "0": 0, "male": 1, "m": 1, "1": 1}
_NAMED = 10


def read_labels(path: Path, jobs: Iterable[Job]) -> dict[str, int]:
    """Read a CSV with the columns ``file`` and ``gender``; gives job name → 0 (female) or 1 (male).

    A file is named as the photo lies within its input folder (``holiday/a.jpg``), or as it was given on the command
    line. Genders are female, f, 0, male, m, 1 in any case. An empty one means unknown; that photo, like one without a
    row, gets an estimate.

    Raises :class:`~halfmask.errors.UsageError` when the file cannot be read, lacks a column, names photos that are
    not among the jobs, holds other genders, or says both of one photo; it lists all of a kind.
    """
    place = shown(path)
    try:
        # surrogateescape: a name that is not UTF-8 has to match the file's, not to be readable
        text = path.read_text("utf-8-sig", "surrogateescape")
    except OSError as error:
        raise UsageError(f"the labels file {place} cannot be read: {error.strerror or error}") from error
    reader = csv.DictReader(io.StringIO(text, newline=""))
    try:
        columns = list(reader.fieldnames or ())
        if not {"file", "gender"} <= set(columns):
            got = ", ".join(shown(name) for name in columns) or "nothing"
            raise UsageError(f"the labels file {place} has the columns {got}; expected a first line: file,gender")
        rows = [(reader.line_num, (row["file"] or "").strip(), (row["gender"] or "").strip()) for row in reader]
    except csv.Error as error:
        raise UsageError(f"the labels file {place} is no CSV: line {reader.line_num}: {error}") from error
    known = {}
    for job in jobs:
        known[str(job.source)] = known[job.name] = job.name
    labels: dict[str, int] = {}
    unknown, odd, clashing = [], [], []
    for line, file, word in rows:
        name = known.get(file) or known.get(str(Path(file)))
        if name is None:
            unknown.append(f"{shown(file)} (line {line})")
        elif word.lower() not in _WORDS:
            if word:
                odd.append(f"{shown(word)} (line {line})")
        elif labels.setdefault(name, _WORDS[word.lower()]) != _WORDS[word.lower()]:
            clashing.append(f"{shown(file)} (line {line})")
    problems = []
    if unknown:
        problems.append(f"names photos that are not among the inputs: {_some(unknown)}")
    if odd:
        problems.append(f"holds genders other than female and male: {_some(odd)}")
    if clashing:
        problems.append(f"says both female and male of: {_some(clashing)}")
    if problems:
        raise UsageError(
            f"the labels file {place} " + "; it ".join(problems) + ". Files are named as they lie in the input folder, "
            "such as album/a.jpg."
        )
    return labels


def _some(items: list[str]) -> str:
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
