"""The yardstick of the verdict: distance from chance, and where each answer begins and ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from ...measuring.figure import figure_of, measure, number

Row = Mapping[str, Any]
Grade = Literal["good", "mixed", "bad", "unknown", "note"]
Aspect = Literal["privacy", "utility", "looks", "trust"]

#: Distance from chance up to which an attribute counts as hardly read: AUC 0.55, balanced accuracy 55 %.
READ_HARDLY = 0.10
#: ... as partly read: AUC 0.70, balanced accuracy 70 %.
READ_PARTLY = 0.40
#: ... as mostly read: AUC 0.85, balanced accuracy 85 %. Beyond, it is read.
READ_MOSTLY = 0.70
#: A gender or race referee whose distance from chance on the originals is less (AUC 0.8) cannot show protection.
REFEREE_READS = 0.60

#: Loss of TMR, in shares, up to which faces "still match" ...
KEPT = {"tmr@0.01": 0.02, "tmr@0.001": 0.05}
#: ... and "mostly match". 7 points at FMR 1 % is about the worst loss that the SAN paper reports (Table 3, LFW).
MOSTLY_KEPT = {"tmr@0.01": 0.07, "tmr@0.001": 0.20}
#: A matcher with a lower TMR at FMR 1 % on the originals cannot show that faces still match, or no longer do.
MATCHER_WORKS = 0.50

#: TMR at FMR 1 % up to which a person is hardly, partly, mostly recognised (direction "deidentify"); chance is 1 %.
RECOGNISED_HARDLY, RECOGNISED_PARTLY, RECOGNISED_MOSTLY = 0.05, 0.25, 0.60
#: AUC of a matcher below this is worse than guessing by more than noise: its scores, turned over, recognise people.
RECOGNISED_TURNED = 0.40

#: Loss of gender or race balanced accuracy, in shares, that keeps an attribute ("deidentify"), and that mostly does.
ATTRIBUTE_KEPT, ATTRIBUTE_MOSTLY_KEPT = 0.02, 0.07
#: The same for age: more years of mean absolute error.
AGE_KEPT, AGE_MOSTLY_KEPT = 1.0, 3.0

#: Mean SSIM of the aligned face from which pictures have lost little, and from which they have lost something.
LOOKS_LITTLE, LOOKS_SOME = 0.95, 0.85

#: Share of faces that may be lost for "few".
LOST_FEW = 0.01

#: Half the widest 95 % interval of a share or AUC, and the number of people, for "fairly sure" and for "roughly".
SURE_HALF_WIDTH, ROUGH_HALF_WIDTH = 0.05, 0.10
SURE_PEOPLE, ROUGH_PEOPLE = 100, 30
#: Groups with fewer people are shown but not compared.
GROUP_PEOPLE = 30

#: Steps of an answer to "can it still be read?": (distance from chance up to which, answer, grade).
READ: list[tuple[float, str, Grade]] = [
    (READ_HARDLY, "Hardly", "good"),
    (READ_PARTLY, "Partly", "mixed"),
    (READ_MOSTLY, "Mostly", "bad"),
    (1.0, "Yes", "bad"),
]

#: The same for "can the person still be recognised?", by TMR at FMR 1 %.
RECOGNISED: list[tuple[float, str, Grade]] = [
    (RECOGNISED_HARDLY, "Hardly", "good"),
    (RECOGNISED_PARTLY, "Partly", "mixed"),
    (RECOGNISED_MOSTLY, "Mostly", "bad"),
    (1.0, "Yes", "bad"),
]

#: Which of two grades is the worse.
RANK: dict[Grade, int] = {"note": -1, "good": 0, "unknown": 1, "mixed": 2, "bad": 3}


@dataclass(frozen=True)
class Finding:
    """One question with its answer in a word or two, a sentence with the figures, and how good that is.

    ``grade`` is ``good``, ``mixed``, ``bad``, ``unknown`` (not tested or not measurable) or ``note`` (neither).
    """

    question: str
    answer: str
    sentence: str
    grade: Grade
    aspect: Aspect


def by_name(rows: Iterable[Row] | None, name: str) -> dict[str, tuple[Row | None, Row | None]]:
    """Rows of one table as name → (on originals, on protected pictures); ``name`` is the column that names them."""
    pairs: dict[str, tuple[Row | None, Row | None]] = {}
    for row in rows or ():
        before, after = pairs.get(str(row.get(name)), (None, None))
        pairs[str(row.get(name))] = (row, after) if row.get("variant") == "before" else (before, row)
    return pairs


def gap(results: Mapping[str, Any], what: str) -> str:
    """What the results themselves say of a part that was not tested; empty when they say nothing of it.

    >>> gap({"not_tested": ["Age: no referee of it was asked.", "Video."]}, "Age")
    'Age: no referee of it was asked.'
    """
    return " ".join(str(s) for s in results.get("not_tested") or () if str(s).startswith(what))


def distance(rate: float, chance: float = 0.5) -> float:
    """How far a rate in [0, 1] is from chance, as a share of the way to certainty, in [0, 1].

    >>> distance(0.75), distance(0.0), distance(0.25, chance=0.25)
    (0.5, 1.0, 0.0)
    """
    return abs(rate - chance) / (1 - chance if rate > chance or chance == 0 else chance)


def is_detector(row: Row) -> bool:
    """Whether an attack's row tells protected pictures from originals, rather than reading the gender."""
    return "detect" in str(row.get("attack", "")).lower()


