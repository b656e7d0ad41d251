"""What every route is: a path, a verb, what it does, and what the OpenAPI document says of it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..limits import Limits
from ..memory import Shelf
from ..studio import Studio
from ..work import Desk


@dataclass(frozen=True)
class House:
    """What all routes share."""

    limits: Limits
    shelf: Shelf
    desk: Desk
    studio: Studio
    batches: dict[str, Any] = field(default_factory=dict)


def house(request: Request) -> House:
    """The house that a request came to."""
    found: House = request.app.state.house
    return found


@dataclass(frozen=True)
class Endpoint:
    """One operation of the API.

    ``gives`` is the answer when all goes well: status → schema's name, or a media type. ``takes`` is the body: the name
    of a schema, ``"file"`` for a raw picture, None for none. ``fails`` are statuses beside those that every operation
    has. ``query`` are parameters, name → schema; ``does`` is told to people.
    """

    verb: str
    path: str
    do: Callable[[Request], Awaitable[Response]]
    does: str
    gives: Mapping[int, str]
    takes: str | None = None
    fails: tuple[int, ...] = ()
    query: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
