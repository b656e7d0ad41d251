"""Watching halfmask's generator while it trains: targets, changed faces, what classifiers and matchers make of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from .halfmask import HalfmaskConfig


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


@torch.no_grad()
def measure(
    net: Masker,
    adapters: Sequence[AttributeNet],
    watchers: Mapping[str, torch.nn.Module],
    matchers: Sequence[torch.nn.Module],
    faces: Faces,
    index: NDArray[np.integer],
    config: HalfmaskConfig,
) -> dict[str, float]:
    """Gender's AUC on validation faces, targets at random and all flipped, by every adapter and every watcher.

    And the mean cosine by every matcher (the last on a third of the faces), and the mean SSIM.
    """
    from sklearn.metrics import roc_auc_score

    net.eval()
    for adapter in adapters:
        adapter.eval()
    true = torch.from_numpy(faces.labels("gender")[index])
    none = torch.full_like(true, -1)
    rng = np.random.default_rng([config.seed, 2])
    drawn = torch.from_numpy(rng.integers(0, 2, len(index)))
    figures: dict[str, float] = {}
    for way, target in (("random", drawn), ("flipped", 1 - true)):
        scores: dict[str, list[Tensor]] = {}
        for start in range(0, len(index), 50):
            part = slice(start, start + 50)
            asked = Targets(target[part], none[part], none[part])
            face, after = protected(net, faces, index[part], asked, config.watch_at)
            with torch.autocast(face.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
                for k, adapter in enumerate(adapters):
                    p = adapter.heads["gender"].probabilities(adapter(after)["gender"].float())
                    scores.setdefault(f"adapter{k}", []).append(p[:, 1])
                for name, watcher in watchers.items():
                    scores.setdefault(name, []).append(watcher(after))
                if way == "random":
                    for name, matcher in zip(config.matchers, matchers, strict=True):
                        if name == config.matchers[0] or start < len(index) // 3:
                            cosine = F.cosine_similarity(matcher(face).float(), matcher(after).float())
                            scores.setdefault(f"cosine_{name}", []).append(cosine)
            if way == "random":  # outside of autocast: variances drown in bfloat16
                scores.setdefault("ssim", []).append(ssim_map(after, face).mean((1, 2)))
        for name, parts in scores.items():
            values = torch.cat(parts).cpu()
            if name.startswith(("cosine", "ssim")):
                figures[f"valid_{name}"] = float(values.mean())
            else:
                figures[f"valid_{way}_{name}"] = float(roc_auc_score(true.numpy(), values.numpy()))
    return figures


@torch.no_grad()
def kept(
    net: Masker,
    readers: Sequence[AttributeNet],
    watchers: Mapping[str, torch.nn.Module],
    matchers: Sequence[torch.nn.Module],
    faces: Faces,
    index: NDArray[np.integer],
    config: HalfmaskConfig,
) -> dict[str, float]:
    """Of a generator that hides identity, on validation faces: the mean cosine by every matcher and the mean SSIM.

    And by how much what readers believe moves: P(male), the age in groups, both in the mean of absolute values.
    """
    net.eval()
    found: dict[str, list[Tensor]] = {}
    for start in range(0, len(index), 50):
        part = index[start : start + 50]
        face, after = protected(net, faces, part, untargeted(len(part)), config.watch_at)
        with torch.autocast(face.device.type, torch.bfloat16, enabled=config.precision == "bf16"):
            for k, reader in enumerate(readers):
                one, two = (reader.eval().probabilities(x) for x in (face, after))
                years = torch.arange(one["age"].shape[1], device=face.device)
                old = [(p["age"].float() * years).sum(1) for p in (one, two)]
                found.setdefault(f"age_adapter{k}", []).append((old[0] - old[1]).abs())
                moved = (one["gender"].float() - two["gender"].float())[:, 1].abs()
                found.setdefault(f"gender_adapter{k}", []).append(moved)
            for name, watcher in watchers.items():
                moved = (watcher(face).float().sigmoid() - watcher(after).float().sigmoid()).abs()
                found.setdefault(f"gender_{name}", []).append(moved)
            for name, matcher in zip(config.matchers, matchers, strict=True):
                cosine = F.cosine_similarity(matcher(face).float(), matcher(after).float())
                found.setdefault(f"cosine_{name}", []).append(cosine)
        found.setdefault("ssim", []).append(ssim_map(after, face).mean((1, 2)))
    return {f"valid_{name}": float(torch.cat(parts).mean()) for name, parts in found.items()}


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
