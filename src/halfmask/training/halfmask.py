"""Train halfmask's own method: a generator against readers that keep adapting (docs/method.md).

Every step changes a batch of faces toward targets that chance draws, asks everybody who has a say what the change does
to them, and moves the generator along the sum of the answers:

- *readers* (population A), attribute networks of different architecture that keep learning the true attributes of
  changed and untouched faces: they are to believe the target where an attribute is hidden, and what they believed
  before where it is kept;
- *told readers* (population B), who know the target and learn the truth from changed faces: they are to know nothing;
- *matchers*, auxiliary ones: they are to see the same person, with the target's gender (e*, ``losses.e_star``);
- a small *critic*, who learns to tell changed from untouched patches, and budgets of structure and colour.

The target is drawn independently of the truth, with a soft aim (``confidence``), so that a face which already looks
like its target is drawn toward the same place as one that does not.

Turned round (``identity: hide``) the same hides who is shown, and keeps gender, age and race (docs/deidentify.md):

- *matchers* are to see somebody else of the same gender and age (``losses.l_apart``), all of them in every step;
- *pupils* of theirs, too, who keep learning to see through what is done (:mod:`~halfmask.training.pupils`);
- *readers* are to read of every view what they read of the same view before. They learn from untouched faces alone:
  so they stay strangers to the change, as those who will read it are, and yet no fixed network can be outwitted.

Each of them is a job of its own, in turn on as
many threads as the config says; the sum does not depend on which ends first, so a run can be repeated. Of several
processes each has some of these as its own, and all move the generator alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import cv2
import numpy as np
import torch
from accelerate import PartialState
from accelerate.utils import gather_object
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from torch.optim.swa_utils import AveragedModel

from ..datasets.table import Row
from ..errors import UsageError
from ..losses import e_star, hinge, l_aim, l_apart, l_match, l_told, over, soft
from ..methods.choice import ATTRIBUTES
from ..networks.attribute import AttributeNet
from ..networks.halfmask import IDENTITY, SIDE, Critic, Masker
from ..networks.matchers import load_matcher
from ..networks.readings import Reading, reading
from ..networks.views import moved, ssim_map
from ..networks.views import view as shot
from ..photos.paste import mask
from ..weights import shipped
from .adversaries import Learner, Multipliers, Ring, Told, linear_reader, open_reader
from .config import stages_of
from .data import open_faces, to_tensor
from .export import export_masker
from .loop import batch_indices, channels_last, fit, make_accelerator, same_everywhere, start_run
from .pupils import in_turn, kind_means, kinds_of, open_pupil
from .untouched import Untouched, gender_axes
from .views import passing, relit, view
from .watching import Targets, chroma, draw_targets, kept, load_watcher, measure, preview, untargeted

#: Side of the crops that faces are brought closer from: sharp up to a zoom of 1.3.
FINE = 144
#: Keys of a source that are the recipe's own: how many of a batch come from it, and by how much they come closer.
OURS = ("share", "zoom")
#: Which process, of several, has what is one of a kind; reader k is the k-th's. More than there are begin anew.
_MATCHERS, _TOLD, _CRITIC, _BUDGETS = 0, 1, 2, 3
#: Readers that are sure say little of a change. What is kept is compared at this temperature (Hinton et al. 2015).
_TEMPERATURE = 3.0
#: Linear readers of descriptors are solved anew after so many looks of their matcher.
_SOLVE_EVERY = 5


@dataclass
class HalfmaskConfig:
    """What can be set; ``train`` and ``valid`` are lists of sources of :func:`~halfmask.training.data.open_faces`.

    A source of ``train`` also has ``share``, how many faces of a batch come from it, as many women as men, and
    ``zoom``, the range of factors by which they are brought closer, one drawn a face: FairFace's pictures end near the
    face, so at 1 much of hair and neck is a mirror image, and at 1.3 hardly anything. Matchers see the change where
    they would, in the aligned face.

    ``stages`` are changes to this config, run one after the other, each from the weights of the one before; each has a
    ``name``, its folder. ``start`` names weights to begin from, safetensors or ONNX, or the folder of a run (or of a
    stage of it), whose adversaries are taken over as well.

    ``adapters`` are files of ``halfmask train attribute``, or names of such that ship, with the heads gender, age (in
    ``ages``, the lowest year of each group) and race (``races``, as in an attribute config): population A, of whom
    ``reads`` judge in a step, in turn, and ``learns`` of these learn (0: all). ``told`` describes population B
    (:class:`~halfmask.training.adversaries.Told`); every ``fresh_every`` steps one of them is started afresh, and
    counts again when it has learned for ``warm`` steps. ``matchers`` are auxiliaries of
    :func:`~halfmask.networks.matchers.load_matcher`, one a step, in turn. ``watchers`` are gender classifiers that
    train nothing, by file or name: the log says what they read.

    ``odds`` is how often each attribute is hidden, ``weights`` how much each counts. ``confidence`` is the share of
    belief that a reader is to give the target. ``told_weight`` and ``linear_weight`` are those of population B and of
    linear readers of descriptors. ``direct`` is the share of the way to the target's gender that descriptors are to go
    (0: none). ``margin`` is the distance (1 - cosine) that a matcher may see for nothing, ``match`` its weight to begin
    with, and ``distance`` the mean distance at which the weight settles (0: it stays); all at a strength of 1, and for
    a face of another strength times its square, as distances grow. Likewise ``ssim`` is the structural similarity that
    may be lost for nothing by a face, ``blotch`` by any place of it, and ``chroma`` the change of a pixel's chroma (of
    Cb, Cr in [-0.5, 0.5]): budgets, that are there to be used. ``reach`` is the range of strengths, one drawn a face.

    ``identity`` is ``keep``, or ``hide``: then no attribute is hidden, and ``odds``, ``told`` and what matchers may see
    do not count. Matchers, heard in every step, are to see somebody else by a cosine of ``limit`` or less, without what
    people of the same gender and age share, with the weight ``match``; so are ``pupils``, each ``{of, reader, lr}``
    (:func:`~halfmask.training.pupils.open_pupil`), ``heard`` of them a step. ``keep`` times ``weights`` is how much
    what readers read of untouched faces counts. The weight of structure starts at ``ssim_weight`` and follows what a
    face loses in the mean, until that is ``ssim``.

    ``youngest`` leaves younger faces out of training, and ``sure`` those whose gender the readers, before they adapt,
    believe less than that: wrong labels, and faces that nobody can read. Readers start to adapt at step
    ``adapt_from``. ``average`` is the decay of the running mean of weights that is kept: a long one averages away what
    the generator does, since that turns as the readers follow it. ``cool`` is the share of the steps, at the end, in
    which the learning rate falls to a twentieth. A checkpoint is written every ``checkpoint_every`` steps.
    ``threads``: how many jobs at once.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    adapters: list[str]
    ages: list[int]
    races: dict[str, list[str]]
    identity: str = "keep"
    pupils: list[dict[str, Any]] = field(default_factory=list)
    heard: int = 2
    limit: float = 0.0
    told: list[dict[str, Any]] = field(default_factory=list)
    watchers: list[str] = field(default_factory=list)
    matchers: list[str] = field(default_factory=lambda: ["sface", "facenet"])
    odds: dict[str, float] = field(default_factory=lambda: {"gender": 0.9, "age": 0.15, "race": 0.15})
    weights: dict[str, float] = field(default_factory=lambda: {"gender": 2.0, "age": 0.5, "race": 0.5})
    confidence: float = 0.9
    keep: float = 0.5
    reads: int = 4
    learns: int = 0
    told_weight: float = 0.0
    linear_weight: float = 0.0
    fresh_every: int = 400
    warm: int = 200
    direct: float = 0.0
    match: float = 5.0
    margin: float = 0.03
    distance: float = 0.0
    reach: list[float] = field(default_factory=lambda: [1.0, 1.0])
    youngest: int = 0
    sure: float = 0.0
    critic: float = 0.05
    ssim: float = 0.03
    ssim_weight: float = 8.0
    blotch: float = 0.1
    blotch_weight: float = 0.0
    chroma: float = 0.01
    chroma_weight: float = 20.0
    steps: int = 4000
    lr: float = 1e-3
    adapter_lr: float = 4e-4
    told_lr: float = 1e-3
    adapt_from: int = 0
    critic_lr: float = 4e-4
    average: float = 0.99
    cool: float = 0.3
    start: str | None = None
    watch: int = 300
    watch_at: float = 1.0
    evaluate_every: int = 500
    checkpoint_every: int = 250
    precision: str = "bf16"
    threads: int = 2
    seed: int = 1
    name: str = ""
    stages: list[dict[str, Any]] = field(default_factory=list)


