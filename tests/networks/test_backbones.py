"""Backbones against published parameter counts, torchvision's outputs, and what the house asks of them."""

from __future__ import annotations

import importlib
import importlib.util
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from halfmask.errors import UsageError, WeightsError
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.backbones.inception import InceptionV3
from halfmask.networks.backbones.resnet import ResNet
from halfmask.networks.backbones.vgg import VGG16
from halfmask.networks.gendercnn import GenderCNN

#: torchvision's name → our network and its published number of parameters with 1000 classes.
PUBLISHED: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "resnet18": (lambda: ResNet(18, 1000), 11_689_512),
    "resnet34": (lambda: ResNet(34, 1000), 21_797_672),
    "resnet50": (lambda: ResNet(50, 1000), 25_557_032),
    "resnet101": (lambda: ResNet(101, 1000), 44_549_160),
    "vgg16": (lambda: VGG16(classes=1000), 138_357_544),
    "vgg16_bn": (lambda: VGG16(True, classes=1000), 138_365_992),
    "inception_v3": (lambda: InceptionV3(1000, auxiliary=True), 27_161_264),
}

#: What torchvision 0.28.0 answers with the weights of ``fill`` to ``picture(96)``: the first four logits, of VGG-16
#: four numbers of the last map of its convolutions.
TORCHVISION = {
    "resnet18": (1.28913, -3.25758, 3.79533, -0.36245),
    "resnet34": (2.05919, -5.02066, 9.02778, -3.02686),
    "resnet50": (-35788.46094, -4219.30078, 16191.08496, 14841.73047),
    "resnet101": (-333763.6875, 22275.99609, 132377.60938, 84600.92188),
    "inception_v3": (-0.46091, -0.30404, -0.14272, 0.51556),
    "vgg16": (0.110757, 0.076763, 0.081231, 0.112868),
    "vgg16_bn": (0.127942, 0.153704, 0.149828, 0.1286),
}


def wave(count: int, seed: int) -> np.ndarray:
    """Numbers in [0, 1) that are the same on every machine and in every version of numpy."""
    return (np.arange(count) * 0.6180339887498949 + seed / 2**32) % 1.0


def picture(side: int) -> Tensor:
    return torch.from_numpy(wave(3 * side * side, 1)).float().view(1, 3, side, side) - 0.5


def fill(net: nn.Module) -> nn.Module:
    """Weights that follow from their names alone, so that a renamed or reshaped layer answers otherwise."""
    state = {}
    for name, old in net.state_dict().items():
        if not old.is_floating_point():
            state[name] = torch.zeros(old.shape, dtype=old.dtype)
            continue
        u = wave(old.numel(), zlib.crc32(name.encode()))
        if old.ndim > 1:
            values = (2 * u - 1) * np.sqrt(6 / old[0].numel())
        else:
            values = (2 * u - 1) * 0.1 if name.endswith(("bias", "running_mean")) else 0.5 + u
        state[name] = torch.from_numpy(values).float().view(old.shape)
    net.load_state_dict(state, assign=True)
    return net.eval()


def on_meta(make: Callable[[], nn.Module]) -> nn.Module:
    with torch.device("meta"):
        return make()


@pytest.fixture(scope="module")
def reference() -> Any:
    """torchvision.models; skipped, with the reason, where torchvision is not installed."""
    if importlib.util.find_spec("torchvision") is None:
        pytest.skip("needs torchvision as a reference (pip install --no-deps torchvision), which is not installed")
    # The wheel is built for CUDA and its operators do not load beside a CPU torch. Its models need none of them, only
    # the import does, which registers shapes for these two.
    operators = torch.library.Library("torchvision", "FRAGMENT")
    try:
        models = importlib.import_module("torchvision.models")
    except RuntimeError:
        for name in ("nms", "qnms"):
            operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        models = importlib.import_module("torchvision.models")
    reference.keep = operators  # type: ignore[attr-defined]  # they go when nobody holds them
    return models


@pytest.mark.parametrize("name", PUBLISHED)
def test_parameters_are_as_many_as_published(name: str) -> None:
    make, count = PUBLISHED[name]
    assert sum(p.numel() for p in on_meta(make).parameters()) == count


