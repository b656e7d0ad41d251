"""The audit: two folders, the photos before and after protection, and everything that can be said of them.

Pair up, ask the referees, let attackers learn, write the report. What could not be said stands in the results as well
as what could: every sentence of ``not_tested`` and ``notes`` is written where the gap arose.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ... import __version__
from ...datasets.pairs import Pair
from ...datasets.splits import most_people
from ...datasets.table import Table
from ...errors import DataError, MetricError, UsageError, shown
from ...storage import ensure_folder
from ..measuring.protocol import BEFORE, Measured, measure, read_rgb
from . import pairing, told
from .figures import PROTECTED, figures, remarks
from .request import Judges, Page, Sample

if TYPE_CHECKING:
    from ..attackers import Evidence
    from ..referees import Referees


class Results(dict[str, Any]):
    """What an audit found, the dictionary of ``results.json``, and where its report lies.

    The keys: ``set``, ``gender``, ``age``, ``race``, ``matching``, ``roc``, ``attacks``, ``looks``, ``groups``,
    ``pictures``, ``not_tested``, ``notes``, of direction "deidentify" alone ``recognition``, and ``format``,
    ``halfmask``, ``created``, ``command``, ``direction``, ``method``. Rates lie in [0, 1], ages are years, intervals
    (``_low``, ``_high``) are 95 % bootstrap by person. A figure that cannot be given is None, and its row's ``refused``
    says why.
    """

    report: Path

    @property
    def verdict(self) -> list[str]:
        """The answers in words, one line each, in the order in which a reader asks."""
        from .report.verdict import findings

        return [f"{f.question} {f.answer}. {f.sentence}" for f in findings(self)]


def audit(
    originals: str | Path | Table,
    protected: str | Path | Mapping[str, Path],
    *,
    out: str | Path,
    labels: str | Path | None = None,
    sample: Sample = Sample(),  # noqa: B008 - frozen
    judges: Judges = Judges(),  # noqa: B008
    page: Page = Page(),  # noqa: B008
    workers: int = 0,
    say: Callable[[str], None] = lambda line: None,
    quiet: bool = False,
) -> Results:
    """Measure photos before and after protection: gender, age and race, matching, looks, and what attackers learn.

    ``originals`` and ``protected`` are folders (or single photos) whose photos are paired by path without suffix. They
    may also be a table of :mod:`halfmask.datasets` and the protected file of each of its keys. A published layout
    brings its labels along, ``labels`` is a CSV (``file,gender,identity,age,race``) that beats them.

    ``sample`` says which photos are compared (:class:`~halfmask.Sample`), ``judges`` who measures and who attacks
    (:class:`~halfmask.Judges`), and ``page`` what the report tells of the photos (:class:`~halfmask.Page`).
    ``workers`` is the number of processes, 0 for one a core, ``say`` gets every warning as a line of text, ``quiet``
    shows no progress.

    The report is written into the folder ``out``: one HTML page, ``results.json`` and a CSV a table. The work lies in
    ``out/work``; a second call with the same photos goes on where the first stopped, and never writes elsewhere.

    Raises :class:`~halfmask.errors.UsageError` for folders that do not belong together, labels that are none, pairs of
    which none is left, or unknown names; :class:`~halfmask.errors.DataError` when no original shows a face or the disk
    is full; :class:`~halfmask.errors.ExtraMissingError` when ``halfmask[audit]`` is not installed, or ``[train]`` for
    attackers that train networks; :class:`~halfmask.errors.WeightsError` when a referee cannot be had.

    >>> import halfmask
    >>> halfmask.audit("holiday", "holiday-protected", out="report", judges=halfmask.Judges(attacks=()))
    Traceback (most recent call last):
    halfmask.errors.UsageError: there is no holiday (ORIGINALS); check the path
    """
    judges.check(page.aim)
    out = Path(out)
    sets = pairing.pair_up(originals, protected, affix=sample.affix)
    folder = None if isinstance(protected, Mapping) else Path(protected)
    places = [originals.root if isinstance(originals, Table) else Path(originals), folder]
    check_report(out, [place for place in places if place is not None])
    for what, names in (("have no protected photo", sets.missing), ("have no original", sets.extra)):
        if names:
            say(f"{len(names)} photos {what}: {pairing.some([shown(n) for n in names])}")
    notes, table = list(sets.notes), sets.table
    if labels is not None:
        table, more = told.read_labels(labels, table)
        notes += more
    pairs: list[Pair] | None = None
    if sample.pairs is not None:
        pairs, more = told.read_pair_list(sample.pairs, table)
        notes += more
    for line in notes:
        say(line)
    notes = [*page.notes, *notes]  # the caller knows its own
    table, pairs = _chosen(table, sets.protected, pairs, sample, notes)
    files = {row.key: sets.protected[row.key] for row in table if row.key in sets.protected}
    with room(out):
        home = ensure_folder(out / "work")
        referees = judges.own or _load(judges, table, workers, say, notes)
        measured = measure(table, {PROTECTED: files}, referees=referees, folder=home, workers=workers, quiet=quiet)
        results = Results(
            {
                "format": 1,
                "halfmask": __version__,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": page.command,
                "direction": page.aim,
                "method": dict(page.method) if page.method else None,
                "set": _set(table, files, sets, measured)
                | {
                    "originals": page.title or table.name,
                    "protected": PROTECTED if folder is None else folder.resolve().name,
                },
                "notes": notes,
                "not_tested": [],
            }
        )
        case = _Case(results, table, files, measured, home, sample.seed, workers, quiet)
        matched = figures(results, table, measured, referees, pairs, sample.seed)
        results["attacks"] = _attacks(case, referees, judges)
        if page.aim == "deidentify":
            results["recognition"] = _recognition(case, referees, matched) if judges.attacking else []
        remarks(results, table, referees, judges.attacks)
        return _report(case, out, page.pictures)


@dataclass(frozen=True)
class _Case:
    """What was measured so far, and where the work lies."""

    results: Results
    table: Table
    files: Mapping[str, Path]
    measured: Mapping[str, Measured]
    home: Path
    seed: int
    workers: int
    quiet: bool


def _attacks(case: _Case, referees: Referees, judges: Judges) -> list[dict[str, Any]]:
    """The rows of the attackers; what was not tried is said in ``not_tested``."""
    not_tested, direction = case.results["not_tested"], case.results["direction"]
    if not judges.attacking:
        what = "recognise" if direction == "deidentify" else "read"
        not_tested.append(
            f"Attackers that learn from protected photos were not tried: expect them to {what} more than "
            "unprepared software."
        )
        return []
    evidence = _evidence(case)
    if evidence is None:
        return []
    from .. import attackers

    rows = attackers.attack(
        evidence,
        referees,
        folder=case.home,
        budget=judges.budget or attackers.Budget(),
        only=judges.attacks_for(direction),
        outputs=judges.outputs,
        measured=case.measured,
        quiet=case.quiet,
    )
    if judges.outputs is None and direction == "protect":
        not_tested.append("Averaging several protected versions of one photo: only one version of each was there.")
    return rows


def _recognition(case: _Case, referees: Referees, pairs: list[Pair] | None) -> list[dict[str, Any]]:
    """The rows of the attackers that recognise; why there are none is said in ``not_tested``."""
    from ..attackers.recognising import recognise

    try:
        rows = recognise(case.measured, case.files, referees.matchers, pairs, folder=case.home, quiet=case.quiet)
    except MetricError as error:
        case.results["not_tested"].append(f"Attackers that recognise: {error}.")
        return []
    learned = max((row["n_train"] for row in rows), default=0)
    case.results["notes"].append(
        f"The attackers that recognise had {learned} protected photos of half of the people and their originals, and "
        f"were judged on {rows[0]['people'] if rows else 0} other people. Whoever has more photos or a larger network "
        "may recognise more."
    )
    return rows


def check_report(out: Path, folders: Sequence[Path]) -> None:
    """Raise :class:`~halfmask.errors.UsageError` when the report's folder is a file, or lies in one of ``folders``."""
    if out.exists() and not out.is_dir():
        raise UsageError(f"the report {shown(out)} is a file; expected a folder, or a name that is free")
    for folder in folders:
        if folder.is_dir() and out.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"the report {shown(out)} lies inside {shown(folder)}, so a second run would take its pictures for "
                "photos; choose a folder outside it"
            )


