"""The audit's page on made-up results: what it says, that it stands alone, and that it is whole or absent."""

from __future__ import annotations

import base64
import copy
import csv
import errno
import io
import json
import os
import xml.etree.ElementTree as ET
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from halfmask.errors import DataError, HalfmaskError
from halfmask.evaluation.audit.report import Picture, findings, render, scale, write
from halfmask.evaluation.audit.report.images import amplification, difference
from halfmask.evaluation.audit.report.verdict import headline
from halfmask.evaluation.audit.report.writing import CSV_COLUMNS

HOSTILE = '<script>alert("x")</script>&\'"> ‮.jpg'
_VOID = {"meta", "img", "br", "link", "input", "hr"}


def _share(stem: str, value: float, half: float = 0.02, key: str | None = None) -> dict[str, float]:
    low, high = max(0.0, value - half), min(1.0, value + half)
    return {key or stem: value, f"{stem}_low": low, f"{stem}_high": high}


def _gender(variant: str, referee: str, auc: float, ba: float, half: float = 0.02) -> dict[str, Any]:
    row: dict[str, Any] = {"variant": variant, "referee": referee, "n": 1598, "lost": 3, "eer": min(auc, 1 - auc)}
    balanced = _share("balanced", ba, half, "balanced_accuracy")
    return row | _share("auc", auc, half) | balanced | _share("error", 1 - ba, half)


def _match(variant: str, matcher: str, at1: float, at01: float) -> dict[str, Any]:
    row: dict[str, Any] = {"variant": variant, "matcher": matcher, "genuine": 6384, "impostors": 9500}
    row |= _share("tmr@0.01", at1) | _share("tmr@0.001", at01)
    row |= {"tmr@0.0001": None, "tmr@0.0001_low": None, "tmr@0.0001_high": None, "auc": 0.99, "eer": 0.03}
    row |= {"gallery": 150, "mated": 700, "nonmated": 740} | _share("rank1", at1 - 0.01)
    row |= _share("fnir@0.01", 1 - at01) | _share("fpir@0.01", 0.01, 0.005)
    return row | {
        "match_probability": 0.8,
        "refused": {"tmr@0.0001": "FMR 0.01 % needs at least 10000 impostor pairs, got 9500"},
    }


def _attack(name: str, reader: str, ba: float, auc: float) -> dict[str, Any]:
    row: dict[str, Any] = {"attack": name, "reader": reader, "n_train": 900, "n_test": 400, "note": "seed 1"}
    row |= _share("balanced", ba, 0.03, "balanced_accuracy") | _share("auc", auc, 0.03)
    return row | {"unattacked_balanced_accuracy": 0.78, "originals_balanced_accuracy": 0.97}


def _curve(power: float) -> dict[str, list[float]]:
    x = [0.0, *np.geomspace(1e-4, 1, 200).tolist()]
    return {"x": x, "y": [v**power for v in x]}


