"""halfmask's recipe on made-up faces: what it writes, that it resumes, what targets are drawn, what it refuses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import UsageError
from halfmask.methods.halfmask import Halfmask
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.halfmask import SIDE, Masker
from halfmask.networks.heads import Binary, Categorical, Coral
from halfmask.training import halfmask as recipe
from halfmask.training import loop
from halfmask.training.data import Faces

RACES = {"a": ["a"], "b": ["b"]}
AGES = [0, 30, 60]


def made_up(count: int = 24) -> Faces:
    """Smooth random crops with labels."""
    rng = np.random.default_rng(0)
    pixels, rows = [], []
    for i in range(count):
        small = rng.uniform(60, 160, (7, 7, 3)) + (60 if i % 2 == 0 else -30)
        pixels.append(cv2.resize(small.clip(0, 255).astype(np.uint8), (SIDE, SIDE), interpolation=cv2.INTER_CUBIC))
        rows.append(Row(f"{i}.png", Path(f"{i}.png"), f"p{i}", i % 2, age=20.0 + 30 * (i % 3), race="ab"[i % 2]))
    return Faces([(Crops(np.stack(pixels), rows, []), range(count))])


class Tiny(nn.Module):
    """A matcher: 4 x 4 means."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(nn.functional.adaptive_avg_pool2d(faces, 4).flatten(1).float())


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[recipe.HalfmaskConfig]:
    monkeypatch.setattr(recipe, "open_faces", lambda sources, keep, size: made_up())
    monkeypatch.setattr(recipe, "load_matcher", lambda name: Tiny())
    torch.manual_seed(0)
    backbone = BACKBONES["resnet18"](size=32)
    width = backbone.out_features
    words = ("0-29", "30-59", "60+")
    heads = {
        "gender": Binary(width, ("female", "male")),
        "age": Coral(width, words),
        "race": Categorical(width, tuple(RACES)),
    }
    AttributeNet(backbone, heads).save(tmp_path / "adapter.safetensors")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state()  # it takes one precision a process
    yield recipe.HalfmaskConfig(
        train=[],
        valid=[],
        adapters=[str(tmp_path / "adapter.safetensors")],
        ages=AGES,
        races=RACES,
        matchers=["tiny"],
        matcher_shares=[0.5],
        adapt_from=2,
        steps=4,
        batch=4,
        watch=6,
        precision="no",
    )
    AcceleratorState._reset_state()
    torch.set_num_threads(threads)


