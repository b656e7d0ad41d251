"""Every loss term of the papers by its symbol. Batches are means unless the paper sums, and then it says so.

Symbols are those of Mirjalili, Raschka, Namboodiri, Ross 2018 (SAN), section 3: X the face, X' an output, y the gender
label, S the cross-entropy, R the matcher's descriptor.
"""

from __future__ import annotations

from typing import Literal

from torch import Tensor
from torch.nn import functional as F


def j_d(output: Tensor, face: Tensor, kind: Literal["cross_entropy", "mse"] = "cross_entropy") -> Tensor:
    """J_D, the dissimilarity of the SM output and the face (SAN eq. 2), a mean over pixels and batch.

    Both (N, 1, H, W) in [0, 1]. The paper sums the pixel-wise cross-entropy over the pixels; the mean differs by the
    constant H W, which an adaptive optimiser does not feel, and keeps the figure readable. ``mse`` is the slides'
    variant. The entropy of the face is the floor of the cross-entropy: it does not reach 0.

    >>> import torch
    >>> round(j_d(torch.full((1, 1, 2, 2), 0.5), torch.ones(1, 1, 2, 2)).item(), 4)
    0.6931
    """
    if kind == "mse":
        return F.mse_loss(output, face)
    # not F.binary_cross_entropy: autocast refuses it; the clamp is the one that it applies to its logarithms
    log_o = output.clamp_min(1e-12).log().clamp_min(-100)
    log_1_o = (1 - output).clamp_min(1e-12).log().clamp_min(-100)
    return -(face * log_o + (1 - face) * log_1_o).mean()


def j_g(logits_sm: Tensor, logits_op: Tensor, gender: Tensor) -> Tensor:
    """J_G = S(y, f_G(X'_SM)) + S(1 - y, f_G(X'_OP)) (SAN eq. 3): the classifier is to be right on SM, wrong on OP.

    Logits (N, 2) for female, male; ``gender`` (N,) of 0, 1. The true 1 - y, not the reversed batch of the published
    Keras code.

    >>> import torch
    >>> sure = torch.tensor([[9.0, -9.0]])
    >>> j_g(sure, -sure, torch.tensor([0])).item() < 1e-6
    True
    """
    return F.cross_entropy(logits_sm, gender) + F.cross_entropy(logits_op, 1 - gender)


def j_m(output: Tensor, face: Tensor) -> Tensor:
    """J_M = ||R(X') - R(X)||^2 of two descriptor batches (N, D) (SAN eq. 4), a mean over the batch.

    >>> import torch
    >>> j_m(torch.zeros(2, 3), torch.ones(2, 3)).item()
    3.0
    """
    return (output - face).square().sum(1).mean()


def triplet_loss(anchor: Tensor, positive: Tensor, negative: Tensor, margin: float = 0.2) -> Tensor:
    """max(0, ||a - p||^2 - ||a - n||^2 + margin), a mean over triplets; descriptors (N, D) (slides 002; FaceNet eq. 1).

    >>> import torch
    >>> a, n = torch.zeros(1, 2), torch.full((1, 2), 0.1)
    >>> round(triplet_loss(a, a, n).item(), 2)
    0.18
    """
    near = (anchor - positive).square().sum(1)
    far = (anchor - negative).square().sum(1)
    return F.relu(near - far + margin).mean()
