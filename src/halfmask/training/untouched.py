"""What everybody says of untouched faces before anybody adapts: it is asked once, and kept in files.

What readers believe is what they are to go on believing of what stays, and says which faces can be read at all; what
matchers see is what they are to go on seeing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from tqdm import tqdm

from ..networks.attribute import AttributeNet
from ..storage import ensure_folder, save_arrays
from ..weights.store import sha256_of
from .data import Faces

#: Faces a batch on a CPU, and on what can do more at once.
_AT_ONCE, _MANY = 32, 256


@dataclass(frozen=True)
class Untouched:
    """Training faces, and the ``folder`` that keeps what was said of them, a file a source.

    Source k holds the faces from ``ends[k]`` to ``ends[k + 1]``.
    """

    faces: Faces
    ends: Sequence[int]
    folder: Path
    accelerator: Accelerator

    def believed(self, reader: AttributeNet, path: Path) -> dict[str, NDArray[np.float32]]:
        """What the reader of a file believes: by attribute the probabilities of its classes, (N, K)."""
        reader.to(self.accelerator.device).eval()

        def ask(faces: Tensor) -> dict[str, Tensor]:
            return {name: p.float().clamp_min(1e-6) for name, p in reader.probabilities(faces).items()}

        return self._said(ask, f"{path.stem}-{sha256_of(path)[:8]}")

    def described(self, matcher: torch.nn.Module, name: str) -> Tensor:
        """What a matcher sees: descriptors (N, D), on the accelerator's device."""
        said = self._said(lambda faces: {"descriptor": matcher(faces)}, name)
        return torch.from_numpy(said["descriptor"]).to(self.accelerator.device)

    def mirrored(self, matcher: torch.nn.Module, name: str) -> Tensor:
        """What a matcher sees of faces and their mirror images: unit sums (N, D), on the accelerator's device."""

        def ask(faces: Tensor) -> dict[str, Tensor]:
            return {"descriptor": F.normalize(matcher(faces).float() + matcher(faces.flip(3)).float())}

        return torch.from_numpy(self._said(ask, f"{name}-mirrored")["descriptor"]).to(self.accelerator.device)

    def _said(self, ask: Callable[[Tensor], Mapping[str, Tensor]], who: str) -> dict[str, NDArray[np.float32]]:
        parts = [self._of_source(ask, who, range(a, b)) for a, b in pairwise(self.ends)]
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def _of_source(self, ask: Callable[[Tensor], Mapping[str, Tensor]], who: str, places: range) -> dict[str, Any]:
        keys = "\n".join(self.faces.rows[i].key for i in places).encode("utf-8", "surrogateescape")
        file = self.folder / f"{who}-{hashlib.sha256(keys).hexdigest()[:12]}.npz"
        if not file.is_file():
            parts: list[Mapping[str, Tensor]] = []
            count = _AT_ONCE if self.accelerator.device.type == "cpu" else _MANY
            for start in tqdm(range(places.start, places.stop, count), desc=f"asking {who}", unit="batch"):
                faces = self.faces.take(np.arange(start, min(start + count, places.stop)))
                with torch.no_grad(), self.accelerator.autocast():
                    parts.append(ask(faces.to(self.accelerator.device)))
            said = {name: torch.cat([p[name].float().cpu() for p in parts]).numpy() for name in parts[0]}
            save_arrays(ensure_folder(self.folder) / file.name, said)
        with np.load(file) as stored:
            return {name: stored[name] for name in stored.files}


def gender_axes(descriptors: Tensor, gender: Tensor, race: Tensor, races: int) -> Tensor:
    """Means of men less those of women, (races + 1, D), by race; the last row, at -1, is everybody's.

    ``descriptors`` are (N, D), ``gender`` and ``race`` (N,), -1 for unknown. A race with fewer than 50 of either gender
    takes everybody's.

    >>> x, gender = torch.tensor([[0.0], [1.0]]).repeat(50, 1), torch.arange(100) % 2
    >>> gender_axes(x, gender, torch.zeros(100, dtype=torch.long), 2).tolist()
    [[1.0], [1.0], [1.0]]
    """

    def axis(mine: Tensor) -> Tensor | None:
        women, men = (descriptors[(mine & (gender == g)).to(descriptors.device)] for g in (0, 1))
        return men.mean(0) - women.mean(0) if min(len(women), len(men)) >= 50 else None

    everybody = axis(torch.ones_like(gender, dtype=torch.bool))
    if everybody is None:
        everybody = torch.zeros(descriptors.shape[1], device=descriptors.device)
    own = [axis(race == k) for k in range(races)]
    return torch.stack([everybody if a is None else a for a in (*own, None)])
