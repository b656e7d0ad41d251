"""Choose how far networks of the SAN family go (``reach``), by auxiliary models on people who trained none of them.

    python scripts/reach.py --data DIR SAN=runs/san SAN+=runs/san-plus Ensemble=runs/ensemble FlowSAN=runs/flowsan
    python scripts/reach.py --data DIR san@1,2,3 plus@0.5,1,1.6 ensemble@2,2.5,3 --figure docs/figures/reach.png
    python scripts/reach.py --data DIR SAN=runs/san --lose 5 --write

Each network is the folder of a run, under a name, or one that ships: san, plus (SAN+), ensemble (the average of its
members) or flowsan (all its steps); behind an @ its own reaches may stand. No referee is asked, and for each reach this
tells:

- AUC of the gender by classifiers, the shipped ``gender`` unless told otherwise by ``--watcher``: of faces of
  FairFace's held-out tenth and the portraits' valid people (*read*), and of CelebA's validation people (*people*). The
  networks of today's configs were trained against neither it nor CelebA;
- its error of CelebA's validation people;
- TMR that is lost at FMR 1 % and 0.1 %, points, of the same people by SFace, which the SAN family was trained against,
  and FaceNet, which it was not: originals in the gallery, thresholds fixed on originals;
- SSIM of their aligned faces.

The change is masked as it is when it is put back into a photo. ``--lose 5`` says at which reach a network loses so many
points of TMR at FMR 1 %, a mean of both matchers, linear between those that were tried; ``--write`` puts that reach
into the runs' npz. So networks are compared, and ship, at one match loss.

``--figure`` draws what is gained, points of error by the first watcher, over what is lost, points of TMR at FMR 1 % by
FaceNet, and the SAN paper's points beside it: G-COTS' error on LFW, MUCT and AR, and M-COTS' match rate there (its
tables 2 and 3).
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from choose import asked as ask
from choose import name_of, sources, spread, tmr_loss
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from sklearn.metrics import roc_auc_score
from tqdm import tqdm

from halfmask import drawing
from halfmask.evaluation.benchmark.config import find, read_config
from halfmask.methods import Subject, load
from halfmask.methods.san import PLUS, SanFamily
from halfmask.networks.matchers import load_matcher
from halfmask.photos.paste import mask
from halfmask.storage import save_arrays
from halfmask.tabular import markdown
from halfmask.training.data import open_faces
from halfmask.training.watching import load_watcher
from halfmask.weights import shipped

#: What ships: name → what it is called here, the method, its weights.
SHIPPED = {"san": ("SAN", "san", None), "plus": ("SAN+", "san", PLUS)}
SHIPPED |= {"ensemble": ("Ensemble", "ensemble", None), "flowsan": ("FlowSAN", "flowsan", None)}


def means_of(run: Path) -> Path:
    """The npz of a run of the SAN family. Raises SystemExit when there is none."""
    for recipe in ("ensemble", "flowsan", "san"):
        if (run / f"{recipe}.npz").is_file():
            return run / f"{recipe}.npz"
    raise SystemExit(f"{run} holds no san.npz, ensemble.npz or flowsan.npz; expected the folder of a finished run")


def opened(given: str, threads: int) -> tuple[str, SanFamily]:
    """A network that ships by its name, or one of a run by NAME=FOLDER: what it is called, and itself."""
    name, _, folder = given.partition("=")
    if folder:
        label, recipe, weights = name, means_of(Path(folder)).stem, folder
    elif name in SHIPPED:
        label, recipe, weights = SHIPPED[name]
    else:
        raise SystemExit(f"{given!r} is no network; expected NAME=FOLDER, or one of: {', '.join(SHIPPED)}")
    method = load(recipe, threads=threads, **({} if weights is None else {"weights": weights}))
    assert isinstance(method, SanFamily)
    return label, method


def published() -> dict[str, tuple[float, float]]:
    """Set → what the paper's OP loses of M-COTS' matches and gains of G-COTS' errors, in points."""
    of = {}
    for table, by in (("san-table2", "G-COTS"), ("san-table3", "M-COTS")):
        rows = read_config(find([table])[0]).published[0].rows
        of[by] = {str(r["set"]): 100 * (r["SAN published, OP"] - r["before"]) for r in rows if r["by"] == by}
    return {name: (-lost, of["G-COTS"][name]) for name, lost in of["M-COTS"].items()}


