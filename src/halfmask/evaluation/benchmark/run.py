"""The tables of the papers, run on the data sets at hand, beside the papers' own numbers.

One YAML file a table (:mod:`halfmask.evaluation.benchmark.config`). Each method protects each set into a folder, the
way ``halfmask protect --labels`` does; the referees then compare the two folders. Everything is kept: a run that was
stopped goes on, a second run computes nothing, and two tables that share a set and a method share its photos and
measurements. A set that is not there, and a method whose weights are not, is left out and named in the table.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ... import __version__
from ...datasets import Table
from ...errors import DataError, HalfmaskError, MetricError, UsageError
from ...methods import METHODS, Method
from ...methods.key import keyed
from ...methods.prototypes import Prototypes
from ...methods.san import SanFamily
from ...photos.align import crop_face
from ...photos.detect import Face
from ...protecting import pipeline
from ...protecting.options import Options
from ...storage import ensure_folder, whole
from ..measuring import protocol, summary
from ..measuring.figure import Published, Row
from ..measuring.protocol import BEFORE, Measured
from ..referees import AGE, GENDER, MATCHERS, RACE, Referees, load
from . import cost, faces, figures, overview
from .config import Config, MethodConfig, fill, slug
from .crops import cropped, protect_crops
from .protect import protect_table
from .sets import OpenSet, about_set, open_set

#: kind → the referees that are asked unless the config names some. The first four are alike so that they share parts.
_ASKED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gender", "matching", "looks", "attackers"), (*GENDER, *MATCHERS)),
    "age": tuple(AGE),
    "race": tuple(RACE),
    **dict.fromkeys(("groups", "overview"), (*GENDER, *MATCHERS, *AGE, *RACE)),
}


#: Kinds of table that figures of curves belong to, and how many points a curve has in the results.
_HAS_CURVES, _POINTS = ("gender", "matching", "overview"), 150


@dataclass(frozen=True)
class Workplace:
    """Where a benchmark finds its data and leaves its work, and how it works.

    ``data`` holds the sets, ``peers`` is what ``${peers}`` stands for, ``out`` takes everything that is made. So many
    photos as ``workers`` are worked on at a time, 0 for one a core; ``quiet`` shows no progress.
    """

    data: Path
    out: Path
    peers: Path | None = None
    workers: int = 0
    quiet: bool = False


@dataclass(frozen=True)
class Remarks:
    """What a table says beside its figures: what was left out and why, and what has to be known to read it."""

    skipped: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def skip(self, what: str, reason: object, **more: Any) -> None:
        """Name something that is not in the table."""
        self.skipped.append({"what": what, "reason": str(reason), **more})


@dataclass(eq=False)
class Protected:
    """A method that could be loaded, and what it protected: set name → key → file, and the faces to be shown.

    ``prototypes`` are those that a SAN mixes in.
    """

    config: MethodConfig
    place: str
    fingerprint: str
    settings: dict[str, str]
    hides: frozenset[str]
    ms: float | None = None
    files: dict[str, dict[str, Path]] = field(default_factory=dict)
    shown: dict[str, Path] = field(default_factory=dict)
    prototypes: Prototypes | None = None


def run(
    config: Config,
    *,
    data: Path,
    out: Path,
    peers: Path | None = None,
    workers: int = 0,
    only: Sequence[str] = (),
    most: int | None = None,
    referees: Referees | None = None,
    quiet: bool = False,
) -> dict[str, Any]:
    """Protect, measure and give the table of one config as a dict that :func:`.tables.write` takes.

    ``data`` holds the sets, each in a folder of its layout's name; ``peers`` is what ``${peers}`` stands for. Protected
    photos and measurements are kept in ``out/work``. ``only`` takes the methods of these labels or names; ``most`` caps
    every set by whole people, for a quick look. ``workers`` 0 is one a core. ``referees`` replaces those that would be
    loaded.

    The dict: ``name``, ``title``, ``source``, ``kind``, ``output``, ``most``; ``sets``; ``methods``; ``rows``, those of
    :mod:`halfmask.evaluation.measuring.summary` or the attackers', each with its ``set``, or those of
    :mod:`halfmask.evaluation.benchmark.overview` with what they were made of in ``details``; ``curves`` of each set
    (:func:`~halfmask.evaluation.measuring.summary.roc_curves`); ``drawn``, the figures that were drawn on the way;
    ``published`` (source, measure, set, by, variant, value); ``skipped`` (what, reason, and ``failed`` where it was
    there but could not be measured); ``notes``; ``halfmask``, ``created`` and ``format``.

    Raises :class:`~halfmask.errors.UsageError` when ``only`` names no method of the config, and
    :class:`~halfmask.errors.DataError` when the disk is full. What is absent raises nothing: it is in ``skipped``.
    """
    chosen = [m for m in config.methods if not only or m.label in only or m.method in only]
    if not chosen:
        labels = ", ".join(m.label for m in config.methods)
        raise UsageError(f"{config.name} has no method called {', '.join(only)}; it has: {labels}")
    place = Workplace(data, out, peers, workers, quiet)
    remarks = Remarks(notes=list(config.notes))
    if most is not None:
        remarks.notes.append(f"A quick look: every set was cut to whole people of at most about {most} pictures.")
    sets = []
    for wanted in config.sets:
        try:
            opened = open_set(wanted, config.kind, data, peers, most)
            if config.output == "crop":
                opened, without = cropped(opened, out / "work" / "crops" / opened.place, quiet=quiet)
                if without:
                    remarks.notes.append(
                        f"{len(without)} pictures of {wanted.name} have no crop. {'; '.join(without[:3])}"
                    )
            sets.append(opened)
        except (HalfmaskError, OSError) as error:
            remarks.skip(f"set {wanted.name}", error)
    real = [m for m in chosen if not m.best_of]
    shown = _shown(config, data, remarks) if sets else None
    methods = _protect(config, real, sets, shown, place, remarks) if sets else []
    oracles = _oracles(chosen, methods, remarks) if sets else {}
    rows: list[Published] = []
    parts: dict[str, list[Published]] = {}
    curves: dict[str, summary.Curves] = {}
    if sets:
        judges = referees or load(threads=1, only=config.referees or _ASKED[config.kind])
        for s in sets:
            try:
                measured, curves[s.config.name] = _measure(config, s, methods, oracles, judges, place)
                rows += [{"set": s.config.name, **row} for row in measured.pop("rows")]
                for part, details in measured.items():
                    parts.setdefault(part, []).extend({"set": s.config.name, **row} for row in details)
            except (MetricError, DataError) as error:  # no faces, one gender only, no room: the other sets go on
                remarks.skip(f"set {s.config.name}", error, failed=True)
    if config.auxiliary:
        remarks.notes.append(
            "auxiliary is our own classifier. It trained SAN, so it is no referee: it says how training went."
        )
    return {
        "format": 1,
        "halfmask": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": config.name,
        "title": config.title,
        "source": config.source,
        "kind": config.kind,
        "output": config.output,
        "most": most,
        "sets": [about_set(s) for s in sets],
        "methods": [_about_method(m) for m in methods] + [{"label": k, "best_of": v} for k, v in oracles.items()],
        "rows": rows,
        **({"details": parts} if parts else {}),
        "curves": curves,
        "drawn": _draw(config, methods, shown, out),
        "published": [
            {"source": p.source, "measure": p.measure, "set": r["set"], "by": r["by"], "variant": name, "value": value}
            for p in config.published
            for r in p.rows
            for name, value in r.items()
            if name not in ("set", "by")
        ],
        "skipped": remarks.skipped,
        "notes": remarks.notes + [f"{p.source}: {p.note}" for p in config.published if p.note],
    }


def show(config: Config, *, data: Path, out: Path, peers: Path | None = None) -> list[Path]:
    """Draw of one config only what needs no set: its faces and its prototypes, by the methods of its curves.

    Photos are kept in ``out/work``, figures in ``out``. Raises :class:`~halfmask.errors.DataError` when FairFace or one
    of the photos is not there; a method that cannot be loaded is left out.
    """
    place, remarks = Workplace(data, out, peers, quiet=True), Remarks()
    table = faces.chosen(config.faces, data) if config.faces else None
    wanted = [m for m in config.methods if not m.best_of and config.in_curves(m.label)]
    return [out / name for name in _draw(config, _protect(config, wanted, [], table, place, remarks), table, out)]


def _shown(config: Config, data: Path, remarks: Remarks) -> Table | None:
    """The faces to show, as far as they are there."""
    try:
        return faces.chosen(config.faces, data) if config.faces else None
    except HalfmaskError as error:
        remarks.skip("faces to show", error)
        return None


def _draw(config: Config, methods: Sequence[Protected], shown: Table | None, out: Path) -> list[str]:
    """The figures that need the photos or the networks themselves, drawn into ``out``; their names."""
    made = []
    if shown is not None and methods:
        files = {m.config.label: m.shown for m in methods if m.shown}
        made.append(faces.strip(shown, files, out / f"{config.name}-faces.jpg"))
    given = [m.prototypes for m in methods if m.prototypes is not None]
    if given:
        best = max(given, key=lambda p: len(p.by_group))  # those of groups have everybody's, too
        groups = best.by_group[1:] if len(best.by_group) > 1 else None
        made.append(figures.prototypes(out / f"{config.name}-prototypes.jpg", best.means, best.neutral, groups))
    return [path.name for path in made]


def _protect(
    config: Config,
    chosen: Sequence[MethodConfig],
    sets: Sequence[OpenSet],
    shown: Table | None,
    place: Workplace,
    remarks: Remarks,
) -> list[Protected]:
    """Every method over every set, and over the faces to be shown, one method in memory at a time."""
    methods = []
    work = place.out / "work"
    for method in chosen:
        try:
            settings = {name: fill(value, place.data, place.peers) for name, value in method.settings.items()}
            options = method.options(settings)
            engine = pipeline.load(options, workers=place.workers or pipeline.cores(), photos=max(2, len(sets)))
        except (HalfmaskError, OSError) as error:
            remarks.skip(f"method {method.label}", error)
            continue
        loaded = engine.networks.method
        how = _how(method, options, settings, loaded.fingerprint)
        how |= {} if config.output == "photo" else {"output": config.output}
        level = method.strength if method.strength is not None else how["prototype"]
        folder = slug(method.method if level is None else f"{method.method}-{level}", json.dumps(how, sort_keys=True))
        entry = Protected(method, folder, loaded.fingerprint, settings, options.hidden)
        if config.kind == "overview" and sets:
            entry.ms = _cost(loaded, sets, work / folder / "cost.json")
        for s in sets:
            keys = s.keys if config.kind != "overview" or method.attack else s.keys - s.train
            home = work / folder / s.place
            desc = f"protecting {s.config.name}, {method.label}"
            ways: dict[str, Any] = {"workers": place.workers, "desc": desc, "quiet": place.quiet}
            if config.output == "crop":
                files, left_out = protect_crops(s.table, keys, loaded, home, **ways)
            else:
                files, left_out = protect_table(s.table, keys, engine, home, **ways)
            entry.files[s.config.name] = files
            if left_out:
                some = "; ".join(f"{key}: {reason}" for key, reason in left_out[:3])
                remarks.notes.append(
                    f"{method.label} left out {len(left_out)} of {len(files)} pictures of {s.config.name}. {some}"
                )
        if isinstance(loaded, SanFamily):
            entry.prototypes = loaded.prototypes
        if shown is not None and config.in_curves(method.label):
            keys = {row.key for row in shown}
            entry.shown, _ = protect_table(shown, keys, engine, work / folder / "faces", quiet=True)
        with whole(work / folder / "method.json") as fresh:
            fresh.write_text(json.dumps(how, indent=1) + "\n", "utf-8")
        methods.append(entry)
    return methods


def _how(method: MethodConfig, options: Options, settings: Mapping[str, str], fingerprint: str) -> dict[str, Any]:
    """All that a method's output depends on beside the photo.

    Its digest is the folder's name. So that photos of earlier runs are found again, ``hide`` stands in it only where a
    method has a choice.
    """
    how: dict[str, Any] = {"method": method.method, "prototype": options.asked.get("prototype")}
    told = METHODS[method.method].told(settings)
    how |= {"strength": method.strength, "settings": told, "fingerprint": fingerprint}
    if told != dict(settings):
        how["secrets"] = keyed(json.dumps(dict(settings), sort_keys=True))  # the folder's name tells nothing of them
    how |= {"halfmask": __version__}
    return how | ({"hide": options.asked["hide"]} if "hide" in options.asked else {})


def _cost(loaded: Method, sets: Sequence[OpenSet], record: Path) -> float | None:
    """Milliseconds a face, timed on pictures of the first set that has some; timed once, since it is a little noisy."""
    if not record.is_file():
        crops, genders = cost.some_crops(row for s in sets for row in s.table if row.key in s.keys)
        timed = {"ms": cost.ms_a_face(loaded, crops, genders), "faces": len(crops)}
        with whole(ensure_folder(record.parent) / record.name) as fresh:
            fresh.write_text(json.dumps(timed) + "\n", "utf-8")
    ms: float | None = json.loads(record.read_text("utf-8"))["ms"]
    return ms


def _oracles(chosen: Sequence[MethodConfig], methods: Sequence[Protected], remarks: Remarks) -> dict[str, list[str]]:
    """Label → members of every oracle whose members are all there."""
    here = {m.config.label for m in methods}
    oracles = {}
    for method in chosen:
        if absent := [label for label in method.best_of if label not in here]:
            reason = f"it is the best of others, of which {', '.join(absent)} was not run"
            remarks.skip(f"method {method.label}", reason)
        elif method.best_of:
            oracles[method.label] = list(method.best_of)
            remarks.notes.append(
                f"{method.label} knows the answer: for each picture it takes the one of {', '.join(method.best_of)} "
                "that the referee in question gets most wrong; matching, looks and the rest are of the choice against "
                "the first referee. An upper bound, no method."
            )
    return oracles


def _measure(
    config: Config,
    s: OpenSet,
    methods: Sequence[Protected],
    oracles: Mapping[str, Sequence[str]],
    judges: Referees,
    place: Workplace,
) -> tuple[dict[str, Sequence[Mapping[str, Any]]], summary.Curves]:
    """The ``rows`` of one set, and beside an overview's what they were made of; and its curves."""
    home = place.out / "work" / "measured" / s.place
    if config.kind == "attackers":
        return {"rows": _attack(config, s, methods, judges, home, place)}, {}
    # without those that attackers learn on, so that two tables of the same pictures measure once
    table = s.judged
    # under the folders' names, by which other tables find the parts, whatever they call the method
    variants = {m.place: {k: f for k, f in m.files[s.config.name].items() if k not in s.train} for m in methods}
    how: dict[str, Any] = {"folder": home, "gray": config.gray, "quiet": place.quiet}
    measured = protocol.measure(table, variants, referees=judges, workers=place.workers, **how)
    if config.auxiliary:
        ours = Referees(genders={Auxiliary.name: Auxiliary(1)})
        also = protocol.measure(table, variants, referees=ours, workers=1, **how)
        measured = {name: _joined(m, also[name]) for name, m in measured.items()}
    named = {BEFORE: measured[BEFORE]} | {m.config.label: measured[m.place] for m in methods}
    named = _same_pictures(named, s.keys)
    curves = _curves(config, named, judges, s)
    if config.kind != "overview":
        return {"rows": _rows(config, s, named, judges)}, curves
    details = overview.details(named, table, judges, s.pairs, config.fmrs, oracles)
    attacked = _attack(config, s, methods, judges, home, place, named) if s.train else []
    about: dict[str, dict[str, Any]] = {
        m.config.label: {"hides": ",".join(sorted(m.hides)), "ms": m.ms} for m in methods
    } | {label: {"hides": "gender", "oracle": True} for label in oracles}  # it knows of no other
    ordered = {m.label: about[m.label] for m in config.methods if m.label in about}
    told = {"attackers": attacked} if s.train else {}
    return {"rows": overview.overview_rows(details, ordered, attacked), **details, **told}, curves


