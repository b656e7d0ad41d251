"""Several heads on one backbone: trained together, saved, loaded and exported."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from halfmask.errors import UsageError, WeightsError
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.heads import HEADS, Binary, Categorical, Coral, Corn, OrdinalCNN
from halfmask.training.export import export_attribute

AGES = [str(age) for age in range(21, 61)]


def make(name: str = "fastcnn", size: int = 64, cut: int = 200) -> AttributeNet:
    torch.manual_seed(2)
    backbone = BACKBONES[name](size=size, cut=cut)
    d = backbone.out_features
    net = AttributeNet(
        backbone,
        {
            "gender": Binary(d, ("female", "male")),
            "race": Categorical(d, ("Asian", "Black", "White")),
            "age": Coral(d, AGES, init="preinit"),
            "age_or": OrdinalCNN(d, 9),
            "age_corn": Corn(d, 9),
        },
    )
    for module in net.modules():  # as after training: running statistics that are not 0 and 1
        if isinstance(module, torch.nn.BatchNorm2d) and module.running_mean is not None:
            module.running_mean.uniform_(-0.1, 0.1)
    return net.eval()


@pytest.fixture(scope="module")
def faces() -> torch.Tensor:
    return torch.rand(3, 3, 224, 224, generator=torch.Generator().manual_seed(1))


def test_all_heads_learn_at_once(faces: torch.Tensor) -> None:
    net = make().train()
    logits = net(faces)
    assert {k: tuple(v.shape) for k, v in logits.items()} == {
        "gender": (3, 1),
        "race": (3, 3),
        "age": (3, 39),
        "age_or": (3, 8),
        "age_corn": (3, 8),
    }
    labels = torch.tensor([0, 1, -1])
    torch.stack([net.heads[name].loss(z, labels) for name, z in logits.items()]).sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    assert all(head.get_parameter("linear.weight").grad.abs().sum() > 0 for head in net.heads.values())  # type: ignore[union-attr]


def test_saved_and_loaded_is_the_same(tmp_path: Path, faces: torch.Tensor) -> None:
    net, file = make(), tmp_path / "net.safetensors"
    net.save(file)
    state = torch.random.get_rng_state()
    again = AttributeNet.load(file)
    assert torch.equal(state, torch.random.get_rng_state())
    assert again.description() == net.description()
    assert again.heads["age"].words == tuple(AGES)
    assert again.heads["age"].options == {"init": "preinit"}
    assert list(again.heads) == list(net.heads)
    assert not again.training
    assert not any(p.requires_grad for p in again.parameters())
    with torch.no_grad():
        for name, z in net(faces).items():
            assert torch.allclose(z, again(faces)[name], atol=1e-5)
    assert [f.name for f in tmp_path.iterdir()] == ["net.safetensors"]


@pytest.mark.parametrize(("dtype", "share"), [("float16", 0.53), ("bfloat16", 0.53), ("int8", 0.28)])
def test_fewer_bytes_say_nearly_the_same(tmp_path: Path, faces: torch.Tensor, dtype: str, share: float) -> None:
    net, full, half = make(), tmp_path / "full.safetensors", tmp_path / "half.safetensors"
    net.save(full)
    net.save(half, dtype)
    assert half.stat().st_size < share * full.stat().st_size
    again = AttributeNet.load(half)
    assert all(p.dtype == torch.float32 for p in again.parameters())
    with torch.no_grad():
        for name, p in net.probabilities(faces).items():
            assert torch.allclose(p, again.probabilities(faces)[name], atol=0.02)


def test_int8_rounds_each_channel_by_its_own_scale(tmp_path: Path) -> None:
    net = make()
    with torch.no_grad():
        kernel = net.heads["race"].get_parameter("linear.weight")
        kernel[0] *= 1e-4  # a channel that one scale for all would round to nothing
        kernel[1] = 0
    net.save(tmp_path / "net.safetensors", "int8")
    again = AttributeNet.load(tmp_path / "net.safetensors")
    for (name, v), w in zip(net.state_dict().items(), again.state_dict().values(), strict=True):
        if v.ndim > 1:
            largest = v.flatten(1).abs().amax(1)
            assert ((v - w).flatten(1).abs().amax(1) <= largest / 254 * 1.001).all(), name
        else:
            assert torch.equal(v, w), name


def test_the_file_says_what_it_is(tmp_path: Path) -> None:
    import json

    from safetensors import safe_open

    make().save(tmp_path / "net.safetensors", "float16")
    with safe_open(tmp_path / "net.safetensors", "pt") as stream:
        about = stream.metadata()
    assert (about["backbone"], about["size"], about["cut"], about["dtype"]) == ("fastcnn", "64", "200", "float16")
    heads = json.loads(about["heads"])
    assert {name: head["kind"] for name, head in heads.items()} == {
        "gender": "binary",
        "race": "categorical",
        "age": "coral",
        "age_or": "or",
        "age_corn": "corn",
    }
    assert heads["race"]["classes"] == ["Asian", "Black", "White"]


@pytest.mark.parametrize("name", ["fastcnn", "gendercnn", "resnet18"])
def test_onnx_agrees_with_torch(tmp_path: Path, faces: torch.Tensor, name: str) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = make(name)
    net.train()
    path = export_attribute(net, tmp_path / "net.onnx")
    assert net.training, "the network handed over was changed"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    outputs = [o.name for o in session.get_outputs()]
    assert outputs == list(net.heads)
    meta = session.get_modelmeta().custom_metadata_map
    assert meta == net.description()
    net.eval()
    for count in (1, 3):
        got = session.run(None, {"face": faces[:count].numpy()})
        with torch.no_grad():
            wanted = net.probabilities(faces[:count])
        for head, p in zip(outputs, got, strict=True):
            assert np.allclose(p, wanted[head].numpy(), atol=1e-5), head
    assert [f.name for f in tmp_path.iterdir()] == ["net.onnx"]


def test_extreme_answers_survive_the_export(tmp_path: Path, faces: torch.Tensor) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    net = make()
    with torch.no_grad():
        for head in net.heads.values():
            head.get_parameter("linear.weight").mul_(1e4)
    export_attribute(net, tmp_path / "net.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "net.onnx", providers=["CPUExecutionProvider"])
    for p in session.run(None, {"face": faces.numpy()}):
        assert np.isfinite(p).all()
        assert np.allclose(p.sum(1), 1, atol=1e-5)


def test_wrong_requests_are_refused(tmp_path: Path) -> None:
    backbone = BACKBONES["fastcnn"](size=64)
    d = backbone.out_features
    with pytest.raises(UsageError, match="no head"):
        AttributeNet(backbone, {})
    with pytest.raises(UsageError, match=r"in_features=backbone\.out_features"):
        AttributeNet(backbone, {"age": HEADS["corn"](d + 1, 3)})
    for name in ("a.b", "", "keys"):
        with pytest.raises(UsageError, match="head"):
            AttributeNet(backbone, {name: Binary(d)})
    with pytest.raises(UsageError, match="float32, bfloat16, float16"):
        make().save(tmp_path / "net.safetensors", "int4")


def test_files_of_others_are_refused(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    other = tmp_path / "other.safetensors"
    with pytest.raises(WeightsError, match="cannot be loaded"):
        AttributeNet.load(other)
    other.write_bytes(b"nothing of the kind")
    with pytest.raises(WeightsError, match=r"Expected what AttributeNet\.save wrote"):
        AttributeNet.load(other)
    save_file({"x": torch.zeros(1)}, other, {"widths": "3"})
    with pytest.raises(WeightsError, match="its format is None"):
        AttributeNet.load(other)
    for change in ({"backbone": "nonsense"}, {"size": "7"}, {"heads": "{}"}, {"heads": "["}, {"heads": "[1]"}):
        save_file({"x": torch.zeros(1)}, other, make().description() | change)
        with pytest.raises(WeightsError, match="cannot be loaded"):
            AttributeNet.load(other)
