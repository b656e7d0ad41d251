"""scripts/pack.py: configs whose data are a pack, each source in it once."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
import yaml
from pack import Parts, main

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.training.packs import read_pack


def test_a_source_stands_in_the_pack_once_however_deep_the_config_names_it() -> None:
    fair = {"layout": "fairface", "root": "fairface", "splits": ["train"]}
    heads = fair | {"heads": {"layout": "folder", "root": "portraits"}}
    parts = Parts("data.npz")
    first = parts.packed({"train": [fair | {"share": 4}, heads], "valid": [fair | {"splits": ["valid"]}], "seed": 1})
    at = {"pack": "data.npz", "layout": "fairface"}
    assert first == {
        "train": [at | {"part": "train0", "share": 4}, at | {"part": "train1"}],
        "valid": [at | {"part": "valid0"}],
        "seed": 1,
    }
    second = parts.packed({"san": {"train": [heads, fair, {"layout": "lfw", "root": "lfw"}]}, "members": [{"a": 1}]})
    assert [source["part"] for source in second["san"]["train"]] == ["train1", "train0", "train2"]
    assert second["members"] == [{"a": 1}]
    assert parts.sources["train1"] == heads


def test_the_pack_lies_beside_its_configs(
    tmp_path: Path, rng: np.random.Generator, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = rng.integers(40, 220, (3, 5, 5, 3), np.uint8)
    asked_for = []

    class Opened:
        def __init__(self, sources: list[dict[str, object]], size: int) -> None:
            asked_for.append(sources)
            self.rows = [Row(f"{i}.png", Path(f"{i}.png"), None, i % 2) for i in range(3)]
            self.faces = np.stack([cv2.resize(face, (size, size)) for face in small])

        def __len__(self) -> int:
            return 3

        def pixels(self, where: np.ndarray) -> np.ndarray:
            return self.faces[where]

    monkeypatch.setattr("pack.open_faces", Opened)
    config = {"train": [{"layout": "lfw", "root": "lfw"}], "steps": 7}
    for name in ("one", "two"):
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config), "utf-8")
    given = [str(tmp_path / "one.yaml"), str(tmp_path / "two.yaml")]
    out = tmp_path / "out"
    line = ["pack.py", *given, "--data", str(tmp_path), "--out", str(out), "--at", "there.npz", "--size", "64"]
    monkeypatch.setattr("sys.argv", [*line, "--configs"])
    main()
    assert sorted(path.name for path in out.iterdir()) == ["one.yaml", "two.yaml"]
    monkeypatch.setattr("sys.argv", [*line, "--gray"])
    main()
    assert asked_for == [[{"layout": "lfw", "root": str(tmp_path / "lfw")}]]
    assert yaml.safe_load((out / "two.yaml").read_text("utf-8")) == {
        "train": [{"pack": "there.npz", "part": "train0", "layout": "lfw"}],
        "steps": 7,
    }
    crops: Crops = read_pack(out / "data.npz", "train0", 64)
    assert crops.pixels.shape == (3, 64, 64, 3)
    assert np.ptp(crops.pixels.astype(int), axis=3).max() <= 2
