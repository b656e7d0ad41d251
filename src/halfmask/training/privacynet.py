"""Train PrivacyNet (Mirjalili, Raschka, Ross 2020): one generator that hides any of gender, age and race.

    L_D = L_src + lambda_gp GP + lambda_attr L_attr(X, c)
    L_G = L_src + lambda_attr L_attr(X', c') + lambda_m ||M(X) - M(X')||^2 + lambda_rec ||X - G(X', c)||_1

with X' = G(X, c'). In c' a random non-empty subset of the attributes, one of seven, has another class than the face's,
the others keep theirs. The terms are the paper's; what its abstract and slides leave open (the networks, the
adversarial loss, the weights, the optimiser) is StarGAN's, see ``docs/family.md``. A class that is unknown is zeros in
c, and adds to no loss.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..datasets.ages import age_class
from ..datasets.table import Row
from ..errors import UsageError
from ..losses import j_m, l_attr, l_rec, wgan, wgan_gp
from ..methods.choice import ATTRIBUTES
from ..networks.attribute import AttributeNet
from ..networks.matchers import load_matcher
from ..networks.privacynet import Critic, Generator, labels_of
from ..networks.readings import Reading, reading
from ..networks.state import write_weights
from ..photos.paste import mask
from ..weights import shipped
from .data import Faces, augment, open_faces, to_tensor
from .export import export_privacynet
from .loop import alone, batch_indices, channels_last, fit, make_accelerator, start_run, update

Ranks = dict[str, NDArray[np.int64]]
#: The seven combinations of attributes to change, the fewest first.
COMBINATIONS = tuple(
    tuple(name for k, name in enumerate(ATTRIBUTES) if bits >> k & 1) for bits in sorted(range(1, 8), key=int.bit_count)
)


@dataclass
class PrivacyNetConfig:
    """What can be set; ``train`` and ``valid`` are lists of ``{layout, root, splits}``.

    ``age`` is the lowest year of each group, ``race`` each group with the data sets' words for it, as in
    :class:`~halfmask.training.attribute.AttributeConfig`; faces of other words are of unknown race. ``matcher`` is one
    of :func:`~halfmask.networks.matchers.load_matcher`. A step is ``n_critic`` updates of the critic and one of the
    generator. The learning rate of both Adams falls linearly to 0 from the share ``decay_from`` of the steps on. The
    defaults are StarGAN's (40,000 steps of 5 critic updates are its 200,000 iterations).

    Six keys are ours, for short runs. ``advisers`` are trained attribute networks, files or names of shipped ones,
    whose reading of X' joins L_attr(X', c') with the same weight, one a step in turn: the critic alone learns to read
    faces too slowly. ``residual`` lets the generator draw a change instead of a face, ``conditional`` lets the classes
    steer its residual blocks (:class:`~halfmask.networks.privacynet.Generator`). ``masked`` fades the change out
    toward the crop's edge before any network sees it, as it is when the face is put back into its photo. ``warmup``
    steps come first, of ``warmup_batch`` randomly changed faces, in which the critic learns to read the attributes and
    nothing else happens; ``lr_warmup`` is its learning rate there.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    age: list[int] = field(default_factory=lambda: [0, 30, 50])
    race: dict[str, Any] = field(default_factory=lambda: {"Black": ["Black"], "White": ["White"]})
    matcher: str = "sface"
    matcher_weights: str | None = None
    size: int = 128
    width: int = 64
    blocks: int = 6
    critic_width: int = 64
    critic_layers: int = 6
    advisers: list[str] = field(default_factory=list)
    residual: bool = False
    conditional: bool = False
    masked: bool = False
    warmup: int = 0
    warmup_batch: int = 64
    lr_warmup: float = 5e-4
    n_critic: int = 5
    steps: int = 40_000
    batch: int = 16
    lr: float = 1e-4
    decay_from: float = 0.5
    lambda_gp: float = 10.0
    lambda_attr: float = 1.0
    lambda_m: float = 1.0
    lambda_rec: float = 10.0
    flip: bool = True
    preview: int = 8
    evaluate_every: int = 500
    precision: str = "bf16"
    seed: int = 1


def readings_of(config: PrivacyNetConfig) -> dict[str, Reading]:
    """How the classes of each attribute come from a row, in the order of c."""
    return {
        "gender": reading("gender", {}),
        "age": reading("age", {"groups": config.age}),
        "race": reading("race", {"classes": config.race}),
    }


