"""The slides' table of P-FGVM: three methods against two identity models, beside the published figures.

    python scripts/fgvm.py --out runs/fgvm

Trains Models A and B where runs/identity-a and runs/identity-b have none. λ, ε and step of each method are chosen on
photos of the validation part, then those photos of the test part that the model gets right are attacked: towards a
person drawn by seed (targeted) and away from their own (non-targeted). What is done is kept in ``--out`` and not done
again. Prints the tables of docs/results/fgvm.md.

    python scripts/fgvm.py --strip docs/figures/fgvm-evolution.jpg

draws how P-FGVM makes a picture that is taken for somebody else out of Gaussian noise, as the slides' last figure.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Mapping
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from fgvm_strip import draw
from numpy.typing import NDArray
from scipy.stats import binomtest  # type: ignore[import-untyped]
from torch import Tensor
from tqdm import tqdm

from halfmask.evaluation.measuring.metrics import l2, mssim
from halfmask.methods.fgvm import perturb
from halfmask.networks.identity import Identity, load_identity
from halfmask.storage import save_arrays
from halfmask.tabular import markdown
from halfmask.training.config import load_config
from halfmask.training.identity import IdentityConfig, labels, open_people, train_identity
from halfmask.weights.memory import keep_memory
from halfmask.weights.store import sha256_of

RULES = {"p-fgvm": "P-FGVM", "i-fgvm": "I-FGVM", "i-fgsm": "I-FGSM"}
#: L2, MSSIM and misclassification rate on the slides.
PUBLISHED = {
    "a": {"p-fgvm": (3.38, 0.986, 0.996), "i-fgvm": (5.31, 0.963, 0.994), "i-fgsm": (5.68, 0.962, 0.989)},
    "b": {"p-fgvm": (2.11, 0.995, 0.960), "i-fgvm": (2.67, 0.993, 0.932), "i-fgsm": (5.74, 0.968, 0.944)},
}
#: Targeted or not, as the table's and the files' names have it.
WAYS = {"to": True, "from": False}
#: How far the first step may go in L2, by model; which of them is chosen for each method like its λ or ε. The step size
#: α follows from it and from the length of the model's gradients. Smaller steps end nearer to the image and take
#: longer, which Model A, a small network, affords.
FIRST = {"a": (0.15, 0.3), "b": (0.2, 0.4)}
#: Steps at most, by model.
STEPS = {"a": 240, "b": 80}
#: What is tried of each method. ``pull`` is λ as a share of the gradients' length at the start.
GRID: dict[str, list[dict[str, float]]] = {
    "p-fgvm": [{"pull": p} for p in (0.02, 0.05, 0.1, 0.2, 0.3, 0.4)],
    "i-fgvm": [{"epsilon": e / 255} for e in (4, 8, 16)],
    "i-fgsm": [{"epsilon": e / 255} for e in (4, 8, 16)],
}
CHUNK = 15


class Victim:
    """A model with the faces that are attacked, whose they are and whom they are to be taken for."""

    def __init__(
        self, net: Identity, images: Tensor, truth: NDArray[np.int64], keys: list[str], seed: int, steps: int
    ) -> None:
        self.net, self.steps = net.requires_grad_(False).eval(), steps
        others = [np.random.default_rng([seed, *key.encode()]).integers(1, len(net.people)) for key in keys]
        self.images, self.truth = images, torch.from_numpy(truth)
        self.target = (self.truth + torch.tensor(others)) % len(net.people)

    def right_ones(self) -> Tensor:
        """The faces that the model gets right, (M,): those that need protection from it."""
        hits = torch.cat([self.says(x) for x in self.images.split(CHUNK)]) == self.truth
        return torch.nonzero(hits).flatten()

    def logits(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, torch.bfloat16):
            return self.net(x).float()

    @torch.no_grad()
    def says(self, x: Tensor) -> Tensor:
        """Who it is in full precision, (N,)."""
        return self.net(x).argmax(1)

    def loss(self, x: Tensor, rows: Tensor, targeted: bool) -> Tensor:
        """Cross-entropy against the target; or how far the true person leads, in logits, which does not flatten where
        the model is sure, as minus cross-entropy against the truth does."""
        z = self.logits(x)
        if targeted:
            return F.cross_entropy(z, self.target[rows], reduction="none")
        own = F.one_hot(self.truth[rows], z.shape[1]).bool()
        return z[own] - z.masked_fill(own, -torch.inf).amax(1)

    def success(self, x: Tensor, rows: Tensor, targeted: bool) -> Tensor:
        """A cheap look in bfloat16; what passes it is asked in full precision, as it is and as a file would hold it."""

        def done(said: Tensor, rows: Tensor) -> Tensor:
            return said == self.target[rows] if targeted else said != self.truth[rows]

        passed = done(self.logits(x).argmax(1), rows)
        for state in (x, in_8_bits(x)):
            some = torch.nonzero(passed).flatten()
            if len(some):
                passed[some] = done(self.says(state[some]), rows[some])
        return passed

    def gradient_length(self, rows: Tensor, targeted: bool) -> float:
        """The median length of the loss's gradient at these faces."""
        x = self.images[rows].requires_grad_()
        (gradient,) = torch.autograd.grad(self.loss(x, rows, targeted).sum(), x)
        return float(gradient.flatten(1).norm(dim=1).median())

    def attack(self, rows: Tensor, rule: str, chosen: Mapping[str, float], targeted: bool) -> dict[str, NDArray[Any]]:
        """Figures by face."""
        x = self.images[rows]
        began = time.process_time()
        made = perturb(
            x,
            lambda now, active: self.loss(now, rows[active], targeted),
            lambda now, active: self.success(now, rows[active], targeted),
            rule=rule,  # type: ignore[arg-type]
            steps=self.steps,
            step=chosen["step"],
            weight=chosen.get("weight", 0.0),
            epsilon=chosen.get("epsilon"),
        )
        seconds = (time.process_time() - began) / len(rows)
        said, rounded = self.says(made.images), self.says(in_8_bits(made.images))
        pairs = [(a.permute(1, 2, 0).numpy(), b.permute(1, 2, 0).numpy()) for a, b in zip(x, made.images, strict=True)]
        return {
            "l2": np.array([l2(a, b) for a, b in pairs]),
            "mssim": np.array([mssim(a, b) for a, b in pairs]),
            "wrong": (said != self.truth[rows]).numpy(),
            "hit": (said == self.target[rows]).numpy(),
            "wrong_rounded": (rounded != self.truth[rows]).numpy(),
            "steps": made.steps.numpy(),
            "seconds": np.full(len(rows), seconds),
        }


