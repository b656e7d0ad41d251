"""Rows as text: the one writer of CSV and the one of Markdown tables."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]

#: What a spreadsheet takes for the beginning of a formula, and what it may begin all the same.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")

#: Where there is no figure.
NONE = "–"


def csv_line(cells: Iterable[Any]) -> str:
    r"""One line of CSV: None is empty, a list is joined by "; ".

    A text that a spreadsheet would take for a formula gets an apostrophe in front; a number does not.

    >>> csv_line(["=1+1", "-0.5", -0.5, None, ["a", "b"], "x, y"])
    '\'=1+1,-0.5,-0.5,,a; b,"x, y"\n'
    """
    stream = io.StringIO(newline="")
    csv.writer(stream).writerow([_cell(cell) for cell in cells])  # quotes a cell that holds a part of the line's end
    return stream.getvalue().removesuffix("\r\n") + "\n"


def csv_text(rows: Sequence[Row], columns: Sequence[str] = ()) -> str:
    r"""Rows as CSV under a heading: ``columns`` first as far as a row has them, then whatever else the rows hold.

    Without rows the heading is ``columns``. What a row lacks is empty.

    >>> csv_text([{"n": 3, "auc": None}, {"auc": 0.5, "by": "r"}], ["auc"])
    'auc,n,by\n,3,\n0.5,,r\n'
    """
    names = list(dict.fromkeys(key for row in rows for key in row)) or list(columns)
    names.sort(key=lambda name: columns.index(name) if name in columns else len(columns))
    return "".join([csv_line(names), *(csv_line(row.get(name) for name in names) for row in rows)])


def _cell(value: Any) -> Any:
    if isinstance(value, Mapping):
        value = "; ".join(f"{k}: {v}" for k, v in value.items())
    elif isinstance(value, list | tuple):
        value = "; ".join(str(v) for v in value)
    if isinstance(value, str) and value.startswith(_FORMULA) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return "" if value is None else value


def markdown(rows: Sequence[Row], columns: Mapping[str, str]) -> str:
    """A Markdown table; ``columns`` maps a key of the rows to ``heading`` or ``heading|format``. None is a dash.

    A stroke in a cell, which would end it, becomes a slash.

    >>> print(markdown([{"a": 0.125, "b": "x"}, {"a": None, "b": "y|z"}], {"b": "name", "a": "share|.1%"}))
    | name | share |
    |---|---|
    | x | 12.5% |
    | y/z | – |
    """
    heads = [h.partition("|")[0] for h in columns.values()]
    lines = ["| " + " | ".join(heads) + " |", "|" + "---|" * len(heads)]
    for row in rows:
        cells = [NONE if row[k] is None else format(row[k], spec.partition("|")[2]) for k, spec in columns.items()]
        lines.append("| " + " | ".join(cell.replace("|", "/") for cell in cells) + " |")
    return "\n".join(lines)
