"""Face mixing (Othman & Ross, ECCV workshops 2014): a face is morphed toward one of the other gender.

It is the baseline that the SAN paper compares with (its reference [21]). Gender is suppressed by degrees: the landmarks
of both faces span a Delaunay triangulation, both are warped to a shape between theirs, and their texture is averaged.
The rest is settled here so that the mixed face fits into its photo; :class:`Mixing` says how.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import cv2
import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError, extra
from ..photos.align import CROP
from ..photos.paste import OVAL
from ..photos.paste import mask as paste_mask
from . import choice, landmarks
from .contract import Crops, Method, Subject, genders
from .landmarks import Landmarks, Points
from .partners import from_folder, means
from .runtime import Faces

Image = NDArray[np.float32]

#: The suppression levels: the partner's share in the mixed face.
STRENGTHS: Mapping[str, float] = {"low": 0.25, "mid": 0.5, "high": 0.75}

#: Points that stay where they are: on the oval beyond which a change does not reach the photo, and far outside.
_TURN = np.linspace(0, 2 * np.pi, 16, endpoint=False)
_FRAME = np.vstack(
    [
        CROP * (0.5 + np.stack([OVAL[0] * np.cos(_TURN), OVAL[1] * np.sin(_TURN)], 1)) - 0.5,
        [[x, y] for x in (-CROP, 2 * CROP) for y in (-CROP, 2 * CROP)],
    ]
)

_X, _Y = np.meshgrid(np.arange(CROP, dtype=np.float32), np.arange(CROP, dtype=np.float32))

#: Between these distances from the edge of the face inward, in pixels of the crop, the mixed part fades in. Landmarks
#: of a turned face lie too far out on its far side, so nearer the edge background would be mixed.
FADE = (6.0, 28.0)

#: Partners that are drawn for a face, of which the one most alike in pose and shape is taken.
CANDIDATES = 20

#: How far the partner's contrast and colour may be pulled toward the face's, as a factor.
_GAIN = (0.6, 1.6)


def warps(shape: Points, *sources: Points) -> list[NDArray[np.float32]]:
    """For each source, where a pixel of the morphed crop is taken from: float32 (224, 224, 2), x then y.

    Piecewise affine on the Delaunay triangles of ``shape`` (K, 2); sources are (K, 2) too, all in crop pixels. Beyond
    the oval in which a photo is changed, everything stays where it is.

    >>> points = landmarks.template()
    >>> float(np.abs(warps(points, points + [3, 0])[0][111, 111] - [114, 111]).max().round(3))
    0.0
    """
    spatial = extra("scipy.spatial", "face mixing")
    framed = [np.vstack([points, _FRAME]).astype(np.float64) for points in (shape, *sources)]
    corners = spatial.Delaunay(framed[0]).simplices  # (T, 3)
    ends = framed[0][corners]
    sides = ends[:, 1:] - ends[:, :1]
    area = np.abs(sides[:, 0, 0] * sides[:, 1, 1] - sides[:, 0, 1] * sides[:, 1, 0])
    # A filled triangle covers its edges too; the largest comes last, since a sliver's map is wild beyond the sliver.
    # (SciPy's LinearNDInterpolator does the same, but where there are slivers it takes up to 40 times as long.)
    corners, ends = corners[area.argsort()], ends[area.argsort()]
    drawn = np.zeros((CROP, CROP), np.float32)
    for i, triangle in enumerate(np.round(ends * 16).astype(np.int32)):
        cv2.fillConvexPoly(drawn, triangle, float(i), cv2.LINE_8, 4)  # in 1/16 pixels
    which = drawn.astype(np.intp)
    # x' = a x + b y + c for each triangle, source and coordinate: (T, 3, 2 S)
    maps = np.linalg.pinv(np.dstack([ends, np.ones(corners.shape)])) @ np.hstack(framed[1:])[corners]
    a, b, c = maps.astype(np.float32).transpose(1, 2, 0)
    landmarks = [a[k][which] * _X + b[k][which] * _Y + c[k][which] for k in range(len(a))]
    return [np.dstack(landmarks[k : k + 2]) for k in range(0, len(landmarks), 2)]


def face_mask(points: Points) -> Image:
    """The part of a crop that is mixed, float32 (224, 224) in [0, 1]: jaw to lower forehead, feathered inward.

    ``points`` are the 68 landmarks. The forehead has none, so the brows are moved up by 0.4 of their distance from the
    tip of the nose: more would bring the partner's hair into the face.
    """
    filled = _filled(np.vstack([points[:17], _hairline(points)]))
    # Beyond the crop a chin goes on, so there the mask does not end.
    inside = cv2.distanceTransform(np.pad(filled, ((1, 1), (1, 1))), cv2.DIST_L2, 5)[1:-1, 1:-1]
    depth = np.clip((inside - FADE[0]) / (FADE[1] - FADE[0]), 0.0, 1.0)
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * depth), np.float32)


def covered(crop: NDArray[np.uint8], points: Points) -> float:
    """How far the forehead above the brows is from bare skin: 0 when it looks like the cheeks, more with hair or a cap.

    The root mean square difference of the forehead's pixels from the mean colour of cheeks and nose, over that colour's
    brightness; infinite where the crop, uint8 (224, 224, 3), shows no forehead. ``points`` are the 68 landmarks.
    """
    forehead = crop[_filled(np.vstack([points[17:27], _hairline(points)])) > 0].astype(np.float32)
    cheeks = crop[_filled(points[[2, 14, 29, 31, 35]]) > 0].astype(np.float32)
    if not len(forehead) or not len(cheeks):
        return np.inf
    skin = cheeks.mean(0)
    return float(np.sqrt(np.mean((forehead - skin) ** 2)) / max(float(skin.mean()), 1.0))


def _hairline(points: Points) -> Points:
    brows = points[17:27]
    line: Points = brows + 0.4 * (brows.mean(0) - points[30])
    return line


def _filled(points: Points) -> NDArray[np.uint8]:
    """1 within the convex hull of points, in crop pixels, else 0."""
    filled = np.zeros((CROP, CROP), np.uint8)
    hull = cv2.convexHull(points.astype(np.float32))
    cv2.fillConvexPoly(filled, np.round(hull * 16).astype(np.int32), 1, cv2.LINE_8, 4)  # in 1/16 pixels
    return filled


def toned(partner: Image, face: Image, weight: Image) -> Image:
    """The partner with the face's mean colour and contrast within ``weight`` (224, 224); images are (224, 224, 3)."""
    total = weight.sum() + 1e-6
    w = weight[..., None] / total

    def moments(image: Image) -> tuple[Image, Image]:
        mean = (w * image).sum((0, 1))
        return mean, np.sqrt((w * (image - mean) ** 2).sum((0, 1)))

    (to, to_spread), (of, of_spread) = moments(face), moments(partner)
    gain = np.clip(to_spread / np.maximum(of_spread, 1e-3), *_GAIN)
    return np.asarray((partner - of) * gain + to, np.float32)


