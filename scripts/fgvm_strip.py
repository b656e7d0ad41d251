"""The slides' last figure: what P-FGVM makes of Gaussian noise, step by step. Called by fgvm.py."""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm import tqdm

from halfmask.datasets import Row, Table
from halfmask.datasets.cache import open_crops
from halfmask.drawing import faces
from halfmask.methods.fgvm import gaussian_start, perturb
from halfmask.networks.identity import Identity

SHOWN = (0, 5, 10, 20, 40, 80, 150)
STEP, WEIGHT = 0.15, 0.3  # the noise loses 4.5 % of itself a step, and the pull leaves room for the change


def evolution(net: Identity, face: Tensor) -> tuple[list[Tensor], list[bool], str, str]:
    """The states (1, 3, 224, 224) after the steps of SHOWN, from noise to a picture near ``face`` that the model takes
    for somebody else; whether each is; whom the model sees in the face; and whom the target is."""
    with torch.no_grad():
        order = net(face)[0].argsort(descending=True)
    target = order[1:2]
    states: list[Tensor] = []
    hits: list[bool] = []

    def success(x: Tensor, rows: Tensor) -> Tensor:
        return net(x).argmax(1) == target

    def watch(i: int, x: Tensor) -> None:
        bar.update()
        if i in SHOWN:
            states.append(x.clone())
            with torch.no_grad():
                hits.append(bool(success(x, target)))

    with tqdm(total=SHOWN[-1] + 1, desc="from noise", unit="step") as bar:
        perturb(
            face, lambda x, rows: F.cross_entropy(net(x), target, reduction="none"), None,
            step=STEP, weight=WEIGHT, steps=SHOWN[-1], start=gaussian_start(face), watch=watch,
        )  # fmt: skip
    return states, hits, net.people[int(order[0])], net.people[int(target)]


def draw(net: Identity, picture: Path, path: Path) -> None:
    """Write the strip: the states, the picture itself, and ten times their difference."""
    crops = open_crops(Table("strip", picture.parent, [Row(picture.name, picture)]), quiet=True)
    face = torch.from_numpy(crops.take([0])).permute(0, 3, 1, 2).float() / 255
    states, hits, said, target = evolution(net, face)
    change = (0.5 + 10 * (states[-1] - face)).clamp(0, 1)
    titles = [f"step {i}{', target' if hit else ''}" for i, hit in zip(SHOWN, hits, strict=True)]
    pictures = [*zip(titles, states, strict=True), ("picture", face), ("10 × change", change)]
    line = [(255 * image[0].permute(1, 2, 0)).round().clamp(0, 255).byte().numpy() for _, image in pictures]
    faces(path, [line], [title for title, _ in pictures])
    length = float((states[-1] - face).norm())
    print(f"{path}: seen as {said} before, target {target}, reached: {hits[-1]}, L2 to the picture {length:.2f}")
