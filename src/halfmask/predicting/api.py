"""``halfmask.predict``: what a network takes the faces of one photo for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets.ages import AgeClass
from ..errors import UsageError
from ..photos import reading
from ..photos.align import crop_face
from ..photos.detect import Detector, Face
from ..photos.reading import MAX_PIXELS
from ..weights import running
from .network import AttributeNetwork

FACES = ("all", "largest")
#: The least probability that an age's interval holds.
LEVEL = 0.9


@dataclass(frozen=True, eq=False)
class Prediction:
    """One face and what the network takes it for; what the network does not read is None.

    ``box`` is (x, y, width, height) and ``points`` (5, 2), photo pixels; ``detection`` is the detector's score in
    [0, 1]. ``gender`` and ``race`` are the likeliest classes in the words that the network was trained with.
    ``age`` is the expected age in years; ``age_interval`` the completed years, both inside, that hold at least
    :data:`LEVEL` of the probability, its end None when it has none ("70+"). ``probabilities`` are those of every class
    by head: ``probabilities["gender"]["female"]``.

    All of it says what the network believes that annotators would have written below the picture. It is no fact about
    the person, and the probabilities are not calibrated.
    """

    box: tuple[float, float, float, float]
    points: NDArray[np.float32] = field(repr=False)
    detection: float
    gender: str | None
    age: float | None
    age_interval: tuple[int, int | None] | None
    race: str | None
    probabilities: Mapping[str, Mapping[str, float]] = field(repr=False)


class Predictor:
    """A network and the face detector, loaded, on a ``device`` of :mod:`halfmask.weights.running`.

    Safe to share between threads.
    """

    def __init__(self, network: Path | None = None, threads: int = 0, device: str = running.CPU) -> None:
        with running.on(device):
            self._detector = Detector()
            self.network = AttributeNetwork(network, threads)

    def __call__(self, pixels: NDArray[np.uint8], faces: str = "all") -> list[Prediction]:
        """Predictions for the faces of an RGB photo, uint8 (H, W, 3), largest first."""
        return list(self.of(pixels, self._detector(pixels), 1 if faces == "largest" else None).values())

    def of(self, pixels: NDArray[np.uint8], faces: Sequence[Face], most: int | None = None) -> dict[int, Prediction]:
        """Predictions for faces that are known, by their place in the sequence, for the first ``most`` of them.

        A face whose five points coincide has none.
        """
        crops: dict[int, NDArray[np.uint8]] = {}
        for i, face in enumerate(faces):
            try:
                crops[i] = crop_face(pixels, face.points)[0]
            except ValueError:
                continue  # it is no face that could be told from another
            if len(crops) == most:
                break
        if not crops:
            return {}
        probabilities = self.network.probabilities(
            np.stack(list(crops.values())).transpose(0, 3, 1, 2).astype(np.float32) / np.float32(255)
        )
        return {
            i: self._prediction(
                faces[i].box, faces[i].points, faces[i].score, {name: p[k] for name, p in probabilities.items()}
            )
            for k, i in enumerate(crops)
        }

    def _prediction(
        self,
        box: tuple[float, float, float, float],
        points: NDArray[np.float32],
        score: float,
        by_head: Mapping[str, NDArray[np.float64]],
    ) -> Prediction:
        words = self.network.classes
        age, interval = age_of(by_head["age"], self.network.years) if "age" in by_head else (None, None)
        return Prediction(
            box,
            points,
            score,
            gender=words["gender"][int(by_head["gender"].argmax())] if "gender" in by_head else None,
            age=age,
            age_interval=interval,
            race=words["race"][int(by_head["race"].argmax())] if "race" in by_head else None,
            probabilities={name: dict(zip(words[name], p.tolist(), strict=True)) for name, p in by_head.items()},
        )


def age_of(
    probabilities: NDArray[np.float64], classes: Sequence[AgeClass], level: float = LEVEL
) -> tuple[float, tuple[int, int | None]]:
    """The expected age, in years, and the interval of completed years that holds at least ``level`` of it.

    ``probabilities`` (K,) are those of the age classes in rising order. The expectation is over the classes' middles.
    The interval has equal tails, at most (1 - level) / 2 each, and is made of whole classes, since a network says
    nothing of where in a class an age lies; its end is None when the last class has none. It is the one of
    :meth:`halfmask.networks.heads.Head.interval`. A remote class of little probability moves the expectation and not
    the interval, so the expectation may lie outside.

    >>> from halfmask.datasets.ages import age_class
    >>> age_of(np.array([0.04, 0.5, 0.46, 0.0]), [age_class(w) for w in ("0-2", "3-9", "10-19", "20+")])
    (10.21, (3, 19))
    """
    tail = (1 - level) / 2
    reached = np.cumsum(probabilities)[:-1]
    low, high = int((reached <= tail).sum()), int((reached < 1 - tail).sum())
    expected = float(probabilities @ np.array([c.middle for c in classes]))
    return round(expected, 9), (classes[low].low, classes[high].high)


def predict(
    image: str | Path | bytes | Image.Image | NDArray[Any],
    *,
    faces: str = "all",
    network: str | Path | None = None,
    threads: int = 0,
    device: str = running.CPU,
    max_pixels: int = MAX_PIXELS,
) -> list[Prediction]:
    """Read age, gender and race off the faces of a photo; largest face first, [] when none is found.

    ``image`` is a path, the bytes of a picture file, a Pillow image, or an array uint8 or uint16, (H, W) gray, (H, W,
    3) RGB or (H, W, 4) RGBA, upright. ``faces`` is "all" or "largest". ``network`` is the ``attribute.onnx`` of a run
    of ``halfmask train attribute``; None takes the one that the package brings. ``threads`` 0 takes every core.
    ``device`` is where networks run: "cpu", "cuda", "coreml" or "directml".

    These are guesses of how annotators labelled such pictures, not facts about a person: gender and race cannot be seen
    on a face. How often they agree with the labels, by group, is in docs/results.md.

    Raises :class:`~halfmask.errors.PhotoError` for what is no readable photo, :class:`~halfmask.errors.UsageError` for
    an unknown option, :class:`~halfmask.errors.WeightsError` when a network cannot be had or does not describe itself.

    >>> import halfmask
    >>> halfmask.predict(b"", network="of-the-future.onnx")
    Traceback (most recent call last):
    ...
    halfmask.errors.WeightsError: there is no network of-the-future.onnx; expected the attribute.onnx of a run of: ...
    """
    if faces not in FACES:
        raise UsageError(f"faces is {faces!r}; expected one of: {', '.join(FACES)}")
    path = None if network is None else Path(network)
    stamp = path.stat().st_mtime_ns if path is not None and path.is_file() else 0
    predictor = _predictor(path, stamp, threads, device)
    return predictor(reading.read(image, max_pixels=max_pixels).pixels, faces)


@lru_cache(maxsize=4)
def _predictor(network: Path | None, stamp: int, threads: int, device: str) -> Predictor:
    """Kept between calls, since loading takes longer than a photo; ``stamp`` tells a file that was written anew."""
    return Predictor(network, threads, device)
