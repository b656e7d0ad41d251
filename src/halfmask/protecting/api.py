"""``halfmask.protect``: one photo as a function call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UsageError
from ..methods import DEFAULT
from ..photos.detect import SMALLEST, THRESHOLD, Box, smallest_searched
from ..photos.photo import Photo
from ..photos.reading import MAX_PIXELS
from .choosing import Pick, check_boxes
from .engine import Engine, FaceResult, networks_for
from .known import Known
from .options import GENDERS, Options


@dataclass(frozen=True, eq=False)
class Result:
    """A protected photo.

    ``faces`` are all that were found, largest first, each with its box, points, gender label and where that came from,
    its SFace match score and whether it was changed (:class:`~halfmask.protecting.engine.FaceResult`). ``timings``
    are seconds by stage: read, detect, align, label, change, paste, score. ``smallest_face`` is the size, in pixels, of
    the smallest faces that were searched for. ``notes`` is what the method has to say of the options that were given,
    such as that hiding age is experimental; ``photo.notes`` say what hung on the file and was dropped, such as a gain
    map, or that the file is damaged.
    """

    photo: Photo = field(repr=False)
    faces: tuple[FaceResult, ...]
    timings: dict[str, float]
    smallest_face: float
    notes: tuple[str, ...] = ()

    @cached_property
    def image(self) -> NDArray[Any]:
        """The pixels: (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16."""
        return self.photo.to_array()

    def to_pil(self) -> Image.Image:
        """The photo as a Pillow image in the mode of the original."""
        return self.photo.to_pil()

    def save(
        self,
        target: str | Path | IO[bytes],
        *,
        format: str | None = None,
        quality: int | None = None,
        keep_metadata: bool = False,
    ) -> None:
        """Write the photo to a path or binary stream; see :meth:`halfmask.photos.photo.Photo.save`."""
        self.photo.save(target, format=format, quality=quality, keep_metadata=keep_metadata)


def protect(
    image: str | Path | bytes | Image.Image | NDArray[Any],
    *,
    method: str = DEFAULT,
    hide: str | None = None,
    gender: str | int | None = None,
    prototype: str | None = None,
    faces: str | int = "all",
    only: Sequence[Pick | str] = (),
    skip: Sequence[Pick | str] = (),
    min_face: int | None = None,
    detector_threshold: float = THRESHOLD,
    boxes: Sequence[Box] = (),
    if_no_face: str = "fail",
    score: bool = True,
    threads: int = 0,
    device: str = "cpu",
    max_pixels: int = MAX_PIXELS,
    strength: str | float | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Change the faces of a photo so that classifiers find it harder to read their gender; they still match the person.

    ``image`` is a path, the bytes of a picture file, a Pillow image, or an array uint8 or uint16, (H, W) gray, (H, W,
    3) RGB or (H, W, 4) RGBA, upright. ``hide`` is "gender", "age", "race" or several joined by commas, of those that
    the method hides; hiding age and race is experimental. ``gender`` is "female" (0) or "male" (1) and holds for every
    face, for a method that needs it; None has our own classifier estimate it then, and each face says so.
    ``prototype``, for SAN and its family, is "op" (opposite gender, hides most; the default), "nt" (neutral) or "sm"
    (same gender, hides least); SAN paper, section 2.2.2. ``faces`` is "all", "largest" or how many of the largest.
    ``if_no_face`` is "fail" or "copy"; the latter gives back an unprotected photo, with no ``faces``. ``threads`` 0
    takes every core. ``device`` is where networks run: "cpu", "cuda", "coreml" or "directml". A photo of more than
    ``max_pixels`` is refused before it is decoded.

    ``strength`` is "low", "mid", "high" or a number in [0, 1], for a method that has one. ``settings`` are
    the method's own, such as ``{"weights": "runs/mine"}`` for ``san``; ``halfmask methods`` lists them.

    With ``score`` each changed face gets ``match``, SFace's cosine between the face before and after (higher = more
    alike; OpenCV calls it the same person from 0.363 on). SFace is an auxiliary, not a judge: the methods are trained
    against it, so other matchers will see more of a difference than it does.

    ``only`` and ``skip`` choose faces: by their number, from 1, largest first, or by a place (x, y) in photo pixels;
    ``halfmask faces PHOTO`` shows both. Faces of less than ``min_face`` pixels, the longer side of the box, are left;
    without it faces down to 32 pixels are searched for. ``detector_threshold`` is the score, from 0.2 to 1, from which
    a find is a face. ``boxes`` are faces that you know of, (x, y, width, height) in photo pixels, besides those found.
    A face that counts as unprotected says so: see :class:`~halfmask.protecting.engine.FaceResult`.

    Raises :class:`~halfmask.errors.PhotoError` for what is no readable photo, or no face,
    :class:`~halfmask.errors.UsageError` for an unknown option, :class:`~halfmask.errors.WeightsError` when a network
    cannot be had.

    >>> import numpy as np, halfmask
    >>> wall = np.full((64, 64, 3), 200, np.uint8)
    >>> result = halfmask.protect(wall, if_no_face="copy", score=False)
    >>> result.faces, result.image.shape
    ((), (64, 64, 3))
    """
    return _one(
        image,
        if_no_face=if_no_face,
        threads=threads,
        device=device,
        method=method,
        hide=hide,
        gender=gender,
        prototype=prototype,
        boxes=boxes,
        faces=faces,
        only=only,
        skip=skip,
        min_face=min_face,
        detector_threshold=detector_threshold,
        score=score,
        max_pixels=max_pixels,
        strength=strength,
        settings=settings or {},
    )


def deidentify(
    image: str | Path | bytes | Image.Image | NDArray[Any],
    *,
    strength: str | float = "mid",
    faces: str | int = "all",
    only: Sequence[Pick | str] = (),
    skip: Sequence[Pick | str] = (),
    min_face: int | None = None,
    detector_threshold: float = THRESHOLD,
    boxes: Sequence[Box] = (),
    if_no_face: str = "fail",
    score: bool = True,
    threads: int = 0,
    max_pixels: int = MAX_PIXELS,
    settings: Mapping[str, Any] | None = None,
) -> Result:
    """Change the faces of a photo so that recognisers match it less to the person; people see nearly the same.

    ``strength`` is "low", "mid", "high" or a number in [0, 1]: how much likeness (MSSIM, in tenths) each face may lose.
    ``settings`` are those of :class:`~halfmask.methods.deidentify.Deidentify`; everything else is as in
    :func:`protect`. It takes seconds a face. The same face always gets the same change.

    With ``score`` each changed face gets ``match``, SFace's cosine between the face before (1 with itself) and after;
    OpenCV calls it the same person from 0.363 on. SFace is one of the matchers that the change is made against, so it
    will fall further than others do: :func:`halfmask.audit` measures those.

    Raises what :func:`protect` raises, and :class:`~halfmask.errors.ExtraMissingError` without ``halfmask[train]``.

    >>> import numpy as np, halfmask
    >>> wall = np.full((64, 64, 3), 200, np.uint8)
    >>> halfmask.deidentify(wall, strength="strong", if_no_face="copy")
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: strength is 'strong'; expected low, mid, high or a number from 0 to 1
    """
    return _one(
        image,
        if_no_face=if_no_face,
        threads=threads,
        method="deidentify",
        boxes=boxes,
        faces=faces,
        only=only,
        skip=skip,
        min_face=min_face,
        detector_threshold=detector_threshold,
        score=score,
        max_pixels=max_pixels,
        strength=strength,
        settings=settings or {},
    )


def _one(image: Any, *, threads: int, boxes: Sequence[Box], **asked: Any) -> Result:
    """One photo by the options that were asked."""
    if (if_no_face := asked["if_no_face"]) not in ("fail", "copy"):
        raise UsageError(f"if_no_face is {if_no_face!r}; expected fail or copy (a single photo cannot be skipped)")
    gender = asked.get("gender")
    if isinstance(gender, int | np.integer) and not isinstance(gender, bool) and gender in (0, 1):
        asked["gender"] = GENDERS[int(gender)]
    options = Options(**asked)
    engine = Engine(options, networks_for(options, threads))
    photo, faces, seconds = engine.run(image, Known(boxes=check_boxes(boxes)))
    smallest = smallest_searched(photo.width, photo.height, options.min_face or SMALLEST)
    return Result(photo, faces, seconds, smallest, options.notes)
