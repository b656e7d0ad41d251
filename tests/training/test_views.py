"""What happens to a face before a classifier sees it."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from halfmask.training.views import jpeg, low_resolution, moved, view


@pytest.fixture
def faces(rng: np.random.Generator) -> torch.Tensor:
    small = rng.random((4, 3, 8, 8), np.float32)
    return torch.nn.functional.interpolate(torch.from_numpy(small), (64, 64), mode="bilinear")


def test_jpeg_is_a_real_file(faces: torch.Tensor) -> None:
    shown = jpeg(faces, 50)
    pixels = faces[2].mul(255).round().byte().permute(1, 2, 0).numpy()
    _, data = cv2.imencode(".jpg", cv2.cvtColor(pixels, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 50])
    expected = cv2.cvtColor(cv2.imdecode(data, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
    assert np.array_equal(shown[2].mul(255).round().byte().permute(1, 2, 0).numpy(), expected)
    assert (jpeg(faces, 95) - faces).abs().mean() < (shown - faces).abs().mean()


def test_low_resolution_keeps_the_mean_and_loses_detail(rng: np.random.Generator) -> None:
    noise = torch.from_numpy(rng.random((2, 3, 64, 64), np.float32))
    blurred = low_resolution(noise, 4)
    assert blurred.std() < 0.5 * noise.std()
    assert torch.allclose(blurred.mean(), noise.mean(), atol=0.01)


def test_moved_is_a_face_again(faces: torch.Tensor) -> None:
    still = moved(faces, np.random.default_rng(0), 0, 0, 0)
    mirrored = [torch.allclose(a, b.flip(2), atol=1e-5) for a, b in zip(still, faces, strict=True)]
    same = [torch.allclose(a, b, atol=1e-5) for a, b in zip(still, faces, strict=True)]
    assert all(a or b for a, b in zip(mirrored, same, strict=True))


@pytest.mark.parametrize("seed", range(12))
def test_every_view_lets_gradients_through(faces: torch.Tensor, seed: int) -> None:
    x = faces.clone().requires_grad_(True)
    seen = view(x, np.random.default_rng(seed))
    assert seen.shape == faces.shape
    seen.sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()
    assert (x.grad != 0).float().mean() > 0.5
    assert torch.equal(view(faces, np.random.default_rng(seed)), view(faces, np.random.default_rng(seed)))
