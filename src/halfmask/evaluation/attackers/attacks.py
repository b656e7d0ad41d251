"""The attackers: each takes a case and gives its rows of the table. What they have in common is in ``asking``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...errors import DataError, MetricError
from ...photos.align import CROP, crop_face
from ...photos.detect import Face
from ...photos.paste import face_change
from ..measuring.figure import Row
from ..measuring.metrics import balanced_accuracy
from .asking import RECOVERIES, Case, around, reread
from .evidence import file_key
from .judging import OWN, Rule, choose, row

Pixels = NDArray[np.uint8]
Scores = NDArray[np.float32]

#: How many faces the preview of the learned inverse shows.
_SHOWN = 6


def inverted(case: Case) -> list[Row]:
    """The answer inverted: sign and threshold of each referee chosen on the attacker's people."""
    return _by_referees(case, "inverted", case.asked(case.tune), case.asked(case.judge), _chosen_on(case))


def recovery(case: Case) -> list[Row]:
    """Recovery first, then the unchanged referee: filters, and averages over several protected photos."""
    tuned, judged = case.recovered(case.tune, RECOVERIES), case.recovered(case.judge, RECOVERIES)
    rows = []
    for step in RECOVERIES:
        rows += _by_referees(case, f"recovery: {step}", tuned[step], judged[step], _chosen_on(case))
    return rows + _person_rows(case) + (_output_rows(case) if case.outputs is not None else [])


def _chosen_on(case: Case) -> str:
    return f"chosen on {len(case.tune)} photos of the attacker's people"


def _person_rows(case: Case) -> list[Row]:
    """The mean answer over all photos of a person, one row a referee; a person counts once."""
    rows = []
    _, y, persons = _people(case, case.judge)
    photos = len(case.judge) / len(persons)
    _, y_tune, _ = _people(case, case.tune)
    tune, judge = case.asked(case.tune), case.asked(case.judge)
    before, was = case.asked(case.tune, True), case.asked(case.judge, True)
    for name in case.referees.genders:
        rule = choose(y_tune, _people_mean(case, case.tune, tune[name]))
        own = choose(y_tune, _people_mean(case, case.tune, before[name]))
        rows.append(
            row(
                "recovery: average over the person's photos", name,
                n_train=len(y_tune), labels=y, says=rule.says(_people_mean(case, case.judge, judge[name])),
                persons=persons, unattacked=_rate(case.gender(case.judge), OWN.says(judge[name])),
                originals=_rate(y, own.says(_people_mean(case, case.judge, was[name]))),
                note=f"{_word(rule)}; counts people, with {photos:.1f} photos each on average",
                resamples=case.budget.resamples,
            )
        )  # fmt: skip
    return rows


def _people(case: Case, rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.str_]]:
    """For some rows: which person each shows, and the people's genders and names."""
    names, who = np.unique(case.evidence.persons[rows], return_inverse=True)
    share = np.bincount(who, case.gender(rows)) / np.bincount(who)
    return who, (share >= 0.5).astype(np.int64), names


def _people_mean(case: Case, rows: NDArray[np.int64], scores: Scores) -> NDArray[np.float64]:
    who = _people(case, rows)[0]
    return np.asarray(np.bincount(who, scores) / np.bincount(who))


def _output_rows(case: Case) -> list[Row]:
    """The pixel average of several outputs for the same photo."""
    assert case.outputs is not None
    evidence = case.evidence
    wanted = np.concatenate([case.tune, case.judge])
    versions = [list(paths) for paths in case.outputs([evidence.original[i] for i in wanted])]
    if not versions or any(len(paths) != len(wanted) for paths in versions):
        raise DataError(
            f"outputs gave {[len(v) for v in versions]} files; expected at least one list, each with one protected "
            f"version of the {len(wanted)} photos it was asked for"
        )
    place = {int(i): n for n, i in enumerate(wanted)}

    def average(patch: Pixels, face: Face, i: int) -> Pixels:
        photos = [reread(paths[place[int(i)]]) for paths in versions]
        first = reread(evidence.protected[i])
        if any(p.shape != first.shape for p in photos):
            raise DataError(f"the outputs of {evidence.keys[i]} differ in size from its protected photo")
        mean = np.mean([around(p, evidence.faces_after[i])[0] for p in [first, *photos]], axis=0)
        return np.asarray(np.rint(mean), np.uint8)

    tag = file_key([p for paths in versions for p in paths])
    tuned = case.recovered(case.tune, {"average": average}, tag=tag)["average"]
    judged = case.recovered(case.judge, {"average": average}, tag=tag)["average"]
    note = f"average of {len(versions) + 1} protected versions of each photo"
    return _by_referees(case, "recovery: average of outputs", tuned, judged, note)


