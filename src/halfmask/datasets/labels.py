"""Label files: tables of text that say what is known of photos, from whatever spreadsheet or list they come.

Read are commas, semicolons and tabs, UTF-8 with or without a mark, and the UTF-16 of Excel's "Unicode text". Names on
disk need not be UTF-8: they are kept as Python keeps them (``surrogateescape``) and label files are read the same way,
so a Latin-1 name in a list still finds its Latin-1 file. A name whose accents are written in one piece (NFC) finds the
file whose accents stand apart (NFD, as macOS writes them), and the other way round.
"""

from __future__ import annotations

import codecs
import csv
import io
import math
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Generic, TypeVar

from ..errors import DataError, shown
from .table import Split

Key = TypeVar("Key")

#: Column → the header words that it goes by, in any case. A nameless first column holds names when nothing else does.
COLUMNS: dict[str, tuple[str, ...]] = {
    "file": (
        "path", "file", "filename", "file_name", "image", "image_id", "image_name", "img_name", "img", "photo", "key",
        "",
    ),
    "identity": ("identity", "id", "person", "person_id", "subject", "subject_id", "identity_id"),
    "gender": ("gender", "sex"),
    "age": ("age", "years"),
    "race": ("race", "ethnicity"),
    "split": ("split", "partition", "set", "subset"),
}  # fmt: skip
#: Gender in a label file → 0 = female, 1 = male; in any case.
GENDER_WORDS = {"female": 0, "f": 0, "0": 0, "woman": 0, "w": 0, "male": 1, "m": 1, "1": 1, "man": 1}
SPLIT_WORDS: dict[str, Split] = {
    "train": "train", "training": "train", "0": "train",
    "val": "valid", "valid": "valid", "validation": "valid", "dev": "valid", "1": "valid",
    "test": "test", "testing": "test", "2": "test",
}  # fmt: skip
#: What a cell holds, in any case, when nothing is known.
UNKNOWN = frozenset({"", "nan", "na", "n/a", "none", "null", "unknown", "?"})
#: The upper end, in years, of an age that is only bounded below ("more than 70").
OLDEST = 120

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DATE = re.compile(r"(\d{1,2})[-. ]+([a-z]{3})\.?|([a-z]{3})[-. ]+(\d{1,2})", re.IGNORECASE)
_LIKE_A_DATE = re.compile(
    r"\d{1,4}[-./]\d{1,2}[-./]\d{1,4}( [\d:.]+)?|.*[a-z]{3}.*\d.*|.*\d.*[a-z]{3}.*", re.IGNORECASE
)


@dataclass(frozen=True)
class LabelRow:
    """One row: its line in the file, the photo that it names, and by column the text of its cells ("" when empty)."""

    line: int
    file: str
    cells: Mapping[str, str]


@dataclass(frozen=True)
class LabelFile:
    """A label file. ``columns`` are the keys of :data:`COLUMNS` that it has besides ``file``."""

    path: Path
    columns: tuple[str, ...]
    rows: list[LabelRow]


def read_label_file(path: Path, *, any_of: Iterable[str] = ()) -> LabelFile:
    r"""Read a file of labels by the words of its first line (:data:`COLUMNS`).

    It is taken whole or not at all: raises :class:`~halfmask.errors.DataError`, which says what was found and what is
    known, when it cannot be read, names no column of files, has none of the columns ``any_of``, or, where
    these are not said, other columns of which none is known.

    >>> import tempfile
    >>> path = Path(tempfile.mkdtemp()) / "labels.csv"
    >>> _ = path.write_text("Image;Sex\na.jpg;F\n")
    >>> read_label_file(path).rows
    [LabelRow(line=2, file='a.jpg', cells={'gender': 'F'})]
    """
    words, rows = _table(path)
    header = header_of(words)
    columns = tuple(column for column in header if column != "file")
    wanted = tuple(any_of)
    if "file" not in header or not (set(wanted) & set(header) if wanted else columns or len(words) == 1):
        got = ", ".join(shown(word) or "one without a name" for word in words) or "nothing"
        others = [column for column in wanted or ("gender", "age") if column != "file"]
        needed = ", of which file and one other are needed" if others else ""
        raise DataError(
            f"the labels file {shown(path)} has the columns {got}; expected a first line such as "
            f"{','.join(['file', *others])}{needed}. {_known(others)}"
        )
    labels = [
        LabelRow(line, cells[header["file"]], {column: cells[header[column]] for column in columns})
        for line, cells in rows
    ]
    return LabelFile(path, columns, labels)


