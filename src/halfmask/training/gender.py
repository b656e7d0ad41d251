"""Train the auxiliary gender classifier of the SAN paper: six convolutions, two fully connected layers.

Dropout acts only here; as soon as the classifier is used to train a SAN it is in eval mode and frozen.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..networks.gendercnn import GenderCNN, load_gender
from ..networks.state import write_weights
from .data import Faces, augment, gray_pixels, open_faces, to_tensor
from .export import export_gender
from .loop import batch_indices, channels_last, fit, make_accelerator, share, start_run, synced, update


@dataclass
class GenderConfig:
    """What can be set. ``train`` and ``valid`` are lists of ``{layout, root, splits}``.

    ``schedule`` of the learning rate is one ``cycle`` of a cosine, or ``constant``. ``augment`` holds options of
    :func:`~halfmask.training.data.augment`; null shows the faces as they are, as the papers do.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    epochs: int = 10
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 1e-4
    label_smoothing: float = 0.05
    batch_norm: bool = True
    slope: float = 0.1
    dropout: float = 0.5
    widths: list[int] = field(default_factory=lambda: [32, 64, 64, 128, 128, 256])
    augment: dict[str, Any] | None = field(default_factory=dict)
    schedule: Literal["cycle", "constant"] = "cycle"
    precision: str = "bf16"
    seed: int = 1


def build(config: GenderConfig) -> GenderCNN:
    """The network a config describes."""
    return GenderCNN(
        widths=tuple(config.widths), slope=config.slope, dropout=config.dropout, batch_norm=config.batch_norm
    )


def train_gender(config: GenderConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, log to ``folder`` and write ``gender.safetensors`` and ``gender.onnx``; returns the former's path.

    The last weights are kept (no choice by a validation set is made).
    """
    known = lambda row: row.gender is not None  # noqa: E731
    train, valid = open_faces(config.train, known), open_faces(config.valid, known)
    accelerator = make_accelerator(config.precision, config.seed)
    start_run(folder, config)
    net = synced(accelerator, channels_last(build(config)))
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    steps = config.epochs * (len(train) // config.batch)
    schedule: torch.optim.lr_scheduler.LRScheduler
    if config.schedule == "constant":
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    else:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps + 1, pct_start=0.15)
    net, optimizer, schedule = accelerator.prepare(net, optimizer, schedule)
    labels = torch.from_numpy(train.labels("gender"))

    def step(i: int) -> Mapping[str, Tensor]:
        net.train()
        chosen = batch_indices(config.seed, i, len(train), config.batch)
        pixels = gray_pixels(train.pixels(chosen))
        if config.augment is not None:
            pixels = augment(pixels, np.random.default_rng([config.seed, i]), **config.augment)
        mine = share(accelerator, len(chosen))
        faces = to_tensor(pixels[mine]).to(accelerator.device)
        with accelerator.autocast():
            logits = net(faces)
        target = labels[chosen][mine].to(accelerator.device)
        loss = F.cross_entropy(logits.float(), target, label_smoothing=config.label_smoothing)
        update(accelerator, loss, optimizer, schedule)
        return {"loss": loss.detach(), "accuracy": (logits.argmax(1) == target).float().mean()}

    def evaluate(i: int) -> Mapping[str, float]:
        p = predict(accelerator.unwrap_model(net), valid)
        return {"valid_accuracy": float(((p > 0.5) == valid.labels("gender")).mean())}

    every = len(train) // config.batch
    fit(folder, accelerator, steps, step, evaluate=evaluate, evaluate_every=every, desc="gender classifier")
    path = folder / "gender.safetensors"
    if not accelerator.is_main_process:
        return path
    trained = accelerator.unwrap_model(net).cpu()
    state = {k: v.float() for k, v in trained.state_dict().items() if v.is_floating_point()}
    widths = ",".join(map(str, config.widths))
    write_weights(path, state, {"widths": widths, "batch_norm": str(config.batch_norm), "slope": str(config.slope)})
    # read back: Accelerate leaves its autocast in the network that it prepared, and that would be exported with it
    export_gender(load_gender(path), folder / "gender.onnx")
    return path


@torch.no_grad()
def predict(net: torch.nn.Module, faces: Faces, batch: int = 128) -> np.ndarray:
    """Probability of male for each face, float64 (N,), with the image and its mirror averaged."""
    net.eval()
    device = next(net.parameters()).device
    out = []
    for start in range(0, len(faces), batch):
        x = faces.take(np.arange(start, min(start + batch, len(faces))), gray=True).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            logits = net(x).float() + net(x.flip(3)).float()
        out.append((logits / 2).softmax(1)[:, 1].double().cpu().numpy())
    return np.concatenate(out)
