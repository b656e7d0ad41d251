"""Train an Ensemble SAN: several SANs that differ (Mirjalili, Raschka, Ross 2018; slides 004, figures 1, 4 and 5).

Three things make them differ: each is trained against another auxiliary gender classifier, on resampled training data,
and with prototypes of the gender or of gender by age and race. What is given to users is made of their outputs by
:class:`halfmask.methods.ensemble.Ensemble`. The paper's text was not to be had; docs/family.md says
what was settled here.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from ..errors import UsageError
from .export import halve_weights
from .loop import start_run
from .prototypes import Prototypes
from .san import SanConfig, open_material, train_san

#: What SANs that are trained together have in common: they see one set of faces and share their prototypes.
_SHARED = ("train", "valid", "reach")


@dataclass
class EnsembleConfig:
    """``san`` holds the keys of :class:`~halfmask.training.san.SanConfig` that all members share.

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
        train_san(member, run, resume=resume, material=material)
        halve_weights(run / "san.onnx", folder / f"{number}.onnx")
    return save_prototypes(material.prototypes, members, folder / "ensemble.npz")


def san_configs(shared: dict[str, Any], own: list[dict[str, Any]], what: str) -> list[SanConfig]:
    """One config for each of several SANs that are trained together: the shared keys and its own.

    Raises :class:`~halfmask.errors.UsageError` that names the one with an unknown or a missing key.
    """
    if not own:
        raise UsageError(f"{what} is empty; expected at least one, with its gender_classifier")
    known = {f.name for f in fields(SanConfig)}
    made = []
    for number, mine in enumerate(own, 1):
        if unknown := sorted((set(shared) | set(mine)) - known):
            raise UsageError(f"number {number} of {what} has unknown keys: {', '.join(unknown)}; see SanConfig")
        if twice := sorted(set(mine) & set(_SHARED)):
            raise UsageError(f"number {number} of {what} has {', '.join(twice)} of its own; give it under 'san'")
        try:
            made.append(SanConfig(**(shared | mine)))
        except TypeError as error:
            raise UsageError(f"number {number} of {what} is not complete: {error}") from error
    return made


def save_prototypes(prototypes: Prototypes, sans: list[SanConfig], path: Path) -> Path:
    """Write the prototypes that several SANs share, and which of them takes those of groups."""
    prototypes.save(path, sans[0].reach, [san.prototypes == "groups" for san in sans])
    return path
