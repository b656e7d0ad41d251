"""The figures of an audit, and the sentences about what they do not show.

Every sentence is written where its gap arises: ``not_tested`` for what nobody measured, ``notes`` for what has to be
known to read what was.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ...datasets.pairs import Pair
from ...datasets.table import Table
from ..measuring.figure import Row, figure_of, measure, published, tmr
from ..measuring.protocol import BEFORE, Measured
from .pairing import some

if TYPE_CHECKING:
    from ..referees import Referees

#: The variant's name in every table of an audit.
PROTECTED = "protected"

_FMRS = (0.01, 0.001, 0.0001)
#: Pairs of different people that are drawn when nobody is known, enough for FMR 0.01 % ten times over.
_IMPOSTORS = 150_000
#: Points of a curve in results.json.
_POINTS = 400
#: Data sets that a referee's makers, or we, trained on; figures on these are kinder to it than on others.
#: face-api's are named in the README of face-api.js, "Age and Gender Recognition Model".
_SHARED = {
    "utkface": "face-api's makers trained on UTKFace, halfmask's own gender classifier too: their figures on these "
    "photos are better than on others.",
    "cacd": "face-api's makers trained on CACD: its figures on these photos are better than on others.",
    "celeba": "halfmask's own gender classifier, against which its methods learn, was trained on people of CelebA's "
    "training split.",
    "fairface": "halfmask's san was trained on FairFace's training split; only its other splits are new to it.",
}


def figures(
    results: dict[str, Any],
    table: Table,
    measured: Mapping[str, Measured],
    referees: Referees,
    pairs: list[Pair] | None,
    seed: int,
) -> list[Pair] | None:
    """Every table of the referees; gives the pairs that were matched, None for all of known people."""
    from ..measuring import summary  # brings scikit-learn, which the audit has looked for by now

    not_tested: list[str] = results["not_tested"]
    results["gender"] = published(_gender(results, summary.gender_rows(measured)))
    results["age"] = published(summary.age_rows(measured, table)) if referees.ages else []
    results["race"] = published(summary.race_rows(measured, table, referees.races)) if referees.races else []
    if not results["age"]:
        not_tested.append(_gap("Age", sum(r.age is not None or r.age_range is not None for r in table), referees.ages))
    if not results["race"]:
        not_tested.append(_gap("Race", sum(r.race is not None for r in table), referees.races))
    elif unheard := sorted(
        {r.race for r in table if r.race and all(j.group(r.race) < 0 for j in referees.races.values())}
    ):
        not_tested.append(f"Race: no referee knows the words {some(unheard)}; these photos are in no figure of it.")

    pairs = _pairs(results, measured[BEFORE], measured[PROTECTED], pairs, seed)
    matching = summary.match_rows(measured, referees.matchers, pairs, _FMRS)
    results["matching"] = published(matching)
    results["roc"] = summary.roc_curves(measured, referees.matchers, pairs, most=_POINTS)
    looks = [figure for figure in summary.looks_rows(measured)[0].figures if figure.value is not None]
    results["looks"] = {f.measure: {"mean": f.value, "low": f.low, "high": f.high} for f in looks}
    results["groups"] = published(summary.group_rows(measured, table, referees.matchers, pairs))
    if not referees.matchers:
        not_tested.append("Matching: no matcher was asked, so nothing is known of whether the faces still match.")
    refused = [fmr for fmr in _FMRS if any(row.figure(tmr(fmr)).value is None for row in matching)]
    if refused:
        pairs_there = max(row["impostors"] for row in matching)
        least = " and ".join(f"{1 / fmr:.0f} for FMR {100 * fmr:g} %" for fmr in refused)
        not_tested.append(f"Matching at low FMR: it needs impostor pairs, {least}, and there are {pairs_there}.")
    return pairs


def _gap(what: str, known: int, referees: Mapping[str, object]) -> str:
    if not referees:
        return f"{what}: no referee of it was asked."
    if not known:
        return f"{what}: not known of any photo; give labels with a column {what.lower()}."
    return f"{what}: known of {known} photos, but no referee could judge it on them."


def _gender(results: dict[str, Any], rows: list[Row]) -> list[Row]:
    """The rows, unless there is nothing to tell apart; then a sentence that says why there are none."""
    women, men = results["set"]["women"], results["set"]["men"]
    if women and men:
        if not rows:
            results["not_tested"].append("Gender: no referee of it was asked.")
        return rows
    why = "not known of any photo; give labels with a column gender"
    if women or men:
        one = f"all {women or men} labelled photos show {'women' if women else 'men'}"
        why = f"{one}; whether women and men can be told apart needs both"
    also = "No detector" if results["direction"] == "deidentify" else "No attacker"
    results["not_tested"].append(f"Gender: {why}. {also} could be tried either.")
    return []


def _pairs(
    results: dict[str, Any], before: Measured, after: Measured, given: list[Pair] | None, seed: int
) -> list[Pair] | None:
    """Which photos to match: the pairs that were given, all of known people (None), or each with its own.

    ``results["set"]["pairs"]`` says which: "given", "people" or "own".
    """
    results["set"]["pairs"] = "given"
    if given is not None:
        return given
    usable = before.enrolled & after.attempted
    known = [person for person, on in zip(before.identity, usable, strict=True) if on and person is not None]
    if len(set(known)) < len(known):
        if nobody := int(usable.sum()) - len(known):
            results["notes"].append(f"Who is on {nobody} photos is not known; they are in no pair that was matched.")
        results["set"]["pairs"] = "people"
        return None
    results["set"]["pairs"] = "own"
    why = "No two photos are known to show the same person" if known else "Who is on which photo is not known"
    also = "" if known and len(known) == int(usable.sum()) else (
        " Two photos of one person may be among the pairs taken for different people, and make thresholds too strict."
    )  # fmt: skip
    results["notes"].append(
        f"{why}, so each protected photo was matched with its own original, the easiest pair there is: the originals "
        f"match themselves in every case, and two photos of a person taken apart match less often.{also}"
    )
    return own_pairs([key for key, on in zip(before.keys, usable, strict=True) if on], seed)


def own_pairs(keys: Sequence[str], seed: int = 0) -> list[Pair]:
    """Each photo with itself as a genuine pair; every two photos, or as many as suffice, as impostor pairs.

    >>> [(p.a, p.b, p.same) for p in own_pairs(["1.jpg", "2.jpg"])]
    [('1.jpg', '1.jpg', True), ('2.jpg', '2.jpg', True), ('1.jpg', '2.jpg', False), ('2.jpg', '1.jpg', False)]
    """
    count = len(keys)
    if count * (count - 1) <= _IMPOSTORS:
        others = [(i, j) for i in range(count) for j in range(count) if i != j]
    else:
        rng = np.random.default_rng(seed)
        drawn = np.unique(rng.integers(0, count * (count - 1), _IMPOSTORS))  # a few less, since none comes twice
        others = [(n // (count - 1), n % (count - 1)) for n in drawn.tolist()]
        others = [(i, j + (j >= i)) for i, j in others]
    return [Pair(key, key, True) for key in keys] + [Pair(keys[i], keys[j], False) for i, j in others]


def remarks(results: dict[str, Any], table: Table, referees: Referees, attacks: Sequence[str] | None) -> None:
    """What is true of every audit, and of this set; ``attacks`` are those that somebody chose, None for no choice."""
    hide_identity = results["direction"] == "deidentify"
    notes: list[str] = results["notes"]
    if table.name in _SHARED:
        notes.append(_SHARED[table.name])
    fit = [figure_of(row, "balanced_accuracy") for row in results["gender"] if row["variant"] == BEFORE]
    own = [f"{f.by} {measure('error').text(1 - f.value)}" for f in fit if f.value is not None]
    if own:
        notes.append(f"The referees' own mean error on the originals, before any protection: {', '.join(own)}.")
    if referees.races and "w600k_mbf" in referees.matchers:
        notes.append("The referees of race read w600k_mbf's descriptor, so the two see the same in a face.")
    results["not_tested"] += _left_out(referees, None if hide_identity else attacks)
    if hide_identity:
        results["not_tested"] += [
            "Attackers that train a whole recogniser, average several photos of a person, or undo the change by a "
            "learned inverse: none was tried. Expect them to recognise more. Those that read the gender were left out, "
            "since it is to stay readable.",
        ]
    people = "recognise who it is" if hide_identity else "tell the gender"
    results["not_tested"] += [
        "Only protected photos against originals were matched: not two protected photos of a person with each other, "
        f"no search in a gallery of more than {_gallery(results)} people, no video.",
        f"No person looked at the photos: whether people {people}, or see that a photo was changed, is open.",
    ]


def _gallery(results: Mapping[str, Any]) -> int:
    """How many people stood in the gallery."""
    return max((row["gallery"] for row in results["matching"]), default=0)


def _left_out(referees: Referees, attacks: Sequence[str] | None) -> list[str]:
    """Sentences about the referees and attacks that somebody chose to leave out."""
    from ..attackers import ATTACKS
    from ..referees import AGE, GENDER, MATCHERS

    sentences = []
    if referees.names is not None and (absent := sorted({*MATCHERS, *GENDER, *AGE} - set(referees.names))):
        sentences.append(f"Of the referees, some were left out by choice: {', '.join(absent)}.")
    if attacks and (absent := [name for name in ATTACKS if name not in attacks]):
        sentences.append(f"Of the attackers, some were left out by choice: {', '.join(absent)}. They may read more.")
    return sentences
