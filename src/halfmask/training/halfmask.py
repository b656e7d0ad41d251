"""Train halfmask's own method: a generator against readers that keep adapting (docs/method.md).

Every step changes a batch of faces, asks everybody who has a say what the change does to them, and moves the generator
along the sum of the answers (:mod:`~halfmask.training.stage`). There are two kinds of generator, told apart by
``identity``:

- ``keep``: attributes are hidden, and who is shown is kept (:mod:`~halfmask.training.hide_attributes`);
- ``hide``: who is shown is hidden, and gender, age and race are kept (:mod:`~halfmask.training.hide_identity`,
  docs/deidentify.md).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelerate import PartialState

from ..errors import UsageError
from ..networks.halfmask import Masker
from .config import stages_of
from .export import export_masker
from .hide_attributes import HideAttributes
from .hide_identity import HideIdentity
from .stage import Stage

#: What ``identity`` may be, and what a stage is then.
KINDS: dict[str, type[Stage]] = {"keep": HideAttributes, "hide": HideIdentity}


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
            KINDS[stage.identity](stage, home, before, folder / "untouched").train(resume)
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
    if any(stage.identity not in KINDS for stage in stages):
        raise UsageError(
            f"identity is {', '.join({stage.identity for stage in stages})}; expected {' or '.join(KINDS)}"
        )
    for stage in stages:
        names = [f"adapter{k}" for k in range(len(stage.adapters))] + [Path(path).stem for path in stage.watchers]
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise UsageError(
                f"the log would have two columns of the name {', '.join(twice)}; copy one of the watchers' files to "
                "another name, and name that"
            )
    return stages
