"""Why P-FGVM needs what L2 against Model A: the size of the pictures, targeted or not, and how the model was trained.

    python scripts/fgvm_size.py --data DIR --out runs/fgvm-size

The slides name neither the size of their pictures nor whether they attacked with a target. Here Model A is trained on
the same faces at several input sizes and lengths, and the same test faces are attacked twice: as crops of 224 pixels,
which the model shrinks, and as crops of its own size. One λ (a tenth of the first gradients' length) and one first step
(0.15 in L2 of 224 pixels, so the same change a pixel) serve all, so the rows differ in nothing else. Whoever counts L2
at the model's own size counts fewer numbers; RMS does not depend on that.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fgvm import CHUNK, STEPS, WAYS, Victim, absolute

from halfmask.networks.identity import load_identity
from halfmask.tabular import markdown
from halfmask.training.config import load_config
from halfmask.training.identity import IdentityConfig, labels, open_people, train_identity

FIRST, PULL = 0.15, 0.1
COLUMNS = {
    "side": "Model A sees, pixels", "trained": "steps trained", "accuracy": "right on test|.0%",
    "pictures": "pictures, pixels", "way": "way", "faces": "faces",
    "l2": "L2|.2f", "rms": "RMS|.4f", "mssim": "MSSIM|.3f", "wrong": "MR|.0%", "steps": "steps|.0f",
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with lfw30")
    parser.add_argument("--out", type=Path, default=Path("runs/fgvm-size"))
    parser.add_argument("--models", default="32x300,32x900,64x300", help="input side x steps of training, of each")
    parser.add_argument("--faces", type=int, default=24, help="test faces that all models get right")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    base = load_config(IdentityConfig, "identity-a", asked.data)
    people, faces = open_people(base)
    truth, images = labels(people, faces["test"]), faces["test"].take(np.arange(len(faces["test"])))
    keys = [row.key for row in faces["test"].rows]
    victims: dict[tuple[int, int, int], Victim] = {}
    for side, steps in (map(int, model.split("x")) for model in asked.models.split(",")):
        folder = asked.out / f"a-{side}-{steps}"
        if not (folder / "test.json").is_file():
            train_identity(replace(base, side=side, steps=steps), folder)
        net = load_identity(folder / "identity.safetensors")
        for size in (images.shape[2], side):
            seen = images if size != side else net.resize(images).clamp(0, 1)  # type: ignore[operator]
            victims[side, steps, size] = Victim(net, seen, truth, keys, 1, STEPS["a"])
    right = [set(victim.right_ones().tolist()) for victim in victims.values()]
    rows = torch.tensor(sorted(set.intersection(*right))[: asked.faces])
    table: list[dict[str, Any]] = []
    for (side, steps, size), victim in victims.items():
        for way, targeted in WAYS.items():
            length = victim.gradient_length(rows, targeted)
            chosen = absolute("p-fgvm", {"pull": PULL}, FIRST * size / 224, length, victim.images[0].numel())
            parts = [victim.attack(some, "p-fgvm", chosen, targeted) for some in rows.split(CHUNK)]
            figures = {k: float(np.concatenate([p[k] for p in parts]).mean()) for k in parts[0]}
            accuracy = len(victim.right_ones()) / len(truth)
            figures["rms"] = figures["l2"] / victim.images[0].numel() ** 0.5
            told = {"to": "targeted", "from": "non-targeted"}[way]
            about = {"side": side, "trained": steps, "accuracy": accuracy, "pictures": size, "way": told}
            table.append(about | {"faces": len(rows)} | figures)
    print(markdown(table, COLUMNS))


if __name__ == "__main__":
    main()
