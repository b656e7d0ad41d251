"""The mean of several generators' weights, which started from the same: docs/method.md, "The mean of runs".

    python scripts/mean_weights.py runs/halfmask/near=1 runs/ablations/full=1 --out runs/halfmask-mean
    python scripts/mean_weights.py runs/privacynet/long=2 runs/privacynet/last=1 --use 2.45 --out runs/privacynet-mean

Each is a run's folder with ``halfmask.safetensors`` or ``privacynet.safetensors``, and its share; of PrivacyNet's the
first has its ``config.yaml``, too, and ``--use`` is the factor that goes out with the mean. Source: Wortsman et al.
2022, Model soups.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from torch import Tensor

from halfmask.networks.halfmask import Masker
from halfmask.networks.privacynet import Generator
from halfmask.networks.state import read_weights, write_weights
from halfmask.training.config import load_config
from halfmask.training.export import export_masker, export_privacynet
from halfmask.training.privacynet import PrivacyNetConfig, readings_of


def mean(states: Sequence[Mapping[str, Tensor]], shares: Sequence[float]) -> dict[str, Tensor]:
    """Of what is a number, by shares; all else is the first one's."""
    mixed = dict(states[0])
    for name, value in mixed.items():
        if value.is_floating_point():
            parts = [share / sum(shares) * state[name].double() for share, state in zip(shares, states, strict=True)]
            mixed[name] = sum(parts[1:], parts[0]).to(value.dtype)
    return mixed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", metavar="RUN=SHARE")
    parser.add_argument("--use", type=float, help="PrivacyNet's factor of the change; without it the first run's")
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    parts = [run.rsplit("=", 1) for run in asked.runs]
    runs, shares = [Path(run) for run, _ in parts], [float(share) for _, share in parts]
    asked.out.mkdir(parents=True, exist_ok=True)
    if (runs[0] / "halfmask.safetensors").is_file():
        nets = [Masker.load(run / "halfmask.safetensors") for run in runs]
        nets[0].load_state_dict(mean([net.state_dict() for net in nets], shares))
        nets[0].save(asked.out / "halfmask.safetensors")
        print(export_masker(nets[0], asked.out / "halfmask.onnx"))
        return
    read = [read_weights(run / "privacynet.safetensors") for run in runs]
    net = Generator(**json.loads(read[0][0]["generator"]))
    net.load_state_dict(mean([state for _, state in read], shares))
    config = load_config(PrivacyNetConfig, runs[0] / "config.yaml")
    words = {name: list(r.words) for name, r in readings_of(config).items()} | {"race": config.race}
    write_weights(asked.out / "privacynet.safetensors", net.state_dict(), read[0][0])
    path = asked.out / "privacynet.onnx"
    export_privacynet(net.eval(), words, path, reach=asked.use or config.use, blank=config.blank)
    print(path)


if __name__ == "__main__":
    main()
