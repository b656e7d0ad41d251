"""Attackers that recognise: what they learn and wash out is known, and so is what is left of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_ins import Brightness

from halfmask.datasets.pairs import Pair
from halfmask.errors import DataError, MetricError
from halfmask.evaluation.attackers.recognising import LEARNED, UNPREPARED, Head, recognise, washed
from halfmask.evaluation.measuring.protocol import BEFORE, Measured
from halfmask.photos.detect import Face

PEOPLE, EACH, WIDE = 60, 3, 48  # as wide as the thumbnail
N = PEOPLE * EACH


class Thumbnail(Brightness):
    """Its descriptor is a thumbnail of the whole patch; counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0

    def embed(self, images: Sequence[np.ndarray], faces: Sequence[Face]) -> np.ndarray:
        self.asked += len(images)
        return super().embed(images, faces)


def measured_of(people: int = PEOPLE, seed: int = 3) -> dict[str, Measured]:
    """Descriptors of people who differ most in six directions, in which protection puts each photo elsewhere."""
    rng = np.random.default_rng(seed)
    n = people * EACH
    centre = np.repeat(rng.normal(size=(people, WIDE)), EACH, 0)
    directions = np.linalg.qr(rng.normal(size=(WIDE, WIDE)))[0][:6]
    centre += 3 * centre @ directions.T @ directions
    before = centre + rng.normal(0, 0.3, (n, WIDE))
    after = before + 8 * rng.normal(size=(n, 6)) @ directions + 4 * directions[0]
    enrolled = np.ones(n, bool)
    found = {}
    keys = [f"{i}.png" for i in range(n)]
    identity: list[str | None] = [f"p{i // EACH}" for i in range(n)]
    box = np.tile([10.0, 10, 40, 40], (n, 1)).astype(np.float32)
    points = np.tile([[20.0, 25], [40, 25], [30, 35], [22, 44], [38, 44]], (n, 1, 1)).astype(np.float32)
    for name, x in ((BEFORE, before), ("protected", after)):
        columns = {
            "embed/b": (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32),
            "box": box,
            "points": points,
        }
        found[name] = Measured(name, keys, np.zeros(n, np.int64), identity, enrolled, enrolled.copy(), columns)
    return found


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    rng = np.random.default_rng(1)
    paths = {f"{i}.png": tmp_path / f"{i}.png" for i in range(N)}
    for path in paths.values():
        cv2.imwrite(str(path), rng.integers(0, 255, (60, 60, 3), np.uint8))
    return paths


