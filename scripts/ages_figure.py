"""The figure of scripts/ages.py: where OR-CNN contradicts itself, and CORAL does not.

Left, for every question "older than k?", on how many test pictures the answer to the next question is the surer one
(counts of all seeds, tolerance 1e-5 as in table 2 of the CORAL paper). Right, all answers for one test picture, as in
the slides: P(age > k) should fall. The picture is the one whose number of contradictions by the first OR-CNN is the
median of those that have any, so neither the worst nor the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from halfmask.networks.attribute import AttributeNet

TOLERANCE = 1e-5
COLOURS = {"or": "#c0392b", "coral": "#2471a3", "corn": "#7d8c2a"}
NAMES = {"or": "OR-CNN", "coral": "CORAL", "corn": "CORN"}


def answers(run: Path) -> tuple[NDArray[np.float64], list[str]]:
    """P(age > k) of a run's test pictures, (N, K-1), and the words of the K ages."""
    head = AttributeNet.load(run / "attribute.safetensors").heads["age"]
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
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot as plt

    said = {kind: [answers(run) for run in folders] for kind, folders in runs.items()}
    words = said["or"][0][1]
    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 3.8), gridspec_kw={"width_ratios": (3, 2)})
    width = 0.8 / len(said)
    highest = 0
    for i, (kind, found) in enumerate(said.items()):
        counts = np.sum([contradictions(p) for p, _ in found], axis=0)
        pictures = sum(len(p) for p, _ in found)
        highest = max(highest, counts.max())
        label = f"{NAMES[kind]}: {counts.sum():,} in {pictures:,} pictures, {counts.sum() / pictures:.2f} each"
        left.bar(
            np.arange(len(counts)) + (i - (len(said) - 1) / 2) * width, counts, width, color=COLOURS[kind], label=label
        )
    ticks = np.arange(0, len(words) - 2, 5)
    left.set_xticks(ticks, [f"{words[k]}/{words[k + 1]}" for k in ticks], fontsize=8)
    left.set_xlabel("k/k+1 where P(age > k+1) is above P(age > k)")
    left.set_ylabel(f"test pictures, all {len(said['or'])} seeds")
    left.set_ylim(0, highest * (1 + 0.1 * len(said)) or 1)  # the legend stands above the bars
    left.legend(frameon=False, fontsize=9, loc="upper left")
    chosen = _typical(said["or"][0][0])
    for kind, found in said.items():
        p = found[0][0][chosen]
        right.plot(p, color=COLOURS[kind], label=NAMES[kind], linewidth=1.4)
        wrong = np.flatnonzero(np.diff(p) > TOLERANCE) + 1
        right.plot(wrong, p[wrong], "o", color=COLOURS[kind], markersize=5)
    ticks = np.arange(0, len(words) - 1, 5)
    right.set_xticks(ticks, [words[k] for k in ticks], fontsize=8)
    right.set_xlabel("k")
    right.set_ylabel("P(age > k), one test picture")
    right.legend(frameon=False, fontsize=9, title="dots contradict the answer before", title_fontsize=8)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
    figure.tight_layout()
    file.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(file, dpi=110)
    plt.close(figure)


def _typical(exceedance: NDArray[np.float64]) -> int:
    """The picture in the middle of those with a contradiction, by how many they have; 0 where none has any."""
    counts = (np.diff(exceedance, axis=1) > TOLERANCE).sum(1)
    some = np.flatnonzero(counts)
    if not len(some):
        return 0
    return int(some[np.argsort(counts[some], kind="stable")[len(some) // 2]])
