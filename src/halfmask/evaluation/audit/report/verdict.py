"""From figures to words: what an audit found, question by question, each answer with its figures and its limits.

Pure: :func:`findings` takes the results of an audit (the dictionary of ``results.json``) and returns sentences.

How an answer is chosen:

- *Privacy is distance from chance*, never a high error: 0 for AUC 0.5 and balanced accuracy 50 %, 1 for an answer that
  is always right, **and 1 for one that is always wrong**, because whoever knows that turns it over. The larger of both
  figures' distances counts. A person who should not be recognised is at chance when the TMR is no higher than the FMR.
- *The worst decides*: the referee that still reads best, the attacker that does best, the matcher that loses most.
- *Uncertain is not good*: where the far end of a privacy figure's 95 % interval would earn a worse answer, that end
  gives the grade, and the answer says "perhaps more". Losses of matching are judged by the figures themselves; how wide
  their intervals are is told beside them, and weighs in how sure the whole is.
- A referee that cannot do its job on the *originals* proves nothing by failing on the protected pictures; it is left
  out, and when none is left the answer is "Not measurable".

With ``direction`` "deidentify" privacy and utility change places: identity should be gone, the attributes kept.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from ...measuring.figure import figure_of, fmr_of, measure, tmr
from . import quality
from .scale import (
    AGE_KEPT,
    AGE_MOSTLY_KEPT,
    ATTRIBUTE_KEPT,
    ATTRIBUTE_MOSTLY_KEPT,
    KEPT,
    MATCHER_WORKS,
    MOSTLY_KEPT,
    RANK,
    READ,
    RECOGNISED,
    RECOGNISED_TURNED,
    REFEREE_READS,
    Finding,
    Grade,
    Row,
    answer_to,
    attack_name,
    by_name,
    count,
    faces,
    gap,
    is_detector,
    percent,
    reading,
    spread,
    turned,
)


def findings(results: Mapping[str, Any]) -> list[Finding]:
    """Everything an audit's results say, in the order in which a reader asks.

    >>> row = {"referee": "r", "n": 900, "auc": 0.99, "balanced_accuracy": 0.95}
    >>> after = row | {"variant": "protected", "auc": 0.04, "balanced_accuracy": 0.08}
    >>> first = findings({"gender": [row | {"variant": "before"}, after]})[0]
    >>> first.question, first.answer, first.grade
    ('Can unprepared software still read the gender?', 'Yes', 'bad')
    """
    if results.get("direction") == "deidentify":
        aims = [_recognised(results), _prepared_recognition(results), *_attributes_kept(results)]
    else:
        aims = [_unprepared(results), _prepared(results), _still_match(results), *_other_attributes(results)]
    return [
        *aims,
        quality.looks(results),
        quality.detectable(results),
        quality.lost(results),
        quality.groups(results),
        quality.sure(results),
    ]


def headline(results: Mapping[str, Any], answers: Sequence[Finding]) -> str:
    """One sentence or two that stand above all: the worst privacy finding decides, and the limits are named."""
    worst = max((f.grade for f in answers if f.aspect == "privacy"), key=RANK.__getitem__, default="unknown")
    hide = results.get("direction") == "deidentify"
    what, seen = ("who is shown", "recognised") if hide else ("the gender", "read")
    says: dict[str, str] = {
        "bad": f"In this test {what} could still be {seen} from the protected pictures.",
        "mixed": f"In this test {what} was harder to tell from the protected pictures, but not hidden.",
        "unknown": f"This test does not show whether {what} is hidden: see what was not measured or not tried.",
        "good": f"In this test nobody and nothing told {what} much better than by guessing.",
    }
    utility = " ".join(f"{f.question} {f.answer}." for f in answers if f.aspect == "utility" and f.grade != "note")
    limit = "This holds for these pictures, referees and attackers only; another attacker may do better."
    return " ".join(part for part in (says[worst], utility, limit) if part)


def limits(results: Mapping[str, Any]) -> list[str]:
    """What the verdict must not be taken for."""
    about = results.get("set") or {}
    sentences = [
        f"Measured on {about.get('photos', 'an unknown number of')} pictures. Other cameras, poses, ages and "
        "populations may give other figures.",
        "A referee or attacker that fails shows only that this one failed. Somebody with more pictures, more time or "
        "a newer model may do better, also years from now with pictures published today.",
        "Everything but the face can tell as well: hair, clothes, a name in the file or beside the picture. "
        "None of that was measured.",
        "The words are chosen by fixed thresholds (listed under “How this was made”); the figures say more.",
    ]
    if not about.get("identities_known", True):
        sentences.insert(1, "Who is on which picture was not known, so every picture counted as another person: the "
                        "intervals are narrower than they should be when people come more than once.")  # fmt: skip
    return sentences


# ----------------------------------------------------------------------------------------------------- findings


def _readers(results: Mapping[str, Any]) -> tuple[list[tuple[float, float, str, Row, Row | None]], bool]:
    """Referees fit to judge, worst first: (distance, far end, name, after, before); and whether any row was there."""
    fit = []
    pairs = by_name(results.get("gender"), "referee")
    for name, (before, after) in pairs.items():
        first, then = spread(before), spread(after)
        if after is not None and then is not None and first is not None and first[0] >= REFEREE_READS:
            fit.append((*then, name, after, before))
    return sorted(fit, key=lambda f: (-f[0], -f[1], f[2])), bool(pairs)


def _unprepared(results: Mapping[str, Any]) -> Finding:
    question = "Can unprepared software still read the gender?"
    fit, any_row = _readers(results)
    if not fit:
        why = (
            "No referee read the gender of the originals well enough, on both sides, for its failure to prove anything."
            if any_row
            else gap(results, "Gender") or "The gender of the people is not known, so no reading could be judged."
        )
        return Finding(question, "Not measurable", why, "unknown", "privacy")
    value, _, name, after, before = fit[0]
    answer, grade = answer_to(value, max(f[1] for f in fit), READ)
    return Finding(
        question,
        answer,
        f"Of {len(fit)} referees, {name} still reads most: {reading(after)} on {faces(after)} after protection, "
        f"against {reading(before)} on the originals. Guessing gives 50 % and AUC 0.5.{turned(after)}",
        grade,
        "privacy",
    )


def _prepared(results: Mapping[str, Any]) -> Finding:
    question = "Can someone who prepares for this method read the gender?"
    rows = [r for r in results.get("attacks") or () if not is_detector(r)]
    tried = [(*s, r) for r in rows if (s := spread(r)) is not None]
    if not tried:
        why = f"No attacker who knows the method {'gave a figure' if rows else 'was tried'}: expect more to be read."
        told = gap(results, "Attackers") or why
        return Finding(question, "Not tested", told, "unknown", "privacy")
    value, end, row = max(tried, key=lambda t: (t[0], t[1], figure_of(t[2], "balanced_accuracy").value or 0.0))
    most, far = value, max(t[1] for t in tried)
    trained = f", prepared with {count(row, 'n_train')}" if row.get("n_train") else ""
    sentence = (
        f"Of {len(tried)} prepared attacks, {attack_name(row)} does best: {reading(row)} on {faces(row, 'n_test')}"
        f"{trained}.{turned(row)}"
    )
    originals = figure_of(row, "originals_balanced_accuracy")
    if originals.value is not None:
        sentence += f" On the originals the same reader has {originals.text}."
    fit, _ = _readers(results)
    if fit and fit[0][0] > value:  # who prepares can still do what the unprepared does
        most, far = fit[0][0], max(far, max(f[1] for f in fit))
        sentence += " Unprepared software reads more than that, and is open to this attacker too: it decides."
    answer, grade = answer_to(most, max(most, end, far), READ)
    return Finding(question, answer, sentence, grade, "privacy")


def _fmr(name: str) -> str:
    return f"{100 * (fmr_of(name) or 0):g} %"


def _losses(results: Mapping[str, Any]) -> list[tuple[str, dict[str, float], Row, Row]]:
    """Per matcher that works on the originals: how much TMR it loses at each FMR that was measurable."""
    losses = []
    for name, (before, after) in by_name(results.get("matching"), "matcher").items():
        at = {k: (figure_of(before, k).value, figure_of(after, k).value) for k in KEPT}
        lost = {k: b - a for k, (b, a) in at.items() if b is not None and a is not None}
        works = max((b for b, _ in at.values() if b is not None), default=0.0)
        if before is not None and after is not None and lost and works >= MATCHER_WORKS:
            losses.append((name, lost, before, after))
    return losses


_KEPT_WORDS: list[tuple[str, Grade]] = [("Yes", "good"), ("Mostly", "mixed"), ("Badly", "bad")]


def _still_match(results: Mapping[str, Any]) -> Finding:
    question = "Do the faces still match?"
    losses = _losses(results)
    if not losses:
        why = (
            "No matcher gave a figure on originals and protected pictures that could be compared. "
            + gap(results, "Matching")
            if results.get("matching")
            else gap(results, "Matching") or "It is not known who is on which picture, so there was no pair to compare."
        )
        return Finding(question, "Not measurable", why.strip(), "unknown", "utility")

    def step(key: str, loss: float) -> int:
        return 0 if loss <= KEPT[key] + 1e-9 else 1 if loss <= MOSTLY_KEPT[key] + 1e-9 else 2

    name, lost, before, after = max(
        losses, key=lambda f: (max(step(k, v) for k, v in f[1].items()), max(f[1].values()))
    )
    word, grade = _KEPT_WORDS[max(step(k, v) for k, v in lost.items())]
    told = [
        f"at FMR {_fmr(k)} the TMR goes from {figure_of(before, k).text} to {figure_of(after, k).text}"
        f"{figure_of(after, k).span}, a loss of {100 * v:.1f} points"
        for k, v in lost.items()
    ]
    rest = "".join(f" FMR {_fmr(k)} could not be measured." for k in KEPT if k not in lost)
    about = results.get("set") or {}
    if about.get("pairs") == "own":
        rest += " Each picture was compared with its own original, which is the easiest pair there is."
        grade = "mixed" if grade == "good" else grade
        if not about.get("identities_known", True):  # then the thresholds may be wrong as well, the other way
            rest += (
                " And pictures of one person may have been taken for different people, which makes the thresholds too "
                "strict and the loss too large. Say who is on which picture (--labels with a column identity, or "
                "--pairs) to know."
            )
            word, grade = "Unclear", "unknown"
    return Finding(
        question,
        word,
        f"Of {len(losses)} matchers, {name} loses most: {'; '.join(told)} "
        f"({count(after, 'genuine', 'genuine pairs')}, {count(after, 'impostors', 'impostor pairs')}).{rest}",
        grade,
        "utility",
    )


def _recognised(results: Mapping[str, Any]) -> Finding:
    question = "Can unprepared software still recognise the person?"
    key = tmr(0.01)
    fit = [f for f in _losses(results) if key in f[1]]
    if not fit:
        why = (
            "No matcher that works on the originals gave a TMR at FMR 1 %, or it is not known who is on which picture."
        )
        return Finding(question, "Not measurable", why, "unknown", "privacy")
    name, _, before, after = max(fit, key=lambda f: figure_of(f[3], key).value or 0.0)
    figure = figure_of(after, key)
    answer, grade = answer_to(figure.value or 0.0, max(v for f in fit for v in figure_of(f[3], key).ends), RECOGNISED)
    reversed_by = [f[0] for f in fit if (auc := figure_of(f[3], "auc").value) is not None and auc < RECOGNISED_TURNED]
    extra = (
        f" {', '.join(reversed_by)} scores the right person lower than others: turned over, that recognises people."
        if reversed_by
        else ""
    )
    return Finding(
        question,
        answer,
        f"Of {len(fit)} matchers, {name} still recognises most: at FMR 1 % it finds {figure.text}{figure.span} "
        f"of the pairs of one person, against {figure_of(before, key).text} on the originals. "
        f"Guessing finds 1 %.{extra}",
        "mixed" if reversed_by and grade == "good" else grade,
        "privacy",
    )


def _prepared_recognition(results: Mapping[str, Any]) -> Finding:
    question = "Can someone who prepares for this method recognise the person?"
    key = tmr(0.01)
    rows = [r for r in results.get("recognition") or () if r.get("variant") != "before"]
    tried = [(f, r) for r in rows if r.get("attack") != "none" and (f := figure_of(r, key)).value is not None]
    if not tried:
        why = "No recogniser that knows the method gave a figure: expect such a one to recognise more."
        told = gap(results, "Attackers that recognise") or gap(results, "Attackers that learn") or why
        return Finding(question, "Not tested", told, "unknown", "privacy")
    best, row = max(tried, key=lambda t: t[0].value or 0.0)
    plain = [f for r in rows if r.get("attack") == "none" and (f := figure_of(r, key)).value is not None]
    most = max([best, *plain], key=lambda f: f.value or 0.0)  # who prepares can still do what the unprepared does
    end = max(value for f in [best, *plain, *(f for f, _ in tried)] for value in f.ends)
    answer, grade = answer_to(most.value or 0.0, end, RECOGNISED)
    sentence = (
        f"Of {len(tried)} prepared recognisers, {row.get('matcher')} with “{row.get('attack')}” finds most: "
        f"{best.text}{best.span} of the pairs of one person at FMR 1 %, on people it did not learn from. "
        "Guessing finds 1 %."
    )
    if most is not best:
        sentence += " Unprepared software finds more than that on the same people: it decides."
    return Finding(question, answer, sentence, grade, "privacy")


def _attributes_kept(results: Mapping[str, Any]) -> list[Finding]:
    answers = []
    for what, key, kept, mostly in (
        ("gender", "balanced_accuracy", ATTRIBUTE_KEPT, ATTRIBUTE_MOSTLY_KEPT),
        ("race", "balanced_accuracy", ATTRIBUTE_KEPT, ATTRIBUTE_MOSTLY_KEPT),
        ("age", "mae", AGE_KEPT, AGE_MOSTLY_KEPT),
    ):
        losses = []
        for name, (before, after) in by_name(results.get(what), "referee").items():
            was, now = figure_of(before, key), figure_of(after, key)
            if was.value is not None and now.value is not None:
                losses.append((measure(key).direction * (was.value - now.value), name, was, now))
        question = f"Is the {what} kept?"
        if not losses:
            if results.get(what):
                why = f"No referee gave a figure for the {what} before and after."
                answers.append(Finding(question, "Not measurable", why, "unknown", "utility"))
            continue
        loss, name, was, now = max(losses, key=lambda f: f[:2])
        word, grade = _KEPT_WORDS[0 if loss <= kept + 1e-9 else 1 if loss <= mostly + 1e-9 else 2]
        told = (
            f"the {measure(key).word} goes from {was.text} to {now.text}"
            f"{' years' if measure(key).unit == 'years' else ''}"
        )
        answers.append(
            Finding(question, word, f"By {name}, which loses most of {len(losses)}: {told}.", grade, "utility")
        )
    return answers


def _other_attributes(results: Mapping[str, Any]) -> list[Finding]:
    """Age and race beside a method that may not have promised to hide them: told, not graded."""
    answers = []
    ages = []
    for name, (before, after) in by_name(results.get("age"), "referee").items():
        was, now = figure_of(before, "mae"), figure_of(after, "mae")
        if was.value is not None and now.value is not None:
            ages.append((now.value, name, was, now))
    if ages:
        a, name, was, now = min(ages, key=lambda f: f[:2])
        told = f"{name} misses the age by {now.text} years on average after protection, by {was.text} on the originals."
        answers.append(Finding("Can the age still be read?", f"To ±{a:.0f} years", told, "note", "privacy"))
    races = []
    for name, (_, after) in by_name(results.get("race"), "referee").items():
        groups = (after or {}).get("groups") or ()
        chance = 1 / len(groups) if len(groups) > 1 else 0.5
        if after is not None and (s := spread(after, chance)) is not None:
            races.append((*s, name, after, chance))
    if races:
        value, end, name, after, chance = max(races, key=lambda r: (r[0], r[1]))
        told = f"{name} has {reading(after)} after protection; guessing gives {percent(chance)} and AUC 0.5."
        answers.append(Finding("Can the race still be read?", answer_to(value, end, READ)[0], told, "note", "privacy"))
    return answers
