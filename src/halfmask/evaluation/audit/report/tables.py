"""The report's tables: rows of an audit as text, each figure with its interval, each refusal with its reason."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...measuring.figure import NOT_MEASURABLE, Figure, figure_of, fmr_of, measure, number, rate_of, tmr
from .scale import Row, is_detector

_VARIANT = {"before": "originals", "protected": "protected"}


@dataclass(frozen=True)
class Cell:
    """A figure as text, its interval, and the number of the note under the table that says why there is none."""

    text: str
    interval: str = ""
    note: int | None = None


@dataclass
class Table:
    """A caption, headings and lines; the first cell of a line names it. ``notes`` are reasons, counted from 1."""

    name: str
    caption: str
    heads: Sequence[str]
    lines: list[list[Cell]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def figure(self, figure: Figure) -> Cell:
        """The cell of a figure; where it is not given, a note says why."""
        if figure.value is None:
            return Cell(NOT_MEASURABLE, note=self._note(figure.why or "the results give no reason"))
        return Cell(figure.text, figure.interval)

    def figures(self, row: Row, *names: str) -> list[Cell]:
        """The cells of these measures of a row."""
        return [self.figure(figure_of(row, name)) for name in names]

    def _note(self, reason: str) -> int:
        text = f"not measurable: {reason}"
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1


def _head(name: str) -> str:
    head = measure(name).head
    return head[0].upper() + head[1:]


def _text(row: Row, key: str) -> Cell:
    value = row.get(key)
    return Cell("" if value is None else str(value))


def _whole(row: Row, key: str) -> Cell:
    value = number(row, key)
    return Cell("–" if value is None else f"{value:,.0f}")


def _grouped(rows: Iterable[Row], name: str) -> list[Row]:
    """Rows of one referee together, in the order of first appearance, originals first."""
    rows = list(rows)
    order = list(dict.fromkeys(str(r.get(name)) for r in rows))
    return sorted(rows, key=lambda r: (order.index(str(r.get(name))), r.get("variant") != "before"))


def _variant(row: Row) -> Cell:
    return Cell(_VARIANT.get(str(row.get("variant")), str(row.get("variant"))))


def _read(table: Table, rows: Iterable[Row], cells: Callable[[Row], Sequence[Cell]]) -> Table:
    """The table with a line a referee and variant: which, how many faces, how many were lost, and these cells."""
    table.heads = ["Referee", "Pictures", "Faces", "Lost", *table.heads]
    for row in _grouped(rows, "referee"):
        about = [_text(row, "referee"), _variant(row), _whole(row, "n"), _whole(row, "lost")]
        table.lines.append([*about, *cells(row)])
    return table


def gender(rows: Sequence[Row]) -> Table:
    """Balanced accuracy, AUC, EER and error of every gender referee."""
    names = ("balanced_accuracy", "auc", "eer", "error")
    table = Table(
        "gender",
        "How well each referee reads the gender, on the originals and on the protected pictures; guessing gives a "
        "balanced accuracy of 50 % and AUC 0.5. In brackets: 95 % interval.",
        [_head(name) for name in names],
    )
    return _read(table, rows, lambda row: table.figures(row, *names))


def age(rows: Sequence[Row]) -> Table:
    """Errors in years of every age referee."""
    names = ("mae", "rmse", "cs5")
    told = "How far each referee misses the age. In brackets: 95 % interval."
    table = Table("age", told, [_head(name) for name in names])
    return _read(table, rows, lambda row: table.figures(row, *names))


def race(rows: Sequence[Row]) -> Table:
    """Balanced accuracy and AUC of every race referee."""
    table = Table(
        "race",
        "How well each referee reads the race, in the data set's own words; guessing gives the balanced accuracy named "
        "in the column “Guessing” and AUC 0.5. In brackets: 95 % interval.",
        ["Balanced accuracy", "Guessing", "AUC", "Groups"],
    )

    def cells(row: Row) -> list[Cell]:
        groups = [str(g) for g in row.get("groups") or ()]
        guessing = Cell(measure("balanced_accuracy").text(1 / len(groups)) if groups else "–")
        balanced, area = table.figures(row, "balanced_accuracy", "auc")
        return [balanced, guessing, area, Cell(", ".join(groups))]

    return _read(table, rows, cells)


def matching(rows: Sequence[Row]) -> Table:
    """TMR at every FMR of every matcher."""
    fmrs = sorted({fmr for row in rows for key in row if (fmr := fmr_of(key)) is not None}, reverse=True)
    names = [*map(tmr, fmrs), *(k for k in ("auc", "eer", "match_probability") if any(k in r for r in rows))]
    table = Table(
        "matching",
        "How many pairs of one person match (TMR), at thresholds fixed on the originals so that a given share of pairs "
        "of different people match by mistake (FMR). In brackets: 95 % interval.",
        ["Matcher", "Pictures", "Genuine pairs", "Impostor pairs", *(_head(name) for name in names)],
    )  # fmt: skip
    for row in _grouped(rows, "matcher"):
        counts = [_whole(row, "genuine"), _whole(row, "impostors")]
        table.lines.append([_text(row, "matcher"), _variant(row), *counts, *table.figures(row, *names)])
    return table


def identification(rows: Sequence[Row]) -> Table:
    """Rank 1, FNIR and FPIR of every matcher, from the same rows as :func:`matching`."""
    rates = {key: rate for row in rows for key in row if (rate := rate_of(key)) and rate[0] != "tmr"}
    names = ["rank1", *sorted(rates, key=lambda key: (-rates[key][1], key))]
    table = Table(
        "identification",
        "Who is it? One original each of half of the people, drawn by lot, stands in a gallery. Mated searches are of "
        "these people, non-mated ones of the others. FPIR: how many non-mated searches name somebody, at a threshold "
        "fixed on the originals; FNIR: how many mated ones do not name the right person at it. In brackets: 95 % "
        "interval.",
        ["Matcher", "Pictures", "Gallery", "Mated", "Non-mated", *(_head(name) for name in names)],
    )
    for row in _grouped(rows, "matcher"):
        counts = [_whole(row, key) for key in ("gallery", "mated", "nonmated")]
        table.lines.append([_text(row, "matcher"), _variant(row), *counts, *table.figures(row, *names)])
    return table


def recognition(rows: Sequence[Row]) -> Table:
    """TMR and AUC of every recogniser that prepared, beside those that did not."""
    fmrs = sorted({fmr for row in rows for key in row if (fmr := fmr_of(key)) is not None}, reverse=True)
    names = [*map(tmr, fmrs), "rank1", "auc"]
    table = Table(
        "recognition",
        "What recognisers that know the method get from people they did not learn from. “none”: the "
        "matcher as it is, on the same people; “washed”: each protected picture is compressed, blurred, denoised or "
        "resized first; “learned head”: a linear map of the matcher's descriptors, learned from "
        "protected and original pictures of other people. Thresholds are fixed on the originals by the same "
        "recogniser. In brackets: 95 % interval.",
        ["Preparation", "Matcher", "Pictures", "Learned from", "Genuine pairs", *(_head(name) for name in names)],
    )  # fmt: skip
    for row in _grouped(rows, "matcher"):
        counts = [_whole(row, key) for key in ("n_train", "genuine")]
        line = [_text(row, "attack"), _text(row, "matcher"), _variant(row), *counts]
        table.lines.append([*line, *table.figures(row, *names)])
    return table


def attacks(rows: Sequence[Row]) -> Table:
    """Every adaptive attack, those that read the gender first."""
    table = Table(
        "attacks",
        "What attackers who know the method get from the protected pictures of people they were not prepared on. "
        "“Not prepared”: the same reader on the same pictures without the attack (a network that learned "
        "from originals alone); “originals”: the same reader on "
        "unprotected pictures. In brackets: 95 % interval.",
        [
            "Attack",
            "Reader",
            "Prepared on",
            "Tested on",
            "Balanced accuracy",
            "AUC",
            "Not prepared",
            "Originals",
            "Note",
        ],
    )
    for row in sorted(rows, key=is_detector):
        detects = is_detector(row)  # there is nothing to compare a detector with
        table.lines.append([
            _text(row, "attack"), _text(row, "reader"), _whole(row, "n_train"), _whole(row, "n_test"),
            *table.figures(row, "balanced_accuracy", "auc"),
            *(_optional(row, k, detects) for k in ("unattacked_balanced_accuracy", "originals_balanced_accuracy")),
            _text(row, "note"),
        ])  # fmt: skip
    return table


def _optional(row: Row, name: str, never: bool) -> Cell:
    figure = figure_of(row, name)
    return Cell("–") if figure.value is None or never else Cell(figure.text)


#: Measures of the looks: heading and how they are written.
LOOKS = {
    "ssim": "SSIM (1 is equal)",
    "mssim": "MSSIM (1 is equal)",
    "psnr": "PSNR, dB (more is closer)",
    "l2": "L2, length of the change",
    "linf": "L∞, largest change of a pixel (1 is black to white)",
}


def looks(figures: Mapping[str, Row]) -> Table:
    """Mean of every measure of how much the faces changed."""
    table = Table(
        "looks",
        "How much the aligned faces changed, mean over the pictures. In brackets: 95 % interval.",
        ["Measure", "Mean"],
    )
    for name, row in figures.items():
        value, low, high = (number(row, key) for key in ("mean", "low", "high"))
        figure = Figure(measure=name, value=value, low=low, high=high)
        table.lines.append([Cell(LOOKS.get(name, name)), table.figure(figure)])
    return table


def groups(rows: Sequence[Row]) -> Table:
    """Every measure by group."""
    table = Table(
        "groups",
        "Figures by group, on the originals and on the protected pictures. In brackets: 95 % interval, the wider "
        "the fewer people.",
        ["Group", "By", "Faces or pairs", "People", "Referee", "Measure", "Originals", "Protected"],
    )
    for row in rows:
        name = str(row.get("measure"))
        table.lines.append([
            _text(row, "group"), _text(row, "attribute"), _whole(row, "n"), _whole(row, "people"),
            _text(row, "referee"), Cell(measure(name).head),
            *(table.figure(figure_of(row, name, side)) for side in ("before", "protected")),
        ])  # fmt: skip
    return table


def referees(results: Mapping[str, Any]) -> Table:
    """Every referee with its figure on the originals: what it can do at all."""
    table = Table(
        "referees",
        "The referees, none of which trained anything of halfmask, and how well each does on these originals.",
        ["Referee", "Reads", "On the originals"],
    )
    for what, name in (
        ("gender", "balanced_accuracy"),
        ("age", "mae"),
        ("race", "balanced_accuracy"),
        ("matching", tmr(0.01)),
    ):
        for row in results.get(what) or ():
            if row.get("variant") != "before":
                continue
            figure = figure_of(row, name)
            cell = table.figure(figure)
            text = cell.text if cell.note else f"{measure(name).head}: {cell.text}"
            reads = "who it is" if what == "matching" else what
            table.lines.append([Cell(figure.by), Cell(reads), Cell(text, cell.interval, cell.note)])
    return table
