"""A figure: one measure of one variant by one judge, with its interval, or why it cannot be given.

Code passes figures, in :class:`Row` where they share a line; files hold *published* rows, a line a judge and variant
with a column a measure, which are what ``results.json`` and the CSV files hold. The names of those columns are made and
read here and nowhere else (:class:`Row`, :func:`figure_of`, :func:`figures_in`), and so are the words and digits of
every measure (:data:`MEASURES`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from math import isfinite
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import MetricError
from .bootstrap import Weighted, interval

#: A row as files hold it.
Published = dict[str, Any]

NOT_MEASURABLE = "not measurable"


@dataclass(frozen=True)
class Measure:
    """What a measure is called, in what it is given, and which way is better.

    ``unit`` "%" is a share, told in per cent. ``digits`` stand behind the point. ``direction`` is 1 where more means
    that more is read, matched or kept, -1 where less does.
    """

    word: str
    unit: str
    digits: int
    direction: int

    @property
    def head(self) -> str:
        """The heading of a column of it, with the unit that its cells lack."""
        return self.word if self.unit in ("", "%") else f"{self.word}, {self.unit}"

    @property
    def scale(self) -> int:
        """What a value is multiplied by to be told."""
        return 100 if self.unit == "%" else 1

    def text(self, value: float | None) -> str:
        """A value in this measure's digits; shares with their sign."""
        if value is None or not isfinite(value):
            return NOT_MEASURABLE
        return f"{self.scale * value:.{self.digits}f}" + (" %" if self.unit == "%" else "")


#: Every measure by the name of its column. A rate at another is called ``tmr@FMR`` and made by :func:`measure`.
MEASURES = {
    "error": Measure("error", "%", 1, -1),
    "accuracy": Measure("share of right answers", "%", 1, 1),
    "balanced_accuracy": Measure("balanced accuracy", "%", 1, 1),
    "auc": Measure("AUC", "", 3, 1),
    "eer": Measure("EER", "%", 1, -1),
    "match_probability": Measure("match probability", "", 3, 1),
    "rank1": Measure("rank-1 identification rate", "%", 1, 1),
    "mae": Measure("mean absolute error", "years", 1, -1),
    "rmse": Measure("RMSE", "years", 1, -1),
    "cs5": Measure("within 5 years", "%", 1, 1),
    "ssim": Measure("SSIM", "", 3, 1),
    "mssim": Measure("MSSIM", "", 3, 1),
    "psnr": Measure("PSNR", "dB", 1, 1),
    "l2": Measure("L2", "", 1, -1),
    "linf": Measure("L∞", "", 3, -1),
    # of attackers: the same reader without the attack, and the one made from originals on originals
    "unattacked_balanced_accuracy": Measure("without the attack", "%", 1, 1),
    "originals_balanced_accuracy": Measure("on originals", "%", 1, 1),
    # of an overview, where one row holds everything
    "retrained": Measure("retrained CNN", "%", 1, 1),
    "probe": Measure("linear probe", "%", 1, 1),
    "neighbours": Measure("nearest neighbours", "%", 1, 1),
    "kernel": Measure("RBF kernel", "%", 1, 1),
    "attacked": Measure("best attacker", "%", 1, 1),
    "race": Measure("race", "%", 1, 1),
    "years": Measure("age moved", "years", 1, -1),
    "same": Measure("same race", "%", 1, 1),
    "ms": Measure("ms a face", "", 1, -1),
}

#: Measures whose interval has another name in published rows than they themselves.
_STEMS = {"balanced_accuracy": "balanced"}
#: Rates at a threshold that a share of the originals' comparisons fixes: name → how it is called, which way is better.
_RATES = {
    "tmr": ("TMR at FMR {} %", 1),
    "fnir": ("FNIR at FPIR {} %", -1),
    "fpir": ("FPIR, {} % on originals", 1),
}


def tmr(fmr: float) -> str:
    """The name of the true match rate at a false match rate.

    >>> tmr(0.001), measure(tmr(0.001)).word
    ('tmr@0.001', 'TMR at FMR 0.1 %')
    """
    return f"tmr@{fmr:g}"


def fnir(fpir: float) -> str:
    """The name of the false negative identification rate at a false positive identification rate.

    >>> fnir(0.01), measure(fnir(0.01)).word
    ('fnir@0.01', 'FNIR at FPIR 1 %')
    """
    return f"fnir@{fpir:g}"


def fpir(fixed: float) -> str:
    """The name of the false positive identification rate where that of the originals is ``fixed``.

    >>> fpir(0.01), measure(fpir(0.01)).word
    ('fpir@0.01', 'FPIR, 1 % on originals')
    """
    return f"fpir@{fixed:g}"


