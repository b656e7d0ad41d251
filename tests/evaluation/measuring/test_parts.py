"""What is kept between runs is whole, and is found again only for the very files it was made from."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from halfmask.errors import DataError
from halfmask.evaluation.measuring.parts import digest_of, ensure_folder, save_arrays, whole


def test_a_full_disk_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "part.npz"
    save_arrays(path, {"a": np.arange(3)})

    def full(file: Path, **arrays: object) -> None:
        file.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(np, "savez", full)
        with pytest.raises(DataError, match=r"part.npz cannot be written: No space left.*make room"):
            save_arrays(path, {"a": np.arange(9)})
    assert [p.name for p in tmp_path.iterdir()] == ["part.npz"]
    with np.load(path) as kept:
        assert kept["a"].tolist() == [0, 1, 2]


def test_an_interruption_leaves_nothing_half(tmp_path: Path) -> None:
    def interrupted() -> None:
        with whole(tmp_path / "a.json") as fresh:
            fresh.write_text("ha")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_a_digest_follows_every_file(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("x")
    files = [("a", one), ("b", two)]
    first = digest_of("about", files)
    assert digest_of("about", files) == first
    two.write_text("y")  # was absent
    second = digest_of("about", files)
    os.utime(one, ns=(1, 1))  # a copy of other days
    assert digest_of("about", files) == second
    assert len({first, second, digest_of("other", files)}) == 3


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made: Not a directory"):
        ensure_folder(tmp_path / "file" / "x")
