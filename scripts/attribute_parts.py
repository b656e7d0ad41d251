"""How a run of ``halfmask train attribute`` reads its own train, valid and test part, beside each other.

    halfmask train attribute --config gender-resnet101 --data DIR --out runs/gender-resnet101
    python scripts/attribute_parts.py runs/gender-resnet101

What the summer school's notebook prints of ResNet-101 (docs/results/gender.md): all three parts, judged by the network
that the run ended with. Of a class the share that is right, of an age the mean error; intervals are 95 % bootstraps by
person, where the data say who it is. Prints a table, and writes it to ``RUN/parts.md``. The run's data must be where
its config says; a GPU is used when there is one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from halfmask.evaluation.measuring.bootstrap import interval, mean_of
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.readings import reading
from halfmask.photos.align import CROP
from halfmask.storage import whole
from halfmask.tabular import markdown
from halfmask.training.attribute import AttributeConfig, answers
from halfmask.training.config import load_config
from halfmask.training.data import Faces, open_faces

#: Key → what stands above it.
HEADINGS = {"part": "part", "head": "head", "n": "faces", "people": "people", "figure": "figure"}


def line(part: str, name: str, off: NDArray[np.float64], faces: Faces, chosen: NDArray[np.int64], years: bool) -> Any:
    """One line of the table, of what is said of the faces ``chosen`` of a part: right or not, or years off."""
    people = [faces.rows[i].identity or faces.rows[i].key for i in chosen]
    low, high = interval(mean_of(off), people, 500)
    form = "{:.2f}" if years else "{:.2%}"
    said = f"{form.format(off.mean())} ({form.format(low)} to {form.format(high)})"
    return {"part": part, "head": name, "n": len(off), "people": len(set(people)), "figure": said}


def lines(net: AttributeNet, config: AttributeConfig) -> list[Any]:
    """The lines of all parts and heads; a part that the config does not name has none."""
    readings = {name: reading(name, about) for name, about in config.heads.items()}
    known = lambda row: any(r.rank(row) >= 0 for r in readings.values())  # noqa: E731
    side = round(config.size * CROP / config.cut)
    found = []
    for part in ("train", "valid", "test"):
        if not getattr(config, part):
            continue
        faces = open_faces(getattr(config, part), known, size=side)
        for name, logits in answers(net, faces, precision=config.precision).items():
            true = np.array([readings[name].rank(row) for row in faces.rows])
            chosen = np.flatnonzero(true >= 0)
            said = net.heads[name].predict(torch.from_numpy(logits)).numpy()[chosen]
            years = readings[name].years is not None
            off = np.abs(said - true[chosen]) if years else said == true[chosen]
            if len(chosen):
                found.append(line(part, name, np.asarray(off, np.float64), faces, chosen, years))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="a run's folder")
    asked = parser.parse_args()
    config = load_config(AttributeConfig, asked.run / "config.yaml")
    net = AttributeNet.load(asked.run / "attribute.safetensors")
    text = markdown(lines(net.to("cuda" if torch.cuda.is_available() else "cpu"), config), HEADINGS)
    with whole(asked.run / "parts.md") as fresh:
        fresh.write_text(text + "\n", "utf-8")
    print(text)


if __name__ == "__main__":
    main()