def in_8_bits(x: Tensor) -> Tensor:
    """What is left of images in [0, 1] after a lossless file of 8 bits."""
    return (x * 255).round() / 255


def absolute(rule: str, tried: Mapping[str, float], first: float, length: float, numbers: int) -> dict[str, float]:
    """A row of GRID as α and λ or ε: a first step of ``first``, gradients of ``length``, images of so many numbers."""
    if rule == "p-fgvm":
        return {"step": first / length, "weight": tried["pull"] * length}
    # a sign moves every number by α, whatever the gradient
    return {"step": first / (numbers**0.5 if rule == "i-fgsm" else length), "epsilon": tried["epsilon"]}


def kept(path: Path, make: Callable[[], Mapping[str, NDArray[Any]]]) -> dict[str, NDArray[Any]]:
    """What ``make()`` gives, from ``path`` if it was made before."""
    if not path.is_file():
        save_arrays(path, make())
    with np.load(path) as arrays:
        return {name: arrays[name] for name in arrays.files}


def victim(model: str, part: str, most: int, seed: int, data: Path) -> tuple[Victim, dict[str, Any]]:
    """A trained model and the faces of one part that it gets right; every person's first photo before any second."""
    config = load_config(IdentityConfig, f"identity-{model}", data)
    folder = Path(f"runs/identity-{model}")
    if not (folder / "test.json").is_file():
        train_identity(config, folder)
    net = load_identity(folder / "identity.safetensors", config.weights.get("vggface"))
    net.to(memory_format=torch.channels_last)
    people, faces = open_people(config)
    truth = labels(people, faces[part])  # type: ignore[index]
    nth = np.array([np.count_nonzero(truth[:i] == who) for i, who in enumerate(truth)])
    order = np.lexsort((truth, nth))[:most]
    mine = faces[part]  # type: ignore[index]
    keys = [mine.rows[i].key for i in order]
    found = Victim(net, mine.take(order).contiguous(), truth[order], keys, seed, STEPS[model])
    return found, json.loads((folder / "test.json").read_text("utf-8"))


