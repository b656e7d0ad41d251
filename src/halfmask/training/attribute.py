"""Train a network that reads gender, age, race or several of them: any backbone, any heads, any of the data sets.

Ages are ranks: one a year (``years: [21, 60]``, as in the CORAL papers) or one a group (``groups: [0, 3, 10, ...]``,
the lowest year of each, for data sets that give ranges). A face whose label is unknown, or lies outside the ranks,
teaches the other heads only.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..datasets.table import Row
from ..errors import UsageError
from ..losses import importance_weights
from ..networks.attribute import AttributeNet
from ..networks.backbones import BACKBONES
from ..networks.heads import HEADS, Head
from .data import Faces, augment, open_faces, to_tensor
from .export import export_attribute
from .loop import batch_indices, channels_last, fit, make_accelerator, start_run


@dataclass
class AttributeConfig:
    """What can be set.

    ``train``, ``valid`` and ``test`` are lists of ``{layout, root, splits}``. ``heads`` maps ``gender``, ``age`` or
    ``race`` to ``{kind, ...}``: kinds are ``binary``, ``categorical`` (CE), ``or``, ``coral``, ``corn``; an age head
    has ``years: [first, last]`` or ``groups: [lowest year of each]``, a race head ``classes``, each with the data sets'
    words for it: ``{Asian: [East Asian, Southeast Asian]}``; ``weight`` is the head's in the sum of losses.
    ``importance`` weighs the ordinal tasks by the papers' formula. ``keep`` says whose network is written: ``last``, or
    the ``best`` epoch on the validation set by the first head's own figure.
    """

    train: list[dict[str, Any]]
    valid: list[dict[str, Any]]
    heads: dict[str, dict[str, Any]]
    test: list[dict[str, Any]] = field(default_factory=list)
    backbone: str = "fastcnn"
    size: int = 112
    importance: bool = False
    epochs: int = 20
    batch: int = 64
    lr: float = 2e-3
    weight_decay: float = 1e-2
    augment: dict[str, Any] = field(default_factory=dict)
    keep: Literal["best", "last"] = "last"
    precision: str = "bf16"
    seed: int = 1


@dataclass(frozen=True)
class Reading:
    """How one head's labels come from a row: its words, and a function from row to rank, -1 where unknown."""

    words: tuple[str, ...]
    rank: Callable[[Row], int]
    #: the year that a rank stands for, (K,), of an age head
    years: tuple[float, ...] | None = None


def reading(name: str, about: Mapping[str, Any]) -> Reading:
    """What a config says of a head, checked.

    >>> ages = reading("age", {"kind": "coral", "groups": [0, 3, 10]})
    >>> ages.words, ages.rank(Row("a", Path("a"), age=4)), ages.rank(Row("b", Path("b"), age_range=(0, 2)))
    (('0-2', '3-9', '10+'), 1, 0)
    """
    if name == "gender":
        return Reading(("female", "male"), lambda row: -1 if row.gender is None else row.gender)
    if name == "race":
        classes = about.get("classes")
        if not isinstance(classes, Mapping) or len(classes) < 2:
            raise UsageError("a race head needs 'classes': each with the data sets' words for it, at least two")
        place = {str(word): k for k, words in enumerate(classes.values()) for word in words}
        return Reading(tuple(map(str, classes)), lambda row: place.get(row.race or "", -1))
    if name != "age":
        raise UsageError(f"a head is called {name!r}; known: gender, age, race")
    if "years" in about:
        first, last = (int(y) for y in about["years"])
        words = tuple(str(y) for y in range(first, last + 1))

        def by_year(row: Row) -> int:
            return int(row.age) - first if row.age is not None and first <= int(row.age) <= last else -1

        return Reading(words, by_year, tuple(float(y) for y in range(first, last + 1)))
    if "groups" not in about:
        raise UsageError("an age head needs 'years: [first, last]' or 'groups: [lowest year of each]'")
    lows = [int(y) for y in about["groups"]]
    highs = [low - 1 for low in lows[1:]]
    words = (*(f"{a}-{b}" for a, b in zip(lows, highs, strict=False)), f"{lows[-1]}+")
    middles = tuple((a + b + 1) / 2 for a, b in zip(lows, highs, strict=False))

    def by_group(row: Row) -> int:
        ends = (row.age, row.age) if row.age is not None else row.age_range
        if ends is None:
            return -1
        # of a range, both ends must lie in one group; the last group has no end
        one, two = (int(np.searchsorted(lows, int(end), "right")) - 1 for end in ends)
        return one if one == two or one == len(lows) - 1 else -1

    return Reading(words, by_group, (*middles, float(lows[-1] + 5)))


