"""Labeled Faces in the Wild: 13,233 photos of 5,749 people, in a folder a person.

Format: http://vis-www.cs.umass.edu/lfw/README.txt (Huang et al., UMass Amherst TR 07-49, 2007). The gender lists are
not part of it; they hold one picture name a line.
"""

from __future__ import annotations

import re
from pathlib import Path

from halfmask.datasets.labels import text_lines
from halfmask.datasets.readers.layout import first_existing, key_of, match_names, nothing_found
from halfmask.datasets.table import Row, Table
from halfmask.errors import shown
from halfmask.photos.listing import is_picture, list_folders, list_pictures

# The first that is there counts: deep funneled, funneled, original, the people in the root.
_FOLDERS = (
    "lfw-deepfunneled/lfw-deepfunneled",
    "lfw-deepfunneled",
    "lfw_funneled/lfw_funneled",
    "lfw_funneled",
    "lfw-funneled/lfw_funneled",
    "lfw-funneled",
    "lfw/lfw",
    "lfw",
    ".",
)


def read_lfw(root: Path) -> Table:
    """Read LFW: the identity from the folder's name, gender from ``male_names.txt`` and ``female_names.txt``. No split.

    Expects ``lfw-deepfunneled/Name/Name_0001.jpg`` (or ``lfw_funneled``, ``lfw``, or the people in the root). A line
    of a gender list is the name of a picture. A picture in neither list has no gender, one in both neither, and is
    named. The verification pairs are read by :func:`halfmask.datasets.lfw_pairs`.

    Raises DataError when no folder holds pictures named after it.
    """
    problems: list[str] = []
    pictures = _pictures(root, problems)
    if not pictures:
        raise nothing_found("lfw", root, "lfw-deepfunneled/NAME/NAME_0001.jpg, one folder a person")
    female, male = (_names(root, word, pictures, problems) for word in ("female", "male"))
    for name in sorted(female & male):
        problems.append(f"{shown(name)}: in both gender lists; its gender is unknown")
    rows = []
    for name, path in pictures.items():
        gender = None if (name in female) == (name in male) else int(name in male)
        rows.append(Row(key_of(root, path), path, path.parent.name, gender))
    return Table("lfw", root, rows, problems)


def _pictures(root: Path, problems: list[str]) -> dict[str, Path]:
    """File name → path of the pictures named ``NAME_NNNN`` in a folder ``NAME``."""
    pictures_by_name = {}
    for person in list_folders(first_existing(root, _FOLDERS) or root):
        pictures = {key_of(root, path): path for path in list_pictures(person).values()}
        pattern = re.compile(re.escape(person.name) + r"_\d{4}\.\w+$")
        for _, path, _ in match_names(pictures, pattern, f"{shown(person.name)}_0001.jpg", problems):
            pictures_by_name[path.name] = path
    return pictures_by_name


def _names(root: Path, word: str, pictures: dict[str, Path], problems: list[str]) -> set[str]:
    """The pictures that one gender list names; a line that names none is a problem."""
    path = first_existing(root, [f"{word}_names.txt"])
    names = set()
    for number, line in text_lines(path) if path else ():
        if line in pictures:
            names.add(line)
        else:
            why = "there is no such picture" if is_picture(line) else "not the name of a picture"
            problems.append(f"{word}_names.txt line {number} ({shown(line[:80])}): {why}; skipped")
    return names
