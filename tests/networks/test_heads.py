"""Heads against coral-pytorch, against each other, and against what a distribution must be."""

from __future__ import annotations

import math

import pytest
import torch
from ordinal import biases_ordered, rank_inconsistencies
from torch import Tensor
from torch.nn import functional as F

from halfmask.errors import DataError, MetricError, UsageError
from halfmask.losses import importance_weights
from halfmask.networks.heads import HEADS, Binary, Categorical, Coral, Corn, Head, OrdinalCNN

K, D = 7, 16


def make(kind: str, classes: int = K) -> Head:
    torch.manual_seed(3)
    return HEADS[kind](D, 2 if kind == "binary" else classes)


def some_logits(head: Head, scale: float = 3.0) -> Tensor:
    return torch.randn(200, head(torch.zeros(1, D)).shape[1], generator=torch.Generator().manual_seed(4)) * scale


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_probabilities_are_a_distribution(kind: str, scale: float) -> None:
    head = make(kind)
    p = head.probabilities(some_logits(head, scale))
    assert p.shape == (200, head.classes)
    assert (p >= 0).all()
    assert torch.allclose(p.sum(1), torch.ones(200), atol=1e-5)
    assert head.exceedance(some_logits(head, scale)).shape == (200, head.classes - 1)


@pytest.mark.parametrize("kind", ["or", "coral", "corn"])
def test_the_predicted_rank_is_the_median_of_the_distribution(kind: str) -> None:
    head = make(kind)
    z = some_logits(head)
    cumulative = head.probabilities(z).double().cumsum(1)
    median = (cumulative < 0.5 - 1e-6).sum(1)
    assert torch.equal(head.predict(z), median)
    low, high = head.interval(z, 0.1)
    assert ((low <= head.predict(z)) & (head.predict(z) <= high)).all()


@pytest.mark.parametrize("kind", HEADS)
@pytest.mark.parametrize("level", [0.5, 0.9])
def test_an_interval_holds_its_level_and_no_more_than_half_the_rest_on_a_side(kind: str, level: float) -> None:
    head = make(kind)
    z = some_logits(head, 1.0)
    p = head.probabilities(z).double()
    low, high = head.interval(z, level)
    for row, a, b in zip(p, low.tolist(), high.tolist(), strict=True):
        assert 0 <= a <= b < head.classes
        assert row[:a].sum() <= (1 - level) / 2 + 1e-6
        assert row[b + 1 :].sum() <= (1 - level) / 2 + 1e-6
        assert row[: a + 1].sum() > (1 - level) / 2 - 1e-6  # and none narrower would do
        assert row[b:].sum() > (1 - level) / 2 - 1e-6


def test_predictions_agree_with_coral_pytorch() -> None:
    theirs = pytest.importorskip("coral_pytorch.dataset", reason="needs coral-pytorch as the reference")
    for kind in ("or", "coral"):
        z = some_logits(make(kind))
        assert torch.equal(make(kind).predict(z), theirs.proba_to_label(z.sigmoid()))
    z = some_logits(make("corn"))
    assert torch.equal(make("corn").predict(z), theirs.corn_label_from_logits(z))
    assert torch.allclose(make("corn").exceedance(z), z.sigmoid().cumprod(1), atol=1e-6)


def test_coral_is_coral_pytorchs_layer() -> None:
    layers = pytest.importorskip("coral_pytorch.layers", reason="needs coral-pytorch as the reference")
    for init in ("zeros", "preinit"):
        ours, theirs = Coral(D, K, init=init), layers.CoralLayer(D, K, preinit_bias=init == "preinit")  # type: ignore[arg-type]
        assert torch.equal(ours.bias, theirs.coral_bias)
        theirs.coral_weights.weight = ours.linear.weight
        x = torch.randn(5, D)
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)


def test_parameters_are_those_of_the_papers() -> None:
    count = {kind: sum(p.numel() for p in make(kind).parameters()) for kind in HEADS}
    assert count == {
        "binary": D + 1,
        "categorical": (D + 1) * K,
        "or": (D + 1) * (K - 1),
        "coral": D + K - 1,
        "corn": (D + 1) * (K - 1),
    }


def test_binary_is_logistic_regression() -> None:
    head = Binary(D)
    z, y = torch.randn(20, 1) * 5, torch.randint(0, 2, (20,))
    assert head.loss(z, y).item() == pytest.approx(
        F.binary_cross_entropy_with_logits(z[:, 0], y.float()).item(), rel=1e-5
    )
    assert head.predict(torch.tensor([[-0.1], [0.1]])).tolist() == [0, 1]
    assert head.loss(torch.tensor([[1000.0]]), torch.tensor([0])).item() == 1000


