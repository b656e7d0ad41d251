"""Train a network that reads gender, age, race or several of them: any backbone, any heads, any of the data sets.

Ages are ranks: one a year (``years: [21, 60]``, as in the CORAL papers) or one a group (``groups: [0, 3, 10, ...]``,
the lowest year of each, for data sets that give ranges). A face whose label is unknown, or lies outside the ranks,
teaches the other heads only.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..errors import DataError, UsageError
from ..losses import importance_weights
from ..networks.attribute import AttributeNet
from ..networks.backbones import BACKBONES
from ..networks.heads import HEADS, Head
from ..networks.readings import Reading, reading
from ..photos.align import CROP
from ..storage import save_arrays, whole
from .data import Faces, ahead, augment, open_faces, to_tensor
from .export import export_attribute
from .loop import batch_indices, channels_last, fit, make_accelerator, share, start_run, synced, update


@dataclass
class AttributeConfig:
    """What can be set.

    ``train``, ``valid`` and ``test`` are lists of sources, ``{layout, root, splits}`` and more, see
    :func:`~halfmask.training.sources.source_table`. ``heads`` maps ``gender``, ``age`` or
    ``race`` to ``{kind, ...}``: kinds are ``binary``, ``categorical`` (CE), ``or``, ``coral``, ``corn``; an age head
    has ``years: [first, last]`` or ``groups: [lowest year of each]``, a race head ``classes``, each with the data sets'
    words for it: ``{Asian: [East Asian, Southeast Asian]}``; ``weight`` is the head's in the sum of losses;
    ``prior: true`` starts the head at the training labels' frequencies (:func:`start_at_prior`), which CORAL needs in
    short runs.
    ``size`` is the side that the network sees and ``cut`` how many of the template's 224 pixels lie in it.
    ``importance`` weighs the ordinal tasks by the papers' formula. ``keep`` says whose network is written: ``last``, or
    the ``best`` epoch on the validation set by the first head's own figure: MAE of an age, balanced accuracy of others.
    ``schedule`` of the learning rate is one ``cycle`` of a cosine, or ``constant`` as in the CORAL papers, whose Adam
    is AdamW with a ``weight_decay`` of 0.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    heads: dict[str, dict[str, Any]]
    test: list[dict[str, Any]] = field(default_factory=list)
    backbone: str = "fastcnn"
    size: int = 112
    cut: int = CROP
    importance: bool = False
    epochs: int = 20
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 1e-2
    augment: dict[str, Any] = field(default_factory=dict)
    keep: Literal["best", "last"] = "last"
    precision: str = "bf16"
    seed: int = 1
    schedule: Literal["cycle", "constant"] = "cycle"


