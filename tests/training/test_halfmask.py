"""halfmask's recipe on made-up faces: what it writes, that it resumes, what targets are drawn, what it refuses."""

from __future__ import annotations

import json
import os
import subprocess
import sys
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
from halfmask.errors import UsageError, WeightsError
from halfmask.methods.halfmask import Halfmask
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.halfmask import SIDE, Masker
from halfmask.networks.heads import Binary, Categorical, Coral
from halfmask.training import halfmask as recipe
from halfmask.training import hide_identity, loop, stage, watching
from halfmask.training.data import Faces
from halfmask.training.hide_attributes import HideAttributes
from halfmask.training.hide_identity import HideIdentity

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


def adapters(folder: Path) -> None:
    """Two readers of the three attributes that know nothing, as files."""
    torch.manual_seed(0)
    words = ("0-29", "30-59", "60+")
    for k, kind in enumerate(("resnet18", "plain")):
        backbone = BACKBONES[kind](size=32)
        width = backbone.out_features
        heads = {
            "gender": Binary(width, ("female", "male")),
            "age": Coral(width, words),
            "race": Categorical(width, tuple(RACES)),
        }
        AttributeNet(backbone, heads).save(folder / f"adapter{k}.safetensors")


def small(folder: Path) -> recipe.HalfmaskConfig:
    """A config of four steps; ``folder`` holds the adapters."""
    return recipe.HalfmaskConfig(
        train=[{"layout": "folder", "root": "r", "share": 4, "zoom": [1.0, 1.2]}],
        valid=[],
        adapters=[str(folder / f"adapter{k}.safetensors") for k in (0, 1)],
        reads=1,
        told=[{"backbone": "plain", "size": 32}, {"backbone": "plain", "size": 32, "ring": True}],
        told_weight=0.2,
        linear_weight=0.1,
        fresh_every=2,
        warm=1,
        direct=1.0,
        distance=0.05,
        ages=AGES,
        races=RACES,
        matchers=["tiny"],
        steps=4,
        watch=6,
        threads=1,
        precision="no",
    )


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[recipe.HalfmaskConfig]:
    monkeypatch.setattr(stage, "open_faces", lambda sources, keep, size: made_up())
    monkeypatch.setattr(stage, "load_matcher", lambda name: Tiny())
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    AcceleratorState._reset_state()  # it takes one precision a process
    adapters(tmp_path)
    yield small(tmp_path)
    AcceleratorState._reset_state()
    torch.set_num_threads(threads)


