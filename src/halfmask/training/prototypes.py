"""Prototypes of the SAN family: mean faces of a training set, of each gender or of gender by age and race."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.groups import GROUPS, group_of
from ..errors import DataError
from ..storage import save_arrays
from .data import Faces, to_tensor


@dataclass(frozen=True)
class Prototypes:
    """Mean faces of a training set: uint8 (224, 224, 3) each, and the share of men among its faces.

    ``groups``, where there are any, are those of :data:`halfmask.datasets.groups.GROUPS` by gender, uint8
    (4, 2, 224, 224, 3): with ``female`` and ``male`` for everybody else.
    """

    female: NDArray[np.uint8]
    male: NDArray[np.uint8]
    male_share: float
    groups: NDArray[np.uint8] | None = None

    def means(self) -> Tensor:
        """By gender label, float32 (2, 3, 224, 224) in [0, 1]."""
        return to_tensor(np.stack([self.female, self.male])).contiguous()

    def by_group(self) -> Tensor:
        """By group and gender label, (1 or 5, 2, 3, 224, 224) in [0, 1]; group 0 is everybody."""
        everybody = self.means()[None]
        if self.groups is None:
            return everybody
        rest = to_tensor(self.groups.reshape(-1, *self.groups.shape[2:])).contiguous()
        return torch.cat([everybody, rest.view(len(self.groups), 2, *rest.shape[1:])])

    def group_labels(self, faces: Faces) -> NDArray[np.int64]:
        """Which of :meth:`by_group` each face has, (N,)."""
        if self.groups is None:
            return np.zeros(len(faces), np.int64)
        return np.array([group_of(row) for row in faces.rows], np.int64)

    def neutral(self) -> Tensor:
        """P_NT = alpha_F P_F + alpha_M P_M (SAN paper, section 2.2.2), (3, 224, 224)."""
        female, male = self.means()
        out: Tensor = (1 - self.male_share) * female + self.male_share * male
        return out

    def save(self, path: Path, reach: float = 1.0, grouped: Sequence[bool] | None = None) -> None:
        """Write the npz that :class:`halfmask.methods.san.San` reads.

        ``grouped`` says of each network that shares the file whether it takes the groups' prototypes; by default they
        all do where there are groups.
        """
        arrays: dict[str, NDArray[np.generic]] = {"female": self.female, "male": self.male}
        arrays |= {"male_share": np.array(self.male_share), "reach": np.array(float(reach))}
        if self.groups is not None:
            arrays |= {"groups": self.groups, "grouped": np.array([True] if grouped is None else list(grouped))}
        save_arrays(path, arrays, compressed=True)


def mean_faces(faces: Faces, batch: int = 256, *, groups: bool = False) -> Prototypes:
    """The prototypes of a training set, with ``groups`` those of age and race, too.

    Raises :class:`~halfmask.errors.DataError` when a gender, or a gender of a group, has no face.
    """
    gender = faces.labels("gender")
    kinds = np.array([group_of(row) for row in faces.rows]) if groups else np.zeros(len(faces), np.int64)
    sums = np.zeros((1 + len(GROUPS) * groups, 2, *faces.pixels(np.array([0])).shape[1:]), np.float64)
    for start in range(0, len(faces), batch):
        index = np.arange(start, min(start + batch, len(faces)))
        pixels = faces.pixels(index)
        for kind in np.unique(kinds[index]):
            for g in (0, 1):
                sums[kind, g] += pixels[(kinds[index] == kind) & (gender[index] == g)].sum(0, dtype=np.float64)
    counts = np.array([[((kinds == kind) & (gender == g)).sum() for g in (0, 1)] for kind in range(len(sums))])
    sums[0], counts[0] = sums.sum(0), counts.sum(0)
    for name, (women, men) in zip(("", *GROUPS), counts.tolist(), strict=False):
        if not women or not men:
            who = f"the prototypes of {name} faces" if name else "prototypes"
            raise DataError(f"{who} need women and men; got {women} women and {men} men")
    means = np.rint(sums / counts[:, :, None, None, None]).astype(np.uint8)
    share = float(counts[0, 1] / counts[0].sum())
    return Prototypes(means[0, 0], means[0, 1], share, means[1:] if groups else None)
