"""What happens to a face before a classifier sees it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from halfmask.training.views import passing, relit, view


@pytest.fixture
def faces(rng: np.random.Generator) -> torch.Tensor:
    small = rng.random((4, 3, 8, 8), np.float32)
    return torch.nn.functional.interpolate(torch.from_numpy(small), (64, 64), mode="bilinear")


@pytest.mark.parametrize("way", [view, passing, relit])
@pytest.mark.parametrize("seed", range(12))
def test_every_view_lets_gradients_through(
    faces: torch.Tensor, seed: int, way: Callable[[torch.Tensor, np.random.Generator], torch.Tensor]
) -> None:
    x = faces.clone().requires_grad_(True)
    seen = way(x, np.random.default_rng(seed))
    assert seen.shape == faces.shape
    seen.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).float().mean() > 0.5
    assert torch.equal(way(faces, np.random.default_rng(seed)), way(faces, np.random.default_rng(seed)))
