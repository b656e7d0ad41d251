"""What an audit is asked for: which photos, who judges them, and what the report tells."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...errors import UsageError, require
from ...methods import METHODS
from ...methods.choice import IDENTITY

if TYPE_CHECKING:
    from ..attackers import Budget
    from ..referees import Referees

#: What protection is for: "protect" hides attributes and keeps the person recognisable, "deidentify" the reverse.
DIRECTIONS = ("protect", "deidentify")

_NEEDS = ("sklearn", "skimage", "jinja2", "matplotlib")
_REFEREES_NEED = ("dlib", "onnx")
#: The attacks that train no network, and so need no torch.
_UNTRAINED = ("inverted", "probe", "neighbours", "kernel", "recovery")
_TORCH_HINT = (
    f", or leave the attackers out (--no-attackers), or try those that need none (--attack): {', '.join(_UNTRAINED)}"
)


@dataclass(frozen=True)
class Sample:
    """Which photos are compared.

    ``affix`` is what protected photos have before or after their originals' names, such as ``_cloaked``; None looks for
    one where it is needed. ``pairs`` is a CSV (``a,b,same``, or LFW's ``pairs.txt``) of the photos to match; without it
    every two photos of known people are, and where nobody is known every photo meets its own protected one. ``most``
    takes whole people until there are so many photos, by a shuffle that ``seed`` fixes, as it does every other draw.

    >>> Sample(most=500)
    Sample(affix=None, pairs=None, most=500, seed=0)
    """

    affix: str | None = None
    pairs: str | Path | None = None
    most: int | None = None
    seed: int = 0


@dataclass(frozen=True)
class Judges:
    """Who measures, who attacks, and what attackers may spend.

    ``referees`` restricts who judges, by name, or brings judges of one's own
    (:class:`halfmask.evaluation.referees.Referees`). ``attacks`` restricts the attackers by name
    (:data:`halfmask.evaluation.attackers.ATTACKS`), and ``()`` leaves them out; ``retrained``, ``inverse`` and
    ``detector`` train networks and need ``halfmask[train]``. ``budget`` is what they may spend
    (:class:`halfmask.evaluation.attackers.Budget`). ``outputs`` is given original photos and makes further protected
    versions of them (see :func:`halfmask.evaluation.attackers.attack`).

    >>> Judges(referees=["face-api", "dlib"], attacks=())
    Judges(referees=['face-api', 'dlib'], attacks=(), budget=None, outputs=None)
    """

    referees: Referees | Sequence[str] | None = None
    attacks: Sequence[str] | None = None
    budget: Budget | None = None
    outputs: Callable[[Sequence[Path]], Iterable[Sequence[Path]]] | None = None

    @property
    def attacking(self) -> bool:
        """Whether there are attackers at all."""
        return self.attacks is None or bool(self.attacks)

    @property
    def own(self) -> Referees | None:
        """The judges that were brought; None where they are chosen by name."""
        from ..referees import Referees as Kind

        return self.referees if isinstance(self.referees, Kind) else None

    def attacks_for(self, direction: str) -> Sequence[str] | None:
        """Which attackers to try: those that were asked for, or None for all that there are.

        Where the gender is to stay readable, reading it is no attack; then only the detector is left. Raises
        :class:`~halfmask.errors.UsageError` when others were asked for.

        >>> Judges().attacks_for("protect"), Judges().attacks_for("deidentify")
        (None, ['detector'])
        """
        if direction == "protect" or not self.attacking:
            return self.attacks
        if odd := sorted(set(self.attacks or ()) - {"detector"}):
            raise UsageError(
                f"{', '.join(odd)} reads the gender, which deidentify keeps, so it is no attack on it; only detector is"
            )
        return ["detector"]

    def check(self, direction: str) -> None:
        """Raise when a package is absent or a name unknown, before minutes of work are lost.

        :class:`~halfmask.errors.ExtraMissingError` for what is not installed, :class:`~halfmask.errors.UsageError` for
        an unknown referee or attack, and for an attack that is none in this direction.
        """
        trains = self.attacks is None or bool(set(self.attacks) - set(_UNTRAINED))
        needs = (*_NEEDS, *(() if self.own else _REFEREES_NEED), *(("torch",) if trains else ()))
        require(needs, "the audit", {"torch": _TORCH_HINT})
        from ..attackers import ATTACKS  # brings scikit-learn, which is there by now
        from ..referees import AGE, GENDER, MATCHERS, RACE

        for what, names, known in (
            ("attack", self.attacks, list(ATTACKS)),
            ("referee", () if self.own else self.referees, sorted({*MATCHERS, *GENDER, *AGE, *RACE})),
        ):
            if unknown := sorted(set(names or ()) - set(known)):  # type: ignore[arg-type]
                raise UsageError(f"no {what} is called {', '.join(unknown)}; there are {', '.join(known)}")
        self.attacks_for(direction)


@dataclass(frozen=True)
class Page:
    """What the report says of how the photos came about, and what it shows.

    It calls the originals ``title``, or else by their folder's name, and shows ``pictures`` faces. ``method`` is what
    protected them, as far as it is known, and ``direction`` what that is for: "protect" hides attributes, "deidentify"
    hides who it is and keeps the attributes; None goes by the method. ``notes`` are sentences that a reader has to
    know, ``command`` is the line that makes the report again.

    >>> Page(method={"name": "deidentify"}).aim
    'deidentify'
    """

    title: str | None = None
    pictures: int = 6
    method: Mapping[str, Any] | None = None
    direction: str | None = None
    notes: Sequence[str] = ()
    command: str = ""

    @property
    def aim(self) -> str:
        """The direction that was asked for, or else that of the method that protected, as far as it is known.

        Raises :class:`~halfmask.errors.UsageError` for another word.

        >>> Page().aim, Page(method={"name": "deidentify"}, direction="protect").aim
        ('protect', 'protect')
        """
        if self.direction is None:
            kind = METHODS.get(str((self.method or {}).get("name")))
            return "deidentify" if kind is not None and IDENTITY in kind.cls.hides else "protect"
        if self.direction not in DIRECTIONS:
            raise UsageError(f"direction is {self.direction!r}; expected one of: {', '.join(DIRECTIONS)}")
        return self.direction
