"""Two folders side by side: which protected photo belongs to which original, and what is known of each.

Photos are paired by their path within their folder, whatever the suffix, since protecting may have changed it. Other
tools put something before or after the name, as in ``name_cloaked.png``, and write beside the originals: such an affix
is found when the protected photos share one, or given.

Nothing is dropped without a word: originals without a protected photo are *missing*, protected photos without an
original *extra*.
"""

from __future__ import annotations

import filecmp
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from PIL import Image

from ...datasets.readers import read, recognise
from ...datasets.table import Row, Table
from ...errors import DataError, UsageError, shown
from ...photos.listing import list_photos

_NAMED = 10


@dataclass(frozen=True)
class Sets:
    """Originals and their protected photos.

    ``table`` holds the originals to be measured, ``protected`` maps a row's key to its protected file, ``missing`` and
    ``extra`` are the names of what has no counterpart, ``same`` the keys whose two files are equal byte for byte, and
    ``notes`` sentences that a reader of the figures has to know.
    """

    table: Table
    protected: dict[str, Path]
    missing: list[str] = field(default_factory=list)
    extra: list[str] = field(default_factory=list)
    same: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def originals_of(path: Path | str, *, leave_out: Path | None = None) -> tuple[Table, list[str]]:
    """The originals as a table, and notes. A published layout brings its labels along; else nothing is known of them.

    ``path`` is a folder or one photo; what lies in the folder ``leave_out`` is none of them. Raises
    :class:`~halfmask.errors.UsageError` when there is no photo.
    """
    path = Path(path)
    if path.is_file():
        return Table(path.name, path.parent, [Row(path.name, path)]), []
    photos = photos_in(path, leave_out=leave_out)
    if not photos:
        raise UsageError(_no_photos("ORIGINALS", path))
    try:
        layout = recognise(path)
        table = read(layout, path)
    except DataError as error:  # a CSV about other things, or only HEIC photos
        notes = [] if not any(path.glob("*.[cC][sS][vV]")) else [f"No labels were read from {path.name}: {error}"]
        return Table(path.resolve().name, path, [Row(key, file) for key, file in photos.items()]), notes
    rows = [row for row in table if row.key in photos]
    known = {row.key for row in rows}
    # Photos that the layout does not name are photos all the same; only nothing is known of them.
    rows += [Row(key, file) for key, file in photos.items() if key not in known]
    name = path.resolve().name if layout == "folder" else layout
    return Table(name, path, rows, list(table.problems)), []


def photos_in(root: Path, *, leave_out: Path | None = None) -> dict[str, Path]:
    """Key (path within the folder, with "/") → path of every photo in a folder, in order of the keys.

    As ``halfmask protect`` walks (:func:`halfmask.photos.listing.list_photos`). Raises
    :class:`~halfmask.errors.UsageError` when a folder cannot be listed.
    """
    photos = list_photos(root, leave_out=leave_out)
    if unlisted := [f"{shown(root / name)} {reason}" for name, reason in photos.problems if "listed" in reason]:
        raise UsageError(f"{some(unlisted)}; check that it may be read")
    return dict(sorted(photos.photos.items()))


@dataclass(frozen=True)
class Affix:
    """What protected photos have before or after the names of their originals; one of the two is "".

    >>> Affix(after="_cloaked").strip("sub/a_cloaked.png"), Affix("safe-").strip("sub/a.png")
    ('sub/a.png', None)
    """

    before: str = ""
    after: str = ""

    def strip(self, key: str) -> str | None:
        """The original's path, with the protected one's suffix; None for a name without the affix."""
        path = PurePosixPath(key)
        if not (path.stem.startswith(self.before) and path.stem.endswith(self.after)):
            return None
        bare = path.stem.removeprefix(self.before).removesuffix(self.after)
        return path.with_name(bare + path.suffix).as_posix() if bare else None

    def __str__(self) -> str:
        return f"{shown(self.before)!r} before" if self.before else f"{shown(self.after)!r} after"


