"""Verification pairs: two pictures and whether they show the same person."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from halfmask.datasets.labels import csv_rows, text_lines
from halfmask.datasets.readers.lfw import read_lfw
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, shown

_SAME_WORDS = {
    "1": True,
    "true": True,
    "yes": True,
    "same": True,
    "0": False,
    "false": False,
    "no": False,
    "different": False,
}


@dataclass(frozen=True)
class Pair:
    """Two pictures by their keys in a table, whether they show one person, and their fold from 0 (None: no folds)."""

    a: str
    b: str
    same: bool
    fold: int | None = None


class Pairs(list[Pair]):
    """A list of pairs that also knows ``problems``: the rows that were skipped, and why."""

    def __init__(self, pairs: list[Pair], problems: list[str]) -> None:
        super().__init__(pairs)
        self.problems = problems


def lfw_pairs(root: Path | str, file: str = "pairs.txt") -> Pairs:
    """Read LFW's pairs, in the order of the file.

    ``file`` is ``pairs.txt`` (view 2: a header "10 300", ten folds of 300 same and 300 different pairs; a shortened
    file says so in its header), or one of view 1, ``pairsDevTrain.txt`` and ``pairsDevTest.txt`` (a header "1100", one
    set without folds). A same pair is ``Name 1 4``, a different one ``Name 1 Other 4``. A pair that names an absent
    picture, and a row that is none, is named in ``problems`` and skipped; the fold of the rest does not move.

    Format: http://vis-www.cs.umass.edu/lfw/README.txt, "pairs.txt format".

    Raises DataError when the file is absent or its header is no header, or the root holds no LFW.
    """
    root = Path(root)
    path = root / file
    if not path.is_file():
        raise DataError(f"cannot read LFW's pairs: {shown(path)} is not there. It comes with LFW as {file}.")
    keys = {row.path.stem: row.key for row in read_lfw(root)}
    lines = list(text_lines(path))
    header = lines[0][1].split() if lines else []
    if len(header) not in (1, 2) or not all(word.isdecimal() and int(word) > 0 for word in header):
        got = shown(" ".join(header)[:60])
        raise DataError(f"cannot read {file}: its first line is {got!r}, expected folds and pairs a fold, as '10 300'.")
    folds, half = (int(header[0]), int(header[1])) if len(header) == 2 else (1, int(header[0]))
    pairs: list[Pair] = []
    problems: list[str] = []
    if len(lines) - 1 != 2 * folds * half:
        problems.append(f"{file}: its header promises {2 * folds * half} pairs, it has {len(lines) - 1} rows")
    for index, (number, line) in enumerate(lines[1:]):
        names = _lfw_names(line)
        absent = [name for name in names if name not in keys]
        if not names:
            problems.append(f"{file} line {number}: {shown(line[:80])!r} is no pair; skipped")
        elif absent:
            problems.append(f"{file} line {number}: there is no picture {shown(' and no '.join(absent))}; skipped")
        else:
            # Sameness is read off the row, not its place, so that a row too few or too many mislabels nothing.
            same = len(line.split()) == 3
            pairs.append(Pair(keys[names[0]], keys[names[1]], same, index // (2 * half) if len(header) == 2 else None))
    return Pairs(pairs, problems)


def _lfw_names(line: str) -> list[str]:
    """The two pictures of a row, as ``Name_0001``; empty when it is no pair."""
    words = line.split()
    if len(words) == 3:
        words.insert(2, words[0])
    if len(words) != 4 or not (words[1].isdecimal() and words[3].isdecimal()):
        return []
    return [f"{words[i]}_{int(words[i + 1]):04d}" for i in (0, 2)]


def one_pair_each(table: Table) -> list[tuple[Row, Row]]:
    """The first two pictures, by key, of every person who has two, people by name; the person's gender is known.

    It gives the 442 women and 1,237 men of LFW that the report of Marino and Pepe (2019) has in its folders OR_1 and
    OR_2. A person whose pictures disagree about the gender is left out.

    >>> rows = [Row(f"{who}_{k}", Path(who), who, 0) for who in ("bea", "ann") for k in (3, 1, 2)]
    >>> [(a.key, b.key) for a, b in one_pair_each(Table("t", Path(), [*rows, Row("x", Path("x"), "eve", 1)]))]
    [('ann_1', 'ann_2'), ('bea_1', 'bea_2')]
    """
    people: dict[str, list[Row]] = {}
    for row in sorted(table, key=lambda row: row.key):
        if row.identity is not None:
            people.setdefault(row.identity, []).append(row)
    return [
        (mine[0], mine[1])
        for _, mine in sorted(people.items())
        if len(mine) > 1 and len({row.gender for row in mine}) == 1 and mine[0].gender is not None
    ]


def read_pairs(path: Path | str, table: Table) -> Pairs:
    r"""Read pairs from a CSV with the columns a, b (keys of the table), same (1 or 0, true or false) and, if any, fold.

    A row that names an absent picture or says neither same nor different is named in ``problems`` and skipped.

    Raises DataError when the file cannot be read or lacks a column.

    >>> import tempfile
    >>> from halfmask.datasets.table import Row
    >>> csv = Path(tempfile.mkdtemp()) / "pairs.csv"
    >>> _ = csv.write_text("a,b,same\n1.jpg,2.jpg,1\n1.jpg,9.jpg,0\n")
    >>> pairs = read_pairs(csv, Table("t", Path(), [Row("1.jpg", Path("1.jpg")), Row("2.jpg", Path("2.jpg"))]))
    >>> pairs[0], pairs.problems
    (Pair(a='1.jpg', b='2.jpg', same=True, fold=None), ['pairs.csv line 3: there is no picture 9.jpg; skipped'])
    """
    path = Path(path)
    keys = {row.key for row in table}
    pairs: list[Pair] = []
    problems: list[str] = []
    for where, cells in _checked_rows(path):
        a, b, same, fold = cells["a"], cells["b"], cells["same"].lower(), cells.get("fold", "")
        absent = [key for key in (a, b) if key not in keys]
        if absent:
            problems.append(f"{where}: there is no picture {shown(' and no '.join(absent))}; skipped")
        elif same not in _SAME_WORDS:
            problems.append(f"{where}: same is {shown(same)!r}, expected 1 or 0; skipped")
        elif fold and not fold.isdecimal():
            problems.append(f"{where}: fold is {shown(fold)!r}, expected a whole number; skipped")
        else:
            pairs.append(Pair(a, b, _SAME_WORDS[same], int(fold) if fold else None))
    return Pairs(pairs, problems)


def _checked_rows(path: Path) -> Iterator[tuple[str, dict[str, str]]]:
    for number, cells in csv_rows(path):
        if not {"a", "b", "same"} <= cells.keys():
            got = shown(", ".join(cells))
            raise DataError(f"cannot read pairs from {shown(path.name)}: its columns are {got}, expected a, b, same.")
        yield f"{shown(path.name)} line {number}", cells