def train_attribute(config: AttributeConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, log to ``folder``; returns the path of ``attribute.safetensors``.

    Beside it: ``attribute.onnx``; with test sets also ``test.json``, the figures on them, and ``test.npz``, the
    answers: ``keys``, and of each head ``logits/HEAD`` and ``rank/HEAD``, the true ones.

    Raises :class:`~halfmask.errors.UsageError` for a config that makes no sense, and
    :class:`~halfmask.errors.DataError` when the data lack what it wants, before any training.
    """
    _check(config)
    readings = {name: reading(name, about) for name, about in config.heads.items()}
    known = lambda row: any(r.rank(row) >= 0 for r in readings.values())  # noqa: E731
    side = round(config.size * CROP / config.cut)  # the whole template's, so that the cut has the network's resolution
    train, valid = open_faces(config.train, known, size=side), open_faces(config.valid, known, size=side)
    test = open_faces(config.test, known, size=side) if config.test else None
    _check_labels(config, readings, train, valid)
    accelerator = make_accelerator(config.precision, config.seed)
    start_run(folder, config)
    backbone = BACKBONES[_known(config.backbone, BACKBONES, "backbone")](size=config.size, cut=config.cut)
    heads = {n: _head(about, readings[n].words, backbone.out_features) for n, about in config.heads.items()}
    net = synced(accelerator, channels_last(AttributeNet(backbone, heads)))
    weights = {name: float(about.get("weight", 1.0)) for name, about in config.heads.items()}
    labels = {name: torch.tensor([r.rank(row) for row in train.rows]) for name, r in readings.items()}
    device = accelerator.device
    for name, about in config.heads.items():
        if about.get("prior"):
            start_at_prior(heads[name], labels[name])
    importance = {
        name: importance_weights(ranks[ranks >= 0], len(readings[name].words)).to(device)
        for name, ranks in labels.items()
        if config.importance and heads[name].kind in ("or", "coral", "corn")
    }
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    every = len(train) // config.batch
    steps = config.epochs * every
    schedule: torch.optim.lr_scheduler.LRScheduler
    if config.schedule == "constant":
        schedule = torch.optim.lr_scheduler.ConstantLR(optimizer, factor=1.0)
    else:
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps + 1, pct_start=0.15)
    net, optimizer, schedule = accelerator.prepare(net, optimizer, schedule)

    def drawn(i: int) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        chosen = batch_indices(config.seed, i, len(train), config.batch)
        return chosen, augment(train.pixels(chosen), np.random.default_rng([config.seed, i]), **config.augment)

    batch = ahead(drawn, steps)

    def step(i: int) -> Mapping[str, Tensor]:
        net.train()
        chosen, pixels = batch(i)
        mine = share(accelerator, len(chosen))
        with accelerator.autocast():
            logits = net(to_tensor(pixels[mine]).to(device))
        parts = {
            name: heads[name].loss(logits[name].float(), labels[name][chosen][mine].to(device), importance.get(name))
            * _weight_of_share(labels[name][chosen], mine)
            for name in heads
        }
        total = torch.stack([weights[name] * loss for name, loss in parts.items()]).sum()
        update(accelerator, total, optimizer, schedule)
        return {"loss": total.detach()} | {f"loss_{name}": loss.detach() for name, loss in parts.items()}

    best, mark = folder / "best.safetensors", folder / "best.json"
    if not resume or not any(folder.glob("checkpoint*")):  # of a run that is not gone on with
        mark.unlink(missing_ok=True)

    def evaluate(i: int) -> Mapping[str, float]:
        trained = accelerator.unwrap_model(net)
        figures = score(trained, answers(trained, valid, precision=config.precision), valid, readings)
        first = next(iter(heads))
        value = -figures[f"{first}_mae"] if f"{first}_mae" in figures else figures.get(f"{first}_balanced", float(i))
        old = json.loads(mark.read_text("utf-8")) if mark.is_file() else None
        # a resumed run must not take an epoch that it is about to repeat for its best
        if old is None or old["step"] >= i or value > old["value"]:
            trained.save(best)
            with whole(mark) as fresh:
                fresh.write_text(json.dumps({"step": i, "value": value}), "utf-8")
        return {f"valid_{name}": figure for name, figure in figures.items()}

    fit(folder, accelerator, steps, step, evaluate=evaluate, evaluate_every=every, resume=resume, desc="attributes")
    path = folder / "attribute.safetensors"
    if not accelerator.is_main_process:
        return path
    if config.keep == "best":
        AttributeNet.load(best).save(path)
    else:
        accelerator.unwrap_model(net).save(path)
    # read back: Accelerate leaves its autocast in the network that it prepared, and that would be exported with it
    trained = AttributeNet.load(path)
    export_attribute(trained, folder / "attribute.onnx")
    if test is not None:
        logits = answers(trained.to(device), test, precision=config.precision)
        columns = {f"logits/{name}": values for name, values in logits.items()}
        ranks = {f"rank/{n}": np.array([r.rank(row) for row in test.rows]) for n, r in readings.items()}
        everything: dict[str, Any] = {"keys": np.array([row.key for row in test.rows]), **columns, **ranks}
        save_arrays(folder / "test.npz", everything)
        with whole(folder / "test.json") as fresh:  # last: whoever finds it finds the rest
            fresh.write_text(json.dumps(score(trained, logits, test, readings), indent=1), "utf-8")
    return path


@torch.no_grad()
def start_at_prior(head: Head, labels: Tensor) -> None:
    """Set a head's biases so that features of 0 get the labels' frequencies, each class counted once more.

    ``labels`` (N,) are ranks, -1 where unknown. A bias moves by about the learning rate a step: CORAL's, which start at
    0 in the paper and alone set its thresholds apart, do not arrive within a thousand steps.

    >>> head = HEADS["coral"](8, 3)
    >>> start_at_prior(head, torch.tensor([0, 0, 0, 1, 2, -1]))
    >>> head.probabilities(head(torch.zeros(1, 8))).mul(8).round(decimals=4).tolist()
    [[4.0, 2.0, 2.0]]
    """
    counts = torch.bincount(labels[labels >= 0], minlength=head.classes).double() + 1
    reached = counts.flip(0).cumsum(0).flip(0)  # of each rank, how many lie there or above
    if head.kind == "categorical":
        bias = counts.log()
    elif head.kind == "corn":
        bias = (reached[1:] / counts[:-1]).log()  # above k against at k, among those at k and above
    else:
        bias = (reached[1:] / (reached[0] - reached[1:])).log()
    head.get_parameter("bias" if head.kind == "coral" else "linear.bias").copy_(bias)


@torch.no_grad()
def answers(
    net: AttributeNet, faces: Faces, batch: int = 128, *, precision: str = "bf16"
) -> dict[str, NDArray[np.float32]]:
    """Logits by head, (N, ...), of each face: the mean of the face's and its mirror image's."""
    net.eval()
    device = next(net.parameters()).device
    logits: dict[str, list[Tensor]] = {name: [] for name in net.heads}
    for start in range(0, len(faces), batch):
        x = faces.take(np.arange(start, min(start + batch, len(faces)))).to(device)
        with torch.autocast(device.type, torch.bfloat16, enabled=precision == "bf16"):
            one, two = net(x), net(x.flip(3))
        for name in logits:
            logits[name].append((one[name].float() + two[name].float()).cpu() / 2)
    return {name: torch.cat(parts).numpy() for name, parts in logits.items()}


def score(
    net: AttributeNet, outputs: Mapping[str, NDArray[np.float32]], faces: Faces, readings: Mapping[str, Reading]
) -> dict[str, float]:
    """Figures on faces with labels, by ``HEAD_FIGURE``; a head without a labelled face has none.

    Of an age: MAE and RMSE in ranks (years, or groups). Of the others: accuracy and balanced accuracy.
    """
    figures: dict[str, float] = {}
    for name, logits in outputs.items():
        true = np.array([readings[name].rank(row) for row in faces.rows])
        labelled = true >= 0
        if not labelled.any():
            continue
        guess = net.heads[name].predict(torch.from_numpy(logits)).numpy()[labelled]
        true = true[labelled]
        if readings[name].years is not None:
            figures[f"{name}_mae"] = float(np.abs(guess - true).mean())
            figures[f"{name}_rmse"] = float(np.sqrt(np.square(guess - true).mean()))
        else:
            figures[f"{name}_accuracy"] = float((guess == true).mean())
            recalls = [(guess[true == k] == k).mean() for k in np.unique(true)]
            figures[f"{name}_balanced"] = float(np.mean(recalls))
    return figures


#: Keys of a head that are not the head's own.
_OURS = ("kind", "years", "groups", "classes", "weight", "prior")


def _head(about: Mapping[str, Any], words: Sequence[str], features: int) -> Head:
    options = {k: v for k, v in about.items() if k not in _OURS}
    kind = HEADS[_known(str(about.get("kind")), HEADS, "kind of head")]
    try:
        return kind(features, tuple(words), **options)
    except TypeError as error:
        raise UsageError(f"a {about.get('kind')} head does not take {sorted(options)}: {error}") from error


def _check(config: AttributeConfig) -> None:
    if not isinstance(config.heads, Mapping) or not config.heads:
        raise UsageError(f"heads is {config.heads!r}, expected gender, age or race, each with its kind")
    for name in ("epochs", "batch", "size", "cut"):
        value = getattr(config, name)
        if type(value) is not int or value < 1:
            raise UsageError(f"{name} is {value!r}, expected a whole number above 0")
    for name, least in (("lr", "above 0"), ("weight_decay", "0 or above")):
        value = getattr(config, name)
        # YAML takes 2e-3 for a word, because it lacks the point
        if type(value) not in (int, float) or value < 0 or (least == "above 0" and not value):
            raise UsageError(f"{name} is {value!r}, expected a number {least}, written as 0.002 or 2.0e-3")
    words = {"keep": ("best", "last"), "schedule": ("cycle", "constant"), "precision": ("bf16", "no")}
    for name, allowed in words.items():
        if getattr(config, name) not in allowed:  # an unquoted no is YAML's word for false
            raise UsageError(
                f"{name} is {getattr(config, name)!r}, expected {allowed[0]!r} or {allowed[1]!r}, in quotes"
            )


def _check_labels(config: AttributeConfig, readings: Mapping[str, Reading], train: Faces, valid: Faces) -> None:
    if config.batch > len(train):
        raise UsageError(f"a batch of {config.batch} is larger than the {len(train)} faces there are; lower 'batch'")
    for name, r in readings.items():
        seen = {r.rank(row) for row in train.rows} - {-1}
        # of some years there may be nobody; a gender or a race without a face is a word that the data do not use
        lacking = [word for k, word in enumerate(r.words) if k not in seen] if r.years is None else []
        if not seen or lacking:
            words = sorted({row.race for row in train.rows if row.race}) if name == "race" else []
            raise DataError(
                f"no face to train on is labelled {' or '.join(lacking) or name}, which the head {name} is to learn"
                + (f"; the data's words are {', '.join(words)}" if words else "")
            )
    first = next(iter(readings))
    if config.keep == "best" and all(readings[first].rank(row) < 0 for row in valid.rows):
        raise DataError(f"keep: best chooses by the head {first}, of which no validation face has a label; keep: last")


def _known(name: str, table: Mapping[str, Any], what: str) -> str:
    if name not in table:
        raise UsageError(f"{what} {name!r} is unknown; known: {', '.join(sorted(table))}")
    return name


def _weight_of_share(labels: Tensor, mine: slice) -> float:
    """What a mean over the known labels of a share counts, so that the mean of all shares is that of the batch."""
    known = labels >= 0
    shares = len(labels) / (mine.stop - mine.start)
    return float(float(known[mine].sum()) * shares / max(1.0, float(known.sum())))