def pair_up(
    originals: Path | str | Table, protected: Path | str | Mapping[str, Path], *, affix: str | None = None
) -> Sets:
    """Find the protected photo of every original.

    ``originals`` is a folder, one photo, or a table of photos; ``protected`` is what became of it, a folder or one
    photo, or for a table the file of each key, of which those that are absent are missing. A file's name is compared
    whole first and then without its suffix. When no path is common, paths are compared below the folder that all photos
    of a side share (``img_align_celeba/1.jpg`` with ``1.png``), and a note says so.

    ``affix`` is what the protected photos have before or after their originals' names, such as ``_cloaked``. Without
    it one is looked for, when no name is common, or those that are belong to mere copies, or both are the same folder;
    a note says which was found.

    Raises :class:`~halfmask.errors.UsageError` when a side is absent or holds no photo, when two photos have an equal
    claim to a third, when several affixes might be meant, and when not one pair is found; the message says what both
    sides look like.
    """
    if isinstance(protected, Mapping):
        return _told(originals, protected)
    if affix == "":
        raise UsageError("the affix is empty; expected what protected photos have before or after their names")
    after = Path(protected)
    notes: list[str] = []
    if not isinstance(originals, Table):
        before = Path(originals)
        _refuse_odd_places(before, after)
        together = before.is_dir() and before.resolve() == after.resolve()
        table, notes = originals_of(before, leave_out=None if together else after)
        if before.is_file():
            return _checked(table, {before.name: after}, [], [], notes)
        left_out = before
    else:
        if not after.is_dir():
            raise UsageError(f"there is no folder {shown(after)} with the protected photos; check the path")
        table, left_out, together = originals, originals.root, originals.root.resolve() == after.resolve()
    files = photos_in(after, leave_out=None if together else left_out)
    if not files:
        raise UsageError(_no_photos("PROTECTED", after))
    matched = _find(table, files, affix, together, notes)
    if not matched:
        mine, theirs = (some([shown(k) for k in names], 3) for names in ([row.key for row in table], list(files)))
        if together:
            raise UsageError(
                f"ORIGINALS and PROTECTED are both {shown(after)}, which holds {theirs}: not one name is another with "
                f"{'something' if affix is None else shown(affix)} before or after it. Give the photos before and "
                "after protection, two folders, or --affix TEXT"
            )
        having = "of the same name" if affix is None else f"with {shown(affix)!r} before or after its name"
        raise UsageError(
            f"not one photo of ORIGINALS has a protected photo {having}: ORIGINALS holds {mine}; PROTECTED holds "
            f"{theirs}. Names are paths within the folder without their suffix; give the two folders that halfmask "
            "protect was given, and --affix TEXT where a tool added to the names"
        )
    taken = set(matched.values())
    if together:
        table = table.where(lambda row: row.key not in taken)
        extra = []  # the others are originals
    else:
        extra = [k for k in files if k not in taken]
    missing = [row.key for row in table if row.key not in matched]
    return _checked(table, {k: files[v] for k, v in matched.items()}, missing, extra, notes)


