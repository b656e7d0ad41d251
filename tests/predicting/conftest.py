"""Tiny networks with random weights, exported as a training run would."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from halfmask.cli import main
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.heads import Binary, Categorical, Coral
from halfmask.photos.detect import Detector
from halfmask.training.export import export_attribute

AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
RACES = ("Black", "East Asian", "White")


def make(*heads: str) -> AttributeNet:
    """A network with these heads, in evaluation mode, whose answers differ between faces."""
    torch.manual_seed(5)
    backbone = BACKBONES["fastcnn"](size=32)
    d = backbone.out_features
    known = {
        "gender": Binary(d, ("female", "male")),
        "age": Coral(d, AGES, init="preinit"),
        "race": Categorical(d, RACES),
    }
    net = AttributeNet(backbone, {name: known[name] for name in heads})
    for name, head in net.heads.items():
        if name != "age":
            torch.nn.init.normal_(head.get_parameter("linear.weight"), std=0.5)
    return net.eval()


@pytest.fixture(scope="session")
def tiny() -> AttributeNet:
    """Three heads, in an order that is not the one of the answers."""
    return make("race", "gender", "age")


@pytest.fixture(scope="session")
def onnx_file(tiny: AttributeNet, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same network as a file."""
    return export_attribute(tiny, tmp_path_factory.mktemp("run") / "attribute.onnx")


@pytest.fixture(scope="session")
def gender_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that reads the gender only."""
    return export_attribute(make("gender"), tmp_path_factory.mktemp("gender") / "attribute.onnx")


@pytest.fixture(scope="session")
def couple(astronaut: np.ndarray, detector: Detector) -> np.ndarray:
    """A large face at the right, a small one at the left, uint8 (256, 640, 3)."""
    portrait = astronaut[:256, 80:400]
    small = np.full_like(portrait, 255)
    small[:128, :160] = portrait[::2, ::2]
    both = np.concatenate([small, portrait], axis=1)
    assert len(detector(both)) == 2
    return both


@pytest.fixture
def album(tmp_path: Path, astronaut: np.ndarray, couple: np.ndarray) -> Path:
    """Photos with one face, two and none in two folders, one damaged photo and one other file."""
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    Image.fromarray(astronaut).save(folder / "a.png")
    Image.fromarray(couple).save(folder / "sub" / "b.png")
    Image.new("RGB", (60, 40), "teal").save(folder / "c.jpg")
    (folder / "damaged.jpg").write_bytes(b"\xff\xd8\xff no photo")
    (folder / "notes.txt").write_text("no photo")
    return folder


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """Run ``halfmask predict`` in this process: (exit code, stdout, stderr)."""

    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["predict", *map(str, args)])
        sys.stdout.flush()
        return int(end.value.code or 0), *capsys.readouterr()

    return call
