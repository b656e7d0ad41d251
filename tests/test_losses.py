"""Loss terms against torch's own and numbers worked by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from halfmask.errors import DataError
from halfmask.losses import (
    coral_loss,
    corn_loss,
    importance_weights,
    j_d,
    j_g,
    j_m,
    l_attr,
    l_rec,
    levels,
    triplet_loss,
    wgan,
    wgan_gp,
)


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


def ordinal_cases(dtype: torch.dtype) -> list[tuple[torch.Tensor, torch.Tensor, int]]:
    """Logits, labels, classes: random, saturated, all labels alike, two classes, tasks that no face reaches."""
    generator = torch.Generator().manual_seed(1)
    cases = []
    for classes, high in ((2, 2), (5, 5), (40, 40), (40, 3), (9, 1)):
        labels = torch.randint(0, high, (64,), generator=generator)
        for scale in (1.0, 100.0):
            z = torch.randn(64, classes - 1, generator=generator, dtype=dtype)
            cases.append(((z.sign() * 100 if scale == 100 else z * 3), labels, classes))
    cases.append((torch.randn(8, 4, generator=generator, dtype=dtype), torch.full((8,), 4), 5))
    cases.append((torch.full((3, 4), 100, dtype=dtype), torch.tensor([0, 2, 4]), 5))
    cases.append((torch.full((3, 4), -100, dtype=dtype), torch.tensor([0, 2, 4]), 5))
    return cases


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_ordinal_losses_agree_with_coral_pytorch(dtype: torch.dtype) -> None:
    theirs = pytest.importorskip("coral_pytorch.losses", reason="needs coral-pytorch as the reference")
    for logits, labels, classes in ordinal_cases(dtype):
        weights = torch.linspace(0.2, 1, classes - 1, dtype=dtype)
        wanted = levels(labels, classes).to(dtype)
        for importance in (None, weights):
            a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
            ours, reference = coral_loss(a, labels, importance), theirs.coral_loss(b, wanted, importance)
            assert ours.item() == pytest.approx(reference.item(), rel=1e-6, abs=1e-6)
            ours.backward()
            reference.backward()
            assert torch.allclose(a.grad, b.grad, atol=1e-6)
        a, b = logits.clone().requires_grad_(), logits.clone().requires_grad_()
        ours, reference = corn_loss(a, labels), theirs.corn_loss(b, labels, classes)
        assert ours.item() == pytest.approx(reference.item(), rel=1e-6, abs=1e-6)
        ours.backward()
        reference.backward()
        assert torch.allclose(a.grad, b.grad, atol=1e-6)


def test_ordinal_losses_give_coral_pytorchs_documented_numbers() -> None:
    z = torch.tensor([[2.1, 1.8, -2.1, -1.8], [1.9, -1.0, -1.5, -1.3], [1.9, 1.8, 1.7, 1.6]])
    assert coral_loss(z, torch.tensor([2, 1, 4])).item() == pytest.approx(0.6920, abs=5e-5)
    torch.manual_seed(123)
    features = torch.rand(8, 99)
    logits = torch.nn.Linear(99, 4)(features)
    assert corn_loss(logits, torch.tensor([0, 1, 2, 2, 2, 3, 4, 4])).item() == pytest.approx(0.7127, abs=5e-5)


def test_levels_agree_with_coral_pytorch() -> None:
    theirs = pytest.importorskip("coral_pytorch.dataset", reason="needs coral-pytorch as the reference")
    labels = torch.randint(0, 7, (50,))
    assert torch.equal(levels(labels, 7).float(), theirs.levels_from_labelbatch(labels, 7))


def test_corn_with_importance_is_the_weighted_sum_over_all_pairs() -> None:
    logits, labels, w = torch.randn(6, 3, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 3, 0]), torch.rand(3).double()
    total, pairs = 0.0, 0
    for z, y in zip(logits.tolist(), labels.tolist(), strict=True):
        for k in range(min(y, 2) + 1):
            p = 1 / (1 + math.exp(-z[k]))
            total -= w[k].item() * math.log(p if y > k else 1 - p)
            pairs += 1
    assert corn_loss(logits, labels, w).item() == pytest.approx(total / pairs, rel=1e-12)


def test_infinite_logits_of_tasks_that_take_no_part_do_not_spoil_corn() -> None:
    logits = torch.tensor([[0.0, float("inf")]])
    assert corn_loss(logits, torch.tensor([0])).item() == pytest.approx(math.log(2))


def test_importance_is_the_authors_where_all_ranks_occur() -> None:
    """The loop of coral-cnn's task_importance_weights, shortened."""
    labels = torch.cat([torch.arange(12), torch.randint(0, 12, (200,)), torch.full((90,), 3)])
    m = torch.zeros(11)
    for i, t in enumerate(torch.arange(labels.min(), labels.max())):
        above = int((labels > t).sum())
        m[i] = math.sqrt(max(above, len(labels) - above))
    assert torch.allclose(importance_weights(labels, 12), m / m.max(), atol=1e-7)


