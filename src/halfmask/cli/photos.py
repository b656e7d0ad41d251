"""What commands that change photos share: where photos come from and go to, how they are written, and the run."""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections.abc import Callable, Generator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import click

from ..errors import UsageError, shown

if TYPE_CHECKING:
    from tqdm import tqdm

    from ..protecting.known import Known
    from ..protecting.options import Options
    from ..protecting.pipeline import Outcome
    from ..protecting.plan import Job, Plan
    from ..protecting.records import Records
    from ..protecting.report import Report, Summary

_Command = TypeVar("_Command", bound=Callable[..., Any])


def _several(*options: Callable[[_Command], _Command]) -> Callable[[_Command], _Command]:
    """Options as one decorator; they stand in a command's help in this order."""

    def add(command: _Command) -> _Command:
        for option in reversed(options):
            command = option(command)
        return command

    return add


#: PATH... and --output.
places = _several(
    click.argument("paths", nargs=-1, required=True, metavar="PATH..."),
    click.option(
        "--output", "-o", metavar="OUT", help="Output file or folder; - is stdout. A name without suffix is a folder."
    ),
)

#: --set, the method's own settings.
settings_option = click.option(
    "--set",
    "settings",
    multiple=True,
    metavar="NAME=VALUE",
    help="A setting of the method's own, listed by: halfmask methods. May be given several times.",
)


#: --on and --address.
elsewhere = _several(
    click.option(
        "--on",
        type=click.Choice(["local", "ray"]),
        default="local",
        show_default=True,
        help="Who works: this machine, or Ray, whose workers see all places as you do. Photos may be at addresses, "
        "such as s3://bucket/photos.",
    ),
    click.option(
        "--address", metavar="RAY", help="A running Ray cluster, such as auto.  [default: one of this machine]"
    ),
)

#: --device.
device_option = click.option(
    "--device",
    type=click.Choice(["cpu", "cuda", "coreml", "directml"]),
    default="cpu",
    show_default=True,
    help="Where networks run. Another than the CPU needs another onnxruntime, which an error names.",
)

#: Which faces.
choosing = _several(
    click.option(
        "--faces",
        metavar="[all|largest|N]",
        default="all",
        show_default=True,
        help="Which faces: all, the largest, or the N largest.",
    ),
    click.option(
        "--only",
        multiple=True,
        metavar="FACE",
        help="Only this face of the photo: a place x,y in its pixels, or a number shown by: halfmask faces PHOTO. "
        "May be given several times.",
    ),
    click.option("--skip", multiple=True, metavar="FACE", help="Not this face; as --only."),
    click.option(
        "--min-face",
        type=click.IntRange(10),
        metavar="PX",
        help="Leave smaller faces as they are (longer side of the box).  [default: leave none; search down to 32]",
    ),
    click.option(
        "--detector-threshold",
        type=click.FloatRange(0.2, 1.0),
        metavar="T",
        default=0.7,
        show_default=True,
        help="Score from 0.2 to 1 from which a find is a face.",
    ),
    click.option(
        "--boxes",
        metavar="CSV",
        help="Faces that you know of, besides those found: columns file,x,y,width,height, in photo pixels, and "
        "person,gender, if you know them.",
    ),
)

#: Which faces, and how photos are read and written.
care = _several(
    choosing,
    click.option(
        "--if-no-face",
        type=click.Choice(["skip", "copy", "fail"]),
        default="skip",
        show_default=True,
        help="A photo in which no face is found. skip: not written, so a face that was overlooked does not get into "
        "OUT unprotected. copy: written UNPROTECTED, encoded and stripped of metadata like the others, with the "
        "photo's date. fail: counts as failed.",
    ),
    click.option("--workers", type=click.IntRange(1, 256), help="Threads.  [default: one a core]"),
    click.option(
        "--format", "format_", metavar="NAME", help="Picture format to write, such as png.  [default: the photo's]"
    ),
    click.option(
        "--quality",
        type=click.IntRange(1, 100),
        help="For JPEG, WebP, HEIC, AVIF and videos.  [default: as the photo's; videos nearly without loss]",
    ),
    click.option(
        "--keep-metadata", is_flag=True, help="Keep EXIF with its place and time, and XMP. They are dropped else."
    ),
    click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger photos.  [default: 250000000]"),
    click.option(
        "--overwrite",
        is_flag=True,
        help="Make outputs anew that are there already, whoever made them.",
    ),
    click.option("--dry-run", is_flag=True, help="Only say which file would become which."),
    click.option("--json", "json_", metavar="FILE", help="Write a report of every photo and face; - is stdout."),
    click.option("--quiet", "-q", is_flag=True, help="Say nothing but warnings and what failed."),
)


