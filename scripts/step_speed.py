"""How long a training step of halfmask's recipe takes, beside 0.1's: docs/method.md, "A step".

    python scripts/step_speed.py --data DIR --before CHECKOUT --untouched runs/halfmask/untouched

CHECKOUT is 0.1 (``git worktree add CHECKOUT 38ef16f``). Four runs of 100 steps of 16 faces, one after the other, of
which the first twenty do not count: 0.1's recipe by its own code; the same by today's; today's recipe, which asks
more; and the same with one reader that learns in a step instead of four.
Processor time is of the process, wall time is told beside it; both are medians of lots of twenty steps.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import yaml

import halfmask
from halfmask.training.config import find, placed

STEPS, LOT = 100, 20
OFF: dict[str, Any] = {"told": [], "told_weight": 0.0, "linear_weight": 0.0, "direct": 0.0, "reads": 3}


def recipes(checkout: Path, data: Path) -> dict[str, tuple[Path, dict[str, Any]]]:
    """Name → where the code lies, and the config."""
    old = yaml.safe_load((checkout / "configs" / "halfmask.yaml").read_text("utf-8"))
    for source in old["train"] + old["valid"]:
        source["root"] = str((data / source["layout"]).resolve())
    for key in ("adapters", "watcher"):
        given = old[key]
        paths = [str(checkout / path) for path in ([given] if isinstance(given, str) else given)]
        old[key] = paths[0] if isinstance(given, str) else paths
    new = placed(yaml.safe_load(find("halfmask").read_text("utf-8")), data.resolve())
    stages = new.pop("stages")
    new |= {k: v for k, v in stages[-1].items() if k != "name"}
    old["train"] = old["valid"]  # a step costs the same, and to ask everybody about untouched faces takes longest
    same = new | OFF | {"adapters": new["adapters"][:3], "train": [new["valid"][0] | {"share": 16}]}
    here = Path(halfmask.__file__).parents[1]
    ways = {"0.1": (checkout / "src", old | {"batch": 16}), "0.1's recipe today": (here, same), "today": (here, new)}
    ways["today, one of four readers learns"] = here, new | {"learns": 1}
    return {
        name: (src, config | {"steps": STEPS, "evaluate_every": STEPS * 10}) for name, (src, config) in ways.items()
    }


def timed(source: Path, config: dict[str, Any], untouched: Path | None, threads: int) -> tuple[float, float]:
    """Median seconds a step: of processor time, and on the wall."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "run"
        (Path(folder) / "config.yaml").write_text(yaml.safe_dump(config, sort_keys=False), "utf-8")
        if untouched:
            out.mkdir()
            (out / "untouched").symlink_to(untouched.resolve())
        env = os.environ | {"PYTHONPATH": str(source), "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "passive"}
        command = [sys.executable, "-m", "halfmask", "train", "halfmask", "--config", f"{folder}/config.yaml"]
        with open(Path(folder) / "said", "wb") as said:
            process = subprocess.Popen([*command, "--out", str(out)], env=env, stdout=said, stderr=said)
        lots: list[tuple[float, float]] = []
        while process.poll() is None and len(lots) < STEPS // LOT:
            log = out / "log.jsonl"
            logged = log.read_bytes().count(b"\n") if log.exists() else 0
            if logged > len(lots):
                used = Path(f"/proc/{process.pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
                lots.append((sum(map(int, used)) / os.sysconf("SC_CLK_TCK"), time.perf_counter()))
            time.sleep(0.05)
        if len(lots) < 3:
            raise SystemExit(f"the run ended early:\n{(Path(folder) / 'said').read_text('utf-8', 'replace')[-2000:]}")
        process.kill()
        process.wait()
    pairs = list(pairwise(lots))
    return tuple(statistics.median((b[k] - a[k]) / LOT for a, b in pairs) for k in (0, 1))  # type: ignore[return-value]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--before", type=Path, required=True, help="a checkout of 0.1")
    parser.add_argument("--untouched", type=Path, help="what everybody said of untouched faces, of an earlier run")
    parser.add_argument("--threads", type=int, default=1)
    asked = parser.parse_args()
    print("| recipe | CPU s a step | steps a CPU hour | wall s a step |\n|---|---|---|---|")
    for name, (source, config) in recipes(asked.before.resolve(), asked.data).items():
        processor, wall = timed(source, config, None if name == "0.1" else asked.untouched, asked.threads)
        print(f"| {name} | {processor:.2f} | {3600 / processor:.0f} | {wall:.2f} |", flush=True)


if __name__ == "__main__":
    main()
