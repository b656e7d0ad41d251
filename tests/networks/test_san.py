"""SAN's autoencoder: the facts of the papers, and the two exact identities that make it fast."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from halfmask.networks.gendercnn import GenderCNN, to_gray
from halfmask.networks.san import SAN, SANForExport, fold, unfold_phases


@pytest.fixture
def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return torch.rand(3, 1, 224, 224), torch.rand(3, 3, 224, 224), torch.rand(3, 3, 224, 224)


def test_has_the_size_of_the_released_checkpoint() -> None:
    net = SAN()
    assert sum(p.numel() for p in net.parameters()) == 324_248
    assert len(list(net.parameters())) == 10
    assert net._code(torch.rand(1, 1, 224, 224), torch.rand(1, 3, 224, 224)).shape == (1, 256, 56, 56)


def test_folding_is_exact_for_any_kernel_and_border() -> None:
    x = torch.randn(2, 5, 9, 7, dtype=torch.float64)
    weight, bias = torch.randn(4, 5, 3, 3, dtype=torch.float64), torch.randn(4, dtype=torch.float64)
    plain = F.conv2d(F.interpolate(x, scale_factor=2), weight, bias, padding=1)
    w, b = fold(weight, bias)
    assert torch.allclose(unfold_phases(F.conv2d(x, w, b, padding=1)), plain, atol=1e-12)


def test_fast_and_plain_forward_agree(inputs: tuple[torch.Tensor, ...]) -> None:
    face, same, other = inputs
    net = SAN()
    with torch.no_grad():
        fast = net(face, same, [same, other])
        plain = net.layer_by_layer(face, same, [same, other])
        exported = SANForExport(net)(face, same, other)
    for a, b in zip(fast, plain, strict=True):
        assert torch.allclose(a, b, atol=1e-6)
    assert torch.allclose(exported, plain[1], atol=1e-6)


def test_gradients_of_fast_and_plain_forward_agree() -> None:
    face, same, other = (torch.rand(2, c, 32, 32, dtype=torch.float64) for c in (1, 3, 3))
    grads = []
    for forward in ("forward", "layer_by_layer"):
        torch.manual_seed(5)
        net = SAN().double()
        sum((o * (i + 1)).sum() for i, o in enumerate(getattr(net, forward)(face, same, [same, other]))).backward()
        grads.append([p.grad for p in net.parameters()])
    for a, b in zip(*grads, strict=True):
        assert torch.allclose(a, b, atol=1e-10)


def test_opposite_is_a_constant_map_in_logit_space(inputs: tuple[torch.Tensor, ...]) -> None:
    """Whatever the face, logit(OP) - logit(SM) = w_p (P_OP - P_SM). A limit of SAN, kept visible."""
    face, same, other = inputs
    net = SAN().double()
    with torch.no_grad():
        sm, op = net(face.double(), same.double(), [same.double(), other.double()])
        expected = F.conv2d((other - same).double(), net.combine.weight[:, 128:])
    assert torch.allclose(torch.logit(op) - torch.logit(sm), expected, atol=1e-6)


def test_gender_classifier_has_the_papers_shape() -> None:
    net = GenderCNN()
    assert net.features(torch.rand(1, 1, 224, 224)).shape == (1, 256, 4, 4)
    convs = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d)]
    dense = [m for m in net.modules() if isinstance(m, torch.nn.Linear)]
    assert (len(convs), len(dense), dense[-1].out_features) == (6, 2, 2)


def test_gender_classifier_pools_before_its_activation_without_changing_the_result() -> None:
    net = GenderCNN(batch_norm=False).eval()
    x = torch.rand(2, 1, 224, 224)
    y = (x - 0.5) * 4
    for layer in net.features:
        if isinstance(layer, torch.nn.Conv2d):
            y = F.max_pool2d(F.leaky_relu(layer(y), 0.1), 2, ceil_mode=True)
    with torch.no_grad():
        assert torch.allclose(net.head(y), net(x), atol=1e-5)


def test_dropout_acts_only_in_training() -> None:
    net, x = GenderCNN().eval(), torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(net(x), net(x))
        net.train()
        assert not torch.equal(net(x), net(x))


def test_gray_is_luma() -> None:
    red = torch.zeros(1, 3, 2, 2)
    red[:, 0] = 1
    assert torch.allclose(to_gray(red), torch.full((1, 1, 2, 2), 0.299))