def full() -> dict[str, Any]:
    """Results as the SAN with the opposite prototype gives them, in every part."""
    referees = {"face-api": (0.997, 0.851), "gender-v1": (0.998, 0.840), "ssrnet-gender": (0.963, 0.850)}
    gender = []
    for name, (before, after) in referees.items():
        gender += [_gender("before", name, before, before - 0.02), _gender("protected", name, after, after - 0.07)]
    matching = [
        _match("before", "dlib", 0.938, 0.824), _match("protected", "dlib", 0.825, 0.484),
        _match("before", "w600k_mbf", 0.951, 0.935), _match("protected", "w600k_mbf", 0.912, 0.822),
    ]  # fmt: skip
    groups = []
    for attribute, names in {
        "gender": ["women", "men"],
        "race": ["Black", "East Asian", "Indian", "White"],
        "age": ["under 20", "20–39", "40–59", "60 and more"],
    }.items():
        for i, group in enumerate(names):
            for referee, measure in (("face-api", "error"), ("dlib", "tmr@0.01")):
                before = 0.03 + 0.01 * i if measure == "error" else 0.95
                after = 0.2 + 0.06 * i if measure == "error" else 0.85 - 0.05 * i
                row = {"attribute": attribute, "group": group, "n": 300 - 60 * i, "people": 100 - 20 * i}
                row |= {"referee": referee, "measure": measure}
                groups.append(row | _share("before", before, 0.02) | _share("protected", after, 0.025))
    return {
        "format": 1,
        "halfmask": "0.1.0",
        "created": "2024-11-21T08:14:00+00:00",
        "command": "halfmask audit originals protected -o report",
        "direction": "protect",
        "method": {"name": "san", "prototype": "op"},
        "set": {
            "originals": "celeba test", "protected": "celeba san", "photos": 1600, "people": 320,
            "identities_known": True, "labelled": 1600, "women": 965, "men": 635, "missing": [], "extra": [],
            "no_face_before": ["a.jpg", "b.jpg"], "lost": ["c.jpg", "d.jpg", "e.jpg"], "unreadable": [],
        },
        "gender": gender,
        "age": [
            {"variant": v, "referee": "ssrnet-age", "n": 900, "lost": 3, "mae": m, "mae_low": m - 0.3,
             "mae_high": m + 0.3, "rmse": m + 2, "cs5": 0.6} for v, m in (("before", 5.5), ("protected", 6.8))
        ],
        "race": [
            {"variant": v, "referee": "race-mbf", "n": 900, "lost": 3, "auc": b + 0.1, "groups": ["A", "B", "C", "D"]}
            | _share("balanced", b, 0.03, "balanced_accuracy") for v, b in (("before", 0.82), ("protected", 0.74))
        ],
        "matching": matching,
        "roc": {
            "gender": {n: {"before": _curve(0.02), "protected": _curve(0.2)} for n in referees},
            "match": {n: {"before": _curve(0.01), "protected": _curve(0.04)} for n in ("dlib", "w600k_mbf")},
        },
        "attacks": [
            _attack("inverted", "face-api", 0.22, 0.15),
            _attack("retrained cnn", "", 0.93, 0.975),
            _attack("linear probe", "w600k_mbf", 0.90, 0.96),
            _attack("recovery: jpeg 50", "gender-v1", 0.80, 0.87),
            _attack("recovery: blur", "gender-v1", 0.82, 0.89),
            _attack("learned inverse", "face-api", 0.91, 0.968),
            _attack("detector", "cnn", 0.995, 0.999),
        ],
        "looks": {
            "ssim": {"mean": 0.897, "low": 0.893, "high": 0.901}, "mssim": {"mean": 0.88, "low": 0.87, "high": 0.89},
            "psnr": {"mean": 20.7, "low": 20.4, "high": 21.0}, "l2": {"mean": 20.5, "low": 20.0, "high": 21.0},
            "linf": {"mean": 0.45, "low": 0.44, "high": 0.46},
        },
        "groups": groups,
        "pictures": ["a.jpg"],
        "not_tested": ["Video."],
        "notes": ["Thresholds rest on 9500 impostor pairs."],
    }  # fmt: skip


def sparse() -> dict[str, Any]:
    """Two folders of which nothing is known."""
    return {"format": 1, "halfmask": "0.1.0", "direction": "protect", "method": None, "gender": [], "attacks": [],
            "set": {"originals": "a", "protected": "b", "photos": 3, "people": 3, "identities_known": False,
                    "labelled": 0, "women": 0, "men": 0}}  # fmt: skip


@pytest.fixture(scope="module")
def page_of_full() -> str:
    """The whole page; plots take half a second, so it is made once."""
    return render(full())


@pytest.fixture
def pictures(rng: np.random.Generator) -> list[Picture]:
    before = rng.integers(60, 190, (32, 24, 3), dtype=np.uint8)
    return [Picture("a.jpg", before, before + np.uint8(9)), Picture(HOSTILE, before, before)]