def changed_classes(ranks: Ranks, groups: Mapping[str, int], names: Sequence[str], rng: np.random.Generator) -> Ranks:
    """c' for which all faces change the attributes ``names``: another class than the face's, any when that is unknown.

    >>> old = {"gender": np.array([0, 1]), "age": np.array([2, -1])}
    >>> new = changed_classes(old, {"gender": 2, "age": 3}, ["gender"], np.random.default_rng(0))
    >>> new["gender"].tolist(), new["age"].tolist()
    ([1, 0], [2, -1])
    """
    changed = {}
    for name, old in ranks.items():
        k = groups[name]
        other = np.where(old >= 0, (old + rng.integers(1, k, len(old))) % k, rng.integers(0, k, len(old)))
        changed[name] = other if name in names else old
    return changed


def draw_targets(ranks: Ranks, groups: Mapping[str, int], rng: np.random.Generator) -> Ranks:
    """c' of a training batch: each face changes one of the seven combinations of attributes, drawn evenly."""
    every = changed_classes(ranks, groups, ATTRIBUTES, rng)
    chosen = rng.integers(0, len(COMBINATIONS), len(ranks["gender"]))
    named = {name: np.array([name in c for c in COMBINATIONS])[chosen] for name in ATTRIBUTES}
    return {name: np.where(named[name], every[name], ranks[name]) for name in ATTRIBUTES}


