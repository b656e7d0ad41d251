"""Iterative gradient perturbation of faces: P-FGVM and its baselines I-FGVM and I-FGSM, in one function.

Chatzikyriakidis, Papaioannidis, Pitas: *Adversarial Face De-Identification*, ICIP 2019; the equations are its slides'.
With x the image, x_i what became of it after i steps, l the loss that is descended (of a classifier against a target
label, or anything else that is differentiable), step size α, and clip_[a,b] per pixel::

    P-FGVM   x_{i+1} = clip_[0,1]( x_i − α (∇l(x_i) + λ (x_i − x)) )
    I-FGVM   x_{i+1} = clip_[0,1]( clip_[x−ε,x+ε]( x_i − α ∇l(x_i) ) )
    I-FGSM   x_{i+1} = clip_[0,1]( clip_[x−ε,x+ε]( x_i − α sign ∇l(x_i) ) )

The slides start at x_0 = x and, in one figure, from Gaussian noise (:func:`gaussian_start`). They say neither how many
steps are made nor when to stop: here each image stops by itself as soon as it succeeds.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, get_args

from ..errors import UsageError

if TYPE_CHECKING:  # the core is installed without torch
    from torch import Tensor

Rule = Literal["p-fgvm", "i-fgvm", "i-fgsm"]


@dataclass(frozen=True)
class Perturbed:
    """What :func:`perturb` made.

    ``images`` (N, C, H, W) in [0, 1], whether each ``succeeded`` (N,) bool, and after how many ``steps`` (N,) int64 the
    image that is returned was reached.
    """

    images: Tensor
    succeeded: Tensor
    steps: Tensor


def perturb(
    images: Tensor,
    loss: Callable[[Tensor, Tensor], Tensor],
    success: Callable[[Tensor, Tensor], Tensor] | None,
    *,
    rule: Rule = "p-fgvm",
    step: float,
    steps: int,
    weight: float = 0.0,
    epsilon: float | None = None,
    start: Tensor | None = None,
    stop: bool = True,
    momentum: float = 0.0,
    transform: Callable[[Tensor], Tensor] | None = None,
    project: Callable[[Tensor, Tensor], Tensor] | None = None,
    watch: Callable[[int, Tensor], None] | None = None,
) -> Perturbed:
    """Perturb each image until ``success``, by the ``rule`` of the module's equations. Images do not affect each other.

    ``images`` is float (N, C, H, W) in [0, 1]. ``loss(x, rows)`` and ``success(x, rows)`` are asked about some of them
    as they are now: x is (M, C, H, W), ``rows`` (M,) int64 says which of the N they are, so that labels can be picked;
    they answer with (M,) losses, each of its own image only (networks in evaluation mode), and (M,) bools. Without
    ``success`` all steps are made.

    ``step`` is α, ``steps`` the most steps, ``weight`` is λ (P-FGVM only), ``epsilon`` is ε (the others only, which
    must have it). ``start`` (N, C, H, W) is x_0, the image itself by default.

    With ``stop`` an image stays as it is once it succeeded. Without, it makes all steps, and of the states that
    succeeded the one nearest to the image (in L2) is returned, the last state if none did: so it is for a start far
    away, where success comes long before likeness.

    Beyond the paper, and off by default: ``transform`` changes the gradient (M, C, H, W) before anything else is done
    with it; with ``momentum`` μ the rules use v_i = μ v_{i−1} + ∇l instead of ∇l (λ's term stays outside).
    ``project(x, rows)`` moves the images after each step to where they may be.
    ``watch(i, x)`` sees all N images after each step i, and at i = 0 the start.

    Raises :class:`~halfmask.errors.UsageError` for settings that do not belong to the rule and images that are not in
    [0, 1], ``FloatingPointError`` when a gradient is not finite.

    >>> import torch
    >>> gray = torch.full((2, 3, 4, 4), 0.5)
    >>> goal = torch.tensor([0.6, 0.9])  # darken one to less than 0.6 of it, the other to less than 0.9
    >>> made = perturb(
    ...     gray, lambda x, rows: x.flatten(1).sum(1), lambda x, rows: x.mean((1, 2, 3)) < 0.5 * goal[rows],
    ...     rule="i-fgsm", step=0.03, epsilon=0.1, steps=50,
    ... )
    >>> made.succeeded.tolist(), made.steps.tolist(), [round(float(x.mean()), 2) for x in made.images]
    ([False, True], [50, 2], [0.4, 0.44])
    """
    import torch

    _check(images, rule, step=step, steps=steps, weight=weight, epsilon=epsilon, start=start, momentum=momentum)
    original = images.detach()
    x = (original if start is None else start.detach().to(original)).clone()
    nearest_x, reached = x.clone(), torch.full((len(x),), steps, device=x.device)
    nearest = torch.full((len(x),), torch.inf, dtype=x.dtype, device=x.device)
    succeeded = torch.zeros(len(x), dtype=torch.bool, device=x.device)
    velocity = torch.zeros_like(x) if momentum else None
    rows = torch.arange(len(x), device=x.device)  # those that still move
    for i in range(steps + 1):
        if watch:
            watch(i, x)
        if success is not None and len(rows):
            with torch.no_grad():
                done = success(x[rows], rows)
            hit = rows[done]
            distance = (x[hit] - original[hit]).flatten(1).norm(dim=1)
            better = distance < nearest[hit]
            hit, distance = hit[better], distance[better]
            nearest_x[hit], nearest[hit], reached[hit], succeeded[hit] = x[hit], distance, i, True
            if stop:
                rows = rows[~done]
        if i == steps or not len(rows):
            break
        now = x[rows].requires_grad_()
        (gradient,) = torch.autograd.grad(loss(now, rows).sum(), now)
        if not torch.isfinite(gradient).all():
            raise FloatingPointError(f"step {i + 1}: the loss has a gradient that is not finite; make step smaller")
        if transform is not None:
            gradient = transform(gradient)
        if velocity is not None:
            gradient = velocity[rows] = momentum * velocity[rows] + gradient
        x[rows] = _updated(now.detach(), original[rows], gradient, rule, step, weight, epsilon)
        if project is not None:
            x[rows] = project(x[rows], rows)
    nearest_x[~succeeded] = x[~succeeded]
    return Perturbed(nearest_x, succeeded, reached)


def gaussian_start(images: Tensor, seed: int = 0, mean: float = 0.5, deviation: float = 0.2) -> Tensor:
    """Gaussian noise of the images' shape, clipped to [0, 1]: the other start of the slides.

    The slides do not give its mean and deviation. The noise of image n follows from ``seed`` and n.

    >>> import torch
    >>> two, one = gaussian_start(torch.zeros(2, 3, 8, 8), seed=1), gaussian_start(torch.zeros(1, 3, 8, 8), seed=1)
    >>> two.shape, bool((two[:1] == one).all())
    (torch.Size([2, 3, 8, 8]), True)
    """
    import torch

    random = torch.Generator().manual_seed(seed)  # on the CPU, so that devices agree
    noise = [torch.randn(image.shape, generator=random) for image in images]
    return (mean + deviation * torch.stack(noise)).clamp(0, 1).to(images)


def _updated(
    now: Tensor, original: Tensor, gradient: Tensor, rule: Rule, step: float, weight: float, epsilon: float | None
) -> Tensor:
    """One step of the module's equations."""
    if rule == "p-fgvm":
        return (now - step * (gradient + weight * (now - original))).clamp(0, 1)
    assert epsilon is not None
    moved = now - step * (gradient.sign() if rule == "i-fgsm" else gradient)
    return moved.clamp(original - epsilon, original + epsilon).clamp(0, 1)


def _check(
    images: Tensor,
    rule: str,
    *,
    step: float,
    steps: int,
    weight: float,
    epsilon: float | None,
    start: Tensor | None,
    momentum: float,
) -> None:
    if rule not in get_args(Rule):
        raise UsageError(f"rule is {rule!r}, expected one of {', '.join(get_args(Rule))}")
    if images.ndim != 4 or not images.is_floating_point():
        raise UsageError(f"images are {images.dtype} {tuple(images.shape)}, expected floats (N, C, H, W)")
    if images.numel() and not (float(images.min()) >= 0 and float(images.max()) <= 1):  # NaN fails, too
        raise UsageError(f"images lie in [{float(images.min()):g}, {float(images.max()):g}], expected [0, 1]")
    if start is not None and start.shape != images.shape:
        raise UsageError(f"start has shape {tuple(start.shape)}, expected the images' {tuple(images.shape)}")
    if not step > 0 or steps < 0 or weight < 0 or not 0 <= momentum < 1:
        raise UsageError(
            f"got step {step}, steps {steps}, weight {weight}, momentum {momentum}; expected a step above 0, "
            "steps and a weight of 0 or more, and a momentum from 0 to below 1"
        )
    if rule == "p-fgvm" and epsilon is not None:
        raise UsageError("P-FGVM has no box; leave epsilon out, and hold the image near with weight (λ)")
    if rule != "p-fgvm" and (weight or epsilon is None or not epsilon > 0):
        raise UsageError(
            f"{rule} has a box and no λ: expected epsilon above 0 and weight 0, got {epsilon} and {weight}"
        )
