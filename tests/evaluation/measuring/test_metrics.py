"""Metrics against scikit-learn, scikit-image, values worked by hand, and brute force."""

from __future__ import annotations

import math
import tracemalloc

import numpy as np
import pytest
import skimage.metrics
import sklearn.metrics
from hypothesis import given
from hypothesis import strategies as st
from slow_bootstrap import bootstrap

from halfmask.errors import MetricError
from halfmask.evaluation.measuring import metrics
from halfmask.evaluation.measuring.matching import all_pairs, pair_blocks

Rng = np.random.Generator


@pytest.fixture
def two(rng: Rng) -> tuple[np.ndarray, np.ndarray]:
    """500 labels and overlapping scores."""
    labels = rng.integers(0, 2, 500)
    return labels, np.clip(rng.normal(0.4 + 0.2 * labels, 0.2), 0, 1)


# ---------------------------------------------------------------- two classes


def test_curves_are_scikit_learns(two: tuple[np.ndarray, np.ndarray]) -> None:
    fpr, tpr, thresholds = sklearn.metrics.roc_curve(*two)
    got = metrics.roc(*two)
    np.testing.assert_array_equal(got.fpr, fpr)
    np.testing.assert_array_equal(got.tpr, tpr)
    np.testing.assert_array_equal(got.thresholds, thresholds)
    assert metrics.auc(*two) == sklearn.metrics.roc_auc_score(*two)