def retrained(case: Case) -> list[Row]:
    """A fresh CNN that learned gender from protected faces; its twin learned from originals."""
    from .learning import classified

    evidence, y, learn = case.evidence, case.gender(case.judge), case.gender(case.learn)
    crops = {"protected": evidence.crops_after, "originals": evidence.crops_before}
    p_male, notes = {}, []
    for name, source in crops.items():
        others = {other: where[case.judge] for other, where in crops.items()}
        p_male[name], note = classified(case, f"gender of {name}", source[case.learn], learn, others)
        notes += [f"{name}: {note}"] if note else []
    return [
        row(
            "retrained CNN", "fresh CNN", n_train=len(learn), labels=y, says=p_male["protected"]["protected"] - 0.5,
            persons=evidence.persons[case.judge],
            unattacked=_rate(y, p_male["originals"]["protected"] - 0.5),
            originals=_rate(y, p_male["originals"]["originals"] - 0.5),
            note="; ".join(["unattacked: the same CNN trained on originals", *notes]),
            resamples=case.budget.resamples,
        )
    ]  # fmt: skip


def probe(case: Case) -> list[Row]:
    """A linear classifier on each matcher's descriptors of protected faces; its twin learned from originals."""
    return _of_descriptors(case, "linear probe", "linear")


def neighbours(case: Case) -> list[Row]:
    """The nearest protected faces by each matcher's cosine vote; their twin asks the nearest originals."""
    return _of_descriptors(case, "nearest neighbours", "neighbours")


def kernel(case: Case) -> list[Row]:
    """A support vector machine with an RBF kernel on each matcher's descriptors; its twin learned from originals."""
    return _of_descriptors(case, "RBF kernel", "kernel")


def _of_descriptors(case: Case, attack: str, kind: str) -> list[Row]:
    from .learning import probed

    evidence, y = case.evidence, case.gender(case.judge)
    there = case.referees.matchers
    names = [n for n in there if n in case.budget.matchers or case.knows(n)] or list(there)
    skipped = [n for n in there if n not in names]
    learn = case.probed
    rows = []
    for name in names:
        rules = {}
        for side in (False, True):
            known = case.embedded(learn, name, before=side)
            rules[side] = probed(known, case.gender(learn), evidence.persons[learn], case.budget.seed, kind)
        after, before = (case.embedded(case.judge, name, before=b) for b in (False, True))
        note = "unattacked: the same reader trained on originals"
        if len(learn) < len(case.learn):
            note += f"; learned from {len(learn)} of {len(case.learn)} photos"
        if skipped:
            note += f"; not probed, to save time: {', '.join(skipped)}"
        rows.append(
            row(
                attack, name, n_train=len(learn), labels=y, says=rules[False](after),
                persons=evidence.persons[case.judge],
                unattacked=_rate(y, rules[True](after)), originals=_rate(y, rules[True](before)), note=note,
                resamples=case.budget.resamples,
            )
        )  # fmt: skip
    return rows


def inverse(case: Case) -> list[Row]:
    """A U-Net learned to undo the protection; the unchanged referees look at what it gives back."""
    from .learning import undone

    evidence = case.evidence
    wanted = np.concatenate([case.tune, case.judge])
    added, note = undone(case, wanted)
    place = {int(i): n for n, i in enumerate(wanted)}

    def recover(patch: Pixels, face: Face, i: int) -> Pixels:
        delta = added[place[int(i)]].astype(np.float32) / np.float32(127)
        delta = np.asarray(cv2.resize(delta, (CROP, CROP), interpolation=cv2.INTER_CUBIC), np.float32)
        matrix = crop_face(patch, face.points)[1]
        change = face_change(np.clip(delta, -1, 1), matrix, patch.shape[1], patch.shape[0], whole=True)
        if change is None:
            return patch
        x0, y0, x1, y1 = change.box
        out = patch.copy()
        out[y0:y1, x0:x1] = np.clip(np.rint(patch[y0:y1, x0:x1] + 255 * change.delta), 0, 255).astype(np.uint8)
        return out

    tag = (case.budget, "whole crop")
    tuned = case.recovered(case.tune, {"inverse": recover}, tag=tag)["inverse"]
    judged = case.recovered(case.judge, {"inverse": recover}, tag=tag)["inverse"]
    here = added[len(case.tune) :].astype(np.float32) * (255 / 127)
    protected, original = evidence.crops_after[case.judge], evidence.crops_paired[case.judge]
    _strip(case, protected, original, here)
    gone = np.abs(protected.astype(np.float32) - original).mean()
    left = np.abs(np.clip(protected + here, 0, 255) - original).mean()
    away = f"mean difference from the original {gone:.2f} of 255 levels before, {left:.2f} after"
    words = "; ".join(filter(None, [away, note]))
    return _by_referees(case, "inverse", tuned, judged, words, n_train=len(case.learn))


