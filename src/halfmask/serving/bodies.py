"""Bodies of requests, read into memory under limits of size and time, whatever their headers say."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

from starlette.requests import ClientDisconnect, Request

from .limits import MEGA, Limits, Refused
from .memory import Shelf

#: The largest JSON that makes sense: an option for each of many faces.
_JSON = MEGA // 2


async def read(request: Request, limits: Limits, shelf: Shelf, most: int | None = None) -> bytes:
    """The whole body. Raises :class:`~halfmask.serving.limits.Refused` for one too large, too slow, or cut off."""
    most = limits.body_bytes if most is None else most
    said = request.headers.get("content-length", "0")
    if not (said.isascii() and said.isdigit()) or int(said[:20]) > most:
        raise _too_large(most)
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise Refused(415, "encoded", "the body is compressed on its way; send the file as it is")
    with shelf.claim() as grow:
        return await _pieces(request, most, limits, grow)


async def _pieces(request: Request, most: int, limits: Limits, grow: Callable[[int], None]) -> bytes:
    body, began = bytearray(), time.monotonic()
    stream = request.stream().__aiter__()
    while True:
        left = limits.body_seconds - (time.monotonic() - began)
        try:
            piece = await asyncio.wait_for(anext(stream), max(0.001, min(left, limits.idle_seconds)))
        except StopAsyncIteration:
            return bytes(body)
        except TimeoutError as error:
            raise Refused(
                408, "too_slow", "the body came too slowly; send it again over a faster line", {"Connection": "close"}
            ) from error
        except ClientDisconnect as error:
            raise Refused(400, "cut_off", "the body ended before it was whole") from error
        if len(body) + len(piece) > most:
            raise _too_large(most)
        grow(len(piece))
        body += piece


def _too_large(most: int) -> Refused:
    return Refused(
        413,
        "too_large",
        f"the file is too large: at most {most / MEGA:g} MB are taken. Make it smaller, or start the server with a "
        "higher limit: halfmask serve --max-megabytes",
        {"Connection": "close"},
    )


async def read_json(request: Request, limits: Limits, shelf: Shelf) -> Any:
    """The body as JSON; an empty one is an empty object."""
    data = await read(request, limits, shelf, _JSON)
    if not data.strip():
        return {}
    try:
        return json.loads(data.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise Refused(400, "bad_json", "the request's body is no JSON in UTF-8") from error


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is no JSON")


async def read_file(request: Request, limits: Limits, shelf: Shelf) -> tuple[bytes, str, dict[str, str]]:
    """A file that is the body itself, or the part ``file`` of a form: its bytes, its name and the form's other fields.

    A form is taken apart in memory: the usual reader would spool it to a file.
    """
    data = await read(request, limits, shelf)
    kind = request.headers.get("content-type", "")
    if not kind.lower().startswith("multipart/form-data"):
        return data, "", {}
    from python_multipart import create_form_parser
    from python_multipart.exceptions import FormParserError

    files: list[tuple[bytes, str]] = []
    fields: dict[str, str] = {}

    def field(one: Any) -> None:
        fields[(one.field_name or b"").decode(errors="replace")] = (one.value or b"").decode(errors="replace")

    def file(one: Any) -> None:
        if one.field_name == b"file":
            files.append((one.file_object.getvalue(), (one.file_name or b"").decode(errors="replace")))

    config = {"MAX_MEMORY_FILE_SIZE": len(data) + 1, "MAX_BODY_SIZE": len(data) + 1}
    try:
        parser = create_form_parser({"Content-Type": kind.encode()}, field, file, config=config)
        parser.write(data)
        parser.finalize()
    except (FormParserError, ValueError) as error:
        raise Refused(
            400, "bad_form", "the form cannot be read; send one part named file, or the file itself"
        ) from error
    if len(files) != 1:
        raise Refused(400, "bad_form", f"the form holds {len(files)} parts named file; expected one")
    return (*files[0], fields)