def _curves(config: Config, measured: Mapping[str, Measured], judges: Referees, s: OpenSet) -> summary.Curves:
    """The curves that this kind of table has, of the variants that stand in its figures."""
    if config.kind not in _HAS_CURVES:
        return {}
    wanted = {name: m for name, m in measured.items() if name == BEFORE or config.in_curves(name)}
    found = summary.roc_curves(
        wanted, judges.matchers if config.kind != "gender" else {}, s.pairs, most=_POINTS, digits=6
    )
    return {kind: of for kind, of in found.items() if of and (kind != "gender" or config.kind != "matching")}


def _same_pictures(measured: Mapping[str, Measured], keys: set[str]) -> dict[str, Measured]:
    """Before is judged on the pictures that were protected, and no others, so that the rows compare."""
    asked = np.array([key in keys for key in measured[BEFORE].keys], bool)
    return {name: replace(m, variant=name, attempted=m.attempted & asked) for name, m in measured.items()}


def _joined(one: Measured, other: Measured) -> Measured:
    added = {k: v for k, v in other.columns.items() if k not in one.columns}
    return replace(one, columns=one.columns | added, enrolled=one.enrolled & other.enrolled)


def _rows(config: Config, s: OpenSet, measured: Mapping[str, Measured], judges: Referees) -> list[Row]:
    if config.kind == "gender":
        return summary.gender_rows(measured)
    if config.kind == "matching":
        return summary.match_rows(measured, judges.matchers, s.pairs, tuple(config.fmrs))
    if config.kind == "looks":
        return summary.looks_rows(measured)
    if config.kind == "age":
        return summary.age_rows(measured, s.table)
    if config.kind == "race":
        return summary.race_rows(measured, s.table, judges.races)
    return summary.group_rows(measured, s.table, judges.matchers, s.pairs)


