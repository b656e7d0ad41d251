"""What HEIC and AVIF files hold beside the photo, and what its numbers mean, which the decoders do not all tell.

Format: ISO/IEC 14496-12 (boxes, ``meta``), 23008-12 (HEIF: ``iinf``, ``iref``, ``iprp``), 23000-22 (``colr``).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

#: CICP, ITU-T H.273: colour primaries, transfer characteristics, matrix coefficients, full range.
Cicp = tuple[int, int, int, bool]

_GAIN_MAP = b"hdrgainmap"
_META_LIMIT = 16 << 20


@dataclass
class Contents:
    """What stands in a HEIC or AVIF file.

    ``bits`` a sample and ``cicp`` are the main picture's, None where the file does not say. ``parts`` names the other
    pictures that hang on it: "gain map", "depth map", "thumbnail", "video" and others. ``sequence`` says whether
    there are tracks, ``cicp_places`` where in the file the bytes of ``colr`` boxes with CICP begin.
    """

    bits: int | None = None
    cicp: Cicp | None = None
    parts: list[str] = field(default_factory=list)
    sequence: bool = False
    cicp_places: list[int] = field(default_factory=list)


@dataclass
class _Item:
    kind: bytes = b""
    hidden: bool = False
    properties: list[int] = field(default_factory=list)


def contents(data: bytes | bytearray | memoryview) -> Contents:
    """Look into a whole file. Raises ``ValueError`` for boxes that make no sense."""
    found = Contents()
    meta = None
    view = memoryview(data)
    for kind, start, end in _boxes(view, 0, len(view)):
        if kind == b"meta" and meta is None:
            meta = (start + 4, end)
        elif kind == b"moov":
            found.sequence = True
        elif kind == b"mpvd":  # Google's and Samsung's motion photo
            found.parts.append("motion video")
    if meta is None or meta[1] - meta[0] > _META_LIMIT:
        return found
    try:
        _look_into_meta(view, *meta, found)
    except (IndexError, struct.error) as error:
        raise ValueError(f"its meta box is damaged: {error}") from error
    return found


def _boxes(view: memoryview, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """(type, start of its contents, end) of the boxes in a part of the file."""
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", view, start)
        head = 8
        if size == 1 and start + 16 <= end:
            size, head = struct.unpack_from(">Q", view, start + 8)[0], 16
        elif size == 0:
            size = end - start
        if size < head:
            raise ValueError(f"a box of {size} bytes at {start}")
        yield kind, start + head, min(end, start + size)
        start += size


def _look_into_meta(view: memoryview, start: int, end: int, found: Contents) -> None:
    items: dict[int, _Item] = {}
    references: list[tuple[bytes, int, list[int]]] = []
    boxes: list[tuple[bytes, int, int]] = []
    primary = None
    for kind, a, b in _boxes(view, start, end):
        if kind == b"pitm":
            primary = int.from_bytes(view[a + 4 : a + (6 if view[a] == 0 else 8)], "big")
        elif kind == b"iinf":
            for inner, c, _ in _boxes(view, a + (6 if view[a] == 0 else 8), b):
                if inner == b"infe" and view[c] >= 2:
                    wide = 2 if view[c] == 2 else 4
                    number = int.from_bytes(view[c + 4 : c + 4 + wide], "big")
                    items.setdefault(number, _Item()).kind = bytes(view[c + 6 + wide : c + 10 + wide])
                    items[number].hidden = bool(view[c + 3] & 1)
        elif kind == b"iref":
            wide = 2 if view[a] == 0 else 4
            for inner, c, d in _boxes(view, a + 4, b):
                source = int.from_bytes(view[c : c + wide], "big")
                count = int.from_bytes(view[c + wide : c + wide + 2], "big")
                at = c + wide + 2
                count = min(count, (d - at) // wide)
                targets = [int.from_bytes(view[at + wide * i : at + wide * (i + 1)], "big") for i in range(count)]
                references.append((inner, source, targets))
        elif kind == b"iprp":
            for inner, c, d in _boxes(view, a, b):
                if inner == b"ipco":
                    boxes = list(_boxes(view, c, d))
                elif inner == b"ipma":
                    _associate(view[:d], c, items)
    main = _with_tiles(primary, references)
    for number in main:
        for place in items.get(number, _Item()).properties:
            if not 0 < place <= len(boxes):
                continue
            kind, c, d = boxes[place - 1]
            if kind == b"colr" and bytes(view[c : c + 4]) == b"nclx" and d - c >= 11:
                values = struct.unpack_from(">HHH", view, c + 4)
                if number == primary or found.cicp is None:
                    found.cicp = (*values, bool(view[c + 10] & 0x80))
                found.cicp_places.append(c + 4)
            elif kind == b"pixi" and d - c > 5 and view[c + 4]:
                found.bits = max(found.bits or 0, *view[c + 5 : c + 5 + view[c + 4]])
            elif kind == b"av1C" and d - c >= 4:
                depth = view[c + 2]
                found.bits = max(found.bits or 0, 12 if depth & 0x20 else 10 if depth & 0x40 else 8)
            elif kind == b"hvcC" and d - c >= 19:
                found.bits = max(found.bits or 0, 8 + (view[c + 17] & 7))
    found.parts += _parts(view, items, references, boxes, main)


def _associate(view: memoryview, at: int, items: dict[int, _Item]) -> None:
    version, wide = view[at], bool(view[at + 3] & 1)
    count = int.from_bytes(view[at + 4 : at + 8], "big")
    at += 8
    for _ in range(count):
        size = 2 if version < 1 else 4
        number = int.from_bytes(view[at : at + size], "big")
        many, at = view[at + size], at + size + 1
        for _ in range(many):
            if wide:
                place, at = int.from_bytes(view[at : at + 2], "big") & 0x7FFF, at + 2
            else:
                place, at = view[at] & 0x7F, at + 1
            items.setdefault(number, _Item()).properties.append(place)


def _with_tiles(primary: int | None, references: list[tuple[bytes, int, list[int]]]) -> list[int]:
    """The main picture and what it is put together from."""
    if primary is None:
        return []
    tiles: dict[int, list[int]] = {}
    for kind, source, targets in references:
        if kind == b"dimg":
            tiles.setdefault(source, []).extend(targets)
    main, waiting = {primary}, [primary]
    while waiting:
        fresh = set(tiles.get(waiting.pop(), ())) - main
        main |= fresh
        waiting += fresh
    return [primary, *sorted(main - {primary})]


def _parts(
    view: memoryview,
    items: dict[int, _Item],
    references: list[tuple[bytes, int, list[int]]],
    boxes: list[tuple[bytes, int, int]],
    main: list[int],
) -> list[str]:
    parts = ["gain map" for item in items.values() if item.kind == b"tmap"]
    for kind, source, _ in references:
        if kind == b"thmb":
            parts.append("thumbnail")
        elif kind == b"auxl" and source not in main:
            parts.append(_auxiliary(view, items.get(source, _Item()), boxes))
    return [part for part in dict.fromkeys(parts) if part]


def _auxiliary(view: memoryview, item: _Item, boxes: list[tuple[bytes, int, int]]) -> str:
    """What an auxiliary picture is; "" for alpha, which is read as part of the photo."""
    for place in item.properties:
        if 0 < place <= len(boxes) and boxes[place - 1][0] == b"auxC":
            _, c, d = boxes[place - 1]
            urn = bytes(view[c + 4 : d]).split(b"\0")[0].lower()
            if urn.endswith((b":alpha", b":auxid:1")):
                return ""
            if _GAIN_MAP in urn:
                return "gain map"
            return "depth map" if b"depth" in urn or urn.endswith(b":auxid:2") else "auxiliary picture"
    return "auxiliary picture"
