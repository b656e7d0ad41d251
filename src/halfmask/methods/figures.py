"""What was measured of the methods that ship: ``figures.json``, made by ``scripts/method_figures.py``.

The figures are those of ``halfmask benchmark family``, on data sets and by referees that they name, and stand here so
that ``halfmask methods`` can tell them without any data set.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from ..errors import WeightsError

PLACE = Path(__file__).with_name("figures.json")
FORMAT = 1


def measured(place: Path | None = None) -> dict[str, Any]:
    """The file as a dict: ``benchmark``, ``halfmask``, ``created``, ``originals`` and ``methods``.

    ``place`` is the file, by default the one that ships. ``originals`` maps a set to the figures of its unchanged
    photos. A method's entry has ``label``, ``method``, ``hide``, ``prototype``, ``strength``, ``settings``,
    ``fingerprint``, ``ms`` (a face, on one core) and ``figures``, set → figure → value. It is called like a column
    of :func:`halfmask.evaluation.benchmark.overview.overview_rows`, such as ``auc/face-api``: what, by which
    referee; those that could not be given are absent. Without the file nothing was measured. Raises
    :class:`~halfmask.errors.WeightsError` when it is damaged.

    >>> measured(Path("absent.json"))["methods"]
    []
    """
    place = place or PLACE
    if not place.is_file():
        return {"benchmark": None, "halfmask": None, "created": None, "originals": {}, "methods": []}
    try:
        figures: dict[str, Any] = json.loads(place.read_text("utf-8"))
        if figures["format"] != FORMAT:
            raise ValueError(f"format {figures['format']}, expected {FORMAT}")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise WeightsError(f"{place} cannot be read: {error}. Reinstall halfmask.") from error
    return figures
