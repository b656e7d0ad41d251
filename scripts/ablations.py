"""What each ingredient of halfmask's recipe is worth: every one left out once, at equal steps.

    python scripts/ablations.py --data DIR --out runs/ablations
    python scripts/choose.py --data DIR --taught 1000 --distance 0.09 --watcher ... runs/ablations/*

Each arm starts from what 0.1 shipped and takes the same steps with the settings of the recipe's last stage; a rerun
does what is missing. The second line compares them at one match distance, by auxiliary models (docs/method.md).

With ``--start`` arms go on from other weights, against fresh adversaries: runs to be averaged
(scripts/mean_weights.py). ``--faces halfmask-research`` takes the training faces of that config, ``--seed`` another
chance, ``--shares 24 8 32`` larger batches, for a GPU, in which few portraits do not come too often, ``--each 3`` more
composites; ``--config`` is then the file that scripts/pack.py wrote for one.
The arms ``wide`` and ``told`` are for long runs: all readers judge each step, or more readers are told and count more.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import yaml

from halfmask.training.config import find, placed
from halfmask.training.halfmask import HalfmaskConfig, train_halfmask

#: Two hundred steps would be over before a reader of population B is warm.
WARM = 60


def arms(config: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """The recipe's last stage by what it lacks, from the recipe as its file says."""
    full = {k: v for k, v in config.items() if k != "stages"} | config["stages"][-1] | {"warm": WARM}
    full.pop("name")
    fairface, portraits = full["train"][:2]
    return {
        "full": full,
        "no-told": full | {"told": [], "told_weight": 0.0},
        "no-linear": full | {"linear_weight": 0.0},
        "no-direct": full | {"direct": 0.0},
        "no-portraits": full | {"train": [fairface | {"share": 16}]},
        "no-composites": full | {"train": [fairface | {"share": 8}, portraits | {"share": 8}]},
        "three-readers": full | {"adapters": full["adapters"][:3], "reads": 3},
        "other-readers": full | {"adapters": full["adapters"][3:], "reads": 4},
        "one-learns": full | {"learns": 1},
        "wide": full | {"reads": len(full["adapters"]), "learns": 3, "adapter_lr": 0.0002, "warm": 200},
        "told": full
        | {
            "told": [*full["told"], {"backbone": "gendercnn", "size": 112}, {"backbone": "plain", "size": 32}],
            "told_weight": 1.0,
            "linear_weight": 0.5,
            "learns": 2,
            "warm": 200,
        },
        "no-critic": full | {"critic": 0.0},
        "no-budgets": full | {"blotch_weight": 0.0, "ssim_weight": 0.0, "chroma_weight": 20.0},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="as for halfmask train")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--config", default="halfmask", help="as for halfmask train halfmask")
    parser.add_argument("--steps", type=int, default=240)
    parser.add_argument("--shares", type=int, nargs="+", help="faces of a batch from each source")
    parser.add_argument("--each", type=int, default=1, help="heads for each face of a source with heads")
    parser.add_argument("--cool", type=float, help="share of the steps in which the learning rate falls")
    parser.add_argument("--faces", help="config whose training faces are taken")
    parser.add_argument("--start", type=Path, help="generator to go on from")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("arms", nargs="*", help="only these")
    asked = parser.parse_args()
    config, faces = (
        placed(yaml.safe_load(find(n).read_text("utf-8")), asked.data)
        for n in (asked.config, asked.faces or asked.config)
    )
    shares = asked.shares or [source["share"] for source in faces["train"]]
    config["train"] = [source | {"share": n} for source, n in zip(faces["train"], shares, strict=True)]
    if asked.each > 1:
        config["train"] = [s | {"each": asked.each} if "heads" in s else s for s in config["train"]]
    if asked.start:
        config["start"] = str(asked.start)
    untouched = (asked.out / "untouched").resolve()
    untouched.mkdir(parents=True, exist_ok=True)
    for name, arm in arms(config).items():
        if asked.arms and name not in asked.arms:
            continue
        folder = asked.out / name
        folder.mkdir(exist_ok=True)
        if not (folder / "untouched").exists():  # what everybody says of untouched faces is asked once
            (folder / "untouched").symlink_to(untouched)
        arm |= {"steps": asked.steps, "evaluate_every": min(asked.steps, 400), "seed": asked.seed}
        if asked.cool is not None:
            arm["cool"] = asked.cool
        train_halfmask(HalfmaskConfig(**arm), folder)


if __name__ == "__main__":
    main()
