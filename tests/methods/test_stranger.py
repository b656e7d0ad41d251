"""The generator that hides who is shown: what it computes, what it takes, where it may be asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

import halfmask
from halfmask.errors import UsageError
from halfmask.methods.halfmask import Halfmask
from halfmask.methods.stranger import FULL, STRENGTHS, Stranger
from halfmask.networks.halfmask import Masker, MaskerForExport
from halfmask.photos.paste import mask
from halfmask.serving.asking import SERVED
from halfmask.training.export import export_masker


def written(folder: Path, hides: str) -> Masker:
    """A generator whose answers are not zero, as a training run leaves it in a folder."""
    torch.manual_seed(1)
    net = Masker({"young": 0.6, "old": 0.4}, {"a": 0.5, "b": 0.5}, hides=hides)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    folder.mkdir(exist_ok=True)
    export_masker(net, folder / "halfmask.onnx")
    return net.eval()


def test_is_the_network_told_of_no_target_times_the_strength(tmp_path: Path, rng: np.random.Generator) -> None:
    net, crops = written(tmp_path, "identity"), rng.random((2, 3, 224, 224), np.float32)
    nothing = net.encode(*torch.full((3, 2), -1))
    with torch.no_grad():
        expected = MaskerForExport(net)(torch.from_numpy(crops), nothing).numpy()
    for word, share in STRENGTHS.items():
        change = Stranger(1, strength=word, weights=tmp_path).change(crops)
        assert np.abs(change / (FULL * share) - expected).max() < 4e-3  # kernels in float16
    full, half = (Stranger(1, strength=s, weights=tmp_path).change(crops) for s in (1, 0.5))
    np.testing.assert_allclose(half, 0.5 * full, atol=1e-7)


def test_a_photo_changes_within_the_oval_of_a_head_alone(tmp_path: Path, astronaut: np.ndarray) -> None:
    written(tmp_path, "identity")
    photo = astronaut[:250, 100:350].copy()
    result = halfmask.protect(photo, method="stranger", settings={"weights": tmp_path}, score=False, threads=1)
    moved = np.abs(result.image.astype(int) - photo).max(2)
    assert moved.max() > 3
    assert not Stranger.whole
    assert (moved > 0).sum() < 1.1 * (mask(224) > 0).mean() * moved.size


def test_a_generator_of_the_other_kind_is_refused_both_ways(tmp_path: Path) -> None:
    written(tmp_path / "who", "identity")
    written(tmp_path / "what", "attributes")
    with pytest.raises(UsageError, match="hides attributes, expected a generator that hides identity"):
        Stranger(weights=tmp_path / "what")
    with pytest.raises(UsageError, match="hides identity, expected a generator that hides attributes"):
        Halfmask(weights=tmp_path / "who", key="k")


def test_the_page_offers_no_method_that_has_to_be_told_of_a_file() -> None:
    assert "p-fgvm" not in SERVED
    assert {"halfmask", "stranger", "deidentify"} <= set(SERVED)
