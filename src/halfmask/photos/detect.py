"""Find faces, upright or not, small or large: box and five points, by YuNet.

YuNet knows upright faces of about 10 to 300 pixels. A head that lies sideways or stands on its hair is found or not as
luck has it, and its points are always those of an upright face, so they are wrong. What a search does about it:

1. The photo is searched at several scales, each a third of the one before, in overlapping tiles, so that memory is
   that of a tile. At the finest, a face of :data:`SMALLEST` pixels is :data:`SEEN` pixels high. A large photo is
   searched at 0.7 of that first, and at the finest only around what left the faintest trace.
2. It is searched once more, small, on each of its other three sides.
3. Everything that is not surely an upright face gets a glimpse: it is cut out and seen at one size, small, on all
   sides. What a glimpse does not rule out gets a second look: larger, turned by quarters of a circle, and by eighths
   when no quarter is surely right. YuNet's score is highest the right way up: on 119 faces of three data sets in all
   quarter turns and five sizes it was so for all but 0.3 %, which scored low.
4. Where no turn beats the others clearly, the face says so: see ``doubt``.
5. When nothing was found, or a head that is turned, the photo may be turned: that side is searched in full.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..weights import store
from .align import invert, warp
from .scales import Pixels, Tile, around, copies_of, copy_for, resized, shrunk, size_at, tile_ends
from .yunet import COLUMNS, Rows, YuNet, suppressed

Box = tuple[float, float, float, float]

#: The smallest faces that are searched for, in photo pixels of the longer side of their box, unless told otherwise.
SMALLEST = 32
#: The height in pixels of the smallest face that YuNet notices reliably.
SEEN = 22
#: A photo is searched at this length of its longer side at least, or its own, so that a small photo's faces are found
#: below ``SMALLEST``, too.
FINE = 1280
#: What is said to be a face, by YuNet's score.
THRESHOLD = 0.7
#: Two boxes that overlap by more than this (intersection over union) are one face, as in the detector itself.
SAME_FACE = 0.3
#: Bump when other faces are found, or other points: crops and measurements made before no longer fit. (2 has no release
#: yet. That photos of more than 960 pixels are searched smaller first came later; no data set has such.)
DETECTOR_VERSION = 2

#: Upright faces score more, of 300 all but 12 %; of 900 turned ones none did.
SURE = 0.92

_NOTICED = 0.2  # a score that is worth a look
_FAINT = 0.1  # one that is worth it, if the face is upright
_NOTICED_TURNED = 0.5  # the same where the photo is searched in passing: heads that are right in it score so
_GLIMPSED = 0.15  # what a glimpse has to score for a second look
_NEARLY, _BY_FAR = 0.87, 0.1  # or so much, if at a glimpse upright is by far the best turn
_PROVEN = 0.8  # the least that a second look must say of what the first did not call a face
_STRAIGHT = 0.92  # less, and a head may lean half-way between two quarter turns
_CLEAR = 0.02  # by which the best turn beats those a quarter circle or more away; 99 % of the right ones do
_LARGE = 960  # length at the finest scale from which a photo is searched smaller first
_FIRST = 0.7  # of the finest scale
_TRACE = 0.006  # a score there that is worth a search. Of 320 faces of 32 to 60 pixels pasted into blurred photos of 12
# megapixels 224 are found so, and 219 by searching all of the finest; at half of that scale, from 0.01 on, 162.
_STEP = 3  # from one scale to the next
_COARSEST = 320  # at this length a face that fills the photo is still of a size that YuNet knows
_TURNED, _TURNED_ALONE = 512, 768  # length at which the other sides are searched, and when nothing was found upright
_GLIMPSE, _LOOK = 64, 128  # sides of what a glimpse and a second look see; the box takes half
_HEAD = _LOOK // 2
_AT_ONCE = 32  # glimpses
_GLANCE = 640  # length at which a frame of a video is searched in passing
_TURN_UNKNOWN = "which way up it is cannot be told"


@dataclass(frozen=True)
class Face:
    """A face found in a photo.

    ``box`` is (x, y, width, height) and ``points`` (5, 2), both in photo pixels: right eye, left eye, nose tip, right
    and left mouth corner (right is the subject's right, so it stands left in an upright face). ``score`` is in [0, 1].
    ``doubt`` says why the points cannot be relied on, None when they can. ``origin`` is "detector"; of a box that
    was given, "box" when the detector found the points in it, and "box alone" when they are only where an upright
    face has them.
    """

    box: Box
    points: NDArray[np.float32]
    score: float
    doubt: str | None = None
    origin: str = "detector"


class Detector:
    """Finds the faces of photos. Safe to share between threads.

    Faces are found whose box is ``smallest`` photo pixels or more at its longer side (smaller ones when they are
    noticed), and whose score is ``threshold`` or more; what that comes to for a photo says
    :func:`smallest_searched`. ``threads`` is what one search may use. Raises
    :class:`~halfmask.errors.WeightsError` when the model cannot be had, :class:`~halfmask.errors.UsageError` for a
    number that makes no sense.
    """

    def __init__(
        self, threshold: float = THRESHOLD, *, smallest: int = SMALLEST, threads: int = 1, path: Path | None = None
    ) -> None:
        check_threshold(threshold)
        check_size(smallest)
        self.threshold = threshold
        self.smallest = smallest
        self._net = YuNet(path or store.get("yunet"), threads)

    def __call__(self, image: Pixels, boxes: Sequence[Box] = ()) -> list[Face]:
        """Faces of an RGB photo, uint8 (H, W, 3), largest first; among them one for each of the ``boxes`` given."""
        height, width = image.shape[:2]
        copies = copies_of(image)
        faces = [self._boxed(copies, box) for box in boxes]
        if min(height, width) >= 8:  # nothing smaller holds a face
            faces = self._looked_at(copies, self._search(copies, 0), faces)
            found = len(faces) > len(boxes)
            side = min(_TURNED, max(width, height) // 2) if found else _TURNED_ALONE
            faces = self._looked_at(copies, self._sides(shrunk(copies[-1], side), image.shape), faces)
            # np.rot90 turns against the clock, so a head that is turned clockwise by as many quarters stands upright
            turns = {round(turn_of(face.points) / 90) % 4 for face in faces[len(boxes) :]}
            for quarter in sorted(turns - {0}):
                faces = self._looked_at(copies, self._search(copies, quarter), faces)
        return sorted(faces, key=lambda f: f.box[2] * f.box[3], reverse=True)

    def glance(self, image: Pixels) -> list[Face]:
        """Upright faces of a frame of a video that a single look at a small copy tells, best first; it costs little.

        What scores less than :data:`SURE` may be no face, or one that is turned: :meth:`__call__` tells.
        """
        if min(image.shape[:2]) < 8:
            return []
        small = shrunk(image, _GLANCE)
        (rows,) = self._net(small[None], self.threshold)
        rows = _placed(rows, np.array([image.shape[1] / small.shape[1], image.shape[0] / small.shape[0]]), np.zeros(2))
        return [Face(_box(row), row[4:14].reshape(5, 2), float(row[14])) for row in rows]

    def again(self, image: Pixels, face: Face) -> Face | None:
        """A face of another frame where it was, or up to half its size beside, turned as it was; None when it is gone.

        It is known to have been there, so that less of a score will do than for a new one.
        """
        eighth = round(turn_of(face.points) / 45) % 8
        look = self._turns(_Cut([image], face.box, _LOOK), (eighth,))[eighth]
        return look if look.score >= min(self.threshold, _NOTICED_TURNED) else None

    def _search(self, copies: Sequence[Pixels], quarter: int) -> Rows:
        """All that is noticed at every scale when the photo is turned."""
        image = copies[0]
        longer = max(image.shape[:2])
        scale = _finest(image.shape[1], image.shape[0], self.smallest)
        least = _FAINT if quarter == 0 else _NOTICED
        found = []
        if scale * longer > _LARGE:
            first = self._tiles(copies, _FIRST * scale, quarter, _TRACE)
            places = around(first, size_at(image, scale), scale)
            found += [self._tiles(copies, scale, quarter, least, places), first[first[:, 14] >= least]]
            scale = _next(_FIRST * scale, longer)
        while True:
            found.append(self._tiles(copies, scale, quarter, least))
            if scale * longer <= _COARSEST:
                return suppressed(np.concatenate(found))
            scale = _next(scale, longer)

    def _sides(self, small: Pixels, shape: tuple[int, ...]) -> Rows:
        """What is noticed at once in a small copy of a photo of ``shape`` that stands on each of its other sides."""
        height, width = small.shape[:2]
        sideways = self._net(np.stack([np.rot90(small, 1), np.rot90(small, 3)]), _NOTICED_TURNED)
        (head_down,) = self._net(np.rot90(small, 2)[None], _NOTICED_TURNED)
        found = [
            _turned_back(rows, quarter, width, height)
            for quarter, rows in ((1, sideways[0]), (2, head_down), (3, sideways[1]))
        ]
        factor = np.array([shape[1] / width, shape[0] / height])
        return _placed(np.concatenate(found), factor, np.zeros(2))

    def _tiles(
        self,
        copies: Sequence[Pixels],
        scale: float,
        quarter: int,
        least: float,
        places: Sequence[Tile] | None = None,
    ) -> Rows:
        """What scores ``least`` in a photo that is resampled to ``scale`` tile by tile and turned against the clock.

        The tiles are ``places``, each (left, top, right, bottom) at that scale, by default all of it. The rows are in
        pixels of the photo.
        """
        found = [np.zeros((0, COLUMNS + 1), np.float32)]
        shape, size = copies[0].shape, size_at(copies[0], scale)
        image = copy_for(copies, scale)
        whole = np.array([shape[1] / image.shape[1], shape[0] / image.shape[0]])
        if places is None:
            places = [(left, top, right, end) for top, end in tile_ends(size[1]) for left, right in tile_ends(size[0])]
        for left, top, right, bottom in places:
            wide, high = right - left, bottom - top
            # whole pixels of the picture, so that a tile can be resampled by itself
            x0, x1 = left * image.shape[1] // size[0], -(-right * image.shape[1] // size[0])
            y0, y1 = top * image.shape[0] // size[1], -(-bottom * image.shape[0] // size[1])
            part = resized(image[y0:y1, x0:x1], (wide, high))
            (rows,) = self._net(np.rot90(part, quarter)[None], least)
            rows = _turned_back(rows, quarter, wide, high)
            # what a tile's edge cuts stands whole in its neighbour, or at the next scale
            cut = ((left > 0) & (rows[:, 0] < 0)) | ((right < size[0]) & (rows[:, 0] + rows[:, 2] > wide))
            cut |= ((top > 0) & (rows[:, 1] < 0)) | ((bottom < size[1]) & (rows[:, 1] + rows[:, 3] > high))
            factor = np.array([(x1 - x0) / wide, (y1 - y0) / high])
            found.append(_placed(rows[~cut], factor * whole, np.array([x0, y0]) * whole))
        return np.concatenate(found)

    def _looked_at(self, copies: Sequence[Pixels], noticed: Rows, known: Sequence[Face]) -> list[Face]:
        """The known faces, and those among what was noticed that prove to be others."""
        faces = list(known)
        unsure = []
        for row in noticed[np.argsort(-noticed[:, 14], kind="stable")]:
            face = Face(_box(row), row[4:14].reshape(5, 2), float(row[14]))
            if any(_same(face, other) for other in faces):
                continue
            if _is_upright(face) and face.score >= max(SURE, self.threshold):
                faces.append(self._seen_larger(copies, face, row[15]))
            else:
                unsure.append((face, float(row[15])))
        glimpses = self._glimpses(copies, [face for face, _ in unsure])
        for (face, seen), glimpse in zip(unsure, glimpses, strict=True):
            best = max(glimpse.values(), key=lambda look: look.score)
            if best.score < _GLIMPSED and face.score < self.threshold:
                continue
            if any(_same(face, other) for other in faces):
                continue
            others = [look.score for eighth, look in glimpse.items() if eighth != 0]
            plainly = _is_upright(face) and face.score >= max(_NEARLY, self.threshold)
            if plainly and glimpse[0].score > max(others) + _BY_FAR:
                faces.append(self._seen_larger(copies, face, seen))
                continue
            second = self._second_look(copies, face, seen, best)
            if second is not None and not any(_same(second, other) for other in faces):
                faces.append(second)
        return faces

    def _glimpses(self, copies: Sequence[Pixels], faces: Sequence[Face]) -> list[dict[int, Face]]:
        """Each as it is seen small, by eighths of a circle, as far as :func:`_looks_for` says; score 0 for nothing."""
        places: list[tuple[int, int]] = []
        cuts = []
        for number, face in enumerate(faces):
            cuts.append(_Cut(copies, face.box, _GLIMPSE))
            places += [(number, eighth) for eighth in _looks_for(face.score)]
        seen: list[dict[int, Face]] = [{} for _ in faces]
        for start in range(0, len(places), _AT_ONCE):
            part = places[start : start + _AT_ONCE]
            found = self._net(np.stack([cuts[number].turned(eighth) for number, eighth in part]), _FAINT)
            for (number, eighth), rows in zip(part, found, strict=True):
                seen[number][eighth] = cuts[number].face(rows, eighth)
        return seen

    def _seen_larger(self, copies: Sequence[Pixels], face: Face, scale: float) -> Face:
        """An upright face with points as exact as a second look gives them, if it was seen smaller than there."""
        if max(face.box[2:]) * scale >= _HEAD:
            return face
        look = self._turns(_Cut(copies, face.box, _LOOK), (0,))[0]
        return look if look.score >= max(_PROVEN, self.threshold) else face

    def _second_look(self, copies: Sequence[Pixels], face: Face, scale: float, glimpse: Face) -> Face | None:
        """The face as it is the right way up; None when it is none.

        ``scale`` is the one at which it was noticed; the best ``glimpse`` may say better where it is.
        """
        cut = _Cut(copies, glimpse.box if glimpse.score > face.score else face.box, _LOOK)
        looks = self._turns(cut, range(0, 8, 2))
        best = max(looks, key=lambda eighth: looks[eighth].score)
        if looks[best].score < _STRAIGHT:  # it may lean half-way between two quarters
            between = range(1, 8, 2) if looks[best].score < _PROVEN else ((best + 1) % 8, (best - 1) % 8)
            looks |= self._turns(cut, between)
        best = max(looks, key=lambda eighth: looks[eighth].score)
        look = looks[best]
        likely = max(face.score, glimpse.score) >= self.threshold
        if look.score < max(self.threshold, 0.0 if likely else _PROVEN):
            return replace(face, doubt=_TURN_UNKNOWN) if face.score >= self.threshold else None
        others = [other.score for eighth, other in looks.items() if (eighth - best) % 8 in (2, 3, 4, 5, 6)]
        if look.score - max(others) < _CLEAR:
            return replace(look, doubt=_TURN_UNKNOWN)
        # the points of the look that was the larger of the two
        larger = max(face.box[2:]) * scale >= _HEAD
        return face if best == 0 and _is_upright(face) and face.score >= self.threshold and larger else look

    def _turns(self, cut: _Cut, eighths: Sequence[int]) -> dict[int, Face]:
        """By eighths of a circle, the best that stands in the middle of a cut, in photo pixels; score 0 for nothing."""
        found = self._net(np.stack([cut.turned(eighth) for eighth in eighths]), _NOTICED)
        return {eighth: cut.face(rows, eighth) for eighth, rows in zip(eighths, found, strict=True)}

    def _boxed(self, copies: Sequence[Pixels], box: Box) -> Face:
        """The face in a box that was given, whatever its score."""
        looks = self._turns(_Cut(copies, box, _LOOK), range(8))
        best = max(looks.values(), key=lambda look: look.score)
        if best.score:
            return Face(box, best.points, best.score, origin="box")
        return Face(box, _usual_points(box), 0.0, origin="box alone")


class _Cut:
    """A box of a photo with its surroundings, to be looked at from all sides."""

    def __init__(self, copies: Sequence[Pixels], box: Box, side: int) -> None:
        self._box, self._side = box, side
        self._scale = side / 2 / max(box[2], box[3])
        self._room = math.ceil(side * math.sqrt(2)) + 2  # a turned square fits in
        self._middle = np.array([box[0] + box[2] / 2, box[1] + box[3] / 2])
        copy = copy_for(copies, self._scale)
        share = np.array([copy.shape[1] / copies[0].shape[1], copy.shape[0] / copies[0].shape[0]])
        scale = self._scale / float(share[0])
        shift = self._room / 2 - self._middle * share * scale
        matrix = np.hstack([np.eye(2) * scale, shift[:, None]]).astype(np.float32)
        self._pixels = warp(copy, matrix, (self._room, self._room), cv2.BORDER_CONSTANT)

    def turned(self, eighth: int) -> Pixels:
        """The picture turned against the clock, uint8 (side, side, 3), the box's longer side half of it."""
        return np.asarray(cv2.warpAffine(self._pixels, self._turn(eighth), (self._side, self._side)), np.uint8)

    def face(self, rows: Rows, eighth: int) -> Face:
        """The best of the rows that stands in the middle, in photo pixels; the box with a score of 0 for none."""
        row = _in_the_middle(rows, self._side)
        if row is None:
            return Face(self._box, _usual_points(self._box), 0.0)
        turn = self._turn(eighth)
        back = invert(turn).astype(np.float64)
        there: NDArray[np.float64] = (
            np.vstack([row[:2] + row[2:4] / 2, row[4:14].reshape(5, 2)]) @ back[:, :2].T + back[:, 2]
        )
        there = (there - self._room / 2) / self._scale + self._middle
        cos, sin = abs(turn[0, 0]), abs(turn[0, 1])
        size = np.array([cos * row[2] + sin * row[3], sin * row[2] + cos * row[3]])
        # a turned box would cover more than its face
        size = size * math.sqrt(row[2] * row[3] / size.prod()) / self._scale
        (x, y), (w, h) = (there[0] - size / 2).tolist(), size.tolist()
        return Face((x, y, w, h), there[1:].astype(np.float32), float(row[14]))

    def _turn(self, eighth: int) -> NDArray[np.float32]:
        turn = cv2.getRotationMatrix2D((self._room / 2, self._room / 2), 45.0 * eighth, 1.0).astype(np.float32)
        turn[:, 2] -= np.float32((self._room - self._side) / 2)
        return turn


def _in_the_middle(rows: Rows, side: int) -> NDArray[np.float32] | None:
    """The best of the rows that stands in the middle of a square and takes about half of it."""
    centres = rows[:, :2] + rows[:, 2:4] / 2
    near = (np.abs(centres - side / 2) < side / 4).all(1) & (np.abs(rows[:, 3] - side / 2) < side / 4)
    return rows[near][0] if near.any() else None  # best first


def _looks_for(score: float) -> tuple[int, ...]:
    """How what was noticed with that score is turned for its glimpses, by eighths of a circle."""
    return (0, 2, 4, 6) if score < _NEARLY else (0, 2, 4, 6, 1, 7)


def _is_upright(face: Face) -> bool:
    return abs(turn_of(face.points)) < 45


def smallest_searched(width: int, height: int, smallest: int = SMALLEST) -> float:
    """The longer side, in photo pixels, of the smallest face for which a photo of that size is searched.

    >>> smallest_searched(250, 250), smallest_searched(9000, 900)
    (22.0, 32.0)
    """
    return SEEN / _finest(width, height, smallest)


def _finest(width: int, height: int, smallest: int) -> float:
    """The scale of the finest search."""
    return min(1.0, max(SEEN / smallest, FINE / max(width, height)))


def check_threshold(threshold: object) -> None:
    """Raise :class:`~halfmask.errors.UsageError` unless it is a number from 0.2 to 1.

    >>> check_threshold(0.1)
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: the detector's threshold is 0.1; expected a number from 0.2 to 1, such as 0.7
    """
    number = isinstance(threshold, int | float) and not isinstance(threshold, bool)
    if not (number and _NOTICED <= float(str(threshold)) <= 1):
        raise UsageError(
            f"the detector's threshold is {threshold!r}; expected a number from {_NOTICED} to 1, such as {THRESHOLD}"
        )


def check_size(smallest: object) -> None:
    """Raise :class:`~halfmask.errors.UsageError` unless it is a whole number of pixels that a face can have.

    >>> check_size(0)
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: the smallest face is 0 pixels; expected a whole number from 10 on, such as 32
    """
    if isinstance(smallest, bool) or not isinstance(smallest, int) or smallest < 10:
        raise UsageError(
            f"the smallest face is {smallest!r} pixels; expected a whole number from 10 on, such as {SMALLEST}"
        )


def overlap(a: Face, b: Face) -> float:
    """Intersection over union of two boxes, in [0, 1].

    >>> here = Face((0, 0, 2, 2), np.zeros((5, 2), np.float32), 0.9)
    >>> overlap(here, here), round(overlap(here, Face((1, 0, 2, 2), here.points, 0.9)), 3)
    (1.0, 0.333)
    """
    both = _shared(a, b)
    union = a.box[2] * a.box[3] + b.box[2] * b.box[3] - both
    return both / union if union > 0 else 0.0


def _shared(a: Face, b: Face) -> float:
    wide = min(a.box[0] + a.box[2], b.box[0] + b.box[2]) - max(a.box[0], b.box[0])
    high = min(a.box[1] + a.box[3], b.box[1] + b.box[3]) - max(a.box[1], b.box[1])
    return max(0.0, wide) * max(0.0, high)


def _same(a: Face, b: Face) -> bool:
    """Whether two finds are one face: their boxes overlap, or one of like size lies mostly in the other."""
    one, two = a.box[2] * a.box[3], b.box[2] * b.box[3]
    return overlap(a, b) > SAME_FACE or (_shared(a, b) > 0.6 * min(one, two) and max(one, two) < 6 * min(one, two))


def turn_of(points: NDArray[np.float32]) -> float:
    """By how much a head is turned clockwise, in degrees from -180 to 180, from its eyes to its mouth."""
    x, y = (points[3:].mean(0) - points[:2].mean(0)).tolist()
    return math.degrees(math.atan2(-x, y))


def _usual_points(box: Box) -> NDArray[np.float32]:
    """Where an upright face has its points in YuNet's box: the means over 194 faces, made symmetrical."""
    shares = np.array([[0.27, 0.35], [0.73, 0.35], [0.50, 0.56], [0.31, 0.72], [0.69, 0.72]], np.float32)
    return shares * np.array(box[2:], np.float32) + np.array(box[:2], np.float32)


def _box(row: Rows) -> Box:
    x, y, w, h = row[:4].tolist()
    return x, y, w, h


def _next(scale: float, longer: int) -> float:
    """The scale of the next search of a photo that is that long."""
    return max(scale / _STEP, min(scale, _COARSEST / longer))


def _placed(rows: Rows, factor: NDArray[np.float64], corner: NDArray[np.float64]) -> Rows:
    """Rows scaled and shifted, and in one more column the scale that they come from."""
    moved = np.column_stack([rows, np.full(len(rows), 1 / factor[0], np.float32)])
    moved[:, :2] = rows[:, :2] * factor + corner
    moved[:, 2:4] = rows[:, 2:4] * factor
    moved[:, 4:14] = rows[:, 4:14] * np.tile(factor, 5) + np.tile(corner, 5)
    return moved


def _turned_back(rows: Rows, quarter: int, width: int, height: int) -> Rows:
    """Rows of a picture that was turned by ``np.rot90``, in the picture of that size before."""
    turned = rows.copy()
    xy = np.concatenate([rows[:, :2], rows[:, :2] + rows[:, 2:4], rows[:, 4:14]], axis=1).reshape(-1, 7, 2)
    x, y = xy[..., 0], xy[..., 1]
    x, y = {0: (x, y), 1: (width - y, x), 2: (width - x, height - y), 3: (y, height - x)}[quarter]
    turned[:, 0:2] = np.stack([x[:, :2].min(1), y[:, :2].min(1)], 1)
    turned[:, 2:4] = np.stack([x[:, :2].max(1), y[:, :2].max(1)], 1) - turned[:, 0:2]
    turned[:, 4:14] = np.stack([x[:, 2:], y[:, 2:]], 2).reshape(-1, 10)
    return turned
