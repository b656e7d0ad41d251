"""A labels file: the gender that the user knows, which beats any estimate."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Iterable
from pathlib import Path

from ..errors import UsageError, shown
from .plan import Job

_WORDS = {"female": 0, "f": 0, "0": 0, "male": 1, "m": 1, "1": 1}
_NAMED = 10


def read_labels(path: Path, jobs: Iterable[Job]) -> dict[Path, int]:
    """Read a CSV with the columns ``file`` and ``gender``; gives the job's source → 0 (female) or 1 (male).

    A file is named as the photo lies within its input folder (``holiday/a.jpg``), by its path as the command line gives
    it, or by its full path. Genders are female, f, 0, male, m, 1 in any case. An empty one means unknown; that photo,
    like one without a row, gets an estimate.

    Raises :class:`~halfmask.errors.UsageError` when the file cannot be read, lacks a column, names photos that are not
    among the jobs, uses a name that two of them go by, holds other genders, or says both of one photo; it lists all of
    a kind.
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
    known: dict[str, set[Path]] = {}  # several input folders may each hold an a.jpg
    for job in jobs:
        for name in {job.name, str(job.source), os.path.abspath(job.source)}:  # noqa: PTH100  links stay as they are
            known.setdefault(name, set()).add(job.source)
    labels: dict[Path, int] = {}
    unknown, ambiguous, odd, clashing = [], [], [], []
    for line, file, word in rows:
        sources = known.get(file) or known.get(str(Path(file))) or set()
        if not sources:
            unknown.append(f"{shown(file)} (line {line})")
        elif len(sources) > 1:
            meant = " or ".join(shown(source) for source in sorted(sources))
            ambiguous.append(f"{shown(file)} (line {line}), which is {meant}")
        elif word.lower() not in _WORDS:
            if word:
                odd.append(f"{shown(word)} (line {line})")
        elif labels.setdefault(min(sources), _WORDS[word.lower()]) != _WORDS[word.lower()]:
            clashing.append(f"{shown(file)} (line {line})")
    problems = []
    if unknown:
        problems.append(f"names photos that are not among the inputs: {_some(unknown)}")
    if ambiguous:
        problems.append(f"uses names that several photos go by: {_some(ambiguous)}")
    if odd:
        problems.append(f"holds genders other than female and male: {_some(odd)}")
    if clashing:
        problems.append(f"says both female and male of: {_some(clashing)}")
    if problems:
        raise UsageError(
            f"the labels file {place} " + "; it ".join(problems) + ". Files are named as they lie in the input folder, "
            "such as album/a.jpg, or by the whole path."
        )
    return labels


def _some(items: list[str]) -> str:
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
