"""Train a FlowSAN: SANs in sequence (Mirjalili, Raschka, Ross 2019; slides 004).

Each is trained on what the one before makes of the faces (its OP output), with an auxiliary gender classifier of its
own, so that it removes what the earlier ones left. The earlier ones are frozen and run on the fly. Matching is with the
faces as they were: it is the sum of all changes that must not lose the person. The paper's text was not to be had;
docs/family.md says what was settled here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..networks.san import SAN, load_san
from ..networks.state import frozen
from .export import halve_weights
from .loop import start_run
from .prototypes import Prototypes
from .sans import open_material, san_configs, save_prototypes, train_one


@dataclass
class FlowSanConfig:
    """``san`` holds the keys of :class:`~halfmask.training.sans.SanConfig` that all stages share.

    ``stages`` has for each its own, in order, such as ``{gender_classifier: attributes}``; ``train``, ``valid`` and
    ``reach`` are shared.
    """

    san: dict[str, Any]
    stages: list[dict[str, Any]]


def train_flowsan(config: FlowSanConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train stage after stage, in ``folder/stage-1`` and so on; returns the path of ``flowsan.npz``.

    Beside that, the prototypes: ``1.onnx`` and so on, the stages with float16 weights. A run that was killed goes on
    with the stage that it was at. Raises :class:`~halfmask.errors.UsageError` for a stage that cannot be.
    """
    stages = san_configs(config.san, config.stages, "stages")
    start_run(folder, config)
    material = open_material(stages[0], groups=any(s.prototypes == "groups" for s in stages))
    grouped = [stage.prototypes == "groups" for stage in stages]
    done: list[SAN] = []
    for number, stage in enumerate(stages, 1):
        run = folder / f"stage-{number}"
        earlier = Earlier(done, grouped, material.prototypes, stage.reach) if done else None
        path = train_one(stage, run, replace(material, before=earlier), resume=resume)
        halve_weights(run / "san.onnx", folder / f"{number}.onnx")
        done.append(load_san(path))
    return save_prototypes(material.prototypes, stages, folder / "flowsan.npz")


class Earlier:
    """Trained SANs one after the other: gray faces (N, 1, H, W), gender and group (N,), to the last one's OP output.

    ``grouped`` says of each whether it takes the prototypes of groups.
    """

    def __init__(self, sans: Sequence[SAN], grouped: Sequence[bool], prototypes: Prototypes, reach: float) -> None:
        self.sans = [frozen(san) for san in sans]
        self.grouped, self.reach = grouped, reach
        self.means = prototypes.by_group()

    @torch.no_grad()
    def __call__(self, faces: Tensor, gender: Tensor, group: Tensor) -> Tensor:
        """The last one's OP output, of the shape of ``faces``."""
        self.means = means = self.means.to(faces.device)
        for san, grouped in zip(self.sans, self.grouped, strict=False):
            kind = group if grouped else torch.zeros_like(group)
            same, opposite = means[kind, gender], means[kind, 1 - gender]
            (faces,) = san.to(faces.device)(faces, same, [same + self.reach * (opposite - same)])
            faces = faces.float()
        return faces
