"""The data sets of a benchmark: what of each is judged, what is protected, and on whom attackers learn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...datasets import Pair, Row, Table, lfw_pairs, most_people, read, subject_disjoint
from ...errors import DataError
from .config import SetConfig, fill, slug


@dataclass(eq=False)
class OpenSet:
    """A data set that is here: what is judged, what is protected, and on whom attackers learn."""

    config: SetConfig
    table: Table
    keys: set[str]
    pairs: list[Pair] | None
    train: set[str]
    place: str
    root: Path

    @property
    def judged(self) -> Table:
        """The pictures that are judged or stand in the gallery: all but those that attackers learn on."""
        return self.table.where(lambda row: row.key not in self.train)


def open_set(wanted: SetConfig, kind: str, data: Path, peers: Path | None, most: int | None) -> OpenSet:
    """Read a set. Raises :class:`~halfmask.errors.HalfmaskError` when it is not there or lacks what is asked of it."""
    root = Path(fill(wanted.root or f"${{data}}/{wanted.layout}", data, peers))
    if not root.is_dir():
        raise DataError(f"there is no folder {wanted.root or wanted.layout} in the data folder")
    whole = read(wanted.layout, root)
    if wanted.without:
        known = sorted({_kind(row) for row in whole} - {""})
        if unknown := sorted(set(wanted.without) - set(known)):
            raise DataError(
                f"it has no picture of {', '.join(unknown)} to leave out; it has: {', '.join(known) or 'none'}"
            )
        whole = whole.where(lambda row: _kind(row) not in wanted.without)
    judged = whole.where(lambda row: row.split == wanted.split) if wanted.split else whole
    train = Table(whole.name, whole.root)
    if kind == "attackers" or (kind == "overview" and wanted.attack_train):
        if wanted.attack_train == "half":
            halves = subject_disjoint(judged.where(lambda r: r.gender is not None), {"train": 0.5, "test": 0.5})
            judged, train = halves.split("test"), halves.split("train")
        else:
            judged = judged.where(lambda r: r.gender is not None)
            train = whole.where(lambda r: r.split == wanted.attack_train and r.gender is not None)
        if train_most := min((n for n in (wanted.attack_most, most) if n is not None), default=None):
            train = most_people(train, train_most)
        if not len(train):
            raise DataError(f"it has no labelled picture for attack_train: {wanted.attack_train}")
    if judged_most := min((n for n in (wanted.most, most) if n is not None), default=None):
        judged = most_people(judged, judged_most)
    if not len(judged):
        raise DataError(f"it has no picture of the split {wanted.split}" if wanted.split else "it has no picture")
    pairs: list[Pair] | None = None
    if wanted.pairs == "lfw" and judged_most is None:  # of whole people few listed pairs are left, and all are pairs
        pairs = lfw_pairs(root)
    keys = {row.key for row in judged}
    if wanted.probes == "pairs" and pairs is not None:
        keys = {p.b for p in pairs if p.same}
    trained = {row.key for row in train}
    table = replace(judged, rows=[*judged.rows, *train.rows])
    return OpenSet(wanted, table, keys | trained, pairs, trained, slug(wanted.layout, str(root.resolve())), root)


def _kind(row: Row) -> str:
    """A picture's condition without what follows the comma, "" where it is not known."""
    return (row.condition or "").partition(",")[0]


def about_set(s: OpenSet) -> dict[str, Any]:
    """What a result says of a set: how many pictures of how many people, and so on."""
    judged = s.judged
    return {
        "name": s.config.name,
        "layout": s.config.layout,
        "split": s.config.split,
        "without": list(s.config.without),
        "photos": len(judged),
        "people": len({row.identity or row.key for row in judged}),
        "women": sum(row.gender == 0 for row in judged),
        "men": sum(row.gender == 1 for row in judged),
        "protected": len(s.keys - s.train),
        "attackers_learn_on": len(s.train) or None,
        "pairs": "all" if s.pairs is None else "lfw",
    }
