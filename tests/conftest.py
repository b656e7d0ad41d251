"""Fixtures that every room's tests share."""

from __future__ import annotations

import os
from pathlib import Path

import hypothesis
import numpy as np
import pytest

from halfmask.errors import WeightsError
from halfmask.photos.detect import Detector

# two threads that spin beside each other take longer than one; before torch is imported
os.environ.setdefault("OMP_NUM_THREADS", "1")

# a busy machine is no fault: how long an example takes says nothing
hypothesis.settings.register_profile("halfmask", deadline=None)
hypothesis.settings.load_profile("halfmask")

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real face data beside the checkout; the test is skipped, with the reason, where there is none."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the real face data in ../shared/data, which is not here")
    return SHARED / "data"


@pytest.fixture(scope="session")
def shared_peers() -> Path:
    """The folder with the SAN authors' own weights; skipped, with the reason, where there is none."""
    if not (SHARED / "peers").is_dir():
        pytest.skip("needs the peer weights in ../shared/peers, which are not here")
    return SHARED / "peers"


@pytest.fixture
def rng() -> np.random.Generator:
    """Fresh numbers in every test, the same in every run."""
    return np.random.default_rng(20180120)


@pytest.fixture(scope="session")
def astronaut() -> np.ndarray:
    """scikit-image's bundled portrait of Eileen Collins (public domain), uint8 (512, 512, 3)."""
    data = pytest.importorskip("skimage.data", reason="needs scikit-image for its bundled photo")
    return np.asarray(data.astronaut())


@pytest.fixture(scope="session")
def detector() -> Detector:
    """The face detector; skipped, with the reason, only where its weights can be neither found nor fetched."""
    try:
        return Detector()
    except WeightsError as error:
        if "could not be fetched" not in str(error):
            raise
        pytest.skip(f"needs the face detector's weights: {error}")
