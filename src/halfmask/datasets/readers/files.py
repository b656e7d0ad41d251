"""What all readers do alike: list the pictures of a folder once, read label files, and say what is missing.

Names on disk need not be UTF-8. They are kept as Python keeps them (``surrogateescape``), and label files are read
the same way, so that a Latin-1 name in a list still finds its Latin-1 file. :func:`printable` makes such a name safe
to print.
"""

from __future__ import annotations

import csv
import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from halfmask.errors import DataError

PICTURE_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".ppm", ".pgm", ".gif", ".tif", ".tiff", ".webp"})
OLDEST = 120
"""The upper end, in years, of an age that is only bounded below ("more than 70")."""
NOT_NAMED = "not named"
"""What the problem of a picture says whose file name is not its layout's; recognise() counts these."""


def printable(text: str) -> str:
    r"""The text with every byte that was not UTF-8 written as ``\udcXX``, so that it can be printed and put in JSON.

    >>> printable("Ren\udce9.jpg")
    'Ren\\udce9.jpg'
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def is_picture(name: str) -> bool:
    """Whether a file name ends as a picture's does. Dot files (macOS leaves ``._x.jpg``) are none."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in PICTURE_SUFFIXES  # noqa: PTH122


def list_pictures(folder: Path) -> dict[str, Path]:
    """File name → path of the pictures directly in a folder, by name; empty when there is no such folder.

    One listing of the directory; no file is opened.
    """
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if is_picture(e.name) and e.is_file())
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise DataError(
            f"cannot list the folder {printable(str(folder))}: {error.strerror}. Check that it may be read."
        ) from error
    return {name: folder / name for name in names}


def list_folders(folder: Path) -> list[Path]:
    """The folders directly in a folder, by name; empty when there is no such folder. Dot folders are left out."""
    try:
        with os.scandir(folder) as entries:
            names = sorted(e.name for e in entries if not e.name.startswith(".") and e.is_dir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise DataError(
            f"cannot list the folder {printable(str(folder))}: {error.strerror}. Check that it may be read."
        ) from error
    return [folder / name for name in names]


def walk_pictures(root: Path, problems: list[str], extra_suffix: str | None = None) -> dict[str, Path]:
    """Key → path of every picture at or below a folder, by key; a folder that cannot be listed is named.

    Links to folders are not followed, so none can loop. ``extra_suffix`` (".raw") lets one more kind of file through.
    """

    def unlisted(error: OSError) -> None:
        if not isinstance(error, FileNotFoundError | NotADirectoryError):
            problems.append(f"{printable(str(error.filename))}: this folder cannot be listed: {error.strerror}")

    found = {}
    for here, folders, files in os.walk(root, onerror=unlisted):
        folders[:] = [f for f in folders if not f.startswith(".")]
        for name in files:
            if is_picture(name) or (extra_suffix and name.lower().endswith(extra_suffix)):
                path = Path(here, name)
                found[key_of(root, path)] = path
    return dict(sorted(found.items()))


def match_names(
    pictures: dict[str, Path], pattern: re.Pattern[str], shape: str, problems: list[str]
) -> Iterator[tuple[str, Path, re.Match[str]]]:
    """Key, path and match of each picture whose file name carries its labels; the others are named and skipped.

    ``shape`` says in words how the names should look, for the message.
    """
    for key, path in pictures.items():
        match = pattern.match(path.name)
        if match is None:
            problems.append(f"{printable(key)}: {NOT_NAMED} {shape}; skipped")
        else:
            yield key, path, match


def key_of(root: Path, path: Path) -> str:
    """A picture's key: its path relative to the data set's root, with forward slashes."""
    return path.relative_to(root).as_posix()


def first_existing(root: Path, places: Iterable[str]) -> Path | None:
    """The first of several places below the root where something stands."""
    return next((root / place for place in places if (root / place).exists()), None)


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank, stripped."""
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line.strip()
    except OSError as error:
        raise DataError(f"cannot read the label file {printable(str(path))}: {error.strerror}.") from error


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by header word (lower case, stripped) of each row of a CSV with a header.

    The delimiter is a comma, semicolon or tab, whichever the header holds most of. Missing cells are empty strings.
    """
    try:
        with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
            header = file.readline()
            delimiter = max(",;\t", key=header.count)
            names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
            reader = csv.reader(file, delimiter=delimiter)
            for cells in reader:
                if any(cell.strip() for cell in cells):
                    padded = [c.strip() for c in cells] + [""] * (len(names) - len(cells))
                    yield reader.line_num + 1, dict(zip(names, padded, strict=False))
    except csv.Error as error:
        raise DataError(f"cannot read {printable(str(path))} as CSV: {error}.") from error
    except OSError as error:
        raise DataError(f"cannot read the label file {printable(str(path))}: {error.strerror}.") from error


def nothing_found(layout: str, root: Path, expected: str) -> DataError:
    """The error of a root that holds nothing of a layout: says what was expected where."""
    where = printable(str(root))
    if not root.is_dir():
        return DataError(f"cannot read {layout}: {where} is not a folder. Give the folder that holds {expected}.")
    return DataError(
        f"cannot read {layout}: {where} holds nothing of its layout. Expected {expected}. "
        "Give the folder as it was downloaded and unpacked."
    )


def parse_ages(text: str) -> tuple[int, int] | None:
    """The lowest and highest age of a range in words, both included; None when it is no range.

    >>> parse_ages("50-59"), parse_ages("more than 70"), parse_ages("70+"), parse_ages("old")
    ((50, 59), (70, 120), (70, 120), None)
    """
    low, dash, high = (part.strip() for part in text.partition("-"))
    if dash and _years(low) and _years(high) and int(low) <= int(high):
        return int(low), int(high)
    last = text.removesuffix("+") if text.endswith("+") else text.lower().removeprefix("more than ")
    if last != text and _years(last.strip()):
        return int(last), OLDEST
    return None


def _years(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= OLDEST
