"""The attackers, on methods of which it is known what they leave: a cue, an inverted cue, a random one, nothing."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from slow_bootstrap import bootstrap

from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, UsageError
from halfmask.evaluation.attackers import ATTACKS, Budget, Evidence, asking, attack, attacks, judging
from halfmask.evaluation.attackers import evidence as evidence_module
from halfmask.evaluation.attackers.learning import probed
from halfmask.evaluation.measuring import metrics
from halfmask.evaluation.referees import Referees
from halfmask.evaluation.referees.faceapi import cut
from halfmask.photos.align import crop_face, template
from halfmask.photos.detect import Detector, Face

PEOPLE, PHOTOS = 16, 3
QUICK = Budget(epochs=25, batch=16, unet_epochs=20, unet_width=8, least_steps=1, resamples=50)
Method = Callable[[np.ndarray, int, np.random.Generator], np.ndarray]


class Red:
    """Says male of faces that are redder than they are green; as a matcher it describes a face by a thumbnail."""

    name = "red"

    def __init__(self) -> None:
        self.asked = 0

    def p_male(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        self.asked += len(images)
        tint = [
            float(self._inside(i, f)[..., 0].mean() - self._inside(i, f)[..., 1].mean())
            for i, f in zip(images, faces, strict=True)
        ]
        return (1 / (1 + np.exp(-np.array(tint) / 8))).astype(np.float32)

    def embed(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        small = [
            cv2.resize(self._inside(i, f), (4, 4), interpolation=cv2.INTER_AREA)
            for i, f in zip(images, faces, strict=True)
        ]
        return np.stack(small).reshape(len(small), -1).astype(np.float32)

    def score(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return -np.linalg.norm(a - b, axis=1)

    def score_matrix(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return -np.linalg.norm(a[:, None] - b, axis=2)

    @staticmethod
    def _inside(image: np.ndarray, face: Face) -> np.ndarray:
        x, y, w, h = (round(v) for v in face.box)
        return image[y : y + h, x : x + w]


@pytest.fixture
def judges() -> Referees:
    red = Red()
    return Referees(genders={"red": red}, matchers={"thumb": red})


POINTS = (template(112) * 0.8 + 15).astype(np.float32)
FACE = Face((40.0, 30.0, 40.0, 60.0), POINTS, 1.0)


def tinted(photo: np.ndarray, amount: float) -> np.ndarray:
    out = photo.copy()
    out[..., 0] += amount
    return out


@pytest.fixture
def evidence_of(tmp_path: Path, astronaut: np.ndarray) -> Callable[[Method], Evidence]:
    """Photos of 16 people, men tinted red by 12 and women green, protected by a method."""
    gray = cv2.resize(astronaut[0:220, 110:330], (120, 120), interpolation=cv2.INTER_AREA).mean(2, keepdims=True)

    def make(method: Method) -> Evidence:
        rng = np.random.default_rng(5)
        keys, paths, crops = [], ([], []), ([], [])
        gender, persons = [], []
        for person in range(PEOPLE):
            for n in range(PHOTOS):
                sex = person % 2
                base = np.repeat(gray, 3, 2) * rng.uniform(0.5, 0.8) + rng.normal(0, 4, (120, 120, 3)) + 40
                original = tinted(base, 12 if sex else -12)
                keys.append(f"{person}-{n}.png")
                gender.append(sex)
                persons.append(f"p{person}")
                for side, floats in enumerate((original, method(original, sex, rng))):
                    photo = np.clip(np.rint(floats), 0, 255).astype(np.uint8)
                    path = tmp_path / f"{side}-{keys[-1]}"
                    cv2.imwrite(str(path), photo[..., ::-1])
                    paths[side].append(path)
                    crops[side].append(crop_face(photo, POINTS, 112)[0])
        before, after = (np.stack(c) for c in crops)
        names = np.array(persons)
        train = evidence_module.split_people(np.array(gender), names, 0)
        return Evidence(
            keys, *paths, np.array(gender), names, train, [FACE] * len(keys), [FACE] * len(keys), before, after, before,
            digest=method.__name__,
        )  # fmt: skip

    return make


def turned(photo: np.ndarray, sex: int, rng: np.random.Generator) -> np.ndarray:
    return tinted(photo, -24 if sex else 24)


def pattern(photo: np.ndarray, sex: int, rng: np.random.Generator) -> np.ndarray:
    """The tint goes; a faint pattern comes, which no average over the face shows."""
    waves = 6 * np.sin(np.arange(120) / 2)[:, None, None] * (1 if sex else -1)
    return tinted(photo, -12 if sex else 12) + waves


def black(photo: np.ndarray, sex: int, rng: np.random.Generator) -> np.ndarray:
    return np.zeros_like(photo)


def random_tint(photo: np.ndarray, sex: int, rng: np.random.Generator) -> np.ndarray:
    return tinted(photo, rng.uniform(-40, 40))


def bluer(photo: np.ndarray, sex: int, rng: np.random.Generator) -> np.ndarray:
    out = photo.copy()
    out[40:, :, 2] += 40
    return out


def nothing(photo: np.ndarray, sex: int, rng: np.random.Generator) -> np.ndarray:
    return photo


def test_an_inverted_answer_is_turned_back(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path
) -> None:
    (row,) = attack(evidence_of(turned), judges, folder=tmp_path, budget=QUICK, only=["inverted"], quiet=True)
    assert row["unattacked_balanced_accuracy"] < 0.1
    assert row["balanced_accuracy"] > 0.9
    assert row["auc"] > 0.95
    assert row["originals_balanced_accuracy"] > 0.9
    assert row["balanced_low"] <= row["balanced_accuracy"] <= row["balanced_high"]
    assert (row["n_train"], row["n_test"]) == (24, 24)
    assert row["note"].startswith("inverted")


@pytest.mark.slow
def test_who_learns_finds_what_referees_do_not_see(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path
) -> None:
    rows = attack(
        evidence_of(pattern), judges, folder=tmp_path, budget=QUICK, only=["inverted", "retrained"], quiet=True
    )
    found = {row["attack"]: row for row in rows}
    assert found["inverted"]["balanced_accuracy"] < 0.8
    assert found["retrained CNN"]["balanced_accuracy"] > 0.9
    assert found["retrained CNN"]["originals_balanced_accuracy"] > 0.9


@pytest.mark.slow
def test_nothing_is_found_in_black_faces(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path
) -> None:
    quick = replace(QUICK, epochs=4, unet_epochs=2)
    only = [name for name in ATTACKS if name != "detector"]
    rows = attack(evidence_of(black), judges, folder=tmp_path, budget=quick, only=only, quiet=True)
    assert {row["attack"].partition(":")[0] for row in rows} == {
        "inverted", "retrained CNN", "linear probe", "nearest neighbours", "RBF kernel", "recovery", "inverse",
    }  # fmt: skip
    for row in rows:
        assert row["balanced_accuracy"] == 0.5, row["attack"]
        assert row["auc"] == 0.5


@pytest.mark.parametrize("kind", ["probe", "neighbours", "kernel"])
def test_a_reader_of_descriptors_reads_what_is_in_them(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path, kind: str
) -> None:
    (row,) = attack(evidence_of(turned), judges, folder=tmp_path, budget=QUICK, only=[kind], quiet=True)
    assert row["reader"] == "thumb"
    assert row["balanced_accuracy"] > 0.9
    assert row["unattacked_balanced_accuracy"] < 0.1  # trained on originals, it is fooled as the referee is


def test_a_curved_reader_sees_what_a_line_does_not(rng: np.random.Generator) -> None:
    """Men in the middle of women: no line tells them apart; neighbours and kernel do, on people they never saw."""
    x = rng.normal(0, 1, (400, 3)).astype(np.float32)
    radius = np.linalg.norm(x, axis=1, keepdims=True)
    gender = rng.integers(0, 2, 400)
    around = np.where(gender[:, None] == 1, 0.5, 3.0) * x / radius
    x = np.concatenate([around, np.ones((400, 1))], 1).astype(np.float32)  # so that cosines tell, too
    persons = np.array([f"p{i}" for i in range(400)])
    right = {}
    for kind in ("linear", "neighbours", "kernel"):
        rule = probed(x[:200], gender[:200], persons[:200], 0, kind)
        right[kind] = float(((rule(x[200:]) > 0) == (gender[200:] == 1)).mean())
    assert right["linear"] < 0.75
    assert right["neighbours"] > 0.95
    assert right["kernel"] > 0.95


@pytest.mark.slow
def test_averages_take_out_what_is_random(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path
) -> None:
    evidence = evidence_of(random_tint)
    rng = np.random.default_rng(3)

    def outputs(originals: Sequence[Path]) -> list[list[Path]]:
        versions = []
        for n in range(12):
            versions.append([tmp_path / f"v{n}-{path.name}" for path in originals])
            for path, target in zip(originals, versions[-1], strict=True):
                photo = random_tint(cv2.imread(str(path))[..., ::-1].astype(float), 0, rng)
                cv2.imwrite(str(target), np.clip(np.rint(photo), 0, 255).astype(np.uint8)[..., ::-1])
        return versions

    rows = attack(evidence, judges, folder=tmp_path, budget=QUICK, only=["recovery"], outputs=outputs, quiet=True)
    found = {row["attack"]: row for row in rows}
    one = found["recovery: average of outputs"]["unattacked_balanced_accuracy"]
    assert one < 0.8
    assert found["recovery: average of outputs"]["balanced_accuracy"] > max(0.9, one)
    person = found["recovery: average over the person's photos"]
    assert (person["n_train"], person["n_test"]) == (8, 8)
    assert "3.0 photos each" in person["note"]
    with pytest.raises(DataError, match="outputs gave"):
        attack(
            evidence, judges, folder=tmp_path / "x", budget=QUICK, only=["recovery"], outputs=lambda p: [], quiet=True
        )


@pytest.mark.slow
def test_an_inverse_is_learned_and_shown(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path
) -> None:
    evidence = evidence_of(bluer)
    case = asking.Case(evidence, judges, tmp_path, QUICK, quiet=True)
    (row,) = attacks.inverse(case)
    before, after = (
        float(word) for word in row["note"].split("original ")[1].split() if word[0].isdigit() and "." in word
    )
    assert before > 5
    assert after < before / 2
    assert cv2.imread(str(tmp_path / "inverse.png")).shape == (3 * 112, 6 * 112, 3)
    assert row["balanced_accuracy"] > 0.9
    untrained = replace(case, budget=replace(QUICK, unet_epochs=1))  # another budget is another inverse
    assert attacks.inverse(untrained)[0]["auc"] is not None
    assert len(list(tmp_path.glob("asked-inverse-*"))) == 4


@pytest.mark.slow
def test_a_detector_sees_a_change_and_only_a_change(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path
) -> None:
    (row,) = attack(evidence_of(bluer), judges, folder=tmp_path, budget=QUICK, only=["detector"], quiet=True)
    assert row["balanced_accuracy"] > 0.9
    assert row["unattacked_balanced_accuracy"] is None
    assert (row["n_train"], row["n_test"]) == (48, 48)
    quick = replace(QUICK, epochs=2)
    (row,) = attack(evidence_of(nothing), judges, folder=tmp_path, budget=quick, only=["detector"], quiet=True)
    assert row["balanced_accuracy"] == 0.5
    assert row["auc"] == pytest.approx(0.5)


def test_goes_on_where_it_was(
    evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence, red = evidence_of(turned), judges.genders["red"]
    assert isinstance(red, Red)
    first = attack(evidence, judges, folder=tmp_path, budget=QUICK, only=["inverted"], quiet=True)
    asked = red.asked
    assert asked == 4 * 24

    def dies(case: asking.Case) -> list[judging.Row]:
        case.recovered(case.tune, {"blur": asking.blur})
        raise KeyboardInterrupt

    monkeypatch.setitem(ATTACKS, "recovery", dies)
    with pytest.raises(KeyboardInterrupt):
        attack(evidence, judges, folder=tmp_path, budget=QUICK, only=["inverted", "recovery"], quiet=True)
    assert red.asked == asked + 24
    monkeypatch.setitem(ATTACKS, "recovery", lambda case: list(case.recovered(case.tune, {"blur": asking.blur})) and [])
    again = attack(evidence, judges, folder=tmp_path, budget=QUICK, only=["inverted", "recovery"], quiet=True)
    assert again == first
    assert red.asked == asked + 24  # neither the finished attack nor the answers of the killed one were asked again
    attack(evidence, judges, folder=tmp_path, budget=replace(QUICK, seed=2), only=["inverted"], quiet=True)
    assert len(list(tmp_path.glob("inverted-*.json"))) == 2  # another budget is another result
    assert all(json.loads(path.read_text()) for path in tmp_path.glob("inverted-*.json"))


def test_minutes_end_the_learning(evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path) -> None:
    short = replace(QUICK, epochs=1000, max_minutes=0.01)
    (row,) = attack(evidence_of(bluer), judges, folder=tmp_path, budget=short, only=["detector"], quiet=True)
    assert "ended after 0.01 minutes" in row["note"]


def test_refuses_what_would_reward_knowing_faces(evidence_of: Callable[[Method], Evidence]) -> None:
    evidence = evidence_of(nothing)
    train = evidence.train.copy()
    train[np.flatnonzero(train)[0]] = False
    with pytest.raises(DataError, match="1 people stand among"):
        replace(evidence, train=train)
    with pytest.raises(DataError, match="of women and 0 of men"):
        replace(evidence, gender=np.zeros_like(evidence.gender))


def test_refuses_unknown_attacks(evidence_of: Callable[[Method], Evidence], judges: Referees, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no attack is called magic; there are inverted, retrained"):
        attack(evidence_of(nothing), judges, folder=tmp_path, only=["magic"])


@pytest.fixture
def table(tmp_path: Path, astronaut: np.ndarray) -> tuple[Table, dict[str, Path]]:
    """Eight photos of eight people, protected by darkening, and one of each thing that leaves a photo out."""
    rows, protected = [], {}

    def add(key: str, photo: np.ndarray, after: np.ndarray | None, gender: int | None) -> None:
        for name, pixels in (("a", photo), ("b", after)):
            if pixels is not None:
                cv2.imwrite(str(tmp_path / f"{name}-{key}"), pixels[..., ::-1].astype(np.uint8))
        rows.append(Row(key, tmp_path / f"a-{key}", f"person {key}", gender))
        if after is not None:
            protected[key] = tmp_path / f"b-{key}"

    photo = astronaut[:300, 60:380]
    for i in range(8):
        add(f"{i}.png", photo[:, i:], photo[:, i:] * 0.8, i % 2)
    wall = np.full((100, 100, 3), 99, np.uint8)
    add("unlabelled.png", photo, photo, None)
    add("absent.png", photo, None, 1)
    add("wall.png", wall, wall, 1)
    add("lost.png", photo, wall, 1)
    add("bad.png", photo, photo, 1)
    (tmp_path / "b-bad.png").write_bytes(b"text")
    return Table("demo", tmp_path, rows), protected


def test_gathers_faces_before_and_after(
    table: tuple[Table, dict[str, Path]], tmp_path: Path, detector: Detector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evidence_module, "_PART", 5)
    found = Evidence.gather(*table, folder=tmp_path / "work", quiet=True)
    assert found.left_out == {"not protected": 1, "no gender": 1, "unreadable": 1, "no face before": 1, "face lost": 1}
    assert found.keys == [f"{i}.png" for i in range(8)]
    assert found.train.sum() == 4
    assert found.gender[found.train].sum() == 2
    assert found.crops_before.shape == (8, 112, 112, 3)
    ratio = found.crops_after[0].mean() / found.crops_paired[0].mean()
    assert ratio == pytest.approx(0.8, abs=0.01)
    assert np.abs(found.crops_paired[3] * 0.8 - found.crops_after[3]).mean() < 2  # cut at the same place
    again = Evidence.gather(*table, folder=tmp_path / "work", quiet=True)
    assert again.digest == found.digest
    assert np.array_equal(again.crops_after, found.crops_after)
    other = Evidence.gather(*table, folder=tmp_path / "work", train=lambda row: row.key < "4", quiet=True)
    assert other.train.tolist() == [True] * 4 + [False] * 4
    assert other.digest != found.digest


def test_nothing_to_gather_is_said(table: tuple[Table, dict[str, Path]], tmp_path: Path, detector: Detector) -> None:
    whole, protected = table
    wall = whole.where(lambda row: row.key == "wall.png")
    with pytest.raises(DataError, match="1 no face before"):
        Evidence.gather(wall, protected, folder=tmp_path / "work", quiet=True)
    with pytest.raises(DataError, match="1 no gender"):
        Evidence.gather(whole.where(lambda r: r.gender is None), protected, folder=tmp_path / "work", quiet=True)
    women = whole.where(lambda row: row.gender == 0)
    with pytest.raises(DataError, match="of women and 0 of men"):
        Evidence.gather(women, protected, folder=tmp_path / "work", quiet=True)


def test_a_row_has_the_intervals_of_copied_resamples(rng: np.random.Generator) -> None:
    y = rng.integers(0, 2, 80)
    says = rng.normal(size=80).round(1)  # with ties
    persons = np.array([f"p{i // 4}" for i in range(80)])
    found = judging.row("a", "r", n_train=9, labels=y, says=says, persons=persons, resamples=60, seed=3)
    for metric, key, stem in ((metrics.auc, "auc", "auc"), (_at_zero, "balanced_accuracy", "balanced")):
        span = bootstrap(metric, y, says, persons=persons, n=60, seed=3)
        assert [found[key], found[f"{stem}_low"], found[f"{stem}_high"]] == pytest.approx(span[:3])
    alone = judging.row("a", "r", n_train=9, labels=[0, 1], says=[0.1, 0.2], persons=["a", "a"])
    assert (alone["auc"], alone["auc_low"]) == (1.0, None)
    assert "at least two persons" in alone["refused"]


def _at_zero(labels: np.ndarray, says: np.ndarray) -> float:
    return metrics.balanced_accuracy(labels, says, 0.0)


def test_no_rule_is_better_than_the_chosen_one(rng: np.random.Generator) -> None:
    for turn in (1, -1):
        y = rng.integers(0, 2, 60)
        scores = (turn * y * 0.3 + rng.normal(0.5, 0.3, 60)).round(2)
        rule = judging.choose(y, scores)
        reached = metrics.balanced_accuracy(y, rule.says(scores), 0.0)
        every = [
            metrics.balanced_accuracy(y, sign * scores, sign * t + off)
            for sign in (1, -1)
            for t in scores
            for off in (-1e-6, 1e-6)
        ]
        assert reached == pytest.approx(max(every))
        assert rule.sign == turn


def test_referees_see_the_same_in_the_surroundings(astronaut: np.ndarray) -> None:
    photo = np.ascontiguousarray(astronaut[::2, ::2])
    points = np.array([[101, 56], [120, 55], [112, 68], [103, 76], [121, 75]], np.float32)
    face = Face((92.0, 36.0, 40.0, 52.0), points, 1.0)
    patch, inside = asking.around(photo, face)
    assert patch.size < photo.size
    # places are rounded to 1/32 of a pixel, from another corner
    assert np.abs(cut(photo, face).astype(int) - cut(patch, inside)).mean() < 0.5
    large = Face((92.0 * 4, 36.0 * 4, 160.0, 208.0), points * 4, 1.0)
    big = cv2.resize(photo, None, fx=4, fy=4)
    patch, inside = asking.around(big, large)
    assert max(inside.box[2:]) == pytest.approx(160, abs=1)
    assert np.abs(cut(patch, inside).astype(int) - cut(big, large)).mean() < 2


@pytest.mark.parametrize("step", asking.RECOVERIES)
def test_recoveries_keep_the_picture(step: str, astronaut: np.ndarray) -> None:
    patch = np.ascontiguousarray(astronaut[20:181, 150:301])
    noise = np.random.default_rng(0).normal(0, 12, patch.shape)
    noisy = np.clip(patch + noise, 0, 255).astype(np.uint8)
    done = asking.RECOVERIES[step](noisy, Face((40.0, 40.0, 70.0, 90.0), POINTS, 1.0), 0)
    assert done.shape == patch.shape
    assert done.dtype == np.uint8
    assert np.abs(done.astype(float) - patch).mean() < np.abs(noisy.astype(float) - patch).mean() * 1.02
