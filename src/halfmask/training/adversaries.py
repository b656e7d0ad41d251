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


class Ring:
    """The last ``size`` of something, each with truth and target; part of every checkpoint.

    ``shape`` and ``dtype`` are of one of them: faces are kept in eight bits, descriptors as they are.

    >>> ring = Ring(3, (2,))
    >>> for k in range(4):
    ...     ring.add(torch.full((1, 2), float(k)), torch.tensor([k % 2]), torch.tensor([0]))
    >>> ring.held()[0][:, 0].tolist()
    [3.0, 1.0, 2.0]
    """

    def __init__(self, size: int, shape: Sequence[int], dtype: torch.dtype = torch.float32) -> None:
        self.what, self.of, self.seen = torch.zeros(size, *shape, dtype=dtype), torch.full((size, 2), -1), 0

    def add(self, what: Tensor, truth: Tensor, target: Tensor) -> None:
        """Keep N of them, (N, ...), in [0, 1] where they are kept in eight bits, with truth and target (N,)."""
        place = torch.arange(self.seen, self.seen + len(what)) % len(self.of)
        self.seen += len(what)
        kept = what.detach().mul(255).round() if self.what.dtype == torch.uint8 else what.detach()
        self.what[place] = kept.to(self.what.dtype).cpu()
        self.of[place] = torch.stack([truth, target], 1).cpu()

    def held(self) -> tuple[Tensor, Tensor]:
        """All that is kept, in no order of age, and truth and target (N, 2)."""
        count = min(self.seen, len(self.of))
        return self.what[:count], self.of[:count]

    def draw(self, count: int, rng: Any) -> tuple[Tensor, Tensor, Tensor]:
        """``count`` of those kept in eight bits, in [0, 1], their truth and target; fewer while fewer are there."""
        held = min(self.seen, len(self.of))
        place = torch.from_numpy(rng.integers(0, held, min(count, held)))
        return self.what[place].float() / 255, self.of[place, 0], self.of[place, 1]

    def state_dict(self) -> dict[str, Any]:
        """All of it, for a checkpoint."""
        return {"what": self.what, "of": self.of, "seen": self.seen}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """What :meth:`state_dict` gave."""
        self.what, self.of, self.seen = state["what"], state["of"], state["seen"]


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
