"""What the generators that ship lose and win in 8 bits, beside the same weights in float32: docs/results/speed.md.

    python scripts/eight_bits.py --data DIR

Faces are LFW's (``DIR/lfw``), which trained none of them, one a photo; strength is mid, targets are drawn by a fixed
key. Both run on one core, in turns. Prints a Markdown table: milliseconds a face, the root mean square of the change in
levels of 255, and that of the difference between both, with the largest at any pixel.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from halfmask.evaluation.measuring.protocol import read_rgb
from halfmask.methods import Method
from halfmask.methods.halfmask import Halfmask
from halfmask.methods.stranger import Stranger
from halfmask.networks.halfmask import Masker
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Detector
from halfmask.tabular import markdown
from halfmask.training.export import export_masker
from halfmask.weights import shipped

#: File → the method that runs it, from a folder of weights or by the name under which they ship.
GENERATORS: dict[str, tuple[str, Callable[[Path | str], Method]]] = {
    "halfmask.onnx": ("free", lambda weights: Halfmask(1, key="eight bits", weights=weights)),
    "halfmask-research.onnx": ("research", lambda weights: Halfmask(1, key="eight bits", weights=weights)),
    "stranger.onnx": ("free", lambda weights: Stranger(1, weights=weights)),
}


def crops(folder: Path, most: int) -> Iterator[NDArray[np.float32]]:
    """The largest face of each of ``most`` photos, (1, 3, 224, 224) in [0, 1]."""
    detector = Detector()
    paths = sorted(folder.rglob("*.jpg"))
    for path in paths[:: max(1, len(paths) // most)][:most]:
        photo = read_rgb(path)
        if found := detector(photo):
            crop, _ = crop_face(photo, found[0].points)
            yield crop.transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--faces", type=int, default=200)
    asked = parser.parse_args()
    faces = list(crops(asked.data / "lfw", asked.faces))
    rows = []
    for file, (name, opened) in GENERATORS.items():
        with tempfile.TemporaryDirectory() as plain:
            export_masker(Masker.load(shipped.path(file)), Path(plain) / "halfmask.onnx")
            methods = {"float32": opened(Path(plain)), "8 bits": opened(name)}
            changes: dict[str, list[NDArray[np.float32]]] = {way: [] for way in methods}
            times: dict[str, list[float]] = {way: [] for way in methods}
            for face in faces:
                for way, method in methods.items():
                    began = time.process_time()
                    changes[way].append(255 * method.change(face))
                    times[way].append(1000 * (time.process_time() - began))
        whole, off = np.stack(changes["float32"]), np.stack(changes["8 bits"]) - np.stack(changes["float32"])
        row: dict[str, object] = {"generator": file} | {f"ms, {way}": float(np.median(t)) for way, t in times.items()}
        row |= {"change": float(np.sqrt(np.mean(whole**2))), "off": float(np.sqrt(np.mean(off**2)))}
        rows.append(row | {"most": float(np.abs(off).max())})
    print(f"{len(faces)} faces of LFW\n")
    columns = {name: f"{name}|.1f" for name in ("ms, float32", "ms, 8 bits")}
    columns |= {"change": "rms of the change|.1f", "off": "rms of the difference|.2f", "most": "largest|.1f"}
    print(markdown(rows, {"generator": "generator", **columns}))


if __name__ == "__main__":
    main()