def _attack(
    config: Config,
    s: OpenSet,
    methods: Sequence[Protected],
    judges: Referees,
    home: Path,
    place: Workplace,
    measured: Mapping[str, Measured] | None = None,
) -> list[Published]:
    from ..attackers import Budget, Evidence, attack

    budget = Budget(**config.budget)
    rows: list[Published] = []
    for m in methods:
        if not m.config.attack:
            continue
        folder = home / f"attackers-{m.place}"
        files = m.files[s.config.name]
        how: dict[str, Any] = {"workers": place.workers, "quiet": place.quiet}
        evidence = Evidence.gather(s.table, files, folder=folder, train=lambda row: row.key in s.train, **how)
        known = None
        if measured is not None:  # so that the people who are judged are not asked again; of others, no more is probed
            both = {name: measured[name] for name in (BEFORE, m.config.label)}
            known = {name: _without(side, budget.matchers) for name, side in both.items()}
        attacked = attack(
            evidence, judges, folder=folder, budget=budget, only=config.attacks, measured=known, quiet=place.quiet
        )
        rows += [{"variant": m.config.label, **row} for row in attacked]
    return rows


def _without(m: Measured, matchers: Sequence[str]) -> Measured:
    """The same without the descriptors of other matchers than these."""
    dropped = {f"embed/{name}" for name in m.answers("embed") if name not in matchers}
    return replace(m, columns={c: values for c, values in m.columns.items() if c not in dropped})


def _about_method(m: Protected) -> dict[str, Any]:
    return {
        "label": m.config.label,
        "method": m.config.method,
        "hide": ",".join(sorted(m.hides)),
        "prototype": m.config.options(m.config.settings).prototype,
        "strength": m.config.strength,
        "settings": METHODS[m.config.method].told(m.config.settings),
        "fingerprint": m.fingerprint,
        "ms": m.ms,
        "folder": f"work/{m.place}",
    }


class Auxiliary:
    """Our own gender classifier, asked like a referee. It trained SAN, so it is none, and the tables say so."""

    name = "auxiliary"

    def __init__(self, threads: int = 1) -> None:
        from ...methods.labels import GenderEstimate

        self._net = GenderEstimate(threads)

    def p_male(self, images: Sequence[NDArray[np.uint8]], faces: Sequence[Face]) -> NDArray[np.float32]:
        """The probability of male, float32 (N,), of each photo's face."""
        crops = np.stack([crop_face(image, face.points)[0] for image, face in zip(images, faces, strict=True)])
        floats = crops.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        parts = [self._net.p_male(floats[i : i + 16]) for i in range(0, len(floats), 16)]
        return np.concatenate(parts).astype(np.float32)
