"""The errors that halfmask raises on purpose.

Every message says four things: what failed, what was got, what was expected, and what to do.
A caller who wants to survive one bad file catches :class:`HalfmaskError`.
"""

from __future__ import annotations

import importlib
from typing import Any


class HalfmaskError(Exception):
    """Base of every error that halfmask raises on purpose."""


class UsageError(HalfmaskError):
    """The request itself makes no sense: unknown option value, clashing paths, a label file with wrong columns."""


class PhotoError(HalfmaskError):
    """A picture cannot be read or written: damaged, too large, of an unknown kind, no disk left."""


class DataError(HalfmaskError):
    """A data set, label file or cache does not hold what its layout promises."""


class WeightsError(HalfmaskError):
    """Weights are missing, damaged or cannot be fetched."""


class ExtraMissingError(HalfmaskError):
    """Something needs an optional extra (``halfmask[train]``, ``halfmask[heic]``) that is not installed."""


class MetricError(HalfmaskError):
    """A figure cannot be given honestly from these data: one class only, too few impostor pairs, a score missing."""


def extra(module: str, need: str) -> Any:
    """Import an optional module, or say which extra brings it.

    >>> extra("onnx_of_the_future", "the face-api referee")
    Traceback (most recent call last):
    halfmask.errors.ExtraMissingError: the face-api referee needs onnx_of_the_future, ...
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ExtraMissingError(
            f"{need} needs {module}, which is not installed: pip install 'halfmask[train]'"
        ) from error


def shown(path: object) -> str:
    r"""A name that can be printed anywhere: control characters and bytes that are not UTF-8 are written as escapes.

    >>> shown("a\x1b[31m.jpg")
    'a\\x1b[31m.jpg'
    """
    text = str(path)
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(n: int, what: str) -> str:
    """How many of what.

    >>> count(1, "photo"), count(2, "face")
    ('1 photo', '2 faces')
    """
    return f"{n} {what}{'' if n == 1 else 's'}"