def train_attribute(config: AttributeConfig, folder: Path, *, resume: bool = True) -> Path:
    """Train, log to ``folder``; returns the path of ``attribute.safetensors``.

    Beside it: ``attribute.onnx``; with test sets also ``test.json``, the figures on them, and ``test.npz``, the
    answers. The learning rate follows one cosine cycle.
    """
    readings = {name: reading(name, about) for name, about in config.heads.items()}
    known = lambda row: any(r.rank(row) >= 0 for r in readings.values())  # noqa: E731
    train = open_faces(config.train, known, size=config.size)
    valid = open_faces(config.valid, known, size=config.size)
    accelerator = make_accelerator(config.precision, config.seed)
    start_run(folder, config)
    backbone = BACKBONES[_known(config.backbone, BACKBONES, "backbone")](size=config.size)
    heads = {n: _head(about, readings[n].words, backbone.out_features) for n, about in config.heads.items()}
    net = channels_last(AttributeNet(backbone, heads))
    weights = {name: float(about.get("weight", 1.0)) for name, about in config.heads.items()}
    labels = {name: torch.tensor([r.rank(row) for row in train.rows]) for name, r in readings.items()}
    device = accelerator.device
    importance = {
        name: importance_weights(ranks[ranks >= 0], len(readings[name].words)).to(device)
        for name, ranks in labels.items()
        if config.importance and heads[name].kind in ("or", "coral", "corn")
    }
    optimizer = torch.optim.AdamW(net.parameters(), lr=config.lr, weight_decay=config.weight_decay)
    every = len(train) // config.batch
    steps = config.epochs * every
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, config.lr, total_steps=steps + 1, pct_start=0.15)
    net, optimizer, schedule = accelerator.prepare(net, optimizer, schedule)

    def step(i: int) -> Mapping[str, Tensor]:
        net.train()
        chosen = batch_indices(config.seed, i, len(train), config.batch)
        pixels = augment(train.pixels(chosen), np.random.default_rng([config.seed, i]), **config.augment)
        with accelerator.autocast():
            logits = net(to_tensor(pixels).to(device))
        parts = {
            name: heads[name].loss(logits[name].float(), labels[name][chosen].to(device), importance.get(name))
            for name in heads
        }
        total = torch.stack([weights[name] * loss for name, loss in parts.items()]).sum()
        optimizer.zero_grad(set_to_none=True)
        accelerator.backward(total)
        optimizer.step()
        schedule.step()
        return {"loss": total.detach()} | {f"loss_{name}": loss.detach() for name, loss in parts.items()}

    best = folder / "best.safetensors"

    def evaluate(i: int) -> Mapping[str, float]:
        trained = accelerator.unwrap_model(net)
        figures = score(trained, answers(trained, valid), valid, readings)
        mark, first = folder / "best.json", next(iter(heads))
        value = -figures[f"{first}_mae"] if f"{first}_mae" in figures else figures.get(f"{first}_balanced", float(i))
        old = json.loads(mark.read_text("utf-8")) if mark.is_file() else None
        # a resumed run must not take an epoch that it is about to repeat for its best
        if old is None or old["step"] >= i or value > old["value"]:
            trained.save(best)
            mark.write_text(json.dumps({"step": i, "value": value}), "utf-8")
        return {f"valid_{name}": figure for name, figure in figures.items()}

    fit(folder, accelerator, steps, step, evaluate=evaluate, evaluate_every=every, resume=resume, desc="attributes")
    trained = accelerator.unwrap_model(net).cpu()
    if config.keep == "best":
        trained = AttributeNet.load(best)
    path = folder / "attribute.safetensors"
    trained.save(path)
    export_attribute(trained, folder / "attribute.onnx")
    if config.test:
        test = open_faces(config.test, known, size=config.size)
        said = answers(trained, test)
        (folder / "test.json").write_text(json.dumps(score(trained, said, test, readings), indent=1), "utf-8")
        columns = {f"logits/{name}": values for name, values in said.items()}
        ranks = {f"rank/{n}": np.array([r.rank(row) for row in test.rows]) for n, r in readings.items()}
        everything: dict[str, Any] = {"keys": np.array([row.key for row in test.rows]), **columns, **ranks}
        np.savez(folder / "test.npz", **everything)
    return path


@torch.no_grad()
def answers(net: AttributeNet, faces: Faces, batch: int = 128) -> dict[str, NDArray[np.float32]]:
    """Logits by head, (N, ...), of each face: the mean of the face's and its mirror image's."""
    net.eval()
    device = next(net.parameters()).device
    found: dict[str, list[Tensor]] = {name: [] for name in net.heads}
    for start in range(0, len(faces), batch):
        x = faces.take(np.arange(start, min(start + batch, len(faces)))).to(device)
        with torch.autocast(device.type, torch.bfloat16):
            one, two = net(x), net(x.flip(3))
        for name in found:
            found[name].append((one[name].float() + two[name].float()).cpu() / 2)
    return {name: torch.cat(parts).numpy() for name, parts in found.items()}


def score(
    net: AttributeNet, said: Mapping[str, NDArray[np.float32]], faces: Faces, readings: Mapping[str, Reading]
) -> dict[str, float]:
    """Figures on faces with labels, by ``HEAD_FIGURE``; a head without a labelled face has none.

    Of an age: MAE and RMSE in ranks (years, or groups). Of the others: accuracy and balanced accuracy.
    """
    figures: dict[str, float] = {}
    for name, logits in said.items():
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


def _head(about: Mapping[str, Any], words: Sequence[str], features: int) -> Head:
    options = {k: v for k, v in about.items() if k not in ("kind", "years", "groups", "classes", "weight")}
    kind = HEADS[_known(str(about.get("kind")), HEADS, "kind of head")]
    try:
        return kind(features, tuple(words), **options)
    except TypeError as error:
        raise UsageError(f"a {about.get('kind')} head does not take {sorted(options)}: {error}") from error


def _known(name: str, table: Mapping[str, Any], what: str) -> str:
    if name not in table:
        raise UsageError(f"{what} {name!r} is unknown; known: {', '.join(sorted(table))}")
    return name
