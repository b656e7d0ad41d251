"""Which photo goes where, settled before the first one is opened."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..errors import UsageError, shown
from ..photos.kinds import VIDEOS, is_video
from ..storage import clear_leftovers, not_replaceable

_NAMED = 10


@dataclass(frozen=True, slots=True)
class Job:
    """One photo or video to protect.

    ``name`` is its path within its input, with "/"; ``format`` None writes the photo's own, and a video has no other.

    ``mark`` says of what and how the output is made (:meth:`halfmask.protecting.records.Records.mark`), once known.
    """

    source: Path
    output: Path
    name: str
    format: str | None = None
    mark: str = field(default="", compare=False)


@dataclass(frozen=True)
class Plan:
    """All that is to be done. ``out`` is the output file or folder as it was given.

    ``ignored`` counts files in input folders that are no pictures; ``problems`` are (name, reason) of what could not
    even be listed, ``pictures`` those of the pictures that are left out (:class:`~halfmask.photos.listing.PhotoList`).
    """

    jobs: tuple[Job, ...]
    out: Path
    ignored: int
    problems: tuple[tuple[str, str], ...]
    pictures: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Listed:
    """A photo among the inputs.

    ``name`` is its path within its input; ``place`` the one that it gets below an output
    folder, in which each of several input folders keeps its own name.
    """

    source: Path
    name: str
    place: Path


@dataclass(frozen=True)
class Listing:
    """All photos of some inputs; ``ignored``, ``problems`` and ``pictures`` as in :class:`Plan`."""

    photos: tuple[Listed, ...]
    ignored: int
    problems: tuple[tuple[str, str], ...]
    pictures: tuple[tuple[str, str], ...]


def listed(inputs: Sequence[Path]) -> Listing:
    """Find every photo of the inputs, by the rules of :func:`plan`, for work that writes no photo.

    Raises :class:`~halfmask.errors.UsageError` for inputs that do not exist.
    """
    return _list(_checked(inputs), None)


def plan(inputs: Sequence[Path], output: str | Path, *, format: str | None = None) -> Plan:
    """Find every photo and video of the inputs and the file that it becomes.

    ``output`` is a folder when it exists as one, ends with a separator, has no suffix, or when there is more than one
    photo to place; otherwise it is the one output file. What is given twice is taken once. One input folder's contents
    go straight into it with their structure; among several inputs each folder keeps its own name. ``format`` (a name or
    suffix) replaces the suffixes.

    Linked folders are followed, each real folder once, so loops end. Raises :class:`~halfmask.errors.UsageError` for
    inputs that do not exist, an output inside an input, an output that would replace an input, and two photos that
    would become one file; it names them.
    """
    from ..photos.reading import format_of

    out = Path(output)
    wanted = format_of(format) if format else None
    inputs = _checked(inputs)
    folders = [p for p in inputs if p.is_dir()]
    for folder in folders:
        if out.resolve().is_relative_to(folder.resolve()):
            raise UsageError(
                f"the output {shown(out)} lies inside the input folder {shown(folder)}, so a second run would take its "
                "own results for photos; choose a folder outside it"
            )
    many = len(inputs) > 1 or bool(folders)
    into_folder = many or out.is_dir() or os.fspath(output).endswith(os.sep) or not out.suffix
    if many and out.exists() and not out.is_dir():
        raise UsageError(f"the output {shown(out)} is a file, but several photos may go there; expected a folder")
    if not into_folder:
        jobs = [Job(inputs[0], out, inputs[0].name, _only_format(inputs[0], out, format))]
        _refuse_clashes(jobs)
        return Plan(tuple(jobs), out, 0, ())

    listing = _list(inputs, out)
    jobs = [
        Job(p.source, out / p.place.with_name(renamed(p.place.name, wanted)), p.name, wanted) for p in listing.photos
    ]
    _refuse_clashes(jobs)
    return Plan(tuple(jobs), out, listing.ignored, listing.problems, listing.pictures)


def _only_format(source: Path, out: Path, format: str | None) -> str | None:
    """The format of a single output file; a video's is its source's."""
    if not is_video(source):
        return output_format(out, format)
    if odd := not_replaceable(out):
        raise UsageError(f"the output {shown(out)} {odd}; expected a file, or a name that is free")
    if out.suffix.lower() != source.suffix.lower():
        raise UsageError(
            f"the output {shown(out)} ends otherwise than the video {shown(source)}, whose container is kept; expected "
            f"a name that ends with {source.suffix}"
        )
    return None


def output_format(out: Path, format: str | None = None) -> str:
    """The picture format that a single output file gets, by its suffix.

    Raises :class:`~halfmask.errors.UsageError` when the suffix is no picture's, when ``format`` says otherwise, and
    when a folder, device or pipe is there.
    """
    from ..photos.reading import SUFFIXES, format_of

    suffix = out.suffix.lower()
    if odd := not_replaceable(out):
        raise UsageError(f"the output {shown(out)} {odd}; expected a file, or a name that is free")
    if suffix not in SUFFIXES:
        ends = f"ends with {shown(suffix)}, which is no picture's suffix and" if suffix else "has no suffix and is"
        raise UsageError(
            f"the output {shown(out)} {ends} no folder that exists; expected one of: "
            f"{', '.join(s[1:] for s in sorted(SUFFIXES))}"
        )
    if format and SUFFIXES[suffix] != format_of(format):
        raise UsageError(f"the output {shown(out)} and the format {format} contradict each other; give one of them")
    return SUFFIXES[suffix]


def _checked(inputs: Sequence[Path]) -> list[Path]:
    """The inputs, each once."""
    if absent := [shown(p) for p in inputs if not p.exists()]:
        raise UsageError(f"there is no {some(absent)}; check the path")
    if odd := [shown(p) for p in inputs if not (p.is_file() or p.is_dir())]:
        raise UsageError(f"{some(odd)} is neither a file nor a folder; expected photos")
    return list({_place(p): p for p in reversed(inputs)}.values())[::-1]


def _list(inputs: Sequence[Path], out: Path | None) -> Listing:
    from ..photos.listing import list_photos

    photos: list[Listed] = []
    problems: list[tuple[str, str]] = []
    pictures: list[tuple[str, str]] = []
    ignored = 0
    for path in inputs:
        if path.is_file():
            photos.append(Listed(path, path.name, Path(path.name)))
            continue
        own = path.resolve().name if len(inputs) > 1 else ""
        inside = list_photos(path, leave_out=out)
        found = inside.photos | inside.videos
        photos += [Listed(file, name, Path(own, name)) for name, file in found.items()]
        problems += [(shown(path / name), reason) for name, reason in inside.problems]
        pictures += [(shown(path / name), reason) for name, reason in inside.pictures]
        ignored += inside.others
    return Listing(tuple(photos), ignored, tuple(problems), tuple(pictures))


def _place(path: Path) -> Path:
    """Where an input really is. A link to a photo is a photo of its own, since its name is another."""
    return path.resolve() if path.is_dir() else path.parent.resolve() / path.name


def _identity(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino


def renamed(name: str, wanted: str | None) -> str:
    """The file name with the suffix of the wanted format; a suffix that already is one of it stays."""
    from ..photos.reading import SUFFIXES

    suffix = os.path.splitext(name)[1]  # noqa: PTH122  a name, not a path
    if wanted is None or suffix.lower() in VIDEOS or SUFFIXES.get(suffix.lower()) == wanted:
        return name
    stem = name.removesuffix(suffix) if suffix.lower() in SUFFIXES else name
    return stem + next(s for s, f in SUFFIXES.items() if f == wanted)


def _refuse_clashes(jobs: Sequence[Job]) -> None:
    taken: dict[str, Job] = {}
    sources = {_identity(job.source): job for job in jobs}
    for job in jobs:
        if (other := taken.setdefault(os.path.normpath(job.output), job)) is not job:
            raise UsageError(
                f"{shown(other.source)} and {shown(job.source)} would both be written to {shown(job.output)}; "
                "protect them in two runs with two outputs"
            )
        try:
            replaced = sources.get(_identity(job.output))
        except OSError:
            continue  # nothing is there yet
        if replaced:
            raise UsageError(
                f"the output {shown(job.output)} would replace the input {shown(replaced.source)}; choose another -o. "
                "halfmask never writes over the photos that it is given"
            )


def prepare(todo: Plan) -> None:
    """Make the output folder, see that it can be written to, and clear away what a killed run left half written.

    Raises :class:`~halfmask.errors.UsageError` when nothing can be written there.
    """
    first = todo.jobs[0].output.parent if todo.jobs else todo.out
    try:
        for folder in {todo.out if todo.out.is_dir() else first, first}:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder) as probe:
                probe.write(b"halfmask")
    except OSError as error:
        raise UsageError(
            f"nothing can be written to {shown(todo.out)}: {error.strerror or error}. Check that it is a folder of "
            "yours with room left, or choose another -o"
        ) from error
    for folder in {job.output.parent for job in todo.jobs}:
        clear_leftovers(folder)


def some(items: Sequence[str]) -> str:
    """The first of several names, and how many more there are."""
    rest = len(items) - _NAMED
    return ", ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
