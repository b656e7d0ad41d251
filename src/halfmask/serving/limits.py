"""What a server takes on, and what went wrong, in words."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

MEGA = 1_000_000


@dataclass(frozen=True)
class Limits:
    """How much, how many and how long.

    ``body_bytes`` is the largest request, ``pixels`` the largest photo, ``memory_bytes`` what photos and results may
    take up as files, ``decoded_bytes`` what of them is held decoded (one photo is so in any case). ``workers`` threads
    work at the same time and ``queue`` more requests may wait for one. What nobody asked for in ``kept_seconds`` is
    forgotten. A body has to be there after ``body_seconds``, and no ``idle_seconds`` may pass without a piece of it.
    """

    body_bytes: int = 100 * MEGA
    pixels: int = 100_000_000
    memory_bytes: int = 1000 * MEGA
    decoded_bytes: int = 500 * MEGA
    workers: int = 2
    queue: int = 32
    batches: int = 8
    kept_seconds: float = 900.0
    body_seconds: float = 120.0
    idle_seconds: float = 15.0


@dataclass(eq=False)
class Refused(Exception):
    """A request that is not done: HTTP ``status``, a ``code`` for programs and a ``message`` for people.

    ``more`` are further fields of the answer. ``id`` stands in the answer and in the server's log.

    >>> Refused(404, "not_found", "there is no such photo").answer()["error"]["code"]
    'not_found'
    """

    status: int
    code: str
    message: str
    headers: Mapping[str, str] = field(default_factory=dict)
    more: Mapping[str, Any] = field(default_factory=dict)
    id: str = field(default_factory=lambda: secrets.token_hex(6))

    def answer(self) -> dict[str, Any]:
        """The body of the answer."""
        return {"error": {"id": self.id, "code": self.code, "message": self.message, **self.more}}