def _strip(case: Case, protected: Pixels, original: Pixels, added: NDArray[np.float32]) -> None:
    """Six faces, evenly drawn from those judged: original above protected above recovered, into ``inverse.png``."""
    shown = np.unique(np.linspace(0, len(protected) - 1, _SHOWN).astype(int))
    recovered = np.clip(np.rint(protected[shown] + added[shown]), 0, 255).astype(np.uint8)
    lines = [np.concatenate(list(faces), 1) for faces in (original[shown], protected[shown], recovered)]
    Image.fromarray(np.concatenate(lines, 0)).save(case.folder / "inverse.png")


def detector(case: Case) -> list[Row]:
    """A fresh CNN that tells protected photos from originals; each photo judged counts once as either."""
    from .learning import classified

    evidence = case.evidence
    learn = np.concatenate([evidence.crops_before[case.learn], evidence.crops_after[case.learn]])
    labels = np.repeat([0, 1], len(case.learn)).astype(np.int64)
    others = {"before": evidence.crops_before[case.judge], "after": evidence.crops_after[case.judge]}
    p_protected, note = classified(case, "protected or not", learn, labels, others)
    return [
        row(
            "detector", "fresh CNN", n_train=len(labels), labels=np.repeat([0, 1], len(case.judge)),
            says=np.concatenate([p_protected["before"], p_protected["after"]]) - 0.5,
            persons=np.tile(evidence.persons[case.judge], 2),
            note="; ".join(filter(None, ["original or protected; traces of encoding a photo again count too", note])),
            resamples=case.budget.resamples,
        )
    ]  # fmt: skip


#: The attackers by the names that ``only`` takes, in the order in which they run.
ATTACKS: dict[str, Callable[[Case], list[Row]]] = {
    "inverted": inverted,
    "retrained": retrained,
    "probe": probe,
    "neighbours": neighbours,
    "kernel": kernel,
    "recovery": recovery,
    "inverse": inverse,
    "detector": detector,
}


def _by_referees(
    case: Case,
    attack: str,
    tuned: Mapping[str, Scores],
    judged: Mapping[str, Scores],
    note: str,
    n_train: int | None = None,
) -> list[Row]:
    """A row a gender referee, by its answers after the attack: by ``tuned`` its rule is chosen, ``judged`` are judged.

    Its rule for originals is chosen on its answers to the originals of the attacker's people.
    """
    plain, before, was = case.asked(case.judge), case.asked(case.tune, True), case.asked(case.judge, True)
    mine, theirs = case.gender(case.tune), case.gender(case.judge)
    rows = []
    for name in case.referees.genders:
        rule, own = choose(mine, tuned[name]), choose(mine, before[name])
        rows.append(
            row(
                attack, name, n_train=len(mine) if n_train is None else n_train, labels=theirs,
                says=rule.says(judged[name]), persons=case.evidence.persons[case.judge],
                unattacked=_rate(theirs, OWN.says(plain[name])), originals=_rate(theirs, own.says(was[name])),
                note=f"{_word(rule)}; {note}", resamples=case.budget.resamples,
            )
        )  # fmt: skip
    return rows


def _rate(labels: NDArray[np.int64], says: NDArray[Any]) -> float | None:
    try:
        return balanced_accuracy(labels, says, 0.0)
    except MetricError:
        return None


def _word(rule: Rule) -> str:
    return f"{'inverted, ' if rule.sign < 0 else ''}threshold {rule.sign * rule.threshold:.3f}"
