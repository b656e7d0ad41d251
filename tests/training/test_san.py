"""The SAN and gender recipes on made-up faces: what they write, that they resume, that every variant runs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import DataError, UsageError, WeightsError
from halfmask.methods.runtime import Network
from halfmask.networks.gendercnn import GenderCNN, load_gender
from halfmask.networks.matchers import load_matcher
from halfmask.networks.san import SAN
from halfmask.training import gender as gender_recipe
from halfmask.training import loop
from halfmask.training import sans as recipe
from halfmask.training.config import load_config
from halfmask.training.data import Faces, augment, gray_pixels, open_faces
from halfmask.training.export import export_gender, export_san
from halfmask.training.san import train_san


def made_up(count: int = 20, seed: int = 0) -> Faces:
    """Smooth random crops; men are darker, so that there is something to learn."""
    rng = np.random.default_rng(seed)
    pixels, rows = [], []
    for i in range(count):
        small = rng.uniform(60, 160, (7, 7, 3)) + (60 if i % 2 == 0 else -30)
        pixels.append(cv2.resize(small.clip(0, 255).astype(np.uint8), (224, 224), interpolation=cv2.INTER_CUBIC))
        rows.append(Row(f"{i}.png", Path(f"{i}.png"), f"p{i // 2}", i % 2, split="train"))
    return Faces([(Crops(np.stack(pixels), rows, []), range(count))])


class Tiny(nn.Module):
    """A matcher: 4 x 4 means."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return nn.functional.normalize(nn.functional.adaptive_avg_pool2d(faces, 4).flatten(1).float())


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> recipe.SanConfig:
    monkeypatch.setattr(recipe, "open_faces", lambda sources, keep: made_up())
    monkeypatch.setattr(recipe, "load_matcher", lambda *_: Tiny())
    net = GenderCNN(batch_norm=False, widths=(4, 4, 4, 4, 4, 4))
    path = tmp_path / "gender.safetensors"
    from safetensors.torch import save_file

    save_file(net.state_dict() | {}, path, {"widths": "4,4,4,4,4,4", "batch_norm": "False", "slope": "0.1"})
    monkeypatch.setattr(gender_recipe, "GenderCNN", lambda **k: GenderCNN(hidden=256, **k))
    return recipe.SanConfig(
        train=[], valid=[], gender_classifier=str(path), pretrain_steps=3, steps=4, batch=4, precision="no", preview=4
    )


def test_writes_what_it_promises(config: recipe.SanConfig, tmp_path: Path) -> None:
    folder = tmp_path / "run"
    path = train_san(config, folder)
    assert path == folder / "san.safetensors"
    for name in ("san.onnx", "san.npz", "strip.png", "losses.png", "log.jsonl", "config.yaml", "versions.json"):
        assert (folder / name).stat().st_size > 0
    strip = cv2.imread(str(folder / "strip.png"))
    assert strip.shape == (4 * 224, 4 * 224, 3)  # original, SM, NT, OP of four faces
    last = loop.read_log(folder)[-1]
    assert {"J_G", "J_M", "error_sm", "error_op", "cosine_op", "l1_sm"} <= set(last)
    assert "J_D" in loop.read_log(folder / "pretrain")[-1]


def test_prototypes_are_the_means_of_the_training_set() -> None:
    faces = made_up()
    found = recipe.mean_faces(faces, batch=7)
    pixels, labels = faces.pixels(np.arange(20)), faces.labels("gender")
    assert np.array_equal(found.male, np.rint(pixels[labels == 1].mean(0)).astype(np.uint8))
    assert found.male_share == 0.5
    assert torch.allclose(found.neutral(), found.means().mean(0))


def test_prototypes_need_both_genders() -> None:
    rows = [Row("a", Path("a"), gender=1)]
    with pytest.raises(DataError, match="0 women and 1 men"):
        recipe.mean_faces(Faces([(Crops(np.zeros((1, 8, 8, 3), np.uint8), rows, []), [0])]))


