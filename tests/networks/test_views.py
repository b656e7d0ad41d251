"""What happens to a photo, differentiably, against the libraries that do it without gradients."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
import torch

from halfmask.evaluation.measuring import metrics
from halfmask.networks import views
from halfmask.photos.samples import LUMA


@pytest.fixture
def faces(astronaut: np.ndarray) -> torch.Tensor:
    """Two parts of the portrait, (2, 3, 96, 96) in [0, 1]."""
    parts = np.stack([astronaut[y : y + 96, 180:276] for y in (40, 120)])
    return torch.from_numpy(parts.transpose(0, 3, 1, 2).astype(np.float32) / 255)


def pixels(faces: torch.Tensor) -> np.ndarray:
    return np.ascontiguousarray(np.rint(faces.numpy().transpose(0, 2, 3, 1) * 255).astype(np.uint8))


def test_mssim_is_the_evaluations(faces: torch.Tensor, rng: np.random.Generator) -> None:
    noisy = (faces + torch.from_numpy(rng.normal(0, 0.05, faces.shape).astype(np.float32))).clamp(0, 1)
    for i, said in enumerate(views.mssim(faces, noisy).tolist()):
        before, after = (np.tensordot(LUMA, x[i].numpy(), (0, 0)).astype(np.float64) for x in (faces, noisy))
        assert said == pytest.approx(metrics.mssim(before, after), abs=1e-3)
    x = noisy.requires_grad_()
    (gradient,) = torch.autograd.grad(views.mssim(faces, x).sum(), x)
    with torch.no_grad():
        assert (views.mssim(faces, x + gradient) > views.mssim(faces, x)).all()


def test_smoothing_is_a_gaussian(faces: torch.Tensor) -> None:
    blurred = views.smoothed(faces, 2.0)
    for one, face in zip(blurred, faces, strict=True):
        wanted = cv2.GaussianBlur(face.numpy().transpose(1, 2, 0), (13, 13), 2.0, borderType=cv2.BORDER_REPLICATE)
        np.testing.assert_allclose(one.numpy().transpose(1, 2, 0), wanted, atol=1e-5)
    assert views.smoothed(faces, 0) is faces


def test_jpeg_is_opencvs_and_its_gradient_passes(faces: torch.Tensor) -> None:
    seen = views.jpeg(faces, 70)
    for one, face in zip(pixels(seen), pixels(faces), strict=True):
        data = cv2.imencode(".jpg", np.ascontiguousarray(face[..., ::-1]), [cv2.IMWRITE_JPEG_QUALITY, 70])[1]
        assert np.array_equal(one, cv2.imdecode(data, cv2.IMREAD_COLOR)[..., ::-1])
    x = faces.clone().requires_grad_()
    (gradient,) = torch.autograd.grad((3 * views.jpeg(x, 70)).sum(), x)
    assert (gradient == 3).all()


@pytest.mark.parametrize(("turn", "zoom", "shift"), [(0, 1.0, (0.125, -0.0625)), (10, 1.0, (0, 0)), (0, 1.2, (0, 0))])
def test_moved_is_a_warp(faces: torch.Tensor, turn: float, zoom: float, shift: tuple[float, float]) -> None:
    side = faces.shape[2]
    moved = views.moved(faces, turn=turn, zoom=zoom, shift=shift)
    matrix = cv2.getRotationMatrix2D(((side - 1) / 2, (side - 1) / 2), turn, zoom)
    matrix[:, 2] -= np.array(shift) * side
    inside = slice(side // 4, -side // 4)
    for one, face in zip(moved, faces, strict=True):
        wanted = cv2.warpAffine(face.numpy().transpose(1, 2, 0), matrix, (side, side), flags=cv2.INTER_LINEAR)
        difference = np.abs(one.numpy().transpose(1, 2, 0) - wanted)[inside, inside]
        assert difference.mean() < 5e-3


def test_views_are_drawn_and_keep_the_face(faces: torch.Tensor) -> None:
    one, same, other = (views.view(faces, np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, same)
    assert not torch.equal(one, other)
    assert one.shape == faces.shape
    differences = [float((views.view(faces, np.random.default_rng(n)) - faces).abs().mean()) for n in range(12)]
    assert 0.01 < np.mean(differences) < 0.2
    low = views.low_resolution(faces, 24)
    assert float(low.diff(dim=3).abs().mean()) < 0.7 * float(faces.diff(dim=3).abs().mean())
    assert float((low.mean((2, 3)) - faces.mean((2, 3))).abs().max()) < 0.01


def test_what_was_brought_closer_finds_its_way_back(rng: np.random.Generator) -> None:
    """As halfmask's training does: a change is made on a closer, perhaps mirrored face and put where it belongs."""
    smooth = torch.nn.functional.interpolate(
        torch.from_numpy(rng.random((8, 3, 6, 6), np.float32)), (112, 112), mode="bicubic"
    )
    mirror, zoom = rng.random(8) < 0.5, rng.uniform(1, 1.3, 8)
    x, y = rng.uniform(-0.2, 0.2, (2, 8)) * (1 - 1 / zoom)
    away = {"mirror": mirror, "zoom": zoom, "shift": (x, y)}
    back = {"mirror": mirror, "zoom": 1 / zoom, "shift": (-zoom * np.where(mirror, -1, 1) * x, -zoom * y)}
    closer = views.moved(smooth, **away)
    again = views.moved(closer, **back, beyond="zeros")
    reached = views.moved(torch.ones_like(closer), **back, beyond="zeros") > 0.999
    np.testing.assert_allclose(reached.float().mean((1, 2, 3)), 1 / zoom**2, atol=0.05)
    assert (again - smooth)[reached].abs().max() < 0.02
    assert (closer - smooth).abs().max() > 0.1, "nothing was moved"


def test_a_side_of_ones_own(faces: torch.Tensor) -> None:
    assert views.moved(faces, zoom=1.2, side=40).shape == (2, 3, 40, 40)
    expected = torch.nn.functional.interpolate(faces, (48, 48), mode="bilinear", align_corners=False)
    assert torch.allclose(views.moved(faces, side=48), expected, atol=1e-5)


def test_the_map_of_ssim_has_the_mean_of_pytorch_msssim(faces: torch.Tensor) -> None:
    from pytorch_msssim import ssim

    noisy = (faces + 0.1 * torch.randn_like(faces)).clamp(0, 1).requires_grad_(True)
    seen = views.ssim_map(faces, noisy)
    reference = ssim(faces, noisy, data_range=1.0, size_average=False, win_size=7)
    assert torch.allclose(seen.mean((1, 2)), reference, atol=1e-5)
    seen.sum().backward()
    assert noisy.grad is not None
    assert torch.isfinite(noisy.grad).all()
