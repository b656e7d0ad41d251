"""The method privacynet: what is hidden and kept, how targets are drawn, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from stand_ins import subjects

from halfmask.errors import UsageError, WeightsError
from halfmask.methods.privacynet import PrivacyNet
from halfmask.methods.runtime import Faces

torch = pytest.importorskip("torch", reason="the stand-in network is written by torch")

RACES = {"White": ["White", "Middle Eastern", "Latino_Hispanic"], "Black": ["Black"], "Other": ["Indian", "East Asian"]}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a training run, with random weights."""
    from halfmask.networks.privacynet import Generator
    from halfmask.training.export import export_privacynet

    torch.manual_seed(0)
    net = Generator(8, width=4, blocks=1, size=32, residual=True, conditional=True)
    with torch.no_grad():
        net.decoder[-1].weight.mul_(100)  # which starts at next to nothing
    groups = {"gender": ["female", "male"], "age": ["0-29", "30-49", "50+"], "race": RACES}
    folder = tmp_path_factory.mktemp("run")
    export_privacynet(net, groups, folder / "privacynet.onnx")
    return folder


@pytest.fixture
def crops(rng: np.random.Generator) -> Faces:
    return rng.random((8, 3, 224, 224), np.float32)


GENDER = np.arange(8) % 2


def made(run: Path, **settings: object) -> PrivacyNet:
    return PrivacyNet(1, weights=run, **({"key": "secret"} | settings))  # type: ignore[arg-type]


def test_what_is_not_named_keeps_the_class_of_the_face(run: Path, crops: Faces) -> None:
    own = {"gender": GENDER, "age": GENDER + 1, "race": 2 - GENDER}
    for hide in ("gender", "age", "race", "gender,age", "gender,race", "age,race", "gender,age,race"):
        aimed = made(run, hide=hide, target="flip").aim(crops, own)
        for name in own:
            changed = aimed[name] != own[name]
            assert changed.all() if name in hide.split(",") else not changed.any()


def test_a_network_that_is_told_nothing_of_what_stays(run: Path, crops: Faces, tmp_path: Path) -> None:
    """Its labels are zeros where nothing is hidden, so what our network reads of the face does not matter."""
    import onnx

    model = onnx.load(run / "privacynet.onnx")
    next(p for p in model.metadata_props if p.key == "kept").value = "blank"
    onnx.save(model, tmp_path / "privacynet.onnx")
    named, blank = (made(folder, hide="age", target="flip") for folder in (run, tmp_path))
    aim = named.aim(crops, named.read(crops, GENDER))
    none = np.full(len(crops), -1)
    wanted = named.redraw(crops, {"gender": none, "age": aim["age"], "race": none})
    np.testing.assert_array_equal(blank.change(crops, subjects(GENDER)), wanted)
    assert np.abs(named.change(crops, subjects(GENDER)) - wanted).max() > 1e-3


def test_order_does_not_matter_but_the_choice_does(run: Path, crops: Faces) -> None:
    one = made(run, hide="gender,age", target="flip").change(crops[:2], subjects(GENDER[:2]))
    np.testing.assert_array_equal(
        made(run, hide="age , gender", target="flip").change(crops[:2], subjects(GENDER[:2])), one
    )
    assert one.shape == (2, 3, 224, 224)
    assert np.abs(one - made(run, hide="gender", target="flip").change(crops[:2], subjects(GENDER[:2]))).max() > 1e-3


def test_drawn_targets_say_nothing_of_the_face(run: Path, rng: np.random.Generator) -> None:
    """Every class comes up as often, whatever the face's own; a flipped one never is the face's own."""
    tiny = rng.random((600, 3, 2, 2), np.float32)
    one, other = ({n: np.full(600, v) for n in ("gender", "age", "race")} for v in (0, 1))
    method = made(run, hide="gender,age,race")
    drawn = method.aim(tiny, one)
    for name, k in (("gender", 2), ("age", 3), ("race", 3)):
        np.testing.assert_array_equal(drawn[name], method.aim(tiny, other)[name])
        counts = np.bincount(drawn[name], minlength=k)
        assert abs(counts - 600 / k).max() < 5 * np.sqrt(600 / k)
    flipped = made(run, hide="race", target="flip").aim(tiny, one)
    assert set(flipped["race"]) == {1, 2}


