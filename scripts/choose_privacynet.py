"""Compare PrivacyNet's generators, and how far their change goes, by auxiliary models on people who trained none.

    python scripts/choose_privacynet.py --data DIR --reach 1 --reach 2 runs/privacynet-trial ...
    python scripts/choose_privacynet.py --data DIR shipped --watcher gender --reader attributes

Nothing here is a referee. Read are faces of FairFace's held-out tenth and CelebA's validation people, each attribute
hidden alone, and all three, with targets drawn by key as in use:

- *gender*: AUC by each watcher, in FairFace and in CelebA's people; *kept*: the same with age and race hidden;
- *age*: how many years farther from FairFace's range each reader's answer is when age is hidden, and when it is kept;
- *race*: points of balanced accuracy lost by each reader when race is hidden, and when it is kept;
- *TMR loss* at FMR 1 % by SFace and FaceNet on CelebA's validation people, gender alone hidden and all three;
- *SSIM* of CelebA's aligned faces, gender alone hidden and all three: of luma, as referees measure it, and of colour.

Prints a Markdown table, and writes it with ``--out``.
"""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import torch
from choose import asked, name_of, sources, spread, tell, tmr_loss
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from tqdm import tqdm

from halfmask.datasets.ages import age_class
from halfmask.methods.contract import Subject
from halfmask.methods.privacynet import PrivacyNet
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.matchers import load_matcher
from halfmask.photos.paste import mask
from halfmask.training.data import open_faces, to_tensor
from halfmask.training.watching import load_watcher
from halfmask.weights import shipped

Pixels = NDArray[np.uint8]
KEPT = {"gender": "age,race", "age": "gender,race", "race": "gender,age"}
EVERY = "gender,age,race"


def protected(method: PrivacyNet, reach: float, pixels: Pixels, gender: NDArray[np.int64]) -> Pixels:
    """Crops after a method, its change times ``reach`` under the oval of a head, as eight bits."""
    out = np.empty_like(pixels)
    oval = mask(pixels.shape[1])
    for i in range(0, len(pixels), 8):
        crops = (pixels[i : i + 8].astype(np.float32) / 255).transpose(0, 3, 1, 2)
        change = oval * reach * method.change(crops, [Subject(gender=int(g)) for g in gender[i : i + 8]])
        out[i : i + 8] = ((crops + change).clip(0, 1) * 255 + 0.5).transpose(0, 2, 3, 1)
    return out


def alike(before: Pixels, after: Pixels, gray: bool) -> float:
    """The mean SSIM of faces (N, H, W, 3), of their luma or of their three channels."""
    if gray:
        before, after = (np.stack([cv2.cvtColor(x, cv2.COLOR_RGB2GRAY) for x in p]) for p in (before, after))
    axis = None if gray else 2
    return float(np.mean([structural_similarity(x, y, channel_axis=axis) for x, y in zip(before, after, strict=True)]))


