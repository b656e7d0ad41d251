"""Methods by name, and what each can be set to."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest

from halfmask import methods
from halfmask.errors import UsageError
from halfmask.methods.san import San
from halfmask.weights import shipped


def test_unknown_method() -> None:
    with pytest.raises(UsageError, match=r"no method is called 'nonsense'; known: .*san"):
        methods.load("nonsense")


def test_san_takes_the_weights_of_a_run(tmp_path: Path, rng: np.random.Generator) -> None:
    with pytest.raises(UsageError, match=r"holds no san\.onnx; expected the folder of a finished training run"):
        methods.load("san", weights=tmp_path)
    shutil.copy(shipped.path("san.onnx"), tmp_path)
    with pytest.raises(UsageError, match=r"holds no san\.npz"):
        methods.load("san", weights=tmp_path)
    with np.load(shipped.path("san.npz")) as kept:
        np.savez(tmp_path / "san.npz", **dict(kept) | {"female": kept["male"], "male": kept["female"]})
    crops = rng.random((1, 3, 224, 224), np.float32)
    other = methods.load("san", threads=1, weights=str(tmp_path), prototype="sm")
    ours = San(threads=1, prototype="sm")
    assert isinstance(other, San)
    assert other.fingerprint != ours.fingerprint
    np.testing.assert_array_equal(other.means, ours.means[::-1])
    # with the prototypes of the genders changed over, a woman is treated as a man was
    np.testing.assert_allclose(
        other.protected_gray(crops, np.array([0])), ours.protected_gray(crops, np.array([1])), atol=1e-6
    )
