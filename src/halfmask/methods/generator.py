"""halfmask's generators as files: opened, and asked what they hide and which groups they know."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from ..errors import UsageError, WeightsError
from ..weights import shipped
from ..weights.store import sha256_of
from .runtime import Network

#: What a generator hides whose file does not say.
ATTRIBUTES = "attributes"


@dataclass(frozen=True)
class Generator:
    """A network that takes faces (N, 3, 224, 224) and codes (N, C) and gives changes (N, 3, 224, 224).

    ``groups`` are those that can be targets, by attribute each with its share; ``fingerprint`` is of the file.
    """

    net: Network
    groups: Mapping[str, Mapping[str, float]]
    fingerprint: str

    @property
    def code(self) -> int:
        """C: three flags, the gender's side, and the groups."""
        return 4 + sum(map(len, self.groups.values()))


def open_generator(weights: Path | str, known: Mapping[str, str], hides: str, threads: int = 0) -> Generator:
    """The generator called so among the ``known`` ones that ship (name → file), or of a training run's folder.

    Raises :class:`~halfmask.errors.UsageError` when there is none or it does not hide what ``hides`` says,
    :class:`~halfmask.errors.WeightsError` when its file is damaged.
    """
    path = shipped.path(known[str(weights)]) if weights in known else Path(weights) / "halfmask.onnx"
    if not path.is_file():
        names = f"{', '.join(known)} or " if known else ""
        raise UsageError(
            f"weights={weights} holds no halfmask.onnx; expected {names}the folder of a finished training run "
            "(halfmask train halfmask makes one)"
        )
    net = Network(path, threads)
    if (does := net.about.get("hides", ATTRIBUTES)) != hides:
        raise UsageError(f"weights={weights} hides {does}, expected a generator that hides {hides}")
    try:
        groups = {
            name: {str(word): float(share) for word, share in json.loads(net.about[f"{name}s"]).items()}
            for name in ("age", "race")
        }
    except (KeyError, ValueError, AttributeError) as error:
        raise WeightsError(f"{path} does not name the groups it knows: {error}. Train or fetch it again") from error
    return Generator(net, groups, sha256_of(path)[:12])
