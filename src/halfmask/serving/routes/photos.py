"""A photo: give it, choose its faces, see what is read off it, have it protected, take it back."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from ..asking import OPTIONS, boxes_of, faces_of, only, options_of
from ..bodies import read, read_json
from ..limits import Refused
from ..memory import Held
from ..names import from_header
from .endpoint import Endpoint, House, house

_SIDE = {"type": "integer", "minimum": 16, "maximum": 4096, "default": 1600}


def side_of(request: Request) -> int:
    """How large a picture for the screen is asked."""
    text = request.query_params.get("side", "1600")
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 16 <= int(text) <= 4096):
        raise Refused(422, "bad_side", f"side is {text[:20]!r}; expected a whole number from 16 to 4096")
    return int(text)


def _held(request: Request) -> Held:
    return house(request).shelf.photo(request.path_params["id"])


async def give(request: Request) -> Response:
    """Take a photo, the raw body; its name may stand in X-Halfmask-Name."""
    at = house(request)
    data = await read(request, at.limits, at.shelf)
    name = from_header(request.headers.get("x-halfmask-name", ""))
    held, told = await at.desk.run(lambda: at.studio.take(data, name))
    with at.shelf.claim() as grow:
        grow(len(data))
        at.shelf.add(held)
    return JSONResponse(told, 201)


async def show(request: Request) -> Response:
    """What is known of a photo."""
    at, held = house(request), _held(request)
    return JSONResponse(await at.desk.run(lambda: at.studio.describe(held)))


async def _choose(at: House, held: Held, body: dict[str, object]) -> None:
    if not {"faces", "boxes"} & set(body):
        return
    count, width, height = await at.desk.run(lambda: at.studio.count(held))
    changes = faces_of(body.get("faces", []), count)
    boxes = boxes_of(body["boxes"], width, height) if "boxes" in body else None
    await at.desk.run(lambda: at.studio.choose(held, changes, boxes))


async def faces(request: Request) -> Response:
    """Switch faces, name them, and say where faces are that were not found."""
    at, held = house(request), _held(request)
    body = dict(only(await read_json(request, at.limits, at.shelf), "faces", "boxes"))
    await _choose(at, held, body)
    return JSONResponse(await at.desk.run(lambda: at.studio.describe(held)))


async def reads(request: Request) -> Response:
    """What our own classifiers read off its faces."""
    at, held = house(request), _held(request)
    kept = None
    if request.method == "POST":
        body = only(await read_json(request, at.limits, at.shelf), "result")
        if not isinstance(body.get("result"), str):
            raise Refused(422, "bad_result", "result is missing; expected the id of a result of this photo")
        kept = at.shelf.result(body["result"])
        if kept.photo is not held:
            raise Refused(404, "not_found", "that result is of another photo")
    return JSONResponse(await at.desk.run(lambda: at.studio.reads(held, kept)))


async def protect(request: Request) -> Response:
    """Protect a photo as asked."""
    at, held = house(request), _held(request)
    body = dict(only(await read_json(request, at.limits, at.shelf), *OPTIONS, "faces", "boxes"))
    ask = options_of({name: value for name, value in body.items() if name in OPTIONS})
    await _choose(at, held, body)
    kept = await at.desk.run(lambda: at.studio.protect(held, ask))
    at.shelf.keep(kept)
    return JSONResponse(kept.about, 201)


async def picture(request: Request) -> Response:
    """The photo for the screen."""
    at, held, side = house(request), _held(request), side_of(request)
    return Response(await at.desk.run(lambda: at.studio.picture(held, side)), media_type="image/jpeg")


async def remove(request: Request) -> Response:
    """Forget a photo and its results."""
    house(request).shelf.drop_photo(request.path_params["id"])
    return Response(status_code=204)


_ONE = "/api/v1/photos/{id}"
ENDPOINTS = [
    Endpoint(
        "POST",
        "/api/v1/photos",
        give,
        "Give a photo, as the raw body; its name, percent-encoded, in X-Halfmask-Name. It is kept in memory, for as "
        "long as something asks for it.",
        {201: "Photo"},
        takes="file",
    ),
    Endpoint("GET", _ONE, show, "A photo and its faces, largest first.", {200: "Photo"}, fails=(404,)),
    Endpoint(
        "POST",
        f"{_ONE}/faces",
        faces,
        "Switch faces on or off, say who they are, and give boxes of faces that were not found. The rest stays.",
        {200: "Photo"},
        takes="Faces",
        fails=(404,),
    ),
    Endpoint(
        "GET",
        f"{_ONE}/reads",
        reads,
        "What halfmask's own classifiers take each face for. They are no judges: halfmask audit asks others.",
        {200: "Reads"},
        fails=(404,),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/reads",
        reads,
        "The same, before and in a result of this photo.",
        {200: "Reads"},
        takes="OfResult",
        fails=(404,),
    ),
    Endpoint(
        "POST",
        f"{_ONE}/protect",
        protect,
        "Protect the photo. Options not given are the defaults of halfmask protect; faces and boxes are as for /faces.",
        {201: "Result"},
        takes="Protect",
        fails=(404, 501),
    ),
    Endpoint(
        "GET",
        f"{_ONE}/picture",
        picture,
        "The photo as a JPEG for the screen, upright.",
        {200: "image/jpeg"},
        fails=(404,),
        query={"side": _SIDE},
    ),
    Endpoint("DELETE", _ONE, remove, "Forget a photo and its results.", {204: ""}, fails=(404,)),
]
