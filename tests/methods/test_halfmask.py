"""The method as users meet it: targets by key and person, what is hidden, strength, bad settings."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stand_ins import subjects

from halfmask.errors import UsageError, WeightsError
from halfmask.methods import key as keys
from halfmask.methods.halfmask import FULL, STRENGTHS, Halfmask
from halfmask.methods.runtime import Faces

torch = pytest.importorskip("torch", reason="the stand-in network is written by torch")

AGES, RACES = {"young": 0.7, "middle": 0.2, "old": 0.1}, {"a": 0.5, "b": 0.5}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A training run's folder with a network whose answers are not zero."""
    from halfmask.networks.halfmask import Masker
    from halfmask.training.export import export_masker

    torch.manual_seed(0)
    net = Masker(AGES, RACES)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.05 * torch.randn_like(p))
    folder = tmp_path_factory.mktemp("run")
    export_masker(net, folder / "halfmask.onnx")
    net.save(folder / "halfmask.safetensors")
    return folder


@pytest.fixture
def crops(rng: np.random.Generator) -> Faces:
    return rng.random((3, 3, 224, 224), np.float32)


def made(run: Path, **settings: object) -> Halfmask:
    return Halfmask(1, weights=run, **({"key": "secret"} | settings))  # type: ignore[arg-type]


def test_equals_torch(run: Path, crops: Faces) -> None:
    from halfmask.networks.halfmask import Masker, MaskerForExport

    method = made(run, hide="gender,age,race")
    net = Masker.load(run / "halfmask.safetensors")
    asked = [method.targets(crop) for crop in crops]
    code = net.encode(*(torch.tensor([t[name] for t in asked]) for name in ("gender", "age", "race")))
    assert np.array_equal(code.numpy(), np.stack([method.code(t) for t in asked]))
    with torch.no_grad():
        expected = MaskerForExport(net)(torch.from_numpy(crops), code).numpy()
    assert np.abs(method.change(crops) / (FULL * method.share) - expected).max() < 2e-3  # kernels in float16


def test_eight_bits_change_little(run: Path, tmp_path: Path, rng: np.random.Generator) -> None:
    import onnx

    from halfmask.networks.halfmask import Masker
    from halfmask.training.export import export_masker

    net = Masker.load(run / "halfmask.safetensors")
    taught, crops = rng.random((2, 12, 3, 224, 224), np.float32)
    export_masker(net, tmp_path / "halfmask.onnx", torch.from_numpy(taught))
    kinds = [n.op_type for n in onnx.load(tmp_path / "halfmask.onnx").graph.node]
    assert kinds.count("QuantizeLinear") >= 3 * 16, "input, kernel and output of each inner convolution"
    again, plain = Masker.load(tmp_path / "halfmask.onnx"), Masker.load(run / "halfmask.onnx")
    for name, value in plain.state_dict().items():
        assert torch.equal(value, again.state_dict()[name]), f"{name}: the file holds the weights as they were trained"
    changes = [made(folder, hide="gender,age,race").change(crops) for folder in (run, tmp_path)]
    off = np.sqrt(np.mean((changes[0] - changes[1]) ** 2))
    assert 0 < off < 0.15 * np.sqrt(np.mean(changes[0] ** 2))
    # no face depends on those beside it
    one = made(tmp_path, hide="gender,age,race").change(crops[:1])
    assert np.abs(one - changes[1][:1]).max() < 1e-6


def test_targets_are_the_keys(run: Path, rng: np.random.Generator) -> None:
    faces = rng.random((200, 3, 4, 4), np.float32)
    one, again, other = (made(run, key=k) for k in ("mine", "mine", "yours"))
    mine, yours = ([m.targets(f)["gender"] for f in faces] for m in (one, other))
    assert mine == [again.targets(f)["gender"] for f in faces]
    assert 0.3 < np.mean(np.equal(mine, yours)) < 0.7
    assert 0.3 < np.mean(mine) < 0.7


def test_targets_have_the_populations_shares(run: Path, rng: np.random.Generator) -> None:
    method = made(run, hide="age")
    drawn = [method.targets(f)["age"] for f in rng.random((600, 3, 2, 2), np.float32)]
    assert np.abs(np.bincount(drawn, minlength=3) / 600 - list(AGES.values())).max() < 0.06


def test_a_person_has_one_target(run: Path, rng: np.random.Generator) -> None:
    faces = rng.random((50, 3, 4, 4), np.float32)
    method = made(run, person="ann", hide="gender,age,race")
    assert len({str(method.targets(f)) for f in faces}) == 1
    names = [made(run, person=f"p{i}").targets(faces[0])["gender"] for i in range(30)]
    assert set(names) == {0, 1}