def parts_folder(model: str, out: Path, seed: int) -> Path:
    """Where a model's parts are kept: another one's, or those with other targets, are not taken for them."""
    folder = out / f"{model}-{sha256_of(Path(f'runs/identity-{model}/identity.safetensors'))[:8]}-{seed}"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def choose(
    model: str, way: str, out: Path, most: int, seed: int, data: Path
) -> tuple[dict[str, dict[str, float]], list[dict[str, Any]]]:
    """Of each method the row of GRID with the most faces gone wrong in half of the steps (a face that took longer warns
    that others will not arrive), and among equals the smallest mean L2."""
    mine, _ = victim(model, "valid", most, seed, data)
    rows, folder = mine.right_ones(), parts_folder(model, out, seed)
    length = mine.gradient_length(rows, WAYS[way])
    tried: list[dict[str, Any]] = []
    todo = [(rule, row | {"first": first}) for rule in RULES for row in GRID[rule] for first in FIRST[model]]
    for rule, row in tqdm(todo, desc=f"model {model}, {way}: choosing", unit="setting"):
        settings = absolute(rule, row, row["first"], length, mine.images[0].numel())
        name = "-".join(f"{value:.3g}" for value in row.values())
        path = folder / f"choice-{way}-{len(rows)}-{rule}-{name}.npz"
        found = kept(path, partial(mine.attack, rows, rule, settings, WAYS[way]))
        figures = {name: float(found[name].mean()) for name in ("wrong", "l2", "steps")}
        about = {
            "model": model.upper(),
            "way": way,
            "rule": rule,
            "method": RULES[rule],
            "weight": None,
            "epsilon": None,
        }
        early = float((found["wrong"] & (found["steps"] <= STEPS[model] // 2)).mean())
        tried.append({**about, **settings, **figures, "early": early, "faces": len(rows)})
    chosen = {}
    for rule in RULES:
        best = min((t for t in tried if t["rule"] == rule), key=lambda t: (-t["early"], -t["wrong"], t["l2"]))
        chosen[rule] = {k: best[k] for k in ("step", "weight", "epsilon") if best[k] is not None}
    return chosen, tried


def measure(
    model: str, way: str, chosen: Mapping[str, Mapping[str, float]], out: Path, most: int, seed: int, data: Path
) -> list[dict[str, Any]]:
    """Rows of the table: each method on the test faces that the model gets right."""
    mine, trained = victim(model, "test", most, seed, data)
    rows, folder = mine.right_ones(), parts_folder(model, out, seed)
    parts = [(rule, k) for rule in RULES for k in range(0, len(rows), CHUNK)]
    found: dict[str, list[dict[str, NDArray[Any]]]] = {}
    for rule, k in tqdm(parts, desc=f"model {model}, {way}: test faces", unit="part"):
        some = rows[k : k + CHUNK]
        name = "-".join(f"{value:.4g}" for value in chosen[rule].values())
        path = folder / f"{way}-{rule}-{name}-{k}-{len(some)}.npz"
        made = kept(path, partial(mine.attack, some, rule, chosen[rule], WAYS[way]))
        found.setdefault(rule, []).append(made)
    table = []
    for rule, pieces in found.items():
        columns = {name: np.concatenate([piece[name] for piece in pieces]) for name in pieces[0]}
        figures = {name: float(values.mean()) for name, values in columns.items()}
        figures |= {"rms": figures["l2"] / mine.images[0].numel() ** 0.5, "l2_median": float(np.median(columns["l2"]))}
        gone = binomtest(int(columns["wrong"].sum()), len(rows)).proportion_ci(0.95, "exact")
        figures |= {"wrong_low": float(gone.low), "wrong_high": float(gone.high)}
        shown = dict(zip(("l2_slides", "mssim_slides", "mr_slides"), PUBLISHED[model][rule], strict=True))
        about = {"model": model.upper(), "trunk": trained.get("trunk"), "accuracy": trained["test_accuracy"]}
        table.append({**about, "method": RULES[rule], "way": way, "faces": len(rows), **figures, **shown})
    return table


COLUMNS = {
    "model": "model", "method": "method", "faces": "faces",
    "l2": "L2|.2f", "l2_slides": "slides' L2|.2f", "rms": "RMS|.4f",
    "mssim": "MSSIM|.4f", "mssim_slides": "slides' MSSIM|.3f",
    "wrong": "MR|.1%", "wrong_low": "95 % from|.1%", "wrong_high": "to|.1%", "mr_slides": "slides' MR|.1%",
    "wrong_rounded": "MR in 8 bits|.1%", "steps": "steps|.1f", "seconds": "CPU s a face|.2f",
}  # fmt: skip
IMPROVED = {"model": "model", "over": "over", "l2": "L2|.1%", "mssim": "MSSIM|.1%", "wrong": "MR|.1%"}
CHOICES = {
    "model": "model", "method": "method", "step": "α|.3g", "weight": "λ|.3g",
    "epsilon": "ε|.4f", "faces": "faces", "wrong": "MR|.0%",
    "early": "in half of the steps|.0%", "l2": "L2|.2f", "steps": "steps|.1f",
}  # fmt: skip


def improvements(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """What P-FGVM has less of in L2, and more of in MSSIM and MR, than each baseline of its model, as shares."""
    of = {(row["model"], row["method"]): row for row in rows}
    table = []
    for (model, method), base in of.items():
        best = of[model, RULES["p-fgvm"]]
        if base is not best:
            gains = {name: best[name] / base[name] - 1 for name in ("mssim", "wrong") if base[name]}
            table.append({"model": model, "over": method, "l2": 1 - best["l2"] / base["l2"], **gains})
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=Path("data"), help="holds lfw30, see docs/data.md")
    parser.add_argument("--out", type=Path, default=Path("runs/fgvm"))
    parser.add_argument("--models", default="a,b")
    parser.add_argument("--ways", default="to,from", help="to somebody else, drawn by seed; away from oneself")
    parser.add_argument("--faces", type=int, default=180, help="at most so many test faces, evenly of all people")
    parser.add_argument("--choose-on", type=int, default=30, help="at most so many validation faces")
    parser.add_argument("--seed", type=int, default=1, help="draws whom each face is to be taken for")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--strip", type=Path, help="picture of the way from noise; with it nothing else is done")
    parser.add_argument("--picture", type=Path, default=Path("examples/astronaut.jpg"), help="of one face, for --strip")
    asked = parser.parse_args()
    for name, known in (("models", PUBLISHED), ("ways", WAYS)):
        if absent := set(getattr(asked, name).split(",")) - set(known):
            parser.error(f"--{name} {','.join(sorted(absent))}: known are {' and '.join(known)}")
    torch.set_num_threads(asked.threads)
    keep_memory()
    asked.out.mkdir(parents=True, exist_ok=True)
    if asked.strip:
        net = load_identity(Path("runs/identity-b/identity.safetensors"))
        draw(net, asked.picture, asked.strip)
        return
    tried, rows = [], []
    for model, way in product(asked.models.split(","), asked.ways.split(",")):
        chosen, tests = choose(model, way, asked.out, asked.choose_on, asked.seed, asked.data)
        tried += tests
        rows += measure(model, way, chosen, asked.out, asked.faces, asked.seed, asked.data)
    (asked.out / "fgvm.json").write_text(json.dumps({"table": rows, "tried": tried}, indent=1), "utf-8")
    for title, way in (("Targeted", "to"), ("Non-targeted", "from")):
        if mine := [row for row in rows if row["way"] == way]:
            print(f"\n{title}:\n\n{markdown(mine, COLUMNS)}")
            print(f"\nPercentage improvement of P-FGVM:\n\n{markdown(improvements(mine), IMPROVED)}")
            print(
                f"\nWhat was tried, on validation faces:\n\n{markdown([t for t in tried if t['way'] == way], CHOICES)}"
            )


if __name__ == "__main__":
    main()
