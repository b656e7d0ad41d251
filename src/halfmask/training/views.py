"""What happens to a photo on its way to a classifier, as training draws it."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from ..networks.gendercnn import to_gray
from ..networks.views import CLOSEST, jpeg, low_resolution, moved


def view(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """One way that faces (N, 3, H, W) in [0, 1] may reach a classifier; differentiable, drawn from ``rng``.

    Every face is moved and gets its own gain of light, and half of them are seen closer, by up to
    :data:`~halfmask.networks.views.CLOSEST`, since many classifiers cut faces tighter than our crop; then the batch is
    one of: as it is, JPEG of quality 40 to 90, blurred, of a third to full resolution, or noisy.
    """
    n = len(faces)
    angle, zoom = rng.uniform(-6, 6, n), 1 + rng.uniform(-0.06, 0.06, n)
    zoom = np.where(rng.random(n) < 0.5, zoom, np.exp(rng.uniform(0, math.log(CLOSEST), n)))
    mirror = rng.random(n) < 0.5
    x, y = rng.uniform(-0.04, 0.04, (2, n))
    out = moved(faces, turn=angle, zoom=zoom, shift=(x, y), mirror=mirror)
    gain = torch.tensor(rng.uniform(0.85, 1.15, (len(faces), 1, 1, 1)), dtype=out.dtype, device=out.device)
    out = (out * gain).clamp(0, 1)
    kind = rng.integers(0, 6)
    if kind == 1:
        return jpeg(out, int(rng.integers(40, 91)))
    if kind == 2:
        return F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1)
    if kind == 3:
        return low_resolution(out, round(out.shape[2] / math.exp(rng.uniform(0, math.log(3)))))
    if kind == 4:
        level = rng.uniform(0, 0.06)
        if out.device.type == "cuda":  # which would wait for numpy's
            chance = torch.Generator(out.device).manual_seed(int(rng.integers(2**62)))
            return out + level * torch.randn(out.shape, generator=chance, device=out.device, dtype=out.dtype)
        return out + torch.from_numpy(rng.normal(0, level, tuple(out.shape)).astype(np.float32))
    return out


def passing(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """One way that aligned faces (N, 3, S, S) in [0, 1] may reach a matcher: a little off, half of them as JPEG.

    Milder than :func:`halfmask.networks.views.view`: what it stands beside are untouched faces, seen plainly.
    """
    n = len(faces)
    zoom, (x, y) = 1 + rng.uniform(-0.03, 0.03, n), rng.uniform(-0.015, 0.015, (2, n))
    seen = moved(faces, turn=rng.uniform(-2, 2, n), zoom=zoom, shift=(x, y), mirror=rng.random(n) < 0.5)
    return jpeg(seen, int(rng.integers(75, 96))) if rng.random() < 0.5 else seen


def relit(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Faces (N, 3, H, W) in [0, 1] in another light, each its own: gamma, white balance, saturation."""
    n = len(faces)

    def each(low: float, high: float, wide: int = 1) -> Tensor:
        drawn = rng.uniform(np.log(low), np.log(high), (n, wide, 1, 1))
        return torch.from_numpy(np.exp(drawn).astype(np.float32)).to(faces.device)

    out = faces.clamp_min(1e-4) ** each(0.8, 1.25) * each(0.93, 1.07, 3)
    gray = to_gray(out)
    return (gray + (out - gray) * each(0.6, 1.3)).clamp(0, 1)
