"""Which of the faces that were found are to be changed, and the boxes of faces that a user knows of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from ..errors import PhotoError, UsageError
from ..photos.detect import Box, Face

#: A face by its number, from 1, largest first, as ``halfmask faces`` shows it, or by a place (x, y) in photo pixels.
Pick = int | tuple[float, float]

_NAMED = 10


def picks(name: str, given: Any) -> tuple[Pick, ...]:
    """What was given for ``only`` or ``skip``: numbers of faces, places (x, y), or either as text.

    Raises :class:`~halfmask.errors.UsageError` for anything else.

    >>> picks("only", ["2", "120,80.5", (3, 4)])
    (2, (120.0, 80.5), (3.0, 4.0))
    >>> picks("skip", ["left"])
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: skip is 'left'; expected a place in photo pixels such as 120,80, or a face's number ...
    """
    found: list[Pick] = []
    for one in (given,) if isinstance(given, str | int) else given:
        parts = one.split(",") if isinstance(one, str) else one if isinstance(one, tuple | list) else [one]
        try:
            numbers = [float(part) for part in parts]
        except (TypeError, ValueError):
            numbers = []
        if len(numbers) == 2 and all(math.isfinite(v) and v >= 0 for v in numbers):
            found.append((numbers[0], numbers[1]))
        elif len(numbers) == 1 and numbers[0].is_integer() and numbers[0] >= 1 and not isinstance(one, bool):
            found.append(int(numbers[0]))
        else:
            raise UsageError(
                f"{name} is {one!r}; expected a place in photo pixels such as 120,80, or a face's number from 1 on; "
                "halfmask faces PHOTO shows both"
            )
    return tuple(found)


def how_many(faces: object) -> str | int:
    """``faces`` as "all", "largest" or a number; raises :class:`~halfmask.errors.UsageError`.

    >>> how_many("all"), how_many("3"), how_many(2)
    ('all', 3, 2)
    """
    if faces in ("all", "largest"):
        return str(faces)
    if isinstance(faces, str) and faces.isascii() and faces.isdigit():
        faces = int(faces)
    if isinstance(faces, int) and not isinstance(faces, bool) and faces >= 1:
        return faces
    raise UsageError(f"faces is {faces!r}; expected one of: all, largest, or a number from 1 on")


def left_out(
    faces: Sequence[Face],
    photo: str,
    *,
    many: str | int = "all",
    only: Sequence[Pick] = (),
    skip: Sequence[Pick] = (),
    min_face: int | None = None,
) -> dict[int, str]:
    """The faces, largest first, that the choice leaves as they are: place in the sequence → why.

    Raises :class:`~halfmask.errors.PhotoError` when there is no face where one is said to be.

    >>> import numpy as np
    >>> two = [Face((0, 0, s, s), np.zeros((5, 2), np.float32), 0.9) for s in (80, 20)]
    >>> left_out(two, "a.jpg", min_face=32)
    {1: 'it is smaller than 32 pixels'}
    """
    wanted = {_find(pick, faces, photo) for pick in only}
    unwanted = {_find(pick, faces, photo) for pick in skip}
    left: dict[int, str] = {}
    kept = 0
    most = {"all": len(faces), "largest": 1}.get(str(many), many)
    for i, face in enumerate(faces):
        if only and i not in wanted:
            left[i] = "only others were asked for"
        elif i in unwanted:
            left[i] = "it was to be skipped"
        elif min_face is not None and max(face.box[2:]) < min_face and face.origin == "detector":
            left[i] = f"it is smaller than {min_face} pixels"
        elif kept >= int(most):
            left[i] = "only the largest was asked for" if most == 1 else f"only the {most} largest were asked for"
        else:
            kept += 1
    return left


def _find(pick: Pick, faces: Sequence[Face], photo: str) -> int:
    if isinstance(pick, int):
        if pick <= len(faces):
            return pick - 1
        raise PhotoError(f"there is no face {pick} in {photo}, {_there(faces)}")
    near = [
        (math.hypot(pick[0] - x - w / 2, pick[1] - y - h / 2), i)
        for i, (x, y, w, h) in enumerate(face.box for face in faces)
        if x - w / 4 <= pick[0] <= x + w * 5 / 4 and y - h / 4 <= pick[1] <= y + h * 5 / 4
    ]
    if not near:
        raise PhotoError(f"there is no face at {pick[0]:g},{pick[1]:g} in {photo}, {_there(faces)}")
    return min(near)[1]


def _there(faces: Sequence[Face]) -> str:
    if not faces:
        return "and no other; give its box by --boxes, or a lower --detector-threshold"
    places = [f"{n} at {f.box[0] + f.box[2] / 2:.0f},{f.box[1] + f.box[3] / 2:.0f}" for n, f in enumerate(faces, 1)]
    return f"which has: {_some(places)}. See: halfmask faces"


def check_boxes(boxes: Iterable[Any]) -> tuple[Box, ...]:
    """Boxes (x, y, width, height) in photo pixels; raises :class:`~halfmask.errors.UsageError` for anything else.

    >>> check_boxes([(1, 2, 3, 0)])
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: the box (1, 2, 3, 0) is none; expected x, y, width, height in photo pixels, ...
    """
    found = []
    for box in boxes:
        try:
            x, y, w, h = (float(v) for v in box)
        except (TypeError, ValueError):
            x = y = w = h = math.nan
        if not (all(math.isfinite(v) for v in (x, y, w, h)) and w >= 1 and h >= 1):
            raise UsageError(
                f"the box {box!r} is none; expected x, y, width, height in photo pixels, both sides 1 or more"
            )
        found.append((x, y, w, h))
    return tuple(found)


def _some(items: Sequence[str]) -> str:
    rest = len(items) - _NAMED
    return "; ".join(items[:_NAMED]) + (f" and {rest} more" if rest > 0 else "")
