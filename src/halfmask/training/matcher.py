"""Train a face matcher from scratch by triplets (AMLC slides, "Training a face matcher"; Schroff et al. 2015, FaceNet).

A batch holds a few photos of each of several people. Each pair of photos of one person is an anchor and a positive;
its negative is a semi-hard one: the nearest other person that is still farther away than the positive.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score
from torch import Tensor

from ..errors import DataError
from ..losses import triplet_loss
from ..networks.matchercnn import CROPS, MatcherCNN
from .data import Faces, ahead, augment, open_faces, to_tensor
from .loop import alone, batch_indices, channels_last, fit, make_accelerator, start_run, update


@dataclass
class MatcherConfig:
    """What can be set. ``train`` and ``valid`` are lists of ``{layout, root, splits}``; their rows need an identity.

    A batch is ``people`` times ``each`` photos. ``margin`` is alpha, in squared distances of embeddings of length 1.
    ``augment`` holds options of :func:`halfmask.training.data.augment`.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    steps: int = 3000
    people: int = 24
    each: int = 4
    margin: float = 0.2
    lr: float = 1e-3
    weight_decay: float = 1e-4
    gray: bool = False
    widths: list[int] = field(default_factory=lambda: [32, 64, 128, 256, 256])
    size: int = 128
    augment: dict[str, Any] = field(default_factory=dict)
    evaluate_every: int = 200
    precision: str = "bf16"
    seed: int = 1


def semi_hard(embeddings: Tensor, people: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Indices of anchors, positives and negatives, (T,) each: every ordered pair of one person, with one negative.

    ``embeddings`` (N, D), ``people`` (N,) integers. The negative is the nearest of the other people's that is farther
    from the anchor than the positive, and where there is none, the farthest (FaceNet section 3.2). Raises
    ``ValueError`` when no person comes twice or there is only one.

    >>> line = torch.tensor([[0.0], [1.0], [0.5], [1.5], [3.0]])
    >>> [i.tolist() for i in semi_hard(line, torch.tensor([0, 0, 1, 2, 3]))]
    [[0, 1], [1, 0], [3, 4]]
    """
    same = people[:, None] == people
    anchor, positive = torch.nonzero(same & ~torch.eye(len(people), dtype=torch.bool, device=people.device)).unbind(1)
    if not len(anchor) or same.all():
        raise ValueError(f"no triplet in a batch of {len(people)} photos of {len(set(people.tolist()))} people")
    e = embeddings.detach().float()
    distance = torch.cdist(e, e, compute_mode="donot_use_mm_for_euclid_dist")
    from_anchor = distance[anchor]
    other = ~same[anchor]
    farther = other & (from_anchor > distance[anchor, positive][:, None])
    nearest = from_anchor.masked_fill(~farther, torch.inf).argmin(1)
    farthest = from_anchor.masked_fill(~other, -torch.inf).argmax(1)
    return anchor, positive, torch.where(farther.any(1), nearest, farthest)


def people_of(faces: Faces) -> list[NDArray[np.int64]]:
    """The indices of each person that has at least two photos.

    A person is an identity within one data set, since two sets may use the same number.
    """
    photos: dict[tuple[str, str | None], list[int]] = {}
    for i, row in enumerate(faces.rows):
        photos.setdefault((str(row.path).removesuffix(row.key), row.identity), []).append(i)
    return [np.array(i, np.int64) for i in photos.values() if len(i) > 1]


def pick(people: list[NDArray[np.int64]], config: MatcherConfig, step: int) -> tuple[NDArray[np.int64], Tensor]:
    """Which faces step ``step`` sees and whose they are: a function of the seed and the step alone."""
    chosen = batch_indices(config.seed, step, len(people), config.people)
    rng = np.random.default_rng([config.seed, step])
    faces = [rng.choice(people[p], config.each, replace=len(people[p]) < config.each) for p in chosen]
    return np.concatenate(faces), torch.from_numpy(np.repeat(chosen, config.each))


def train_matcher(config: MatcherConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, log to ``folder`` and write ``matcher.safetensors``; returns its path.

    Raises :class:`~halfmask.errors.DataError` when too few people have two photos.
    """
    known = lambda row: row.identity is not None  # noqa: E731
    train, valid = (open_faces(part, known, size=CROPS) for part in (config.train, config.valid))
    people = people_of(train)
    if len(people) < config.people or config.people < 2 or config.each < 2:
        raise DataError(
            f"a batch of {config.people} people with {config.each} photos each cannot be made of {len(people)} people "
            "with two photos or more; two people and two photos are the least"
        )
    valid_people = people_of(valid)
    if len(valid_people) < 2:
        raise DataError(f"the validation data holds {len(valid_people)} people with two photos or more, expected 2")
    accelerator = make_accelerator(config.precision, config.seed)
    alone(accelerator, "matcher")
    device = accelerator.device
    start_run(folder, config)
    net = channels_last(MatcherCNN(tuple(config.widths), config.size, gray=config.gray), device)
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps, eta_min=config.lr / 50)
    wrapped, optimizer, schedule = accelerator.prepare(net, optimizer, schedule)

    def drawn(i: int) -> tuple[NDArray[np.uint8], Tensor]:
        chosen, who = pick(people, config, i)
        return augment(train.pixels(chosen), np.random.default_rng([config.seed, i, 1]), **config.augment), who

    batch = ahead(drawn, config.steps)

    def step(i: int) -> Mapping[str, Tensor]:
        wrapped.train()
        pixels, who = batch(i)
        with accelerator.autocast():
            e = wrapped(to_tensor(pixels).to(device)).float()
        anchor, positive, negative = semi_hard(e, who.to(device))
        loss = triplet_loss(e[anchor], e[positive], e[negative], config.margin)
        update(accelerator, loss, optimizer, schedule)
        near, far = ((e[anchor] - e[k]).detach().square().sum(1) for k in (positive, negative))
        return {"loss": loss.detach(), "satisfied": (near + config.margin <= far).float().mean()}

    def evaluate(i: int) -> Mapping[str, float]:
        return {"valid_auc": auc(accelerator.unwrap_model(wrapped), valid, valid_people)}

    fit(
        folder, accelerator, config.steps, step,
        evaluate=evaluate, evaluate_every=config.evaluate_every, resume=resume, desc="matcher",
    )  # fmt: skip
    path = folder / "matcher.safetensors"
    net.save(path)
    return path


@torch.no_grad()
def auc(net: torch.nn.Module, faces: Faces, people: list[NDArray[np.int64]], batch: int = 64) -> float:
    """Area under the ROC over all pairs of these people's photos: the chance that a same pair scores above another."""
    net.eval()
    device = next(net.parameters()).device
    order = np.concatenate(people)
    parts = [net(faces.take(order[k : k + batch]).to(device)).cpu() for k in range(0, len(order), batch)]
    e = torch.cat(parts).numpy()
    who = np.repeat(np.arange(len(people)), [len(p) for p in people])
    a, b = np.triu_indices(len(order), 1)
    return float(roc_auc_score(who[a] == who[b], (e @ e.T)[a, b]))