def reach_at(rows: Sequence[Mapping[str, Any]], loss: float) -> float | None:
    """The reach at which so many points are ``lost``, linear between the rows, which rise in reach from 0.

    None when none of them loses as much.

    >>> reach_at([{"reach": 0.0, "lost": 0.0}, {"reach": 1.0, "lost": 2.0}, {"reach": 2.0, "lost": 6.0}], 4)
    1.5
    """
    for one, two in pairwise(rows):
        if one["lost"] <= loss < two["lost"]:
            return one["reach"] + (loss - one["lost"]) / (two["lost"] - one["lost"]) * (two["reach"] - one["reach"])
    return None


def draw(
    found: Mapping[str, Sequence[Mapping[str, Any]]], paper: Mapping[str, tuple[float, float]], path: Path
) -> None:
    """Points of error gained over points of TMR lost, a curve a network, a point a reach, and the paper's points."""
    colours = (drawing.BLUE, drawing.GREEN, drawing.PINK, drawing.SKY)
    with drawing.canvas(6.6, 4.6) as (figure, axes):
        ax = axes[0, 0]
        for (name, rows), colour in zip(found.items(), colours * len(found), strict=False):
            x, y = ([row[key] for row in rows] for key in ("facenet@0.01", "gained"))
            ax.plot(x, y, marker="o", color=colour, label=f"{name}, by reach")
            for row in rows[1:]:
                at = (row["facenet@0.01"], row["gained"])
                ax.annotate(
                    f"{row['reach']:g}", at, xytext=(4, -10), textcoords="offset points", fontsize=8, color=colour
                )
        ax.plot(*zip(*paper.values(), strict=True), "D", color=drawing.ORANGE, label="SAN paper, OP (G-COTS, M-COTS)")
        for name, point in paper.items():
            ax.annotate(name, point, xytext=(5, 4), textcoords="offset points", fontsize=8, color=drawing.ORANGE)
        ax.set(xlabel="TMR lost at FMR 1 %, points", ylabel="gender error gained, points")
        ax.legend(loc="lower right")
        drawing.save(figure, path)


def write_reach(run: Path, reach: float) -> None:
    """Put a reach into the npz of a run."""
    path = means_of(run)
    with np.load(path) as kept:
        arrays = {name: kept[name] for name in kept.files}
    save_arrays(path, arrays | {"reach": np.array(reach)}, compressed=True)


