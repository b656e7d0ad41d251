"""What a method costs: milliseconds of one core a face."""

from __future__ import annotations

import time
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from ...datasets.cache import centred_face
from ...datasets.table import Row as Picture
from ...errors import HalfmaskError
from ...methods import Method, Subject
from ...photos.align import CROP, crop_face
from ...photos.detect import Detector
from ..measuring.protocol import read_rgb

#: Faces that are timed, after a few that only warm up.
FACES, _WARM = 32, 3

Crops = NDArray[np.float32]


def some_crops(pictures: Iterable[Picture], most: int = FACES + _WARM) -> tuple[Crops, NDArray[np.int64]]:
    """The crops (N, 3, 224, 224) in [0, 1] and genders (N,) of the first pictures with a gender and a face."""
    detector = Detector()
    crops: list[Crops] = []
    genders: list[int] = []
    for picture in pictures:
        if len(crops) == most:
            break
        if picture.gender is None:
            continue
        try:
            photo = read_rgb(picture.path)
        except (HalfmaskError, OSError):
            continue
        face = centred_face(detector(photo), photo.shape[1], photo.shape[0])
        if face is not None:
            crop = crop_face(photo, face.points)[0]
            crops.append(crop.transpose(2, 0, 1).astype(np.float32) / np.float32(255))
            genders.append(picture.gender)
    return np.array(crops, np.float32).reshape(-1, 3, CROP, CROP), np.array(genders, np.int64)


def ms_a_face(method: Method, crops: Crops, genders: NDArray[np.int64]) -> float | None:
    """CPU milliseconds a face of :meth:`~halfmask.methods.contract.Method.change`, the median, one face at a time.

    CPU time of the whole process, so that other work on the machine does not count and a method that uses several
    threads pays for all of them; load it with one. Finding and cutting the face, estimating its label and putting the
    change back are not in it. None when there is no crop to time it on, ``crops`` being (N, 3, 224, 224).
    """
    took = []
    for i in range(len(crops)):
        start = time.process_time()
        method.change(crops[i : i + 1], [Subject(int(genders[i]))])
        took.append(1000 * (time.process_time() - start))
    return float(np.median(took[_WARM:] or took)) if took else None
