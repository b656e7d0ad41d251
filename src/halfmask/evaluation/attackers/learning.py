"""What the learning attackers learn, kept on disk as the answers it gave. The only part that needs torch."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import missing
from .asking import Case

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


def _torch() -> Any:
    try:
        from . import nets
    except ImportError as error:
        raise missing(["torch"], "each attacker that learns") from error
    return nets


def classified(
    case: Case, what: str, crops: Pixels, labels: NDArray[np.int64], others: Mapping[str, Pixels]
) -> tuple[dict[str, Floats], str]:
    """Train a fresh CNN; returns the probability of class 1 of each crop of ``others``, and a note on time."""

    def make() -> dict[str, NDArray[Any]]:
        nets = _torch()
        net, whole = nets.learn_classes(
            crops,
            labels,
            _training(case, nets, len(labels), case.budget.seen, case.budget.epochs, case.budget.batch),
            f"learning {what}",
        )
        return {"whole": np.array(whole)} | {name: nets.p_one(net, pixels) for name, pixels in others.items()}

    answers = case.cached("cnn-" + what.replace(" ", "-"), make, case.budget)
    return {name: answers[name] for name in others}, _short(case, bool(answers["whole"]))


def undone(case: Case, rows: NDArray[np.int64]) -> tuple[NDArray[np.int8], str]:
    """Train an inverse; what it adds to the protected crops of some rows, int8 (N, S, S, 3) in units of 1/127."""
    evidence = case.evidence

    def make() -> dict[str, NDArray[Any]]:
        nets = _torch()
        budget = case.budget
        batch = max(1, budget.batch // 2)  # an inverse takes four times the memory of a classifier
        training = _training(case, nets, len(case.learn), budget.unet_seen, budget.unet_epochs, batch)
        pairs = evidence.crops_after[case.learn], evidence.crops_paired[case.learn]
        net, whole = nets.learn_inverse(*pairs, budget.unet_width, training, "learning to undo the protection")
        added = np.zeros((len(rows), *evidence.crops_after.shape[1:]), np.int8)
        for start in range(0, len(rows), 32):
            part = nets.corrections(net, evidence.crops_after[rows[start : start + 32]])
            added[start : start + len(part)] = np.clip(np.rint(part * 127), -127, 127)
        return {"whole": np.array(whole), "added": added}

    answers = case.cached("inverse", make, case.budget)
    return answers["added"], _short(case, bool(answers["whole"]))


def probed(
    embeddings: Floats, labels: NDArray[np.int64], persons: NDArray[np.str_], seed: int, kind: str = "linear"
) -> Callable[[Floats], NDArray[np.float64]]:
    """A reader of descriptors, its one parameter chosen by cross-validation grouped by person.

    ``kind`` is ``linear`` (logistic regression on standardised descriptors), ``kernel`` (a support vector machine with
    an RBF kernel on the same) or ``neighbours`` (the vote of the nearest by cosine). Returns the map from descriptors
    (N, D) to scores of male (N,), above 0 where that is the answer. Where a class has fewer than two people, the
    parameter stays at its first value.
    """
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.model_selection import GridSearchCV, StratifiedGroupKFold

    model, grid = _reader(kind, len(labels))
    fewest = min(len(set(persons[labels == g])) for g in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # at the weakest C; the folds then choose another
        if fewest >= 2:
            folds = StratifiedGroupKFold(min(5, fewest), shuffle=True, random_state=seed)
            model = GridSearchCV(model, grid, cv=folds, scoring="balanced_accuracy")
            model.fit(embeddings, labels, groups=persons)
        else:
            model.fit(embeddings, labels)
    if kind == "neighbours":
        # a tie of women and men among those seen, whoever is rarer, is no answer
        share = float(np.mean(labels))
        return lambda given: np.asarray(model.predict_proba(given)[:, 1] - share, np.float64)
    return lambda given: np.asarray(model.decision_function(given), np.float64)


def _reader(kind: str, learn: int) -> tuple[Any, dict[str, list[Any]]]:
    """A reader of descriptors and the values of its parameter to try, the first being its own."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.neighbors import KNeighborsClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if kind == "linear":
        rule = LogisticRegression(C=0.01, max_iter=1000, class_weight="balanced")
        return make_pipeline(StandardScaler(), rule), {"logisticregression__C": [1e-4, 1e-3, 1e-2, 1e-1, 1.0]}
    if kind == "kernel":
        return make_pipeline(StandardScaler(), SVC(C=1.0, class_weight="balanced")), {"svc__C": [0.3, 1.0, 3.0, 10.0]}
    # folds hold at least half of those to learn from
    counts = [k for k in (15, 5, 25, 45) if k <= max(1, learn // 2)] or [1]
    return KNeighborsClassifier(counts[0], metric="cosine", weights="distance"), {"n_neighbors": counts}


def _training(case: Case, nets: Any, count: int, seen: int, epochs: int, batch: int) -> Any:
    """What one network may spend on ``count`` pictures, as ``nets.Training``."""
    budget = case.budget
    least = budget.least_steps * min(batch, count)
    return nets.Training(max(least, min(seen, epochs * count)), batch, budget.max_minutes, budget.seed, case.quiet)


def _short(case: Case, whole: bool) -> str:
    return "" if whole else f"learning was ended after {case.budget.max_minutes:g} minutes, its budget"
