"""P-FGVM, I-FGVM and I-FGSM as methods: hide who is shown from one network that is named, whose gradient is followed.

Chatzikyriakidis, Papaioannidis, Pitas: *Adversarial Face De-Identification*, ICIP 2019. This is their closed set: what
comes out deceives that network (:mod:`halfmask.methods.fgvm` has the equations), and promises nothing about another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from ..errors import UsageError
from ..weights import store
from ..weights.store import sha256_of
from . import choice
from .contract import Crops, Method, Subject
from .deidentify import number, threads_of_torch
from .fgvm import Rule, perturb
from .match import SAME_PERSON

if TYPE_CHECKING:  # the core is installed without torch
    from torch import Tensor
    from torch.nn import Module

#: How far the first step goes in L2 when α is not given, the same for all three rules: α follows from it and from the
#: gradient, and for I-FGSM, which moves every number by α, from how many numbers there are.
FIRST = 0.15
#: λ when it is not given, as a share of the first gradient's length; ε when it is not given.
PULL, EPSILON = 0.05, 8 / 255

#: The one matcher that may be named instead of a file; its people are open, so there is nobody to be taken for.
MATCHER = "sface"
DRAWN, AWAY = "drawn", "away"

_SETTINGS = {
    "against": f"NETWORK to deceive: a run or file of halfmask train identity, or {MATCHER}; must be given",
    "target": f"whom it is to see: one of its people, {DRAWN} (for each face), or {AWAY}, anybody else  "
    f"[default: {DRAWN}; {AWAY} for {MATCHER}]",
    "steps": "updates at most; a face stops once its 8-bit copy deceives  [default: 240]",
    "step": f"α, above 0  [default: the first update goes {FIRST:g} in L2]",
    "trunk": "file of VGG-Face's weights, for a NETWORK that stands on it",
}

#: What is descended, and whether faces (1, 3, 224, 224) succeed, (1,).
_Goal = tuple[Callable[["Tensor"], "Tensor"], Callable[["Tensor"], "Tensor"]]


class Against(Method):
    """What the three share. ``against`` is the file or folder of a run of ``halfmask train identity``, or ``sface``.

    Targeted: down the cross-entropy against the ``target``, as on the slides, drawn for each face by its pixels unless
    named. ``away``: down the lead, in logits, of whoever the network sees, who counts as the truth. SFace knows no
    classes: there it is down the cosine to the face and its mirror image, until it no longer takes the result for the
    face's person. Each face stops at its first success, which has to survive rounding to 8 bits; one that does not
    succeed within ``steps`` comes out as far as it got.

    A photo's own size is resampled, which may undo it; ``--crop`` and a lossless format give exactly what was measured.

    Needs ``halfmask[train]``. Raises :class:`~halfmask.errors.UsageError` for a setting that makes no sense,
    :class:`~halfmask.errors.WeightsError` when the network cannot be had.
    """

    hides = frozenset({choice.IDENTITY})
    whole = True  # the slides change the whole picture
    needs = ("torch", "onnx")  # SFace's file is ONNX
    required = frozenset({"against"})
    rule: ClassVar[Rule]

    def __init__(
        self,
        threads: int = 0,
        against: str | Path = "",
        target: str = "",
        steps: int | str = 240,
        step: float | str = "",
        trunk: str | Path = "",
        weight: float | str = "",
        epsilon: float | str = "",
    ) -> None:
        from ..networks.identity import load_identity
        from ..networks.sface import SFace

        self.name = self.rule
        if not str(against):
            raise UsageError(f"{self.rule} deceives one network; say which: --against NETWORK (halfmask methods "
                             f"{self.rule} lists what that may be)")  # fmt: skip
        self.steps = int(number("steps", steps, 1, 10_000, whole=True))
        self.step = None if step == "" else number("step", step, 1e-9, 1e6)
        self.weight = None if weight == "" else number("weight", weight, 0, 1e6)
        self.epsilon = EPSILON if epsilon == "" else number("epsilon", epsilon, 1e-6, 1)
        self.people: tuple[str, ...] = ()
        self._threads = threads
        self._net: Module
        if str(against) == MATCHER:
            path = store.get(MATCHER)
            self._net = SFace.load(path)
        else:
            path = _file(Path(against))
            net = load_identity(path, trunk or None)
            self.people, self._net = net.people, net
        self.target = self._checked(target or (DRAWN if self.people else AWAY))
        self.fingerprint = sha256_of(path)[:12]

    def _checked(self, target: str) -> str:
        if target in (AWAY, *self.people) or (target == DRAWN and self.people):
            return target
        if not self.people:
            raise UsageError(f"target is {target!r}, but {MATCHER} knows nobody; expected {AWAY}")
        known = ", ".join(self.people[:5]) + (", ..." if len(self.people) > 5 else "")
        raise UsageError(f"target is {target!r}; expected {DRAWN}, {AWAY} or one of {len(self.people)} people: {known}")

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        with threads_of_torch(self._threads):
            return np.concatenate([self._one(crop) for crop in crops])

    def _one(self, crop: Crops) -> Crops:
        """The change of one crop (3, 224, 224), as (1, 3, 224, 224)."""
        import torch

        face = torch.from_numpy(np.ascontiguousarray(crop))[None].clamp(0, 1)
        loss, done = self._goal(face, crop)
        start = face.clone().requires_grad_()
        (gradient,) = torch.autograd.grad(loss(start).sum(), start)
        length = max(float(gradient.norm()), 1e-12)
        step = self.step or FIRST / (face.numel() ** 0.5 if self.rule == "i-fgsm" else length)
        pulled = self.rule == "p-fgvm"

        def success(x: Tensor, rows: Tensor) -> Tensor:
            return done(x) & done((x * 255).round() / 255)

        made = perturb(
            face, lambda x, rows: loss(x), success, rule=self.rule, step=step, steps=self.steps,
            weight=(PULL * length if self.weight is None else self.weight) if pulled else 0.0,
            epsilon=None if pulled else self.epsilon,
        )  # fmt: skip
        return np.asarray((made.images - face).numpy())

    def _goal(self, face: Tensor, crop: Crops) -> _Goal:
        import torch
        import torch.nn.functional as F

        with torch.no_grad():
            said = self._net(face)
        if not self.people:
            with torch.no_grad():  # with the mirror image: at the face itself, the cosine to it has no gradient
                both = F.normalize(said + self._net(face.flip(3)))
            return (lambda x: (self._net(x) * both).sum(1)), (lambda x: (self._net(x) * said).sum(1) < SAME_PERSON)
        own = said.argmax(1)
        if self.target == AWAY:
            mine = F.one_hot(own, len(self.people)).bool()

            def lead(x: Tensor) -> Tensor:
                logits: Tensor = self._net(x)
                ahead: Tensor = logits[mine] - logits.masked_fill(mine, -torch.inf).amax(1)
                return ahead

            return lead, lambda x: self._net(x).argmax(1) != own
        if self.target == DRAWN:
            other = int(choice.drawn(DRAWN, crop).integers(1, len(self.people)))
            aim = (own + other) % len(self.people)
        else:
            aim = torch.tensor([self.people.index(self.target)])
        return (lambda x: F.cross_entropy(self._net(x), aim, reduction="none")), lambda x: self._net(x).argmax(1) == aim


class PFgvm(Against):
    """P-FGVM, the penalised fast gradient value method: λ draws the picture back, and there is no box."""

    rule: ClassVar[Rule] = "p-fgvm"
    settings: ClassVar[Mapping[str, str]] = _SETTINGS | {
        "weight": f"λ, 0 or more  [default: {PULL:g} of the first gradient's length]"
    }


class IFgvm(Against):
    """I-FGVM, the iterative fast gradient value method: a box of ε around every number."""

    rule: ClassVar[Rule] = "i-fgvm"
    settings: ClassVar[Mapping[str, str]] = _SETTINGS | {"epsilon": "ε, above 0 to 1  [default: 8/255]"}


class IFgsm(IFgvm):
    """I-FGSM, the iterative fast gradient sign method: the same box, and only the gradient's sign."""

    rule: ClassVar[Rule] = "i-fgsm"


def _file(path: Path) -> Path:
    """The network's file, of a run's folder or as given. Raises :class:`~halfmask.errors.UsageError` for neither."""
    found = path / "identity.safetensors" if path.is_dir() else path
    if not found.is_file():
        raise UsageError(
            f"against is {str(path)!r}: there is no file {found}; expected a folder or file of halfmask train "
            f"identity, or {MATCHER}"
        )
    return found
