"""The papers' protocol: the configs of age-papers load, and opens made-up files in the published layouts and lists."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import ages_papers
import cv2
import numpy as np
import pytest
import torch
import yaml
from accelerate.state import AcceleratorState

from halfmask.datasets import cache
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.readings import reading
from halfmask.photos.align import template
from halfmask.photos.detect import Face
from halfmask.training.attribute import AttributeConfig, train_attribute
from halfmask.training.config import load_config
from halfmask.training.data import open_faces

ROOT = Path(__file__).resolve().parents[2]
#: Set → first and last age, where its pictures lie, the header of its lists, and a line of these.
SETS = {
    "morph2": (16, 70, "Album2/{i:06d}_1M{age}.JPG", ",id_num,age", "{i:06d}_1M{age}.jpg,9055,{rank}"),
    "afad": (15, 40, "AFAD-Full/{age}/111/{i}-0.jpg", "file,path,age", "{i}-0.jpg,{age}/111/{i}-0.jpg,{rank}"),
    "cacd": (14, 62, "CACD2000/{age}_Some_Body_{i:04d}.jpg", ",file,age", "0,{age}_Some_Body_{i:04d}.jpg,{rank}"),
    "utkface": (21, 60, "UTKFace/{age}_0_1_{i}.jpg.chip.jpg", ",file,age", "0,{age}_0_1_{i}.jpg.chip.jpg,{rank}"),
}
PARTS = {"train": range(50), "valid": range(50, 60), "test": range(60, 80)}


@pytest.fixture(autouse=True)
def made_up_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Every picture is a face that fills it."""

    class Whole:
        def __call__(self, rgb: np.ndarray) -> list[Face]:
            return [Face((0, 0, *rgb.shape[:2]), template(rgb.shape[0]), 1.0)]

    monkeypatch.setattr(cache, "Detector", Whole)
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "cache"))


def publish(name: str, config: AttributeConfig, home: Path) -> AttributeConfig:
    """Put pictures and lists where the config says, below ``home``, and give the config that looks there."""
    first, last, picture, header, line = SETS[name]
    rng = np.random.default_rng(0)
    where = {i: {"i": i, "age": first + i % (last - first + 1), "rank": i % (last - first + 1)} for i in range(90)}
    root = home / Path(config.train[0]["root"]).name
    for about in where.values():  # the last ten are in no list
        path = root / picture.format(**about)
        path.parent.mkdir(parents=True, exist_ok=True)
        assert cv2.imwrite(str(path.with_suffix(".png")), rng.integers(0, 255, (32, 32, 3), np.uint8))
        path.with_suffix(".png").rename(path)
    moved: dict[str, list[dict[str, Any]]] = {}
    for part in ("train", "valid", "test"):
        source = dict(getattr(config, part)[0])
        lists = {split: [f] if isinstance(f, str) else f for split, f in source["lists"].items()}
        for files in lists.values():
            for file in files:
                numbers = next(n for p, n in PARTS.items() if file.endswith(f"_{p}.csv"))
                text = "\n".join([header, *(line.format(**where[i]) for i in numbers)])
                there = home / file
                there.parent.mkdir(parents=True, exist_ok=True)
                there.write_text(text)
        source["lists"] = {split: [str(home / f) for f in files] for split, files in lists.items()}
        moved[part] = [{**source, "root": str(root)}]
    return replace(config, **moved)


@pytest.mark.parametrize("name", list(SETS))
def test_the_config_opens_the_data_as_published(name: str, tmp_path: Path) -> None:
    config = publish(name, load_config(AttributeConfig, f"age-papers/{name}"), tmp_path)
    first, last, *_ = SETS[name]
    ages = reading("age", config.heads["age"])
    assert ages.words == tuple(str(y) for y in range(first, last + 1))
    parts = {part: open_faces(getattr(config, part), size=32) for part in ("train", "valid", "test")}
    counts = {part: len(faces) for part, faces in parts.items()}
    # AFAD's validation list went back to train; UTKFace has none: of both a tenth is held out anew
    train, valid = {"afad": (54, 6), "utkface": (45, 5)}.get(name, (50, 10))
    assert counts == {"train": train, "valid": valid, "test": 20}
    keys = Counter(row.key for faces in parts.values() for row in faces.rows)
    assert set(keys.values()) == {1}
    assert all(ages.rank(row) >= 0 for faces in parts.values() for row in faces.rows)
    if name == "afad":  # and no longer holds the ages of one list alone
        assert {row.key for row in parts["valid"].rows} & {row.key for row in parts["train"].rows} == set()
        numbers = {int(row.key.rpartition("/")[2].partition("-")[0]) for row in parts["valid"].rows}
        assert min(numbers) < 50


@pytest.mark.parametrize("name", list(SETS))
def test_the_config_is_the_papers_protocol(name: str) -> None:
    config = load_config(AttributeConfig, f"age-papers/{name}")
    assert (config.backbone, config.size, config.batch, config.epochs) == ("resnet34", 120, 256, 200)
    assert (config.lr, config.weight_decay, config.schedule) == (5e-4, 0.0, "constant")
    assert (config.keep, config.seed, config.precision) == ("best", 0, "no")
    assert config.heads["age"]["kind"] == "coral"
    assert "prior" not in config.heads["age"]
    assert config.augment["shift"] * config.size == pytest.approx(4, abs=0.01)
    assert not config.augment["flip"]
    assert not any(config.augment[key] for key in ("rotate", "scale", "light", "blur"))


def test_a_config_trains(tmp_path: Path) -> None:
    config = publish("afad", load_config(AttributeConfig, "age-papers/afad"), tmp_path)
    AcceleratorState._reset_state()  # it takes one precision a process
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        path = train_attribute(replace(config, backbone="fastcnn", size=32, epochs=1, batch=27), tmp_path / "run")
    finally:
        torch.set_num_threads(threads)
    assert AttributeNet.load(path).heads["age"].classes == 26
    assert (tmp_path / "run" / "test.json").is_file()


def test_the_published_figures_stand_beside_ours() -> None:
    published = yaml.safe_load((ROOT / "scripts" / "ages_papers.yaml").read_text("utf-8"))["published"]
    for entry in published:
        assert entry["measure"] in ("mae", "rmse")
        for row in entry["rows"]:
            assert row["set"] in SETS
            assert set(row) - {"set", "by"} <= set(ages_papers.HEADS)
    ours = {"afad": {"CORAL": [{"mae": 3.0, "rmse": 4.0}, {"mae": 3.2, "rmse": 4.0}, {"mae": 3.4, "rmse": 4.0}]}}
    rows = [row for row in ages_papers.lines("mae", ours, published) if row["set"] == "afad"]
    assert rows[0] == {"set": "afad", "by": "ResNet-34", "source": "here", "CORAL": "3.20 ± 0.20"} | {
        head: None for head in ages_papers.HEADS if head != "CORAL"
    }
    # slides, Table 1: CORAL below OR-CNN below cross-entropy on every set
    table = next(p for p in published if p["source"].endswith("Table 1") and p["measure"] == "mae")
    assert len(table["rows"]) == 4
    assert all(row["CORAL"][0] < row["OR"][0] < row["CE"][0] for row in table["rows"])
    assert "3.49 ± 0.03" in {row["CORAL"] for row in rows}
