"""Hide who is shown: a change that is hard to see, after which recognisers match the photo less to its person.

P-FGVM (:mod:`halfmask.methods.fgvm`) deceives the very classifier whose gradient it follows. Here the goal is open-set:
the protected photo should match no other photo of its person, also by recognisers that nobody attacked. So the loss is
no class but the cosine to the face's own descriptor, under several auxiliary matchers at once, seen through what may
happen to a photo; :class:`Deidentify` says how.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import UsageError
from ..photos.align import CROP
from ..photos.paste import mask
from ..weights import shipped
from . import choice
from .contract import Crops, Method, Subject
from .fgvm import perturb

if TYPE_CHECKING:  # the core is installed without torch
    from torch import Tensor
    from torch.nn import Module

    from ..networks.attribute import AttributeNet

#: The MSSIM that a face may lose at strength 1, and the share of it that the named strengths spend.
FULL = 0.1
STRENGTHS: Mapping[str, float] = {"low": 0.25, "mid": 0.4, "high": 0.7}

#: The auxiliary matchers that may be attacked, in the order in which they are asked.
MATCHERS = ("sface", "facenet")

#: Our own auxiliary classifiers of gender, age and race, whose answers should stay; shipped.
KEEPERS = ("attributes", "fairface-resnet", "fairface-gendercnn")


@dataclass(frozen=True)
class Search:
    """How the change is looked for (docs/deidentify.md).

    ``step`` is P-FGVM's α at strength mid and ``weight`` its λ, for a gradient of mean size 1 and a momentum that adds
    them up; α grows with the size of the change that a strength allows. ``views`` is the number of random views whose
    gradients make one update.
    """

    step: float = 0.001518
    weight: float = 20.0
    momentum: float = 0.9
    views: int = 2


class Deidentify(Method):
    """De-identification as a method: crops (N, 3, 224, 224) → what to add to them.

    ``strength`` is low, mid, high or a number in [0, 1]: how much MSSIM each face may lose, in tenths
    (:data:`STRENGTHS`). Nearly every face loses that much, so that none is marred more than another.

    Update (P-FGVM with λ, its realism term; momentum after Dong et al., CVPR 2018): x̂ ← x̂ − α (v + λ (x̂ − x)), where v
    adds up gradients of the mean cosine between the matchers' descriptors of x̂ and those of the original and its mirror
    image. Each gradient is the mean over ``views`` random views (:func:`halfmask.networks.views.view`: moved, smaller,
    lighter, as JPEG), and is smoothed by a Gaussian of ``smoothing`` pixels (Dong et al., CVPR 2019): a smooth change
    passes to other recognisers, survives resampling, and shows less. MSSIM knows only light, but people see stains of
    colour first: with ``colour`` 0 all three channels change alike. ``masking`` weighs each place by the contrast
    around it, to its power: skin shows a change that brows and lashes hide. Then x̂ is drawn toward x until its MSSIM
    is within what the strength allows. All of it counts only as far as the change reaches the photo
    (:func:`~halfmask.photos.paste.mask`), and a gray face stays gray.

    Chance is seeded, and each face is treated by itself: the same face gets the same change. ``matchers`` are those to
    attack, joined by ``+``. What machines read of gender, age and race should stay: ``keep`` weighs how far (in the
    sense of Kullback and Leibler, summed over the three) the answers of our own auxiliary classifiers drift from those
    to the same view of the original; they see it closer, by up to 1.6.

    Needs ``halfmask[train]``. Raises :class:`~halfmask.errors.UsageError` for a setting that makes no sense,
    :class:`~halfmask.errors.WeightsError` when a matcher cannot be had.
    """

    hides = frozenset({choice.IDENTITY})
    strengths = STRENGTHS
    settings: ClassVar[Mapping[str, str]] = {
        "strength": "low, mid, high or 0..1, how much MSSIM a face may lose, in tenths  [default: mid]",
        "steps": "updates a face, a whole number; fewer is faster and hides less  [default: 12]",
        "smoothing": "pixels of 224 by which gradients are smoothed, 0 for none  [default: 3]",
        "colour": "0..1, how far colours may change beside light  [default: 0]",
        "masking": "0..1, how far the change keeps to where the face has texture that hides it  [default: 1]",
        "keep": "0..100, how much weight the gender, age and race that machines read have  [default: 0.3]",
        "matchers": "auxiliary matchers to attack, sface, facenet or both joined by +  [default: sface+facenet]",
    }
    models = MATCHERS
    needs = ("torch", "onnx")  # SFace's file is ONNX

    def __init__(
        self,
        threads: int = 0,
        strength: str | float = "mid",
        steps: int | str = 12,
        smoothing: float | str = 3.0,
        colour: float | str = 0.0,
        masking: float | str = 1.0,
        keep: float | str = 0.3,
        matchers: str = "+".join(MATCHERS),
        search: Search = Search(),
    ) -> None:
        self.name = "deidentify"
        self.strength = choice.strength(strength, STRENGTHS)
        self.steps = int(number("steps", steps, 1, 1000, whole=True))
        self.smoothing = number("smoothing", smoothing, 0, 30)
        self.colour = number("colour", colour, 0, 1)
        self.masking = number("masking", masking, 0, 1)
        self.keep = number("keep", keep, 0, 100)
        self.search = search
        chosen = [name for name in MATCHERS if name in matchers.split("+")]
        if not chosen or len(chosen) != len(matchers.split("+")):
            raise UsageError(f"matchers is {matchers!r}; expected one or both, joined by +, of: {', '.join(MATCHERS)}")
        self._threads = threads
        self._nets = [_load(name) for name in chosen]
        self._keepers = [_keeper(name) for name in KEEPERS] if self.keep else []

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        import torch

        with threads_of_torch(self._threads):
            changes = [self._one(torch.from_numpy(np.ascontiguousarray(crop))[None].clamp(0, 1)) for crop in crops]
        return np.concatenate([one.numpy() for one in changes])

    def _one(self, face: Tensor) -> Tensor:
        """The change of one face (1, 3, 224, 224)."""
        import torch
        from torch.nn.functional import normalize

        from ..networks.views import CLOSEST, moved, mssim, smoothed, view

        reach = torch.from_numpy(mask(CROP).copy())
        colour = 0.0 if float((face.amax(1) - face.amin(1)).max()) < 1 / 255 else self.colour
        hiding = _texture(face) ** self.masking
        allowed = FULL * self.strength
        # MSSIM falls with about the square of a change; 0 would be no step
        step = self.search.step * max(self.strength / STRENGTHS["mid"], 1e-6) ** 0.5
        rng = np.random.default_rng(0)

        def seen(images: Tensor) -> list[Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=_bfloat16()):
                return [net(images).float() for net in self._nets]

        def read(images: Tensor) -> list[Tensor]:
            with torch.autocast("cpu", torch.bfloat16, enabled=_bfloat16()):
                return [p.float() for net in self._keepers for p in net.probabilities(images).values()]

        with torch.no_grad():
            both = torch.cat([face, face.flip(3)])
            own = [normalize(descriptors.sum(0), dim=0) for descriptors in seen(both)]

        def pasted(x: Tensor) -> Tensor:
            return face + reach * (x - face)

        def drifted(views: Tensor, was: Tensor) -> Tensor:
            """How far the keepers' answers are from those to the same views of the original, seen closer."""
            zoom = np.exp(rng.uniform(0, math.log(CLOSEST), len(views)))
            with torch.no_grad():
                before = [p.clamp(min=_UNLIKELY) for p in read(moved(was, zoom=zoom))]
            after = [p.clamp(min=_UNLIKELY) for p in read(moved(views, zoom=zoom))]
            drifts = [(p * (p.log() - now.log())).sum(1).mean() for p, now in zip(before, after, strict=True)]
            return torch.stack(drifts).sum() / len(self._keepers)

        def loss(x: Tensor, rows: Tensor) -> Tensor:
            # each view shows x and the original alike
            both = torch.stack([view(torch.cat([pasted(x), face]), rng) for _ in range(self.search.views)])
            cosines = [(descriptors @ one).mean() for descriptors, one in zip(seen(both[:, 0]), own, strict=True)]
            drift = drifted(both[:, 0], both[:, 1]) if self._keepers else 0.0
            return (torch.stack(cosines).mean() + self.keep * drift)[None]

        def transform(gradient: Tensor) -> Tensor:
            light = gradient.mean(1, keepdim=True)
            gradient = smoothed(light + colour * (gradient - light), self.smoothing) * hiding
            return gradient / gradient.abs().mean().clamp(min=1e-12)

        def project(x: Tensor, rows: Tensor) -> Tensor:
            for _ in range(_TRIES):  # the loss of MSSIM grows with about the square of the change
                lost = float(1 - mssim(face, pasted(x)))
                if lost <= allowed:
                    break
                x = face + (x - face) * (0.99 * (allowed / lost) ** 0.5)
            return x

        perturbed = perturb(
            face, loss, None, step=step, weight=self.search.weight, steps=self.steps,
            momentum=self.search.momentum, transform=transform, project=project,
        )  # fmt: skip
        return perturbed.images - face


