"""The tables, on made-up answers whose figures are known, with scikit-learn and plain counting as references."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn import metrics as sk
from slow_bootstrap import bootstrap
from stand_ins import Cosine

from halfmask.datasets.pairs import Pair
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, MetricError
from halfmask.evaluation.measuring import bootstrap as boot
from halfmask.evaluation.measuring import metrics, summary
from halfmask.evaluation.measuring.groups import pictures_of
from halfmask.evaluation.measuring.matching import Comparisons, match_curve
from halfmask.evaluation.measuring.protocol import BEFORE, Measured

PEOPLE, EACH = 30, 4
N = PEOPLE * EACH
LOST = [3, 40, 41]
RACES = ("White", "Black", "Asian")


class Judge:
    """A race referee of four groups, of which the last never occurs."""

    name = "judge"
    groups = (*RACES, "Martian")
    trained_on: str | None = "elsewhere"

    def p_race(self, images: Any, faces: Any) -> np.ndarray:
        raise AssertionError("tables ask no network")

    def group(self, word: str | None) -> int:
        return self.groups.index(word) if word in self.groups else -1


def unit(x: np.ndarray) -> np.ndarray:
    return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def table() -> Table:
    rows = []
    for i in range(N):
        person = i // EACH
        rows.append(
            Row(
                f"{i}.png",
                Path(f"{i}.png"),
                f"p{person:02d}",
                None if person == 0 else person % 2,
                float(10 + i % 70) if person % 3 else None,
                None if person % 3 else (20, 29),
                None if person == 1 else RACES[person % 3],
            )
        )
    return Table("demo", Path(), rows)


@pytest.fixture
def measured(table: Table) -> dict[str, Measured]:
    """Picture 7 has no face before, LOST lose theirs, the last person was not attempted."""
    rng = np.random.default_rng(5)
    gender = np.array([-1 if r.gender is None else r.gender for r in table])
    race = np.array([Judge().group(r.race) for r in table])
    centre = np.repeat(rng.normal(size=(PEOPLE, 16)), EACH, 0)
    found = {}
    attempted = np.arange(N) < N - EACH
    for name, noise in ((BEFORE, 0.5), ("protected", 1.0)):
        enrolled = np.ones(N, bool)
        enrolled[7] = False
        if name != BEFORE:
            enrolled[LOST] = enrolled[~attempted] = False
        columns = {
            "p_male/a": np.clip(gender * 0.5 + 0.25 + rng.normal(0, noise / 2, N), 0, 1),
            "age/a": 10 + np.arange(N) % 70 + rng.normal(0, 10 * noise, N),
            "p_race/judge": np.exp(rng.normal(0, 2 * noise, (N, 4)) + 2 * np.eye(5)[race][:, :4]),
            "embed/cosine": unit(centre + rng.normal(0, noise, (N, 16))),
            "ssim": rng.uniform(0.5, 1, N),
            "l2": rng.uniform(0, 9, N),
        }
        for column, values in columns.items():
            values = values.astype(np.float32)
            values[~enrolled] = np.nan
            columns[column] = values
        keys, identity = [r.key for r in table], [r.identity for r in table]
        found[name] = Measured(name, keys, gender, identity, enrolled, attempted, columns)
    return found


def used_of(m: Measured, before: Measured, labelled: np.ndarray) -> np.ndarray:
    return labelled & m.attempted & before.enrolled & m.enrolled


# ------------------------------------------------------------------- figures


@pytest.mark.parametrize(
    ("metric", "weighted"),
    [
        (metrics.error_rate, lambda y, p: boot.mean_of((p >= 0.5) != y)),
        (metrics.balanced_accuracy, lambda y, p: boot.balanced_of((p >= 0.5) == y, y)),
        (metrics.auc, boot.auc_of),
        (metrics.rmse, lambda y, p: boot.root_mean_square_of(p - y)),
    ],
    ids=["error", "balanced accuracy", "auc", "rmse"],
)
def test_weighted_figures_are_those_of_copied_resamples(metric: Any, weighted: Any, rng: np.random.Generator) -> None:
    y = rng.integers(0, 2, 60)
    p = np.round(rng.uniform(size=60), 1)  # with ties
    persons = rng.integers(0, 12, 60)
    figure = weighted(y, p)
    assert figure(np.ones(60)) == pytest.approx(metric(y, p), abs=1e-12)
    span = bootstrap(metric, y, p, persons=persons, n=150)
    assert boot.interval(figure, persons, 150) == pytest.approx((span.low, span.high), abs=1e-12)


def test_intervals_that_are_refused() -> None:
    with pytest.raises(MetricError, match="at least two persons, got 1"):
        boot.interval(boot.mean_of([0.0, 1.0]), ["a", "a"], 10)
    rare = boot.balanced_of([True] * 3, [0, 1, 2])  # of three people, all three are drawn in 2 of 9 samples
    with pytest.raises(MetricError, match="of 90 samples of 3 persons could be measured"):
        boot.interval(rare, ["a", "b", "c"], 90)


# -------------------------------------------------------------------- gender


def test_gender_rows_agree_with_scikit_learn(measured: dict[str, Measured]) -> None:
    rows = summary.gender_rows(measured, resamples=60)
    assert [(r["variant"], r["referee"]) for r in rows] == [("before", "a"), ("protected", "a")]
    for row in rows:
        m = measured[row["variant"]]
        used = used_of(m, measured[BEFORE], m.gender >= 0)
        y, p = m.gender[used], m.columns["p_male/a"][used]
        assert row["n"] == len(y)
        assert row["error"] == pytest.approx(1 - sk.accuracy_score(y, p >= 0.5))
        assert row["balanced_accuracy"] == pytest.approx(sk.balanced_accuracy_score(y, p >= 0.5))
        assert row["auc"] == pytest.approx(sk.roc_auc_score(y, p))
        assert row["refused"] == ""
        for figure in ("error", "balanced", "auc"):
            value = row["balanced_accuracy" if figure == "balanced" else figure]
            assert row[f"{figure}_low"] < value < row[f"{figure}_high"]
    assert [r["lost"] for r in rows] == [0, 2]  # picture 3 is of unknown gender


def test_gender_of_one_class_is_refused_where_it_must_be(measured: dict[str, Measured]) -> None:
    for m in measured.values():
        m.gender[m.gender == 0] = -1
    row = summary.gender_rows(measured, resamples=20)[0]
    assert row["error_low"] < row["error"] < row["error_high"]
    for figure in ("balanced_accuracy", "balanced_low", "balanced_high", "auc", "auc_low", "auc_high", "eer"):
        assert row[figure] is None
    assert row["refused"] == f"all {row['n']} labels are 1; this figure needs faces of both classes"


def test_every_face_lost(measured: dict[str, Measured], table: Table) -> None:
    m = measured["protected"]
    m.enrolled[:] = False
    for values in m.columns.values():
        values[:] = np.nan
    gender = summary.gender_rows(measured, resamples=20)[1]
    assert (gender["n"], gender["error"], gender["lost"]) == (0, None, 111)
    assert "got no labelled face" in gender["refused"]
    assert summary.age_rows(measured, table, resamples=20)[1]["mae"] is None
    race = summary.race_rows(measured, table, {"judge": Judge()}, resamples=20)[1]
    assert (race["balanced_accuracy"], race["auc"], race["groups"]) == (None, None, [])
    match = summary.match_rows(measured, {"cosine": Cosine()}, resamples=20)[1]
    assert (match["tmr@0.01"], match["match_probability"], match["auc"]) == (0, 0, 0.5)
    looks = summary.looks_rows(measured, resamples=20)[0]
    assert looks["ssim"] is None
    assert looks["refused"].startswith("there is nothing to take the mean of")
    rows = summary.group_rows(measured, table, {"cosine": Cosine()}, resamples=20)
    assert all(r["before"] is not None and r["lost"] == r["n"] for r in rows if r["attribute"] == "gender")
    assert {r["protected"] for r in rows} == {None, 0.0}
    assert summary.roc_curves(measured, {"cosine": Cosine()})["gender"]["a"].keys() == {"before"}


# ----------------------------------------------------------------- age, race


def test_age_rows_by_hand(measured: dict[str, Measured], table: Table) -> None:
    rows = summary.age_rows(measured, table, resamples=60)
    for row in rows:
        m = measured[row["variant"]]
        off = []
        for i, picture in enumerate(table):
            if not (m.attempted[i] and m.enrolled[i] and measured[BEFORE].enrolled[i]):
                continue
            said = float(m.columns["age/a"][i])
            if picture.age is not None:
                off.append(abs(said - picture.age))
            else:
                off.append(max(20 - said, said - 29, 0.0))  # (20, 29) is all that is known
        assert row["n"] == len(off)
        assert row["mae"] == pytest.approx(np.mean(off))
        assert row["rmse"] == pytest.approx(np.sqrt(np.mean(np.square(off))))
        assert row["cs5"] == pytest.approx(np.mean(np.array(off) <= 5))
        for figure in ("mae", "rmse", "cs5"):
            assert row[f"{figure}_low"] < row[figure] < row[f"{figure}_high"]
        assert row["truth"] == "age or age range"
    assert rows[1]["lost"] == 3


def test_age_says_what_it_is_measured_against(measured: dict[str, Measured], table: Table) -> None:
    exact = [Row(r.key, r.path, age=30.0) for r in table]
    assert summary.age_rows(measured, Table("x", Path(), exact), resamples=5)[0]["truth"] == "age"
    ranges = [Row(r.key, r.path, age_range=(0, 120)) for r in table]
    row = summary.age_rows(measured, Table("x", Path(), ranges), resamples=5)[0]
    assert (row["truth"], row["mae"]) == ("age range", 0)
    assert summary.age_rows(measured, Table("x", Path(), [Row(r.key, r.path) for r in table])) == []


def test_race_rows_agree_with_scikit_learn(measured: dict[str, Measured], table: Table) -> None:
    judge = Judge()
    rows = summary.race_rows(measured, table, {"judge": judge}, resamples=60)
    group = np.array([judge.group(r.race) for r in table])
    for row in rows:
        m = measured[row["variant"]]
        used = used_of(m, measured[BEFORE], group >= 0)
        y, p = group[used], m.columns["p_race/judge"][used]
        assert (row["n"], row["groups"]) == (len(y), list(RACES))
        recalls = sk.recall_score(y, p.argmax(1), average=None, labels=[0, 1, 2])
        assert row["balanced_accuracy"] == pytest.approx(recalls.mean())
        assert row["auc"] == pytest.approx(np.mean([sk.roc_auc_score(y == c, p[:, c]) for c in range(3)]))
        assert row["balanced_low"] < row["balanced_accuracy"] < row["balanced_high"]


def test_a_race_referee_does_not_judge_what_it_was_trained_on(measured: dict[str, Measured], table: Table) -> None:
    judge = Judge()
    judge.trained_on = "demo"
    assert summary.race_rows(measured, table, {"judge": judge}) == []
    judge.trained_on = None
    assert len(summary.race_rows(measured, table, {"judge": judge}, resamples=5)) == 2
    nobody = Table("demo", Path(), [Row(r.key, r.path, race="Venusian") for r in table])
    assert summary.race_rows(measured, nobody, {"judge": judge}) == []
    one = Table("demo", Path(), [Row(r.key, r.path, race="White") for r in table])
    row = summary.race_rows(measured, one, {"judge": judge})[0]
    assert (row["balanced_accuracy"], row["auc"]) == (None, None)
    assert "needs faces of at least two" in row["refused"]


@pytest.mark.parametrize(
    ("rows", "more"),
    [(summary.age_rows, []), (summary.race_rows, [{}]), (summary.group_rows, [{}])],
    ids=["age", "race", "group"],
)
def test_another_table_is_refused(measured: dict[str, Measured], table: Table, rows: Any, more: list[Any]) -> None:
    other = Table("demo", Path(), table.rows[1:])
    with pytest.raises(DataError, match="119 pictures that are not the 120 measured"):
        rows(measured, other, *more)


# ------------------------------------------------------------------ matching


def every_pair(measured: dict[str, Measured], name: str) -> tuple[list[float], list[float], list[str]]:
    """Genuine scores, impostor scores and the genuine probes' persons, by two plain loops."""
    before, m = measured[BEFORE], measured[name]
    genuine, impostors, persons = [], [], []
    for j in range(N):  # the probe
        for i in range(N):
            if i == j or not (before.enrolled[i] and before.enrolled[j] and m.attempted[j]):
                continue
            shown = m.enrolled[j]
            score = float(m.columns["embed/cosine"][j] @ before.columns["embed/cosine"][i]) if shown else -np.inf
            if before.identity[i] == before.identity[j]:
                genuine.append(score)
                persons.append(str(before.identity[j]))
            else:
                impostors.append(score)
    return genuine, impostors, persons


