"""Follow faces from frame to frame: what is seen of each person in a clip, and where it is not.

A frame is searched in full a few times a second, at every cut and whenever something is new or lost, and in passing
otherwise; a face that passing does not tell is looked for where it was. One that is found late is followed backward
through the last frames. What a cut or a gap divides, SFace joins again.

No frame is kept beyond the few of :data:`KEPT`: of each face its box and five points stay, and of each track some
descriptors and its largest crops.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from ..methods.match import SAME_PERSON
from ..photos.align import CROP, crop_face
from ..photos.detect import SAME_FACE, SURE, Face, overlap

Pixels = NDArray[np.uint8]

#: Seconds from one full search to the next.
SEARCH = 0.25
#: Seconds that a face may be missing between two frames that show it, for its points to be interpolated.
GAP = 0.5
#: Pixels of the last frames, as RGB, in which a face that is found late is looked for.
KEPT = 24_000_000
#: Seconds of the Gaussian by which points are smoothed over time, in a face that is held still by its own texture, and
#: where that cannot be told.
STEADY, LOOSE = 0.8, 0.05
#: Crops that are kept of a track, the largest ones.
CROPS = 3

_CUT = 0.11  # mean difference of two small gray frames, in units of full scale, that is a cut
_SMALL = (32, 18)
_TEXTURE = 160  # length of a face's box in which its texture is followed
_CORNERS = 8  # the least that tell how it moved
_NEAR = 0.1  # overlap from which a face may be the one of the frame before
_SOMEBODY_ELSE = 0.2  # cosine of SFace a quarter of a second apart; the same face has 0.6 and more
_HIDDEN = 0.5  # share of a face that another one covers when it is hidden
_EDGE = 0.35  # of its size, by which a face may be away from the frame's edge to have left there


class Eyes(Protocol):
    """What finds faces and tells people apart; pictures are RGB uint8 (H, W, 3)."""

    def full(self, image: Pixels) -> list[Face]:
        """All faces of a frame."""

    def glance(self, image: Pixels) -> list[Face]:
        """Those that a quick look tells."""

    def again(self, image: Pixels, face: Face) -> Face | None:
        """The face of another frame, near where it was."""

    def embed(self, image: Pixels, face: Face) -> NDArray[np.float32]:
        """A descriptor of length 1."""


@dataclass(eq=False)
class Track:
    """One face from frame to frame.

    ``spots`` is frame → where it was found, in order once it is finished, and ``last`` the last of these frames.
    ``moves`` is frame → how the face moved there from the frame before (:func:`movement`), where that can be told.
    """

    spots: dict[int, Face]
    last: int
    moves: dict[int, NDArray[np.float64]] = field(default_factory=dict)
    descriptors: list[NDArray[np.float32]] = field(default_factory=list)
    crops: list[tuple[float, Pixels]] = field(default_factory=list)

    @property
    def descriptor(self) -> NDArray[np.float32]:
        """The mean of its descriptors, of length 1."""
        mean = np.mean(self.descriptors, axis=0)
        return np.asarray(mean / max(float(np.linalg.norm(mean)), 1e-6), np.float32)


class Follower:
    """Follows every face through frames that are given one by one; :meth:`finish` gives the tracks."""

    def __init__(self, eyes: Eyes) -> None:
        self._eyes = eyes
        self.times: list[float] = []
        self.cuts: list[int] = []
        self.tracks: list[Track] = []
        self._live: list[Track] = []
        self._kept: deque[tuple[int, Pixels]] = deque()
        self._small: NDArray[np.float32] | None = None
        self._searched = -SEARCH

    def add(self, time: float, image: Pixels) -> None:
        """The next frame, at ``time`` seconds, RGB uint8 (H, W, 3)."""
        i = len(self.times)
        self.times.append(time)
        small = _small(image)
        if self._small is not None and float(np.abs(small - self._small).mean()) > _CUT:
            self.cuts.append(i)
            self._live.clear()
            self._kept.clear()
        self._small = small
        self._live = [track for track in self._live if time - self.times[track.last] <= GAP]
        full = not i or i in self.cuts[-1:] or time - self._searched >= SEARCH - 1e-6
        faces = self._eyes.full(image) if full else self._eyes.glance(image)
        pairs, new = self._matched(i, image, faces)
        lost = [t for t in self._live if t.last == i - 1 and all(t is not track for track, _ in pairs)]
        if not full and (lost or new):
            full = True
            pairs, new = self._matched(i, image, self._eyes.full(image))
        if full:
            self._searched = time
        for track, face in pairs:
            if track.last == i - 1:
                _keep_move(track, i, self._kept[-1][1] if self._kept else None, image, face)
            track.spots[i], track.last = face, i
        for face in new:
            track = self._begun(i, face)
            self._follow_back(track, i, image)
            pairs.append((track, face))
        if full:
            for track, face in pairs:
                mine = self._eyes.embed(image, face)
                if track.descriptors and face.score >= SURE and _other(track, mine):  # a cut that was not noticed
                    del track.spots[i]
                    track.moves.pop(i, None)
                    self._live.remove(track)
                    track = self._begun(i, face)
                track.descriptors.append(mine)
                _keep_crop(track, image, face)
        self._kept.append((i, image))
        while len(self._kept) * image.shape[0] * image.shape[1] > KEPT or time - self.times[self._kept[0][0]] > GAP:
            self._kept.popleft()

    def finish(self) -> list[Track]:
        """Every track, in the order of their first frames, each with its spots in order."""
        for track in self.tracks:
            track.spots = dict(sorted(track.spots.items()))
        return sorted(self.tracks, key=lambda track: next(iter(track.spots)))

    def _matched(self, i: int, image: Pixels, faces: Sequence[Face]) -> tuple[list[tuple[Track, Face]], list[Face]]:
        """Which live track each face belongs to, and the faces of none."""
        expected = [self._expected(track, i) for track in self._live]
        near = [[overlap(face, there) for there in expected] for face in faces]
        cosines: dict[tuple[int, int], float] = {}
        for f, row in enumerate(near):  # who is who is asked only where places do not tell
            several = [t for t, value in enumerate(row) if value > _NEAR]
            if len(several) > 1 or any(sum(r[t] > _NEAR for r in near) > 1 for t in several):
                mine = self._eyes.embed(image, faces[f])
                for t in several:
                    cosines[f, t] = float(mine @ self._live[t].descriptor) if self._live[t].descriptors else 0.0
        order = sorted(
            ((value + cosines.get((f, t), 0.0), f, t) for f, row in enumerate(near) for t, value in enumerate(row)
             if value > _NEAR),
            reverse=True,
        )  # fmt: skip
        taken: dict[int, int] = {}
        for _, f, t in order:
            if f not in taken and t not in taken.values():
                taken[f] = t
        pairs = [(self._live[t], faces[f]) for f, t in taken.items()]
        for t, track in enumerate(self._live):
            if t in taken.values():
                continue
            face = self._eyes.again(image, expected[t])
            if face is not None and all(overlap(face, other) <= SAME_FACE for _, other in pairs):
                pairs.append((track, face))
        mine_too = [face for _, face in pairs]
        new = [
            face for f, face in enumerate(faces)
            if f not in taken and all(overlap(face, other) <= SAME_FACE for other in mine_too)
        ]  # fmt: skip
        return pairs, new

    def _expected(self, track: Track, i: int) -> Face:
        """Where a track's face is looked for: as it moved last, but by no more than its size."""
        last = track.last
        face = track.spots[last]
        before = track.spots.get(last - 1)
        if before is None or i == last:
            return face
        step = (self.times[i] - self.times[last]) / max(self.times[last] - self.times[last - 1], 1e-6)
        move = (face.points - before.points).mean(0) * np.float32(min(step, 3.0))
        move = np.clip(move, -np.float32(face.box[2]), np.float32(face.box[2]))
        return _moved(face, float(move[0]), float(move[1]))

    def _begun(self, i: int, face: Face) -> Track:
        track = Track({i: face}, i)
        self.tracks.append(track)
        self._live.append(track)
        return track

    def _follow_back(self, track: Track, i: int, last: Pixels) -> None:
        """Look for a new face in the frames before, as far as it is there; ``last`` is its own frame."""
        face = track.spots[i]
        for j, image in reversed(self._kept):
            earlier = self._eyes.again(image, face)
            others = [t.spots[j] for t in self.tracks if t is not track and j in t.spots]
            if earlier is None or any(overlap(earlier, other) > SAME_FACE for other in others):
                return
            track.spots[j] = earlier
            _keep_move(track, j + 1, image, last, face)
            face, last = earlier, image


