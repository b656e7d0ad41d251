"""Choose a generator that hides who is shown, and its strength, by auxiliaries on people who trained none of it.

    python scripts/deidentify_choose.py --data DIR --mssim 0.957 --judge runs/matcher/matcher.safetensors \\
        runs/stranger/hide runs/stranger/keep runs/stranger/more

Each generator (a folder with ``halfmask.onnx`` or ``halfmask.safetensors``) is brought to one mean MSSIM by a factor
of its change, so that all are compared at one price; then they are asked about one photo each of CelebA's validation
people, and of FairFace's held-out tenth. Nobody who is asked is a referee:

- *TMR*, at thresholds of FMR 1 % on the originals, against the person's other photos: by SFace and FaceNet, which the
  generator was trained against, and by a matcher of ``halfmask train matcher`` (``--judge``), which it was not;
- *gender*: accuracy before and after by classifiers that trained nothing here, and how far P(male) moves;
- *age*: years to the middle of FairFace's range before and after, and how far the age moves, by two readers that were
  left out of training.

Prints a Markdown table. The factor is the word's share times :data:`halfmask.methods.stranger.FULL`.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch
from choose import asked, spread
from numpy.typing import NDArray

from halfmask.datasets.ages import age_class
from halfmask.methods.stranger import FULL, Stranger
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.halfmask import Masker
from halfmask.networks.matchers import load_matcher
from halfmask.networks.views import mssim
from halfmask.photos.paste import mask
from halfmask.tabular import markdown
from halfmask.training.data import Faces, open_faces, to_tensor
from halfmask.training.export import export_masker
from halfmask.training.watching import load_watcher
from halfmask.weights import shipped

Pixels = NDArray[np.uint8]
FMR = 0.01
#: Readers that no run of the config stranger trains against.
READERS = ("fast64", "plain32")


def opened(folder: Path, scratch: Path) -> Stranger:
    """The method on a run's weights at strength 1; a stage that was cut short has safetensors alone."""
    if not (folder / "halfmask.onnx").is_file():
        export_masker(Masker.load(folder / "halfmask.safetensors"), scratch / "halfmask.onnx")
        folder = scratch
    return Stranger(1, strength=1.0, weights=folder)


def changes(method: Stranger, pixels: Pixels) -> NDArray[np.float32]:
    """What is added at a factor of 1 within the oval of a head, (N, 3, 224, 224)."""
    parts = []
    for i in range(0, len(pixels), 8):
        crops = (pixels[i : i + 8].astype(np.float32) / 255).transpose(0, 3, 1, 2)
        parts.append((mask(224) * method.change(crops) / FULL).astype(np.float32))
    return np.concatenate(parts)


def after(pixels: Pixels, change: NDArray[np.float32], factor: float) -> Pixels:
    """Crops with so much of a change, as eight bits."""
    whole = pixels + 255 * factor * change.transpose(0, 2, 3, 1)
    return np.asarray((whole.clip(0, 255) + 0.5), np.uint8)


def likeness(before: Pixels, changed: Pixels) -> float:
    """The mean MSSIM."""
    parts = [mssim(to_tensor(before[i : i + 32]), to_tensor(changed[i : i + 32])) for i in range(0, len(before), 32)]
    return float(torch.cat(parts).mean())


def factor_of(pixels: Pixels, change: NDArray[np.float32], goal: float) -> float:
    """The factor at which faces keep a mean MSSIM."""
    low, high = 0.0, 4.0
    for _ in range(12):
        middle = (low + high) / 2
        low, high = (middle, high) if likeness(pixels, after(pixels, change, middle)) > goal else (low, middle)
    return low


