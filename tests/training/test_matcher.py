"""Triplet training of a matcher: mining against brute force, batches of people, a run that learns and resumes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from halfmask.datasets.cache import Crops
from halfmask.datasets.table import Row
from halfmask.errors import DataError, WeightsError
from halfmask.networks.matchercnn import MatcherCNN
from halfmask.training import loop, matcher
from halfmask.training.config import load_config
from halfmask.training.data import Faces


def made_up(people: int, each: int, seed: int) -> Faces:
    """Each person a coarse colour pattern, each photo that pattern under noise and another light."""
    rng = np.random.default_rng(seed)
    base = np.random.default_rng(0).uniform(40, 215, (people, 4, 4, 3))
    pixels, rows = [], []
    for p in range(people):
        for k in range(each):
            face = np.kron(base[p] + rng.normal(0, 12, (4, 4, 3)), np.ones((14, 14, 1)))
            pixels.append((face + rng.uniform(-25, 25)).clip(0, 255).astype(np.uint8))
            rows.append(Row(f"{p}/{k}.jpg", Path("made-up") / f"{p}/{k}.jpg", identity=str(p)))
    return Faces([(Crops(np.stack(pixels), rows, []), range(len(rows)))])


def test_mining_equals_brute_force(rng: np.random.Generator):
    e = torch.from_numpy(rng.normal(size=(30, 5)).astype(np.float32))
    people = torch.from_numpy(rng.integers(0, 6, 30))
    got = {(int(a), int(p)): int(n) for a, p, n in zip(*matcher.semi_hard(e, people), strict=True)}
    far = 0
    for a in range(30):
        for p in range(30):
            if a == p or people[a] != people[p]:
                assert (a, p) not in got
                continue
            d = (e[a] - e).square().sum(1)
            others = [n for n in range(30) if people[n] != people[a]]
            harder = [n for n in others if d[n] > d[p]]
            far += not harder
            wanted = min(harder, key=lambda n: d[n]) if harder else max(others, key=lambda n: d[n])
            assert got[a, p] == wanted
    assert far > 0  # both rules were met


def test_a_batch_without_triplets_is_named():
    with pytest.raises(ValueError, match="3 photos of 3 people"):
        matcher.semi_hard(torch.rand(3, 2), torch.arange(3))
    with pytest.raises(ValueError, match="of 1 people"):
        matcher.semi_hard(torch.rand(3, 2), torch.zeros(3, dtype=torch.int64))


def test_batches_are_whole_people():
    faces = made_up(7, 3, seed=1)
    people = matcher.people_of(faces)
    config = matcher.MatcherConfig(train=[], valid=[], people=3, each=2)
    seen = set()
    for step in range(2):
        chosen, who = matcher.pick(people, config, step)
        assert len(set(chosen.tolist())) == 6
        names = [faces.rows[i].identity for i in chosen]
        assert [names[k] for k in range(0, 6, 2)] == [names[k] for k in range(1, 6, 2)]
        assert len(set(names)) == len(who.unique()) == 3
        seen |= set(names)
    assert len(seen) == 6  # nobody twice in an epoch
    again, _ = matcher.pick(people, config, 1)
    assert np.array_equal(again, chosen)


def test_one_number_in_two_data_sets_is_two_people():
    rows = [Row(f"{k}.jpg", Path(root) / f"{k}.jpg", identity="7") for root in ("a", "b") for k in range(2)]
    rows.append(Row("alone.jpg", Path("a/alone.jpg"), identity="8"))
    faces = Faces([(Crops(np.zeros((5, 8, 8, 3), np.uint8), rows, []), range(5))])
    assert [p.tolist() for p in matcher.people_of(faces)] == [[0, 1], [2, 3]]


def test_training_separates_people_and_survives_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    sets = {"train": made_up(24, 4, seed=1), "valid": made_up(24, 4, seed=2)}
    monkeypatch.setattr(matcher, "open_faces", lambda sources, keep, size: sets[sources[0]["layout"]])
    config = matcher.MatcherConfig(
        train=[{"layout": "train"}],
        valid=[{"layout": "valid"}],
        steps=20,
        people=8,
        each=2,
        margin=0.5,
        lr=3e-3,
        widths=[8, 16, 16, 16, 16],
        size=16,
        augment={"flip": False, "blur": 0.0},
        precision="no",
    )
    net = MatcherCNN(tuple(config.widths), config.size)
    before = matcher.auc(net, sets["valid"], matcher.people_of(sets["valid"]))
    path = matcher.train_matcher(config, tmp_path / "run")
    log = loop.read_log(tmp_path / "run")
    assert log[-1]["valid_auc"] > max(0.98, before)
    saved = MatcherCNN.load(path)
    assert not any(p.requires_grad for p in saved.parameters())
    assert matcher.auc(saved, sets["valid"], matcher.people_of(sets["valid"])) == pytest.approx(log[-1]["valid_auc"])

    whole = matcher.pick

    def killed(people, config, step):
        if step == 9:
            raise KeyboardInterrupt
        return whole(people, config, step)

    monkeypatch.setattr(matcher, "pick", killed)
    with pytest.raises(KeyboardInterrupt):
        matcher.train_matcher(config, tmp_path / "killed")
    monkeypatch.setattr(matcher, "pick", whole)
    again = MatcherCNN.load(matcher.train_matcher(config, tmp_path / "killed"))
    assert all(torch.equal(a, b) for a, b in zip(saved.parameters(), again.parameters(), strict=True))


def test_too_few_people_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(matcher, "open_faces", lambda sources, keep, size: made_up(3, 2, seed=1))
    with pytest.raises(DataError, match="cannot be made of 3 people"):
        matcher.train_matcher(matcher.MatcherConfig(train=[], valid=[], people=4), tmp_path)


def test_network_sees_gray_and_refuses_other_files(tmp_path: Path):
    net = MatcherCNN((4, 4), 8, gray=True).eval()
    faces = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.allclose(net(faces), net(faces.expand(-1, 3, -1, -1)), atol=1e-5)
        net.save(tmp_path / "m.safetensors")
        assert torch.allclose(MatcherCNN.load(tmp_path / "m.safetensors")(faces), net(faces), atol=1e-5)
    (tmp_path / "m.safetensors").write_bytes(b"damaged")
    with pytest.raises(WeightsError, match="cannot be loaded"):
        MatcherCNN.load(tmp_path / "m.safetensors")


def test_the_shipped_config_is_complete():
    config = load_config(matcher.MatcherConfig, "matcher-triplet")
    assert config.people * config.each == 96
