"""What each network was given to learn: steps, faces and seconds of a run, beside the others.

    python scripts/budgets.py runs/san runs/san-plus runs/ensemble runs/flowsan runs/privacynet

Prints a line a network, of an Ensemble SAN or a FlowSAN one for each member or stage: the auxiliary gender classifier,
steps and faces shown (steps times batch), and the seconds in the log, of a first stage apart. A run that was resumed
counts all its parts. ``of the mean`` is how the seconds stand to the mean of all lines. Needs of a run but
``config.yaml`` and ``log.jsonl``.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from halfmask.tabular import markdown
from halfmask.training.loop import read_log


def networks(run: Path) -> list[Path]:
    """The folders of a run's networks: its members or stages, or itself. Raises SystemExit when there is no log."""
    found = [f for kind in ("member", "stage") for f in sorted(run.glob(f"{kind}-*")) if (f / "log.jsonl").is_file()]
    if not found and not (run / "log.jsonl").is_file():
        raise SystemExit(f"{run} holds no log.jsonl, nor do folders member-1 or stage-1 in it; expected a run's folder")
    return found or [run]


def taken(folder: Path) -> tuple[int, float]:
    """Steps and seconds of a log; of a run that was resumed, which counts anew, the seconds of all parts."""
    log = read_log(folder)
    if not log:
        raise SystemExit(f"{folder / 'log.jsonl'} is empty: this run ended before its first line")
    ends = [one["seconds"] for one, two in zip(log, [*log[1:], {"seconds": 0.0}], strict=True)
            if two["seconds"] < one["seconds"]]  # fmt: skip
    return int(log[-1]["step"]), float(sum(ends))


def row(folder: Path, name: str) -> dict[str, Any]:
    """One line of the table."""
    config: Mapping[str, Any] = yaml.safe_load((folder / "config.yaml").read_text("utf-8"))
    batch = config.get("batch") or sum(source.get("share", 0) for source in config["train"])
    steps, seconds = taken(folder)
    first = taken(folder / "pretrain") if (folder / "pretrain" / "log.jsonl").is_file() else (0, 0.0)
    classifier = Path(config["gender_classifier"]) if config.get("gender_classifier") else None
    return {
        "network": name,
        "classifier": classifier and (classifier.parent.name if classifier.suffix else classifier.name),
        "steps": f"{first[0]} + {steps}" if first[0] else str(steps),
        "faces": first[0] * (config.get("pretrain_batch") or batch) + steps * batch,
        "seconds": f"{first[1]:.0f} + {seconds:.0f}" if first[0] else f"{seconds:.0f}",
        "total": first[1] + seconds,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", nargs="+", type=Path)
    asked = parser.parse_args()
    rows = [row(f, run.name if f == run else f"{run.name}, {f.name}") for run in asked.run for f in networks(run)]
    mean = float(np.mean([line["total"] for line in rows]))
    heads = {"network": "network", "classifier": "classifier", "steps": "steps", "faces": "faces shown|,"}
    heads |= {"seconds": "seconds", "total": "seconds in all|.0f", "share": "of the mean|.0%"}
    print(markdown([line | {"share": line["total"] / mean} for line in rows], heads))
    totals = [line["total"] for line in rows]
    print(f"\nthe longest took {max(totals) / min(totals) - 1:.0%} more than the shortest")


if __name__ == "__main__":
    main()