def test_resumes_to_the_same_weights(config: recipe.SanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    straight = train_san(config, tmp_path / "straight").read_bytes()
    real, seen = recipe.j_g, []

    def dies(*args: torch.Tensor) -> torch.Tensor:
        seen.append(1)
        if len(seen) == 3:
            raise KeyboardInterrupt
        return real(*args)

    monkeypatch.setattr(recipe, "j_g", dies)
    with pytest.raises(KeyboardInterrupt):
        train_san(config, tmp_path / "broken")
    monkeypatch.setattr(recipe, "j_g", real)
    assert train_san(config, tmp_path / "broken").read_bytes() == straight


@pytest.mark.parametrize(
    "changes",
    [
        {"pretrain_loss": "mse"},
        {"pretrain_steps": 0, "lambda_d": 1.0, "match_on": "mean", "match_from": 2, "lambda_m": 8.0},
        {"transforms": True, "match_on": "op", "prototype_init": 3.0, "lambda_d": 1.0},
        {"flip_prototypes": False, "stage2_reconstruction": "cross_entropy", "lambda_d": 0.5},
        {"pretrain_epochs": 1, "pretrain_batch": 10, "pretrain_optimizer": "adadelta", "pretrain_lr": 1.0},
    ],
    ids=["slides", "authors", "shipped", "flip-defect", "report"],
)
def test_every_variant_runs(config: recipe.SanConfig, tmp_path: Path, changes: dict) -> None:
    train_san(replace(config, steps=3, **changes), tmp_path / "run")
    records = loop.read_log(tmp_path / "run")
    assert ("J_D" in records[-1]) == ("lambda_d" in changes)


def test_epochs_samples_and_a_constant_rate(
    config: recipe.SanConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen, rates = [], []
    real = recipe.batch_indices
    monkeypatch.setattr(recipe, "batch_indices", lambda s, i, n, b: seen.append((n, b)) or real(s, i, n, b))
    real_fit = recipe.fit

    def fit(folder: Path, accelerator: object, steps: int, step: object, **more: object) -> None:
        real_fit(folder, accelerator, steps, step, **more)
        rates.append((steps, [g["lr"] for o in accelerator._optimizers for g in o.param_groups]))

    monkeypatch.setattr(recipe, "fit", fit)
    changes = {"pretrain_epochs": 2, "pretrain_batch": 10, "epochs": 2, "samples": 9, "batch": 4, "male_share": 0.25}
    train_san(replace(config, schedule="constant", **changes), tmp_path / "run")
    assert [steps for steps, _ in rates] == [2 * 20 // 10, 2 * (9 // 4)]
    assert (seen[0], seen[-1]) == ((20, 10), (9, 4))
    assert rates[1][1][-1] == pytest.approx(config.lr)
    with np.load(tmp_path / "run" / "san.npz") as arrays:
        assert arrays["male_share"] == 0.25


def test_the_committed_configs_are_complete() -> None:
    paper = load_config(recipe.SanConfig, "san-paper")
    authors = load_config(recipe.SanConfig, "san-official")
    shipped = load_config(recipe.SanConfig, "san")
    assert (paper.lambda_d, paper.match_on, paper.pretrain_loss) == (0.0, "sm", "cross_entropy")
    assert (authors.lambda_d, authors.match_on, authors.pretrain_steps) == (1.0, "mean", 0)
    assert shipped.train[0]["layout"] == "fairface"
    load_config(gender_recipe.GenderConfig, "gender")
    auxiliary = load_config(gender_recipe.GenderConfig, "gender-paper")
    assert (auxiliary.batch_norm, auxiliary.epochs, auxiliary.schedule, auxiliary.augment) == (
        False,
        5,
        "constant",
        None,
    )
    assert {source["layout"] for source in auxiliary.train} == {"celeba"}
    assert paper.gender_classifier == "runs/gender-paper/gender.safetensors"
    assert (paper.lambda_g, paper.lambda_m, paper.matcher_normalize, paper.schedule) == (1.0, 1.0, False, "constant")
    assert paper.male_share == pytest.approx(65_160 / 157_350, abs=1e-5)
    report = load_config(recipe.SanConfig, "san-report")
    # 150,724 faces: the report's 2,355 steps an epoch of 64; 10,000 faces: its 313 of 32, but for the incomplete one
    assert recipe.stage_steps(report, 1, 150_724 // 64) == 3 * 2355
    assert recipe.stage_steps(report, 2, report.samples // report.batch) == 10 * 312


def test_onnx_equals_torch(tmp_path: Path) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        net = SAN().eval()
        with torch.no_grad():
            for p in net.parameters():
                p.mul_(3)  # away from the dead middle of the sigmoid
        run = Network(export_san(net, tmp_path / "san.onnx"))
        for n in (1, 3):
            inputs = [torch.rand(n, c, 224, 224) for c in (1, 3, 3)]
            with torch.no_grad():
                (expected,) = net.layer_by_layer(inputs[0], inputs[1], [inputs[2]])
            assert np.abs(run(*[x.numpy() for x in inputs]) - expected.numpy()).max() < 1e-4
    classifier = GenderCNN().eval()
    for m in classifier.modules():
        if isinstance(m, nn.BatchNorm2d):
            m.running_mean.normal_(0, 0.1)
            m.running_var.uniform_(0.5, 2)
    run = Network(export_gender(classifier, tmp_path / "gender.onnx"))
    x = torch.rand(5, 1, 224, 224)
    with torch.no_grad():
        assert np.abs(run(x.numpy()) - classifier(x).numpy()).max() < 1e-4


@pytest.mark.parametrize("precision", ["no", "bf16"])
def test_gender_recipe_learns_and_loads_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str) -> None:
    monkeypatch.setattr(gender_recipe, "open_faces", lambda sources, keep: made_up(40))
    config = gender_recipe.GenderConfig(
        train=[], valid=[], epochs=12, batch=8, widths=[4, 8, 8, 8, 8, 8], precision=precision, lr=5e-3, dropout=0.1
    )
    AcceleratorState._reset_state()  # it takes one precision a process
    path = gender_recipe.train_gender(config, tmp_path / "run")
    AcceleratorState._reset_state()
    faces = made_up(40, seed=9)
    net = load_gender(path)
    assert not any(p.requires_grad for p in net.parameters())
    p = gender_recipe.predict(net, faces)
    assert ((p > 0.5) == faces.labels("gender")).mean() > 0.9
    x = gray_pixels(faces.pixels(np.arange(4))).transpose(0, 3, 1, 2).astype(np.float32) / 255
    with torch.no_grad():
        apart = np.abs(Network(tmp_path / "run" / "gender.onnx")(x) - net(torch.from_numpy(x)).numpy())
    assert apart.max() < 1e-4


def test_damaged_classifier_is_named(tmp_path: Path) -> None:
    path = tmp_path / "gender.safetensors"
    path.write_bytes(b"not weights")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_gender(path)
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_gender(tmp_path / "absent.safetensors")


def test_matchers_that_cannot_be_loaded_say_why() -> None:
    with pytest.raises(UsageError, match="matcher_weights"):
        load_matcher("vggface")
    with pytest.raises(UsageError, match="unknown"):
        load_matcher("arcface")


def test_augmentation_is_a_function_of_its_seed() -> None:
    pixels = gray_pixels(made_up(6).pixels(np.arange(6)))
    one, two, other = (augment(pixels, np.random.default_rng(s)) for s in (1, 1, 2))
    assert np.array_equal(one, two)
    assert not np.array_equal(one, other)
    assert one.shape == pixels.shape
    still = augment(pixels, np.random.default_rng(0), flip=False, rotate=0, scale=0, shift=0, light=0, blur=0)
    assert np.array_equal(still, pixels)


def test_real_faces_open_from_a_config(shared_data: Path, tmp_path: Path) -> None:
    sources = [{"layout": "celeba", "root": str(shared_data / "celeba"), "splits": ["valid"]}]
    faces = open_faces(sources, lambda r: r.gender == 0 and r.identity is not None and r.identity < "3000")
    assert len(faces) > 5
    assert set(faces.labels("gender").tolist()) == {0}
    assert faces.take(np.array([2, 0])).shape == (2, 3, 224, 224)
    with pytest.raises(UsageError, match="unknown key"):
        open_faces([{"layout": "celeba", "path": "x"}])
