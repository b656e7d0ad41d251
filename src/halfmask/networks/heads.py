"""What stands on a backbone's features and reads one attribute: binary, categorical, OR-CNN, CORAL and CORN.

Labels are integer ranks 0..K-1 everywhere, -1 where unknown; a face whose label is unknown adds nothing to the loss.
The ordinal heads answer K-1 questions "is the rank above k?" (``exceedance``); class probabilities are their
differences. Sources: Niu et al. 2016 (OR-CNN); Cao, Mirjalili, Raschka 2020 (CORAL); Shi, Cao, Raschka 2023 (CORN).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..losses import corn_loss, or_loss


class Head(nn.Module, ABC):
    """One attribute from features (N, ``in_features``).

    ``classes`` is K, or the K words of the classes in the order of their ranks ("female", "male"; "21", "22", …),
    kept as ``words``. ``forward`` gives logits, float32 also under autocast: bfloat16 has 8 bits of mantissa, and the
    ordinal heads compare neighbouring logits.
    """

    kind: ClassVar[str]
    #: whether each of the linear map's outputs has a bias of its own
    biased: ClassVar[bool] = True

    def __init__(self, in_features: int, classes: int | Sequence[str]) -> None:
        super().__init__()
        words = tuple(str(k) for k in range(classes)) if isinstance(classes, int) else tuple(classes)
        if len(words) < 2 or len(set(words)) < len(words):
            raise UsageError(f"a {self.kind} head got the classes {words}, expected at least 2, each once")
        self.in_features, self.words = in_features, words
        self.linear = nn.Linear(in_features, self.outputs, self.biased)

    @property
    def classes(self) -> int:
        """K, the number of classes."""
        return len(self.words)

    @property
    def outputs(self) -> int:
        """How many numbers the linear map gives for a face."""
        return self.classes

    @property
    def options(self) -> dict[str, str]:
        """What the constructor must be told besides the classes to build this head again."""
        return {}

    def forward(self, features: Tensor) -> Tensor:
        with torch.autocast(features.device.type, enabled=False):
            return self._logits(features.to(next(self.parameters()).dtype))

    @abstractmethod
    def probabilities(self, logits: Tensor) -> Tensor:
        """Of each class, (N, K): not negative, summing to 1."""

    def exceedance(self, logits: Tensor) -> Tensor:
        """P(rank > k), (N, K-1), as the head says it, contradictions included.

        ``scripts/ordinal.py`` counts these.
        """
        return self.probabilities(logits).flip(1).cumsum(1).flip(1)[:, 1:]

    @abstractmethod
    def predict(self, logits: Tensor) -> Tensor:
        """The rank that the head's paper would answer, (N,) int64."""

    def loss(self, logits: Tensor, labels: Tensor, importance: Tensor | None = None) -> Tensor:
        """The head's loss, a scalar. ``labels`` (N,) ranks; rows with a negative one (unknown) are left out.

        ``importance``: of the ordinal heads (K-1,), one weight a task
        (:func:`~halfmask.losses.importance_weights`); of the others (K,), one a class. When no label is known the
        loss is 0 and so is its gradient. Raises as :func:`~halfmask.losses.levels` does.
        """
        known = labels >= 0
        if not known.any():
            return logits.sum() * 0.0
        return self._loss(logits[known], labels[known], importance)

    def interval(self, logits: Tensor, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Lowest and highest rank, both (N,) int64 and inside, that hold at least ``level`` of the probability.

        Equal tails: at most (1 - level) / 2 lies below and as much above. It says what the head believes; whether
        that holds is for a calibration on other faces to tell. Meaningless where classes have no order.
        """
        if not 0 < level < 1:
            raise UsageError(f"an interval's level lies between 0 and 1, got {level}")
        tail = (1 - level) / 2
        reached = self.probabilities(logits).double().cumsum(1)[:, :-1]
        # the last class, which is left out, ends at 1: so neither count passes K-1
        return (reached <= tail).sum(1), (reached < 1 - tail).sum(1)

    def _logits(self, features: Tensor) -> Tensor:
        """What ``forward`` gives, in the parameters' own type."""
        out: Tensor = self.linear(features)
        return out

    @abstractmethod
    def _loss(self, logits: Tensor, labels: Tensor, importance: Tensor | None) -> Tensor:
        """What ``loss`` gives for labels that are all known."""


class Binary(Head):
    """Two classes by one logit (N, 1), that of class 1.

    >>> head = Binary(8, ("female", "male"))
    >>> head.probabilities(torch.tensor([[0.0]])).tolist()
    [[0.5, 0.5]]
    """

    kind = "binary"

    def __init__(self, in_features: int, classes: int | Sequence[str] = 2) -> None:
        super().__init__(in_features, classes)
        if self.classes != 2:
            raise UsageError(f"a binary head has 2 classes, got {self.classes}: use categorical")

    @property
    def outputs(self) -> int:
        return 1

    def probabilities(self, logits: Tensor) -> Tensor:
        return torch.cat([torch.sigmoid(-logits), torch.sigmoid(logits)], 1)

    def predict(self, logits: Tensor) -> Tensor:
        return (logits[:, 0] > 0).long()

    def _loss(self, logits: Tensor, labels: Tensor, importance: Tensor | None) -> Tensor:
        return F.cross_entropy(torch.cat([torch.zeros_like(logits), logits], 1), labels, importance)


class Categorical(Head):
    """K logits and cross-entropy (CE-CNN); the answer is the likeliest class.

    >>> head = Categorical(8, ("a", "b", "c"))
    >>> head(torch.rand(2, 8)).shape, head.predict(torch.tensor([[0.0, 3.0, 1.0]])).tolist()
    (torch.Size([2, 3]), [1])
    """

    kind = "categorical"

    def probabilities(self, logits: Tensor) -> Tensor:
        return logits.softmax(1)

    def predict(self, logits: Tensor) -> Tensor:
        return logits.argmax(1)

    def _loss(self, logits: Tensor, labels: Tensor, importance: Tensor | None) -> Tensor:
        return F.cross_entropy(logits, labels, importance)


class _Ordinal(Head):
    """What OR-CNN and CORAL share: the loss, and logits of which each is the answer to one task."""

    def exceedance(self, logits: Tensor) -> Tensor:
        return logits.sigmoid()

    def probabilities(self, logits: Tensor) -> Tensor:
        return _differences(self.exceedance(logits).sort(1, descending=True).values)

    def predict(self, logits: Tensor) -> Tensor:
        return (self.exceedance(logits) > 0.5).sum(1)

    def _loss(self, logits: Tensor, labels: Tensor, importance: Tensor | None) -> Tensor:
        return or_loss(logits, labels, importance)


class OrdinalCNN(_Ordinal):
    """OR-CNN: K-1 independent binary tasks (Niu et al. 2016). The answers may contradict each other.

    Class probabilities are made of the exceedances in descending order (monotone rearrangement, Chernozhukov et al.
    2010): that keeps how many exceed one half, and so the predicted rank is the median of the distribution given.

    >>> head = OrdinalCNN(8, 4)
    >>> contradicting = torch.tensor([[2.0, -1.0, 1.0]])  # above 0, not above 1, above 2
    >>> head.predict(contradicting).tolist(), bool((head.probabilities(contradicting) >= 0).all())
    ([2], True)
    """

    kind = "or"

    @property
    def outputs(self) -> int:
        return self.classes - 1


class Coral(_Ordinal):
    """CORAL: one weight vector for all tasks, K-1 biases (Cao, Mirjalili, Raschka 2020).

    Theorem 1: at the loss's minimum the biases do not increase, and then no two answers contradict each other;
    ``scripts/ordinal.py`` checks it. ``init`` of the biases: ``zeros`` as in the paper's code, or ``preinit``,
    descending from 1 to 1/(K-1), as in coral-pytorch 1.4.

    >>> head = Coral(8, 4, init="preinit")
    >>> [round(b, 2) for b in head.bias.tolist()], sum(p.numel() for p in head.parameters())
    ([1.0, 0.67, 0.33], 11)
    """

    kind = "coral"
    biased = False

    def __init__(
        self, in_features: int, classes: int | Sequence[str], init: Literal["zeros", "preinit"] = "zeros"
    ) -> None:
        super().__init__(in_features, classes)
        if init not in ("zeros", "preinit"):
            raise UsageError(f"CORAL's biases start as 'zeros' or 'preinit', got {init!r}")
        self.init, tasks = init, self.classes - 1
        self.bias = nn.Parameter(torch.zeros(tasks) if init == "zeros" else torch.arange(tasks, 0, -1) / tasks)

    @property
    def options(self) -> dict[str, str]:
        return {"init": self.init}

    @property
    def outputs(self) -> int:
        return 1

    def _logits(self, features: Tensor) -> Tensor:
        return super()._logits(features) + self.bias


class Corn(Head):
    """CORN: task k says P(rank > k | rank >= k), so the products that are P(rank > k) never increase.

    Shi, Cao, Raschka 2023.

    >>> head = Corn(8, 3)
    >>> head.probabilities(torch.zeros(1, 2)).tolist(), head.predict(torch.tensor([[9.0, 9.0]])).tolist()
    ([[0.5, 0.25, 0.25]], [2])
    """

    kind = "corn"

    @property
    def outputs(self) -> int:
        return self.classes - 1

    def exceedance(self, logits: Tensor) -> Tensor:
        # a sum of logarithms, because ONNX knows no running product
        return F.logsigmoid(logits).cumsum(1).exp()

    def probabilities(self, logits: Tensor) -> Tensor:
        return _differences(self.exceedance(logits))

    def predict(self, logits: Tensor) -> Tensor:
        return (logits.sigmoid().cumprod(1) > 0.5).sum(1)

    def _loss(self, logits: Tensor, labels: Tensor, importance: Tensor | None) -> Tensor:
        return corn_loss(logits, labels, importance)


#: Kind → class; the kind is what configs and saved networks say.
HEADS: dict[str, type[Head]] = {h.kind: h for h in (Binary, Categorical, OrdinalCNN, Coral, Corn)}


def _differences(exceedance: Tensor) -> Tensor:
    """Class probabilities (N, K) of exceedances (N, K-1) that do not increase."""
    ends = exceedance[:, :1]
    padded = torch.cat([torch.ones_like(ends), exceedance, torch.zeros_like(ends)], 1)
    return padded[:, :-1] - padded[:, 1:]