class Page(HTMLParser):
    """Every tag with its attributes, the text, and whether tags are closed in order."""

    def __init__(self, page: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(page)
        self.close()
        assert not self._open, f"never closed: {self._open}"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self._open
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        if not self._open or self._open[-1] != "style":
            self.texts.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.texts).split())

    def all(self, *names: str) -> list[dict[str, str | None]]:
        return [attrs for tag, attrs in self.tags if tag in names]


def _finding(results: dict[str, Any], words: str) -> Any:
    (found,) = [f for f in findings(results) if words in f.question]
    return found


# --------------------------------------------------------------------------------------------------------- page


@pytest.mark.parametrize("what", ["full", "sparse", "nothing", "deidentify"])
def test_page_stands_alone_and_is_well_formed(what: str, page_of_full: str, pictures: list[Picture]) -> None:
    made = {
        "sparse": sparse,
        "nothing": dict,
        "deidentify": lambda: full() | {"direction": "deidentify", "groups": [], "roc": {}},
    }
    text = page_of_full if what == "full" else render(made[what](), pictures)
    page = Page(text)
    for tag, attrs in page.tags:
        for name, value in attrs.items():
            assert not name.startswith("on"), f"{tag} has a handler {name}"
            if name in {"src", "srcset", "href", "action", "data", "poster"}:
                assert value is not None
                assert value.startswith(("data:image/", "#")), f"{tag} refers to {value[:60]}"
    assert not page.all("script", "link", "iframe", "object", "base")
    assert "url(" not in text
    assert "@import" not in text
    ids = [attrs["id"] for _, attrs in page.tags if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert {a["href"] for a in page.all("a")} <= {f"#{i}" for i in ids}  # every link leads somewhere


def test_every_image_decodes_and_has_an_alternative_text(pictures: list[Picture], tmp_path: Path) -> None:
    Image.fromarray(pictures[0].before).save(tmp_path / "inverse.png")
    images = Page(render(full(), pictures, inverse=tmp_path / "inverse.png")).all("img")
    kinds = {"image/png": 0, "image/svg+xml": 0}
    for image in images:
        assert image["alt"]
        head, _, data = (image["src"] or "").partition(";base64,")
        raw = base64.b64decode(data, validate=True)
        kinds[head.removeprefix("data:")] += 1
        if head.endswith("png"):
            Image.open(io.BytesIO(raw)).load()
        else:
            assert ET.fromstring(raw).tag.endswith("svg")
    # two faces of three pictures and the strip; three gender ROCs, two match ROCs, attacks, two group plots
    assert kinds == {"image/png": 7, "image/svg+xml": 8}


def test_pictures_in_the_page_are_the_given_ones(pictures: list[Picture]) -> None:
    faces = [i for i in Page(render({}, pictures)).all("img") if "png" in (i["src"] or "")][:3]
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode((i["src"] or "").partition(",")[2])))) for i in faces]
    np.testing.assert_array_equal(shown[0], pictures[0].before)
    np.testing.assert_array_equal(shown[1], pictures[0].after)
    assert np.all(shown[2] == 128 + 8 * 9)  # a change of 9 fits the range 8 times, not 16 times
    assert "8 times as strong" in Page(render({}, pictures)).text


def test_headings_tables_and_language_for_readers_who_listen(page_of_full: str) -> None:
    page = Page(page_of_full)
    assert page.all("html")[0]["lang"] == "en"
    levels = [int(tag[1]) for tag, _ in page.tags if tag in {"h1", "h2", "h3"}]
    assert levels.count(1) == 1
    assert all(b - a <= 1 for a, b in pairwise(levels))  # no level is skipped
    assert len(page.all("table")) == len(page.all("caption")) == 9
    assert all(th.get("scope") in {"col", "row"} for th in page.all("th"))


