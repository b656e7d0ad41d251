"""What is measured, as small pure functions on arrays.

Words: FMR, FNMR, TMR = 1 - FNMR and EER are those of ISO/IEC 19795-1. A score is higher for the same person, a
probability is that of male (class 1). Thresholds come from *original* images and are carried over to protected ones.

Privacy is distance from chance: an attacker who knows that answers are flipped flips them back.

A function that cannot answer honestly raises :class:`~halfmask.errors.MetricError` and says why.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...errors import MetricError, extra, missing

try:
    from sklearn import metrics as _sk
except ImportError as absent:  # pragma: no cover - depends on the installation
    raise missing(["sklearn"], "measuring") from absent

Numbers = NDArray[np.float64]


# ---------------------------------------------------------------- two classes


class Roc(NamedTuple):
    """False positive rate against true positive rate, with the threshold (score >= threshold is positive) of each."""

    fpr: Numbers
    tpr: Numbers
    thresholds: Numbers


def roc(labels: ArrayLike, scores: ArrayLike) -> Roc:
    """The receiver operating characteristic of ``scores`` (N,) for ``labels`` (N,) of 0 and 1 (scikit-learn).

    >>> roc([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.8]).tpr.tolist()
    [0.0, 0.5, 0.5, 1.0, 1.0]
    """
    y, s = _two_classes(labels, scores)
    return Roc(*_sk.roc_curve(y, s))


def auc(labels: ArrayLike, scores: ArrayLike) -> float:
    """Area under the ROC, in [0, 1]; 0.5 is chance, 0 is as telling as 1 (scikit-learn).

    >>> auc([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.8])
    0.75
    """
    return float(_sk.roc_auc_score(*_two_classes(labels, scores)))


def eer(labels: ArrayLike, scores: ArrayLike) -> float:
    """Equal error rate, in [0, 1]: where the straight line between the two nearest points of the ROC has FPR = FNR.

    >>> eer([0, 0, 1, 1], [0.1, 0.6, 0.4, 0.8])
    0.5
    """
    y, s = _two_classes(labels, scores)
    fpr, tpr, _ = _sk.roc_curve(y, s, drop_intermediate=False)
    return crossing(fpr, tpr)


def crossing(fpr: Numbers, tpr: Numbers) -> float:
    """Where a ROC of straight lines between its corners, from (0, 0) to (1, 1), has FPR = 1 - TPR, in [0, 1].

    >>> crossing(np.array([0.0, 0.0, 1.0]), np.array([0.0, 0.75, 1.0]))
    0.2
    """
    gap = fpr - (1 - tpr)  # rises from -1 to 1
    i = int(np.searchsorted(gap, 0.0))
    part = -gap[i - 1] / (gap[i] - gap[i - 1])
    return float(fpr[i - 1] + part * (fpr[i] - fpr[i - 1]))


def error_rate(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Share of wrong answers, in [0, 1], where score >= threshold answers 1: the SAN papers' gender error.

    >>> error_rate([0, 0, 1, 1], [0.1, 0.6, 0.7, 0.8])
    0.25
    """
    y, s = _labelled(labels, scores)
    return float(np.mean((s >= threshold) != (y == 1)))


