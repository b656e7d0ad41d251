"""Photos for the server, and a client of one in memory."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image
from served import client_of, encoded
from starlette.testclient import TestClient

from halfmask.errors import WeightsError
from halfmask.weights import store


@pytest.fixture(scope="session")
def needs_models() -> None:
    for name in ("yunet", "sface"):  # fetched here, since the server never does so by itself
        try:
            store.get(name)
        except WeightsError as error:
            pytest.skip(f"needs the model {name}: {error}")


@pytest.fixture(scope="session")
def portrait(astronaut: np.ndarray) -> bytes:
    """A photo with one face, a JPEG of 256 x 256."""
    return encoded(astronaut[:256, 100:356])


@pytest.fixture(scope="session")
def pair(astronaut: np.ndarray) -> bytes:
    """A photo with two faces, of which the left one is larger, a PNG."""
    small = np.asarray(Image.fromarray(astronaut[:256, 100:356]).resize((200, 200)))
    canvas = np.full((256, 470, 3), 90, np.uint8)
    canvas[:, :256] = astronaut[:256, 100:356]
    canvas[40:240, 262:462] = small[:, ::-1]
    return encoded(canvas, "PNG")


@pytest.fixture(scope="session")
def dot() -> bytes:
    """A picture without a face, as small as they come."""
    return encoded(np.full((8, 8, 3), 200, np.uint8), "PNG")


@pytest.fixture
def key(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("HALFMASK_KEY", "a key of this test")
    return "a key of this test"


@pytest.fixture
def client(key: str, needs_models: None) -> Iterator[TestClient]:
    with client_of() as client:
        yield client
