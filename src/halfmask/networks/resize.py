"""Differentiable resampling from our face template to the square input of another network."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ..photos.align import CROP


def triangle(out: int, size: int, scale: float, offset: float) -> Tensor:
    """Weights (out, size) that resample a line of ``size`` pixels: output i reads around input ``offset + scale * i``.

    Positions count pixel *centres* (the first is 0), as :mod:`halfmask.photos.align` and OpenCV do. The filter is a
    triangle as wide as the step when that shrinks, so nothing aliases, and plain linear interpolation otherwise.
    Each row sums to 1; where the filter leaves the line, its weight goes to the pixels that are inside, and a row
    entirely outside reads the nearest pixel.

    >>> triangle(2, 5, 2.0, 1.0).tolist()
    [[0.25, 0.5, 0.25, 0.0, 0.0], [0.0, 0.0, 0.25, 0.5, 0.25]]
    """
    centre = (offset + scale * torch.arange(out, dtype=torch.float64)).clamp(0, size - 1)
    distance = (torch.arange(size, dtype=torch.float64) - centre[:, None]).abs() / max(scale, 1.0)
    weight = (1 - distance).clamp(min=0)
    return (weight / weight.sum(1, keepdim=True)).float()


class Resize(nn.Module):
    """Cut the centre out of a face crop and resample it to ``side`` x ``side``, antialiased, in float32.

    ``zoom`` is the width of the cut in pixels of the 224 template divided by ``side``: pixel centre p of the output
    reads at ``(p - middle) * zoom + 112``. ``middle`` is the output pixel that lies on the template's centre; the
    default side / 2 is the convention of the template itself. Takes (N, C, S, S) of any S, a crop of
    ``template(S)``; gives (N, C, side, side).

    >>> Resize(112, 1.75)(torch.rand(2, 3, 224, 224)).shape
    torch.Size([2, 3, 112, 112])
    """

    weight: Tensor

    def __init__(self, side: int, zoom: float, middle: float | None = None):
        super().__init__()
        self.side, self.zoom = side, zoom
        self.middle = side / 2 if middle is None else middle
        # Not a parameter and not state: it follows from the three numbers, but it must move with the module.
        self.register_buffer("weight", self._weights(CROP), persistent=False)

    def _weights(self, size: int) -> Tensor:
        unit = size / CROP  # the template's points scale by this, about pixel 0
        return triangle(self.side, size, self.zoom * unit, (CROP / 2 - self.middle * self.zoom) * unit)

    def forward(self, faces: Tensor) -> Tensor:
        if faces.ndim != 4 or faces.shape[2] != faces.shape[3]:
            raise ValueError(
                f"faces have shape {tuple(faces.shape)}, expected (N, C, S, S): square crops of the template"
            )
        size = faces.shape[3]
        weight = self.weight if size == CROP else self._weights(size).to(faces.device)
        # bfloat16 has 8 bits of mantissa: averaging pixels in it would cost more than it saves.
        with torch.autocast(faces.device.type, enabled=False):
            return weight.float() @ faces.float() @ weight.float().T
