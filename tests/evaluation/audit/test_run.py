"""The audit from two folders to a report, with stand-in referees whose answers are known."""

from __future__ import annotations

import csv
import errno
import json
import sys
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import fields
from importlib import util
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from stand_ins import Brightness

import halfmask
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, ExtraMissingError, HalfmaskError, UsageError
from halfmask.evaluation import attackers
from halfmask.evaluation.attackers import recognising
from halfmask.evaluation.audit import figures as audit_figures
from halfmask.evaluation.audit import run as auditing
from halfmask.evaluation.audit.report import page
from halfmask.evaluation.audit.request import Judges, Page, Sample
from halfmask.evaluation.referees import Referees
from halfmask.photos.detect import Detector, Face


class Judge(Brightness):
    """Reads age and one of two groups off the brightness too; its descriptor is a 6 x 6 thumbnail of the face."""

    groups = ("White", "Black")
    trained_on = None

    def __init__(self, fails_on: int | None = None) -> None:
        self.fails_on = fails_on

    def p_male(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        if any(i.shape[1] == self.fails_on for i in images):
            raise ValueError("a picture that this referee cannot bear")
        return super().p_male(images, faces)

    def age(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        return np.array([i.mean() / 4 for i in images], np.float32)

    def p_race(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        p = self.p_male(images, faces)
        return np.stack([1 - p, p], 1)

    def group(self, word: str | None) -> int:
        return self.groups.index(word) if word in self.groups else -1

    def embed(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        cut = [i[max(int(f.box[1]), 0) :, max(int(f.box[0]), 0) :] for i, f in zip(images, faces, strict=True)]
        small = np.stack([cv2.resize(c, (6, 6), interpolation=cv2.INTER_AREA).ravel() for c in cut]).astype(np.float32)
        small -= small.mean(1, keepdims=True)
        return small / np.linalg.norm(small, axis=1, keepdims=True)


def judges(fails_on: int | None = None) -> Referees:
    one = Judge(fails_on)
    return Referees({"b": one}, {"b": one}, {"b": one}, {"b": one})


PEOPLE = 6


def save(path: Path, photo: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    cv2.imwrite(str(path), np.clip(photo, 0, 255).astype(np.uint8)[..., ::-1])


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory, astronaut: np.ndarray, detector: Detector) -> tuple[Path, Path]:
    """Two photos each of six people, women light and men dark; protection takes half of that away."""
    root = tmp_path_factory.mktemp("sets")
    for person in range(PEOPLE):
        for n in range(2):
            photo = astronaut[:300, 90 : 370 + 10 * person] * (0.55 if person % 2 else 0.95)
            photo *= np.linspace(1, 1 - 0.3 * n, photo.shape[1])[:, None]
            save(root / f"a/p{person}/{n}.png", photo)
            save(root / f"b/p{person}/{n}.png", photo * (1.2 if person % 2 else 0.85))
    lines = ["file,gender,identity,age,race"]
    lines += [
        f"p{p}/{n}.png,{'mf'[p % 2 == 0]},person {p},{20 + p},{'White' if p % 2 == 0 else 'Black'}"
        for p in range(PEOPLE)
        for n in range(2)
    ]
    (root / "labels.csv").write_text("\n".join(lines))
    return root / "a", root / "b"


def run(folders: tuple[Path, Path], out: Path, **options: Any) -> auditing.Results:
    asked = {"referees": judges(), "attacks": (), "pictures": 0} | options
    parts = {
        name: kind(**{f.name: asked.pop(f.name) for f in fields(kind) if f.name in asked})
        for name, kind in (("sample", Sample), ("judges", Judges), ("page", Page))
    }
    asked.setdefault("labels", folders[0].parent / "labels.csv")
    return auditing.audit(*folders, out=out, workers=1, quiet=True, **parts, **asked)


@pytest.fixture(autouse=True)
def no_plots(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Half of an audit's time here goes into its plots; the first test, and those of the report, look at them."""
    if request.node.name != "test_two_folders_become_a_report":
        monkeypatch.setattr(page, "_plots", lambda results: defaultdict(list))


def test_two_folders_become_a_report(folders: tuple[Path, Path], tmp_path: Path) -> None:
    out = tmp_path / "report"
    found = run(folders, out, attacks=["inverted"], title="six people", pictures=6)
    assert found.report == out / "report.html"
    text = found.report.read_text("utf-8")
    assert "six people" in text
    assert "http://" not in text.split("<body", 1)[1]
    assert json.loads((out / "results.json").read_text("utf-8"))["set"] == found["set"]
    about = found["set"]
    counted = {k: about[k] for k in ("photos", "people", "identities_known", "labelled", "women", "men")}
    assert counted == {"photos": 12, "people": 6, "identities_known": True, "labelled": 12, "women": 6, "men": 6}
    assert [about[k] for k in ("missing", "extra", "same", "lost", "unreadable", "no_face_before")] == [[]] * 6
    before, after = (next(r for r in found["gender"] if r["variant"] == v) for v in ("before", "protected"))
    assert before["auc"] == 1.0
    assert before["n"] == after["n"] == 12
    assert {(r["variant"], r["genuine"], r["impostors"]) for r in found["matching"]} == {
        ("before", 12, 60),
        ("protected", 12, 60),
    }
    assert found["matching"][0]["tmr@0.001"] is None
    assert {(r["gallery"], r["mated"], r["nonmated"]) for r in found["matching"]} == {(3, 3, 6)}
    assert "Identification, one to many" in text
    assert any("no search in a gallery of more than 3 people" in line for line in found["not_tested"])
    refused = "Matching at low FMR: it needs impostor pairs, 100 for FMR 1 % and 1000 for FMR 0.1 % and 10000 for FMR "
    assert f"{refused}0.01 %, and there are 60." in found["not_tested"]
    assert {r["variant"] for r in found["age"]} == {r["variant"] for r in found["race"]} == {"before", "protected"}
    assert found["looks"]["ssim"]["mean"] < 1
    assert {r["attribute"] for r in found["groups"]} == {"gender", "race", "age"}
    assert {r["attack"] for r in found["attacks"]} == {"inverted"}
    assert any(line.startswith("Of the attackers, some were left out by choice: ret") for line in found["not_tested"])
    assert len(found["pictures"]) == 6
    assert text.count("p0/0.png") >= ("p0/0.png" in found["pictures"])
    with open(out / "gender.csv", newline="", encoding="utf-8") as file:
        assert [row["variant"] for row in csv.DictReader(file)] == ["before", "protected"]
    assert any(line.startswith("Can unprepared software still read the gender?") for line in found.verdict)


def test_a_second_call_goes_on(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = run(folders, tmp_path / "r")
    asked: list[int] = []
    monkeypatch.setattr(Judge, "embed", lambda self, images, faces: asked.append(1))
    again = run(folders, tmp_path / "r")
    assert not asked
    assert again | {"created": ""} == first | {"created": ""}


def test_what_has_no_counterpart_is_told(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = folders
    mine, theirs = tmp_path / "a", tmp_path / "b"
    for side, source, left_out in ((mine, before, ()), (theirs, after, ("p0/0.png", "p1/1.png"))):
        for path in source.rglob("*.png"):
            if (key := path.relative_to(source).as_posix()) not in left_out:
                save(side / key, cv2.imread(str(path))[..., ::-1])
    save(mine / "wall.png", np.full((90, 90, 3), 99))
    save(theirs / "wall.png", np.full((90, 90, 3), 90))
    (mine / "torn.png").write_bytes(b"no picture")
    save(theirs / "torn.png", np.full((90, 90, 3), 90))
    save(theirs / "new.png", np.full((90, 90, 3), 90))
    (theirs / "p2/0.png").write_bytes(b"torn too")
    save(theirs / "p3/0.png", np.full((300, 300, 3), 128))  # the face is gone
    said: list[str] = []
    found = run((mine, theirs), tmp_path / "r", labels=before.parent / "labels.csv", say=said.append)
    about = found["set"]
    assert about["missing"] == ["p0/0.png", "p1/1.png"]
    assert about["extra"] == ["new.png"]
    assert about["lost"] == ["p3/0.png"]
    assert about["no_face_before"] == ["wall.png"]
    assert [file for file, _ in about["unreadable"]] == ["torn.png", "p2/0.png"]
    assert "original: " in about["unreadable"][0][1]
    assert "protected: " in about["unreadable"][1][1]
    row = next(r for r in found["gender"] if r["variant"] == "protected")
    assert (row["n"], row["lost"]) == (8, 2)  # 12 less two missing; two of ten were lost
    assert "2 photos have no protected photo: p0/0.png, p1/1.png" in said
    assert "1 photos have no original: new.png" in said


def test_a_referee_that_fails_on_a_photo_stops_nothing(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(folders, tmp_path / "r", referees=judges(fails_on=280))  # both photos of person 0
    assert [file for file, _ in found["set"]["unreadable"]] == ["p0/0.png", "p0/1.png"]
    assert "cannot bear" in found["set"]["unreadable"][0][1]
    assert {r["n"] for r in found["gender"]} == {10}


def test_one_class_refuses_gender_and_says_why(folders: tuple[Path, Path], tmp_path: Path) -> None:
    lines = ["file,gender,identity", *(f"p{p}/{n}.png,f,{p}" for p in (0, 2, 4) for n in (0, 1))]
    labels = tmp_path / "women.csv"
    labels.write_text("\n".join(lines))
    found = run(folders, tmp_path / "r", labels=labels, attacks=None)
    assert found["gender"] == []
    assert found["attacks"] == []
    assert "Gender: all 6 labelled photos show women; whether women and men can be told apart needs both. " in (
        " ".join(found["not_tested"])
    )
    assert found["matching"][0]["genuine"] == 6  # of the three people who are known
    assert "Who is on 6 photos is not known; they are in no pair that was matched." in found["notes"]
    assert any(line.startswith("Age: not known of any photo") for line in found["not_tested"])


def test_without_labels_each_photo_meets_its_own(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(folders, tmp_path / "r", labels=None, attacks=None)
    assert found["set"]["identities_known"] is False
    assert [(r["variant"], r["genuine"], r["impostors"]) for r in found["matching"]] == [
        ("before", 12, 66),  # every two photos once, though either may be the probe
        ("protected", 12, 66),
    ]
    assert found["set"]["pairs"] == "own"
    assert found["matching"][0]["tmr@0.01"] is None  # which takes a hundred
    assert "needs at least 100 impostor pairs, got 66" in found["matching"][0]["refused"]
    assert any("Who is on which photo is not known" in note and "too strict" in note for note in found["notes"])
    assert any(line.startswith("Gender: not known of any photo") for line in found["not_tested"])


def test_pairs_that_were_given(folders: tuple[Path, Path], tmp_path: Path) -> None:
    pairs = tmp_path / "pairs.csv"
    others = [f"p{i}/0.png,p{j}/1.png,0" for i in range(PEOPLE) for j in range(PEOPLE) if i != j]
    pairs.write_text("\n".join(["a,b,same", "p0/0.png,p0/1.png,1", "p1/0.png,p1/1.png,1", "x.png,p1/1.png,1", *others]))
    found = run(folders, tmp_path / "r", pairs=pairs)
    assert {(r["genuine"], r["impostors"]) for r in found["matching"]} == {(2, 30)}
    assert found["set"]["pairs"] == "given"
    assert any(
        "1 rows of pairs.csv were left out: pairs.csv line 4: there is no picture x.png" in n for n in found["notes"]
    )


def test_few_photos_are_whole_people(folders: tuple[Path, Path], tmp_path: Path) -> None:
    found = run(folders, tmp_path / "r", most=7)
    assert found["set"]["photos"] == 8
    assert found["set"]["people"] == 4
    assert "8 of 12 photos were measured, of whole people drawn by lot (seed 0)." in found["notes"]


def test_a_table_and_files_may_be_given(folders: tuple[Path, Path], tmp_path: Path) -> None:
    before, after = folders
    keys = ["p0/0.png", "p0/1.png", "p1/0.png", "p1/1.png", "p2/0.png"]
    rows = [Row(key, before / key, key[:2], int(key[1]) % 2) for key in keys]
    files = {key: after / key for key in keys[:4]} | {"p2/0.png": after / "absent.png"}
    found = auditing.audit(
        Table("utkface", before, rows), files, out=tmp_path / "r", judges=Judges(judges(), ()), quiet=True
    )
    assert found["set"]["missing"] == ["p2/0.png"]
    assert found["set"]["photos"] == 4
    assert any("trained on UTKFace" in note for note in found["notes"])
    with pytest.raises(UsageError, match=r"photos that utkface lacks: zzz"):
        auditing.audit(Table("utkface", before, rows), {"zzz": after}, out=tmp_path / "r", judges=Judges(judges()))


def test_odd_requests_are_refused_before_any_work(folders: tuple[Path, Path], tmp_path: Path) -> None:
    taken = tmp_path / "file"
    taken.write_text("")
    for options, out, message in (
        ({}, folders[0] / "report", "lies inside .* take its pictures for photos"),
        ({}, folders[1] / "report", "lies inside"),
        ({}, taken, "is a file; expected a folder"),
        ({"attacks": ["magic"]}, tmp_path / "r", "no attack is called magic; there are inverted"),
        ({"labels": tmp_path / "absent.csv"}, tmp_path / "r", r"labels cannot be used: .*absent\.csv"),
        ({"most": 0}, tmp_path / "r", "expected 1 or more"),
    ):
        with pytest.raises(UsageError, match=message):
            run(folders, out, **options)
    with pytest.raises(UsageError, match="no referee is called gut feeling"):
        run(folders, tmp_path / "r", referees=["gut feeling"])
    assert not (tmp_path / "r").exists()


def test_the_other_direction(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who it is should be hidden: utility and privacy change places, and reading the gender is no attack."""
    tried: list[object] = []

    def attack(evidence: object, judges: Referees, *, only: object, **options: object) -> list[dict[str, object]]:
        tried.append(only)
        return [{"attack": "detector", "reader": "fresh CNN", "n_train": 6, "n_test": 6, "balanced_accuracy": 0.9}]

    monkeypatch.setattr(attackers, "attack", attack)
    found = run(folders, tmp_path / "r", attacks=None, method={"name": "deidentify"})
    assert found["direction"] == "deidentify"
    assert tried == [["detector"]]
    questions = " ".join(found.verdict)
    assert "Can unprepared software still recognise the person?" in questions
    assert "Is the gender kept?" in questions
    assert "still read the gender" not in questions
    told = " ".join(found["not_tested"])
    assert "Attackers that recognise: 3 people are left to be judged on, expected 10 or more" in told
    assert found["recognition"] == []
    assert "whether people recognise who it is" in told
    assert "left out by choice" not in told
    text = found.report.read_text("utf-8")
    assert "identity to be hidden, attributes to be kept" in text
    assert "so only a detector was tried" in text
    again = run(folders, tmp_path / "r2", direction="deidentify")
    assert again["direction"] == "deidentify"
    assert "expect them to recognise more than unprepared" in " ".join(again["not_tested"])
    assert run(folders, tmp_path / "r3", direction="protect", method={"name": "deidentify"})["direction"] == "protect"
    with pytest.raises(UsageError, match="probe reads the gender, which deidentify keeps"):
        run(folders, tmp_path / "r4", direction="deidentify", attacks=["probe", "detector"])
    with pytest.raises(UsageError, match="direction is 'sideways'; expected one of: protect, deidentify"):
        run(folders, tmp_path / "r4", direction="sideways")


def test_recognisers_that_prepare(folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recognising, "LEAST", 2)
    monkeypatch.setattr(attackers, "attack", lambda *given, **options: [])
    assert "recognition" not in run(folders, tmp_path / "r")
    assert not (tmp_path / "r" / "recognition.csv").exists()
    found = run(folders, tmp_path / "r", attacks=None, direction="deidentify")
    kinds = {(row["attack"], row["variant"]) for row in found["recognition"]}
    both = {(attack, side) for attack in ("none", "learned head") for side in ("before", "protected")}
    assert kinds == both | {(f"washed: {step}", "protected") for step in ("JPEG", "blur", "denoise", "resize")}
    assert {(row["people"], row["genuine"]) for row in found["recognition"]} == {(3, 6)}
    assert {row["n_train"] for row in found["recognition"]} == {0, 6}
    with open(tmp_path / "r" / "recognition.csv", newline="", encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert [(r["attack"], r["variant"]) for r in written] == [(r["attack"], r["variant"]) for r in found["recognition"]]
    assert "Recognisers that prepare" in found.report.read_text("utf-8")
    assert any(
        note.startswith("The attackers that recognise had 6 protected photos of half of the people")
        for note in found["notes"]
    )
    assert "Attackers that recognise:" not in " ".join(found["not_tested"])
    asked: list[int] = []
    monkeypatch.setattr(Judge, "embed", lambda self, images, faces: asked.append(1))
    again = run(folders, tmp_path / "r", attacks=None, direction="deidentify")
    assert not asked  # washed photos are asked about once
    assert again["recognition"] == found["recognition"]


def test_no_face_at_all(tmp_path: Path, detector: Detector) -> None:
    for side in "ab":
        for n in range(2):
            save(tmp_path / side / f"{n}.png", np.full((90, 90, 3), 99 + n + ord(side)))
    with pytest.raises(DataError, match="shows a face"):
        run((tmp_path / "a", tmp_path / "b"), tmp_path / "r", labels=None)


def test_a_full_disk_is_a_clear_error_and_keeps_the_work(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(auditing, "figures", full)
        with pytest.raises(HalfmaskError, match=r"No space left on device\. What was measured is kept"):
            run(folders, tmp_path / "r")
    assert list((tmp_path / "r" / "work").rglob("part-*.npz"))
    assert run(folders, tmp_path / "r").report.is_file()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name in ("torch", "sklearn") else find(name))
    with pytest.raises(
        ExtraMissingError,
        match=r'needs scikit-learn and torch, which are not installed: pip install "halfmask\[train\]"',
    ):
        Judges().check("protect")
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else find(name))
    with pytest.raises(ExtraMissingError, match="--no-attackers"):
        Judges().check("protect")
    Judges(attacks=()).check("protect")
    Judges(attacks=["inverted", "kernel"]).check("protect")  # which train no network


def test_attacks_that_train_no_network_need_no_torch(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.delitem(sys.modules, "halfmask.evaluation.attackers.nets", raising=False)
    names = [name for name in attackers.ATTACKS if name not in ("retrained", "inverse", "detector")]
    tried = run(folders, tmp_path / "r", attacks=names, budget=attackers.Budget(resamples=10, matchers=("b",)))
    words = {str(row["attack"]).partition(":")[0] for row in tried["attacks"]}
    assert words == {"inverted", "linear probe", "nearest neighbours", "RBF kernel", "recovery"}
    with pytest.raises(ExtraMissingError, match=r"needs torch.*or try those that need none \(--attack\): inverted, "):
        Judges(attacks=["inverted", "detector"]).check("protect")


def test_own_pairs_of_many_photos_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit_figures, "_IMPOSTORS", 50)
    pairs = audit_figures.own_pairs([str(i) for i in range(10)])
    others = {(p.a, p.b) for p in pairs if not p.same}
    assert len(pairs) == 10 + len(others)  # none twice
    assert 25 < len(others) <= 50
    assert all(a != b for a, b in others)


def test_a_race_referee_does_not_judge_what_taught_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from halfmask.evaluation import referees

    asked: list[list[str]] = []
    monkeypatch.setattr(referees, "load", lambda threads, only: asked.append(list(only)))
    notes: list[str] = []
    names = ["face-api", *referees.RACE]
    auditing._load(Judges(names), Table("utkface", tmp_path), 1, print, notes)
    assert "race-utkface" in names
    assert asked == [[name for name in names if name != "race-utkface"]]
    assert notes == ["race-utkface learned from utkface and is no judge of it; it was left out."]


def test_the_public_name() -> None:
    assert halfmask.audit is auditing.audit
    assert (halfmask.Sample, halfmask.Judges, halfmask.Page) == (Sample, Judges, Page)
