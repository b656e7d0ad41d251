"""The one loop that every recipe shares: steps, log, checkpoints, resume.

A recipe is a function that builds its networks, hands a ``step`` to :func:`fit` and exports the result. Devices,
mixed precision and saving of state are Accelerate's. A batch is a function of (seed, step), and dropout's random
state is in the checkpoint, so a run that was killed and resumed ends at the same weights as one that was not.

A run folder holds ``config.yaml`` (resolved), ``versions.json``, ``log.jsonl`` (one JSON object a line),
``losses.png`` and ``checkpoint/``.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
import torch.distributed as dist
import yaml
from accelerate import Accelerator, PartialState
from accelerate.utils import DataLoaderConfiguration, broadcast_object_list
from numpy.typing import NDArray
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm import tqdm

from .. import __version__
from ..drawing import canvas, save
from ..errors import UsageError
from ..storage import restore, whole, whole_folder
from ..weights.memory import keep_memory


def batch_indices(seed: int, step: int, count: int, batch: int) -> NDArray[np.int64]:
    """Which of ``count`` samples step ``step`` sees: a new permutation an epoch, a function of its arguments alone.

    The incomplete batch at an epoch's end is dropped.

    >>> sorted(np.concatenate([batch_indices(1, s, 6, 2) for s in range(3)]).tolist())
    [0, 1, 2, 3, 4, 5]
    """
    if batch > count:
        raise UsageError(f"a batch of {batch} is larger than the {count} samples there are; lower 'batch'")
    epoch, place = divmod(step, count // batch)
    order = np.random.default_rng([seed, epoch]).permutation(count)
    return order[place * batch : (place + 1) * batch]


def make_accelerator(precision: str = "bf16", seed: int = 0, threads: int | None = None) -> Accelerator:
    """One device or many, as Accelerate finds them; ``precision`` is ``bf16`` or ``no``.

    Under ``accelerate launch`` each process works on its :func:`share` of a batch.
    """
    keep_memory()
    if threads:
        torch.set_num_threads(threads)
    torch.manual_seed(seed)
    # of several processes Accelerate sees the GPUs, and processors only when it is told that there are no others
    cpu = "LOCAL_RANK" in os.environ and not torch.cuda.is_available()
    # a step takes one batch, however many share it, so a schedule goes one step on
    shared = DataLoaderConfiguration(split_batches=True)
    return Accelerator(mixed_precision=precision, cpu=cpu, dataloader_config=shared)


def share(accelerator: Accelerator, count: int) -> slice:
    """Which of ``count`` samples of a batch are this process's.

    Raises :class:`~halfmask.errors.UsageError` when they cannot be shared evenly.
    """
    processes = accelerator.num_processes
    if count % processes:
        raise UsageError(f"a batch of {count} cannot be shared by {processes} processes; let it be a multiple of that")
    part = count // processes
    return slice(accelerator.process_index * part, (accelerator.process_index + 1) * part)


def alone(accelerator: Accelerator, recipe: str) -> None:
    """Raise :class:`~halfmask.errors.UsageError` when several processes run what does not share its batches."""
    if accelerator.num_processes > 1:
        raise UsageError(f"{recipe} trains in one process; start it without accelerate launch, or with 1 process")


class SyncedNorm(torch.nn.BatchNorm2d):
    """Batch norm whose mean and variance are those of all processes' samples, on any device.

    torch's own SyncBatchNorm knows GPUs alone. Source: Ioffe and Szegedy 2015, algorithm 1, over the whole batch.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """``x`` (N, C, H, W); the same shape."""
        if not (self.training and dist.is_initialized()):
            return super().forward(x)
        wide = x.float()
        count = wide.numel() / wide.shape[1] * dist.get_world_size()
        mean = _summed(wide.sum((0, 2, 3))) / count
        centred = wide - mean[:, None, None]
        variance = _summed(centred.square().sum((0, 2, 3))) / count
        if self.track_running_stats and self.running_mean is not None and self.running_var is not None:
            with torch.no_grad():
                rate = self.momentum if self.momentum is not None else 0.1
                self.running_mean.lerp_(mean.detach(), rate)
                self.running_var.lerp_(variance.detach() * count / (count - 1), rate)
                if self.num_batches_tracked is not None:
                    self.num_batches_tracked.add_(1)
        out: torch.Tensor = centred * (variance[:, None, None] + self.eps).rsqrt()
        if self.affine:
            out = out * self.weight[:, None, None] + self.bias[:, None, None]
        return out.to(x.dtype)