def test_key_and_person_decide_what_is_drawn(run: Path, rng: np.random.Generator) -> None:
    tiny = rng.random((40, 3, 2, 2), np.float32)
    own = {n: np.zeros(40, np.int64) for n in ("gender", "age", "race")}
    aim = lambda **more: made(run, hide="gender", **more).aim(tiny, own)["gender"].tolist()  # noqa: E731
    assert aim() == aim(key="secret") != aim(key="another")
    assert len(set(aim(person="ann"))) == 1
    # hiding age too leaves the gender's target as it was
    assert made(run, hide="gender,age").aim(tiny, own)["gender"].tolist() == aim()


def test_without_a_key_the_users_own_is_taken(run: Path, crops: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFMASK_KEY", "secret")
    own = dict.fromkeys(("gender", "age", "race"), GENDER)
    a, b = made(run, hide="age", key=None), made(run, hide="age")
    np.testing.assert_array_equal(a.aim(crops, own)["age"], b.aim(crops, own)["age"])


def test_reads_age_and_race_of_a_face_as_attributes_does(run: Path, astronaut: np.ndarray) -> None:
    """The astronaut is a white woman of 37 to 39; the groups sum the classes of the network."""
    from halfmask.photos.align import crop_face
    from halfmask.photos.detect import Detector
    from halfmask.predicting.network import AttributeNetwork
    from halfmask.weights import shipped

    crop = crop_face(astronaut, Detector()(astronaut)[0].points)[0].transpose(2, 0, 1)[None].astype(np.float32) / 255
    method = made(run)
    own = method.read(crop, np.array([0]))
    assert own["gender"].tolist() == [0]
    reader = AttributeNetwork(shipped.path("attributes.onnx"), 1)
    said = {n: dict(zip(reader.classes[n], p[0], strict=True)) for n, p in reader.probabilities(crop).items()}
    race = [sum(said["race"][word] for word in words) for words in RACES.values()]
    assert own["race"].tolist() == [int(np.argmax(race))]
    low = {word: int(word.rstrip("+").split("-")[0]) for word in said["age"]}
    age = np.zeros(3)
    for word, p in said["age"].items():
        age[(low[word] >= 30) + (low[word] >= 50)] += p
    assert own["age"].tolist() == [int(age.argmax())]


def test_no_faces_is_no_work(run: Path) -> None:
    nothing = np.zeros((0, 3, 224, 224), np.float32)
    assert made(run).change(nothing).shape == nothing.shape


def test_settings_that_make_no_sense(run: Path, tmp_path: Path) -> None:
    for hide in ("", "hair", "gender,hair"):
        with pytest.raises(UsageError, match="expected one or several, joined by commas, of: gender, age, race"):
            made(run, hide=hide)
    with pytest.raises(UsageError, match="target is 'other'; expected one of: drawn, flip"):
        made(run, target="other")
    with pytest.raises(UsageError, match=r"holds no privacynet\.onnx; expected the folder of a finished training run"):
        made(tmp_path)


def test_a_network_that_does_not_say_its_classes(tmp_path: Path) -> None:
    from halfmask.networks.privacynet import Generator
    from halfmask.training.export import export_privacynet

    net = Generator(2, width=4, blocks=1, size=32)
    bad = ({}, {"gender": ["a", "b"], "age": ["0-9", "old"], "race": RACES}, {"gender": [], "age": ["0+"], "race": []})
    for groups in bad:
        export_privacynet(net, groups, tmp_path / "privacynet.onnx")
        with pytest.raises(WeightsError, match="is no PrivacyNet that says its classes"):
            made(tmp_path)
