"""The audit: two folders, the photos before and after protection, and everything that can be said of them.

Pair up, ask the referees, let attackers learn, write the report. What could not be said stands in the results as well
as what could: every sentence of ``not_tested`` and ``notes`` is written where the gap arose.
"""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
from ...errors import DataError, UsageError, require, shown
from ...storage import ensure_folder
from ..measuring.protocol import BEFORE, Measured, measure, read_rgb
from . import pairing
from .figures import PROTECTED, attacks_for, figures, remarks
from .figures import direction_of as direction_of  # which the command line asks, too

if TYPE_CHECKING:
    from ..attackers import Budget, Evidence
    from ..referees import Referees

_NEEDS = ("sklearn", "skimage", "jinja2", "matplotlib")
_REFEREES_NEED = ("dlib", "onnx")


class Results(dict[str, Any]):
    """What an audit found, the dictionary of ``results.json``, and where its report lies.

    The keys: ``set``, ``gender``, ``age``, ``race``, ``matching``, ``roc``, ``attacks``, ``looks``, ``groups``,
    ``pictures``, ``not_tested``, ``notes``, and ``format``, ``halfmask``, ``created``, ``command``, ``direction``,
    ``method``. Rates lie in [0, 1], ages are years, intervals (``_low``, ``_high``) are 95 % bootstrap by person. A
    figure that cannot be given is None, and its row's ``refused`` says why.
    """

    report: Path

    @property
    def verdict(self) -> list[str]:
        """The answers in words, one line each, in the order in which a reader asks."""
        from .report.verdict import findings

        return [f"{f.question} {f.answer}. {f.sentence}" for f in findings(self)]


@dataclass(frozen=True)
class Sample:
    """Which photos are measured, and what is known of them; see :func:`audit` for each."""

    labels: str | Path | None = None
    pairs: str | Path | None = None
    most: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Judging:
    """Who judges, who attacks, and what these may spend; see :func:`audit` for each."""

    referees: Referees | Sequence[str] | None = None
    attackers: bool = True
    attacks: Sequence[str] | None = None
    budget: Budget | None = None
    outputs: Callable[[Sequence[Path]], Iterable[Sequence[Path]]] | None = None

    def check(self, direction: str) -> None:
        """Raise when a package is absent or a name is unknown, before minutes of work are lost."""
        check_installed(own_referees=_own(self.referees) is not None, attackers=self.attackers)
        check_names(self.referees, self.attacks if self.attackers else (), direction)


@dataclass(frozen=True)
class Page:
    """What the report says of how the photos came about, and what it shows; see :func:`audit` for each."""

    out: Path
    method: Mapping[str, Any] | None = None
    direction: str = "protect"
    title: str | None = None
    notes: Sequence[str] = ()
    command: str = ""
    pictures: int = 6


@dataclass(frozen=True)
class Work:
    """How it is worked: processes (0 for one a core), who is told of warnings, and whether progress is shown."""

    workers: int = 0
    say: Callable[[str], None] = lambda line: None
    quiet: bool = False


