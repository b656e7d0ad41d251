"""What every method keeps to: crops and what is known of their faces in, what to add to the crops out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..photos.align import CROP
from .choice import secret

#: RGB crops of the shared template, float32 (N, 3, 224, 224) in [0, 1], or what is to be added to them, in [-1, 1].
Crops = NDArray[np.float32]


@dataclass(frozen=True)
class Subject:
    """What a method is told of the person in one crop; None where it is not known.

    ``gender`` is 0 for female, 1 for male. ``who`` names the person: a method that draws a target by a key gives all
    crops of one name the same, and without a name draws by the crop's pixels. Raises
    :class:`~halfmask.errors.UsageError` for another gender, or a name that is empty.

    >>> Subject(gender=1, who="anna")
    Subject(gender=1, who='anna')
    """

    gender: int | None = None
    who: str | None = None

    def __post_init__(self) -> None:
        if self.gender not in (None, 0, 1):
            raise UsageError(f"gender is {self.gender!r}; expected 0 for female, 1 for male, or None")
        secret("who", self.who)


def genders(subjects: Sequence[Subject]) -> NDArray[np.int64]:
    """The genders (N,) of 0 and 1, for a method that needs them; see :attr:`Method.needs_label`.

    Raises :class:`~halfmask.errors.UsageError` when one is not known.

    >>> genders([Subject(1), Subject(0)])
    array([1, 0])
    """
    known = [subject.gender for subject in subjects if subject.gender is not None]
    if len(known) != len(subjects):
        raise UsageError(
            f"the gender of {len(subjects) - len(known)} of {len(subjects)} faces is not known, but this method needs "
            "it; give each face a Subject(gender=0 or 1)"
        )
    return np.array(known, np.int64)


class Method(ABC):
    """A method computes a *change*; whoever calls it adds it to the face, at whatever size the face has.

    A new one says in its class what stands below, takes its ``settings`` by name in ``__init__`` beside ``threads``
    (0 = all cores), brings :meth:`_change`, and stands in :data:`halfmask.methods.METHODS`. The class is read before
    anything is loaded.
    """

    #: what it is called, and which numbers it runs on: of its files' sha256, "" when it has no files of ours
    name: str
    fingerprint: str = ""
    #: the attributes that it can hide, of :data:`~halfmask.methods.choice.ATTRIBUTES`, or ``identity``
    hides: ClassVar[frozenset[str]]
    #: what it can be set to, name → one line of help; each value may be given as text, as the command line does
    settings: ClassVar[Mapping[str, str]] = {}
    #: of those settings that are one of a few words, the words
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {}
    #: those settings without which it cannot be loaded
    required: ClassVar[frozenset[str]] = frozenset()
    #: of those settings that nobody else may know, :data:`~halfmask.methods.choice.SECRET` is all that is ever told
    secrets: ClassVar[frozenset[str]] = frozenset()
    #: whether it must be told each face's gender
    needs_label: ClassVar[bool] = False
    #: whether its change is for the whole crop, hair and background included, and not for the oval of a head
    #: (:func:`halfmask.photos.paste.face_change`)
    whole: ClassVar[bool] = False
    #: pixels at the edges of a whole crop where its change is not to be used in a photo
    edge: ClassVar[int] = 0
    #: whether its change moves only a little where the crop does, for one subject, so that it can follow a video
    steady: bool = False
    #: whether its own output is a gray face, so that its change is the same in every channel
    gray: ClassVar[bool] = False
    #: what the words of its setting ``strength`` are as numbers in [0, 1]; empty when it has no strength
    strengths: ClassVar[Mapping[str, float]] = {}
    #: whether its change at a strength is that share of its change at strength 1
    proportional: ClassVar[bool] = False
    #: what it fetches, of :data:`halfmask.weights.store.MODELS`
    models: ClassVar[tuple[str, ...]] = ()
    #: packages of an extra that it imports, so that their absence is told before anything is fetched
    needs: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def notes(cls, settings: Mapping[str, Any]) -> tuple[str, ...]:
        """What whoever gave these settings has to be told with every result, a sentence each."""
        return ()

    @final
    def change(self, crops: Crops, subjects: Sequence[Subject] | None = None) -> Crops:
        """What to add to RGB crops (N, 3, 224, 224) in [0, 1]: float32 of the same shape, for faces in [-1, 1].

        The sum is clipped where it leaves the photo's range. ``subjects`` are N, one a crop; None when nothing is
        known of any. No crop's change depends on the others.
        Raises :class:`~halfmask.errors.UsageError` for another shape or number, or a gender that is needed and not
        known.
        """
        if crops.ndim != 4 or crops.shape[1:] != (3, CROP, CROP):
            raise UsageError(f"crops have the shape {crops.shape}; expected (N, 3, {CROP}, {CROP})")
        if subjects is None:
            subjects = [Subject()] * len(crops)
        if len(subjects) != len(crops):
            raise UsageError(f"{len(subjects)} subjects were given for {len(crops)} crops; expected one a crop")
        if not len(crops):
            return np.zeros_like(crops, np.float32)
        return self._change(crops, subjects)

    @abstractmethod
    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        """As :meth:`change`, of at least one crop."""
