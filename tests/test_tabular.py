"""Tables as text: nothing that a spreadsheet would run, nothing that breaks a line of Markdown."""

from __future__ import annotations

import csv
import io

import pytest

from halfmask.tabular import csv_line, csv_text, markdown


@pytest.mark.parametrize(
    "text", ["=1+1", "+cmd|' /C calc'!A0", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "-", "-1_000", "+inf"]
)
def test_a_formula_gets_an_apostrophe(text: str) -> None:
    assert next(csv.reader(io.StringIO(csv_line([text]), newline=""))) == [f"'{text}"]
    assert csv_text([{text: 1}]).lstrip('"').startswith("'")  # a heading is a cell as well


@pytest.mark.parametrize("value", ["-1", "+2.5", "-.5", "-1e-3", -0.25, -3, "a=b", "", "1.5"])
def test_a_number_and_other_text_stay_as_they_are(value: object) -> None:
    assert next(csv.reader(io.StringIO(csv_line([value, "end"])))) == [str(value), "end"]


def test_a_list_that_begins_a_formula_is_one_too() -> None:
    assert csv_line([["=a", "b"], {"-x": 1}]) == "'=a; b,'-x: 1\n"


def test_rows_of_unlike_keys_stand_under_one_heading() -> None:
    assert csv_text([{"n": 3, "auc": None}, {"by": "r"}], ["by", "absent"]) == "by,n,auc\n,3,\nr,,\n"
    assert csv_text([], ["by", "n"]) == "by,n\n"


def test_markdown_has_a_cell_for_each_column() -> None:
    text = markdown([{"a": 1.0, "b": 0.25}], {"b": "B|.0%", "a": "A|.1f"})
    assert text.splitlines() == ["| B | A |", "|---|---|", "| 25% | 1.0 |"]


def test_markdown_shows_what_is_refused_as_a_dash() -> None:
    text = markdown([{"a": None, "b": 0.25}], {"b": "B|.0%", "a": "A|.1f"})
    assert text.splitlines() == ["| B | A |", "|---|---|", "| 25% | – |"]
