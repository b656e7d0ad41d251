"""scripts/attributes.py: which network a run or a name stands for, and what it has seen."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from attributes import find, seen

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import DataError
from halfmask.networks.attribute import AttributeNet
from halfmask.predicting.network import AttributeNetwork
from halfmask.training.packs import write_pack
from halfmask.weights import shipped


def test_a_name_is_the_network_that_ships(tmp_path: Path) -> None:
    trained = find(Path("fairface-gendercnn"), Path("sets"), tmp_path)
    assert trained is not None
    assert (trained.name, trained.config.backbone) == ("fairface-gendercnn", "gendercnn")
    assert trained.config.train[0]["root"] == "sets/fairface"
    faces = np.random.default_rng(1).random((2, 3, 224, 224)).astype(np.float32)
    said = AttributeNetwork(trained.network, 1).probabilities(faces)
    x = torch.from_numpy(faces)
    net = AttributeNet.load(shipped.path("fairface-gendercnn.safetensors"))
    with torch.no_grad():
        meant = {
            name: (p + q) / 2
            for (name, p), q in zip(net.probabilities(x).items(), net.probabilities(x.flip(3)).values(), strict=True)
        }
    assert said.keys() == meant.keys()
    assert all(np.abs(said[name] - meant[name].numpy()).max() < 1e-3 for name in said)
    assert find(Path("gender"), Path("sets"), tmp_path) is None  # it ships, and reads no attributes of this kind
    assert find(tmp_path, Path("sets"), tmp_path) is None


def test_what_a_run_saw_stands_in_its_packs(tmp_path: Path) -> None:
    rows = [Row(f"train/{i}.jpg", Path(), gender=i % 2) for i in range(3)]
    crops = Crops(np.zeros((3, 16, 16, 3), np.uint8), rows, [])
    write_pack(tmp_path / "p.npz", {"train0": crops, "valid0": Crops(crops.pixels[:1], [Row("v.jpg", Path())], [])})
    trained = find(Path("attributes"), Path("sets"), tmp_path)
    assert trained is not None
    source = {"pack": str(tmp_path / "p.npz"), "layout": "fairface"}
    config = replace(trained.config, train=[source | {"part": "train0"}], valid=[source | {"part": "valid0"}])
    keys = ("train/0.jpg", "train/1.jpg", "train/2.jpg", "v.jpg")
    assert seen(config) == ("fairface", {("fairface", key) for key in keys})
    with pytest.raises(DataError, match="does not say which layout"):
        seen(replace(config, train=[{"pack": "p.npz", "part": "train0"}]))
