"""The networks of the attackers that learn, and the one short loop that trains them.

They are nobody else's: no weights are loaded, no code is shared with what trains the methods. The loop ends after so
many pictures or minutes, whichever comes first, and its learning rate follows that progress, so that a run which is
cut short by the clock is still cooled down.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from ...weights.memory import keep_memory

Pixels = NDArray[np.uint8]
Floats = NDArray[np.float32]


class Training(NamedTuple):
    """What a training was allowed, and how it is shown: pictures seen in all, their batch, minutes, seed."""

    seen: int
    batch: int
    minutes: float
    seed: int
    quiet: bool


class Classifier(nn.Module):
    """Six convolutions with batch norm, the mean over the map, one linear layer; logits (N,) of faces (N, 3, H, W).

    >>> Classifier()(torch.rand(2, 3, 112, 112)).shape
    torch.Size([2])
    """

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        channels = 12
        for width, pool in ((24, True), (48, True), (64, True), (96, True), (128, False), (192, False)):
            layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=False))
            if pool:
                layers.append(nn.MaxPool2d(2, ceil_mode=True))
            layers += [nn.BatchNorm2d(width), nn.ReLU()]
            channels = width
        self.features = nn.Sequential(*layers)
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(channels, 1))

    def forward(self, faces: Tensor) -> Tensor:
        x = F.pixel_unshuffle((faces - 0.5) * 4.0, 2)  # every pixel is seen, at a quarter of the places
        out: Tensor = self.head(self.features(x)).squeeze(1)
        return out


class Inverse(nn.Module):
    """A U-Net of three levels that says what to add to a protected face, (N, 3, H, W), H and W divisible by 8.

    It starts as the map to zero: before it has learned anything it changes nothing.

    >>> net = Inverse(8)
    >>> net(torch.rand(1, 3, 112, 112)).abs().max().item()
    0.0
    """

    def __init__(self, width: int) -> None:
        super().__init__()

        def two(channels: int, out: int) -> nn.Sequential:
            layers: list[nn.Module] = []
            for before in (channels, out):  # without batch norm it dies at the first steps, and changes nothing
                layers += [nn.Conv2d(before, out, 3, padding=1, bias=False), nn.BatchNorm2d(out), nn.ReLU()]
            return nn.Sequential(*layers)

        self.fine, self.middle, self.coarse = two(12, width), two(width, 2 * width), two(2 * width, 4 * width)
        self.up_middle, self.up_fine = two(6 * width, 2 * width), two(3 * width, width)
        self.out = nn.Conv2d(width, 12, 3, padding=1)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)  # type: ignore[arg-type]

    def forward(self, faces: Tensor) -> Tensor:
        a = self.fine(F.pixel_unshuffle((faces - 0.5) * 4.0, 2))
        b = self.middle(F.max_pool2d(a, 2))
        c = self.coarse(F.max_pool2d(b, 2))
        b = self.up_middle(torch.cat([b, F.interpolate(c, scale_factor=2.0)], 1))
        a = self.up_fine(torch.cat([a, F.interpolate(b, scale_factor=2.0)], 1))
        return F.pixel_shuffle(self.out(a), 2)


def learn_classes(crops: Pixels, labels: NDArray[np.int64], training: Training, desc: str) -> tuple[Classifier, bool]:
    """Train a :class:`Classifier` on crops uint8 (N, S, S, 3) with labels 0/1; both classes weigh the same.

    Returns it and whether the minutes were enough. ``crops`` is only indexed, so it may be a memory map.
    """
    share = float(labels.mean())
    weight = torch.tensor([0.5 / (1 - share), 0.5 / share])
    targets = torch.from_numpy(labels)
    net = _fresh(Classifier, training.seed)

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        x = jitter(to_tensor(crops[np.sort(rows)]), rng)
        y = targets[np.sort(rows)]
        soft = y.float() * 0.9 + 0.05
        return F.binary_cross_entropy_with_logits(net(x).float(), soft, weight[y])

    return net, _fit(net, loss, len(labels), training, 3e-3, desc)


def learn_inverse(
    protected: Pixels, original: Pixels, width: int, training: Training, desc: str
) -> tuple[Inverse, bool]:
    """Train an :class:`Inverse` on pairs of crops, both uint8 (N, S, S, 3), by L1 of pixels and of their gradients."""
    net = _fresh(lambda: Inverse(width), training.seed)

    def loss(rows: NDArray[np.int64], rng: np.random.Generator) -> Tensor:
        rows = np.sort(rows)
        x, y = to_tensor(protected[rows]), to_tensor(original[rows])
        if rng.random() < 0.5:
            x, y = x.flip(3), y.flip(3)
        left = x + net(x).float() - y
        edges = (left[..., 1:] - left[..., :-1]).abs().mean() + (left[..., 1:, :] - left[..., :-1, :]).abs().mean()
        out: Tensor = left.abs().mean() + edges
        return out

    return net, _fit(net, loss, len(protected), training, 2e-3, desc)


Net = TypeVar("Net", bound=nn.Module)


def _fresh(make: Callable[[], Net], seed: int) -> Net:
    """A network with the first weights of this seed; the caller's random state stays as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return make()


