"""scripts/attribute_parts.py: a run's figures on its own parts."""

from __future__ import annotations

from pathlib import Path

import attribute_parts
import numpy as np
import pytest

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.heads import Categorical
from halfmask.training.attribute import AttributeConfig
from halfmask.training.data import Faces


def test_every_part_is_judged_on_the_labelled(monkeypatch: pytest.MonkeyPatch) -> None:
    backbone = BACKBONES["fastcnn"](size=32)
    heads = {"gender": ("female", "male"), "age": ("20", "21", "22", "23")}
    net = AttributeNet(backbone, {n: Categorical(backbone.out_features, words) for n, words in heads.items()})
    config = AttributeConfig(
        train=[{"part": "train"}],
        valid=[],
        test=[{"part": "test"}],
        heads={"gender": {"kind": "categorical"}, "age": {"kind": "categorical", "years": [20, 23]}},
        size=32,
    )
    rows = {
        "train": [Row(f"{i}", Path(f"{i}"), f"p{i // 2}", i % 2, age=20.0) for i in range(4)],
        "test": [Row(f"{i}", Path(f"{i}"), None, 1 if i < 4 else None, age=22.0) for i in range(5)],
    }

    def opened(sources: list[dict[str, str]], keep: object, size: int) -> Faces:
        assert size == 32
        mine = rows[sources[0]["part"]]
        return Faces([(Crops(np.zeros((len(mine), 32, 32, 3), np.uint8), mine, []), range(len(mine)))])

    monkeypatch.setattr(attribute_parts, "open_faces", opened)
    # everybody is a man of 21 years
    said = {"gender": np.array([0.0, 1.0]), "age": np.array([0.0, 1.0, 0.0, 0.0])}
    monkeypatch.setattr(
        attribute_parts,
        "answers",
        lambda net, faces, precision: {n: np.tile(v, (len(faces), 1)) for n, v in said.items()},
    )
    found = {(line["part"], line["head"]): line for line in attribute_parts.lines(net, config)}
    assert list(found) == [("train", "gender"), ("train", "age"), ("test", "gender"), ("test", "age")]
    assert found["train", "gender"]["figure"].startswith("50.00% (")
    assert (found["train", "gender"]["n"], found["train", "gender"]["people"]) == (4, 2)
    assert found["test", "gender"] == {
        "part": "test", "head": "gender", "n": 4, "people": 4, "figure": "100.00% (100.00% to 100.00%)"
    }  # fmt: skip
    assert found["train", "age"]["figure"] == "1.00 (1.00 to 1.00)"
    assert found["test", "age"]["n"] == 5