def train_privacynet(config: PrivacyNetConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, log to ``folder``; returns the path of ``privacynet.safetensors``, the generator.

    Beside it: ``privacynet.onnx``, ``losses.png`` and ``strip.png``, the same faces while training: original, the seven
    combinations of :data:`COMBINATIONS`, and the last of them brought back by the cycle.

    Raises :class:`~halfmask.errors.UsageError` for a config that makes no sense.
    """
    if config.n_critic < 1 or config.warmup < 0 or not 0 <= config.decay_from <= 1:
        raise UsageError(
            f"n_critic={config.n_critic}, warmup={config.warmup}, decay_from={config.decay_from}; expected n_critic of "
            "at least 1, warmup of 0 or more and decay_from from 0 to 1"
        )
    readings = readings_of(config)
    groups = {name: len(r.words) for name, r in readings.items()}
    known = lambda row: row.gender is not None  # noqa: E731
    train, valid = (open_faces(source, known, size=config.size) for source in (config.train, config.valid))
    start_run(folder, config)
    accelerator = make_accelerator(config.precision, config.seed)
    alone(accelerator, "privacynet")
    device = accelerator.device
    shape: dict[str, Any] = {"classes": sum(groups.values()), "width": config.width, "blocks": config.blocks}
    shape |= {"size": config.size, "residual": config.residual, "conditional": config.conditional}
    generator = Generator(**shape)
    critic = Critic(groups, width=config.critic_width, layers=config.critic_layers, size=config.size)
    matcher = channels_last(load_matcher(config.matcher, config.matcher_weights), device)
    advisers = [_Adviser(name, readings, device) for name in config.advisers]
    reader = _Adviser("attributes", readings, device)
    total = config.warmup + config.steps

    def falling(i: int) -> float:
        start = config.warmup + config.decay_from * config.steps
        return min(1.0, (total - i) / max(1.0, total - start))

    def critic_rate(i: int) -> float:
        return config.lr_warmup / config.lr if i < config.warmup else falling(i)

    nets = [channels_last(generator, device), channels_last(critic, device)]
    optimizers = [torch.optim.Adam(net.parameters(), config.lr, (0.5, 0.999)) for net in nets]
    # the generator's does not count the warm-up, in which it takes no step
    rates = [
        torch.optim.lr_scheduler.LambdaLR(o, f)
        for o, f in zip(optimizers, (lambda i: falling(i + config.warmup), critic_rate), strict=True)
    ]
    draw, judge, draws, judges, draw_rate, judge_rate = accelerator.prepare(*nets, *optimizers, *rates)
    ranks = {name: np.array([r.rank(row) for row in train.rows], np.int64) for name, r in readings.items()}
    oval = torch.from_numpy(mask(config.size).copy()).to(device) if config.masked else torch.ones((), device=device)

    def batch(i: int) -> tuple[Tensor, Ranks, np.random.Generator]:
        """Faces, their classes, and what else is drawn for them: all by the seed and the batch's number."""
        chosen = batch_indices(config.seed, i, len(train), config.batch)
        rng = np.random.default_rng([config.seed, i])
        face = to_tensor(train.pixels(chosen)).to(device)
        if config.flip:
            back = torch.from_numpy(rng.random(config.batch) < 0.5).to(device)
            face = torch.where(back[:, None, None, None], face.flip(3), face)
        return face, {name: r[chosen] for name, r in ranks.items()}, rng

    def tensors(classes: Ranks) -> dict[str, Tensor]:
        return {name: torch.from_numpy(r).to(device) for name, r in classes.items()}

    def redraw(face: Tensor, classes: Mapping[str, Tensor]) -> Tensor:
        with accelerator.autocast():
            out: Tensor = face + oval * (draw(face, labels_of(classes, groups)).float() - face)
            return out

    def warm_up(i: int) -> Mapping[str, Tensor]:
        chosen = batch_indices(config.seed, i, len(train), config.warmup_batch)
        face = to_tensor(augment(train.pixels(chosen), np.random.default_rng([config.seed, i]), flip=config.flip))
        loss = l_attr(judge(face.to(device))[1], tensors({name: r[chosen] for name, r in ranks.items()}))
        update(accelerator, loss, judges, judge_rate)
        return {"D_attr": loss.detach()}

    def teach_critic(face: Tensor, fake: Tensor, classes: Ranks, rng: np.random.Generator) -> dict[str, Tensor]:
        share = torch.from_numpy(rng.random(len(face), np.float32)).to(device)
        real_src, logits = judge(face)
        src = wgan(real_src.float(), judge(fake)[0].float())
        penalty = wgan_gp(lambda x: judge(x)[0], face, fake, share)
        attr = l_attr({name: z.float() for name, z in logits.items()}, tensors(classes))
        update(accelerator, src + config.lambda_gp * penalty + config.lambda_attr * attr, judges)
        return {"D_src": src.detach(), "D_gp": penalty.detach(), "D_attr": attr.detach()}

    def teach(i: int) -> Mapping[str, Tensor]:
        first = config.warmup + (i - config.warmup) * config.n_critic
        for k in range(config.n_critic):
            face, classes, rng = batch(first + k)
            source, target = tensors(classes), tensors(draw_targets(classes, groups, rng))
            # the last of the critic's outputs is the generator's own
            with torch.set_grad_enabled(k == config.n_critic - 1):
                fake = redraw(face, target)
            losses = teach_critic(face, fake.detach(), classes, rng)
        critic.requires_grad_(False)
        src, logits = judge(fake)
        with accelerator.autocast():
            with torch.no_grad():
                wanted = matcher(face).float()
            matched = j_m(matcher(fake).float(), wanted)
        terms = {
            "G_src": (1.0, -src.float().mean()),
            "G_attr": (config.lambda_attr, l_attr({name: z.float() for name, z in logits.items()}, target)),
            "G_m": (config.lambda_m, matched),
            "G_rec": (config.lambda_rec, l_rec(face, redraw(fake, source))),
        }
        if advisers:
            with accelerator.autocast():
                read = advisers[i % len(advisers)](fake)
            terms["G_adviser"] = (config.lambda_attr, l_attr(read, target))
        total = torch.stack([weight * loss for weight, loss in terms.values()]).sum()
        update(accelerator, total, draws, draw_rate, judge_rate)
        critic.requires_grad_(True)
        return losses | {name: loss.detach() for name, (_, loss) in terms.items()}

    def step(i: int) -> Mapping[str, Tensor]:
        return warm_up(i) if i < config.warmup else teach(i)

    def evaluate(i: int) -> Mapping[str, float]:
        generator.eval()
        if accelerator.is_main_process:
            strip = preview(generator, valid, readings, config.preview, oval)
            cv2.imwrite(str(folder / "strip.png"), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
        figures = measure(generator, critic, valid, readings, matcher, reader, oval)
        generator.train()
        return figures

    fit(
        folder,
        accelerator,
        total,
        step,
        evaluate=evaluate,
        evaluate_every=config.evaluate_every,
        checkpoint_every=50,
        resume=resume,
        desc="PrivacyNet",
    )
    path = folder / "privacynet.safetensors"
    # anew: Accelerate leaves its autocast in the network that it prepared, and that would be exported with it
    trained = Generator(**shape)
    trained.load_state_dict(generator.state_dict())
    state = {k: v.float() for k, v in trained.state_dict().items()}
    write_weights(path, state, {"generator": json.dumps(shape)})
    words = {name: list(r.words) for name, r in readings.items()}
    export_privacynet(trained, words | {"race": config.race}, folder / "privacynet.onnx")
    return path


class _Adviser:
    """A frozen attribute network, a file or the name of a shipped one, whose classes are summed to the recipe's."""

    def __init__(self, name: str, readings: Mapping[str, Reading], device: torch.device) -> None:
        path = Path(name) if Path(name).is_file() else shipped.path(f"{name}.safetensors")
        self.net = channels_last(AttributeNet.load(path), device)
        #: by attribute, 1 where a class of the network's (row) belongs to one of the recipe's (column)
        self.belongs = {
            head: torch.stack([_column(head, word, readings[head]) for word in self.net.heads[head].words]).to(device)
            for head in readings
            if head in self.net.heads
        }

    def __call__(self, faces: Tensor) -> dict[str, Tensor]:
        """Logits (N, K) by attribute: the logarithms of the sums of probabilities."""
        probabilities = self.net.probabilities(faces)
        # no matrix product, which autocast would round
        sums = {head: (probabilities[head].float()[:, :, None] * table).sum(1) for head, table in self.belongs.items()}
        return {head: (p + 1e-6).log() for head, p in sums.items()}


def _column(name: str, word: str, wanted: Reading) -> Tensor:
    """Which of the recipe's classes another network's ``word`` belongs to, (K,), all 0 when to none."""
    rows = {
        "gender": lambda: Row("", Path(), gender=int(word == "male")),
        "age": lambda: Row("", Path(), age=age_class(word).middle),
        "race": lambda: Row("", Path(), race=word),
    }
    return F.one_hot(torch.tensor(wanted.rank(rows[name]()) + 1), len(wanted.words) + 1)[1:].float()


def _redrawn(
    net: Generator, faces: Tensor, ranks: Ranks, readings: Mapping[str, Reading], names: Sequence[str], oval: Tensor
) -> tuple[Tensor, Ranks]:
    """Faces with other classes of the attributes ``names``, always the same ones, and these classes."""
    groups = {name: len(r.words) for name, r in readings.items()}
    target = changed_classes(ranks, groups, names, np.random.default_rng(0))
    return faces + oval * (net(faces, _tiled(target, groups, faces)) - faces), target


def _tiled(classes: Ranks, groups: Mapping[str, int], faces: Tensor) -> Tensor:
    return labels_of({name: torch.from_numpy(r) for name, r in classes.items()}, groups).to(faces.device)


def _sample(
    faces: Faces, readings: Mapping[str, Reading], index: NDArray[np.integer], device: torch.device
) -> tuple[Tensor, Ranks]:
    ranks = {name: np.array([r.rank(faces.rows[i]) for i in index], np.int64) for name, r in readings.items()}
    return faces.take(index).to(device), ranks


@torch.no_grad()
def preview(
    net: Generator, faces: Faces, readings: Mapping[str, Reading], count: int, oval: Tensor
) -> NDArray[np.uint8]:
    """The first ``count`` faces, a column each: original, the seven combinations, the last brought back; RGB."""
    index = np.arange(min(count, len(faces)))
    face, ranks = _sample(faces, readings, index, oval.device)
    rows = [face]
    for names in COMBINATIONS:
        rows.append(_redrawn(net, face, ranks, readings, names, oval)[0])
    groups = {name: len(r.words) for name, r in readings.items()}
    rows.append(rows[-1] + oval * (net(rows[-1], _tiled(ranks, groups, face)) - rows[-1]))
    strip = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    return (strip.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def measure(
    net: Generator,
    critic: Critic,
    faces: Faces,
    readings: Mapping[str, Reading],
    matcher: torch.nn.Module,
    reader: Callable[[Tensor], Mapping[str, Tensor]],
    oval: Tensor,
    *,
    most: int = 64,
) -> dict[str, float]:
    """Figures to watch while training, on validation people, by *auxiliary* networks: no result, a progress report.

    ``l1`` and ``cosine`` to the face with all attributes changed; ``hit_NAME``, how often ``reader`` reads the target
    class when NAME alone is changed, ``kept_NAME``, how often the true one when the others are changed;
    ``critic_NAME``, the critic's accuracy on the faces themselves.
    """
    face, ranks = _sample(faces, readings, np.random.default_rng(0).permutation(len(faces))[:most], oval.device)
    shown, _ = _redrawn(net, face, ranks, readings, ATTRIBUTES, oval)
    cosine = F.cosine_similarity(matcher(shown), matcher(face))
    figures = {"l1": float((shown - face).abs().mean()), "cosine": float(cosine.mean())}
    logits_of = critic(face)[1]

    def rate(logits: Tensor, true: NDArray[np.int64]) -> float:
        right = logits.argmax(1).cpu().numpy() == true
        return float(right[true >= 0].mean()) if (true >= 0).any() else 0.0

    for name in ATTRIBUTES:
        figures[f"critic_{name}"] = rate(logits_of[name], ranks[name])
        one, target = _redrawn(net, face, ranks, readings, [name], oval)
        figures[f"hit_{name}"] = rate(reader(one)[name], target[name])
        others, _ = _redrawn(net, face, ranks, readings, [n for n in ATTRIBUTES if n != name], oval)
        figures[f"kept_{name}"] = rate(reader(others)[name], ranks[name])
    return figures
