"""Train halfmask's own method: a generator against classifiers that keep adapting (docs/method.md).

Every step changes a batch of faces toward targets that chance draws; then

1. the *adapters*, attribute networks of different architecture that start as good readers of untouched faces, learn
   to read the true attributes from changed and untouched faces;
2. a small critic learns to tell changed from untouched patches;
3. the generator learns: adapters read the target where an attribute is hidden, and what they read before where it is
   kept; auxiliary matchers see the same person; the structure stays (SSIM); patches look real.

The target is not the flipped label: it is drawn independently of the truth, with a soft aim (``confidence``), so that
a face which already looks like its target is drawn toward the same place as one that does not. Then what is left to
read is nothing, not the opposite.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from ..datasets.table import Row
from ..errors import UsageError
from ..methods.choice import ATTRIBUTES
from ..networks.attribute import AttributeNet
from ..networks.gendercnn import load_gender
from ..networks.halfmask import SIDE, Critic, Masker
from ..networks.matchers import load_matcher
from ..networks.readings import Reading, reading
from ..networks.views import moved
from .data import Faces, open_faces, to_tensor
from .export import export_masker
from .loop import batch_indices, channels_last, fit, make_accelerator, start_run
from .views import view
from .watching import Targets, alike, chroma, draw_targets, measure, preview

#: Side of the crops that faces are brought closer from: sharp up to a zoom of 1.3.
FINE = 144


@dataclass
class HalfmaskConfig:
    """What can be set; ``train`` and ``valid`` are lists of ``{layout, root, splits}``.

    ``start`` names the generator of another run to go on from. ``adapters`` are files of ``halfmask train attribute``
    with the heads gender, age (in ``ages``, the lowest year of each group) and race (``races``, as in an attribute
    config). ``matchers`` are auxiliaries of :func:`load_matcher`; each sees its share of the
    batch (``matcher_shares``, one share after the other), since they cost most. ``watcher`` is a gender classifier that
    trains nothing: the log says what it reads.

    ``odds`` is how often each attribute is hidden, ``weights`` how much each counts. ``confidence`` is the share of
    belief that an adapter is to give the target. ``margin`` is the distance (1 - cosine) by which a matcher may see a
    face move for nothing, ``ssim`` the structural similarity and ``chroma`` the change of a pixel's chroma (of Cb, Cr
    in [-0.5, 0.5]) that cost nothing: budgets, that are there to be used.
    ``reach`` is the range of factors, one drawn a face, by which the change is multiplied in training as the method's
    strength does when it is used; a face's ``margin`` grows with the factor's square, as its distance does.
    ``zoom`` is the range of factors by which a face is brought closer, one drawn a face: FairFace's pictures end near
    the face, so at 1 much of hair and neck is a mirror image, and at 1.3 hardly anything. Matchers see the change where
    they would, in the aligned face. ``youngest`` leaves younger faces out of training, and ``sure`` those whose gender
    the adapters, before they adapt, believe less than that: wrong labels, and faces that nobody can read.
    Adapters start to adapt at step ``adapt_from``, when the generator has learned what a target is, and then do so
    every ``adapt_every`` steps. ``average`` is the decay of the running mean of weights that is kept: a long one
    averages away what the generator does, since that turns as the adapters follow it.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    adapters: list[str]
    ages: list[int]
    races: dict[str, list[str]]
    watcher: str | None = None
    matchers: list[str] = field(default_factory=lambda: ["sface", "facenet"])
    matcher_shares: list[float] = field(default_factory=lambda: [0.5, 0.5])
    odds: dict[str, float] = field(default_factory=lambda: {"gender": 0.8, "age": 0.35, "race": 0.35})
    weights: dict[str, float] = field(default_factory=lambda: {"gender": 1.0, "age": 0.3, "race": 0.3})
    confidence: float = 0.9
    keep: float = 0.5
    match: float = 5.0
    margin: float = 0.09
    reach: list[float] = field(default_factory=lambda: [1.0, 1.0])
    zoom: list[float] = field(default_factory=lambda: [1.0, 1.0])
    youngest: int = 0
    sure: float = 0.0
    critic: float = 0.05
    ssim: float = 0.93
    ssim_weight: float = 8.0
    chroma: float = 0.025
    chroma_weight: float = 20.0
    steps: int = 4000
    batch: int = 16
    lr: float = 1e-3
    adapter_lr: float = 2e-4
    adapt_from: int = 200
    adapt_every: int = 2
    critic_lr: float = 4e-4
    average: float = 0.99
    start: str | None = None
    watch: int = 300
    evaluate_every: int = 500
    precision: str = "bf16"
    seed: int = 1

    @property
    def watched_reach(self) -> float:
        """The factor at which validation faces are looked at: the middle of ``reach``."""
        return (self.reach[0] + self.reach[-1]) / 2


