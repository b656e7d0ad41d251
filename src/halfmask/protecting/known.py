"""What the user knows of photos, which beats any estimate: genders, who is who, and where faces are."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ..datasets.labels import COLUMNS, UNKNOWN, Names, csv_rows, parse_gender, read_label_file
from ..errors import DataError, UsageError, shown
from ..photos.detect import Box, Face
from .choosing import check_boxes
from .plan import Job, some

_SIDES = {"x": ("x", "left"), "y": ("y", "top"), "width": ("width", "w"), "height": ("height", "h")}


@dataclass(frozen=True)
class Known:
    """What is known of one photo's faces, as far as it is.

    ``genders`` (0 female, 1 male) and ``who``, names of people, go by faces, largest first: a labels file speaks of
    the first, the face that it means. ``boxes`` are faces that the user knows of, (x, y, width, height) in photo
    pixels, and ``box_genders`` and ``box_who`` say the same of the face in each box.
    """

    genders: tuple[int | None, ...] = ()
    who: tuple[str | None, ...] = ()
    boxes: tuple[Box, ...] = ()
    box_genders: tuple[int | None, ...] = ()
    box_who: tuple[str | None, ...] = ()

    def of(self, faces: Sequence[Face]) -> tuple[dict[int, int], dict[int, str]]:
        """Genders and names by the number of the face; ``faces`` are those found, largest first.

        A box speaks of the face whose middle is nearest to its own, and beats what goes by size.

        >>> import numpy as np
        >>> two = [Face((x, 0, 9, 9), np.zeros((5, 2), np.float32), 0.9) for x in (0, 50)]
        >>> Known((1,), ("anna",), ((52, 1, 8, 8),), (0,), ("bert",)).of(two)
        ({0: 1, 1: 0}, {0: 'anna', 1: 'bert'})
        """
        genders = {i: g for i, g in enumerate(self.genders[: len(faces)]) if g is not None}
        who = {i: name for i, name in enumerate(self.who[: len(faces)]) if name is not None}
        for k, box in enumerate(self.boxes if faces else ()):
            place = min(range(len(faces)), key=lambda i: _apart(faces[i].box, box))
            if k < len(self.box_genders) and (gender := self.box_genders[k]) is not None:
                genders[place] = gender
            if k < len(self.box_who) and (name := self.box_who[k]) is not None:
                who[place] = name
        return genders, who


#: Nothing is known.
NOTHING = Known()


def _apart(one: Box, other: Box) -> float:
    return sum((a + b / 2 - c - d / 2) ** 2 for a, b, c, d in zip(one[:2], one[2:], other[:2], other[2:], strict=True))


def read_known(labels: str | None, boxes: str | None, jobs: Sequence[Job]) -> dict[Path, Known]:
    """What a labels file and a boxes file say: the job's source → what is known, for photos that one of them names.

    Raises what :func:`read_labels` and :func:`read_boxes` raise.
    """
    known = read_labels(Path(labels), jobs) if labels is not None else {}
    for source, more in (read_boxes(Path(boxes), jobs) if boxes is not None else {}).items():
        first = known.get(source, NOTHING)
        known[source] = replace(more, genders=first.genders, who=first.who)
    return known


def read_labels(path: Path, jobs: Iterable[Job]) -> dict[Path, Known]:
    """Read a label file with a column of files and one of genders or people; gives the job's source → what it says.

    Both hold for the largest face of the photo. Who is of one name gets one target in all photos of a run, from a
    method that draws targets by a key.

    What such a file looks like is in :mod:`halfmask.datasets.labels`. A photo is named as it lies within its input
    folder (``holiday/a.jpg``), by its path as the command line gives it, by its full path, or by its bare name when
    only one goes by it. An empty or unknown gender gets an estimate, and so does a photo without a row.

    Raises :class:`~halfmask.errors.UsageError` when the file cannot be read, lacks a column, names photos that are not
    among the jobs, uses a name that two of them go by, holds other genders, or says both of one photo; it lists all of
    a kind.
    """
    place = shown(path)
    try:
        rows = read_label_file(path, any_of=("gender", "identity")).rows
    except DataError as error:
        raise UsageError(str(error)) from error
    names: Names[Path] = Names()  # several input folders may each hold an a.jpg
    for job in jobs:
        names.add(job.source, job.name, job.source, os.path.abspath(job.source))  # noqa: PTH100  links stay as they are
    labels: dict[Path, int] = {}
    people: dict[Path, str] = {}
    unknown, ambiguous, odd, clashing, renamed = [], [], [], [], []
    for row in rows:
        sources, word = names.find(row.file), row.cells.get("gender", "")
        gender = parse_gender(word)
        person = row.cells.get("identity", "")
        where = f"{shown(row.file)} (line {row.line})"
        if not sources:
            unknown.append(where)
        elif len(sources) > 1:
            ambiguous.append(f"{where}, which is {' or '.join(shown(source) for source in sorted(sources))}")
        else:
            if gender is None and word.lower() not in UNKNOWN:
                odd.append(f"{shown(word)} (line {row.line})")
            if gender is not None and labels.setdefault(min(sources), gender) != gender:
                clashing.append(where)
            if person.lower() not in UNKNOWN and people.setdefault(min(sources), person) != person:
                renamed.append(where)
    problems = []
    if unknown:
        problems.append(f"names photos that are not among the inputs: {some(unknown)}")
    if ambiguous:
        problems.append(f"uses names that several photos go by: {some(ambiguous)}")
    if odd:
        problems.append(f"holds genders other than female and male: {some(odd)}")
    if clashing:
        problems.append(f"says both female and male of: {some(clashing)}")
    if renamed:
        problems.append(f"gives two names to: {some(renamed)}")
    if problems:
        raise UsageError(
            f"the labels file {place} " + "; it ".join(problems) + ". Files are named as they lie in the input folder, "
            "such as album/a.jpg, or by the whole path."
        )
    return {source: Known((labels.get(source),), (people.get(source),)) for source in dict.fromkeys([*labels, *people])}


def read_boxes(path: Path, jobs: Iterable[Job]) -> dict[Path, Known]:
    """Read a CSV with the columns file, x, y, width, height, a row a face; gives the job's source → what it says.

    Columns ``person`` and ``gender`` may say who is in a box.

    Files are named as in a labels file. Raises :class:`~halfmask.errors.UsageError` when it cannot be read, lacks a
    column, names photos that are not among the jobs or that several go by, or holds what is no box; it lists them.
    """
    names: Names[Path] = Names()
    for job in jobs:
        names.add(job.source, job.name, job.source, os.path.abspath(job.source))  # noqa: PTH100  links stay as they are
    boxes: dict[Path, list[tuple[Box, int | None, str | None]]] = {}
    problems: list[str] = []
    try:
        for line, cells in csv_rows(path):
            columns = {c: next((w for w in words if w in cells), None) for c, words in _SIDES.items()}
            columns["file"] = next((word for word in COLUMNS["file"] if word in cells), None)
            if absent := [column for column, word in columns.items() if word is None]:
                raise UsageError(
                    f"the boxes file {shown(path)} has no column {', '.join(absent)}; expected a first line "
                    "file,x,y,width,height"
                )
            file, *sides = (cells[str(columns[c])] for c in ("file", "x", "y", "width", "height"))
            sources = names.find(file)
            try:
                (box,) = check_boxes([sides])
            except UsageError:
                problems.append(f"line {line} holds {shown(', '.join(sides))}, which is no box")
                continue
            if len(sources) != 1:
                what = "which several inputs go by" if sources else "which is not among the inputs"
                problems.append(f"line {line} names {shown(file)}, {what}")
                continue
            gender, person = (
                next((cells[word] for word in COLUMNS[c] if word in cells), "") for c in ("gender", "identity")
            )
            if parse_gender(gender) is None and gender.lower() not in UNKNOWN:
                problems.append(f"line {line} holds the gender {shown(gender)}; expected female or male")
                continue
            who = None if person.lower() in UNKNOWN else person
            boxes.setdefault(min(sources), []).append((box, parse_gender(gender), who))
    except DataError as error:
        raise UsageError(str(error)) from error
    if problems:
        raise UsageError(
            f"the boxes file {shown(path)}: {some(problems)}. A row is file,x,y,width,height in photo pixels; files "
            "are named as they lie in the input folder, or by the whole path"
        )
    return {
        source: Known(
            boxes=tuple(b for b, _, _ in rows),
            box_genders=tuple(g for _, g, _ in rows),
            box_who=tuple(w for _, _, w in rows),
        )
        for source, rows in boxes.items()
    }