def test_writes_what_it_promises_and_the_method_runs_it(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    path = recipe.train_halfmask(config, tmp_path / "run")
    assert path == tmp_path / "run/halfmask.safetensors"
    assert {"strip.png", "losses.png", "halfmask.onnx", "config.yaml"} <= {p.name for p in path.parent.iterdir()}
    last = loop.read_log(path.parent)[-1]
    assert {"hide_gender", "hide_age", "hide_race", "keep", "match_tiny", "valid_random_adapter0"} <= set(last)
    net = Masker.load(path)
    assert net.races == {"a": 0.5, "b": 0.5}
    assert any(p.any() for p in net.luma.parameters()), "the generator learned nothing"
    method = Halfmask(1, hide="gender,race", key="k", weights=path.parent)
    crops = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
    assert method.change(crops).any()


def test_adapters_wait_and_then_adapt(
    config: recipe.HalfmaskConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    original = recipe.draw_targets
    adapters: list[AttributeNet] = []
    load = recipe._adapter

    def kept(*asked: object) -> AttributeNet:
        adapters.append(load(*asked))  # type: ignore[arg-type]
        return adapters[-1]

    def look(*asked: object) -> recipe.Targets:
        seen.append(adapters[0].heads["gender"].linear.weight.detach().clone())  # type: ignore[union-attr]
        return original(*asked)  # type: ignore[arg-type]

    monkeypatch.setattr(recipe, "_adapter", kept)
    monkeypatch.setattr(recipe, "draw_targets", look)
    recipe.train_halfmask(config, tmp_path / "run")
    still = [torch.equal(a, b) for a, b in pairwise(seen)]
    assert still == [True, True, False]  # before steps 1, 2 and 3


def test_resumes_to_the_same_weights(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    whole = Masker.load(recipe.train_halfmask(config, tmp_path / "whole")).state_dict()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    fit = loop.fit

    def short(folder: Path, accelerator: object, steps: int, step: object, **more: object) -> None:
        fit(folder, accelerator, 2, step, **more)  # type: ignore[arg-type]
        killed()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "fit", short)
        with pytest.raises(KeyboardInterrupt):
            recipe.train_halfmask(config, tmp_path / "cut")
    again = Masker.load(recipe.train_halfmask(config, tmp_path / "cut")).state_dict()
    for name, value in whole.items():
        assert torch.allclose(value, again[name], atol=1e-6), name


def test_targets(rng: np.random.Generator) -> None:
    pools = {"age": np.array([0, 0, 0, 2]), "race": np.array([0, 1])}
    drawn = recipe.draw_targets(4000, {"gender": 0.5, "age": 0.25}, pools, rng)
    assert (drawn.race == -1).all()
    hidden = (drawn.gender >= 0) | (drawn.age >= 0)
    assert hidden.all()
    assert set(drawn.age.tolist()) == {-1, 0, 2}
    aged = drawn.age[drawn.age >= 0]
    assert abs((aged == 0).float().mean().item() - 0.75) < 0.05
    gendered = drawn.gender[drawn.gender >= 0].float()
    assert abs(gendered.mean().item() - 0.5) < 0.05
    # a face on which no attribute fell hides the likeliest
    assert len(gendered) / 4000 == pytest.approx(0.5 + 0.5 * 0.75, abs=0.05)


def test_refused(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="at least one adapter"):
        recipe.train_halfmask(replace(config, adapters=[]), tmp_path / "a")
    with pytest.raises(UsageError, match="one of matcher_shares for each"):
        recipe.train_halfmask(replace(config, matchers=["tiny", "tiny"]), tmp_path / "b")
    with pytest.raises(UsageError, match="reads race as"):
        recipe.train_halfmask(replace(config, races={"x": ["a"], "y": ["b"]}), tmp_path / "c")
    with pytest.raises(UsageError, match=r"sure is 1\.1: the adapters are that sure of no training face"):
        recipe.train_halfmask(replace(config, sure=1.1), tmp_path / "d")


def test_only_faces_that_can_be_read_are_changed(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    """With half of the faces believed, only those are drawn; every step still has a whole batch."""
    recipe.train_halfmask(replace(config, steps=1), tmp_path / "all")
    with np.load(tmp_path / "all/untouched-adapter0.npz") as kept:
        labels = made_up().labels("gender")
        believed = kept["gender"][np.arange(len(labels)), labels]
    drawn: list[int] = []

    class Watched(Faces):
        def pixels(self, indices: np.ndarray) -> np.ndarray:
            drawn.extend(int(i) for i in indices)
            return super().pixels(indices)

    faces = made_up()
    sources = iter([faces, faces, Watched(faces._parts)])  # train, valid, and the finer crops, asked by steps alone
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "open_faces", lambda *a, **k: next(sources))
        middle = float(np.median(believed))
        AcceleratorState._reset_state()
        recipe.train_halfmask(replace(config, sure=middle, zoom=[1.0, 1.3]), tmp_path / "sure")
    assert len(drawn) == 4 * config.steps
    assert (believed[drawn] >= middle - 1e-6).all()


def test_young_faces_are_left_out(
    config: recipe.HalfmaskConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def look(sources: object, keep: Callable[[Row], bool], size: int) -> Faces:
        asked.extend(
            keep(Row("a", Path("a"), "p", 1, age_range=years)) for years in ((3, 9), (10, 19), (70, 120), None)
        )
        return made_up()

    monkeypatch.setattr(recipe, "open_faces", look)
    recipe.train_halfmask(replace(config, steps=1, youngest=10), tmp_path / "run")
    assert asked[:4] == [False, True, True, True]
