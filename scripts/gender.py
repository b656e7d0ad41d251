"""Accuracy of the shipped gender classifier on people it never saw: docs/results/gender.md.

    python scripts/gender.py --data DIR

CelebA's test people, all of LFW, and FairFace's validation set with its seven races, by the ONNX file that ships, or
by that of another run: --weights runs/gender-paper/gender.onnx.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from halfmask.datasets import read
from halfmask.datasets.cache import open_crops
from halfmask.evaluation.measuring.bootstrap import interval, mean_of
from halfmask.evaluation.measuring.metrics import auc, balanced_accuracy
from halfmask.evaluation.measuring.summary import Published
from halfmask.methods.labels import GenderEstimate
from halfmask.tabular import markdown


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--weights", type=Path, help="another run's gender.onnx")
    asked = parser.parse_args()
    estimate = GenderEstimate(path=asked.weights)
    rows: list[Published] = []
    for name, split in (("celeba", "test"), ("lfw", None), ("fairface", "valid")):
        table = read(name, asked.data / name)
        crops = open_crops(table)
        chosen = [i for i, r in enumerate(crops.rows) if r.gender is not None and (split is None or r.split == split)]
        p = np.concatenate(
            [
                estimate.p_male(crops.take(chosen[i : i + 16]).transpose(0, 3, 1, 2).astype(np.float32) / 255)
                for i in range(0, len(chosen), 16)
            ]
        )
        y = np.array([crops.rows[i].gender for i in chosen])
        race = np.array([crops.rows[i].race or "" for i in chosen])
        person = np.array([crops.rows[i].identity or crops.rows[i].key for i in chosen])
        groups = {f"{name} {split or 'all'}": np.ones(len(y), bool)}
        if name == "fairface":
            groups |= {f"– {word}": race == word for word in sorted(set(race))}
        for label, mine in groups.items():
            right = (p[mine] >= 0.5) == (y[mine] == 1)
            low, high = interval(mean_of(right), person[mine], 500)
            rows.append(
                {
                    "set": label,
                    "n": int(mine.sum()),
                    "women": int((y[mine] == 0).sum()),
                    "accuracy": right.mean(),
                    "low": low,
                    "high": high,
                    "balanced": balanced_accuracy(y[mine], p[mine]),
                    "auc": auc(y[mine], p[mine]),
                }
            )
    heads = {"set": "faces of", "n": "faces", "women": "women", "accuracy": "accuracy|.2%", "low": "95 % from|.1%"}
    heads |= {"high": "to|.1%", "balanced": "balanced|.2%", "auc": "AUC|.4f"}
    print(markdown(rows, heads))


if __name__ == "__main__":
    main()
