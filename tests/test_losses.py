"""Loss terms against torch's own and numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from halfmask.losses import j_d, j_g, j_m, triplet_loss


def test_pixelwise_cross_entropy_has_both_terms() -> None:
    """The published Keras code lacks (1 - t) log(1 - o), which makes an all-white picture the optimum."""
    face, output = torch.rand(3, 1, 8, 8), torch.rand(3, 1, 8, 8)
    assert j_d(output, face).item() == pytest.approx(F.binary_cross_entropy(output, face).item(), abs=1e-6)
    white = torch.ones_like(face)
    assert j_d(white, face) > j_d(face, face)


def test_cross_entropy_survives_saturated_outputs() -> None:
    face = torch.tensor([0.0, 1.0, 0.5]).view(1, 1, 1, 3)
    output = torch.tensor([1.0, 0.0, 0.0], requires_grad=True).view(1, 1, 1, 3)
    loss = j_d(output, face)
    assert torch.isfinite(loss)


def test_mse_is_the_slides_variant() -> None:
    face, output = torch.rand(2, 1, 4, 4), torch.rand(2, 1, 4, 4)
    assert j_d(output, face, "mse").item() == pytest.approx(((face - output) ** 2).mean().item())


def test_gender_term_flips_the_label_not_the_batch() -> None:
    """With a batch of one gender, reversing the batch (the Keras code's defect) would ask OP to stay that gender."""
    women = torch.zeros(4, dtype=torch.long)
    says_woman, says_man = torch.tensor([[5.0, -5.0]]).repeat(4, 1), torch.tensor([[-5.0, 5.0]]).repeat(4, 1)
    assert j_g(says_woman, says_man, women) < 1e-3
    assert j_g(says_woman, says_woman, women) > 9
    assert j_g(says_man, says_woman, 1 - women) < 1e-3


def test_gender_term_is_the_sum_of_two_cross_entropies() -> None:
    sm, op, y = torch.randn(6, 2), torch.randn(6, 2), torch.randint(0, 2, (6,))
    by_hand = 0.0
    for i in range(6):
        for logits, label in ((sm[i], y[i]), (op[i], 1 - y[i])):
            by_hand -= math.log(torch.softmax(logits, 0)[label].item()) / 6
    assert j_g(sm, op, y).item() == pytest.approx(by_hand, rel=1e-5)


def test_matching_term_is_the_squared_distance() -> None:
    a, b = torch.randn(5, 16), torch.randn(5, 16)
    assert j_m(a, b).item() == pytest.approx(torch.linalg.norm(a - b, dim=1).square().mean().item(), rel=1e-5)


def test_triplet_loss_agrees_with_torch() -> None:
    a, p, n = torch.randn(3, 7, 12).unbind(0)
    distance = lambda x, y: (x - y).square().sum(1)  # noqa: E731
    reference = torch.nn.TripletMarginWithDistanceLoss(distance_function=distance, margin=0.7)
    assert triplet_loss(a, p, n, 0.7).item() == pytest.approx(reference(a, p, n).item(), rel=1e-5)
