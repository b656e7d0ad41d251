"""Ask referees about protected faces, as they are or after something was done to recover what was hidden."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ...errors import DataError, HalfmaskError
from ...photos.detect import Face
from ...storage import save_arrays
from ..measuring.protocol import BEFORE, Measured, read_rgb
from ..referees import Referees
from .budget import Budget
from .evidence import Evidence, file_key

Pixels = NDArray[np.uint8]
Rows = NDArray[np.int64]

#: Photos at once: enough for the referees' batches, little in memory.
_CHUNK = 32

#: Longest side of a face, in pixels, above which what surrounds it is made smaller before anything is done to it. The
#: gender referees look at chips of at most 112 pixels, matchers at 150, so they lose nothing; filters take seconds a
#: photo of 12 megapixels without.
_FACE = 160


@dataclass
class Case:
    """One set of evidence under attack: who is learned from and judged, and what was computed already.

    ``learn`` holds the rows of the attackers' people, ``judge`` those they are judged on; ``tune`` is the part of
    ``learn`` on which thresholds of referees are chosen, ``probed`` the part that a linear probe learns from.
    Everything computed is kept in ``folder``.
    """

    evidence: Evidence
    referees: Referees
    folder: Path
    budget: Budget
    quiet: bool = False
    measured: Mapping[str, Measured] | None = None
    outputs: Callable[[Sequence[Path]], Iterable[Sequence[Path]]] | None = None
    learn: Rows = field(init=False)
    judge: Rows = field(init=False)
    tune: Rows = field(init=False)
    probed: Rows = field(init=False)

    def __post_init__(self) -> None:
        train = self.evidence.train
        self.learn = self._drawn(np.flatnonzero(train), len(train))
        self.judge = self._drawn(np.flatnonzero(~train), self.budget.most_test)
        self.tune = self._drawn(self.learn, self.budget.most_tuned)
        self.probed = self._drawn(self.learn, self.budget.most_probed)

    def _drawn(self, rows: Rows, most: int) -> Rows:
        """At most so many of the rows, as many a gender as its share, in order."""
        if len(rows) <= most:
            return rows
        rng = np.random.default_rng(self.budget.seed)
        gender = self.evidence.gender[rows]
        women = int(np.clip(round(most * float((gender == 0).mean())), 1, most - 1))
        parts = [rng.permutation(rows[gender == g])[:n] for g, n in ((0, women), (1, most - women))]
        return np.sort(np.concatenate(parts))

    def gender(self, rows: Rows) -> NDArray[np.int64]:
        """The true gender of some rows."""
        return self.evidence.gender[rows]

    def cached(
        self, name: str, make: Callable[[], Mapping[str, NDArray[Any]]], *about: object
    ) -> dict[str, NDArray[Any]]:
        """The arrays that ``make`` gives, from the folder when they were made before from the same things."""
        path = self.folder / f"{name}-{file_key([self.evidence.digest, *about])}.npz"
        if not path.is_file():
            save_arrays(path, make())
        with np.load(path) as arrays:
            return dict(arrays)

    def asked(self, rows: Rows, before: bool = False) -> dict[str, NDArray[np.float32]]:
        """What each gender referee says of the photos as they are, p_male (len(rows),) by name."""
        known = self._known("p_male", list(self.referees.genders), rows, before)
        return known if known is not None else self.recovered(rows, {"nothing": _nothing}, before)["nothing"]

    def recovered(
        self, rows: Rows, steps: Mapping[str, Step], before: bool = False, tag: object = ""
    ) -> dict[str, dict[str, NDArray[np.float32]]]:
        """What each gender referee says after each step: step → referee → p_male (len(rows),)."""
        names = list(self.referees.genders)

        def ask() -> dict[str, NDArray[Any]]:
            scores: dict[str, list[NDArray[np.float32]]] = {f"{s}|{n}": [] for s in steps for n in names}
            with ThreadPoolExecutor(max(1, min(len(names), os.cpu_count() or 1))) as pool:
                done = ", ".join(step for step in steps if step != "nothing")
                desc = f"asking referees after {done}" if done else "asking referees"
                for chunk, near in self._patches(rows, before, desc):
                    for step, change in steps.items():
                        shown = list(pool.map(change, [p for p, _ in near], [f for _, f in near], chunk))
                        faces = [f for _, f in near]
                        # one thread a referee: none of them is asked twice at once
                        jobs = {n: pool.submit(r.p_male, shown, faces) for n, r in self.referees.genders.items()}
                        for n, job in jobs.items():
                            scores[f"{step}|{n}"].append(np.asarray(job.result(), np.float32))
            return {key: np.concatenate(parts) for key, parts in scores.items()}

        answers = self.cached("asked-" + "-".join(steps), ask, names, rows.tolist(), before, tag)
        return {s: {n: answers[f"{s}|{n}"] for n in names} for s in steps}

    def embedded(self, rows: Rows, name: str, before: bool = False) -> NDArray[np.float32]:
        """A matcher's descriptors of the photos, (len(rows), D)."""
        known = self._known("embed", [name], rows, before)
        if known is not None:
            return known[name]
        matcher = self.referees.matchers[name]

        def embed() -> dict[str, NDArray[Any]]:
            parts = [
                np.asarray(matcher.embed([p for p, _ in near], [f for _, f in near]), np.float32)
                for _, near in self._patches(rows, before, f"descriptors by {name}")
            ]
            return {"embed": np.concatenate(parts)}

        return self.cached(f"embed-{name}", embed, rows.tolist(), before)["embed"]

    def knows(self, matcher: str) -> bool:
        """Whether the measurement that was handed in holds this matcher's descriptors."""
        return self._known("embed", [matcher], self.judge, False) is not None

    def _known(
        self, kind: str, names: Sequence[str], rows: Rows, before: bool
    ) -> dict[str, NDArray[np.float32]] | None:
        """Answers out of the measurement that was handed in, None when it does not hold all of them."""
        if self.measured is None or not names:
            return None
        m = next((m for n, m in self.measured.items() if (n == BEFORE) == before), None)
        if m is None:
            return None
        place = {key: i for i, key in enumerate(m.keys)}
        at = [place.get(self.evidence.keys[i], -1) for i in rows]
        columns = {n: m.columns.get(f"{kind}/{n}") for n in names}
        if min(at) < 0 or any(c is None or not np.isfinite(c[at]).all() for c in columns.values()):
            return None
        return {n: c[at] for n, c in columns.items() if c is not None}

    def _patches(self, rows: Rows, before: bool, desc: str) -> Iterator[tuple[Rows, list[tuple[Pixels, Face]]]]:
        """The rows in chunks, each with the surroundings of its faces."""
        paths = self.evidence.original if before else self.evidence.protected
        faces = self.evidence.faces_before if before else self.evidence.faces_after
        with tqdm(total=len(rows), desc=desc, unit="photo", disable=self.quiet) as bar:
            for start in range(0, len(rows), _CHUNK):
                chunk = rows[start : start + _CHUNK]
                yield chunk, [around(reread(paths[i]), faces[i]) for i in chunk]
                bar.update(len(chunk))