@dataclass(frozen=True)
class Place:
    """Where a person's face is in a frame: its points (5, 2), smoothed; ``seen`` says that it was found there."""

    person: int
    points: NDArray[np.float32]
    seen: bool


@dataclass(frozen=True)
class Gap:
    """Where a person's face may be and is not protected, or may be changed in the wrong place: seconds and why."""

    person: int
    start: float
    end: float
    reason: str

    def __str__(self) -> str:
        return f"person {self.person + 1} from {timecode(self.start)} to {timecode(self.end)}: {self.reason}"


@dataclass(eq=False)
class Person:
    """Everybody that SFace takes for one. ``largest`` is the frame with the largest face."""

    spots: dict[int, Face]
    moves: dict[int, NDArray[np.float64]]
    crops: list[Pixels]

    @property
    def largest(self) -> int:
        """The frame with the largest face."""
        return max(self.spots, key=lambda i: self.spots[i].box[2] * self.spots[i].box[3])


def people(tracks: Sequence[Track]) -> list[Person]:
    """Join the tracks of one person, in the order of their first frames.

    Two tracks that share a frame are two people. The two groups whose mean descriptors are most alike are joined first,
    as long as they are alike as :data:`~halfmask.methods.match.SAME_PERSON` says.
    """
    groups = [[track] for track in tracks]
    frames = [set(track.spots) for track in tracks]
    apart = np.array([[a is b or bool(a & b) for b in frames] for a in frames], bool)
    means = np.array([track.descriptor for track in tracks], np.float32)
    while len(groups) > 1:
        alike = np.where(apart, -1.0, means @ means.T)
        a, b = sorted(divmod(int(alike.argmax()), len(groups)))
        if alike[a, b] < SAME_PERSON:
            break
        groups[a] += groups.pop(b)
        apart[a] |= apart[b]
        apart[:, a] |= apart[:, b]
        apart = np.delete(np.delete(apart, b, 0), b, 1)
        mean = np.mean([track.descriptor for track in groups[a]], axis=0)
        means[a] = mean / max(float(np.linalg.norm(mean)), 1e-6)
        means = np.delete(means, b, 0)
    found = []
    for group in groups:
        spots = dict(sorted((i, face) for track in group for i, face in track.spots.items()))
        best = sorted((crop for track in group for crop in track.crops), key=lambda crop: -crop[0])[:CROPS]
        moves = {i: move for track in group for i, move in track.moves.items()}
        found.append(Person(spots, moves, [pixels for _, pixels in best]))
    return sorted(found, key=lambda person: next(iter(person.spots)))


