"""``halfmask.predict``: the network's own answers, in words and years."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from PIL import Image

import halfmask
from halfmask.datasets.ages import age_class
from halfmask.errors import PhotoError, UsageError, WeightsError
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.heads import Categorical
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Detector
from halfmask.predicting import api
from halfmask.predicting.api import age_of
from halfmask.predicting.network import BATCH, SHIPPED, AttributeNetwork
from halfmask.weights import shipped

AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")
CLASSES = [age_class(word) for word in AGES]


def torch_says(net: AttributeNet, crop: np.ndarray) -> dict[str, np.ndarray]:
    """What torch gives for a crop uint8 (224, 224, 3): the mean over it and its mirror image."""
    x = torch.from_numpy(crop.transpose(2, 0, 1)[None].astype(np.float32) / 255)
    with torch.no_grad():
        one, two = net.probabilities(x), net.probabilities(x.flip(3))
    return {name: ((one[name] + two[name]) / 2)[0].numpy() for name in one}


def test_it_says_what_torch_says(tiny: AttributeNet, onnx_file: Path, couple: np.ndarray, detector: Detector) -> None:
    found = halfmask.predict(couple, network=onnx_file)
    faces = detector(couple)
    assert [face.box for face in found] == [face.box for face in faces]
    assert found[0].box[0] > 320 > found[1].box[0], "the larger face is the right one and comes first"
    for face, truth in zip(found, faces, strict=True):
        said = torch_says(tiny, crop_face(couple, truth.points)[0])
        for head, p in face.probabilities.items():
            assert list(p) == list(tiny.heads[head].words)
            assert np.abs(np.array(list(p.values())) - said[head]).max() < 1e-4
            assert sum(p.values()) == pytest.approx(1, abs=1e-5)
        assert face.gender == ("female", "male")[int(said["gender"].argmax())]
        assert face.race == tiny.heads["race"].words[int(said["race"].argmax())]
        assert face.age == pytest.approx(said["age"] @ np.array([c.middle for c in CLASSES]), abs=0.01)
        assert np.array_equal(face.points, truth.points)
        assert face.detection == truth.score
    gaps = [abs(found[0].probabilities["race"][w] - found[1].probabilities["race"][w]) for w in ("Black", "White")]
    assert max(gaps) > 1e-3, "two faces must not get one answer"


def test_the_largest_only_and_no_face(onnx_file: Path, couple: np.ndarray) -> None:
    (one,) = halfmask.predict(couple, faces="largest", network=onnx_file, threads=1)
    assert one.box == halfmask.predict(couple, network=onnx_file)[0].box
    assert halfmask.predict(np.full((90, 80, 3), 120, np.uint8), network=onnx_file) == []


def test_every_kind_of_source(onnx_file: Path, couple: np.ndarray, tmp_path: Path) -> None:
    path = tmp_path / "b.png"
    Image.fromarray(couple).save(path)
    wanted = [face.age for face in halfmask.predict(couple, network=onnx_file)]
    for source in (path, str(path), path.read_bytes(), Image.fromarray(couple)):
        assert [face.age for face in halfmask.predict(source, network=str(onnx_file))] == wanted


def test_what_a_network_does_not_read_is_absent(gender_file: Path, astronaut: np.ndarray, detector: Detector) -> None:
    (face,) = halfmask.predict(astronaut, network=gender_file)
    assert face.gender in ("female", "male")
    assert (face.age, face.age_interval, face.race) == (None, None, None)
    assert list(face.probabilities) == ["gender"]


def test_many_faces_go_through_in_batches(tiny: AttributeNet, onnx_file: Path) -> None:
    crops = np.random.default_rng(1).random((2 * BATCH + 1, 3, 224, 224), np.float32)
    network = AttributeNetwork(onnx_file, 1)
    said = network.probabilities(crops)
    for i in (0, BATCH, 2 * BATCH):
        for head, p in network.probabilities(crops[i : i + 1]).items():
            assert np.abs(said[head][i] - p[0]).max() < 1e-5
    assert {head: p.shape for head, p in network.probabilities(crops[:0]).items()} == {
        "gender": (0, 2), "age": (0, 9), "race": (0, 3),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("p", "years", "interval"),
    [
        ([0, 0, 0, 1, 0, 0, 0, 0, 0], 25.0, (20, 29)),
        ([0, 0, 0.04, 0.48, 0.44, 0.04, 0, 0, 0], 29.8, (20, 39)),  # 4 % on either side may be left out
        ([0, 0, 0.06, 0.48, 0.40, 0.06, 0, 0, 0], 29.6, (10, 49)),  # 6 % may not
        ([0, 0, 0, 0, 0, 0, 0, 0.5, 0.5], 70.0, (60, None)),  # the last class has no end
        ([1, 0, 0, 0, 0, 0, 0, 0, 0], 1.5, (0, 2)),
        ([0.96, 0, 0, 0, 0, 0, 0, 0, 0.04], 4.44, (0, 2)),  # the mean follows what the interval leaves out
    ],
)
def test_age_of_a_distribution_made_by_hand(p: list[float], years: float, interval: tuple[int, int | None]) -> None:
    found, got = age_of(np.array(p), CLASSES)
    assert found == pytest.approx(years)
    assert got == interval


def test_interval_is_the_heads_own_and_holds_its_level(rng: np.random.Generator) -> None:
    head = Categorical(4, AGES)
    for level in (0.5, 0.9, 0.99):
        p = rng.dirichlet(np.full(9, 0.6), 200)
        logits = torch.from_numpy(np.log(np.maximum(p, 1e-30)))
        low, high = head.interval(logits, level)
        for row, a, b in zip(p, low.tolist(), high.tolist(), strict=True):
            assert age_of(row, CLASSES, level)[1] == (CLASSES[a].low, CLASSES[b].high)
            assert row[a : b + 1].sum() >= level - 1e-9


def test_no_torch_is_needed(onnx_file: Path, astronaut: np.ndarray, tmp_path: Path, detector: Detector) -> None:
    Image.fromarray(astronaut).save(tmp_path / "a.png")
    code = (
        "import sys, halfmask; faces = halfmask.predict(sys.argv[1], network=sys.argv[2]); "
        "print(len(faces), [m for m in ('torch', 'onnx', 'matplotlib', 'sklearn') if m in sys.modules])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "a.png"), str(onnx_file)]
    assert subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "1 []"


def test_bad_requests(onnx_file: Path, detector: Detector) -> None:
    with pytest.raises(UsageError, match="faces is 'some'; expected one of: all, largest"):
        halfmask.predict(b"", faces="some", network=onnx_file)
    with pytest.raises(PhotoError, match="is empty"):
        halfmask.predict(b"", network=onnx_file)
    with pytest.raises(PhotoError, match="the limit is 99"):
        halfmask.predict(np.zeros((10, 10, 3), np.uint8), network=onnx_file, max_pixels=99)


def described(source: Path, target: Path, **changes: str) -> Path:
    """A copy of a network that says other things of itself; "" takes an entry away."""
    model = onnx.load(source)
    about = {p.key: p.value for p in model.metadata_props} | changes
    onnx.helper.set_model_props(model, {k: v for k, v in about.items() if v})
    onnx.save(model, target)
    return target


def heads(**classes: list[object]) -> str:
    return json.dumps({name: {"kind": "categorical", "classes": words} for name, words in classes.items()})


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"format": "2"}, "format 2, expected 1"),
        ({"format": ""}, "format None, expected 1"),
        ({"heads": ""}, "KeyError: 'heads'"),
        ({"heads": "[1]"}, "TypeError"),
        ({"heads": "{"}, "JSONDecodeError"),
        ({"heads": heads(hair=["brown"])}, "its heads are hair; expected one of gender, age, race"),
        ({"heads": heads(age=["young", "old"])}, "the age class 'young' is no age"),
        ({"heads": heads(gender=["female", "male", "x"])}, "it gives {'gender': 2} classes"),
        ({"heads": heads(gender=["female", "a\x1b[31m"])}, "cannot be shown"),
        ({"heads": heads(gender=[0, 1])}, "AttributeError"),
        ({"size": "large"}, "invalid literal"),
    ],
)
def test_a_network_that_misdescribes_itself(
    gender_file: Path, tmp_path: Path, changes: dict[str, str], says: str
) -> None:
    path = described(gender_file, tmp_path / "odd.onnx", **changes)
    with pytest.raises(WeightsError) as error:
        AttributeNetwork(path)
    assert says in str(error.value)
    assert "odd.onnx is no attribute network that describes itself" in str(error.value)
    assert str(error.value).endswith("expected the attribute.onnx of a run of: halfmask train attribute")


def test_what_is_no_network(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"there is no network .*no\.onnx; expected the attribute\.onnx"):
        AttributeNetwork(tmp_path / "no.onnx")
    (tmp_path / "text.onnx").write_text("not a network")
    with pytest.raises(WeightsError, match=r"text\.onnx does not load as ONNX: .*; expected the attribute\.onnx"):
        AttributeNetwork(tmp_path / "text.onnx")
    with pytest.raises(WeightsError, match="format None"):
        AttributeNetwork(shipped.path("gender.onnx"))


@pytest.fixture
def ships(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A weights folder of our own in the place of the shipped one."""

    def forget() -> None:
        for cached in (shipped.manifest, shipped.path, api._predictor):
            cached.cache_clear()

    (tmp_path / "manifest.json").write_text("{}")
    monkeypatch.setattr(shipped, "DATA", tmp_path)
    forget()
    yield tmp_path
    monkeypatch.undo()
    forget()


def test_the_shipped_network_is_the_default(
    ships: Path, onnx_file: Path, astronaut: np.ndarray, detector: Detector
) -> None:
    with pytest.raises(WeightsError, match=rf"brings no {SHIPPED}\. Train one .*--network FILE, network=FILE"):
        halfmask.predict(astronaut)
    shutil.copy(onnx_file, ships / SHIPPED)
    entry = {"sha256": hashlib.sha256(onnx_file.read_bytes()).hexdigest(), "card": "card.md"}
    (ships / "manifest.json").write_text(json.dumps({SHIPPED: entry}))
    shipped.manifest.cache_clear()
    assert halfmask.predict(astronaut)[0].age == halfmask.predict(astronaut, network=onnx_file)[0].age


def test_a_network_written_anew_is_loaded_anew(
    onnx_file: Path, gender_file: Path, astronaut: np.ndarray, detector: Detector, tmp_path: Path
) -> None:
    path = tmp_path / "attribute.onnx"
    shutil.copy(onnx_file, path)
    assert halfmask.predict(astronaut, network=path)[0].age is not None
    shutil.copy(gender_file, path)
    os.utime(path, ns=(1, 1))
    assert halfmask.predict(astronaut, network=path)[0].age is None
