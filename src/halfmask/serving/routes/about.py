"""What there is: methods, models, and the document of this API."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ... import __version__
from ...errors import ExtraMissingError, WeightsError, require
from ...methods import DEFAULT, METHODS
from ...methods.choice import ATTRIBUTES, IDENTITY
from ...photos.encode import FORMATS, register_heif
from ...weights import store
from ..asking import SERVED
from ..bodies import read_json
from ..limits import Refused
from .endpoint import Endpoint, house

#: What the server itself needs, and what for.
_FOR = {"yunet": "finding faces", "sface": "the match score"}


async def methods(request: Request) -> Response:
    """The methods, and what each can be asked; which are missing something."""
    limits = house(request).limits
    answer = {
        "halfmask": __version__,
        "methods": [_method(name) for name in SERVED],
        "attributes": [*ATTRIBUTES, IDENTITY],
        "formats": [name for name in FORMATS if name != "HEIF" or register_heif()],
        "limits": {
            "bytes": limits.body_bytes,
            "pixels": limits.pixels,
            "memory": limits.memory_bytes,
            "minutes": limits.kept_seconds / 60,
        },
    }
    return JSONResponse(answer)


def _method(name: str) -> dict[str, Any]:
    method = METHODS[name].cls
    lacks = None
    try:
        require(method.needs, f"method {name!r}")
    except ExtraMissingError as error:
        lacks = str(error)
    return {
        "name": name,
        "default": name == DEFAULT,
        "hides": sorted(method.hides, key=(*ATTRIBUTES, IDENTITY).index),
        "strength": "strength" in method.settings,
        "at_once": method.proportional,
        "strengths": dict(method.strengths),
        "prototypes": list(method.choices.get("prototype", ())),
        "needs_gender": method.needs_label,
        "names": "person" in method.settings,
        "models": [model for model in method.models if not store.present(model)],
        "lacks": lacks,
    }


def _models() -> list[dict[str, Any]]:
    wanted: dict[str, list[str]] = {name: [reason] for name, reason in _FOR.items()}
    for name in SERVED:
        for model in METHODS[name].cls.models:
            wanted.setdefault(model, []).append(f"method {name}")
    return [
        {
            "name": name,
            "job": store.MODELS[name].job,
            "for": reasons,
            "bytes": store.MODELS[name].size,
            "licence": store.MODELS[name].licence,
            "needed": name == "yunet",
            "here": store.present(name),
        }
        for name, reasons in wanted.items()
    ]


async def models(request: Request) -> Response:
    """The models of others that the server can use, and which are here."""
    return JSONResponse({"models": _models()})


async def fetch(request: Request) -> Response:
    """Fetch a model, the only thing for which the server ever connects to anywhere."""
    at = house(request)
    body = await read_json(request, at.limits, at.shelf)
    known = [model["name"] for model in _models()]
    names = body.get("names") if isinstance(body, dict) else None
    if not isinstance(names, list) or not names or not all(isinstance(name, str) and name in known for name in names):
        raise Refused(422, "bad_models", f"names is no list of some of: {', '.join(known)}")
    try:
        await at.desk.run(lambda: [store.get(name) for name in names])
    except WeightsError as error:
        raise Refused(
            502,
            "not_fetched",
            f"{', '.join(names)} could not be fetched: this computer may have no connection. Fetch on another one by: "
            f"halfmask models get {' '.join(names)}; and copy the folder that halfmask models names at its end",
        ) from error
    return JSONResponse({"models": _models()})


async def document(request: Request) -> Response:
    """The OpenAPI document of this API."""
    return JSONResponse(request.app.state.document)


ENDPOINTS = [
    Endpoint("GET", "/api/v1/methods", methods, "The methods and what each can be asked; limits.", {200: "Methods"}),
    Endpoint("GET", "/api/v1/models", models, "Models of others that are used, and which are here.", {200: "Models"}),
    Endpoint(
        "POST",
        "/api/v1/models",
        fetch,
        "Fetch models. The server connects to other computers for this alone, and never by itself.",
        {200: "Models"},
        takes="FetchModels",
        fails=(502,),
    ),
    Endpoint("GET", "/api/v1/openapi.json", document, "This document.", {200: "Document"}),
]