def places(
    persons: Sequence[Person], times: Sequence[float], cuts: Sequence[int], size: tuple[int, int]
) -> tuple[dict[int, list[Place]], list[Gap]]:
    """Frame → where each person's face is, gaps bridged and points smoothed, and the gaps that could not be bridged.

    ``size`` is the frames' (width, height). A face that left at the frame's edge and came back there, one that another
    hides, and one that a cut took away is no gap.
    """
    where: dict[int, list[Place]] = {}
    gaps: list[Gap] = []
    for number, person in enumerate(persons):
        others = [other.spots for other in persons if other is not person]
        shown = sorted(person.spots)
        runs = [[shown[0]]]
        filled: dict[int, Face] = {}
        for a, b in pairwise(shown):
            if b > a + 1 or between(cuts, a, b):
                inside, gap = _bridge(person.spots, a, b, times, cuts, others, size)
                if inside is None:
                    runs.append([])
                    if gap:
                        gaps.append(Gap(number, times[a + 1], times[b], gap))
                else:
                    filled |= inside
                    runs[-1] += sorted(inside)
            runs[-1].append(b)
        for run in runs:
            for i, points in _steadied(run, person, filled, times).items():
                where.setdefault(i, []).append(Place(number, points, i in person.spots))
        gaps += _doubts(number, person.spots, times)
    return where, sorted(gaps, key=lambda gap: (gap.start, gap.person))