def audit(
    originals: str | Path | Table,
    protected: str | Path | Mapping[str, Path],
    *,
    out: str | Path,
    affix: str | None = None,
    labels: str | Path | None = None,
    pairs: str | Path | None = None,
    referees: Referees | Sequence[str] | None = None,
    attackers: bool = True,
    attacks: Sequence[str] | None = None,
    budget: Budget | None = None,
    outputs: Callable[[Sequence[Path]], Iterable[Sequence[Path]]] | None = None,
    method: Mapping[str, Any] | None = None,
    direction: str | None = None,
    most: int | None = None,
    seed: int = 0,
    workers: int = 0,
    pictures: int = 6,
    title: str | None = None,
    notes: Sequence[str] = (),
    command: str = "",
    say: Callable[[str], None] = lambda line: None,
    quiet: bool = False,
) -> Results:
    """Measure photos before and after protection: gender, age and race, matching, looks, and what attackers learn.

    ``originals`` and ``protected`` are folders (or single photos) whose photos are paired by path without suffix, and
    without the ``affix`` that a tool put before or after it (None looks for one where it is needed; then both may be
    the same folder). They may also be a table of :mod:`halfmask.datasets` and the protected file of each of its keys. A
    published layout brings its labels along, ``labels`` is a CSV (``file,gender,identity,age,race``) that beats them.
    ``pairs`` is a CSV (``a,b,same``) of the photos to match; without it every two photos of known people are, and where
    nobody is known
    every photo meets its own protected one.

    ``referees`` restricts who judges, by name, or brings judges of one's own. ``attacks`` restricts the attackers by
    name, ``budget`` what they may spend, and ``outputs`` makes further protected versions of photos
    (see :func:`~halfmask.evaluation.attackers.attack`).
    ``most`` takes whole people until there are so many photos, by a shuffle that ``seed`` fixes. ``workers`` is the
    number of processes, 0 for one a core. ``pictures`` are shown in the report, which
    calls the originals ``title``, or else by their folder's name. ``method`` is what protected them, as
    far as it is known. ``direction`` is what that is for: "protect" hides attributes, "deidentify" hides who it is and
    keeps the attributes; None goes by the method. ``say`` gets every warning as a line of text.

    The report is written into the folder ``out``: one HTML page, ``results.json`` and a CSV a table. The work lies in
    ``out/work``; a second call with the same photos goes on where the first stopped, and never writes elsewhere.

    Raises :class:`~halfmask.errors.UsageError` for folders that do not belong together, labels that are none, pairs of
    which none is left, or unknown names; :class:`~halfmask.errors.DataError` when no original shows a face or the disk
    is full; :class:`~halfmask.errors.ExtraMissingError` when ``halfmask[train]`` is not installed;
    :class:`~halfmask.errors.WeightsError` when a referee cannot be had.

    >>> import halfmask
    >>> halfmask.audit("holiday", "holiday-protected", out="report")
    Traceback (most recent call last):
    halfmask.errors.UsageError: there is no holiday (ORIGINALS); check the path
    """
    direction = direction_of(direction, method)
    judging = Judging(referees, attackers, attacks, budget, outputs)
    judging.check(direction)
    page = Page(Path(out), method, direction, title, notes, command, pictures)
    return _run(
        pairing.pair_up(originals, protected, affix=affix),
        [originals.root if isinstance(originals, Table) else Path(originals)],
        None if isinstance(protected, Mapping) else Path(protected),
        Sample(labels, pairs, most, seed),
        judging,
        page,
        Work(workers, say, quiet),
    )


@dataclass(frozen=True)
class _Case:
    """What was measured so far, and where the work lies."""

    results: Results
    table: Table
    files: Mapping[str, Path]
    measured: Mapping[str, Measured]
    home: Path
    seed: int


def _run(
    sets: pairing.Sets,
    places: Sequence[Path],
    folder: Path | None,
    sample: Sample,
    judging: Judging,
    page: Page,
    work: Work,
) -> Results:
    """Measure the photos and write the report; ``places`` and ``folder`` are where originals and protected ones lie."""
    check_report(page.out, [*places, *([] if folder is None else [folder])])
    for what, names in (("have no protected photo", sets.missing), ("have no original", sets.extra)):
        if names:
            work.say(f"{len(names)} photos {what}: {pairing.some([shown(n) for n in names])}")
    notes, table = list(sets.notes), sets.table
    if sample.labels is not None:
        table, more = pairing.read_labels(sample.labels, table)
        notes += more
    given: list[Pair] | None = None
    if sample.pairs is not None:
        given, more = pairing.read_pair_list(sample.pairs, table)
        notes += more
    for line in notes:
        work.say(line)
    notes = [*page.notes, *notes]  # the caller knows its own
    table, given = _chosen(table, sets.protected, given, sample, notes)
    files = {row.key: sets.protected[row.key] for row in table if row.key in sets.protected}
    with room(page.out):
        home = ensure_folder(page.out / "work")
        judges = _judges(judging.referees, table, work, notes)
        measured = measure(
            table, {PROTECTED: files}, referees=judges, folder=home, workers=work.workers, quiet=work.quiet
        )
        called = {
            "originals": page.title or table.name,
            "protected": PROTECTED if folder is None else folder.resolve().name,
        }
        results = Results(
            {
                "format": 1,
                "halfmask": __version__,
                "created": datetime.now(UTC).isoformat(timespec="seconds"),
                "command": page.command,
                "direction": page.direction,
                "method": dict(page.method) if page.method else None,
                "set": _set(table, files, sets, measured) | called,
                "notes": notes,
                "not_tested": [],
            }
        )
        case = _Case(results, table, files, measured, home, sample.seed)
        figures(results, table, measured, judges, given, sample.seed)
        results["attacks"] = _attacks(case, judges, judging, work)
        remarks(results, table, judges, judging.attacks if judging.attackers else None)
        return _report(case, page)


