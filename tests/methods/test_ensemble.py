"""The ensemble as users meet it: average, one by chance, one by number, prototypes of groups, bad settings."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from unittest.mock import Mock

import numpy as np
import pytest
from stand_ins import subjects

from halfmask.errors import UsageError
from halfmask.methods import Subject
from halfmask.methods import prototypes as shown
from halfmask.methods.ensemble import Ensemble
from halfmask.methods.labels import GenderEstimate
from halfmask.methods.prototypes import GroupEstimate, Prototypes
from halfmask.methods.runtime import Faces, gray

torch = pytest.importorskip("torch", reason="the stand-in networks are written by torch")
tiny_sans = pytest.importorskip("tiny_sans", reason="needs halfmask[train]")

GENDER = np.array([0, 1, 1])
PEOPLE = subjects(GENDER)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("runs") / "ensemble"
    tiny_sans.run_folder(folder, "ensemble", 3)
    return folder


@pytest.fixture
def crops(rng: np.random.Generator) -> Faces:
    return rng.random((3, 3, 224, 224), np.float32)


def test_the_average_is_that_of_the_members(run: Path, crops: Faces) -> None:
    for prototype in ("sm", "op"):
        own = [Ensemble(1, member=str(k), weights=run, prototype=prototype) for k in (1, 2, 3)]
        one = [method.change(crops, PEOPLE) for method in own]
        assert min(np.abs(a - b).max() for a, b in pairwise(one)) > 0.01
        average = Ensemble(1, weights=run, prototype=prototype)
        np.testing.assert_allclose(average.change(crops, PEOPLE), np.mean(one, 0), atol=1e-6)
    assert average.members(crops).tolist() == [-1, -1, -1]
    assert len(average) == 3
    np.testing.assert_array_equal(one[0][:, 0], one[0][:, 2])


def test_a_member_equals_its_torch_network(tmp_path: Path, crops: Faces) -> None:
    net = tiny_sans.run_folder(tmp_path / "run", "ensemble", 2)[1]
    method = Ensemble(1, member=2, weights=tmp_path / "run")
    means = torch.from_numpy(Prototypes(tmp_path / "run" / "ensemble.npz").means)
    same, other = means[GENDER], means[1 - GENDER]
    with torch.no_grad():
        (op,) = net.layer_by_layer(torch.from_numpy(gray(crops)), same, [same + 1.5 * (other - same)])
    assert np.abs(method.protected_gray(crops, GENDER) - op.numpy()).max() < 1e-4


def test_gibbs_draws_by_key_and_face(run: Path, rng: np.random.Generator) -> None:
    crops = rng.random((24, 3, 224, 224), np.float32)
    mine, again, yours = (Ensemble(1, combine="gibbs", key=k, weights=run) for k in ("mine", "mine", "yours"))
    which = mine.members(crops)
    assert set(which.tolist()) == {0, 1, 2}
    assert np.array_equal(which, again.members(crops))
    assert np.array_equal(which[[5, 2]], mine.members(crops[[5, 2]])), "the draw is the face's, not the batch's"
    assert not np.array_equal(which, yours.members(crops))
    few, people = crops[:4], subjects([0, 1, 0, 1])
    got = mine.change(few, people)
    for i, k in enumerate(which[:4]):
        alone = Ensemble(1, member=int(k) + 1, weights=run).change(few[[i]], [people[i]])
        np.testing.assert_allclose(got[[i]], alone, atol=1e-6)


def test_without_a_key_gibbs_takes_the_users_own(run: Path, crops: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFMASK_KEY", "from the environment")
    own, given = Ensemble(1, combine="gibbs", weights=run), Ensemble(1, "gibbs", None, "from the environment", run)
    assert np.array_equal(own.members(crops), given.members(crops))


def test_bad_settings_say_what_is_expected(run: Path, tmp_path: Path) -> None:
    for settings, message in (
        ({"combine": "best"}, "combine is 'best'; expected one of: average, gibbs"),
        ({"member": "4"}, "member is '4'; expected a whole number from 1 to 3"),
        ({"member": "two"}, "member is 'two'; expected a whole number from 1 to 3"),
        ({"member": 1, "combine": "gibbs"}, "exclude one another"),
        ({"key": "secret"}, "only combine=gibbs draws"),
        ({"weights": tmp_path}, r"holds no ensemble\.npz; expected the folder of a finished training run"),
    ):
        with pytest.raises(UsageError, match=message):
            Ensemble(1, **({"weights": run} | settings))  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="prototype is 'xx'; expected one of: sm, nt, op"):
        Ensemble(1, weights=run, prototype="xx")


def test_members_of_groups_get_the_prototypes_of_each_faces_group(
    tmp_path: Path, crops: Faces, monkeypatch: pytest.MonkeyPatch
) -> None:
    sans = tiny_sans.run_folder(tmp_path / "run", "ensemble", 2, grouped=[False, True])
    groups = np.array([0, 2, 4])
    monkeypatch.setattr(shown.GroupEstimate, "__call__", lambda self, faces: groups[: len(faces)])
    kept = Prototypes(tmp_path / "run" / "ensemble.npz")
    for number, used in ((0, np.zeros(3, int)), (1, groups)):
        got = Ensemble(1, member=number + 1, weights=tmp_path / "run", prototype="sm").protected_gray(crops, GENDER)
        same = torch.from_numpy(kept.by_group[used, GENDER])
        with torch.no_grad():
            (expected,) = sans[number].layer_by_layer(torch.from_numpy(gray(crops)), same, [same])
        assert np.abs(got - expected.numpy()).max() < 1e-4


def test_the_estimate_of_a_group_is_what_the_network_says(crops: Faces, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = GroupEstimate(1)
    found = estimate(crops)
    assert found.shape == (3,)
    assert set(found.tolist()) <= {0, 1, 2, 3, 4}
    ages, races = len(estimate._ages), len(estimate._races)
    old = next(k for k, years in enumerate(estimate._ages) if years.low >= 40)

    def said(age: int, race: str) -> dict[str, Faces]:
        p = {"age": np.zeros((1, ages), np.float32), "race": np.zeros((1, races), np.float32)}
        p["age"][0, age], p["race"][0, estimate._races.index(race)] = 1, 1
        return p

    for age, race, group in (
        (0, "White", 1),
        (0, "Black", 2),
        (old, "White", 3),
        (ages - 1, "Black", 4),
        (0, "Indian", 0),
    ):
        monkeypatch.setattr(estimate._net, "named", Mock(return_value=said(age, race)))
        assert estimate(crops[:1]).tolist() == [group]


def test_three_ship_and_make_a_woman_look_more_male(astronaut: np.ndarray) -> None:
    face = tiny_sans.portrait(astronaut)
    estimate, woman = GenderEstimate(1), [Subject(0)]
    outputs = {k: Ensemble(1, member=k) for k in (1, 2, 3)} | {"average": Ensemble(1)}
    assert len(outputs["average"]) == 3
    before = float(estimate.p_male(face)[0])
    changes = {}
    for name, method in outputs.items():
        changes[name] = method.change(face, woman)
        assert float(estimate.p_male(np.clip(face + changes[name], 0, 1))[0]) > before, name
        method.prototype = "sm"
        assert np.abs(changes[name] - method.change(face, woman)).max() > 0.05
    assert min(np.abs(changes[k] - changes["average"]).mean() for k in (1, 2, 3)) > 0.005
