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
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..datasets.ages import age_class
from ..datasets.table import Row
from ..errors import UsageError
from ..losses import j_m, l_aim, l_attr, l_rec, over, wgan, wgan_gp
from ..methods.choice import ATTRIBUTES
from ..networks.attribute import AttributeNet
from ..networks.matchers import load_matcher
from ..networks.privacynet import Critic, Generator, labels_of
from ..networks.readings import Reading, reading
from ..networks.state import loading, read_exported, read_weights, write_weights
from ..networks.views import ssim_map
from ..photos.paste import mask
from ..storage import whole
from ..weights import shipped
from .adversaries import Learner, Multipliers
from .config import stages_of
from .data import Faces, augment, open_faces, to_tensor
from .export import export_privacynet
from .loop import alone, batch_indices, channels_last, fit, make_accelerator, start_run, update
from .views import view
from .watching import chroma

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

    All other keys are ours, for short runs.

    *The generator.* ``residual`` lets it draw a change instead of a face, ``conditional`` lets the classes steer its
    residual blocks (:class:`~halfmask.networks.privacynet.Generator`). ``masked`` fades the change out toward the
    crop's edge before any network sees it, as it is when the face is put back into its photo. The change is multiplied
    by a factor drawn for each face from the range ``reach``; ``use`` is the factor that goes out with the weights.
    ``start`` names weights of the same shape to begin from, safetensors or ONNX, or some that ship. With ``blank`` the
    generator is told the classes alone that are to change, and zeros of the others; advisers are to read of these what
    they read of the face itself, so that an age stays the age and does not become that of its group; ``keep`` is how
    much that counts beside L_attr(X', c').

    *Advisers* are trained attribute networks, files or names of shipped ones, whose reading of X' joins L_attr(X', c')
    with the same weight, ``reads`` of them a step in turn: the critic alone learns to read faces too slowly. With
    ``adviser_lr`` above 0 they keep learning the truth of faces, changed and untouched, so that what fools one of them
    for a moment does not stay in the change; ``views`` shows them each face as it may reach a classifier
    (:func:`~halfmask.training.views.view`). ``weights`` says how much an attribute counts in L_attr(X', c'), by name, 1
    unless given.

    *Limits.* ``distance`` is the mean 1 - cosine that the matcher is to see: ``lambda_m`` rises while it is more and
    falls while it is less (0: it stays). ``chroma`` is how far a pixel's Cb and Cr, in [-0.5, 0.5], may move for
    nothing, ``chroma_weight`` what more of it costs; ``blotch`` and ``blotch_weight`` are likewise of the structural
    similarity that any place may lose.

    *The run.* The cycle and the gradient penalty, the two dearest terms, are taken in each ``lazy``-th step alone, with
    so many times the weight (Karras et al. 2020, lazy regularization). ``warmup`` steps come first, of ``warmup_batch``
    randomly changed faces, in which the critic learns to read the attributes and nothing else happens; ``lr_warmup`` is
    its learning rate there. ``watcher`` is the attribute network that the log asks; it trains nothing. ``stages`` are
    changes to this config, run one after the other, each from the generator of the one before; each has a ``name``, its
    folder.
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
    reads: int = 1
    adviser_lr: float = 0.0
    views: bool = False
    distance: float = 0.0
    chroma: float = 0.01
    chroma_weight: float = 0.0
    blotch: float = 0.1
    blotch_weight: float = 0.0
    weights: dict[str, float] = field(default_factory=dict)
    reach: list[float] = field(default_factory=lambda: [1.0, 1.0])
    use: float = 1.0
    blank: bool = False
    keep: float = 1.0
    lazy: int = 1
    start: str | None = None
    watcher: str = "attributes"
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
    stages: list[dict[str, Any]] = field(default_factory=list)


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


def told(aim: Ranks, old: Ranks, blank: bool) -> Ranks:
    """What the generator is told of classes ``aim``: all, or with ``blank`` those alone that are not the ``old`` ones.

    >>> told({"gender": np.array([0, 1])}, {"gender": np.array([1, 1])}, True)["gender"].tolist()
    [0, -1]
    """
    return {name: np.where(aim[name] == old[name], -1, aim[name]) for name in aim} if blank else aim


