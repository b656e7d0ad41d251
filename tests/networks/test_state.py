"""Weights in files: whole or absent, with a description; what is wrong with one is said."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from halfmask.errors import WeightsError
from halfmask.networks.state import loading, read_weights, write_weights


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "net.safetensors"
    write_weights(file, {"w": torch.arange(3.0)}, {"format": "1"})
    monkeypatch.setattr("safetensors.torch.save_file", lambda *a: (_ for _ in ()).throw(OSError("disk full")))
    with pytest.raises(WeightsError, match="disk full"):
        write_weights(file, {"w": torch.zeros(3)}, {"format": "1"})
    assert read_weights(file, "1")[1]["w"].tolist() == [0.0, 1.0, 2.0]
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]


def test_parts_of_one_tensor_are_written_each_whole(tmp_path: Path) -> None:
    table = torch.arange(6.0).reshape(2, 3)
    write_weights(tmp_path / "a", {"first": table[0], "turned": table.T}, {})
    state = read_weights(tmp_path / "a")[1]
    assert torch.equal(state["first"], table[0])
    assert torch.equal(state["turned"], table.T)


@pytest.mark.parametrize("content", [None, b"", b"no weights at all", b"\xff" * 40])
def test_what_cannot_be_read_is_a_weights_error(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "net.safetensors"
    if content is not None:
        file.write_bytes(content)
    with (
        pytest.raises(WeightsError, match=r"the net .*net\.safetensors cannot be loaded.*Expected what somebody wrote"),
        loading(file, "the net", "somebody"),
    ):
        read_weights(file)


def test_another_format_is_refused(tmp_path: Path) -> None:
    write_weights(tmp_path / "a", {"w": torch.zeros(1)}, {"format": "2"})
    with pytest.raises(WeightsError, match="its format is 2, expected 1"), loading(tmp_path / "a", "the net", "us"):
        read_weights(tmp_path / "a", "1")
