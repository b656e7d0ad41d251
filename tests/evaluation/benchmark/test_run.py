"""Benchmarks: configs, protecting into folders, measuring by stand-in referees, tables beside published numbers."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from stand_ins import Brightness

from halfmask.datasets import Row, Table
from halfmask.errors import DataError, UsageError
from halfmask.evaluation import attackers
from halfmask.evaluation.benchmark import run as benchmark
from halfmask.evaluation.benchmark.config import Config, MethodConfig, SetConfig, fill, find, read_config, shipped
from halfmask.evaluation.benchmark.protect import LEFT_OUT, protect_table
from halfmask.evaluation.benchmark.sets import open_set
from halfmask.evaluation.benchmark.tables import to_csv, to_markdown, write
from halfmask.evaluation.referees import AGE, GENDER, MATCHERS, RACE, Referees
from halfmask.methods.labels import GenderEstimate
from halfmask.methods.san import San
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Detector, Face
from halfmask.protecting import pipeline
from halfmask.protecting.engine import Engine
from halfmask.protecting.known import Known
from halfmask.protecting.options import Options
from halfmask.weights import shipped as weights_shipped


class Counting(Brightness):
    """Counts the pictures it was asked of."""

    def __init__(self) -> None:
        self.asked = 0

    def p_male(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        self.asked += len(images)
        return super().p_male(images, faces)


@pytest.fixture
def judge() -> Counting:
    return Counting()


@pytest.fixture
def referees(judge: Counting) -> Referees:
    return Referees(genders={"b": judge}, matchers={"b": judge})


@pytest.fixture
def data(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """A data folder with ``folder``: four people, two pictures each, one of a wall, all in the test split but one."""
    root = tmp_path / "data" / "folder"
    root.mkdir(parents=True)
    lines = ["file,identity,gender,split"]
    for i in range(8):
        photo = astronaut[:250, 90 + 5 * i : 340 + 5 * i] * (0.95 if i // 2 % 2 else 0.55)
        cv2.imwrite(str(root / f"{i}.png"), photo[..., ::-1].astype(np.uint8))
        lines.append(f"{i}.png,p{i // 2},{'fm'[i // 2 % 2]},test")
    cv2.imwrite(str(root / "wall.png"), np.full((100, 100, 3), 99, np.uint8))
    cv2.imwrite(str(root / "other.png"), np.full((100, 100, 3), 99, np.uint8))
    lines += ["wall.png,p9,f,test", "other.png,p8,m,train"]
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


def values(**changes: Any) -> dict[str, Any]:
    return {
        "title": "A made-up table",
        "source": "Nobody 2018, Table 9",
        "kind": "gender",
        "sets": [{"layout": "folder", "name": "made", "split": "test"}],
        "methods": [{"label": "SAN OP", "method": "san"}, {"label": "SAN SM", "method": "san", "prototype": "sm"}],
        **changes,
    }


def config(folder: Path, **changes: Any) -> Config:
    path = folder / "table9.yaml"
    path.write_text(yaml.safe_dump(values(**changes)))
    return read_config(path)


def run(cfg: Config, data: Path, out: Path, referees: Referees, **more: Any) -> dict[str, Any]:
    return benchmark.run(cfg, data=data, out=out, referees=referees, workers=1, quiet=True, **more)


# ------------------------------------------------------------------ configs


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"knd": 1}, r"unknown key knd in the benchmark; known: attacks, auxiliary, .*kind"),
        ({"output": "face"}, "output is 'face'; expected one of: photo, crop"),
        ({"kind": "beauty"}, "kind is 'beauty'; expected one of: gender, matching"),
        ({"methods": [{"label": "x", "method": "magic"}]}, "method is 'magic'; expected one of: .*san"),
        ({"methods": [{"label": "x"}]}, "method is missing in methods, at x; give it, or best_of"),
        ({"methods": [{"label": "x", "method": "san", "hide": "age"}]}, "san cannot hide age"),
        ({"methods": [{"label": "x", "best_of": ["y"]}]}, "expected a list of two labels or more"),
        ({"methods": [{"label": "x", "best_of": ["y", "z"], "method": "san"}]}, "it has no method of its own"),
        ({"methods": [{"label": "x", "best_of": ["y", "z"]}]}, "only an overview has; kind is gender"),
        ({"kind": "overview", "methods": [{"label": "x", "best_of": ["y", "z"]}]}, "x is the best of 'y'"),
        ({"methods": [{"label": "before", "method": "san"}]}, "'before' means the originals"),
        ({"methods": [{"label": "x", "method": "san", "settings": {"colour": "red"}}]}, "no setting 'colour'"),
        ({"methods": [{"label": "x", "method": "san", "strength": "low"}]}, "san has no strength"),
        ({"methods": [{"label": "x", "method": "san"}] * 2}, "methods has x twice"),
        ({"methods": []}, "methods is empty"),
        ({"methods": "san"}, "methods is 'san'; expected a list"),
        ({"sets": [{"layout": "imagenet"}]}, "layout is 'imagenet'; expected one of: celeba"),
        ({"sets": [{"layout": "lfw", "split": "tset"}]}, "split is 'tset'; expected one of: train, valid, test"),
        ({"sets": [{"layout": "lfw", "probes": "pairs"}]}, "add pairs: lfw"),
        ({"sets": [{"layout": "lfw", "most": 0}]}, "most is 0; expected a whole number above 0"),
        ({"sets": ["lfw"]}, "an entry of sets is 'lfw'"),
        ({"kind": "attackers"}, "made needs attack_train"),
        ({"attacks": ["magic"]}, "attacks is 'magic'; expected one of: inverted"),
        ({"budget": {"epoch": 3}}, "budget is .*unexpected keyword argument 'epoch'"),
        ({"budget": {"epochs": 0}}, "wants epochs above 0"),
        ({"fmrs": [2]}, r"fmrs is \[2\]"),
        ({"auxiliary": "yes please"}, "auxiliary in the benchmark is 'yes please'; expected true or false"),
        ({"published": [{"source": "p", "measure": "error", "rows": [{"set": "made", "by": "x", "before": 19.7}]}]},
         "the published before is 19.7; expected a share"),
        ({"published": [{"source": "p", "measure": "error", "rows": [{"set": "made"}]}]}, "row lacks by"),
    ],
)  # fmt: skip
def test_a_config_that_makes_no_sense_is_refused_by_name(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UsageError, match=said) as error:
        config(tmp_path, **changes)
    assert "table9.yaml" in str(error.value)


def test_a_config_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "absent.yaml")
    (tmp_path / "list.yaml").write_text("- a")
    with pytest.raises(UsageError, match="holds a list"):
        read_config(tmp_path / "list.yaml")
    (tmp_path / "bad.yaml").write_text("a: [")
    with pytest.raises(UsageError, match="cannot be read"):
        read_config(tmp_path / "bad.yaml")


def test_all_that_ship_are_sound_and_name_referees_that_exist() -> None:
    assert {"san-table2", "san-table3", "san-attackers", "looks", "san-groups"} <= set(shipped())
    known = {*GENDER, *MATCHERS, *AGE, *RACE}
    for path in find([]):
        cfg = read_config(path)
        assert set(cfg.referees or ()) <= known
        labels = {m.label for m in cfg.methods}
        names = {s.name for s in cfg.sets}
        for published in cfg.published:
            assert {row["set"] for row in published.rows} <= names  # else they would stand beside nothing
            assert not [row for row in published.rows if labels & set(row)]  # a paper's figures have their own columns


def test_the_papers_numbers_are_those_of_the_paper() -> None:
    two, three = (read_config(shipped()[name]).published[0] for name in ("san-table2", "san-table3"))
    assert len(two.rows) == 8
    lfw = {"set": "lfw", "by": "IntraFace", "before": 0.334, "SAN published, OP": 0.725, "mixing published": 0.709}
    assert lfw in two.rows
    for name, other in (("san-table2", two), ("san-table3", three)):
        assert read_config(shipped()[f"{name}-crops"]).published[0] == other
    drops = {row["set"]: round(100 * (row["before"] - row["SAN published, OP"]), 2) for row in three.rows}
    assert drops == {"muct": 1.44, "lfw": 6.84, "ar": 4.16}  # as the paper's text has them


def test_names_and_paths_are_found(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("")
    assert find(["looks", str(tmp_path / "mine.yaml")]) == [shipped()["looks"], tmp_path / "mine.yaml"]
    with pytest.raises(UsageError, match=r"no benchmark is called nope.*san-table2"):
        find(["nope"])
    (tmp_path / "looks.yaml").write_text("")
    with pytest.raises(UsageError, match="several benchmarks are called looks"):
        find(["looks", str(tmp_path / "looks.yaml")])


def test_folders_of_the_command_line_are_filled_in(tmp_path: Path) -> None:
    assert fill("${data}/a ${peers}", tmp_path, tmp_path / "p") == f"{tmp_path}/a {tmp_path}/p"
    with pytest.raises(UsageError, match="--peers FOLDER"):
        fill("${peers}/x", tmp_path, None)
    with pytest.raises(UsageError, match="known: "):
        fill("${home}", tmp_path, tmp_path)


# ------------------------------------------------------------------ protecting


def test_protects_as_a_user_gets_it_and_goes_on(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = data / "folder"
    table = Table("made", root, [Row(f"{n}.png", root / f"{n}.png", None, 0) for n in ("0", "1", "2", "wall")])
    stages = pipeline.load(Options(), workers=1, photos=4)
    found: list[Path] = []
    real = Engine.prepare

    def prepare_and_note(self: Engine, source: Path, known: Known) -> Any:
        found.append(source)
        assert known == Known((0,))  # the true label
        return real(self, source, known)

    monkeypatch.setattr(Engine, "prepare", prepare_and_note)
    out = tmp_path / "out"
    files, left_out = protect_table(table, {"0.png", "wall.png"}, stages, out, workers=1, quiet=True)
    assert files == {"0.png": out / "0.png", "wall.png": out / "wall.png"}
    assert left_out == [("wall.png", "no face was found")]
    assert files["0.png"].is_file()
    assert not files["wall.png"].exists()
    assert len(found) == 2
    with open(out / LEFT_OUT, "a") as record:
        record.write('["half')  # a run that was killed at this moment
    again, left_out = protect_table(table, {r.key for r in table}, stages, out, workers=1, quiet=True)
    assert sorted(p.name for p in found[2:]) == ["1.png", "2.png"]
    assert set(again) == {"0.png", "1.png", "2.png", "wall.png"}
    assert left_out == [("wall.png", "no face was found")]


def test_a_folder_that_cannot_be_written(data: Path, tmp_path: Path) -> None:
    root = data / "folder"
    table = Table("made", root, [Row("0.png", root / "0.png", None, 0)])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="give another output folder"):
        protect_table(table, {"0.png"}, pipeline.load(Options(), workers=1, photos=2), tmp_path / "file" / "x")


# ------------------------------------------------------------------ running


def test_measures_protected_files_once(data: Path, tmp_path: Path, referees: Referees, judge: Counting) -> None:
    cfg = config(tmp_path)
    result = run(cfg, data, tmp_path / "out", referees)
    assert [(r["set"], r["variant"], r["referee"]) for r in result["rows"]] == [
        ("made", "before", "b"),
        ("made", "SAN OP", "b"),
        ("made", "SAN SM", "b"),
    ]
    assert [r["n"] for r in result["rows"]] == [8, 8, 8]
    assert result["sets"][0] | {"pairs": 0} == {
        "name": "made", "layout": "folder", "split": "test", "without": [], "photos": 9, "people": 5, "women": 5,
        "men": 4, "protected": 9, "attackers_learn_on": None, "pairs": 0,
    }  # fmt: skip
    assert any("left out 1 of 9 pictures of made. wall.png: no face was found" in note for note in result["notes"])
    p = {m["label"]: m for m in result["methods"]}
    assert p["SAN OP"]["folder"] != p["SAN SM"]["folder"]
    files = sorted((tmp_path / "out" / p["SAN OP"]["folder"]).rglob("*.png"))
    assert len(files) == 8
    made = [f.stat().st_mtime_ns for f in files]
    asked = judge.asked
    assert asked == 3 * 8
    again = run(cfg, data, tmp_path / "out", referees)
    assert again["rows"] == result["rows"]
    assert judge.asked == asked
    assert [f.stat().st_mtime_ns for f in files] == made
    # another table of the same methods and set measures nothing either, under whatever label
    other = config(tmp_path, kind="matching", fmrs=[0.5], methods=[{"label": "ours", "method": "san"}])
    rows = run(other, data, tmp_path / "out", referees)["rows"]
    assert [(r["variant"], r["genuine"], r["impostors"]) for r in rows] == [("before", 8, 24), ("ours", 8, 24)]
    assert judge.asked == asked


def test_crops_are_judged_as_the_method_makes_them(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, referees: Referees, judge: Counting
) -> None:
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "cache"))
    labels = data / "folder" / "labels.csv"
    labels.write_text(labels.read_text().replace("7.png,p3,m", "7.png,p3,"))
    methods = [{"label": "SAN OP", "method": "san"}, {"label": "mixed", "method": "mixing"}]
    cfg = config(tmp_path, output="crop", gray=True, methods=methods)
    result = run(cfg, data, tmp_path / "out", referees)
    assert (result["output"], result["sets"][0]["photos"]) == ("crop", 8)
    assert any("1 pictures of made have no crop. wall.png: no face found" in note for note in result["notes"])
    assert any("SAN OP left out 1 of 8 pictures of made. 7.png: its gender" in note for note in result["notes"])
    san, mixed = ((tmp_path / "out" / m["folder"]) for m in result["methods"])
    crop = cv2.imread(str(next((tmp_path / "out" / "work" / "crops").rglob("2.png.png"))))[..., ::-1]
    made = cv2.imread(str(next(san.rglob("2.png.png"))), cv2.IMREAD_UNCHANGED)
    assert made.shape == (224, 224)
    assert cv2.imread(str(next(mixed.rglob("2.png.png"))), cv2.IMREAD_UNCHANGED).shape == (224, 224, 3)
    face = crop.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    own = San().protected_gray(face, np.array([1]))[0, 0]  # the paper's own output, no mask, no JPEG
    assert np.abs(made - 255 * own).max() <= 0.51
    asked, files = judge.asked, sorted((tmp_path / "out" / "work").rglob("*.png"))
    times = [f.stat().st_mtime_ns for f in files]
    assert run(cfg, data, tmp_path / "out", referees)["rows"] == result["rows"]
    assert judge.asked == asked
    assert [f.stat().st_mtime_ns for f in files] == times
    whole = run(config(tmp_path, methods=methods), data, tmp_path / "out", referees, only=["SAN OP"])
    assert whole["methods"][0]["folder"] != result["methods"][0]["folder"]


def test_other_weights_are_another_method(data: Path, tmp_path: Path, referees: Referees) -> None:
    weights = tmp_path / "mine"
    weights.mkdir()
    (weights / "san.onnx").write_bytes(weights_shipped.path("san.onnx").read_bytes())
    with np.load(weights_shipped.path("san.npz")) as means:
        np.savez(weights / "san.npz", **{**means, "reach": 2.0})
    methods = [{"label": "ours", "method": "san"}]
    methods.append({"label": "mine", "method": "san", "settings": {"weights": "${data}/../mine"}})
    methods.append({"label": "gone", "method": "san", "settings": {"weights": "${data}/nothing"}})
    methods.append({"label": "theirs", "method": "san", "settings": {"weights": "${peers}/san"}})
    result = run(config(tmp_path, methods=methods), data, tmp_path / "out", referees)
    ours, mine = result["methods"]
    assert ours["fingerprint"] != mine["fingerprint"]
    assert ours["folder"] != mine["folder"]
    assert [s["what"] for s in result["skipped"]] == ["method gone", "method theirs"]
    assert "holds no san.onnx" in result["skipped"][0]["reason"]
    assert "--peers" in result["skipped"][1]["reason"]
    text = to_markdown(result)
    assert "- method gone: " in text.partition("## Not measured here")[2]


def test_absent_sets_are_named(data: Path, tmp_path: Path, referees: Referees) -> None:
    sets = [
        {"layout": "folder", "name": "made"},
        {"layout": "muct"},
        {"layout": "folder", "name": "v", "split": "valid"},
    ]
    (data / "muct").mkdir()
    result = run(config(tmp_path, sets=sets), data, tmp_path / "out", referees, only=["SAN OP"])
    assert [s["what"] for s in result["skipped"]] == ["set muct", "set v"]
    assert "muct" in result["skipped"][0]["reason"]
    assert "no picture of the split valid" in result["skipped"][1]["reason"]
    assert {r["set"] for r in result["rows"]} == {"made"}
    assert [m["label"] for m in result["methods"]] == ["SAN OP"]
    with pytest.raises(UsageError, match="no method called other"):
        run(config(tmp_path), data, tmp_path / "out", referees, only=["other"])
    nothing = run(config(tmp_path, sets=[{"layout": "celeba"}]), data, tmp_path / "out", referees)
    assert nothing["rows"] == []
    assert "there is no folder celeba" in nothing["skipped"][0]["reason"]


def test_conditions_are_left_out(tmp_path: Path) -> None:
    for number in (1, 8, 10, 11, 26, 27):
        (tmp_path / "arface").mkdir(exist_ok=True)
        (tmp_path / "arface" / f"m-001-{number}.bmp").touch()
    wanted = SetConfig("arface", without=["sunglasses", "scarf"])
    keys = open_set(wanted, "matching", tmp_path, None, None).keys
    assert keys == {"m-001-1.bmp", "m-001-27.bmp"}  # of 27 it is not known
    with pytest.raises(DataError, match=r"no picture of hats to leave out; it has: neutral, scarf, sunglasses"):
        open_set(SetConfig("arface", without=["hats"]), "matching", tmp_path, None, None)
    with pytest.raises(UsageError, match="expected a list of conditions"):
        SetConfig("arface", without="scarf")


def test_a_quick_look_takes_whole_people(data: Path, tmp_path: Path, referees: Referees) -> None:
    result = run(config(tmp_path), data, tmp_path / "out", referees, most=4)
    assert 4 <= result["sets"][0]["photos"] <= 5
    assert any("quick look" in note for note in result["notes"])


def test_a_set_that_cannot_be_judged_is_told(data: Path, tmp_path: Path, referees: Referees) -> None:
    (data / "folder" / "labels.csv").unlink()
    result = run(config(tmp_path, sets=[{"layout": "folder", "name": "made"}]), data, tmp_path / "out", referees)
    assert all(r["error"] is None and r["refused"] for r in result["rows"])
    assert "Figures that cannot be given" in to_markdown(result)


def test_the_auxiliary_stands_beside_and_is_called_so(data: Path, tmp_path: Path, referees: Referees) -> None:
    result = run(config(tmp_path, auxiliary=True), data, tmp_path / "out", referees, only=["SAN OP"])
    rows = {(r["variant"], r["referee"]): r for r in result["rows"]}
    assert set(rows) == {("before", "b"), ("before", "auxiliary"), ("SAN OP", "b"), ("SAN OP", "auxiliary")}
    root = data / "folder"
    pixels = cv2.imread(str(root / "0.png"))[..., ::-1]
    face = Detector()(np.ascontiguousarray(pixels))[0]
    crop = crop_face(pixels, face.points)[0].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    said = benchmark.Auxiliary().p_male([pixels], [face])
    assert said == pytest.approx(GenderEstimate().p_male(crop))
    assert any("no referee" in note for note in result["notes"])


def test_only_probes_are_protected(tmp_path: Path, astronaut: np.ndarray, referees: Referees) -> None:
    root = tmp_path / "data" / "lfw"
    for i, name in enumerate(("Ann_A", "Bob_B", "Cid_C")):
        for n in (1, 2):
            path = root / "lfw-deepfunneled" / name / f"{name}_{n:04d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            photo = astronaut[:250, 90 + 9 * i + n : 340 + 9 * i + n] * (0.5 + 0.2 * i)
            cv2.imwrite(str(path), photo[..., ::-1].astype(np.uint8))
    (root / "female_names.txt").write_text("Ann_A_0001.jpg\nAnn_A_0002.jpg\n")
    (root / "male_names.txt").write_text("Bob_B_0001.jpg\nBob_B_0002.jpg\nCid_C_0001.jpg\nCid_C_0002.jpg\n")
    (root / "pairs.txt").write_text("1\t2\nAnn_A\t1\t2\nBob_B\t2\t1\nAnn_A\t1\tBob_B\t1\nBob_B\t1\tCid_C\t1\n")
    sets = [{"layout": "lfw", "probes": "pairs", "pairs": "lfw"}]
    methods = [{"label": "SAN OP", "method": "san"}]
    result = run(config(tmp_path, sets=sets, methods=methods), tmp_path / "data", tmp_path / "out", referees)
    assert result["sets"][0]["protected"] == 2
    assert [(r["variant"], r["n"]) for r in result["rows"]] == [("before", 2), ("SAN OP", 2)]  # the same pictures
    cfg = config(tmp_path, sets=sets, methods=methods, kind="matching", fmrs=[0.5])
    rows = run(cfg, tmp_path / "data", tmp_path / "out", referees)["rows"]
    assert [(r["variant"], r["genuine"], r["impostors"]) for r in rows] == [("before", 2, 2), ("SAN OP", 2, 2)]
    looks = run(
        config(tmp_path, sets=sets, methods=methods, kind="looks"), tmp_path / "data", tmp_path / "out", referees
    )
    assert [r["n"] for r in looks["rows"]] == [2]
    assert looks["rows"][0]["ssim"] < 1


def test_attackers_learn_on_people_that_are_not_judged(data: Path, tmp_path: Path) -> None:
    half = SetConfig("folder", attack_train="half")
    s = open_set(half, "attackers", data, None, None)
    people = {row.key: row.identity for row in s.table}
    assert s.train
    assert not {people[k] for k in s.train} & {people[k] for k in s.keys - s.train}
    assert len({people[k] for k in s.train}) in (3, 4)  # of seven with a gender: 3 women, 3 men, and one of each
    split = SetConfig("folder", split="test", attack_train="train")
    s = open_set(split, "attackers", data, None, None)
    assert s.train == {"other.png"}
    assert len(s.keys) == 10
    with pytest.raises(DataError, match="no labelled picture for attack_train: valid"):
        open_set(SetConfig("folder", split="test", attack_train="valid"), "attackers", data, None, None)


def test_attackers_get_protected_photos_of_both_sides(
    data: Path, tmp_path: Path, referees: Referees, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[attackers.Evidence] = []

    def attack(evidence: attackers.Evidence, judges: Referees, *, folder: Path, budget: Any, **_: Any) -> list[dict]:
        assert budget.epochs == 2
        assert (folder, judges) == (folder, referees)
        seen.append(evidence)
        return [{"attack": "inverted", "reader": "b", "n_test": int((~evidence.train).sum()), "balanced_accuracy": 0.9}]

    monkeypatch.setattr(attackers, "attack", attack)
    sets = [{"layout": "folder", "name": "made", "attack_train": "half"}]
    methods = [{"label": "SAN OP", "method": "san"}, {"label": "SAN SM", "method": "san", "prototype": "sm"}]
    cfg = config(tmp_path, kind="attackers", sets=sets, methods=methods, budget={"epochs": 2})
    result = run(cfg, data, tmp_path / "out", referees)
    assert [(r["set"], r["variant"], r["balanced_accuracy"]) for r in result["rows"]] == [
        ("made", "SAN OP", 0.9),
        ("made", "SAN SM", 0.9),
    ]
    for evidence in seen:
        assert 2 <= evidence.train.sum() <= 6
        assert all((tmp_path / "out" / "work") in p.parents for p in evidence.protected)
    assert seen[0].protected != seen[1].protected
    assert "| made | inverted, b | 90.0% | 90.0% |" in to_markdown(result)
    alone = [{"layout": "folder", "name": "made", "split": "test", "attack_train": "train"}]  # one man, without a face
    result = run(config(tmp_path, kind="attackers", sets=alone), data, tmp_path / "out", referees)
    assert result["rows"] == []
    assert result["skipped"][0]["failed"]
    assert "women and men on both sides" in result["skipped"][0]["reason"]


# ------------------------------------------------------------------ tables


def result(**changes: Any) -> dict[str, Any]:
    row = {"set": "made", "variant": "before", "referee": "b", "n": 8, "lost": 0, "error": 0.125, "error_low": 0.0}
    row |= {"error_high": 0.25, "balanced_accuracy": 0.875, "balanced_low": 0.8, "balanced_high": 0.9, "auc": 0.9}
    row |= {"eer": None, "refused": ""}
    op = row | {"variant": "SAN OP", "error": 0.5, "error_low": 0.4, "error_high": 0.6}
    paper = {"source": "Nobody, Table 9", "measure": "error", "set": "made", "by": "IntraFace"}
    return {
        "format": 1, "halfmask": "0", "created": "now", "name": "table9", "title": "A made-up table",
        "source": "Nobody 2018, Table 9", "kind": "gender",
        "sets": [{"name": "made", "photos": 9, "people": 5, "women": 5, "men": 4, "protected": 9}],
        "methods": [{"label": "SAN OP"}], "rows": [row, op],
        "published": [paper | {"variant": v, "value": x} for v, x in
                      (("before", 0.197), ("SAN OP", 0.393), ("face mixing", 0.446))]
        + [paper | {"set": "muct", "variant": "before", "value": 0.08}],
        "skipped": [{"what": "set muct", "reason": "there is no folder muct"}], "notes": ["Mind | this."], **changes,
    }  # fmt: skip


def test_published_numbers_stand_beside_ours() -> None:
    lines = to_markdown(result()).splitlines()
    at = lines.index("## error")
    assert lines[at + 2 : at + 7] == [
        "| set | by | before | SAN OP | face mixing |",
        "|---|---|---|---|---|",
        "| made | b | 12.5% (0.0–25.0) | 50.0% (40.0–60.0) | – |",
        "| made | IntraFace (Nobody, Table 9) | 19.7% | 39.3% | 44.6% |",
        "| muct | IntraFace (Nobody, Table 9) | 8.0% | – | – |",
    ]
    assert "| made | SAN OP | b | 8 | 0 | 50.0% (40.0–60.0) | 87.5% (80.0–90.0) | 0.900 |" in lines
    assert "- set muct: there is no folder muct" in lines


def test_a_table_of_what_a_paper_says_of_sets_that_are_not_here() -> None:
    text = to_markdown(result(rows=[], sets=[], methods=[]))
    assert "| made | IntraFace (Nobody, Table 9) | 19.7% | 39.3% | 44.6% |" in text
    assert "Everything measured" not in text


def test_each_false_match_rate_has_its_table() -> None:
    row = {"set": "made", "variant": "before", "matcher": "m", "genuine": 9, "impostors": 90, "tmr@0.01": 0.5}
    row |= {"tmr@0.001": None, "refused": "90 impostor pairs are too few for FMR 0.1 %"}
    paper = {"source": "T3", "measure": "tmr@0.01", "set": "made", "by": "M-COTS", "variant": "before", "value": 0.9988}
    text = to_markdown(result(kind="matching", rows=[row], published=[paper]))
    assert "## TMR at FMR 1 %\n\n| set | by | before |\n|---|---|---|\n| made | m | 50.0% |\n" in text
    assert "| made | M-COTS (T3) | 99.9% |" in text
    assert "## TMR at FMR 0.1 %" in text
    assert "- made, in 1 rows: 90 impostor pairs are too few" in text


def test_groups_and_attackers_are_spelled_out() -> None:
    row = {"set": "made", "variant": "SAN OP", "attribute": "gender", "group": "female", "n": 40, "people": 10}
    row |= {"lost": 0, "referee": "m", "measure": "tmr@0.01", "before": 0.5, "before_low": 0.4, "before_high": 0.6}
    text = to_markdown(result(kind="groups", rows=[row | {"protected": None, "refused": ""}], published=[]))
    assert "| made | SAN OP | m | gender | female | TMR at FMR 1 % | 40 | 0 | 10 | 50.0% (40.0–60.0) |" in text
    row = {"set": "made", "variant": "SAN OP", "attack": "inverted", "reader": "b", "n_train": 9, "n_test": 8}
    row |= {"balanced_accuracy": 0.75, "balanced_low": 0.6, "balanced_high": 0.9, "auc": None, "note": "a | b"}
    text = to_markdown(result(kind="attackers", rows=[row], published=[]))
    assert "| made | inverted, b | 75.0% (60.0–90.0) |" in text
    assert "| made | SAN OP | inverted | b | 9 | 8 | 75.0% (60.0–90.0) | a / b |" in text


def test_files_hold_the_same_figures(tmp_path: Path) -> None:
    paths = write(result(), tmp_path / "new" / "out")
    assert [p.name for p in paths] == ["table9.json", "table9.csv", "table9.md"]
    assert json.loads(paths[0].read_text()) == result()
    rows = list(csv.DictReader(paths[1].open()))
    assert [(r["source"], r["variant"], r["referee"], r["error"]) for r in rows[1:4]] == [
        ("here", "SAN OP", "b", "0.5"),
        ("Nobody, Table 9", "before", "IntraFace", "0.197"),
        ("Nobody, Table 9", "SAN OP", "IntraFace", "0.393"),
    ]
    assert to_csv(result()) == paths[1].read_text()
    assert paths[2].read_text() == to_markdown(result())
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot be made"):
        write(result(), tmp_path / "file" / "x")


def test_a_method_is_asked_for_as_a_user_would() -> None:
    method = MethodConfig("x", "san", "nt")
    assert method.options({}) == Options("san", prototype="nt")