def test_importance_stays_with_its_task_where_ranks_are_absent() -> None:
    got = importance_weights(torch.tensor([2, 2, 2, 3]), 6)  # nobody below 2 or above 3
    assert got.tolist() == pytest.approx([1, 1, math.sqrt(3 / 4), 1, 1])


def test_labels_out_of_range_or_kind_are_refused() -> None:
    z = torch.zeros(2, 3)
    for labels in (torch.tensor([0, 4]), torch.tensor([-1, 0])):
        for use in (lambda y: coral_loss(z, y), lambda y: corn_loss(z, y), lambda y: importance_weights(y, 4)):
            with pytest.raises(DataError, match=r"expected ranks 0\.\.3"):
                use(labels)
    with pytest.raises(ValueError, match="integer ranks"):
        levels(torch.tensor([0.5]), 3)
    with pytest.raises(ValueError, match="one row a label"):
        coral_loss(z, torch.tensor([1]))
    with pytest.raises(ValueError, match="one a task"):
        coral_loss(z, torch.tensor([1, 2]), torch.ones(4))
    with pytest.raises(DataError, match="no label"):
        importance_weights(torch.tensor([], dtype=torch.long), 4)


def test_gradient_penalty_equals_numeric_differences() -> None:
    """Every partial derivative of the critic at X^ by central differences, in double precision."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(2, 3, 3), nn.Tanh(), nn.Conv2d(3, 1, 2)).double()
    real, fake = torch.rand(2, 2, 2, 5, 5, dtype=torch.double)
    share = torch.tensor([0.2, 0.7], dtype=torch.double)
    norms = []
    for r, f, s in zip(real, fake, share, strict=True):
        point = s * r + (1 - s) * f
        steps = 1e-5 * torch.eye(point.numel(), dtype=torch.double).view(-1, *point.shape)
        with torch.no_grad():
            slopes = (critic(point + steps).sum((1, 2, 3)) - critic(point - steps).sum((1, 2, 3))) / 2e-5
        norms.append(slopes.square().sum().sqrt())
    wanted = ((torch.stack(norms) - 1) ** 2).mean()
    assert wgan_gp(critic, real, fake, share).item() == pytest.approx(wanted.item(), rel=1e-6)


def test_gradient_penalty_teaches_the_critic_not_the_generator() -> None:
    """Of D(x) = w x the penalty is (|w| sqrt(n) - 1)^2, whose slope in w is known; X' gets none."""
    weight = torch.tensor(0.5, requires_grad=True)
    fake = torch.rand(3, 1, 2, 2, requires_grad=True)
    penalty = wgan_gp(lambda x: weight * x, torch.rand(3, 1, 2, 2), fake, torch.rand(3))
    assert penalty.item() == pytest.approx((0.5 * 2 - 1) ** 2, abs=1e-9)
    weight.data.fill_(0.8)
    wgan_gp(lambda x: weight * x, torch.rand(3, 1, 2, 2), fake, torch.rand(3)).backward()
    assert weight.grad is not None
    assert weight.grad.item() == pytest.approx(2 * (0.8 * 2 - 1) * 2, rel=1e-4)
    assert fake.grad is None


def test_gradient_penalty_in_bfloat16_is_near() -> None:
    """The recipe's critic runs under autocast, through which the gradient is differentiated again."""
    torch.manual_seed(0)
    critic = nn.Sequential(nn.Conv2d(3, 16, 4, 2, 1), nn.LeakyReLU(0.01), nn.Conv2d(16, 1, 4, 2, 1))
    real, fake, share = torch.rand(4, 3, 16, 16), torch.rand(4, 3, 16, 16), torch.rand(4)
    found = {}
    for half in (False, True):
        critic.zero_grad()
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            penalty = wgan_gp(critic, real, fake, share)
        penalty.backward()
        found[half] = penalty.item(), critic[0].weight.grad.clone()
    assert found[True][0] == pytest.approx(found[False][0], rel=0.02)
    assert F.cosine_similarity(found[True][1].flatten(), found[False][1].flatten(), 0) > 0.999


def test_wgan_cycle_and_match_terms_by_hand() -> None:
    real, fake = torch.rand(2, 1, 3, 3), torch.rand(2, 1, 3, 3)
    assert wgan(real, fake).item() == pytest.approx((fake.numpy().mean() - real.numpy().mean()).item(), abs=1e-6)
    assert l_rec(real, fake).item() == pytest.approx(F.l1_loss(fake, real).item())


def test_attribute_term_leaves_unknown_classes_out() -> None:
    logits = {"gender": torch.randn(4, 2), "race": torch.randn(4, 3)}
    ranks = {"gender": torch.tensor([0, 1, -1, 1]), "race": torch.tensor([-1, -1, 2, -1])}
    wanted = F.cross_entropy(logits["gender"][[0, 1, 3]], torch.tensor([0, 1, 1]))
    wanted += F.cross_entropy(logits["race"][[2]], torch.tensor([2]))
    assert l_attr(logits, ranks).item() == pytest.approx(wanted.item(), rel=1e-6)