@pytest.mark.parametrize("where", ["files", "names", "figures"])
def test_nothing_from_outside_becomes_markup(where: str, pictures: list[Picture]) -> None:
    results = full()
    if where != "names":  # no plots: they take the time
        results |= {"roc": {}, "groups": [], "attacks": []}
    if where == "files":
        results["set"] |= {
            "originals": HOSTILE, "protected": HOSTILE, "lost": [HOSTILE], "missing": ["\udce4.jpg"],
            "unreadable": [[HOSTILE, "<b>damaged</b>"]],
        }  # fmt: skip
        results |= {"command": HOSTILE, "method": {HOSTILE: HOSTILE}}
    elif where == "names":
        results["roc"]["gender"] = {"$x_{<b>": results["roc"]["gender"]["face-api"]}
        for row in results["gender"] + results["groups"] + results["attacks"]:
            row |= {"referee": HOSTILE, "group": "$\\frac{<b>$", "attack": HOSTILE, "reader": "$", "note": "<i>"}
    else:
        results["gender"][1] |= {"auc": None, "auc_low": None, "refused": {"auc": HOSTILE}}
        results |= {"not_tested": [HOSTILE], "notes": [HOSTILE], "versions": {HOSTILE: HOSTILE}}
    text = render(results, pictures)
    page = Page(text)
    assert not page.all("script", "b", "i")
    assert "<script" not in text
    assert "‮" not in text  # it would show what follows it from right to left
    assert "alert(" in page.text  # shown as text, not left out


def test_identification_stands_beside_verification(page_of_full: str) -> None:
    page = " ".join(page_of_full.split())
    for head in ("Rank-1 identification rate", "FNIR at FPIR 1 %", "FPIR, 1 % on originals", "Non-mated"):
        assert f'<th scope="col">{head}</th>' in page
    assert "92.8 %" in page  # rank 1 of dlib on originals
    assert "Identification, one to many" in page
    rows = [row | {"gallery": 0} for row in full()["matching"]]  # nobody is known
    assert "Identification, one to many" not in render({"matching": rows})


def test_refused_figures_are_told_with_their_reason(page_of_full: str) -> None:
    page = Page(page_of_full)
    assert page.text.count("not measurable: FMR 0.01 % needs at least 10000 impostor pairs, got 9500") == 1
    assert {"href": "#note-matching-1"} in page.all("a")
    results = {"gender": full()["gender"]}
    results["gender"][1] |= {"auc": None, "refused": "all 1598 labels are 1"}
    assert "not measurable: all 1598 labels are 1" in Page(render(results)).text


def test_absent_parts_say_how_to_get_them() -> None:
    text = Page(render(sparse())).text
    for column in ("gender", "identity", "age", "race"):
        assert f"columns file and {column}" in text
    assert "No attacker that knows the method was tried" in text
    assert "No picture is shown" in text
    assert "every picture counted as another person" in text


def test_absent_parts_repeat_the_reason_of_the_results() -> None:
    results = sparse() | {"not_tested": ["Gender: all 3 labelled photos show women.", "Attackers were left out."]}
    text = Page(render(results)).text
    assert "Not measured. Gender: all 3 labelled photos show women." in text
    assert "Not measured. Attackers were left out." in text
    assert "columns file and gender" not in text
    assert _finding(results, "unprepared").sentence == "Gender: all 3 labelled photos show women."


def test_every_attack_that_there_is_gets_its_sentence() -> None:
    from halfmask.evaluation.attackers import ATTACKS
    from halfmask.evaluation.audit.report.wording import attack_kinds

    assert len(attack_kinds([{"attack": name} for name in ATTACKS])) == len(ATTACKS)
    assert list(attack_kinds([{"attack": "detector"}, {"attack": "inverted"}])) == ["Inverted", "Detector"]


def test_groups_of_one_gender_share_an_axis_with_the_others() -> None:
    rows = full()["groups"]
    for row in rows:
        if row["measure"] == "error":
            row["measure"] = "accuracy" if row["attribute"] == "gender" else "balanced_accuracy"
    images = Page(render({"groups": rows})).all("img")
    assert len(images) == 2
    assert "of 10 groups" in (images[0]["alt"] or "")


def test_files_are_listed_up_to_twenty_and_counted() -> None:
    results = sparse()
    results["set"]["missing"] = [f"photo-{i:03d}.jpg" for i in range(50)]
    text = Page(render(results)).text
    assert "photo-019.jpg" in text
    assert "photo-020.jpg" not in text
    assert "and 30 more" in text