def mix(face: Image, face_points: Points, partner: Image, partner_points: Points, alpha: float) -> Image:
    """One face morphed toward another by ``alpha`` in [0, 1]; float32 (224, 224, 3) in [0, 1] like both images.

    ``face_points`` and ``partner_points`` are their 68 landmarks, (68, 2), in crop pixels.
    """
    # How far the change of a place reaches the photo is how far the place may move, else the edge would show twice.
    places = np.clip(np.round(face_points), 0, CROP - 1).astype(int)
    reach = paste_mask(CROP)[places[:, 1], places[:, 0], None]
    shape = face_points + np.float32(alpha) * reach * (partner_points - face_points)
    own, other = (
        np.asarray(
            cv2.remap(image, at[..., 0], at[..., 1], cv2.INTER_CUBIC, borderMode=cv2.BORDER_REFLECT_101), np.float32
        )
        for image, at in zip((face, partner), warps(shape, face_points, partner_points), strict=True)
    )
    weight = face_mask(shape)
    mixed = own + np.float32(alpha) * weight[..., None] * (toned(other, own, weight) - own)
    return np.asarray(np.clip(mixed, 0.0, 1.0), np.float32)


def _floats(crops: NDArray[np.uint8]) -> Faces:
    return np.ascontiguousarray(crops.transpose(0, 3, 1, 2), np.float32) / np.float32(255)


