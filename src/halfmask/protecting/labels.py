"""A labels file: the gender that the user knows, which beats any estimate."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ..datasets.labels import UNKNOWN, Names, parse_gender, read_label_file
from ..errors import DataError, UsageError, shown
from .plan import Job

_NAMED = 10


def read_labels(path: Path, jobs: Iterable[Job]) -> dict[Path, int]:
    """Read a label file with a column of files and one of genders; gives the job's source → 0 (female) or 1 (male).

    What such a file looks like is in :mod:`halfmask.datasets.labels`. A photo is named as it lies within its input
    folder (``holiday/a.jpg``), by its path as the command line gives it, by its full path, or by its bare name when
    only one goes by it. An empty or unknown gender gets an estimate, and so does a photo without a row.

    Raises :class:`~halfmask.errors.UsageError` when the file cannot be read, lacks a column, names photos that are not
    among the jobs, uses a name that two of them go by, holds other genders, or says both of one photo; it lists all of
    a kind.
    """
    place = shown(path)
    try:
        rows = read_label_file(path, any_of=("gender",)).rows
    except DataError as error:
        raise UsageError(str(error)) from error
    names: Names[Path] = Names()  # several input folders may each hold an a.jpg
    for job in jobs:
        names.add(job.source, job.name, job.source, os.path.abspath(job.source))  # noqa: PTH100  links stay as they are
    labels: dict[Path, int] = {}
    unknown, ambiguous, odd, clashing = [], [], [], []
    for row in rows:
        sources, word = names.find(row.file), row.cells["gender"]
        gender = parse_gender(word)
        where = f"{shown(row.file)} (line {row.line})"
        if not sources:
            unknown.append(where)
        elif len(sources) > 1:
            ambiguous.append(f"{where}, which is {' or '.join(shown(source) for source in sorted(sources))}")
        elif gender is None:
            if word.lower() not in UNKNOWN:
                odd.append(f"{shown(word)} (line {row.line})")
        elif labels.setdefault(min(sources), gender) != gender:
            clashing.append(where)
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
