"""Attackers that recognise who is shown, where that is what protection hides.

A matcher that is fooled says little: whoever knows the method washes the change out first, or teaches a recogniser what
protection does.

* *Washed*: the protected photo goes through JPEG, blur, denoising or resizing before the unchanged matcher sees it.
* *Learned head*: a linear map of a matcher's descriptors, learned from protected photos and originals of other people.
  Originals and protected photos are each centred by their own mean, then the directions in which photos of one person
  differ, among them those in which protection moves a face, are whitened away (within-class covariance normalisation,
  Hatch, Kajarekar, Stolcke 2006; the covariance is Ledoit and Wolf's). Scores are cosines.

Half of the people, drawn by lot, are the attackers'; all are judged on the others, at thresholds that the originals of
these fix with the same recogniser.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...datasets.pairs import Pair
from ...errors import MetricError, extra
from ...photos.detect import Face
from ...storage import save_arrays
from ..measuring import summary
from ..measuring.parts import digest_of
from ..measuring.protocol import BEFORE, Measured
from ..referees import Matcher
from .asking import RECOVERIES, Pixels, around, reread

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
Persons = Sequence[Any] | NDArray[Any]

#: What the rows call a recogniser that nobody helped, and the one that learned.
UNPREPARED, LEARNED = "none", "learned head"

#: People the attackers need at least: a covariance of fewer says nothing.
LEAST = 10

_CHUNK = 32


@dataclass(eq=False)
class Head:
    """A recogniser that learned what protection does to a matcher's descriptors; scores are cosines.

    ``means`` (2, D) are those of originals and of protected photos, ``matrix`` (D, D) whitens.
    """

    name: str
    means: Wide
    matrix: Wide

    @classmethod
    def learn(
        cls, name: str, originals: Floats, protected: Floats, persons: Persons, protected_persons: Persons
    ) -> Head:
        """Learn from descriptors of originals (N, D) and of protected photos (M, D) of the same people.

        ``persons`` (N,) and ``protected_persons`` (M,) name who is shown. Raises
        :class:`~halfmask.errors.MetricError` for fewer than LEAST people who are shown in protected photos.

        >>> rng = np.random.default_rng(0)
        >>> person = rng.normal(size=(40, 16)).astype(np.float32)
        >>> person[:, 0] *= 5
        >>> moved = person.copy()
        >>> moved[:, 0] = 5 * rng.normal(size=40)  # what protection does
        >>> head = Head.learn("h", person, moved, range(40), range(40))
        >>> plain, learned = person @ moved.T, head.mapped(person, False) @ head.mapped(moved, True).T
        >>> [int((scores.argmax(0) == np.arange(40)).sum()) for scores in (plain, learned)]
        [10, 40]
        """
        people = len(np.unique(np.asarray(protected_persons)))
        if people < LEAST:
            raise MetricError(f"a recogniser learns from {LEAST} people or more, got {people}")
        both = np.concatenate([np.asarray(persons), np.asarray(protected_persons)])
        who = np.unique(both, return_inverse=True)[1]
        sides = [_unit(originals), _unit(protected)]
        means = np.stack([side.mean(0) for side in sides])
        centred = np.concatenate([side - mean for side, mean in zip(sides, means, strict=True)])
        own = np.zeros((int(who.max()) + 1, centred.shape[1]))
        np.add.at(own, who, centred)
        own /= np.bincount(who)[:, None]
        ledoit_wolf = extra("sklearn.covariance", "a recogniser that learns").ledoit_wolf
        within, _ = ledoit_wolf(centred - own[who], assume_centered=True)
        values, vectors = np.linalg.eigh(within)
        return cls(name, means, vectors / np.sqrt(np.maximum(values, 1e-12)))

    def mapped(self, descriptors: Floats, protected: bool) -> Floats:
        """Descriptors (N, D) as this recogniser has them, of length 1; NaN stays NaN."""
        turned = (_unit(descriptors) - self.means[int(protected)]) @ self.matrix
        return _unit(turned).astype(np.float32)

    def score(self, a: Floats, b: Floats) -> Floats:
        """Cosines of mapped descriptors, row by row, (N,)."""
        return np.asarray(np.einsum("nd,nd->n", a, b), np.float32)

    def score_matrix(self, a: Floats, b: Floats) -> Floats:
        """Cosines of mapped descriptors, every row with every row, (N, M)."""
        return np.asarray(a @ b.T, np.float32)

    def embed(self, images: Sequence[Pixels], faces: Sequence[Face]) -> Floats:
        """A head sees descriptors, no photos. Raises NotImplementedError."""
        raise NotImplementedError("a learned head maps the descriptors of another matcher; ask that one")


def recognise(
    measured: Mapping[str, Measured],
    files: Mapping[str, Path],
    matchers: Mapping[str, Matcher],
    pairs: Sequence[Pair] | None = None,
    *,
    folder: Path,
    fmrs: Sequence[float] = (0.01, 0.001),
    resamples: int = 500,
    quiet: bool = False,
) -> list[dict[str, Any]]:
    """What the attackers recognise: the rows of :func:`.summary.match_rows` on the people they are judged on.

    ``measured`` holds the originals and one variant, ``files`` its protected photos by key, ``pairs`` is as there.
    Beside those columns a row has ``attack`` (``none``, ``washed: JPEG`` and so on, ``learned head``) and ``n_train``,
    the protected photos that the recogniser learned from. Variant ``before`` are the originals by the same recogniser.

    Descriptors of washed photos are kept in ``folder``. Raises :class:`~halfmask.errors.MetricError` when there are
    too few people to learn from or to judge, :class:`~halfmask.errors.DataError` when a photo cannot be read again.
    """
    before, name, after = _sides(measured)
    mine = _attackers_people(before, after)
    judged = {key for key, own in zip(before.keys, mine, strict=True) if not own}
    left = None if pairs is None else [p for p in pairs if p.a in judged and p.b in judged]
    there = before.enrolled & after.attempted & ~mine
    if len(np.unique(before.persons[there])) < LEAST:
        people = len(np.unique(before.persons[there]))
        raise MetricError(f"{people} people are left to be judged on, expected {LEAST} or more; give more people")
    base, plain = (_only(m, ~mine) for m in (before, after))
    variants = {BEFORE: base, name: plain}
    variants |= {f"washed: {step}": m for step, m in washed(plain, files, matchers, folder, quiet=quiet).items()}
    rows = []
    for row in summary.match_rows(variants, matchers, left, tuple(fmrs), resamples=resamples):
        is_washed = row["variant"] not in (BEFORE, name)
        about = {"attack": row["variant"] if is_washed else UNPREPARED, "n_train": 0}
        rows.append({**row, **about} | {"variant": name if is_washed else row["variant"]})
    old, new = mine & before.enrolled, mine & after.enrolled
    for matcher in matchers:
        column = f"embed/{matcher}"
        known = before.columns[column][old], after.columns[column][new]
        head = Head.learn(matcher, *known, before.persons[old], before.persons[new])
        turned = {
            side: replace(m, columns={column: head.mapped(m.columns[column], side != BEFORE)})
            for side, m in ((BEFORE, base), (name, plain))
        }
        for row in summary.match_rows(turned, {matcher: head}, left, tuple(fmrs), resamples=resamples):
            rows.append({**row, "attack": LEARNED, "n_train": int(new.sum())})
    first = ("attack", "variant", "matcher", "n_train")
    return [{key: row[key] for key in (*first, *(k for k in row if k not in first))} for row in rows]


def washed(
    m: Measured, files: Mapping[str, Path], matchers: Mapping[str, Matcher], folder: Path, *, quiet: bool = False
) -> dict[str, Measured]:
    """Every recovery → the variant with the matchers' descriptors of its photos after it; faces stay where they are."""
    rows = np.flatnonzero(m.enrolled & m.attempted)
    paths = [(m.keys[i], files[m.keys[i]]) for i in rows]
    kept = folder / f"washed-{digest_of(' '.join([*RECOVERIES, *sorted(matchers)]), paths)}.npz"
    if not kept.is_file():
        parts: dict[str, list[Floats]] = {f"{step}|{name}": [] for step in RECOVERIES for name in matchers}
        for chunk, near in _patches(m, rows, files, quiet):
            patches, faces = [p for p, _ in near], [f for _, f in near]
            for step, change in RECOVERIES.items():
                shown = [change(p, f, int(i)) for p, f, i in zip(patches, faces, chunk, strict=True)]
                for name, matcher in matchers.items():
                    parts[f"{step}|{name}"].append(np.asarray(matcher.embed(shown, faces), np.float32))
        save_arrays(kept, {key: np.concatenate(values) for key, values in parts.items()} if len(rows) else {})
    found = {}
    with np.load(kept) as arrays:
        for step in RECOVERIES:
            columns = dict(m.columns)
            for name in matchers:
                whole = np.full_like(m.columns[f"embed/{name}"], np.nan)
                if len(rows):
                    whole[rows] = arrays[f"{step}|{name}"]
                columns[f"embed/{name}"] = whole
            found[step] = replace(m, variant=step, columns=columns)
    return found


