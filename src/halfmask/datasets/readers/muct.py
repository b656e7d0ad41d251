"""MUCT: 3,755 faces of 276 people, five cameras, the labels written in the file name.

Format: http://www.milbo.org/muct/muct-details.html (Milborrow, Morkel & Nicolls, The MUCT Landmarked Face Database,
PRASA 2010): ``i000qa-fn.jpg`` is subject 000, lighting set q to z, camera a to e, gender f or m, glasses g or n.
"""

from __future__ import annotations

import re
from pathlib import Path

from halfmask.datasets.readers.layout import match_names, nothing_found, walk_pictures
from halfmask.datasets.table import Row, Table

_NAME = re.compile(r"i(\d{3})[q-z][a-e]-([fm])[gn]\.\w+$", re.IGNORECASE)


def read_muct(root: Path) -> Table:
    """Read MUCT: identity (the subject's three digits) and gender. No age, no race, no split.

    Expects ``i000qa-fn.jpg`` anywhere below the root: the five archives unpack to ``jpg/``, or each to a folder such
    as ``muct-a-jpg-v1/jpg/``.

    Raises DataError when no picture is named as MUCT names them.
    """
    problems: list[str] = []
    rows = [
        Row(key, path, labels[1], int(labels[2].lower() == "m"))
        for key, path, labels in match_names(walk_pictures(root, problems), _NAME, "i000qa-fn.jpg", problems)
    ]
    if not rows:
        raise nothing_found("muct", root, "jpg/ with pictures named as i000qa-fn.jpg")
    return Table("muct", root, rows, problems)
