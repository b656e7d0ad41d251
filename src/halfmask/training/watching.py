"""Watching halfmask's generator while it trains: targets, changed faces, what classifiers and matchers make of them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..methods.choice import ATTRIBUTES
from ..networks.attribute import AttributeNet
from ..networks.classifiers import GenderOf, load_classifier
from ..networks.gendercnn import to_gray
from ..networks.halfmask import IDENTITY, Masker
from ..networks.state import frozen
from ..networks.views import ssim_map
from ..photos.paste import mask
from .data import Faces, to_tensor


@dataclass(frozen=True)
class Targets:
    """What chance asks of a batch: by attribute a class index, or -1 to keep it; (N,) int64 each."""

    gender: Tensor
    age: Tensor
    race: Tensor

    def of(self, name: str) -> Tensor:
        """The targets of one attribute."""
        targets: Tensor = getattr(self, name)
        return targets

    def part(self, which: slice) -> Targets:
        """The same of some of the faces."""
        return Targets(*(self.of(name)[which] for name in ATTRIBUTES))

    def to(self, device: torch.device) -> Targets:
        """The same on another device."""
        return Targets(*(self.of(name).to(device) for name in ATTRIBUTES))


def draw_targets(
    count: int, odds: Mapping[str, float], pools: Mapping[str, NDArray[np.integer]], rng: np.random.Generator
) -> Targets:
    """Targets for ``count`` faces: each attribute is hidden with its odds, at least one always.

    ``pools`` are the labels of the training set: a target is drawn as often as its class is there, so that what comes
    out is a population like the one that went in. Gender is drawn evenly.
    """
    hidden = {name: rng.random(count) < odds.get(name, 0.0) for name in ATTRIBUTES}
    none = ~np.any(list(hidden.values()), axis=0)
    likeliest = max(ATTRIBUTES, key=lambda name: odds.get(name, 0.0))
    hidden[likeliest] |= none
    drawn = {"gender": rng.integers(0, 2, count)}
    drawn |= {name: rng.choice(pools[name], count) for name in ("age", "race")}
    return Targets(**{name: torch.from_numpy(np.where(hidden[name], drawn[name], -1)) for name in ATTRIBUTES})


def untargeted(count: int) -> Targets:
    """What is asked where no attribute is hidden: nothing, of ``count`` faces."""
    return Targets(*torch.full((3, count), -1))


def load_watcher(path: Path) -> torch.nn.Module:
    """A gender classifier that only watches: faces (N, 3, 112, 112) to logits (N,) of "male".

    Of ``halfmask train attribute`` or of ``halfmask train gender``.
    """
    return _Watcher(load_classifier(path))


class _Watcher(torch.nn.Module):
    def __init__(self, net: torch.nn.Module) -> None:
        super().__init__()
        self.net = frozen(net)

    def forward(self, faces: Tensor) -> Tensor:
        if not isinstance(self.net, GenderOf):  # which takes any size
            faces = F.interpolate(faces, scale_factor=2.0, mode="bilinear")
        logits: Tensor = self.net(faces).float()
        return logits[:, 1] - logits[:, 0]


@torch.no_grad()
def protected(
    net: Masker, faces: Faces, index: NDArray[np.integer], targets: Targets, strength: float = 1.0
) -> tuple[Tensor, Tensor]:
    """Faces (N, 3, 112, 112) in [0, 1] before and after, by the generator's change times ``strength``.

    A change of identity counts in the oval of a head.
    """
    device = next(net.parameters()).device
    face = to_tensor(faces.pixels(index)).to(device)
    code = net.encode(targets.gender, targets.age, targets.race).to(device)
    change = strength * net(face, code).float()
    if net.hides == IDENTITY:
        change = change * torch.from_numpy(mask(face.shape[2]).copy()).to(device)
    return face, (face + change).clamp(0, 1)


@dataclass(frozen=True)
class Look:
    """A look at a generator as it is: at validation faces, before and after its change times ``strength``.

    ``index`` says which of ``faces``. Readers, which the log numbers, classifiers that only watch, and matchers, both
    by name, say what they find, in ``precision``, ``bf16`` or ``no``.
    """

    net: Masker
    faces: Faces
    index: NDArray[np.integer]
    strength: float
    precision: str
    readers: Sequence[AttributeNet]
    watchers: Mapping[str, torch.nn.Module]
    matchers: Mapping[str, torch.nn.Module]

    @torch.no_grad()
    def collect(
        self, targets: Targets, find: Callable[[int, Tensor, Tensor], Mapping[str, Tensor]]
    ) -> dict[str, Tensor]:
        """What ``find(first, before, after)`` says of some of the faces, from the ``first`` on: of all, by name, (N,).

        ``targets`` are all faces'. A name may be said of some faces only.
        """
        self.net.eval()
        found: dict[str, list[Tensor]] = {}
        for first in range(0, len(self.index), 50):
            part = slice(first, first + 50)
            before, after = protected(self.net, self.faces, self.index[part], targets.part(part), self.strength)
            with torch.autocast(before.device.type, torch.bfloat16, enabled=self.precision == "bf16"):
                for name, values in find(first, before, after).items():
                    found.setdefault(name, []).append(values)
        return {name: torch.cat(values) for name, values in found.items()}


def gender_read(look: Look, seed: int) -> dict[str, float]:
    """Where attributes are hidden: gender's AUC by every reader and watcher, targets at random and all flipped.

    And the mean cosine by every matcher (but the first on a third of the faces), and the mean SSIM.
    """
    from sklearn.metrics import roc_auc_score

    true = torch.from_numpy(look.faces.labels("gender")[look.index])
    none = torch.full_like(true, -1)
    drawn = torch.from_numpy(np.random.default_rng([seed, 2]).integers(0, 2, len(true)))
    first_matcher = dict(list(look.matchers.items())[:1])

    def read(_: int, before: Tensor, after: Tensor) -> dict[str, Tensor]:
        by_readers = {
            f"adapter{k}": reader.heads["gender"].probabilities(reader(after)["gender"].float())[:, 1]
            for k, reader in enumerate(look.readers)
        }
        return by_readers | {name: watcher(after) for name, watcher in look.watchers.items()}

    def read_and_match(first: int, before: Tensor, after: Tensor) -> dict[str, Tensor]:
        matchers = look.matchers if first < len(true) // 3 else first_matcher
        return read(first, before, after) | likeness(before, after, matchers)

    figures: dict[str, float] = {}
    for way, target, find in (("random", drawn, read_and_match), ("flipped", 1 - true, read)):
        for name, each in look.collect(Targets(target, none, none), find).items():
            values = each.cpu()
            if name.startswith(("cosine", "ssim")):
                figures[f"valid_{name}"] = float(values.mean())
            else:
                figures[f"valid_{way}_{name}"] = float(roc_auc_score(true.numpy(), values.numpy()))
    return figures


def likeness_kept(look: Look) -> dict[str, float]:
    """Where identity is hidden: the mean cosine by every matcher and the mean SSIM.

    And by how much what readers believe moves: P(male), the age in groups, both in the mean of absolute values.
    """

    def find(_: int, before: Tensor, after: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for k, reader in enumerate(look.readers):
            one, two = (reader.probabilities(x) for x in (before, after))
            years = torch.arange(one["age"].shape[1], device=before.device)
            old = [(p["age"].float() * years).sum(1) for p in (one, two)]
            found[f"age_adapter{k}"] = (old[0] - old[1]).abs()
            found[f"gender_adapter{k}"] = (one["gender"].float() - two["gender"].float())[:, 1].abs()
        for name, watcher in look.watchers.items():
            found[f"gender_{name}"] = (watcher(before).float().sigmoid() - watcher(after).float().sigmoid()).abs()
        return found | likeness(before, after, look.matchers)

    found = look.collect(untargeted(len(look.index)), find)
    return {f"valid_{name}": float(values.mean()) for name, values in found.items()}


def likeness(before: Tensor, after: Tensor, matchers: Mapping[str, torch.nn.Module]) -> dict[str, Tensor]:
    """How like its original each face (N, 3, S, S) still is: the cosine by every matcher, and the SSIM, (N,) each."""
    found = {f"cosine_{n}": F.cosine_similarity(m(before).float(), m(after).float()) for n, m in matchers.items()}
    with torch.autocast(before.device.type, enabled=False):  # variances drown in bfloat16
        return found | {"ssim": ssim_map(after, before).mean((1, 2))}


def chroma(change: Tensor) -> Tensor:
    """By how much a change (N, 3, H, W) moves each pixel's chroma, (N, H, W): the length in Cb and Cr of JFIF."""
    y = to_gray(change)[:, 0]
    return ((0.564 * (change[:, 2] - y)).square() + (0.713 * (change[:, 0] - y)).square() + 1e-8).sqrt()


