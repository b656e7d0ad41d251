"""The report's tables: rows of an audit as text, each figure with its interval, each refusal with its reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from .scale import Row, figure, fmr_of, is_detector, is_share, measure_name, number

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

    def figure(self, row: Row, measure: str, key: str | None = None, stem: str | None = None) -> Cell:
        """The cell of a figure: ``key`` is its column, ``stem`` that of its interval, ``measure`` how it is written."""
        key = key or measure
        value = number(row, key)
        if value is None:
            return Cell("not measurable", note=self._note(_reason(row, key)))
        low, high = (number(row, f"{stem or key}_{end}") for end in ("low", "high"))
        if low is None or high is None:
            return Cell(figure(measure, value))
        if is_share(measure):
            return Cell(figure(measure, value), f"{100 * low:.1f}–{100 * high:.1f} %")
        return Cell(figure(measure, value), f"{figure(measure, low)}–{figure(measure, high)}")

    def _note(self, reason: str) -> int:
        text = f"not measurable: {reason}"
        if text not in self.notes:
            self.notes.append(text)
        return self.notes.index(text) + 1


def _reason(row: Row, key: str) -> str:
    """Why a figure was refused: ``refused`` is one reason for the row, or maps a column to its reason."""
    refused = row.get("refused")
    if isinstance(refused, Mapping):
        refused = refused.get(key) or next(iter(refused.values()), None) if len(refused) == 1 else refused.get(key)
    return str(refused) if refused else "the results give no reason"


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


def gender(rows: Sequence[Row]) -> Table:
    """Balanced accuracy, AUC, EER and error of every gender referee."""
    table = Table(
        "gender",
        "How well each referee reads the gender, on the originals and on the protected pictures; guessing gives a "
        "balanced accuracy of 50 % and AUC 0.5. In brackets: 95 % interval.",
        ["Referee", "Pictures", "Faces", "Lost", "Balanced accuracy", "AUC", "EER", "Error"],
    )
    for row in _grouped(rows, "referee"):
        table.lines.append([
            _text(row, "referee"), _variant(row), _whole(row, "n"), _whole(row, "lost"),
            table.figure(row, "balanced_accuracy", stem="balanced"), table.figure(row, "auc"),
            table.figure(row, "error", "eer"), table.figure(row, "error"),
        ])  # fmt: skip
    return table


def matching(rows: Sequence[Row]) -> Table:
    """TMR at every FMR of every matcher."""
    fmrs = sorted(
        {k for r in rows for k in r if k.startswith("tmr@") and not k.endswith(("_low", "_high"))},
        key=lambda k: -float(k.partition("@")[2]),
    )
    more = [k for k in ("auc", "eer", "match_probability") if any(k in r for r in rows)]
    heads = {"auc": "AUC", "eer": "EER", "match_probability": "Mean match probability"}
    table = Table(
        "matching",
        "How many pairs of one person match (TMR), at thresholds fixed on the originals so that a given share of pairs "
        "of different people match by mistake (FMR). In brackets: 95 % interval.",
        ["Matcher", "Pictures", "Genuine pairs", "Impostor pairs", *(f"TMR at FMR {fmr_of(k)}" for k in fmrs),
         *(heads[k] for k in more)],
    )  # fmt: skip
    for row in _grouped(rows, "matcher"):
        table.lines.append(
            [_text(row, "matcher"), _variant(row), _whole(row, "genuine"), _whole(row, "impostors")]
            + [table.figure(row, k) for k in fmrs]
            + [table.figure(row, "error" if k == "eer" else k, k) for k in more]
        )
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
            table.figure(row, "balanced_accuracy", stem="balanced"), table.figure(row, "auc"),
            *(_optional(row, k, detects) for k in ("unattacked_balanced_accuracy", "originals_balanced_accuracy")),
            _text(row, "note"),
        ])  # fmt: skip
    return table


def _optional(row: Row, key: str, never: bool) -> Cell:
    value = number(row, key)
    return Cell("–") if value is None or never else Cell(figure("balanced_accuracy", value))


def age(rows: Sequence[Row]) -> Table:
    """Errors in years of every age referee."""
    table = Table(
        "age",
        "How far each referee misses the age. In brackets: 95 % interval.",
        ["Referee", "Pictures", "Faces", "Lost", "Mean absolute error, years", "RMSE, years", "Within 5 years"],
    )
    for row in _grouped(rows, "referee"):
        table.lines.append([
            _text(row, "referee"), _variant(row), _whole(row, "n"), _whole(row, "lost"),
            table.figure(row, "mae"), table.figure(row, "rmse"), table.figure(row, "accuracy", "cs5"),
        ])  # fmt: skip
    return table


def race(rows: Sequence[Row]) -> Table:
    """Balanced accuracy and AUC of every race referee."""
    table = Table(
        "race",
        "How well each referee reads the race, in the data set's own words; guessing gives the balanced accuracy named "
        "in the column “Guessing” and AUC 0.5. In brackets: 95 % interval.",
        ["Referee", "Pictures", "Faces", "Lost", "Balanced accuracy", "Guessing", "AUC", "Groups"],
    )
    for row in _grouped(rows, "referee"):
        groups = [str(g) for g in row.get("groups") or ()]
        table.lines.append([
            _text(row, "referee"), _variant(row), _whole(row, "n"), _whole(row, "lost"),
            table.figure(row, "balanced_accuracy", stem="balanced"),
            Cell(figure("balanced_accuracy", 1 / len(groups)) if groups else "–"),
            table.figure(row, "auc"), Cell(", ".join(groups)),
        ])  # fmt: skip
    return table


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
        interval = {"low": "mean_low", "high": "mean_high"}
        renamed = {interval.get(k, k): v for k, v in (row or {}).items()}
        table.lines.append([Cell(LOOKS.get(name, name)), table.figure(renamed, name, "mean")])
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
        measure = str(row.get("measure"))
        table.lines.append([
            _text(row, "group"), _text(row, "attribute"), _whole(row, "n"), _whole(row, "people"),
            _text(row, "referee"), Cell(measure_name(measure)),
            table.figure(row, measure, "before"), table.figure(row, measure, "protected"),
        ])  # fmt: skip
    return table


def referees(results: Mapping[str, Any]) -> Table:
    """Every referee with its figure on the originals: what it can do at all."""
    table = Table(
        "referees",
        "The referees, none of which trained anything of halfmask, and how well each does on these originals.",
        ["Referee", "Reads", "On the originals"],
    )
    for what, name, measure, stem in (
        ("gender", "referee", "balanced_accuracy", "balanced"),
        ("age", "referee", "mae", "mae"),
        ("race", "referee", "balanced_accuracy", "balanced"),
        ("matching", "matcher", "tmr@0.01", "tmr@0.01"),
    ):
        for row in results.get(what) or ():
            if row.get("variant") != "before":
                continue
            cell = table.figure(row, measure, stem=stem)
            text = cell.text if cell.note else f"{measure_name(measure)}: {cell.text}"
            reads = "who it is" if what == "matching" else what
            table.lines.append([_text(row, name), Cell(reads), Cell(text, cell.interval, cell.note)])
    return table