def _steadied(
    run: Sequence[int], person: Person, filled: Mapping[int, Face], times: Sequence[float]
) -> dict[int, NDArray[np.float32]]:
    """A run's points without their jitter, by frame."""
    raw = np.stack([(person.spots.get(i) or filled[i]).points for i in run])
    points = dict(zip(run, smoothed(raw, [times[i] for i in run]), strict=True))
    chains: list[list[int]] = []
    for i in run:
        if i not in person.spots:
            continue
        if chains and chains[-1][-1] == i - 1 and i in person.moves:
            chains[-1].append(i)
        else:
            chains.append([i])
    for chain in chains:
        if len(chain) > 1:
            found = np.stack([person.spots[i].points for i in chain])
            moves = [person.moves[i] for i in chain[1:]]
            points |= dict(zip(chain, held(found, moves, [times[i] for i in chain]), strict=True))
    seen = [i for i in run if i in person.spots]
    for i in filled:
        if i in points:
            a, b = max(s for s in seen if s < i), min(s for s in seen if s > i)
            points[i] = points[a] + np.float32((times[i] - times[a]) / (times[b] - times[a])) * (points[b] - points[a])
    return points


def held(
    points: NDArray[np.float32], moves: Sequence[NDArray[np.float64]], times: Sequence[float], sigma: float = STEADY
) -> NDArray[np.float32]:
    """Points (N, 5, 2) averaged over time in a face that its own movements hold still.

    ``moves`` are N - 1 matrices (2, 3), each from one frame to the next. The detector's points jump by a pixel where a
    face moves by a fraction of one; its texture tells that fraction, and where in the face a point is, all frames
    around tell together.

    >>> still = np.ones((3, 5, 2), np.float32) * np.float32([0, 2, 4])[:, None, None]
    >>> one = np.array([[1.0, 0, 2], [0, 1, 2]])
    >>> bool(np.allclose(held(still, [one, one], [0, 0.1, 0.2]), still, atol=1e-5))
    True
    """
    to = [np.eye(3)]
    for move in moves:
        to.append(np.vstack([move, [0, 0, 1]]) @ to[-1])
    chain = np.stack(to)
    ones = np.ones((*points.shape[:2], 1))
    # in the first frame
    first = np.einsum("nij,nkj->nki", np.linalg.inv(chain), np.concatenate([points.astype(np.float64), ones], 2))
    at = np.asarray(times, np.float64)
    result = np.empty_like(points)
    for n, moment in enumerate(at):
        lo, hi = np.searchsorted(at, (moment - 3 * sigma, moment + 3 * sigma))
        weight = np.exp(-0.5 * ((at[lo:hi] - moment) / sigma) ** 2)
        mean = np.tensordot(weight / weight.sum(), first[lo:hi], 1)
        result[n] = (mean @ chain[n].T)[:, :2]
    return result


