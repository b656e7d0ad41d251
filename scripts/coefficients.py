"""Both aims in one number, as papers give them; halfmask's own tables give the figures themselves.

from coefficients import pic, suppression_rate, two_class_summary
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from halfmask.errors import MetricError
from halfmask.evaluation.measuring.metrics import auc, balanced_accuracy, eer, error_rate


def folded(rate: float) -> float:
    """min(x, 1 - x): what is left of an error, accuracy, AUC or EER when the attacker may invert the answer.

    >>> folded(0.75)
    0.25
    """
    return min(rate, 1.0 - rate)


def two_class_summary(labels: ArrayLike, scores: ArrayLike, threshold: float = 0.5) -> dict[str, float]:
    """Error, balanced accuracy, AUC and EER of a gender referee, each also :func:`folded`, and the sample size ``n``.

    >>> two_class_summary([0, 0, 1, 1], [0.9, 0.8, 0.1, 0.2])["folded_auc"]
    0.0
    """
    figures = {
        "error": error_rate(labels, scores, threshold),
        "balanced_accuracy": balanced_accuracy(labels, scores, threshold),
        "auc": auc(labels, scores),
        "eer": eer(labels, scores),
    }
    return {"n": float(np.size(labels)), **figures, **{f"folded_{k}": folded(v) for k, v in figures.items()}}


def pic(attribute_before: float, attribute_after: float, match_before: float, match_after: float) -> float:
    """PIC, privacy gain against identity loss, of *errors* before and after (Terhörst et al., ICB 2019).

    The formula is given as later literature quotes it; it was not checked against the paper itself.

    (AE' - AE) / AE - (RE' - RE) / RE with AE the attribute classifier's error and RE the matcher's; higher is better,
    0 for no change. Refuses when an error before is 0: the coefficient explodes there, and with a good matcher it is
    mostly noise, so never give it without the four errors. Since it takes error for privacy, an inverted classifier
    looks perfectly private; give :func:`folded` errors to avoid that.

    >>> pic(0.05, 0.30, 0.02, 0.03)
    4.5
    """
    if attribute_before <= 0 or match_before <= 0:
        raise MetricError(
            f"PIC divides by the errors before, got {attribute_before:g} (attribute) and {match_before:g} (match); "
            "measure on more faces, or report the errors themselves"
        )
    return (attribute_after - attribute_before) / attribute_before - (match_after - match_before) / match_before


def suppression_rate(accuracy_before: float, accuracy_after: float) -> float:
    """SR, the relative drop of an attribute's accuracy (soft-biometric privacy literature, after Terhörst et al.).

    Papers use the name for more than one formula; this one was not checked against a source.

    (A - A') / A: at most 1, negative when protection helped the classifier. For two classes 0.5 is chance and anything
    higher is an inverted answer.

    >>> suppression_rate(0.8, 0.4)
    0.5
    """
    if not 0 < accuracy_before <= 1:
        raise MetricError(f"a suppression rate divides by the accuracy before, got {accuracy_before:g}")
    return (accuracy_before - accuracy_after) / accuracy_before
