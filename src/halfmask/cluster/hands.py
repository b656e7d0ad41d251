"""Who hands out the work: by Ray to many machines, or to threads of this one.

Rows are names of photos in and outcomes out; pixels never pass Ray's object store. A photo may be worked on more than
once, when a worker or a machine dies.
"""

from __future__ import annotations

import os
import pickle
from collections.abc import Generator, Iterable, Mapping, Sequence, Set
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TYPE_CHECKING, Any, Protocol, cast

from ..errors import PhotoError, UsageError, require, shown
from ..protecting import pipeline
from .places import Place
from .work import Done, Outcome, Task

if TYPE_CHECKING:
    import ray

#: How often a photo is begun before it is held to be what kills its worker.
TRIES = 2
#: Photos that a worker takes at once, and the bytes of their files: what is lost, and done again, when it dies.
BLOCK, BYTES = 32, 16_000_000
_FORGET = 500  # outcomes after which the ledger drops what it noted of them


class Work(Protocol[Outcome]):
    """What is done with each task: by many threads at once, and, pickled, elsewhere."""

    def __call__(self, task: Task) -> Done[Outcome]:
        """Do it; whatever it raises becomes the outcome."""

    def left(self, task: Task, reason: PhotoError) -> Done[Outcome]:
        """What becomes of a task that is not tried again."""


def hand_out(
    tasks: Sequence[Task],
    work: Work[Outcome],
    places: Set[str] = frozenset(),
    *,
    on: str = "local",
    address: str | None = None,
    workers: int = 0,
) -> Generator[Done[Outcome], None, None]:
    """Do every task; gives what became of each as it comes, in no fixed order, and a task may come twice.

    ``on`` is "local", threads of this process, or "ray": Ray at ``address``, or a Ray of its own on this machine.
    ``workers`` 0 means one a core, of all machines. ``places`` are addresses that the work needs beside those of the
    tasks. Raises :class:`~halfmask.errors.UsageError` for an address that only this process sees, with Ray.
    """
    if on != "ray":
        return _in_threads(tasks, work, workers)
    if not all(Place(a).shared for a in {*places, *(task.source for task in tasks)}):
        raise UsageError("what is in memory:// is seen by one process alone, so Ray's workers cannot read or write it")
    return _by_ray(tasks, work, workers, address)


def _in_threads(tasks: Iterable[Task], work: Work[Outcome], workers: int) -> Generator[Done[Outcome], None, None]:
    """Every task by a thread of this process; the networks are shared."""
    workers = workers or pipeline.cores()
    waiting = iter(tasks)
    running: set[Future[Done[Outcome]]] = set()
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


def _by_ray(
    tasks: Sequence[Task], work: Work[Outcome], workers: int, address: str | None
) -> Generator[Done[Outcome], None, None]:
    """Every task by actors of Ray Data that hold their networks."""
    ray, ours = _ray(address)
    import ray.data as data
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    context = data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    workers = workers or max(1, int(ray.cluster_resources().get("CPU", 1)))
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
    ledger = ray.remote(num_cpus=0, scheduling_strategy=here)(Ledger).remote()  # no other machine's end ends the run
    rows = [{"tasks": pickle.dumps(block)} for block in blocks_of(tasks, workers)]
    dataset = data.from_items(rows, override_num_blocks=len(rows)).map(
        cast(Any, Actor),
        fn_constructor_args=(work, ledger),
        compute=data.ActorPoolStrategy(size=min(workers, len(rows))),
        num_cpus=1,
    )
    finished: list[str] = []
    try:
        for row in dataset.iter_rows():
            for one in pickle.loads(row["done"]):  # ours, from our own actors
                done: Done[Outcome] = pickle.loads(one)
                yield done
                finished.append(done.task.output)
            if len(finished) >= _FORGET:
                ledger.forget.remote(finished)
                finished = []
    finally:
        ray.kill(ledger)
        if ours:
            ray.shutdown()


def blocks_of(tasks: Sequence[Task], workers: int) -> list[list[Task]]:
    """The tasks as workers take them: of few, so many blocks that nobody waits long for the last.

    >>> tasks = [Task("a.jpg", "photos", "photos/a.jpg", "a.jpg", 3_000_000, "", "")] * 12
    >>> [len(block) for block in blocks_of(tasks, 1)], [len(block) for block in blocks_of(tasks * 9, 2)]
    ([3, 3, 3, 3], [5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 5, 3])
    """
    most = min(BLOCK, -(-len(tasks) // (4 * workers)))
    blocks: list[list[Task]] = []
    size = 0
    for task in tasks:
        if not blocks or len(blocks[-1]) >= most or size + task.size > BYTES:
            blocks.append([])
            size = 0
        blocks[-1].append(task)
        size += task.size
    return blocks


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

    An actor of Ray that needs no core, on the driver's machine. So a photo that kills its worker is found out, and one
    that is done is not done again when the block around it is. A call costs all who take part about a millisecond, so a
    block begins and ends as a whole; only when a worker died at it each of its photos is begun and ended alone.

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
    """A worker as Ray Data calls it: a row with a block of tasks in, one with what became of each out."""

    def __init__(self, work: Work[Any], ledger: ray.actor.ActorHandle[Ledger]) -> None:
        self._work = work
        self._ledger = ledger

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Do each task, unless an earlier try has done it or died of it too often."""
        import ray

        tasks: list[Task] = pickle.loads(row["tasks"])  # ours, from our own driver
        known: dict[str, bytes]
        died: bool
        known, died = ray.get(self._ledger.begin.remote([task.output for task in tasks]))
        fresh: dict[str, bytes] = {}
        for task in tasks:
            if task.output in known:
                continue
            tries: int = ray.get(self._ledger.alone.remote(task.output)) if died else 1
            done = self._work.left(task, _deadly(tries - 1)) if tries > TRIES else self._work(task)
            fresh[task.output] = pickle.dumps(done)
            if died:
                ray.get(self._ledger.end.remote({task.output: fresh[task.output]}))
        if fresh and not died:
            ray.get(self._ledger.end.remote(fresh))
        known |= fresh
        return {"done": pickle.dumps([known[task.output] for task in tasks])}


def _deadly(workers: int) -> PhotoError:
    return PhotoError(
        f"{workers} workers died, the last of them at it, so it is not tried again; give it alone to see why"
    )