def _find(
    table: Table, files: Mapping[str, Path], affix: str | None, together: bool, notes: list[str]
) -> dict[str, str]:
    """Key of an original → key of its protected photo, by the first way that finds any; a note says which."""
    keys = [row.key for row in table]
    ways = [("", "")]
    if not together and (below := (_common_folder(keys), _common_folder(files))) != ("", ""):
        ways.append(below)
    copies: dict[str, str] = {}
    for with_affix in (True,) if affix is not None or together else (False, True):
        for mine, theirs in ways:
            befores, afters = {k: k[len(mine) :] for k in keys}, {k: k[len(theirs) :] for k in files}
            added = _affix(befores.values(), afters.values(), affix) if with_affix else None
            if with_affix and added is None:
                continue
            if added is not None:
                afters = {k: bare for k, name in afters.items() if (bare := added.strip(name)) is not None}
            if added is not None and together:
                befores = {k: name for k, name in befores.items() if k not in afters}
            matched = _match(befores, afters)
            if not matched:
                continue
            if added is None and not copies:
                paths = {row.key: row.path for row in table}
                if all(_equal(paths[k], files[v]) for k, v in matched.items()):
                    copies = matched  # the originals stand among the protected ones, maybe
                    continue
            if mine or theirs:
                sides = [
                    f"{shown(side)} of the {what}"
                    for side, what in ((mine, "originals"), (theirs, "protected photos"))
                    if side
                ]
                notes.append(f"Names were compared below {' and '.join(sides)}.")
            if added is not None:
                how = "given" if affix is not None else "found, since the names have it in common"
                notes.append(f"Protected photos are those with {added} their original's name ({how}).")
            return matched
    return copies


def _affix(mine: Iterable[str], theirs: Iterable[str], given: str | None) -> Affix | None:
    """The affix that leads from most protected photos to an original; None when there is none.

    Raises :class:`~halfmask.errors.UsageError` when others lead nearly as often.
    """
    befores, afters = ({PurePosixPath(name).with_suffix("").as_posix() for name in names} for names in (mine, theirs))
    counts = _counted(befores, afters, given)
    if not counts:
        return None
    best, most = counts.most_common(1)[0]
    explained = {name for name in afters if best.strip(f"{name}.x") is not None}
    # Of 1_c and 11_c only "_c" is meant, though 1 and "1_c" make 11_c: what the best explains is no other's.
    others = _counted(befores - explained, afters - explained, given)
    others.update({a: n for a, n in counts.items() if n == most and a != best and a not in others})
    rivals = [(a, n) for a, n in others.most_common(4) if 2 * n >= most and a != best]
    if rivals:
        listed = ", ".join(f"{a} the name ({n} photos)" for a, n in [(best, most), *rivals])
        hint = "one side has to be renamed" if given is not None else "say which is meant by --affix TEXT"
        raise UsageError(f"protected photos may be those with {listed}; {hint}")
    return best


def _counted(befores: set[str], afters: set[str], given: str | None) -> Counter[Affix]:
    """Affix → how many protected photos it leads from to an original. One that is found has a letter in it."""
    counts: Counter[Affix] = Counter()
    for name in afters:
        folder, slash, stem = name.rpartition("/")
        if given is not None:
            for affix in (Affix(given), Affix(after=given)):
                bare = affix.strip(f"{name}.x")
                counts[affix] += bare is not None and bare.removesuffix(".x") in befores
            continue
        for i in range(1, len(stem)):
            for bare, affix in ((stem[:i], Affix(after=stem[i:])), (stem[i:], Affix(stem[:i]))):
                if folder + slash + bare in befores and any(c.isalpha() for c in affix.before + affix.after):
                    counts[affix] += 1
    return +counts


def _told(originals: Path | str | Table, protected: Mapping[str, Path]) -> Sets:
    if not isinstance(originals, Table):
        raise UsageError("protected files by key belong to a table of originals; give a folder instead")
    if unknown := sorted(set(protected) - {row.key for row in originals}):
        raise UsageError(f"there are protected files of photos that {originals.name} lacks: {some(unknown)}")
    there = {key: file for key, file in protected.items() if file.is_file()}
    if not there:
        raise UsageError(f"not one photo of {originals.name} has a protected file; see why they were left out")
    return _checked(originals, there, [row.key for row in originals if row.key not in there], [], [])


def _refuse_odd_places(before: Path, after: Path) -> None:
    for what, path in (("ORIGINALS", before), ("PROTECTED", after)):
        if not path.exists():
            raise UsageError(f"there is no {shown(path)} ({what}); check the path")
        if not (path.is_dir() or path.is_file()):
            raise UsageError(f"{what} {shown(path)} is neither a file nor a folder; expected photos")
    if before.is_dir() != after.is_dir():
        kinds = ["a folder" if path.is_dir() else "a file" for path in (before, after)]
        raise UsageError(f"ORIGINALS is {kinds[0]} and PROTECTED is {kinds[1]}; expected two folders or two photos")
    if before.is_file() and before.resolve() == after.resolve():
        raise UsageError(
            f"ORIGINALS and PROTECTED are both {shown(before)}; give the photos before and after protection"
        )


