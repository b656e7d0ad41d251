"""The sheets of 48 faces by which looks are judged: before, and at a strength, side by side.

    python scripts/looks_sheet.py --data DIR --strength mid docs/figures/looks-mid.jpg

28 faces of FairFace's val (each of seven races, a woman and a man, one under 40 and one of 40 or more) and 20 of the
portraits' test people (ten women and ten men): nobody who trained anything. All are free to show (CC BY 4.0, public
domain, MIT, CC0). Every target is the other gender: half of real targets are the face's own, which change less.
"""

from __future__ import annotations

import argparse
from itertools import count
from pathlib import Path

import numpy as np
from PIL import Image

from halfmask.datasets import Row
from halfmask.datasets.cache import open_crops
from halfmask.methods import Subject
from halfmask.methods.halfmask import Halfmask
from halfmask.training.sources import source_table

SIDE, ROW = 168, 8


def chosen(data: Path) -> list[tuple[Row, np.ndarray]]:
    """The 48 rows and their crops, always the same."""
    fair = open_crops(source_table({"layout": "fairface", "root": data / "fairface", "splits": ["valid"]}))
    rng = np.random.default_rng(48)
    faces = []
    races = sorted({row.race for row in fair.rows if row.race})
    for race in races:
        for gender in (0, 1):
            for old in (False, True):
                fits = [
                    i
                    for i, row in enumerate(fair.rows)
                    if row.split == "valid"
                    and (row.race, row.gender) == (race, gender)
                    and row.age_range is not None
                    and row.age_range[0] >= 20
                    and (row.age_range[0] >= 40) == old
                ]
                i = int(rng.choice(fits))
                faces.append((fair.rows[i], fair.pixels[i]))
    portraits = open_crops(source_table({"layout": "folder", "root": data / "portraits", "splits": ["test"]}))
    for gender in (0, 1):
        fits = [i for i, row in enumerate(portraits.rows) if row.split == "test" and row.gender == gender]
        for i in rng.choice(fits, 10, replace=False):
            faces.append((portraits.rows[i], portraits.pixels[i]))
    return faces


def turned(method: Halfmask, crop: np.ndarray, gender: int | None) -> Subject:
    """Somebody for whom another gender than this is drawn, where the method hides it."""
    names = (f"sheet {number}" for number in count())
    return next(Subject(who=name) for name in names if method.targets(crop, name).get("gender") != gender)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--strength", default="mid")
    parser.add_argument("--hide", default="gender")
    parser.add_argument("--weights", help="'free', 'research', or the folder of a run  [default: what ships]")
    asked = parser.parse_args()
    faces = chosen(asked.data)
    settings = {"weights": asked.weights} if asked.weights else {}
    method = Halfmask(hide=asked.hide, strength=asked.strength, key="looks", **settings)
    tiles = []
    for row, pixels in faces:
        crop = (pixels.astype(np.float32) / 255).transpose(2, 0, 1)
        change = method.change(crop[None], [turned(method, crop, row.gender)])[0]
        after = (np.clip(crop + change, 0, 1) * 255 + 0.5).astype(np.uint8).transpose(1, 2, 0)
        pair = np.concatenate([pixels, after], 1)
        tiles.append(np.asarray(Image.fromarray(pair).resize((2 * SIDE, SIDE), Image.Resampling.LANCZOS)))
    per = ROW // 2
    rows = [np.concatenate(tiles[i : i + per], 1) for i in range(0, len(tiles), per)]
    Image.fromarray(np.concatenate(rows, 0)).save(asked.out, quality=85)


if __name__ == "__main__":
    main()
