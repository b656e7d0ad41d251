"""Training by several processes: a step is that of one, and so is the curve, as far as Adam's steps by sign let it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import torch.distributed as dist
import yaml
from accelerate.state import AcceleratorState, PartialState

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import UsageError
from halfmask.networks.attribute import AttributeNet
from halfmask.networks.backbones import BACKBONES
from halfmask.networks.heads import HEADS, Head
from halfmask.training import attribute as recipe
from halfmask.training import loop
from halfmask.training.packs import write_pack

SIDE = 64


def pack(path: Path, count: int) -> Path:
    """Faces of noise, women darker than men; every fifth age is not known."""
    rng = np.random.default_rng(3)
    rows = [
        Row(f"{i}.png", Path(f"{i}.png"), gender=i % 2, age=None if i % 5 == 0 else 20.0 + i % 40) for i in range(count)
    ]
    faces = (
        rng.integers(60, 120, (count, SIDE, SIDE, 3))
        + np.array([60 * (i % 2) for i in range(count)])[:, None, None, None]
    )
    write_pack(path, {"faces": Crops(faces.astype(np.uint8), rows, [])})
    return path


def train(recipe: str, config: dict[str, Any], out: Path, processes: int) -> list[dict[str, float]]:
    """The run's log, of ``halfmask train`` in so many processes."""
    (out.parent / f"{recipe}.yaml").write_text(yaml.safe_dump(config))
    launch = [
        "-m",
        "accelerate.commands.launch",
        "--multi_gpu",
        "--num_processes",
        str(processes),
        "--num_machines",
        "1",
    ]
    launch += ["--mixed_precision", "no", "--dynamo_backend", "no"]
    line = [sys.executable, *(launch if processes > 1 else []), "-m", "halfmask", "train", recipe]
    line += ["--config", str(out.parent / f"{recipe}.yaml"), "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((out / "versions.json").read_text())["processes"] == processes
    return loop.read_log(out)


@pytest.mark.slow
def test_two_processes_follow_the_curve_of_one(tmp_path: Path) -> None:
    source = [{"pack": str(pack(tmp_path / "pack.npz", 48)), "part": "faces"}]
    config = {
        "train": source,
        "valid": source,
        "heads": {"gender": {"kind": "binary"}, "age": {"kind": "coral", "groups": [0, 25, 30, 40]}},
        "backbone": "resnet18",
        "size": 32,
        "cut": 224,
        "epochs": 4,
        "lr": 3e-4,
        "batch": 16,
        "precision": "no",
        "seed": 2,
    }
    one, two = (train("attribute", config, tmp_path / f"by{n}", n) for n in (1, 2))
    assert [r["step"] for r in one] == [r["step"] for r in two]
    for a, b in zip(one, two, strict=True):
        for name in ("loss", "loss_age"):
            if name in a:
                assert b[name] == pytest.approx(a[name], rel=0.01 if a["step"] == one[0]["step"] else 0.1), (
                    name,
                    a["step"],
                )
    first, last = one[0]["loss"], one[-1]["loss"]
    assert last < 0.95 * first  # a curve, and no flat line that anything would follow


def _built() -> tuple[AttributeNet, dict[str, Head]]:
    torch.manual_seed(0)
    backbone = BACKBONES["resnet18"](size=32, cut=224)
    heads: dict[str, Head] = {
        "gender": HEADS["binary"](backbone.out_features, ("female", "male")),
        "age": HEADS["coral"](backbone.out_features, ("a", "b", "c", "d")),
    }
    return loop.channels_last(AttributeNet(backbone, heads)).train(), heads


def _loss(net: torch.nn.Module, heads: dict[str, Head], mine: slice) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    faces = torch.rand(16, 3, 224, 224, generator=generator)
    labels = {
        "gender": torch.tensor([0, 1] * 8),
        "age": torch.tensor([0, -1, 2, 3, 1, 0, 2, 2, -1, -1, 1, 0, -1, 3, -1, 1]),
    }
    logits = net(faces[mine])
    terms = [heads[n].loss(logits[n], labels[n][mine]) * recipe._weight_of_share(labels[n], mine) for n in heads]
    return torch.stack(terms).sum()


def _step(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    shared = SimpleNamespace(num_processes=2, process_index=rank)
    net, heads = _built()
    several = torch.nn.parallel.DistributedDataParallel(loop.synced(shared, net))
    loss = _loss(several, heads, loop.share(shared, 16))
    loss.backward()
    loss = loss.detach()
    dist.all_reduce(loss)
    gradients = {name: p.grad for name, p in net.named_parameters()}
    torch.save({"loss": loss / 2, "gradients": gradients, "state": net.state_dict()}, f"{folder}/{rank}.pt")
    dist.destroy_process_group()


@pytest.mark.slow
def test_a_step_of_two_processes_is_a_step_of_one(tmp_path: Path) -> None:
    """Loss, every gradient and what batch norm remembers, with labels that are unknown more in one share."""
    line = [sys.executable, __file__, str(tmp_path)]
    ranks = [subprocess.Popen([*line, str(rank)], stderr=subprocess.PIPE, text=True) for rank in (0, 1)]
    for rank in ranks:
        _, said = rank.communicate(timeout=300)
        assert rank.returncode == 0, said[-3000:]
    net, heads = _built()
    loss = _loss(net, heads, slice(0, 16))
    loss.backward()
    for rank in (0, 1):
        seen = torch.load(tmp_path / f"{rank}.pt", weights_only=True)
        assert float(seen["loss"]) == pytest.approx(float(loss.detach()), rel=1e-5)
        for name, parameter in net.named_parameters():
            assert parameter.grad is not None
            apart = (seen["gradients"][name] - parameter.grad).norm() / parameter.grad.norm()
            assert apart < 1e-3, name
        for name, value in net.state_dict().items():
            torch.testing.assert_close(seen["state"][name], value, rtol=1e-4, atol=1e-5, msg=name)


def test_what_cannot_be_shared_is_refused() -> None:
    assert loop.share(SimpleNamespace(num_processes=3, process_index=1), 9) == slice(3, 6)
    with pytest.raises(UsageError, match="a batch of 10 cannot be shared by 3 processes"):
        loop.share(SimpleNamespace(num_processes=3, process_index=1), 10)
    with pytest.raises(UsageError, match="matcher trains in one process"):
        loop.alone(SimpleNamespace(num_processes=3, process_index=1), "matcher")


def test_in_one_process_a_share_is_all() -> None:
    AcceleratorState._reset_state()
    accelerator = loop.make_accelerator("no")
    assert loop.share(accelerator, 7) == slice(0, 7)
    net = torch.nn.Sequential(torch.nn.BatchNorm2d(2))
    assert type(loop.synced(accelerator, net)[0]) is torch.nn.BatchNorm2d
    AcceleratorState._reset_state()
    PartialState._reset_state()


if __name__ == "__main__":  # one of the two processes
    _step(int(sys.argv[2]), sys.argv[1])
