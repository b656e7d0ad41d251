"""The errors that halfmask raises on purpose.

Every message says four things: what failed, what was got, what was expected, and what to do.
A caller who wants to survive one bad file catches :class:`HalfmaskError`.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from importlib import util
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
    """Something needs an optional extra (``halfmask[audit]``, ``[train]``, ``[heic]``) that is not installed."""


class MetricError(HalfmaskError):
    """A figure cannot be given honestly from these data: one class only, too few impostor pairs, a score missing."""


#: What a module is installed as, where that is another name.
_PACKAGES = {
    "dlib": "dlib-bin",
    "python_multipart": "python-multipart",
    "skimage": "scikit-image",
    "sklearn": "scikit-learn",
    "yaml": "pyyaml",
}
#: What the lesser extras bring; ``train`` brings all of ``audit`` and more.
_EXTRAS = {
    "audit": {"dlib", "jinja2", "matplotlib", "onnx", "scipy", "skimage", "sklearn", "yaml"},
    "ray": {"fsspec", "ray"},
    "video": {"av"},
    "web": {"python_multipart", "starlette", "uvicorn"},
}


def missing(modules: Sequence[str], need: str, hint: str = "") -> ExtraMissingError:
    """What to raise where a need lacks these modules: names only them, as they are installed, and the least extra.

    >>> print(missing(["dlib"], "the matcher"))
    the matcher needs dlib-bin, which is not installed: pip install "halfmask[audit]"
    >>> print(missing(["yaml", "torch"], "training"))
    training needs pyyaml and torch, which are not installed: pip install "halfmask[train]"
    """
    tops = [module.partition(".")[0] for module in modules]
    names = list(dict.fromkeys(_PACKAGES.get(top, top) for top in tops))
    listed = " and ".join(filter(None, (", ".join(names[:-1]), names[-1])))
    which = "is" if len(names) == 1 else "are"
    least = next((name for name, brings in _EXTRAS.items() if brings.issuperset(tops)), "train")
    remedy = f'pip install "halfmask[{least}]"{hint}'
    return ExtraMissingError(f"{need} needs {listed}, which {which} not installed: {remedy}")


def require(modules: Sequence[str], need: str, hint: Mapping[str, str] | None = None) -> None:
    """Raise :class:`ExtraMissingError` when any of these modules is not installed; none of them is imported.

    ``hint`` is what to add to the message when only that module is missing.
    """
    absent = [module for module in modules if util.find_spec(module) is None]
    if absent:
        raise missing(absent, need, (hint or {}).get(absent[0], "") if len(absent) == 1 else "")


def extra(module: str, need: str) -> Any:
    """Import an optional module, or say which extra brings it.

    >>> extra("onnx_of_the_future", "the face-api referee")
    Traceback (most recent call last):
    halfmask.errors.ExtraMissingError: the face-api referee needs onnx_of_the_future, ...
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise missing([module], need) from error


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
