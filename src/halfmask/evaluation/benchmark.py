"""The tables of the papers, run on the data sets at hand, beside the papers' own numbers.

One YAML file a table (:mod:`halfmask.evaluation.benchmark_config`). Each method protects each set into a folder, the
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

from .. import __version__
from ..datasets import Pair, Table, lfw_pairs, most_people, read, subject_disjoint
from ..errors import DataError, HalfmaskError, MetricError, UsageError
from ..photos.align import crop_face
from ..photos.detect import Face
from ..protecting import pipeline
from . import protocol, tables
from .benchmark_config import Config, MethodConfig, SetConfig, fill, slug
from .benchmark_protect import protect_table
from .kept import whole
from .protocol import BEFORE, Measured
from .referees import AGE, GENDER, MATCHERS, RACE, Referees, load
from .tables import Row

#: kind → the referees that are asked unless the config names some. The first four are alike so that they share parts.
_ASKED: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("gender", "matching", "looks", "attackers"), (*GENDER, *MATCHERS)),
    "age": tuple(AGE),
    "race": tuple(RACE),
    "groups": (*GENDER, *MATCHERS, *AGE, *RACE),
}


@dataclass(eq=False)
class _Set:
    """A data set that is here: what is judged, what is protected, and on whom attackers learn."""

    config: SetConfig
    table: Table
    keys: set[str]
    pairs: list[Pair] | None
    train: set[str]
    place: str
    root: Path


@dataclass(eq=False)
class _Made:
    """A method that could be loaded, and what it protected: set name → key → file."""

    config: MethodConfig
    place: str
    fingerprint: str
    settings: dict[str, str]
    files: dict[str, dict[str, Path]] = field(default_factory=dict)


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
    """Protect, measure and give the table of one config as a dict that :func:`.benchmark_tables.write` takes.

    ``data`` holds the sets, each in a folder of its layout's name; ``peers`` is what ``${peers}`` stands for. Protected
    photos and measurements are kept in ``out/work``. ``only`` takes the methods of these labels or names; ``most`` caps
    every set by whole people, for a quick look. ``workers`` 0 is one a core. ``referees`` replaces those that would be
    loaded.

    The dict: ``name``, ``title``, ``source``, ``kind``; ``sets``; ``methods``; ``rows``, those of
    :mod:`halfmask.evaluation.tables` or the attackers', each with its ``set``; ``published`` (source, measure, set, by,
    variant, value); ``skipped`` (what, reason, and ``failed`` where it was there but could not be measured); ``notes``;
    ``halfmask``, ``created`` and ``format``.

    Raises :class:`~halfmask.errors.UsageError` when ``only`` names no method of the config, and
    :class:`~halfmask.errors.DataError` when the disk is full. What is absent raises nothing: it is in ``skipped``.
    """
    chosen = [m for m in config.methods if not only or m.label in only or m.method in only]
    if not chosen:
        labels = ", ".join(m.label for m in config.methods)
        raise UsageError(f"{config.name} has no method called {', '.join(only)}; it has: {labels}")
    skipped: list[dict[str, Any]] = []
    notes = list(config.notes)
    if most is not None:
        notes.append(f"A quick look: every set was cut to whole people of at most about {most} pictures.")
    sets = []
    for wanted in config.sets:
        try:
            sets.append(_open(wanted, config.kind, data, peers, most))
        except (HalfmaskError, OSError) as error:
            skipped.append({"what": f"set {wanted.name}", "reason": str(error)})
    made = _protect(chosen, sets, data, peers, out, workers, skipped, notes, quiet) if sets else []
    rows: list[Row] = []
    if sets:
        judges = referees or load(threads=1, only=config.referees or _ASKED[config.kind])
        for s in sets:
            try:
                rows += _measure(config, s, made, judges, out, workers, quiet)
            except (MetricError, DataError) as error:  # no faces, one gender only, no room: the other sets go on
                skipped.append({"what": f"set {s.config.name}", "reason": str(error), "failed": True})
    if config.auxiliary:
        notes.append("auxiliary is our own classifier. It trained SAN, so it is no referee: it says how training went.")
    return {
        "format": 1,
        "halfmask": __version__,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "name": config.name,
        "title": config.title,
        "source": config.source,
        "kind": config.kind,
        "sets": [_about_set(s) for s in sets],
        "methods": [_about_method(m) for m in made],
        "rows": rows,
        "published": [
            {"source": p.source, "measure": p.measure, "set": r["set"], "by": r["by"], "variant": name, "value": value}
            for p in config.published
            for r in p.rows
            for name, value in r.items()
            if name not in ("set", "by")
        ],
        "skipped": skipped,
        "notes": notes + [f"{p.source}: {p.note}" for p in config.published if p.note],
    }


def _open(wanted: SetConfig, kind: str, data: Path, peers: Path | None, most: int | None) -> _Set:
    """Read a set. Raises :class:`~halfmask.errors.HalfmaskError` when it is not there or lacks what is asked of it."""
    root = Path(fill(wanted.root or f"${{data}}/{wanted.layout}", data, peers))
    if not root.is_dir():
        raise DataError(f"there is no folder {wanted.root or wanted.layout} in the data folder")
    whole = read(wanted.layout, root)
    judged = whole.where(lambda row: row.split == wanted.split) if wanted.split else whole
    train = Table(whole.name, whole.root)
    if kind == "attackers":
        if wanted.attack_train == "half":
            halves = subject_disjoint(judged.where(lambda r: r.gender is not None), {"train": 0.5, "test": 0.5})
            judged, train = halves.split("test"), halves.split("train")
        else:
            judged = judged.where(lambda r: r.gender is not None)
            train = whole.where(lambda r: r.split == wanted.attack_train and r.gender is not None)
        if train_most := min((n for n in (wanted.attack_most, most) if n is not None), default=None):
            train = most_people(train, train_most)
        if not len(train):
            raise DataError(f"it has no labelled picture for attack_train: {wanted.attack_train}")
    if judged_most := min((n for n in (wanted.most, most) if n is not None), default=None):
        judged = most_people(judged, judged_most)
    if not len(judged):
        raise DataError(f"it has no picture of the split {wanted.split}" if wanted.split else "it has no picture")
    pairs: list[Pair] | None = None
    if wanted.pairs == "lfw" and judged_most is None:  # of whole people few listed pairs are left, and all are pairs
        pairs = lfw_pairs(root)
    keys = {row.key for row in judged}
    if wanted.probes == "pairs" and pairs is not None:
        keys = {p.b for p in pairs if p.same}
    trained = {row.key for row in train}
    table = replace(judged, rows=[*judged.rows, *train.rows])
    return _Set(wanted, table, keys | trained, pairs, trained, slug(wanted.layout, str(root.resolve())), root)


def _protect(
    chosen: Sequence[MethodConfig],
    sets: Sequence[_Set],
    data: Path,
    peers: Path | None,
    out: Path,
    workers: int,
    skipped: list[dict[str, Any]],
    notes: list[str],
    quiet: bool,
) -> list[_Made]:
    """Every method over every set, one method in memory at a time."""
    made = []
    for method in chosen:
        try:
            settings = {name: fill(value, data, peers) for name, value in method.settings.items()}
            options = method.options(settings)
            stages = pipeline.load(options, workers=workers or pipeline.cores(), photos=max(2, len(sets)))
        except (HalfmaskError, OSError) as error:
            skipped.append({"what": f"method {method.label}", "reason": str(error)})
            continue
        loaded = stages.networks.method
        fingerprint = str(getattr(loaded, "fingerprint", ""))
        how: dict[str, Any] = {"method": method.method, "prototype": method.prototype if loaded.prototypes else None}
        how |= {"strength": method.strength, "settings": settings, "fingerprint": fingerprint, "halfmask": __version__}
        level = method.strength if method.strength is not None else how["prototype"]
        place = slug(method.method if level is None else f"{method.method}-{level}", json.dumps(how, sort_keys=True))
        entry = _Made(method, place, fingerprint, settings)
        for s in sets:
            home = out / "work" / place / s.place
            desc = f"protecting {s.config.name}, {method.label}"
            files, left_out = protect_table(s.table, s.keys, stages, home, workers=workers, desc=desc, quiet=quiet)
            entry.files[s.config.name] = files
            if left_out:
                some = "; ".join(f"{key}: {reason}" for key, reason in left_out[:3])
                notes.append(
                    f"{method.label} left out {len(left_out)} of {len(files)} pictures of {s.config.name}. {some}"
                )
        with whole(out / "work" / place / "method.json") as fresh:
            fresh.write_text(json.dumps(how, indent=1) + "\n", "utf-8")
        made.append(entry)
    return made


def _measure(
    config: Config, s: _Set, made: Sequence[_Made], judges: Referees, out: Path, workers: int, quiet: bool
) -> list[Row]:
    """The rows of one set."""
    home = out / "work" / "measured" / s.place
    if config.kind == "attackers":
        rows = _attack(config, s, made, judges, home, workers, quiet)
    else:
        # under the folders' names, by which other tables find the parts, whatever they call the method
        variants = {m.place: m.files[s.config.name] for m in made}
        measured = protocol.measure(
            s.table, variants, referees=judges, folder=home, gray=config.gray, workers=workers, quiet=quiet
        )
        if config.auxiliary:
            ours = Referees(genders={Auxiliary.name: Auxiliary(1)})
            also = protocol.measure(
                s.table, variants, referees=ours, folder=home, gray=config.gray, workers=1, quiet=quiet
            )
            measured = {name: _joined(m, also[name]) for name, m in measured.items()}
        named = {BEFORE: measured[BEFORE]} | {m.config.label: measured[m.place] for m in made}
        rows = _rows(config, s, _same_pictures(named, s.keys), judges)
    return [{"set": s.config.name, **row} for row in rows]


def _same_pictures(measured: Mapping[str, Measured], keys: set[str]) -> dict[str, Measured]:
    """Before is judged on the pictures that were protected, and no others, so that the rows compare."""
    asked = np.array([key in keys for key in measured[BEFORE].keys], bool)
    return {name: replace(m, variant=name, attempted=m.attempted & asked) for name, m in measured.items()}


def _joined(one: Measured, other: Measured) -> Measured:
    added = {k: v for k, v in other.columns.items() if k not in one.columns}
    return replace(one, columns=one.columns | added, enrolled=one.enrolled & other.enrolled)


def _rows(config: Config, s: _Set, measured: Mapping[str, Measured], judges: Referees) -> list[Row]:
    if config.kind == "gender":
        return tables.gender_rows(measured)
    if config.kind == "matching":
        return tables.match_rows(measured, judges.matchers, s.pairs, tuple(config.fmrs))
    if config.kind == "looks":
        return tables.looks_rows(measured)
    if config.kind == "age":
        return tables.age_rows(measured, s.table)
    if config.kind == "race":
        return tables.race_rows(measured, s.table, judges.races)
    return tables.group_rows(measured, s.table, judges.matchers, s.pairs)


def _attack(
    config: Config, s: _Set, made: Sequence[_Made], judges: Referees, home: Path, workers: int, quiet: bool
) -> list[Row]:
    from .attackers import Budget, Evidence, attack

    rows: list[Row] = []
    for m in made:
        folder = home / f"attackers-{m.place}"
        files = m.files[s.config.name]
        evidence = Evidence.gather(
            s.table, files, folder=folder, train=lambda row: row.key in s.train, workers=workers, quiet=quiet
        )
        found = attack(evidence, judges, folder=folder, budget=Budget(**config.budget), quiet=quiet)
        rows += [{"variant": m.config.label, **row} for row in found]
    return rows


def _about_set(s: _Set) -> dict[str, Any]:
    judged = [row for row in s.table if row.key not in s.train]
    return {
        "name": s.config.name,
        "layout": s.config.layout,
        "split": s.config.split,
        "photos": len(judged),
        "people": len({row.identity or row.key for row in judged}),
        "women": sum(row.gender == 0 for row in judged),
        "men": sum(row.gender == 1 for row in judged),
        "protected": len(s.keys - s.train),
        "attackers_learn_on": len(s.train) or None,
        "pairs": "all" if s.pairs is None else "lfw",
    }


def _about_method(m: _Made) -> dict[str, Any]:
    return {
        "label": m.config.label,
        "method": m.config.method,
        "prototype": m.config.prototype,
        "strength": m.config.strength,
        "settings": dict(m.config.settings),
        "fingerprint": m.fingerprint,
        "folder": f"work/{m.place}",
    }


class Auxiliary:
    """Our own gender classifier, asked like a referee. It trained SAN, so it is none, and the tables say so."""

    name = "auxiliary"

    def __init__(self, threads: int = 1) -> None:
        from ..methods.labels import GenderEstimate

        self._net = GenderEstimate(threads)

    def p_male(self, images: Sequence[NDArray[np.uint8]], faces: Sequence[Face]) -> NDArray[np.float32]:
        """The probability of male, float32 (N,), of each photo's face."""
        crops = np.stack([crop_face(image, face.points)[0] for image, face in zip(images, faces, strict=True)])
        floats = crops.transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        parts = [self._net.p_male(floats[i : i + 16]) for i in range(0, len(floats), 16)]
        return np.concatenate(parts).astype(np.float32)
