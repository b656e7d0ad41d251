"""Attribute networks from made-up data sets in their published layouts: labels, losses, resuming, outputs, errors."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from ordinal import biases_ordered, rank_inconsistencies

from halfmask.datasets import cache
from halfmask.errors import DataError, UsageError
from halfmask.losses import importance_weights
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.heads import Coral
from halfmask.photos.align import template
from halfmask.photos.detect import Face
from halfmask.training import attribute as recipe
from halfmask.training import loop
from halfmask.training.data import open_faces

SIDE = 32
UTK_RACES = ("White", "Black", "Asian")
FAIR_RACES = ("White", "Black", "East Asian", "Southeast Asian")
#: Two data sets' words for three classes.
CLASSES = {"White": ["White"], "Black": ["Black"], "Asian": ["Asian", "East Asian", "Southeast Asian"]}
STILL = {"rotate": 0, "scale": 0, "shift": 0, "light": 0, "blur": 0}


class WholePicture:
    """A detector for made-up pictures: every one is a face that fills it."""

    def __call__(self, rgb: np.ndarray) -> list[Face]:
        side = rgb.shape[0]
        return [Face((0, 0, side, side), template(side), 1.0)]


@pytest.fixture(autouse=True)
def toys_are_faces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.setattr(cache, "Detector", WholePicture)
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state()  # it takes one precision a process
    yield
    AcceleratorState._reset_state()
    torch.set_num_threads(threads)


def paint(path: Path, age: float, gender: int, race: int, rng: np.random.Generator) -> None:
    """Red says the age, blue the gender, and how green changes from left to right the race."""
    rgb = np.empty((SIDE, SIDE, 3))
    rgb[..., 0] = 4 * (age - 15)
    rgb[..., 1] = np.linspace(128 - 40 * race, 128 + 40 * race, SIDE)
    rgb[..., 2] = 60 + 130 * gender
    path.parent.mkdir(parents=True, exist_ok=True)
    noisy = (rgb + rng.normal(0, 6, rgb.shape)).clip(0, 255).astype(np.uint8)
    assert cv2.imwrite(str(path), cv2.cvtColor(noisy, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 100])


def utkface(root: Path, count: int = 120, ages: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    for i in range(count):
        age, gender, race = 21 + 8 * int(rng.integers(ages)), i % 2, int(rng.integers(3))
        paint(root / f"UTKFace/{age}_{1 - gender}_{race}_2017{i:04d}.jpg.chip.jpg", age, gender, race, rng)
    return {"layout": "utkface", "root": str(root)}


def fairface(root: Path, train: int = 60, val: int = 20) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    for part, count in (("train", train), ("val", val)):
        lines = ["file,age,gender,race,service_test"]
        for i in range(1, count + 1):
            decade, gender, race = int(rng.integers(2, 6)), i % 2, int(rng.integers(4))
            paint(root / part / f"{i}.jpg", 10 * decade + 5, gender, min(race, 2), rng)
            ages = f"{10 * decade}-{10 * decade + 9}"
            lines.append(f"{part}/{i}.jpg,{ages},{('Female', 'Male')[gender]},{FAIR_RACES[race]},True")
        (root / f"fairface_label_{part}.csv").write_text("\n".join(lines) + "\n")
    return {"layout": "fairface", "root": str(root)}


def config(source: dict[str, Any], **changes: Any) -> recipe.AttributeConfig:
    base = recipe.AttributeConfig(
        train=[{**source, "splits": ["train"]}],
        valid=[{**source, "splits": ["valid"]}],
        heads={"gender": {"kind": "binary"}},
        size=SIDE,
        epochs=2,
        batch=16,
        precision="no",
        augment=STILL,
    )
    return replace(base, **changes)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return dict(AttributeNet.load(folder / "attribute.safetensors").state_dict())


HEADS: dict[str, dict[str, Any]] = {
    "race": {"kind": "categorical", "classes": CLASSES, "weight": 0.5},
    "gender": {"kind": "binary"},
    "age": {"kind": "coral", "groups": [0, 20, 30, 40, 50, 60]},
}


def test_three_heads_of_two_data_sets_and_what_they_write(tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    fair, utk = fairface(tmp_path / "fair"), utkface(tmp_path / "utk")
    folder = tmp_path / "run"
    path = recipe.train_attribute(
        config(
            fair,
            train=[{**fair, "splits": ["train"], "hold_out": 0.2}, utk],
            valid=[{**fair, "splits": ["valid"], "hold_out": 0.2}],
            test=[{**fair, "splits": ["test"], "hold_out": 0.2}],
            heads=HEADS,
            epochs=5,
            lr=1e-2,
            precision="bf16",
        ),
        folder,
    )
    net = AttributeNet.load(path)
    assert {name: head.words for name, head in net.heads.items()} == {
        "race": ("White", "Black", "Asian"),
        "gender": ("female", "male"),
        "age": ("0-19", "20-29", "30-39", "40-49", "50-59", "60+"),
    }
    figures = json.loads((folder / "test.json").read_text())
    assert set(figures) == {
        f"{head}_{figure}" for head in ("race", "gender") for figure in ("accuracy", "balanced")
    } | {"age_mae", "age_rmse"}
    assert figures["gender_accuracy"] == 1.0  # it is the blue of the picture
    assert figures["race_accuracy"] > 0.8
    last = loop.read_log(folder)[-1]
    assert last["loss"] == pytest.approx(last["loss_gender"] + last["loss_age"] + last["loss_race"] / 2, abs=1e-4)

    # the figures are those of the kept answers, and these of the network
    test = open_faces([{**fair, "splits": ["test"], "hold_out": 0.2}], size=SIDE)
    with np.load(folder / "test.npz") as kept:
        assert kept["keys"].tolist() == [row.key for row in test.rows] == sorted(f"val/{i}.jpg" for i in range(1, 21))
        assert kept["rank/age"].tolist() == [row.age_range[0] // 10 - 1 for row in test.rows if row.age_range]
        faces = test.take(np.arange(len(test)))
        with torch.no_grad():
            one, two = net(faces), net(faces.flip(3))
        for name in HEADS:
            assert np.allclose(kept[f"logits/{name}"], (one[name] + two[name]) / 2, atol=0.1)  # of bfloat16
        said = net.heads["age"].predict(torch.from_numpy(kept["logits/age"])).numpy()
        assert figures["age_mae"] == pytest.approx(np.abs(said - kept["rank/age"]).mean())

    crops = torch.rand(3, 3, 224, 224)
    session = onnxruntime.InferenceSession(folder / "attribute.onnx", providers=["CPUExecutionProvider"])
    got = dict(zip(HEADS, session.run(list(HEADS), {"face": crops.numpy()}), strict=True))
    with torch.no_grad():
        for name, p in net.probabilities(crops).items():
            assert np.allclose(got[name], p.numpy(), atol=1e-5)


def test_coral_learns_ordered_biases_and_never_contradicts_itself(tmp_path: Path) -> None:
    utk = utkface(tmp_path / "utk", 160)
    heads = {"age": {"kind": "coral", "groups": [21, 29, 37, 45, 53, 61]}}
    wanted = config(utk, heads=heads, epochs=10, lr=1e-2, test=[{**utk, "splits": ["test"]}])
    net = AttributeNet.load(recipe.train_attribute(wanted, tmp_path / "run"))
    head = net.heads["age"]
    assert isinstance(head, Coral)
    assert biases_ordered(head.bias.numpy())
    assert head.bias[0] > head.bias[-1]
    with np.load(tmp_path / "run" / "test.npz") as kept:
        logits, true = torch.from_numpy(kept["logits/age"]), kept["rank/age"]
    assert rank_inconsistencies(head.exceedance(logits).numpy()).sum() == 0
    assert np.abs(head.predict(logits).numpy() - true).mean() < 0.7 * np.abs(np.median(true) - true).mean()


def test_faces_without_a_label_teach_the_other_heads_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fair, utk = fairface(tmp_path / "fair"), utkface(tmp_path / "utk")
    seen: list[tuple[int, int]] = []  # faces of a batch, and of these with a year
    original = Coral.loss

    def spy(self: Coral, logits: torch.Tensor, labels: torch.Tensor, importance: torch.Tensor | None = None) -> Any:
        seen.append((len(labels), int((labels >= 0).sum())))
        return original(self, logits, labels, importance)

    monkeypatch.setattr(Coral, "loss", spy)
    both = config(
        utk,
        train=[{**utk, "splits": ["train"]}, {**fair, "splits": ["train"]}],
        heads={"gender": {"kind": "binary"}, "age": {"kind": "coral", "years": [21, 60]}},
        epochs=1,
        batch=156,
    )
    recipe.train_attribute(both, tmp_path / "run")
    train = open_faces(both.train, size=SIDE).rows
    # of FairFace only ranges are known, and of UTKFace those over 60 are beyond the last year
    with_year = [row for row in train if row.age is not None and row.age <= 60]
    assert {row.key.partition("/")[0] for row in with_year} == {"UTKFace"}
    assert seen == [(len(train), len(with_year))] == [(156, len(with_year))]
    assert 0 < len(with_year) < 96


def test_importance_weights_are_those_of_the_training_ranks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utk = utkface(tmp_path / "utk")
    seen: dict[str, torch.Tensor | None] = {}
    for kind in ("or", "categorical"):
        head = recipe.HEADS[kind]

        def spy(self: Any, logits: Any, labels: Any, importance: Any = None, *, of: Any = head.loss) -> Any:
            seen[self.kind] = importance
            return of(self, logits, labels, importance)

        monkeypatch.setattr(head, "loss", spy)
        wanted = config(utk, heads={"age": {"kind": kind, "years": [21, 61]}}, importance=True, epochs=1)
        recipe.train_attribute(wanted, tmp_path / kind)
    ages = [row.age for row in open_faces(wanted.train, size=SIDE).rows]
    expected = importance_weights(torch.tensor([int(age) - 21 for age in ages if age is not None]), 41)
    assert seen["or"] is not None
    assert torch.equal(seen["or"], expected)
    assert seen["categorical"] is None  # the formula weighs binary tasks, not classes


class Killed(Exception):
    """What a kill looks like from inside."""


@pytest.mark.parametrize("keep", ["last", "best"])
def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keep: Any) -> None:
    utk = utkface(tmp_path / "utk", 80)
    heads = {"age": {"kind": "or", "groups": [0, 30, 50]}, "gender": {"kind": "binary"}}
    wanted = config(utk, heads=heads, keep=keep, epochs=4, augment={})  # each of 4 steps
    monkeypatch.setattr(recipe, "fit", partial(loop.fit, checkpoint_every=5))
    recipe.train_attribute(wanted, tmp_path / "straight")
    original, calls = recipe.update, []

    def dying(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == 10:  # after a checkpoint at 5 and an epoch that ended at 8
            raise Killed
        return original(*args, **options)

    monkeypatch.setattr(recipe, "update", dying)
    with pytest.raises(Killed):
        recipe.train_attribute(wanted, tmp_path / "broken")
    recipe.train_attribute(wanted, tmp_path / "broken")
    assert len(calls) == 10 + 11
    straight, broken = weights(tmp_path / "straight"), weights(tmp_path / "broken")
    assert all(torch.equal(v, broken[k]) for k, v in straight.items())
    marks = [json.loads((tmp_path / name / "best.json").read_text()) for name in ("straight", "broken")]
    assert marks[0] == marks[1]
    steps = [record["step"] for record in loop.read_log(tmp_path / "broken")]
    assert steps == [4, 8, 12, 16]


def test_keep_best_or_last(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utk = utkface(tmp_path / "utk", 80)
    said = iter([0.6, 0.9, 0.7, 0.2] * 2)
    states: list[dict[str, torch.Tensor]] = []

    def made_up_score(net: AttributeNet, *_: Any) -> dict[str, float]:
        states.append({k: v.clone() for k, v in net.state_dict().items()})
        return {"gender_balanced": next(said)}

    monkeypatch.setattr(recipe, "score", made_up_score)
    recipe.train_attribute(config(utk, keep="best", epochs=4), tmp_path / "best")
    recipe.train_attribute(config(utk, keep="last", epochs=4), tmp_path / "last")
    for name, epoch in (("best", 1), ("last", 7)):
        kept = weights(tmp_path / name)
        same = [all(torch.equal(kept[k], v) for k, v in state.items()) for state in states[:4]]
        assert same == [i == epoch % 4 for i in range(4)]


def test_of_an_age_the_smallest_error_is_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utk = utkface(tmp_path / "utk", 80)
    said = iter([7.0, 5.0, 6.0])
    monkeypatch.setattr(recipe, "score", lambda *_: {"age_mae": next(said)})
    wanted = config(utk, heads={"age": {"kind": "corn", "years": [21, 61]}}, epochs=3)
    recipe.train_attribute(wanted, tmp_path / "run")
    assert json.loads((tmp_path / "run" / "best.json").read_text()) == {"step": 8, "value": -5.0}


def test_a_fresh_run_forgets_the_best_of_an_older_one(tmp_path: Path) -> None:
    utk = utkface(tmp_path / "utk", 80)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "best.json").write_text(json.dumps({"step": 1, "value": 2.0}))
    recipe.train_attribute(config(utk, keep="best"), folder)
    assert json.loads((folder / "best.json").read_text())["value"] <= 1


def test_the_rate_stays_when_it_is_to_be_constant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utk = utkface(tmp_path / "utk", 80)
    rates: dict[str, list[float]] = {}
    original = torch.optim.AdamW.step
    for schedule in ("constant", "cycle"):
        mine = rates[schedule] = []

        def spy(self: Any, *args: Any, mine: list[float] = mine, **options: Any) -> Any:
            mine.append(self.param_groups[0]["lr"])
            return original(self, *args, **options)

        monkeypatch.setattr(torch.optim.AdamW, "step", spy)
        recipe.train_attribute(config(utk, schedule=schedule, lr=1e-3, epochs=4), tmp_path / schedule)
    assert rates["constant"] == [1e-3] * 16
    assert rates["cycle"][0] < 1e-4
    assert max(rates["cycle"]) == pytest.approx(1e-3, rel=0.05)
    assert rates["cycle"][-1] < 1e-4


def test_only_heads_that_ask_for_it_start_at_the_frequencies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    utk = utkface(tmp_path / "utk", 80)
    asked: list[tuple[str, int]] = []
    original = recipe.start_at_prior
    monkeypatch.setattr(recipe, "start_at_prior", lambda h, y: (asked.append((h.kind, len(y))), original(h, y)))
    heads = {"age": {"kind": "coral", "years": [21, 61], "prior": True}, "gender": {"kind": "binary"}}
    net = AttributeNet.load(recipe.train_attribute(config(utk, heads=heads, epochs=1, lr=1e-6), tmp_path / "run"))
    assert asked == [("coral", 64)]
    coral = net.heads["age"]
    assert isinstance(coral, Coral)
    assert coral.bias[0] > 1
    assert coral.bias[-1] < -1


@pytest.mark.parametrize(
    ("changes", "error", "match"),
    [
        ({"heads": {}}, UsageError, "heads is"),
        ({"heads": {"gender": {"kind": "coarl"}}}, UsageError, "known: binary, categorical"),
        ({"heads": {"gender": {"kind": "binary", "init": "zeros"}}}, UsageError, r"does not take \['init'\]"),
        ({"backbone": "resnet19"}, UsageError, "known: fastcnn"),
        ({"batch": 500}, UsageError, "larger than the 64 faces"),
        ({"epochs": 0}, UsageError, "epochs is 0"),
        ({"lr": "2e-3"}, UsageError, r"2\.0e-3"),
        ({"precision": False}, UsageError, "in quotes"),
        ({"schedule": "cosine"}, UsageError, "expected 'cycle' or 'constant'"),
        ({"train": []}, UsageError, "no data source"),
        ({"heads": {"age": {"kind": "corn", "years": [80, 90]}}}, DataError, "no usable face"),
        (
            {"heads": {"race": {"kind": "categorical", "classes": {"White": "White", "Asian": "East Asian"}}}},
            DataError,
            "labelled Asian.*words are White",
        ),
    ],
)
def test_configs_that_make_no_sense_are_refused_before_training(
    tmp_path: Path, changes: dict[str, Any], error: type[Exception], match: str
) -> None:
    utk = utkface(tmp_path / "utk", 80)
    with pytest.raises(error, match=match):
        recipe.train_attribute(config(utk, **changes), tmp_path / "run")
    assert not (tmp_path / "run" / "log.jsonl").exists()


def test_the_best_cannot_be_chosen_by_faces_without_its_label(tmp_path: Path) -> None:
    fair, utk = fairface(tmp_path / "fair"), utkface(tmp_path / "utk", 80)
    heads = {"age": {"kind": "corn", "years": [21, 61]}, "gender": {"kind": "binary"}}
    wanted = config(utk, valid=[{**fair, "splits": ["valid"]}], heads=heads, keep="best")
    with pytest.raises(DataError, match="chooses by the head age"):
        recipe.train_attribute(wanted, tmp_path / "run")


def test_another_config_is_refused_and_a_younger_key_is_not(tmp_path: Path) -> None:
    utk = utkface(tmp_path / "utk", 80)
    recipe.train_attribute(config(utk), tmp_path / "run")
    kept = tmp_path / "run" / "config.yaml"
    older = "".join(line for line in kept.read_text().splitlines(True) if not line.startswith("schedule"))
    assert older != kept.read_text()
    kept.write_text(older)  # as a version wrote it that did not know the key
    with pytest.raises(UsageError, match="another config"):
        recipe.train_attribute(config(utk, schedule="constant"), tmp_path / "run")
    recipe.train_attribute(config(utk), tmp_path / "run")