class Bench:
    """Faces, and everybody who is asked, of the originals once."""

    def __init__(self, data: Path, readers: Path, watcher: Path, judge: Path | None, faces: int, aged: int) -> None:
        people = open_faces([{"layout": "celeba", "root": str(data / "celeba"), "splits": ["valid"]}])
        self.all = people.pixels(np.arange(len(people)))
        self.who = np.array([row.identity for row in people.rows])
        first = [int(np.flatnonzero(self.who == name)[0]) for name in sorted(set(self.who))]
        second = [i for i in range(len(people)) if i not in set(first)]  # more than one photo of a person, if asked for
        drawn = [*np.random.default_rng(3).permutation(first), *np.random.default_rng(4).permutation(second)]
        self.picked = np.array(drawn[:faces])
        self.gender = people.labels("gender")[self.picked]
        self.faces = self.all[self.picked]
        fair = open_faces(
            [{"layout": "fairface", "root": str(data / "fairface"), "hold_out": 0.1, "splits": ["valid"]}]
        )
        self.aged, self.years = self._ranged(fair, aged)
        self.matchers: dict[str, torch.nn.Module] = {name: load_matcher(name) for name in ("sface", "facenet")}
        if judge:
            self.matchers["judge"] = load_matcher("own", str(judge))
        self.originals = {name: unit(asked(net, self.all)) for name, net in self.matchers.items()}
        self.watchers = {
            "gender": load_watcher(shipped.find("gender")),
            "celeba80": load_watcher(watcher / "attribute.safetensors"),
        }
        self.readers = {name: AttributeNet.load(readers / name / "attribute.safetensors") for name in READERS}
        self.before = self.read(self.faces, self.aged)

    def _ranged(self, fair: Faces, count: int) -> tuple[Pixels, NDArray[np.float64]]:
        """Grown-ups of FairFace and the middle of each one's range."""
        index = spread(fair, count)
        years = [sum(min(year, 80) for year in fair.rows[i].age_range or (30, 30)) / 2 for i in index]
        return fair.pixels(index), np.array(years)

    def read(self, faces: Pixels, aged: Pixels) -> dict[str, NDArray[np.float64]]:
        """P(male) by watcher, and the age in years by reader."""
        said = {f"gender {n}": 1 / (1 + np.exp(-asked(net, faces, 112))) for n, net in self.watchers.items()}
        for name, net in self.readers.items():
            middle = np.array([age_class(word).middle for word in net.heads["age"].words])
            said[f"age {name}"] = asked(Ages(net), aged) @ middle
        return {name: np.asarray(v, np.float64) for name, v in said.items()}

    def tmr(self, name: str, changed: Pixels) -> tuple[float, float]:
        """The share of pairs with the person's other photos that still match, and of originals."""
        seen, originals = unit(asked(self.matchers[name], changed)), self.originals[name]
        other = self.who[:, None] != self.who[None]
        threshold = np.quantile((originals @ originals.T)[np.triu(other, 1)], 1 - FMR)
        same = (self.who[self.picked][:, None] == self.who[None]) & (self.picked[:, None] != np.arange(len(self.who)))
        both = (originals[self.picked], seen)
        before, now = (float(((d @ originals.T)[same] > threshold).mean()) for d in both)
        return now, before

    def row(self, folder: Path, goal: float) -> dict[str, Any]:
        """A generator's figures at one MSSIM."""
        with TemporaryDirectory() as scratch:
            method = opened(folder, Path(scratch))
            began = time.perf_counter()
            change = changes(method, self.faces)
            ms = 1000 * (time.perf_counter() - began) / len(self.faces)
            of_aged = changes(method, self.aged)
        factor = factor_of(self.faces, change, goal)
        faces, aged = after(self.faces, change, factor), after(self.aged, of_aged, factor)
        row: dict[str, Any] = {"weights": folder.as_posix(), "factor": factor, "share": factor / FULL, "ms": ms}
        row["mssim"] = likeness(self.faces, faces)
        for name in self.matchers:
            now, before = self.tmr(name, faces)
            row[f"TMR {name}"] = f"{before:.0%} → {now:.1%}"
        said = self.read(faces, aged)
        for name, now in said.items():
            old = self.before[name]
            if name.startswith("gender"):
                right = [100 * float(((p > 0.5) == self.gender).mean()) for p in (old, now)]
                row[name] = f"{right[0]:.1f} → {right[1]:.1f} %, {float(np.abs(now - old).mean()):.3f}"
            else:
                wrong = [float(np.abs(p - self.years).mean()) for p in (old, now)]
                row[name] = f"{wrong[0]:.1f} → {wrong[1]:.1f}, {float(np.abs(now - old).mean()):.1f}"
        return row


class Ages(torch.nn.Module):
    """An attribute network's age alone: probabilities (N, K)."""

    def __init__(self, net: AttributeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        return self.net.probabilities(faces)["age"]


def unit(descriptors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Descriptors of length 1."""
    return descriptors / np.linalg.norm(descriptors, axis=1, keepdims=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=Path, help="folders of stages of a run of the config stranger")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--mssim", type=float, action="append", help="to compare at; repeatable  [default: 0.957]")
    parser.add_argument("--judge", type=Path, help="a matcher of halfmask train matcher")
    parser.add_argument("--readers", type=Path, default=Path("runs/readers"))
    parser.add_argument("--watcher", type=Path, default=Path("runs/watchers/celeba80"))
    parser.add_argument("--faces", type=int, default=160, help="photos of CelebA's validation people")
    parser.add_argument("--aged", type=int, default=150, help="photos of FairFace's held-out tenth")
    parser.add_argument("--out", type=Path, help="Markdown file for the table")
    given = parser.parse_args()
    torch.set_num_threads(1)
    bench = Bench(given.data, given.readers, given.watcher, given.judge, given.faces, given.aged)
    rows = [bench.row(folder, goal) for folder in given.runs for goal in given.mssim or [0.957]]
    heads = {"weights": "weights", "factor": "factor|.2f", "share": "strength|.2f", "mssim": "MSSIM|.3f"}
    heads |= {name: name for name in rows[0] if name.startswith("TMR")}
    heads |= {name: f"{name}, P(male) moved" for name in rows[0] if name.startswith("gender")}
    heads |= {name: f"{name}: error, moved, years" for name in rows[0] if name.startswith("age")}
    table = markdown(rows, heads | {"ms": "ms a face|.0f"})
    print(table)
    if given.out:
        given.out.write_text(table + "\n", "utf-8")


if __name__ == "__main__":
    main()
