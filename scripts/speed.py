"""Speed and memory of the main job: docs/results/speed.md.

    python scripts/speed.py --data DIR

1. SAN's network: layer by layer in torch float32, against the exported folded network in onnxruntime. Same weights and
   inputs, outputs compared in the same run.
2. ``halfmask protect`` as a whole process, on the photos of LFW and on twenty photos of 12 megapixels made from them:
   photos a second from start to end, and peak memory.
3. Milliseconds a stage, one photo at a time, by the library call.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

import halfmask


def network(faces: int = 8, rounds: int = 7) -> None:
    import torch
    from safetensors.torch import load_file

    from halfmask.methods.runtime import Network
    from halfmask.networks.san import SAN
    from halfmask.weights import shipped

    net = SAN().eval()
    net.load_state_dict(load_file(shipped.path("san.safetensors")))
    fast = Network(shipped.path("san.onnx"))
    inputs = [torch.rand(faces, c, 224, 224) for c in (1, 3, 3)]
    arrays = [x.numpy() for x in inputs]
    times: dict[str, list[float]] = {"plain": [], "folded": []}
    with torch.no_grad():
        for _ in range(rounds + 1):
            began = time.perf_counter()
            (expected,) = net.layer_by_layer(inputs[0], inputs[1], [inputs[2]])
            middle = time.perf_counter()
            got = np.concatenate([fast(*[x[i : i + 1] for x in arrays]) for i in range(faces)])
            times["plain"].append((middle - began) / faces)
            times["folded"].append((time.perf_counter() - middle) / faces)
    plain, folded = (1000 * statistics.median(times[k][1:]) for k in ("plain", "folded"))
    worst = float(np.abs(got - expected.numpy()).max())
    print(
        f"SAN network, {os.cpu_count()} cores, ms a face: layer by layer in torch float32 {plain:.1f} (batch {faces}), "
    )
    print(f"folded in onnxruntime {folded:.1f} (batch 1): {plain / folded:.2f} x; largest difference {worst:.1e}\n")


_WATCH = """
import resource, subprocess, sys, time
began = time.perf_counter()
code = subprocess.run(sys.argv[1:]).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(code, time.perf_counter() - began, used.ru_maxrss, used.ru_utime + used.ru_stime)
"""


def process(folder: Path, what: str, *options: str) -> None:
    photos = sum(1 for p in folder.rglob("*") if p.is_file())
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "halfmask", "protect", str(folder), "-o", f"{out}/o", "-q", *options]
        # through a small process: Linux counts the memory of the one that starts a process as its own
        done = subprocess.run([sys.executable, "-c", _WATCH, *command], capture_output=True, text=True, check=True)
    code, took, peak, processor = done.stdout.split()[-4:]
    print(
        f"{what}: {photos} photos in {float(took):.1f} s = {photos / float(took):.1f} photos/s, "
        f"{float(processor):.0f} s of processor time, peak memory {int(peak) / 1024:.0f} MB (exit {code})"
    )


def large(source: Path, target: Path, count: int) -> None:
    """Photos of 4000 x 3000 with one face about 1300 pixels wide, from LFW's, in JPEG."""
    target.mkdir()
    for i, path in enumerate(sorted(source.rglob("*.jpg"))[: count * 7 : 7]):
        image = cv2.imread(str(path))
        big = cv2.resize(image, (3000, 3000), interpolation=cv2.INTER_CUBIC)
        canvas = cv2.copyMakeBorder(big, 0, 0, 500, 500, cv2.BORDER_REFLECT)
        noise = np.random.default_rng(i).normal(0, 4, canvas.shape)
        cv2.imwrite(str(target / f"{i:02d}.jpg"), np.clip(canvas + noise, 0, 255).astype(np.uint8))


def stages(paths: list[Path], what: str) -> None:
    times: dict[str, list[float]] = {}
    for path in paths:
        for stage, seconds in halfmask.protect(path, score=False, if_no_face="copy").timings.items():
            times.setdefault(stage, []).append(1000 * seconds)
    medians = ", ".join(f"{stage} {statistics.median(t):.1f}" for stage, t in times.items())
    print(f"{what}, ms a stage, one photo at a time, median of {len(paths)}: {medians}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    asked = parser.parse_args()
    lfw = asked.data / "lfw" / "lfw-deepfunneled"
    network()
    with tempfile.TemporaryDirectory() as work:
        large(lfw, Path(work) / "large", 20)
        paths = sorted(lfw.rglob("*.jpg"))
        stages(paths[1:400:20], "LFW")
        stages(sorted((Path(work) / "large").iterdir())[:6], "12 megapixels")
        process(lfw, "LFW")
        process(Path(work) / "large", "12 megapixels")


if __name__ == "__main__":
    main()
