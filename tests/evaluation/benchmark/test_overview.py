"""The one table of everything: rows, oracles, costs, attackers once, and the frontier."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
import yaml
from stand_ins import Brightness

from halfmask.datasets import Row, Table
from halfmask.errors import MetricError
from halfmask.evaluation import attackers
from halfmask.evaluation.benchmark import figures, frontier, tables
from halfmask.evaluation.benchmark import run as benchmark
from halfmask.evaluation.benchmark.config import MethodConfig, read_config, slug
from halfmask.evaluation.benchmark.cost import ms_a_face, some_crops
from halfmask.evaluation.benchmark.frontier import Point
from halfmask.evaluation.benchmark.oracle import oracle
from halfmask.evaluation.benchmark.overview import details, moved_rows, overview_rows
from halfmask.evaluation.benchmark.tables import to_csv, to_markdown, write
from halfmask.evaluation.measuring.figure import Figure
from halfmask.evaluation.measuring.figure import Row as Figures
from halfmask.evaluation.measuring.protocol import BEFORE, Measured
from halfmask.evaluation.referees import Referees
from halfmask.methods import Method, Subject
from halfmask.photos.detect import Face


class Age:
    """Reads the age off the brightness."""

    name = "years"

    def age(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        return np.array([i.mean() / 4 for i in images], np.float32)


@pytest.fixture
def referees() -> Referees:
    judge = Brightness()
    return Referees(genders={"b": judge}, matchers={"b": judge}, ages={"years": Age()})


@pytest.fixture
def data(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """A data folder with six people of two pictures each; all but the last two people are judged."""
    root = tmp_path / "data" / "folder"
    root.mkdir(parents=True)
    lines = ["file,identity,gender,age,split"]
    for i in range(12):
        photo = astronaut[:250, 90 + 4 * i : 340 + 4 * i] * (0.95 if i // 2 % 2 else 0.55)
        cv2.imwrite(str(root / f"{i}.png"), photo[..., ::-1].astype(np.uint8))
        lines.append(f"{i}.png,p{i // 2},{'fm'[i // 2 % 2]},{20 + i},{'test' if i < 8 else 'train'}")
    (root / "labels.csv").write_text("\n".join(lines) + "\n")
    return tmp_path / "data"


def run(folder: Path, data: Path, referees: Referees, **changes: Any) -> dict[str, Any]:
    methods = [{"label": k.upper(), "method": "san", "prototype": k, "attack": k == "op"} for k in ("op", "sm")]
    methods.append({"label": "best", "best_of": ["OP", "SM"]})
    values = {
        "title": "All", "source": "us", "kind": "overview", "methods": methods, "fmrs": [0.5, 0.001],
        "sets": [{"layout": "folder", "name": "made", "split": "test", "attack_train": "train"}], **changes,
    }  # fmt: skip
    (folder / "all.yaml").write_text(yaml.safe_dump(values))
    return benchmark.run(
        read_config(folder / "all.yaml"), data=data, out=folder / "out", referees=referees, workers=1, quiet=True
    )


def attack(seen: list[Any]) -> Any:
    """Attackers whose figures are known."""

    def attack(evidence: attackers.Evidence, judges: Referees, **given: Any) -> list[dict[str, Any]]:
        seen.append((evidence, given))
        figures = (
            ("retrained CNN", 0.8, 0.9),
            ("linear probe", 0.7, 0.95),
            ("RBF kernel", 0.75, 0.9),
            ("detector", 0.99, None),
        )
        return [
            {"attack": a, "reader": "x", "n_test": 8, "balanced_accuracy": f, "originals_balanced_accuracy": o}
            for a, f, o in figures
        ]

    return attack


# ------------------------------------------------------------------ from pictures to rows


@pytest.mark.slow
def test_one_row_a_set_and_method(
    data: Path, tmp_path: Path, referees: Referees, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(attackers, "attack", attack(seen))
    result = run(tmp_path, data, referees, attacks=["retrained", "probe"])
    assert not result["skipped"]
    rows = {row["variant"]: row for row in result["rows"]}
    assert list(rows) == [BEFORE, "OP", "SM", "best"]
    gender = {(r["variant"], r["referee"]): r for r in result["details"]["gender"]}
    matching = {r["variant"]: r for r in result["details"]["matching"]}
    for name, row in rows.items():
        assert (row["set"], row["n"], row["lost"]) == ("made", 8, 0)
        assert row["auc/b"] == gender[name, "b"]["auc"]
        assert row["accuracy/b"] == pytest.approx(1 - gender[name, "b"]["error"])
        assert row["tmr@0.5/b"] == matching[name]["tmr@0.5"]
        assert row["tmr@0.001/b"] is None  # 24 impostor pairs are too few
        assert row["rank1/b"] == matching[name]["rank1"]
        assert row["fnir@0.01/b"] is None  # 4 searches of people outside the gallery are too few
    assert rows[BEFORE]["ssim"] is None
    assert rows["OP"]["ssim"] < rows["SM"]["ssim"] < 1
    assert rows["OP"]["mae/years"] is not None
    assert rows["OP"]["years/years"] > 0
    # attackers: on the method that is to be attacked, taught by photos that nobody else measured
    assert len(seen) == 1
    evidence, given = seen[0]
    assert given["only"] == ["retrained", "probe"]
    assert set(given["measured"]) == {BEFORE, "OP"}
    assert {k for k, t in zip(evidence.keys, evidence.train, strict=True) if t} == {f"{i}.png" for i in range(8, 12)}
    assert set(given["measured"]["OP"].keys) == {f"{i}.png" for i in range(8)}
    assert [rows["OP"][k] for k in ("retrained", "probe", "kernel", "attacked", "attacked_by")] == [
        0.8, 0.7, 0.75, 0.8, "retrained CNN, x",
    ]  # fmt: skip
    assert [rows[BEFORE][k] for k in ("retrained", "probe", "attacked")] == [0.9, 0.95, 0.95]
    assert rows["SM"]["attacked"] is None
    # costs are measured, kept, and told
    assert rows["OP"]["ms"] > 0
    assert rows["best"]["ms"] is None
    assert rows["best"]["oracle"]
    folders = {m["label"]: tmp_path / "out" / m["folder"] for m in result["methods"] if "folder" in m}
    assert json.loads((folders["OP"] / "cost.json").read_text()) == {"ms": rows["OP"]["ms"], "faces": 12}
    assert not list(folders["SM"].rglob("11.png"))  # nobody attacks it, so nobody learns on it
    again = run(tmp_path, data, referees, attacks=["retrained", "probe"])
    assert again["rows"] == result["rows"]
    text = to_markdown(result)
    assert (
        "| method | hides | AUC, b | retrained CNN | linear probe | RBF kernel | best attacker | TMR at FMR 50 %, b |"
        in text
    )
    assert "best knows the answer" in text
    assert to_csv(result).splitlines()[0].startswith("source,set,variant,hides,oracle,n,lost,accuracy/b")


def test_sets_without_attackers_and_absent_members(data: Path, tmp_path: Path, referees: Referees) -> None:
    methods = [{"label": "OP", "method": "san"}]
    methods.append({"label": "gone", "method": "san", "settings": {"weights": "${data}/nothing"}})
    methods.append({"label": "best", "best_of": ["OP", "gone"]})  # type: ignore[dict-item]
    sets = [{"layout": "folder", "name": "made", "split": "test"}]
    result = run(tmp_path, data, referees, methods=methods, sets=sets)
    assert [s["what"] for s in result["skipped"]] == ["method gone", "method best"]
    assert "of which gone was not run" in result["skipped"][1]["reason"]
    assert [row["variant"] for row in result["rows"]] == [BEFORE, "OP"]
    assert "attackers" not in result["details"]
    assert "retrained" not in result["rows"][1]


def made(p_male: Sequence[float], variant: str = "x", **columns: Sequence[Any]) -> Measured:
    n = len(p_male)
    everywhere = {"p_male/r": p_male, **columns}
    return Measured(
        variant, [f"{i}" for i in range(n)], np.arange(n) % 2, [f"p{i}" for i in range(n)], np.ones(n, bool),
        np.ones(n, bool), {k: np.array(v, np.float32) for k, v in everywhere.items()},
    )  # fmt: skip


def test_an_oracle_chooses_anew_for_each_referee() -> None:
    right = [0.1, 0.9, 0.2, 0.8]
    measured = {
        BEFORE: made(right, BEFORE, **{"p_male/s": right}),
        "a": made([0.9, 0.9, 0.9, 0.9], **{"p_male/s": right}),
        "b": made([0.1, 0.1, 0.1, 0.1], **{"p_male/s": [0.9, 0.1, 0.2, 0.8]}),
    }
    table = Table("t", Path(), [Row(k, Path(k), f"p{k}", int(k) % 2) for k in measured[BEFORE].keys])
    judges = Referees(genders={"r": Brightness(), "s": Brightness()})
    found = details(measured, table, judges, None, [0.5], {"best": ["a", "b"]})
    best = {r["referee"]: r["error"] for r in found["gender"] if r["variant"] == "best"}
    assert best == {"r": 1.0, "s": 0.5}  # r is always wrong by one of the two, s on the first half
    members = [measured["a"], measured["b"]]
    for referee, error in best.items():
        p = oracle(members, referee).columns[f"p_male/{referee}"]
        assert error == np.mean((p >= 0.5) != (measured["a"].gender == 1))


def test_where_nobody_is_named_there_is_no_matching() -> None:
    thumbs = np.eye(4, dtype=np.float32)
    measured = {k: made([0.1, 0.9, 0.2, 0.8], k, **{"embed/b": thumbs}) for k in (BEFORE, "x")}  # type: ignore[arg-type]
    measured = {k: replace(m, identity=[None] * 4) for k, m in measured.items()}
    table = Table("t", Path(), [Row(k, Path(k), None, int(k) % 2) for k in measured[BEFORE].keys])
    judges = Referees(genders={"r": Brightness()}, matchers={"b": Brightness()})
    found = details(measured, table, judges, None, [0.01, 0.001], {})
    assert [row["tmr@0.001"] for row in found["matching"]] == [None, None]
    assert all(row["refused"] for row in found["matching"])
    rows = overview_rows(found, {"x": {"hides": "gender"}})
    assert [(row["auc/r"], row["tmr@0.001/b"]) for row in rows] == [(1.0, None), (1.0, None)]
    assert frontier.points(rows) == []


def test_answers_that_moved() -> None:
    groups = [[0.9, 0.1], [0.2, 0.8], [0.6, 0.4], [0.5, 0.5]]
    before = made([0.5] * 4, BEFORE, **{"age/g": [20, 30, 40, 50], "p_race/h": groups})
    after = made([0.5] * 4, "x", **{"age/g": [21, 28, 40, 90], "p_race/h": [g[::-1] for g in groups]})
    after.enrolled[3] = False
    age, race = moved_rows({BEFORE: before, "x": after})
    assert (age["n"], age["lost"], age["years"]) == (3, 1, 1.0)
    assert age["years_low"] <= 1 <= age["years_high"]
    assert (race["attribute"], race["same"]) == ("race", 0.0)
    after.enrolled[:] = False
    assert moved_rows({BEFORE: before, "x": after})[0]["years"] is None


def test_a_row_has_every_column_that_any_has() -> None:
    nothing = [Figure(measure=k, by="r") for k in ("error", "balanced_accuracy", "auc", "eer")]
    found: dict[str, list[Figures]] = {k: [] for k in ("matching", "age", "race", "moved")}
    for v in (BEFORE, "x", "y"):
        facts = {"variant": v, "referee": "r", "n": 1, "lost": 0}
        found.setdefault("gender", []).append(Figures(facts, [replace(f, variant=v) for f in nothing]))
    found["looks"] = [Figures({"variant": "x"}, [Figure(variant="x", measure="ssim", value=1.0)])]
    rows = overview_rows(found, {"x": {"hides": "gender", "ms": 3.0}, "y": {"hides": "age", "ms": None}})
    assert [row["ssim"] for row in rows] == [None, 1.0, None]
    assert [row["ms"] for row in rows] == [None, 3.0, None]
    assert len({tuple(row) for row in rows}) == 1
    assert rows[0]["accuracy/r"] is None


# ------------------------------------------------------------------ photos of earlier runs


def test_photos_of_earlier_runs_are_found_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(benchmark, "__version__", "0.1.0")
    san = MethodConfig("SAN OP", "san")
    how = benchmark._how(san, san.options({}), {}, "465340af24dc-d01c0e4bdf8a")
    assert slug("san-op", json.dumps(how, sort_keys=True)) == "san-op-b0c3a54a079e"  # as it was made before `hide`
    mixing = MethodConfig("m", "mixing", strength="mid")
    how = benchmark._how(mixing, mixing.options({}), {}, "")
    assert slug("mixing-mid", json.dumps(how, sort_keys=True)) == "mixing-mid-fa1fedf5af05"


def test_what_is_hidden_makes_another_folder() -> None:
    hows = [
        benchmark._how(m, m.options({}), {}, "")
        for m in (MethodConfig("a", "privacynet", hide=h) for h in (None, "gender", "age,gender", "gender,age"))
    ]
    assert hows[0] == hows[1] != hows[2] == hows[3]


# ------------------------------------------------------------------ costs


class Busy:
    """A method that takes a known time, and longer at first."""

    def __init__(self) -> None:
        self.sizes: list[tuple[int, ...]] = []

    def change(self, crops: np.ndarray, subjects: Sequence[Subject] | None = None) -> np.ndarray:
        self.sizes.append(crops.shape)
        return crops


def test_time_is_counted_a_face_on_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(np.cumsum([0, 9, 0, 9, 0, 9, 0, 0.002, 0, 0.004, 0, 0.002]))
    monkeypatch.setattr("time.process_time", lambda: next(clock))
    busy = Busy()
    method: Method = busy  # type: ignore[assignment]
    ms = ms_a_face(method, np.zeros((6, 3, 4, 4), np.float32), np.zeros(6, np.int64))
    assert ms == pytest.approx(2.0)  # the first three warm up
    assert busy.sizes == [(1, 3, 4, 4)] * 6
    assert ms_a_face(method, np.zeros((0, 3, 4, 4), np.float32), np.zeros(0, np.int64)) is None


def test_crops_of_pictures_with_a_face(data: Path, tmp_path: Path) -> None:
    root = data / "folder"
    cv2.imwrite(str(tmp_path / "wall.png"), np.full((100, 100, 3), 99, np.uint8))
    rows = [Row("w", tmp_path / "wall.png", None, 0), Row("0", root / "0.png", None, 1)]
    rows += [Row("1", root / "1.png", None, None), Row("x", tmp_path / "absent.png", None, 0)]
    crops, genders = some_crops([*rows, Row("2", root / "2.png", None, 0)])
    assert crops.shape == (2, 3, 224, 224)
    assert crops.dtype == np.float32
    assert 0 <= crops.min() < crops.max() <= 1
    assert genders.tolist() == [1, 0]
    assert len(some_crops(rows[:1])[0]) == 0


# ------------------------------------------------------------------ the frontier


def rows(*figures: tuple[str, float | None, float | None], **more: Any) -> list[dict[str, Any]]:
    known = [{"variant": v, "tmr@0.001/m": t, "auc/r": a, "retrained": None} for v, t, a in figures]
    return [{"set": "made", **row, **more} for row in known]


def test_the_front_is_what_brute_force_finds(rng: np.random.Generator) -> None:
    found = [Point(str(i), *xy) for i, xy in enumerate(rng.integers(0, 6, (25, 2)).tolist())]
    best = {
        p.label
        for p in found
        if not any((q.lost <= p.lost and q.read < p.read) or (q.lost < p.lost and q.read <= p.read) for q in found)
    }
    assert {p.label for p in frontier.front(found)} == best
    assert set(frontier.dominated(found)) == {p.label for p in found} - best
    line = frontier.front(found)
    assert [p.lost for p in line] == sorted(p.lost for p in line)
    assert [p.read for p in line] == sorted((p.read for p in line), reverse=True)


def test_points_are_losses_and_distances_from_chance() -> None:
    some = rows((BEFORE, 0.9, 1.0), ("flips", 0.7, 0.2), ("no TMR", None, 0.5))
    assert [(p.label, round(p.lost, 6), round(p.read, 6)) for p in frontier.points(some)] == [
        (BEFORE, 0.0, 0.5),
        ("flips", 20.0, 0.3),
    ]
    assert frontier.points(some, "retrained") == []
    assert frontier.points(rows((BEFORE, None, 1.0), ("x", 0.5, 0.5))) == []  # nobody is named there
    with pytest.raises(MetricError, match="expected one of: auc, retrained"):
        frontier.points(some, "ssim")


def test_oracles_and_originals_beat_nobody() -> None:
    found = [Point(BEFORE, 0, 0.1), Point("oracle", 0, 0.0, oracle=True), Point("x", 5, 0.3)]
    assert frontier.dominated(found) == {}
    assert [p.label for p in frontier.front(found)] == ["x"]


def test_the_plot_stands_beside_the_tables(tmp_path: Path) -> None:
    some = rows((BEFORE, 0.9, 1.0), ("a", 0.8, 0.8), ("b", 0.7, 0.85), ("c", 0.5, 0.6), oracle=False)
    result = {
        "name": "all", "title": "All", "source": "us", "kind": "overview", "halfmask": "0", "sets": [], "methods": [],
        "rows": some, "details": {}, "published": [], "skipped": [], "notes": [],
    }  # fmt: skip
    paths = write(result, tmp_path)
    assert [p.name for p in paths] == ["all.json", "all.csv", "all.md", "all-frontier.png"]
    picture = cv2.imread(str(paths[3]))
    assert min(picture.shape[:2]) > 300
    assert picture.std() > 5  # something is drawn
    text = paths[2].read_text()
    assert "- made, |AUC − 0.5| of the gender, mean over referees: a, c\n  - b is beaten by a" in text
    assert figures.trade(result | {"rows": rows((BEFORE, None, 1.0))}, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


# ------------------------------------------------------------------ PrivacyNet's combinations


def test_combinations_tell_what_moved_and_mark_what_was_to_be_hidden() -> None:
    def row(variant: str, auc: float, mae: float | None, tmr: float, ssim: float | None) -> dict[str, Any]:
        figures = {"auc/r": auc, "mae/a": mae, "race/c": 0.5, "tmr@0.01/m": tmr, "ssim": ssim}
        return {"set": "made", "variant": variant, **figures}

    rows = [
        row(BEFORE, 0.99, 5.0, 0.9, None),
        row("gender", 0.7, 5.5, 0.875, 0.95),
        row("age, race", 0.98, 8.25, 0.9, 0.94),
        row("another method", 0.6, 9.0, 0.1, 0.5),
    ]
    methods = [
        {"label": "gender", "method": "privacynet", "hide": "gender"},
        {"label": "age, race", "method": "privacynet", "hide": "age,race"},
        {"label": "another method", "method": "san", "hide": "gender"},
    ]
    table = tables._combinations({"methods": methods}, rows).splitlines()
    assert table[0] == (
        "| hidden | gender, AUC, r | age, MAE in years, a | race, points, c | TMR at FMR 1 %, points, m | SSIM |"
    )
    assert table[2:] == [
        "| before | 0.990 | 5.0 | 50.0% | 90.0% | – |",
        "| gender | **0.700** | +0.5 | +0.0 | -2.5 | 0.950 |",
        "| age, race | 0.980 | **+3.2** | **+0.0** | +0.0 | 0.940 |",
    ]
    assert tables._combinations({"methods": methods[1:]}, rows) == ""
    without = [r | {"mae/a": None} for r in rows]
    assert "age" not in tables._combinations({"methods": methods}, without).splitlines()[0]
