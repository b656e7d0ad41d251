"""A method's own settings, from the command line and the library call."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import halfmask
from halfmask.errors import UsageError

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run_folder(standin: Path, tmp_path: Path) -> Path:
    """The stand-in SAN as a training run leaves it, with prototypes that are twice as far apart."""
    folder = tmp_path / "my run"
    folder.mkdir()
    shutil.copy(standin / "san.onnx", folder)
    female, male = (np.full((224, 224, 3), level, np.uint8) for level in (60, 220))
    np.savez(folder / "san.npz", female=female, male=male, male_share=0.5)
    return folder


def test_the_weights_of_a_run(run: Run, run_folder: Path, portrait: np.ndarray, jpeg: bytes, tmp_path: Path) -> None:
    ours = halfmask.protect(portrait, gender="female", score=False)
    other = halfmask.protect(portrait, gender="female", score=False, settings={"weights": run_folder})
    x, y = ours.faces[0].points.mean(0).astype(int)
    change = [int((r.image[y, x].astype(int) - portrait[y, x]).max()) for r in (ours, other)]
    assert change == pytest.approx([255 * (0.05 + 0.2 * gap / 255) for gap in (80, 160)], abs=1.5)
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg)
    code, said, error = run("protect", source, "-o", tmp_path / "b.jpg", "--set", f"weights={run_folder}")
    assert code == 0, error
    assert f"(san, op prototype, weights {run_folder})" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--strength", "mid"), "san has no strength to set"),
        (("--set", "colour=blue"), "method 'san' has no setting 'colour'; its settings are: weights"),
        (("--set", "weights"), "--set 'weights' is not NAME=VALUE"),
        (("--set", "weights=a", "--set", "weights=b"), "--set gives weights twice: 'a' and 'b'"),
        (("--set", "weights=nowhere"), "weights=nowhere holds no san.onnx"),
    ],
)
def test_what_makes_no_sense(run: Run, album: Path, tmp_path: Path, given: tuple[str, ...], message: str) -> None:
    code, _, error = run("protect", album, "-o", tmp_path / "out", *given)
    assert code == 2
    assert message in error
    assert not list(tmp_path.glob("out/**/*.jpg"))


def test_library_refuses_the_same(portrait: np.ndarray) -> None:
    with pytest.raises(UsageError, match="san has no strength to set"):
        halfmask.protect(portrait, strength=0.5)
    with pytest.raises(UsageError, match="has no setting 'colour'"):
        halfmask.protect(portrait, settings={"colour": "blue"})
