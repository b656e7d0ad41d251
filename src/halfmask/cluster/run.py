"""Protect the photos of addresses: what is to be done, and doing it.

What was done stands beside the outputs (:mod:`halfmask.cluster.manifest`).
"""

from __future__ import annotations

import time
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from .. import methods
from ..errors import UsageError, shown
from ..methods import METHODS
from ..methods.key import own_key
from ..photos.encode import format_of
from ..photos.listing import is_photo
from ..protecting import pipeline
from ..protecting.known import NOTHING, Known, read_known
from ..protecting.options import Options
from ..protecting.plan import Job
from ..protecting.records import mark_of, not_ours, state_of, text_of
from .hands import hand_out
from .manifest import DONE, FOREIGN, TODO, WITHOUT, Kept, kept
from .places import Place, renamed
from .work import Task, Worker

_FLUSH = 30.0  # seconds between two notes of what was done


@dataclass
class Plan:
    """What is to be done at an address; ``settled`` are the outcomes that are known before any work."""

    tasks: list[Task]
    settled: list[pipeline.Outcome]
    kept: Kept
    ignored: int = 0
    problems: list[tuple[str, str]] = field(default_factory=list)
    pictures: list[tuple[str, str]] = field(default_factory=list)

    @property
    def total(self) -> int:
        """How many photos there are."""
        return len(self.tasks) + len(self.settled)


def plan(
    sources: Sequence[str],
    output: str,
    options: Options,
    *,
    labels: str | None = None,
    boxes: str | None = None,
    overwrite: bool = False,
) -> Plan:
    """Find the photos of addresses and what of them is to be done.

    One source's photos go straight below the output with their structure; among several each keeps the last name of
    its address. Raises :class:`~halfmask.errors.UsageError` for what makes no sense: nothing there, an output within a
    source, two photos that would become one file.
    """
    place = Place(output)
    ours = kept(place)
    tasks: dict[str, Task] = {}
    files: dict[str, Path] = {}  # the photos that are files
    ignored = 0
    problems: list[tuple[str, str]] = []
    pictures: list[tuple[str, str]] = []
    wanted = format_of(options.format) if options.format else None
    for source in dict.fromkeys(sources):
        given = Place(source)
        _refuse_within(place, given)
        found = given.photos()
        single = [entry.path for entry in found.photos] == [given.root]
        if single and len(sources) == 1 and is_photo(output):
            raise UsageError(
                f"with an address or --on ray -o is a folder, and {shown(output)} has a picture's name; give a folder"
            )
        own = f"{given.last}/" if len(sources) > 1 and not single else ""
        ignored += found.ignored
        problems += found.problems
        pictures += found.pictures
        for entry in found.photos:
            name = renamed(own + entry.name, wanted)
            if name in tasks:
                raise UsageError(
                    f"{shown(tasks[name].path)} and {shown(entry.path)} would both be written to {shown(name)}; "
                    "protect them in two runs with two outputs"
                )
            tasks[name] = Task(own + entry.name, source, entry.path, name, entry.size, entry.state, "", wanted)
            if given.local:
                files[name] = Path(entry.path)
    jobs = {name: Job(Path(task.name), Path(name), task.name) for name, task in tasks.items()}
    known = read_known(labels, boxes, list(jobs.values()))
    todo, settled = _settle(tasks, files, known, ours, options, overwrite)
    ours.begin(todo)
    return Plan(todo, settled, ours, ignored, problems, pictures)


def _settle(
    tasks: Mapping[str, Task],
    files: Mapping[str, Path],
    known: Mapping[Path, Known],
    ours: Kept,
    options: Options,
    overwrite: bool,
) -> tuple[list[Task], list[pipeline.Outcome]]:
    """Which photos are done, which must be left, and which are to be made."""
    method = methods.load(options.method, threads=1, **options.asked)
    how = text_of(options.how(method.fingerprint))
    todo: list[Task] = []
    settled: list[pipeline.Outcome] = []
    for name, task in tasks.items():
        about = known.get(Path(task.name), NOTHING)
        of = state_of(files[name]) if name in files else [task.size, task.etag]  # a file's as runs without Ray see it
        task = replace(task, known=about, mark=mark_of(how, of, about))
        state = TODO if overwrite else ours.state(task, files.get(name, b""))
        if state == FOREIGN:
            reason = not_ours(name, ours.name)
            settled.append(pipeline.Outcome(task.job, pipeline.FAILED, reason=reason))
        elif state == DONE:
            settled.append(pipeline.Outcome(task.job, pipeline.THERE))
        elif state == WITHOUT and options.if_no_face == "skip":
            settled.append(pipeline.Outcome(task.job, pipeline.SKIPPED))
        else:
            todo.append(task)
    return todo, settled


def run(
    todo: Plan, options: Options, output: str, *, on: str = "local", address: str | None = None, workers: int = 0
) -> Generator[pipeline.Outcome, None, None]:
    """Work through a plan; gives each outcome as it comes, in no fixed order.

    ``on`` is "local", threads of this process, or "ray": Ray at ``address``, or a Ray of its own on this machine.
    ``workers`` 0 means one a core, of all machines. When the caller stops iterating, work stops, what was done is
    kept, and the same call does the rest. Raises :class:`~halfmask.errors.UsageError` for an address that only this
    process sees, with Ray.
    """
    yield from todo.settled
    if not todo.tasks:
        todo.kept.close()
        return
    work = Worker(_with_key(options), output)
    source = hand_out(todo.tasks, work, {output}, on=on, address=address, workers=workers)
    flushed, seen = time.monotonic(), set[str]()
    try:
        for done in source:
            if done.task.output in seen:  # a block that was lost with its machine comes again
                continue
            seen.add(done.task.output)
            if done.outcome.status != pipeline.FAILED:
                todo.kept.add(done.task, done.outcome.status, done.etag)
            if time.monotonic() - flushed > _FLUSH:
                todo.kept.flush()
                flushed = time.monotonic()
            yield done.outcome
            if done.outcome.fatal:
                break
    finally:
        source.close()
        todo.kept.close()


def _with_key(options: Options) -> Options:
    """The options with the user's key in them, so that no worker's machine needs one, or draws by another."""
    if "key" not in METHODS[options.method].cls.settings or options.settings.get("key") is not None:
        return options
    return replace(options, settings={**options.settings, "key": own_key()})


def _refuse_within(output: Place, source: Place) -> None:
    same = output.protocols == source.protocols
    if same and (output.root == source.root or output.root.startswith(source.root.rstrip("/") + "/")):
        raise UsageError(
            f"the output {shown(output.address)} lies inside the input {shown(source.address)}, so a second run would "
            "take its own results for photos; choose a place outside it"
        )