#: Something done to the surroundings of a face, uint8 (H, W, 3); the number says which row of the evidence it is.
Step = Callable[[Pixels, Face, int], Pixels]


def reread(path: Path) -> Pixels:
    """A photo that was readable when the evidence was gathered."""
    try:
        return read_rgb(path)
    except HalfmaskError as error:
        raise DataError(f"{path.name} could be read when the evidence was gathered, but not now: {error}") from error


def around(photo: Pixels, face: Face) -> tuple[Pixels, Face]:
    """The surroundings of a face, one face's side beyond its box, and the face in them; large faces made smaller.

    No referee and no method looks further than three quarters of a face beyond the box.

    >>> face = Face((100.0, 100.0, 40.0, 50.0), np.full((5, 2), 120, np.float32), 1.0)
    >>> patch, inside = around(np.zeros((400, 300, 3), np.uint8), face)
    >>> patch.shape, inside.box[:2], float(inside.points[0, 0])
    ((150, 140, 3), (50.0, 50.0), 70.0)
    """
    x, y, w, h = face.box
    side = max(w, h, 1.0)
    x0, y0 = max(0, int(x - side)), max(0, int(y - side))
    x1, y1 = min(photo.shape[1], int(np.ceil(x + w + side))), min(photo.shape[0], int(np.ceil(y + h + side)))
    patch = np.ascontiguousarray(photo[y0:y1, x0:x1])
    sx = sy = 1.0
    if side > _FACE:
        size = (max(1, round(patch.shape[1] * _FACE / side)), max(1, round(patch.shape[0] * _FACE / side)))
        sx, sy = size[0] / patch.shape[1], size[1] / patch.shape[0]
        patch = np.asarray(cv2.resize(patch, size, interpolation=cv2.INTER_AREA), np.uint8)
    points = ((face.points - [x0, y0]) * [sx, sy]).astype(np.float32)
    return patch, Face(((x - x0) * sx, (y - y0) * sy, w * sx, h * sy), points, face.score)


def _nothing(patch: Pixels, face: Face, row: int) -> Pixels:
    return patch


def jpeg(patch: Pixels, face: Face, row: int) -> Pixels:
    """Encoded as JPEG of quality 50 and decoded."""
    data = cv2.imencode(".jpg", patch[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 50])[1]
    return np.asarray(cv2.cvtColor(np.asarray(cv2.imdecode(data, cv2.IMREAD_COLOR)), cv2.COLOR_BGR2RGB), np.uint8)


def blur(patch: Pixels, face: Face, row: int) -> Pixels:
    """Gaussian of 1.5 % of the face's height: noise goes, features stay."""
    return np.asarray(cv2.GaussianBlur(patch, (0, 0), max(0.5, 0.015 * face.box[3])), np.uint8)


def denoise(patch: Pixels, face: Face, row: int) -> Pixels:
    """Non-local means, 5 x 5 windows in 11 x 11 (Buades et al. 2005, as OpenCV has it)."""
    return np.asarray(cv2.fastNlMeansDenoisingColored(np.ascontiguousarray(patch), None, 5, 5, 5, 11), np.uint8)


def resize(patch: Pixels, face: Face, row: int) -> Pixels:
    """Down to half its size and up again."""
    height, width = patch.shape[:2]
    small = cv2.resize(patch, (max(1, width // 2), max(1, height // 2)), interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (width, height), interpolation=cv2.INTER_CUBIC), np.uint8)


#: What is tried on a protected photo before the unchanged referee looks.
RECOVERIES: dict[str, Step] = {"JPEG": jpeg, "blur": blur, "denoise": denoise, "resize": resize}