def test_auc_is_the_share_of_ordered_pairs(two: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = two
    gap = scores[labels == 1][:, None] - scores[labels == 0][None]
    assert metrics.auc(labels, scores) == pytest.approx(np.mean(gap > 0) + 0.5 * np.mean(gap == 0))


def test_eer_lies_between_the_errors_at_the_nearest_thresholds(two: tuple[np.ndarray, np.ndarray]) -> None:
    labels, scores = two
    fpr = np.array([np.mean(scores[labels == 0] >= t) for t in np.sort(scores)])
    fnr = np.array([np.mean(scores[labels == 1] < t) for t in np.sort(scores)])
    i = np.argmax(fnr >= fpr)
    assert max(fpr[i], fnr[i - 1]) <= metrics.eer(labels, scores) + 1e-12
    assert metrics.eer(labels, scores) <= min(fpr[i - 1], fnr[i]) + 1e-12


@pytest.mark.parametrize(
    ("scores", "expected"),
    [
        ([0.1, 0.2, 0.8, 0.9], 0.0),
        ([0.9, 0.8, 0.2, 0.1], 1.0),
        ([0.5, 0.5, 0.5, 0.5], 0.5),
        ([0.1, 0.8, 0.2, 0.9], 0.5),
    ],
)
def test_eer_by_hand(scores: list[float], expected: float) -> None:
    assert metrics.eer([0, 0, 1, 1], scores) == expected


def test_eer_between_two_points() -> None:
    # 3 impostors, 2 genuine: at 0.5 FPR 1/3 and FNR 0; at 0.6 FPR 1/3, FNR 1/2; so FNR passes 1/3 while FPR stays there
    assert metrics.eer([0, 0, 0, 1, 1], [0.1, 0.2, 0.7, 0.5, 0.9]) == pytest.approx(1 / 3)


def test_error_and_balanced_accuracy_by_hand() -> None:
    labels, scores = [0, 0, 0, 1], [0.2, 0.7, 0.1, 0.5]
    assert metrics.error_rate(labels, scores) == 0.25  # 0.5 answers 1
    assert metrics.error_rate(labels, scores, threshold=0.6) == 0.5
    assert metrics.balanced_accuracy(labels, scores) == pytest.approx((2 / 3 + 1) / 2)


@pytest.mark.parametrize("metric", [metrics.roc, metrics.auc, metrics.eer, metrics.balanced_accuracy])
def test_one_class_only_is_refused(metric: object) -> None:
    with pytest.raises(MetricError, match="all 3 labels are 1; this figure needs faces of both classes"):
        metric([1, 1, 1], [0.1, 0.2, 0.3])  # type: ignore[operator]


@pytest.mark.parametrize(
    ("labels", "scores", "reason"),
    [
        ([0, 1], [0.1], "2 labels and 1 scores"),
        ([], [], "no labelled face"),
        ([0, 2], [0.1, 0.2], "labels are 0 or 1"),
        ([0, 1], [0.1, math.nan], "1 of 2 scores are missing"),
        ([0, 1], [0.1, math.inf], "1 of 2 scores are missing"),
        ([0, None], [0.1, 0.2], "expected one number a row as label"),
        ([0, 1], [[0.1], [0.2]], "expected one number a row as score"),
    ],
)
def test_bad_labels_and_scores(labels: list, scores: list, reason: str) -> None:
    with pytest.raises(MetricError, match=reason):
        metrics.error_rate(np.array(labels), np.array(scores))


# ------------------------------------------------------------------- matching


@given(st.lists(st.integers(0, 50), min_size=10, max_size=200), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
def test_threshold_is_the_lowest_that_keeps_the_fmr(scores: list[int], fmr: float) -> None:
    x = np.array(scores, np.float64)
    t = metrics.threshold_at_fmr(x, fmr)
    assert np.mean(x >= t) <= fmr + 1e-12
    lower = x[x < t].max()  # some score is below, since fmr < 1
    assert np.mean(x >= lower) > fmr


def test_threshold_of_float32_holds_for_float32(rng: Rng) -> None:
    x = rng.normal(size=1000).astype(np.float32)
    assert np.mean(x >= metrics.threshold_at_fmr(x, 0.01)) == 0.01
    assert metrics.match_rate(x, metrics.threshold_at_fmr(x.astype(np.float64), 0.01)) == 0.01


@pytest.mark.parametrize(("fmr", "needed"), [(0.01, 100), (0.001, 1000), (0.0001, 10000)])
def test_too_few_impostors_are_refused(fmr: float, needed: int) -> None:
    metrics.threshold_at_fmr(np.arange(needed), fmr)
    with pytest.raises(MetricError, match=f"needs at least {needed} impostor pairs, got {needed - 1}"):
        metrics.threshold_at_fmr(np.arange(needed - 1), fmr)


@pytest.mark.parametrize("fmr", [0.0, 1.0, -0.1, 1.5])
def test_fmr_out_of_range(fmr: float) -> None:
    with pytest.raises(MetricError, match="lies between 0 and 1"):
        metrics.threshold_at_fmr(np.arange(100), fmr)


def test_threshold_comes_from_the_originals() -> None:
    originals = np.arange(1000) / 1000
    protected = np.array([0.5, 0.995, 0.992, -np.inf])
    # ten of a thousand originals may pass: those from 0.990, so the threshold lies just above 0.989
    threshold = metrics.threshold_at_fmr(originals, 0.01)
    assert metrics.match_rate(protected, threshold) == 0.5
    assert metrics.match_rate([0.99], threshold) == 1.0
    assert metrics.match_rate([0.989], threshold) == 0.0


def test_no_pair_has_no_rate() -> None:
    with pytest.raises(MetricError, match="at least one pair"):
        metrics.match_rate([], 0.5)


def test_lost_faces_rank_last() -> None:
    assert metrics.auc([0, 1, 1], [0.0, 0.5, -np.inf]) == 0.5


def test_match_probability_keeps_the_order(rng: Rng) -> None:
    d = rng.random(50) * 3
    p = metrics.match_probability(d)
    np.testing.assert_allclose(p, 1 / (1 + d**2))
    np.testing.assert_array_equal(np.argsort(-d), np.argsort(p))


def cosine(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a @ b.T


@pytest.fixture
def gallery(rng: Rng) -> tuple[np.ndarray, list[str]]:
    persons = [f"p{i}" for i in rng.integers(0, 20, 90)]
    x = rng.normal(size=(90, 16)).astype(np.float32)
    return x / np.linalg.norm(x, axis=1, keepdims=True), persons


@pytest.mark.parametrize("rows", [1, 7, 256])
def test_blocks_hold_every_pair_once(gallery: tuple[np.ndarray, list[str]], rows: int) -> None:
    x, persons = gallery
    expected = [(float(x[i] @ x[j]), persons[i] == persons[j]) for i in range(len(x)) for j in range(len(x)) if i < j]
    blocks = list(pair_blocks(x, persons, cosine, rows))
    got = sorted(zip(np.concatenate([b[0] for b in blocks]), np.concatenate([b[1] for b in blocks]), strict=True))
    expected.sort()
    np.testing.assert_allclose([s for s, _ in got], [s for s, _ in expected], atol=1e-6)
    assert sum(same for _, same in got) == sum(same for _, same in expected)


def test_all_pairs_gives_exact_thresholds(gallery: tuple[np.ndarray, list[str]]) -> None:
    x, persons = gallery
    blocks = list(pair_blocks(x, persons, cosine, rows=8))
    impostors = np.concatenate([s[~same] for s, same in blocks])
    pairs = all_pairs(x, persons, cosine, fmr=0.05, rows=8)
    assert pairs.impostors == len(impostors)
    for fmr in (0.05, 0.01, 0.003):
        assert pairs.threshold(fmr) == metrics.threshold_at_fmr(impostors, fmr)
    with pytest.raises(MetricError, match="highest impostor scores"):
        pairs.threshold(0.2)
    with pytest.raises(MetricError, match="needs at least 10000 impostor pairs"):
        pairs.threshold(0.0001)


def test_two_million_pairs_in_little_memory(rng: Rng) -> None:
    x = rng.normal(size=(2000, 8)).astype(np.float32)
    persons = [f"p{i // 2}" for i in range(2000)]
    tracemalloc.start()
    pairs = all_pairs(x, persons, cosine, fmr=0.001)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert pairs.impostors == 2000 * 1999 // 2 - 1000
    assert len(pairs.genuine) == 1000
    assert peak < 20e6  # all scores together take 16 MB in float64, besides indices


def test_pairs_want_a_person_each() -> None:
    with pytest.raises(MetricError, match="got 3 descriptors, 2 persons"):
        list(pair_blocks(np.eye(3, dtype=np.float32), ["a", "b"], cosine))


# ------------------------------------------------------------------------ age


def test_age_errors_are_scikit_learns(rng: Rng) -> None:
    true, said = rng.integers(1, 80, 200), rng.random(200) * 80
    assert metrics.mae(true, said) == pytest.approx(sklearn.metrics.mean_absolute_error(true, said))
    assert metrics.rmse(true, said) == pytest.approx(sklearn.metrics.root_mean_squared_error(true, said))
    assert metrics.cumulative_score(true, said, 7) == np.mean(
        [abs(a - b) <= 7 for a, b in zip(true, said, strict=True)]
    )


def test_ages_must_be_there() -> None:
    with pytest.raises(MetricError, match="0 true and 0 estimated"):
        metrics.mae([], [])
    with pytest.raises(MetricError, match="missing"):
        metrics.mae([20.0, math.nan], [20.0, 21.0])


# ---------------------------------------------------------------------- looks


@pytest.mark.parametrize("shape", [(20, 24), (20, 24, 3)])
def test_looks_are_scikit_images(rng: Rng, shape: tuple[int, ...]) -> None:
    a = rng.random(shape)
    b = np.clip(a + rng.normal(size=shape) * 0.1, 0, 1)
    axis = -1 if len(shape) == 3 else None
    assert metrics.ssim(a, b) == pytest.approx(
        skimage.metrics.structural_similarity(a, b, data_range=1.0, channel_axis=axis)
    )
    assert metrics.psnr(a, b) == pytest.approx(skimage.metrics.peak_signal_noise_ratio(a, b, data_range=1.0))
    assert metrics.l2(a, b) == pytest.approx(math.sqrt(((a - b) ** 2).sum()))
    assert metrics.linf(a, b) == pytest.approx(max(abs(a - b).ravel()))


def test_mssim_is_wangs_formula(rng: Rng) -> None:
    """Wang et al. 2004, eq. 13, at the one place where an 11 x 11 window fits an 11 x 11 picture."""
    a, b = rng.random((11, 11)), rng.random((11, 11))
    g = np.exp(-((np.arange(11) - 5) ** 2) / (2 * 1.5**2))
    w = np.outer(g, g) / np.outer(g, g).sum()
    ma, mb = (w * a).sum(), (w * b).sum()
    va, vb, cov = (w * a * a).sum() - ma**2, (w * b * b).sum() - mb**2, (w * a * b).sum() - ma * mb
    c1, c2 = 0.01**2, 0.03**2
    expected = (2 * ma * mb + c1) * (2 * cov + c2) / ((ma**2 + mb**2 + c1) * (va + vb + c2))
    assert metrics.mssim(a, b) == pytest.approx(expected, rel=1e-6)


def test_bytes_and_floats_agree(rng: Rng) -> None:
    a, b = rng.integers(0, 256, (16, 16), np.uint8), rng.integers(0, 256, (16, 16), np.uint8)
    for metric in (metrics.ssim, metrics.mssim, metrics.psnr, metrics.l2, metrics.linf):
        assert metric(a, b) == pytest.approx(metric(a / 255, b / 255))
    assert metrics.psnr(a, a) == math.inf


def test_unlike_pictures_are_refused() -> None:
    with pytest.raises(MetricError, match="pictures differ"):
        metrics.psnr(np.zeros((8, 8)), np.zeros((8, 9)))
    with pytest.raises(MetricError, match="pictures differ"):
        metrics.l2(np.zeros((8, 8)), np.zeros((8, 8), np.uint8))
    with pytest.raises(MetricError, match="at least 11 x 11"):
        metrics.mssim(np.zeros((10, 30)), np.zeros((10, 30)))


# ---------------------------------------------------------------- uncertainty


def mean(x: np.ndarray) -> float:
    return float(np.mean(x))


def test_bootstrap_is_repeatable_and_holds_the_value(rng: Rng) -> None:
    x, persons = rng.normal(size=200), np.repeat(np.arange(100), 2)
    first, second = (bootstrap(mean, x, persons=persons, n=300, seed=7) for _ in range(2))
    assert first == second
    assert first.value == mean(x)
    assert first.low < first.value < first.high
    assert bootstrap(mean, x, persons=persons, n=300, seed=8) != first


def test_bootstrap_width_follows_persons_not_pictures(rng: Rng) -> None:
    """100 persons with 10 equal pictures each tell as little as 100 pictures: the width is that of sd / sqrt(100)."""
    per_person = rng.normal(size=100)
    got = bootstrap(mean, np.repeat(per_person, 10), persons=np.repeat(np.arange(100), 10), n=2000)
    expected = 2 * 1.96 * per_person.std() / 10
    assert (got.high - got.low) == pytest.approx(expected, rel=0.15)


def test_bootstrap_covers(rng: Rng) -> None:
    hits = 0
    for seed in range(100):
        x = rng.normal(size=60)
        got = bootstrap(mean, x, persons=np.arange(60), n=200, seed=seed)
        hits += got.low <= 0 <= got.high
    assert 85 <= hits <= 100  # 95 % nominal, 200 resamples of 60


def test_bootstrap_of_pairs_weighs_by_both_persons() -> None:
    """With people a and b only, a pair (a, b) is in a sample when both were drawn, (a, a) as often as a was."""
    seen: set[tuple[int, int, int]] = set()

    def count(values: np.ndarray) -> float:
        seen.add(tuple(int(np.sum(values == v)) for v in (0, 1, 2)))  # type: ignore[arg-type]
        return 0.0

    persons = np.array([["a", "a"], ["a", "b"], ["b", "b"]])
    bootstrap(count, np.array([0, 1, 2]), persons=persons, n=200)
    assert seen == {(1, 1, 1), (2, 0, 0), (0, 0, 2)}  # the value itself and one each; a twice; b twice


def test_bootstrap_leaves_out_samples_without_a_class() -> None:
    labels, scores = np.array([0, 0, 0, 1, 1, 1]), np.array([0.1, 0.6, 0.2, 0.5, 0.9, 0.8])
    got = bootstrap(metrics.auc, labels, scores, persons=np.arange(6), n=500)
    assert 400 < got.resamples < 500


def test_bootstrap_refuses() -> None:
    with pytest.raises(MetricError, match="at least two persons, got 1"):
        bootstrap(mean, [1.0, 2.0], persons=["a", "a"])
    with pytest.raises(MetricError, match="2 persons for data of"):
        bootstrap(mean, [1.0, 2.0, 3.0], persons=["a", "b"])
    with pytest.raises(MetricError, match="give more persons"):
        bootstrap(metrics.auc, [0, 1], [0.1, 0.2], persons=["a", "b"], n=101, seed=3)
