"""The shared loop: resumes to the same result, leaves whole checkpoints, names what is wrong in a config."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from halfmask.errors import UsageError
from halfmask.training import loop


@dataclass
class Config:
    lr: float = 0.1
    seed: int = 3
    batch: int = 4


class Killed(Exception):
    """What a kill looks like from inside."""


def run(folder: Path, steps: int, kill_at: int | None = None, seconds: float | None = None) -> torch.Tensor:
    """Train a tiny network with dropout, so that random state matters; die before step ``kill_at``."""
    config = Config()
    loop.start_run(folder, config)
    accelerator = loop.make_accelerator("no", config.seed)
    net = nn.Sequential(nn.Linear(6, 16), nn.Dropout(0.5), nn.Linear(16, 1))
    optimizer = torch.optim.Adam(net.parameters(), config.lr)
    net, optimizer = accelerator.prepare(net, optimizer)
    data = torch.from_numpy(np.random.default_rng(0).normal(size=(20, 6)).astype(np.float32))

    def step(i: int) -> dict[str, torch.Tensor]:
        if i == kill_at:
            raise Killed
        x = data[loop.batch_indices(config.seed, i, 20, config.batch)]
        loss = (net(x) - x.sum(1, keepdim=True)).square().mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        return {"loss": loss.detach()}

    loop.fit(folder, accelerator, steps, step, checkpoint_every=5, seconds=seconds)
    return torch.cat([p.detach().flatten() for p in net.parameters()])


def test_a_killed_run_resumes_to_the_same_weights(tmp_path: Path) -> None:
    straight = run(tmp_path / "straight", 33)
    with pytest.raises(Killed):
        run(tmp_path / "broken", 33, kill_at=23)
    resumed = run(tmp_path / "broken", 33)
    assert torch.equal(straight, resumed)
    steps = [r["step"] for r in loop.read_log(tmp_path / "broken")]
    assert steps == sorted(set(steps))
    assert steps[-1] == 33
    assert (tmp_path / "broken" / "losses.png").stat().st_size > 1000


def test_a_run_ends_when_its_time_is_over_and_is_then_done(tmp_path: Path) -> None:
    ended = run(tmp_path / "run", 10**6, seconds=0.3)
    log = loop.read_log(tmp_path / "run")
    assert 0.3 <= log[-1]["seconds"] < 60
    assert 1 < log[-1]["step"] < 10**6
    again = run(tmp_path / "run", 10**6, seconds=0.3)
    assert loop.read_log(tmp_path / "run") == log
    assert torch.equal(ended, again)
    run(tmp_path / "short", 3, seconds=60)
    assert loop.read_log(tmp_path / "short")[-1]["step"] == 3


def test_a_kill_between_the_two_renames_loses_nothing(tmp_path: Path) -> None:
    with pytest.raises(Killed):
        run(tmp_path, 40, kill_at=23)
    (tmp_path / "checkpoint").rename(tmp_path / "checkpoint.old")  # the state between the renames of _save
    resumed = run(tmp_path, 40)
    assert torch.equal(resumed, run(tmp_path / "straight", 40))


def test_another_config_is_refused(tmp_path: Path) -> None:
    run(tmp_path, 6)
    with pytest.raises(UsageError, match="another config"):
        loop.start_run(tmp_path, Config(lr=0.2))


def test_batches_cover_each_epoch_once() -> None:
    epoch = np.concatenate([loop.batch_indices(7, s, 103, 10) for s in range(10)])
    assert len(set(epoch.tolist())) == 100
    again = np.concatenate([loop.batch_indices(7, s, 103, 10) for s in range(10, 20)])
    assert epoch.tolist() != again.tolist()
    with pytest.raises(UsageError, match="lower 'batch'"):
        loop.batch_indices(7, 0, 5, 10)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path: Path) -> None:
    accelerator = loop.make_accelerator("no", 0)
    with pytest.raises(FloatingPointError, match="not finite"):
        loop.fit(tmp_path, accelerator, 40, lambda i: {"loss": float("nan")})


def test_log_lines_are_json(tmp_path: Path) -> None:
    run(tmp_path, 25)
    lines = (tmp_path / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [20, 25]
