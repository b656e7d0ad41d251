"""Models that only measure: who is it (matchers), which gender, how old, which race.

Each table maps a name to what makes the referee, given a number of threads (0: every core); making it fetches its
weights when they are absent and raises :class:`~halfmask.errors.WeightsError` when they cannot be had, or
:class:`~halfmask.errors.ExtraMissingError` when the extra ``halfmask[audit]`` is not installed. No torch is involved.

>>> sorted(MATCHERS), sorted(GENDER)
(['dlib', 'w600k_mbf'], ['face-api', 'gender-v1', 'ssrnet-gender'])
>>> sorted(AGE), sorted(RACE)
(['face-api', 'ssrnet-age'], ['race-fairface', 'race-utkface'])
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field

from ...errors import UsageError
from .base import AgeReferee, DescriptorReferee, GenderAgeReferee, GenderReferee, Matcher, RaceReferee
from .dlibs import DlibGender, DlibMatcher
from .faceapi import FaceApi
from .insightface import W600kMatcher
from .race import RaceFromFairface, RaceFromUtkface
from .ssrnet import SSRNetAge, SSRNetGender

MATCHERS: dict[str, Callable[..., Matcher]] = {m.name: m for m in (DlibMatcher, W600kMatcher)}
GENDER: dict[str, Callable[..., GenderReferee]] = {g.name: g for g in (FaceApi, DlibGender, SSRNetGender)}
AGE: dict[str, Callable[..., AgeReferee]] = {a.name: a for a in (FaceApi, SSRNetAge)}
RACE: dict[str, Callable[..., RaceReferee]] = {r.name: r for r in (RaceFromUtkface, RaceFromFairface)}


@dataclass(frozen=True)
class Referees:
    """Referees ready to be asked, by name. One that says two things (face-api) is one object in both mappings.

    ``names`` are those that :func:`load` would need to make the same again, in another process; None for referees that
    it did not make.
    """

    genders: Mapping[str, GenderReferee] = field(default_factory=dict)
    matchers: Mapping[str, Matcher] = field(default_factory=dict)
    ages: Mapping[str, AgeReferee] = field(default_factory=dict)
    races: Mapping[str, RaceReferee] = field(default_factory=dict)
    names: tuple[str, ...] | None = None


def load(threads: int = 1, only: Collection[str] | None = None) -> Referees:
    """Load every referee, or those named in ``only``; a name that stands in two tables loads for both.

    ``threads`` is how many each network may use, 0 for every core.

    Raises :class:`~halfmask.errors.UsageError` for an unknown name,
    :class:`~halfmask.errors.WeightsError` when weights can neither be found nor fetched.

    >>> load(only=["face-api", "gut feeling"])
    Traceback (most recent call last):
    halfmask.errors.UsageError: no referee is called gut feeling; there are dlib, face-api, ...
    """
    known = {**MATCHERS, **GENDER, **AGE, **RACE}
    wanted = set(known if only is None else only)
    if unknown := sorted(wanted - set(known)):
        raise UsageError(f"no referee is called {', '.join(unknown)}; there are {', '.join(sorted(known))}")
    genders = {name: make(threads) for name, make in GENDER.items() if name in wanted}
    matchers = {name: make(threads) for name, make in MATCHERS.items() if name in wanted}
    ages: dict[str, AgeReferee] = {}
    for name, make in AGE.items():
        if name in wanted:
            both = genders.get(name)
            ages[name] = both if isinstance(both, FaceApi) else make(threads)
    shared = matchers.get(W600kMatcher.name)
    races = {name: make(threads, matcher=shared) for name, make in RACE.items() if name in wanted}
    return Referees(genders, matchers, ages, races, tuple(sorted(wanted)))


__all__ = [
    "AGE",
    "GENDER",
    "MATCHERS",
    "RACE",
    "AgeReferee",
    "DescriptorReferee",
    "GenderAgeReferee",
    "GenderReferee",
    "Matcher",
    "RaceReferee",
    "Referees",
    "load",
]
