"""The PrivacyNet recipe on made-up faces: what it writes, that it resumes, what it asks of the generator."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import UsageError, WeightsError
from halfmask.methods.runtime import Network
from halfmask.networks.privacynet import Generator
from halfmask.training import loop
from halfmask.training import privacynet as recipe
from halfmask.training.config import load_config
from halfmask.training.data import Faces
from halfmask.training.export import export_privacynet

GROUPS = {"gender": 2, "age": 3, "race": 4}


def made_up(count: int = 16, size: int = 32) -> Faces:
    """Smooth random crops, some without an age or of a race that the config does not name."""
    rng = np.random.default_rng(0)
    pixels, rows = [], []
    for i in range(count):
        colours = rng.integers(40, 220, (5, 5, 3)).astype(np.uint8)
        pixels.append(cv2.resize(colours, (size, size), interpolation=cv2.INTER_CUBIC))
        age = None if i % 5 == 0 else (20 + 10 * (i % 4), 29 + 10 * (i % 4))
        race = ("Black", "White", "Indian")[i % 3]
        rows.append(Row(f"{i}.png", Path(f"{i}.png"), f"p{i}", i % 2, age_range=age, race=race))
    return Faces([(Crops(np.stack(pixels), rows, []), range(count))])


class Tiny(nn.Module):
    """A matcher: 4 x 4 means."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(nn.functional.adaptive_avg_pool2d(faces, 4).flatten(1).float())


@pytest.fixture
def config(monkeypatch: pytest.MonkeyPatch) -> recipe.PrivacyNetConfig:
    monkeypatch.setattr(recipe, "open_faces", lambda sources, keep, size: made_up(size=size))
    monkeypatch.setattr(recipe, "load_matcher", lambda *_: Tiny())
    # fmt: off
    return recipe.PrivacyNetConfig(
        train=[], valid=[], size=32, width=4, blocks=1, critic_width=4, critic_layers=3, n_critic=2, warmup=2,
        warmup_batch=8, steps=3, batch=4, preview=3, precision="no", masked=True, residual=True, conditional=True,
    )
    # fmt: on


def test_writes_what_it_promises(config: recipe.PrivacyNetConfig, tmp_path: Path) -> None:
    path = recipe.train_privacynet(config, tmp_path)
    assert path == tmp_path / "privacynet.safetensors"
    for name in ("privacynet.onnx", "losses.png", "log.jsonl", "config.yaml", "versions.json"):
        assert (tmp_path / name).stat().st_size > 0
    assert cv2.imread(str(tmp_path / "strip.png")).shape == (9 * 32, 3 * 32, 3)  # face, seven combinations, and back
    last = loop.read_log(tmp_path)[-1]
    assert {"D_src", "D_gp", "D_attr", "G_src", "G_attr", "G_m", "G_rec", "l1", "cosine", "hit_race", "kept_age"} <= {
        *last
    }
    about = Network(tmp_path / "privacynet.onnx").about
    assert json.loads(about["groups"]) == {
        "gender": ["female", "male"],
        "age": ["0-29", "30-49", "50+"],
        "race": {"Black": ["Black"], "White": ["White"]},
    }


