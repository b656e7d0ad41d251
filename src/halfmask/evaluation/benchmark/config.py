"""What a benchmark's YAML says: which table, on which sets, by which methods, beside which published numbers."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, dataclass, field, fields
from pathlib import Path
from string import Template
from typing import Any, TypeVar, get_args

from ...datasets.readers import READERS
from ...datasets.table import Split
from ...errors import UsageError, extra
from ...methods import METHODS
from ...protecting.options import Options
from ..measuring.protocol import BEFORE

#: What a table can be about.
KINDS = ("gender", "matching", "looks", "age", "race", "groups", "attackers", "overview")
#: What is protected and judged: whole photos as users get them, or aligned crops and a method's own output.
OUTPUTS = ("photo", "crop")
#: Where the benchmarks that ship lie.
SHIPPED = Path(__file__).parent / "configs"

_SPLITS = get_args(Split)
_LISTS = ("referees", "fmrs", "attacks", "curves", "faces", "notes")


@dataclass(frozen=True)
class SetConfig:
    """One data set. ``layout`` is a reader's name, ``root`` where it lies (``${data}/LAYOUT`` unless given).

    ``split`` takes one part of it. ``probes`` is ``all``, or ``pairs``: only the second picture of each genuine pair is
    protected, the rest is gallery. ``pairs`` is ``all`` (every two pictures) or ``lfw`` (LFW's ``pairs.txt``). ``most``
    caps the pictures by whole people, and ``without`` leaves out those taken under these conditions, such as
    ``[sunglasses, scarf]`` of AR. For attackers: ``attack_train`` is the split they learn on, or ``half`` for half
    of the people; ``attack_most`` caps it by whole people. An overview has attackers on the sets that say
    ``attack_train``, on others none. ``name`` stands in the tables.
    """

    layout: str
    name: str = ""
    root: str | None = None
    split: str | None = None
    probes: str = "all"
    pairs: str = "all"
    most: int | None = None
    without: Sequence[str] = ()
    attack_train: str | None = None
    attack_most: int | None = None

    def __post_init__(self) -> None:
        _one_of("layout", self.layout, READERS)
        _one_of("split", self.split, (None, *_SPLITS))
        _one_of("probes", self.probes, ("all", "pairs"))
        _one_of("pairs", self.pairs, ("all", "lfw"))
        _one_of("attack_train", self.attack_train, (None, *_SPLITS, "half"))
        for name in ("most", "attack_most"):
            value = getattr(self, name)
            if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
                raise UsageError(f"{name} is {value!r}; expected a whole number above 0")
        if isinstance(self.without, str) or not all(isinstance(word, str) for word in self.without):
            raise UsageError(f"without is {self.without!r}; expected a list of conditions, such as [sunglasses, scarf]")
        if self.probes == "pairs" and self.pairs == "all":
            raise UsageError("probes: pairs needs a list of pairs; add pairs: lfw, or leave probes out")
        if self.attack_train is not None and self.attack_train == self.split:
            raise UsageError(f"attack_train is {self.split}, which is the split that is judged; give another")
        if not self.name:
            object.__setattr__(self, "name", f"{self.layout}-{self.split}" if self.split else self.layout)


@dataclass(frozen=True)
class MethodConfig:
    """One way to protect: a row or column of the table, called ``label``.

    ``method``, ``hide``, ``prototype`` and ``strength`` are those of ``halfmask protect``; ``settings`` are the
    method's own, in which ``${data}`` and ``${peers}`` stand for what the command line gives. ``attack: false`` spares
    it the attackers of an overview, which take minutes.

    In an overview ``best_of`` stands instead of a method: labels of others, of which an oracle takes for each picture
    the one that fools the referee best (:mod:`halfmask.evaluation.benchmark.oracle`).
    """

    label: str
    method: str = ""
    prototype: str | None = None
    strength: str | float | None = None
    settings: Mapping[str, str] = field(default_factory=dict)
    hide: str | None = None
    attack: bool = True
    best_of: Sequence[str] = ()

    def __post_init__(self) -> None:
        if not self.label or self.label == BEFORE:
            raise UsageError(f"a method's label is {self.label!r}; expected a name, and {BEFORE!r} means the originals")
        if self.best_of:
            if own := [name for name in ("method", "hide", "strength", "settings") if getattr(self, name)]:
                raise UsageError(f"{self.label} is the best of others, so it has no {own[0]} of its own; leave it out")
            if isinstance(self.best_of, str) or len(self.best_of) < 2:
                raise UsageError(f"best_of of {self.label} is {self.best_of!r}; expected a list of two labels or more")
            return
        if not self.method:
            raise UsageError(f"method is missing in methods, at {self.label}; give it, or best_of")
        _one_of("method", self.method, METHODS)
        if not isinstance(self.settings, Mapping):
            kind = type(self.settings).__name__  # and not what it says, which may be secret
            raise UsageError(f"the settings of {self.label} are a {kind}; expected names and values")
        object.__setattr__(self, "settings", {str(k): str(v) for k, v in self.settings.items()})
        self.options(self.settings)

    def options(self, settings: Mapping[str, str]) -> Options:
        """How to protect, the way a user gets it: every face, the photo's own format and quality.

        ``settings`` are this method's, their folders filled in. Raises :class:`~halfmask.errors.UsageError` for a
        strength or setting that the method does not have, or an attribute that it cannot hide.
        """
        return Options(self.method, hide=self.hide, prototype=self.prototype, strength=self.strength, settings=settings)


@dataclass(frozen=True)
class Published:
    """Numbers of a paper: ``source`` says which table of it, ``measure`` which column of ours they stand beside.

    A row names its ``set``, who judged (``by``), and the figure of each variant, shares in [0, 1]: ``before``, a
    method's label, or a name of the paper's own that gets its own column.
    """

    source: str
    measure: str
    rows: Sequence[Mapping[str, Any]]
    note: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            for key, value in row.items():
                if key in ("set", "by"):
                    continue
                if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
                    raise UsageError(f"the published {key} is {value!r}; expected a share from 0 to 1, such as 0.197")
            if absent := {"set", "by"} - set(row):
                raise UsageError(f"a published row lacks {', '.join(sorted(absent))}: {dict(row)}")


@dataclass(frozen=True)
class Config:
    """One benchmark, one table. ``name`` is the file's; the results are called after it.

    ``source`` is the paper and table that it follows, ``kind`` one of KINDS. ``referees`` restricts who judges, by
    name. ``auxiliary`` adds our own classifier, which trained SAN and is no referee. ``gray`` makes every photo gray
    before it is judged, as in the SAN papers. ``fmrs`` are the FMRs of a matching table, ``budget`` what the attackers
    may spend and ``attacks`` those that run, all unless some are named. ``output: crop`` protects and judges aligned
    crops and nothing pasted back (:mod:`halfmask.evaluation.benchmark.crops`), as the SAN papers do.

    ``curves`` are the labels in the figures of curves, all methods unless some are named. ``faces`` are photos of
    FairFace, by their keys, that these methods protect to be shown side by side: its licence allows it.
    """

    name: str
    title: str
    source: str
    kind: str
    sets: Sequence[SetConfig]
    methods: Sequence[MethodConfig]
    published: Sequence[Published] = ()
    referees: Sequence[str] | None = None
    auxiliary: bool = False
    gray: bool = False
    output: str = "photo"
    fmrs: Sequence[float] = (0.01, 0.001)
    budget: Mapping[str, Any] = field(default_factory=dict)
    attacks: Sequence[str] | None = None
    curves: Sequence[str] = ()
    faces: Sequence[str] = ()
    notes: Sequence[str] = ()

    def __post_init__(self) -> None:
        _one_of("kind", self.kind, KINDS)
        _one_of("output", self.output, OUTPUTS)
        for label in self.curves:
            _one_of("curves", label, [m.label for m in self.methods if not m.best_of])
        for what, names in (("sets", [s.name for s in self.sets]), ("methods", [m.label for m in self.methods])):
            if not names:
                raise UsageError(f"{what} is empty; expected at least one")
            if twice := sorted({n for n in names if names.count(n) > 1}):
                raise UsageError(f"{what} has {', '.join(twice)} twice; names in a table are different")
        if self.kind == "attackers" and (lacking := [s.name for s in self.sets if s.attack_train is None]):
            raise UsageError(f"{', '.join(lacking)} needs attack_train: the split that the attackers learn on, or half")
        self._check_oracles()
        for name in self.attacks or ():
            from ..attackers import ATTACKS

            _one_of("attacks", name, ATTACKS)
        if self.budget:
            from ..attackers.budget import Budget

            try:
                Budget(**self.budget)
            except TypeError as error:  # it says which key it does not know
                raise UsageError(f"the attackers' budget is {dict(self.budget)}: {error}") from error
        if any(not isinstance(f, int | float) or isinstance(f, bool) or not 0 < f < 1 for f in self.fmrs):
            raise UsageError(f"fmrs is {self.fmrs!r}; expected shares between 0 and 1, such as [0.01, 0.001]")

    def _check_oracles(self) -> None:
        real = {m.label for m in self.methods if not m.best_of}
        for m in self.methods:
            if m.best_of and self.kind != "overview":
                raise UsageError(f"{m.label} is the best of others, which only an overview has; kind is {self.kind}")
            if unknown := [label for label in m.best_of if label not in real]:
                raise UsageError(f"{m.label} is the best of {unknown[0]!r}; expected labels of methods of this table")

    def in_curves(self, label: str) -> bool:
        """Whether a method stands in the figures of curves and faces."""
        return label in self.curves if self.curves else True


def shipped() -> dict[str, Path]:
    """The benchmarks that come with halfmask: name → YAML file.

    >>> "san-table2" in shipped()
    True
    """
    return {path.stem: path for path in sorted(SHIPPED.glob("*.yaml"))}


def find(given: Sequence[str]) -> list[Path]:
    """The YAML file of each benchmark asked for, by path or by the name of one that ships; all that ship for none.

    >>> find(["nothing"])
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: no benchmark is called nothing, and there is no such file; these ship: ...
    """
    ours = shipped()
    if not given:
        return list(ours.values())
    paths: list[Path] = []
    for name in given:
        path = ours.get(name, Path(name))
        if not path.is_file():
            raise UsageError(
                f"no benchmark is called {name}, and there is no such file; these ship: {', '.join(ours)}. Or give a "
                "YAML of your own"
            )
        paths.append(path)
    stems = [path.stem for path in paths]
    if twice := sorted({s for s in stems if stems.count(s) > 1}):
        raise UsageError(f"several benchmarks are called {', '.join(twice)}, and would write the same files")
    return paths


def read_config(path: Path) -> Config:
    """Read and check a benchmark's YAML.

    Raises :class:`~halfmask.errors.UsageError` for a file that cannot be read, an unknown key, method, set layout or
    kind, and a value of the wrong kind, naming the file; :class:`~halfmask.errors.ExtraMissingError` without PyYAML.
    """
    yaml = extra("yaml", "a benchmark's config")
    try:
        values = yaml.safe_load(path.read_text("utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"the benchmark {path} cannot be read: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"the benchmark {path} holds a {type(values).__name__}, expected keys and values")
    try:
        parts = {
            name: [_build(kind, entry, name) for entry in _list(name, values[name])]
            for name, kind in (("sets", SetConfig), ("methods", MethodConfig), ("published", Published))
            if name in values
        }
        lists = {name: _list(name, values[name]) for name in _LISTS if values.get(name)}
        return _build(Config, {"name": path.stem, **values, **parts, **lists}, "the benchmark")
    except UsageError as error:
        raise UsageError(f"the benchmark {path}: {error}") from error


def _list(name: str, value: object) -> list[Any]:
    if not isinstance(value, list):
        raise UsageError(f"{name} is {value!r}; expected a list")
    return value


Made = TypeVar("Made")


def _build(kind: type[Made], values: object, where: str) -> Made:
    if not isinstance(values, Mapping):
        raise UsageError(f"an entry of {where} is {values!r}; expected keys and values")
    known = {f.name: f for f in fields(kind)}  # type: ignore[arg-type]
    if unknown := sorted(str(key) for key in values if key not in known):
        s = "s" if len(unknown) > 1 else ""
        raise UsageError(f"unknown key{s} {', '.join(unknown)} in {where}; known: {', '.join(sorted(known))}")
    needed = {n for n, f in known.items() if f.default is MISSING and f.default_factory is MISSING}
    if absent := sorted(needed - set(values)):
        raise UsageError(f"{', '.join(absent)} is missing in {where}")
    for name, value in values.items():
        if known[name].type in ("str", "str | None") and not isinstance(value, str | None):
            raise UsageError(f"{name} in {where} is {value!r}; expected text")
        if known[name].type == "bool" and not isinstance(value, bool):
            raise UsageError(f"{name} in {where} is {value!r}; expected true or false")
    return kind(**values)


def _one_of(name: str, value: object, known: Any) -> None:
    if value not in known:
        words = ", ".join(str(k) for k in known if k is not None)
        raise UsageError(f"{name} is {value!r}; expected one of: {words}")


def fill(text: str, data: Path, peers: Path | None) -> str:
    """Put the folders of the command line where a config says ``${data}`` and ``${peers}``.

    Raises :class:`~halfmask.errors.UsageError` for ``${peers}`` when no such folder was given, and other names.

    >>> fill("${data}/fairface", Path("/sets"), None)
    '/sets/fairface'
    """
    places = {"data": str(data.resolve())} | ({} if peers is None else {"peers": str(peers.resolve())})
    try:
        return Template(text).substitute(places)
    except (KeyError, ValueError) as error:
        hint = "give --peers FOLDER" if error.args == ("peers",) else "known: ${data}, ${peers}"
        raise UsageError(f"{text} names a folder that was not given; {hint}") from error


def slug(text: str, *about: str) -> str:
    """A name for a folder: what it is, and a digest of what it was made from.

    >>> slug("san op!", "a", "b")
    'san-op-7e18f737311b'
    """
    digest = hashlib.sha256("\n".join(about).encode("utf-8", "surrogateescape")).hexdigest()[:12]
    return f"{re.sub(r'[^A-Za-z0-9._]+', '-', text).strip('-.')}-{digest}"