def train_privacynet(config: PrivacyNetConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, stage by stage, log to ``folder``; returns the path of ``privacynet.safetensors``, the generator.

    Beside it, or in each stage's folder: ``privacynet.onnx``, ``losses.png`` and ``strip.png``, the same faces while
    training: original, the seven combinations of :data:`COMBINATIONS`, and the last of them brought back by the cycle.

    Raises :class:`~halfmask.errors.UsageError` for a config that makes no sense.
    """
    path = folder / "privacynet.safetensors"
    last = None
    for name, stage in stages_of(config):
        last = _train(replace(stage, start=str(last)) if last else stage, folder / name, resume)
    if last is not None and last != path:
        for suffix in (".safetensors", ".onnx"):
            with whole(path.with_suffix(suffix)) as fresh:
                shutil.copyfile(last.with_suffix(suffix), fresh)
    return path


def _train(config: PrivacyNetConfig, folder: Path, resume: bool) -> Path:
    """One stage; as :func:`train_privacynet`."""
    if unknown := sorted(set(config.weights) - set(ATTRIBUTES)):
        raise UsageError(f"weights names {', '.join(unknown)}; expected {', '.join(ATTRIBUTES)}")
    least = {"n_critic": 1, "reads": 1, "lazy": 1, "warmup": 0}
    if low := [f"{name}={getattr(config, name)}" for name, n in least.items() if getattr(config, name) < n]:
        raise UsageError(f"{', '.join(low)}; expected n_critic, reads and lazy of at least 1 and warmup of 0 or more")
    if not 0 <= config.decay_from <= 1:
        raise UsageError(f"decay_from={config.decay_from}; expected 0 to 1")
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
    if config.start:
        _begin(generator, config.start)
    critic = Critic(groups, width=config.critic_width, layers=config.critic_layers, size=config.size)
    matcher = channels_last(load_matcher(config.matcher, config.matcher_weights), device)
    advisers = [_Adviser(name, readings, device) for name in config.advisers]
    watcher = _Adviser(config.watcher, readings, device)
    lambda_m = Multipliers(config.lambda_m, 1, config.distance, rate=0.02)
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
    if config.adviser_lr:
        for adviser in advisers:
            adviser.learns(config.adviser_lr, accelerator)
    if config.distance:
        accelerator.register_for_checkpointing(lambda_m)
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

    def shown(logits: Mapping[str, Tensor], classes: Mapping[str, Tensor]) -> Tensor:
        """L_attr(X', c'), each attribute with its weight."""
        each = [config.weights.get(name, 1.0) * l_attr({name: z}, classes) for name, z in logits.items()]
        return torch.stack(each).sum()

    def redraw(face: Tensor, classes: Mapping[str, Tensor], reach: Tensor) -> Tensor:
        with accelerator.autocast():
            change = draw(face, labels_of(classes, groups)).float() - face
        out: Tensor = (face + oval * reach * change).clamp(0, 1)
        return out

    def ask(adviser: _Adviser, faces: Tensor, seed: int) -> dict[str, Tensor]:
        seen = view(faces, np.random.default_rng(seed)) if config.views else faces
        with accelerator.autocast():
            return adviser.probabilities(seen)

    def warm_up(i: int) -> Mapping[str, Tensor]:
        chosen = batch_indices(config.seed, i, len(train), config.warmup_batch)
        face = to_tensor(augment(train.pixels(chosen), np.random.default_rng([config.seed, i]), flip=config.flip))
        loss = l_attr(judge(face.to(device))[1], tensors({name: r[chosen] for name, r in ranks.items()}))
        update(accelerator, loss, judges, judge_rate)
        return {"D_attr": loss.detach()}

    def teach_critic(
        face: Tensor, fake: Tensor, classes: Ranks, rng: np.random.Generator, due: bool
    ) -> dict[str, Tensor]:
        share = torch.from_numpy(rng.random(len(face), np.float32)).to(device)
        real_src, logits = judge(face)
        terms = {
            "D_src": (1.0, wgan(real_src.float(), judge(fake)[0].float())),
            "D_attr": (
                config.lambda_attr, l_attr({name: z.float() for name, z in logits.items()}, tensors(classes))
            ),
        }  # fmt: skip
        if due:
            terms["D_gp"] = (config.lazy * config.lambda_gp, wgan_gp(lambda x: judge(x)[0], face, fake, share))
        update(accelerator, torch.stack([weight * loss for weight, loss in terms.values()]).sum(), judges)
        return {name: loss.detach() for name, (_, loss) in terms.items()}

    def teach(i: int) -> Mapping[str, Tensor]:
        first = config.warmup + (i - config.warmup) * config.n_critic
        due = (i - config.warmup) % config.lazy == 0
        for k in range(config.n_critic):
            face, classes, rng = batch(first + k)
            aim = draw_targets(classes, groups, rng)
            source, target = tensors(classes), tensors(aim)
            there, back = (tensors(told(one, other, config.blank)) for one, other in ((aim, classes), (classes, aim)))
            drawn = rng.uniform(config.reach[0], config.reach[-1], (config.batch, 1, 1, 1))
            reach = torch.from_numpy(drawn.astype(np.float32)).to(device)
            # the last of the critic's outputs is the generator's own
            with torch.set_grad_enabled(k == config.n_critic - 1):
                fake = redraw(face, there, reach)
            losses = teach_critic(face, fake.detach(), classes, rng, due)
        critic.requires_grad_(False)
        src, logits = judge(fake)
        with accelerator.autocast():
            with torch.no_grad():
                wanted = matcher(face).float()
            found = matcher(fake).float()
        apart = 1 - F.cosine_similarity(found.detach(), wanted).mean()
        lambda_m.update(0, float(apart))
        terms = {
            "G_src": (1.0, -src.float().mean()),
            "G_attr": (config.lambda_attr, shown({name: z.float() for name, z in logits.items()}, target)),
            "G_m": (float(lambda_m.weights[0]), j_m(found, wanted)),
        }
        if due:
            terms["G_rec"] = (config.lazy * config.lambda_rec, l_rec(face, redraw(fake, back, reach)))
        heard = [advisers[(i * config.reads + k) % len(advisers)] for k in range(config.reads if advisers else 0)]
        if heard:
            hidden = there if config.blank else target
            seeds = rng.integers(0, 2**31, len(heard)).tolist()
            said = [(adviser, ask(adviser, fake, seed)) for adviser, seed in zip(heard, seeds, strict=True)]
            read = torch.stack([shown(adviser.sums(p), hidden) for adviser, p in said]).mean()
            terms["G_adviser"] = (config.lambda_attr, read)
            if config.blank:  # the same view of the face as it was
                with torch.no_grad():
                    was = [ask(adviser, face, seed) for adviser, seed in zip(heard, seeds, strict=True)]
                kept = [
                    l_aim(p[name], before[name], there[name] < 0)
                    for (_, p), before in zip(said, was, strict=True)
                    for name in p
                ]
                terms["G_kept"] = (config.lambda_attr * config.keep / len(heard), torch.stack(kept).sum())
        if config.chroma_weight:
            terms["G_chroma"] = (config.chroma_weight, over(chroma(fake - face), config.chroma))
        if config.blotch_weight:
            terms["G_blotch"] = (config.blotch_weight, over(1 - ssim_map(fake, face), config.blotch))
        total = torch.stack([weight * loss for weight, loss in terms.values()]).sum()
        update(accelerator, total, draws, draw_rate, judge_rate)
        critic.requires_grad_(True)
        losses |= {name: loss.detach() for name, (_, loss) in terms.items()}
        if config.adviser_lr and heard:
            both, truth = torch.cat([face, fake.detach()]), {name: r.repeat(2) for name, r in source.items()}
            seeds = rng.integers(0, 2**31, len(heard)).tolist()
            taught = [
                adviser.learn(lambda a=adviser, s=seed: l_attr(a.sums(ask(a, both, s)), truth))  # type: ignore[misc]
                for adviser, seed in zip(heard, seeds, strict=True)
            ]
            losses["advisers"] = torch.stack(taught).mean()
        return losses | {"apart": apart, "lambda_m": lambda_m.weights[0]}

    def step(i: int) -> Mapping[str, Tensor]:
        return warm_up(i) if i < config.warmup else teach(i)

    path = folder / "privacynet.safetensors"

    def keep() -> None:
        # anew: Accelerate leaves its autocast in the network that it prepared, and that would be exported with it
        trained = Generator(**shape)
        trained.load_state_dict({k: v.float().cpu() for k, v in generator.state_dict().items()})
        write_weights(path, trained.state_dict(), {"generator": json.dumps(shape)})
        words = {name: list(r.words) for name, r in readings.items()}
        export_privacynet(
            trained, words | {"race": config.race}, folder / "privacynet.onnx", reach=config.use, blank=config.blank
        )

    def evaluate(i: int) -> Mapping[str, float]:
        generator.eval()
        if accelerator.is_main_process:
            keep()
            strip = preview(generator, valid, readings, config.preview, config.use * oval, config.blank)
            cv2.imwrite(str(folder / "strip.png"), cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))
        figures = measure(generator, critic, valid, readings, matcher, watcher, config.use * oval, config.blank)
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
    keep()
    return path


def _begin(generator: Generator, start: str) -> None:
    """Take over the weights of a generator of the same shape, from safetensors, ONNX or the shipped network's name."""
    path = shipped.path(f"{start}.onnx") if f"{start}.onnx" in shipped.manifest() else Path(start)
    with loading(path, "the generator to start from", "halfmask train privacynet, with the shape that the config says"):
        _, state = read_exported(path) if path.suffix == ".onnx" else read_weights(path)
        generator.load_state_dict({name: v.float() for name, v in state.items()})


class _Adviser:
    """An attribute network, a file or the name of a shipped one, whose classes are summed to the recipe's."""

    def __init__(self, name: str, readings: Mapping[str, Reading], device: torch.device) -> None:
        path = Path(name) if Path(name).is_file() else shipped.path(f"{name}.safetensors")
        self.net = channels_last(AttributeNet.load(path), device)
        self._learner: Learner | None = None
        #: by attribute, 1 where a class of the network's (row) belongs to one of the recipe's (column)
        self.belongs = {
            head: torch.stack([_column(head, word, readings[head]) for word in self.net.heads[head].words]).to(device)
            for head in readings
            if head in self.net.heads
        }

    def __call__(self, faces: Tensor) -> dict[str, Tensor]:
        """:meth:`sums` of :meth:`probabilities`."""
        return self.sums(self.probabilities(faces))

    def probabilities(self, faces: Tensor) -> dict[str, Tensor]:
        """The network's own, (N, K) float32 by attribute."""
        said = self.net.probabilities(faces)
        return {head: said[head].float().clamp_min(1e-6) for head in self.belongs}

    def sums(self, probabilities: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Logits (N, K) of the recipe's classes by attribute: the logarithms of the sums of probabilities."""
        # no matrix product, which autocast would round
        sums = {head: (probabilities[head][:, :, None] * table).sum(1) for head, table in self.belongs.items()}
        return {head: (p + 1e-6).log() for head, p in sums.items()}

    def learns(self, lr: float, accelerator: Accelerator) -> None:
        """From now on :meth:`learn` moves its weights; they and the optimiser are part of every checkpoint."""
        net, optimizer = accelerator.prepare(self.net, torch.optim.Adam(self.net.requires_grad_(True).parameters(), lr))
        self._learner = Learner(net, optimizer)
        self._learner.frozen()

    def learn(self, loss: Callable[[], Tensor]) -> Tensor:
        """One step down the gradient of ``loss``, which asks this network; returns it, detached."""
        assert self._learner is not None
        self._learner.open()
        lost = self._learner.learn(loss())
        self._learner.frozen()
        return lost


def _column(name: str, word: str, wanted: Reading) -> Tensor:
    """Which of the recipe's classes another network's ``word`` belongs to, (K,), all 0 when to none."""
    rows = {
        "gender": lambda: Row("", Path(), gender=int(word == "male")),
        "age": lambda: Row("", Path(), age=age_class(word).middle),
        "race": lambda: Row("", Path(), race=word),
    }
    return F.one_hot(torch.tensor(wanted.rank(rows[name]()) + 1), len(wanted.words) + 1)[1:].float()


def _redrawn(
    net: Generator,
    faces: Tensor,
    ranks: Ranks,
    readings: Mapping[str, Reading],
    names: Sequence[str],
    oval: Tensor,
    blank: bool,
) -> tuple[Tensor, Ranks]:
    """Faces with other classes of the attributes ``names``, always the same ones, and these classes."""
    groups = {name: len(r.words) for name, r in readings.items()}
    target = changed_classes(ranks, groups, names, np.random.default_rng(0))
    code = _tiled(told(target, ranks, blank), groups, faces)
    return (faces + oval * (net(faces, code) - faces)).clamp(0, 1), target


def _tiled(classes: Ranks, groups: Mapping[str, int], faces: Tensor) -> Tensor:
    return labels_of({name: torch.from_numpy(r) for name, r in classes.items()}, groups).to(faces.device)


def _sample(
    faces: Faces, readings: Mapping[str, Reading], index: NDArray[np.integer], device: torch.device
) -> tuple[Tensor, Ranks]:
    ranks = {name: np.array([r.rank(faces.rows[i]) for i in index], np.int64) for name, r in readings.items()}
    return faces.take(index).to(device), ranks


@torch.no_grad()
def preview(
    net: Generator, faces: Faces, readings: Mapping[str, Reading], count: int, oval: Tensor, blank: bool
) -> NDArray[np.uint8]:
    """The first ``count`` faces, a column each: original, the seven combinations, the last brought back; RGB."""
    index = np.arange(min(count, len(faces)))
    face, ranks = _sample(faces, readings, index, oval.device)
    rows = [face]
    for names in COMBINATIONS:
        rows.append(_redrawn(net, face, ranks, readings, names, oval, blank)[0])
    groups = {name: len(r.words) for name, r in readings.items()}
    rows.append((rows[-1] + oval * (net(rows[-1], _tiled(ranks, groups, face)) - rows[-1])).clamp(0, 1))
    strip = torch.cat([torch.cat(list(row), 2) for row in rows], 1)
    return (strip.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()


@torch.no_grad()
def measure(
    net: Generator,
    critic: Critic,
    faces: Faces,
    readings: Mapping[str, Reading],
    matcher: torch.nn.Module,
    watcher: Callable[[Tensor], Mapping[str, Tensor]],
    oval: Tensor,
    blank: bool,
    *,
    most: int = 64,
) -> dict[str, float]:
    """Figures to watch while training, on validation people, by *auxiliary* networks: no result, a progress report.

    ``l1`` and ``cosine`` to the face with all attributes changed; ``hit_NAME``, how often ``watcher`` reads the target
    class when NAME alone is changed, ``kept_NAME``, how often the true one when the others are changed;
    ``critic_NAME``, the critic's accuracy on the faces themselves.
    """
    face, ranks = _sample(faces, readings, np.random.default_rng(0).permutation(len(faces))[:most], oval.device)
    shown, _ = _redrawn(net, face, ranks, readings, ATTRIBUTES, oval, blank)
    cosine = F.cosine_similarity(matcher(shown), matcher(face))
    figures = {"l1": float((shown - face).abs().mean()), "cosine": float(cosine.mean())}
    logits_of = critic(face)[1]

    def rate(logits: Tensor, true: NDArray[np.int64]) -> float:
        right = logits.argmax(1).cpu().numpy() == true
        return float(right[true >= 0].mean()) if (true >= 0).any() else 0.0

    for name in ATTRIBUTES:
        figures[f"critic_{name}"] = rate(logits_of[name], ranks[name])
        one, target = _redrawn(net, face, ranks, readings, [name], oval, blank)
        figures[f"hit_{name}"] = rate(watcher(one)[name], target[name])
        others, _ = _redrawn(net, face, ranks, readings, [n for n in ATTRIBUTES if n != name], oval, blank)
        figures[f"kept_{name}"] = rate(watcher(others)[name], ranks[name])
    return figures