def train_halfmask(config: HalfmaskConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, stage by stage, logging to ``folder``; returns the path of ``halfmask.safetensors``, the generator.

    Beside it, or in each stage's folder: ``halfmask.onnx``, ``strip.png`` (validation faces and what becomes of them),
    ``losses.png``, in ``adapters/``, ``told/`` and ``pupils/`` the adversaries as they are now, from which the next
    stage goes on, and in ``steps/`` a folder for each look at the validation faces, with the generator as it was.
    Raises :class:`~halfmask.errors.UsageError` for a config that makes no sense.
    """
    before = Path(config.start) if config.start and Path(config.start).is_dir() else None
    for stage in _stages(config):
        home = folder / stage.name
        if not (home / "halfmask.onnx").is_file() or not resume:
            _Run(stage, home, before, folder / "untouched").train(resume)
        before = home
    assert before is not None
    if before != folder and PartialState().is_main_process:
        Masker.load(before / "halfmask.safetensors").save(folder / "halfmask.safetensors")
        export_masker(Masker.load(folder / "halfmask.safetensors"), folder / "halfmask.onnx")
    return folder / "halfmask.safetensors"


def _stages(config: HalfmaskConfig) -> list[HalfmaskConfig]:
    """The config of each stage, checked."""
    if not config.adapters:
        raise UsageError("the config needs at least one adapter")
    stages = [stage for _, stage in stages_of(config)]
    if not 0 < config.reads <= len(config.adapters):
        raise UsageError(f"reads is {config.reads}, expected 1 to {len(config.adapters)}, the number of adapters")
    if not 0 <= config.learns <= config.reads:
        raise UsageError(f"learns is {config.learns}, expected 0 (all) to {config.reads}, the number that judges")
    if any(stage.identity not in ("keep", "hide") for stage in stages):
        raise UsageError(f"identity is {', '.join({stage.identity for stage in stages})}; expected keep or hide")
    return stages


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


#: What a job has to say of a change: terms of the loss, and what else the log keeps.
Say = tuple[dict[str, Tensor], dict[str, Tensor]]


class _Run:
    """One stage: its data, its networks, and a step."""

    def __init__(self, config: HalfmaskConfig, folder: Path, before: Path | None, asked: Path) -> None:
        self.config, self.folder = config, folder
        self.accelerator = make_accelerator(config.precision, config.seed, config.threads)
        self.device = self.accelerator.device
        start_run(folder, config)
        self.hiding = config.identity == "hide"
        # a change of identity will count in the oval of a head, one of attributes in the whole crop
        self.oval = torch.from_numpy(mask(SIDE).copy()).to(self.device) if self.hiding else None
        self._open_data()
        self._open_networks(before)
        with self.accelerator.main_process_first():
            self._ask_untouched(asked)
        self.pools = self._pools()
        workers = config.threads if self.device.type == "cpu" else 1
        self.pool = ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1)) if workers > 1 else None

    # --- what it works with ---

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

    def _open_networks(self, before: Path | None) -> None:
        config, device = self.config, self.device
        ages, races = (_frequencies(self.drawn_from[name], self.readings[name]) for name in ("age", "race"))
        net = Masker(ages, races, hides=IDENTITY) if self.hiding else Masker(ages, races)
        if start := before / "halfmask.safetensors" if before else config.start:
            shipping = str(start) in shipped.manifest()
            net.load_state_dict(Masker.load(shipped.path(str(start)) if shipping else Path(start)).state_dict())
        self.net = channels_last(net, device)
        self.averaged = AveragedModel(self.net, avg_fn=_average(config.average))
        self.critic = _learner(channels_last(Critic(), device), config.critic_lr, betas=(0.5, 0.99))
        self.originals = [open_reader(shipped.find(path), self.readings) for path in config.adapters]
        self.readers = []
        for k, path in enumerate(config.adapters):
            later = before / "adapters" / f"{k}.safetensors" if before else None
            found = later if later and later.is_file() else shipped.find(path)
            self.readers.append(_learner(channels_last(open_reader(found, self.readings), device), config.adapter_lr))
        self.told = []
        for k, about in enumerate(config.told):
            told = Told(about)
            told.start_afresh(about, 1000 * config.seed + k)
            later = before / "told" / f"{k}.pt" if before else None
            if later and later.is_file():
                told.load_state_dict(torch.load(later, map_location="cpu", weights_only=True))
            self.told.append(_learner(channels_last(told, device), config.told_lr))
        self.matchers = [channels_last(load_matcher(name), device) for name in config.matchers]
        self.pupils = []
        for k, about in enumerate(config.pupils):
            with torch.no_grad():
                widths = [m(torch.zeros(1, 3, SIDE, SIDE, device=device)).shape[1] for m in self.matchers]
            known = dict(zip(config.matchers, widths, strict=True))
            pupil = open_pupil(about, known, load_matcher, 1000 * config.seed + k)
            later = before / "pupils" / f"{k}.pt" if before else None
            if later and later.is_file():
                pupil.load_state_dict(torch.load(later, map_location="cpu", weights_only=True))
            self.pupils.append(_learner(channels_last(pupil, device), float(about.get("lr", 2e-5))))
        self.watchers = {Path(path).stem: load_watcher(shipped.find(path)).to(device) for path in config.watchers}
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
        self.multipliers = Multipliers(config.match, len(self.matchers), config.distance, rate=0.02)
        self.structure = Multipliers(config.ssim_weight, 1, config.ssim if self.hiding else 0.0, rate=0.02)
        # no process' part of a batch is its own, so there is no gradient to be averaged
        ready = partial(self.accelerator.prepare_model, evaluation_mode=True)
        self.net = ready(self.net)
        self.optimizer, self.schedule = self.accelerator.prepare(self.optimizer, self.schedule)
        for learner in (self.critic, *self.readers, *self.told, *self.pupils):
            learner.net, learner.optimizer = ready(learner.net), self.accelerator.prepare(learner.optimizer)
        self.accelerator.register_for_checkpointing(self.averaged, self.multipliers)
        if self.hiding:
            self.accelerator.register_for_checkpointing(self.structure)

    def _ask_untouched(self, folder: Path) -> None:
        """What readers believe and matchers see of untouched faces, before anybody adapts; kept in ``folder``."""
        asked = Untouched(self.faces, self.ends.tolist(), folder, self.accelerator)
        self.beliefs = [
            asked.believed(reader, shipped.find(path))
            for path, reader in zip(self.config.adapters, self.originals, strict=True)
        ]
        del self.originals
        names, gender, race = self.config.matchers, self.labels["gender"], self.labels["race"]
        if self.hiding:
            asked = Untouched(self.fine, self.ends.tolist(), folder, self.accelerator)
            self.untouched = [asked.mirrored(m, name) for m, name in zip(self.matchers, names, strict=True)]
            ages = len(self.config.ages)
            kinds = kinds_of(gender, self.labels["age"], ages)
            means = [kind_means(seen, kinds, gender, 2 * (ages + 1)) for seen in self.untouched]
            self.kinds = [each[kinds.to(each.device)] for each in means]
            self.described: list[Ring] = []
            return
        self.untouched = [asked.described(m, name) for m, name in zip(self.matchers, names, strict=True)]
        self.axes = [gender_axes(seen, gender, race, len(self.config.races)) for seen in self.untouched]
        self.linear: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in self.matchers]
        # the last changed faces, for B to learn from, and what matchers saw of them, for their linear readers
        self.replay = Ring(1024, (3, SIDE, SIDE), torch.uint8)
        self.described = [Ring(2048, (table.shape[1],)) for table in self.untouched]
        self.accelerator.register_for_checkpointing(self.replay, *self.described)

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
        finer = to_tensor(self.fine.pixels(chosen)).to(self.device)
        # a matcher that is to see somebody else looks as closely as it can
        aligned = finer if self.hiding else to_tensor(self.faces.pixels(chosen)).to(self.device)
        targets = untargeted(n) if self.hiding else draw_targets(n, config.odds, self.drawn_from, rng)
        face = relit(moved(finer, mirror=mirror, zoom=closer, shift=(x, y), side=SIDE), rng)
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
        change = batch.reach[:, None, None, None] * change.float()
        if self.oval is not None:
            change = change * self.oval
        gradient, terms, record = self._hear(batch, change.detach(), i)
        self.optimizer.zero_grad(set_to_none=True)
        self.accelerator.backward(change, gradient=gradient)
        self.accelerator.clip_grad_norm_(self.net.parameters(), 1.0)
        self.optimizer.step()
        self.schedule.step()
        self.averaged.update_parameters(self.accelerator.unwrap_model(self.net))
        if self._kept(i + 1):
            same_everywhere(self.accelerator, self._owned())
        return terms | record | {"loss": torch.stack(list(terms.values())).sum()}

    def _kept(self, done: int) -> bool:
        """Whether what there is after so many steps is looked at or written."""
        steps = self.config.steps
        return any(done % n == 0 for n in (self.config.checkpoint_every, self.config.evaluate_every or steps, steps))

    def _owned(self) -> list[tuple[int, Any]]:
        """What changes in one process only, and in which."""
        learners = [*enumerate(self.readers), *((_TOLD, t) for t in self.told), (_CRITIC, self.critic)]
        learners += [(len(self.matchers) + k, pupil) for k, pupil in enumerate(self.pupils)]
        parts: list[tuple[int, Any]] = [
            (owner, part) for owner, learner in learners for part in (learner.net, learner.optimizer)
        ]
        if self.hiding:
            parts.append((_BUDGETS, self.structure))
        else:
            parts += [(_TOLD, self.replay), (_MATCHERS, self.multipliers), *((_MATCHERS, d) for d in self.described)]
        return [(owner % self.accelerator.num_processes, part) for owner, part in parts]

    def _jobs(self, i: int) -> list[tuple[int, Callable[..., Say]]]:
        """Who is heard in step ``i``, the longest first, each with the process that has it."""
        reads, learns = self.config.reads, self.config.learns or self.config.reads
        turn = [((i * reads + j) % len(self.readers), j < learns) for j in range(reads)]
        jobs: list[tuple[int, Callable[..., Say]]] = []
        read = self._spare if self.hiding else self._read
        if self.hiding:
            pupils = in_turn(self.pupils, self.config.heard, i)
            several = len(self.matchers) + len(pupils)
            jobs += [(len(self.matchers) + k, partial(self._escape_pupil, k, several)) for k in pupils]
            jobs += [(k, partial(self._escape, k, several)) for k in range(len(self.matchers))]
        elif self.matchers:
            jobs.append((_MATCHERS, partial(self._match, i % len(self.matchers))))
        jobs += [(k, partial(read, k, learns)) for k, learns in sorted(turn)]
        if self.told and not self.hiding:
            jobs.append((_TOLD, self._told))
        return [*jobs, (_CRITIC, self._judge), (_BUDGETS, self._budgets)]

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

    def _read(self, k: int, learns: bool, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Reader ``k`` of A: it believes the target, or what it believed before; then, if so, it learns the truth."""
        config, reader = self.config, self.readers[k]
        heads = cast(AttributeNet, self.accelerator.unwrap_model(reader.net)).heads
        changed = batch.changed(change)
        with self.accelerator.autocast():
            logits = reader.frozen()(view(changed, rng))
        hidden, stays = {}, []
        for name in ATTRIBUTES:
            believed, target = heads[name].probabilities(logits[name].float()), batch.targets.of(name)
            aim = soft(target, believed.shape[1], config.confidence)
            hidden[f"hide_{name}"] = config.weights[name] * l_aim(believed, aim, target >= 0)
            before = torch.from_numpy(self.beliefs[k][name][batch.index]).to(self.device)
            stays.append(l_aim(believed, before, target < 0))
        terms = {n: v / config.reads for n, v in (hidden | {"keep": config.keep * torch.stack(stays).sum()}).items()}
        if i < config.adapt_from or not learns:
            return terms, {}
        both = torch.cat([view(batch.face, rng), view(changed.detach(), rng)])
        return terms, self._teach(k, both, {name: ranks.repeat(2) for name, ranks in batch.truth.items()})

    def _teach(self, k: int, faces: Tensor, truth: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Reader ``k`` learns the truth of faces; returns its share of what the log says of those who learn."""
        config, reader = self.config, self.readers[k]
        heads = cast(AttributeNet, self.accelerator.unwrap_model(reader.net)).heads
        with self.accelerator.autocast():
            logits = reader.open()(faces)
        losses = [config.weights[name] * heads[name].loss(logits[name].float(), truth[name]) for name in ATTRIBUTES]
        return {"readers": reader.learn(torch.stack(losses).sum()) / (config.learns or config.reads)}

    def _spare(self, k: int, learns: bool, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Reader ``k``, where identity is hidden: of one view it reads the same as before; the untouched teach it."""
        config, reader = self.config, self.readers[k]
        heads = cast(AttributeNet, self.accelerator.unwrap_model(reader.net)).heads
        chance = int(rng.integers(2**62))
        both = batch.changed(change), batch.face
        now, was = (view(faces, np.random.default_rng(chance)) for faces in both)  # alike to the noise
        with self.accelerator.autocast():
            judge = reader.frozen()
            said = judge(now)
            with torch.no_grad():
                before = judge(was)
        everybody, terms = torch.ones_like(batch.truth["gender"], dtype=torch.bool), {}
        for name in ATTRIBUTES:
            after, believed = (
                heads[name].probabilities(z[name].float() / _TEMPERATURE) for z in (said, before)
            )  # fmt: skip
            weight = _TEMPERATURE**2 * config.keep * config.weights[name] / config.reads
            terms[f"keep_{name}"] = weight * l_aim(after, believed, everybody)
        if i < config.adapt_from or not learns:
            return terms, {}
        return terms, self._teach(k, view(batch.face, rng), batch.truth)

    def _told(self, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Population B: who counts knows nothing; then all of them learn from this batch and earlier ones."""
        config = self.config
        truth, target = batch.truth["gender"], batch.targets.gender
        changed, terms, logits = batch.changed(change), {}, []
        for k, learner in enumerate(self.told):
            age = (i - config.fresh_every * k) % (config.fresh_every * len(self.told))
            if age == 0 and i > 0:
                told = cast(Told, self.accelerator.unwrap_model(learner.net))
                told.start_afresh(config.told[k], 1000 * config.seed + k + i)
                learner.optimizer.state.clear()
            if config.told_weight and i >= config.warm and age >= config.warm:
                with self.accelerator.autocast():
                    logits.append(learner.frozen()(view(changed, rng), target).float())
        if logits:
            terms["told"] = config.told_weight * l_told(torch.stack(logits), target >= 0)
        asked = (target >= 0).nonzero()[:, 0]
        self.replay.add(changed[asked], truth[asked], target[asked])
        old = [part.to(self.device) for part in self.replay.draw(len(batch.index), rng)]
        faces, truths, targets = (
            torch.cat([one, two])
            for one, two in zip((changed.detach()[asked], truth[asked], target[asked]), old, strict=True)
        )
        losses = []
        for learner in self.told:
            with self.accelerator.autocast():
                answer = learner.open()(view(faces, rng), targets).float()
            losses.append(learner.learn(F.binary_cross_entropy_with_logits(answer, truths.float())))
        return terms, {"told_readers": torch.stack(losses).mean()}

    def _match(self, k: int, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Matcher ``k``: near the same person with the target's gender; its linear readers know nothing."""
        config, turns = self.config, len(self.matchers)
        truth, target = batch.truth["gender"], batch.targets.gender
        seen = passing((batch.aligned + batch.back(change)).clamp(0, 1), rng)
        with self.accelerator.autocast():
            described = self.matchers[k](seen.contiguous(memory_format=torch.channels_last)).float()
        untouched = self.untouched[k][torch.from_numpy(batch.index)]
        aims = e_star(untouched, self.axes[k][batch.truth["race"]], target, truth, config.direct)
        squares = batch.reach.square()
        name = config.matchers[k]
        weight = turns * self.multipliers.weights[k]
        terms = {f"match_{name}": weight * l_match(described, aims, config.margin * squares)}
        distance = (1 - F.cosine_similarity(described.detach(), untouched)) / squares
        self.multipliers.update(k, float(distance.mean()))
        if config.linear_weight:
            if (i // turns) % _SOLVE_EVERY == 0:
                self._solve(k)
            for t, (w, b) in self.linear[k].items():
                term = l_told((described @ w + b)[None], target == t)
                terms[f"linear_{name}"] = terms.get(f"linear_{name}", 0.0) + turns * config.linear_weight * term
            asked = (target >= 0).nonzero()[:, 0]
            self.described[k].add(described[asked], truth[asked], target[asked])
        return terms, {f"apart_{name}": distance.mean(), f"weight_{name}": self.multipliers.weights[k]}

    def _apart(self, k: int, described: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """By how much what matcher ``k``, or a pupil of its, sees is too near to the person, and the mean cosine."""
        index = torch.from_numpy(batch.index)
        own, kind = self.untouched[k][index], self.kinds[k][index]
        cosine = F.cosine_similarity(described.detach(), own).mean()
        return l_apart(described, own, kind, self.config.limit), cosine

    def _escape(self, k: int, several: int, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Matcher ``k``, one of ``several`` that are heard, is to see somebody else."""
        seen = shot((batch.aligned + batch.back(change)).clamp(0, 1), rng)
        with self.accelerator.autocast():
            described = self.matchers[k](seen.contiguous(memory_format=torch.channels_last)).float()
        near, cosine = self._apart(k, described, batch)
        name = self.config.matchers[k]
        return {f"near_{name}": self.config.match / several * near}, {f"cosine_{name}": cosine}

    def _escape_pupil(
        self, k: int, several: int, batch: Batch, i: int, change: Tensor, rng: np.random.Generator
    ) -> Say:
        """Pupil ``k`` likewise; then it learns to see the person in changed faces as its matcher does in untouched."""
        pupil, of = self.pupils[k], self.config.matchers.index(self.config.pupils[k]["of"])
        seen = shot((batch.aligned + batch.back(change)).clamp(0, 1), rng).contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            described = pupil.frozen()(seen).float()
        near, cosine = self._apart(of, described, batch)
        own = self.untouched[of][torch.from_numpy(batch.index)]
        with self.accelerator.autocast():
            told = pupil.open()(torch.cat([shot(batch.aligned, rng), seen.detach()])).float()
        wrong = pupil.learn(1 - F.cosine_similarity(told, own.repeat(2, 1)).mean())
        return {f"near_pupil{k}": self.config.match / several * near}, {f"cosine_pupil{k}": cosine, f"pupil{k}": wrong}

    def _solve(self, k: int) -> None:
        """Matcher ``k``'s linear readers of the truth, one a target, from what it saw last."""
        kept, of = self.described[k].held()
        for t in (0, 1):
            mine = of[:, 1] == t
            if solved := linear_reader(kept[mine], of[mine, 0]):
                self.linear[k][t] = (solved[0].to(self.device), solved[1].to(self.device))

    def _judge(self, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """The critic: patches look untouched; then it learns."""
        changed = batch.changed(change)
        with self.accelerator.autocast():
            looks = self.critic.frozen()(changed).float()
        terms = {"looks": -self.config.critic * looks.mean()}
        with self.accelerator.autocast():
            real, made = self.critic.open()(torch.cat([batch.face, changed.detach()])).float().chunk(2)
        return terms, {"critic": self.critic.learn(hinge(real, made))}

    def _budgets(self, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Structure and colour."""
        config, changed = self.config, batch.changed(change)
        places = 1 - ssim_map(changed, batch.face)
        lost, squares = places.mean((1, 2)), batch.reach.square()
        paint = chroma(changed - batch.face) / batch.reach[:, None, None]
        terms = {
            "ssim": float(self.structure.weights[0]) * over(lost, config.ssim * squares),
            "blotch": config.blotch_weight * over(places, config.blotch * squares[:, None, None]),
            "chroma": config.chroma_weight * over(paint, config.chroma),
        }
        self.structure.update(0, float((lost.detach() / squares).mean()))
        return terms, {"seen_ssim": 1 - lost.mean()}

    # --- looking at it ---

    def evaluate(self, i: int) -> Mapping[str, float]:
        """Write the generator and the adversaries as they are, and read validation faces."""
        best = cast(Masker, self.averaged.module)
        folder = self.folder
        if self.accelerator.is_main_process:
            best.save(folder / "halfmask.safetensors")
            for name in (f"steps/{i}", "adapters", "told", "pupils"):
                (folder / name).mkdir(parents=True, exist_ok=True)
            export_masker(Masker.load(folder / "halfmask.safetensors"), folder / f"steps/{i}/halfmask.onnx")
            for k, learner in enumerate(self.readers):
                reader = cast(AttributeNet, self.accelerator.unwrap_model(learner.net))
                reader.save(folder / f"adapters/{k}.safetensors")
            for k, learner in enumerate(self.told):
                torch.save(self.accelerator.unwrap_model(learner.net).state_dict(), folder / f"told/{k}.pt")
            for k, learner in enumerate(self.pupils):
                torch.save(self.accelerator.unwrap_model(learner.net).state_dict(), folder / f"pupils/{k}.pt")
            cv2.imwrite(str(folder / "strip.png"), preview(best, self.valid, strength=self.config.watch_at))
        index = np.unique(np.linspace(0, len(self.valid) - 1, self.config.watch).round().astype(np.int64))
        readers = [cast(AttributeNet, learner.frozen()) for learner in self.readers]
        look = kept if self.hiding else measure
        return look(best, readers, self.watchers, self.matchers, self.valid, index, self.config)

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


def _learner(net: torch.nn.Module, lr: float, betas: tuple[float, float] = (0.9, 0.999)) -> Learner:
    net.requires_grad_(True)
    return Learner(net, torch.optim.Adam(net.parameters(), lr, betas=betas, fused=True))


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