class Mixing(Method):
    """Face mixing as a method: crops (N, 3, 224, 224) → what to add to them.

    ``strength`` is the partner's share alpha in shape and texture: low (0.25), mid (0.5), high (0.75) or a number in
    [0, 1]. The partner is the mean face of the other gender (the prototype that ships with SAN, from FairFace) unless
    ``partners`` names photos, ``FOLDER``, ``LAYOUT:FOLDER`` or ``LAYOUT:FOLDER:SPLIT`` (see
    :func:`~halfmask.methods.partners.from_folder`); then each face gets one of the other gender, by its
    pixels and ``seed`` (:meth:`partner`), so the same photo always gets the same partner.

    Settled here, since the full paper was not to be had: the mixed face stays in the frame of the input face; mixed is
    jaw to lower forehead, never hair or background; the partner first takes on the face's mean colour and contrast, so
    that neither light nor skin makes a seam. A photo's detail beyond 224 pixels a face is not moved by a change.

    Raises :class:`~halfmask.errors.UsageError` for a setting that makes no sense,
    :class:`~halfmask.errors.WeightsError` when the landmarks' network cannot be had, and
    :class:`~halfmask.errors.DataError` for partners that cannot be read.
    """

    hides = frozenset({"gender"})
    needs_label = True
    strengths = STRENGTHS
    settings: ClassVar[Mapping[str, str]] = {
        "strength": "low, mid, high or 0..1, the partner's share in shape and texture  [default: mid]",
        "partners": "photos of partners, [LAYOUT:]FOLDER[:SPLIT]  [default: the mean face of the other gender]",
        "seed": "draws each face's partner among those, a whole number  [default: 0]",
    }
    models = landmarks.MODELS

    def __init__(
        self,
        threads: int = 0,
        strength: str | float = "mid",
        partners: Path | str | None = None,
        seed: int | str = 0,
    ) -> None:
        self.name = "mixing"
        self.alpha = choice.strength(strength, STRENGTHS)
        try:
            self.seed = int(seed)
        except ValueError as error:
            raise UsageError(f"seed is {seed!r}; expected a whole number") from error
        extra("scipy.spatial", "face mixing")
        self._find = Landmarks(threads)
        #: partners by gender: their crops, uint8 (N, 224, 224, 3), and landmarks (N, 68, 2)
        self._pools = [self._ready(p) for p in (means() if partners is None else from_folder(str(partners), self.seed))]

    def _ready(self, crops: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], Points]:
        """Landmarks of partners, and of several only the half whose foreheads are freest of hair."""
        landmarks = np.concatenate([self._find(_floats(crops[i : i + 16])) for i in range(0, len(crops), 16)])
        order = np.argsort([covered(*both) for both in zip(crops, landmarks, strict=True)], kind="stable")
        chosen = np.sort(order[: (len(crops) + 1) // 2])
        return crops[chosen], landmarks[chosen]

    def partner(self, crop: Image, points: Points, gender: int) -> tuple[Image, Points]:
        """The partner of a crop (3, 224, 224) with these landmarks: image (224, 224, 3) in [0, 1], landmarks (68, 2).

        Of :data:`CANDIDATES` of the other gender, drawn by the crop's pixels and the seed, the one whose landmarks are
        nearest, so that a face is not mixed with one that looks another way.
        """
        pixels = np.round(crop * 255).astype(np.uint8).tobytes()
        digest = hashlib.sha256(f"{self.seed} ".encode() + pixels).digest()
        faces, known = self._pools[1 - gender]
        drawn = np.random.default_rng(list(digest)).permutation(len(known))[:CANDIDATES]
        which = drawn[np.linalg.norm(known[drawn] - points, axis=2).mean(1).argmin()]
        image = faces[which].astype(np.float32) / np.float32(255)
        return image, known[which]

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        out = np.zeros_like(crops, np.float32)
        gender = genders(subjects).tolist()
        for i, (crop, points) in enumerate(zip(crops, self._find(crops), strict=True)):
            face = np.ascontiguousarray(crop.transpose(1, 2, 0))
            mixed = mix(face, points, *self.partner(crop, points, gender[i]), self.alpha)
            out[i] = (mixed - face).transpose(2, 0, 1)
        return out
