"""The figures of ages: where OR-CNN contradicts itself and CORAL does not, and how CORAL weighs its tasks.

``draw`` is called by ages.py. Left, for every question "older than k?", on how many test pictures the answer to the
next question is the surer one (counts of all seeds, tolerance 1e-5 as in table 2 of the CORAL paper). Right, all
answers for one test picture, as in the paper's figure S2: P(age > k) should fall. The picture is the one whose number
of contradictions by the first OR-CNN is the median of those that have any, so neither the worst nor the best.

``importance`` is the paper's figure 1, on UTKFace's training pictures, and needs no run:

    python scripts/ages_figure.py --data DIR docs/figures/importance-weights.png
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from ordinal import head_of

from halfmask.drawing import BLUE, GREEN, ORANGE, WIDTH, canvas, save
from halfmask.losses import importance_weights
from halfmask.training.sources import source_table

TOLERANCE = 1e-5
COLOURS = {"or": ORANGE, "coral": BLUE, "corn": GREEN}
NAMES = {"or": "OR-CNN", "coral": "CORAL", "corn": "CORN"}


def answers(run: Path) -> tuple[NDArray[np.float64], list[str]]:
    """P(age > k) of a run's test pictures, (N, K-1), and the words of the K ages."""
    head = head_of(run)
    with np.load(run / "test.npz") as kept:
        return head.exceedance(torch.from_numpy(kept["logits/age"])).double().numpy(), list(head.words)


def contradictions(exceedance: NDArray[np.float64]) -> NDArray[np.int64]:
    """Of each two neighbouring questions, (K-2,), how many pictures say yes more surely to the later one.

    >>> contradictions(np.array([[0.9, 0.5, 0.6], [0.9, 0.95, 0.99]]))
    array([1, 2])
    """
    return (np.diff(exceedance, axis=1) > TOLERANCE).sum(0)


def draw(runs: Mapping[str, Sequence[Path]], file: Path) -> None:
    """Draw the runs of each kind (or, coral, and corn if there) into a PNG."""
    said = {kind: [answers(run) for run in folders] for kind, folders in runs.items()}
    words = said["or"][0][1]
    with canvas(WIDTH, 3.2, 1, 2, width_ratios=(3, 2)) as (figure, axes):
        left, right = axes[0]
        width, highest = 0.8 / len(said), 0
        for i, (kind, found) in enumerate(said.items()):
            counts = np.sum([contradictions(p) for p, _ in found], axis=0)
            pictures = sum(len(p) for p, _ in found)
            highest = max(highest, counts.max())
            label = f"{NAMES[kind]}: {counts.sum():,} in {pictures:,} pictures, {counts.sum() / pictures:.2f} each"
            shift = (i - (len(said) - 1) / 2) * width
            left.bar(np.arange(len(counts)) + shift, counts, width, color=COLOURS[kind], label=label)
        ticks = np.arange(0, len(words) - 2, 5)
        left.set_xticks(ticks, [f"{words[k]}/{words[k + 1]}" for k in ticks])
        left.set_xlabel("k/k+1 where P(age > k+1) is above P(age > k)")
        left.set_ylabel(f"test pictures, all {len(said['or'])} seeds")
        left.set_ylim(0, highest * (1 + 0.1 * len(said)) or 1)  # the legend stands above the bars
        left.legend(loc="upper left", fontsize=8)
        chosen = _typical(said["or"][0][0])
        for kind, found in said.items():
            p = found[0][0][chosen]
            right.plot(p, color=COLOURS[kind], label=NAMES[kind], linewidth=1.4)
            wrong = np.flatnonzero(np.diff(p) > TOLERANCE) + 1
            right.plot(wrong, p[wrong], "o", color=COLOURS[kind], markersize=5)
        ticks = np.arange(0, len(words) - 1, 5)
        right.set_xticks(ticks, [words[k] for k in ticks])
        right.set(xlabel="k", ylabel="P(age > k), one test picture")
        right.legend(fontsize=8, title="dots contradict the answer before", title_fontsize=8)
        save(figure, file)


def importance(ages: NDArray[np.int64], first: int, last: int, file: Path) -> NDArray[np.float64]:
    """Draw how many pictures have each of the ``ages`` (N,), and the weights of the tasks; gives these, (K-1,)."""
    weights = importance_weights(torch.from_numpy(ages - first), last - first + 1).double().numpy()
    with canvas(WIDTH, 2.8, 1, 2) as (figure, axes):
        left, right = axes[0]
        years = np.arange(first, last + 1)
        left.bar(years, np.bincount(ages - first, minlength=len(years)), color=BLUE)
        left.set(xlabel="age, years", ylabel="training pictures")
        right.plot(years[:-1], weights, color=BLUE, linewidth=1.7)
        right.set(xlabel="k of the task “older than k?”", ylabel="importance weight of task k", ylim=(0, 1.03))
        save(figure, file)
    return weights


def _typical(exceedance: NDArray[np.float64]) -> int:
    """The picture in the middle of those with a contradiction, by how many they have; 0 where none has any."""
    counts = (np.diff(exceedance, axis=1) > TOLERANCE).sum(1)
    some = np.flatnonzero(counts)
    if not len(some):
        return 0
    return int(some[np.argsort(counts[some], kind="stable")[len(some) // 2]])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    asked = parser.parse_args()
    table = source_table({"layout": "utkface", "root": str(asked.data / "utkface"), "splits": ["train"]})
    ages = np.array([int(r.age) for r in table if r.split == "train" and r.age is not None and 21 <= r.age <= 60])
    weights = importance(ages, 21, 60, asked.out)
    print(
        f"{len(ages)} training pictures of UTKFace, 21 to 60; weights from {weights.min():.2f} to {weights.max():.2f}"
    )


if __name__ == "__main__":
    main()
