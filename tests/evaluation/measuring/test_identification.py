"""1-to-n identification against plain loops over sorted candidate lists."""

from __future__ import annotations

import numpy as np
import pytest
from stand_ins import Cosine

from halfmask.datasets.pairs import Pair
from halfmask.errors import MetricError
from halfmask.evaluation.measuring import summary
from halfmask.evaluation.measuring.identification import Searches, cmc, ranks
from halfmask.evaluation.measuring.metrics import threshold_at_fpir
from halfmask.evaluation.measuring.protocol import BEFORE, Measured

PEOPLE, EACH, WIDE = 40, 4, 12
N = PEOPLE * EACH
LOST, FACELESS = [5, 9, 100, 101], 17


@pytest.fixture
def measured() -> dict[str, Measured]:
    """Each person's first picture is not protected; one picture is of nobody known, one shows no face."""
    rng = np.random.default_rng(11)
    centre = np.repeat(rng.normal(size=(PEOPLE, WIDE)), EACH, 0)
    attempted = np.arange(N) % EACH > 0
    identity: list[str | None] = [f"p{i // EACH}" for i in range(N)]
    identity[3] = None
    found = {}
    for name, noise in ((BEFORE, 0.6), ("protected", 1.1)):
        enrolled = np.ones(N, bool)
        enrolled[FACELESS] = False
        if name != BEFORE:
            enrolled[LOST] = enrolled[~attempted] = False
        x = centre + rng.normal(0, noise, (N, WIDE))
        x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        x[~enrolled] = np.nan
        keys = [f"{i}.png" for i in range(N)]
        gender = np.zeros(N, np.int64)
        found[name] = Measured(name, keys, gender, identity, enrolled, attempted, {"embed/cosine": x})
    return found


def test_rows_by_sorting_candidates(measured: dict[str, Measured]) -> None:
    found = summary.match_rows(measured, {"cosine": Cosine()}, fpirs=(0.1, 0.02), resamples=40)
    rows = {row["variant"]: row for row in found}
    before = measured[BEFORE]
    gallery = Searches(before).gallery.tolist()
    people = {before.identity[g] for g in gallery}
    assert len(people) == len(gallery) == PEOPLE // 2
    assert all(g % EACH == 0 for g in gallery)  # those that were not protected
    tops: dict[str, list[float]] = {}
    hits: dict[str, list[tuple[int, float]]] = {}
    for name, m in measured.items():
        tops[name], hits[name] = [], []
        for i in range(N):
            if i in gallery or i == FACELESS or before.identity[i] is None or i % EACH == 0:
                continue
            listed = []
            if m.enrolled[i]:
                x = m.columns["embed/cosine"][i].astype(np.float64)
                scores = [(float(x @ before.columns["embed/cosine"][g]), before.identity[g]) for g in gallery]
                listed = sorted(scores, reverse=True)
            if before.identity[i] in people:
                at = [k for k, (_, who) in enumerate(listed, 1) if who == before.identity[i]]
                hits[name].append((at[0], listed[at[0] - 1][0]) if at else (10**6, -np.inf))
            else:
                tops[name].append(listed[0][0] if listed else -np.inf)
    for name, row in rows.items():
        assert (row["gallery"], row["mated"], row["nonmated"]) == (20, len(hits[name]), len(tops[name]))
        assert row["rank1"] == pytest.approx(np.mean([k == 1 for k, _ in hits[name]]))
        assert row["rank1_low"] < row["rank1"] < row["rank1_high"]
        for share in (0.1, 0.02):
            ordered = sorted(tops[BEFORE], reverse=True)
            cut = ordered[int(share * len(ordered))] + 1e-6  # the first that may not be named
            assert row[f"fnir@{share:g}"] == pytest.approx(np.mean([score < cut for _, score in hits[name]]))
            assert row[f"fpir@{share:g}"] == pytest.approx(np.mean([score >= cut for score in tops[name]]))
    assert rows[BEFORE]["fpir@0.1"] <= 0.1
    assert rows[BEFORE]["rank1"] > rows["protected"]["rank1"]
    assert rows[BEFORE]["fnir@0.1"] < rows["protected"]["fnir@0.1"]
    curve = summary.roc_curves(measured, {"cosine": Cosine()})["cmc"]["cosine"]["protected"]
    assert (curve["x"][0], curve["x"][-1]) == (1, 20)
    for k, share in zip(curve["x"], curve["y"], strict=True):
        assert share == pytest.approx(np.mean([rank <= k for rank, _ in hits["protected"]]))
    assert curve["y"][-1] < 1  # lost faces are found at no rank


def test_an_fpir_that_the_searches_cannot_show_is_refused(measured: dict[str, Measured]) -> None:
    for row in summary.match_rows(measured, {"cosine": Cosine()}, fpirs=(0.001,), resamples=10):
        assert [row[f"{rate}@0.001{end}"] for rate in ("fnir", "fpir") for end in ("", "_low")] == [None] * 4
        assert "FPIR 0.1 % needs at least 1000 non-mated searches, got" in row["refused"]
        assert row["rank1"] is not None


def test_photos_of_nobody_known_are_searched_among_their_own_originals(measured: dict[str, Measured]) -> None:
    for m in measured.values():
        m.identity[:] = [None] * N
    pairs = [Pair(f"{i}.png", f"{i}.png", True) for i in range(N)]
    pairs += [Pair(f"{i}.png", f"{(i + 1) % N}.png", False) for i in range(N)]
    before, after = summary.match_rows(measured, {"cosine": Cosine()}, pairs, resamples=10)
    assert before["gallery"] == N // 2  # of 159 with a face
    assert before["rank1"] == 1
    assert 0 < after["rank1"] < 1
    assert after["mated"] + after["nonmated"] == sum(i % EACH > 0 for i in range(N)) - 1
    nobody = summary.match_rows(measured, {"cosine": Cosine()}, resamples=10)[0]
    assert (nobody["gallery"], nobody["rank1"]) == (0, None)
    assert "identification needs mated searches, got none" in nobody["refused"]
    assert summary.roc_curves(measured, {"cosine": Cosine()})["cmc"] == {}


def test_ties_and_the_lost_count_against_the_right_person(rng: np.random.Generator) -> None:
    scores = np.round(rng.normal(size=(50, 7)), 1)
    mates = rng.integers(0, 7, 50)
    scores[4] = -np.inf
    found = ranks(scores, mates)
    for line, mate, rank in zip(scores, mates, found, strict=True):
        others = [s for g, s in enumerate(line) if g != mate]
        assert rank == (8 if np.isinf(line[mate]) else 1 + sum(s >= line[mate] for s in others))
    shares = cmc(found, 7)
    assert shares.tolist() == [float(np.mean(found <= k)) for k in range(1, 8)]
    assert shares[-1] == pytest.approx(49 / 50)


def test_what_is_refused() -> None:
    with pytest.raises(MetricError, match=r"got \(3,\), \(3,\)"):
        ranks([0.1, 0.2, 0.3], [0, 1, 2])
    with pytest.raises(MetricError, match="needs mated searches, got none"):
        cmc([], 4)
    with pytest.raises(MetricError, match="an FPIR lies between 0 and 1, got 1"):
        threshold_at_fpir([0.1], 1)