def carry_out(
    paths: tuple[str, ...],
    output: str | None,
    options: Options,
    *,
    labels: str | None = None,
    boxes: str | None,
    workers: int | None,
    overwrite: bool,
    dry_run: bool,
    json_: str | None,
    quiet: bool,
    on: str = "local",
    address: str | None = None,
) -> int:
    """Do to the photos and videos what the options say, and give the exit code."""
    from ..photos.kinds import is_video
    from ..protecting.known import read_known
    from ..protecting.plan import plan
    from ..protecting.report import Report

    report = Report(json_, options)
    if labels is not None and options.gender:
        raise UsageError("--gender and --labels both say what the faces are; give one of them")
    if output is None:
        if paths != ("-",):
            raise UsageError("where to? Give -o OUT, a file or a folder")
        output = "-"
    if output == "":
        raise UsageError("-o is empty; expected a file or a folder")
    if is_elsewhere((*paths, output), on, address):
        if dry_run or "-" in paths or output == "-":
            raise UsageError("--on ray and addresses know neither - nor --dry-run")
        return _elsewhere(paths, output, options, (labels, boxes), workers, overwrite, report, quiet, on, address)
    if "-" in paths or output == "-":
        if labels is not None or boxes is not None or dry_run or (json_ == "-" and output == "-"):
            raise UsageError("with - for a photo none of --labels, --boxes, --dry-run and --json - can be used")
        return _one_stream(paths, output, options, overwrite, report, quiet)
    todo = plan([Path(p) for p in paths], output, format=options.format)
    videos = [job for job in todo.jobs if is_video(job.source)]
    if videos and (options.only or options.skip or options.crop):
        raise UsageError(
            f"--only, --skip and --crop are for photos, and {shown(videos[0].source)} is a video; leave them out"
        )
    if (options.only or options.skip) and len(todo.jobs) > 1:
        raise UsageError(f"--only and --skip are for the faces of one photo; {len(todo.jobs)} photos were given")
    known = read_known(labels, boxes, todo.jobs)
    if dry_run:
        return _dry_run(todo, options, known, overwrite)
    return _many(todo, options, known, workers, overwrite, report, quiet, err=quiet or json_ == "-")


def is_elsewhere(places: Sequence[str], on: str, address: str | None) -> bool:
    """Whether work is for Ray, or photos lie at addresses. Raises :class:`~halfmask.errors.UsageError`."""
    from ..cluster.places import is_address

    if address is not None and on != "ray":
        raise UsageError("--address is Ray's, which --on ray asks for")
    return on == "ray" or any(map(is_address, places))


def named(settings: Sequence[str]) -> dict[str, str]:
    """NAME=VALUE pairs as a mapping. Raises :class:`~halfmask.errors.UsageError` for anything else.

    >>> named(["weights=runs/mine"])
    {'weights': 'runs/mine'}
    """
    values: dict[str, str] = {}
    for setting in settings:
        name, equals, value = setting.partition("=")
        if not (name and equals):
            # what was given is not repeated: it may be a secret
            got = "has no name before its =" if equals else "has no ="
            raise UsageError(f"a --set {got}; expected NAME=VALUE. What a method can be set to: halfmask methods")
        if name in values:
            raise UsageError(f"--set gives {name} twice; give it once")
        values[name] = value
    return values


def seconds(preview: str) -> tuple[float, float]:
    """What ``--preview`` says: where it starts and how long it is. Raises :class:`~halfmask.errors.UsageError`.

    >>> seconds("5s"), seconds("2.5@1:30")
    ((0.0, 5.0), (90.0, 2.5))
    """
    length, at, start = preview.partition("@")
    try:
        parts = [float(part) for part in start.removesuffix("s").split(":")] if at else [0.0]
        begin, long = sum(part * 60**n for n, part in enumerate(reversed(parts))), float(length.removesuffix("s"))
    except ValueError:
        begin = long = -1.0
    if not (math.isfinite(begin + long) and begin >= 0 and long > 0):
        raise UsageError(f"--preview is {preview!r}; expected seconds such as 5s, or 5s@1:30 from there on")
    return begin, long


def _say(line: str) -> None:
    click.echo(line, err=True)


def _fetch(options: Options, *, videos: bool = False) -> None:
    """Get what has to be fetched before anything else, with a word about it."""
    from ..methods import METHODS
    from ..weights import store

    for name in ("yunet", *METHODS[options.method].cls.models, *(("sface",) if options.score or videos else ())):
        store.get(name, say=_say)


