"""What tells a face's gender outside of the part that a method may change?

A fresh CNN, the one of the audit's retrained attacker, learns gender from CelebA's training people with everything
blanked that a method may change, and is judged on CelebA's validation people. What it reads there no change can hide
from whoever learns anew.

    python scripts/outside.py --data DIR
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import balanced_accuracy_score, roc_auc_score

from halfmask.evaluation.attackers import nets
from halfmask.photos.paste import mask
from halfmask.tabular import markdown
from halfmask.training.data import open_faces

SIDE = 112


def rim(share: float) -> NDArray[np.float32]:
    """The weight of a change that fades as a raised cosine over a share of the side within each edge."""
    place = (np.arange(SIDE) + 0.5) / SIDE
    line = 0.5 - 0.5 * np.cos(np.pi * np.clip(np.minimum(place, 1 - place) / share, 0, 1))
    return np.outer(line, line).astype(np.float32)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    learn, judge = (
        open_faces(
            [{"layout": "celeba", "root": str(asked.data / "celeba"), "splits": [split]}],
            lambda row: row.gender is not None,
            size=SIDE,
        )
        for split in ("train", "valid")
    )
    weights = {
        "nothing: the whole crop is seen": np.zeros((SIDE, SIDE), np.float32),
        "the oval of a head": mask(SIDE),
        "all but 15 % at each edge": rim(0.15),
        "all but 5 % at each edge": rim(0.05),
    }
    rows = []
    for name, weight in weights.items():
        seen = [
            np.rint(faces.pixels(np.arange(len(faces))) * (1 - weight)[..., None]).astype(np.uint8)
            for faces in (learn, judge)
        ]
        training = nets.Training(asked.epochs * len(learn), 32, 60.0, asked.seed, False)
        net, _ = nets.learn_classes(seen[0], learn.labels("gender"), training, name)
        p_male, truth = nets.p_one(net, seen[1]), judge.labels("gender")
        rows.append(
            {
                "what a change reaches": name,
                "n": len(judge),
                "balanced_accuracy": balanced_accuracy_score(truth, p_male > 0.5),
                "auc": roc_auc_score(truth, p_male),
            }
        )
    heads = {"what a change reaches": "a change reaches", "n": "faces"}
    heads |= {"balanced_accuracy": "gender read of what is left, balanced|.1%", "auc": "AUC|.3f"}
    print(markdown(rows, heads))


if __name__ == "__main__":
    main()
