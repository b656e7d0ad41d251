"""Compare generators of halfmask's recipe by auxiliary models, on people who trained none of them.

    python scripts/choose.py --data DIR --strength 0.75 runs/halfmask/first/steps/2000 ...
    python scripts/choose.py --data DIR --distance 0.05 runs/ablations/*

The second line compares at one match distance: each generator gets the strength at which SFace and FaceNet see the
people changed by a cosine distance of .05 in the mean.

Nothing here is a referee. Read are faces of FairFace's held-out tenth, the portraits' valid people and CelebA's
validation people, every target drawn by key:

- *watchers*: gender classifiers that never trained a generator, AUC;
- *retrained*: a fresh CNN taught by protected faces of other people, balanced accuracy;
- *linear*, *kNN*: the audit's readers of descriptors, on SFace's, taught by protected faces of other people, AUC,
  beside the same on originals;
- *linear, NAME*: the same on the features of a watcher, which no generator was trained against;
- *change*: the same linear reader on what is seen of the change itself from far away, which no reader has by itself;
- *TMR loss* at FMR 1 % and 0.1 % by SFace and FaceNet on CelebA's validation people, protected against originals;
- *SSIM*, the mean of the aligned faces.

Prints a Markdown table, and writes it with ``--out``.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from skimage.metrics import structural_similarity
from sklearn.metrics import balanced_accuracy_score, roc_auc_score
from torch.nn import functional as F
from tqdm import tqdm

from halfmask.evaluation.attackers.learning import probed
from halfmask.methods.halfmask import Halfmask
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.classifiers import GenderOf
from halfmask.networks.matchers import load_matcher
from halfmask.photos.samples import LUMA
from halfmask.tabular import markdown
from halfmask.training.data import Faces, open_faces, to_tensor
from halfmask.training.loop import channels_last
from halfmask.training.watching import load_watcher

FMRS = (0.01, 0.001)


def sources(data: Path) -> dict[str, list[dict[str, Any]]]:
    """Who teaches a retrained reader, who is read, who is matched."""
    fair = {"layout": "fairface", "root": str(data / "fairface"), "hold_out": 0.1}
    portraits = {"layout": "folder", "root": str(data / "portraits")}
    return {
        "taught": [fair | {"splits": ["train"]}, portraits | {"splits": ["train"]}],
        "read": [fair | {"splits": ["valid"]}, portraits | {"splits": ["valid"]}],
        "people": [{"layout": "celeba", "root": str(data / "celeba"), "splits": ["valid"]}],
    }


def spread(faces: Faces, count: int) -> NDArray[np.int64]:
    """``count`` places of grown-ups of known gender, spread evenly over a set."""
    fits = [i for i, r in enumerate(faces.rows) if r.gender is not None and (not r.age_range or r.age_range[0] >= 10)]
    return np.asarray(fits)[np.unique(np.linspace(0, len(fits) - 1, count).astype(int))]


def protected(method: Halfmask | None, pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Crops after a method, rounded to eight bits as a file would be."""
    if method is None:
        return pixels
    out = np.empty_like(pixels)
    for i in range(0, len(pixels), 16):
        crops = (pixels[i : i + 16].astype(np.float32) / 255).transpose(0, 3, 1, 2)
        change = method.change(crops)
        out[i : i + 16] = ((crops + change).clip(0, 1) * 255 + 0.5).transpose(0, 2, 3, 1)
    return out


@torch.no_grad()
def asked(net: torch.nn.Module, pixels: NDArray[np.uint8], side: int = 224) -> NDArray[np.float32]:
    """What a network says of crops."""
    parts = []
    for i in range(0, len(pixels), 32):
        faces = to_tensor(pixels[i : i + 32])
        if side != faces.shape[2]:
            faces = F.interpolate(faces, (side, side), mode="bilinear", antialias=True)
        with torch.autocast("cpu", torch.bfloat16):
            parts.append(net(faces).float())
    return torch.cat(parts).numpy()


