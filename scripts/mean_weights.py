"""The mean of several generators' weights, which started from the same: docs/method.md, "The mean of runs".

    python scripts/mean_weights.py runs/halfmask/near=1 runs/ablations/full=1 --out runs/halfmask-mean

Each is a run's folder with ``halfmask.safetensors`` and its share. Source: Wortsman et al. 2022, Model soups.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from halfmask.networks.halfmask import Masker
from halfmask.training.export import export_masker


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN=SHARE")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    parts = [run.rsplit("=", 1) for run in asked.runs]
    whole = sum(float(share) for _, share in parts)
    nets = [Masker.load(Path(run) / "halfmask.safetensors") for run, _ in parts]
    states = [net.state_dict() for net in nets]
    mean = dict(states[0])
    for name, value in mean.items():
        if value.is_floating_point():
            mixed = sum(float(p[1]) / whole * state[name].double() for p, state in zip(parts, states, strict=True))
            mean[name] = mixed.to(value.dtype)  # type: ignore[union-attr]
    nets[0].load_state_dict(mean)
    asked.out.mkdir(parents=True, exist_ok=True)
    nets[0].save(asked.out / "halfmask.safetensors")
    print(export_masker(nets[0], asked.out / "halfmask.onnx"))


if __name__ == "__main__":
    main()
