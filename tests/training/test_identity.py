"""Models A and B learn made-up people; photos are split by person; a killed run ends where a whole one does."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from halfmask.datasets import cache
from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, UsageError
from halfmask.networks import identity as networks
from halfmask.networks.identity import ModelB, load_identity
from halfmask.training import identity, loop
from halfmask.training.config import load_config
from halfmask.training.identity import IdentityConfig, split_by_photo


def people(count: int, each: int) -> Crops:
    """Each person a coarse colour pattern, each photo that pattern under noise; the last person comes first."""
    rng = np.random.default_rng(5)
    base = rng.uniform(40, 215, (count, 4, 4, 3))
    pixels, rows = [], []
    for p in reversed(range(count)):
        for k in range(each):
            face = np.kron(base[p] + rng.normal(0, 12, (4, 4, 3)), np.ones((8, 8, 1)))
            pixels.append(face.clip(0, 255).astype(np.uint8))
            rows.append(Row(f"p{p}/{k}.jpg", Path(f"p{p}/{k}.jpg"), f"p{p}"))
    return Crops(np.stack(pixels), rows, [])


class Stand(nn.Module):
    """A trunk that says each colour of a 4 × 4 grid, and noise if it is the worse one."""

    def __init__(self, noise: float) -> None:
        super().__init__()
        self.noise = noise
        self.asked = 0

    def forward(self, faces: Tensor) -> Tensor:
        self.asked += len(faces)
        said = nn.functional.adaptive_avg_pool2d(faces - 0.5, 4).flatten(1)
        said = nn.functional.pad(said, (0, 128 - said.shape[1]))
        return said + self.noise * torch.randn(said.shape, generator=torch.Generator().manual_seed(len(faces)))


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> dict[str, Stand]:
    crops = people(5, 12)
    table = Table("made-up", Path("made-up"), crops.rows)
    trunks = {"sface": Stand(0.0), "facenet": Stand(9.0)}
    monkeypatch.setattr(identity, "source_table", lambda source: table)
    monkeypatch.setattr(identity, "open_crops", lambda table, cache: crops)
    monkeypatch.setitem(networks.TRUNKS, "facenet", 128)
    monkeypatch.setattr(networks, "load_trunk", lambda name, weights=None: trunks[name])
    return trunks


def config(model: str, **changes: object) -> IdentityConfig:
    settings: dict[str, object] = {"people": 4, "shares": [8, 2, 2], "side": 8, "steps": 40, "batch": 16}
    settings |= {"trunks": ["facenet", "sface"], "lr": 3e-3, "evaluate_every": 20, "precision": "no", "seed": 2}
    return IdentityConfig(source={}, model=model, **(settings | changes))  # type: ignore[arg-type]


def test_every_person_is_in_every_part():
    rows = people(3, 30).rows
    parts = split_by_photo(rows, [20, 4, 6], seed=1)
    counts = Counter((row.identity, part) for row, part in zip(rows, parts, strict=True))
    assert counts == {(f"p{p}", part): n for p in range(3) for part, n in (("train", 20), ("valid", 4), ("test", 6))}
    # the same photos whatever order they come in, others by another seed, and not the same numbers of every person
    turned = split_by_photo(rows[::-1], [20, 4, 6], seed=1)
    assert turned[::-1] == parts
    assert split_by_photo(rows, [20, 4, 6], seed=2) != parts
    by_person = [[part for row, part in zip(rows, parts, strict=True) if row.identity == f"p{p}"] for p in range(3)]
    assert by_person[0] != by_person[1]
    with pytest.raises(UsageError, match="parts of train, valid and test"):
        split_by_photo(rows, [20, 4], seed=1)


def test_the_first_people_by_name_are_taken(world: dict[str, Stand]):
    names, faces = identity.open_people(config("a"))
    assert names == ("p0", "p1", "p2", "p3")
    assert {part: len(mine) for part, mine in faces.items()} == {"train": 32, "valid": 8, "test": 8}
    assert {row.identity for row in faces["test"].rows} == set(names)
    assert [names[k] for k in identity.labels(names, faces["test"])] == [row.identity for row in faces["test"].rows]
    with pytest.raises(DataError, match="has 5 people, expected 6"):
        identity.open_people(config("a", people=6))
    with pytest.raises(DataError, match="no face is left for valid"):
        identity.open_people(config("a", shares=[11, 0, 1]))


@pytest.mark.parametrize("changes", [{}, {"augment": {"flip": False, "blur": 0.0}}])
def test_model_a_learns_and_survives_a_kill(
    changes: dict[str, object], tmp_path: Path, world: dict[str, Stand], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(identity, "fit", lambda *given, **named: loop.fit(*given, **named | {"checkpoint_every": 15}))
    settings = config("a", **changes)
    path = identity.train_identity(settings, tmp_path / "whole")
    figures = json.loads((tmp_path / "whole" / "test.json").read_text())
    assert figures["people"] == 4
    assert figures["train_accuracy"] > 0.9
    assert {"valid_accuracy", "valid_loss", "test_accuracy", "test_loss"} <= set(figures)
    whole = load_identity(path)

    chosen = identity.batch_indices

    def killed(seed: int, step: int, count: int, batch: int) -> np.ndarray:
        if step == 17:
            raise KeyboardInterrupt
        return chosen(seed, step, count, batch)

    monkeypatch.setattr(identity, "batch_indices", killed)
    with pytest.raises(KeyboardInterrupt):
        identity.train_identity(settings, tmp_path / "killed")
    monkeypatch.setattr(identity, "batch_indices", chosen)
    again = load_identity(identity.train_identity(settings, tmp_path / "killed"))
    assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), again.parameters(), strict=True))


def test_model_b_takes_the_better_trunk_and_asks_it_once(tmp_path: Path, world: dict[str, Stand]):
    settings = config("b", steps=50)
    net = load_identity(identity.train_identity(settings, tmp_path / "b"))
    assert isinstance(net, ModelB)
    assert net.trunk_name == "sface"
    figures = json.loads((tmp_path / "b" / "test.json").read_text())
    assert figures["trunk"] == "sface"
    assert figures["trunks"]["sface"]["valid_accuracy"] > figures["trunks"]["facenet"]["valid_accuracy"]
    assert figures["test_accuracy"] == figures["trunks"]["sface"]["test_accuracy"] > 0.9
    asked = world["sface"].asked
    assert asked == 2 * 48  # each face and its mirror image
    identity.train_identity(settings, tmp_path / "b", resume=False)
    assert world["sface"].asked == asked


def test_the_other_config_is_refused(world: dict[str, Stand], tmp_path: Path):
    with pytest.raises(UsageError, match="'a' or 'b'"):
        identity.train_identity(config("c"), tmp_path)


def test_the_configs_are_complete_and_fit_the_people(shared_data: Path):
    assert cache.CROP == 224
    for letter in "ab":
        settings = load_config(IdentityConfig, f"identity-{letter}")
        assert settings.model == letter
        table = identity.source_table({"layout": "lfw", "root": str(shared_data / "lfw30")})
        assert len({row.identity for row in table}) >= settings.people
        assert sum(settings.shares) == 30
