"""Made-up faces and small networks for the tests of SANs that are trained together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.networks.san import SAN
from halfmask.photos.align import crop_face, template
from halfmask.training import sans
from halfmask.training.data import Faces
from halfmask.training.export import export_san
from halfmask.training.prototypes import Prototypes

RACES = ("White", "Black", "Indian")


def made_up(count: int = 16, side: int = 224, seed: int = 0) -> Faces:
    """Flat faces of every gender, race and age, with a little noise; a man is darker."""
    rng = np.random.default_rng(seed)
    pixels, rows = [], []
    for i in range(count):
        flat = (i % 2 == 0) * 80 + rng.integers(40, 120, 3)
        pixels.append(np.broadcast_to(flat, (side, side, 3)) + rng.integers(0, 20, (side, side, 3)))
        ages = (20, 29) if i // 2 % 2 else (50, 59)
        rows.append(Row(f"{i}", Path(f"{i}"), f"p{i}", i % 2, None, ages, RACES[i // 4 % 3], "train"))
    return Faces([(Crops(np.stack(pixels).astype(np.uint8), rows, []), range(count))])


class Tiny(nn.Module):
    """4 x 4 means: a matcher, or with two outputs a classifier."""

    def __init__(self, classes: int = 0) -> None:
        super().__init__()
        torch.manual_seed(classes)
        self.last = nn.Linear(16, classes) if classes else nn.Identity()

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.last(nn.functional.adaptive_avg_pool2d(faces.mean(1, keepdim=True), 4).flatten(1).float())


def tiny(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What tiny SANs have in common: two steps, on made-up faces, against a matcher and classifiers of 4 x 4 means."""
    monkeypatch.setattr(sans, "open_faces", lambda sources, keep: made_up())
    monkeypatch.setattr(sans, "load_matcher", lambda *_: Tiny())
    monkeypatch.setattr(sans, "load_classifier", lambda where: Tiny(2))
    return {"train": [], "valid": [], "pretrain_steps": 0, "steps": 2, "batch": 4, "precision": "no", "preview": 2}


def run_folder(folder: Path, recipe: str, count: int, *, grouped: list[bool] | None = None) -> list[SAN]:
    """A finished run of several random SANs: their ONNX files, and prototypes that are noise; returns the SANs."""
    rng = np.random.default_rng(7)
    folder.mkdir()
    means = rng.integers(0, 256, (5, 2, 224, 224, 3)).astype(np.uint8)
    made = Prototypes(means[0, 0], means[0, 1], 0.4, None if grouped is None else means[1:])
    made.save(folder / f"{recipe}.npz", 1.5, grouped)
    torch.manual_seed(1)
    sans = [SAN().eval() for _ in range(count)]
    for number, net in enumerate(sans, 1):
        with torch.no_grad():
            net.combine.weight[:, 128:] = 0.5 * number
        export_san(net, folder / f"{number}.onnx")
    return sans


def portrait(astronaut: np.ndarray) -> np.ndarray:
    """The astronaut's face as a crop (1, 3, 224, 224), cut by points read off the picture."""
    points = (template() - 112) * (46 / 62) + np.array([224, 115], np.float32)
    crop, _ = crop_face(astronaut, points.astype(np.float32))
    return crop.transpose(2, 0, 1)[None].astype(np.float32) / 255