def train_halfmask(config: HalfmaskConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, log to ``folder``; returns the path of ``halfmask.safetensors``, the generator.

    Beside it: ``halfmask.onnx``, ``strip.png`` (validation faces and what becomes of them), ``losses.png``, in
    ``adapters/`` the adapters as they are now, for a run that goes on from this one, and in ``steps/`` a folder for
    each look at the validation faces, with the generator as it was. Raises :class:`~halfmask.errors.UsageError` for a
    config that makes no sense.
    """
    readings = _readings(config)

    def known(row: Row) -> bool:
        return row.gender is not None and (row.age_range is None or row.age_range[0] >= config.youngest)

    train, valid = open_faces(config.train, known, size=SIDE), open_faces(config.valid, known, size=SIDE)
    fine = open_faces(config.train, known, size=FINE)
    accelerator = make_accelerator(config.precision, config.seed)
    device = accelerator.device
    start_run(folder, config)
    labels = {name: torch.tensor([r.rank(row) for row in train.rows]) for name, r in readings.items()}
    pools = {name: ranks[ranks >= 0].numpy() for name, ranks in labels.items()}
    shares = {
        name: dict(zip(readings[name].words, (np.bincount(pools[name]) / len(pools[name])).tolist(), strict=True))
        for name in ("age", "race")
    }
    net = channels_last(Masker(shares["age"], shares["race"]), device)
    if config.start:
        net.load_state_dict(Masker.load(Path(config.start)).state_dict())
    averaged = AveragedModel(net, avg_fn=_average(config.average))
    critic = channels_last(Critic(), device)
    readers = [channels_last(_adapter(Path(path), readings), device) for path in config.adapters]
    matchers = [channels_last(load_matcher(name), device) for name in config.matchers]
    watcher = channels_last(load_gender(Path(config.watcher)), device) if config.watcher else None
    wanted = _descriptions(matchers, config, train, folder, accelerator)
    beliefs = _beliefs(readers, train, folder, accelerator)
    believed_true = np.mean([np.take_along_axis(b["gender"], labels["gender"].numpy()[:, None], 1) for b in beliefs], 0)
    pool = np.flatnonzero(believed_true[:, 0] >= config.sure)
    if not len(pool):
        raise UsageError(f"sure is {config.sure}: the adapters are that sure of no training face; expected 0 to 1")

    optimizer = torch.optim.Adam(net.parameters(), config.lr, betas=(0.5, 0.99))
    adapting = torch.optim.Adam([p for reader in readers for p in reader.parameters()], config.adapter_lr)
    judging = torch.optim.Adam(critic.parameters(), config.critic_lr, betas=(0.5, 0.99))
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, config.steps, eta_min=config.lr / 20)
    net, critic, optimizer, adapting, judging, schedule = accelerator.prepare(
        net, critic, optimizer, adapting, judging, schedule
    )
    adapters: list[Any] = [accelerator.prepare(reader) for reader in readers]
    accelerator.register_for_checkpointing(averaged)

    def step(i: int) -> Mapping[str, Tensor]:
        rng = np.random.default_rng([config.seed, 1, i])
        chosen = pool[batch_indices(config.seed, i, len(pool), config.batch)]
        aligned, finer = (to_tensor(faces.pixels(chosen)).to(device) for faces in (train, fine))
        mirror, zoom = rng.random(len(chosen)) < 0.5, rng.uniform(config.zoom[0], config.zoom[-1], len(chosen))
        x, y = rng.uniform(-0.2, 0.2, (2, len(chosen))) * (1 - 1 / zoom)  # at a zoom of 1 the face is where it will be
        face = moved(finer, mirror=mirror, zoom=zoom, shift=(x, y), side=SIDE)
        face = face.contiguous(memory_format=torch.channels_last)
        truth = {name: ranks[chosen].to(device) for name, ranks in labels.items()}
        targets = draw_targets(len(chosen), config.odds, pools, rng)
        code = net_encode(targets).to(device)
        with accelerator.autocast():
            delta = net(face, code)
        reach = torch.from_numpy(rng.uniform(config.reach[0], config.reach[-1], len(chosen)).astype(np.float32)).to(
            device
        )
        delta = reach[:, None, None, None] * delta.float()
        changed = (face + delta).clamp(0, 1)

        record: dict[str, Tensor] = {}
        # on the first step as well, so that the log knows the figure from the start
        if i == 0 or (i >= config.adapt_from and i % config.adapt_every == 0):
            record["adapters"] = _adapt(face, changed.detach(), truth, rng, learn=i >= config.adapt_from)
        record["judge"] = _judge(face, changed.detach())

        terms: dict[str, Tensor] = {}
        seen = view(changed, rng)
        for reader in readers:
            reader.eval().requires_grad_(False)
        hidden: dict[str, list[Tensor]] = {name: [] for name in ATTRIBUTES}
        kept: list[Tensor] = []
        for adapter, reader, old in zip(adapters, readers, beliefs, strict=True):
            with accelerator.autocast():
                logits = adapter(seen)
            for name in ATTRIBUTES:
                believed = reader.heads[name].probabilities(logits[name].float()).clamp_min(1e-6)
                target = targets.of(name).to(device)
                aim = soft(target, believed.shape[1], config.confidence)
                # cross-entropy less the aim's own entropy: 0 when the adapter believes just what it is to believe
                away = (aim * (aim.log() - believed.log())).sum(1)
                hidden[name].append((away * (target >= 0)).mean())
                stays = torch.from_numpy(old[name][chosen]).to(device)
                kept.append(((stays * (stays.log() - believed.log())).sum(1) * (target < 0)).mean())
        for reader in readers:
            reader.requires_grad_(True)
        for name in ATTRIBUTES:
            terms[f"hide_{name}"] = config.weights[name] * torch.stack(hidden[name]).mean()
        terms["keep"] = config.keep * torch.stack(kept).mean() * len(ATTRIBUTES)
        sign = np.where(mirror, -1.0, 1.0)
        back = moved(delta, mirror=mirror, zoom=1 / zoom, shift=(-zoom * sign * x, -zoom * y), beyond="zeros")
        unmoved = (aligned + back).clamp(0, 1).contiguous(memory_format=torch.channels_last)
        first = 0
        for name, matcher, share, table in zip(config.matchers, matchers, config.matcher_shares, wanted, strict=True):
            part = np.arange(first, first + max(1, round(share * len(chosen)))) % len(chosen)
            first = int(part[-1]) + 1
            with accelerator.autocast():
                described = matcher(unmoved[part]).float()
            apart = 1 - F.cosine_similarity(described, torch.from_numpy(table[chosen[part]]).to(device))
            terms[f"match_{name}"] = config.match * F.relu(apart - config.margin * reach[part].square()).mean()
            record[f"apart_{name}"] = apart.mean()
        similar = alike(changed, face)
        terms["ssim"] = config.ssim_weight * F.relu(config.ssim - similar).mean()
        terms["chroma"] = config.chroma_weight * F.relu(chroma(changed - face) - config.chroma).mean()
        with accelerator.autocast():
            terms["looks"] = -config.critic * critic(changed).float().mean()
        total = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(total)
        accelerator.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        averaged.update_parameters(accelerator.unwrap_model(net))
        record |= {"loss": total, "seen_ssim": similar.mean()} | terms
        return {name: value.detach() for name, value in record.items()}

    def net_encode(targets: Targets) -> Tensor:
        return accelerator.unwrap_model(net).encode(targets.gender, targets.age, targets.race)

    def _adapt(
        face: Tensor, changed: Tensor, truth: Mapping[str, Tensor], rng: np.random.Generator, learn: bool
    ) -> Tensor:
        """One step of every adapter on untouched and changed faces with their true labels; the mean loss."""
        both = torch.cat([view(face, rng), view(changed, rng)])
        losses = []
        for adapter, reader in zip(adapters, readers, strict=True):
            reader.train(learn)
            with accelerator.autocast():
                logits = adapter(both)
            parts = [
                config.weights[name] * reader.heads[name].loss(logits[name].float(), truth[name].repeat(2))
                for name in ATTRIBUTES
            ]
            losses.append(torch.stack(parts).sum())
        total = torch.stack(losses).sum()
        if learn:
            adapting.zero_grad(set_to_none=True)
            accelerator.backward(total)
            adapting.step()
        return total / len(losses)

    def _judge(face: Tensor, changed: Tensor) -> Tensor:
        with accelerator.autocast():
            real, made = critic(torch.cat([face, changed])).float().chunk(2)
        loss = (F.relu(1 - real) + F.relu(1 + made)).mean()
        judging.zero_grad(set_to_none=True)
        accelerator.backward(loss)
        judging.step()
        return loss

    def evaluate(i: int) -> Mapping[str, float]:
        best = cast(Masker, averaged.module)
        if accelerator.is_main_process:
            best.save(folder / "halfmask.safetensors")
            (folder / "steps" / str(i)).mkdir(parents=True, exist_ok=True)
            export_masker(Masker.load(folder / "halfmask.safetensors"), folder / "steps" / str(i) / "halfmask.onnx")
            (folder / "adapters").mkdir(exist_ok=True)
            for k, reader in enumerate(readers):
                reader.save(folder / "adapters" / f"{k}.safetensors")
            cv2.imwrite(str(folder / "strip.png"), preview(best, valid, strength=config.watched_reach))
        index = np.arange(min(config.watch, len(valid)))
        return measure(best, readers, watcher, matchers, valid, index, config)

    fit(
        folder,
        accelerator,
        config.steps,
        step,
        evaluate=evaluate,
        evaluate_every=config.evaluate_every,
        checkpoint_every=250,
        resume=resume,
        desc="halfmask",
    )
    path = folder / "halfmask.safetensors"
    export_masker(Masker.load(path), folder / "halfmask.onnx")
    return path


def _average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A running mean of weights that forgets its start: over the last tenth of the steps, later by ``decay``."""

    def mean(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        return old.lerp(new, 1 - min(decay, (1 + float(count)) / (10 + float(count))))

    return mean


def soft(target: Tensor, classes: int, confidence: float) -> Tensor:
    """Aims (N, ``classes``) of targets (N,): ``confidence`` on the target, the rest spread evenly.

    A target of -1 gives an even row, which whoever asks leaves out.

    >>> soft(torch.tensor([1, -1]), 2, 0.9).tolist()
    [[0.1..., 0.8...], [0.5, 0.5]]
    """
    rest = (1 - confidence) / (classes - 1)
    aim = torch.full((len(target), classes), rest, device=target.device)
    aim.scatter_(1, target.clamp_min(0)[:, None], confidence)
    return torch.where(target[:, None] >= 0, aim, torch.full_like(aim, 1 / classes))


def _readings(config: HalfmaskConfig) -> dict[str, Reading]:
    abouts: dict[str, dict[str, Any]] = {
        "gender": {},
        "age": {"groups": config.ages},
        "race": {"classes": config.races},
    }
    if not config.adapters or len(config.matchers) != len(config.matcher_shares):
        raise UsageError("the config needs at least one adapter, and one of matcher_shares for each of matchers")
    return {name: reading(name, about) for name, about in abouts.items()}


def _adapter(path: Path, readings: Mapping[str, Reading]) -> AttributeNet:
    net = AttributeNet.load(path)
    for name, r in readings.items():
        words = tuple(net.heads[name].words) if name in net.heads else None
        if words != tuple(r.words):
            raise UsageError(f"adapter {path} reads {name} as {words}, expected {tuple(r.words)}: train it on these")
    return net.requires_grad_(True)


def _descriptions(
    matchers: Sequence[torch.nn.Module], config: HalfmaskConfig, train: Faces, folder: Path, accelerator: Any
) -> list[NDArray[np.float32]]:
    """Every matcher's descriptors of the untouched training faces, (N, D) each; kept in the run's folder."""
    found = []
    for name, matcher in zip(config.matchers, matchers, strict=True):

        def ask(face: Tensor, matcher: torch.nn.Module = matcher) -> dict[str, Tensor]:
            return {"descriptor": matcher(face)}

        found.append(_asked(ask, train, folder / f"untouched-{name}.npz", accelerator)["descriptor"])
    return found


def _beliefs(
    adapters: Sequence[AttributeNet], train: Faces, folder: Path, accelerator: Any
) -> list[dict[str, NDArray[np.float32]]]:
    """What every adapter believes of the untouched training faces before it adapts: by attribute (N, K)."""
    found = []
    for k, adapter in enumerate(adapters):

        def ask(face: Tensor, adapter: AttributeNet = adapter) -> dict[str, Tensor]:
            return {name: p.float().clamp_min(1e-6) for name, p in adapter.eval().probabilities(face).items()}

        found.append(_asked(ask, train, folder / f"untouched-adapter{k}.npz", accelerator))
    return found


def _asked(
    ask: Callable[[Tensor], Mapping[str, Tensor]], train: Faces, file: Path, accelerator: Any
) -> dict[str, NDArray[np.float32]]:
    """What a network says of every untouched training face, kept in ``file``, which is whole or absent."""
    from tqdm import tqdm

    if not file.is_file():
        parts: list[Mapping[str, Tensor]] = []
        for start in tqdm(range(0, len(train), 32), desc=file.stem, unit="batch"):
            face = train.take(np.arange(start, min(start + 32, len(train)))).to(accelerator.device)
            with torch.no_grad(), accelerator.autocast():
                parts.append(ask(face))
        fresh = file.with_name(f".{file.stem}.part.npz")
        everything = {name: torch.cat([p[name].float().cpu() for p in parts]).numpy() for name in parts[0]}
        np.savez(fresh, **everything)  # type: ignore[arg-type]
        fresh.replace(file)
    with np.load(file) as kept:
        return {name: kept[name] for name in kept.files}
