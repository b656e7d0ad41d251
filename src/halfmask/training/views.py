"""What happens to a photo on its way to an attacker, in the loop: JPEG, blur, low resolution, noise, another cut.

A change that lives in pixels which the next JPEG takes away hides nothing. All of it lets gradients through.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


def jpeg(faces: Tensor, quality: int) -> Tensor:
    """Faces (N, 3, H, W) in [0, 1] as real JPEG files of a quality (1 to 100) show them.

    The gradient passes as if nothing had happened (straight-through; Athalye et al. 2018, BPDA): what JPEG does to a
    small change is rounding, whose own gradient is zero.

    >>> x = torch.rand(1, 3, 16, 16, requires_grad=True)
    >>> jpeg(x, 80).sum().backward()
    >>> bool((x.grad == 1).all())
    True
    """
    pixels = faces.detach().float().clamp(0, 1).mul(255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
    out = np.empty_like(pixels)
    for i, face in enumerate(pixels):
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(face[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
        out[i] = np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR))[..., ::-1]
    seen = torch.from_numpy(out).to(faces.device).permute(0, 3, 1, 2).float() / 255
    return faces + (seen - faces).detach()


def low_resolution(faces: Tensor, factor: float) -> Tensor:
    """Faces (N, 3, H, W) shrunk by a factor above 1 (area mean) and enlarged again."""
    side = max(8, round(faces.shape[2] / factor))
    small = F.interpolate(faces, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, faces.shape[2:], mode="bilinear", align_corners=False)


def moved(
    faces: Tensor, rng: np.random.Generator, turn: float = 6.0, zoom: float = 0.06, shift: float = 0.04
) -> Tensor:
    """Faces (N, 3, H, W), each turned (degrees), scaled, shifted (share of the side) and mirrored by chance."""
    n = len(faces)
    angle = np.radians(rng.uniform(-turn, turn, n))
    scale = 1 + rng.uniform(-zoom, zoom, n)
    mirror = np.where(rng.random(n) < 0.5, -1.0, 1.0)
    a, b = scale * np.cos(angle), scale * np.sin(angle)
    x, y = rng.uniform(-2 * shift, 2 * shift, (2, n))
    theta = torch.tensor(np.stack([a * mirror, -b, x, b * mirror, a, y], 1).reshape(n, 2, 3), dtype=torch.float32)
    grid = F.affine_grid(theta.to(faces.device), [*faces.shape], align_corners=False)
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode="reflection", align_corners=False)


def view(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """One way that faces (N, 3, H, W) in [0, 1] may reach a classifier; differentiable, drawn from ``rng``.

    Every face is moved and gets its own gain of light; then the batch is one of: as it is, JPEG of quality 40 to 90,
    blurred, of a third to full resolution, or noisy.
    """
    out = moved(faces, rng)
    gain = torch.tensor(rng.uniform(0.85, 1.15, (len(faces), 1, 1, 1)), dtype=out.dtype, device=out.device)
    out = (out * gain).clamp(0, 1)
    kind = rng.integers(0, 6)
    if kind == 1:
        return jpeg(out, int(rng.integers(40, 91)))
    if kind == 2:
        return F.avg_pool2d(F.pad(out, (1, 1, 1, 1), mode="replicate"), 3, 1)
    if kind == 3:
        return low_resolution(out, math.exp(rng.uniform(0, math.log(3))))
    if kind == 4:
        noise = torch.from_numpy(rng.normal(0, rng.uniform(0, 0.06), tuple(out.shape)).astype(np.float32))
        return out + noise.to(out.device)
    return out
