"""What turns crops into changed crops. One file a method, one small contract, and a dict of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any, cast

from ..errors import UsageError, require
from .choice import SECRET, one_of
from .contract import Method, Subject

__all__ = ["DEFAULT", "METHODS", "Kind", "Method", "Subject", "load"]


@dataclass(frozen=True)
class Kind:
    """A method's class by its place in this package: imported when first asked for, since it brings onnxruntime."""

    name: str
    module: str
    class_name: str

    @property
    def cls(self) -> type[Method]:
        """The class itself, whose attributes tell what it can do before anything is loaded."""
        return cast(type[Method], getattr(import_module(f".{self.module}", __name__), self.class_name))

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise :class:`~halfmask.errors.UsageError` for an unknown setting, no single value or no word it knows.

        And :class:`~halfmask.errors.ExtraMissingError` when a package that the method needs is not installed.
        """
        require(self.cls.needs, f"method {self.name!r}")
        known = self.cls.settings if settings else {}
        for name, value in settings.items():
            if name not in known:
                has = f"its settings are: {', '.join(sorted(known))}" if known else "it has no settings"
                raise UsageError(f"method {self.name!r} has no setting {name!r}; {has}")
            if not isinstance(value, str | int | float | Path):
                raise UsageError(f"setting {name} is {self.told({name: value})[name]!r}; "
                                 "expected text, a number or a path")  # fmt: skip
            if name in self.cls.choices:
                one_of(name, value, self.cls.choices[name])

    def told(self, settings: Mapping[str, Any]) -> dict[str, Any]:
        """The settings as they may be told: without what is secret, which is what the class's ``secrets`` name.

        >>> METHODS["halfmask"].told({"person": "anna", "strength": "mid"})
        {'person': '(secret)', 'strength': 'mid'}
        """
        return {name: SECRET if name in self.cls.secrets else value for name, value in settings.items()}

    def __call__(self, threads: int = 0, **settings: Any) -> Method:
        """Load the method with a number of threads (0 = all cores) and its own settings."""
        self.check(settings)
        make: Callable[..., Method] = self.cls
        return make(threads=threads, **settings)


#: Every method by name. The value loads it.
METHODS: dict[str, Kind] = {
    k.name: k
    for k in (
        Kind("halfmask", "halfmask", "Halfmask"),
        Kind("san", "san", "San"),
        Kind("ensemble", "ensemble", "Ensemble"),
        Kind("flowsan", "flowsan", "FlowSan"),
        Kind("mixing", "mixing", "Mixing"),
        Kind("deidentify", "deidentify", "Deidentify"),
        Kind("stranger", "stranger", "Stranger"),
        Kind("privacynet", "privacynet", "PrivacyNet"),
        Kind("p-fgvm", "against", "PFgvm"),
        Kind("i-fgvm", "against", "IFgvm"),
        Kind("i-fgsm", "against", "IFgsm"),
    )
}

#: What ``protect`` uses unless told otherwise.
DEFAULT = "halfmask"


def load(name: str = DEFAULT, *, threads: int = 0, **settings: Any) -> Method:
    """Load a method. ``settings`` are its own; the class's ``settings`` name and explain them.

    Raises :class:`~halfmask.errors.UsageError` for a name or a setting that is not known, or a value that makes no
    sense, and :class:`~halfmask.errors.WeightsError` when its networks cannot be had.

    >>> load("san", colour="blue")
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: method 'san' has no setting 'colour'; its settings are: prototype, weights
    """
    if name not in METHODS:
        raise UsageError(f"no method is called {name!r}; known: {', '.join(sorted(METHODS))}")
    return METHODS[name](threads, **settings)
