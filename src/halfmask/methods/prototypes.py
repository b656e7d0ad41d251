"""The mean faces that SANs add: of each gender, and where a run made them, of gender by age and race."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..datasets.ages import age_class
from ..datasets.groups import group
from ..errors import UsageError, WeightsError
from ..weights import shipped
from .runtime import Faces, Network


class Prototypes:
    """What stands in the npz of a training run: uint8 arrays ``female``, ``male`` (224, 224, 3), and ``male_share``.

    ``male_share`` is the share of men among the training faces. An optional ``reach`` says how far OP goes from the
    same-gender prototype: 1 (the default, the paper) to the opposite one, more beyond it. Optional ``groups``
    (4, 2, 224, 224, 3) are the prototypes of :data:`~halfmask.datasets.groups.GROUPS` by gender; ``grouped`` then says
    of each network that shares the file whether it takes them.
    """

    def __init__(self, path: Path) -> None:
        with np.load(path) as arrays:
            everybody = np.stack([arrays["female"], arrays["male"]])[None]
            of_groups = [arrays["groups"]] if "groups" in arrays else []
            share = float(arrays["male_share"])
            self.reach = float(arrays["reach"]) if "reach" in arrays else 1.0
            self._grouped = arrays["grouped"].tolist() if "grouped" in arrays else [False]
        pixels = np.concatenate([everybody, *of_groups]).transpose(0, 1, 4, 2, 3)
        #: by group (0 is everybody) and gender label, (1 or 5, 2, 3, 224, 224), in [0, 1]
        self.by_group: Faces = pixels.astype(np.float32) / np.float32(255)
        #: mean faces by gender label, (2, 3, 224, 224), and P_NT = alpha_F P_F + alpha_M P_M (SAN paper, section 2.2.2)
        self.means: Faces = self.by_group[0]
        self.neutral: Faces = ((1 - share) * self.means[0] + share * self.means[1]).astype(np.float32)

    def grouped(self, number: int = 0) -> bool:
        """Whether the network of this number, from 0, takes the prototypes of groups."""
        return bool(self._grouped[number % len(self._grouped)])

    def choose(
        self, gender: NDArray[np.integer], prototype: str, groups: NDArray[np.integer] | None = None
    ) -> tuple[Faces, Faces]:
        """The same-gender prototypes and those that ``prototype`` (sm, nt or op) asks for, (N, 3, 224, 224) each.

        ``gender`` (N,) holds 0 = female, 1 = male; ``groups`` (N,) 0 for everybody, 1..4 for one of the groups. Raises
        :class:`~halfmask.errors.UsageError` for another prototype.
        """
        kind = np.zeros_like(gender) if groups is None else groups
        same = self.by_group[kind, gender]
        if prototype == "sm":
            return same, same
        if prototype == "op":
            return same, same + np.float32(self.reach) * (self.by_group[kind, 1 - np.asarray(gender)] - same)
        if prototype == "nt":
            return same, np.broadcast_to(self.neutral, same.shape)
        raise UsageError(f"prototype {prototype!r} is unknown; use sm, nt or op")


class GroupEstimate:
    """Age and race group of faces, by our own attribute network: which prototypes a face nobody has labelled gets."""

    def __init__(self, threads: int = 0) -> None:
        path = shipped.path("attributes.onnx")
        self._net = Network(path, threads)
        try:
            heads = json.loads(self._net.about["heads"])
            self._ages = [age_class(word) for word in heads["age"]["classes"]]
            self._races = list(heads["race"]["classes"])
        except (KeyError, ValueError) as error:
            raise WeightsError(f"{path} does not say which ages and races it knows: {error}. Reinstall it.") from error

    def __call__(self, crops: Faces) -> NDArray[np.int64]:
        """0..4, (N,), for RGB crops (N, 3, 224, 224) in [0, 1]; 0 for a face of none of the groups."""
        probabilities = self._net.named(crops)
        groups = []
        for ages, races in zip(probabilities["age"], probabilities["race"], strict=True):
            years = self._ages[int(np.searchsorted(ages.cumsum(), 0.5).clip(0, len(ages) - 1))]
            groups.append(group(years.low, years.high or 200, self._races[int(races.argmax())]))
        return np.array(groups, np.int64)
