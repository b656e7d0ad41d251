"""What attackers may spend."""

from __future__ import annotations

from dataclasses import dataclass, fields

from ...errors import UsageError


@dataclass(frozen=True)
class Budget:
    """What each attacker may spend; the keys of a config. The defaults take minutes on 2 cores for 5,000 images.

    A classifier learns for ``epochs`` but never from more than ``seen`` pictures in all, an inverse for ``unet_epochs``
    and ``unet_seen``; from few pictures, either makes ``least_steps`` all the same. Each network gets at most
    ``max_minutes``. ``most_test`` of the other people's pictures are
    judged. Rules for referees, which are slow to ask, are chosen on ``most_tuned`` of the attackers' own pictures.
    ``matchers`` names those whose descriptors are probed (where a measurement already holds others, they are too);
    ``most_probed`` caps what a probe learns from. ``resamples`` are those of the intervals.

    Raises :class:`~halfmask.errors.UsageError` for a value that is not positive.

    >>> Budget(epochs=5).epochs
    5
    >>> Budget(batch=0)
    Traceback (most recent call last):
    halfmask.errors.UsageError: the attackers' budget wants batch above 0, got 0
    """

    epochs: int = 30
    seen: int = 40_000
    batch: int = 32
    unet_epochs: int = 20
    unet_seen: int = 16_000
    unet_width: int = 24
    least_steps: int = 200
    most_test: int = 2000
    most_tuned: int = 400
    most_probed: int = 2000
    matchers: tuple[str, ...] = ("w600k_mbf",)
    max_minutes: float = 4.0
    resamples: int = 1000
    seed: int = 1

    def __post_init__(self) -> None:
        object.__setattr__(self, "matchers", tuple(self.matchers))  # a config gives a list
        for f in fields(self):
            value = getattr(self, f.name)
            if f.name not in ("matchers", "seed") and not value > 0:
                raise UsageError(f"the attackers' budget wants {f.name} above 0, got {value}")
