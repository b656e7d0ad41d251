"""Turn the SAN authors' released autoencoder into a folder that ``--set weights=FOLDER`` and the benchmarks take.

    python scripts/authors_san.py --peers DIR --out runs/san-authors

``--peers`` holds ``conv-autoencoder-e20.pkl`` of https://github.com/iPRoBe-lab/semi-adversarial-networks (MIT). Written
are ``san.onnx``, their numbers in our folded form, and ``san.npz``, the prototypes: ours, because theirs were warped to
every face by a part model and are not published. ``--reach`` says how far OP goes; 1, the opposite prototype and no
further, is what their network was trained for.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from halfmask.networks.legacy import load_authors_san
from halfmask.training.export import export_san
from halfmask.weights import shipped


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder with conv-autoencoder-e20.pkl")
    parser.add_argument("--out", type=Path, default=Path("runs/san-authors"))
    parser.add_argument("--reach", type=float, default=1.0)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    with np.load(shipped.path("san.npz")) as ours:
        prototypes = {name: ours[name] for name in ("female", "male", "male_share")}
    np.savez(asked.out / "san.npz", **prototypes, reach=asked.reach)
    print(export_san(load_authors_san(asked.peers / "conv-autoencoder-e20.pkl"), asked.out / "san.onnx"))


if __name__ == "__main__":
    main()
