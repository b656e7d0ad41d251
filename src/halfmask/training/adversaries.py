"""Who halfmask's generator learns against: readers that keep adapting, and what they learn from.

*A*, the readers that are not told what a face was drawn toward: the generator brings them to believe the target. *B*,
readers that are told the target and learn to read the *truth* from changed faces, one of them always fresh: nothing
that a change gives away may be left. And linear readers of matchers' descriptors, solved anew from the last of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import UsageError
from ..networks.attribute import AttributeNet
from ..networks.backbones import BACKBONES
from ..networks.readings import Reading


@dataclass
class Learner:
    """A network that keeps adapting, with its optimiser."""

    net: nn.Module
    optimizer: torch.optim.Optimizer

    def learn(self, loss: Tensor) -> Tensor:
        """One step; returns the loss, detached."""
        self.optimizer.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        self.optimizer.step()
        return loss.detach()

    def frozen(self) -> nn.Module:
        """The network as a judge: in evaluation mode, no gradient for its own weights."""
        return self.net.eval().requires_grad_(False)

    def open(self) -> nn.Module:
        """The network as a learner. Dropout stays off: its chance would depend on which thread comes first."""
        self.net.train().requires_grad_(True)
        for module in self.net.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        return self.net


def open_reader(path: Path, readings: Mapping[str, Reading]) -> AttributeNet:
    """A reader of population A. Raises UsageError when it does not read what the config names."""
    net = AttributeNet.load(path)
    for name, r in readings.items():
        words = tuple(net.heads[name].words) if name in net.heads else None
        if words != tuple(r.words):
            raise UsageError(f"adapter {path} reads {name} as {words}, expected {tuple(r.words)}: train it on these")
    return net


class Told(nn.Module):
    """A reader of population B: faces (N, 3, S, S) and targets (N,) of 0, 1 to logits (N,) of "the truth is male".

    ``about`` is ``{backbone, size, cut}``; with ``ring: true`` it sees only what matchers hardly do: hair, neck and
    background, the face blanked.

    >>> told = Told({"backbone": "plain", "size": 32, "ring": True})
    >>> told(torch.rand(2, 3, 112, 112), torch.tensor([0, 1])).shape
    torch.Size([2])
    """

    def __init__(self, about: Mapping[str, Any]) -> None:
        super().__init__()
        given = dict(about)
        self.ring = bool(given.pop("ring", False))
        kind = str(given.pop("backbone", ""))
        if kind not in BACKBONES:
            raise UsageError(f"a told reader has the backbone {kind!r}; known: {', '.join(sorted(BACKBONES))}")
        self.backbone = BACKBONES[kind](**given)
        self.head = nn.Linear(self.backbone.out_features, 2)

    def forward(self, faces: Tensor, targets: Tensor) -> Tensor:
        """Each face's logit at its target; one of no target (-1) is read as of target 0."""
        if self.ring:
            faces = faces * outside(faces.shape[2], faces.device)
        logits: Tensor = self.head(self.backbone.features(faces).float())
        return logits.gather(1, targets.clamp_min(0)[:, None])[:, 0]

    @torch.no_grad()
    def start_afresh(self, about: Mapping[str, Any], seed: int) -> None:
        """Forget everything; the new weights depend on ``seed`` alone."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.load_state_dict(Told(about).state_dict())


def outside(side: int, device: torch.device | None = None) -> Tensor:
    """1 where matchers hardly look, (side, side): outside the oval from forehead to chin, between the temples."""
    line = (torch.arange(side, device=device, dtype=torch.float32) + 0.5) / side
    y, x = torch.meshgrid(line, line, indexing="ij")
    return ((((x - 0.5) / 0.29) ** 2 + ((y - 0.6) / 0.36) ** 2) > 1).float()


class Replay:
    """The last changed faces with truth and target, and what matchers saw of them; part of every checkpoint.

    ``size`` faces of (3, side, side), kept in eight bits, and one ring of ``described`` descriptors a matcher.
    """

    def __init__(self, size: int, side: int, described: int, widths: Sequence[int]) -> None:
        self.faces = torch.zeros(size, 3, side, side, dtype=torch.uint8)
        self.labels = torch.full((size, 2), -1)
        self.descriptors = [torch.zeros(described, width) for width in widths]
        self.of = [torch.full((described, 2), -1) for _ in widths]
        self.seen = torch.zeros(1 + len(widths), dtype=torch.long)

    def add(self, faces: Tensor, truth: Tensor, target: Tensor) -> None:
        """Keep changed faces (N, 3, S, S) in [0, 1] with truth and target (N,)."""
        place = self._places(0, len(faces), len(self.faces))
        self.faces[place] = faces.detach().mul(255).round().byte().cpu()
        self.labels[place] = torch.stack([truth, target], 1).cpu()

    def draw(self, count: int, rng: Any) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` kept faces in [0, 1], their truth and target; fewer while fewer are there."""
        held = min(int(self.seen[0]), len(self.faces))
        place = torch.from_numpy(rng.integers(0, held, min(count, held)))
        return self.faces[place].float() / 255, self.labels[place, 0], self.labels[place, 1]

    def describe(self, matcher: int, descriptors: Tensor, truth: Tensor, target: Tensor) -> None:
        """Keep what a matcher saw: descriptors (N, D) with truth and target (N,)."""
        place = self._places(1 + matcher, len(descriptors), len(self.of[matcher]))
        self.descriptors[matcher][place] = descriptors.detach().cpu()
        self.of[matcher][place] = torch.stack([truth, target], 1).cpu()

    def _places(self, ring: int, count: int, size: int) -> Tensor:
        first = int(self.seen[ring])
        self.seen[ring] += count
        return torch.arange(first, first + count) % size

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {k: getattr(self, k) for k in ("faces", "labels", "descriptors", "of", "seen")}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state_dict` gave."""
        for name, value in state.items():
            setattr(self, name, value)


def linear_reader(
    descriptors: Tensor, truth: Tensor, ridge: float = 0.3, least: int = 100
) -> tuple[Tensor, Tensor] | None:
    """Fisher's discriminant with a shrunk covariance: weights (D,) and bias of "the truth is male", or None.

    ``descriptors`` (N, D), ``truth`` (N,) of 0 and 1; None with fewer than ``least`` of either. The logit is of two
    Gaussians with one covariance, whose diagonal mean is mixed in by ``ridge`` (Ledoit and Wolf 2004).

    >>> x = torch.cat([torch.randn(100, 2) - 3, torch.randn(100, 2) + 3])
    >>> w, b = linear_reader(x, torch.arange(200) // 100)
    >>> float(((x @ w + b > 0) == (torch.arange(200) >= 100)).float().mean()) > 0.95
    True
    """
    one, two = descriptors[truth == 0], descriptors[truth == 1]
    if min(len(one), len(two)) < least:
        return None
    means = one.mean(0), two.mean(0)
    centred = torch.cat([one - means[0], two - means[1]])
    cov = centred.T @ centred / len(centred)
    spread = cov.diagonal().mean()
    cov = (1 - ridge) * cov + ridge * spread * torch.eye(len(cov))
    weights = torch.linalg.solve(cov, means[1] - means[0])
    return weights, -(weights @ (means[0] + means[1]) / 2)


class Multipliers:
    """One weight a matcher, raised while faces move too far for it and lowered while they do not (dual ascent).

    ``weights[k]`` is multiplied by exp(``rate`` (d / ``goal`` - 1)) at each step that saw a mean distance d. So runs
    that differ in anything else end at the same distance, and can be compared.
    """

    def __init__(self, start: float, count: int, goal: float, rate: float) -> None:
        self.weights, self.goal, self.rate = torch.full((count,), start), goal, rate
        self._least, self._most = start / 20, start * 20

    def update(self, k: int, distance: float) -> None:
        """Matcher ``k`` saw a mean distance; nothing moves while there is no goal (0)."""
        if self.goal > 0:
            factor = torch.tensor(self.rate * (min(distance / self.goal, 3.0) - 1)).exp()
            self.weights[k] = (self.weights[k] * factor).clamp(self._least, self._most)

    def state_dict(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"weights": self.weights}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state_dict` gave."""
        self.weights = state["weights"]