@pytest.mark.parametrize("name", TORCHVISION)
def test_answers_are_those_that_torchvision_gave(name: str) -> None:
    net = on_meta(PUBLISHED[name][0])
    with torch.no_grad():
        if isinstance(net, VGG16):  # its dense layers have 120 million weights and no secrets
            got = fill(net.features)(picture(96)).flatten()[9:13]
        else:
            got = fill(net)(picture(96))[0, :4]
    assert got.tolist() == pytest.approx(TORCHVISION[name], rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("name", PUBLISHED)
def test_answers_are_torchvisions_with_the_same_weights(name: str, reference: Any) -> None:
    ours = on_meta(PUBLISHED[name][0])
    theirs = on_meta(lambda: getattr(reference, name)(**({"init_weights": False} if "inception" in name else {})))
    assert {k: v.shape for k, v in ours.state_dict().items()} == {k: v.shape for k, v in theirs.state_dict().items()}
    if isinstance(ours, VGG16):  # half a gigabyte of dense layers: these are compared by what they are
        assert str(ours.classifier) == str(theirs.classifier)
        ours, theirs = nn.Sequential(ours.features, ours.avgpool), nn.Sequential(theirs.features, theirs.avgpool)
    theirs.load_state_dict(fill(ours).state_dict(), assign=True)
    x = picture(128)
    with torch.no_grad():
        assert torch.allclose(ours(x), theirs.eval()(x), rtol=1e-5, atol=1e-6)


def test_the_auxiliary_classifier_is_torchvisions(reference: Any) -> None:
    ours = fill(on_meta(lambda: InceptionV3(10, auxiliary=True)))
    theirs = on_meta(lambda: reference.inception_v3(num_classes=10, init_weights=False))
    theirs.load_state_dict(ours.state_dict(), assign=True)
    theirs.eval().training = True  # it answers both in training, where its normalisations would act otherwise
    x = picture(299)
    with torch.no_grad():
        for got, wanted in zip(ours.with_auxiliary(x), theirs(x), strict=True):
            assert torch.allclose(got, wanted, rtol=1e-5, atol=1e-6)


def test_the_auxiliary_classifier_is_refused_where_it_is_not() -> None:
    with pytest.raises(UsageError, match="number of classes"):
        InceptionV3(auxiliary=True)
    with pytest.raises(UsageError, match="made without"):
        on_meta(InceptionV3).with_auxiliary(torch.zeros(1, 3, 96, 96))


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_gives_its_features(name: str) -> None:
    backbone = on_meta(lambda: BACKBONES[name](size=96))  # shapes alone: no numbers, no time
    assert backbone.name == name
    assert backbone.features(torch.rand(2, 3, 96, 96, device="meta")).shape == (2, backbone.out_features)


@pytest.mark.parametrize("name", ["fastcnn", "gendercnn", "separable", "plain"])
def test_features_of_crops_of_any_size(name: str) -> None:
    """A smooth face gives nearly the same features at 112, 224 and 448 pixels."""
    backbone = BACKBONES[name](size=96).eval()
    smooth = torch.nn.functional.interpolate(torch.rand(1, 3, 6, 6), 448, mode="bicubic").clamp(0, 1)
    with torch.no_grad():
        a, b, c = (backbone.features(torch.nn.functional.avg_pool2d(smooth, 448 // s)) for s in (112, 224, 448))
    assert (a - c).norm() < 0.1 * c.norm()
    assert (b - c).norm() < 0.1 * c.norm()


def test_a_cut_is_the_middle_of_the_crop() -> None:
    backbone = BACKBONES["fastcnn"](size=112, cut=112).eval()
    faces = torch.rand(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(backbone.features(faces), backbone.look(faces[:, :, 56:168, 56:168]), atol=1e-5)


def test_a_crop_of_the_networks_own_size_is_not_resampled() -> None:
    backbone = BACKBONES["fastcnn"](size=112).eval()
    faces = torch.rand(1, 3, 112, 112)
    assert torch.allclose(backbone.resize(faces), faces, atol=1e-6)
    with torch.no_grad():
        assert torch.equal(backbone.features(faces), backbone.look(faces))


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 75"):
        BACKBONES["inceptionv3"](size=64)
    with pytest.raises(UsageError, match="cut of 1 to 224"):
        BACKBONES["fastcnn"](cut=300)
    with pytest.raises(ValueError, match=r"expected \(N, 3, 112, 112\)"):
        BACKBONES["fastcnn"]().look(torch.rand(1, 3, 96, 96))


def test_fastcnn_is_small() -> None:
    assert sum(p.numel() for p in BACKBONES["fastcnn"]().parameters()) <= 1_500_000


def test_the_gender_cnn_keeps_its_names_and_gives_what_its_last_layer_sees() -> None:
    whole, bare = GenderCNN().eval(), GenderCNN(classes=0).eval()
    bare.load_state_dict({k: v for k, v in whole.state_dict().items() if not k.startswith("head.5.")})
    x = torch.rand(2, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(whole.head[-1](bare(x)), whole(x), atol=1e-6)


@pytest.mark.parametrize("kind", [".pth", ".safetensors"])
def test_published_weights_load(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import save_file

    published = ResNet(18, 1000)
    # as torchvision's oldest files: without counts of batches
    state = {k: v for k, v in published.state_dict().items() if not k.endswith("num_batches_tracked")}
    file = tmp_path / f"resnet18{kind}"
    if kind == ".pth":
        torch.save(state, file)
    else:
        save_file(state, file)
    backbone = BACKBONES["resnet18"](size=64).eval()
    backbone.load_published(file)
    x = torch.rand(1, 3, 64, 64)
    normal = (x - torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1)) / torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1)
    published.fc = nn.Identity()
    with torch.no_grad():
        assert torch.allclose(backbone(x), published.eval()(normal), atol=1e-5)


def test_other_weights_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "other.pth"
    torch.save(ResNet(34).state_dict(), file)
    with pytest.raises(WeightsError, match="is not resnet18: it lacks"):
        BACKBONES["resnet18"]().load_published(file)
    torch.save(ResNet(50).state_dict(), file)
    with pytest.raises(WeightsError, match="is not resnet18"):
        BACKBONES["resnet18"]().load_published(file)
    (tmp_path / "bad.safetensors").write_bytes(b"no")
    with pytest.raises(WeightsError, match="cannot be read"):
        BACKBONES["resnet18"]().load_published(tmp_path / "bad.safetensors")
