"""Whom a generator that hides identity learns against: matchers that keep learning to see through what it does.

A pupil learns to see of changed faces what its matcher sees of untouched ones. As a copy of the matcher it becomes a
little more robust with every step, and what deceives a slightly robust network deceives strangers more often
(Springer, Mitchell, Kenyon 2021, *A Little Robustness Goes a Long Way*); on another backbone it is another network
that agrees with the matcher on who is who. Neither needs a label, so any face will do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..errors import UsageError
from ..networks.attribute import AttributeNet
from ..weights import shipped


class Student(nn.Module):
    """An attribute network's backbone that learns a matcher's descriptors: faces (N, 3, S, S) to (N, ``width``).

    Of length 1. The head's first weights depend on ``seed`` alone.
    """

    def __init__(self, net: AttributeNet, width: int, seed: int) -> None:
        super().__init__()
        self.backbone = net.backbone
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(net.backbone.out_features, width)

    def forward(self, faces: Tensor) -> Tensor:
        """Descriptors of faces."""
        return F.normalize(self.head(self.backbone.features(faces)).float())


def open_pupil(
    about: Mapping[str, Any], matchers: Mapping[str, int], load: Callable[[str], nn.Module], seed: int
) -> nn.Module:
    """A pupil as a config describes it, ``{of, reader, lr}``; ``matchers`` are names and widths of their descriptors.

    Without ``reader`` it is a copy of the matcher, which ``load`` makes; with it the backbone of that attribute
    network, by file or name. Raises :class:`~halfmask.errors.UsageError` for a matcher that is not among them.
    """
    unknown, of = set(about) - {"of", "reader", "lr"}, str(about.get("of", ""))
    if unknown or of not in matchers:
        raise UsageError(
            f"a pupil is {dict(about)}; expected {{of, reader, lr}}, of which 'of' is one of: {', '.join(matchers)}"
        )
    if "reader" not in about:
        return load(of)
    return Student(AttributeNet.load(shipped.find(about["reader"])), matchers[of], seed)


def kinds_of(gender: Tensor, age: Tensor, ages: int) -> Tensor:
    """Which kind of people each face is of, (N,): gender and age group as one number; 2 ``ages`` kinds and two more.

    ``gender`` (N,) of 0 and 1, ``age`` (N,) of 0..``ages``-1, or -1 where unknown, which makes a kind of its own.

    >>> kinds_of(torch.tensor([0, 1, 1]), torch.tensor([2, 0, -1]), 3).tolist()
    [3, 5, 4]
    """
    return gender * (ages + 1) + age + 1


def kind_means(descriptors: Tensor, kinds: Tensor, gender: Tensor, count: int, least: int = 50) -> Tensor:
    """The mean descriptor of each of ``count`` kinds, (``count``, D).

    Of its gender where a kind has fewer than ``least``. A descriptor less that mean tells people of one gender and age
    apart, and nothing of either.

    >>> x, gender = torch.tensor([[0.0], [2.0], [4.0]]), torch.tensor([0, 0, 1])
    >>> kind_means(x, kinds_of(gender, gender, 2), gender, 6, least=1).flatten().tolist()
    [1.0, 1.0, 1.0, 4.0, 4.0, 4.0]
    """
    places = [(kinds == k).to(descriptors.device) for k in range(count)]
    genders = [(gender == g).to(descriptors.device) for g in (0, 1)]
    whole = [descriptors[mine].mean(0) if mine.any() else descriptors.mean(0) for mine in genders]
    return torch.stack(
        [
            descriptors[mine].mean(0) if int(mine.sum()) >= least else whole[2 * k // count]
            for k, mine in enumerate(places)
        ]
    )


def in_turn(pupils: Sequence[Any], heard: int, step: int) -> list[int]:
    """Which pupils are heard in a step: ``heard`` of them (all when there are fewer), in turn.

    >>> [in_turn("abc", 2, i) for i in range(3)]
    [[0, 1], [2, 0], [1, 2]]
    """
    count = min(heard, len(pupils))
    return [(step * count + j) % len(pupils) for j in range(count)]
