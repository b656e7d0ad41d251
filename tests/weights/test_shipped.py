"""What ships: whole, with cards, and the ONNX files equal to the torch networks of the safetensors beside them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file

from halfmask.datasets.ages import age_class
from halfmask.errors import WeightsError
from halfmask.methods import Method, Subject, halfmask, stranger
from halfmask.methods.halfmask import Halfmask
from halfmask.methods.labels import GenderEstimate
from halfmask.methods.runtime import Network, gray
from halfmask.methods.san import San
from halfmask.methods.stranger import Stranger
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.gendercnn import load_gender
from halfmask.networks.halfmask import Masker, MaskerForExport
from halfmask.networks.san import SAN
from halfmask.photos.align import crop_face, template
from halfmask.predicting.network import AttributeNetwork
from halfmask.weights import shipped


@pytest.fixture
def face(astronaut: np.ndarray) -> np.ndarray:
    """A real face as a crop (1, 3, 224, 224), cut by points read off the picture, so that no detector is needed."""
    points = (template() - 112) * (46 / 62) + np.array([224, 115], np.float32)
    crop, _ = crop_face(astronaut, points.astype(np.float32))
    return crop.transpose(2, 0, 1)[None].astype(np.float32) / 255


def test_every_file_has_a_card_and_its_sha256() -> None:
    for file, entry in shipped.manifest().items():
        assert shipped.path(file).is_file()
        text = shipped.card(file)
        assert "Data and terms" in text
        assert "Recipe" in text
        assert entry["card"].endswith(".md")
    # what the package may weigh once all methods are in it
    assert sum(p.stat().st_size for p in shipped.DATA.iterdir()) < 60e6


def test_shipped_onnx_equals_torch_on_a_face(face: np.ndarray) -> None:
    net = SAN().eval()
    net.load_state_dict(load_file(shipped.path("san.safetensors")))
    method = San()
    for gender in (0, 1):
        for prototype in ("sm", "nt", "op"):
            same = torch.from_numpy(method.means[[gender]])
            beyond = method.means[gender] + method.reach * (method.means[1 - gender] - method.means[gender])
            chosen = {"sm": method.means[gender], "nt": method.neutral, "op": beyond.astype(np.float32)}[prototype]
            with torch.no_grad():
                plain = net.layer_by_layer(torch.from_numpy(gray(face)), same, [torch.from_numpy(chosen[None])])[0]
            method.prototype = prototype
            got = method.protected_gray(face, np.array([gender]))
            assert np.abs(got - plain.numpy()).max() < 1e-4
    classifier = load_gender(shipped.path("gender.safetensors"))
    with torch.no_grad():
        logits = classifier(torch.from_numpy(face)).numpy()
    assert np.abs(Network(shipped.path("gender.onnx"))(gray(face)) - logits).max() < 1e-4


def test_auxiliaries_load_and_read_a_face(face: np.ndarray) -> None:
    files = [f for f in shipped.manifest() if f.startswith(("attributes", "fairface-")) and f.endswith(".safetensors")]
    assert len(files) > 1
    for file in files:
        net = AttributeNet.load(shipped.path(file))
        one, two = (net.probabilities(torch.from_numpy(np.ascontiguousarray(f))) for f in (face, face[..., ::-1]))
        said = {name: (one[name] + two[name]).numpy() / 2 for name in one}
        assert {name: p.shape[1] for name, p in said.items()} == {"gender": 2, "age": 9, "race": 7}, file
        years = said["age"][0] @ np.array([age_class(word).middle for word in net.heads["age"].words])
        assert 20 < years < 50, f"{file} takes the astronaut, who is 36, for {years:.0f}"
        onnx = file.replace(".safetensors", ".onnx")
        if onnx in shipped.manifest():  # both in float16
            for name, full in AttributeNetwork(shipped.path(onnx), 1).probabilities(face).items():
                assert np.abs(said[name] - full).max() < 1e-3
    assert AttributeNetwork(threads=1).about["file"] == "fairface-gendercnn.onnx"


def test_change_keeps_chroma_and_opposite_goes_further_than_same(face: np.ndarray) -> None:
    method = San()
    woman = [Subject(0)]
    change = method.change(face, woman)
    assert np.array_equal(change[:, 0], change[:, 1])
    assert np.array_equal(change[:, 0], change[:, 2])
    estimate = GenderEstimate()
    made = [San(prototype=k).change(face, woman) for k in ("sm", "op")]
    p = [estimate.p_male(np.clip(face + change, 0, 1))[0] for change in made]
    assert p[1] > p[0], "the opposite prototype must look more like a man than the same one"


def test_damage_and_absence_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "data"
    shutil.copytree(shipped.DATA, copy)
    monkeypatch.setattr(shipped, "DATA", copy)
    for cached in (shipped.manifest, shipped.path):
        cached.cache_clear()
    try:
        with open(copy / "san.onnx", "r+b") as stream:
            stream.write(b"\0\0\0")
        with pytest.raises(WeightsError, match="damaged: sha256"):
            shipped.path("san.onnx")
        (copy / "san.npz").unlink()
        with pytest.raises(WeightsError, match=r"missing\. Reinstall"):
            shipped.path("san.npz")
        with pytest.raises(WeightsError, match="not among the shipped"):
            shipped.path("other.onnx")
        shipped.manifest.cache_clear()
        (copy / "manifest.json").write_text("{")
        with pytest.raises(WeightsError, match="cannot be read"):
            shipped.manifest()
    finally:
        for cached in (shipped.manifest, shipped.path):
            cached.cache_clear()


def test_prototypes_ship_as_pixels() -> None:
    with np.load(shipped.path("san.npz")) as kept:
        assert kept["female"].shape == (224, 224, 3)
        assert kept["female"].dtype == np.uint8
        assert 0.4 < float(kept["male_share"]) < 0.6
    assert json.loads((shipped.DATA / "manifest.json").read_text())["san.npz"]["card"] == "san.md"


def test_reach_1_is_the_papers_opposite_prototype(face: np.ndarray, tmp_path: Path) -> None:
    with np.load(shipped.path("san.npz")) as kept:
        np.savez(tmp_path / "paper.npz", **{k: kept[k] for k in ("female", "male", "male_share")})
    paper = San("paper", network=shipped.path("san.onnx"), means=tmp_path / "paper.npz")
    assert paper.reach == 1.0
    woman = np.array([0])
    expected = Network(shipped.path("san.onnx"))(gray(face), paper.means[woman], paper.means[1 - woman])
    assert np.array_equal(paper.protected_gray(face, woman), expected)
    assert San().fingerprint != paper.fingerprint
    paper.reach = 0.0  # then there is no way to the opposite prototype
    without = paper.protected_gray(face, woman)
    paper.prototype = "sm"
    assert np.array_equal(without, paper.protected_gray(face, woman))


def test_no_card_or_page_holds_a_placeholder() -> None:
    pages = [*shipped.DATA.glob("*.md"), *(Path(__file__).resolve().parents[2] / "docs").rglob("*.md")]
    assert len(pages) > 4
    for page in pages:
        words = page.read_text("utf-8").split()
        assert not any(word.startswith("@@") for word in words), page
        assert not {"FIGURES", "READING", "TABLE", "GENDERTABLE", "CELEBATABLE", "LFWTABLE", "SPEEDTABLE"} & set(
            words
        ), page


@pytest.mark.parametrize(
    ("file", "method", "full"),
    [
        ("halfmask.onnx", lambda: Halfmask(1, key="a key", strength=1.0), halfmask.FULL),
        ("halfmask-research.onnx", lambda: Halfmask(1, key="a key", strength=1.0, weights="research"), halfmask.FULL),
        ("stranger.onnx", lambda: Stranger(1, strength=1.0), stranger.FULL),
    ],
)
def test_shipped_generators_in_eight_bits_are_near_torch(
    face: np.ndarray, file: str, method: Callable[[], Method], full: float
) -> None:
    made, net = method(), Masker.load(shipped.path(file))
    code = made.code(made.targets(face[0])) if isinstance(made, Halfmask) else np.zeros(net.code, np.float32)
    with torch.no_grad():
        expected = full * MaskerForExport(net)(torch.from_numpy(face), torch.from_numpy(code)[None]).numpy()
    off = 255 * (made.change(face) - expected)
    kinds = [node.op_type for node in onnx.load(shipped.path(file)).graph.node]
    assert kinds.count("QuantizeLinear") == 3 * 16, "what goes in and out of 16 convolutions, and their kernels"
    assert 255 * np.sqrt(np.mean(expected**2)) > 5
    assert np.sqrt(np.mean(off**2)) < 1.5
    assert np.abs(off).max() < 15