class Reader:
    """What a network with heads for age and race says: years (N,), and race's class (N,)."""

    def __init__(self, path: Path) -> None:
        self.net = AttributeNet.load(path)

    @torch.no_grad()
    def __call__(self, pixels: Pixels) -> tuple[NDArray[np.float64], list[str]]:
        middles = np.array([age_class(w).middle for w in self.net.heads["age"].words])
        words, years, races = self.net.heads["race"].words, [], []
        for i in range(0, len(pixels), 32):
            p = self.net.probabilities(to_tensor(pixels[i : i + 32]))
            years.append(p["age"].double().numpy() @ middles)
            races += [words[k] for k in p["race"].argmax(1).tolist()]
        return np.concatenate(years), races


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="+", help="folders with privacynet.onnx, or shipped")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--reach", type=float, action="append", default=[])
    parser.add_argument("--watcher", type=Path, action="append", default=[])
    parser.add_argument("--reader", type=Path, action="append", default=[])
    parser.add_argument("--most", type=int, default=240, help="faces of each set")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    given = sources(a.data)
    fair, people = (open_faces(part, size=224) for part in (given["read"][:1], given["people"]))
    places = [spread(faces, a.most) for faces in (fair, people)]
    pixels = {n: f.pixels(p) for n, f, p in zip(("fair", "celeba"), (fair, people), places, strict=True)}
    gender = {n: f.labels("gender")[p] for n, f, p in zip(("fair", "celeba"), (fair, people), places, strict=True)}
    rows_of = [fair.rows[i] for i in places[0]]
    ranges = np.array([r.age_range or (r.age, r.age) for r in rows_of], np.float64)
    race = [r.race for r in rows_of]
    who = [people.rows[i].identity for i in places[1]]
    watchers = {name_of(path): load_watcher(shipped.find(path)) for path in a.watcher}
    readers = {name_of(path): Reader(shipped.find(path)) for path in a.reader}
    matchers = {name: load_matcher(name) for name in ("sface", "facenet")}

    def mae(years: NDArray[np.float64]) -> float:
        return float(np.maximum(np.maximum(ranges[:, 0] - years, years - ranges[:, 1]), 0).mean())

    def hit(found: list[str]) -> float:
        return 100 * float(balanced_accuracy_score(race, found))

    untouched = {name: asked(net, pixels["celeba"]) for name, net in matchers.items()}
    first = {name: reader(pixels["fair"]) for name, reader in readers.items()}
    table = []
    ways: list[tuple[str, PrivacyNet | None, float]] = [("originals", None, 0.0)]
    for folder in a.weights:
        for reach in a.reach or [1.0]:
            ways.append((f"{Path(folder).name}, {reach:g}", folder, reach))  # type: ignore[arg-type]
    for label, folder, reach in tqdm(ways, unit="generator"):

        def after(hide: str, where: str, folder=folder, reach=reach) -> Pixels:  # type: ignore[no-untyped-def]
            if folder is None:
                return pixels[where]
            named = {} if folder == "shipped" else {"weights": folder}
            return protected(PrivacyNet(1, hide=hide, key="choose", **named), reach, pixels[where], gender[where])

        made = {hide: after(hide, "fair") for hide in ("gender", "age", "race", *KEPT.values())}
        crops = {hide: after(hide, "celeba") for hide in ("gender", EVERY)}
        row = {"generator, reach": label}
        for name, net in watchers.items():
            auc = partial(roc_auc_score, gender["fair"])
            three = (auc(asked(net, made["gender"], 112)), auc(asked(net, made[KEPT["gender"]], 112)))
            celeba = roc_auc_score(gender["celeba"], asked(net, crops["gender"], 112))
            row[f"gender, {name}: FairFace, CelebA, kept"] = f"{three[0]:.3f} {celeba:.3f} {three[1]:.3f}"
        for name, reader in readers.items():
            years, races = first[name]
            age = [mae(reader(made[hide])[0]) - mae(years) for hide in ("age", KEPT["age"])]
            lost = [hit(races) - hit(reader(made[hide])[1]) for hide in ("race", KEPT["race"])]
            row[f"age, {name}: hidden, kept"] = f"{age[0]:+.1f} {age[1]:+.1f}"
            row[f"race, {name}: hidden, kept"] = f"{-lost[0]:+.1f} {-lost[1]:+.1f}"
        for name, net in matchers.items():
            loss = [tmr_loss(untouched[name], asked(net, crops[hide]), who)[0] for hide in crops]
            row[f"TMR loss, {name}"] = " ".join(f"{v:.1f}" for v in loss)
        for what, gray in (("luma", True), ("colour", False)):
            row[f"SSIM, {what}"] = " ".join(f"{alike(pixels['celeba'][:60], p[:60], gray):.3f}" for p in crops.values())
        table.append(row)
        tqdm.write(str(row))
    tell(table, a.out)


if __name__ == "__main__":
    main()
