"""Those whom halfmask's generator learns against: told readers, linear readers, replay, multipliers."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from halfmask.training.adversaries import Multipliers, Ring, Told, linear_reader, outside


def test_a_linear_reader_is_fishers_with_a_shrunk_covariance() -> None:
    torch.manual_seed(0)
    truth = torch.arange(200) % 2
    x = torch.randn(200, 5, dtype=torch.float64) * torch.tensor([1.0, 2, 3, 1, 1]) + truth[:, None] * 0.7
    solved = linear_reader(x, truth, ridge=0.1)
    assert solved is not None
    # sklearn shrinks the covariance of standardised features unless told how to estimate it
    from sklearn.covariance import ShrunkCovariance

    reference = LinearDiscriminantAnalysis(
        solver="lsqr", covariance_estimator=ShrunkCovariance(shrinkage=0.1), priors=[0.5, 0.5]
    ).fit(x.numpy(), truth.numpy())
    assert solved[0].numpy() == pytest.approx(reference.coef_[0], rel=1e-6)
    assert float(solved[1]) == pytest.approx(reference.intercept_[0], rel=1e-6)
    assert linear_reader(x[:10], truth[:10]) is None


def test_a_told_reader_is_told_and_a_ring_sees_no_face() -> None:
    told = Told({"backbone": "plain", "size": 32, "ring": True}).eval()
    faces = torch.rand(2, 3, 64, 64)
    other = torch.where(outside(64).bool(), faces, torch.rand(2, 3, 64, 64))
    asked = torch.tensor([0, 1])
    assert torch.equal(told(faces, asked), told(other, asked)), "the face is blanked"
    assert not torch.equal(told(faces, asked), told(faces, 1 - asked)), "the target is told"
    assert not torch.equal(told(faces, asked), told(faces.flip(2), asked)), "the ring is seen"


def test_afresh_depends_on_the_seed_alone() -> None:
    about = {"backbone": "plain", "size": 32}
    one, two = Told(about), Told(about)
    before = torch.get_rng_state()
    one.start_afresh(about, 3)
    two.start_afresh(about, 3)
    assert torch.equal(before, torch.get_rng_state())
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))
    two.start_afresh(about, 4)
    assert not torch.equal(one.head.weight, two.head.weight)


def test_a_ring_keeps_the_last_and_survives_a_checkpoint() -> None:
    replay, described = Ring(4, (3, 2, 2), torch.uint8), Ring(3, (5,))
    for k in range(3):
        truth, target = torch.tensor([k, k]), torch.tensor([0, 1])
        replay.add(torch.full((2, 3, 2, 2), k / 10), truth, target)
        described.add(torch.full((2, 5), float(k)), truth, target)
    assert sorted(replay.held()[1][:, 0].tolist()) == [1, 1, 2, 2]
    kept, of = described.held()
    assert sorted(of[:, 0].tolist()) == [1, 2, 2]
    assert torch.equal(kept[:, 0], of[:, 0].float())
    other = Ring(4, (3, 2, 2), torch.uint8)
    other.load_state_dict(replay.state_dict())
    drawn = [r.draw(8, np.random.default_rng(1)) for r in (replay, other)]
    assert all(torch.equal(a, b) for a, b in zip(*drawn, strict=True))
    faces, truth, target = drawn[0]
    assert len(faces) == 4
    assert torch.allclose(faces[:, 0, 0, 0], truth / 10, atol=1 / 255)
    assert set(target.tolist()) <= {0, 1}


def test_a_multiplier_rises_while_faces_move_too_far() -> None:
    ascent = Multipliers(5.0, 2, goal=0.1, rate=0.02)
    for _ in range(20):
        ascent.update(0, 0.2)
        ascent.update(1, 0.05)
    assert ascent.weights[0] > 5.0 > ascent.weights[1]
    for _ in range(2000):
        ascent.update(0, 9.9)
    assert ascent.weights[0] == 100.0
    still = Multipliers(5.0, 1, goal=0.0, rate=0.02)
    still.update(0, 1.0)
    assert still.weights.tolist() == [5.0]
