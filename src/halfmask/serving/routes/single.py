"""One file in, one answer out, and nothing is kept."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..asking import OPTIONS, from_text
from ..bodies import read_file
from ..limits import Refused
from ..memory import Held, Kept
from ..names import clean, from_header
from .endpoint import Endpoint, house
from .results import as_file

#: Faces that are told of in a header, which has to stay short.
_FACES = 20


async def _protected(request: Request, **fixed: Any) -> Response:
    at = house(request)
    asked = dict(request.query_params)
    from_text(asked, **fixed)  # what makes no sense is told before anything is read
    data, name, fields = await read_file(request, at.limits, at.shelf)
    ask = from_text(asked | fields, **fixed)
    held = Held(data, clean(name) if name else from_header(request.headers.get("x-halfmask-name", "")))

    def work() -> tuple[Kept, bytes]:
        kept = at.studio.protect(held, ask)
        matches = at.studio.matches(kept)
        for face in kept.about["faces"]:
            face["match"] = matches.get(face["number"] - 1)
        return kept, at.studio.encode(kept)

    kept, encoded = await at.desk.run(work)
    return as_file(kept, encoded, {"X-Halfmask-Report": report(kept.about)})


def report(about: dict[str, Any]) -> str:
    r"""What a result's header says of it, as JSON in ASCII.

    >>> report({"faces": [], "unprotected": 0, "notes": ["é"]})
    '{"faces":0,"changed":0,"unprotected":0,"notes":["\\u00e9"],"first":[]}'
    """
    faces = about["faces"]
    told = {
        "faces": len(faces),
        "changed": sum(face["changed"] for face in faces),
        "unprotected": about["unprotected"],
        "notes": about["notes"],
        "first": [
            {name: face[name] for name in ("number", "box", "changed", "unprotected", "match")}
            for face in faces[:_FACES]
        ],
    }
    return json.dumps(told, separators=(",", ":"))


async def protect(request: Request) -> Response:
    """Protect a photo."""
    return await _protected(request)


async def deidentify(request: Request) -> Response:
    """Have recognisers match a photo less to its person."""
    if odd := {"method", "hide", "gender", "prototype"} & set(request.query_params):
        raise Refused(422, "unknown_option", f"{min(odd)} is no option of deidentify")
    return await _protected(request, method="deidentify")


async def predict(request: Request) -> Response:
    """What our own classifiers take the faces of a photo for."""
    at = house(request)
    data, _, _ = await read_file(request, at.limits, at.shelf)
    return JSONResponse(await at.desk.run(lambda: at.studio.predict(data)))


_TYPES: dict[type, str] = {str: "string", int: "integer", float: "number", bool: "boolean"}


def _query(*without: str) -> dict[str, dict[str, Any]]:
    return {
        name: {"type": "string" if str in kinds else _TYPES[kinds[0]]}
        for name, kinds in OPTIONS.items()
        if name not in without
    }


ENDPOINTS = [
    Endpoint(
        "POST",
        "/api/v1/protect",
        protect,
        "Protect one photo: the file is the body, or the part named file of a form; options in the query or the form. "
        "X-Halfmask-Report tells of the faces, as JSON. Nothing is kept.",
        {200: "image/*"},
        takes="file",
        fails=(501,),
        query=_query(),
    ),
    Endpoint(
        "POST",
        "/api/v1/deidentify",
        deidentify,
        "Have recognisers match one photo less to its person; as /protect. It needs halfmask[train] on the server.",
        {200: "image/*"},
        takes="file",
        fails=(501,),
        query=_query("method", "hide", "gender", "prototype"),
    ),
    Endpoint(
        "POST",
        "/api/v1/predict",
        predict,
        "What halfmask's own classifiers take the faces of one photo for: guesses, no facts.",
        {200: "Predictions"},
        takes="file",
    ),
]
