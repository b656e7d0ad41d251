"""Speed and memory of the main job: docs/results/speed.md.

    python scripts/speed.py --data DIR
    python scripts/speed.py --data DIR --before CHECKOUT    beside another state of halfmask, ratios
    python scripts/speed.py --data DIR --deface DEFACE      beside deface's command, ratios
    python scripts/speed.py --data DIR --flat 2000          memory over many photos
    python scripts/speed.py --data DIR --steps              processor time a step, of whatever halfmask PYTHONPATH names

1. SAN's network: layer by layer in torch float32, against the exported folded network in onnxruntime. Same weights and
   inputs, outputs compared in the same run.
2. ``halfmask protect`` as a whole process, on the photos of LFW and on twenty photos of 12 megapixels made from them:
   photos a second from start to end, and peak memory.
3. Milliseconds a stage, one photo at a time, by the library call.

``--before`` runs the whole process in turns with the ``src`` of a checkout (``git worktree add CHECKOUT 38ef16f`` is
0.1), one thread each. Processor time is what counts where a machine is shared; start-up is in it, and told apart.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
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


_BYTECODE = Path(tempfile.gettempdir()) / "halfmask-speed-bytecode"
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


def steps(paths: list[Path], what: str) -> None:
    """A row of mean processor milliseconds a step, one photo at a time in one thread, as in a run over many."""
    from halfmask.protecting import pipeline
    from halfmask.protecting.options import Options

    engine = pipeline.load(Options(if_no_face="copy", score=False), workers=1, photos=len(paths))
    cv2.setNumThreads(1)
    taken = np.zeros((len(paths), 6))
    for k, path in enumerate([paths[0], *paths]):  # the first twice: it warms up
        marks = [time.process_time()]
        photo = engine.read(path)
        marks.append(time.process_time())
        faces = engine.detect(photo)
        marks.append(time.process_time())
        prepared = engine.crop(photo, faces, engine.choose(photo, faces))
        marks.append(time.process_time())
        (changed,) = engine.change([prepared])
        marks.append(time.process_time())
        after, _ = engine.paste(prepared, changed)
        marks.append(time.process_time())
        engine.encode(after)
        marks.append(time.process_time())
        taken[max(0, k - 1)] = 1000 * np.diff(marks)
    means = taken.mean(0)
    print(f"| {what} | {len(paths)} | " + " | ".join(f"{m:.1f}" for m in (*means, means.sum())) + " |")


#: A folder of photos, None for the help, to processor and wall seconds.
Way = Callable[[Path | None], tuple[float, float]]


def beside(ways: dict[str, Way], sets: dict[str, Path | None], rounds: int) -> None:
    """A table of processor and wall seconds of two ways, run in turns; medians, and the second's rate by the first."""
    one, two = ways
    print(f"| what | photos | CPU s, {one} | {two} | rate, CPU | wall s, {one} | {two} | rate, wall |")
    print("|---" * 8 + "|")
    for what, folder in sets.items():
        photos = sum(1 for _ in folder.iterdir()) if folder else 0
        taken: dict[str, list[tuple[float, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, way in ways.items():
                taken[name].append(way(folder))
        cpu, wall = ({n: statistics.median(t[k] for t in taken[n]) for n in ways} for k in (0, 1))
        print(
            f"| {what} | {photos} | {cpu[one]:.2f} | {cpu[two]:.2f} | **{cpu[one] / cpu[two]:.2f}** "
            f"| {wall[one]:.2f} | {wall[two]:.2f} | {wall[one] / wall[two]:.2f} |",
            flush=True,
        )


def _deface(command: str, folder: Path | None) -> tuple[float, float]:
    """The same of deface, which blurs faces (CenterFace in onnxruntime), on a copy: it writes beside what it reads."""
    assert folder is not None
    with tempfile.TemporaryDirectory() as work:
        copy = shutil.copytree(folder, Path(work) / "photos")
        took = _watched([command, str(copy), "--backend", "onnxrt"], {})
        if not any(copy.glob("*_anonymized*")):
            raise SystemExit(f"{command} wrote nothing into {copy}")
    return took


def _once(source: Path, folder: Path | None) -> tuple[float, float]:
    """Processor and wall seconds of protecting a folder in one thread, or of the help."""
    with tempfile.TemporaryDirectory() as out:
        rest = ["--help"] if folder is None else [str(folder), "-o", f"{out}/o", "-q", "--workers", "1"]
        command = [sys.executable, "-m", "halfmask", *([] if folder is None else ["protect"]), *rest]
        return _watched(command, {"PYTHONPATH": str(source)})


def _watched(command: list[str], env: dict[str, str]) -> tuple[float, float]:
    """Processor and wall seconds of a command that may use one thread; the first of its kind compiles its Python."""
    compiled = {"PYTHONPYCACHEPREFIX": str(_BYTECODE), "PYTHONDONTWRITEBYTECODE": ""}
    env = os.environ | compiled | {"OMP_NUM_THREADS": "1"} | env
    done = subprocess.run([sys.executable, "-c", _WATCH, *command], capture_output=True, text=True, env=env)
    code, took, _, processor = done.stdout.split()[-4:]
    if code not in ("0", "3"):  # 3: a photo without a face
        raise SystemExit(f"{' '.join(command)} ended with {code}: {done.stderr}")
    return float(processor), float(took)


def flat(paths: list[Path], count: int) -> None:
    """Memory of a process that protects the same photos again and again, in two threads."""
    from halfmask.protecting import pipeline
    from halfmask.protecting.options import Options
    from halfmask.protecting.plan import Job

    engine = pipeline.load(Options(), workers=2, photos=count)
    sizes: list[float] = []
    with tempfile.TemporaryDirectory() as out:
        jobs = [Job(paths[i % len(paths)], Path(out) / f"{i % 64}.jpg", str(i), None) for i in range(count)]
        for _ in pipeline.run(jobs, engine, workers=2):
            sizes.append(int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20)
    tenth = max(sizes[: count // 10])
    print(
        f"memory over {count} photos ({len(paths)} repeated): {tenth:.0f} MB at most in the first tenth, "
        f"{max(sizes[-count // 10 :]):.0f} MB in the last, peak {max(sizes):.0f} MB"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--before", type=Path, help="a checkout of another state, to run in turns with this one")
    parser.add_argument("--deface", help="deface's command, to run in turns with this one on the same photos")
    parser.add_argument("--rounds", type=int, default=3, help="of --before and --deface")
    parser.add_argument("--photos", type=int, default=200, help="of LFW, for --before and --flat")
    parser.add_argument("--steps", action="store_true", help="only measure processor time a step")
    parser.add_argument("--flat", type=int, metavar="N", help="only measure memory over N photos")
    asked = parser.parse_args()
    lfw = asked.data / "lfw" / "lfw-deepfunneled"
    paths = sorted(lfw.rglob("*.jpg"))
    some = paths[:: max(1, len(paths) // asked.photos)][: asked.photos]
    if asked.flat:
        flat(some, asked.flat)
        return
    if asked.steps:
        print("| photos | number | read | detect | crop | change | paste | encode | all |\n" + "|---" * 9 + "|")
        with tempfile.TemporaryDirectory() as work:
            large(lfw, Path(work) / "large", 8)
            steps(some, "LFW")
            steps(sorted((Path(work) / "large").iterdir()), "12 megapixels")
        return
    if asked.before or asked.deface:
        with tempfile.TemporaryDirectory() as work:
            sets = {name: Path(work) / name for name in ("one of LFW", "LFW", "12 megapixels")}
            for name, chosen in (("one of LFW", some[:1]), ("LFW", some)):
                sets[name].mkdir()
                for path in chosen:
                    shutil.copy(path, sets[name])
            large(lfw, sets["12 megapixels"], 8)
            now = partial(_once, Path(halfmask.__file__).parents[1])
            if asked.before:
                ways = {"then": partial(_once, asked.before / "src"), "now": now}
                beside(ways, {"--help": None, **sets}, asked.rounds)
            if asked.deface:
                beside({"deface": partial(_deface, asked.deface), "halfmask": now}, {**sets}, asked.rounds)
        return
    network()
    with tempfile.TemporaryDirectory() as work:
        large(lfw, Path(work) / "large", 20)
        stages(paths[1:400:20], "LFW")
        stages(sorted((Path(work) / "large").iterdir())[:6], "12 megapixels")
        process(lfw, "LFW")
        process(Path(work) / "large", "12 megapixels")


if __name__ == "__main__":
    main()