def retrained(
    taught: NDArray[np.uint8], gender: NDArray[np.int64], read: NDArray[np.uint8], true: NDArray[np.int64]
) -> float:
    """Balanced accuracy of a fresh CNN of 64 pixels after twelve epochs on protected faces."""
    torch.manual_seed(0)
    backbone = BACKBONES["fastcnn"](size=64)
    net = channels_last(torch.nn.Sequential(backbone, torch.nn.Linear(backbone.out_features, 2)))
    small = [F.interpolate(to_tensor(p), (64, 64), mode="bilinear", antialias=True) for p in (taught, read)]
    labels, rng = torch.from_numpy(gender), np.random.default_rng(0)
    epochs, batch = 12, 64
    optimizer = torch.optim.AdamW(net.parameters(), 2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 2e-3, total_steps=epochs * (len(taught) // batch) + 1)
    for _ in range(epochs):
        order = rng.permutation(len(taught))
        for i in range(len(taught) // batch):
            part = order[i * batch : (i + 1) * batch]
            x = small[0][part]
            x = x.flip(3) if rng.random() < 0.5 else x
            x = torch.roll(x, tuple(rng.integers(-3, 4, 2).tolist()), (2, 3))
            with torch.autocast("cpu", torch.bfloat16):
                loss = F.cross_entropy(net(x).float(), labels[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    net.eval()
    with torch.no_grad():
        answer = torch.cat([net(x) + net(x.flip(3)) for x in small[1].split(128)]).argmax(1)
    return float(balanced_accuracy_score(true, answer.numpy()))


def coarse(change: torch.Tensor) -> NDArray[np.float32]:
    """What can be seen of a change (N, 3, H, W) from far away: its luma in 14 x 14 cells, how much of it and its
    colours in 7 x 7."""
    luma = (change * change.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    parts = [F.avg_pool2d(x, x.shape[2] // n) for x, n in ((luma, 14), (luma.abs(), 7), (change, 7))]
    return 100 * torch.cat([part.flatten(1) for part in parts], 1).numpy()


class Features(torch.nn.Module):
    """What a backbone hands to its heads."""

    def __init__(self, backbone: torch.nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.backbone.features(faces)  # type: ignore[operator]
        return features


def readers(
    taught: NDArray[np.float32],
    gender: NDArray[np.int64],
    persons: NDArray[np.str_],
    read: NDArray[np.float32],
    true: NDArray[np.int64],
) -> dict[str, float]:
    """AUC of the audit's linear and nearest-neighbour readers of descriptors."""
    kinds = {"linear": "linear", "kNN": "neighbours"}
    return {n: float(roc_auc_score(true, probed(taught, gender, persons, 0, kind)(read))) for n, kind in kinds.items()}


def tmr_loss(before: NDArray[np.float32], after: NDArray[np.float32], people: list[str | None]) -> list[float]:
    """Points of TMR lost at each FMR, protected probes against original galleries, thresholds from originals."""
    who = np.array(people)
    one, two = np.triu_indices(len(who), 1)
    same = who[one] == who[two]
    original, changed = (before @ before.T)[one, two], (after @ before.T)[one, two]
    limits = [np.quantile(original[~same], 1 - fmr) for fmr in FMRS]
    return [100 * float((original[same] > t).mean() - (changed[same] > t).mean()) for t in limits]


def strength_at(
    folder: str,
    distance: float,
    pixels: NDArray[np.uint8],
    untouched: dict[str, NDArray[np.float32]],
    matchers: dict[str, torch.nn.Module],
) -> float:
    """The strength at which matchers see faces (N, 224, 224, 3) moved by that mean cosine distance."""

    def seen(strength: float) -> float:
        after = protected(Halfmask(1, strength=strength, key="choose", weights=folder), pixels)
        return float(
            np.mean([1 - (asked(net, after) * untouched[n][: len(after)]).sum(1) for n, net in matchers.items()])
        )

    strength = 0.8
    for _ in range(3):  # a distance grows about as the square of the strength
        strength = min(1.0, strength * float(np.sqrt(distance / seen(strength))))
    if strength == 1.0:
        raise SystemExit(f"{folder}: at full strength matchers see less than {distance}; ask for less")
    return round(strength, 4)


def name_of(path: Path) -> str:
    """What a network is called: its run, or the file."""
    return path.parent.name if path.stem == "attribute" else path.stem


def tell(rows: Sequence[dict[str, str]], out: Path | None) -> None:
    """Print the rows as Markdown, and write that."""
    table = markdown(rows, {name: name for name in rows[0]})
    print(table)
    if out:
        out.write_text(table + "\n", "utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", nargs="*", help="folders with halfmask.onnx")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--strength", action="append", default=[])
    parser.add_argument("--distance", type=float, help="compare at this mean match distance instead of a strength")
    parser.add_argument("--watcher", type=Path, action="append", default=[])
    parser.add_argument("--taught", type=int, default=2400)
    parser.add_argument("--quick", action="store_true", help="no retrained CNN")
    parser.add_argument("--out", type=Path)
    a = parser.parse_args()
    sets = {name: open_faces(given, size=224) for name, given in sources(a.data).items()}
    places = {n: spread(f, c) for (n, f), c in zip(sets.items(), (a.taught, 700, 400), strict=True)}
    pixels = {name: sets[name].pixels(place) for name, place in places.items()}
    gender = {name: sets[name].labels("gender")[place] for name, place in places.items()}
    people = [sets["people"].rows[i].identity for i in places["people"]]
    taught = [sets["taught"].rows[i] for i in places["taught"]]
    persons = np.array([row.identity or row.key for row in taught])
    matchers = {name: load_matcher(name) for name in ("sface", "facenet")}
    watchers = {name_of(path): load_watcher(path) for path in a.watcher}
    untouched = {name: asked(net, pixels["people"]) for name, net in matchers.items()}
    rows = []
    ways: list[tuple[str, Halfmask | None]] = [("originals", None)]
    for folder in a.weights:
        strengths: list[str | float] = a.strength or ["mid"]
        if a.distance:
            strengths = [strength_at(folder, a.distance, pixels["people"][:100], untouched, matchers)]
        for strength in strengths:
            ways.append((f"{folder}, {strength}", Halfmask(1, strength=strength, key="choose", weights=folder)))
    for label, method in tqdm(ways, unit="generator"):
        after = {name: protected(method, p) for name, p in pixels.items()}
        row: dict[str, str] = {"generator": label}
        for name, net in watchers.items():
            for where in ("read", "people"):
                row[f"{name}, {where}"] = f"{roc_auc_score(gender[where], asked(net, after[where], 112)):.3f}"
        descriptors = {where: asked(matchers["sface"], after[where]) for where in ("taught", "read")}
        found = readers(descriptors["taught"], gender["taught"], persons, descriptors["read"], gender["read"])
        row |= {name: f"{value:.3f}" for name, value in found.items()}
        for name, net in watchers.items():
            if isinstance(net.net, GenderOf):
                backbone = net.net.net.backbone
                features = {where: asked(Features(backbone), after[where], 112) for where in ("taught", "read")}
                other = readers(features["taught"], gender["taught"], persons, features["read"], gender["read"])
                row[f"linear, {name}"] = f"{other['linear']:.3f}"
        if method is not None:
            changes = {
                where: coarse(to_tensor(after[where]) - to_tensor(pixels[where])) for where in ("taught", "read")
            }
            found = readers(changes["taught"], gender["taught"], persons, changes["read"], gender["read"])
        row["change"] = f"{found['linear']:.3f}" if method is not None else "–"
        if not a.quick:
            row["retrained"] = f"{retrained(after['taught'], gender['taught'], after['read'], gender['read']):.3f}"
        for name, net in matchers.items():
            loss = tmr_loss(untouched[name], asked(net, after["people"]), people)
            row[f"TMR loss, {name}"] = " ".join(f"{v:.1f}" for v in loss)
        pairs = zip(pixels["people"][:100], after["people"][:100], strict=True)
        row["SSIM"] = f"{np.mean([structural_similarity(x, y, channel_axis=2) for x, y in pairs]):.3f}"
        rows.append(row)
        tqdm.write(str(row))
        sys.stdout.flush()
    tell(rows, a.out)


if __name__ == "__main__":
    main()
