"""Photos in threads: in their order, bounded, and none stops another."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfmask.photos.detect import Detector
from halfmask.predicting.api import Predictor
from halfmask.predicting.run import run


@pytest.fixture
def predictor(onnx_file: Path, detector: Detector) -> Predictor:
    return Predictor(onnx_file, 1)


def test_threads_give_what_one_gives_in_order(predictor: Predictor, album: Path) -> None:
    photos = [album / name for name in ("c.jpg", "sub/b.png", "damaged.jpg", "a.png", "absent.png")] * 4
    one, many = ([*run([(p, None) for p in photos], predictor, workers=n)] for n in (1, 4))
    assert [s.source for s in many] == photos
    for a, b in zip(one, many, strict=True):
        assert (a.width, a.height, a.error) == (b.width, b.height, b.error)
        assert [f.probabilities for f in a.faces] == [f.probabilities for f in b.faces]
    assert [len(s.faces) for s in many[:5]] == [0, 2, 0, 1, 0]
    assert [s.error is None for s in many[:5]] == [True, True, False, True, False]
    assert "damaged or cut short" in str(many[2].error)
    assert "cannot read" in str(many[4].error)


def test_whoever_stops_leaves_whole_pictures(predictor: Predictor, astronaut: np.ndarray, tmp_path: Path) -> None:
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    jobs = [(tmp_path / "a.png", tmp_path / "out" / f"{i}.png") for i in range(60)]
    seen = run(jobs, predictor, workers=2)
    assert next(seen).error is None
    seen.close()
    made = sorted((tmp_path / "out").iterdir())
    assert 1 <= len(made) < 40
    for path in made:
        assert np.asarray(Image.open(path)).shape == (512, 512, 3)
    assert not [t for t in threading.enumerate() if t.name.startswith("halfmask")]


def test_one_unexpected_failure_stops_nothing(
    predictor: Predictor, album: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = Predictor.__call__

    def odd(self: Predictor, pixels: np.ndarray, faces: str = "all") -> list:
        if pixels.shape[1] == 640:
            raise RuntimeError("out of\x1b order")
        return usual(self, pixels, faces)

    monkeypatch.setattr(Predictor, "__call__", odd)
    first, second = run([(album / "sub" / "b.png", None), (album / "a.png", None)], predictor)
    assert first.error == "unexpected RuntimeError: out of\\x1b order"
    assert len(second.faces) == 1
