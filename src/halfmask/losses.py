"""Every loss term of the papers by its symbol. Batches are means unless the paper sums, and then it says so.

Symbols are those of Mirjalili, Raschka, Namboodiri, Ross 2018 (SAN), section 2.3: X the face, X' an output, y the
gender label, S the cross-entropy, R the matcher's descriptor.

PrivacyNet's terms (Mirjalili, Raschka, Ross 2020) are those of StarGAN (Choi et al. 2018) and a matching term, which is
:func:`j_m`; X is the face, X' = G(X, c') an output, c the classes of gender, age and race.

halfmask's own terms (docs/method.md): X' = X + s G(X, t), t the drawn targets, s the strength; q is what a reader
believes, e a matcher's descriptor. Each is an amount above a budget or a divergence, at least 0, 0 where all is well.

The ordinal losses are those of Niu et al. 2016 (OR-CNN), Cao, Mirjalili, Raschka 2020 (CORAL) and Shi, Cao, Raschka
2023 (CORN). Labels are integer ranks 0..K-1 everywhere; :func:`levels` makes the K-1 binary tasks "is the rank above
k?" of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

from .errors import DataError


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


def wgan(real: Tensor, fake: Tensor) -> Tensor:
    """- E[D(X)] + E[D(X')], what the critic minimises (WGAN-GP, Gulrajani et al. 2017, eq. 3 without its penalty).

    The critic's unbounded answers of any shape; the generator minimises - E[D(X')].

    >>> wgan(torch.tensor([3.0, 1.0]), torch.tensor([-1.0])).item()
    -3.0
    """
    return fake.mean() - real.mean()


def wgan_gp(critic: Callable[[Tensor], Tensor], real: Tensor, fake: Tensor, share: Tensor) -> Tensor:
    """The gradient penalty E[(||grad D(X^)||_2 - 1)^2], X^ = share X + (1 - share) X' (WGAN-GP, eq. 3).

    ``real`` and ``fake`` are (N, C, H, W), ``share`` (N,) in [0, 1] is drawn anew each time. ``critic`` answers each
    face with any number of values; as in StarGAN's code their *sum* is differentiated. To be differentiated again.

    >>> double = lambda x: 2 * x.flatten(1)[:, 0]
    >>> wgan_gp(double, torch.rand(4, 1, 2, 2), torch.rand(4, 1, 2, 2), torch.rand(4)).item()
    1.0
    """
    between = torch.lerp(fake.detach(), real, share.view(-1, 1, 1, 1)).requires_grad_()
    (gradient,) = torch.autograd.grad(critic(between).float().sum(), between, create_graph=True)
    out: Tensor = (gradient.float().flatten(1).norm(dim=1) - 1).square().mean()
    return out


def l_rec(face: Tensor, back: Tensor) -> Tensor:
    """||X - G(G(X, c'), c)||_1, the cycle's loss (CycleGAN, Zhu et al. 2017, eq. 2), a mean over pixels and batch.

    >>> l_rec(torch.zeros(1, 3, 2, 2), torch.full((1, 3, 2, 2), -0.5)).item()
    0.5
    """
    return (face - back).abs().mean()


def l_attr(logits: Mapping[str, Tensor], ranks: Mapping[str, Tensor]) -> Tensor:
    """The sum over the attributes of the cross-entropy, each a mean over the faces whose class is known.

    ``logits`` (N, K) and ``ranks`` (N,) 0..K-1, or -1 where unknown, by attribute. An attribute of which no face's
    class is known adds nothing.

    >>> two = {"gender": torch.zeros(2, 2), "race": torch.zeros(2, 4)}
    >>> round(l_attr(two, {"gender": torch.tensor([0, -1]), "race": torch.tensor([-1, -1])}).item(), 4)
    0.6931
    """
    parts = []
    for name, z in logits.items():
        # not ignore_index with a mean: that is NaN when every class is unknown
        total = F.cross_entropy(z, ranks[name], ignore_index=-1, reduction="sum")
        parts.append(total / (ranks[name] >= 0).sum().clamp(min=1))
    return torch.stack(parts).sum()


def soft(target: Tensor, classes: int, confidence: float) -> Tensor:
    """Aims (N, ``classes``) of targets (N,): ``confidence`` on the target, the rest spread evenly.

    A target of -1 gives an even row, which whoever asks leaves out.

    >>> soft(torch.tensor([1, -1]), 2, 0.9).tolist()
    [[0.1..., 0.8...], [0.5, 0.5]]
    """
    rest = (1 - confidence) / (classes - 1)
    aim = torch.full((len(target), classes), rest, device=target.device)
    aim.scatter_(1, target.clamp_min(0)[:, None], confidence)
    return torch.where(target[:, None] >= 0, aim, torch.full_like(aim, 1 / classes))


def l_aim(believed: Tensor, aim: Tensor, counts: Tensor) -> Tensor:
    """KL(aim || q), a mean over the batch of the faces that count: readers are to believe just what is aimed at.

    ``believed`` q and ``aim`` are probabilities (N, K), ``counts`` (N,) bool. Cross-entropy less the aim's own entropy,
    so it is 0 when the reader believes the aim. It serves what is hidden (the aim is the drawn target's, see
    :func:`soft`) and what is kept (the aim is what the reader believed of the untouched face).

    >>> even = torch.full((2, 2), 0.5)
    >>> l_aim(even, even, torch.tensor([True, False])).item()
    0.0
    """
    aim, believed = aim.clamp_min(1e-6), believed.clamp_min(1e-6)
    return ((aim * (aim.log() - believed.log())).sum(1) * counts).mean()


def l_told(logits: Tensor, counts: Tensor) -> Tensor:
    """max_k KL(1/2 || q_k), a mean over the batch: no reader that is told the target knows the truth.

    ``logits`` (K, N) are of K readers for "the truth is male", ``counts`` (N,) bool. A reader trained by cross-entropy
    on what this makes is the adversary of Edwards and Storkey 2016; the maximum is over the best of several.

    >>> l_told(torch.zeros(3, 4), torch.ones(4, dtype=torch.bool)).item()
    0.0
    """
    even = -0.5 * (F.logsigmoid(logits) + F.logsigmoid(-logits)) - torch.log(torch.tensor(2.0))
    return (even.amax(0) * counts).mean()


def l_match(descriptors: Tensor, aims: Tensor, budget: Tensor) -> Tensor:
    """max(0, 1 - cos(e', e*) - budget), a mean over the batch; (N, D), (N, D) and (N,) or a scalar.

    >>> e = torch.eye(2)
    >>> l_match(e, e.flip(0), torch.tensor(0.25)).item()
    0.75
    """
    return F.relu(1 - F.cosine_similarity(descriptors, aims) - budget).mean()


def l_apart(descriptors: Tensor, own: Tensor, kind: Tensor, limit: float) -> Tensor:
    """max(0, cos(e' - m, e - m) - limit), a mean over the batch: a matcher is to see somebody else.

    e' descriptors of changed faces, e (``own``) of the untouched ones, m (``kind``) the mean of all people of the same
    kind, each (N, D). At 0 the face is as good as drawn among people of its kind.

    >>> e, m = torch.eye(2), torch.zeros(2, 2)
    >>> l_apart(e, e, m, 0.25).item(), l_apart(e, -e, m, 0.25).item()
    (0.75, 0.0)
    """
    return F.relu(F.cosine_similarity(descriptors - kind, own - kind) - limit).mean()


def e_star(untouched: Tensor, axis: Tensor, target: Tensor, truth: Tensor, share: float) -> Tensor:
    """e* = unit(e + share (mu_target - mu_truth)): the same person, with the target's gender (docs/method.md).

    ``untouched`` descriptors (N, D) of length 1, ``axis`` (N, D) the means of men less those of women, of each face's
    group, ``target`` and ``truth`` (N,) of 0 and 1; a target of -1 (gender is kept) leaves e as it is. When every
    descriptor arrives at e* with share 1, men and women with one target have one mean.

    >>> e, axis = torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])
    >>> e_star(e, axis, torch.tensor([1]), torch.tensor([0]), 1.0).tolist()
    [[0.707..., 0.707...]]
    """
    side = torch.where(target >= 0, target - truth, torch.zeros_like(target)).to(untouched.dtype)
    return F.normalize(untouched + share * side[:, None] * axis)


def over(amount: Tensor, budget: Tensor | float) -> Tensor:
    """max(0, amount - budget), a mean: what a budget allows costs nothing, since budgets are there to be used.

    >>> over(torch.tensor([1.0, 3.0]), 2.0).item()
    0.5
    """
    return F.relu(amount - budget).mean()


def hinge(real: Tensor, changed: Tensor) -> Tensor:
    """max(0, 1 - D(X)) + max(0, 1 + D(X')), means, what the critic minimises (Miyato et al. 2018, eq. 16).

    >>> hinge(torch.ones(2), -torch.ones(2)).item()
    0.0
    """
    return F.relu(1 - real).mean() + F.relu(1 + changed).mean()


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


def levels(labels: Tensor, classes: int) -> Tensor:
    """Ranks (N,) of 0..``classes``-1 as binary tasks (N, ``classes``-1), bool: task k says whether the rank exceeds k.

    Raises :class:`~halfmask.errors.DataError` for a label outside its range, ``ValueError`` for labels that are not
    integers in one row.

    >>> levels(torch.tensor([0, 2]), 4).int().tolist()
    [[0, 0, 0], [1, 1, 0]]
    """
    _check(labels, classes)
    return labels[:, None] > torch.arange(classes - 1, device=labels.device)


def or_loss(logits: Tensor, labels: Tensor, importance: Tensor | None = None) -> Tensor:
    """- sum_k w_k [y_k log s(z_k) + (1 - y_k) log(1 - s(z_k))], a mean over the batch (OR-CNN; CORAL, the same).

    ``logits`` (N, K-1), ``labels`` (N,) ranks 0..K-1, ``importance`` the w_k, (K-1,), all 1 when None; see
    :func:`importance_weights`. OR-CNN and CORAL share the formula and differ in the layer before it.

    >>> z = torch.tensor([[2.1, 1.8, -2.1, -1.8], [1.9, -1.0, -1.5, -1.3], [1.9, 1.8, 1.7, 1.6]])
    >>> round(or_loss(z, torch.tensor([2, 1, 4])).item(), 4)
    0.692
    """
    return _tasks(logits, labels, importance).sum(1).mean()


coral_loss = or_loss


def corn_loss(logits: Tensor, labels: Tensor, importance: Tensor | None = None) -> Tensor:
    """The conditional loss of CORN: task k learns P(y > k | y >= k), from faces of rank k and above alone.

    Shapes as in :func:`or_loss`. The sum over tasks and faces is divided by the number of (face, task) pairs that take
    part, as in coral-pytorch >= 1.3. A task without faces adds nothing. ``importance`` weighs the tasks; the paper does
    not.

    >>> round(corn_loss(torch.zeros(3, 2), torch.tensor([0, 1, 2])).item(), 4)
    0.6931
    """
    tasks = _tasks(logits, labels, importance)
    reached = labels[:, None] >= torch.arange(logits.shape[1], device=labels.device)
    # where, not a product: an infinite term of a task that takes no part would make the sum NaN
    return torch.where(reached, tasks, 0.0).sum() / reached.sum()


def importance_weights(labels: Tensor, classes: int) -> Tensor:
    """CORAL's task importance sqrt(m_k) / max sqrt(m) with m_k = max(#{y > k}, N - #{y > k}); (K-1,) float32.

    ``labels`` are all ranks (N,) of the training set. Where these reach from 0 to K-1, this is the authors' code; that
    code counts tasks from the lowest rank *present* and leaves 0 beyond the highest, here weight k is always task k's.

    >>> importance_weights(torch.tensor([0, 0, 0, 1, 2]), 3).tolist()
    [0.866..., 1.0]
    """
    _check(labels, classes)
    if not len(labels):
        raise DataError("got no label, expected those of the training set to weigh the tasks by")
    below = torch.bincount(labels, minlength=classes)[:-1].cumsum(0)
    larger = torch.maximum(below, len(labels) - below).double().sqrt()
    return (larger / larger.max()).float()


def _tasks(logits: Tensor, labels: Tensor, importance: Tensor | None) -> Tensor:
    """Binary cross-entropy of every task, weighted; (N, K-1)."""
    if logits.ndim != 2 or len(logits) != len(labels):
        raise ValueError(f"logits have shape {tuple(logits.shape)}, expected ({len(labels)}, K-1): one row a label")
    target = levels(labels, logits.shape[1] + 1).to(logits.dtype)
    if importance is not None and importance.shape != logits.shape[1:]:
        raise ValueError(f"importance has shape {tuple(importance.shape)}, expected ({logits.shape[1]},): one a task")
    return F.binary_cross_entropy_with_logits(logits, target, weight=importance, reduction="none")


def _check(labels: Tensor, classes: int) -> None:
    if labels.ndim != 1 or labels.is_floating_point() or classes < 2:
        raise ValueError(
            f"got {labels.dtype} labels of shape {tuple(labels.shape)} and {classes} classes; "
            "expected integer ranks (N,) and at least 2 classes"
        )
    low, high = (int(labels.min()), int(labels.max())) if len(labels) else (0, 0)
    if low < 0 or high >= classes:
        raise DataError(
            f"labels reach from {low} to {high}, expected ranks 0..{classes - 1}; "
            "leave out faces whose label is unknown (-1)"
        )
