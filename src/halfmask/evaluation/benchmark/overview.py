"""Everything about every method in one table: one row a set and method, with the originals' row above them.

What is measured comes once from the protocol and the attackers; here it is put side by side. The rows with their
intervals, as every other benchmark has them, stay beside the table as its details.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.pairs import Pair
from ...datasets.table import Table
from ..measuring import summary
from ..measuring.bootstrap import mean_of
from ..measuring.figure import (
    Figure,
    Published,
    Row,
    figure_of,
    give,
    mean,
    side_by_side,
    with_interval,
)
from ..measuring.protocol import BEFORE, Measured
from ..referees import Referees
from .oracle import oracle

#: The parts of the details, in the order in which they are shown.
DETAILS = ("gender", "attackers", "matching", "age", "race", "moved", "looks")

#: What an attack is called in the rows of the attackers → its column here.
_ATTACKS = {
    "retrained CNN": "retrained",
    "linear probe": "probe",
    "nearest neighbours": "neighbours",
    "RBF kernel": "kernel",
}
#: Finds out whether a photo was protected, and not the gender of who is in it.
_NOT_GENDER = ("detector",)


def details(
    measured: Mapping[str, Measured],
    table: Table,
    judges: Referees,
    pairs: Sequence[Pair] | None,
    fmrs: Sequence[float],
    best_of: Mapping[str, Sequence[str]],
) -> dict[str, list[Row]]:
    """The rows of every part but the attackers', with intervals: part → rows of :mod:`.summary`.

    ``best_of`` names oracles: label → the labels they choose from. An oracle chooses anew for each gender referee, so
    its gender figures are of as many different choices; in all else it is what was chosen against the first referee.
    """
    chosen = {
        label: {r: oracle([measured[m] for m in members], r, label) for r in judges.genders}
        for label, members in best_of.items()
    }
    everyone = dict(measured) | {label: next(iter(by.values())) for label, by in chosen.items() if by}
    gender = summary.gender_rows(measured)
    before = replace(measured[BEFORE], columns={})
    for label, by in chosen.items():
        for referee, m in by.items():
            only = replace(m, columns={f"p_male/{referee}": m.columns[f"p_male/{referee}"]})
            gender += summary.gender_rows({BEFORE: before, label: only})
    return {
        "gender": gender,
        "matching": summary.match_rows(everyone, judges.matchers, pairs, tuple(fmrs)),
        "age": summary.age_rows(everyone, table),
        "race": summary.race_rows(everyone, table, judges.races),
        "moved": moved_rows(everyone),
        "looks": summary.looks_rows(everyone),
    }


def moved_rows(measured: Mapping[str, Measured], *, resamples: int = 500) -> list[Row]:
    """How far the answers about age and race moved from those about the original, whether or not these were right.

    It needs no label, so it can be told of every set. Of age, ``years`` is the mean absolute difference of a referee's
    two answers; of race, ``same`` the share of pictures whose answer is the same group. Keys: variant, attribute,
    referee, n, lost, years or same, each with _low and _high, refused.
    """
    rows: list[Row] = []
    before = measured[BEFORE]
    for name, m in measured.items():
        if name == BEFORE:
            continue
        asked = m.attempted & before.enrolled
        used = asked & m.enrolled
        n, lost = int(used.sum()), int((asked & ~m.enrolled).sum())
        for attribute, kind, measure, moved in (("age", "age", "years", _apart), ("race", "p_race", "same", _alike)):
            now = m.answers(kind)
            for referee, was in before.answers(kind).items():
                if referee in now:
                    values = moved(was[used], now[referee][used])
                    figure = give(Figure(variant=name, by=referee, n=n, lost=lost), measure, mean, values)
                    figure = with_interval(figure, mean_of(values), m.persons[used], resamples)
                    facts = {"variant": name, "attribute": attribute, "referee": referee, "n": n, "lost": lost}
                    rows.append(Row(facts, [figure]))
    return rows


def overview_rows(
    parts: Mapping[str, Sequence[Row]],
    about: Mapping[str, Mapping[str, Any]],
    attacked: Sequence[Published] = (),
) -> list[Published]:
    """One row a variant, ``before`` first, of one set: from its details (``parts``) and the rows of its attackers.

    ``about`` maps each method's label, in order, to what stands in its row beside the figures: ``hides``, ``ms``, and
    ``oracle`` where it is none. Keys: variant, hides, n, lost; for each gender referee R ``accuracy/R``,
    ``balanced_accuracy/R``, ``auc/R``, ``eer/R``; ``retrained``, ``probe``, ``neighbours``, ``kernel`` and
    ``attacked`` (the highest balanced accuracy of all attackers) with ``attacked_by``; for each matcher ``tmr@FMR/R``,
    ``rank1/R``, ``fnir@FPIR/R`` and ``fpir@FPIR/R``;
    ``mae/R`` (age, years), ``race/R`` (balanced accuracy), ``years/R`` and ``same/R`` of :func:`moved_rows`; ``ssim``;
    ``ms``. A figure that cannot be
    given is None. The originals' row has what the same attackers, taught by originals, read of originals.
    """
    figures = _figures(parts)
    # every row gets every key, in one order, so that a table of all of them is straight
    blank: Published = {"n": None, "lost": None} if parts["gender"] else {}
    blank |= dict.fromkeys(side_by_side(figure) for figure in figures)
    filled: dict[str, Published] = {}
    for label, facts in {BEFORE: {}, **about}.items():
        first = {"variant": label, "hides": facts.get("hides", ""), "oracle": facts.get("oracle", False)}
        filled[label] = {**first, **blank, "ms": facts.get("ms")}
    for row in parts["gender"]:
        filled[row["variant"]] |= {"n": row["n"], "lost": row["lost"]}
    for figure in figures:
        filled[figure.variant][side_by_side(figure)] = figure.value
    for label, line in filled.items():
        line |= _attacked(attacked, label)
    return list(filled.values())


def _figures(parts: Mapping[str, Sequence[Row]]) -> list[Figure]:
    """The figures of all parts, called as they are here."""
    figures: list[Figure] = []
    for row in parts["gender"]:
        error = row.figure("error")
        figures.append(replace(error, measure="accuracy", value=None if error.value is None else 1 - error.value))
        figures += [row.figure(name) for name in ("balanced_accuracy", "auc", "eer")]
    for row in parts["matching"]:
        figures += row.figures
    figures += [row.figure("mae") for row in parts["age"]]
    figures += [replace(row.figure("balanced_accuracy"), measure="race") for row in parts["race"]]
    figures += [row.figures[0] for row in parts["moved"]]
    return figures + [row.figure("ssim") for row in parts["looks"]]


def _apart(was: NDArray[np.floating[Any]], now: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """How many years two answers are apart, (N,)."""
    return np.abs(now - was).astype(np.float64)


def _alike(was: NDArray[np.floating[Any]], now: NDArray[np.floating[Any]]) -> NDArray[np.float64]:
    """1 where the likeliest of the groups (N, K) is the same, (N,)."""
    return np.asarray(now.argmax(-1) == was.argmax(-1), np.float64)


def _attacked(rows: Sequence[Published], label: str) -> Published:
    """The attackers' columns of one variant; empty when the set had no attackers."""
    rows = [row for row in rows if row["attack"] not in _NOT_GENDER]
    if not rows:
        return {}
    name = "originals_balanced_accuracy" if label == BEFORE else "balanced_accuracy"
    # the originals are the same whatever protects them, so the first method's attackers tell of them
    mine = [row for row in rows if row["variant"] == (rows[0]["variant"] if label == BEFORE else label)]
    tried = [(row["attack"], f) for row in mine if (f := figure_of(row, name)).value is not None]
    result: Published = dict.fromkeys((*_ATTACKS.values(), "attacked", "attacked_by"))
    for attack, key in _ATTACKS.items():
        result[key] = max((f.value for kind, f in tried if kind == attack and f.value is not None), default=None)
    if tried:
        best = max((f for _, f in tried), key=lambda f: f.value or 0.0)
        result |= {"attacked": best.value, "attacked_by": best.by}
    return result