def changed(
    method: SanFamily, pixels: NDArray[np.uint8], gender: NDArray[np.int64], oval: NDArray[np.float32]
) -> NDArray[np.uint8]:
    """Crops (N, 224, 224, 3) after a method by their true labels, masked and rounded as a file would be."""
    out = np.empty_like(pixels)
    for i in range(0, len(pixels), 8):
        crops = (pixels[i : i + 8].astype(np.float32) / 255).transpose(0, 3, 1, 2)
        made = crops + method.change(crops, [Subject(int(g)) for g in gender[i : i + 8]]) * oval
        out[i : i + 8] = (made.clip(0, 1) * 255 + 0.5).transpose(0, 2, 3, 1)
    return out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("network", nargs="*", default=["san", "plus"])
    parser.add_argument("--data", type=Path, default=Path("data"))
    parser.add_argument("--reach", default="0.5,0.75,1,1.3,1.6,2")
    parser.add_argument("--faces", type=int, default=400, help="of each of the two sets  [default: %(default)s]")
    parser.add_argument("--watcher", type=Path, action="append", help="a gender classifier of a run; may be repeated")
    parser.add_argument("--lose", type=float, help="tell the reach of that loss, points of TMR at FMR 1 %%")
    parser.add_argument("--write", action="store_true", help="put the reach of --lose into the runs")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--figure", type=Path, help="also draw the curves, into this PNG")
    parser.add_argument("--out", type=Path, help="also write the table, Markdown")
    asked = parser.parse_args()
    if asked.write and not asked.lose:
        parser.error("--write puts the reach of --lose into the runs; give --lose too")
    if asked.threads:
        torch.set_num_threads(asked.threads)
    wanted = [given.partition("@") for given in asked.network]
    networks = dict(opened(given, asked.threads) for given, _, _ in wanted)
    watchers = {name_of(path): load_watcher(path) for path in asked.watcher or [shipped.path("gender.safetensors")]}
    matchers = {name: load_matcher(name) for name in ("sface", "facenet")}
    oval = mask(224).squeeze()
    sets = {name: open_faces(given) for name, given in sources(asked.data).items() if name != "taught"}
    places = {name: spread(faces, asked.faces) for name, faces in sets.items()}
    pixels = {name: faces.pixels(places[name]) for name, faces in sets.items()}
    gender = {name: faces.labels("gender")[places[name]] for name, faces in sets.items()}
    people = [sets["people"].rows[i].identity for i in places["people"]]
    untouched = {name: ask(net, pixels["people"]) for name, net in matchers.items()}

    def row_of(reach: float, after: Mapping[str, NDArray[np.uint8]]) -> dict[str, Any]:
        row: dict[str, Any] = {"reach": reach}
        for name, net in watchers.items():
            said = {where: ask(net, after[where], 112) for where in sets}
            row |= {f"{name}, {where}": float(roc_auc_score(gender[where], said[where])) for where in sets}
            row.setdefault("error", float(((said["people"] > 0) != gender["people"]).mean()))
        for name, net in matchers.items():
            lost = tmr_loss(untouched[name], ask(net, after["people"]), people)
            row |= {f"{name}@0.01": lost[0], f"{name}@0.001": lost[1]}
        row["lost"] = (row["sface@0.01"] + row["facenet@0.01"]) / 2
        pairs = zip(pixels["people"][:100], after["people"][:100], strict=True)
        row["ssim"] = float(np.mean([structural_similarity(x, y, channel_axis=2) for x, y in pairs]))
        return row

    originals = row_of(0.0, pixels)
    found: dict[str, list[dict[str, Any]]] = {}
    steps = [
        (name, float(reach))
        for name, (_, _, own) in zip(networks, wanted, strict=True)
        for reach in (own or asked.reach).split(",")
    ]
    for name, reach in tqdm(steps, desc="reach"):
        networks[name].prototypes.reach = reach
        after = {where: changed(networks[name], pixels[where], gender[where], oval) for where in sets}
        found.setdefault(name, [originals]).append(row_of(reach, after))
    for rows in found.values():
        for row in rows:
            row["gained"] = 100 * (row["error"] - originals["error"])
    heads = {"network": "network", "reach": "reach|g"}
    heads |= {f"{name}, {where}": f"AUC, {name}, {where}|.3f" for name in watchers for where in sets}
    heads |= {"error": f"error, {next(iter(watchers))}, people|.1%"}
    heads |= {f"{m}@{f}": f"TMR lost at FMR {100 * f:g} %, {m}|.1f" for m in matchers for f in (0.01, 0.001)}
    heads |= {"ssim": "SSIM|.3f"}
    table = markdown(
        [{"network": "originals"} | originals]
        + [{"network": name} | row for name, rows in found.items() for row in rows[1:]],
        heads,
    )
    print(table)
    if asked.out:
        asked.out.write_text(table + "\n", "utf-8")
    if asked.figure:
        draw(found, published(), asked.figure)
    for (given, _, _), (name, rows) in zip(wanted, found.items(), strict=True):
        if asked.lose is None:
            break
        reach = reach_at(rows, asked.lose)
        print(f"{name} loses {asked.lose:g} points at " + ("none of these" if reach is None else f"reach {reach:.2f}"))
        if asked.write and reach is not None and "=" in given:
            write_reach(Path(given.partition("=")[2]), round(reach, 2))


if __name__ == "__main__":
    main()