def test_a_damaged_strip_does_not_cost_the_report(tmp_path: Path) -> None:
    (tmp_path / "inverse.png").write_bytes(b"\x89PNG no picture")
    assert "inverse.png cannot be shown" in Page(render(sparse(), inverse=tmp_path / "inverse.png")).text


def test_same_results_give_the_same_page(page_of_full: str) -> None:
    assert render(full()) == page_of_full


# ------------------------------------------------------------------------------------------------------ pictures


def test_pictures_of_two_sizes_are_refused() -> None:
    gray = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(DataError, match="differ in size"):
        Picture("a", gray, gray[:4])
    with pytest.raises(DataError, match="expected uint8"):
        Picture("a", gray.astype(np.float32), gray)


@pytest.mark.parametrize(("change", "times"), [(0, 16), (7, 16), (8, 8), (63, 2), (64, 1), (200, 1)])
def test_amplification_keeps_within_range(change: int, times: int) -> None:
    black = np.zeros((8, 8, 3), np.uint8)
    picture = Picture("a", black, black + np.uint8(change))
    assert amplification([picture]) == times
    assert np.all(difference(picture, times) == min(128 + change * times, 255))


# ------------------------------------------------------------------------------------------------------- verdict


def _read(auc: float, ba: float = 0.5, half: float = 0.0) -> dict[str, Any]:
    return {"gender": [_gender("before", "r", 0.99, 0.97), _gender("protected", "r", auc, ba, half)]}


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize(
    ("distance", "answer", "grade"),
    [
        (0.0, "Hardly", "good"), (scale.READ_HARDLY, "Hardly", "good"), (scale.READ_HARDLY + 0.01, "Partly", "mixed"),
        (scale.READ_PARTLY, "Partly", "mixed"), (scale.READ_PARTLY + 0.01, "Mostly", "bad"),
        (scale.READ_MOSTLY, "Mostly", "bad"), (scale.READ_MOSTLY + 0.01, "Yes", "bad"), (1.0, "Yes", "bad"),
    ],
)  # fmt: skip
def test_reading_is_graded_by_distance_from_chance(side: int, distance: float, answer: str, grade: str) -> None:
    for results in (_read(0.5 + side * distance / 2), _read(0.5, 0.5 + side * distance / 2)):
        found = _finding(results, "unprepared")
        assert (found.answer, found.grade) == (answer, grade)
        assert ("turns its answers over" in found.sentence) == (side < 0 and distance > scale.READ_HARDLY)


def test_worst_referee_decides_and_uncertainty_is_not_good() -> None:
    results = _read(0.51)
    results["gender"] += [_gender("before", "s", 0.99, 0.97), _gender("protected", "s", 0.05, 0.1)]
    found = _finding(results, "unprepared")
    assert found.answer == "Yes"
    assert "s still reads most" in found.sentence
    assert (_finding(_read(0.52, half=0.1), "unprepared").answer) == "Hardly, perhaps more"
    assert (_finding(_read(0.52, half=0.1), "unprepared").grade) == "mixed"


def test_a_referee_that_fails_on_originals_proves_nothing() -> None:
    results = {"gender": [_gender("before", "r", 0.6, 0.55), _gender("protected", "r", 0.5, 0.5)]}
    found = _finding(results, "unprepared")
    assert (found.answer, found.grade) == ("Not measurable", "unknown")


def test_worst_attacker_decides_and_is_never_below_the_unprepared() -> None:
    results = _read(0.52)
    results["attacks"] = [_attack("linear probe", "x", 0.52, 0.53), _attack("retrained cnn", "", 0.9, 0.95)]
    found = _finding(results, "prepares")
    assert found.answer == "Yes"
    assert "retrained cnn" in found.sentence
    strong = _read(0.95, 0.9) | {"attacks": [_attack("linear probe", "x", 0.52, 0.53)]}
    assert _finding(strong, "prepares").answer == "Yes"
    assert "it decides" in _finding(strong, "prepares").sentence


