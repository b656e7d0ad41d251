"""CORAL's Theorem 1 where its minimum can be reached: do biases come to stand in order from any start?

    python scripts/ages_biases.py --data DIR

The table of docs/results/ages.md starts its biases in order, which is no evidence that training orders them. Here
CORAL's head reads UTKFace's training faces of 21 to 60 years as gray pictures of 24 pixels: no network, so the loss is
convex and L-BFGS gets to its minimum in seconds. It starts from zeros (the paper's), in order (the frequencies) and in
reversed order. Printed is how many neighbours are out of order at the start and after each tenth of the iterations.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import cv2
import numpy as np
import torch
from ordinal import biases_ordered
from torch import Tensor

from halfmask.losses import coral_loss
from halfmask.networks.heads import Coral
from halfmask.tabular import markdown
from halfmask.training.attribute import start_at_prior
from halfmask.training.sources import source_table

FIRST, LAST = 21, 60
SIDE = 24
STARTS = ("zeros", "in order", "reversed")


def faces(data: Path, most: int) -> tuple[Tensor, Tensor]:
    """Training faces as standardised gray pixels (N, 576), and their ranks (N,)."""
    table = source_table({"layout": "utkface", "root": str(data / "utkface"), "splits": ["train"]})
    rows = [r for r in table if FIRST <= float(r.age or 0) <= LAST]
    rows = [rows[i] for i in np.random.default_rng(0).permutation(len(rows))[:most]]
    small = [cv2.resize(cv2.imread(str(r.path), cv2.IMREAD_GRAYSCALE), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
             for r in rows]  # fmt: skip
    x = torch.from_numpy(np.stack(small).reshape(len(small), -1).astype(np.float64))
    return (x - x.mean(0)) / x.std(0), torch.tensor([int(r.age or 0) - FIRST for r in rows])


def started(start: str, ranks: Tensor) -> Coral:
    """A head of double precision whose biases stand as the start says."""
    head = Coral(SIDE * SIDE, LAST - FIRST + 1).double()
    torch.nn.init.zeros_(head.linear.weight)
    if start != "zeros":
        start_at_prior(head, ranks)
    if start == "reversed":
        head.bias.data = head.bias.data.flip(0)
    return head


def disorder(head: Coral) -> int:
    """How many biases are above the one before them."""
    return int((np.diff(head.bias.detach().numpy()) > 0).sum())


def fit(head: Coral, x: Tensor, ranks: Tensor, rounds: int) -> list[int]:
    """Go to the minimum of the loss with a small penalty on the weights (not the biases); disorder on the way."""
    # the penalty makes the minimum unique; the theorem's proof moves biases alone, so it stands
    steps = torch.optim.LBFGS(head.parameters(), max_iter=rounds // 10, line_search_fn="strong_wolfe",
                              tolerance_grad=1e-9, tolerance_change=1e-12)  # fmt: skip

    def closure() -> Tensor:
        steps.zero_grad()
        loss = coral_loss(head(x), ranks) + 0.05 * head.linear.weight.square().sum()
        loss.backward()
        return loss

    seen = [disorder(head)]
    for _ in range(10):
        steps.step(closure)
        seen.append(disorder(head))
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--faces", type=int, default=1200)
    parser.add_argument("--rounds", type=int, default=300)
    asked = parser.parse_args()
    x, ranks = faces(asked.data, asked.faces)
    rows = []
    for start in STARTS:
        head = started(start, ranks)
        seen = fit(head, x, ranks, asked.rounds)
        rows.append({
            "start": start, "faces": len(x), "way": " ".join(map(str, seen)),
            "ordered": "yes" if biases_ordered(head.bias.detach().numpy()) else "NO",
            "first": float(head.bias[0]), "last": float(head.bias[-1]),
        })  # fmt: skip
    heads = {"start": "biases start", "faces": "faces", "way": "neighbours out of order, of 38, on the way"}
    print(markdown(rows, heads | {"ordered": "ordered at the end", "first": "first bias|.2f", "last": "last bias|.2f"}))


if __name__ == "__main__":
    main()
