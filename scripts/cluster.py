"""How a run by Ray scales: one actor of one thread against two, on the same photos, start-up told apart.

    python scripts/cluster.py --data DIR [--photos 400] [--rounds 2] [--side 250]

Takes LFW's photos (``DIR/lfw``), enlarged to ``--side`` pixels. A round protects all by one actor, then all
by two; rates are of the photos after the first twentieth, so loading is not in them. Prints a Markdown table,
and what an archive would take by it.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import cv2
import ray

from halfmask.cluster import run as cluster
from halfmask.cluster.hands import BLOCK
from halfmask.protecting import pipeline
from halfmask.protecting.options import Options
from halfmask.tabular import markdown


def once(album: Path, workers: int) -> tuple[float, float]:
    """Photos a second once all work, and the seconds until then."""
    options = Options(settings={"key": "scaling"})
    with tempfile.TemporaryDirectory() as out:
        todo = cluster.plan([str(album)], out, options)
        began, times = time.perf_counter(), []
        for outcome in cluster.run(todo, options, out, on="ray", workers=workers):
            assert outcome.status != pipeline.FAILED, outcome.reason
            times.append(time.perf_counter())
    skip = max(2 * BLOCK, len(times) // 20)
    return (len(times) - skip) / (times[-1] - times[skip - 1]), times[skip - 1] - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--photos", type=int, default=400)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--side", type=int, default=250)
    asked = parser.parse_args()
    paths = sorted((asked.data / "lfw").rglob("*.jpg"))[: asked.photos]
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    with tempfile.TemporaryDirectory() as album:
        for path in paths:
            size = (asked.side, asked.side)
            photo = cv2.resize(cv2.imread(str(path)), size, interpolation=cv2.INTER_CUBIC)
            cv2.imwrite(str(Path(album) / path.name), photo, [cv2.IMWRITE_JPEG_QUALITY, 95])
        measured = {workers: [once(Path(album), workers) for _ in range(asked.rounds)] for workers in (1, 2)}
    rates = {workers: statistics.median(rate for rate, _ in rounds) for workers, rounds in measured.items()}
    start = {workers: statistics.median(seconds for _, seconds in rounds) for workers, rounds in measured.items()}
    rows = [{"actors": n, "rate": rates[n], "times": rates[n] / rates[1], "start": start[n]} for n in rates]
    print(f"{len(paths)} photos of {asked.side} x {asked.side} pixels, {asked.rounds} rounds, medians\n")
    columns = {
        "actors": "actors",
        "rate": "photos/s|.2f",
        "times": "times one actor|.2f",
        "start": "s before the first photos are out|.1f",
    }
    print(markdown(rows, columns))
    print(f"\nA million such photos take {1e6 / rates[1] / 3600:.0f} core hours.")


if __name__ == "__main__":
    main()
