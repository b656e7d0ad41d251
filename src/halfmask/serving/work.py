"""Whose turn it is: a few threads, a queue that ends, and an honest answer when it is full."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from .limits import Limits, Refused

T = TypeVar("T")


class Desk:
    """Runs work in ``limits.workers`` threads; ``limits.queue`` more may wait, and who comes then is refused."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._pool: ThreadPoolExecutor | None = None
        self._taken = 0
        self._seconds = 1.0  # of a piece of work, in the mean of late
        self._room = asyncio.Event()

    async def run(self, work: Callable[[], T]) -> T:
        """What the work gives; raises :class:`~halfmask.serving.limits.Refused` (429) when too many wait."""
        if self._taken >= self._limits.workers + self._limits.queue:
            wait = max(1, math.ceil(self._seconds * self._taken / self._limits.workers))
            raise Refused(
                429,
                "busy",
                f"{self._taken} requests are being worked on and no more may wait; try again in {wait} s",
                {"Retry-After": str(wait)},
            )
        if self._pool is None:
            self._pool = ThreadPoolExecutor(self._limits.workers, thread_name_prefix="halfmask-serve")
        self._taken += 1
        future = asyncio.get_running_loop().run_in_executor(self._pool, lambda: self._timed(work))
        future.add_done_callback(self._done)
        return await asyncio.shield(future)

    async def run_later(self, work: Callable[[], T]) -> T:
        """As :meth:`run`, for what can wait: its turn comes when a thread is free, after all that were queued."""
        while self._taken >= self._limits.workers:
            self._room.clear()
            await self._room.wait()
        return await self.run(work)

    def _timed(self, work: Callable[[], T]) -> T:
        began = time.monotonic()
        try:
            return work()
        finally:
            self._seconds += 0.2 * (time.monotonic() - began - self._seconds)

    def _done(self, future: asyncio.Future[T]) -> None:
        self._taken -= 1
        self._room.set()
        if not future.cancelled():
            future.exception()  # so that nobody complains of one that nobody waited for

    def close(self) -> None:
        """Begin nothing of what waits, and end the threads."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown(wait=False, cancel_futures=True)
