"""A method's own settings, from the command line and the library call."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import halfmask
from halfmask.errors import UsageError, WeightsError
from halfmask.methods.landmarks import MODELS
from halfmask.weights import store

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
    san = {"method": "san", "gender": "female", "score": False}
    ours = halfmask.protect(portrait, **san)
    other = halfmask.protect(portrait, **san, settings={"weights": run_folder})
    x, y = ours.faces[0].points.mean(0).astype(int)
    change = [int((r.image[y, x].astype(int) - portrait[y, x]).max()) for r in (ours, other)]
    assert change == pytest.approx([255 * (0.05 + 0.2 * gap / 255) for gap in (80, 160)], abs=1.5)
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg)
    code, said, error = run(
        "protect", source, "-o", tmp_path / "b.jpg", "--method", "san", "--set", f"weights={run_folder}"
    )
    assert code == 0, error
    assert f"(san, weights {run_folder}, prototype op)" in said


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--strength", "mid"), "san has no strength to set"),
        (("--set", "colour=blue"), "method 'san' has no setting 'colour'; its settings are: prototype, weights"),
        (("--set", "weights"), "a --set has no =; expected NAME=VALUE"),
        (("--set", "weights=a", "--set", "weights=b"), "--set gives weights twice; give it once"),
        (("--set", "weights=nowhere"), "weights=nowhere holds no san.onnx"),
    ],
)
def test_what_makes_no_sense(run: Run, album: Path, tmp_path: Path, given: tuple[str, ...], message: str) -> None:
    code, _, error = run("protect", album, "-o", tmp_path / "out", "--method", "san", *given)
    assert code == 2
    assert message in error
    assert not list(tmp_path.glob("out/**/*.jpg"))


@pytest.fixture
def landmarks() -> None:
    """The weights that mixing needs; skipped, with the reason, only where they can be neither found nor fetched."""
    try:
        for name in MODELS:
            store.get(name)
    except WeightsError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"needs the landmarks' weights: {error}")


@pytest.mark.usefixtures("landmarks")
def test_mixing_by_its_strength(run: Run, jpeg: bytes, tmp_path: Path) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg)
    before = np.asarray(Image.open(source)).astype(int)
    sizes = []
    for strength in ("low", "0.6"):
        out, report = tmp_path / f"{strength}.png", tmp_path / f"{strength}.json"
        code, said, error = run(
            "protect", source, "-o", out, "--method", "mixing", "--strength", strength, "--gender", "female",
            "--json", report,
        )  # fmt: skip
        assert code == 0, error
        assert f"1 face changed (mixing, strength {strength})" in said
        assert json.loads(report.read_text())["options"]["strength"] == strength
        sizes.append(np.abs(np.asarray(Image.open(out)).astype(int) - before).mean())
    assert 0 < 1.2 * sizes[0] < sizes[1]
    code, _, error = run("protect", source, "-o", tmp_path / "x.png", "--method", "mixing", "--strength", "1.5")
    assert (code, "strength is '1.5'; expected low, mid, high or a number from 0 to 1" in error) == (2, True)
    both = ("--strength", "low", "--set", "strength=high")
    code, _, error = run("protect", source, "-o", tmp_path / "x.png", "--method", "mixing", *both)
    assert (code, "strength is given twice" in error) == (2, True)


@pytest.mark.usefixtures("landmarks")
def test_mixing_in_the_library(portrait: np.ndarray) -> None:
    results = [
        halfmask.protect(portrait, method="mixing", gender="female", score=False, **given)
        for given in ({"strength": 0.75}, {"strength": "high"}, {"settings": {"strength": "high"}}, {})
    ]
    first, same, set_, mid = (r.image for r in results)
    assert np.array_equal(first, same)
    assert np.array_equal(first, set_)
    assert not np.array_equal(first, mid)
    assert np.ptp(first.astype(int) - portrait, axis=-1).max() > 3  # in colour


def test_library_refuses_the_same(portrait: np.ndarray) -> None:
    with pytest.raises(UsageError, match="san has no strength to set"):
        halfmask.protect(portrait, method="san", strength=0.5)
    with pytest.raises(UsageError, match="has no setting 'colour'"):
        halfmask.protect(portrait, settings={"colour": "blue"})


def test_a_strength_of_nothing_is_refused(portrait: np.ndarray) -> None:
    with pytest.raises(UsageError, match="strength 0 changes nothing; expected more, up to 1"):
        halfmask.protect(portrait, strength=0, score=False)
    with pytest.raises(UsageError, match="hide stands among the settings; give it by itself: --hide, or hide="):
        halfmask.protect(portrait, settings={"hide": "age"}, score=False)


def test_a_prototype_of_a_method_without_any_is_refused(portrait: np.ndarray) -> None:
    with pytest.raises(UsageError, match="halfmask has no prototypes to choose from; leave prototype 'nt' out"):
        halfmask.protect(portrait, prototype="nt", score=False)
