"""The verdict on the pictures and on the measurement: looks, detection, losses, groups, certainty."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...measuring.figure import Figure, figure_of, measure, number, tmr
from .scale import (
    GROUP_PEOPLE,
    LOOKS_LITTLE,
    LOOKS_SOME,
    LOST_FEW,
    READ,
    ROUGH_HALF_WIDTH,
    ROUGH_PEOPLE,
    SURE_HALF_WIDTH,
    SURE_PEOPLE,
    Finding,
    Grade,
    answer_to,
    count,
    is_detector,
    percent,
    reading,
    spread,
)


def looks(results: Mapping[str, Any]) -> Finding:
    """SSIM of the faces before and after."""
    question = "What do the pictures lose?"
    ssim = (results.get("looks") or {}).get("ssim")
    mean = number(ssim, "mean")
    if ssim is None or mean is None:
        return Finding(question, "Not measured", "No picture could be compared before and after.", "unknown", "looks")
    figure = Figure(measure="ssim", value=mean, low=number(ssim, "low"), high=number(ssim, "high"))
    steps: list[tuple[float, str, Grade]] = [
        (1 - LOOKS_LITTLE, "Little", "good"),
        (1 - LOOKS_SOME, "Something", "mixed"),
        (2.0, "Much", "bad"),
    ]
    answer, grade = answer_to(1 - mean, 1 - min(figure.ends[:2]), steps)
    psnr = number((results.get("looks") or {}).get("psnr"), "mean")
    extra = f"; PSNR {measure('psnr').text(psnr)} dB" if psnr is not None else ""
    told = (
        f"The mean structural similarity (SSIM) of faces before and after is {figure.text}{figure.span}, where 1 is "
        f"equal{extra}."
    )
    return Finding(question, answer, told, grade, "looks")


def detectable(results: Mapping[str, Any]) -> Finding:
    """The best detector of protected pictures; at worst "mixed", since that alone tells no attribute."""
    question = "Can one tell that a picture was protected?"
    tried = [(*s, r) for r in results.get("attacks") or () if is_detector(r) and (s := spread(r)) is not None]
    if not tried:
        return Finding(question, "Not tested", "No detector of protected pictures gave a figure.", "unknown", "trust")
    value, end, row = max(tried, key=lambda t: (t[0], t[1]))
    answer, grade = answer_to(value, max(end, max(t[1] for t in tried)), READ)
    told = (
        f"A detector prepared with {count(row, 'n_train')} has {reading(row)}; guessing gives 50 % and AUC 0.5. "
        "Who can tell knows which pictures to attack with preparation."
    )
    # it gives away no gender by itself: never worse than mixed
    return Finding(question, answer, told, "good" if grade == "good" else "mixed", "trust")


def lost(results: Mapping[str, Any]) -> Finding:
    """Faces not found again, files missing or unreadable."""
    question = "Were faces or files lost?"
    about = results.get("set") or {}
    gone, missing, broken, none, same = (
        len(about.get(k) or ()) for k in ("lost", "missing", "unreadable", "no_face_before", "same")
    )
    photos = int(about.get("photos") or 0)
    if not photos:
        return Finding(
            question, "Not measured", "The results do not say how many pictures there were.", "unknown", "trust"
        )
    base = max(photos - none, 1)
    told = (
        f"{gone} of {base} faces ({percent(gone / base)}) were not found again after protection and count as "
        f"not matching; {missing} originals have no protected picture; {broken} files could not be read; "
        f"{none} originals showed no face to begin with."
    )
    if same:
        told += f" {same} protected files are byte for byte the originals."
    gone += missing + broken + same
    if gone == 0:
        return Finding(question, "No", told, "good", "trust")
    few = gone / base <= LOST_FEW
    return Finding(question, "Few" if few else "Yes", told, "mixed" if few else "bad", "trust")


def groups(results: Mapping[str, Any]) -> Finding:
    """Whether two groups of enough people have intervals that do not meet, attribute by attribute."""
    question = "Does it work alike for all groups?"
    sets: dict[tuple[str, str, str], list[tuple[str, Figure]]] = {}
    for row in results.get("groups") or ():
        people = number(row, "people") if number(row, "people") is not None else number(row, "n")
        figure = figure_of(row, str(row.get("measure")), "protected")
        if people is not None and people >= GROUP_PEOPLE and len(figure.ends) == 3:
            key = (str(row.get("attribute")), figure.measure, figure.by)
            sets.setdefault(key, []).append((str(row.get("group")), figure))
    sets = {k: rows for k, rows in sets.items() if len(rows) > 1}
    if not sets:
        why = f"No two groups of at least {GROUP_PEOPLE} people have figures to compare."
        return Finding(question, "Not measurable", why, "unknown", "trust")
    gaps = []
    for (attribute, name, by), shown in sets.items():
        low = min(shown, key=lambda g: g[1].ends[2])
        high = max(shown, key=lambda g: g[1].ends[1])
        if low[1].ends[2] < high[1].ends[1]:
            between = " and ".join(f"{figure.text} for {group}" for group, figure in (low, high))
            width = (high[1].ends[0] - low[1].ends[0]) / (100 if measure(name).unit == "years" else 1)
            gaps.append((width, f"{measure(name).head} of {by} by {attribute}", between))
    if not gaps:
        told = f"In {len(sets)} comparisons no two groups of at least {GROUP_PEOPLE} people have intervals apart."
        return Finding(question, "No difference shown", told, "good", "trust")
    _, where, between = max(gaps)
    told = (
        f"In {len(gaps)} of {len(sets)} comparisons two groups have 95 % intervals that do not meet; the widest gap of "
        f"the protected pictures is in {where}: {between}."
    )
    return Finding(question, "No", told, "mixed", "trust")


def sure(results: Mapping[str, Any]) -> Finding:
    """How many people, and how wide the intervals."""
    question = "How sure is this?"
    about = results.get("set") or {}
    people = int(about.get("people") or 0)
    widths = []
    for table, names in (
        ("gender", ("auc", "balanced_accuracy")),
        ("attacks", ("auc", "balanced_accuracy")),
        ("matching", (tmr(0.01),)),
    ):
        for row in results.get(table) or ():
            for figure in (figure_of(row, name) for name in names):
                if row.get("variant") != "before" and figure.low is not None and figure.high is not None:
                    widths.append((figure.high - figure.low) / 2)
    if not widths:
        told = f"No interval could be given, with {people} people on {about.get('photos', 0)} pictures."
        return Finding(question, "Not known", told, "unknown", "trust")
    known = bool(about.get("identities_known", True))
    widest = max(widths)
    sure = widest <= SURE_HALF_WIDTH and people >= SURE_PEOPLE and known
    rough = widest <= ROUGH_HALF_WIDTH and people >= ROUGH_PEOPLE
    word: str
    grade: Grade
    word, grade = ("Fairly", "good") if sure else ("Roughly", "mixed") if rough else ("Hardly", "bad")
    women, men = (int(about.get(k) or 0) for k in ("women", "men"))
    genders = f"{women} women and {men} men" if women or men else "gender unknown"
    told = (
        f"{about.get('photos', 0)} pictures of {people} people{'' if known else ' (every picture taken as another)'}, "
        f"{genders}; the widest 95 % interval that decides is ±{100 * widest:.1f} points."
    )
    return Finding(question, word, told, grade, "trust")
