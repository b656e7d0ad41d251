"""What is written beside a face in a picture of predictions."""

from __future__ import annotations

from collections.abc import Sequence

from ..photos.drawing import Captioned
from .api import Prediction


def caption(face: Prediction) -> str:
    """What is written beside a face, a line for each thing that was read.

    >>> import numpy as np
    >>> points = np.zeros((5, 2), np.float32)
    >>> said = {"gender": {"female": 0.97, "male": 0.03}, "age": {"20-29": 1.0}}
    >>> print(caption(Prediction((0, 0, 9, 9), points, 0.9, "female", 25.0, (20, 29), None, said)))
    female 97 %
    25 (20-29)
    """
    return "\n".join(line for line in map(phrase, (face,) * 3, ("gender", "age", "race")) if line)


def phrase(face: Prediction, head: str) -> str:
    """One thing that was read, in a few letters; "" where the network does not read it."""
    if head == "age":
        if face.age is None or face.age_interval is None:
            return ""
        low, high = face.age_interval
        return f"{face.age:.0f} ({low}+)" if high is None else f"{face.age:.0f} ({low}-{high})"
    word = face.gender if head == "gender" else face.race
    return "" if word is None else f"{word} {100 * face.probabilities[head][word]:.0f} %"


def captions(faces: Sequence[Prediction]) -> list[Captioned]:
    """The faces as :func:`halfmask.photos.drawing.captioned` takes them."""
    return [(face.box, caption(face)) for face in faces]