def refuse_half_a_gender(labels: LabelFile) -> None:
    """Raise :class:`~halfmask.errors.DataError` when a file's words for one of the two genders are all unknown.

    It is written in another code then: of ``-1`` and ``1`` only the men would be taken. For readers that go on after an
    odd value; others refuse a file with any.
    """
    texts = {row.cells.get("gender", "").lower() for row in labels.rows} - UNKNOWN
    odd = texts - GENDER_WORDS.keys()
    if odd and len({GENDER_WORDS[text] for text in texts - odd}) == 1:
        got = ", ".join(shown(text) for text in sorted(texts)[:8])
        raise DataError(
            f"the labels file {shown(labels.path)} writes gender as {got}; known are {', '.join(GENDER_WORDS)}. "
            "Nothing of it is taken, since only one gender would be: write it in these words"
        )


def header_of(words: Iterable[str]) -> dict[str, str]:
    """Column → its word among a header's; only the columns that are there."""
    there = list(words)
    return {
        column: next(name for name in names if name in there)
        for column, names in COLUMNS.items()
        if any(name in there and (name or there[0] == "") for name in names)
    }


def _known(wanted: Iterable[str]) -> str:
    columns = {"file", *wanted}
    return "Known are " + "; ".join(
        f"for {column}: {', '.join(name or 'a first column without a name' for name in names)}"
        for column, names in COLUMNS.items()
        if column in columns
    )


class Names(Generic[Key]):
    r"""The names that photos go by, and which photo a label file means by one.

    >>> names: Names[int] = Names()
    >>> names.add(1, "sub/a.jpg")
    >>> names.find("sub\\a.jpg"), names.find("./sub/a.jpg"), names.find("a.jpg"), names.find("b.jpg")
    ({1}, {1}, {1}, set())
    """

    def __init__(self) -> None:
        self._whole: dict[str, set[Key]] = {}
        self._bare: dict[str, set[Key]] = {}

    def add(self, key: Key, name: str, *places: str | Path) -> None:
        """A photo by its path within its folder, and by the places where it stands; its bare name is known, too."""
        for text in (name, *(str(place) for place in places)):
            for form in {text, _composed(text)}:
                self._whole.setdefault(form, set()).add(key)
        bare = PurePosixPath(name).name
        for form in {bare, _composed(bare)}:
            self._bare.setdefault(form, set()).add(key)

    def find(self, text: str) -> set[Key]:
        """The photos that a name may mean: none, one, or several that go by it. A whole path beats a bare name."""
        plain = text.replace("\\", "/").removeprefix("./")
        full = os.path.abspath(text) if text else ""  # noqa: PTH100  links stay as they are
        for names in (self._whole, self._bare):
            for form in (text, plain, str(PurePath(plain)), full, _composed(plain), _composed(full)):
                if form in names:
                    return names[form]
        return set()


