"""Train Models A and B of P-FGVM (Chatzikyriakidis, Papaioannidis, Pitas 2019): who of a fixed set of people is it?

The paper's 900 CelebA photos of 30 people are not published as a list. Any data set with identities will do: the first
people by name are taken, and each person's photos are split, so that all three parts show the same people.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..datasets.cache import open_crops
from ..datasets.table import Row, Split
from ..errors import DataError, UsageError
from ..networks.identity import Identity, ModelA, ModelB
from ..storage import save_arrays, whole
from .data import Faces, augment, to_tensor
from .loop import alone, batch_indices, channels_last, fit, make_accelerator, start_run, update
from .sources import source_table


@dataclass
class IdentityConfig:
    """What can be set.

    ``source`` is ``{layout, root}`` of a data set with identities, of which the first ``people`` by name are taken.
    ``shares`` says how many photos of each go to train, valid and test, out of their sum. ``model`` is ``a`` or ``b``;
    ``side`` is Model A's. Model B is trained on each of ``trunks`` and the one that is right most often on the
    validation photos is kept, the surer one (by cross-entropy) where that is equal; ``weights`` maps a trunk to its
    file, which ``vggface`` needs. ``augment`` holds options of :func:`halfmask.training.data.augment`, ``{}`` for its
    own; without it Model A sees the photos as they are. Model B sees them and their mirror images anyway, since its
    trunk reads each face once.
    """

    source: dict[str, Any]
    model: Literal["a", "b"]
    people: int = 30
    shares: list[int] = field(default_factory=lambda: [20, 4, 6])
    side: int = 64
    trunks: list[str] = field(default_factory=lambda: ["facenet", "sface"])
    weights: dict[str, str] = field(default_factory=dict)
    steps: int = 1000
    batch: int = 32
    lr: float = 1e-3
    augment: dict[str, Any] | None = None
    evaluate_every: int = 100
    precision: str = "bf16"
    seed: int = 1


def split_by_photo(rows: Sequence[Row], shares: Sequence[int], seed: int = 0) -> list[Split]:
    """To which part each photo goes: of every person the same shares, drawn anew for each from ``seed``.

    ``shares`` are parts of train, valid and test; a person's photos are rounded down to them and train gets the rest.
    The draw depends on the photos' keys, not on their order. Raises :class:`~halfmask.errors.UsageError` for shares
    that are not three whole numbers, train above 0.

    >>> rows = [Row(f"ann/{k}.jpg", Path(f"ann/{k}.jpg"), "ann") for k in range(6)]
    >>> sorted(split_by_photo(rows, [4, 1, 1]))
    ['test', 'train', 'train', 'train', 'train', 'valid']
    """
    if len(shares) != 3 or any(type(s) is not int or s < 0 for s in shares) or not shares[0]:
        raise UsageError(f"shares is {list(shares)}, expected parts of train, valid and test, such as [20, 4, 6]")
    photos: dict[str, list[int]] = {}
    for i in sorted(range(len(rows)), key=lambda i: rows[i].key):
        photos.setdefault(str(rows[i].identity), []).append(i)
    parts: list[Split] = ["train"] * len(rows)
    for number, person in enumerate(sorted(photos)):
        mine = np.random.default_rng([seed, number]).permutation(photos[person])
        valid, test = (len(mine) * share // sum(shares) for share in shares[1:])
        for i in mine[:valid]:
            parts[i] = "valid"
        for i in mine[valid : valid + test]:
            parts[i] = "test"
    return parts


def open_people(config: IdentityConfig, cache: Path | None = None) -> tuple[tuple[str, ...], dict[Split, Faces]]:
    """The people of a config, by name, and their faces by part. Each face's ``identity`` is one of the names.

    Raises :class:`~halfmask.errors.DataError` when there are too few people or a part has nobody in it.
    """
    table = source_table(config.source).where(lambda row: row.identity is not None)
    names = tuple(sorted({str(row.identity) for row in table})[: config.people])
    if len(names) < max(2, config.people):
        raise DataError(f"{table.name} at {table.root} has {len(names)} people, expected {max(2, config.people)}")
    # whole table in the cache, since another number of people needs no other one
    crops = open_crops(table, cache)
    chosen = [i for i, row in enumerate(crops.rows) if row.identity in names]
    parts = split_by_photo([crops.rows[i] for i in chosen], config.shares, config.seed)
    faces: dict[Split, Faces] = {}
    for name in ("train", "valid", "test"):
        mine = [i for i, part in zip(chosen, parts, strict=True) if part == name]
        if not mine:
            raise DataError(f"no face is left for {name}: {len(chosen)} of {len(names)} people, shares {config.shares}")
        faces[name] = Faces([(crops, mine)])
    return names, faces


def labels(people: Sequence[str], faces: Faces) -> NDArray[np.int64]:
    """Whose each face is, (N,): its place in ``people``."""
    place = {name: k for k, name in enumerate(people)}
    return np.array([place[str(row.identity)] for row in faces.rows], np.int64)


def train_identity(config: IdentityConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, log to ``folder`` and write ``identity.safetensors`` and ``test.json``; returns the former's path.

    ``test.json`` holds the number of people, and of faces, accuracy and cross-entropy by part; of Model B also those of
    every trunk that was tried. Raises :class:`~halfmask.errors.UsageError` for an unknown model or no trunk.
    """
    if config.model not in ("a", "b") or not config.trunks:
        raise UsageError(f"model is {config.model!r} and trunks {config.trunks}, expected 'a' or 'b' and one or more")
    people, faces = open_people(config)
    # the head of Model B is tiny: only its trunk is asked in config.precision
    accelerator = make_accelerator(config.precision if config.model == "a" else "no", config.seed)
    alone(accelerator, "identity")
    start_run(folder, config)
    truth = {part: torch.from_numpy(labels(people, mine)) for part, mine in faces.items()}
    figures: dict[str, Any] = {"people": len(people)} | {part: len(mine) for part, mine in faces.items()}
    path = folder / "identity.safetensors"
    if config.model == "a":
        net = ModelA(people, config.side)
        changes = config.augment
        with torch.no_grad():  # at the model's own size, which it leaves as it is
            small = {part: net.resize(mine.take(np.arange(len(mine)))) for part, mine in faces.items()}

        def faces_batch(chosen: NDArray[np.int64], step: int) -> Tensor:
            if changes is None:
                out: Tensor = small["train"][chosen]
                return out
            rng = np.random.default_rng([config.seed, step])
            return to_tensor(augment(faces["train"].pixels(chosen), rng, **changes))

        views = {part: lambda chosen, mine=mine: mine[chosen] for part, mine in small.items()}
        figures |= _learn(net, net, faces_batch, views, truth, config, folder, accelerator, resume)
        net.save(path)
    else:
        tried = {}
        for trunk in config.trunks:
            tried[trunk] = _train_b(people, faces, truth, trunk, config, folder / trunk, accelerator, resume)
        best = max(tried, key=lambda name: (tried[name]["valid_accuracy"], -tried[name]["valid_loss"]))
        with whole(path) as fresh:
            shutil.copyfile(folder / best / path.name, fresh)
        figures |= {"trunk": best, "trunks": tried, **tried[best]}
    with whole(folder / "test.json") as fresh:  # last: whoever finds it finds the rest
        fresh.write_text(json.dumps(figures, indent=1), "utf-8")
    return path


