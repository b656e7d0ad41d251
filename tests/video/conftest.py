"""What the tests of videos share: eyes and an engine without networks."""

from __future__ import annotations

import pytest
from films import Squares, make_engine

from halfmask.protecting.engine import Engine


@pytest.fixture
def eyes() -> Squares:
    return Squares()


@pytest.fixture
def engine() -> Engine:
    """An engine without networks."""
    return make_engine()
