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
from ..networks.halfmask import Masker
from ..networks.state import frozen
from ..networks.views import ssim_map
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
    """Faces (N, 3, 112, 112) in [0, 1] before and after, by the generator's change times ``strength``."""
    device = next(net.parameters()).device
    face = to_tensor(faces.pixels(index)).to(device)
    code = net.encode(targets.gender, targets.age, targets.race).to(device)
    return face, (face + strength * net(face, code).float()).clamp(0, 1)


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


def chroma(change: Tensor) -> Tensor:
    """By how much a change (N, 3, H, W) moves each pixel's chroma, (N, H, W): the length in Cb and Cr of JFIF."""
    y = to_gray(change)[:, 0]
    return ((0.564 * (change[:, 2] - y)).square() + (0.713 * (change[:, 0] - y)).square() + 1e-8).sqrt()


def preview(net: Masker, faces: Faces, count: int = 10, strength: float = 1.0) -> NDArray[np.uint8]:
    """Columns of faces, five of each gender; rows: as it was, toward a woman, toward a man, race hidden, age hidden."""
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
    for way in ways:
        before, after = protected(net, faces, index, way, strength)
        rows += [after] if rows else [before, after]
    pixels = torch.stack(rows).cpu().mul(255).round().byte().numpy()  # (rows, N, 3, S, S)
    r, n, c, h, w = pixels.shape
    picture = pixels.transpose(0, 3, 1, 4, 2).reshape(r * h, n * w, c)
    return np.ascontiguousarray(picture[..., ::-1])
