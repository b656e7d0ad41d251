"""What turns crops into changed crops. One file a method, one small interface, and a dict of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, cast

from ..errors import UsageError, extra

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Method(Protocol):
    """A method computes a *change*; whoever calls it adds it to the face, at whatever size the face has.

    ``hides`` names the attributes it can hide; ``prototypes`` the variants it knows (empty when it has none);
    ``needs_label`` says whether it must be told each face's gender. ``settings`` is what :func:`load` takes for it
    beside the threads, name → one line of help; each value may be given as text, as the command line does. ``models``
    names what it needs of :data:`halfmask.weights.store.MODELS`. A method that needs packages of an extra names them in
    ``needs``, a tuple, so that their absence is told before anything is fetched; one whose change is for the whole
    crop, hair and background included, and not for the oval of a head, says ``whole = True``
    (:func:`halfmask.photos.paste.face_change`).
    """

    name: str
    hides: frozenset[str]
    prototypes: tuple[str, ...]
    needs_label: bool
    settings: ClassVar[Mapping[str, str]]
    models: ClassVar[tuple[str, ...]]

    def change(
        self, crops: NDArray[np.float32], gender: NDArray[np.integer], prototype: str = "op"
    ) -> NDArray[np.float32]:
        """The change of RGB crops (N, 3, 224, 224) in [0, 1], same shape, in [-1, 1]; ``gender`` is (N,) of 0, 1."""
        ...


@dataclass(frozen=True)
class Kind:
    """A method's class by its place in this package: imported when first asked for, since it brings onnxruntime."""

    name: str
    module: str
    cls: str

    @property
    def made(self) -> type[Method]:
        """The class itself, whose attributes tell what it can do before anything is loaded."""
        return cast(type[Method], getattr(import_module(f".{self.module}", __name__), self.cls))

    def check(self, settings: Mapping[str, Any]) -> None:
        """Raise :class:`~halfmask.errors.UsageError` for an unknown setting or no single value.

        And :class:`~halfmask.errors.ExtraMissingError` when a package that the method needs is not installed.
        """
        for module in getattr(self.made, "needs", ()):
            if find_spec(module) is None:  # which, unlike the import, costs nothing
                extra(module, f"method {self.name!r}")
        known = self.made.settings if settings else {}
        for name, value in settings.items():
            if name not in known:
                has = f"its settings are: {', '.join(sorted(known))}" if known else "it has no settings"
                raise UsageError(f"method {self.name!r} has no setting {name!r}; {has}")
            if not isinstance(value, str | int | float | Path):
                raise UsageError(f"setting {name} is {value!r}; expected text, a number or a path")

    def __call__(self, threads: int = 0, **settings: Any) -> Method:
        """Load the method with a number of threads (0 = all cores) and its own settings."""
        self.check(settings)
        make: Callable[..., Method] = self.made
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
        Kind("privacynet", "privacynet", "PrivacyNet"),
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
    halfmask.errors.UsageError: method 'san' has no setting 'colour'; its settings are: weights
    """
    if name not in METHODS:
        raise UsageError(f"no method is called {name!r}; known: {', '.join(sorted(METHODS))}")
    return METHODS[name](threads, **settings)
