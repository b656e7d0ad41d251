"""Who hands out the work: by Ray to many machines, or to threads of this one.

Rows are names of photos in and outcomes out; pixels never pass Ray's object store. A photo may be worked on more than
once, when a worker or a machine dies, but its output is whole and one, since writing it is one step of the store and
every try writes the same bytes. What was done stands beside the outputs (:mod:`halfmask.cluster.manifest`).
"""

from __future__ import annotations

import os
import pickle
import time
from collections.abc import Generator, Iterable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from .. import methods
from ..errors import UsageError, require, shown
from ..methods import METHODS
from ..methods.key import own_key
from ..photos.encode import format_of
from ..photos.listing import is_photo
from ..protecting import pipeline
from ..protecting.known import NOTHING, Known, read_known
from ..protecting.options import Options
from ..protecting.plan import Job
from ..protecting.records import mark_of, state_of, text_of
from .manifest import DONE, FOREIGN, TODO, WITHOUT, Kept, kept
from .places import Place, renamed
from .work import Done, Task, Worker, quarantined

if TYPE_CHECKING:
    import pyarrow
    import ray

#: How often a photo is begun before it is held to be what kills its worker.
TRIES = 2
#: Photos that a worker takes at once: what is lost, and done again, when it dies.
BLOCK = 8
_FLUSH = 30.0  # seconds between two notes of what was done
_FORGET = 500  # outcomes after which the ledger drops what it noted of them


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
            reason = (
                f"the output {shown(name)} was not made by halfmask, or changed since, as {ours.name} tells, so it "
                "is left as it is; give --overwrite to replace it, or choose another -o"
            )
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
    if on == "ray" and not all(Place(a).shared for a in {output, *(task.source for task in todo.tasks)}):
        raise UsageError("what is in memory:// is seen by one process alone, so Ray's workers cannot read or write it")
    options = _with_key(options)
    if on == "ray":
        source = by_ray(todo.tasks, options, output, workers=workers, address=address)
    else:
        source = in_threads(todo.tasks, options, output, workers=workers)
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


def in_threads(
    tasks: Iterable[Task], options: Options, output: str, *, workers: int = 0
) -> Generator[Done, None, None]:
    """Every task by a thread of this process; the networks are shared."""
    workers = workers or pipeline.cores()
    work = Worker(options, output)
    waiting = iter(tasks)
    running: set[Future[Done]] = set()
    with ThreadPoolExecutor(workers, thread_name_prefix="halfmask") as pool:
        try:
            while True:
                while len(running) < 2 * workers and (task := next(waiting, None)) is not None:
                    running.add(pool.submit(work, task))
                if not running:
                    return
                finished, running = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    yield future.result()
        finally:
            for future in running:
                future.cancel()


def by_ray(
    tasks: Sequence[Task], options: Options, output: str, *, workers: int = 0, address: str | None = None
) -> Generator[Done, None, None]:
    """Every task by actors of Ray Data that hold one engine each."""
    ray, ours = _ray(address)
    import ray.data as data

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    ledger = ray.remote(num_cpus=0)(Ledger).remote()
    rows = [{"task": pickle.dumps(task)} for task in tasks]
    blocks = min(len(rows), max(workers, -(-len(rows) // BLOCK)))
    dataset = data.from_items(rows, override_num_blocks=blocks).map_batches(
        cast(Any, Actor),
        batch_size=None,  # a block
        batch_format="pyarrow",
        fn_constructor_args=(Worker(options, output), ledger),
        compute=data.ActorPoolStrategy(size=min(workers, blocks)),
        num_cpus=1,
    )
    finished: list[str] = []
    try:
        for row in dataset.iter_rows():
            done: Done = pickle.loads(row["done"])  # ours, from our own actors
            yield done
            finished.append(done.task.output)
            if len(finished) >= _FORGET:
                ledger.forget.remote(finished)
                finished = []
    finally:
        ray.kill(ledger)
        if ours:
            ray.shutdown()


def _ray(address: str | None) -> tuple[Any, bool]:
    """Ray, connected, and whether this call did so; its statistics of use are off."""
    require(("ray",), "--on ray")
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    os.environ.setdefault("RAY_DATA_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import logging

    import ray

    ours = not ray.is_initialized()
    if ours:
        try:
            ray.init(
                address=address,
                include_dashboard=False if address is None else None,
                log_to_driver=False,
                logging_level=logging.ERROR,
                configure_logging=True,
            )
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise UsageError(f"Ray at {shown(address or 'this machine')} cannot be reached: {error}") from error
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    return ray, ours


class Ledger:
    """Counts how often each task was begun, and keeps what became of it until the driver has it.

    An actor of Ray that needs no core. So a photo that kills its worker is found out, and one that is done is not done
    again when the block around it is. A call costs all who take part about a millisecond, so a block begins and ends as
    a whole; only when a worker died at it each of its photos is begun and ended alone.

    >>> ledger = Ledger()
    >>> ledger.begin(["a", "b"]), ledger.begin(["a", "b"])  # the second worker, after the first one died
    (({}, False), ({}, True))
    >>> ledger.alone("a"), ledger.end({"a": b"done"}), ledger.alone("b")
    (2, None, 2)
    >>> ledger.begin(["a", "b"]), ledger.alone("b")  # b has killed two
    (({'a': b'done'}, True), 3)
    """

    def __init__(self) -> None:
        self._tries: dict[str, int] = {}
        self._done: dict[str, bytes] = {}

    def begin(self, names: Sequence[str]) -> tuple[dict[str, bytes], bool]:
        """Note a first try of a block; gives what is known of its tasks from an earlier one, and whether one died.

        If so nothing is noted, and each task is to be begun by :meth:`alone`.
        """
        known = {name: self._done[name] for name in names if name in self._done}
        fresh = [name for name in names if name not in known]
        died = any(name in self._tries for name in fresh)
        if not died:
            self._tries |= dict.fromkeys(fresh, 1)
        return known, died

    def alone(self, name: str) -> int:
        """Note a try of one task; gives its number, from 1."""
        self._tries[name] = self._tries.get(name, 0) + 1
        return self._tries[name]

    def end(self, done: Mapping[str, bytes]) -> None:
        """Keep what became of tasks."""
        self._done |= done

    def forget(self, names: Sequence[str]) -> None:
        """Drop what is no longer asked for."""
        for name in names:
            self._done.pop(name, None)


class Actor:
    """A worker as Ray Data calls it: a block of tasks in, what became of each out."""

    def __init__(self, work: Worker, ledger: ray.actor.ActorHandle[Ledger]) -> None:
        self._work = work
        self._ledger = ledger

    def __call__(self, block: pyarrow.Table) -> pyarrow.Table:
        """Do each task, unless an earlier try has done it or died of it too often."""
        import pyarrow
        import ray

        tasks: list[Task] = [pickle.loads(row) for row in block["task"].to_pylist()]  # ours, from our own driver
        known: dict[str, bytes]
        died: bool
        known, died = ray.get(self._ledger.begin.remote([task.output for task in tasks]))
        fresh: dict[str, bytes] = {}
        for task in tasks:
            if task.output in known:
                continue
            tries: int = ray.get(self._ledger.alone.remote(task.output)) if died else 1
            done = quarantined(task, tries - 1) if tries > TRIES else self._work(task)
            fresh[task.output] = pickle.dumps(done)
            if died:
                ray.get(self._ledger.end.remote({task.output: fresh[task.output]}))
        if fresh and not died:
            ray.get(self._ledger.end.remote(fresh))
        known |= fresh
        return pyarrow.table({"done": [known[task.output] for task in tasks]})


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