def balanced_accuracy(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> float:
    """Mean of the two classes' shares of right answers, in [0, 1]; 0.5 is chance (scikit-learn).

    >>> balanced_accuracy([0, 0, 0, 1], [0.1, 0.2, 0.6, 0.9])
    0.8333333333333333
    """
    y, s = _two_classes(labels, scores)
    return float(_sk.balanced_accuracy_score(y, s >= threshold))


# ------------------------------------------------------------------- matching


def threshold_at_fmr(impostors: ArrayLike, fmr: float, *, pairs: int | None = None) -> float:
    """The lowest threshold at which at most a share ``fmr`` of impostor pairs matches (score >= threshold).

    ``impostors`` are scores (N,), ``fmr`` lies in (0, 1). When they are only the highest of many, ``pairs`` says how
    many there are in all (see :mod:`halfmask.evaluation.measuring.matching`). Refuses, with
    :class:`~halfmask.errors.MetricError`, when there are fewer than 1/fmr pairs: no threshold could then be told from a
    stricter one.

    >>> threshold_at_fmr(range(100), 0.01) > 98
    True
    >>> threshold_at_fmr(range(100), 0.001)
    Traceback (most recent call last):
    halfmask.errors.MetricError: FMR 0.1 % needs at least 1000 impostor pairs, got 100; ...
    """
    return _threshold(impostors, fmr, "FMR", "impostor pairs", pairs)


def threshold_at_fpir(best: ArrayLike, fpir: float) -> float:
    """The lowest threshold at which at most a share ``fpir`` of non-mated searches names somebody (best >= threshold).

    ``best`` (N,) is the highest score of each search of a gallery that the person is not in, ``fpir`` lies in (0, 1).
    Refuses, with :class:`~halfmask.errors.MetricError`, when there are fewer than 1/fpir searches.

    >>> threshold_at_fpir(range(100), 0.01) > 98
    True
    """
    return _threshold(best, fpir, "FPIR", "non-mated searches")


def _threshold(given: ArrayLike, share: float, rate: str, what: str, pairs: int | None = None) -> float:
    """The lowest threshold that at most a share of the scores reach, which are the highest of ``pairs`` in all."""
    if not 0 < share < 1:
        raise MetricError(f"an {rate} lies between 0 and 1, got {share:g}")
    scores = np.asarray(given)
    scores = _numbers(scores if scores.dtype.kind == "f" else scores.astype(np.float64), "impostor score")
    total = len(scores) if pairs is None else pairs
    needed = int(np.ceil(1 / share - 1e-9))
    if total < needed:
        raise MetricError(
            f"{rate} {share * 100:g} % needs at least {needed} {what}, got {total}; "
            f"give more {what.split()[-1]} or ask for a higher {rate}"
        )
    allowed = int(np.floor(share * total + 1e-9))
    if len(scores) <= allowed:
        raise MetricError(
            f"{rate} {share * 100:g} % of {total} {what.split()[-1]} needs the {allowed + 1} highest impostor scores, "
            f"got {len(scores)}"
        )
    first_refused = np.partition(scores, len(scores) - allowed - 1)[len(scores) - allowed - 1]
    return float(np.nextafter(first_refused, np.array(np.inf, scores.dtype)))


def match_rate(scores: ArrayLike, threshold: float) -> float:
    """Share of pairs with score >= threshold: TMR of genuine pairs, FMR of impostor pairs.

    A pair whose face could not be enrolled has the score -inf: it counts, and does not match.

    >>> match_rate([0.9, 0.5, float("-inf"), 0.7], 0.6)
    0.5
    """
    values = _numbers(scores, "score")
    if values.size == 0:
        raise MetricError("a match rate needs at least one pair, got none")
    return float(np.mean(values.astype(np.float64) >= threshold))  # float32 would round the threshold


def match_probability(distance: ArrayLike) -> Numbers:
    """1 / (1 + d^2) of a descriptor distance d >= 0: the match score of the SAN reports' ROC curves, in (0, 1].

    >>> match_probability([0.0, 1.0, 3.0]).tolist()
    [1.0, 0.5, 0.1]
    """
    d = np.asarray(distance, np.float64)
    return np.asarray(1.0 / (1.0 + d * d))


# ------------------------------------------------------------------------ age


def mae(true: ArrayLike, estimated: ArrayLike) -> float:
    """Mean absolute error, years.

    >>> mae([20, 30], [23, 29])
    2.0
    """
    return float(np.mean(np.abs(_ages(true, estimated))))


def rmse(true: ArrayLike, estimated: ArrayLike) -> float:
    """Root mean squared error, years.

    >>> rmse([20, 30], [21, 37])
    5.0
    """
    return float(np.sqrt(np.mean(_ages(true, estimated) ** 2)))


def cumulative_score(true: ArrayLike, estimated: ArrayLike, years: float = 5.0) -> float:
    """CS(L): share of faces whose age is missed by at most ``years``, in [0, 1].

    >>> cumulative_score([20, 30, 40], [25, 36, 40])
    0.6666666666666666
    """
    return float(np.mean(np.abs(_ages(true, estimated)) <= years))


# ---------------------------------------------------------------------- looks


def ssim(before: ArrayLike, after: ArrayLike) -> float:
    """Structural similarity, 1 for equal pictures: scikit-image's defaults, a uniform 7 x 7 window, sample covariance.

    Pictures are uint8 or float in [0, 1], (H, W) or (H, W, 3), both alike, at least 7 x 7; channels are averaged.

    >>> gray = np.linspace(0, 1, 256).reshape(16, 16)
    >>> ssim(gray, gray), round(ssim(gray, 1 - gray), 2)
    (1.0, -0.74)
    """
    return _structural(before, after)


def mssim(before: ArrayLike, after: ArrayLike) -> float:
    """Mean structural similarity as Wang et al. 2004 define it, and as P-FGVM reports it; at least 11 x 11 pixels.

    As :func:`ssim` but with a Gaussian window of sigma 1.5 (11 x 11), population covariance.

    >>> gray = np.linspace(0, 1, 256).reshape(16, 16)
    >>> mssim(gray, gray)
    1.0
    """
    return _structural(before, after, gaussian_weights=True, sigma=1.5, use_sample_covariance=False)


def psnr(before: ArrayLike, after: ArrayLike) -> float:
    """Peak signal-to-noise ratio in dB for a peak of 1 (of 255 in uint8); infinite for equal pictures (scikit-image).

    >>> round(psnr([[0.0, 0.5]], [[0.1, 0.4]]), 6)
    20.0
    """
    a, b = _alike(before, after)
    if np.array_equal(a, b):
        return float("inf")
    return float(_skimage().peak_signal_noise_ratio(a, b, data_range=1.0))


def l2(before: ArrayLike, after: ArrayLike) -> float:
    """Euclidean length of the change over all pixels and channels, in units of the full range.

    >>> l2([[0.0, 0.5]], [[0.3, 0.9]])
    0.5
    """
    a, b = _alike(before, after)
    return float(np.linalg.norm(b - a))


def linf(before: ArrayLike, after: ArrayLike) -> float:
    """The largest change of any pixel and channel, in [0, 1].

    >>> linf([[0.0, 0.5]], [[0.3, 0.9]])
    0.4
    """
    a, b = _alike(before, after)
    return float(np.abs(b - a).max())


# --------------------------------------------------------------------- checks


def _numbers(values: ArrayLike, what: str) -> NDArray[Any]:
    array = np.asarray(values)
    if array.ndim != 1 or array.dtype.kind not in "biuf":
        raise MetricError(f"expected one number a row as {what}, got {array.dtype} of shape {array.shape}")
    missing = int((np.isnan(array) | np.isposinf(array)).sum())
    if missing:
        raise MetricError(
            f"{missing} of {len(array)} {what}s are missing (NaN or inf); leave them out and say how many"
        )
    return array


def _labelled(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
    y, s = _numbers(labels, "label"), _numbers(scores, "score")
    if len(y) != len(s):
        raise MetricError(f"got {len(y)} labels and {len(s)} scores, expected as many")
    if len(y) == 0:
        raise MetricError("got no labelled face, expected at least one")
    if not np.isin(y, (0, 1)).all():
        raise MetricError(f"labels are 0 or 1, got {sorted(set(y.tolist()))[:5]}")
    return y.astype(np.int64), s


def _two_classes(labels: ArrayLike, scores: ArrayLike) -> tuple[NDArray[np.int64], NDArray[Any]]:
    y, s = _labelled(labels, scores)
    ones = int(y.sum())
    if ones in (0, len(y)):
        raise MetricError(f"all {len(y)} labels are {int(y[0])}; this figure needs faces of both classes")
    # scikit-learn refuses infinities; what could not be enrolled ranks below everything
    return y, np.where(np.isneginf(s), np.finfo(np.float64).min, s)


def _ages(true: ArrayLike, estimated: ArrayLike) -> Numbers:
    a, b = _numbers(true, "age"), _numbers(estimated, "age")
    if len(a) != len(b) or len(a) == 0:
        raise MetricError(f"got {len(a)} true and {len(b)} estimated ages, expected as many, and at least one")
    return b.astype(np.float64) - a.astype(np.float64)


def _alike(before: ArrayLike, after: ArrayLike) -> tuple[Numbers, Numbers]:
    a, b = np.asarray(before), np.asarray(after)
    if a.shape != b.shape or a.dtype != b.dtype or a.size == 0:
        raise MetricError(
            f"pictures differ: {a.dtype} {a.shape} before, {b.dtype} {b.shape} after; expected both alike"
        )
    scale = 255.0 if a.dtype == np.uint8 else 1.0
    return a.astype(np.float64) / scale, b.astype(np.float64) / scale


def _skimage() -> Any:
    return extra("skimage.metrics", "what is measured of pictures (SSIM, PSNR)")


def _structural(before: ArrayLike, after: ArrayLike, **settings: Any) -> float:
    a, b = _alike(before, after)
    least = 11 if settings else 7
    if a.ndim not in (2, 3) or min(a.shape[:2]) < least:
        raise MetricError(f"SSIM wants (H, W) or (H, W, C) of at least {least} x {least} pixels, got {a.shape}")
    channel = -1 if a.ndim == 3 else None
    return float(_skimage().structural_similarity(a, b, data_range=1.0, channel_axis=channel, **settings))
