"""SAN as a method: gray face in, gray face out, as a change of luminance that any photo can take."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..weights import shipped
from ..weights.store import sha256_of
from .runtime import Faces, Network, gray


class San:
    """Semi-adversarial network (Mirjalili, Raschka, Namboodiri, Ross 2018) with one set of trained weights.

    ``weights`` is the folder of a training run, with ``san.onnx`` and ``san.npz``; without it, ``name`` is that of the
    shipped weights. The two files can also be given one by one: ``network`` is the ONNX file of a SAN,
    ``means`` the prototypes of its training set, an npz with uint8 arrays ``female``, ``male`` (224, 224, 3) and
    ``male_share``, the share of men among the training faces. An optional ``reach`` says how far OP goes from the
    same-gender prototype: 1 (the default, the paper) to the opposite one, more beyond it. Raises
    :class:`~halfmask.errors.UsageError` when ``weights`` does not hold the two files.
    """

    hides: frozenset[str] = frozenset({"gender"})
    prototypes: tuple[str, ...] = ("sm", "nt", "op")
    needs_label = True
    settings: ClassVar[Mapping[str, str]] = {
        "weights": "folder of a training run, with san.onnx and san.npz  [default: the shipped weights]"
    }
    models: ClassVar[tuple[str, ...]] = ()

    def __init__(
        self,
        name: str = "san",
        threads: int = 0,
        *,
        weights: Path | str | None = None,
        network: Path | None = None,
        means: Path | None = None,
    ) -> None:
        self.name = name
        if weights is not None:
            network, means = (_in_run(Path(weights), file) for file in ("san.onnx", "san.npz"))
        network = network or shipped.path(f"{name}.onnx")
        means = means or shipped.path(f"{name}.npz")
        self._net = Network(network, threads)
        #: says which numbers these are: of the two files' sha256, 12 digits each
        self.fingerprint = f"{sha256_of(network)[:12]}-{sha256_of(means)[:12]}"
        with np.load(means) as kept:
            both = np.stack([kept["female"], kept["male"]]).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
            share = float(kept["male_share"])
            self.reach = float(kept["reach"]) if "reach" in kept else 1.0
        #: mean faces by gender label, (2, 3, 224, 224), and P_NT = alpha_F P_F + alpha_M P_M (section 3.2)
        self.means: Faces = both
        self.neutral: Faces = ((1 - share) * both[0] + share * both[1]).astype(np.float32)

    def protected_gray(self, crops: Faces, gender: NDArray[np.integer], prototype: str = "op") -> Faces:
        """The paper's own output: gray faces (N, 1, 224, 224) for RGB crops (N, 3, 224, 224), both in [0, 1].

        ``gender`` (N,) holds 0 = female, 1 = male. Raises :class:`~halfmask.errors.UsageError` for another prototype
        than ``sm``, ``nt`` or ``op``.
        """
        same = self.means[gender]
        if prototype == "sm":
            chosen = same
        elif prototype == "op":
            chosen = same + np.float32(self.reach) * (self.means[1 - np.asarray(gender)] - same)
        elif prototype == "nt":
            chosen = np.broadcast_to(self.neutral, same.shape)
        else:
            raise UsageError(f"prototype {prototype!r} is unknown; use sm, nt or op")
        return self._net(gray(crops), same, chosen)

    def change(self, crops: Faces, gender: NDArray[np.integer], prototype: str = "op") -> Faces:
        """What to add to RGB crops (N, 3, 224, 224) in [0, 1]: same shape, in [-1, 1].

        The same amount in all three channels, which changes luma by that amount and leaves chroma alone (except where a
        channel is clipped at black or white).
        """
        if not len(crops):
            return np.zeros_like(crops)
        difference = self.protected_gray(crops, gender, prototype) - gray(crops)
        return np.repeat(difference, 3, 1)


def _in_run(folder: Path, file: str) -> Path:
    if not (folder / file).is_file():
        raise UsageError(
            f"weights={folder} holds no {file}; expected the folder of a finished training run, with san.onnx and "
            "san.npz (halfmask train san makes one)"
        )
    return folder / file