def test_resumes_to_the_same_weights(
    config: recipe.PrivacyNetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both networks and both optimisers: a run that is killed in its last step and gone on with from the checkpoint."""
    config = replace(config, steps=4)
    straight = recipe.train_privacynet(config, tmp_path / "straight").read_bytes()
    real, seen, fit = recipe.l_rec, [], recipe.fit

    def dies(*args: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(recipe, "fit", lambda *args, **more: fit(*args, **more | {"checkpoint_every": 2}))
    monkeypatch.setattr(recipe, "l_rec", dies)
    with pytest.raises(KeyboardInterrupt):
        recipe.train_privacynet(config, tmp_path / "broken")
    saved = tmp_path / "broken" / "checkpoint"
    assert json.loads((saved / "step.json").read_text())["step"] == 4  # the warm-up and two of the four steps
    assert len([*saved.glob("model*.safetensors")]) == len([*saved.glob("optimizer*.bin")]) == 2
    monkeypatch.setattr(recipe, "l_rec", real)
    assert recipe.train_privacynet(config, tmp_path / "broken").read_bytes() == straight


def test_the_warm_up_leaves_the_generator_alone(config: recipe.PrivacyNetConfig, tmp_path: Path) -> None:
    """And the learning rate that falls at the end of the run does not fall in it."""
    torch.manual_seed(config.seed)
    fresh = Generator(7, width=4, blocks=1, size=32, residual=True, conditional=True)
    path = recipe.train_privacynet(replace(config, steps=0), tmp_path)
    from safetensors.torch import load_file

    found = load_file(path)
    assert all(torch.equal(found[name], value) for name, value in fresh.state_dict().items())
    assert set(loop.read_log(tmp_path)[-1]) >= {"D_attr"}
    assert "G_src" not in loop.read_log(tmp_path)[-1]


def test_targets_are_the_seven_combinations_evenly() -> None:
    rng = np.random.default_rng(0)
    ranks = {name: rng.integers(0, k, 7000) for name, k in GROUPS.items()}
    target = recipe.draw_targets(ranks, GROUPS, rng)
    changed = {name: target[name] != ranks[name] for name in ranks}
    counts = Counter(zip(*(c.tolist() for c in changed.values()), strict=True))
    assert len(counts) == len(recipe.COMBINATIONS) == len(set(recipe.COMBINATIONS)) == 7
    assert (False, False, False) not in counts
    assert all(900 < n < 1100 for n in counts.values())
    for name, k in GROUPS.items():
        assert 0 <= target[name].min() <= target[name].max() < k
        steps = np.bincount((target[name] - ranks[name])[changed[name]] % k, minlength=k)
        assert steps[1:].min() > 0.9 * steps[1:].mean()  # every other class is as likely


def test_unknown_classes_stay_unknown_unless_they_are_changed() -> None:
    unknown = {name: np.full(50, -1) for name in GROUPS}
    target = recipe.changed_classes(unknown, GROUPS, ["race"], np.random.default_rng(0))
    assert set(target["gender"]) == set(target["age"]) == {-1}
    assert set(target["race"]) == {0, 1, 2, 3}


def test_sums_an_advisers_classes_to_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    """The shipped network's nine age classes and seven races, as three and two."""
    config = recipe.PrivacyNetConfig(train=[], valid=[], race={"Black": ["Black"], "Other": ["White", "Indian"]})
    adviser = recipe._Adviser("attributes", recipe.readings_of(config), torch.device("cpu"))
    faces = torch.rand(2, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    ages = torch.tensor([[0.1, 0, 0.2, 0, 0.3, 0, 0.25, 0, 0.15]])
    words = adviser.net.heads["race"].words
    races = torch.tensor([[{"White": 0.5, "Indian": 0.1, "Black": 0.3, "East Asian": 0.1}.get(w, 0.0) for w in words]])
    genders = torch.tensor([[0.2, 0.8]])
    said = {"gender": genders, "age": ages, "race": races}
    monkeypatch.setattr(adviser.net, "probabilities", lambda faces: said)
    found = {name: z.exp()[0].numpy() for name, z in adviser(faces).items()}
    for name, wanted in {"gender": [0.2, 0.8], "age": [0.3, 0.3, 0.4], "race": [0.3, 0.6]}.items():
        np.testing.assert_allclose(found[name], wanted, atol=1e-5)


def test_an_adviser_joins_the_generators_loss(config: recipe.PrivacyNetConfig, tmp_path: Path) -> None:
    recipe.train_privacynet(replace(config, advisers=["attributes"], steps=1), tmp_path)
    assert loop.read_log(tmp_path)[-1]["G_adviser"] > 0
    with pytest.raises(WeightsError, match="nobody"):
        recipe.train_privacynet(replace(config, advisers=["nobody"]), tmp_path / "other")


ADVISED = {"advisers": ["attributes"], "adviser_lr": 1e-3, "views": True, "blank": True, "distance": 0.01}


def test_resumes_with_advisers_that_learn(
    config: recipe.PrivacyNetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their weights and optimisers and the matcher's weight go on from the checkpoint, too."""
    config = replace(config, **ADVISED, warmup=0, n_critic=1, steps=4, reach=[1.0, 2.0], lazy=2, chroma_weight=5.0)
    straight = recipe.train_privacynet(config, tmp_path / "straight").read_bytes()
    log = loop.read_log(tmp_path / "straight")[-1]
    assert {"G_adviser", "G_kept", "G_chroma", "G_rec", "D_gp", "advisers", "apart", "lambda_m"} <= {*log}
    assert log["lambda_m"] != config.lambda_m
    fit = recipe.fit
    monkeypatch.setattr(recipe, "fit", lambda *a, **more: fit(*a[:2], 2, *a[3:], **more | {"checkpoint_every": 2}))
    assert recipe.train_privacynet(config, tmp_path / "broken").read_bytes() != straight
    monkeypatch.setattr(recipe, "fit", fit)
    assert recipe.train_privacynet(config, tmp_path / "broken").read_bytes() == straight
    other = recipe.train_privacynet(replace(config, adviser_lr=0.0), tmp_path / "frozen")
    assert other.read_bytes() != straight


def test_an_adviser_learns_only_when_it_is_told_to() -> None:
    from halfmask.training.loop import make_accelerator

    readings = recipe.readings_of(recipe.PrivacyNetConfig(train=[], valid=[]))
    adviser = recipe._Adviser("attributes", readings, torch.device("cpu"))
    faces = torch.rand(4, 3, 112, 112, generator=torch.Generator().manual_seed(0))
    truth = {"gender": torch.tensor([0, 1, 0, 1]), "age": torch.full((4,), -1), "race": torch.full((4,), -1)}
    loss = lambda: recipe.l_attr(adviser(faces), truth)  # noqa: E731
    with pytest.raises(AssertionError):
        adviser.learn(loss)
    adviser.learns(1e-3, make_accelerator("no", 1))
    lost = [float(adviser.learn(loss)) for _ in range(8)]
    assert lost[-1] < 0.5 * lost[0]
    assert not adviser.net.training
    assert not any(p.requires_grad for p in adviser.net.parameters())


@pytest.mark.parametrize("kind", ["safetensors", "onnx"])
def test_starts_from_weights_of_the_same_shape(config: recipe.PrivacyNetConfig, tmp_path: Path, kind: str) -> None:
    first = recipe.train_privacynet(config, tmp_path / "first").parent / f"privacynet.{kind}"
    again = recipe.train_privacynet(replace(config, seed=2, warmup=2, steps=0, start=str(first)), tmp_path / "again")
    from safetensors.torch import load_file

    one, two = load_file(first.with_suffix(".safetensors")), load_file(again)
    assert one.keys() == two.keys()
    assert all(torch.allclose(one[name], two[name], atol=1e-3 if kind == "onnx" else 0) for name in one)
    with pytest.raises(WeightsError, match="the shape that the config says"):
        recipe.train_privacynet(replace(config, width=8, start=str(first)), tmp_path / "other")


def test_stages_go_on_from_the_one_before(config: recipe.PrivacyNetConfig, tmp_path: Path) -> None:
    stages = [{"name": "one", "steps": 1}, {"name": "two", "steps": 0, "use": 2.0, "seed": 5}]
    path = recipe.train_privacynet(replace(config, stages=stages), tmp_path)
    first, second = (tmp_path / name / "privacynet.safetensors" for name in ("one", "two"))
    assert path.read_bytes() == first.read_bytes() == second.read_bytes()
    assert (tmp_path / "privacynet.onnx").read_bytes() == second.with_suffix(".onnx").read_bytes()
    assert Network(tmp_path / "privacynet.onnx").about["reach"] == "2.0"
    assert recipe.train_privacynet(replace(config, stages=stages), tmp_path).read_bytes() == first.read_bytes()
    for wrong, words in (
        ([{"name": "a"}, {"name": "a"}], "a name of its own"),
        ([{"steps": 1}], "a name of its own"),
        ([{"name": "../a"}], "a name of its own"),
        ([{"name": "a", "stepps": 1}], "stage a sets stepps; known"),
    ):
        with pytest.raises(UsageError, match=words):
            recipe.train_privacynet(replace(config, stages=wrong), tmp_path / "wrong")


def test_lazy_terms_come_in_their_steps_alone(
    config: recipe.PrivacyNetConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    for name in ("l_rec", "wgan_gp"):
        real = getattr(recipe, name)
        monkeypatch.setattr(recipe, name, lambda *a, n=name, f=real: (seen.append(n), f(*a))[1])
    recipe.train_privacynet(replace(config, warmup=0, n_critic=1, steps=5, lazy=2), tmp_path)
    assert Counter(seen) == {"l_rec": 3, "wgan_gp": 3}


def test_what_goes_out_reaches_as_far_as_the_config_says(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Generator(9, width=4, blocks=1, size=32, residual=True)
    faces, labels = np.random.default_rng(0).random((2, 3, 224, 224), np.float32), np.eye(9, dtype=np.float32)[:2]
    one = Network(export_privacynet(net, {}, tmp_path / "1.onnx"), 1)
    two = Network(export_privacynet(net, {}, tmp_path / "2.onnx", reach=1.5, blank=True), 1)
    np.testing.assert_allclose(two(faces, labels), 1.5 * one(faces, labels), atol=1e-6)
    assert (one.about["kept"], two.about["kept"]) == ("named", "blank")


def test_onnx_equals_torch_but_for_rounded_kernels(tmp_path: Path, rng: np.random.Generator) -> None:
    torch.manual_seed(0)
    net = Generator(9, width=8, blocks=2, size=112, residual=True, conditional=True)
    with torch.no_grad():
        net.decoder[-1].weight.mul_(100)  # which starts at next to nothing
    run = Network(export_privacynet(net, {}, tmp_path / "net.onnx"), 1)
    for n in (1, 3):
        faces, labels = rng.random((n, 3, 224, 224), np.float32), np.eye(9, dtype=np.float32)[:n]
        with torch.no_grad():
            expected = net.eval().change(torch.from_numpy(faces), torch.from_numpy(labels)).numpy()
        assert expected.std() > 0.01
        assert np.abs(run(faces, labels) - expected).max() < 0.01
    kernels, resampling = sum(p.numel() for p in net.parameters()), 4 * 112 * 224
    assert (tmp_path / "net.onnx").stat().st_size < 2 * kernels + 4 * resampling + 40_000


def test_the_committed_configs_are_complete() -> None:
    shipped = load_config(recipe.PrivacyNetConfig, "privacynet")
    paper = load_config(recipe.PrivacyNetConfig, "privacynet-paper")
    for config in (shipped, paper):
        assert config.train[0]["layout"] == "fairface"
        assert len(recipe.readings_of(config)["race"].words) == len(config.race)
    ours = {"residual": False, "conditional": False, "masked": False, "warmup": 0, "decay_from": 0.5, "n_critic": 5}
    assert {name: getattr(paper, name) for name in ours} == ours


@pytest.mark.parametrize(
    "change",
    [
        {"n_critic": 0},
        {"warmup": -1},
        {"lazy": 0},
        {"reads": 0},
        {"decay_from": 1.5},
        {"weights": {"age": 1, "hair": 2}},
    ],
)
def test_configs_that_make_no_sense(config: recipe.PrivacyNetConfig, tmp_path: Path, change: dict) -> None:
    with pytest.raises(UsageError, match=f"{'hair' if 'weights' in change else next(iter(change))}.*; expected"):
        recipe.train_privacynet(replace(config, **change), tmp_path)