class _Summed(torch.autograd.Function):
    """The sum over all processes; its gradient is summed likewise, since every process' loss depends on each part."""

    @staticmethod
    def forward(_: Any, part: torch.Tensor) -> torch.Tensor:
        whole = part.clone()
        dist.all_reduce(whole)
        return whole

    @staticmethod
    def backward(_: Any, *gradient: torch.Tensor) -> torch.Tensor:
        whole = gradient[0].clone()
        dist.all_reduce(whole)
        return whole


def _summed(part: torch.Tensor) -> torch.Tensor:
    whole: torch.Tensor = _Summed.apply(part)  # type: ignore[no-untyped-call]
    return whole


def synced(accelerator: Accelerator, net: Net) -> Net:
    """The network as several processes train it: its batch norms see the whole batch. In one process as it was."""
    if accelerator.num_processes > 1:
        for module in net.modules():
            if type(module) is torch.nn.BatchNorm2d:
                module.__class__ = SyncedNorm  # same state, same weights in files
    return net


def same_everywhere(accelerator: Accelerator, parts: Sequence[tuple[int, Any]]) -> None:
    """Give all processes the state of things that each is kept by one: ``(process, what has a state_dict)``."""
    if accelerator.num_processes > 1:
        for process, part in parts:
            state = [part.state_dict() if accelerator.process_index == process else None]
            broadcast_object_list(state, from_process=process)
            if accelerator.process_index != process:
                part.load_state_dict(state[0])


Net = TypeVar("Net", bound=torch.nn.Module)


def channels_last(net: Net, device: torch.device | str = "cpu") -> Net:
    """Move a network to a device, its convolutions laid out channels last, which bf16 wants."""
    net.to(device)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def update(accelerator: Accelerator, loss: Tensor, optimizer: Optimizer, *schedules: LRScheduler) -> None:
    """One step of an optimiser down the gradient of a loss, and of its schedules."""
    optimizer.zero_grad(set_to_none=True)
    accelerator.backward(loss)
    optimizer.step()
    for schedule in schedules:
        schedule.step()


def start_run(folder: Path, config: Any) -> None:
    """Make a run folder with the resolved config and the versions behind it.

    A folder that holds another config is refused: results of two configs must not mix. A key that came later than the
    run counts as its default.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = yaml.safe_dump(asdict(config), sort_keys=False)
    old = folder / "config.yaml"
    begun = any(folder.glob("checkpoint*")) or any(folder.glob("*/checkpoint*"))  # a first stage has its own folder
    if begun and old.is_file() and _completed(old.read_text("utf-8"), type(config)) != text:
        raise UsageError(f"{folder} holds a run with another config; give another --out, or delete it")
    with whole(old) as fresh:
        fresh.write_text(text, "utf-8")
    versions = {
        "halfmask": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "threads": torch.get_num_threads(),
        "processes": PartialState().num_processes,
    }
    (folder / "versions.json").write_text(json.dumps(versions, indent=1), "utf-8")


def _completed(text: str, kind: type[Any]) -> str:
    """An older run's config as it would be written today: a key that is younger than the run stands at its default."""
    try:
        return yaml.safe_dump(asdict(kind(**yaml.safe_load(text))), sort_keys=False)
    except (TypeError, yaml.YAMLError):
        return text


