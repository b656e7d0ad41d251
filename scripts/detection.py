"""What the face search finds, by size, turn and crowd, and how long it takes, as tables.

    python scripts/detection.py --data DIR --out docs/detection.md

Faces of FairFace and of the portraits, upright ones that YuNet is sure of, are pasted under a feathered oval onto
backgrounds drawn from a seed: 1/f noise, with edges. So every place, size and turn is known. A face counts as found
when a find's centre is within a quarter of its size and the find is turned as it is, to within 30 degrees, without a
doubt; as doubted when all but the last holds. *Before* is the search as halfmask had it: OpenCV's class, upright, at
1280 and 320 pixels. Times are CPU time of one core.
"""

from __future__ import annotations

import argparse
import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

import halfmask
from halfmask.photos.align import crop_face, similarity, template
from halfmask.photos.detect import Detector, Face, overlap
from halfmask.photos.paste import mask
from halfmask.photos.reading import read
from halfmask.weights import store

Pixels = NDArray[np.uint8]
Search = Callable[[Pixels], list[Face]]

HEADING = """# What the face search finds

Made by `python scripts/detection.py --data DIR --out docs/detection.md`, which says what counts as found.
Seed {seed}. In brackets: what the search before found (YuNet upright, at 1280 and 320 pixels). The faces are ones that
YuNet knows when they are large and upright; what is measured is what size, turn and crowd cost.
"""
SIZES = (24, 32, 48, 64, 100, 200, 400)
TURNS = (0, 45, 90, 180, 270)


@dataclass(frozen=True, eq=False)
class Head:
    """A crop of the template, and the box and points that the detector finds in it."""

    crop: Pixels
    face: Face


@dataclass(frozen=True)
class Truth:
    """A pasted face: centre and size (longer side of the box) in pixels, and its turn clockwise in degrees."""

    x: float
    y: float
    size: float
    turn: float


def before() -> Search:
    """The search as it was."""
    net = cv2.FaceDetectorYN.create(str(store.get("yunet")), "", (320, 320), 0.7, 0.3, 5000)

    def find(image: Pixels) -> list[Face]:
        height, width = image.shape[:2]
        faces: list[Face] = []
        for side in (1280, 320):
            if side == 320 and max(height, width) <= side:
                continue
            scale = min(1.0, side / max(height, width))
            size = (max(8, round(width * scale)), max(8, round(height * scale)))
            small = cv2.resize(image, size, interpolation=cv2.INTER_AREA) if scale < 1 else image
            net.setInputSize((small.shape[1], small.shape[0]))
            rows = net.detect(cv2.cvtColor(small, cv2.COLOR_RGB2BGR))[1]
            back = np.array([width / small.shape[1], height / small.shape[0]], np.float32)
            for row in rows if rows is not None else ():
                x, y, w, h = (row[:4] * np.tile(back, 2)).tolist()
                face = Face((x, y, w, h), row[4:14].reshape(5, 2) * back, float(row[14]))
                if side == 1280 or all(overlap(face, other) <= 0.3 for other in faces):
                    faces.append(face)
        return faces

    return find


def heads(data: Path, count: int, rng: random.Random) -> list[Head]:
    """Upright faces of FairFace and the portraits, as crops."""
    net = before()
    paths = []
    for folder in (data / "fairface" / "val", data / "portraits" / "images"):
        paths += rng.sample(sorted(folder.glob("*.jpg")), count)
    found = []
    for path in paths:
        image = read(path).pixels
        faces = [face for face in net(image) if face.score > 0.9]
        if faces:
            crop = crop_face(image, max(faces, key=lambda f: f.box[2]).points)[0]
            inside = [face for face in net(crop) if face.score > 0.9]
            if len(inside) == 1:
                found.append(Head(crop, inside[0]))
    return found


