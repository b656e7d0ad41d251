"""The OpenAPI document, made of what each route says of itself; the schemas of what goes in and out stand here."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

from .. import __version__
from ..methods.choice import PROTOTYPES
from ..protecting.options import GENDERS
from .asking import SERVED
from .routes.endpoint import Endpoint


def _object(needed: dict[str, Any], also: dict[str, Any] | None = None, *, closed: bool = False) -> dict[str, Any]:
    found: dict[str, Any] = {"type": "object", "properties": needed | (also or {})}
    if needed:
        found["required"] = list(needed)
    if closed:
        found["additionalProperties"] = False
    return found


def _list(of: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"type": "array", "items": of, **more}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _or_null(kind: str) -> dict[str, Any]:
    return {"type": [kind, "null"]}


_TEXT, _WHOLE, _NUMBER, _YES = ({"type": kind} for kind in ("string", "integer", "number", "boolean"))
_BOX = _list(_NUMBER, minItems=4, maxItems=4)
_WHO = {"type": ["string", "null"], "maxLength": 200}
_GENDER = {"enum": [*GENDERS, None]}
_GUESS = {"type": ["object", "null"]}

_OPTIONS = {
    "method": {"enum": sorted(SERVED)},
    "hide": {"type": "string", "maxLength": 200, "description": "gender, age, race or several joined by commas"},
    "strength": {"anyOf": [{"enum": ["low", "mid", "high"]}, {"type": "number", "exclusiveMinimum": 0, "maximum": 1}]},
    "prototype": {"enum": list(PROTOTYPES)},
    "gender": {"enum": list(GENDERS)},
    "format": {
        "type": "string",
        "maxLength": 200,
        "description": "a picture format, such as png; its own if not given",
    },
    "quality": {"type": "integer", "minimum": 1, "maximum": 100},
    "keep_metadata": _YES,
    "if_no_face": {"enum": ["fail", "copy"]},
}
_FACES = {
    "faces": _list(
        _object(
            {"number": {"type": "integer", "minimum": 1}}, {"on": _YES, "who": _WHO, "gender": _GENDER}, closed=True
        ),
        maxItems=100,
    ),
    "boxes": _list(_BOX, maxItems=100),
}

SCHEMAS: dict[str, Any] = {
    "Error": _object(
        {"error": _object({"id": _TEXT, "code": _TEXT, "message": _TEXT}, {"models": _list(_TEXT)})}, closed=True
    ),
    "Methods": _object(
        {
            "halfmask": _TEXT,
            "methods": _list(
                _object(
                    {
                        "name": _TEXT,
                        "default": _YES,
                        "hides": _list(_TEXT),
                        "strength": _YES,
                        "at_once": _YES,
                        "strengths": {"type": "object", "additionalProperties": _NUMBER},
                        "prototypes": _list(_TEXT),
                        "needs_gender": _YES,
                        "names": _YES,
                        "models": _list(_TEXT),
                        "lacks": _or_null("string"),
                    }
                )
            ),
            "attributes": _list(_TEXT),
            "formats": _list(_TEXT),
            "limits": _object({"bytes": _WHOLE, "pixels": _WHOLE, "memory": _WHOLE, "minutes": _NUMBER}),
        }
    ),
    "Models": _object(
        {
            "models": _list(
                _object(
                    {
                        "name": _TEXT,
                        "job": _TEXT,
                        "for": _list(_TEXT),
                        "bytes": _WHOLE,
                        "licence": _TEXT,
                        "needed": _YES,
                        "here": _YES,
                    }
                )
            )
        }
    ),
    "FetchModels": _object({"names": _list(_TEXT, minItems=1)}, closed=True),
    "Document": {"type": "object"},
    "Photo": _object(
        {
            "id": _TEXT,
            "name": _TEXT,
            "width": _WHOLE,
            "height": _WHOLE,
            "format": _or_null("string"),
            "mode": _TEXT,
            "notes": _list(_TEXT),
            "smallest_face": _NUMBER,
            "boxes": _list(_BOX),
            "faces": _list(
                _object(
                    {
                        "number": _WHOLE,
                        "box": _BOX,
                        "points": _list(_list(_NUMBER)),
                        "detection": _NUMBER,
                        "doubt": _or_null("string"),
                        "origin": {"enum": ["detector", "box", "box alone"]},
                        "on": _YES,
                        "who": _or_null("string"),
                        "gender": _GENDER,
                    }
                )
            ),
        }
    ),
    "Faces": _object({}, _FACES, closed=True),
    "Options": _object({}, _OPTIONS, closed=True),
    "Protect": _object({}, _OPTIONS | _FACES, closed=True),
    "OfResult": _object({"result": _TEXT}, closed=True),
    "Result": _object(
        {
            "id": _TEXT,
            "photo": _TEXT,
            "name": _TEXT,
            "format": _TEXT,
            "width": _WHOLE,
            "height": _WHOLE,
            "unprotected": _WHOLE,
            "notes": _list(_TEXT),
            "command": _TEXT,
            "files": {"type": "object", "additionalProperties": _TEXT},
            "faces": _list(
                _object(
                    {
                        "number": _WHOLE,
                        "box": _BOX,
                        "changed": _YES,
                        "gender": _or_null("string"),
                        "gender_origin": _or_null("string"),
                        "probability": _or_null("number"),
                        "match": _or_null("number"),
                        "unprotected": _or_null("string"),
                        "left_out": _YES,
                        "origin": _TEXT,
                    }
                )
            ),
        }
    ),
    "Reads": _object(
        {
            "network": {"type": "object"},
            "faces": _list(
                _object({"number": _WHOLE, "before": _GUESS, "after": _GUESS, "match": _or_null("number")}),
            ),
        }
    ),
    "Predictions": _object(
        {"width": _WHOLE, "height": _WHOLE, "network": {"type": "object"}, "faces": _list({"type": "object"})}
    ),
    "BeginBatch": _object(
        {"photos": _list(_TEXT, minItems=1, maxItems=5000)}, {"options": _ref("Options")}, closed=True
    ),
    "Batch": _object({"id": _TEXT, "photos": _WHOLE}),
}

_REASONS = {
    400: "The request cannot be read.",
    401: "The token is missing or wrong.",
    403: "A page of another site asked.",
    404: "There is no such thing, or it was forgotten.",
    408: "The body came too slowly.",
    409: "A model is missing; models names it.",
    413: "The body is too large.",
    415: "The body is compressed on its way.",
    421: "The server does not go by that name.",
    422: "The request makes no sense, or the photo cannot be read or changed.",
    429: "Too much is being worked on; Retry-After says when to come again.",
    500: "Something broke; the server's log says more under the error's id.",
    501: "The server lacks a package that this needs.",
    502: "A model could not be fetched.",
    503: "A network on the server is damaged.",
    507: "The server's memory is full.",
}
_ALWAYS = (400, 401, 403, 408, 409, 413, 415, 421, 422, 429, 500, 503, 507)


def document(endpoints: Iterable[Endpoint]) -> dict[str, Any]:
    """The document of these routes."""
    paths: dict[str, Any] = {}
    for one in endpoints:
        paths.setdefault(one.path, {})[one.verb.lower()] = _operation(one)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "halfmask",
            "version": __version__,
            "description": "Photos in, protected photos out, on this computer. Errors are in words, with an id.",
            "license": {"name": "MIT", "identifier": "MIT"},
        },
        "security": [{"token": []}, {"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": SCHEMAS,
            "securitySchemes": {
                "token": {"type": "apiKey", "in": "header", "name": "X-Halfmask-Token"},
                "bearer": {"type": "http", "scheme": "bearer"},
            },
        },
    }


def _operation(one: Endpoint) -> dict[str, Any]:
    said: dict[str, Any] = {
        "operationId": f"{one.verb.lower()}{re.sub(r'[^a-z]+', '_', one.path.removeprefix('/api/v1'))}".rstrip("_"),
        "summary": one.does,
        "parameters": [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string", "minLength": 1}}
            for name in re.findall(r"{(\w+)}", one.path)
        ]
        + [{"name": name, "in": "query", "schema": schema} for name, schema in one.query.items()],
        "responses": {str(status): _answer(status, what) for status, what in one.gives.items()},
    }
    if one.takes == "file":
        said["requestBody"] = {
            "required": True,
            "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}},
        }
    elif one.takes:
        said["requestBody"] = {"content": {"application/json": {"schema": _ref(one.takes)}}}
    for status in sorted({*_ALWAYS, *one.fails}):
        error = {"description": _REASONS[status], "content": {"application/json": {"schema": _ref("Error")}}}
        said["responses"][str(status)] = error
    return said


def _answer(status: int, what: str) -> dict[str, Any]:
    if not what:
        return {"description": "Done."}
    if "/" in what:
        return {"description": "Done.", "content": {what: {"schema": {"type": "string", "format": "binary"}}}}
    return {"description": "Done.", "content": {"application/json": {"schema": _ref(what)}}}
