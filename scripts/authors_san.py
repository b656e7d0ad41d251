"""Turn the SAN authors' released autoencoder into a folder that ``--set weights=FOLDER`` and the benchmarks take.

    python scripts/authors_san.py --peers DIR --data DIR --out runs/san-authors

``--peers`` holds ``conv-autoencoder-e20.pkl`` of https://github.com/iPRoBe-lab/semi-adversarial-networks (MIT). Written
are ``san.onnx``, their numbers in our folded form, and ``san.npz``, the prototypes.

The network was trained with the mean faces of CelebA's training set. Theirs were warped to every face by a part model
and are not published. Those written here are the means of CelebA's training people in ``--data``, in our template, to
which every face is aligned; the neutral one has the paper's share of men. Prototypes of another set, ``--layout``, are
not what the network knows: between FairFace's women and men there is half as much to see, so that OP hides little.
``--reach`` says how far OP goes; 1, the opposite prototype and no further, is what the network was trained for.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path

import numpy as np

from halfmask.networks.legacy import load_authors_san
from halfmask.training.data import open_faces
from halfmask.training.export import export_san
from halfmask.training.prototypes import Prototypes, mean_faces

#: alpha_M, the share of men among the 157,350 training faces of the SAN paper (its Table 1).
PAPERS_MALE_SHARE = 65_160 / 157_350


def distance(prototypes: Prototypes) -> float:
    """|F - M|, the mean over all pixels and channels, in [0, 1]."""
    return float(np.abs(prototypes.female.astype(np.float64) - prototypes.male).mean() / 255)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", type=Path, required=True, help="folder with conv-autoencoder-e20.pkl")
    parser.add_argument("--data", type=Path, required=True, help="folder with celeba, see docs/data.md")
    parser.add_argument("--layout", default="celeba", help="whose training people the prototypes are the means of")
    parser.add_argument("--out", type=Path, default=Path("runs/san-authors"))
    parser.add_argument("--reach", type=float, default=1.0)
    asked = parser.parse_args()
    source = {"layout": asked.layout, "root": asked.data / asked.layout, "splits": ["train"]}
    faces = open_faces([source], lambda row: row.gender is not None)
    prototypes = replace(mean_faces(faces), male_share=PAPERS_MALE_SHARE)
    asked.out.mkdir(parents=True, exist_ok=True)
    prototypes.save(asked.out / "san.npz", asked.reach)
    path = export_san(load_authors_san(asked.peers / "conv-autoencoder-e20.pkl"), asked.out / "san.onnx")
    print(f"{path}, with prototypes of {len(faces)} faces of {asked.layout}: |F - M| is {distance(prototypes):.3f}")


if __name__ == "__main__":
    main()
