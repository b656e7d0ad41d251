"""What a run says at its end, and its report as JSON."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import TracebackType
from typing import IO, Any

from .. import __version__
from ..errors import HalfmaskError, UsageError, count, shown
from ..methods.choice import IDENTITY
from ..methods.match import SAME_PERSON
from ..photos.listing import is_photo
from ..photos.photo import DAMAGED
from ..storage import not_replaceable, whole
from . import pipeline
from .engine import FaceResult
from .options import Options
from .pipeline import Outcome

_NAMED = 20


@dataclass
class Summary:
    """The figures of a run. ``failures`` counts; ``reasons`` are (name, why) of the first of them.

    ``faces`` are changed and ``faces_left`` not; ``unprotected`` counts, by reason, those that count as unprotected,
    and ``by_box`` those changed at a given box in which no face was seen. ``smallest_face`` is the size, in pixels,
    of the smallest faces that every photo was searched for. ``matches`` are the number, sum, lowest and highest of
    SFace's scores, ``matched`` (name, scores) of the first. ``warnings`` counts photos with faces that are not
    protected though they were to be, ``warned`` are (name, what) of the first of them.
    ``ignored`` counts files that are no pictures; ``pictures`` are (name, why) of those that are, left out.
    ``videos`` counts those among the protected photos that are videos, with ``frames`` together, and a face of theirs
    is a person. ``notes`` says of what was lost or put right on the way how many photos it was, and names the first of
    them.
    """

    photos: dict[str, int] = field(default_factory=dict)
    faces: int = 0
    faces_left: int = 0
    unprotected: dict[str, int] = field(default_factory=dict)
    by_box: int = 0
    smallest_face: float | None = None
    labels: dict[str, int] = field(default_factory=dict)
    matches: list[float] = field(default_factory=lambda: [0.0, 0.0, 2.0, -2.0])
    matched: list[tuple[str, list[float]]] = field(default_factory=list)
    without: list[str] = field(default_factory=list)
    warnings: int = 0
    warned: list[tuple[str, str]] = field(default_factory=list)
    failures: int = 0
    reasons: list[tuple[str, str]] = field(default_factory=list)
    ignored: int = 0
    pictures: list[tuple[str, str]] = field(default_factory=list)
    notes: dict[str, tuple[int, list[str]]] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    videos: int = 0
    frames: int = 0

    def add(self, outcome: Outcome) -> None:
        """Count one photo or video."""
        self.photos[outcome.status] = self.photos.get(outcome.status, 0) + 1
        if outcome.frames is not None:
            self.videos += outcome.status == pipeline.PROTECTED
            self.frames += outcome.frames
        if outcome.smallest is not None:
            self.smallest_face = max(outcome.smallest, self.smallest_face or 0.0)
        for stage, seconds in outcome.seconds.items():
            self.seconds[stage] = self.seconds.get(stage, 0.0) + seconds
        for face in outcome.faces:
            self.faces += face.changed
            self.faces_left += not face.changed
            self.by_box += face.changed and face.origin == "box alone"
            if face.unprotected:
                self.unprotected[face.unprotected] = self.unprotected.get(face.unprotected, 0) + 1
            if face.changed and face.gender_origin:
                self.labels[face.gender_origin] = self.labels.get(face.gender_origin, 0) + 1
            if face.match is not None:
                count, total, low, high = self.matches
                self.matches = [count + 1, total + face.match, min(low, face.match), max(high, face.match)]
        if len(self.matched) < _NAMED and (scores := [f.match for f in outcome.faces if f.match is not None]):
            self.matched.append((shown(outcome.job.source), scores))
        if outcome.status in (pipeline.SKIPPED, pipeline.COPIED) and len(self.without) < _NAMED:
            self.without.append(shown(outcome.job.source))
        for note in outcome.notes:
            count, names = self.notes.get(note, (0, []))
            self.notes[note] = count + 1, names if len(names) >= _NAMED else [*names, shown(outcome.job.source)]
        if outcome.warning:
            self.warnings += 1
            if len(self.warned) < _NAMED:
                self.warned.append((shown(outcome.job.source), outcome.warning))
        if outcome.status == pipeline.FAILED:
            self.fail(shown(outcome.job.source), outcome.reason or "no reason given")

    @property
    def left(self) -> bool:
        """Whether something given is not protected: it failed, a face did, or it is a picture that is not read."""
        return bool(self.failures or self.warnings or self.pictures)

    def fail(self, name: str, reason: str) -> None:
        """Count a failure; the first ones are kept with their reason."""
        self.failures += 1
        if len(self.reasons) < _NAMED:
            self.reasons.append((name, reason))


def describe(
    summary: Summary, options: Options, out: str, seconds: float, *, quiet: bool = False, stopped: str | None = None
) -> str:
    """The summary as lines of text; when quiet, only warnings and what failed."""
    protected, copied, skipped, there = (
        summary.photos.get(s, 0) for s in (pipeline.PROTECTED, pipeline.COPIED, pipeline.SKIPPED, pipeline.THERE)
    )
    lines = []
    thing = "file" if summary.frames else "photo"
    if not quiet:
        how = options.method + "".join(f", {name} {shown(str(value))}" for name, value in options.told.items())
        where = "stdout" if out == "-" else shown(out)
        what = count(protected - summary.videos, "photo")
        if summary.videos:
            clips = f"{count(summary.videos, 'video')} ({count(summary.frames, 'frame')})"
            what = clips if protected == summary.videos else f"{what} and {clips}"
        lines.append(f"{what} protected, {count(summary.faces, 'face')} changed ({how}) in {seconds:.1f} s -> {where}")
        lines += [f"  NOTE: {note}" for note in options.notes]
        origins = {
            "given": "as given by --gender",
            "labels file": "from the labels file",
            "estimate": "ESTIMATED by halfmask's own classifier (--gender or --labels say it better)",
        }
        lines += [f"  gender of {count(n, 'face')} {origins[o]}" for o, n in summary.labels.items()]
        if summary.smallest_face is not None:
            lines.append(f"  searched for faces of {summary.smallest_face:.0f} pixels and more")
        lines += [f"  {count(n, 'face')} UNPROTECTED: {why}" for why, n in summary.unprotected.items()]
        if summary.by_box:
            lines.append(f"  {count(summary.by_box, 'face')} changed by the given box alone: no face was seen in it")
        if summary.matches[0]:
            lines += _matches(summary, options)
        if copied or skipped:
            fate = "not written" if skipped else "copied UNPROTECTED"
            lines.append(f"{count(copied + skipped, thing)} without a face found, {fate}:")
            lines += _listed(summary.without, copied + skipped)
        if there:
            lines.append(f"{count(there, thing)} already there, not made again (--overwrite makes them anew)")
        if summary.ignored:
            lines.append(f"{count(summary.ignored, 'other file')} ignored, none of them a picture")
    for note, (number, named) in summary.notes.items():
        if note.startswith(DAMAGED) or not quiet:
            lines.append(f"{'WARNING: ' * note.startswith(DAMAGED)}{count(number, thing)}: {note}:")
            lines += _listed(named, number)
    if summary.warnings:
        lines.append(f"WARNING: {count(summary.warnings, thing)} protected only in part:")
        lines += _listed([f"{name}: {what}" for name, what in summary.warned], summary.warnings)
    if summary.failures:
        lines.append(f"{summary.failures} failed:")
        lines += _listed([f"{name}: {reason}" for name, reason in summary.reasons], summary.failures)
    if summary.pictures:
        lines.append(f"{count(len(summary.pictures), 'picture')} NOT PROTECTED, left out and not written:")
        lines += _listed([f"{name} {why}" for name, why in summary.pictures[:_NAMED]], len(summary.pictures))
    if stopped:
        lines.append(f"stopped early: {stopped}. What is written is whole; the same line again does the rest")
    return "\n".join(lines)


def _matches(summary: Summary, options: Options) -> list[str]:
    """What SFace says of the faces before and after, and what that is worth."""
    n, total, low, high = summary.matches
    if IDENTITY not in options.hidden:
        return [
            f"  SFace match before/after: mean {total / n:.3f}, lowest {low:.3f} (auxiliary: methods are "
            "trained against it, so it is no judge of them)"
        ]
    lines = [
        f"  SFace match with the original: 1.000 before, after on average {total / n:.3f}, at most {high:.3f}; the "
        f"same person from {SAME_PERSON} on",
        *_listed([f"{name}: {', '.join(f'{s:.3f}' for s in scores)}" for name, scores in summary.matched], 0),
    ]
    if (rest := int(n) - sum(len(scores) for _, scores in summary.matched)) > 0:
        lines.append(f"  ... and {rest} more faces; --json FILE lists all")
    # a method that names no network attacks SFace among others
    what = "is one of those attacked" if options.asked.get("against", "sface") == "sface" else "is an auxiliary"
    return [*lines, f"  (SFace {what}, so it judges nothing; halfmask audit asks others)"]


def _listed(items: list[str], total: int) -> list[str]:
    lines = [f"  {item}" for item in items]
    if total > len(items):
        lines.append(f"  ... and {total - len(items)} more; --json FILE lists all")
    return lines


class Report:
    """A JSON report, written photo by photo so that it never stands in memory, and whole when it is there.

    An object: ``version``, ``options``, ``notes``, ``photos`` (``file``, ``output``, ``status``, ``reason``,
    ``warning``, ``notes``, ``smallest_face``, ``seconds``, ``faces``; of a video also ``frames`` and ``gaps``, in
    seconds, where somebody may be unprotected), ``summary``, whose ``pictures`` are those that
    were left out. ``target`` is a path, "-" for stdout, None for no report.

    Raises :class:`~halfmask.errors.UsageError` at once for a target that cannot be a report: an empty name, a
    picture's name, a folder, device or pipe. :class:`~halfmask.errors.HalfmaskError` says that writing failed later.
    """

    def __init__(self, target: str | None, options: Options) -> None:
        self._target = target
        self._file: contextlib.AbstractContextManager[Path] | None = None
        self._stream: IO[str] | None = None
        self._first = True
        self._options = options
        if target is None or target == "-":
            return
        if target == "":
            raise UsageError("the report's name is empty; expected a file, or - for stdout")
        if odd := not_replaceable(Path(target)):
            raise UsageError(f"the report {shown(target)} {odd}; expected a file, or a name that is free")
        if is_photo(target):
            raise UsageError(f"the report {shown(target)} has a picture's name; expected one such as report.json")

    def __enter__(self) -> Report:
        if self._target == "-":
            self._stream = sys.stdout
        elif self._target is not None:
            self._file = whole(Path(self._target), error=HalfmaskError)
            try:
                self._stream = open(self._file.__enter__(), "w", encoding="utf-8")
            except HalfmaskError as error:
                raise UsageError(f"the report {error}") from error
        head = {"version": __version__, "options": self._options.report(), "notes": list(self._options.notes)}
        self._write(json.dumps(head)[:-1] + ', "photos": [')
        return self

    def add(self, outcome: Outcome) -> None:
        """Write one photo."""
        entry = {
            "file": str(outcome.job.source),
            "output": str(outcome.job.output),
            "status": outcome.status,
            "reason": outcome.reason,
            "warning": outcome.warning,
            "notes": list(outcome.notes),
            "smallest_face": outcome.smallest,
            **({} if outcome.frames is None else {"frames": outcome.frames, "gaps": _gaps(outcome)}),
            "seconds": {stage: round(seconds, 4) for stage, seconds in outcome.seconds.items()},
            "faces": [as_dict(face) for face in outcome.faces],
        }
        self._write(("\n" if self._first else ",\n") + json.dumps(entry))
        self._first = False

    def finish(self, summary: Summary) -> None:
        """Write the figures and put the report in its place."""
        figures = asdict(summary)
        n, total, low, high = figures.pop("matches")
        scores = {"mean": total / n, "lowest": low, "highest": high} if n else {}
        figures["match"] = {"matcher": "sface (auxiliary)"} | scores if n else None
        figures.pop("matched")
        figures.pop("without")
        figures["reasons"] = [f"{name}: {reason}" for name, reason in summary.reasons]
        figures["pictures"] = [{"file": name, "reason": why} for name, why in summary.pictures]
        figures["notes"] = {note: number for note, (number, _) in summary.notes.items()}
        figures["warned"] = [f"{name}: {what}" for name, what in summary.warned]
        self._write('\n], "summary": ' + json.dumps(figures) + "}\n")
        if self._stream and self._file:
            with self._telling():
                self._stream.close()
                file, self._file = self._file, None
                file.__exit__(None, None, None)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file and self._stream:  # not finished
            with contextlib.suppress(OSError):  # closing writes what is left, on a disk that may be full
                self._stream.close()
            error = error or GeneratorExit()
            self._file.__exit__(type(error), error, trace)  # nothing is put in place

    def _write(self, text: str) -> None:
        if self._stream:
            with self._telling():
                self._stream.write(text)

    @contextlib.contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except (OSError, HalfmaskError) as error:
            where = "to stdout" if self._target == "-" else shown(self._target or "")
            reason = error.__cause__ if isinstance(error, HalfmaskError) else error
            raise HalfmaskError(
                f"the report {where} could not be written: {getattr(reason, 'strerror', None) or reason}. The photos "
                "written so far are whole; give --json a place with room and run the same line again for the rest"
            ) from error


def _gaps(outcome: Outcome) -> list[dict[str, Any]]:
    return [{"person": who, "from": start, "to": end, "reason": why} for who, start, end, why in outcome.gaps]


def as_dict(face: FaceResult) -> dict[str, Any]:
    """A face in plain values, as it stands in the JSON."""
    entry = asdict(face)
    entry["box"] = [round(v, 1) for v in face.box]
    entry["points"] = [[round(v, 1) for v in point] for point in face.points.tolist()]
    return entry