def _train_b(
    people: Sequence[str],
    faces: Mapping[Split, Faces],
    truth: Mapping[Split, Tensor],
    trunk: str,
    config: IdentityConfig,
    folder: Path,
    accelerator: Accelerator,
    resume: bool,
) -> dict[str, float]:
    """Train one trunk's head on what the trunk says of each photo and of its mirror image, which is read once."""
    folder.mkdir(parents=True, exist_ok=True)
    accelerator.free_memory()  # or its checkpoints would hold the trunk before this one
    torch.manual_seed(config.seed)  # a trunk's head does not depend on those that were tried before
    net = ModelB(people, trunk, config.weights.get(trunk))
    features = {part: _features(net, mine, folder / f"{part}.npz", config.precision) for part, mine in faces.items()}

    def batch(chosen: NDArray[np.int64], step: int) -> Tensor:
        side = np.random.default_rng([config.seed, step]).integers(2, size=len(chosen))
        return features["train"][chosen, side]

    views = {part: lambda chosen, mine=mine: mine[chosen, 0] for part, mine in features.items()}
    figures = _learn(net, net.head, batch, views, truth, config, folder, accelerator, resume)
    net.save(folder / "identity.safetensors")
    return figures


@torch.no_grad()
def _features(net: ModelB, faces: Faces, path: Path, precision: str, batch: int = 32) -> Tensor:
    """What the trunk says of each face and its mirror image, (N, 2, D), from ``path`` if it was asked before."""
    keys = np.array([row.key for row in faces.rows])
    if path.is_file():
        with np.load(path) as arrays:
            if np.array_equal(arrays["keys"], keys):
                return torch.from_numpy(arrays["features"])
    net.eval()
    parts = []
    for start in tqdm(range(0, len(faces), batch), desc=f"{net.trunk_name} reads {path.stem}", unit="batch"):
        x = faces.take(np.arange(start, min(start + batch, len(faces))))
        with torch.autocast(x.device.type, torch.bfloat16, enabled=precision == "bf16"):
            parts.append(torch.stack([net.features(x), net.features(x.flip(3))], 1))
    features = torch.cat(parts)
    save_arrays(path, {"keys": keys, "features": features.numpy()})
    return features