def preview(net: Masker, faces: Faces, count: int = 10, strength: float = 1.0) -> NDArray[np.uint8]:
    """Columns of faces, five of each gender; rows: as it was, toward a woman, toward a man, race hidden, age hidden.

    Of a generator that hides identity there is one row after the first.
    """
    labels = faces.labels("gender")
    by_gender = [np.flatnonzero(labels == g) for g in (0, 1)]
    index = np.concatenate([g[np.linspace(0, len(g) - 1, count // 2).round().astype(int)] for g in by_gender])
    none = torch.full((len(index),), -1)
    rng = np.random.default_rng(0)
    ways = [
        Targets(none * 0, none, none),
        Targets(none * 0 + 1, none, none),
        Targets(none, none, torch.from_numpy(rng.integers(0, len(net.races), len(index)))),
        Targets(none, torch.from_numpy(rng.integers(0, len(net.ages), len(index))), none),
    ]
    rows: list[Tensor] = []
    for way in [untargeted(len(index))] if net.hides == IDENTITY else ways:
        before, after = protected(net, faces, index, way, strength)
        rows += [after] if rows else [before, after]
    pixels = torch.stack(rows).cpu().mul(255).round().byte().numpy()  # (rows, N, 3, S, S)
    r, n, c, h, w = pixels.shape
    picture = pixels.transpose(0, 3, 1, 4, 2).reshape(r * h, n * w, c)
    return np.ascontiguousarray(picture[..., ::-1])