def _keeper(name: str) -> AttributeNet:
    """A shipped classifier of gender, age and race in torch."""
    from ..networks.attribute import AttributeNet

    return AttributeNet.load(shipped.path(f"{name}.safetensors"))


#: What the environment allows, 0 for no limit; torch itself tells only what the current thread was given.
_MOST_THREADS = int(said) if (said := os.environ.get("OMP_NUM_THREADS", "")).isdigit() else 0

#: A class that a keeper gives less counts as this likely: beyond it, differences tell nothing.
_UNLIKELY = 1e-4

#: Texture below this contrast, in units of the full range, hides nothing more than none at all.
_FLAT = 0.02


def _texture(face: Tensor) -> Tensor:
    """How much of a change the face's own texture hides, (1, 1, 224, 224): the local standard deviation of light."""
    from ..networks.views import smoothed

    light = face.mean(1, keepdim=True)
    spread = (smoothed(light**2, 3.0) - smoothed(light, 3.0) ** 2).clamp(min=0).sqrt()
    return smoothed(spread, 3.0) + _FLAT


#: How often a change that shows too much is made smaller in one step; once or twice is enough.
_TRIES = 6


def _load(name: str) -> Module:
    """A frozen auxiliary matcher in torch."""
    from ..networks.facenet import FaceNet
    from ..networks.sface import SFace

    loaders: dict[str, Callable[[], Module]] = {"sface": SFace.load, "facenet": FaceNet.load}
    return loaders[name]()


def number(name: str, value: float | str, low: float, high: float, whole: bool = False) -> float:
    """A setting as a number within its range."""
    try:
        number = float(value)
    except ValueError:
        number = float("nan")
    if not low <= number <= high or (whole and number != int(number)):
        kind = "a whole number" if whole else "a number"
        raise UsageError(f"{name} is {value!r}; expected {kind} from {low:g} to {high:g}")
    return number


def _bfloat16() -> bool:
    """Whether this processor computes in bfloat16; where it does not, it would only be slower."""
    import torch

    kinds = (getattr(torch.cpu, f"_is_{kind}_supported", None) for kind in ("avx512_bf16", "amx_tile"))
    return any(known is not None and known() for known in kinds)


@contextmanager
def threads_of_torch(threads: int) -> Iterator[None]:
    """So many threads within torch for this thread of ours (0: as it is), and what it was before afterwards.

    Never more than ``OMP_NUM_THREADS`` allows: where others compute too, threads that wait for each other take minutes
    instead of seconds.
    """
    import torch

    before = torch.get_num_threads()
    if threads:
        torch.set_num_threads(min(threads, _MOST_THREADS or threads))
    try:
        yield
    finally:
        torch.set_num_threads(before)
