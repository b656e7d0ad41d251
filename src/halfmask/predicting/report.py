"""Predictions as CSV or JSON; the columns and keys are described in docs/predict.md."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from .. import __version__
from ..errors import shown
from ..tabular import csv_line
from .api import LEVEL, Prediction
from .network import AttributeNetwork
from .run import Seen

_DIGITS = 4  # of a probability


def as_dict(face: Prediction) -> dict[str, Any]:
    """A prediction in plain values, as it stands in the JSON; what the network does not read is absent."""
    by_head = {
        head: {word: round(p, _DIGITS) for word, p in probabilities.items()}
        for head, probabilities in face.probabilities.items()
    }
    entry: dict[str, Any] = {
        "box": [round(v, 1) for v in face.box],
        "points": [[round(v, 1) for v in point] for point in face.points.tolist()],
        "detection": round(face.detection, _DIGITS),
    }
    if face.gender is not None:
        entry["gender"] = {"word": face.gender, "probabilities": by_head["gender"]}
    if face.age is not None and face.age_interval is not None:
        entry["age"] = {
            "years": round(face.age, 1),
            "interval": list(face.age_interval),
            "level": LEVEL,
            "probabilities": by_head["age"],
        }
    if face.race is not None:
        entry["race"] = {"word": face.race, "probabilities": by_head["race"]}
    return entry


def to_json(photos: Iterable[Seen], network: AttributeNetwork) -> Iterator[str]:
    """Pieces of one JSON object, a line a photo; photos that failed are there with their error."""
    head = {"halfmask": __version__, "network": network.about}
    yield json.dumps(head)[:-1] + ', "photos": ['
    end = "\n"
    for photo in photos:
        entry: dict[str, Any] = {"file": str(photo.source)}
        if photo.error is None:
            entry |= {"width": photo.width, "height": photo.height, "faces": [as_dict(f) for f in photo.faces]}
        else:
            entry["error"] = photo.error
        yield end + json.dumps(entry)
        end = ",\n"
    yield "\n]}\n"


def to_csv(photos: Iterable[Seen], network: AttributeNetwork) -> Iterator[str]:
    """Lines of CSV, one a face; a photo without a face, or that failed, has none."""
    heads = network.classes
    columns = ["file", "face", "x", "y", "width", "height", "detection"]
    for head in heads:
        columns += ["age", "age_low", "age_high"] if head == "age" else [head]
        columns += [f"p_{head}_{word}" for word in heads[head] if head != "age"]
    yield csv_line(columns)
    for photo in photos:
        for number, face in enumerate(photo.faces, 1):
            box = (round(v, 1) for v in face.box)
            cells: list[Any] = [shown(photo.source), number, *box, round(face.detection, _DIGITS)]
            for head in heads:
                cells += _cells(head, face, heads)
            yield csv_line(cells)


def _cells(head: str, face: Prediction, heads: Mapping[str, tuple[str, ...]]) -> list[Any]:
    if head == "age":
        low, high = face.age_interval or (None, None)
        return [None if face.age is None else round(face.age, 1), low, high]
    probabilities = face.probabilities[head]
    return [
        face.gender if head == "gender" else face.race,
        *(round(probabilities[word], _DIGITS) for word in heads[head]),
    ]