def test_writes_what_it_promises_and_the_method_runs_it(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    path = recipe.train_halfmask(config, tmp_path / "run")
    assert path == tmp_path / "run/halfmask.safetensors"
    assert {"strip.png", "losses.png", "halfmask.onnx", "config.yaml"} <= {p.name for p in path.parent.iterdir()}
    last = loop.read_log(path.parent)[-1]
    assert {"hide_gender", "hide_age", "hide_race", "keep", "match_tiny", "told", "valid_random_adapter1"} <= set(last)
    net = Masker.load(path)
    assert net.races == {"a": 0.5, "b": 0.5}
    assert any(p.any() for p in net.luma.parameters()), "the generator learned nothing"
    method = Halfmask(1, hide="gender,race", key="k", weights=path.parent)
    crops = np.random.default_rng(0).random((2, 3, 224, 224), np.float32)
    assert method.change(crops).any()


def test_readers_take_turns_wait_and_then_adapt(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    run = HideAttributes(replace(config, adapt_from=2), tmp_path / "run", None, tmp_path / "asked")
    heads = [learner.net.heads["gender"].linear.weight for learner in run.readers]
    seen = [[h.detach().clone() for h in heads]]
    for i in range(4):
        run.step(i)
        seen.append([h.detach().clone() for h in heads])
    learned = [[not torch.equal(a, b) for a, b in zip(*two, strict=True)] for two in pairwise(seen)]
    assert learned == [[False, False], [False, False], [True, False], [False, True]]


def test_told_readers_learn_and_one_starts_afresh(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    run = HideAttributes(replace(config, told_lr=0.0), tmp_path / "run", None, tmp_path / "asked")
    heads = [learner.net.head.weight for learner in run.told]
    seen = [[h.detach().clone() for h in heads]]
    for i in range(5):
        run.step(i)
        seen.append([h.detach().clone() for h in heads])
    new = [[not torch.equal(a, b) for a, b in zip(*two, strict=True)] for two in pairwise(seen)]
    # every two steps one of the two forgets; the first starts at step 0 as it is
    assert new == [[False, False], [False, False], [False, True], [False, False], [True, False]]


def test_two_threads_repeat_themselves_and_agree_with_one(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    """Whichever job ends first; one thread splits the networks' own sums otherwise, so it agrees to rounding."""
    one, two, again = (
        Masker.load(recipe.train_halfmask(replace(config, threads=n), tmp_path / name)).state_dict()
        for n, name in ((1, "one"), (2, "two"), (2, "again"))
    )
    for name, value in two.items():
        assert torch.equal(value, again[name]), name
        assert torch.allclose(value, one[name], atol=1e-3), name


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(tmp_path: Path) -> None:
    """Every figure of every step, through two stages and what is handed over between them.

    Few steps: Adam's first ones go by the gradient's sign, so what rounding leaves apart grows.
    """
    logs, weights = [], []
    for processes in (1, 2):
        out = tmp_path / f"by{processes}"
        out.mkdir()
        adapters(out)
        launch = ["-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2", "--num_machines", "1"]
        launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
        line = [sys.executable, *(launch if processes > 1 else []), __file__, str(out)]
        done = subprocess.run(
            line, env=os.environ | {"OMP_NUM_THREADS": "1"}, capture_output=True, text=True, timeout=300, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert json.loads((out / "run/second/versions.json").read_text())["processes"] == processes
        logs.append([r for stage in ("first", "second") for r in loop.read_log(out / "run" / stage)])
        net = Masker.load(out / "run/first/halfmask.safetensors")
        weights.append(torch.cat([p.flatten() for p in net.parameters()]))
    assert len(logs[0]) == len(logs[1]) == 3
    for one, two in zip(*logs, strict=True):
        assert set(one) == set(two)
        for name in set(one) - {"seconds"}:
            assert two[name] == pytest.approx(one[name], rel=5e-3, abs=2e-3), (name, one["step"])
    assert len({record["readers"] for record in logs[0]}) > 1
    assert (weights[1] - weights[0]).norm() < 1e-3 * weights[0].norm()


def test_stages_go_on_from_each_other(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    stages = [{"name": "one", "steps": 2}, {"name": "two", "steps": 1, "lr": 0.0}]
    path = recipe.train_halfmask(replace(config, stages=stages), tmp_path / "run")
    first, last = (Masker.load(tmp_path / f"run/{n}/halfmask.safetensors").state_dict() for n in ("one", "two"))
    for name, value in Masker.load(path).state_dict().items():
        assert torch.equal(value, last[name])
        assert torch.allclose(value, first[name], atol=1e-6), "a learning rate of 0 leaves the weights"
    # a second call finds both done
    before = (tmp_path / "run/two/log.jsonl").read_bytes()
    recipe.train_halfmask(replace(config, stages=stages), tmp_path / "run")
    assert (tmp_path / "run/two/log.jsonl").read_bytes() == before


def test_starts_from_an_exported_generator(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    recipe.train_halfmask(config, tmp_path / "run")
    net = Masker.load(tmp_path / "run/halfmask.safetensors")
    again = Masker.load(tmp_path / "run/halfmask.onnx")
    assert (again.ages, again.races, again.widths) == (net.ages, net.races, net.widths)
    for name, value in net.state_dict().items():
        assert torch.allclose(value, again.state_dict()[name], atol=1e-3), name
    (tmp_path / "bad.onnx").write_bytes(b"nothing")
    with pytest.raises(WeightsError, match="no ONNX file"):
        Masker.load(tmp_path / "bad.onnx")


def test_resumes_to_the_same_weights(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    whole = Masker.load(recipe.train_halfmask(config, tmp_path / "whole")).state_dict()

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    fit = loop.fit

    def short(folder: Path, accelerator: object, steps: int, step: object, **more: object) -> None:
        fit(folder, accelerator, 2, step, **more)  # type: ignore[arg-type]
        killed()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stage, "fit", short)
        with pytest.raises(KeyboardInterrupt):
            recipe.train_halfmask(config, tmp_path / "cut")
    again = Masker.load(recipe.train_halfmask(config, tmp_path / "cut")).state_dict()
    for name, value in whole.items():
        assert torch.allclose(value, again[name], atol=1e-6), name


def test_targets(rng: np.random.Generator) -> None:
    pools = {"age": np.array([0, 0, 0, 2]), "race": np.array([0, 1])}
    drawn = watching.draw_targets(4000, {"gender": 0.5, "age": 0.25}, pools, rng)
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
    with pytest.raises(UsageError, match="reads is 3, expected 1 to 2"):
        recipe.train_halfmask(replace(config, reads=3), tmp_path / "b")
    with pytest.raises(UsageError, match="two columns of the name attribute; copy one"):
        recipe.train_halfmask(
            replace(config, watchers=["a/attribute.safetensors", "b/attribute.safetensors"]), tmp_path
        )
    with pytest.raises(UsageError, match="two columns of the name adapter1;"):
        recipe.train_halfmask(replace(config, watchers=["adapter1.safetensors"]), tmp_path)
    with pytest.raises(UsageError, match="reads race as"):
        recipe.train_halfmask(replace(config, races={"x": ["a"], "y": ["b"]}), tmp_path / "c")
    with pytest.raises(UsageError, match=r"0 women and 0 men whose gender the adapters believe by at least 1\.1"):
        recipe.train_halfmask(replace(config, sure=1.1), tmp_path / "d")
    with pytest.raises(UsageError, match="a name of its own for each"):
        recipe.train_halfmask(replace(config, stages=[{"steps": 1}]), tmp_path / "e")
    with pytest.raises(UsageError, match="stage x sets rate; known:"):
        recipe.train_halfmask(replace(config, stages=[{"name": "x", "rate": 1}]), tmp_path / "f")
    with pytest.raises(UsageError, match="backbone 'nothing'; known:"):
        recipe.train_halfmask(replace(config, told=[{"backbone": "nothing"}]), tmp_path / "g")


def test_only_faces_that_can_be_read_are_drawn_women_and_men_alike(
    config: recipe.HalfmaskConfig, tmp_path: Path
) -> None:
    run = HideAttributes(config, tmp_path / "all", None, tmp_path / "asked")
    labels = made_up().labels("gender")
    believed = np.mean([b["gender"][np.arange(len(labels)), labels] for b in run.beliefs], 0)
    least = min(np.sort(believed[labels == g])[-4] for g in (0, 1))  # four of each, or more
    AcceleratorState._reset_state()
    run = HideAttributes(replace(config, sure=float(least)), tmp_path / "sure", None, tmp_path / "asked")
    for i in range(3):
        batch = run.draw(i)
        assert (believed[batch.index] >= least - 1e-6).all()
        assert batch.truth["gender"].tolist() == [0, 0, 1, 1]
        assert batch.face.shape == batch.aligned.shape == (4, 3, SIDE, SIDE)
        assert torch.equal(batch.face, run.draw(i).face)


def test_a_change_comes_back_to_where_the_aligned_face_is(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    """What the generator draws on an eye of the face brought closer lies on the eye that matchers see."""
    run = HideAttributes(config, tmp_path / "run", None, tmp_path / "asked")
    batch = run.draw(0)
    step = torch.zeros(4, 3, SIDE, SIDE)
    step[:, :, 40:72, 40:72] = 1
    inside = batch.back(step)[:, :, 50:62, 50:62]
    assert (inside > 0.9).all()


def test_young_faces_are_left_out(
    config: recipe.HalfmaskConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[bool] = []

    def look(sources: object, keep: Callable[[Row], bool], size: int) -> Faces:
        asked.extend(
            keep(Row("a", Path("a"), "p", 1, age_range=years)) for years in ((3, 9), (10, 19), (70, 120), None)
        )
        return made_up()

    monkeypatch.setattr(stage, "open_faces", look)
    HideAttributes(replace(config, youngest=10), tmp_path / "run", None, tmp_path / "asked")
    assert asked[:4] == [False, True, True, True]


def hiding(config: recipe.HalfmaskConfig, folder: Path) -> recipe.HalfmaskConfig:
    """The same turned round: identity is hidden, a copy of the matcher and a student of it adapt."""
    pupils = [{"of": "tiny", "lr": 1e-2}, {"of": "tiny", "reader": str(folder / "adapter0.safetensors"), "lr": 1e-2}]
    return replace(
        config, identity="hide", pupils=pupils, heard=1, told=[], match=20.0, critic=0.0, ssim=0.05, limit=-0.2,
        reads=2, learns=1, lr=3e-3,
    )  # fmt: skip


class Copied(Tiny):
    """A matcher that can learn."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(48))

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(super().forward(faces) * self.weight)


def test_identity_is_hidden_and_pupils_adapt(
    config: recipe.HalfmaskConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "load_matcher", lambda name: Copied())
    monkeypatch.setattr(hide_identity, "load_matcher", lambda name: Copied())
    path = recipe.train_halfmask(hiding(config, tmp_path), tmp_path / "run")
    log = loop.read_log(path.parent)
    assert {"near_tiny", "near_pupil0", "near_pupil1", "keep_gender", "keep_age", "keep_race", "ssim"} <= set(log[-1])
    assert {"valid_cosine_tiny", "valid_age_adapter1", "valid_gender_adapter0", "valid_ssim"} <= set(log[-1])
    assert not [name for name in log[-1] if name.startswith(("hide", "match", "told"))]
    net = Masker.load(path)
    assert (net.hides, Masker.load(path.parent / "halfmask.onnx").hides) == ("identity", "identity")
    weights = [torch.load(path.parent / f"pupils/{k}.pt", weights_only=True) for k in (0, 1)]
    assert not torch.equal(weights[0]["weight"], torch.ones(48)), "the copy did not learn"
    faces = made_up()
    index = np.arange(len(faces))
    before, after = watching.protected(net, faces, index, watching.untargeted(len(index)))
    assert not torch.equal(before, after)
    assert torch.equal(before[:, :, 0], after[:, :, 0]), "nothing changes outside of the head"


def test_readers_of_who_is_hidden_see_untouched_faces_alone(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    """What a reader learns in a step does not depend on the change."""
    learned = []
    for size in (0.0, 0.3):
        AcceleratorState._reset_state()
        asked = replace(hiding(config, tmp_path), pupils=[])
        run = HideIdentity(asked, tmp_path / f"run{size}", None, tmp_path / "asked")
        batch = run.draw(0)
        change = torch.full_like(batch.face, size).requires_grad_()
        terms, _ = run._read(1, True, batch, 0, change, np.random.default_rng(5))
        learned.append({n: v.clone() for n, v in run.readers[1].net.state_dict().items()})
        kept = {name: float(term.detach()) for name, term in terms.items()}
        assert all(abs(v) < 1e-5 for v in kept.values()) == (size == 0), kept
    for name, value in learned[0].items():
        assert torch.equal(value, learned[1][name]), name


def test_hiding_stages_go_on_from_each_others_pupils(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    stages = [{"name": "one", "steps": 2}, {"name": "two", "steps": 1}]
    asked = replace(hiding(config, tmp_path), stages=stages, pupils=hiding(config, tmp_path).pupils[1:])
    recipe.train_halfmask(asked, tmp_path / "run")
    run = HideIdentity(
        replace(asked, stages=[], name="three"), tmp_path / "x", tmp_path / "run/two", tmp_path / "asked"
    )
    saved = torch.load(tmp_path / "run/two/pupils/0.pt", weights_only=True)
    for name, value in run.pupils[0].net.state_dict().items():
        assert torch.equal(value, saved[name]), name


def test_what_cannot_be_hidden_so_is_refused(config: recipe.HalfmaskConfig, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="identity is hid; expected keep or hide"):
        recipe.train_halfmask(replace(config, identity="hid"), tmp_path / "a")
    with pytest.raises(UsageError, match=r"a pupil is .*expected \{of, reader, lr\}, of which 'of' is one of: tiny"):
        recipe.train_halfmask(replace(hiding(config, tmp_path), pupils=[{"of": "sface"}]), tmp_path / "b")


def _train(folder: Path) -> None:
    """A run of two stages, as one of several processes: each has some of the readers, of B and of what is counted."""
    torch.set_num_threads(1)
    stage.open_faces = lambda sources, keep, size: made_up()  # type: ignore[assignment]
    stage.load_matcher = lambda name: Tiny()  # type: ignore[assignment]
    stages = [{"name": "first", "steps": 2}, {"name": "second", "steps": 4, "learns": 1}]
    recipe.train_halfmask(replace(small(folder), reads=2, evaluate_every=2, stages=stages), folder / "run")


if __name__ == "__main__":
    _train(Path(sys.argv[1]))