def _patches(
    m: Measured, rows: NDArray[np.int64], files: Mapping[str, Path], quiet: bool
) -> Iterator[tuple[NDArray[np.int64], list[tuple[Pixels, Face]]]]:
    """The rows in chunks, each with the surroundings of its faces."""
    with tqdm(total=len(rows), desc="washing", unit="photo", disable=quiet) as bar:
        for start in range(0, len(rows), _CHUNK):
            chunk = rows[start : start + _CHUNK]
            near = []
            for i in chunk:
                face = m.face(int(i))
                assert face is not None  # only enrolled photos are asked for
                near.append(around(reread(files[m.keys[i]]), face))
            yield chunk, near
            bar.update(len(chunk))


def _sides(measured: Mapping[str, Measured]) -> tuple[Measured, str, Measured]:
    others = [name for name in measured if name != BEFORE]
    if BEFORE not in measured or len(others) != 1:
        raise MetricError(f"expected measurements of {BEFORE!r} and one variant, got {', '.join(measured)}")
    return measured[BEFORE], others[0], measured[others[0]]


def _attackers_people(before: Measured, after: Measured) -> NDArray[np.bool_]:
    """The pictures of half of the people who have a protected photo, (N,): those are the attackers'."""
    people = sorted(set(before.persons[before.enrolled & after.attempted].tolist()), key=_lot)
    chosen = set(people[: len(people) // 2])
    return np.array([who in chosen for who in before.persons.tolist()], bool)


def _lot(person: str) -> bytes:
    """A lot that is not the one by which people come into a gallery."""
    return hashlib.sha256(f"attackers {person}".encode("utf-8", "surrogateescape")).digest()


def _only(m: Measured, chosen: NDArray[np.bool_]) -> Measured:
    """The same as if the other pictures were not there."""
    return replace(m, attempted=m.attempted & chosen, enrolled=m.enrolled & chosen)


def _unit(x: NDArray[np.floating[Any]]) -> Wide:
    wide = x.astype(np.float64)
    return np.asarray(wide / np.maximum(np.linalg.norm(wide, axis=1, keepdims=True), 1e-12), np.float64)
