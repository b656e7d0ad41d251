"""Names that came from outside, made fit for a header, a zip and a folder."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Container
from pathlib import PurePosixPath
from urllib.parse import quote, unquote

from ..photos.encode import FORMATS

_LONGEST, _DEEPEST = 100, 6
#: Names that Windows keeps for devices.
_DEVICES = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?$")


def clean(name: str) -> str:
    r"""A path below a folder, as a name that came from outside tells it: nothing of it leads out of that folder.

    >>> clean("../../etc/pass\x00wd"), clean("C:\\me\\.bashrc"), clean("Klasse 3/a:b.jpg"), clean("/")
    ('etc/passwd', 'C_/me/bashrc', 'Klasse 3/a_b.jpg', 'photo')
    """
    parts = []
    for part in name.replace("\\", "/").split("/"):
        text = "".join(c for c in unicodedata.normalize("NFC", part) if unicodedata.category(c)[0] != "C")
        text = re.sub(r'[<>:"|?*]', "_", text).strip(" .")
        if _DEVICES.match(text):
            text = "_" + text
        if text:
            stem, dot, suffix = text.rpartition(".")
            parts.append(stem[: _LONGEST - len(suffix) - 1] + dot + suffix if dot and len(suffix) < 8 else
                         text[:_LONGEST])  # fmt: skip
    return "/".join(parts[-_DEEPEST:]) or "photo"


def from_header(value: str) -> str:
    """The name in ``X-Halfmask-Name``, which is percent-encoded UTF-8.

    >>> from_header("Stra%C3%9Fe.jpg")
    'Straße.jpg'
    """
    return clean(unquote(value[:2000], errors="replace"))


def in_format(name: str, format: str) -> str:
    """The name with a suffix of that format: its own, where it is one.

    >>> in_format("a.JPEG", "JPEG"), in_format("b/a.jpg", "PNG"), in_format("scan", "TIFF")
    ('a.JPEG', 'b/a.png', 'scan.tif')
    """
    path = PurePosixPath(name)
    if path.suffix.lower() in FORMATS[format]:
        return name
    return str(path.with_suffix(FORMATS[format][0]))


def another(name: str, taken: Container[str]) -> str:
    """The name, or one like it that is not taken.

    >>> another("a/b.jpg", {"a/b.jpg", "a/b (2).jpg"})
    'a/b (3).jpg'
    """
    path, number, found = PurePosixPath(name), 1, name
    while found in taken:
        number += 1
        found = str(path.with_name(f"{path.stem} ({number}){path.suffix}"))
    return found


def disposition(name: str) -> str:
    """The header that has a browser save an answer under that name (RFC 6266).

    >>> disposition("a/ü.jpg")
    "attachment; filename*=UTF-8''%C3%BC.jpg"
    """
    return f"attachment; filename*=UTF-8''{quote(PurePosixPath(name).name, safe='')}"
