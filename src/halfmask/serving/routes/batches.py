"""Many photos that were given: protected one after the other, told of as it goes, and taken away as one zip."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import secrets
import zipfile
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse

from ..asking import Ask, only, options_of
from ..bodies import read_json
from ..limits import Refused
from ..memory import Held, Kept
from ..names import another, disposition
from ..problems import told
from .endpoint import Endpoint, House, house

_MOST = 5000
_BEAT = 10.0  # seconds after which a silent stream says that it is alive
#: The entry of a zip that names what is in it unprotected, or not in it.
LEFT = "NOT PROTECTED.txt"


@dataclass(eq=False)
class Batch:
    """Photos in a row, as (id, name). ``events`` are what became of each; ``news`` is set when there is one more."""

    photos: list[tuple[str, str]]
    ask: Ask
    id: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    events: list[dict[str, Any]] = field(default_factory=list)
    done: bool = False
    news: asyncio.Event = field(default_factory=asyncio.Event)
    task: asyncio.Task[None] | None = None

    def tell(self) -> None:
        """Wake whoever waits for news."""
        self.news.set()
        self.news = asyncio.Event()

    async def more(self, seen: int) -> bool:
        """Wait until there are more events than seen; False when there will be none, or nothing came for a while."""
        if len(self.events) <= seen and not self.done:
            try:
                await asyncio.wait_for(self.news.wait(), _BEAT)
            except TimeoutError:
                return False
        return len(self.events) > seen


async def _work(at: House, batch: Batch) -> None:
    try:
        for index, (id, name) in enumerate(batch.photos):
            event: dict[str, Any] = {"index": index, "photo": id, "name": name}
            try:
                at.shelf.touch([waiting for waiting, _ in batch.photos])
                held = at.shelf.photo(id)

                def work(held: Held = held) -> Kept:
                    kept = at.studio.protect(held, batch.ask)
                    at.studio.encode(kept)
                    return kept

                kept = await at.desk.run_later(work)
                at.shelf.keep(kept)
                event |= {
                    "result": kept.id,
                    "unprotected": kept.about["unprotected"],
                    "faces": len(kept.about["faces"]),
                }
            except Exception as error:  # one bad photo never stops the rest
                event |= told(error).answer()
            batch.events.append(event)
            batch.tell()
    finally:
        batch.done = True
        batch.tell()


def _batch(request: Request) -> Batch:
    found = house(request).batches.get(request.path_params["id"])
    if found is None:
        raise Refused(404, "not_found", "there is no such batch, or it was removed")
    batch: Batch = found
    return batch


async def begin(request: Request) -> Response:
    """Begin a batch."""
    at = house(request)
    body = only(await read_json(request, at.limits, at.shelf), "photos", "options")
    ids = body.get("photos")
    if not isinstance(ids, list) or not 1 <= len(ids) <= _MOST or not all(isinstance(id, str) for id in ids):
        raise Refused(422, "bad_photos", f"photos is no list of 1 to {_MOST} ids of photos that were given")
    options = body.get("options", {})
    ask = options_of(only(options, *options) if isinstance(options, dict) else only(options))
    batch = Batch([(id, at.shelf.photo(id).name) for id in ids], ask)
    for old in [b for b in at.batches.values() if b.done][: max(0, len(at.batches) + 1 - at.limits.batches)]:
        del at.batches[old.id]
    if len(at.batches) >= at.limits.batches:
        raise Refused(429, "busy", "too many batches are running; wait for one, or remove it", {"Retry-After": "10"})
    at.batches[batch.id] = batch
    batch.task = asyncio.create_task(_work(at, batch))
    return JSONResponse({"id": batch.id, "photos": len(batch.photos)}, 202)


async def events(request: Request) -> Response:
    """What became of each photo, as it happens."""
    batch = _batch(request)

    async def stream() -> AsyncIterator[str]:
        seen = 0
        while True:
            if await batch.more(seen):
                yield f"event: photo\ndata: {json.dumps(batch.events[seen])}\n\n"
                seen += 1
            elif batch.done:
                yield f"event: done\ndata: {json.dumps({'photos': len(batch.photos), 'told': seen})}\n\n"
                return
            else:
                yield ": still at it\n\n"

    return StreamingResponse(stream(), media_type="text/event-stream")


class _Pipe(io.RawIOBase):
    """What a zip is written into, and taken out of piece by piece."""

    def __init__(self) -> None:
        self.pieces = bytearray()

    def writable(self) -> bool:
        """It is."""
        return True

    def write(self, data: Any) -> int:
        """Keep it until it is taken."""
        self.pieces += data
        return len(data)

    def take(self) -> bytes:
        """What was written since the last time."""
        taken, self.pieces = bytes(self.pieces), bytearray()
        return taken


async def zipped(request: Request) -> Response:
    """The results as a zip, each as soon as it is there."""
    at, batch = house(request), _batch(request)

    async def stream() -> AsyncIterator[bytes]:
        pipe, seen, names = _Pipe(), 0, {LEFT}
        left: list[str] = []
        with zipfile.ZipFile(pipe, "w", zipfile.ZIP_STORED) as archive:
            while True:
                if await batch.more(seen):
                    event = batch.events[seen]
                    seen += 1
                    try:
                        kept = at.shelf.result(event["result"]) if "result" in event else None
                    except Refused as error:
                        event = event | error.answer()
                        kept = None
                    if kept is None or kept.data is None:
                        left.append(f"{event['name']}: not in this zip: {event.get('error', {}).get('message', '')}")
                        continue
                    names.add(name := another(kept.name, names))
                    if event["unprotected"] or not event["faces"]:
                        faces = event["unprotected"] or "no face was found, and any that is there"
                        left.append(f"{name}: UNPROTECTED faces: {faces}")
                    archive.writestr(zipfile.ZipInfo(name), kept.data)
                    yield pipe.take()
                elif batch.done:
                    break
            if seen < len(batch.photos):
                left.append(f"{len(batch.photos) - seen} more were not begun: the batch was stopped")
            if left:
                archive.writestr(zipfile.ZipInfo(LEFT), "\n".join(left) + "\n")
        yield pipe.take()

    named = {"Content-Disposition": disposition("protected.zip")}
    return StreamingResponse(stream(), media_type="application/zip", headers=named)


async def remove(request: Request) -> Response:
    """Stop a batch, and forget its results."""
    at, batch = house(request), _batch(request)
    at.batches.pop(batch.id, None)
    if batch.task:
        batch.task.cancel()
    for event in batch.events:
        with contextlib.suppress(Refused):  # it may have been forgotten before
            at.shelf.drop_result(event.get("result", ""))
    return Response(status_code=204)


_ONE = "/api/v1/batches/{id}"
ENDPOINTS = [
    Endpoint(
        "POST",
        "/api/v1/batches",
        begin,
        "Protect photos that were given, one after the other, each with its faces as chosen; options are as for "
        "/protect, and hold for all.",
        {202: "Batch"},
        takes="BeginBatch",
        fails=(404, 501),
    ),
    Endpoint(
        "GET",
        f"{_ONE}/events",
        events,
        "Server-sent events, from the first: photo (what became of it), then done.",
        {200: "text/event-stream"},
        fails=(404,),
    ),
    Endpoint(
        "GET",
        f"{_ONE}/zip",
        zipped,
        f"The results as a zip, each sent as soon as it is there; {LEFT} in it says what is not, if anything.",
        {200: "application/zip"},
        fails=(404,),
    ),
    Endpoint("DELETE", _ONE, remove, "Stop a batch and forget its results; its photos stay.", {204: ""}, fails=(404,)),
]
