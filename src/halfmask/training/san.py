"""Train a semi-adversarial network (Mirjalili et al. 2018, section 2.3): both stages of training/sans.py, once."""

from __future__ import annotations

from pathlib import Path

from .sans import SanConfig, open_material, train_one

__all__ = ["SanConfig", "train_san"]


def train_san(config: SanConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train on the faces that the config names; returns the path of ``san.safetensors``.

    What stands beside it says :func:`~halfmask.training.sans.train_one`.
    """
    return train_one(config, folder, open_material(config), resume=resume)