def test_detectors_do_not_answer_whether_the_gender_is_read() -> None:
    results = _read(0.5) | {"attacks": [_attack("detector", "cnn", 0.99, 0.99)]}
    assert _finding(results, "prepares").answer == "Not tested"
    told = _finding(results, "was protected")
    assert (told.answer, told.grade) == ("Yes", "mixed")


@pytest.mark.parametrize(
    ("at1", "at01", "answer"),
    [(0.93, 0.85, "Yes"), (0.929, 0.85, "Mostly"), (0.95, 0.849, "Mostly"), (0.88, 0.70, "Mostly"),
     (0.879, 0.90, "Badly"), (0.95, 0.699, "Badly"), (0.99, 0.95, "Yes")],
)  # fmt: skip
def test_matching_is_graded_by_the_loss_of_the_worst_matcher(at1: float, at01: float, answer: str) -> None:
    rows = [_match("before", "m", 0.95, 0.90), _match("protected", "m", at1, at01)]
    good = [_match("before", "n", 0.99, 0.98), _match("protected", "n", 0.99, 0.98)]
    assert _finding({"matching": rows + good}, "still match").answer == answer


def test_matching_without_the_stricter_threshold_is_said() -> None:
    rows = [_match("before", "m", 0.95, 0.90), _match("protected", "m", 0.95, 0.90)]
    for row in rows:
        row["tmr@0.001"] = None
    found = _finding({"matching": rows}, "still match")
    assert found.answer == "Yes"
    assert "FMR 0.1 % could not be measured" in found.sentence
    own = _finding({"matching": rows, "set": {"pairs": "own", "identities_known": True}}, "still match")
    assert (own.answer, own.grade) == ("Yes", "mixed")
    assert "its own original" in own.sentence
    nobody = _finding({"matching": rows, "set": {"pairs": "own", "identities_known": False}}, "still match")
    assert (nobody.answer, nobody.grade) == ("Unclear", "unknown")  # thresholds may rest on pairs of one person
    assert "too strict" in nobody.sentence
    given = _finding({"matching": rows, "set": {"pairs": "given", "identities_known": False}}, "still match")
    assert (given.answer, given.grade) == ("Yes", "good")
    assert "own original" not in given.sentence
    weak = [_match("before", "m", 0.4, 0.2), _match("protected", "m", 0.4, 0.2)]
    assert _finding({"matching": weak}, "still match").answer == "Not measurable"
    why = "Matching at low FMR: it needs impostor pairs."
    assert why in _finding({"matching": weak, "not_tested": [why]}, "still match").sentence


@pytest.mark.parametrize(
    ("ssim", "answer"), [(0.95, "Little"), (0.949, "Something"), (0.85, "Something"), (0.849, "Much"), (-0.2, "Much")]
)
def test_looks_are_graded_by_ssim(ssim: float, answer: str) -> None:
    assert _finding({"looks": {"ssim": {"mean": ssim, "low": None, "high": None}}}, "pictures lose").answer == answer


@pytest.mark.parametrize(
    ("lost", "missing", "same", "answer"),
    [(0, 0, 0, "No"), (1, 0, 0, "Few"), (0, 1, 0, "Few"), (2, 0, 0, "Yes"), (0, 0, 5, "Yes")],
)
def test_lost_faces_and_files_are_counted(lost: int, missing: int, same: int, answer: str) -> None:
    about = {"photos": 100, "lost": ["x"] * lost, "missing": ["y"] * missing, "same": ["z"] * same}
    assert _finding({"set": about}, "lost").answer == answer


@pytest.mark.parametrize(
    ("people", "half", "known", "answer"),
    [(100, 0.05, True, "Fairly"), (99, 0.05, True, "Roughly"), (100, 0.06, True, "Roughly"),
     (100, 0.05, False, "Roughly"), (29, 0.05, True, "Hardly"), (100, 0.11, True, "Hardly")],
)  # fmt: skip
def test_certainty_needs_people_and_narrow_intervals(people: int, half: float, known: bool, answer: str) -> None:
    results = _read(0.6, 0.6, half - 1e-9) | {"set": {"people": people, "photos": 900, "identities_known": known}}
    assert _finding(results, "How sure").answer == answer


