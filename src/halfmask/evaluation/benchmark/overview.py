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
from ...errors import MetricError
from ..measuring import summary
from ..measuring.figure import mean_of, put, put_interval
from ..measuring.protocol import BEFORE, Measured
from ..measuring.summary import Row
from ..referees import Referees
from .oracle import oracle

#: The parts of the details, in the order in which they are shown.
DETAILS = ("gender", "attackers", "matching", "age", "race", "moved", "looks")

#: What an attack is called in the rows of the attackers → its column here.
_ATTACKS = {"retrained CNN": "retrained", "linear probe": "probe"}
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
        counts = {"n": int(used.sum()), "lost": int((asked & ~m.enrolled).sum()), "refused": ""}
        for column in before.columns:
            kind, _, referee = column.partition("/")
            if kind not in ("age", "p_race") or column not in m.columns:
                continue
            was, says = before.columns[column][used], m.columns[column][used]
            if kind == "age":
                attribute, key, values = "age", "years", np.abs(says - was).astype(np.float64)
            else:
                attribute, key, values = "race", "same", (says.argmax(-1) == was.argmax(-1)).astype(np.float64)
            row: Row = {"variant": name, "attribute": attribute, "referee": referee, **counts}
            put(row, key, _mean, values)
            put_interval(row, key, mean_of(values), m.persons[used], resamples)
            rows.append(row)
    return rows


def overview_rows(found: Mapping[str, Sequence[Row]], about: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """One row a variant, ``before`` first, out of the ``found`` details of one set.

    ``about`` maps each method's label, in order, to what stands in its row beside the figures: ``hides``, ``ms``, and
    ``oracle`` where it is none. Keys: variant, hides, n, lost; for each gender referee R ``accuracy/R``,
    ``balanced_accuracy/R``, ``auc/R``, ``eer/R``; ``retrained``, ``probe`` and ``attacked`` (the highest balanced
    accuracy of all attackers) with ``attacked_by``; for each matcher ``tmr@FMR/R``; ``mae/R`` (age, years), ``race/R``
    (balanced accuracy), ``years/R`` and ``same/R`` of :func:`moved_rows`; ``ssim``; ``ms``. A figure that cannot be
    given is None. The originals' row has what the same attackers, taught by originals, read of originals.
    """
    said = _figures(found)
    # every row gets every key, in one order, so that a table of all of them is straight
    blank = dict.fromkeys(key for _, values in said for key in values)
    filled: dict[str, Row] = {}
    for label, facts in {BEFORE: {}, **about}.items():
        first = {"variant": label, "hides": facts.get("hides", ""), "oracle": facts.get("oracle", False)}
        filled[label] = {**first, **blank, "ms": facts.get("ms")}
    for variant, values in said:
        filled[variant] |= values
    for label, row in filled.items():
        row |= _attacked(found.get("attackers", ()), label)
    return list(filled.values())


def _figures(found: Mapping[str, Sequence[Row]]) -> list[tuple[str, Row]]:
    """(variant, figures under their names here) of all parts but the attackers'."""
    said: list[tuple[str, Row]] = []
    for row in found["gender"]:
        r, error = row["referee"], row["error"]
        values: Row = {"n": row["n"], "lost": row["lost"], f"accuracy/{r}": None if error is None else 1 - error}
        said.append((row["variant"], values | {f"{k}/{r}": row[k] for k in ("balanced_accuracy", "auc", "eer")}))
    for row in found["matching"]:
        tmr = [k for k in row if k.startswith("tmr@") and not k.endswith(("_low", "_high"))]
        said.append((row["variant"], {f"{k}/{row['matcher']}": row[k] for k in tmr}))
    said += [(row["variant"], {f"mae/{row['referee']}": row["mae"]}) for row in found["age"]]
    said += [(row["variant"], {f"race/{row['referee']}": row["balanced_accuracy"]}) for row in found["race"]]
    for row in found["moved"]:
        key = "years" if "years" in row else "same"
        said.append((row["variant"], {f"{key}/{row['referee']}": row[key]}))
    said += [(row["variant"], {"ssim": row.get("ssim")}) for row in found["looks"]]
    return said


def _mean(values: NDArray[np.float64]) -> float:
    if not len(values):
        raise MetricError("no picture is left to take the mean of")
    return float(values.mean())


def _attacked(rows: Sequence[Row], label: str) -> Row:
    """The attackers' columns of one variant; empty when the set had no attackers."""
    rows = [row for row in rows if row["attack"] not in _NOT_GENDER]
    if not rows:
        return {}
    figure = "originals_balanced_accuracy" if label == BEFORE else "balanced_accuracy"
    # the originals are the same whatever protects them, so the first method's attackers tell of them
    mine = [row for row in rows if row["variant"] == (rows[0]["variant"] if label == BEFORE else label)]
    known = [row for row in mine if row.get(figure) is not None]
    result: Row = dict.fromkeys((*_ATTACKS.values(), "attacked", "attacked_by"))
    for attack, key in _ATTACKS.items():
        result[key] = max((row[figure] for row in known if row["attack"] == attack), default=None)
    if known:
        best = max(known, key=lambda row: float(row[figure]))
        result |= {"attacked": best[figure], "attacked_by": f"{best['attack']}, {best['reader']}"}
    return result
