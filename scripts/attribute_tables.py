"""How well attribute networks read gender, race and age off faces of data sets that they were not trained on.

The question is a matrix: trained on one set, tested on all, and then by group, since one figure hides whom a network
fails. Figures are shares of right answers on the data sets' own labels, which are themselves what annotators (or, in
UTKFace, another network) thought they saw. Every interval is a 95 % bootstrap by person; a picture without an identity
is a person of its own.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from halfmask.datasets.ages import age_class
from halfmask.datasets.table import Row as Picture
from halfmask.errors import DataError
from halfmask.evaluation.measuring.bootstrap import auc_of, balanced_of, mean_of, root_mean_square_of
from halfmask.evaluation.measuring.figure import Figure, Published, Row, figure_of, give, published, with_interval
from halfmask.evaluation.measuring.groups import AGE_GROUPS
from halfmask.evaluation.measuring.metrics import auc, balanced_accuracy, cumulative_score, error_rate, mae, rmse
from halfmask.evaluation.measuring.summary import several_auc, several_balanced_accuracy
from halfmask.evaluation.referees.race import GROUPS, group_of
from halfmask.predicting.api import LEVEL, age_of
from halfmask.storage import ensure_folder, whole
from halfmask.tabular import csv_text, markdown

Floats = NDArray[np.float64]
Mask = NDArray[np.bool_]

#: Table → its rows.
Tables = dict[str, list[Row]]


@dataclass(frozen=True, eq=False)
class Answers:
    """What one network says of the faces of one set.

    ``probabilities`` by head (N, K) are those of ``classes``, the head's K words; ``pictures`` the N rows of the data
    set. ``network`` and ``trained_on`` name it in the tables.
    """

    network: str
    trained_on: str
    set: str
    pictures: Sequence[Picture]
    classes: Mapping[str, Sequence[str]]
    probabilities: Mapping[str, Floats]

    def __post_init__(self) -> None:
        for head, p in self.probabilities.items():
            if p.shape != (len(self.pictures), len(self.classes[head])):
                raise DataError(
                    f"{self.network} gives {head} as {p.shape} on {self.set}, expected "
                    f"({len(self.pictures)}, {len(self.classes[head])}): a row a picture, a column a class"
                )

    @property
    def persons(self) -> NDArray[np.str_]:
        """Who each picture shows, (N,)."""
        return np.array([p.identity or p.key for p in self.pictures], np.str_)

    @property
    def about(self) -> Published:
        """The row's first cells."""
        return {"network": self.network, "trained_on": self.trained_on, "set": self.set}


def tables(answers: Sequence[Answers], *, resamples: int = 500) -> Tables:
    """Gender, race, age and groups, each from the answers that have such a head and faces with such a label."""
    return {
        "gender": gender_rows(answers, resamples=resamples),
        "race": race_rows(answers, resamples=resamples),
        "age": age_rows(answers, resamples=resamples),
        "groups": group_rows(answers, resamples=resamples),
    }


def gender_rows(answers: Sequence[Answers], *, resamples: int = 500) -> list[Row]:
    """Accuracy, balanced accuracy and AUC of gender, of every network on every set.

    Keys: network, trained_on, set, n, people, women, accuracy, accuracy_low, accuracy_high, balanced_accuracy,
    balanced_low, balanced_high, auc, auc_low, auc_high, refused.
    """
    rows = []
    for a in answers:
        used = _genders(a) >= 0
        if "gender" not in a.probabilities or not used.any():
            continue
        y, p = _genders(a)[used], _p_male(a)[used]
        facts, persons = _counted(a, used)
        right = (p >= 0.5) == (y == 1)
        figures = [
            with_interval(give(Figure(), name, metric, y, p), weighted, persons, resamples)
            for name, metric, weighted in (
                ("accuracy", lambda y, p: 1 - error_rate(y, p), mean_of(right)),
                ("balanced_accuracy", balanced_accuracy, balanced_of(right, y)),
                ("auc", auc, auc_of(y, p)),
            )
        ]
        rows.append(Row({**facts, "women": int((y == 0).sum())}, figures))
    return rows