def _composed(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def parse_gender(text: str) -> int | None:
    """0 = female, 1 = male by :data:`GENDER_WORDS`; None for any other word.

    >>> parse_gender("F"), parse_gender("Man"), parse_gender("2")
    (0, 1, None)
    """
    return GENDER_WORDS.get(text.lower())


def parse_age(text: str) -> float | None:
    """An age in years from 0 to 120, or None.

    >>> parse_age("31"), parse_age("31.5"), parse_age("-3"), parse_age("old")
    (31.0, 31.5, None, None)
    """
    try:
        age = float(text)
    except ValueError:
        return None
    return age if math.isfinite(age) and 0 <= age <= OLDEST else None


def parse_ages(text: str) -> tuple[int, int] | None:
    """The lowest and highest age of a range in words, both included; None when it is no range.

    A range of which a spreadsheet made a date is what it was: it has two numbers, and the lower comes first.

    >>> parse_ages("50-59"), parse_ages("more than 70"), parse_ages("70+"), parse_ages("old")
    ((50, 59), (70, 120), (70, 120), None)
    >>> parse_ages("09-Mar"), parse_ages("Oct-19")
    ((3, 9), (10, 19))
    """
    if (was := was_a_range(text)) is not None:
        return was
    low, dash, high = (part.strip() for part in text.partition("-"))
    if dash and _years(low) and _years(high) and int(low) <= int(high):
        return int(low), int(high)
    last = text.removesuffix("+") if text.endswith("+") else text.lower().removeprefix("more than ")
    if last != text and _years(last.strip()):
        return int(last), OLDEST
    return None


def was_a_range(text: str) -> tuple[int, int] | None:
    """The range of ages of which a spreadsheet made this day of a month, or month of a year; None when it is none.

    >>> was_a_range("19-Oct"), was_a_range("03-Sep"), was_a_range("2019-10-01"), was_a_range("10-19")
    ((10, 19), (3, 9), None, None)
    """
    match = _DATE.fullmatch(text.strip())
    if match is None:
        return None
    number, word = int(match[1] or match[4]), (match[2] or match[3]).lower()
    if word not in _MONTHS:
        return None
    low, high = sorted((number, _MONTHS.index(word) + 1))
    return low, high


def about_dates(name: str, texts: Iterable[str]) -> list[str]:
    """What to say, once a file, of the ages in a column of which a spreadsheet made dates.

    >>> about_dates("a.csv", ["3-9", "09-Mar", "2019-10-01"])
    ["a.csv: 1 age ranges were made dates by a spreadsheet, such as '09-Mar', and are read as what they were, (3, 9)",
     "a.csv: 1 ages look like dates, such as '2019-10-01'; unknown. ..."]
    """
    ages = list(texts)
    repaired = [text for text in ages if was_a_range(text)]
    lost = [text for text in ages if is_lost_date(text)]
    told = []
    if repaired:
        told.append(
            f"{name}: {len(repaired)} age ranges were made dates by a spreadsheet, such as {shown(repaired[0])!r}, and "
            f"are read as what they were, {was_a_range(repaired[0])}"
        )
    if lost:
        told.append(
            f"{name}: {len(lost)} ages look like dates, such as {shown(lost[0])!r}; unknown. A spreadsheet makes dates "
            "of ranges such as 10-19: take the list as published, or import that column as text"
        )
    return told


def is_lost_date(text: str) -> bool:
    """Whether a cell is no age and looks like a date, in which a range can no longer be told."""
    return parse_ages(text) is None and parse_age(text) is None and _LIKE_A_DATE.fullmatch(text.strip()) is not None


def _years(text: str) -> bool:
    return text.isascii() and text.isdigit() and int(text) <= OLDEST


def text_lines(path: Path) -> Iterator[tuple[int, str]]:
    """Line number (from 1) and text of each line that is not blank, stripped."""
    for number, line in enumerate(io.StringIO(_text(path), newline=None), 1):
        if line.strip():
            yield number, line.strip()


def csv_rows(path: Path) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by header word (lower case, stripped) of each row of a CSV with a header.

    The delimiter is a comma, semicolon or tab, whichever the header holds most of. Missing cells are empty strings; of
    two columns of one name the first counts.
    """
    yield from _table(path)[1]


def csv_cells(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and stripped cells of each row of a CSV that is not blank, the header among them."""
    text = _text(path)
    header = next((line for line in io.StringIO(text, newline=None) if line.strip()), "")
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=max(",;\t", key=header.count))
    try:
        for cells in reader:
            if any(cell.strip() for cell in cells):
                yield reader.line_num, [cell.strip() for cell in cells]
    except csv.Error as error:
        raise DataError(f"cannot read {shown(path)} as CSV: {error}.") from error


def _table(path: Path) -> tuple[list[str], Iterator[tuple[int, dict[str, str]]]]:
    """The header's words, and line and cells of each row below it."""
    rows = csv_cells(path)
    words = [word.lower() for word in next(rows, (0, list[str]()))[1]]

    def by_word() -> Iterator[tuple[int, dict[str, str]]]:
        for line, cells in rows:
            row = dict.fromkeys(words, "")  # missing cells are empty
            row |= reversed([*zip(words, cells, strict=False)])  # of two columns of one name the first counts
            yield line, row

    return words, by_word()


_opened: ContextVar[set[Path] | None] = ContextVar("_opened", default=None)


@contextmanager
def noting_files() -> Iterator[set[Path]]:
    """A set that every label file which is read in the block is added to."""
    opened: set[Path] = set()
    token = _opened.set(opened)
    try:
        yield opened
    finally:
        _opened.reset(token)


def _text(path: Path) -> str:
    opened = _opened.get()
    if opened is not None:
        opened.add(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"cannot read the label file {shown(path)}: {error.strerror}.") from error
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        try:
            return data.decode("utf-16")
        except UnicodeDecodeError as error:
            raise DataError(f"cannot read {shown(path)} as text: {error.reason}; save it as CSV in UTF-8.") from error
    if b"\0" in data[:4096]:
        raise DataError(
            f"cannot read {shown(path)} as text: it holds binary data, as a spreadsheet's own file does. Save it "
            "as CSV."
        )
    return data.decode("utf-8-sig", "surrogateescape")