def movement(before: Pixels, after: Pixels, one: Face, two: Face) -> NDArray[np.float64] | None:
    """How a face moved from one frame to the next: the 2 x 3 similarity; None where its texture does not tell.

    Corners in the face are followed by optical flow (Lucas and Kanade, as OpenCV has it) from where the detector says
    that they are, and what most of them agree on counts.
    """
    reach = 0.35 * max(*one.box[2:], *two.box[2:])
    corner = np.floor(np.minimum(one.box[:2], two.box[:2]) - reach).astype(int)
    end = np.ceil(np.maximum(np.add(one.box[:2], one.box[2:]), np.add(two.box[:2], two.box[2:])) + reach).astype(int)
    x0, y0 = np.maximum(corner, 0).tolist()
    x1, y1 = np.minimum(end, before.shape[1::-1]).tolist()
    if min(x1 - x0, y1 - y0) < 16:
        return None
    scale = min(2.0, _TEXTURE / max(one.box[2:]))
    parts = [
        cv2.resize(cv2.cvtColor(image[y0:y1, x0:x1], cv2.COLOR_RGB2GRAY), None, fx=scale, fy=scale,
                   interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR)
        for image in (before, after)
    ]  # fmt: skip
    # pixel centres: part = (frame + 0.5 - corner) * s - 0.5
    size = np.array(parts[0].shape[1::-1]) / (x1 - x0, y1 - y0)
    shift = (0.5 - np.array([x0, y0])) * size - 0.5
    inside = np.zeros(parts[0].shape, np.uint8)
    middle = (np.array(one.box[:2]) + np.array(one.box[2:]) / 2) * size + shift
    axes = np.array(one.box[2:]) * size * 0.5
    cv2.ellipse(inside, [round(v) for v in middle], [round(v) for v in axes], 0, 0, 360, 255, -1)
    corners = cv2.goodFeaturesToTrack(parts[0], 100, 0.01, 4, mask=inside)
    if corners is None or len(corners) < _CORNERS:
        return None
    guess = corners + ((two.points - one.points).mean(0) * size).astype(np.float32)
    there, status, _ = cv2.calcOpticalFlowPyrLK(
        parts[0], parts[1], corners, guess, winSize=(15, 15), maxLevel=2,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 30, 0.003), flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )  # fmt: skip
    good = status.ravel() == 1
    if good.sum() < _CORNERS:
        return None
    a, b = ((points[good].reshape(-1, 2) - shift) / size for points in (corners, there))
    move, agree = cv2.estimateAffinePartial2D(
        a, b, method=cv2.RANSAC, ransacReprojThreshold=1.0 / scale, maxIters=200, refineIters=20
    )
    if move is None or agree.sum() < max(_CORNERS, 0.5 * len(a)):
        return None
    eyes = float(np.linalg.norm(one.points[0] - one.points[1]))
    missed = np.linalg.norm(one.points @ move[:, :2].T + move[:, 2] - two.points, axis=1).mean()
    return np.asarray(move, np.float64) if missed < 0.2 * eyes + 1 else None  # else it followed something else


def smoothed(points: NDArray[np.float32], times: Sequence[float], sigma: float = LOOSE) -> NDArray[np.float32]:
    """Points (N, 5, 2) smoothed over time: a straight line fitted around each moment, by Gaussian weights.

    So a steady movement stays what it is, at the ends as well.

    >>> line = np.arange(8, dtype=np.float32)[:, None, None] * np.ones((1, 5, 2), np.float32)
    >>> bool(np.allclose(smoothed(line, [0.04 * i for i in range(8)]), line, atol=1e-4))
    True
    """
    at = np.asarray(times, np.float64)
    flat = points.reshape(len(points), -1).astype(np.float64)
    result = np.empty_like(flat)
    for n, moment in enumerate(at):
        lo, hi = np.searchsorted(at, (moment - 3 * sigma, moment + 3 * sigma))
        apart = at[lo : hi + 1] - moment
        weight = np.exp(-0.5 * (apart / sigma) ** 2)
        weight /= weight.sum()
        mean, part = float(weight @ apart), flat[lo : hi + 1]
        centred = apart - mean
        spread = float(weight @ centred**2)
        level = weight @ part
        slope = (weight * centred) @ part / spread if spread > 1e-12 else np.zeros_like(level)
        result[n] = level - slope * mean
    return result.reshape(points.shape).astype(np.float32)


