"""Train an Ensemble SAN: several SANs that differ (Mirjalili, Raschka, Ross 2018; slides 004, figures 1, 4 and 5).

Three things make them differ: each is trained against another auxiliary gender classifier, on resampled training data,
and with prototypes of the gender or of gender by age and race. What is given to users is made of their outputs by
:class:`halfmask.methods.ensemble.Ensemble`. The paper's text was not to be had; docs/family.md says
what was settled here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .export import halve_weights
from .loop import start_run
from .sans import open_material, san_configs, save_prototypes, train_one


@dataclass
class EnsembleConfig:
    """``san`` holds the keys of :class:`~halfmask.training.sans.SanConfig` that all members share.

    ``members`` has for each its own, such as ``{gender_classifier: attributes, seed: 2, oversample: [{race: [Black],
    factor: 3}]}``; ``train``, ``valid`` and ``reach`` are shared.
    """

    san: dict[str, Any]
    members: list[dict[str, Any]]


def train_ensemble(config: EnsembleConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train member after member, in ``folder/member-1`` and so on; returns the path of ``ensemble.npz``.

    Beside that, the prototypes: ``1.onnx`` and so on, the members with float16 weights. A run that was killed goes on
    with the member that it was at. Raises :class:`~halfmask.errors.UsageError` for a member that cannot be.
    """
    members = san_configs(config.san, config.members, "members")
    start_run(folder, config)
    material = open_material(members[0], groups=any(m.prototypes == "groups" for m in members))
    for number, member in enumerate(members, 1):
        run = folder / f"member-{number}"
        train_one(member, run, material, resume=resume)
        halve_weights(run / "san.onnx", folder / f"{number}.onnx")
    return save_prototypes(material.prototypes, members, folder / "ensemble.npz")
