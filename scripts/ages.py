"""Ordinal ages on UTKFace, 21 to 60: CE, OR-CNN, CORAL and CORN on one backbone, three seeds each.

    python scripts/ages.py --data DIR --out runs/ages

Trains the configs age/ce, age/or, age/coral and age/corn with the seeds 1, 2, 3 (runs that are there go on, or are left
alone when done), each judged on the test pictures by its best epoch on the validation pictures, and prints the tables
of docs/results/ages.md: MAE and RMSE, mean and standard deviation over the seeds, and how often the ordinal answers
contradict each other.
``--figure`` draws where. ``or+iw`` and ``coral+iw`` among the ``--kinds`` are the same configs with importance weights.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from ages_figure import draw
from ordinal import biases_ordered, head_of, rank_inconsistencies

from halfmask.errors import UsageError
from halfmask.evaluation.measuring.metrics import cumulative_score, mae, rmse
from halfmask.networks.heads import Coral
from halfmask.tabular import markdown
from halfmask.training.attribute import AttributeConfig, train_attribute
from halfmask.training.config import load_config

#: What is put behind a kind for importance weights.
WEIGHTED = "+iw"


def config_of(kind: str, seed: int, data: Path | None = None) -> AttributeConfig:
    """The config of a kind such as ``coral``, or ``coral+iw`` with importance weights."""
    name = kind.removesuffix(WEIGHTED)
    config = load_config(AttributeConfig, f"age/{name}", data)
    if name != kind and config.heads["age"]["kind"] == "categorical":
        raise UsageError(f"{kind}: cross-entropy has no tasks to weigh; importance weights are for or, coral, corn")
    return replace(config, seed=seed, importance=config.importance or name != kind)


def figures(folder: Path) -> dict[str, float]:
    """MAE, RMSE and CS(5) in years on the test pictures, and contradictions a picture; of CORAL's biases, too:

    ordered: 1 when they are; span: how far the last lies below the first; fall: the least that one lies below the one
    before it.
    """
    head = head_of(folder)
    with np.load(folder / "test.npz") as kept:
        logits, true = torch.from_numpy(kept["logits/age"]), kept["rank/age"]
    said = head.predict(logits).numpy()
    found = {"mae": mae(true, said), "rmse": rmse(true, said), "cs5": cumulative_score(true, said), "n": len(true)}
    if head.kind != "categorical":
        found["contradictions"] = float(rank_inconsistencies(head.exceedance(logits).numpy()).mean())
    if isinstance(head, Coral):  # whose logits are one number a face, the same for all ranks, and the biases
        biases = logits.double().mean(0).numpy()
        found["ordered"] = float(biases_ordered(biases))
        found |= {"span": float(biases[0] - biases[-1]), "fall": float(-np.diff(biases).max())}
    return found


#: Key → what stands above it, of the table of :func:`row`.
HEADS = {"kind": "head", "n": "test faces", "mae": "MAE, years", "rmse": "RMSE, years", "cs5": "CS(5)"}
HEADS |= {"seeds": "MAE by seed", "contradictions": "contradictions a face, by seed", "ordered": "biases ordered"}


def row(kind: str, found: Sequence[Mapping[str, float]]) -> dict[str, object]:
    """One line of the table, of a head's :func:`figures` by seed."""
    line: dict[str, object] = {"kind": kind, "n": int(found[0]["n"])}
    line["seeds"] = " / ".join(f"{f['mae']:.2f}" for f in found)
    for name in ("mae", "rmse", "cs5"):
        values = [f[name] for f in found]
        line[name] = f"{np.mean(values):.2f} ± {np.std(values, ddof=1) if len(values) > 1 else 0:.2f}"
    counts = [f["contradictions"] for f in found if "contradictions" in f]
    line["contradictions"] = " / ".join(f"{c:.2f}" for c in counts) if counts else "–"
    ordered = [f["ordered"] for f in found if "ordered" in f]
    line["ordered"] = ("yes" if all(ordered) else "NO") if ordered else "–"
    for name, form in (("span", "{:.2f}"), ("fall", "{:.4f}")):
        line[name] = " / ".join(form.format(f[name]) for f in found if name in f) or "–"
    return line


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds utkface")
    parser.add_argument("--out", type=Path, default=Path("runs/ages"))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--kinds", default="ce,or,coral,corn")
    parser.add_argument(
        "--figure", type=Path, help="PNG of OR-CNN's contradictions, e.g. docs/figures/ordinal-ages.png"
    )
    asked = parser.parse_args()
    seeds, kinds = [int(s) for s in asked.seeds.split(",")], asked.kinds.split(",")
    if asked.figure and not {"or", "coral"} <= set(kinds):
        parser.error("--figure compares or with coral; name both in --kinds")
    for seed in seeds:  # seed by seed, so that a run that is cut short has compared like with like
        for kind in kinds:
            folder = asked.out / f"{kind}-{seed}"
            if not (folder / "test.json").is_file():
                train_attribute(config_of(kind, seed, asked.data), folder)
    rows = [row(kind, [figures(asked.out / f"{kind}-{seed}") for seed in seeds]) for kind in kinds]
    print(markdown(rows, HEADS))
    if asked.figure:
        ordinal = [kind for kind in ("or", "coral", "corn") if kind in kinds]
        draw({kind: [asked.out / f"{kind}-{seed}" for seed in seeds] for kind in ordinal}, asked.figure)


if __name__ == "__main__":
    main()