@pytest.mark.parametrize("kind", HEADS)
def test_unknown_labels_add_nothing(kind: str) -> None:
    head = make(kind)
    z = some_logits(head)[:6].requires_grad_()
    y = torch.tensor([0, 1, -1, 1, -1, 0])
    loss = head.loss(z, y)
    assert loss.item() == pytest.approx(head.loss(z[y >= 0], y[y >= 0]).item(), rel=1e-6)
    loss.backward()
    assert z.grad is not None
    assert (z.grad[y < 0] == 0).all()
    assert (z.grad[y >= 0] != 0).any(1).all()
    nothing = head.loss(z, torch.full((6,), -1))
    nothing.backward()
    assert nothing.item() == 0


@pytest.mark.parametrize("kind", HEADS)
def test_importance_weighs(kind: str) -> None:
    head = make(kind)
    z, y = some_logits(head), torch.arange(200) % head.classes
    weights = torch.ones(z.shape[1] if kind in ("or", "coral", "corn") else head.classes)
    assert head.loss(z, y, weights).item() == pytest.approx(head.loss(z, y).item(), rel=1e-6)
    weights[0] = 0.1
    assert head.loss(z, y, weights).item() != pytest.approx(head.loss(z, y).item(), rel=1e-3)


@pytest.mark.parametrize("kind", HEADS)
def test_logits_stay_float32_under_autocast(kind: str) -> None:
    head = make(kind)
    with torch.autocast("cpu", torch.bfloat16):
        z = head(torch.randn(3, D).bfloat16())
        loss = head.loss(z, torch.tensor([0, 1, 1]))
    assert z.dtype == loss.dtype == torch.float32


@pytest.mark.parametrize("kind", ["categorical", "or", "coral", "corn"])
def test_heads_learn_an_order(kind: str) -> None:
    """A rank that is a noisy line: all heads learn it; CORAL ends with ordered biases, CORN and CE never contradict."""
    generator = torch.Generator().manual_seed(5)
    x = torch.randn(600, D, generator=generator)
    y = ((x[:, 0] * 1.5 + x[:, 1] + 0.3 * torch.randn(600, generator=generator)) + 3).round().clamp(0, K - 1).long()
    head = make(kind)
    optimizer = torch.optim.Adam(head.parameters(), 0.2)
    weights = None if kind == "categorical" else importance_weights(y, K)
    for _ in range(80):
        optimizer.zero_grad()
        head.loss(head(x), y, weights).backward()
        optimizer.step()
    with torch.no_grad():
        z = head(x)
    error = (head.predict(z) - y).abs().float().mean().item()
    chance = (y - y.median()).abs().float().mean().item()
    assert error < 0.35 * chance
    if isinstance(head, Coral):
        assert biases_ordered(head.bias.detach().numpy())
    if kind != "or":
        assert rank_inconsistencies(head.exceedance(z).numpy()).sum() == 0


def test_contradictions_of_or_cnn_are_counted() -> None:
    head = OrdinalCNN(D, 4)
    z = torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, 2.0], [3.0, -1.0, 0.0]])
    assert rank_inconsistencies(head.exceedance(z).numpy()).tolist() == [2, 0, 1]


def test_unordered_coral_biases_are_noticed() -> None:
    head = Coral(D, 4, init="preinit")
    assert biases_ordered(head.bias.detach().numpy())
    with torch.no_grad():
        head.bias[2] = 5.0
    assert not biases_ordered(head.bias.detach().numpy())


def test_inconsistencies_of_nothing_are_not_zero() -> None:
    with pytest.raises(MetricError, match="none missing"):
        rank_inconsistencies([[0.5, float("nan")]])
    with pytest.raises(MetricError, match="one row"):
        rank_inconsistencies([0.5, 0.4])


def test_words_are_kept() -> None:
    head = Categorical(D, ["Asian", "Black", "White"])
    assert (head.words, head.classes) == (("Asian", "Black", "White"), 3)
    assert Corn(D, 3).words == ("0", "1", "2")


def test_wrong_requests_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 2"):
        Categorical(D, 1)
    with pytest.raises(UsageError, match="each once"):
        Corn(D, ["a", "a"])
    with pytest.raises(UsageError, match="use categorical"):
        Binary(D, 3)
    with pytest.raises(UsageError, match="'zeros' or 'preinit'"):
        Coral(D, 3, init="ones")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="between 0 and 1"):
        Corn(D, 3).interval(torch.zeros(1, 2), math.inf)
    with pytest.raises(DataError, match="expected ranks"):
        Corn(D, 3).loss(torch.zeros(1, 2), torch.tensor([3]))
