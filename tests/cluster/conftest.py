"""Photos at addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture
def memory(album: Path) -> Iterator[str]:
    """The address of a copy of the files in ``album``, which this process alone sees."""
    fs = pytest.importorskip("fsspec").filesystem("memory")
    fs.store.clear()
    for path in album.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"/album/{path.relative_to(album).as_posix()}", path.read_bytes())
    yield "memory://album"
    fs.store.clear()
