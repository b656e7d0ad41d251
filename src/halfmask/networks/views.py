"""What may happen to a photo before somebody looks at it, and how much of it is left: all of it lets gradients through.

A change that lives in pixels which the next resize or JPEG takes away protects nothing, so whoever makes one has to put
these into the loop. Everything here is a function of what it is given; whoever wants chance draws it beforehand.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import Literal

import cv2
import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor
from torch.nn import functional as F

from .gendercnn import to_gray

#: By how much closer than our crop classifiers may look: from forehead to chin, the tightest cut in use.
CLOSEST = 1.6


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

    def passed(face: NDArray[np.uint8]) -> NDArray[np.uint8]:
        _, data = cv2.imencode(".jpg", np.ascontiguousarray(face[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, quality])
        return np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR), np.uint8)[..., ::-1]

    out = np.stack(list(_beside(faces.device)(passed, pixels)))
    seen = torch.from_numpy(out).to(faces.device).permute(0, 3, 1, 2).float() / 255
    return faces + (seen - faces).detach()


def _beside(device: torch.device) -> Callable[..., Iterable[NDArray[np.uint8]]]:
    """``map``; side by side where a GPU would wait for it. On a CPU the caller has threads of its own."""
    return _threads().map if device.type == "cuda" else map


@lru_cache(maxsize=1)
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(4)


def low_resolution(faces: Tensor, side: int) -> Tensor:
    """Square faces (N, C, S, S) shrunk to ``side`` pixels, antialiased, and enlarged again.

    >>> low_resolution(torch.ones(1, 3, 32, 32), 8).shape
    torch.Size([1, 3, 32, 32])
    """
    small = F.interpolate(faces, (side, side), mode="bilinear", antialias=True, align_corners=False)
    return F.interpolate(small, faces.shape[2:], mode="bilinear", align_corners=False)


def moved(
    faces: Tensor,
    *,
    turn: ArrayLike = 0.0,
    zoom: ArrayLike = 1.0,
    shift: tuple[ArrayLike, ArrayLike] = (0.0, 0.0),
    mirror: ArrayLike = False,
    side: int | None = None,
    beyond: Literal["reflection", "zeros"] = "reflection",
) -> Tensor:
    """Faces (N, C, S, S) turned (degrees), scaled, shifted (x and y, share of the side) and mirrored.

    Each is one number for all faces, or (N,). The result has ``side`` pixels (S unless given); ``beyond`` says what is
    seen where there is no face.

    >>> x = torch.rand(2, 3, 8, 8)
    >>> bool(torch.allclose(moved(x), x, atol=1e-5))
    True
    >>> second = moved(x, mirror=[False, True])[1]
    >>> bool(torch.allclose(second, x[1].flip(2), atol=1e-5))
    True
    """
    angle = np.radians(turn)
    sign = np.where(mirror, -1.0, 1.0)
    a, b = np.cos(angle) / np.asarray(zoom), np.sin(angle) / np.asarray(zoom)
    x, y = (2 * np.asarray(way) for way in shift)
    rows = np.stack([np.broadcast_to(v, len(faces)) for v in (a * sign, -b, x, b * sign, a, y)], 1)
    theta = torch.from_numpy(rows.reshape(-1, 2, 3)).to(faces)
    size = faces.shape[2] if side is None else side
    # affine_grid multiplies matrices for this, which on a CPU takes as long as the sampling
    line = (2 * torch.arange(size, dtype=theta.dtype, device=theta.device) + 1) / size - 1
    across, down = theta[:, None, None, :, 0] * line[:, None], theta[:, None, None, :, 1] * line[:, None, None]
    grid = across + down + theta[:, None, None, :, 2]
    return F.grid_sample(faces, grid, mode="bilinear", padding_mode=beyond, align_corners=False)


def view(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """One way in which faces (N, 3, S, S) in [0, 1] may reach a matcher, the same for all of them, drawn from ``rng``.

    They are turned, scaled, shifted and in half of the cases mirrored, seen at a lower resolution, in another light,
    and in half of the cases through JPEG.
    """
    x, y = rng.uniform(-0.025, 0.025, 2).tolist()
    turn, zoom = rng.uniform(-4, 4), math.exp(rng.uniform(-0.08, 0.08))
    seen = moved(faces, turn=turn, zoom=zoom, shift=(x, y), mirror=bool(rng.random() < 0.5))
    seen = low_resolution(seen, round(faces.shape[2] * rng.uniform(0.36, 1.0)))
    seen = seen * math.exp(rng.uniform(-0.1, 0.1)) + rng.uniform(-0.03, 0.03)
    quality = int(rng.integers(60, 96))
    return jpeg(seen, quality) if rng.random() < 0.5 else seen


def smoothed(images: Tensor, sigma: float) -> Tensor:
    """Images (N, C, H, W) under a Gaussian of ``sigma`` pixels, cut at three of them; the edge pixels go on outside.

    >>> bool(torch.allclose(smoothed(torch.ones(1, 3, 16, 16), 2.0), torch.ones(())))
    True
    """
    if sigma <= 0:
        return images
    line = _gaussian(sigma, math.ceil(3 * sigma)).to(images)
    edge, channels = len(line) // 2, images.shape[1]
    padded = F.pad(images, (edge, edge, edge, edge), mode="replicate")
    return _filtered(padded, line.expand(channels, 1, -1))


def mssim(before: Tensor, after: Tensor) -> Tensor:
    """Mean structural similarity (N,) of the luma of RGB images (N, 3, H, W) in [0, 1].

    The same as :func:`halfmask.evaluation.measuring.metrics.mssim`, with gradients: Wang et al. 2004, a Gaussian window
    of sigma 1.5 and 11 x 11 pixels, of which only those are counted that lie inside.

    >>> x = torch.rand(2, 3, 16, 16)
    >>> mssim(x, x).tolist()
    [1.0, 1.0]
    """
    from pytorch_msssim import ssim

    similarity: Tensor = ssim(to_gray(before), to_gray(after), data_range=1.0, size_average=False)
    return similarity


def ssim_map(before: Tensor, after: Tensor) -> Tensor:
    """Structural similarity of every place, (N, H - 6, W - 6), of images (N, C, H, W) in [0, 1], a mean over channels.

    Wang et al. 2004 with a Gaussian window of sigma 1.5 and 7 x 7 pixels; differentiable. Its mean is what
    pytorch-msssim gives, which gives no map.

    >>> x = torch.rand(1, 3, 16, 16)
    >>> ssim_map(x, x).shape, bool((ssim_map(x, x) > 0.999).all())
    (torch.Size([1, 10, 10]), True)
    """
    n = before.shape[1]
    lines = _gaussian(1.5, 3).to(before).expand(n, 1, -1)
    both = torch.cat([before, after, before.square(), after.square(), before * after], 1)
    one, two, one2, two2, product = torch.split(_filtered(both, lines.repeat(5, 1, 1)), n, 1)
    c1, c2 = 0.01**2, 0.03**2
    alike = (2 * one * two + c1) / (one.square() + two.square() + c1)
    spread = (one2 - one.square()) + (two2 - two.square())
    places: Tensor = alike * (2 * (product - one * two) + c2) / (spread + c2)
    return places.mean(1)


@lru_cache(maxsize=8)
def _gaussian(sigma: float, reach: int) -> Tensor:
    place = torch.arange(-reach, reach + 1, dtype=torch.float32)
    line = torch.exp(-(place**2) / (2 * sigma**2))
    return line / line.sum()


def _filtered(images: Tensor, lines: Tensor) -> Tensor:
    """Each channel under its own line (C, 1, K), across and down, without padding."""
    return F.conv2d(F.conv2d(images, lines[:, :, None], groups=len(lines)), lines[..., None], groups=len(lines))
