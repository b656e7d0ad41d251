"""halfmask: face photos that still match the person but no longer tell gender, age or race.

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

_PUBLIC = {
    "protect": "halfmask.protect",
    "methods": "halfmask.methods",
    "errors": "halfmask.errors",
}

__all__ = ["__version__", "errors", "methods", "protect"]

if TYPE_CHECKING:
    from . import errors, methods
    from .protect import protect


def __getattr__(name: str) -> Any:
    raise AttributeError(f"module 'halfmask' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted(__all__)
