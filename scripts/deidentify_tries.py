"""Ways to keep gender and age while who it is goes, compared by auxiliaries alone: the table of docs/lab-log.md.

    python scripts/deidentify_tries.py --data DIR --readers runs/readers --watcher runs/watchers/celeba80 \\
        --faces 20 shipped nothing features spared target more

One photo each of so many of CelebA's validation people is changed as ``halfmask deidentify`` does at strength mid,
against SFace alone; a *try* changes one thing of it (:data:`TRIES`). Nobody who is asked was in the loop: FaceNet, by
its threshold of FMR 1 % on the originals and the people's other photos; two readers of age and gender of 64 and 32
pixels, and a gender classifier that watched halfmask's training. No referee is.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor
from torch.nn.functional import normalize
from tqdm import tqdm

from halfmask.methods import deidentify as ours
from halfmask.methods.fgvm import perturb
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.facenet import FaceNet
from halfmask.networks.sface import SFace
from halfmask.networks.views import CLOSEST, moved, mssim, smoothed, view
from halfmask.photos.align import CROP
from halfmask.photos.paste import mask
from halfmask.tabular import markdown
from halfmask.training.data import Faces, open_faces, to_tensor

FMR = 0.01
#: The middle year of each of the readers' age groups.
MIDDLE = torch.tensor([1, 6, 14.5, 24.5, 34.5, 44.5, 54.5, 64.5, 75])
#: Name → what is other than in the method. ``keep`` weighs the keepers' answers, ``features`` instead how far their
#: features move (squared, relative to their length); ``spared`` leaves what a linear reader of age and gender sees in
#: SFace's descriptor out of what is descended; ``target`` weighs the cosine to somebody else of the same age and gender
#: of FairFace, the third nearest; ``more`` are further readers in the loop.
TRIES: dict[str, dict[str, Any]] = {
    "shipped": {},
    "nothing": {"keep": 0.0},
    "features": {"features": 0.3},
    "spared": {"spared": True},
    "spared+features": {"spared": True, "features": 0.3},
    "target": {"target": 1.0},
    "more": {"more": ("plain48", "separable")},
}
WATCHERS = ("fast64", "plain32")


class Bench:
    """What all tries share: faces, networks, and the descriptors of the originals."""

    def __init__(self, data: Path, readers: Path, watcher: Path, count: int, taught: int) -> None:
        self.faces = open_faces([{"layout": "celeba", "root": str(data / "celeba"), "splits": ["valid"]}])
        self.who = np.array([row.identity for row in self.faces.rows])
        first = [int(np.flatnonzero(self.who == name)[0]) for name in sorted(set(self.who))]
        self.picked = [first[i] for i in np.random.default_rng(3).permutation(len(first))[:count]]
        self.gender = np.array([self.faces.rows[i].gender for i in self.picked])
        self.net, self.judge = SFace.load(), FaceNet.load()
        self.more = {name: AttributeNet.load(readers / name / "attribute.safetensors")
                     for name in (*WATCHERS, "plain48", "separable")}  # fmt: skip
        self.watcher = AttributeNet.load(watcher / "attribute.safetensors")
        self.keepers = [AttributeNet.load(ours.shipped.path(f"{name}.safetensors")) for name in ours.KEEPERS]
        self.original = self.described(self.judge, self.faces, np.arange(len(self.faces)))
        fair = open_faces(
            [{"layout": "fairface", "root": str(data / "fairface"), "hold_out": 0.1, "splits": ["train"]}]
        )
        order = np.random.default_rng(0).permutation(len(fair))[:taught]
        self.others = self.described(self.net, fair, order)
        rows = [fair.rows[i] for i in order]
        years = [sum(min(year, 80) for year in r.age_range or (30, 30)) / 2 for r in rows]
        taught_by = np.stack([np.array(years) / 10, np.array([r.gender for r in rows]) * 2.0 - 1], 1)
        fitted = Ridge(alpha=1.0).fit(self.others.numpy(), taught_by)
        #: linear readers of decades and gender (-1..1) in SFace's descriptor: (128, 2) and (2,)
        self.linear, self.offset = (torch.tensor(v, dtype=torch.float32) for v in (fitted.coef_.T, fitted.intercept_))

    @torch.no_grad()
    def described(self, net: torch.nn.Module, faces: Faces, order: NDArray[np.int64]) -> Tensor:
        """Descriptors (N, D) of some faces."""
        parts = []
        for k in range(0, len(order), 16):
            with torch.autocast("cpu", torch.bfloat16):
                parts.append(net(to_tensor(faces.pixels(order[k : k + 16]))).float())
        return torch.cat(parts)

    def aim(self, own: Tensor, spared: bool) -> Tensor:
        """The direction in which descriptors are descended."""
        if spared:
            basis, _ = torch.linalg.qr(self.linear)
            own = own - basis @ (basis.T @ own)
        return normalize(own, dim=0)

    def alike(self, own: Tensor) -> Tensor:
        """Somebody of FairFace whom the linear readers take for as old and of the same gender, the third nearest."""
        reads, of_others = own @ self.linear + self.offset, self.others @ self.linear + self.offset
        same = ((of_others - reads).abs() < torch.tensor([0.4, 0.3])).all(1)
        near = self.others[same]
        return near[(near @ own).argsort(descending=True)[3]]

    def changed(
        self, face: Tensor, *, keep: float = 0.3, features: float = 0.0, spared: bool = False, target: float = 0.0,
        more: tuple[str, ...] = (),
    ) -> Tensor:  # fmt: skip
        """One face (1, 3, 224, 224) after a try, in 8 bits."""
        keepers = [*self.keepers, *(self.more[name] for name in more)] if keep else []
        search, strength, rng = ours.Search(), ours.STRENGTHS["mid"], np.random.default_rng(0)
        reach, hiding = torch.from_numpy(mask(CROP).copy()), ours._texture(face)

        def seen(x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return normalize(self.net(x).float())

        def of_keepers(x: Tensor) -> list[Tensor]:
            with torch.autocast("cpu", torch.bfloat16):
                if features:
                    return [net.backbone.features(x).float() for net in keepers]
                answers = [p.float() for net in keepers for p in net.probabilities(x).values()]
                return [p.clamp(min=ours._UNLIKELY) for p in answers]

        with torch.no_grad():
            own = normalize(seen(torch.cat([face, face.flip(3)])).sum(0), dim=0)
        aim, other = self.aim(own, spared), self.alike(own) if target else None

        def pasted(x: Tensor) -> Tensor:
            return face + reach * (x - face)

        def kept(views: Tensor, was: Tensor) -> Tensor:
            zoom = np.exp(rng.uniform(0, math.log(CLOSEST), len(views)))
            with torch.no_grad():
                before = of_keepers(moved(was, zoom=zoom))
            after = of_keepers(moved(views, zoom=zoom))
            if features:
                far = [((b - a) ** 2).sum(1).div((a**2).sum(1)).mean() for a, b in zip(before, after, strict=True)]
            else:
                far = [(a * (a.log() - b.log())).sum(1).mean() for a, b in zip(before, after, strict=True)]
            return (features or keep) * torch.stack(far).sum() / len(keepers)

        def loss(x: Tensor, rows: Tensor) -> Tensor:
            both = torch.stack([view(torch.cat([pasted(x), face]), rng) for _ in range(search.views)])
            said = seen(both[:, 0])
            total = (said @ aim).mean()
            if other is not None:
                total = total - target * (said @ other).mean()
            return (total + kept(both[:, 0], both[:, 1]) if keepers else total)[None]

        def transform(gradient: Tensor) -> Tensor:
            light = smoothed(gradient.mean(1, keepdim=True).expand_as(gradient), 3.0) * hiding
            return light / light.abs().mean().clamp(min=1e-12)

        def project(x: Tensor, rows: Tensor) -> Tensor:
            for _ in range(ours._TRIES):
                lost = float(1 - mssim(face, pasted(x)))
                if lost <= ours.FULL * strength:
                    break
                x = face + (x - face) * (0.99 * (ours.FULL * strength / lost) ** 0.5)
            return x

        made = perturb(face, loss, None, step=search.step, weight=search.weight, steps=12, momentum=search.momentum,
                       transform=transform, project=project)  # fmt: skip
        return (pasted(made.images).clamp(0, 1) * 255).round() / 255

    @torch.no_grad()
    def read(self, x: Tensor) -> dict[str, Tensor]:
        """What those who are asked see: ``gender NAME`` as P(male), ``age NAME`` in years."""
        with torch.autocast("cpu", torch.bfloat16):
            said: dict[str, Tensor] = {"gender celeba80": self.watcher.probabilities(x)["gender"][:, 1].float()}
            for name in WATCHERS:
                p = self.more[name].probabilities(x)
                said |= {f"gender {name}": p["gender"][:, 1].float(), f"age {name}": (p["age"].float() * MIDDLE).sum(1)}
        return said

    def row(self, name: str) -> dict[str, Any]:
        """A try's figures."""
        before = to_tensor(self.faces.pixels(np.array(self.picked)))
        after = torch.cat([self.changed(face[None], **TRIES[name]) for face in tqdm(before, desc=name, unit="face")])
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
            told = normalize(self.judge(after).float())
        same = np.array([(self.who == self.who[i]) & (np.arange(len(self.who)) != i) for i in self.picked])
        different = self.who[:, None] != self.who[None]
        among = (self.original @ self.original.T).numpy()[np.triu(different, 1)]
        genuine = (told @ self.original.T).numpy()[same]
        row: dict[str, Any] = {
            "try": name, "faces": len(before), "mssim": float(mssim(before, after).mean()),
            "tmr": float((genuine > np.quantile(among, 1 - FMR)).mean()),
            "z": float((genuine.mean() - among.mean()) / among.std()),
        }  # fmt: skip
        was, now = self.read(before), self.read(after)
        for what in was:
            if what.startswith("age"):
                row[what] = float((now[what] - was[what]).abs().mean())
            else:
                right = [((p[what] > 0.5).numpy() == self.gender).mean() for p in (was, now)]
                row[what] = f"{right[0]:.0%} → {right[1]:.0%}"
                row[f"moved {what}"] = float((now[what] - was[what]).abs().mean())
        return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("tries", nargs="*", default=list(TRIES))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--readers", type=Path, default=Path("runs/readers"))
    parser.add_argument("--watcher", type=Path, default=Path("runs/watchers/celeba80"))
    parser.add_argument("--faces", type=int, default=20)
    parser.add_argument("--taught", type=int, default=1000, help="faces of FairFace that teach the linear readers")
    asked = parser.parse_args()
    if unknown := set(asked.tries) - set(TRIES):
        parser.error(f"{', '.join(sorted(unknown))}: known are {', '.join(TRIES)}")
    torch.set_num_threads(1)
    bench = Bench(asked.data, asked.readers, asked.watcher, asked.faces, asked.taught)
    rows = [bench.row(name) for name in asked.tries]
    heads = {"try": "try", "faces": "faces", "mssim": "MSSIM|.3f", "tmr": "TMR FaceNet|.0%",
             "z": "FaceNet, sd above impostors|.2f"}  # fmt: skip
    heads |= {name: name for name in rows[0] if name.startswith("gender")}
    heads |= {name: f"{name}|.3f" for name in rows[0] if name.startswith("moved")}
    heads |= {name: f"{name} moved, years|.1f" for name in rows[0] if name.startswith("age")}
    print(markdown(rows, heads))


if __name__ == "__main__":
    main()
