"""The papers' figures of made-up results: which are drawn, and that what they show is what was measured."""

from __future__ import annotations

from itertools import combinations
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from halfmask import drawing
from halfmask.datasets import Row, Table
from halfmask.errors import DataError
from halfmask.evaluation.benchmark import faces, figures
from halfmask.evaluation.measuring.protocol import BEFORE
from halfmask.methods.prototypes import Prototypes
from halfmask.photos.detect import Detector
from halfmask.weights import shipped

HIDES = [",".join(c) for n in (1, 2, 3) for c in combinations(("age", "gender", "race"), n)]


def curve(power: float, lowest: float = 1e-4) -> dict[str, list[float]]:
    x = [0.0, *np.geomspace(lowest, 1, 60).tolist()]
    return {"x": x, "y": [v**power for v in x]}


def ranks(first: float) -> dict[str, list[float]]:
    x = np.arange(1.0, 201)
    return {"x": x.tolist(), "y": (1 - (1 - first) * x**-0.5).tolist()}


def method(label: str, name: str = "san", hide: str = "gender", **settings: str) -> dict[str, Any]:
    return {"label": label, "method": name, "hide": hide, "prototype": None, "settings": settings}


def result(**changes: Any) -> dict[str, Any]:
    """SAN's three outputs on two sets, of which one names nobody."""
    labels = ["SAN SM", "SAN NT", "SAN OP"]
    powers = dict(zip([BEFORE, *labels], (0.05, 0.1, 0.3, 0.8), strict=True))
    gender = {judge: {v: curve(p * k) for v, p in powers.items()} for judge, k in (("face-api", 1), ("gender-v1", 1.2))}
    match = {"dlib": {v: curve(p / 5) for v, p in powers.items()}}
    cmc = {"dlib": {v: ranks(1 - p) for v, p in powers.items()}}
    sets = {"celeba": {"gender": gender, "match": match, "cmc": cmc}, "fairface": {"gender": gender}}
    return {
        "name": "made", "kind": "gender", "methods": [method(label) for label in labels], "rows": [], "curves": sets,
        **changes,
    }  # fmt: skip


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Figures by the name of their file, and still open."""
    seen: dict[str, Any] = {}
    save = drawing.save

    def keep(figure: Any, path: Path) -> Path:
        seen[path.name] = figure
        return save(figure, path)

    monkeypatch.setattr(drawing, "save", keep)
    return seen


def test_curves_are_those_of_the_result(tmp_path: Path, drawn: dict[str, Any]) -> None:
    made = figures.draw(result(), tmp_path)
    assert [p.name for p in made] == ["made-roc.png", "made-match-roc.png", "made-cmc.png"]
    panels = {ax.get_title(): ax for ax in drawn["made-roc.png"].axes}
    assert set(panels) == {f"{j}, {s}" for j in ("face-api", "gender-v1") for s in ("celeba", "fairface")}
    lines = panels["gender-v1, celeba"].lines[1:]  # the first is chance
    given = result()["curves"]["celeba"]["gender"]["gender-v1"]
    for line, points in zip(lines, given.values(), strict=True):
        assert np.allclose(line.get_xydata().T, [points["x"], points["y"]])
    assert len({(line.get_color(), str(line.get_linestyle())) for line in lines}) == 4
    words = [t.get_text() for t in drawn["made-roc.png"].legends[0].get_texts()]
    assert words == ["Before", "SAN SM", "SAN NT", "SAN OP"]
    match = drawn["made-match-roc.png"].axes
    assert [ax.get_title() for ax in match] == ["dlib, celeba"]
    assert (match[0].get_xscale(), match[0].get_xlim()[0]) == ("log", pytest.approx(1e-4))
    assert drawn["made-cmc.png"].axes[0].get_xlim() == (1, 200)
    for path in made:
        assert cv2.imread(str(path)).shape[1] <= 150 * drawing.WIDTH + 1


def test_same_results_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = (figures.curves(result(), "gender", tmp_path / f"{i}.png") for i in (1, 2))
    assert first is not None
    assert second is not None
    assert first.read_bytes() == second.read_bytes()


def test_flowsan_over_its_steps(tmp_path: Path, drawn: dict[str, Any]) -> None:
    methods = [method(f"Flow {k}", "flowsan", steps=str(k)) for k in (3, 1, 2)]
    rows = []
    for name, named in (("celeba", True), ("fairface", False)):
        for k, label in enumerate([BEFORE, "Flow 1", "Flow 2", "Flow 3"]):
            row = {"set": name, "variant": label, "eer/r": 0.02 + 0.1 * k, "tmr@0.01/m": 0.9 - 0.1 * k}
            rows.append(row if named else row | {"tmr@0.01/m": None})
    found = result(kind="overview", methods=methods, rows=rows, curves={})
    assert figures.flow(found, tmp_path / "flow.png") is not None
    axes = {(ax.get_title(), ax.get_ylabel()): ax for ax in drawn["flow.png"].axes}
    error = axes["celeba", "EER of the gender, %"].lines[0].get_xydata()
    assert np.allclose(error, [[0, 2], [1, 12], [2, 22], [3, 32]])
    assert np.allclose(axes["celeba", "TMR at FMR 1 %, %"].lines[0].get_xydata()[:, 1], [90, 80, 70, 60])
    assert [t.get_text() for t in axes["fairface", "TMR at FMR 1 %, %"].texts] == ["nobody is named"]
    assert figures.flow(found | {"methods": methods[:1]}, tmp_path / "none.png") is None
    other = [method("strange", "flowsan", steps="9", weights="elsewhere"), methods[0]]
    assert figures.flow(found | {"methods": other}, tmp_path / "none.png") is None
    assert not (tmp_path / "none.png").exists()


def test_privacynets_combinations(tmp_path: Path, drawn: dict[str, Any]) -> None:
    methods = [method(f"PrivacyNet {h}", "privacynet", h) for h in HIDES]
    rows = [{"set": "made", "variant": BEFORE, "auc/r": 0.99, "mae/a": 5.0, "race/c": 0.8, "tmr@0.01/m": 0.9}]
    for i, m in enumerate(methods):
        row = {"auc/r": 0.9 - i / 100, "mae/a": 6.0 + i, "race/c": 0.5, "tmr@0.01/m": 0.8}
        rows.append({"set": "made", "variant": m["label"], **row})
    found = result(kind="overview", methods=methods, rows=rows, curves={})
    assert figures.combinations(found, tmp_path / "seven.png") is not None
    axes = {ax.get_title(): ax for ax in drawn["seven.png"].axes}
    assert set(axes) == {f"{what}, made" for what in (
        "AUC of the gender", "age, MAE in years", "race, balanced accuracy, %", "TMR at FMR 1 %, %",
    )}  # fmt: skip
    age = axes["age, MAE in years, made"]
    ticks = [t.get_text() for t in age.get_xticklabels()]
    assert ticks == ["G", "A", "R", "GA", "GR", "AR", "GAR"]
    marks = [line for line in age.lines if line.get_marker() == "o" and len(line.get_xydata())]
    hollow = [line.get_markerfacecolor() == "white" for line in marks]
    assert hollow == ["A" not in tick for tick in ticks]
    by_tick = {"".join(sorted(a[0].upper() for a in h.split(","))): 6 + i for i, h in enumerate(HIDES)}
    assert [line.get_ydata()[0] for line in marks] == [by_tick["".join(sorted(tick))] for tick in ticks]
    assert figures.combinations(found | {"methods": methods[:1]}, tmp_path / "none.png") is None


def test_prototypes_are_the_shipped_ones(tmp_path: Path, drawn: dict[str, Any]) -> None:
    three = Prototypes(shipped.path("san.npz"))
    figures.prototypes(tmp_path / "three.png", three.means, three.neutral)
    assert [ax.get_title() for ax in drawn["three.png"].axes] == ["female", "male", "neutral"]
    many = Prototypes(shipped.path("ensemble.npz"))
    figures.prototypes(tmp_path / "many.png", many.means, many.neutral, many.by_group[1:])
    titles = [ax.get_title() for ax in drawn["many.png"].axes]
    assert sorted(filter(None, titles)) == sorted(
        ["female", "male", "neutral", *(a + g + r for a in "YO" for g in "MF" for r in "WB")]
    )
    shown = dict(zip(titles, drawn["many.png"].axes, strict=True))
    assert np.allclose(shown["OFB"].images[0].get_array(), many.by_group[4, 0].transpose(1, 2, 0))  # old black, female


def test_a_strip_of_faces(tmp_path: Path, astronaut: np.ndarray, detector: Detector, drawn: dict[str, Any]) -> None:
    root = tmp_path / "data" / "fairface"
    (root / "val").mkdir(parents=True)
    photo = astronaut[:250, 90:340]
    for i in (1, 2):
        cv2.imwrite(str(root / f"val/{i}.jpg"), photo[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 100])
    for part in ("train", "val"):
        lines = ["file,age,gender,race,service_test", *(f"{part}/{i}.jpg,20-29,Female,White,True" for i in (1, 2))]
        (root / f"fairface_label_{part}.csv").write_text("\n".join(lines))
    (root / "train").mkdir()
    for i in (1, 2):
        cv2.imwrite(str(root / f"train/{i}.jpg"), photo)
    table = faces.chosen(["val/2.jpg", "val/1.jpg"], tmp_path / "data")
    assert [row.key for row in table] == ["val/2.jpg", "val/1.jpg"]
    with pytest.raises(DataError, match=r"fairface has no photo val/9\.jpg"):
        faces.chosen(["val/9.jpg"], tmp_path / "data")
    with pytest.raises(DataError, match="no folder fairface"):
        faces.chosen(["val/1.jpg"], tmp_path)
    darker, cut = tmp_path / "darker.png", tmp_path / "cut.png"
    cv2.imwrite(str(darker), (photo // 2)[..., ::-1])
    cv2.imwrite(str(cut), np.full((224, 224), 77, np.uint8))
    variants = {
        "dark": {"val/2.jpg": darker, "val/1.jpg": tmp_path / "absent.png"},
        "crop": {"val/2.jpg": cut, "val/1.jpg": cut},
    }
    assert faces.strip(table, variants, tmp_path / "strip.png").is_file()
    pictures = [[i.get_array() for i in ax.images] for ax in drawn["strip.png"].axes]
    assert [len(p) for p in pictures] == [1, 1, 1, 1, 0, 1]  # the absent file leaves its place empty
    face = max(detector(photo), key=lambda f: f.score)
    side = pictures[0][0].shape[0]
    assert pictures[0][0].shape == pictures[1][0].shape == (side, side, 3)
    w, h = face.box[2:]
    assert side == min(250, round(2 * max(w, h)))
    assert side < 250 or np.abs(pictures[0][0].astype(int) - photo).mean() < 3  # by JPEG
    assert np.abs(pictures[1][0].astype(int) - pictures[0][0].astype(int) // 2).mean() < 3
    assert (pictures[2][0] == 77).all()
    wall = Row("wall", tmp_path / "wall.png")
    cv2.imwrite(str(wall.path), np.full((90, 90, 3), 99, np.uint8))
    with pytest.raises(DataError, match="no face is found in wall"):
        faces.strip(Table("x", tmp_path, [wall]), {}, tmp_path / "none.png")


def test_a_match_roc_reaches_down_to_where_the_others_do(tmp_path: Path, drawn: dict[str, Any]) -> None:
    few = {"x": [0.0, 0.0, 0.0, 0.2, 1.0], "y": [0.0, 0.4, 0.7, 0.8, 1.0]}  # .7 without a false match
    sets = {"s": {"match": {"m": {BEFORE: curve(0.1, 1e-3), "SAN OP": few}}}}
    figures.curves(result(curves=sets), "match", tmp_path / "match.png")
    line = drawn["match.png"].axes[0].lines[1]
    assert np.allclose(line.get_xydata(), [[1e-3, 0.7], [0.2, 0.8], [1, 1]])
