"""Models of others that only measure: who is it (matchers), which gender, how old.

Each table maps a name to what makes the referee; making it fetches its weights when they are absent and raises
:class:`~halfmask.errors.WeightsError` when they cannot be had, or :class:`~halfmask.errors.ExtraMissingError` when the
extra ``halfmask[train]`` is not installed. No torch is involved.

>>> sorted(MATCHERS), sorted(GENDER), sorted(AGE)
(['dlib', 'w600k_mbf'], ['face-api', 'gender-v1', 'ssrnet-gender'], ['face-api', 'ssrnet-age'])
"""

from __future__ import annotations

from collections.abc import Callable

from .base import AgeReferee, GenderReferee, Matcher
from .dlibs import DlibGender, DlibMatcher
from .faceapi import FaceApi
from .insightface import W600kMatcher
from .ssrnet import SSRNetAge, SSRNetGender

MATCHERS: dict[str, Callable[..., Matcher]] = {m.name: m for m in (DlibMatcher, W600kMatcher)}
GENDER: dict[str, Callable[..., GenderReferee]] = {g.name: g for g in (FaceApi, DlibGender, SSRNetGender)}
AGE: dict[str, Callable[..., AgeReferee]] = {a.name: a for a in (FaceApi, SSRNetAge)}

__all__ = ["AGE", "GENDER", "MATCHERS", "AgeReferee", "GenderReferee", "Matcher"]