def rate_of(name: str) -> tuple[str, float] | None:
    """Which rate a name is of, and at which share of the originals; None for any other measure.

    >>> rate_of("fnir@0.01"), rate_of("auc"), rate_of("tmr@0.001_low")
    (('fnir', 0.01), None, None)
    """
    kind, at, share = name.partition("@")
    try:
        return (kind, float(share)) if at and kind in _RATES else None
    except ValueError:
        return None


def fmr_of(name: str) -> float | None:
    """The FMR of a TMR's name, None for any other measure.

    >>> fmr_of("tmr@0.001"), fmr_of("auc"), fmr_of("fnir@0.01")
    (0.001, None, None)
    """
    rate = rate_of(name)
    return rate[1] if rate is not None and rate[0] == "tmr" else None


def measure(name: str) -> Measure:
    """The measure of a name; of one that is not known, its own name in plain numbers.

    >>> measure("tmr@0.01").head, measure("mae").head, measure("auc").text(0.5), measure("error").text(0.25)
    ('TMR at FMR 1 %', 'mean absolute error, years', '0.500', '25.0 %')
    """
    if (rate := rate_of(name)) is not None:
        word, direction = _RATES[rate[0]]
        return Measure(word.format(f"{100 * rate[1]:g}"), "%", 1, direction)
    return MEASURES.get(name) or Measure(name.replace("_", " "), "", 3, 0)


def is_measure(name: str) -> bool:
    """Whether a column of this name holds figures."""
    return name in MEASURES or rate_of(name) is not None


@dataclass(frozen=True)
class Figure:
    """A measure of a variant on a set, ``by`` a judge.

    ``value`` is None where it cannot be given, ``low`` and ``high`` where there is no 95 % interval, and ``why`` then
    says why. ``n`` faces (or pairs) count in it, ``lost`` of them are not there any more. Shares lie in [0, 1].

    >>> f = Figure(measure="error", value=0.25, low=0.2, high=0.3)
    >>> f.text, f.interval, Figure(measure="mae", value=4.25).text
    ('25.0 %', '20.0–30.0 %', '4.2')
    """

    set: str = ""
    variant: str = ""
    measure: str = ""
    by: str = ""
    value: float | None = None
    low: float | None = None
    high: float | None = None
    n: int | None = None
    lost: int | None = None
    why: str = ""

    @property
    def text(self) -> str:
        """The value in words."""
        return measure(self.measure).text(self.value)

    @property
    def interval(self) -> str:
        """Both ends of the interval in words; empty where there is none."""
        if self.value is None or self.low is None or self.high is None:
            return ""
        low, high = (measure(self.measure).text(end) for end in (self.low, self.high))
        return f"{low.removesuffix(' %')}–{high}"

    @property
    def span(self) -> str:
        """The interval in brackets, with a space before; empty where there is none."""
        return f" ({self.interval})" if self.interval else ""

    @property
    def ends(self) -> list[float]:
        """Value and ends of the interval, as far as they are known."""
        return [v for v in (self.value, self.low, self.high) if v is not None]


def give(about: Figure, name: str, metric: Callable[..., float], *data: ArrayLike) -> Figure:
    """The figure ``about`` of this measure: the metric of the data, or why there is none.

    >>> from halfmask.evaluation.measuring.metrics import auc
    >>> give(Figure(by="r"), "auc", auc, [1, 1], [0.3, 0.9]).why
    'all 2 labels are 1; this figure needs faces of both classes'
    """
    try:
        return replace(about, measure=name, value=float(metric(*data)))
    except MetricError as error:
        return replace(about, measure=name, why=str(error))


def with_interval(
    figure: Figure, weighted: Weighted, persons: Sequence[str] | NDArray[Any], resamples: int, seed: int = 0
) -> Figure:
    """The figure with its 95 % bootstrap interval by person; where only that cannot be given, with the reason."""
    if figure.value is None:
        return figure
    try:
        low, high = interval(weighted, persons, resamples, seed)
    except MetricError as error:
        return replace(figure, why=str(error))
    return replace(figure, low=low, high=high)


def mean(values: NDArray[np.floating[Any]]) -> float:
    """The mean of values (N,). Raises :class:`~halfmask.errors.MetricError` when there are none."""
    if not len(values):
        raise MetricError("there is nothing to take the mean of: no picture is left")
    return float(np.mean(values))


# ------------------------------------------------------------------------------------------------- published rows