def _dry_run(
    todo: Plan,
    options: Options,
    known: Mapping[Path, Known],
    overwrite: bool,
) -> int:
    from .. import methods
    from ..protecting.known import NOTHING
    from ..protecting.records import Records
    from ..storage import RECORD

    there = new = without = 0
    problems = [*todo.problems, *todo.pictures]
    records = None
    if not overwrite and any((job.output.parent / RECORD).exists() or job.output.exists() for job in todo.jobs):
        # else no network need be loaded
        method = methods.load(options.method, threads=1, **options.asked)
        records = Records(options.how(method.fingerprint))
    for job in todo.jobs:
        mark = records.mark(job.source, known.get(job.source, NOTHING)) if records else ""
        if records and options.if_no_face == "skip" and records.skipped(job.output, mark):
            without += 1
            continue
        reason = records.there(job.source, job.output, mark) if records else None
        if reason:
            problems.append((shown(job.source), reason))
        elif reason == "":
            there += 1
        else:
            new += 1
            click.echo(f"{shown(job.source)} -> {shown(job.output)}")
    for name, reason in problems:
        click.echo(f"{name}: {reason}", err=True)
    click.echo(
        f"{new} photos would be protected, {there} are there already, "
        + (f"without a face found before: {without}, " if without else "")
        + (f"pictures left out: {len(todo.pictures)}, " if todo.pictures else "")
        + f"other files ignored: {todo.ignored}; nothing was written"
    )
    return 3 if problems else 0


def _one_stream(
    paths: tuple[str, ...], output: str, options: Options, overwrite: bool, report: Report, quiet: bool
) -> int:
    """One photo, from stdin or to stdout."""
    if len(paths) > 1:
        raise UsageError(f"- stands for one photo, but {len(paths)} inputs were given")
    if paths == ("-",) and sys.stdin.isatty():
        raise UsageError(
            "- reads a photo from stdin, which is a terminal; send a file: "
            f"halfmask {click.get_current_context().info_name} - < photo.jpg"
        )
    if output == "-" and sys.stdout.isatty():
        raise UsageError("the photo would go to the terminal; send it to a file: > protected.jpg, or give -o FILE")
    from ..photos.encode import format_of
    from ..protecting.plan import Job, output_format
    from ..protecting.report import Summary, describe

    target = Path(output)
    format = format_of(options.format) if options.format else None
    if output != "-":
        if target.is_dir():
            raise UsageError(f"{shown(target)} is a folder; a photo from stdin has no name, so give a file")
        format = output_format(target, options.format)
    name = "stdin" if paths == ("-",) else paths[0]
    if paths != ("-",):
        if not Path(name).exists():
            raise UsageError(f"there is no {shown(name)}; check the path")
        if not Path(name).is_file():
            raise UsageError(f"{shown(name)} is no file; - stands for one photo, so give one, or a folder to -o")
    data = sys.stdin.buffer.read() if paths == ("-",) else Path(name)
    _fetch(options)
    from ..protecting import pipeline
    from ..protecting.engine import timed
    from ..protecting.records import Records

    began = time.perf_counter()
    summary = Summary()
    engine = pipeline.load(options, workers=pipeline.cores(), photos=1)
    records = Records(options.how(engine.networks.method.fingerprint), overwrite=overwrite)
    job = Job(Path(name), target, Path(name).name, format, records.mark(data))
    there = None if output == "-" else records.there(data, target, job.mark)
    if there:
        raise UsageError(there)
    with report, records:
        try:
            if there == "":
                outcome = pipeline.Outcome(job, pipeline.THERE)
            else:
                photo, faces, seconds = engine.run(data)
                if not faces and options.if_no_face == "skip":
                    # In a folder the file would be absent; an empty stream would pass for a photo further down.
                    outcome = pipeline.Outcome(
                        job, pipeline.FAILED, reason="no face was found, so nothing is written; see --if-no-face"
                    )
                else:
                    with timed(seconds, "write"):
                        if output == "-":
                            sys.stdout.buffer.write(engine.encode(photo, format))
                            sys.stdout.buffer.flush()
                        else:
                            pipeline.write(engine, photo, job, records, copied=not faces)
                    outcome = pipeline.written(photo, job, options, faces, seconds)
        except Exception as error:
            outcome = pipeline.failed(job, error)
        summary.add(outcome)
        report.add(outcome)
        report.finish(summary)
    if text := describe(summary, options, output, time.perf_counter() - began, quiet=quiet):
        _say(text)
    return 3 if summary.left else 0


def _many(
    todo: Plan,
    options: Options,
    known: Mapping[Path, Known],
    workers: int | None,
    overwrite: bool,
    report: Report,
    quiet: bool,
    *,
    err: bool,
) -> int:
    from ..protecting.report import Summary, describe

    summary = Summary(ignored=todo.ignored, pictures=list(todo.pictures))
    for name, reason in todo.problems:
        summary.fail(name, reason)
    began = time.perf_counter()
    stopped: str | None = None
    with report:
        if todo.jobs:
            stopped = _run(todo, options, known, workers, overwrite, quiet, report, summary)
        report.finish(summary)
    text = describe(summary, options, str(todo.out), time.perf_counter() - began, quiet=quiet, stopped=stopped)
    if text:
        click.echo(text, err=err)
    if not todo.jobs and not todo.problems and not todo.pictures:
        click.echo("no photo was found: nothing was protected", err=True)
    return 130 if stopped == "interrupted" else 3 if summary.left or stopped else 0