def _checked(table: Table, protected: dict[str, Path], missing: list[str], extra: list[str], notes: list[str]) -> Sets:
    paths = {row.key: row.path for row in table}
    same = [key for key, file in protected.items() if _equal(paths[key], file)]
    if same:
        notes = [
            *notes,
            f"{len(same)} of the {len(protected)} protected photos are equal to their original byte for byte: they are "
            f"not protected at all. First: {shown(same[0])}.",
        ]
    if resized := [key for key, file in protected.items() if _resized(paths[key], file)]:
        notes = [
            *notes,
            f"{len(resized)} of the {len(protected)} protected photos differ in size from their original. A face is "
            "looked for where it was, so theirs may count as lost, and how they look is not comparable. First: "
            f"{shown(resized[0])}.",
        ]
    return Sets(table, protected, missing, extra, same, notes)


def _equal(one: Path, two: Path) -> bool:
    try:
        return one.stat().st_size == two.stat().st_size and filecmp.cmp(one, two, shallow=False)
    except OSError:
        return False  # whoever reads it will say what is wrong with it


def _resized(one: Path, two: Path) -> bool:
    try:
        with Image.open(one) as before, Image.open(two) as after:
            return sorted(before.size) != sorted(after.size)  # a turned photo is turned back when it is read
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError):
        return False  # as above


def _match(mine: Mapping[str, str], theirs: Mapping[str, str]) -> dict[str, str]:
    """Key of an original → key of its protected photo; both mappings give the name by which a key is compared."""
    whole = {name: key for key, name in theirs.items()}
    matched = {key: whole[name] for key, name in mine.items() if name in whole}
    taken = set(matched.values())
    befores, afters = _by_stem(mine, matched), _by_stem(theirs, taken)
    unclear = []
    for stem, keys in befores.items():
        others = afters.get(stem, [])
        if len(keys) == 1 and len(others) == 1:
            matched[keys[0]] = others[0]
        elif others:
            unclear.append(f"{' and '.join(map(shown, keys))} with {' and '.join(map(shown, others))}")
    if unclear:
        raise UsageError(
            f"it cannot be told which protected photo is of which original: {some(unclear)}. Expected one photo of a "
            "name in a folder; remove or rename what does not belong"
        )
    return {key: matched[key] for key in mine if key in matched}


def _by_stem(names: Mapping[str, str], without: Iterable[str]) -> dict[str, list[str]]:
    left_out = set(without)
    keys_of: dict[str, list[str]] = {}
    for key, name in names.items():
        if key not in left_out:
            keys_of.setdefault(str(PurePosixPath(name).with_suffix("")), []).append(key)
    return keys_of


def _common_folder(keys: Iterable[str]) -> str:
    """The folder that all keys share, with its last "/"; "" when they share none."""
    parents = {PurePosixPath(key).parent.as_posix() for key in keys}
    common = os.path.commonpath(parents) if parents else ""
    return f"{common}/" if common not in ("", ".") else ""


def _no_photos(what: str, path: Path) -> str:
    if not path.exists():
        return f"there is no {shown(path)} ({what}); check the path"
    return f"{what} {shown(path)} holds no photo (.jpg, .png, .webp, .heic, …); expected a folder of photos"


def some(items: Sequence[str], named: int = _NAMED) -> str:
    """The first few, and how many more there are.

    >>> some(["a", "b", "c"], 2)
    'a, b and 1 more'
    """
    rest = len(items) - named
    return ", ".join(items[:named]) + (f" and {rest} more" if rest > 0 else "")