def spread(row: Row | None, chance: float = 0.5) -> tuple[float, float] | None:
    """The distance from chance of a row's AUC and balanced accuracy, and that of the far ends of their intervals."""
    figures, ends = [], []
    for name, mid in (("auc", 0.5), ("balanced_accuracy", chance)):
        figure = figure_of(row, name)
        if figure.value is not None:
            figures.append(distance(figure.value, mid))
            ends += [distance(end, mid) for end in figure.ends]
    return (max(figures), max(ends)) if figures else None


def answer_to(value: float, end: float, steps: Sequence[tuple[float, str, Grade]]) -> tuple[str, Grade]:
    """Answer and grade of a figure that should be low: the word of the value, the grade of its interval's far end."""

    def step(x: float) -> int:
        return next((i for i, (limit, _, _) in enumerate(steps) if x <= limit + 1e-9), len(steps) - 1)

    word, far = steps[step(value)][1], step(end)
    return (f"{word}, perhaps more" if far > step(value) else word), steps[far][2]


def percent(value: float | None) -> str:
    """A share as text.

    >>> percent(0.1234), percent(None)
    ('12.3 %', 'not measurable')
    """
    return measure("accuracy").text(value)


def reading(row: Row | None) -> str:
    """Balanced accuracy and AUC of a row, with intervals where there are any."""
    figures = [figure_of(row, name) for name in ("balanced_accuracy", "auc")]
    parts = [f"{measure(f.measure).word} {f.text}{f.span}" for f in figures if f.value is not None]
    return " and ".join(parts) or "no figure"


def turned(row: Row) -> str:
    """A sentence where the answers of a row are wrong more often than chance explains, else nothing."""
    values = [figure_of(row, name).value for name in ("auc", "balanced_accuracy")]
    below = [value for value in values if value is not None and value < 0.5]
    if not any(distance(v) > READ_HARDLY for v in below):
        return ""
    return " It is wrong more often than right: whoever knows that turns its answers over."


def faces(row: Row, key: str = "n") -> str:
    """How many faces a figure rests on."""
    return count(row, key, "faces")


def count(row: Row, key: str, what: str = "pictures") -> str:
    """A number of things as text."""
    value = number(row, key)
    return f"an unknown number of {what}" if value is None else f"{value:.0f} {what}"


def attack_name(row: Row) -> str:
    """An attack and what read the pictures after it."""
    reader = row.get("reader")
    return f"“{row.get('attack')}”" + (f" with {reader}" if reader else "")
