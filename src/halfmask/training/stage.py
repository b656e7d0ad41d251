"""One stage of training halfmask's generator, whatever it hides: its data, its networks, a step, a look.

Every step changes a batch of faces, asks everybody who has a say for the gradient of what they say by the change, and
moves the generator along the sum of the answers. In every stage there are

- *readers* (population A), attribute networks of different architecture that keep learning;
- a small *critic*, who learns to tell changed from untouched patches, and budgets of structure and colour.

What readers are to believe, and who else is heard, a kind of stage says: one that hides attributes
(:mod:`~halfmask.training.hide_attributes`), or who is shown (:mod:`~halfmask.training.hide_identity`).

Each of them is a job of its own, in turn on as many threads as the config says; the sum does not depend on which ends
first, so a run can be repeated. Of several processes each has some of these as its own, and all move the generator
alike.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, cast

import cv2
import numpy as np
import torch
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor
from torch.optim.swa_utils import AveragedModel

from ..datasets.table import Row
from ..errors import UsageError
from ..losses import hinge, over
from ..methods.choice import ATTRIBUTES
from ..networks.attribute import AttributeNet
from ..networks.halfmask import SIDE, Critic, Masker
from ..networks.heads import Head
from ..networks.matchers import load_matcher
from ..networks.readings import Reading, reading
from ..networks.views import moved, ssim_map
from ..weights import shipped
from .adversaries import Learner, open_reader
from .data import open_faces, to_tensor
from .export import export_masker
from .loop import batch_indices, channels_last, fit, make_accelerator, same_everywhere, start_run
from .untouched import Untouched
from .views import relit
from .watching import Look, Targets, chroma, load_watcher, preview

if TYPE_CHECKING:
    from .halfmask import HalfmaskConfig

#: Side of the crops that faces are brought closer from: sharp up to a zoom of 1.3.
FINE = 144
#: Keys of a source that are the recipe's own: how many of a batch come from it, and by how much they come closer.
OURS = ("share", "zoom")
#: Which process, of several, has what is one of a kind; reader k is the k-th's. More than there are begin anew.
MATCHERS, TOLD, CRITIC, BUDGETS = 0, 1, 2, 3


@dataclass(frozen=True)
class Batch:
    """What a step works on: N faces as the generator sees them and as matchers do, with what is known and asked.

    ``face`` (N, 3, 112, 112) and ``aligned``, where identity is hidden larger, are in [0, 1]; ``back`` brings a change
    of the former into the latter.
    ``index`` says which training faces they are, ``truth`` holds ranks by attribute, ``reach`` (N,) the strengths.
    """

    index: NDArray[np.int64]
    face: Tensor
    aligned: Tensor
    truth: Mapping[str, Tensor]
    targets: Targets
    reach: Tensor
    back: Callable[[Tensor], Tensor]

    def changed(self, change: Tensor) -> Tensor:
        """The faces with a change, in [0, 1]."""
        return (self.face + change).clamp(0, 1).contiguous(memory_format=torch.channels_last)

    def matched(self, change: Tensor) -> Tensor:
        """The aligned faces with a change, in [0, 1]: what matchers are shown."""
        return (self.aligned + self.back(change)).clamp(0, 1)


#: What a job has to say of a change: terms of the loss, and what else the log keeps.
Say = tuple[dict[str, Tensor], dict[str, Tensor]]
#: The process that has a job, modulo how many there are, and the job, called with (batch, step, change, rng).
Job = tuple[int, Callable[..., Say]]


class Stage(ABC):
    """One stage: its data, its networks, and a step. What is left to its kind stands first."""

    #: What the generator hides, as its file says.
    hides: ClassVar[str]
    #: The folder, of a run's, of those who learn beside readers and critic.
    others_in: ClassVar[str]

    @abstractmethod
    def _open_others(self) -> list[Learner]:
        """Open matchers and all who are of this kind alone; returns those that learn."""

    @abstractmethod
    def _ask_matchers(self, folder: Path) -> None:
        """What matchers see of untouched faces, kept in ``folder``, and what this kind makes of it."""

    @abstractmethod
    def _draw_targets(self, count: int, rng: np.random.Generator) -> Targets:
        """What is asked of so many faces."""

    @abstractmethod
    def _aligned(self, index: NDArray[np.int64], fine: Tensor) -> Tensor:
        """Faces as matchers are to see them; ``fine`` are the same at 144 pixels."""

    @abstractmethod
    def _jobs(self, i: int) -> list[Job]:
        """Who is heard in step ``i``, the longest first."""

    @abstractmethod
    def _read(self, k: int, learns: bool, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Reader ``k``: what it is to believe of changed faces; then, if so, it learns."""

    @abstractmethod
    def _figures(self, look: Look) -> dict[str, float]:
        """What the log says of a look at validation faces."""

    def _counted(self, change: Tensor) -> Tensor:
        """What counts of a change: all of it."""
        return change

    def _ssim_weight(self, lost: Tensor) -> float:
        """The weight of structure, of which faces of strength 1 ``lost`` so much in the mean."""
        return self.config.ssim_weight

    def _owned(self) -> list[tuple[int, Any]]:
        """What changes in one process only, and in which, modulo how many there are."""
        return parts([*enumerate(self.readers), (CRITIC, self.critic)])

    # --- what it works with ---

    def __init__(self, config: HalfmaskConfig, folder: Path, before: Path | None, asked: Path) -> None:
        self.config, self.folder, self.before = config, folder, before
        self.accelerator = make_accelerator(config.precision, config.seed, config.threads)
        self.device = self.accelerator.device
        start_run(folder, config)
        self._open_data()
        self._open_networks()
        with self.accelerator.main_process_first():
            self._ask_readers(asked)
            self._ask_matchers(asked)
        self.pools = self._pools()
        workers = config.threads if self.device.type == "cpu" else 1
        self.pool = ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) if workers > 1 else None

    def _open_data(self) -> None:
        config = self.config
        self.readings = {
            name: reading(name, about)
            for name, about in (
                ("gender", {}), ("age", {"groups": config.ages}), ("race", {"classes": config.races}),
            )
        }  # fmt: skip

        def known(row: Row) -> bool:
            return row.gender is not None and (row.age_range is None or row.age_range[0] >= config.youngest)

        sources = [{k: v for k, v in source.items() if k not in OURS} for source in config.train]
        self.zooms = [tuple(source.get("zoom", (1.0, 1.0))) for source in config.train]
        self.shares = [int(source.get("share", 16)) for source in config.train]
        self.faces = open_faces(sources, known, size=SIDE)
        self.ends = self.faces.ends
        self.fine = open_faces(sources, known, size=FINE)
        self.valid = open_faces(config.valid, known, size=SIDE)
        self.labels = {n: torch.tensor([r.rank(row) for row in self.faces.rows]) for n, r in self.readings.items()}
        self.drawn_from = {name: ranks[ranks >= 0].numpy() for name, ranks in self.labels.items()}

    def _open_networks(self) -> None:
        """Each in its turn: their first weights are drawn from one chance, and a checkpoint numbers them."""
        config, before = self.config, self.before
        ages, races = (_frequencies(self.drawn_from[name], self.readings[name]) for name in ("age", "race"))
        net = Masker(ages, races, hides=self.hides)
        if start := before / "halfmask.safetensors" if before else config.start:
            shipping = str(start) in shipped.manifest()
            net.load_state_dict(Masker.load(shipped.path(str(start)) if shipping else Path(start)).state_dict())
        self.net = channels_last(net, self.device)
        self.averaged = AveragedModel(self.net, avg_fn=_average(config.average))
        self.accelerator.register_for_checkpointing(self.averaged)
        self.critic = self._learner(Critic(), config.critic_lr, betas=(0.5, 0.99))
        self.originals = [open_reader(shipped.find(path), self.readings) for path in config.adapters]
        self.readers = []
        for k, path in enumerate(config.adapters):
            later = before / "adapters" / f"{k}.safetensors" if before else None
            found = later if later and later.is_file() else shipped.find(path)
            self.readers.append(self._learner(open_reader(found, self.readings), config.adapter_lr))
        self.others = self._open_others()
        self.watchers = {Path(path).stem: load_watcher(shipped.find(path)).to(self.device) for path in config.watchers}
        self.optimizer = torch.optim.Adam(self.net.parameters(), config.lr, betas=(0.5, 0.99), fused=True)
        first = round(config.steps * (1 - config.cool))
        self.schedule = torch.optim.lr_scheduler.SequentialLR(
            self.optimizer,
            [
                torch.optim.lr_scheduler.ConstantLR(self.optimizer, 1.0),
                torch.optim.lr_scheduler.CosineAnnealingLR(
                    self.optimizer, max(1, config.steps - first), eta_min=config.lr / 20
                ),
            ],
            [first],
        )
        # no process' part of a batch is its own, so there is no gradient to be averaged
        ready = partial(self.accelerator.prepare_model, evaluation_mode=True)
        self.net = ready(self.net)
        self.optimizer, self.schedule = self.accelerator.prepare(self.optimizer, self.schedule)
        for learner in (self.critic, *self.readers, *self.others):
            learner.net, learner.optimizer = ready(learner.net), self.accelerator.prepare(learner.optimizer)

    def _open_matchers(self) -> None:
        self.matchers = [channels_last(load_matcher(name), self.device) for name in self.config.matchers]

    def _learner(self, net: torch.nn.Module, lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> Learner:
        """A network that will keep adapting, on the device."""
        net = channels_last(net, self.device).requires_grad_(True)
        return Learner(net, torch.optim.Adam(net.parameters(), lr, betas=betas, fused=True))

    def _continued(self, net: torch.nn.Module, k: int) -> torch.nn.Module:
        """The ``k``-th of the others, as the stage before left it, if there was one."""
        file = self.before / self.others_in / f"{k}.pt" if self.before else None
        if file and file.is_file():
            net.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
        return net

    def _ask_readers(self, folder: Path) -> None:
        """What readers believe of untouched faces, before anybody adapts; kept in ``folder``."""
        asked = Untouched(self.faces, self.ends.tolist(), folder, self.accelerator)
        self.beliefs = [
            asked.believed(reader, shipped.find(path))
            for path, reader in zip(self.config.adapters, self.originals, strict=True)
        ]
        del self.originals

    def _pools(self) -> list[list[NDArray[np.int64]]]:
        """Of each source the women and the men that can be read."""
        gender = self.labels["gender"].numpy()
        believed = np.mean([np.take_along_axis(b["gender"], gender[:, None], 1) for b in self.beliefs], 0)[:, 0]
        pools = []
        for first, last in zip(self.ends, self.ends[1:], strict=False):
            place = np.arange(first, last)
            fits = place[believed[place] >= self.config.sure]
            pools.append([fits[gender[fits] == g] for g in (0, 1)])
        for source, pool, share in zip(self.config.train, pools, self.shares, strict=True):
            if min(map(len, pool)) < (share + 1) // 2:
                raise UsageError(
                    f"{source.get('layout')} has {len(pool[0])} women and {len(pool[1])} men whose gender the adapters "
                    f"believe by at least {self.config.sure}; its share of {share} needs half of that of each: "
                    "lower 'sure' or 'share'"
                )
        return pools

    # --- a step ---

    def draw(self, i: int) -> Batch:
        """The batch of step ``i``, a function of seed and step."""
        config, rng = self.config, np.random.default_rng([self.config.seed, 1, i])
        index, zoom = [], []
        for k, (pools, share, zooms) in enumerate(zip(self.pools, self.shares, self.zooms, strict=True)):
            for g, pool in enumerate(pools):
                count = (share + 1 - g) // 2
                index.append(pool[batch_indices(config.seed + 100 * (2 * k + g), i, len(pool), count)])
                zoom.append(rng.uniform(zooms[0], zooms[-1], count))
        chosen, closer = np.concatenate(index), np.concatenate(zoom)
        n = len(chosen)
        mirror = rng.random(n) < 0.5
        x, y = rng.uniform(-0.2, 0.2, (2, n)) * (1 - 1 / closer)  # at a zoom of 1 the face is where it will be
        fine = to_tensor(self.fine.pixels(chosen)).to(self.device)
        aligned = self._aligned(chosen, fine)
        targets = self._draw_targets(n, rng)
        face = relit(moved(fine, mirror=mirror, zoom=closer, shift=(x, y), side=SIDE), rng)
        reach = rng.uniform(config.reach[0], config.reach[-1], n)
        sign = np.where(mirror, -1.0, 1.0)
        return Batch(
            index=chosen,
            face=face.contiguous(memory_format=torch.channels_last),
            aligned=aligned,
            truth={name: ranks[chosen].to(self.device) for name, ranks in self.labels.items()},
            targets=targets.to(self.device),
            reach=torch.from_numpy(reach.astype(np.float32)).to(self.device),
            back=partial(
                moved, mirror=mirror, zoom=1 / closer, shift=(-closer * sign * x, -closer * y), beyond="zeros",
                side=aligned.shape[2],
            ),
        )  # fmt: skip

    def step(self, i: int) -> Mapping[str, Tensor]:
        """Change a batch, hear everybody, move the generator."""
        batch = self.draw(i)
        code = self.accelerator.unwrap_model(self.net).encode(*(batch.targets.of(n) for n in ATTRIBUTES))
        with self.accelerator.autocast():
            change = self.net(batch.face, code)
        change = self._counted(batch.reach[:, None, None, None] * change.float())
        gradient, terms, record = self._hear(batch, change.detach(), i)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(change, gradient=gradient)
        self.accelerator.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.averaged.update_parameters(self.accelerator.unwrap_model(self.net))
        if self._kept(i + 1):
            processes = self.accelerator.num_processes
            same_everywhere(self.accelerator, [(owner % processes, part) for owner, part in self._owned()])
        return terms | record | {"loss": torch.stack(list(terms.values())).sum()}

    def _kept(self, done: int) -> bool:
        """Whether what there is after so many steps is looked at or written."""
        steps = self.config.steps
        return any(done % n == 0 for n in (self.config.checkpoint_every, self.config.evaluate_every or steps, steps))

    def _hear(self, batch: Batch, change: Tensor, i: int) -> tuple[Tensor, dict[str, Tensor], dict[str, Tensor]]:
        """What all jobs say of a change: the gradient of their terms by the change, the terms, the record."""
        jobs, processes = self._jobs(i), self.accelerator.num_processes
        mine = [k for k, (owner, _) in enumerate(jobs) if owner % processes == self.accelerator.process_index]

        def one(k: int) -> tuple[Tensor | None, dict[str, Tensor], dict[str, Tensor]]:
            leaf = change.detach().requires_grad_()
            terms, record = jobs[k][1](batch, i, leaf, np.random.default_rng([self.config.seed, 2, i, k]))
            gradient = None
            if terms:
                (gradient,) = torch.autograd.grad(torch.stack(list(terms.values())).sum(), leaf)
            return gradient, {n: v.detach() for n, v in terms.items()}, {n: v.detach() for n, v in record.items()}

        said = list(self.pool.map(one, mine)) if self.pool else [one(k) for k in mine]
        gradients = [g for g, _, _ in said if g is not None]
        gradient = torch.stack(gradients).sum(0) if gradients else torch.zeros_like(change)
        told = [({n: v.cpu() for n, v in t.items()}, {n: v.cpu() for n, v in r.items()}) for _, t, r in said]
        if processes > 1:
            gradient = cast(Tensor, self.accelerator.reduce(gradient, "sum"))
            told = gather_object(told)
        return gradient, _sum([t for t, _ in told]), _sum([r for _, r in told])

    def _readers_in_turn(self, i: int) -> list[Job]:
        """The readers that judge in step ``i``."""
        reads, learns = self.config.reads, self.config.learns or self.config.reads
        turn = [((i * reads + j) % len(self.readers), j < learns) for j in range(reads)]
        return [(k, partial(self._read, k, learns)) for k, learns in sorted(turn)]

    def _always(self) -> list[Job]:
        """Critic and budgets, who judge in every step."""
        return [(CRITIC, self._judge), (BUDGETS, self._budget)]

    def _heads(self, k: int) -> Mapping[str, Head]:
        return cast(AttributeNet, self.accelerator.unwrap_model(self.readers[k].net)).heads

    def _teach(self, k: int, faces: Tensor, truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Reader ``k`` learns the truth of faces; returns its share of what the log says of those who learn."""
        config, reader, heads = self.config, self.readers[k], self._heads(k)
        with self.accelerator.autocast():
            logits = reader.open()(faces)
        losses = [config.weights[name] * heads[name].loss(logits[name].float(), truth[name]) for name in ATTRIBUTES]
        return {"readers": reader.learn(torch.stack(losses).sum()) / (config.learns or config.reads)}

    def _judge(self, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """The critic: patches look untouched; then it learns."""
        changed = batch.changed(change)
        with self.accelerator.autocast():
            looks = self.critic.frozen()(changed).float()
        terms = {"looks": -self.config.critic * looks.mean()}
        with self.accelerator.autocast():
            real, made = self.critic.open()(torch.cat([batch.face, changed.detach()])).float().chunk(2)
        return terms, {"critic": self.critic.learn(hinge(real, made))}

    def _budget(self, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Structure and colour."""
        config, changed = self.config, batch.changed(change)
        places = 1 - ssim_map(changed, batch.face)
        lost, squares = places.mean((1, 2)), batch.reach.square()
        paint = chroma(changed - batch.face) / batch.reach[:, None, None]
        weight = self._ssim_weight((lost.detach() / squares).mean())
        terms = {
            "ssim": weight * over(lost, config.ssim * squares),
            "blotch": config.blotch_weight * over(places, config.blotch * squares[:, None, None]),
            "chroma": config.chroma_weight * over(paint, config.chroma),
        }
        return terms, {"seen_ssim": 1 - lost.mean()}

    # --- looking at it ---

    def evaluate(self, i: int) -> Mapping[str, float]:
        """Write the generator and the adversaries as they are, and look at validation faces."""
        config, folder, best = self.config, self.folder, cast(Masker, self.averaged.module)
        if self.accelerator.is_main_process:
            best.save(folder / "halfmask.safetensors")
            for name in (f"steps/{i}", "adapters", "told", "pupils"):  # a run's folder looks alike in either kind
                (folder / name).mkdir(parents=True, exist_ok=True)
            export_masker(Masker.load(folder / "halfmask.safetensors"), folder / f"steps/{i}/halfmask.onnx")
            for k, learner in enumerate(self.readers):
                reader = cast(AttributeNet, self.accelerator.unwrap_model(learner.net))
                reader.save(folder / f"adapters/{k}.safetensors")
            for k, learner in enumerate(self.others):
                state = self.accelerator.unwrap_model(learner.net).state_dict()
                torch.save(state, folder / self.others_in / f"{k}.pt")
            cv2.imwrite(str(folder / "strip.png"), preview(best, self.valid, strength=config.watch_at))
        look = Look(
            best,
            self.valid,
            np.unique(np.linspace(0, len(self.valid) - 1, config.watch).round().astype(np.int64)),
            strength=config.watch_at,
            precision=config.precision,
            readers=[cast(AttributeNet, learner.frozen()) for learner in self.readers],
            watchers=self.watchers,
            matchers=dict(zip(config.matchers, self.matchers, strict=True)),
        )
        return self._figures(look)

    def train(self, resume: bool) -> None:
        """All steps, then the weights as ONNX."""
        fit(
            self.folder,
            self.accelerator,
            self.config.steps,
            self.step,
            evaluate=self.evaluate,
            evaluate_every=self.config.evaluate_every,
            checkpoint_every=self.config.checkpoint_every,
            resume=resume,
            desc=f"halfmask {self.config.name}".strip(),
        )
        if self.pool:
            self.pool.shutdown()
        if self.accelerator.is_main_process:
            export_masker(Masker.load(self.folder / "halfmask.safetensors"), self.folder / "halfmask.onnx")
        self.accelerator.wait_for_everyone()


def parts(owned: Iterable[tuple[int, Learner]]) -> list[tuple[int, Any]]:
    """Networks and optimisers of learners, each with the process that has it."""
    return [(owner, part) for owner, learner in owned for part in (learner.net, learner.optimizer)]


def _average(decay: float) -> Callable[[Tensor, Tensor, Tensor | int], Tensor]:
    """A running mean of weights that forgets its start: over the last tenth of the steps, later by ``decay``."""

    def mean(old: Tensor, new: Tensor, count: Tensor | int) -> Tensor:
        return old.lerp(new, 1 - min(decay, (1 + float(count)) / (10 + float(count))))

    return mean


def _frequencies(ranks: NDArray[np.integer], r: Reading) -> dict[str, float]:
    shares = np.bincount(ranks, minlength=len(r.words)) / len(ranks)
    return dict(zip(r.words, shares.tolist(), strict=True))


def _sum(many: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Figures of the same name added up."""
    total: dict[str, Tensor] = {}
    for one in many:
        for name, value in one.items():
            total[name] = total[name] + value if name in total else value
    return total
