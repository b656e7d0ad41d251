"""Put the data of a halfmask config into one file, for a machine that has none of them (a lent GPU).

    python scripts/pack.py halfmask runs/pack --data DIR

writes ``runs/pack/data.npz`` and ``runs/pack/halfmask.yaml``, the same config with that file as its data; every
source's crops at 144 pixels. Then, there: ``halfmask train halfmask --config runs/pack/halfmask.yaml --out
runs/halfmask``, again and again with ``runs/halfmask`` carried back and forth: it goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from halfmask.datasets.cache import Crops
from halfmask.training.config import find, placed
from halfmask.training.data import open_faces
from halfmask.training.halfmask import FINE, OURS
from halfmask.training.packs import write_pack


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", help="as for halfmask train: a name or a file")
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="as for halfmask train")
    asked = parser.parse_args()
    config = placed(yaml.safe_load(find(asked.config).read_text("utf-8")), asked.data)
    asked.out.mkdir(parents=True, exist_ok=True)
    pack, parts = asked.out / "data.npz", {}
    for which in ("train", "valid"):
        packed: list[dict[str, Any]] = []
        for k, source in enumerate(config[which]):
            faces = open_faces([{n: v for n, v in source.items() if n not in OURS}], size=FINE)
            name = f"{which}{k}"
            parts[name] = Crops(faces.pixels(np.arange(len(faces))), faces.rows, [])
            packed.append({"pack": str(pack), "part": name} | {n: v for n, v in source.items() if n in OURS})
        config[which] = packed
    size = write_pack(pack, parts)
    (asked.out / "halfmask.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    print(f"{pack}: {size / 2**20:.1f} MiB, {sum(map(len, parts.values()))} faces")


if __name__ == "__main__":
    main()
