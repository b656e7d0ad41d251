"""A result: its file, a picture of it for the screen, and its end."""

from __future__ import annotations

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response

from ..memory import Kept
from ..names import disposition
from .endpoint import Endpoint, house
from .photos import _SIDE, side_of


def media_type(format: str) -> str:
    """What a format is called on the web.

    >>> media_type("JPEG"), media_type("HEIF")
    ('image/jpeg', 'image/heif')
    """
    return Image.MIME.get(format, f"image/{format.lower()}")


def as_file(kept: Kept, data: bytes, headers: dict[str, str] | None = None) -> Response:
    """A result's file as an answer."""
    named = {"Content-Disposition": disposition(kept.name)} | (headers or {})
    return Response(data, media_type=media_type(kept.format), headers=named)


async def file(request: Request) -> Response:
    """The protected photo: the same size, mode and format."""
    at = house(request)
    kept = at.shelf.result(request.path_params["id"])
    return as_file(kept, await at.desk.run(lambda: at.studio.encode(kept)))


async def picture(request: Request) -> Response:
    """The protected photo for the screen."""
    at, side = house(request), side_of(request)
    kept = at.shelf.result(request.path_params["id"])
    return Response(await at.desk.run(lambda: at.studio.picture(kept, side)), media_type="image/jpeg")


async def remove(request: Request) -> Response:
    """Forget a result."""
    house(request).shelf.drop_result(request.path_params["id"])
    return Response(status_code=204)


_ONE = "/api/v1/results/{id}"
ENDPOINTS = [
    Endpoint("GET", _ONE, file, "The protected photo, as a file of its own format.", {200: "image/*"}, fails=(404,)),
    Endpoint(
        "GET",
        f"{_ONE}/picture",
        picture,
        "The protected photo as a JPEG for the screen.",
        {200: "image/jpeg"},
        fails=(404,),
        query={"side": _SIDE},
    ),
    Endpoint("DELETE", _ONE, remove, "Forget a result.", {204: ""}, fails=(404,)),
]