def test_groups_differ_when_intervals_of_enough_people_do_not_meet() -> None:
    def row(group: str, value: float, people: int = 30) -> dict[str, Any]:
        row = {"attribute": "race", "group": group, "n": 90, "people": people, "referee": "r", "measure": "error"}
        return row | _share("protected", value, 0.05)

    assert _finding({"groups": [row("A", 0.2), row("B", 0.28)]}, "groups").answer == "No difference shown"
    found = _finding({"groups": [row("A", 0.2), row("B", 0.31)]}, "groups")
    assert found.answer == "No"
    assert "20.0 % for A and 31.0 % for B" in found.sentence
    assert _finding({"groups": [row("A", 0.2), row("B", 0.9, people=29)]}, "groups").answer == "Not measurable"


@pytest.mark.parametrize(
    ("rate", "answer", "grade"),
    [(0.03, "Hardly", "good"), (0.06, "Hardly, perhaps more", "mixed"), (0.2, "Partly", "mixed"),
     (0.5, "Mostly", "bad"), (0.9, "Yes", "bad")],
)  # fmt: skip
def test_deidentify_swaps_privacy_and_utility(rate: float, answer: str, grade: str) -> None:
    results = full() | {"direction": "deidentify"}
    after = _match("protected", "dlib", rate, rate / 2) | ({} if rate != 0.06 else {"tmr@0.01": 0.045})
    results["matching"] = [_match("before", "dlib", 0.95, 0.9), after]
    found = _finding(results, "unprepared software still recognise")
    assert (found.answer, found.grade, found.aspect) == (answer, grade, "privacy")
    assert _finding(results, "Is the gender kept").grade == "bad"  # it loses far more than 7 points
    assert _finding(results, "Is the age kept").answer == "Mostly"
    assert not [f for f in findings(results) if "read the gender" in f.question]


@pytest.mark.parametrize(
    ("plain", "washed", "learned", "answer", "said"),
    [
        (0.03, 0.04, 0.30, "Mostly", "Of 2 prepared recognisers, dlib with “learned head” finds most: 30.0 %"),
        (0.03, 0.04, 0.02, "Hardly, perhaps more", "dlib with “washed: blur” finds most: 4.0 %"),
        (0.20, 0.04, 0.02, "Partly", "Unprepared software finds more than that on the same people: it decides"),
    ],
)
def test_who_prepares_recognises(plain: float, washed: float, learned: float, answer: str, said: str) -> None:
    rows = [_match("before", "dlib", 0.95, 0.9) | {"attack": "none", "n_train": 0}]
    for attack, rate, count in (("none", plain, 0), ("washed: blur", washed, 0), ("learned head", learned, 300)):
        rows.append(_match("protected", "dlib", rate, rate / 2) | {"attack": attack, "n_train": count})
    results = full() | {"direction": "deidentify", "recognition": rows}
    found = _finding(results, "someone who prepares")
    assert found.answer == answer
    assert said in found.sentence
    page = " ".join(render(results).split())
    assert "Recognisers that prepare" in page
    assert "learned head" in page
    untried = full() | {
        "direction": "deidentify",
        "recognition": [],
        "not_tested": ["Attackers that recognise: too few."],
    }
    told = _finding(untried, "someone who prepares")
    assert (told.answer, told.sentence) == ("Not tested", "Attackers that recognise: too few.")


def test_a_matcher_whose_scores_are_turned_over_still_recognises() -> None:
    after = _match("protected", "dlib", 0.0, 0.0) | {"auc": 0.1, "tmr@0.01_high": 0.0}
    results = {"direction": "deidentify", "matching": [_match("before", "dlib", 0.95, 0.9), after]}
    assert _finding(results, "unprepared").grade == "mixed"


