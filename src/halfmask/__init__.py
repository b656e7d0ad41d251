"""halfmask: face photos that still match the person while classifiers find it harder to read their gender.

The public names are loaded on first use, so that importing halfmask costs nothing: neither torch nor onnxruntime
is imported before a face is looked at.

>>> import halfmask
>>> halfmask.__version__
'0.1.0'
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

__all__ = [
    "Judges",
    "Page",
    "Result",
    "Sample",
    "__version__",
    "audit",
    "deidentify",
    "errors",
    "methods",
    "predict",
    "protect",
]

# onnxruntime writes a device id to the user's cache and looks up a host as soon as it is imported, and only this stops
# it (1.32; its disable_telemetry_events comes too late). Here, since this module is imported before any other of ours,
# and processes that we start have it from us.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

if TYPE_CHECKING:
    from . import errors, methods
    from .evaluation.audit.request import Judges, Page, Sample
    from .evaluation.audit.run import audit
    from .predicting.api import predict
    from .protecting.api import Result, deidentify, protect

# The functions live in modules of other names than halfmask.protect and halfmask.audit, which would take their places
# here as soon as anything imported them.
_PLACES = {
    "protect": "halfmask.protecting.api",
    "deidentify": "halfmask.protecting.api",
    "Result": "halfmask.protecting.api",
    "audit": "halfmask.evaluation.audit.run",
    "Sample": "halfmask.evaluation.audit.request",
    "Judges": "halfmask.evaluation.audit.request",
    "Page": "halfmask.evaluation.audit.request",
    "predict": "halfmask.predicting.api",
}
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