def race_rows(answers: Sequence[Answers], *, resamples: int = 500) -> list[Row]:
    """Balanced accuracy, accuracy and AUC of race, of every network on every set.

    Data sets have other words, so everything is compared in UTKFace's five groups
    (:func:`~halfmask.evaluation.referees.race.group_of`), a network's probabilities being added up; ``groups`` is then
    5. Where the set has more of the network's own words than that, a second row compares in those.

    Keys: network, trained_on, set, groups, n, people, accuracy, balanced_accuracy, auc (means over the groups that
    occur), with _low and _high as in :func:`gender_rows`, refused.
    """
    rows = []
    for a in answers:
        if "race" not in a.probabilities:
            continue
        words = list(a.classes["race"])
        own = np.array([words.index(p.race) if p.race in words else -1 for p in a.pictures], np.int64)
        compared = [(len(GROUPS), _groups_of(a), _p_groups(a))]
        if len(set(own[own >= 0].tolist())) > len(GROUPS):
            compared.append((len(words), own, a.probabilities["race"]))
        for count, labels, every in compared:
            used = labels >= 0
            if not used.any():
                continue
            y, p = labels[used], every[used]
            facts, persons = _counted(a, used)
            right = p.argmax(1) == y
            figures = [
                with_interval(give(Figure(), name, metric, y, p), weighted, persons, resamples)
                for name, metric, weighted in (
                    ("accuracy", lambda y, p: float((p.argmax(1) == y).mean()), mean_of(right)),
                    ("balanced_accuracy", several_balanced_accuracy, balanced_of(right, y)),
                )
            ]
            rows.append(Row({**facts, "groups": count}, figures, [give(Figure(), "auc", several_auc, y, p)]))
    return rows


def age_rows(answers: Sequence[Answers], *, resamples: int = 500) -> list[Row]:
    """Age error in years, of every network on every set: MAE, RMSE, CS(5), each with an interval.

    The age said is the expectation over the classes' middles, which is what ``halfmask predict`` shows. Where a data
    set gives only a range, the error is the distance to it, 0 within; ``truth`` says which. Faces whose age lies
    outside the network's classes count, too. Of a network of age groups, ``group`` is the share of faces whose
    likeliest group is their own and ``group_1`` that of those at most one group off, among faces whose label lies
    within one group. ``held`` is the share of faces of known age whose age lies in the interval that ``halfmask
    predict`` shows, and ``width`` its mean in years, an open class at the end counted as ten.

    Keys: network, trained_on, set, n, people, truth, mae, rmse, cs5, group, group_1, held, width, each with _low and
    _high, refused.
    """
    rows = []
    for a in answers:
        low, high = _spans(a.pictures)
        used = ~np.isnan(low)
        if "age" not in a.probabilities or not used.any():
            continue
        facts, persons = _counted(a, used)
        said = _years(a)[used]
        true = np.clip(said, low[used], high[used])  # the nearest age that the label allows
        off = np.abs(said - true)
        facts["truth"] = "age" if (low == high)[used].all() else "age range" if (low < high)[used].all() else "both"
        figures = [
            with_interval(give(Figure(), name, metric, true, said), weighted, persons, resamples)
            for name, metric, weighted in (
                ("mae", mae, mean_of(off)),
                ("rmse", rmse, root_mean_square_of(off)),
                ("cs5", cumulative_score, mean_of(off <= 5)),
            )
        ]
        steps, within = _group_steps(a, low, high)
        exact = low == high
        held, width = _intervals(a, low)
        for name, values, told in (
            ("group", steps <= 0, within),
            ("group_1", steps <= 1, within),
            ("held", held, exact),
            ("width", width, exact),
        ):
            figure = Figure(measure=name)
            if told.any():
                chosen = np.asarray(values[told], np.float64)
                figure = with_interval(
                    replace(figure, value=float(chosen.mean())), mean_of(chosen), a.persons[told], resamples
                )
            figures.append(figure)
        rows.append(Row(facts, figures))
    return rows


def group_rows(answers: Sequence[Answers], *, resamples: int = 500) -> list[Row]:
    """Every network on every set by gender, race, both, and age: share of right genders and races, age error in years.

    Races are compared in UTKFace's five groups. Keys: network, trained_on, set, attribute ("gender", "race", "race and
    gender", "age"), group, n, people, measure ("gender", "race": share of right answers; "age": MAE), value, value_low,
    value_high, refused. Groups without a face that has the label have no row.
    """
    rows = []
    for a in answers:
        figures = list(_by_face(a))
        for attribute, group, inside in _groups(a):
            for measure, values, labelled in figures:
                used = inside & labelled
                if not used.any():
                    continue
                counted, persons = _counted(a, used)
                facts = a.about | {"attribute": attribute, "group": group} | counted | {"measure": measure}
                figure = Figure(measure="value", value=float(values[used].mean()))
                rows.append(Row(facts, [with_interval(figure, mean_of(values[used]), persons, resamples)]))
    return rows