def _fit(
    net: nn.Module,
    loss: Callable[[NDArray[np.int64], np.random.Generator], Tensor],
    count: int,
    training: Training,
    rate: float,
    desc: str,
) -> bool:
    """Minimise ``loss(rows, rng)`` over a net's parameters; whether all pictures were seen before the time was up."""
    keep_memory()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    net.train()
    optimizer = torch.optim.AdamW(net.parameters(), rate, weight_decay=0.02)
    batch = min(training.batch, count)
    steps = max(1, round(training.seen / batch))
    began = time.perf_counter()
    rng = np.random.default_rng(training.seed)
    order = np.zeros(0, np.int64)
    done = 0
    with (
        torch.random.fork_rng(devices=[]),
        tqdm(total=steps, desc=desc, unit="step", disable=training.quiet) as bar,
    ):
        torch.manual_seed(training.seed)  # dropout
        for done in range(1, steps + 1):
            spent = (time.perf_counter() - began) / 60 / training.minutes
            if spent >= 1:
                return False
            progress = max((done - 1) / steps, spent)
            warm = min(1.0, progress / 0.1 + 0.02)
            optimizer.param_groups[0]["lr"] = rate * warm * (0.5 + 0.5 * math.cos(math.pi * progress))
            if len(order) < batch:
                order = rng.permutation(count)
            rows, order = order[:batch], order[batch:]
            with torch.autocast("cpu", torch.bfloat16):
                value = loss(rows, rng)
            optimizer.zero_grad(set_to_none=True)
            torch.autograd.backward(value)
            optimizer.step()
            bar.update()
            if done % 20 == 0:
                bar.set_postfix(loss=f"{value.item():.3f}")
    return True


def to_tensor(crops: Pixels) -> Tensor:
    """uint8 (N, H, W, 3) to float32 (N, 3, H, W) in [0, 1], channels last."""
    x = torch.from_numpy(np.array(crops)).permute(0, 3, 1, 2).float().div_(255)
    return x.contiguous(memory_format=torch.channels_last)


def jitter(faces: Tensor, rng: np.random.Generator) -> Tensor:
    """Mirror each face with probability 1/2; shift the batch by up to 6 pixels; scale and shift each one's light."""
    n = len(faces)
    mirrored = torch.from_numpy(rng.random(n) < 0.5).view(n, 1, 1, 1)
    faces = torch.where(mirrored, faces.flip(3), faces)
    dy, dx = (int(v) for v in rng.integers(-6, 7, 2))
    height, width = faces.shape[2:]
    faces = F.pad(faces, (6, 6, 6, 6), mode="replicate")[:, :, 6 + dy : 6 + dy + height, 6 + dx : 6 + dx + width]
    gain = torch.from_numpy(rng.uniform(0.85, 1.15, (n, 1, 1, 1)).astype(np.float32))
    light = torch.from_numpy(rng.uniform(-0.06, 0.06, (n, 1, 1, 1)).astype(np.float32))
    return faces * gain + light


@torch.no_grad()
def p_one(net: Classifier, crops: Pixels, batch: int = 64) -> Floats:
    """The probability of class 1 of each crop, float32 (N,), a face and its mirror image averaged."""
    net.eval()
    out = [np.zeros(0, np.float32)]
    for start in range(0, len(crops), batch):
        x = to_tensor(crops[start : start + batch])
        with torch.autocast("cpu", torch.bfloat16):
            logits = (net(x).float() + net(x.flip(3)).float()) / 2
        out.append(logits.sigmoid().numpy())
    return np.concatenate(out)


@torch.no_grad()
def corrections(net: Inverse, crops: Pixels) -> Floats:
    """What the inverse adds to each crop, float32 (N, S, S, 3) in units of full scale."""
    net.eval()
    with torch.autocast("cpu", torch.bfloat16):
        added = net(to_tensor(crops)).float()
    return np.ascontiguousarray(added.permute(0, 2, 3, 1).numpy())
