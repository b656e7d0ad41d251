"""The application: every route behind one guard, and the page."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from importlib import resources

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from .guard import Guard
from .limits import Limits, Refused
from .memory import Shelf
from .openapi import document
from .problems import told
from .routes import about, batches, photos, results, single
from .routes.endpoint import Endpoint, House
from .studio import Studio
from .work import Desk

ENDPOINTS: list[Endpoint] = [
    *about.ENDPOINTS,
    *photos.ENDPOINTS,
    *results.ENDPOINTS,
    *single.ENDPOINTS,
    *batches.ENDPOINTS,
]
#: The page's files and what each is.
_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}
_SWEEP = 30.0  # seconds between two looks for what is to be forgotten


def create(
    token: str, hosts: Iterable[str] = (), limits: Limits | None = None, shelf: Shelf | None = None
) -> Starlette:
    """The application, which answers under :data:`~halfmask.serving.guard.LOCAL` names and these ``hosts``.

    ``token`` is what each request below ``/api/`` has to bring; what it is made of is the caller's to care for.
    """
    limits = limits or Limits()
    shelf = shelf or Shelf(limits)
    house = House(limits, shelf, Desk(limits), Studio(limits, shelf))

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        async def sweep() -> None:
            while True:
                await asyncio.sleep(_SWEEP)
                shelf.forget()

        task = asyncio.create_task(sweep())
        try:
            yield
        finally:
            task.cancel()
            for batch in house.batches.values():
                if batch.task:
                    batch.task.cancel()
            house.desk.close()
            shelf.clear()

    app = Starlette(
        routes=[*_page(), *_api()],
        middleware=[Middleware(Guard, token=token, hosts=tuple(hosts))],
        exception_handlers={HTTPException: _http},
        lifespan=lifespan,
    )
    app.state.house = house
    app.state.document = document(ENDPOINTS)
    return app


def _api() -> list[Route]:
    by_path: dict[str, dict[str, Endpoint]] = {}
    for one in ENDPOINTS:
        by_path.setdefault(one.path, {})[one.verb] = one
    return [Route(path, _answering(verbs), methods=list(verbs)) for path, verbs in by_path.items()]


def _answering(verbs: dict[str, Endpoint]) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        verb = "GET" if request.method == "HEAD" else request.method
        try:
            return await verbs[verb].do(request)
        except Exception as error:
            return _refusal(told(error))

    return answer


def _refusal(refused: Refused) -> Response:
    return JSONResponse(refused.answer(), refused.status, dict(refused.headers))


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "there is nothing at this address", 405: "that cannot be done with this"}
    code = {404: "not_found", 405: "not_allowed"}.get(error.status_code, "refused")
    message = words.get(error.status_code, str(error.detail))
    return _refusal(Refused(error.status_code, code, message, dict(error.headers or {})))


def _page() -> list[Route]:
    """A route for each file of the page, read once; no other file can be asked for."""
    routes = []
    for file in resources.files(__package__).joinpath("static").iterdir():
        kind = _TYPES.get(file.name.rpartition(".")[2])
        if kind is not None:
            path = "/" if file.name == "index.html" else f"/{file.name}"
            routes.append(Route(path, _file(file.read_bytes(), kind), methods=["GET"]))
    return routes


def _file(data: bytes, kind: str) -> Callable[[Request], Awaitable[Response]]:
    async def answer(request: Request) -> Response:
        return Response(data, headers={"Content-Type": kind})

    return answer
