"""A photo with a frame around each face and a caption beside it, readable on any background."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from .encode import Traits
from .photo import Photo

#: (x0, y0, x1, y1) in photo pixels, the last two outside.
Box = tuple[int, int, int, int]
#: A face's (x, y, width, height) in photo pixels, and what is written beside it, in lines.
Captioned = tuple[tuple[float, float, float, float], str]

_SMALLEST = 6  # pixels, of letters in a picture that would not hold larger ones


@dataclass(frozen=True)
class Drawing:
    """Where a face's frame and its caption of ``letters`` pixels go; both boxes lie inside the picture."""

    text: str
    letters: int
    frame: Box
    caption: Box


def drawings(width: int, height: int, faces: Sequence[Captioned]) -> list[Drawing]:
    """Where everything goes in a picture of that size.

    A caption stands below its face, or above, right, left, or in it, where it covers the least of the other faces and
    captions.
    """
    frames = [_frame(box, width, height) for box, _ in faces]
    drawings: list[Drawing] = []
    for (box, text), frame in zip(faces, frames, strict=True):
        letters = max(11, round(max(width, height) / 120), min(round(box[2] / 9), round(min(width, height) / 20)))
        wide, high = _extent(text, letters)
        while (wide > width or high > height) and letters > _SMALLEST:
            letters -= 1
            wide, high = _extent(text, letters)
        x0, y0, x1, y1 = frame
        corners = [(x0, y1), (x0, y0 - high), (x1, y0), (x0 - wide, y0), (x0, y1 - high)]
        inside = [(max(0, min(x, width - wide)), max(0, min(y, height - high))) for x, y in corners]
        boxes = [(x, y, min(x + wide, width), min(y + high, height)) for x, y in inside]
        # of equals min takes the first; its own frame counts too, onto which the picture's edge may have moved it
        taken = [*frames, *(d.caption for d in drawings)]
        drawings.append(
            Drawing(text, letters, frame, min(boxes, key=lambda b: sum(_shared(b, other) for other in taken)))
        )
    return drawings


def captioned(photo: Photo, faces: Sequence[Captioned]) -> Photo:
    """A copy with frames and captions, RGB or RGBA of 8 bits; every other pixel has the colour that it had."""
    alpha = photo.samples[..., 3] if photo.mode == "RGBA" else None
    image = Image.fromarray(photo.pixels.copy())
    pen = ImageDraw.Draw(image)
    drawn = Image.new("L", image.size)
    cover = ImageDraw.Draw(drawn)
    planned = drawings(photo.width, photo.height, faces)
    thick = max(1, round(min(photo.width, photo.height) / 300))
    for d in planned:
        x0, y0, x1, y1 = (d.frame[0], d.frame[1], d.frame[2] - 1, d.frame[3] - 1)
        # white between two black lines is seen on anything
        for inset, colour in ((0, "black"), (thick, "white"), (2 * thick, "black")):
            if x1 - x0 > 2 * inset and y1 - y0 > 2 * inset:
                place = (x0 + inset, y0 + inset, x1 - inset, y1 - inset)
                pen.rectangle(place, outline=colour, width=thick)
                cover.rectangle(place, outline=255, width=thick)
    for d in planned:  # above all frames
        if d.text:
            place = (d.caption[0], d.caption[1], d.caption[2] - 1, d.caption[3] - 1)
            pen.rectangle(place, fill="black")
            cover.rectangle(place, fill=255)
            pad = _pad(d.letters)
            pen.multiline_text(
                (d.caption[0] + pad, d.caption[1] + pad), d.text, fill="white", font=_font(d.letters), anchor="la"
            )
    pixels: NDArray[np.uint8] = np.asarray(image)
    if alpha is not None:
        pixels = np.dstack([pixels, np.maximum(alpha, np.asarray(drawn))])
    # a gray, CMYK or HDR profile describes other colours, and a transparent colour might be that of a frame
    same = photo.mode in ("RGB", "RGBA") and photo.traits.transfer is None
    traits = replace(photo.traits, key=None) if same else Traits(dpi=photo.traits.dpi)
    mode = "RGB" if alpha is None else "RGBA"
    return replace(photo, stored=pixels, patches=(), mode=mode, palette=None, traits=traits)


def _frame(box: tuple[float, float, float, float], width: int, height: int) -> Box:
    x, y, w, h = (round(v) for v in box)
    x0, y0 = max(0, min(x, width - 1)), max(0, min(y, height - 1))
    return x0, y0, max(x0 + 1, min(x + w, width)), max(y0 + 1, min(y + h, height))


def _extent(text: str, letters: int) -> tuple[int, int]:
    """Width and height of a caption with its margin."""
    if not text:
        return 0, 0
    pen = ImageDraw.Draw(Image.new("L", (1, 1)))
    _, _, right, bottom = pen.multiline_textbbox((0, 0), text, font=_font(letters), anchor="la")
    pad = _pad(letters)
    return int(np.ceil(right)) + 2 * pad, int(np.ceil(bottom)) + 2 * pad


def _pad(letters: int) -> int:
    return max(2, letters // 4)


def _font(letters: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(letters)


def _shared(a: Box, b: Box) -> int:
    """Pixels that two boxes share."""
    return max(0, min(a[2], b[2]) - max(a[0], b[0])) * max(0, min(a[3], b[3]) - max(a[1], b[1]))