def test_hiding_more_does_not_draw_anew(run: Path, crops: Faces) -> None:
    one, all_ = made(run), made(run, hide="race,age,gender")
    for crop in crops:
        assert one.targets(crop)["gender"] == all_.targets(crop)["gender"]
        assert sorted(all_.targets(crop)) == ["age", "gender", "race"]
    assert not np.array_equal(one.change(crops), all_.change(crops))
    assert np.array_equal(all_.change(crops), made(run, hide="gender,age,race").change(crops))


def test_no_label_is_needed(run: Path, crops: Faces) -> None:
    method = made(run)
    assert not method.needs_label
    assert np.array_equal(method.change(crops), method.change(crops, subjects([1, 0, 1])))


def test_strength_scales(run: Path, crops: Faces) -> None:
    whole = made(run, strength=1.0).change(crops)
    for name, share in STRENGTHS.items():
        assert np.allclose(made(run, strength=name).change(crops), share * whole, atol=1e-6)
    assert not made(run, strength=0).change(crops).any()
    # from low to high is what was trained
    assert [FULL * STRENGTHS[name] for name in ("low", "mid", "high")] == pytest.approx([1.272, 1.992, 2.304])


def test_no_face(run: Path) -> None:
    assert made(run).change(np.zeros((0, 3, 224, 224), np.float32)).shape == (0, 3, 224, 224)


def test_bad_settings(run: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="expected low, mid, high"):
        made(run, strength="huge")
    with pytest.raises(UsageError, match="of: gender, age, race"):
        made(run, hide="beauty")
    with pytest.raises(UsageError, match=r"holds no halfmask\.onnx"):
        made(tmp_path)
    (tmp_path / "halfmask.onnx").write_bytes(b"no network")
    with pytest.raises(WeightsError):
        made(tmp_path)


def test_own_key(run: Path, crops: Faces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("HALFMASK_KEY", raising=False)
    first = keys.own_key()
    assert len(first) == 64
    assert keys.own_key() == first
    assert [path.name for path in (tmp_path / "halfmask").iterdir()] == ["key"]
    assert keys.key_file().stat().st_mode & 0o077 == 0
    assert np.array_equal(made(run, key=None).change(crops), made(run, key=first).change(crops))
    monkeypatch.setenv("HALFMASK_KEY", "given")
    assert keys.own_key() == "given"
    monkeypatch.delenv("HALFMASK_KEY")
    keys.key_file().write_text("")
    with pytest.raises(UsageError, match="is empty; delete it"):
        keys.own_key()


def test_only_a_key_that_may_be_a_word_is_slow_to_try(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("HALFMASK_KEY", raising=False)
    stretched: list[str] = []
    monkeypatch.setattr(keys, "_stretch", lambda key: stretched.append(key) or b"slow")
    made = keys.keyed("a text")
    assert (made, stretched) == (keys.keyed("a text"), [])
    assert keys.keyed("another text") != made
    random = keys.own_key()
    monkeypatch.setenv("HALFMASK_KEY", random)  # it may be a digest of a word
    keys.keyed("a text")
    monkeypatch.delenv("HALFMASK_KEY")
    keys.key_file().write_text("a word")
    keys.keyed("a text")
    assert stretched == [random, "a word"]


def test_key_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "halfmask").write_text("a file where a folder should be")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.delenv("HALFMASK_KEY", raising=False)
    with pytest.raises(UsageError, match="Set HALFMASK_KEY"):
        keys.own_key()


@pytest.mark.parametrize("name", ["key", "person"])
@pytest.mark.parametrize("empty", ["", "  "])
def test_an_empty_secret_is_refused(run: Path, name: str, empty: str) -> None:
    with pytest.raises(UsageError, match=f"{name} is empty; give a text, or leave it out"):
        made(run, **{name: empty})


def test_what_has_to_be_told_is_told() -> None:
    assert Halfmask.notes({"hide": "gender"}) == ()
    assert "race is EXPERIMENTAL" in Halfmask.notes({"hide": "gender,race"})[0]
    told = Halfmask.notes({"hide": "age", "weights": "research"})
    assert "age is EXPERIMENTAL" in told[0]
    assert "non-commercial research" in told[1]
    with pytest.raises(
        UsageError, match=r"weights=nowhere holds no halfmask\.onnx; expected free, research or the folder"
    ):
        Halfmask(1, weights="nowhere")
