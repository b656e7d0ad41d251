"""What several methods are asked in the same words: what to hide, how strongly, and what chance draws from."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError

#: Every attribute that can be hidden, in the order in which networks take them.
ATTRIBUTES = ("gender", "age", "race")

#: What SAN and its family mix in (SAN paper, section 2.2.2): the mean face of the same gender, which hides least, the
#: neutral one, or that of the opposite gender, which hides most and is taken unless told otherwise.
PROTOTYPES = ("sm", "nt", "op")
OPPOSITE = "op"

#: What stands in the place of a secret setting wherever settings are told: summaries, reports, tables, messages.
SECRET = "(secret)"

#: What a method for the opposite task hides: who is shown. The attributes are then to be kept.
IDENTITY = "identity"


def attributes(hide: str | Iterable[str], known: Iterable[str] = ATTRIBUTES) -> frozenset[str]:
    """The attributes to hide: a comma-separated text in any order, or the names themselves.

    Raises :class:`~halfmask.errors.UsageError` for none, or one that is not among ``known``.

    >>> sorted(attributes("age, gender"))
    ['age', 'gender']
    """
    named = [word.strip() for word in hide.split(",")] if isinstance(hide, str) else list(hide)
    can = [name for name in (*ATTRIBUTES, IDENTITY) if name in set(known)]
    if not named or not set(named) <= set(can):
        raise UsageError(f"hide is {hide!r}; expected one or several, joined by commas, of: {', '.join(can)}")
    return frozenset(named)


def strength(value: str | float, named: Mapping[str, float]) -> float:
    """A strength as a number in [0, 1]; ``named`` says what low, mid and high are.

    Raises :class:`~halfmask.errors.UsageError` for anything else.

    >>> levels = {"low": 0.25, "mid": 0.5, "high": 0.75}
    >>> strength("mid", levels), strength("0.3", levels), strength(1, levels)
    (0.5, 0.3, 1.0)
    """
    if value in named:
        return named[str(value)]
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = -1.0
    if isinstance(value, bool) or not 0.0 <= number <= 1.0:
        raise UsageError(f"strength is {value!r}; expected low, mid, high or a number from 0 to 1")
    return number


def one_of(name: str, value: object, known: Iterable[str]) -> str:
    """A value that is among the known words. Raises :class:`~halfmask.errors.UsageError` for any other.

    >>> one_of("target", "flip", ("drawn", "flip"))
    'flip'
    """
    words = tuple(known)
    if value not in words:
        raise UsageError(f"{name} is {value!r}; expected one of: {', '.join(words)}")
    return str(value)


def secret(name: str, value: str | float | None) -> str | None:
    """A key or a person's name as text, None when it was not given.

    Raises :class:`~halfmask.errors.UsageError` for an empty one, as an unset variable of the shell gives: all others
    could repeat what is drawn by it.

    >>> secret("key", 7), secret("key", None)
    ('7', None)
    """
    if value is not None and not str(value).strip():
        raise UsageError(f"{name} is empty; give a text, or leave it out")
    return None if value is None else str(value)


def drawn(key: str, crop: NDArray[np.float32], person: str | None = None) -> np.random.Generator:
    """Chance for one face that only who has the secret ``key`` can repeat: a function of the key and the crop's pixels.

    ``crop`` is (3, H, W) in [0, 1]. The same photo always draws the same, so that protecting it twice and comparing
    tells nothing; without the key nobody can say what was drawn (HMAC-SHA256 of the 8-bit pixels). With ``person`` it
    is a function of the key and that name.

    >>> face = np.zeros((3, 2, 2), np.float32)
    >>> [bool(drawn(k, face).random() == drawn("mine", face).random()) for k in ("mine", "yours")]
    [True, False]
    """
    what = np.round(crop * 255).astype(np.uint8).tobytes() if person is None else person.encode()
    return np.random.default_rng(list(hmac.new(key.encode(), what, hashlib.sha256).digest()))