def _by_face(a: Answers) -> Iterator[tuple[str, Floats, Mask]]:
    """Measure, its value of each face (N,), and whose label is known (N,)."""
    if "gender" in a.probabilities:
        y = _genders(a)
        yield "gender", ((_p_male(a) >= 0.5) == (y == 1)).astype(np.float64), y >= 0
    if "race" in a.probabilities:
        y = _groups_of(a)
        yield "race", (_p_groups(a).argmax(1) == y).astype(np.float64), y >= 0
    if "age" in a.probabilities:
        low, high = _spans(a.pictures)
        said = _years(a)
        yield "age", np.abs(said - np.clip(said, low, high)), ~np.isnan(low)


def _groups(a: Answers) -> Iterator[tuple[str, str, Mask]]:
    """Attribute, group, and which pictures belong to it (N,)."""
    gender = _genders(a)
    sexes = [(word, gender == value) for value, word in ((0, "women"), (1, "men"))]
    yield from (("gender", word, mine) for word, mine in sexes)
    races = np.array([p.race or "" for p in a.pictures], np.str_)
    for race in sorted(set(races.tolist()) - {""}):
        yield "race", race, races == race
        yield from (("race and gender", f"{race} {word}", (races == race) & mine) for word, mine in sexes)
    low, high = (np.floor(end) for end in _spans(a.pictures))
    for first, last in AGE_GROUPS:
        word = f"{first}-{last}" if last < 120 else f"{first} and over"
        yield "age", word, (low >= first) & (high <= last)


def _counted(a: Answers, used: Mask) -> tuple[Published, NDArray[np.str_]]:
    persons = a.persons[used]
    return {**a.about, "n": int(used.sum()), "people": len(np.unique(persons))}, persons


def _genders(a: Answers) -> NDArray[np.int64]:
    return np.array([-1 if p.gender is None else p.gender for p in a.pictures], np.int64)


def _p_male(a: Answers) -> Floats:
    return a.probabilities["gender"][:, list(a.classes["gender"]).index("male")]


def _groups_of(a: Answers) -> NDArray[np.int64]:
    return np.array([group_of(p.race) for p in a.pictures], np.int64)


def _p_groups(a: Answers) -> Floats:
    """Probabilities of UTKFace's five groups, (N, 5)."""
    places = [group_of(word) for word in a.classes["race"]]
    if -1 in places:
        raise DataError(
            f"{a.network} knows the race {a.classes['race'][places.index(-1)]!r}, which is in none of the groups "
            f"{', '.join(GROUPS)}; call the classes of its config by the data sets' words"
        )
    return a.probabilities["race"] @ np.eye(len(GROUPS))[places]


def _spans(pictures: Sequence[Picture]) -> tuple[Floats, Floats]:
    """The lowest and the highest age that each label allows, (N,) each, NaN where there is none."""
    spans = [(p.age, p.age) if p.age is not None else p.age_range or (np.nan, np.nan) for p in pictures]
    low, high = np.array(spans, np.float64).reshape(-1, 2).T
    return low, high


def _years(a: Answers) -> Floats:
    return np.asarray(
        a.probabilities["age"] @ np.array([age_class(word).middle for word in a.classes["age"]]), np.float64
    )


def _intervals(a: Answers, ages: Floats) -> tuple[Mask, Floats]:
    """Whether each face's interval holds its age, (N,), and how many completed years it has, (N,)."""
    classes = [age_class(word) for word in a.classes["age"]]
    found = [age_of(p, classes)[1] for p in a.probabilities["age"]]
    low, high = np.array([(first, np.inf if last is None else last) for first, last in found], np.float64).T
    width = np.minimum(high, classes[-1].low + 9) - low + 1
    return (low <= np.floor(ages)) & (np.floor(ages) <= high), width


def _group_steps(a: Answers, low: Floats, high: Floats) -> tuple[NDArray[np.int64], Mask]:
    """How many groups the likeliest one is off, (N,), and for whom that can be said: not for networks of years."""
    groups = [age_class(word) for word in a.classes["age"]]
    true = np.full(len(low), -1)
    for k, g in enumerate(groups):
        if g.low != g.high:
            true[(np.floor(low) >= g.low) & (np.floor(high) <= (np.inf if g.high is None else g.high))] = k
    return np.abs(a.probabilities["age"].argmax(1) - true), true >= 0


# ---------------------------------------------------------------------- files


