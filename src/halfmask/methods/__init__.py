"""What turns crops into changed crops. One file a method, one small interface, and a dict of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from ..errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Method(Protocol):
    """A method computes a *change*; whoever calls it adds it to the face, at whatever size the face has.

    ``hides`` names the attributes it can hide; ``prototypes`` the variants it knows (empty when it has none);
    ``needs_label`` says whether it must be told each face's gender.
    """

    name: str
    hides: frozenset[str]
    prototypes: tuple[str, ...]
    needs_label: bool

    def change(
        self, crops: NDArray[np.float32], gender: NDArray[np.integer], prototype: str = "op"
    ) -> NDArray[np.float32]:
        """The change of RGB crops (N, 3, 224, 224) in [0, 1], same shape, in [-1, 1]; ``gender`` is (N,) of 0, 1."""
        ...


def _san(threads: int) -> Method:
    from .san import San

    return San("san", threads)


#: Every method by name. The value loads it, with a number of threads (0 = all cores).
METHODS: dict[str, Callable[[int], Method]] = {"san": _san}

#: What ``protect`` uses unless told otherwise.
DEFAULT = "san"


def load(name: str = DEFAULT, *, threads: int = 0) -> Method:
    """Load a method. Raises :class:`~halfmask.errors.UsageError` for a name that is not known.

    >>> load("nonsense")
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: no method is called 'nonsense'; known: san
    """
    if name not in METHODS:
        raise UsageError(f"no method is called {name!r}; known: {', '.join(sorted(METHODS))}")
    return METHODS[name](threads)
