"""Train the two race referees, each on one data set, and score each on the other.

    python scripts/race_referee.py --data DIR --out runs/race
    python scripts/ship.py runs/race/race-utkface --as race-utkface --licence "non-commercial research"
    python scripts/ship.py runs/race/race-fairface --as race-fairface --licence "non-commercial research"

Each is a multinomial logistic regression on the descriptors of the referee matcher w600k_mbf. Its penalty is chosen by
five-fold cross-validation on the training set alone, in which no person stands on both sides: pictures whose
descriptors match (cosine of at least 0.4) count as one person, since neither set names people. Groups weigh the same,
however many faces they have.

Descriptors are kept in ``--out`` and a stopped run goes on. Writes ``race-SET/race.npz``, ``results.json`` and
``results.md``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse.csgraph import connected_components  # type: ignore[import-untyped]
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from tqdm import tqdm

from halfmask.datasets import Row, Table, read
from halfmask.datasets.cache import centred_face
from halfmask.errors import HalfmaskError
from halfmask.evaluation.measuring.summary import several_auc, several_balanced_accuracy
from halfmask.evaluation.referees import Matcher
from halfmask.evaluation.referees.insightface import W600kMatcher
from halfmask.evaluation.referees.race import GROUPS, group_of, probabilities
from halfmask.photos.detect import Detector
from halfmask.photos.reading import read as read_photo
from halfmask.storage import whole
from halfmask.tabular import markdown

Numbers = NDArray[Any]
#: scikit-learn's C: the larger, the freer.
PENALTIES = (0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
SAME_PERSON = 0.4
CHUNK = 200


class Set(NamedTuple):
    """Faces of a data set: descriptors (N, 512) of length 1, group (N,), and the set's own word for it."""

    x: Numbers
    y: NDArray[np.int64]
    words: list[str]


def describe(table: Table, matcher: Matcher, folder: Path) -> Set:
    """Descriptors of every picture with a known race and a face. Kept in parts in ``folder``."""
    rows = [row for row in table if group_of(row.race) >= 0]
    detector = Detector()
    folder.mkdir(parents=True, exist_ok=True)
    found: list[Numbers] = []
    with tqdm(total=len(rows), desc=f"describing {folder.name}", unit="face") as bar:
        for start in range(0, len(rows), CHUNK):
            chunk, part = rows[start : start + CHUNK], folder / f"{start:06d}.npy"
            if not part.is_file():
                with whole(part) as fresh, fresh.open("wb") as out:
                    np.save(out, _describe(chunk, matcher, detector))
            found.append(np.load(part))
            bar.update(len(chunk))
    x = np.concatenate(found)
    usable = np.isfinite(x[:, 0])
    print(f"{folder.name}: {usable.sum()} faces; {(~usable).sum()} pictures without a face that is found")
    y = np.array([group_of(row.race) for row in rows])
    return Set(x[usable], y[usable], [str(row.race) for row, u in zip(rows, usable, strict=True) if u])


def _describe(rows: Sequence[Row], matcher: Matcher, detector: Detector) -> Numbers:
    """(N, 512), NaN where there is no face."""
    images, faces, places = [], [], []
    for i, row in enumerate(rows):
        try:
            image = read_photo(row.path).pixels
        except HalfmaskError:
            continue
        face = centred_face(detector(image), image.shape[1], image.shape[0])
        if face is not None:
            images.append(image)
            faces.append(face)
            places.append(i)
    out = np.full((len(rows), 512), np.nan, np.float32)
    out[places] = matcher.embed(images, faces)
    return out


def people(x: Numbers) -> NDArray[np.int64]:
    """A number for each picture, the same for pictures that match, directly or over others."""
    near = x @ x.T >= SAME_PERSON
    return np.asarray(connected_components(near, directed=False)[1], np.int64)


def fit(x: Numbers, y: Numbers, penalty: float) -> LogisticRegression:
    return LogisticRegression(C=penalty, class_weight="balanced", max_iter=2000).fit(x, y)


def cross_validated(x: Numbers, y: Numbers, groups: Numbers, seed: int) -> tuple[float, Numbers]:
    """The penalty with the best balanced accuracy, and the held-out probabilities (N, K) under it."""
    folds = list(StratifiedGroupKFold(5, shuffle=True, random_state=seed).split(x, y, groups))
    best: tuple[float, float, Numbers] = (-1.0, 0.0, np.zeros(0))
    for penalty in tqdm(PENALTIES, desc="cross-validating", unit="penalty"):
        p = np.zeros((len(y), len(GROUPS)))
        for train, held in folds:
            p[held] = fit(x[train], y[train], penalty).predict_proba(x[held])
        best = max(best, (several_balanced_accuracy(y, p), penalty, p), key=lambda b: b[0])
    return best[1], best[2]


def figures(what: str, y: Numbers, p: Numbers) -> dict[str, Any]:
    right = p.argmax(1) == y
    row = {"what": what, "n": len(y), "balanced": several_balanced_accuracy(y, p), "auc": several_auc(y, p)}
    return row | {group: float(right[y == i].mean()) for i, group in enumerate(GROUPS)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--out", type=Path, default=Path("runs/race"))
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    matcher = W600kMatcher(asked.threads)
    fairface = read("fairface", asked.data / "fairface")
    tables = {
        "utkface": read("utkface", asked.data / "utkface"),
        "fairface-train": fairface.split("train"),
        "fairface-val": fairface.split("valid"),
    }
    sets = {name: describe(table, matcher, asked.out / "descriptors" / name) for name, table in tables.items()}
    rows: list[dict[str, Any]] = []
    words: list[dict[str, Any]] = []
    for name, train, other in (
        ("race-utkface", "utkface", "fairface-val"),
        ("race-fairface", "fairface-train", "utkface"),
    ):
        mine, judged = sets[train], sets[other]
        persons = people(mine.x)
        penalty, held = cross_validated(mine.x, mine.y, persons, asked.seed)
        print(f"{name}: {len(persons)} faces of {persons.max() + 1} people by their descriptors; C = {penalty:g}")
        model = fit(mine.x, mine.y, penalty)
        weights, bias = model.coef_.T.astype(np.float32), model.intercept_.astype(np.float32)
        (asked.out / name).mkdir(parents=True, exist_ok=True)
        np.savez(asked.out / name / "race.npz", weights=weights, bias=bias)
        said = probabilities(judged.x, weights, bias)
        rows.append(figures(f"{name}, {train} (held-out people)", mine.y, held))
        rows.append(figures(f"{name}, {other}", judged.y, said))
        right = said.argmax(1) == judged.y
        for word in sorted(set(judged.words)):
            chosen = np.array([w == word for w in judged.words])
            words.append({"what": name, "word": word, "n": int(chosen.sum()), "right": float(right[chosen].mean())})
    heads = {"what": "referee, judged on faces of", "n": "faces", "balanced": "balanced accuracy|.3f"}
    heads |= {"auc": "AUC, one against the rest|.3f"} | {group: f"{group}|.2f" for group in GROUPS}
    text = (
        markdown(rows, heads)
        + "\n\n"
        + markdown(words, {"what": "referee", "word": "the set's word", "n": "faces", "right": "right|.3f"})
    )
    (asked.out / "results.md").write_text(text + "\n", "utf-8")
    (asked.out / "results.json").write_text(json.dumps({"rows": rows, "words": words}, indent=1), "utf-8")
    print(text)


if __name__ == "__main__":
    main()