def _elsewhere(
    paths: tuple[str, ...],
    output: str,
    options: Options,
    known: tuple[str | None, str | None],
    workers: int | None,
    overwrite: bool,
    report: Report,
    quiet: bool,
    on: str,
    address: str | None,
) -> int:
    """Photos at addresses, or by Ray; the exit code."""
    from ..cluster import run as cluster
    from ..protecting.report import Summary, describe

    if options.only or options.skip:
        raise UsageError("--only and --skip are for the faces of one photo; give them for a photo by itself")
    _fetch(options)
    began = time.perf_counter()
    todo = cluster.plan(paths, output, options, labels=known[0], boxes=known[1], overwrite=overwrite)
    summary = Summary(ignored=todo.ignored, pictures=list(todo.pictures))
    for name, reason in todo.problems:
        summary.fail(name, reason)
    with report, _bar(quiet, total=todo.total, unit="photo", desc="protecting") as bar:
        outcomes = cluster.run(todo, options, output, on=on, address=address, workers=workers or 0)
        stopped = _take(outcomes, summary, report, bar.update)
        report.finish(summary)
    if text := describe(summary, options, output, time.perf_counter() - began, quiet=quiet, stopped=stopped):
        click.echo(text, err=True)
    if not todo.total:
        click.echo("no photo was found: nothing was protected", err=True)
    return 130 if stopped == "interrupted" else 3 if summary.left or stopped else 0


def _bar(quiet: bool, **what: Any) -> tqdm[NoReturn]:
    from tqdm import tqdm

    return tqdm(
        file=sys.stderr,
        delay=1,  # a bar for a handful of photos is noise
        mininterval=0.2 if sys.stderr.isatty() else 10,
        disable=quiet,
        smoothing=0.05,
        **what,
    )


def _run(
    todo: Plan,
    options: Options,
    known: Mapping[Path, Known],
    workers: int | None,
    overwrite: bool,
    quiet: bool,
    report: Report,
    summary: Summary,
) -> str | None:
    """Work through a plan; the reason why it stopped early, else None."""
    from ..photos.kinds import is_video
    from ..protecting import pipeline, plan
    from ..protecting.records import Records

    videos = [job for job in todo.jobs if is_video(job.source)]
    photos = [job for job in todo.jobs if not is_video(job.source)]
    _fetch(options, videos=bool(videos))
    plan.prepare(todo)
    workers = workers or pipeline.cores()
    engine = pipeline.load(options, workers=workers, photos=len(photos) or 1)
    with Records(options.how(engine.networks.method.fingerprint), overwrite=overwrite) as records:
        stopped = None
        if photos:
            with _bar(quiet, total=len(photos), unit="photo", desc="protecting") as bar:
                outcomes = pipeline.run(photos, engine, known=known, workers=workers, records=records)
                stopped = _take(outcomes, summary, report, bar.update)
        if videos and stopped is None:
            outcomes = _videos(videos, options, known, workers, records, quiet)
            stopped = _take(outcomes, summary, report, lambda: None)
    return stopped


def _take(
    outcomes: Generator[Outcome, None, None], summary: Summary, report: Report, done: Callable[[], object]
) -> str | None:
    """Count every outcome; the reason why it stopped early, else None."""
    try:
        for outcome in outcomes:
            summary.add(outcome)
            report.add(outcome)
            done()
            if outcome.fatal:
                return "no room or right to write, so no other photo could be written either"
    except KeyboardInterrupt:
        return "interrupted"
    finally:
        outcomes.close()
    return None


def _videos(
    jobs: Sequence[Job],
    options: Options,
    known: Mapping[Path, Known],
    workers: int,
    records: Records,
    quiet: bool,
) -> Generator[Outcome, None, None]:
    """Protect videos, each with all cores; without PyAV say so of each."""
    from ..errors import missing
    from ..protecting import pipeline

    if importlib.util.find_spec("av") is None:
        for job in jobs:
            yield pipeline.failed(job, missing(["av"], "a video"))
        return
    from ..video.run import run

    engine = pipeline.load(options, workers=workers, photos=1)
    for job in jobs:
        with _bar(quiet, total=None, unit="frame", desc=shown(job.source.name)) as bar:

            def progress(done: int, about: int, bar: Any = bar) -> None:
                bar.total = about
                bar.update(done - bar.n)

            yield from run([job], engine, known=known, records=records, threads=workers, progress=progress)