@pytest.mark.parametrize("direction", ["protect", "deidentify"])
def test_the_headline_follows_the_worst_and_never_says_safe(direction: str) -> None:
    for results in (full(), sparse(), _read(0.5)):
        results = results | {"direction": direction}
        words = headline(results, findings(results))
        assert "these pictures, referees and attackers only" in words
        assert not [f for f in findings(results) if "safe" in (f.answer + f.sentence).lower()]
        assert "safe" not in words.lower()
    assert "could still be read" in headline(full(), findings(full()))
    assert "does not show" in headline(_read(0.5), findings(_read(0.5)))  # no prepared attacker was tried
    hidden = _read(0.5) | {"attacks": [_attack("linear probe", "x", 0.5, 0.51)]}
    assert "much better than by guessing" in headline(hidden, findings(hidden))


def test_findings_do_not_change_the_results() -> None:
    results = full() | {"roc": {}}
    before = copy.deepcopy(results)
    findings(results)
    render(results)
    assert results == before


# --------------------------------------------------------------------------------------------------------- files


def test_tables_and_json_agree_with_the_results(tmp_path: Path, pictures: list[Picture]) -> None:
    results = full()
    assert write(results, tmp_path / "new" / "report", pictures) == tmp_path / "new" / "report" / "report.html"
    folder = tmp_path / "new" / "report"
    assert sorted(p.name for p in folder.iterdir()) == sorted(
        ["report.html", "results.json", *(f"{n}.csv" for n in CSV_COLUMNS if n in results or n != "recognition")]
    )
    assert json.loads((folder / "results.json").read_text("utf-8")) == results
    for name in (n for n in CSV_COLUMNS if n in results):  # recognition is of one direction alone
        with open(folder / f"{name}.csv", encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
        expected = results[name]
        if name == "looks":
            expected = [{"measure": k, **v} for k, v in expected.items()]
        assert len(rows) == len(expected) > 0
        for got, want in zip(rows, expected, strict=True):
            for key, value in want.items():
                if isinstance(value, int | float):
                    assert float(got[key]) == value
                elif value is None:
                    assert got[key] == ""
                elif isinstance(value, str):
                    assert got[key] == value


def test_numpy_and_infinite_figures_and_odd_names_are_written(tmp_path: Path) -> None:
    results = full() | {"roc": {}}
    results["looks"]["psnr"]["mean"] = np.float32("inf")
    results["gender"][0]["n"] = np.int64(7)
    results["set"]["lost"] = ["\udce4.jpg", Path("x.jpg")]
    results["groups"][0]["group"] = "=HYPERLINK(1)"
    write(results, tmp_path)
    again = json.loads((tmp_path / "results.json").read_text("utf-8"))
    assert again["looks"]["psnr"]["mean"] is None
    assert again["gender"][0]["n"] == 7
    assert again["set"]["lost"] == ["\udce4.jpg", "x.jpg"]
    assert "'=HYPERLINK" in (tmp_path / "groups.csv").read_text("utf-8")
    (tmp_path / "report.html").read_text("utf-8")


def test_empty_tables_have_their_headings(tmp_path: Path) -> None:
    write(sparse() | {"recognition": []}, tmp_path)
    for name, columns in CSV_COLUMNS.items():
        assert (tmp_path / f"{name}.csv").read_text("utf-8").split() == [",".join(columns)]


def test_a_full_disk_leaves_the_old_report_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(sparse(), tmp_path)
    old = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    real = Path.write_bytes

    def no_room(self: Path, data: bytes) -> int:
        if data.lstrip().lower().startswith(b"<!doctype html"):
            real(self, data[:100])
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return real(self, data)

    monkeypatch.setattr(Path, "write_bytes", no_room)
    with pytest.raises(HalfmaskError, match=r"report\.html could not be written: No space left on device"):
        write(full(), tmp_path)
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == old


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("mine")
    with pytest.raises(HalfmaskError, match="report cannot be made: File exists"):
        write(sparse(), tmp_path / "report")
    assert (tmp_path / "report").read_text() == "mine"
