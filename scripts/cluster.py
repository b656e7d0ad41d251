"""How a run by Ray scales: one actor of one thread against two, on the same photos, start-up told apart.

    python scripts/cluster.py --data DIR [--photos 400] [--rounds 2] [--side 250]

Takes LFW's photos (``DIR/lfw``), enlarged to ``--side`` pixels. A round protects all by one thread without Ray, then by
one actor, then by two; rates and CPU times are of the photos after the first twentieth, so loading is not in them. CPU
time says what Ray adds to a photo even where the machine does other work, too. Prints a Markdown table, and what an
archive would take by it.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import cv2
import psutil
import ray

from halfmask.cluster import run as cluster
from halfmask.cluster.hands import BLOCK
from halfmask.protecting import pipeline
from halfmask.protecting.options import Options
from halfmask.tabular import markdown

#: How the processes are called that do the photos, and that keep count of them; others are Ray's own.
KINDS = {"ray::MapWorker": "actors", "ray::Ledger": "ledger"}


def cpu() -> dict[tuple[str, int], float]:
    """CPU seconds of this process and all below it, by kind and number."""
    me = psutil.Process()
    spent = {("driver", me.pid): sum(me.cpu_times()[:2])}
    for process in me.children(recursive=True):
        try:
            line = " ".join(process.cmdline())
            kind = next((kind for start, kind in KINDS.items() if line.startswith(start)), "rest")
            spent[kind, process.pid] = sum(process.cpu_times()[:2])
        except psutil.Error:
            continue  # it has ended
    return spent


def once(album: Path, workers: int, on: str) -> dict[str, float]:
    """Photos a second once all work, the seconds until then, and milliseconds of CPU a photo by kind of process."""
    options = Options(settings={"key": "scaling"})
    with tempfile.TemporaryDirectory() as out:
        todo = cluster.plan([str(album)], out, options)
        first = max(2 * BLOCK, todo.total // 20)
        last = todo.total - 2 * BLOCK  # while all are at work
        began, times, spent = time.perf_counter(), [], []
        for outcome in cluster.run(todo, options, out, on=on, workers=workers):
            assert outcome.status != pipeline.FAILED, outcome.reason
            times.append(time.perf_counter())
            if len(times) in (first, last):
                spent.append(cpu())
    before, after = spent
    found: dict[str, float] = defaultdict(float)
    for (kind, number), seconds in after.items():
        found[kind] += 1e3 * (seconds - before.get((kind, number), 0.0)) / (last - first)
    rate = (len(times) - first) / (times[-1] - times[first - 1])
    return dict(found) | {"rate": rate, "start": times[first - 1] - began}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", type=int, default=250)
    asked = parser.parse_args()
    if asked.photos < 6 * BLOCK:
        parser.error(f"--photos is {asked.photos}; expected {6 * BLOCK} or more")
    os.environ["RAY_worker_niceness"] = "0"  # noqa: SIM112  else the actors wait for all else that runs here
    paths = sorted((asked.data / "lfw").rglob("*.jpg"))[: asked.photos]
    ways = {"one thread, no Ray": (1, "local"), "one actor": (1, "ray"), "two actors": (2, "ray")}
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as album:
        for path in paths:
            size = (asked.side, asked.side)
            photo = cv2.resize(cv2.imread(str(path)), size, interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(Path(album) / path.name), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
        rounds = [{way: once(Path(album), *how) for way, how in ways.items()} for _ in range(asked.rounds)]
    rows = []
    for way in ways:
        kinds = {name for measured in rounds for name in measured[way]}
        row = {name: statistics.median(measured[way].get(name, 0.0) for measured in rounds) for name in kinds}
        rows.append({"way": way, **row})
    for row in rows:
        row["times"] = row["rate"] / rows[1]["rate"]
    rows[0] |= {"actors": rows[0]["driver"], "driver": 0.0, "ledger": 0.0, "rest": 0.0}  # one process does all
    print(f"{len(paths)} photos of {asked.side} x {asked.side} pixels, {asked.rounds} rounds, medians\n")
    columns = {
        "way": "way",
        "rate": "photos/s|.2f",
        "times": "times one actor|.2f",
        "start": "s before the first photos are out|.1f",
        "actors": "CPU ms a photo: who do the photos|.1f",
        "driver": "driver|.1f",
        "ledger": "ledger|.1f",
        "rest": "Ray's rest|.1f",
    }
    print(markdown(rows, columns))
    print(f"\nA million such photos take {1e6 / rows[1]['rate'] / 3600:.0f} core hours.")


if __name__ == "__main__":
    main()
