"""Put the data of configs into one file, for a machine that has none of them (a lent GPU).

    python scripts/pack.py halfmask --size 144 --out runs/pack --data DIR
    python scripts/pack.py gender-free san ensemble equal/flowsan --quality 75 --out runs/pack-san --data DIR

The first line writes ``runs/pack/data.npz`` and ``runs/pack/halfmask.yaml``, the same config with that file as its
data; every source's crops at 144 pixels. Then, there: ``halfmask train halfmask --config runs/pack/halfmask.yaml --out
runs/halfmask``, again and again with ``runs/halfmask`` carried back and forth: it goes on from its checkpoint.

A source that several configs name is written once. ``--at`` is where the file will lie on the other machine, when that
is another place. ``--gray`` saves a fifth of the bytes; SAN's prototypes are then gray, too.
``--configs`` writes the configs alone, after a change of other keys.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from halfmask.datasets.cache import Crops
from halfmask.photos.align import CROP
from halfmask.training.config import find, placed
from halfmask.training.data import gray_pixels, open_faces
from halfmask.training.packs import QUALITY, write_pack
from halfmask.training.sources import KEYS


class Parts:
    """The sources of configs, each once, under the name of where it stood first: train0, valid1."""

    def __init__(self, pack: str) -> None:
        self.pack = pack
        self.sources: dict[str, Mapping[str, Any]] = {}

    def packed(self, values: Any, name: str = "") -> Any:
        """The same values with every data source taken from the pack; ``name`` is the key that they stand under."""
        if isinstance(values, list):
            return [self.packed(value, name) for value in values]
        if not isinstance(values, Mapping):
            return values
        if "layout" not in values or "root" not in values:
            return {key: self.packed(value, key) for key, value in values.items()}
        data = {key: value for key, value in values.items() if key in (*KEYS, "heads", "each")}
        own = {key: value for key, value in values.items() if key not in data}
        return {"pack": self.pack, "part": self._part(data, name), "layout": values["layout"]} | own

    def _part(self, source: Mapping[str, Any], name: str) -> str:
        for part, known in self.sources.items():
            if json.dumps(known) == json.dumps(source):
                return part
        part = f"{name}{sum(known.startswith(name) for known in self.sources)}"
        self.sources[part] = source
        return part


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", nargs="+", help="as for halfmask train: a name or a file")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--data", type=Path, help="as for halfmask train")
    parser.add_argument("--size", type=int, default=CROP, help="side of the crops, pixels  [default: %(default)s]")
    parser.add_argument("--quality", type=int, default=QUALITY, help="of WebP, to 100  [default: %(default)s]")
    parser.add_argument("--gray", action="store_true", help="without colour")
    parser.add_argument("--at", help="where the pack will lie  [default: data.npz in --out]")
    parser.add_argument("--configs", action="store_true", help="write the configs alone")
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "data.npz"
    parts = Parts(asked.at or str(file))
    for given in asked.config:
        path = find(given)
        config = parts.packed(placed(yaml.safe_load(path.read_text("utf-8")), asked.data))
        (asked.out / path.name).write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
    if asked.configs:
        return
    crops = {}
    for part, source in parts.sources.items():
        faces = open_faces([source], size=asked.size)
        pixels = faces.pixels(np.arange(len(faces)))
        if asked.gray:
            pixels = gray_pixels(pixels).repeat(3, 3)
        crops[part] = Crops(pixels, faces.rows, [])
    size = write_pack(file, crops, asked.quality)
    print(f"{file}: {size / 2**20:.1f} MiB, {', '.join(f'{part} {len(faces)}' for part, faces in crops.items())} faces")


if __name__ == "__main__":
    main()