def timecode(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> timecode(3723.5)
    '1:02:03.50'
    """
    minutes, rest = divmod(max(0.0, seconds), 60)
    hours, minutes = divmod(int(minutes), 60)
    return f"{hours}:{minutes:02d}:{rest:05.2f}"


def _bridge(
    spots: Mapping[int, Face],
    a: int,
    b: int,
    times: Sequence[float],
    cuts: Sequence[int],
    others: Sequence[Mapping[int, Face]],
    size: tuple[int, int],
) -> tuple[dict[int, Face] | None, str | None]:
    """The faces between the frames a and b, less those that are hidden; or None, and why that is a gap if it is one."""
    first, last = spots[a], spots[b]
    if between(cuts, a, b) or (_at_edge(first, size) and _at_edge(last, size) and times[b] - times[a + 1] > GAP):
        return None, None
    inside = {i: _mixed(first, last, (times[i] - times[a]) / (times[b] - times[a])) for i in range(a + 1, b)}
    hidden = {i for i, face in inside.items() if any(i in other and _covers(other[i], face) for other in others)}
    missing = sum(times[i + 1] - times[i] for i in inside if i not in hidden)
    big, small = max(first.box[2], last.box[2]), min(first.box[2], last.box[2])
    far = float(np.linalg.norm(last.points.mean(0) - first.points.mean(0))) > 2 * big or big > 2 * small
    if missing <= GAP + 1e-6 and (not far or not missing):
        return {i: face for i, face in inside.items() if i not in hidden}, None
    return None, "not found, though seen before and after"


def _doubts(number: int, spots: Mapping[int, Face], times: Sequence[float]) -> list[Gap]:
    """The stretches of frames whose points cannot be relied on."""
    found: list[Gap] = []
    previous = -2
    for i, face in spots.items():
        if face.doubt is None:
            continue
        end = times[i + 1] if i + 1 < len(times) else times[i]
        if found and previous == i - 1 and found[-1].reason == face.doubt:
            found[-1] = replace(found[-1], end=end)
        else:
            found.append(Gap(number, times[i], end, face.doubt))
        previous = i
    return found


def between(cuts: Sequence[int], a: int, b: int) -> bool:
    """Whether there is a cut after frame a, up to frame b.

    >>> between([4], 3, 4), between([4], 4, 9)
    (True, False)
    """
    return bisect_right(cuts, a) < bisect_right(cuts, b)


def _mixed(a: Face, b: Face, share: float) -> Face:
    x, y, w, h = (p + share * (q - p) for p, q in zip(a.box, b.box, strict=True))
    return Face((x, y, w, h), a.points + np.float32(share) * (b.points - a.points), min(a.score, b.score))


def _moved(face: Face, dx: float, dy: float) -> Face:
    x, y, w, h = face.box
    return replace(face, box=(x + dx, y + dy, w, h), points=face.points + np.array([dx, dy], np.float32))


def _covers(one: Face, other: Face) -> bool:
    wide = min(one.box[0] + one.box[2], other.box[0] + other.box[2]) - max(one.box[0], other.box[0])
    high = min(one.box[1] + one.box[3], other.box[1] + other.box[3]) - max(one.box[1], other.box[1])
    return max(0.0, wide) * max(0.0, high) > _HIDDEN * other.box[2] * other.box[3]


def _at_edge(face: Face, size: tuple[int, int]) -> bool:
    x, y, w, h = face.box
    return min(x, size[0] - x - w) < _EDGE * w or min(y, size[1] - y - h) < _EDGE * h


def _small(image: Pixels) -> NDArray[np.float32]:
    """A frame as a small gray picture, in [0, 1], to tell cuts by."""
    small = cv2.resize(image, _SMALL, interpolation=cv2.INTER_AREA)
    return np.asarray(small.mean(2) / 255, np.float32)


def _keep_move(track: Track, i: int, before: Pixels | None, after: Pixels, face: Face) -> None:
    """Note how a track's face moved from frame i - 1 to the place where it is in frame i."""
    if before is not None and (move := movement(before, after, track.spots[i - 1], face)) is not None:
        track.moves[i] = move


def _other(track: Track, descriptor: NDArray[np.float32]) -> bool:
    """Whether a face is surely not the track's, as it was just now or on the whole."""
    return max(float(descriptor @ track.descriptors[-1]), float(descriptor @ track.descriptor)) < _SOMEBODY_ELSE


def _keep_crop(track: Track, image: Pixels, face: Face) -> None:
    area = face.box[2] * face.box[3] * face.score
    if face.score < SURE and track.crops:
        return
    if len(track.crops) < CROPS or area > track.crops[-1][0]:
        try:
            crop, _ = crop_face(image, face.points, CROP)
        except ValueError:
            return
        track.crops = sorted([*track.crops, (area, crop)], key=lambda kept: -kept[0])[:CROPS]