def fit(
    folder: Path,
    accelerator: Accelerator,
    steps: int,
    step: Callable[[int], Mapping[str, torch.Tensor | float]],
    *,
    evaluate: Callable[[int], Mapping[str, float]] | None = None,
    evaluate_every: int = 0,
    checkpoint_every: int = 200,
    resume: bool = True,
    desc: str = "training",
    seconds: float | None = None,
) -> None:
    """Run ``step(i)`` for i in 0..steps-1, logging what it returns, with a progress bar and an ETA.

    ``evaluate(i)`` runs every ``evaluate_every`` steps and at the end. A checkpoint is written every
    ``checkpoint_every`` steps, whole or not at all; with ``resume`` the run goes on from it. ``seconds`` ends it
    sooner, after so many in this process, which must then be the only one.
    """
    if seconds is not None:
        alone(accelerator, "what ends after some seconds")
    checkpoint = folder / "checkpoint"
    first = _restore(checkpoint, accelerator) if resume else 0
    main = accelerator.is_main_process
    if main:
        _trim_log(folder / "log.jsonl", first)
    began = time.perf_counter()
    # since the last line of the log; a step need not return every figure, and asking for one would wait for the device
    seen: dict[str, list[torch.Tensor | float]] = {}
    with (
        open(folder / "log.jsonl" if main else os.devnull, "a", encoding="utf-8") as log,
        tqdm(total=steps, initial=first, desc=desc, unit="step", disable=not main) as bar,
    ):
        for i in range(first, steps):
            for name, value in step(i).items():
                seen.setdefault(name, []).append(value.detach().clone() if torch.is_tensor(value) else value)
            bar.update()
            done = i + 1
            last = done == steps or (seconds is not None and time.perf_counter() - began >= seconds)
            due = bool(evaluate and (last or (evaluate_every and done % evaluate_every == 0)))
            if due or done % 20 == 0 or last:
                means = {k: sum(_over_all(accelerator, value) for value in v) / len(v) for k, v in seen.items()}
                record: dict[str, Any] = {"step": done, "seconds": round(time.perf_counter() - began, 1)}
                record |= {k: round(mean, 6) for k, mean in means.items()}
                if not np.all(np.isfinite([v for v in record.values() if isinstance(v, float)])):
                    raise FloatingPointError(f"step {done}: the loss is not finite: {record}; lower the learning rate")
                bar.set_postfix({k: f"{mean:.3f}" for k, mean in means.items()})
                if due and evaluate and main:
                    record |= {k: round(float(v), 6) for k, v in evaluate(done).items()}
                log.write(json.dumps(record) + "\n")
                log.flush()
                seen = {}
            if done % checkpoint_every == 0 or last:
                _save(checkpoint, accelerator, steps if last else done)  # what ended by its time is done, too
            if last:
                break
    if main:
        plot_losses(folder)
    accelerator.wait_for_everyone()


def _over_all(accelerator: Accelerator, value: torch.Tensor | float) -> float:
    """A figure's mean over all processes."""
    if accelerator.num_processes == 1:
        return float(value)
    return float(accelerator.reduce(torch.as_tensor(value, device=accelerator.device).float(), "mean"))


def _save(checkpoint: Path, accelerator: Accelerator, done: int) -> None:
    main = accelerator.is_main_process
    with whole_folder(checkpoint, replace=True) if main else contextlib.nullcontext(checkpoint) as fresh:
        accelerator.save_state(broadcast_object_list([str(fresh)])[0])  # all processes write into the main one's folder
        accelerator.wait_for_everyone()
        if main:
            (fresh / "step.json").write_text(json.dumps({"step": done}), "utf-8")


def _restore(checkpoint: Path, accelerator: Accelerator) -> int:
    restore(checkpoint)
    if not (checkpoint / "step.json").is_file():
        return 0
    accelerator.load_state(str(checkpoint))
    return int(json.loads((checkpoint / "step.json").read_text("utf-8"))["step"])


def _trim_log(path: Path, first: int) -> None:
    """Drop what a killed run logged after its last checkpoint, so that no step stands in the log twice."""
    if path.is_file():
        lines = [line for line in path.read_text("utf-8").splitlines() if line.endswith("}")]
        logged = [line for line in lines if json.loads(line)["step"] <= first]
        with whole(path) as fresh:
            fresh.write_text("".join(line + "\n" for line in logged), "utf-8")


def read_log(folder: Path) -> list[dict[str, float]]:
    """The records of a run, in order."""
    return [json.loads(line) for line in (folder / "log.jsonl").read_text("utf-8").splitlines()]


def plot_losses(folder: Path) -> None:
    """Draw every logged figure over the steps into ``losses.png``."""
    records = read_log(folder)
    names = sorted({k for r in records for k in r} - {"step", "seconds"})
    if not names:
        return
    with canvas(7, 1.8 * len(names), len(names), sharex=True) as (figure, axes):
        for axis, name in zip(axes[:, 0], names, strict=True):
            points = [(r["step"], r[name]) for r in records if name in r]
            axis.plot(*zip(*points, strict=True), linewidth=1)
            axis.set_ylabel(name)
        axes[-1, 0].set_xlabel("step")
        save(figure, folder / "losses.png")