@contextmanager
def room(folder: Path) -> Iterator[None]:
    """A full disk, or a folder that cannot be written to, becomes a clear error."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EEXIST, errno.ENOTDIR):
            raise
        raise DataError(
            f"the report cannot be written to {shown(folder)}: {error.strerror or error}. What was measured is kept in "
            "its folder work: make room, or choose another folder, and run the same again"
        ) from error


# ------------------------------------------------------------------------------------------------ what to measure


def _chosen(
    table: Table,
    protected: Mapping[str, Path],
    pairs: list[Pair] | None,
    sample: Sample,
    notes: list[str],
) -> tuple[Table, list[Pair] | None]:
    """The photos to measure: those with a protected one, and the originals that pairs compare them with."""
    wanted = set(protected) | {key for pair in pairs or () for key in (pair.a, pair.b)}
    chosen = table.where(lambda row: row.key in wanted)
    if sample.most is not None and len(chosen) > sample.most:
        chosen = most_people(chosen, sample.most, sample.seed)
        notes.append(
            f"{len(chosen)} of {len(wanted)} photos were measured, of whole people drawn by lot (seed {sample.seed})."
        )
    if pairs is not None:
        keys = {row.key for row in chosen}
        drawn = [pair for pair in pairs if pair.a in keys and pair.b in keys]
        if not drawn:
            raise UsageError("none of the pairs is among the photos that were drawn; ask for more photos")
        if len(drawn) < len(pairs):
            notes.append(f"{len(pairs) - len(drawn)} of {len(pairs)} pairs are not among the photos that were drawn.")
        pairs = drawn
    return chosen, pairs


def _load(judges: Judges, table: Table, workers: int, say: Callable[[str], None], notes: list[str]) -> Referees:
    """The referees, without those that learned from this very data set; what is missing of them is fetched first."""
    from ...weights import store
    from ..referees import AGE, GENDER, MATCHERS, RACE, load

    known = {**MATCHERS, **GENDER, **AGE, **RACE}
    names = list(dict.fromkeys(known if judges.referees is None else judges.referees))  # type: ignore[arg-type]
    for name in [n for n in names if getattr(RACE.get(n), "trained_on", None) == table.name]:
        names.remove(name)
        notes.append(f"{name} learned from {table.name} and is no judge of it; it was left out.")
    for model in store.MODELS.values():
        if model.name == "yunet" or (judges.referees is None and model.role == "referee"):
            store.get(model.name, say=say)
    return load(threads=workers, only=names)


def _set(
    table: Table, files: Mapping[str, Path], sets: pairing.Sets, measured: Mapping[str, Measured]
) -> dict[str, Any]:
    """Who and what was measured, and what was not."""
    before, after = measured[BEFORE], measured[PROTECTED]
    rows = [row for row in table if row.key in files]
    broken = {key for key, _ in (*before.problems, *after.problems)}
    none = [k for k, on, asked in zip(before.keys, before.enrolled, after.attempted, strict=True) if asked and not on]
    lost = after.attempted & before.enrolled & ~after.enrolled
    return {
        "photos": len(rows),
        "people": len({row.identity if row.identity is not None else ("", row.key) for row in rows}),
        "identities_known": bool(rows) and all(row.identity is not None for row in rows),
        "labelled": sum(row.gender is not None for row in rows),
        "women": sum(row.gender == 0 for row in rows),
        "men": sum(row.gender == 1 for row in rows),
        "missing": sets.missing,
        "extra": sets.extra,
        "same": sets.same,
        "no_face_before": [key for key in none if key not in broken],
        "lost": [key for key, gone in zip(after.keys, lost, strict=True) if gone and key not in broken],
        "unreadable": [
            *([key, f"original: {why}"] for key, why in before.problems),
            *([key, f"protected: {why}"] for key, why in after.problems),
        ],
    }


def _evidence(case: _Case) -> Evidence | None:
    """What attackers get who know the method: labelled protected photos of half of the people; None says why not."""
    from ..attackers import Evidence

    results = case.results
    if not (results["set"]["women"] and results["set"]["men"]):
        return None  # nothing to tell apart, as the line about gender says
    try:
        evidence = Evidence.gather(
            case.table,
            case.files,
            folder=case.home,
            seed=case.seed,
            measured=case.measured,
            workers=case.workers,
            quiet=case.quiet,
        )
    except DataError as error:
        if isinstance(error.__cause__, OSError):  # the disk, not the photos
            raise
        results["not_tested"].append(f"Attackers that learn from protected photos: {error}")
        return None
    mine = evidence.train
    results["notes"].append(
        f"The attackers learned from {int(mine.sum())} photos of {len(np.unique(evidence.persons[mine]))} people and "
        f"were judged on {int((~mine).sum())} of {len(np.unique(evidence.persons[~mine]))} others. Whoever has more "
        "photos, a larger network or more time may read more."
    )
    return evidence


# ------------------------------------------------------------------------------------------------------ the report


def _report(case: _Case, out: Path, pictures: int) -> Results:
    from .report import write

    results = case.results
    keys = results["pictures"] = _shown(case.table, case.measured, pictures, case.seed)
    paths = {row.key: row.path for row in case.table}
    faces = _pictures(keys, paths, case.files, case.measured[BEFORE])
    strip = case.home / "inverse.png"
    inverse = strip if strip.is_file() and any(row["attack"] == "inverse" for row in results["attacks"]) else None
    results.report = write(results, out, faces, inverse=inverse)
    return results


def _shown(table: Table, measured: Mapping[str, Measured], count: int, seed: int) -> list[str]:
    """Photos to show, drawn by lot whatever came of them, women and men in turn where both are known."""
    both = measured[BEFORE].enrolled & measured[PROTECTED].enrolled

    def lot(key: str) -> bytes:
        return hashlib.sha256(f"{seed} {key}".encode("utf-8", "surrogateescape")).digest()

    groups: dict[int | None, list[str]] = {0: [], 1: [], None: []}
    for row, on in zip(table, both, strict=True):
        if on:
            groups[row.gender].append(row.key)
    drawn = [sorted(keys, key=lot) for keys in groups.values()]
    turns = [group[i] for i in range(max(map(len, drawn))) for group in drawn[:2] if i < len(group)]
    return (turns + drawn[2])[:count]


def _pictures(
    keys: Sequence[str], originals: Mapping[str, Path], protected: Mapping[str, Path], before: Measured
) -> list[Any]:
    """The faces of some photos, both cut where the original's face was."""
    from ...photos.align import CROP, crop_face, warp
    from .report import Picture

    place = {key: i for i, key in enumerate(before.keys)}
    pictures = []
    for key in keys:
        face = before.face(place[key])
        assert face is not None  # only enrolled photos are drawn
        crop, matrix = crop_face(read_rgb(originals[key]), face.points)
        after = np.asarray(warp(read_rgb(protected[key]), matrix, (CROP, CROP)), np.uint8)
        pictures.append(Picture(shown(key), crop, after))
    return pictures
