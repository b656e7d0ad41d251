"""Choose how far the shipped SAN goes (``reach`` in the config san), by auxiliary models on validation people.

    python scripts/reach.py --data DIR
    python scripts/reach.py --data DIR --figure docs/figures/reach.png

On CelebA's validation people, for each reach: the error of our own gender classifier, and TMR at FMR 1 % and 0.1 % by
the auxiliary matchers SFace (which SAN was trained against) and FaceNet (which it was not), originals in the gallery,
thresholds fixed on originals. No referee is asked. The change is masked as it is when it is put back into a photo.

``--figure`` draws what is gained, points of error, over what is lost, points of TMR at FMR 1 %, and the SAN paper's
points beside it: G-COTS' error on LFW, MUCT and AR, and M-COTS' match rate there (its tables 2 and 3).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from halfmask import drawing
from halfmask.evaluation.benchmark.config import find, read_config
from halfmask.evaluation.measuring.matching import all_pairs
from halfmask.evaluation.measuring.metrics import match_rate
from halfmask.methods import Subject
from halfmask.methods.labels import GenderEstimate
from halfmask.methods.san import San
from halfmask.networks.matchers import load_matcher
from halfmask.photos.paste import mask
from halfmask.tabular import markdown
from halfmask.training.data import open_faces


def published() -> dict[str, tuple[float, float]]:
    """Set → what the paper's OP loses of M-COTS' matches and gains of G-COTS' errors, in points."""
    of = {}
    for table, by in (("san-table2", "G-COTS"), ("san-table3", "M-COTS")):
        rows = read_config(find([table])[0]).published[0].rows
        of[by] = {str(r["set"]): 100 * (r["SAN published, OP"] - r["before"]) for r in rows if r["by"] == by}
    return {name: (-lost, of["G-COTS"][name]) for name, lost in of["M-COTS"].items()}


def draw(rows: Sequence[Mapping[str, Any]], paper: Mapping[str, tuple[float, float]], path: Path) -> None:
    """Points of error gained over points of TMR lost, a curve a matcher, a point a reach."""
    with drawing.canvas(6.2, 4.4) as (figure, axes):
        ax = axes[0, 0]
        for name, colour in (("sface", drawing.BLUE), ("facenet", drawing.GREEN)):
            lost = [100 * (rows[0][f"{name}@0.01"] - row[f"{name}@0.01"]) for row in rows]
            gained = [100 * (row["error"] - rows[0]["error"]) for row in rows]
            ax.plot(lost, gained, marker="o", color=colour, label=f"SAN+ by reach, TMR by {name}")
            for x, y, row in list(zip(lost, gained, rows, strict=True))[1:]:
                ax.annotate(row["reach"], (x, y), xytext=(4, -10), textcoords="offset points", fontsize=8, color=colour)
        ax.plot(*zip(*paper.values(), strict=True), "D", color=drawing.ORANGE, label="SAN paper, OP (G-COTS, M-COTS)")
        for name, (x, y) in paper.items():
            ax.annotate(name, (x, y), xytext=(5, 4), textcoords="offset points", fontsize=8, color=drawing.ORANGE)
        ax.set(xlabel="TMR lost at FMR 1 %, points", ylabel="gender error gained, points")
        ax.legend(loc="lower right")
        drawing.save(figure, path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--reach", default="1,1.1,1.2,1.3,1.4,1.6")
    parser.add_argument("--run", type=Path, help="a run's folder with san.onnx and san.npz instead of the shipped SAN")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="also draw the curve, into this PNG")
    asked = parser.parse_args()
    if asked.threads:
        torch.set_num_threads(asked.threads)
    source = {"layout": "celeba", "root": asked.data / "celeba", "splits": ["valid"]}
    faces = open_faces([source], lambda row: row.gender is not None)
    crops = faces.pixels(np.arange(len(faces))).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
    gender, people = faces.labels("gender"), [str(row.identity) for row in faces.rows]
    files = {"network": asked.run / "san.onnx", "means": asked.run / "san.npz"} if asked.run else {}
    san, classifier = San(threads=asked.threads, **files), GenderEstimate(asked.threads)
    matchers = {name: load_matcher(name) for name in ("sface", "facenet")}
    oval = mask(crops.shape[-1]).squeeze()

    def embed(name: str, shown: NDArray[np.float32]) -> NDArray[np.float32]:
        with torch.no_grad():
            parts = [matchers[name](torch.from_numpy(shown[i : i + 32])).float() for i in range(0, len(shown), 32)]
        return torch.nn.functional.normalize(torch.cat(parts)).numpy()

    originals = {name: embed(name, crops) for name in matchers}
    who = np.unique(people, return_inverse=True)[1]
    mates = (who[:, None] == who[None]) & ~np.eye(len(who), dtype=bool)
    fixed = {n: all_pairs(e, people, lambda a, b: a @ b.T, fmr=0.01) for n, e in originals.items()}
    subjects = [Subject(int(g)) for g in gender]
    rows = []
    for reach in tqdm([0.0, *map(float, asked.reach.split(","))], desc="reach"):
        shown = crops
        if reach:
            san.reach = reach
            parts = [san.change(crops[i : i + 8], subjects[i : i + 8]) for i in range(0, len(crops), 8)]
            shown = np.clip(crops + np.concatenate(parts) * oval, 0, 1)
        p = np.concatenate([classifier.p_male(shown[i : i + 16]) for i in range(0, len(shown), 16)])
        row = {"reach": f"{reach:g}" if reach else "originals", "error": float(((p > 0.5) != gender).mean())}
        for name, before in originals.items():
            genuine = (embed(name, shown) @ before.T)[mates]
            for fmr in (0.01, 0.001):
                row[f"{name}@{fmr}"] = match_rate(genuine, fixed[name].threshold(fmr))
        rows.append(row)
    heads = {"reach": "reach", "error": "error of our classifier|.1%"}
    for name in matchers:
        heads |= {f"{name}@0.01": f"{name}, FMR 1 %|.1%", f"{name}@0.001": f"{name}, FMR 0.1 %|.1%"}
    print(markdown(rows, heads))
    if asked.figure:
        draw(rows, published(), asked.figure)


if __name__ == "__main__":
    main()