@dataclass(frozen=True, eq=False)
class Row(Mapping[str, Any]):
    """Figures that stand in one line, and the ``facts`` that they share: which variant, who judged, how many pictures.

    Code asks for a :meth:`figure`. As a mapping the row is what is published (``{**row}``): the facts, ``refused`` (why
    figures or their intervals are not given), and a column a measure; beside each of ``figures`` columns of its
    interval, beside the ``bare`` ones none; last the ``note``, where there is one. With ``sides`` its figures are of
    one ``measure``, which has a column of its own, and the others are called after the variants.

    >>> row = Row({"referee": "r"}, [Figure(measure="balanced_accuracy", value=0.5, low=0.4, high=0.6)])
    >>> {**row}
    {'referee': 'r', 'refused': '', 'balanced_accuracy': 0.5, 'balanced_low': 0.4, 'balanced_high': 0.6}
    >>> {**Row({}, [Figure(variant="before", measure="auc", value=0.9)], sides=True)}
    {'refused': '', 'measure': 'auc', 'before': 0.9, 'before_low': None, 'before_high': None}
    """

    facts: Published
    figures: Sequence[Figure]
    bare: Sequence[Figure] = ()
    note: str | None = None
    sides: bool = False

    def figure(self, name: str) -> Figure:
        """The figure of a measure; without a value where the row has none."""
        absent = Figure(variant=str(self.facts.get("variant", "")), measure=name, by=judge(self.facts))
        return next((f for f in (*self.figures, *self.bare) if f.measure == name), absent)

    @cached_property
    def published(self) -> Published:
        """The row as files hold it."""
        row: Published = {**self.facts, "refused": reasons([*self.figures, *self.bare])}
        if self.sides:
            row["measure"] = self.figures[0].measure
        for figure in self.figures:
            key = figure.variant if self.sides else figure.measure
            low, high = _ends(key)
            row |= {key: figure.value, low: figure.low, high: figure.high}
        row |= {figure.measure: figure.value for figure in self.bare}
        return row if self.note is None else row | {"note": self.note}

    def __getitem__(self, column: str) -> Any:
        return self.published[column]

    def __iter__(self) -> Iterator[str]:
        return iter(self.published)

    def __len__(self) -> int:
        return len(self.published)


def published(rows: Iterable[Row]) -> list[Published]:
    """Rows as files hold them."""
    return [{**row} for row in rows]


def reasons(figures: Iterable[Figure]) -> str:
    """Every reason once, in order."""
    return "; ".join(dict.fromkeys(figure.why for figure in figures if figure.why))


def figure_of(row: Mapping[str, Any] | None, name: str, column: str | None = None) -> Figure:
    """The figure of a measure in a published row; ``column`` is where it stands if not under the measure's name.

    A figure that is absent, refused or not finite has no value.

    >>> figure_of({"referee": "r", "balanced_accuracy": 0.5, "balanced_low": 0.4, "balanced_high": 0.6},
    ...           "balanced_accuracy").span
    ' (40.0–60.0 %)'
    """
    row, key = row or {}, column or name
    low, high = _ends(key)
    refused = row.get("refused")
    if isinstance(refused, Mapping):  # one reason a column
        refused = next(iter(refused.values())) if len(refused) == 1 else refused.get(key)
    value = number(row, key)
    return Figure(
        set=str(row.get("set") or ""),
        variant=str(row.get("variant") or ""),
        measure=name,
        by=judge(row),
        value=value,
        low=None if value is None else number(row, low),
        high=None if value is None else number(row, high),
        n=_count(row, "n", "n_test", "genuine"),
        lost=_count(row, "lost"),
        why=str(refused or ""),
    )


def figures_in(row: Mapping[str, Any]) -> list[Figure]:
    """Every figure of a row that holds many judges' side by side, whose columns are called ``measure/judge``.

    >>> [(f.measure, f.by, f.value) for f in figures_in({"variant": "x", "auc/face-api": 0.5, "ssim": None})]
    [('auc', 'face-api', 0.5), ('ssim', '', None)]
    """
    figures = []
    for key in row:
        name, _, by = key.partition("/")
        if is_measure(name):
            figures.append(replace(figure_of(row, name, key), by=by))
    return figures


def side_by_side(figure: Figure) -> str:
    """The column of a figure in a row that holds many judges'; :func:`figures_in` reads it."""
    return f"{figure.measure}/{figure.by}" if figure.by else figure.measure


def is_interval(column: str) -> bool:
    """Whether a column of a published row is an end of another column's interval."""
    return column.endswith(("_low", "_high"))


def judge(row: Mapping[str, Any]) -> str:
    """Who judged in a published row; of an attack, its name and its reader."""
    return ", ".join(str(row[key]) for key in ("referee", "matcher", "attack", "reader", "by") if row.get(key))


def number(row: Mapping[str, Any] | None, key: str) -> float | None:
    """A number of a row; None where it is absent, refused or not finite."""
    value = None if row is None else row.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not isfinite(value):
        return None
    return float(value)


def _ends(key: str) -> tuple[str, str]:
    stem = _STEMS.get(key, key)
    return f"{stem}_low", f"{stem}_high"


def _count(row: Mapping[str, Any], *keys: str) -> int | None:
    value = next((value for key in keys if (value := number(row, key)) is not None), None)
    return None if value is None else int(value)
