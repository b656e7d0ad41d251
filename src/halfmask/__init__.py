"""halfmask: face photos that still match the person while classifiers find it harder to read their gender.

The public names are loaded on first use, so that importing halfmask costs nothing: neither torch nor onnxruntime
is imported before a face is looked at.

>>> import halfmask
>>> halfmask.__version__
'0.1.0'
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = ["Result", "__version__", "errors", "methods", "protect"]

if TYPE_CHECKING:
    from . import errors, methods
    from .protecting.api import Result, protect

# The function lives in halfmask.protecting, not in a module halfmask.protect, which would take its place here as soon
# as anything imported it.
_PLACES = {"protect": "halfmask.protecting.api", "Result": "halfmask.protecting.api"}
_MODULES = ("errors", "methods")


def __getattr__(name: str) -> Any:
    if name in _PLACES:
        value = getattr(import_module(_PLACES[name]), name)
        globals()[name] = value
        return value
    if name in _MODULES:
        return import_module(f"halfmask.{name}")
    raise AttributeError(f"module 'halfmask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
