"""Tiny clips, faces that are coloured squares, and a method that lightens them, so that tests need no network."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import av
import cv2
import numpy as np

from halfmask.methods.contract import Crops, Method, Subject
from halfmask.photos.detect import Face, _usual_points
from halfmask.protecting.engine import Engine
from halfmask.protecting.options import Options
from halfmask.video import tracks

WIDTH, HEIGHT = 128, 96
#: The people, by their colours.
RED, GREEN, BLUE = (210, 40, 40), (40, 190, 40), (40, 40, 220)
Where = dict[tuple[int, int, int], tuple[int, int, int]]


def picture(where: Where, size: tuple[int, int] = (WIDTH, HEIGHT), ground: int = 90) -> np.ndarray:
    """A gray wall with a square of each colour at (x, y, side), later ones in front."""
    image = np.full((size[1], size[0], 3), ground, np.uint8)
    image[:, ::8] += 20  # so that a frame is not one gray
    for colour, (x, y, side) in where.items():
        image[max(0, y) : max(0, y + side), max(0, x) : max(0, x + side)] = colour
    return image


class Squares:
    """Eyes that take coloured squares for faces. ``blind`` are calls that see nothing: (name, number of the call)."""

    def __init__(self) -> None:
        self.calls: dict[str, int] = {"full": 0, "glance": 0, "again": 0, "embed": 0}
        self.blind: dict[str, Callable[[np.ndarray], bool]] = {}

    def _see(self, what: str, image: np.ndarray) -> list[Face]:
        self.calls[what] += 1
        if self.blind.get(what, lambda _: False)(image):
            return []
        faces = []
        for colour in (RED, GREEN, BLUE):
            near = (np.abs(image.astype(int) - colour).max(2) < 60).astype(np.uint8)
            count, _, stats, _ = cv2.connectedComponentsWithStats(near)
            for x, y, w, h, area in stats[1:count].tolist():
                if area > 60:
                    box = (float(x), float(y), float(w), float(h))
                    faces.append(Face(box, _usual_points(box), 0.95))
        return sorted(faces, key=lambda face: -face.box[2] * face.box[3])

    def full(self, image: np.ndarray) -> list[Face]:
        return self._see("full", image)

    def glance(self, image: np.ndarray) -> list[Face]:
        return self._see("glance", image)

    def again(self, image: np.ndarray, face: Face) -> Face | None:
        middle = np.array(face.box[:2]) + np.array(face.box[2:]) / 2
        for found in self._see("again", image):
            there = np.array(found.box[:2]) + np.array(found.box[2:]) / 2
            if np.abs(there - middle).max() < face.box[2] / 2:
                return found
        return None

    def embed(self, image: np.ndarray, face: Face) -> np.ndarray:
        self.calls["embed"] += 1
        x, y, w, h = (round(v) for v in face.box)
        mean = image[max(0, y) : y + h, max(0, x) : x + w].reshape(-1, 3).mean(0)
        own = np.zeros(4, np.float32)
        own[int(mean.argmax())] = 1.0
        return own


class Lighten(Method):
    """Lightens the whole crop, more for some people than for others; knows what it was told."""

    hides = frozenset({"gender"})
    whole = True
    steady = True
    settings: ClassVar[dict[str, str]] = {"person": "", "hide": ""}

    def __init__(self) -> None:
        self.name, self.fingerprint = "lighten", "0"
        self.subjects: list[Subject] = []

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        self.subjects += subjects
        return np.full_like(crops, 0.12)


def make_engine(**options: Any) -> Engine:
    networks: Any = SimpleNamespace(method=Lighten(), classifier=None, sface=None, detector=None)
    return Engine(Options(**options), networks)


def film(
    path: Path,
    pictures: Sequence[np.ndarray],
    times: Sequence[int] | None = None,
    *,
    codec: str = "ffv1",
    pixels: str = "yuv420p",
    options: dict[str, str] | None = None,
    sound: bool = False,
    words: str | None = None,
    rotation: int = 0,
    metadata: dict[str, str] | None = None,
    chapters: bool = False,
    unit: Fraction = Fraction(1, 1000),
    colours: tuple[int, int, int, int] = (2, 2, 2, 0),
    interlaced: bool = False,
) -> Path:
    """A clip of these pictures; ``times`` are milliseconds, 40 apart unless given.

    ``colours`` are matrix, primaries, transfer and range; ``words`` is the codec of a track of subtitles.
    """
    height, width = pictures[0].shape[:2]
    times = times or range(0, 40 * len(pictures), 40)
    with av.open(str(path), "w") as out:
        video = out.add_stream(codec, rate=25, width=width, height=height, options=options or {})
        context = video.codec_context
        context.pix_fmt, context.time_base = pixels, unit
        context.colorspace, context.color_primaries, context.color_trc, context.color_range = colours
        if interlaced:
            context.flags |= 1 << 29 | 1 << 18  # interlaced motion estimation and transform
        if rotation:
            video.set_display_rotation(rotation)
        out.metadata.update(metadata or {})
        if chapters:
            one = {"id": 1, "start": 0, "end": 200, "time_base": Fraction(1, 1000)}
            out.set_chapters([{**one, "metadata": {"title": "the first", "comment": "at home"}}])
        audio = out.add_stream("aac" if path.suffix != ".webm" else "libopus", rate=48000) if sound else None
        text = out.add_mux_stream(words) if words else None
        if audio is not None:
            audio.codec_context.layout = "mono"
            audio.metadata["language"], audio.metadata["comment"] = "fra", "in the kitchen"
        if text is not None:
            text.time_base = Fraction(1, 1000)
        matrix = {1: 1, 9: 9}.get(colours[0], 5)
        for image, time in zip(pictures, times, strict=True):
            frame = av.VideoFrame.from_ndarray(image, "rgb24" if image.dtype == np.uint8 else "rgb48le")
            frame = frame.reformat(
                format=pixels, dst_colorspace=matrix, src_color_range=2, dst_color_range=2 if colours[3] == 2 else 1
            )
            frame.pts, frame.time_base = round(time * Fraction(1, 1000) / unit), unit
            out.mux(video.encode(frame))
        out.mux(video.encode(None))
        if audio is not None:
            noise = np.random.default_rng(1)
            for n in range(6):
                part = noise.uniform(-0.3, 0.3, (1, 1024)).astype(np.float32)
                chunk = av.AudioFrame.from_ndarray(part, format="fltp", layout="mono")
                chunk.sample_rate, chunk.pts, chunk.time_base = 48000, 1024 * n, Fraction(1, 48000)
                out.mux(audio.encode(chunk))
            out.mux(audio.encode(None))
        if text is not None:
            packet = av.Packet(b"\x00\x05hello" if words == "mov_text" else b"hello")
            packet.pts = packet.dts = 100
            packet.duration, packet.time_base, packet.stream = 200, Fraction(1, 1000), text
            out.mux(packet)
    return path


def planes(path: Path) -> Iterator[list[np.ndarray]]:
    """Every frame's planes."""
    with av.open(str(path)) as file:
        for frame in file.decode(video=0):
            kind = np.dtype("<u2" if "10" in frame.format.name else "u1")
            yield [
                np.frombuffer(memoryview(p), kind)
                .reshape(-1, p.line_size // kind.itemsize)[: p.height, : p.width]
                .copy()
                for p in frame.planes
            ]


def walk(frames: int, colour: tuple[int, int, int] = RED, start: int = 8, step: int = 3, side: int = 32) -> list[Any]:
    """A square that walks to the right."""
    return [picture({colour: (start + step * i, 30, side)}) for i in range(frames)]


def follow(eyes: Squares, pictures: Sequence[np.ndarray], step: float = 0.04) -> tracks.Follower:
    follower = tracks.Follower(eyes)
    for i, image in enumerate(pictures):
        follower.add(step * i, image)
    return follower
