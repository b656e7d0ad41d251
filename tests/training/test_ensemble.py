"""Several SANs trained together: what is written, that they differ, resampling, group prototypes, classifiers."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tiny_sans import made_up, tiny

from halfmask.datasets.cache import Crops
from halfmask.datasets.groups import group
from halfmask.errors import DataError, UsageError, WeightsError
from halfmask.methods.runtime import Network
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.classifiers import load_classifier
from halfmask.networks.gendercnn import load_gender
from halfmask.networks.heads import Binary, Categorical
from halfmask.networks.san import SAN, load_san
from halfmask.training import ensemble as recipe
from halfmask.training import sans
from halfmask.training.config import load_config
from halfmask.training.data import Faces
from halfmask.training.export import export_san, halve_weights
from halfmask.training.flowsan import FlowSanConfig
from halfmask.training.prototypes import mean_faces
from halfmask.training.resample import oversampled
from halfmask.training.san import train_san
from halfmask.weights import shipped


@pytest.fixture
def shared(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    return tiny(monkeypatch)


def test_members_differ_and_share_prototypes(shared: dict[str, Any], tmp_path: Path) -> None:
    start = tmp_path / "start.safetensors"
    torch.manual_seed(5)
    save_file(SAN().state_dict(), start)
    config = recipe.EnsembleConfig(
        san=shared | {"reach": 1.5, "start": str(start)},
        members=[
            {"gender_classifier": "a", "seed": 1},
            {"gender_classifier": "b", "seed": 1, "oversample": [{"race": ["Black"], "factor": 3}]},
            {"gender_classifier": "a", "seed": 1, "prototypes": "groups"},
        ],
    )
    path = recipe.train_ensemble(config, tmp_path / "run")
    assert path == tmp_path / "run" / "ensemble.npz"
    with np.load(path) as kept:
        assert kept["groups"].shape == (4, 2, 224, 224, 3)
        assert kept["grouped"].tolist() == [False, False, True]
        assert float(kept["reach"]) == 1.5
    with np.load(tmp_path / "run" / "member-1" / "san.npz") as kept:
        assert "groups" not in kept
    nets = [load_san(tmp_path / "run" / f"member-{k}" / "san.safetensors") for k in (1, 2, 3)]
    weights = [net.enc1.weight.detach() for net in nets]
    begun = load_san(start).enc1.weight.detach()
    for k, one in enumerate(weights):
        assert 0 < (one - begun).abs().max() < 0.01, "each begins with the given weights and goes on"
        assert not any(torch.equal(one, other) for other in weights[:k])
    inputs = [np.random.default_rng(0).random((1, c, 224, 224), np.float32) for c in (1, 3, 3)]
    for k in (1, 2, 3):
        whole, half = (Network(tmp_path / "run" / f) for f in (f"member-{k}/san.onnx", f"{k}.onnx"))
        assert 0 < np.abs(whole(*inputs) - half(*inputs)).max() < 1e-3
    sizes = [(tmp_path / "run" / f).stat().st_size for f in ("member-1/san.onnx", "1.onnx")]
    assert sizes[1] < 0.52 * sizes[0]
    # a run that is whole is left as it is; one whose last member is missing trains that alone
    before = (tmp_path / "run" / "member-1" / "log.jsonl").read_text()
    third = (tmp_path / "run" / "member-3" / "san.safetensors").read_bytes()
    shutil.rmtree(tmp_path / "run" / "member-3")
    recipe.train_ensemble(config, tmp_path / "run")
    assert (tmp_path / "run" / "member-1" / "log.jsonl").read_text() == before
    assert (tmp_path / "run" / "member-3" / "san.safetensors").read_bytes() == third


def test_a_start_with_other_prototype_weights_keeps_its_mean(tmp_path: Path, shared: dict[str, Any]) -> None:
    net = SAN()
    with torch.no_grad():
        net.combine.weight[:, 128:] = 3.0
    save_file(net.state_dict(), tmp_path / "start.safetensors")
    about = {"gender_classifier": "a", "start": str(tmp_path / "start.safetensors"), "prototype_init": 1.5, "lr": 0.0}
    config = sans.SanConfig(**(shared | about | {"steps": 1}))  # type: ignore[arg-type]
    made = load_san(train_san(config, tmp_path / "run"))
    neutral = mean_faces(made_up()).neutral().mean((1, 2))
    assert made.combine.bias is not None
    assert net.combine.bias is not None
    assert torch.allclose(made.combine.weight[0, 128:, 0, 0], torch.full((3,), 1.5))
    assert torch.allclose(made.combine.bias, net.combine.bias + 1.5 * neutral.sum(), atol=1e-5)
    with pytest.raises(WeightsError, match=r"the SAN .*run.* cannot be loaded"):
        load_san(tmp_path / "run")


def test_what_members_may_not_say(shared: dict[str, Any], tmp_path: Path) -> None:
    def made(members: list[dict[str, Any]]) -> None:
        recipe.train_ensemble(recipe.EnsembleConfig(shared, members), tmp_path / "run")

    with pytest.raises(UsageError, match="members is empty"):
        made([])
    with pytest.raises(UsageError, match="number 2 of members has unknown keys: colour"):
        made([{"gender_classifier": "a"}, {"gender_classifier": "b", "colour": 1}])
    with pytest.raises(UsageError, match=r"number 1 of members has reach of its own; give it under 'san'"):
        made([{"gender_classifier": "a", "reach": 2.0}])
    with pytest.raises(UsageError, match=r"number 1 of members is not complete: .*gender_classifier"):
        made([{"seed": 1}])
    assert not (tmp_path / "run").exists()


def test_the_committed_configs_are_complete() -> None:
    family = ("ensemble", recipe.EnsembleConfig, "members"), ("flowsan", FlowSanConfig, "stages")
    for name, kind, own in (*family, ("equal/flowsan", FlowSanConfig, "stages")):
        config = load_config(kind, name)
        made = sans.san_configs(config.san, getattr(config, own), own)
        assert len({m.gender_classifier for m in made}) == len(made) == 3
        # free pictures alone
        assert {source["root"] for m in made for source in m.train} <= {"fairface", "portraits"}
        for one in made:
            assert all(set(rule) <= {"race", "age", "gender", "share", "factor", "seed"} for rule in one.oversample)


def test_oversampling() -> None:
    rows = made_up(48).rows
    copies = np.bincount(oversampled(rows, [{"race": ["Black"], "gender": "male", "age": [40, 200], "factor": 3}]))
    named = [r.race == "Black" and r.gender == 1 and r.age_range == (50, 59) for r in rows]
    assert copies.tolist() == [3 if n else 1 for n in named]
    assert sum(named) == 4
    twice = [oversampled(rows, [{"share": 0.25, "factor": 2, "seed": s}]) for s in (1, 1, 2)]
    assert len(twice[0]) == 48 + 12
    assert np.array_equal(twice[0], twice[1])
    assert not np.array_equal(twice[0], twice[2])
    both = oversampled(rows, [{"race": "Black", "factor": 2}, {"gender": "female", "factor": 2}])
    assert np.bincount(both).max() == 3  # black women are in both
    assert oversampled(rows, []).tolist() == list(range(48))
    with pytest.raises(DataError, match="holds for none of the 48 faces"):
        oversampled(rows, [{"race": ["Martian"], "factor": 2}])
    for bad in ({"factor": 1}, {"factor": 2, "share": 0}, {"factor": 2, "age": 40}, {"factor": 2, "colour": 1}):
        with pytest.raises(UsageError, match="oversample"):
            oversampled(rows, [bad])


def test_over_sampled_faces_are_seen_as_often_as_asked(shared: dict[str, Any], tmp_path: Path) -> None:
    seen: list[int] = []

    class Spy(Faces):
        def pixels(self, indices: np.ndarray) -> np.ndarray:
            if len(indices) == 4:  # a batch
                seen.extend(indices.tolist())
            return super().pixels(indices)

    faces = made_up(12)
    faces.__class__ = Spy
    material = sans.Material(faces, made_up(4), mean_faces(faces))
    rule = {"race": ["Indian"], "factor": 3}  # 4 of the 12: an epoch has 20
    config = sans.SanConfig(**(shared | {"gender_classifier": "a", "oversample": [rule], "steps": 5}))  # type: ignore[arg-type]
    sans.train_one(config, tmp_path / "run", material)
    assert np.bincount(seen).tolist() == [3 if r.race == "Indian" else 1 for r in faces.rows]


def test_group_prototypes_are_means_of_their_faces() -> None:
    faces = made_up(48, side=8)
    found = mean_faces(faces, batch=10, groups=True)
    pixels = faces.pixels(np.arange(48))
    kinds = np.array([group(*r.age_range, r.race) for r in faces.rows])  # type: ignore[misc]
    assert found.groups is not None
    for kind in range(1, 5):
        for gender in (0, 1):
            mine = pixels[(kinds == kind) & (faces.labels("gender") == gender)]
            assert len(mine) == 4
            assert np.array_equal(found.groups[kind - 1, gender], np.rint(mine.mean(0)).astype(np.uint8))
            shown = (found.by_group()[kind, gender] * 255).permute(1, 2, 0).numpy()
            assert np.allclose(shown, found.groups[kind - 1, gender], atol=1e-3)
    assert np.array_equal(found.male, mean_faces(faces).male), "everybody's are the same with groups and without"
    assert found.group_labels(faces).tolist() == kinds.tolist()
    with pytest.raises(DataError, match="young white faces need women and men; got 2 women and 0 men"):
        mean_faces(Faces([(Crops(pixels[:16], faces.rows[:16], []), [2, 14, 1, 4])]), groups=True)


def test_any_classifier_reads_gray_faces(tmp_path: Path) -> None:
    torch.manual_seed(0)
    face = torch.rand(2, 1, 224, 224)
    expected = load_gender(shipped.path("gender.safetensors"))(face)
    assert torch.equal(load_classifier("gender")(face), expected)
    for number, head in enumerate((Binary, Categorical)):
        backbone = BACKBONES["fastcnn"]()
        net = AttributeNet(backbone, {"gender": head(backbone.out_features, ("female", "male"))}).eval()
        net.save(tmp_path / f"{number}.safetensors")
        said = load_classifier(tmp_path / f"{number}.safetensors")
        assert not any(p.requires_grad for p in said.parameters())
        rgb = face.expand(-1, 3, -1, -1)
        assert torch.allclose(said(face).softmax(1), net.probabilities(rgb)["gender"], atol=1e-5)
    backbone = BACKBONES["fastcnn"]()
    AttributeNet(backbone, {"race": Categorical(backbone.out_features, ("a", "b"))}).save(tmp_path / "race.safetensors")
    with pytest.raises(WeightsError, match="reads race; expected gender"):
        load_classifier(tmp_path / "race.safetensors")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        load_classifier("nothing")


def test_half_weights_of_the_shipped_san(tmp_path: Path) -> None:
    source = shipped.path("san.onnx")
    half = Network(halve_weights(source, tmp_path / "half.onnx"))
    rng = np.random.default_rng(0)
    smooth = rng.random((2, 7, 14, 14), np.float32).repeat(16, 2).repeat(16, 3)
    inputs = (smooth[:, :1], smooth[:, 1:4], smooth[:, 4:])
    assert np.abs(half(*inputs) - Network(source)(*inputs)).max() < 1e-3
    assert (tmp_path / "half.onnx").stat().st_size < 0.52 * source.stat().st_size
    torch.manual_seed(0)
    export_san(SAN(), tmp_path / "new.onnx")  # its export is what the recipe halves
    assert Network(halve_weights(tmp_path / "new.onnx", tmp_path / "new.onnx"))(*inputs).shape == (2, 1, 224, 224)
