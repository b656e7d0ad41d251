"""The flow as users meet it: each step changes what the one before made, and it stops where asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stand_ins import subjects

from halfmask.errors import UsageError
from halfmask.methods import Subject
from halfmask.methods.flowsan import FlowSan
from halfmask.methods.labels import GenderEstimate
from halfmask.methods.prototypes import Prototypes
from halfmask.methods.runtime import gray

torch = pytest.importorskip("torch", reason="the stand-in networks are written by torch")
tiny_sans = pytest.importorskip("tiny_sans", reason="needs halfmask[train]")


def test_every_number_of_steps_equals_torch(tmp_path: Path, rng: np.random.Generator) -> None:
    folder = tmp_path / "flow"
    sans = tiny_sans.run_folder(folder, "flowsan", 3)
    crops, gender = rng.random((2, 3, 224, 224), np.float32), np.array([0, 1])
    means = torch.from_numpy(Prototypes(folder / "flowsan.npz").means)
    same, other = means[gender], means[1 - gender]
    people = subjects(gender)
    face = torch.from_numpy(gray(crops))
    for steps, net in enumerate(sans, 1):
        with torch.no_grad():
            (face,) = net.layer_by_layer(face, same, [same + 1.5 * (other - same)])
        method = FlowSan(1, steps=str(steps), weights=folder)
        assert np.abs(method.protected_gray(crops, gender) - face.numpy()).max() < 1e-4
        expected = np.repeat(face.numpy() - gray(crops), 3, 1)
        assert np.abs(method.change(crops, people) - expected).max() < 1e-4
    every = FlowSan(1, weights=folder)
    assert (every.steps, len(every)) == (3, 3)
    np.testing.assert_array_equal(every.change(crops, people), method.change(crops, people))
    for bad in ("0", "4", "all"):
        with pytest.raises(UsageError, match=f"steps is '{bad}'; expected a whole number from 1 to 3"):
            FlowSan(1, steps=bad, weights=folder)
    with pytest.raises(UsageError, match=r"holds no flowsan\.npz"):
        FlowSan(1, weights=tmp_path)
    with pytest.raises(UsageError, match="prototype is 'sm'; expected one of: op"):
        FlowSan(1, weights=folder, prototype="sm")


def test_three_ship_and_each_goes_further(astronaut: np.ndarray) -> None:
    face = tiny_sans.portrait(astronaut)
    estimate, woman = GenderEstimate(1), [Subject(0)]
    said = [float(estimate.p_male(face)[0])]
    for steps in (1, 2, 3):
        change = FlowSan(1, steps=steps).change(face, woman)
        assert change.shape == face.shape
        said.append(float(estimate.p_male(np.clip(face + change, 0, 1))[0]))
    assert said[3] > said[0]
    assert len(set(said)) == 4
    assert len(FlowSan(1)) == 3
