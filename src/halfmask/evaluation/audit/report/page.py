"""The page: results, pictures and plots put into the template. Nothing in it comes from or goes to the network."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ....errors import DataError, missing, shown
from ...measuring.figure import figure_of, tmr
from . import plots, tables, wording
from .images import Picture, amplification, difference, file_uri, png_uri
from .scale import by_name, gap, is_detector
from .verdict import findings, headline, limits
from .writing import plain

#: How many file names of a kind the page lists; ``results.json`` has all.
LISTED = 20

#: What the template asks of the results and of their "set"; absent is as good as None.
_SHOWN = ("halfmask", "created", "command", "method", "versions", "not_tested", "notes")
_SET_SHOWN = ("originals", "protected", "photos", "people", "labelled", "women", "men")


def render(results: Mapping[str, Any], pictures: Sequence[Picture] = (), *, inverse: Path | None = None) -> str:
    """The whole page as text: one HTML document that needs no script, no font and no network.

    ``results`` is the dictionary of ``results.json``; a part that is absent makes its section say how to get it.
    ``inverse`` is a picture of what a learned inverse recovers. Everything that comes from outside is escaped.

    Raises :class:`~halfmask.errors.ExtraMissingError` without ``halfmask[audit]``.

    >>> "<h1>" in render({"set": {"originals": "mine"}})
    True
    """
    try:
        from jinja2 import Environment, FileSystemLoader, StrictUndefined
    except ImportError as error:  # pragma: no cover - depends on the installation
        raise missing(["jinja2"], "the report") from error
    results = plain(results)
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,  # whatever the template's name
        undefined=StrictUndefined,
        finalize=_printable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    answers = findings(results)
    times = amplification(pictures)
    return environment.get_template("page.html").render(
        results={**dict.fromkeys(_SHOWN), **results},
        about={**dict.fromkeys(_SET_SHOWN), **(results.get("set") or {})},
        hide_identity=results.get("direction") == "deidentify",
        headline=headline(results, answers),
        findings=answers,
        grades=wording.GRADES,
        limits=limits(results),
        gaps={what: gap(results, what) for what in ("Gender", "Matching", "Attackers", "Age", "Race")},
        times=times,
        pictures=[
            {
                "file": picture.file,
                "same": bool((picture.before == picture.after).all()),
                "uris": [png_uri(p) for p in (picture.before, picture.after, difference(picture, times))],
            }
            for picture in pictures
        ],
        inverse=_strip(inverse),
        plots=_plots(results),
        tables=_tables(results),
        attack_words=wording.attack_kinds(results.get("attacks") or ()),
        files=_files(results.get("set") or {}),
        listed=LISTED,
        terms=wording.TERMS,
        thresholds=wording.thresholds(),
    )


def _printable(value: Any) -> Any:
    """Texts without control characters: one in a file name could turn what follows it from right to left.

    A number stays on one line with its "%". What is markup already, the template's own, is another type and stays.
    """
    return re.sub(r"(?<=\d) (?=%)", "\u00a0", shown(value)) if type(value) is str else value


def _strip(path: Path | None) -> dict[str, str] | None:
    """The strip of the learned inverse; a damaged one must not cost the reader the whole report."""
    if path is None:
        return None
    try:
        return {"uri": file_uri(path)}
    except DataError as error:
        return {"problem": str(error)}


def _tables(results: Mapping[str, Any]) -> dict[str, tables.Table | None]:
    makers: dict[str, Callable[[Any], tables.Table]] = {
        "gender": tables.gender,
        "matching": tables.matching,
        "recognition": tables.recognition,
        "attacks": tables.attacks,
        "age": tables.age,
        "race": tables.race,
        "looks": tables.looks,
        "groups": tables.groups,
    }
    named = tables.referees(results)
    filled = {name: make(results[name]) if results.get(name) else None for name, make in makers.items()}
    searched = [row for row in results.get("matching") or () if row.get("gallery")]
    filled["identification"] = tables.identification(searched) if searched else None
    return filled | {"referees": named if named.lines else None}


def _plots(results: Mapping[str, Any]) -> dict[str, list[plots.Plot]]:
    drawn: dict[str, list[plots.Plot]] = {k: [] for k in ("gender", "matching", "identification", "attacks", "groups")}
    curves = results.get("roc") or {}
    genders = by_name(results.get("gender"), "referee")
    for name, both in (curves.get("gender") or {}).items():
        rows = dict(zip(("before", "protected"), genders.get(name, (None, None)), strict=True))
        drawn["gender"].append(plots.gender_roc(name, both, {v: figure_of(r, "auc").value for v, r in rows.items()}))
    matchers = by_name(results.get("matching"), "matcher")
    for name, both in (curves.get("match") or {}).items():
        rows = dict(zip(("before", "protected"), matchers.get(name, (None, None)), strict=True))
        rates = {v: figure_of(r, tmr(0.01)).value for v, r in rows.items()}
        drawn["matching"].append(plots.match_roc(name, both, rates))
    drawn["identification"] = [plots.identification(name, both) for name, both in (curves.get("cmc") or {}).items()]
    attacks = [r for r in results.get("attacks") or () if figure_of(r, "balanced_accuracy").value is not None]
    if attacks:
        attacks.sort(key=is_detector)
        names = [": ".join(str(r[k]) for k in ("attack", "reader") if r.get(k)) for r in attacks]
        drawn["attacks"].append(plots.attack_dots(attacks, names))
    sets: dict[tuple[str, str], list[Mapping[str, Any]]] = {}
    for row in results.get("groups") or ():
        measure = str(row.get("measure"))
        # of one gender alone the share of right answers is what balanced accuracy is of both: one axis serves
        measure = "balanced_accuracy" if measure == "accuracy" else measure
        sets.setdefault((measure, str(row.get("referee") or "")), []).append(row)
    for (measure, referee), rows_of in sets.items():
        if any(figure_of(r, measure, "protected").value is not None for r in rows_of):
            drawn["groups"].append(plots.group_dots(measure, referee, rows_of))
    return drawn


def _files(about: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Files that are in no figure, or only as failures, by kind; those without any are left out."""
    kinds = (
        ("missing", "Originals without a protected picture (not measured after)"),
        ("extra", "Protected pictures without an original (left out)"),
        ("no_face_before", "Originals in which no face was found (left out)"),
        ("lost", "Faces lost by protection (counted as not matching)"),
        ("unreadable", "Files that could not be read"),
        ("same", "Protected files that are byte for byte the originals (not protected)"),
    )
    sections = []
    for key, title in kinds:
        items = [f"{i[0]}: {i[1]}" if isinstance(i, list) and len(i) > 1 else str(i) for i in about.get(key) or ()]
        if items:
            sections.append(
                {"title": title, "items": items[:LISTED], "more": max(0, len(items) - LISTED), "n": len(items)}
            )
    return sections