def _attacks(case: _Case, judges: Referees, judging: Judging, work: Work) -> list[dict[str, Any]]:
    """The rows of the attackers; what was not tried is said in ``not_tested``."""
    not_tested, direction = case.results["not_tested"], case.results["direction"]
    if not judging.attackers:
        what = "recognise" if direction == "deidentify" else "read"
        not_tested.append(
            f"Attackers that learn from protected photos were not tried: expect them to {what} more than "
            "unprepared software."
        )
        return []
    evidence = _evidence(case, work)
    if evidence is None:
        return []
    from .. import attackers

    rows = attackers.attack(
        evidence,
        judges,
        folder=case.home,
        budget=judging.budget or attackers.Budget(),
        only=attacks_for(direction, judging.attacks),
        outputs=judging.outputs,
        measured=case.measured,
        quiet=work.quiet,
    )
    if judging.outputs is None and direction == "protect":
        not_tested.append("Averaging several protected versions of one photo: only one version of each was there.")
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


def check_names(
    referees: Referees | Sequence[str] | None, attacks: Sequence[str] | None, direction: str = "protect"
) -> None:
    """Raise :class:`~halfmask.errors.UsageError` for an unknown referee or attack, before minutes of work are lost.

    And for an attack that is none in this direction.
    """
    from ..attackers import ATTACKS
    from ..referees import AGE, GENDER, MATCHERS, RACE
    from ..referees import Referees as Kind

    asked = () if isinstance(referees, Kind) else referees
    for what, names, known in (
        ("attack", attacks, list(ATTACKS)),
        ("referee", asked, sorted({*MATCHERS, *GENDER, *AGE, *RACE})),
    ):
        if unknown := sorted(set(names or ()) - set(known)):
            raise UsageError(f"no {what} is called {', '.join(unknown)}; there are {', '.join(known)}")
    attacks_for(direction, attacks)


def check_installed(*, own_referees: bool = False, attackers: bool = True) -> None:
    """Raise :class:`~halfmask.errors.ExtraMissingError` when a package that the audit needs is not installed."""
    needs = (*_NEEDS, *(() if own_referees else _REFEREES_NEED), *(("torch",) if attackers else ()))
    require(needs, "the audit", {"torch": ", or leave the attackers out (--no-attackers)"})


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


def _own(referees: Referees | Sequence[str] | None) -> Referees | None:
    from ..referees import Referees as Kind

    return referees if isinstance(referees, Kind) else None


def _judges(asked: Referees | Sequence[str] | None, table: Table, work: Work, notes: list[str]) -> Referees:
    """The referees, without those that learned from this very data set; what is missing of them is fetched first."""
    if (own := _own(asked)) is not None:
        return own
    from ...weights import store
    from ..referees import AGE, GENDER, MATCHERS, RACE, load

    known = {**MATCHERS, **GENDER, **AGE, **RACE}
    names = list(dict.fromkeys(known if asked is None else asked))  # type: ignore[arg-type]
    for name in [n for n in names if getattr(RACE.get(n), "trained_on", None) == table.name]:
        names.remove(name)
        notes.append(f"{name} learned from {table.name} and is no judge of it; it was left out.")
    for model in store.MODELS.values():
        if model.name == "yunet" or (asked is None and model.role == "referee"):
            store.get(model.name, say=work.say)
    return load(threads=work.workers, only=names)


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


def _evidence(case: _Case, work: Work) -> Evidence | None:
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
            workers=work.workers,
            quiet=work.quiet,
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


def _report(case: _Case, page: Page) -> Results:
    from .report import write

    results = case.results
    keys = results["pictures"] = _shown(case.table, case.measured, page.pictures, case.seed)
    paths = {row.key: row.path for row in case.table}
    faces = _pictures(keys, paths, case.files, case.measured[BEFORE])
    strip = case.home / "inverse.png"
    inverse = strip if strip.is_file() and any(row["attack"] == "inverse" for row in results["attacks"]) else None
    results.report = write(results, page.out, faces, inverse=inverse)
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
