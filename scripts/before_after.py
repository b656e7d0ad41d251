"""The picture at the top of the README: the included portrait, and what three strengths make of it.

python scripts/before_after.py docs/figures/before-after.jpg
python scripts/before_after.py docs/figures/stranger.jpg stranger   # by another method
"""

from __future__ import annotations

import sys
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

import halfmask
from halfmask.methods import DEFAULT, METHODS

HEIGHT, CAPTION = 360, 34


def main() -> None:
    method = sys.argv[2] if len(sys.argv) > 2 else DEFAULT
    settings = {"key": "README"} if "key" in METHODS[method].cls.settings else {}
    portrait = np.asarray(Image.open("examples/astronaut.jpg").convert("RGB"))
    columns = {"before": portrait}
    for strength in ("low", "mid", "high"):
        result = halfmask.protect(portrait, method=method, strength=strength, settings=settings)
        columns[strength] = result.image
    x, y, w, h = (int(v) for v in result.faces[0].box)  # found on the portrait, so the same at each strength
    part = slice(max(0, y - h // 2), y + h + h // 2), slice(max(0, x - w // 2), x + w + w // 2)
    shown = []
    for name, image in columns.items():
        cut = np.ascontiguousarray(np.asarray(image)[part])
        cut = cv2.resize(cut, (round(cut.shape[1] * HEIGHT / cut.shape[0]), HEIGHT), interpolation=cv2.INTER_CUBIC)
        head = np.full((CAPTION, cut.shape[1], 3), 255, np.uint8)
        cv2.putText(head, name, (8, 24), cv2.FONT_HERSHEY_SIMPLEX, 0.7, (40, 40, 40), 1, cv2.LINE_AA)
        shown.append(np.concatenate([head, cut], 0))
    Image.fromarray(np.concatenate(shown, 1)).save(Path(sys.argv[1]), quality=88)


if __name__ == "__main__":
    main()