def test_match_rows_by_counting_every_pair(measured: dict[str, Measured]) -> None:
    rows = summary.match_rows(measured, {"cosine": Cosine()}, fmrs=(0.05, 0.01, 0.0001), resamples=60)
    descriptors = measured[BEFORE].columns["embed/cosine"]
    kept = [i for i in range(N) if i != 7]
    originals = np.sort(
        [float(descriptors[i] @ descriptors[j]) for i in kept for j in kept if i < j and i // 4 != j // 4]
    )
    for row in rows:
        genuine, impostors, persons = every_pair(measured, row["variant"])
        assert (row["genuine"], row["impostors"]) == (len(genuine), len(originals))
        assert row["people"] == len(set(persons)) == PEOPLE - 1
        for fmr in (0.05, 0.01):
            first_refused = originals[len(originals) - 1 - int(fmr * len(originals))]
            matched = np.array(genuine) > first_refused + 1e-6
            assert row[f"tmr@{fmr:g}"] == pytest.approx(matched.mean())
            span = bootstrap(lambda x: float(np.mean(x)), matched, persons=persons, n=60)
            assert (row[f"tmr@{fmr:g}_low"], row[f"tmr@{fmr:g}_high"]) == pytest.approx((span.low, span.high))
        assert [row["tmr@0.0001"], row["tmr@0.0001_low"], row["tmr@0.0001_high"]] == [None] * 3
        assert row["refused"].startswith("FMR 0.01 % needs at least 10000 impostor pairs, got")
        y = [1] * len(genuine) + [0] * len(impostors)
        assert row["auc"] == pytest.approx(metrics.auc(y, genuine + impostors))
        assert row["eer"] == pytest.approx(metrics.eer(y, np.maximum(genuine + impostors, -9)))
        distances = np.sqrt(np.maximum(2 - 2 * np.array(genuine), 0))
        assert row["match_probability"] == pytest.approx(np.mean(1 / (1 + distances**2)), abs=1e-6)
    assert rows[0]["tmr@0.01"] > rows[1]["tmr@0.01"]


def test_match_rows_of_given_pairs(measured: dict[str, Measured]) -> None:
    pairs = [Pair(f"{i}.png", f"{i + 1}.png", True) for i in range(0, N, 4)]
    pairs += [Pair(f"{i}.png", f"{(i + 9) % N}.png", False) for i in range(N)]
    rows = summary.match_rows(measured, {"cosine": Cosine()}, pairs, fmrs=(0.1,), resamples=20)
    before, after = (measured[name].columns["embed/cosine"] for name in (BEFORE, "protected"))
    usable = [i for i in range(N) if 7 not in (i, (i + 9) % N)]
    impostors = np.sort([float(before[i] @ before[(i + 9) % N]) for i in usable])
    first_refused = impostors[len(impostors) - 1 - int(0.1 * len(impostors))]
    probes = list(range(0, N - EACH, 4))
    for row, descriptors in zip(rows, (before, after), strict=True):
        lost = row["variant"] == "protected"
        matched = [
            not (lost and i + 1 in LOST) and float(before[i] @ descriptors[i + 1]) > first_refused + 1e-6
            for i in probes
        ]
        assert row["tmr@0.1"] == pytest.approx(np.mean(matched))
        assert row["genuine"] == len(probes)
        assert row["impostors"] == len(usable)
    with pytest.raises(DataError, match=r"were not measured, first: absent\.png"):
        summary.match_rows(measured, {"cosine": Cosine()}, [Pair("0.png", "absent.png", True)])


def test_unscaled_descriptors_have_the_match_probability_of_scaled_ones(measured: dict[str, Measured]) -> None:
    plain = summary.match_rows(measured, {"cosine": Cosine()}, resamples=5)
    for m in measured.values():
        m.columns["embed/cosine"] *= 7
    scaled = summary.match_rows(measured, {"cosine": Cosine()}, resamples=5)
    assert [r["match_probability"] for r in plain] == pytest.approx([r["match_probability"] for r in scaled])


def test_nobody_known_is_refused(measured: dict[str, Measured]) -> None:
    for m in measured.values():
        m.identity[:] = [None] * N
    for row in summary.match_rows(measured, {"cosine": Cosine()}, resamples=5):
        assert [row[k] for k in ("genuine", "impostors", "people")] == [0, 0, 0]
        assert [row[k] for k in ("tmr@0.01", "auc", "eer", "match_probability")] == [None] * 4
        assert "needs at least 100 impostor pairs, got 0" in row["refused"]
        assert "got 0 genuine and 0 impostor" in row["refused"]


def test_match_curve_is_the_roc_of_all_scores(rng: np.random.Generator) -> None:
    genuine = np.round(rng.normal(1, 1, 80), 1)  # rounded: many ties, within and between the kinds
    impostors = np.round(rng.normal(0, 1, 500), 1)
    genuine[:5], impostors[:30] = -np.inf, -np.inf
    curve = match_curve(genuine, np.array_split(impostors, 7))
    y, s = np.repeat([1, 0], [80, 500]), np.maximum(np.concatenate([genuine, impostors]), -99)
    fpr, tpr, _ = sk.roc_curve(y, s, drop_intermediate=False)
    assert curve.impostors == 500
    assert curve.auc == pytest.approx(sk.roc_auc_score(y, s))
    assert curve.eer == pytest.approx(metrics.eer(y, s))
    for x, up in zip(fpr, tpr, strict=True):  # each corner of scikit-learn's lies on ours
        below, above = np.searchsorted(curve.fmr, x, "left"), np.searchsorted(curve.fmr, x, "right") - 1
        at = np.interp(x, curve.fmr, curve.tmr) if above < below else up
        assert at == pytest.approx(up)
        if below <= above:
            assert curve.tmr[below] - 1e-12 <= up <= curve.tmr[above] + 1e-12
    assert (np.diff(curve.fmr) >= 0).all()
    assert (np.diff(curve.tmr) >= 0).all()


def test_impostors_come_in_bounded_blocks(measured: dict[str, Measured], monkeypatch: pytest.MonkeyPatch) -> None:
    from halfmask.evaluation.measuring import matching

    monkeypatch.setattr(matching, "_ROWS", 10)
    compared = Comparisons(measured[BEFORE])
    blocks = list(compared.impostors(measured["protected"], Cosine(), "cosine"))
    assert max(map(len, blocks)) <= 10 * N
    assert sorted(np.concatenate(blocks)) == pytest.approx(sorted(every_pair(measured, "protected")[1]), abs=1e-6)


# --------------------------------------------------------- looks, groups, ROC


def test_looks_rows(measured: dict[str, Measured]) -> None:
    (row,) = summary.looks_rows(measured, resamples=60)
    m = measured["protected"]
    assert (row["variant"], row["n"], row["lost"]) == ("protected", N - EACH - 1 - len(LOST), 3)
    for name in ("ssim", "l2"):
        values, persons = m.columns[name][m.enrolled], m.persons[m.enrolled]
        span = bootstrap(lambda x: float(np.mean(x.astype(np.float64))), values, persons=persons, n=60)
        assert [row[name], row[f"{name}_low"], row[f"{name}_high"]] == pytest.approx(span[:3], rel=1e-6)
    assert "psnr" not in row  # was not measured


def test_group_rows_by_counting(measured: dict[str, Measured], table: Table) -> None:
    rows = summary.group_rows(measured, table, {"cosine": Cosine()}, fmr=0.05, resamples=30)
    before, m = measured[BEFORE], measured["protected"]
    found = {(r["attribute"], r["group"], r["referee"]): r for r in rows}
    assert {k[:2] for k in found} == {
        ("gender", "female"), ("gender", "male"), ("race", "White"), ("race", "Black"), ("race", "Asian"),
        ("age", "0-19"), ("age", "20-39"), ("age", "40-59"), ("age", "60 and over"),
    }  # fmt: skip
    ok = before.enrolled & m.attempted
    women, black = ok & (before.gender == 0), ok & np.array([r.race == "Black" for r in table])

    row = found["gender", "female", "a"]
    assert (row["measure"], row["n"]) == ("accuracy", women.sum())
    assert row["before"] == pytest.approx(np.mean(before.columns["p_male/a"][women] < 0.5))
    assert row["protected"] == pytest.approx(np.mean(m.columns["p_male/a"][women & m.enrolled] < 0.5))
    assert row["lost"] == int((women & ~m.enrolled).sum())

    row = found["race", "Black", "a"]
    labelled = black & (before.gender >= 0)
    assert (row["measure"], row["n"], row["people"]) == ("balanced_accuracy", labelled.sum(), 9)
    for side, of in (("before", before), ("protected", m)):
        chosen = labelled & of.enrolled
        y, p = of.gender[chosen], of.columns["p_male/a"][chosen]
        assert row[side] == pytest.approx(sk.balanced_accuracy_score(y, p >= 0.5))
        assert row[f"{side}_low"] <= row[side] <= row[f"{side}_high"]

    twenties = np.array([(r.age or 0) // 20 == 1 or r.age_range is not None for r in table])
    assert found["age", "20-39", "a"]["n"] == (twenties & ok & (before.gender >= 0)).sum()

    whole = summary.match_rows(measured, {"cosine": Cosine()}, fmrs=(0.05,), resamples=5)
    ages = [r for (attribute, _, referee), r in found.items() if (attribute, referee) == ("age", "cosine")]
    assert {r["measure"] for r in ages} == {"tmr@0.05"}
    assert sum(r["n"] for r in ages) == whole[0]["genuine"]  # every probe is in one age group
    for side, row in zip(("before", "protected"), whole, strict=True):
        assert sum(r["n"] * r[side] for r in ages) / row["genuine"] == pytest.approx(row["tmr@0.05"])


def test_group_rows_leave_out_what_is_empty(measured: dict[str, Measured], table: Table) -> None:
    plain = Table("demo", Path(), [Row(r.key, r.path, r.identity, r.gender) for r in table])
    rows = summary.group_rows(measured, plain, {}, resamples=5)
    assert [(r["attribute"], r["group"]) for r in rows] == [("gender", "female"), ("gender", "male")]
    pairs = [Pair("0.png", "1.png", True), Pair("0.png", "9.png", False)]
    refused = summary.group_rows(measured, table, {"cosine": Cosine()}, pairs, resamples=5)
    row = next(r for r in refused if r["referee"] == "cosine")
    assert (row["n"], row["before"], row["protected"]) == (1, None, None)
    assert row["refused"] == "FMR 1 % needs at least 100 impostor pairs, got 1; give more pairs or ask for a higher FMR"


def test_roc_curves_are_thin_and_true(measured: dict[str, Measured]) -> None:
    curves = summary.roc_curves(measured, {"cosine": Cosine()}, most=40)
    assert curves["gender"]["a"].keys() == curves["match"]["cosine"].keys() == {"before", "protected"}
    genuine, impostors, _ = every_pair(measured, "protected")
    thin = curves["match"]["cosine"]["protected"]
    whole = match_curve(np.array(genuine, np.float32), [np.array(impostors, np.float32)])
    corners = set(zip(whole.fmr.round(9), whole.tmr.round(9), strict=True))
    points = list(zip(thin["x"], thin["y"], strict=True))
    assert len(points) <= 40
    assert (points[0], points[-1]) == ((0, 0), (1, 1))
    assert max(y for x, y in points if x == 0) == pytest.approx(whole.tmr[whole.fmr == 0].max())
    assert sum((round(x, 9), round(y, 9)) in corners for x, y in points) >= len(points) - 2  # rounding of scores
    grid = np.linspace(0.001, 1, 500)
    gap = np.abs(np.interp(grid, thin["x"], thin["y"]) - np.interp(grid, whole.fmr, whole.tmr))
    assert gap.max() < 0.06
    m = measured["protected"]
    used = used_of(m, measured[BEFORE], m.gender >= 0)
    area = np.trapezoid(curves["gender"]["a"]["protected"]["y"], curves["gender"]["a"]["protected"]["x"])
    assert area == pytest.approx(sk.roc_auc_score(m.gender[used], m.columns["p_male/a"][used]), abs=0.02)
    assert all(type(v) is float for v in thin["x"])  # goes into JSON


def test_roc_of_one_class_is_absent(measured: dict[str, Measured]) -> None:
    for m in measured.values():
        m.gender[m.gender == 0] = -1
    assert summary.roc_curves(measured, {})["gender"] == {}


def test_pictures_of_is_the_table_itself(measured: dict[str, Measured], table: Table) -> None:
    assert pictures_of(measured[BEFORE], table) == table.rows
