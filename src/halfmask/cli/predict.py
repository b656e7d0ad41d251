"""``halfmask predict``: what a network takes the faces in photos for."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .. import __version__
from ..errors import HalfmaskError, UsageError
from .models import table
from .photos import device_option, elsewhere, is_elsewhere

if TYPE_CHECKING:
    from ..predicting.network import AttributeNetwork
    from ..predicting.run import Seen
    from ..protecting.records import Records

_NAMED = 20
_VIDEO = "is a video, and predict reads photos only; give it some of its frames as pictures"
_GUESSES = (
    "These are a machine's guesses of how annotators labelled such pictures, not facts about a person; how often they "
    "are right, and for whom: docs/results.md"
)


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="PATH...")
@click.option("--output", "-o", metavar="OUT", help="Output file; with --format picture a folder.  [default: stdout]")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "csv", "picture"]),
    default="text",
    show_default=True,
    help="text: a table. json: everything, with the probability of every class. csv: a line a face. "
    "picture: copies of the photos with a frame and a caption at each face.",
)
@click.option("--faces", type=click.Choice(["all", "largest"]), default="all", show_default=True, help="Which faces.")
@click.option(
    "--network",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="attribute.onnx of a run of: halfmask train attribute.  [default: the one that halfmask brings]",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Threads.  [default: one a core]")
@device_option
@elsewhere
@click.option("--max-pixels", type=click.IntRange(1), help="Refuse larger photos.  [default: 250000000]")
@click.option(
    "--overwrite",
    is_flag=True,
    help="Make pictures anew that are there already, whoever made them.",
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but the predictions and what failed.")
def predict(
    paths: tuple[str, ...],
    output: str | None,
    format_: str,
    faces: str,
    network: Path | None,
    workers: int | None,
    device: str,
    on: str,
    address: str | None,
    max_pixels: int | None,
    overwrite: bool,
    quiet: bool,
) -> int:
    """Guess age (with a 90 % interval), gender and race of the faces in photos.

    PATH is a photo, several, or a folder (with all in it).

    What comes out are a machine's guesses of how annotators would have labelled the picture, not facts about a person:
    nobody's gender or race can be seen on a face, and the age is how old somebody looks. The guesses are wrong for
    many, and for some groups more often than for others; how often is measured in docs/results.md. Probabilities are
    the network's own and not calibrated. Decide nothing about people by them.

    Exit code: 0 all done, 2 the request made no sense, 3 some failed, 130 interrupted.
    """
    from ..photos.reading import MAX_PIXELS
    from ..predicting.network import shipped_network
    from ..protecting.records import Records
    from ..weights.store import sha256_of

    asked = _Asked(format_, faces, network, workers, device, max_pixels or MAX_PIXELS, quiet)
    if output == "":
        raise UsageError("-o is empty; expected a file or a folder")
    if format_ != "picture":
        _check_file(output, format_)
    if is_elsewhere(paths, on, address):
        if format_ == "picture":
            raise UsageError("--format picture knows neither --on ray nor addresses; give paths, or another format")
        return _elsewhere(paths, output, asked, on, address)
    path = network or shipped_network()
    # what is no file is told of when it is loaded
    how = {"predict": faces, "network": sha256_of(path) if path.is_file() else "", "halfmask": __version__}
    records = Records(how, overwrite=overwrite)
    jobs, problems, ignored, there = _jobs(tuple(map(Path, paths)), output, format_, records)
    summary = _Summary(ignored=ignored, there=there)
    for name, reason in problems:
        summary.fail(name, reason)
    with records, _sink(None if format_ == "picture" else output) as write:
        if jobs or format_ != "picture":
            _run(jobs, summary, write, records, asked)
    return summary.tell(quiet)


@dataclass(frozen=True)
class _Asked:
    """How photos are looked at, and what is said of them."""

    format: str
    faces: str
    network: Path | None
    workers: int | None
    device: str
    max_pixels: int
    quiet: bool


class _Summary:
    """What a run counted, and why what failed did."""

    def __init__(self, *, ignored: int, there: int) -> None:
        self.ignored, self.there = ignored, there
        self.photos = self.faces = self.without = self.failures = 0
        self.reasons: list[str] = []

    def fail(self, name: str, reason: str) -> None:
        self.failures += 1
        if len(self.reasons) < _NAMED:
            self.reasons.append(f"  {name}: {reason}")

    def watch(self, photos: Iterable[Seen]) -> Iterator[Seen]:
        """The same photos, counted on their way."""
        from ..errors import shown

        for photo in photos:
            if photo.error is not None:
                self.fail(shown(photo.source), photo.error)
            else:
                self.photos += 1
                self.faces += len(photo.faces)
                self.without += not photo.faces
            yield photo

    def tell(self, quiet: bool) -> int:
        """Say it, and give the exit code."""
        for line in self.lines(quiet):
            click.echo(line, err=True)
        return 3 if self.failures else 0

    def lines(self, quiet: bool) -> Iterator[str]:
        from ..errors import count

        if not quiet:
            yield (
                f"{count(self.photos, 'photo')}, {count(self.faces, 'face')}"
                + (f", {self.without} without a face found" if self.without else "")
                + (f", {self.there} already there, not made again (--overwrite)" if self.there else "")
                + (f", {count(self.ignored, 'other file')} ignored" if self.ignored else "")
            )
            if self.faces:
                yield _GUESSES
        if self.failures:
            yield f"{self.failures} failed:"
            yield from self.reasons
            if self.failures > len(self.reasons):
                yield f"  and {self.failures - len(self.reasons)} more"


_Jobs = list[tuple[Path, Path | None]]


def _jobs(
    paths: tuple[Path, ...], output: str | None, format_: str, records: Records
) -> tuple[_Jobs, list[tuple[str, str]], int, int]:
    """Photos with the picture that each becomes or None; problems; ignored files; pictures that are there already."""
    from ..errors import shown
    from ..photos.kinds import is_video
    from ..protecting import plan

    if format_ != "picture":
        listing = plan.listed(paths)
        photos = [p.source for p in listing.photos]
        problems = [*listing.problems, *listing.pictures, *((shown(p), _VIDEO) for p in photos if is_video(p))]
        return [(p, None) for p in photos if not is_video(p)], problems, listing.ignored, 0
    if output in (None, "-"):
        raise UsageError("pictures go into a folder; give -o FOLDER")
    todo = plan.plan(paths, str(output))
    jobs: _Jobs = []
    problems, there = [*todo.problems, *todo.pictures], 0
    for job in todo.jobs:
        if is_video(job.source):
            problems.append((shown(job.source), _VIDEO))
            continue
        reason = records.there(job.source, job.output, records.mark(job.source))
        if reason:
            problems.append((shown(job.source), reason))
        elif reason == "":
            there += 1
        else:
            jobs.append((job.source, job.output))
    if jobs:
        plan.prepare(todo)
    return jobs, problems, todo.ignored, there


def _check_file(output: str | None, format_: str) -> None:
    """See that what is said can be written to a file of this name."""
    from ..errors import shown
    from ..photos.listing import is_photo
    from ..storage import not_replaceable

    if output in (None, "-"):
        return
    target = Path(str(output))
    if odd := not_replaceable(target):
        raise UsageError(f"the output {shown(target)} {odd}; expected a file, or a name that is free")
    if is_photo(target):
        raise UsageError(
            f"the output {shown(target)} has a picture's name; expected one such as predictions.{format_}, or "
            "--format picture"
        )


def _elsewhere(paths: tuple[str, ...], output: str | None, asked: _Asked, on: str, address: str | None) -> int:
    """Photos at addresses, or by Ray; the exit code."""
    import cv2

    from ..cluster import look
    from ..predicting.network import AttributeNetwork
    from ..weights import store

    tasks, rest = look.find(paths)
    summary = _Summary(ignored=rest.ignored, there=0)
    for name, reason in (*rest.problems, *rest.pictures):
        summary.fail(name, reason)
    store.get("yunet", say=lambda line: click.echo(line, err=True))
    cv2.setNumThreads(1)
    described = AttributeNetwork(asked.network, 1)
    looker = look.Looker(asked.faces, asked.network, asked.device, asked.max_pixels)
    with _sink(output) as write:
        seen = look.run(tasks, looker, on=on, address=address, workers=asked.workers or 0)
        _tell(seen, len(tasks), summary, write, described, asked)
    return summary.tell(asked.quiet)


def _run(jobs: _Jobs, summary: _Summary, write: Callable[[str], object], records: Records, asked: _Asked) -> None:
    import cv2

    from ..predicting.api import Predictor
    from ..predicting.run import run
    from ..protecting.pipeline import cores
    from ..weights import store

    store.get("yunet", say=lambda line: click.echo(line, err=True))
    workers = asked.workers or cores()
    threads = workers if len(jobs) == 1 else 1  # a single photo gets all cores inside the network instead
    cv2.setNumThreads(threads)
    predictor = Predictor(asked.network, threads, asked.device)
    marks = {picture: records.mark(source) for source, picture in jobs if picture is not None}
    seen = run(
        jobs,
        predictor,
        faces=asked.faces,
        max_pixels=asked.max_pixels,
        workers=workers,
        noting=lambda picture, part: records.placing(picture, marks[picture], part),
    )
    _tell(seen, len(jobs), summary, write, predictor.network, asked)


def _tell(
    seen: Generator[Seen, None, None],
    total: int,
    summary: _Summary,
    write: Callable[[str], object],
    network: AttributeNetwork,
    asked: _Asked,
) -> None:
    """Count the photos and write what is said of them."""
    from tqdm import tqdm

    from ..predicting.report import to_csv, to_json

    bar = tqdm(
        seen,
        total=total,
        unit="photo",
        desc="predicting",
        file=sys.stderr,
        delay=2,
        mininterval=0.2 if sys.stderr.isatty() else 10,
        disable=asked.quiet,
    )
    photos = summary.watch(bar)
    with contextlib.closing(seen):
        if asked.format == "picture":
            for _ in photos:
                pass
        else:
            for piece in {"text": to_text, "json": to_json, "csv": to_csv}[asked.format](photos, network):
                write(piece)


def to_text(photos: Iterable[Seen], network: AttributeNetwork) -> Iterator[str]:
    """A table for people, once all photos are seen; those that failed are not in it."""
    from ..errors import shown
    from ..predicting.api import LEVEL
    from ..predicting.picture import phrase

    titles = {"gender": "gender", "age": f"age ({100 * LEVEL:.0f} % interval)", "race": "race"}
    rows = []
    for photo in photos:
        if photo.error is None and not photo.faces:
            rows.append([shown(photo.source), "", "no face found", *("" for _ in network.classes)])
        for number, face in enumerate(photo.faces, 1):
            x, y, w, h = (round(v) for v in face.box)
            phrases = (phrase(face, head) for head in network.classes)
            rows.append([shown(photo.source), str(number), f"{w} x {h} at {x}, {y}", *phrases])
    if rows:
        yield table(["file", "face", "pixels", *(titles[head] for head in network.classes)], rows) + "\n"


@contextlib.contextmanager
def _sink(output: str | None) -> Generator[Callable[[str], object], None, None]:
    """Where text goes: stdout, or a file that is whole or absent."""
    from ..storage import whole

    if output in (None, "-"):
        yield lambda text: click.echo(text, nl=False)
        return
    with (
        whole(Path(str(output)), error=HalfmaskError) as fresh,
        open(fresh, "w", encoding="utf-8", newline="") as stream,
    ):
        yield stream.write
