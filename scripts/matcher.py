"""How well the matcher of ``halfmask train matcher`` verifies people whom it never saw, beside other auxiliaries.

    halfmask train matcher --config matcher-triplet --data DIR --out runs/matcher
    python scripts/matcher.py --data DIR --weights runs/matcher/matcher.safetensors

Every two photos of CelebA's test people are compared, and every two of LFW's: AUC, equal error rate, and the share of
same pairs that match (TMR) where 1 % and 0.1 % of different ones do (FMR), with 95 % bootstraps by person. Beside it
SFace and FaceNet, the auxiliaries that the recipes train with; no referee is asked. Colour, and aligned crops as ever.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from halfmask.datasets import read
from halfmask.datasets.cache import Crops, open_crops
from halfmask.errors import DataError
from halfmask.evaluation.measuring.bootstrap import interval, mean_of
from halfmask.evaluation.measuring.metrics import auc, eer, threshold_at_fmr
from halfmask.networks.matchers import load_matcher
from halfmask.tabular import markdown
from halfmask.training.data import to_tensor

#: Set → its split that is judged.
SETS = {"celeba": "test", "lfw": None}
HEADINGS = {"set": "people of", "by": "matcher", "people": "people", "n": "photos", "same": "same pairs"}
HEADINGS |= {"auc": "AUC|.4f", "eer": "EER|.2%", "one": "TMR at FMR 1 %", "tenth": "TMR at FMR 0.1 %"}


@torch.no_grad()
def described(matcher: torch.nn.Module, crops: Crops, batch: int = 32) -> NDArray[np.float32]:
    """Descriptors (N, D) of length 1."""
    parts = [
        matcher(to_tensor(crops.take(np.arange(start, min(start + batch, len(crops)))))).float().numpy()
        for start in range(0, len(crops), batch)
    ]
    found = np.concatenate(parts)
    return np.asarray(found / np.linalg.norm(found, axis=1, keepdims=True), np.float32)


def line(descriptors: NDArray[np.float32], people: Sequence[str]) -> dict[str, Any]:
    """The figures of all pairs of photos, cosine as the score.

    >>> made = line(np.repeat(np.eye(30, dtype=np.float32), 2, 0), [str(i // 2) for i in range(60)])
    >>> made["same"], made["auc"], made["eer"], made["one"]
    (30, 1.0, 0.0, '100.0% (100.0% to 100.0%)')
    """
    who = np.unique(np.asarray(people), return_inverse=True)[1]
    a, b = np.triu_indices(len(who), 1)
    scores, same = (descriptors @ descriptors.T)[a, b], who[a] == who[b]
    if not same.any():
        raise DataError(f"of {len(set(people))} people nobody has two photos, so nothing can match")
    found = {"people": len(set(people)), "n": len(who), "same": int(same.sum())}
    found |= {"auc": auc(same.astype(np.int64), scores), "eer": eer(same.astype(np.int64), scores)}
    for name, fmr in (("one", 0.01), ("tenth", 0.001)):
        matched = scores[same].astype(np.float64) >= threshold_at_fmr(scores[~same], fmr)
        low, high = interval(mean_of(matched), who[a[same]], 500)
        found[name] = f"{matched.mean():.1%} ({low:.1%} to {high:.1%})"
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds celeba and lfw")
    parser.add_argument("--weights", type=Path, required=True, help="a run's matcher.safetensors")
    asked = parser.parse_args()
    rows = []
    for name, split in SETS.items():
        table = read(name, asked.data / name)
        crops = open_crops(
            table.where(lambda row, split=split: row.identity is not None and split in (None, row.split))
        )
        for by in ("own", "sface", "facenet"):
            matcher = load_matcher(by, str(asked.weights) if by == "own" else None)
            people = [str(row.identity) for row in crops.rows]
            rows.append({"set": f"{name} {split or ''}".strip(), "by": by, **line(described(matcher, crops), people)})
    print(markdown(rows, HEADINGS))


if __name__ == "__main__":
    main()
