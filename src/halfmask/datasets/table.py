"""One row a picture: what every reader gives, whatever the layout it read."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

Split = Literal["train", "valid", "test"]


@dataclass(frozen=True)
class Row:
    """One picture. What is not known is None, never a guess.

    ``key`` is the picture's path relative to the data set's root, with forward slashes: the name by which labels,
    pairs and caches speak of it. ``gender`` is 0 = female, 1 = male. ``age`` is in years; where a data set gives only
    a range, ``age`` is None and ``age_range`` is (lowest, highest) in years, both included. ``race`` is the data set's
    own word. ``condition`` is how the picture was taken, where the data set says so, in words; what follows a comma
    says it more closely.
    """

    key: str
    path: Path
    identity: str | None = None
    gender: int | None = None
    age: float | None = None
    age_range: tuple[int, int] | None = None
    race: str | None = None
    split: Split | None = None
    condition: str | None = None


@dataclass
class Table:
    """The rows of a data set, and what was wrong with it.

    ``problems`` names each row or picture that was skipped and why.

    >>> rows = [Row("a.jpg", Path("a.jpg"), "ann", 0), Row("b.jpg", Path("b.jpg"), "bob", 1)]
    >>> t = Table("demo", Path("."), rows)
    >>> len(t.where(lambda r: r.gender == 1)), t.counts("gender")
    (1, {0: 1, 1: 1})
    """

    name: str
    root: Path
    rows: list[Row] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def where(self, keep: Callable[[Row], bool]) -> Table:
        """A table of the rows for which ``keep`` is true; the problems come along."""
        return replace(self, rows=[r for r in self.rows if keep(r)], problems=list(self.problems))

    def split(self, name: Split) -> Table:
        """The rows of one split."""
        return self.where(lambda r: r.split == name)

    def counts(self, column: str) -> dict[object, int]:
        """How many rows carry each value of a column, in the order of the values, None last."""
        totals: dict[object, int] = {}
        for row in self.rows:
            value = getattr(row, column)
            totals[value] = totals.get(value, 0) + 1
        return dict(sorted(totals.items(), key=lambda kv: (kv[0] is None, str(kv[0]))))


def concat(tables: Iterable[Table], name: str = "combined") -> Table:
    """Put tables under one another. Identities and keys get their table's name as a prefix, so that none clash."""
    rows: list[Row] = []
    problems: list[str] = []
    root = Path()
    for table in tables:
        root = table.root
        problems += table.problems
        for row in table.rows:
            identity = None if row.identity is None else f"{table.name}/{row.identity}"
            rows.append(replace(row, key=f"{table.name}/{row.key}", identity=identity))
    return Table(name, root, rows, problems)
