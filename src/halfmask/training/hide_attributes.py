"""A stage of a generator that hides attributes and keeps who is shown (docs/method.md).

Beside critic and budgets (:mod:`~halfmask.training.stage`) it is judged by

- *readers* (population A), who keep learning the true attributes of changed and untouched faces: they are to believe
  the target where an attribute is hidden, and what they believed before where it is kept;
- *told readers* (population B), who know the target and learn the truth from changed faces: they are to know nothing;
- *matchers*, auxiliary ones: they are to see the same person, with the target's gender (e*, ``losses.e_star``); and
  linear readers of what they see, who are to know nothing either.

The target is drawn independently of the truth, with a soft aim (``confidence``), so that a face which already looks
like its target is drawn toward the same place as one that does not.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from ..losses import e_star, l_aim, l_match, l_told, soft
from ..methods.choice import ATTRIBUTES
from ..networks.halfmask import SIDE, SOFT
from .adversaries import Learner, Multipliers, Ring, Told, linear_reader
from .data import to_tensor
from .stage import MATCHERS, TOLD, Batch, Job, Say, Stage, parts
from .untouched import Untouched, gender_axes
from .views import passing, view
from .watching import Look, Targets, draw_targets, gender_read

#: Linear readers of descriptors are solved anew after so many looks of their matcher.
_SOLVE_EVERY = 5


class HideAttributes(Stage):
    """One stage of a generator that hides attributes."""

    hides = SOFT
    others_in = "told"

    def _open_others(self) -> list[Learner]:
        """Population B, then matchers with the weight of each."""
        config = self.config
        self.told = []
        for k, about in enumerate(config.told):
            told = Told(about)
            told.start_afresh(about, 1000 * config.seed + k)
            self.told.append(self._learner(self._continued(told, k), config.told_lr))
        self._open_matchers()
        self.multipliers = Multipliers(config.match, len(self.matchers), config.distance, rate=0.02)
        self.accelerator.register_for_checkpointing(self.multipliers)
        return self.told

    def _ask_matchers(self, folder: Path) -> None:
        """What they see of the aligned faces, where gender lies in it, and room for what they will see."""
        asked = Untouched(self.faces, self.ends.tolist(), folder, self.accelerator)
        names, gender, race = self.config.matchers, self.labels["gender"], self.labels["race"]
        self.untouched = [asked.described(m, name) for m, name in zip(self.matchers, names, strict=True)]
        self.axes = [gender_axes(seen, gender, race, len(self.config.races)) for seen in self.untouched]
        self.linear: list[dict[int, tuple[Tensor, Tensor]]] = [{} for _ in self.matchers]
        # the last changed faces, for B to learn from, and what matchers saw of them, for their linear readers
        self.replay = Ring(1024, (3, SIDE, SIDE), torch.uint8)
        self.described = [Ring(2048, (table.shape[1],)) for table in self.untouched]
        self.accelerator.register_for_checkpointing(self.replay, *self.described)

    def _owned(self) -> list[tuple[int, Any]]:
        """Population B and matchers' weights, too, and what is remembered for either."""
        kept = [(TOLD, self.replay), (MATCHERS, self.multipliers), *((MATCHERS, ring) for ring in self.described)]
        return [*super()._owned(), *parts((TOLD, learner) for learner in self.told), *kept]

    def _draw_targets(self, count: int, rng: np.random.Generator) -> Targets:
        return draw_targets(count, self.config.odds, self.drawn_from, rng)

    def _aligned(self, index: NDArray[np.int64], fine: Tensor) -> Tensor:
        """As the generator would see them: matchers are only to see the same."""
        return to_tensor(self.faces.pixels(index)).to(self.device)

    def _jobs(self, i: int) -> list[Job]:
        """One matcher, readers, population B, critic and budgets."""
        match: list[Job] = [(MATCHERS, partial(self._match, i % len(self.matchers)))] if self.matchers else []
        told: list[Job] = [(TOLD, self._tell)] if self.told else []
        return [*match, *self._readers_in_turn(i), *told, *self._always()]

    def _read(self, k: int, learns: bool, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Reader ``k`` of A: it believes the target, or what it believed before; then, if so, it learns the truth."""
        config, heads = self.config, self._heads(k)
        changed = batch.changed(change)
        with self.accelerator.autocast():
            logits = self.readers[k].frozen()(view(changed, rng))
        hidden, stays = {}, []
        for name in ATTRIBUTES:
            believed, target = heads[name].probabilities(logits[name].float()), batch.targets.of(name)
            aim = soft(target, believed.shape[1], config.confidence)
            hidden[f"hide_{name}"] = config.weights[name] * l_aim(believed, aim, target >= 0)
            before = torch.from_numpy(self.beliefs[k][name][batch.index]).to(self.device)
            stays.append(l_aim(believed, before, target < 0))
        terms = {n: v / config.reads for n, v in (hidden | {"keep": config.keep * torch.stack(stays).sum()}).items()}
        if i < config.adapt_from or not learns:
            return terms, {}
        both = torch.cat([view(batch.face, rng), view(changed.detach(), rng)])
        return terms, self._teach(k, both, {name: ranks.repeat(2) for name, ranks in batch.truth.items()})

    def _tell(self, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Population B: who counts knows nothing; then all of them learn from this batch and earlier ones."""
        config = self.config
        truth, target = batch.truth["gender"], batch.targets.gender
        changed, terms, logits = batch.changed(change), {}, []
        for k, learner in enumerate(self.told):
            age = (i - config.fresh_every * k) % (config.fresh_every * len(self.told))
            if age == 0 and i > 0:
                told = cast(Told, self.accelerator.unwrap_model(learner.net))
                told.start_afresh(config.told[k], 1000 * config.seed + k + i)
                learner.optimizer.state.clear()
            if config.told_weight and i >= config.warm and age >= config.warm:
                with self.accelerator.autocast():
                    logits.append(learner.frozen()(view(changed, rng), target).float())
        if logits:
            terms["told"] = config.told_weight * l_told(torch.stack(logits), target >= 0)
        asked = (target >= 0).nonzero()[:, 0]
        self.replay.add(changed[asked], truth[asked], target[asked])
        old = [part.to(self.device) for part in self.replay.draw(len(batch.index), rng)]
        faces, truths, targets = (
            torch.cat([one, two])
            for one, two in zip((changed.detach()[asked], truth[asked], target[asked]), old, strict=True)
        )
        losses = []
        for learner in self.told:
            with self.accelerator.autocast():
                answer = learner.open()(view(faces, rng), targets).float()
            losses.append(learner.learn(F.binary_cross_entropy_with_logits(answer, truths.float())))
        return terms, {"told_readers": torch.stack(losses).mean()}

    def _match(self, k: int, batch: Batch, i: int, change: Tensor, rng: np.random.Generator) -> Say:
        """Matcher ``k``: near the same person with the target's gender; its linear readers know nothing."""
        config, turns = self.config, len(self.matchers)
        truth, target = batch.truth["gender"], batch.targets.gender
        seen = passing(batch.matched(change), rng)
        with self.accelerator.autocast():
            described = self.matchers[k](seen.contiguous(memory_format=torch.channels_last)).float()
        untouched = self.untouched[k][torch.from_numpy(batch.index)]
        aims = e_star(untouched, self.axes[k][batch.truth["race"]], target, truth, config.direct)
        squares = batch.reach.square()
        name = config.matchers[k]
        weight = turns * self.multipliers.weights[k]
        terms = {f"match_{name}": weight * l_match(described, aims, config.margin * squares)}
        distance = (1 - F.cosine_similarity(described.detach(), untouched)) / squares
        self.multipliers.update(k, float(distance.mean()))
        if config.linear_weight:
            if (i // turns) % _SOLVE_EVERY == 0:
                self._solve(k)
            for t, (w, b) in self.linear[k].items():
                term = l_told((described @ w + b)[None], target == t)
                terms[f"linear_{name}"] = terms.get(f"linear_{name}", 0.0) + turns * config.linear_weight * term
            asked = (target >= 0).nonzero()[:, 0]
            self.described[k].add(described[asked], truth[asked], target[asked])
        return terms, {f"apart_{name}": distance.mean(), f"weight_{name}": self.multipliers.weights[k]}

    def _solve(self, k: int) -> None:
        """Matcher ``k``'s linear readers of the truth, one a target, from what it saw last."""
        kept, of = self.described[k].held()
        for t in (0, 1):
            mine = of[:, 1] == t
            if solved := linear_reader(kept[mine], of[mine, 0]):
                self.linear[k][t] = (solved[0].to(self.device), solved[1].to(self.device))

    def _figures(self, look: Look) -> dict[str, float]:
        return gender_read(look, self.config.seed)
