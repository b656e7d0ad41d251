"""How SANs learn, one or several: what the recipes san, ensemble and flowsan share.

Stage 1 teaches the autoencoder to give the face back from face and same-gender prototype (J_D on SM). Stage 2 freezes
an auxiliary gender classifier and an auxiliary matcher and minimises lambda_G J_G + lambda_M J_M. What the authors'
released code does otherwise (an L1 term throughout, the matching term on the mean descriptor of SM and OP and only
later, no separate stage 1) is a named key of the config, as is what we add (``transforms``).

Prototypes are the mean crops of the training set. All crops share one template, so they are aligned to every face.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..errors import UsageError
from ..losses import j_d, j_g, j_m
from ..networks.classifiers import load_classifier
from ..networks.gendercnn import to_gray
from ..networks.matchers import load_matcher
from ..networks.san import SAN, load_san
from ..networks.state import write_weights
from ..photos.align import CROP
from ..photos.paste import mask
from .data import Faces, gray_pixels, open_faces, to_tensor
from .export import export_san
from .loop import batch_indices, channels_last, fit, make_accelerator, share, start_run, synced
from .prototypes import Prototypes, mean_faces
from .resample import oversampled


@dataclass
class SanConfig:
    """What can be set; ``train`` and ``valid`` are lists of ``{layout, root, splits}``.

    ``gender_classifier`` is a file or a name, see :func:`~halfmask.networks.classifiers.load_classifier`.
    ``match_on`` is ``sm`` (paper), ``mean`` (authors' code: mean descriptor of SM and OP) or ``op`` (ours: the output
    that people use). ``lambda_d`` weighs a reconstruction term on SM in stage 2 (paper: 0; authors' code: 1 with
    ``stage2_reconstruction: l1``). ``matcher_normalize: false`` keeps a descriptor's length (paper).
    ``match_from`` is the step of stage 2 from which J_M counts (authors' code: after 5 epochs).

    ``male_share`` is alpha_M of the neutral prototype, by default that of the training set (paper: 0.414). ``schedule``
    of both stages' learning rate is a falling ``cosine``, or ``constant``. ``pretrain_optimizer`` is ``adam``, or
    ``adadelta`` (the report by Marino and Pepe). ``pretrain_epochs`` and ``epochs`` say in epochs what
    ``pretrain_steps`` and ``steps`` say in steps, and win; ``pretrain_batch`` is stage 1's, by default ``batch``.
    ``samples`` draws so many faces for stage 2 (the report: 10,000). ``seconds`` ends stage 2 after so many, if its
    steps are not done by then: for networks that are to have the same time.

    ``matcher`` is one of :func:`~halfmask.networks.matchers.load_matcher`, or several joined by ``+``: J_M is then
    their mean.

    ``oversample`` has rules of :func:`~halfmask.training.resample.oversampled`. ``prototypes: groups`` takes those of
    young and old, white and black faces (Ensemble SAN), and the gender's where a face's age or race is not known or
    another. ``gender_on: op`` leaves J_G's term on SM out. ``start`` names the weights of a SAN to begin with, also of
    the checkpoint of a ``pretrain`` folder; they were trained with the same ``slope``.

    Four keys are ours. ``masked`` fades the change out toward the crop's edge before any network sees it, as it is when
    the face is put back into its photo. ``transforms`` puts random shifts, low resolution and noise before the gender
    classifier, which keeps the change from living in pixels that only that classifier reads. ``prototype_init`` starts
    the combiner's three prototype weights at that value, also those of ``start``: SM and OP differ by these alone, and
    Adam moves a weight by about the learning rate a step, so that short runs otherwise never reach the size that
    400,000 steps of the authors' did. ``reach`` does nothing in training: it goes out with the prototypes, and 1.6
    makes OP step 1.6 times as far from the same-gender prototype as the opposite one lies.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    gender_classifier: str
    prototypes: Literal["gender", "groups"] = "gender"
    oversample: list[dict[str, Any]] = field(default_factory=list)
    start: str | None = None
    matcher: str = "sface"
    matcher_weights: str | None = None
    matcher_normalize: bool = True
    prototype_init: float | None = None
    reach: float = 1.0
    male_share: float | None = None
    pretrain_steps: int = 600
    pretrain_epochs: int | None = None
    pretrain_batch: int | None = None
    pretrain_optimizer: Literal["adam", "adadelta"] = "adam"
    pretrain_loss: Literal["cross_entropy", "mse"] = "cross_entropy"
    pretrain_lr: float = 2e-3
    steps: int = 3000
    epochs: int | None = None
    seconds: float | None = None
    samples: int | None = None
    batch: int = 16
    lr: float = 5e-4
    schedule: Literal["cosine", "constant"] = "cosine"
    lambda_g: float = 1.0
    lambda_m: float = 1.0
    lambda_d: float = 0.0
    stage2_reconstruction: Literal["l1", "cross_entropy", "mse"] = "l1"
    gender_on: Literal["both", "op"] = "both"
    match_on: Literal["sm", "op", "mean"] = "sm"
    match_from: int = 0
    flip: bool = True
    flip_prototypes: bool = True
    masked: bool = False
    transforms: bool = False
    slope: float = 0.01
    preview: int = 8
    evaluate_every: int = 500
    evaluate_faces: int = 128
    precision: str = "bf16"
    seed: int = 1


def random_view(faces: Tensor, generator: torch.Generator) -> Tensor:
    """A random shift (up to 6 px), low resolution (full, half or a quarter) and noise, the same for the whole batch.

    ``generator`` is one of the faces' device.
    """
    dx, dy, level = torch.randint(0, 13, (3,), generator=generator, device=generator.device).tolist()
    out = F.pad(faces, (6, 6, 6, 6), mode="replicate")[:, :, dy : dy + faces.shape[2], dx : dx + faces.shape[3]]
    factor = (1, 2, 4)[level % 3]
    if factor > 1:
        out = F.interpolate(F.avg_pool2d(out, factor), scale_factor=factor, mode="bilinear")
    return out + 0.02 * torch.randn(out.shape, generator=generator, device=generator.device)


#: What SANs that are trained together have in common: they see one set of faces and share their prototypes.
_SHARED = ("train", "valid", "reach", "male_share")

#: What a SAN is shown instead of the gray faces (N, 1, H, W), given their gender and prototype group, (N,) each.
Before = Callable[[Tensor, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Material:
    """What SANs are trained on, opened once; ``before`` changes each face first, as a FlowSAN's earlier SANs do.

    The matcher then compares with the face before that change, J_D with the face after it.
    """

    train: Faces
    valid: Faces
    prototypes: Prototypes
    before: Before | None = None


def open_material(config: SanConfig, *, groups: bool | None = None) -> Material:
    """The faces of a config and their prototypes, those of groups if ``groups`` (by default: if the config says so)."""
    known = lambda row: row.gender is not None  # noqa: E731
    train, valid = open_faces(config.train, known), open_faces(config.valid, known)
    prototypes = mean_faces(train, groups=config.prototypes == "groups" if groups is None else groups)
    if config.male_share is not None:
        prototypes = replace(prototypes, male_share=config.male_share)
    return Material(train, valid, prototypes)


def train_one(config: SanConfig, folder: Path, material: Material, *, resume: bool = True) -> Path:
    """Both stages, in ``folder/pretrain`` and ``folder``; returns the path of ``san.safetensors``.

    Beside it: ``san.onnx``, ``san.npz`` (the prototypes), ``strip.png`` (the same faces while
    training: original, SM, NT, OP) and ``losses.png``.
    """
    start_run(folder, config)
    if config.prototypes == "gender":
        material = replace(material, prototypes=replace(material.prototypes, groups=None))
    material.prototypes.save(folder / "san.npz", config.reach)
    torch.manual_seed(config.seed)
    net = SAN(config.slope)
    meant = torch.zeros(3)  # a new network's prototype weights are noise
    if config.start is not None:
        net = load_san(Path(config.start))
        meant = net.combine.weight[0, 128:, 0, 0].detach().clone()
    if config.prototype_init is not None:
        assert net.combine.bias is not None
        with torch.no_grad():
            # the neutral prototype goes on adding, on average, what it was meant to add
            change = (config.prototype_init - meant) * material.prototypes.neutral().mean((1, 2))
            net.combine.bias -= change.sum()
            net.combine.weight[:, 128:] = config.prototype_init
    if config.pretrain_steps or config.pretrain_epochs:
        _stage(config, net, material, folder / "pretrain", stage=1, resume=resume)
    _stage(config, net, material, folder, stage=2, resume=resume)
    path = folder / "san.safetensors"
    net.cpu()
    write_weights(path, {k: v.float() for k, v in net.state_dict().items()}, {"slope": str(config.slope)})
    export_san(net, folder / "san.onnx")
    return path


def san_configs(shared: dict[str, Any], own: list[dict[str, Any]], what: str) -> list[SanConfig]:
    """One config for each of several SANs that are trained together: the shared keys and its own.

    Raises :class:`~halfmask.errors.UsageError` that names the one with an unknown or a missing key.
    """
    if not own:
        raise UsageError(f"{what} is empty; expected at least one, with its gender_classifier")
    known = {f.name for f in fields(SanConfig)}
    made = []
    for number, mine in enumerate(own, 1):
        if unknown := sorted((set(shared) | set(mine)) - known):
            raise UsageError(f"number {number} of {what} has unknown keys: {', '.join(unknown)}; see SanConfig")
        if twice := sorted(set(mine) & set(_SHARED)):
            raise UsageError(f"number {number} of {what} has {', '.join(twice)} of its own; give it under 'san'")
        try:
            made.append(SanConfig(**(shared | mine)))
        except TypeError as error:
            raise UsageError(f"number {number} of {what} is not complete: {error}") from error
    return made


def save_prototypes(prototypes: Prototypes, sans: list[SanConfig], path: Path) -> Path:
    """Write the prototypes that several SANs share, and which of them takes those of groups."""
    prototypes.save(path, sans[0].reach, [san.prototypes == "groups" for san in sans])
    return path


def _stage(config: SanConfig, net: SAN, material: Material, folder: Path, *, stage: int, resume: bool) -> None:
    train, prototypes = material.train, material.prototypes
    folder.mkdir(parents=True, exist_ok=True)
    accelerator = make_accelerator(config.precision, config.seed + stage)
    device = accelerator.device
    lr, size = (config.pretrain_lr, config.pretrain_batch or config.batch) if stage == 1 else (config.lr, config.batch)
    synced(accelerator, channels_last(net, device))
    epoch = oversampled(train.rows, config.oversample)
    if stage == 2 and config.samples is not None and config.samples < len(epoch):
        epoch = np.random.default_rng([config.seed, stage]).permutation(epoch)[: config.samples]
    steps = stage_steps(config, stage, len(epoch) // size)
    optimizer: torch.optim.Optimizer
    if stage == 1 and config.pretrain_optimizer == "adadelta":
        optimizer = torch.optim.Adadelta(net.parameters(), lr)
    else:
        optimizer = torch.optim.Adam(net.parameters(), lr)
    schedule: torch.optim.lr_scheduler.LRScheduler
    if config.schedule == "constant":
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    else:
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps, eta_min=lr / 20)
    wrapped, optimizer, schedule = accelerator.prepare(net, optimizer, schedule)
    means = prototypes.by_group().to(device)
    labels = torch.from_numpy(train.labels("gender")).to(device)
    groups = torch.from_numpy(prototypes.group_labels(train)).to(device)
    oval = torch.from_numpy(mask(CROP).copy()).to(device) if config.masked else torch.ones((), device=device)
    classifier = matcher = None
    if stage == 2:
        classifier = channels_last(load_classifier(config.gender_classifier), device)
        matcher = channels_last(load_matcher(config.matcher, config.matcher_weights, config.matcher_normalize), device)

    def batch(i: int) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Faces as they were, faces as the network is shown them, gender, same-gender and opposite prototypes."""
        chosen = epoch[batch_indices(config.seed + stage, i, len(epoch), size)]
        chosen = chosen[share(accelerator, len(chosen))]
        whole = to_tensor(gray_pixels(train.pixels(chosen))).to(device)
        gender, group = labels[chosen], groups[chosen]
        same, opposite = means[group, gender], means[group, 1 - gender]
        face = whole
        if material.before is not None:
            with torch.no_grad(), accelerator.autocast():
                face = material.before(whole, gender, group).float()
        if config.flip and np.random.default_rng([config.seed, stage, i]).random() < 0.5:
            whole, face = whole.flip(3), face.flip(3)
            if config.flip_prototypes:
                same, opposite = same.flip(3), opposite.flip(3)
        return whole, face, gender, same, opposite

    def step1(i: int) -> Mapping[str, Tensor]:
        _, face, _, same, _ = batch(i)
        with accelerator.autocast():
            (sm,) = wrapped(face, same, [same])
        return _update({"J_D": (1.0, j_d(sm.float(), face, config.pretrain_loss))})

    def step2(i: int) -> Mapping[str, Tensor]:
        assert classifier is not None
        assert matcher is not None
        whole, face, gender, same, opposite = batch(i)
        generator = torch.Generator(device).manual_seed(
            (config.seed + 7919 * accelerator.process_index) * 1_000_003 + i
        )
        with accelerator.autocast():
            sm, op = wrapped(face, same, [same, opposite])
            sm, op = (face + oval * (out - face) for out in (sm.float(), op.float()))
            both = torch.cat([sm, op])
            judged = both if config.gender_on == "both" else op
            logits = classifier(random_view(judged, generator) if config.transforms else judged).float()
        on_sm, on_op = logits[: len(gender)], logits[-len(gender) :]
        wrong = j_g(on_sm, on_op, gender) if config.gender_on == "both" else F.cross_entropy(on_op, 1 - gender)
        terms = {"J_G": (config.lambda_g, wrong)}
        if i >= config.match_from and config.lambda_m:
            with torch.no_grad(), accelerator.autocast():
                wanted = matcher(whole.expand(-1, 3, -1, -1)).float()
            with accelerator.autocast():
                shown = {"mean": both, "sm": sm, "op": op}[config.match_on]
                described = matcher(shown.expand(-1, 3, -1, -1)).float()
            if config.match_on == "mean":
                described = torch.stack(described.chunk(2)).mean(0)
            terms["J_M"] = (config.lambda_m, j_m(described, wanted))
        if config.lambda_d:
            kind = config.stage2_reconstruction
            loss = F.l1_loss(sm.float(), face) if kind == "l1" else j_d(sm.float(), face, kind)
            terms["J_D"] = (config.lambda_d, loss)
        return _update(terms)

    def _update(terms: dict[str, tuple[float, Tensor]]) -> Mapping[str, Tensor]:
        total = torch.stack([weight * loss for weight, loss in terms.values()]).sum()
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(total)
        optimizer.step()
        schedule.step()
        return {"loss": total.detach()} | {name: loss.detach() for name, (_, loss) in terms.items()}

    def evaluate(i: int) -> Mapping[str, float]:
        if accelerator.is_main_process:
            strip = preview(net, material, config.preview)
            cv2.imwrite(str(folder / "strip.png"), strip)
        return measure(net, material, classifier, matcher, most=config.evaluate_faces)

    fit(
        folder,
        accelerator,
        steps,
        step1 if stage == 1 else step2,
        evaluate=evaluate,
        evaluate_every=config.evaluate_every,
        checkpoint_every=250,
        resume=resume,
        desc=f"{folder.name}, stage {stage}",
        seconds=config.seconds if stage == 2 else None,
    )


def stage_steps(config: SanConfig, stage: int, a_epoch: int) -> int:
    """How many steps a stage takes, of ``a_epoch`` an epoch: its epochs, where the config gives them.

    >>> stage_steps(SanConfig([], [], "", pretrain_epochs=3, steps=7), 1, 10)
    30
    >>> stage_steps(SanConfig([], [], "", pretrain_epochs=3, steps=7), 2, 10)
    7
    """
    steps, epochs = (config.pretrain_steps, config.pretrain_epochs) if stage == 1 else (config.steps, config.epochs)
    return steps if epochs is None else epochs * a_epoch


@torch.no_grad()
def outputs(net: SAN, material: Material, index: NDArray[np.integer]) -> tuple[Tensor, ...]:
    """Of validation faces: the gray face and its SM, NT and OP outputs, (N, 1, 224, 224) each."""
    device = next(net.parameters()).device
    faces, prototypes = material.valid, material.prototypes
    whole = faces.take(index, gray=True).to(device)
    gender = torch.from_numpy(faces.labels("gender")[index]).to(device)
    group = torch.from_numpy(prototypes.group_labels(faces)[index]).to(device)
    means = prototypes.by_group().to(device)
    neutral = prototypes.neutral().to(device).expand(len(index), -1, -1, -1)
    face = material.before(whole, gender, group).float() if material.before is not None else whole
    return whole, *net(face, means[group, gender], [means[group, gender], neutral, means[group, 1 - gender]])


def preview(net: SAN, material: Material, count: int) -> NDArray[np.uint8]:
    """The first ``count`` faces of each gender in turn, one column each: original, SM, NT, OP from the top."""
    labels = material.valid.labels("gender")
    both = [np.flatnonzero(labels == g)[: (count + 1) // 2] for g in (0, 1)]
    index = np.concatenate(both)[:count]
    rows = [torch.cat(list(x[:, 0]), 1) for x in outputs(net, material, index)]
    return (torch.cat(rows).clamp(0, 1) * 255).round().byte().cpu().numpy()


@torch.no_grad()
def measure(
    net: SAN,
    material: Material,
    classifier: torch.nn.Module | None,
    matcher: torch.nn.Module | None,
    *,
    most: int = 128,
    batch: int = 32,
) -> dict[str, float]:
    """Figures to watch while training, on validation people, by the *auxiliary* networks: no result, a progress report.

    L1 to the face, gender error and cosine to the face's descriptor, for each output.
    """
    sums: dict[str, list[float]] = {}
    index = np.random.default_rng(0).permutation(len(material.valid))[:most]
    gender = material.valid.labels("gender")
    for start in range(0, len(index), batch):
        part = index[start : start + batch]
        with torch.autocast(next(net.parameters()).device.type, torch.bfloat16):
            face, *made = outputs(net, material, part)
        made = [out.float() for out in made]
        truth = torch.from_numpy(gender[part]).to(face.device)
        wanted = matcher(face.expand(-1, 3, -1, -1)) if matcher else None
        for name, out in zip(("sm", "nt", "op"), made, strict=True):
            sums.setdefault(f"l1_{name}", []).extend((out - face).abs().mean((1, 2, 3)).tolist())
            if classifier is not None:
                wrong = classifier(to_gray(out)).argmax(1) != truth
                sums.setdefault(f"error_{name}", []).extend(wrong.float().tolist())
            if matcher is not None and wanted is not None:
                cosine = F.cosine_similarity(matcher(out.expand(-1, 3, -1, -1)), wanted)
                sums.setdefault(f"cosine_{name}", []).extend(cosine.tolist())
    return {k: float(np.mean(v)) for k, v in sums.items()}
