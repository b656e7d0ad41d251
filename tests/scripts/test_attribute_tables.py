"""The tables of attribute networks, on made-up answers whose figures are counted by hand or by scikit-learn."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import attribute_tables as at
import numpy as np
import pytest
from sklearn import metrics as sk

from halfmask.datasets.table import Row
from halfmask.errors import DataError

FAIR = ("White", "Black", "Latino_Hispanic", "East Asian", "Southeast Asian", "Indian", "Middle Eastern")
AGES = ("0-2", "3-9", "10-19", "20-29", "30-39", "40-49", "50-59", "60-69", "70+")


def answers(rows: list[Row], **heads: tuple[tuple[str, ...], Any]) -> at.Answers:
    """Heads: name → (classes, probabilities, or the index of the class that is certain)."""
    classes = {name: words for name, (words, _) in heads.items()}
    p = {}
    for name, (words, said) in heads.items():
        given = np.asarray(said)
        p[name] = given if given.ndim == 2 else np.eye(len(words))[given]
    return at.Answers("net", "there", "here", rows, classes, p)


def people(count: int, **columns: list[Any]) -> list[Row]:
    return [
        Row(f"{i}.jpg", Path(f"{i}.jpg"), **{name: values[i % len(values)] for name, values in columns.items()})
        for i in range(count)
    ]


def test_gender_is_counted_on_the_labelled(rng: np.random.Generator) -> None:
    rows = people(200, gender=[0, 1, 1, None], identity=[f"p{i}" for i in range(50)])
    male = rng.uniform(size=200)
    row = at.gender_rows([answers(rows, gender=(("female", "male"), np.stack([1 - male, male], 1)))])[0]
    y = np.array([r.gender for r in rows if r.gender is not None])
    p = male[[r.gender is not None for r in rows]]
    assert (row["n"], row["women"], row["people"]) == (150, 50, 50)
    assert (row["network"], row["trained_on"], row["set"], row["refused"]) == ("net", "there", "here", "")
    assert row["accuracy"] == pytest.approx(sk.accuracy_score(y, p >= 0.5))
    assert row["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, p >= 0.5))
    assert row["auc"] == pytest.approx(sk.roc_auc_score(y, p))
    assert row["accuracy_low"] < row["accuracy"] < row["accuracy_high"]
    assert row["balanced_low"] < row["balanced_accuracy"] < row["balanced_high"]


def test_the_place_of_male_is_that_of_its_word() -> None:
    rows = people(4, gender=[0, 1])
    given = answers(rows, gender=(("male", "female"), [1, 0, 1, 0]))
    assert at.gender_rows([given], resamples=20)[0]["accuracy"] == 1.0


def test_one_gender_alone_has_an_accuracy_and_no_auc() -> None:
    row = at.gender_rows([answers(people(6, gender=[1]), gender=(("female", "male"), [1] * 6))], resamples=20)[0]
    assert row["accuracy"] == 1.0
    assert row["auc"] is None
    assert "both classes" in row["refused"]


def test_races_of_two_data_sets_meet_in_five_groups() -> None:
    rows = people(50, race=["White", "Black", "Asian", "Indian", "Others"])
    # a seventh each: no class is likeliest, but two of the seven are Asian and two are Others
    even = np.full((50, 7), 1 / 7)
    even[:, 3] += 0.01
    given = at.race_rows([answers(rows, race=(FAIR, even))], resamples=20)
    assert len(given) == 1  # the set has not more than five words
    assert given[0]["groups"] == 5
    assert given[0]["accuracy"] == pytest.approx(0.2)  # all are called Asian
    certain = answers(rows, race=(FAIR, [0, 1, 4, 5, 6] * 10))
    row = at.race_rows([certain], resamples=20)[0]
    assert (row["accuracy"], row["balanced_accuracy"], row["auc"]) == (1.0, 1.0, 1.0)


def test_a_set_with_more_words_is_also_judged_in_those() -> None:
    rows = people(70, race=list(FAIR))
    said = [0, 1, 2, 4, 3, 5, 2] * 10  # East and Southeast Asian swapped, Middle Eastern called Latino
    five, seven = at.race_rows([answers(rows, race=(FAIR, said))], resamples=20)
    assert (five["groups"], five["accuracy"]) == (5, 1.0)
    assert (seven["groups"], seven["accuracy"]) == (7, pytest.approx(4 / 7))
    small = at.race_rows(
        [answers(rows, race=(("White", "Black", "Asian", "Indian", "Others"), [0, 1, 4, 2, 2, 3, 4] * 10))]
    )
    assert [(r["groups"], r["accuracy"]) for r in small] == [(5, 1.0)]


def test_a_class_that_no_data_set_knows_is_named() -> None:
    given = answers(people(2, race=["White"]), race=(("White", "Martian"), [0, 0]))
    with pytest.raises(DataError, match="'Martian', which is in none of the groups White"):
        at.race_rows([given])


def test_age_error_is_the_distance_to_what_the_label_allows() -> None:
    rows = [
        replace(row, age=age, age_range=span)
        for row, age, span in zip(people(4), (30.0, None, None, None), (None, (20, 29), (50, 59), None), strict=True)
    ]
    # certain of 30-39, 20-29, 30-39 and 70+: 35, 25, 35 and 75 years
    row = at.age_rows([answers(rows, age=(AGES, [4, 3, 4, 8]))], resamples=50)[0]
    assert (row["n"], row["truth"]) == (3, "both")
    off = np.array([5, 0, 15])
    assert row["mae"] == pytest.approx(off.mean())
    assert row["rmse"] == pytest.approx(np.sqrt((off**2).mean()))
    assert row["cs5"] == pytest.approx(2 / 3)
    assert row["group"] == pytest.approx(2 / 3)  # 30 is in 30-39
    assert row["group_1"] == pytest.approx(2 / 3)  # 50-59 is two groups off
    assert (row["held"], row["width"]) == (1.0, 10.0)  # of the one whose age is known


def test_age_is_the_expectation_over_the_classes() -> None:
    rows = people(2, age=[32.0])
    p = np.array([[0.5, 0.5, 0.0], [0.0, 0.25, 0.75]])
    row = at.age_rows([answers(rows, age=(("21", "31", "41"), p))], resamples=20)[0]
    assert row["mae"] == pytest.approx((6 + 6.5) / 2)
    assert (row["group"], row["group_low"]) == (None, None)  # years are no groups


def test_how_often_the_interval_holds_the_age_and_how_wide_it_is() -> None:
    rows = people(3, age=[25.0, 39.0, 95.0])
    p = np.zeros((3, 9))
    p[0, [3, 4]] = 0.5, 0.5  # 20-39
    p[1, [4, 5, 8]] = 0.03, 0.95, 0.02  # 40-49
    p[2, 7:] = 0.5, 0.5  # 60 and over
    row = at.age_rows([answers(rows, age=(AGES, p))], resamples=20)[0]
    assert (row["held"], row["width"]) == (pytest.approx(2 / 3), pytest.approx((20 + 10 + 20) / 3))
    assert "## Age, the interval of 90% holds it" in at.to_markdown(at.tables([answers(rows, age=(AGES, p))]))


def test_groups_of_faces() -> None:
    rows = people(24, gender=[0, 1], race=["White", "White", "Asian", "Asian"], age=[25.0, 25.0, 65.0, 65.0])
    given = answers(
        rows,
        gender=(("female", "male"), [0, 1, 0, 0] * 6),
        race=(("White", "Asian"), [0, 1, 1, 1] * 6),
        age=(("20", "70"), [0, 0, 1, 1] * 6),
    )
    found = {(r["attribute"], r["group"], r["measure"]): {**r} for r in at.group_rows([given], resamples=20)}
    assert found["race and gender", "Asian men", "gender"]["value"] == 0.0
    assert found["race and gender", "Asian women", "gender"]["value"] == 1.0
    assert found["race and gender", "White men", "race"]["value"] == 0.0
    assert found["gender", "women", "race"]["value"] == 1.0
    assert found["race", "Asian", "gender"]["value"] == 0.5
    assert found["age", "20-39", "age"]["value"] == 5.0
    assert (
        found["age", "60 and over", "gender"] | {"n": 12, "people": 12, "value": 0.5}
        == found["age", "60 and over", "gender"]
    )
    assert ("age", "0-19", "age") not in found
    assert all(r["value_low"] <= r["value"] <= r["value_high"] for r in found.values())


def test_answers_that_do_not_fit_their_pictures_are_refused() -> None:
    with pytest.raises(DataError, match=r"gender as \(3, 2\) on here, expected \(2, 2\)"):
        answers(people(2), gender=(("female", "male"), [0, 1, 1]))


def test_heads_and_labels_that_are_not_there_have_no_row() -> None:
    given = [answers(people(4), gender=(("female", "male"), [0] * 4)), answers(people(4, gender=[0, 1]))]
    assert at.tables(given) == {"gender": [], "race": [], "age": [], "groups": []}


def test_files(tmp_path: Path) -> None:
    rows = people(28, gender=[0, 1], race=list(FAIR), age_range=[(20, 29), (70, 120)])
    one = answers(rows, gender=(("female", "male"), [0, 1] * 14), race=(FAIR, [0] * 28), age=(AGES, [3, 8] * 14))
    swapped = {"gender": one.probabilities["gender"][:, ::-1]}
    other = replace(one, network="other", set="elsewhere", probabilities=swapped)
    found = at.tables([one, other], resamples=50)
    paths = at.write(found, tmp_path / "out", {"created": "now", "notes": ["Said before."]})
    assert [p.name for p in paths] == ["attributes.json", "attributes.csv", "attributes.md"]
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(p.name for p in paths)
    kept = json.loads(paths[0].read_text())
    assert kept["created"] == "now"
    assert [r["accuracy"] for r in kept["gender"]] == [1.0, 0.0]
    lines = list(csv.DictReader(io.StringIO(paths[1].read_text())))
    assert {line["table"] for line in lines} == {"gender", "race", "age", "groups"}
    assert len(lines) == sum(map(len, found.values()))
    page = paths[2].read_text()
    assert "- Said before." in page
    assert "| net | there | 100.0% (100.0–100.0) | – |" in page
    assert "| other | there | – | 0.0% (0.0–0.0) |" in page
    assert "## Race in 7 groups" in page
    assert "## here by group, mean age error in years" in page
