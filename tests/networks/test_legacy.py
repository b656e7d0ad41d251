"""Pickled weights of others: read when they are plain tensors, refused and never executed when not."""

from __future__ import annotations

import os
import pickle
from collections import OrderedDict
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from halfmask.errors import WeightsError
from halfmask.networks.legacy import load_authors_san, load_legacy

_SHAPES = {
    "autoencoder.0": (8, 4, 3, 3),
    "autoencoder.3": (12, 8, 3, 3),
    "autoencoder.6": (256, 12, 3, 3),
    "autoencoder.9": (128, 256, 3, 3),
    "protocombiner.0": (1, 131, 1, 1),
}


def _authors_state() -> OrderedDict[str, torch.Tensor]:
    torch.manual_seed(0)
    state = OrderedDict()
    for name, shape in _SHAPES.items():
        state[f"{name}.weight"] = torch.randn(shape) * 0.1
        state[f"{name}.bias"] = torch.randn(shape[0]) * 0.1
    return state


def _as_authors_run_it(s: dict[str, torch.Tensor], face, same, opposite) -> list[torch.Tensor]:
    """src/convae.py of their repository, layer by layer."""

    def layer(x: torch.Tensor, name: str) -> torch.Tensor:
        return F.leaky_relu(F.conv2d(x, s[f"{name}.weight"], s[f"{name}.bias"], padding=1))

    x = F.avg_pool2d(layer(torch.cat([face, same], 1), "autoencoder.0"), 2)
    x = F.avg_pool2d(layer(x, "autoencoder.3"), 2)
    x = F.interpolate(layer(x, "autoencoder.6"), scale_factor=2)
    x = F.interpolate(layer(x, "autoencoder.9"), scale_factor=2)
    weight, bias = s["protocombiner.0.weight"], s["protocombiner.0.bias"]
    return [torch.sigmoid(F.conv2d(torch.cat([x, p], 1), weight, bias)) for p in (same, opposite)]


class _Evil:
    """Unpickled by the ordinary means, it makes a file."""

    def __init__(self, marker: Path):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.parametrize("kind", ["plain", "torch zip", "torch legacy", "inside a state dict"])
def test_malicious_pickle_is_refused_and_not_executed(tmp_path: Path, kind: str):
    marker, path = tmp_path / "executed", tmp_path / "weights.pkl"
    if kind == "plain":
        path.write_bytes(pickle.dumps(_Evil(marker), protocol=2))
    elif kind == "inside a state dict":
        torch.save({"a": torch.zeros(1), "b": _Evil(marker)}, path, _use_new_zipfile_serialization=False)
    else:
        torch.save(_Evil(marker), path, _use_new_zipfile_serialization=kind == "torch zip")
    with pytest.raises(WeightsError, match=r"weights\.pkl"):
        load_legacy(path)
    assert not marker.exists()
    # The file is a live one: the unsafe way does execute it.
    torch.load(path, weights_only=False) if kind != "plain" else pickle.loads(path.read_bytes())
    assert marker.exists()


@pytest.mark.parametrize("zipped", [False, True])
def test_round_trip(tmp_path: Path, zipped: bool):
    state = _authors_state()
    torch.save(state, tmp_path / "w.pkl", _use_new_zipfile_serialization=zipped)
    got = load_legacy(tmp_path / "w.pkl")
    assert list(got) == list(state)
    assert all(torch.equal(got[k], v) for k, v in state.items())


def test_authors_layers_land_where_they_belong(tmp_path: Path):
    state = _authors_state()
    torch.save(state, tmp_path / "w.pkl", _use_new_zipfile_serialization=False)
    net = load_authors_san(tmp_path / "w.pkl")
    face, same, opposite = torch.rand(1, 1, 16, 16), torch.rand(1, 3, 16, 16), torch.rand(1, 3, 16, 16)
    for got, wanted in zip(
        net(face, same, [same, opposite]), _as_authors_run_it(state, face, same, opposite), strict=True
    ):
        assert torch.allclose(got, wanted, atol=1e-5)


def test_the_released_file(shared_peers: Path):
    path = shared_peers / "conv-autoencoder-e20.pkl"
    tensors = load_legacy(path)
    assert sum(t.numel() for t in tensors.values()) == 324_248
    net = load_authors_san(path)
    assert not any(p.requires_grad for p in net.parameters())
    face, same, opposite = torch.rand(1, 1, 32, 32), torch.rand(1, 3, 32, 32), torch.rand(1, 3, 32, 32)
    sm, op = net(face, same, [same, opposite])
    wanted = _as_authors_run_it(tensors, face, same, opposite)
    assert torch.allclose(sm, wanted[0], atol=1e-5)
    assert torch.allclose(op, wanted[1], atol=1e-5)


def test_what_is_not_a_state_dict_is_named(tmp_path: Path):
    path = tmp_path / "w.pkl"
    with pytest.raises(WeightsError, match="FileNotFoundError"):
        load_legacy(path)
    for wrong, words in [
        ([torch.zeros(1)], "holds a list"),
        ({"a": 3}, "'a' is a int"),
        ({"a": torch.zeros(1).expand(10**9)}, "is damaged"),
    ]:
        torch.save(wrong, path, _use_new_zipfile_serialization=False)
        with pytest.raises(WeightsError, match=words):
            load_legacy(path)
    torch.save(_authors_state(), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(WeightsError, match="cannot be read"):
        load_legacy(path)
    path.write_bytes(b"")
    with pytest.raises(WeightsError, match="cannot be read"):
        load_legacy(path)


def test_another_network_is_refused(tmp_path: Path):
    path = tmp_path / "w.pkl"
    state = _authors_state()
    state["autoencoder.0.weight"] = torch.zeros(8, 1, 3, 3)
    torch.save(state, path)
    with pytest.raises(WeightsError, match="size mismatch"):
        load_authors_san(path)
    del state["autoencoder.0.weight"]
    torch.save(state, path)
    with pytest.raises(WeightsError, match="not the SAN authors'"):
        load_authors_san(path)