def test_a_head_whitens_what_differs_within_people() -> None:
    m = measured_of()
    before, after = (m[name].columns["embed/b"] for name in (BEFORE, "protected"))
    persons = m[BEFORE].persons
    head = Head.learn("h", before, after, persons, persons)
    a, b = head.mapped(before, False), head.mapped(after, True)
    assert np.allclose(np.linalg.norm(a, axis=1), 1, atol=1e-5)
    # the covariance of what it learned from, within people and after the map, by its definition
    unit = [x / np.linalg.norm(x, axis=1, keepdims=True) for x in (before.astype(float), after.astype(float))]
    moved = np.concatenate([(u - u.mean(0)) @ head.matrix for u in unit])
    who = np.concatenate([np.arange(N) // EACH] * 2)
    rest = np.concatenate([moved[who == i] - moved[who == i].mean(0) for i in range(PEOPLE)])
    spread = np.linalg.eigvalsh(rest.T @ rest / len(rest))
    assert spread.max() < 1.3
    assert spread.max() / np.median(spread) < 3
    assert head.score(a, b) == pytest.approx(np.diag(head.score_matrix(a, b)), abs=1e-5)
    with pytest.raises(NotImplementedError, match="ask that one"):
        head.embed([], [])
    with pytest.raises(MetricError, match="10 people or more, got 9"):
        Head.learn("h", before, after[:27], persons, persons[:27])


def test_who_learned_from_other_people_recognises_more(files: dict[str, Path], tmp_path: Path) -> None:
    m = measured_of()
    rows = recognise(m, files, {"b": Thumbnail()}, folder=tmp_path, fmrs=(0.05,), resamples=20, quiet=True)
    by = {(r["attack"], r["variant"]): r for r in rows}
    assert list(by) == [
        (UNPREPARED, BEFORE), (UNPREPARED, "protected"),
        *((f"washed: {step}", "protected") for step in ("JPEG", "blur", "denoise", "resize")),
        (LEARNED, BEFORE), (LEARNED, "protected"),
    ]  # fmt: skip
    assert {r["people"] for r in rows} == {PEOPLE // 2}
    assert {r["genuine"] for r in rows} == {PEOPLE // 2 * EACH * (EACH - 1)}
    assert {r["impostors"] for r in rows} == {(90 * 89 - 90 * 2) // 2}  # the attackers' people are in no pair
    assert by[LEARNED, "protected"]["n_train"] == N // 2
    assert by[UNPREPARED, "protected"]["n_train"] == 0
    assert by[UNPREPARED, "protected"]["tmr@0.05"] < 0.8
    assert by[LEARNED, "protected"]["tmr@0.05"] > 0.95
    assert by[LEARNED, BEFORE]["tmr@0.05"] > 0.9
    assert by[LEARNED, "protected"]["auc"] > by[UNPREPARED, "protected"]["auc"] + 0.05
    assert by["washed: blur", "protected"]["auc"] == pytest.approx(0.5, abs=0.1)  # of noise no face is left


def test_own_pairs_of_people_nobody_knows(files: dict[str, Path], tmp_path: Path) -> None:
    m = measured_of()
    for side in m.values():
        side.identity[:] = [None] * N
    pairs = [Pair(k, k, True) for k in files] + [Pair(a, b, False) for a in files for b in list(files)[:40] if a != b]
    rows = recognise(m, files, {"b": Thumbnail()}, pairs, folder=tmp_path, fmrs=(0.05,), resamples=10, quiet=True)
    assert {r["genuine"] for r in rows} == {N // 2}
    assert {r["tmr@0.05"] for r in rows if r["variant"] == BEFORE} == {1.0}
    learned, plain = (next(r for r in rows if r["attack"] == a and r["variant"] != BEFORE) for a in (LEARNED, "none"))
    assert learned["auc"] > plain["auc"]


def test_washing_is_done_once_and_shows_the_washed_photo(files: dict[str, Path], tmp_path: Path) -> None:
    m = measured_of()["protected"]
    m.enrolled[4] = m.attempted[5] = False
    matcher = Thumbnail()
    found = washed(m, files, {"b": matcher}, tmp_path, quiet=True)
    assert matcher.asked == 4 * (N - 2)
    again = washed(m, files, {"b": matcher}, tmp_path, quiet=True)
    assert matcher.asked == 4 * (N - 2)
    for step, side in found.items():
        values = side.answers("embed")["b"]
        assert np.array_equal(values, again[step].answers("embed")["b"], equal_nan=True)
        assert np.isnan(values[[4, 5]]).all()
        assert np.isfinite(np.delete(values, [4, 5], 0)).all()
    photo = cv2.imread(str(files["0.png"]))[..., ::-1]
    small = cv2.resize(photo, (30, 30), interpolation=cv2.INTER_AREA)
    resized = cv2.resize(small, (60, 60), interpolation=cv2.INTER_CUBIC)
    expected = matcher.embed([resized], [])[0]
    assert np.allclose(found["resize"].answers("embed")["b"][0], expected, atol=1e-5)
    files["0.png"].write_bytes(b"torn")
    with pytest.raises(DataError, match=r"0\.png could be read when"):
        washed(m, files, {"b": matcher}, tmp_path, quiet=True)


def test_too_few_people_are_refused(files: dict[str, Path], tmp_path: Path) -> None:
    m = measured_of(15)
    with pytest.raises(MetricError, match="8 people are left to be judged on, expected 10"):
        recognise(m, files, {"b": Thumbnail()}, folder=tmp_path, quiet=True)
    with pytest.raises(MetricError, match="expected measurements of 'before' and one variant"):
        recognise({BEFORE: m[BEFORE]}, files, {}, folder=tmp_path)