def matrix(rows: Sequence[Row], figure: str, form: str = ".1%") -> str:
    """A Markdown table of one figure: a line a network, a column a set, each cell with its interval.

    >>> row = {"network": "a", "trained_on": "x", "set": "y", "auc": 0.5, "auc_low": 0.4, "auc_high": 0.625}
    >>> print(matrix([row], "auc", form=".2f"))
    | network | trained on | y |
    |---|---|---|
    | a | x | 0.50 (0.40–0.62) |
    """
    lines: dict[str, Published] = {}
    for row in rows:
        line = lines.setdefault(row["network"], {"network": row["network"], "trained_on": row["trained_on"]})
        line[row["set"]] = _cell(row, figure, form)
    sets = list(dict.fromkeys(row["set"] for row in rows))
    cells = [{name: line.get(name) for name in ("network", "trained_on", *sets)} for line in lines.values()]
    return markdown(cells, {"network": "network", "trained_on": "trained on"} | {name: name for name in sets})


def to_markdown(found: Mapping[str, Sequence[Row]], notes: Sequence[str] = ()) -> str:
    """The page: the matrices, then every set by group, then the notes."""
    parts = ["# Attribute networks", *(f"- {note}" for note in notes)]
    counted = {row["set"]: row for row in found["gender"]}
    sizes = [
        {"set": name, "n": row["n"], "people": row["people"], "women": row["women"]} for name, row in counted.items()
    ]
    if sizes:
        parts.append(markdown(sizes, {"set": "set", "n": "faces", "people": "people", "women": "of women"}))
    for title, table, figure, form in (
        ("Gender, share of right answers", "gender", "accuracy", ".1%"),
        ("Gender, balanced accuracy", "gender", "balanced_accuracy", ".1%"),
        ("Gender, AUC", "gender", "auc", ".4f"),
        ("Age, mean error in years (distance to the range where only that is known)", "age", "mae", ".2f"),
        ("Age, likeliest group is the right one", "age", "group", ".1%"),
        ("Age, at most one group off", "age", "group_1", ".1%"),
        (f"Age, the interval of {LEVEL:.0%} holds it", "age", "held", ".1%"),
        ("Age, years of that interval", "age", "width", ".1f"),
    ):
        rows = [row for row in found[table] if row[figure] is not None]
        parts += [f"## {title}", matrix(rows, figure, form)] if rows else []
    for count in dict.fromkeys(row["groups"] for row in found["race"]):
        rows = [row for row in found["race"] if row["groups"] == count]
        parts += [f"## Race in {count} groups, balanced accuracy", matrix(rows, "balanced_accuracy")]
    for name in dict.fromkeys(row["set"] for row in found["groups"]):
        for measure, form in (("gender", ".1%"), ("race", ".1%"), ("age", ".2f")):
            rows = [row for row in found["groups"] if row["set"] == name and row["measure"] == measure]
            what = "mean age error in years" if measure == "age" else f"share of right {measure}s"
            parts += [f"## {name} by group, {what}", _by_group(rows, form)] if rows else []
    return "\n\n".join(parts) + "\n"


def _by_group(rows: Sequence[Row], form: str) -> str:
    networks = list(dict.fromkeys(row["network"] for row in rows))
    lines: dict[tuple[str, str], Published] = {}
    for row in rows:
        line = lines.setdefault((row["attribute"], row["group"]), {"group": row["group"], "n": row["n"]})
        line[row["network"]] = _cell(row, "value", form)
    cells = [{name: line.get(name) for name in ("group", "n", *networks)} for line in lines.values()]
    return markdown(cells, {"group": "group", "n": "faces"} | {name: name for name in networks})


def _cell(row: Row, name: str, form: str) -> str | None:
    """A figure in a form of its own: networks differ by less than a tenth of a point."""
    figure = figure_of(row, name)
    if figure.value is None:
        return None
    if figure.low is None:
        return format(figure.value, form)
    return f"{figure.value:{form}} ({format(figure.low, form).rstrip('%')}–{format(figure.high, form).rstrip('%')})"


def to_csv(found: Mapping[str, Sequence[Row]]) -> str:
    """All rows, a line each; ``table`` says of which, and what a row lacks is empty."""
    rows = [{"table": name, **row} for name, table in found.items() for row in table]
    return csv_text(rows)


def write(found: Mapping[str, Sequence[Row]], folder: Path, about: Mapping[str, Any]) -> list[Path]:
    """Write ``attributes.json`` (``about`` and the tables), ``.csv`` and ``.md``; each whole or as it was."""
    texts = {
        "json": json.dumps({**about, **{name: published(rows) for name, rows in found.items()}}, indent=1) + "\n",
        "csv": to_csv(found),
        "md": to_markdown(found, about.get("notes", ())),
    }
    paths = {ensure_folder(folder) / f"attributes.{suffix}": text for suffix, text in texts.items()}
    for path, text in paths.items():
        with whole(path) as fresh:
            fresh.write_text(text, "utf-8")
    return list(paths)