def _learn(
    net: Identity,
    module: torch.nn.Module,
    batch: Callable[[NDArray[np.int64], int], Tensor],
    views: Mapping[Split, Callable[[NDArray[np.int64]], Tensor]],
    truth: Mapping[Split, Tensor],
    config: IdentityConfig,
    folder: Path,
    accelerator: Accelerator,
    resume: bool,
) -> dict[str, float]:
    """Train ``module``, which is ``net`` or what is trained of it; figures by part, in full precision."""
    channels_last(module, accelerator.device)
    optimizer = torch.optim.Adam(module.parameters(), lr=config.lr)  # no decay: the regularisers are in the loss
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps, eta_min=config.lr / 50)
    wrapped, optimizer, schedule = accelerator.prepare(module, optimizer, schedule)

    def step(i: int) -> Mapping[str, Tensor]:
        wrapped.train()
        chosen = batch_indices(config.seed, i, len(truth["train"]), config.batch)
        who = truth["train"][chosen].to(accelerator.device)
        with accelerator.autocast():
            logits = wrapped(batch(chosen, i).to(accelerator.device)).float()
        loss = F.cross_entropy(logits, who)
        update(accelerator, loss + net.penalty(), optimizer, schedule)
        return {"loss": loss.detach(), "accuracy": (logits.argmax(1) == who).float().mean()}

    def evaluate(i: int) -> Mapping[str, float]:
        return score(accelerator.unwrap_model(wrapped), {"valid": views["valid"]}, truth)

    fit(
        folder, accelerator, config.steps, step,
        evaluate=evaluate, evaluate_every=config.evaluate_every, resume=resume, desc=f"model {net.model}",
    )  # fmt: skip
    # without the autocast that Accelerate puts into the network
    return score(accelerator.unwrap_model(wrapped, keep_fp32_wrapper=False), views, truth)


@torch.no_grad()
def score(
    module: torch.nn.Module,
    views: Mapping[Split, Callable[[NDArray[np.int64]], Tensor]],
    truth: Mapping[Split, Tensor],
    batch: int = 64,
) -> dict[str, float]:
    """``accuracy`` and ``loss`` (cross-entropy, nats) of each part of ``views``, as ``valid_accuracy`` and so on."""
    module.eval()
    device = next(module.parameters()).device
    figures = {}
    for part, view in views.items():
        order = np.arange(len(truth[part]))
        chunks = [order[k : k + batch] for k in range(0, len(order), batch)]
        logits = torch.cat([module(view(chunk).to(device)).float().cpu() for chunk in chunks])
        figures[f"{part}_accuracy"] = float((logits.argmax(1) == truth[part]).float().mean())
        figures[f"{part}_loss"] = float(F.cross_entropy(logits, truth[part]))
    return figures
