"""A stage of a generator that hides who is shown, and keeps gender, age and race (docs/deidentify.md).

Beside critic and budgets (:mod:`~halfmask.training.stage`), of which structure's follows what a face loses, it is
judged by

- *matchers*, who are to see somebody else of the same gender and age (``losses.l_apart``), all of them in every step;
- *pupils* of theirs, too, who keep learning to see through what is done (:mod:`~halfmask.training.pupils`);
- *readers*, who are to read of every view what they read of the same view before. They learn from untouched faces
  alone: so they stay strangers to the change, as those who will read it are, and yet no fixed network can be outwitted.

The change counts in the oval of a head.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..losses import l_aim, l_apart
from ..methods.choice import ATTRIBUTES
from ..networks.halfmask import IDENTITY, SIDE
from ..networks.matchers import load_matcher
from ..networks.views import view as shot
from ..photos.paste import mask
from .adversaries import Learner, Multipliers
from .pupils import in_turn, kind_means, kinds_of, open_pupil
from .stage import BUDGETS, Batch, Job, Say, Stage, parts
from .untouched import Untouched
from .views import view
from .watching import Look, Targets, likeness_kept, untargeted

#: Readers that are sure say little of a change. What is kept is compared at this temperature (Hinton et al. 2015).
_TEMPERATURE = 3.0


class HideIdentity(Stage):
    """One stage of a generator that hides who is shown."""

    hides = IDENTITY
    others_in = "pupils"

    def _open_others(self) -> list[Learner]:
        """Matchers, then their pupils; where a change counts, and the weight of structure."""
        config = self.config
        self._open_matchers()
        with torch.no_grad():
            widths = [m(torch.zeros(1, 3, SIDE, SIDE, device=self.device)).shape[1] for m in self.matchers]
        known = dict(zip(config.matchers, widths, strict=True))
        self.pupils = []
        for k, about in enumerate(config.pupils):
            pupil = open_pupil(about, known, load_matcher, 1000 * config.seed + k)
            self.pupils.append(self._learner(self._continued(pupil, k), float(about.get("lr", 2e-5))))
        self.oval = torch.from_numpy(mask(SIDE).copy()).to(self.device)
        self.structure = Multipliers(config.ssim_weight, 1, config.ssim, rate=0.02)
        # a checkpoint holds the weights of matchers, too, as the other kind's does, though here they stand still
        still = Multipliers(config.match, len(self.matchers), 0.0, rate=0.02)
        self.accelerator.register_for_checkpointing(still, self.structure)
        return self.pupils

    def _ask_matchers(self, folder: Path) -> None:
        """What they see of the faces at 144 pixels, and what people of the same gender and age share in it."""
        asked = Untouched(self.fine, self.ends.tolist(), folder, self.accelerator)
        gender, ages = self.labels["gender"], len(self.config.ages)
        self.untouched = [asked.mirrored(m, n) for m, n in zip(self.matchers, self.config.matchers, strict=True)]
        kinds = kinds_of(gender, self.labels["age"], ages)
        means = [kind_means(seen, kinds, gender, 2 * (ages + 1)) for seen in self.untouched]
        self.kinds = [each[kinds.to(each.device)] for each in means]

    def _owned(self) -> list[tuple[int, Any]]:
        """Pupils, too, and the weight of structure."""
        pupils = ((len(self.matchers) + k, pupil) for k, pupil in enumerate(self.pupils))
        return [*super()._owned(), *parts(pupils), (BUDGETS, self.structure)]

    def _draw_targets(self, count: int, rng: np.random.Generator) -> Targets:
        return untargeted(count)

    def _aligned(self, index: NDArray[np.int64], fine: Tensor) -> Tensor:
        """A matcher that is to see somebody else looks as closely as it can."""
        return fine

    def _counted(self, change: Tensor) -> Tensor:
        """What counts of a change: the oval of a head."""
        return change * self.oval

    def _ssim_weight(self, lost: Tensor) -> float:
        """It rises while faces lose more than ``ssim``, and falls while they lose less."""
        weight = float(self.structure.weights[0])
        self.structure.update(0, float(lost))
        return weight

    def _jobs(self, i: int) -> list[Job]:
        """Pupils in turn, all matchers, readers, critic and budgets."""
        turn, count = in_turn(self.pupils, self.config.heard, i), len(self.matchers)
        several = count + len(turn)
        pupils = [(count + k, partial(self._escape_pupil, k, several)) for k in turn]
        matchers = [(k, partial(self._escape, k, several)) for k in range(count)]
        return [*pupils, *matchers, *self._readers_in_turn(i), *self._always()]

    def _read(self, k: int, learns: bool, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Reader ``k``: of one view it reads the same as before; then, if so, the untouched teach it."""
        config, heads = self.config, self._heads(k)
        chance = int(rng.integers(2**62))
        both = batch.changed(change), batch.face
        now, was = (view(faces, np.random.default_rng(chance)) for faces in both)  # alike to the noise
        with self.accelerator.autocast():
            judge = self.readers[k].frozen()
            said = judge(now)
            with torch.no_grad():
                before = judge(was)
        everybody, terms = torch.ones_like(batch.truth["gender"], dtype=torch.bool), {}
        for name in ATTRIBUTES:
            after, believed = (
                heads[name].probabilities(z[name].float() / _TEMPERATURE) for z in (said, before)
            )  # fmt: skip
            weight = _TEMPERATURE**2 * config.keep * config.weights[name] / config.reads
            terms[f"keep_{name}"] = weight * l_aim(after, believed, everybody)
        if i < config.adapt_from or not learns:
            return terms, {}
        return terms, self._teach(k, view(batch.face, rng), batch.truth)

    def _apart(self, k: int, described: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        """By how much what matcher ``k``, or a pupil of its, sees is too near to the person, and the mean cosine."""
        index = torch.from_numpy(batch.index)
        own, kind = self.untouched[k][index], self.kinds[k][index]
        cosine = F.cosine_similarity(described.detach(), own).mean()
        return l_apart(described, own, kind, self.config.limit), cosine

    def _escape(self, k: int, several: int, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Matcher ``k``, one of ``several`` that are heard, is to see somebody else."""
        seen = shot(batch.matched(change), rng)
        with self.accelerator.autocast():
            described = self.matchers[k](seen.contiguous(memory_format=torch.channels_last)).float()
        near, cosine = self._apart(k, described, batch)
        name = self.config.matchers[k]
        return {f"near_{name}": self.config.match / several * near}, {f"cosine_{name}": cosine}

    def _escape_pupil(
        self, k: int, several: int, batch: Batch, i: int, change: Tensor, rng: np.random.Generator
    ) -> Say:
        """Pupil ``k`` likewise; then it learns to see the person in changed faces as its matcher does in untouched."""
        pupil, of = self.pupils[k], self.config.matchers.index(self.config.pupils[k]["of"])
        seen = shot(batch.matched(change), rng).contiguous(memory_format=torch.channels_last)
        with self.accelerator.autocast():
            described = pupil.frozen()(seen).float()
        near, cosine = self._apart(of, described, batch)
        own = self.untouched[of][torch.from_numpy(batch.index)]
        with self.accelerator.autocast():
            told = pupil.open()(torch.cat([shot(batch.aligned, rng), seen.detach()])).float()
        wrong = pupil.learn(1 - F.cosine_similarity(told, own.repeat(2, 1)).mean())
        return {f"near_pupil{k}": self.config.match / several * near}, {f"cosine_pupil{k}": cosine, f"pupil{k}": wrong}

    def _figures(self, look: Look) -> dict[str, float]:
        return likeness_kept(look)
