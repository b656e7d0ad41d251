"""What a data set holds and what is wrong with it: ``halfmask data check PATH``."""

from __future__ import annotations

import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from PIL import Image, UnidentifiedImageError
from tqdm import tqdm

from halfmask.datasets.labels import noting_files
from halfmask.datasets.pairs import lfw_pairs
from halfmask.datasets.readers import read, recognise
from halfmask.datasets.readers.arface import read_raw
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError, shown
from halfmask.photos import reading
from halfmask.photos.encode import SUFFIXES

SPLITS = ("train", "valid", "test")
#: What labels come in, by the ends of names.
_LABEL_SUFFIXES = frozenset(
    [
        ".csv",
        ".tsv",
        ".txt",
        ".json",
        ".jsonl",
        ".xml",
        ".yaml",
        ".yml",
        ".mat",
        ".npy",
        ".npz",
        ".pkl",
        ".parquet",
        ".xls",
        ".xlsx",
        ".ods",
        ".feather",
        ".sqlite",
    ]
)
SHOWN = 20
"""How many problems of a kind are printed; the JSON has them all."""


@dataclass(frozen=True)
class Report:
    """What was found. Counts are of pictures unless they say people; "unknown" counts those without the label.

    ``problems`` are the reader's (malformed rows, missing files), ``broken`` the pictures that do not decode (empty
    when ``decoded`` is False: nobody looked), ``in_two_splits`` the people, ``duplicates`` the keys that
    several rows share. ``unread`` are files beside the pictures that may hold labels and were not read.
    """

    root: str
    layout: str
    pictures: int
    people: int
    genders: dict[str, int]
    races: dict[str, int]
    ages: dict[str, int]
    splits: dict[str, int]
    people_by_split: dict[str, int]
    pairs: dict[str, int]
    problems: list[str]
    broken: list[str]
    in_two_splits: list[str]
    duplicates: list[str]
    decoded: bool
    unread: list[str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not (self.problems or self.broken or self.in_two_splits or self.duplicates)

    def _nothing_wrong(self) -> str:
        """Of what was looked at, and of nothing else."""
        if not (self.people or self.genders or self.races or self.ages or self.splits):
            pictures = "nothing wrong in the pictures" if self.decoded else "the pictures were not opened"
            return f"{pictures}; no labels were read"
        if not self.decoded:
            return "nothing wrong in the labels; the pictures were not opened"
        return "nothing wrong in what was read" if self.unread else "nothing wrong"

    def to_json(self) -> str:
        """Everything as JSON: an object with the fields above and ``ok``."""
        return json.dumps({**asdict(self), "ok": self.ok}, indent=2, ensure_ascii=False)

    def __str__(self) -> str:
        people = f"{self.people:,} people" if self.people else "no identities"
        lines = [f"{self.root}: {self.layout}, {self.pictures:,} pictures, {people}"]
        for title, counts in (
            ("gender", self.genders),
            ("race", self.races),
            ("age", self.ages),
            ("split", self.splits),
            ("people a split", self.people_by_split),
            ("pairs", self.pairs),
        ):
            if counts:
                lines.append(f"  {title}: " + ", ".join(f"{value} {count:,}" for value, count in counts.items()))
        for title, names in (
            ("problems", self.problems),
            ("broken pictures", self.broken),
            ("people in two splits", self.in_two_splits),
            ("duplicate keys", self.duplicates),
        ):
            if names:
                lines.append(f"{len(names):,} {title}:")
                lines += [f"  {text}" for text in names[:SHOWN]]
                if len(names) > SHOWN:
                    lines.append(f"  … and {len(names) - SHOWN:,} more (all are in the JSON)")
        if self.ok:
            lines.append(self._nothing_wrong())
        if self.unread:
            lines.append(f"not read, so nothing is said of what they hold: {', '.join(self.unread[:SHOWN])}")
            if len(self.unread) > SHOWN:
                lines.append(f"  … and {len(self.unread) - SHOWN:,} more (all are in the JSON)")
        return "\n".join(lines)


def check(path: Path | str, layout: str | None = None, decode: bool = True, progress: bool | None = None) -> Report:
    """Say what the data set in a folder holds, and what is wrong with it.

    ``layout`` is a key of READERS; None guesses it from the files. With ``decode`` every picture is opened and decoded
    to the end, in threads, so a damaged one is found now and not in the middle of a training. ``progress`` shows a bar
    with the time left on stderr; None does so when that is a terminal.

    Raises DataError when nothing of the layout is there, UsageError for an unknown layout.

    >>> import tempfile
    >>> root = Path(tempfile.mkdtemp())
    >>> Image.new("RGB", (4, 4)).save(root / "31_1_2_20170112232321.jpg")
    >>> _ = (root / "25_0_0_20170116211924.jpg").write_bytes(b"not a picture")
    >>> report = check(root, progress=False)
    >>> report.layout, report.genders, report.ages
    ('utkface', {'female': 1, 'male': 1}, {'20-29': 1, '30-39': 1})
    >>> report.broken
    ['25_0_0_20170116211924.jpg: cannot be decoded: not a picture of a known kind']
    """
    root = Path(path)
    layout = layout or recognise(root)
    with noting_files() as opened:
        table = read(layout, root)
    problems = list(table.problems)
    pairs: dict[str, int] = {}
    if layout == "lfw" and (root / "pairs.txt").is_file():
        pairs = _check_pairs(root, problems)
        opened.add(root / "pairs.txt")
    people_of: dict[str, set[str]] = {}
    splits_of: dict[str, set[str]] = {}
    for row in table:
        if row.identity is not None:
            people_of.setdefault(row.split or "unknown", set()).add(row.identity)
            if row.split:
                splits_of.setdefault(row.identity, set()).add(row.split)
    keys = Counter(row.key for row in table)
    return Report(
        root=shown(root),
        layout=layout,
        pictures=len(table),
        people=len({row.identity for row in table} - {None}),
        genders=_counts(table, lambda row: None if row.gender is None else ("female", "male")[row.gender]),
        races=_counts(table, lambda row: row.race),
        ages=_counts(table, _decade, key=lambda age: int(age.partition("-")[0])),
        splits=_counts(table, lambda row: row.split, key=SPLITS.index),
        people_by_split={s: len(people_of[s]) for s in (*SPLITS, "unknown") if s in people_of} if splits_of else {},
        pairs=pairs,
        problems=[shown(text) for text in problems],
        broken=_broken(table, progress) if decode else [],
        in_two_splits=[
            f"{shown(person)}: {', '.join(sorted(splits))}"
            for person, splits in sorted(splits_of.items())
            if len(splits) > 1
        ],
        duplicates=[f"{shown(key)}: {n} rows" for key, n in sorted(keys.items()) if n > 1],
        decoded=decode,
        unread=_unread(root, table, opened),
    )


def _unread(root: Path, table: Table, opened: Iterable[Path]) -> list[str]:
    """What may hold labels, in the folder or one that pictures lie in or below, and was not read."""
    folders = {root} | {above for row in table for above in row.path.parents if above.is_relative_to(root)}
    read = {path.resolve() for path in opened}
    unread = [
        path
        for folder in sorted(folders)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in _LABEL_SUFFIXES
        and not path.name.startswith(".")
        and not path.name.lower().startswith(("readme", "license", "licence"))
        and path.resolve() not in read
    ]
    return [shown(path.relative_to(root).as_posix()) for path in unread]


def _check_pairs(root: Path, problems: list[str]) -> dict[str, int]:
    try:
        pairs = lfw_pairs(root)
    except DataError as error:
        problems.append(str(error))
        return {}
    problems += pairs.problems
    same = sum(pair.same for pair in pairs)
    return {"same": same, "different": len(pairs) - same, "folds": len({pair.fold for pair in pairs} - {None})}


def _counts(table: Table, value_of: Callable[[Row], str | None], key: Callable[[str], Any] = str) -> dict[str, int]:
    """Value → rows with it, by ``key``, then "unknown"; empty when no row has a value."""
    counts: dict[str, int] = {}
    unknown = 0
    for row in table:
        value = value_of(row)
        if value is None:
            unknown += 1
        else:
            counts[value] = counts.get(value, 0) + 1
    ordered = {shown(value): counts[value] for value in sorted(counts, key=key)}
    return {**ordered, "unknown": unknown} if ordered and unknown else ordered


def _decade(row: Row) -> str | None:
    """The ten years an age falls in; a range stays the range that the data set gives."""
    if row.age_range is not None:
        return f"{row.age_range[0]}-{row.age_range[1]}"
    if row.age is None:
        return None
    start = int(row.age) // 10 * 10
    return f"{start}-{start + 9}"


def _broken(table: Table, progress: bool | None) -> list[str]:
    """The pictures that do not decode, and why."""
    # Pillow lets go of the interpreter while it decodes, so threads use every core. The warning filters belong to the
    # whole process, so they are set here and not in the threads: odd metadata and large sizes still decode.
    with warnings.catch_warnings(), ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        warnings.simplefilter("ignore")
        results: Iterable[str | None] = tqdm(
            pool.map(_why_broken, table),
            total=len(table),
            desc="decoding",
            unit="picture",
            disable=None if progress is None else not progress,
        )
        try:
            return [why for why in results if why is not None]
        except BaseException:  # Ctrl-C: do not decode the rest first
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _why_broken(row: Row) -> str | None:
    try:
        if row.path.suffix.lower() == ".raw":
            read_raw(row.path)
        elif SUFFIXES.get(row.path.suffix.lower()) == "HEIF":  # which Pillow knows with an extra only
            reading.read(row.path)
        else:
            with Image.open(row.path) as image:
                image.load()
    except UnidentifiedImageError:
        return f"{shown(row.key)}: cannot be decoded: not a picture of a known kind"
    except Exception as error:  # a damaged file makes Pillow's decoders raise nearly anything; none may stop the rest
        return f"{shown(row.key)}: cannot be decoded: {shown(str(error))}"
    return None