def background(width: int, height: int, rng: np.random.Generator) -> Pixels:
    """1/f noise in colour with some edges, uint8 (height, width, 3)."""
    image = np.full((height, width, 3), rng.uniform(70, 180, 3), np.float32)
    for octave in range(1, 8):
        shape = (max(2, height >> (8 - octave)), max(2, width >> (8 - octave)), 3)
        noise = rng.normal(0, 60 / octave, shape).astype(np.float32)
        image += cv2.resize(noise, (width, height), interpolation=cv2.INTER_LINEAR)
    for _ in range(25):
        x, y = int(rng.integers(width)), int(rng.integers(height))
        w, h = (int(v) for v in rng.integers(20, max(21, min(width, height) // 4), 2))
        image[y : y + h, x : x + w] += rng.uniform(-60, 60, 3).astype(np.float32)
    return np.clip(image, 0, 255).astype(np.uint8)


def paste(image: Pixels, head: Head, truth: Truth) -> None:
    """Put a head into the picture where the truth says."""
    box = head.face.box
    scale = truth.size / max(box[2], box[3])
    matrix = cv2.getRotationMatrix2D((box[0] + box[2] / 2, box[1] + box[3] / 2), -truth.turn, scale)
    matrix[:, 2] += [truth.x - box[0] - box[2] / 2, truth.y - box[1] - box[3] / 2]
    reach = math.ceil(160 * scale * 1.45)
    x0, y0 = max(0, int(truth.x) - reach), max(0, int(truth.y) - reach)
    part = image[y0 : int(truth.y) + reach, x0 : int(truth.x) + reach]
    crop, oval = head.crop.astype(np.float32), np.asarray(mask(224))
    if scale < 0.7:  # average what a smaller picture would skip
        sigma = 0.5 / scale
        crop, oval = cv2.GaussianBlur(crop, (0, 0), sigma), cv2.GaussianBlur(oval, (0, 0), sigma)
    matrix[:, 2] -= [x0, y0]
    size = (part.shape[1], part.shape[0])
    weight = cv2.warpAffine(oval, matrix, size)[..., None]
    moved = cv2.warpAffine(crop, matrix, size, borderMode=cv2.BORDER_REPLICATE)
    part[:] = np.clip(part * (1 - weight) + moved * weight, 0, 255).astype(np.uint8)


def scene(
    width: int, height: int, sizes: Sequence[float], turns: Sequence[float], people: Sequence[Head], seed: int
) -> tuple[Pixels, list[Truth]]:
    """A photo with a face of each size and turn (to within 8 degrees), apart from each other."""
    rng = np.random.default_rng(seed)
    image = background(width, height, rng)
    truths: list[Truth] = []
    for size, turn in zip(sizes, turns, strict=True):
        for _ in range(2000):
            x, y = rng.uniform(size * 0.8, width - size * 0.8), rng.uniform(size * 0.8, height - size * 0.8)
            if all(math.hypot(x - t.x, y - t.y) > 0.8 * (size + t.size) for t in truths):
                break
        else:
            raise SystemExit(f"{len(sizes)} faces of {size} pixels do not fit into {width} x {height}")
        truths.append(Truth(x, y, size, turn + rng.uniform(-8, 8)))
        paste(image, people[int(rng.integers(len(people)))], truths[-1])
    return image, truths


def judge(truths: Sequence[Truth], faces: Sequence[Face]) -> tuple[int, int, int]:
    """How many are found, how many doubted, and how many finds are of nothing."""
    found = doubted = 0
    used = set()
    for truth in truths:
        for n, face in enumerate(faces):
            x, y = face.box[0] + face.box[2] / 2, face.box[1] + face.box[3] / 2
            if max(abs(x - truth.x), abs(y - truth.y)) > truth.size / 4:
                continue
            used.add(n)
            matrix = similarity(template(), face.points)
            turn = math.degrees(math.atan2(matrix[1, 0], matrix[0, 0]))
            right = abs((turn - truth.turn + 180) % 360 - 180) < 30
            if face.doubt is not None or right:
                found, doubted = found + (face.doubt is None), doubted + (face.doubt is not None)
                break
    return found, doubted, len(faces) - len(used)


def recall(people: Sequence[Head], seed: int) -> str:
    """Tables of what is found."""
    now, then = Detector(), before()
    lines = [
        "## Sizes and turns",
        "",
        "2400 x 1800 pixels, searched at the finest scale as larger photos are, with 60 faces of one size and turn",
        "(12 of 200 pixels, 4 of 400). Percent found; the size is the longer side of the detector's box.",
        "",
        "| size | " + " | ".join(f"{t}°" for t in TURNS) + " | doubted | finds of nothing |",
        "|---" * (len(TURNS) + 3) + "|",
    ]
    for size in SIZES:
        count = 60 if size < 200 else 12 if size < 400 else 4
        cells, doubts, nothing = [], 0, 0
        for turn in TURNS:
            image, truths = scene(2400, 1800, [size] * count, [turn] * count, people, seed + size + turn)
            found, doubted, odd = judge(truths, now(image))
            cells.append(f"{100 * found / count:.0f} ({100 * judge(truths, then(image))[0] / count:.0f})")
            doubts, nothing = doubts + doubted, nothing + odd
        lines.append(f"| {size} | " + " | ".join(cells) + f" | {doubts} | {nothing} |")
        print(lines[-1], flush=True)
    lines += [
        "",
        "## One turned head in a group",
        "",
        "1600 x 1200 pixels with 7 upright faces and one that is turned; percent of the turned ones that are found,",
        "in 20 photos each.",
        "",
        "| size | " + " | ".join(f"{t}°" for t in TURNS[1:]) + " |",
        "|---" * len(TURNS) + "|",
    ]
    for size in (48, 100, 200):
        cells = []
        for turn in TURNS[1:]:
            hits = [0, 0]
            for n in range(20):
                image, truths = scene(1600, 1200, [size] * 8, [turn] + [0] * 7, people, seed + n + size + turn)
                hits[0] += judge(truths[:1], now(image))[0]
                hits[1] += judge(truths[:1], then(image))[0]
            cells.append(f"{5 * hits[0]} ({5 * hits[1]})")
        lines.append(f"| {size} | " + " | ".join(cells) + " |")
        print(lines[-1], flush=True)
    lines += ["", "## Wide photos", "", "Crowds of 60, upright.", ""]
    lines += ["| photo | size | found | finds of nothing |", "|---|---|---|---|"]
    for width, height in ((4000, 3000), (9000, 900), (16000, 2000)):
        for size in (32, 55, 100):
            image, truths = scene(width, height, [size] * 60, [0] * 60, people, seed + width + size)
            (found, _, odd), (old, _, _) = judge(truths, now(image)), judge(truths, then(image))
            lines.append(f"| {width} x {height} | {size} | {found} ({old}) of 60 | {odd} |")
            print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def times(data: Path, people: Sequence[Head], seed: int) -> str:
    """A table of times on ordinary photos."""
    rng = random.Random(seed)
    now, then = Detector(), before()
    kinds: dict[str, list[Pixels]] = {"4000 x 3000, 1 to 5 faces": []}
    for n in range(5):
        sizes = [rng.uniform(150, 800) for _ in range(n + 1)]
        kinds["4000 x 3000, 1 to 5 faces"].append(scene(4000, 3000, sizes, [0] * (n + 1), people, seed + n)[0])
    lfw = rng.sample(sorted((data / "lfw").rglob("*.jpg")), 30)
    kinds["LFW, 250 x 250"] = [read(path).pixels for path in lfw]
    kinds["4000 x 3000 without a face"] = [background(4000, 3000, np.random.default_rng(seed))]
    lines = [
        "## Times",
        "",
        "CPU seconds of one core a photo, the median of 3 runs, mean over the photos. The whole is `halfmask.protect`",
        "on a JPEG file, with its writing.",
        "",
        "| photos | search before | now | ratio | whole before | now | ratio |",
        "|---" * 7 + "|",
    ]
    for name, images in kinds.items():
        searching = [float(np.mean([_seconds(search, image) for image in images])) for search in (then, now)]
        rest = float(np.mean([_protecting(image) for image in images[:8]])) - searching[1]
        whole = [rest + seconds for seconds in searching]
        cells = [f"{a:.4f} | {b:.4f} | {b / a:.2f}" for a, b in (searching, whole)]
        lines.append(f"| {name} | {' | '.join(cells)} |")
        print(lines[-1], flush=True)
    return "\n".join(lines) + "\n"


def _seconds(search: Search, image: Pixels) -> float:
    taken = []
    for _ in range(3):
        began = time.process_time()
        search(image)
        taken.append(time.process_time() - began)
    return float(np.median(taken))


def _protecting(image: Pixels) -> float:
    """CPU seconds of protecting a photo."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "photo.jpg")
        cv2.imwrite(str(path), image[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, 92])
        taken = []
        for _ in range(2):
            began = time.process_time()
            result = halfmask.protect(path, if_no_face="copy", threads=1, score=False)
            result.save(Path(folder, "out.jpg"))
            taken.append(time.process_time() - began)
    return min(taken)


def main() -> None:
    """Measure and write the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with fairface, portraits and lfw")
    parser.add_argument("--out", type=Path, help="page to write; else only printed")
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--only", choices=["recall", "times"], help="one part; nothing is written then")
    asked = parser.parse_args()
    cv2.setNumThreads(1)
    people = heads(asked.data, 60, random.Random(asked.seed))
    print(f"{len(people)} faces", flush=True)
    parts = []
    if asked.only != "times":
        parts.append(recall(people, asked.seed))
    if asked.only != "recall":
        parts.append(times(asked.data, people, asked.seed))
    if asked.out and not asked.only:
        asked.out.write_text("\n".join([HEADING.format(seed=asked.seed), *parts]), "utf-8")


if __name__ == "__main__":
    main()
