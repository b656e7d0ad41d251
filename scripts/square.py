"""Backbone or head? Fast CNN and gray CNN, each with CORAL and with cross-entropy for the age, over several seeds.

    python scripts/square.py --data DIR
    python scripts/square.py --report

Trains the four configs of ``CORNERS`` with the seeds 1, 2, 3 into ``OUT/NAME-SEED`` (a run that is there goes on, or is
left alone when done) and prints what is done: the figures on FairFace's val, which none of them was trained on, mean
and standard deviation over the seeds, and then what backbone and head change, seed by seed. ``--report`` trains
nothing, and needs of a run but ``config.yaml`` and ``test.npz``. A run takes some 10 minutes on two cores.

Gender and race are shares of right answers, race balanced over the five groups of docs/results/predict.md; the age
error is that of the expectation over the classes, to the range that FairFace gives.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from attribute_tables import Answers, age_rows, gender_rows, race_rows

from halfmask.datasets.labels import parse_ages
from halfmask.datasets.table import Row
from halfmask.networks.heads import HEADS
from halfmask.networks.readings import reading
from halfmask.tabular import markdown
from halfmask.training.attribute import AttributeConfig, train_attribute
from halfmask.training.config import load_config

#: Backbone and head of the age → config.
CORNERS = {
    ("fast CNN", "CORAL"): "attributes/attributes",
    ("fast CNN", "cross-entropy"): "attributes/cross/fastcnn-ce",
    ("gray CNN", "CORAL"): "attributes/cross/gendercnn-coral",
    ("gray CNN", "cross-entropy"): "attributes/fairface-gendercnn",
}
#: Figure → what stands above it, and its form.
FIGURES = {
    "gender": ("gender right", "{:.1%}"),
    "race": ("race of 5, balanced", "{:.1%}"),
    "age": ("age off by, years to the range", "{:.2f}"),
    "group": ("age group right", "{:.1%}"),
}


def answers(run: Path) -> Answers:
    """What a run said of its test faces, and what is true of them, as far as its heads tell."""
    config = load_config(AttributeConfig, run / "config.yaml")
    with np.load(run / "test.npz") as kept:
        keys, arrays = kept["keys"].tolist(), {name: kept[name] for name in kept.files}
    words = {name: reading(name, about).words for name, about in config.heads.items()}
    said = {
        name: HEADS[about["kind"]](1, words[name]).probabilities(torch.from_numpy(arrays[f"logits/{name}"])).numpy()
        for name, about in config.heads.items()
    }
    known = {name: [None if k < 0 else k for k in arrays[f"rank/{name}"].tolist()] for name in said}
    faces = [
        Row(
            key,
            Path(key),
            gender=known["gender"][i],
            race=None if (race := known["race"][i]) is None else words["race"][race],
            age_range=None if (age := known["age"][i]) is None else parse_ages(words["age"][age]),
        )
        for i, key in enumerate(keys)
    ]
    return Answers(run.name, "fairface", "fairface val", faces, words, said)


def figures(run: Path) -> dict[str, float]:
    """The :data:`FIGURES` of a run."""
    said = [answers(run)]
    ages = age_rows(said, resamples=50)[0]
    races = next(row for row in race_rows(said, resamples=50) if row["groups"] == 5)
    return {
        "gender": gender_rows(said, resamples=50)[0]["accuracy"],
        "race": races["balanced_accuracy"],
        "age": ages["mae"],
        "group": ages["group"],
    }


def over_seeds(form: str, values: list[float]) -> str:
    """Mean and standard deviation, and every value when there are several."""
    if len(values) == 1:
        return form.format(values[0])
    listed = " / ".join(form.format(v) for v in values)
    return f"{form.format(np.mean(values))} ± {form.replace('+', '').format(np.std(values, ddof=1))} ({listed})"


def corner_rows(found: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """A line a corner that has a run."""
    return [
        {"backbone": backbone, "head": head, "seeds": len(runs)}
        | {name: over_seeds(form, [run[name] for run in runs.values()]) for name, (_, form) in FIGURES.items()}
        for (backbone, head), runs in found.items()
        if runs
    ]


def effect_rows(found: Mapping[tuple[str, str], Mapping[int, Mapping[str, float]]]) -> list[dict[str, Any]]:
    """What changes with the backbone and what with the head, of seeds that both sides have."""
    rows = []
    for what, first, second in (
        ("gray CNN for fast CNN, with CORAL", ("fast CNN", "CORAL"), ("gray CNN", "CORAL")),
        ("gray CNN for fast CNN, with cross-entropy", ("fast CNN", "cross-entropy"), ("gray CNN", "cross-entropy")),
        ("cross-entropy for CORAL, fast CNN", ("fast CNN", "CORAL"), ("fast CNN", "cross-entropy")),
        ("cross-entropy for CORAL, gray CNN", ("gray CNN", "CORAL"), ("gray CNN", "cross-entropy")),
    ):
        before, after = found.get(first, {}), found.get(second, {})
        if seeds := sorted(set(before) & set(after)):
            change = {
                name: over_seeds(form.replace(":", ":+"), [after[s][name] - before[s][name] for s in seeds])
                for name, (_, form) in FIGURES.items()
            }
            rows.append({"what": what, "seeds": len(seeds), **change})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds fairface")
    parser.add_argument("--out", type=Path, default=Path("runs/square"))
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--report", action="store_true", help="train nothing, print what is done")
    asked = parser.parse_args()
    found: dict[tuple[str, str], dict[int, dict[str, float]]] = {corner: {} for corner in CORNERS}
    for seed in map(int, asked.seeds.split(",")):  # seed by seed, so that what is cut short has compared like with like
        for corner, name in CORNERS.items():
            folder = asked.out / f"{name.rpartition('/')[2]}-{seed}"
            if not asked.report and not (folder / "test.json").is_file():
                train_attribute(replace(load_config(AttributeConfig, name, asked.data), seed=seed), folder)
            if (folder / "test.json").is_file():
                found[corner][seed] = figures(folder)
    titles = {name: title for name, (title, _) in FIGURES.items()}
    corners = {"backbone": "backbone", "head": "head of the age", "seeds": "seeds"} | titles
    print(f"## FairFace's val\n\n{markdown(corner_rows(found), corners)}\n")
    print(f"## What changes\n\n{markdown(effect_rows(found), {'what': '', 'seeds': 'seeds'} | titles)}")


if __name__ == "__main__":
    main()
