"""Video files: frames out of them, and the same file with other frames.

Sound, subtitles and chapters are copied as they are, frames keep their times. Of all that hangs on a file only what is
listed here goes along: :data:`KEPT`.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.stream import Disposition

from ..errors import PhotoError, shown
from ..photos.kinds import VIDEOS
from ..photos.photo import DAMAGED
from . import pictures

#: What a track of sound or of subtitles keeps of what is written about it.
KEPT = ("language", "title")

_OWN = frozenset({"major_brand", "minor_version", "compatible_brands", "encoder"})  # the container's
_FONTS = ("font", "opentype", "truetype", "sfnt")


@dataclass(frozen=True)
class _Encoder:
    """``worst`` ends its scale of quality, which begins at 0 with the best, and ``usual`` is our choice on it."""

    name: str
    worst: int = 0
    usual: int = 0
    options: dict[str, str] = field(default_factory=dict)


#: What a codec is written by, its scale the encoder's own: a constant rate factor, or a quantiser of at most 31.
_ENCODERS = {
    "h264": _Encoder("libx264", 51, 18),
    "hevc": _Encoder("libx265", 51, 20, {"x265-params": "log-level=error"}),
    "vp8": _Encoder("libvpx", 63, 8, {"deadline": "good", "cpu-used": "4"}),
    "vp9": _Encoder("libvpx-vp9", 63, 24, {"deadline": "good", "cpu-used": "4", "row-mt": "1"}),
    "av1": _Encoder("libsvtav1", 63, 24, {"preset": "8"}),
    "prores": _Encoder("prores_ks"),
    **{name: _Encoder(name, 31, 2) for name in ("mpeg4", "mpeg2video", "mpeg1video", "mjpeg", "wmv1", "wmv2", "h263")},
    "msmpeg4v3": _Encoder("msmpeg4", 31, 2),
    "flv1": _Encoder("flv", 31, 2),
    **{name: _Encoder(name) for name in ("ffv1", "huffyuv", "ffvhuff", "utvideo", "rawvideo")},
}
#: Encoders that want the time of one frame as their unit.
_FRAME_TIMES = ("mpeg4", "mpeg2video", "mpeg1video", "h263", "msmpeg4", "flv", "wmv1", "wmv2")


@dataclass(frozen=True)
class Span:
    """Only these seconds of a clip, for a preview."""

    start: float
    length: float

    @property
    def end(self) -> float:
        """Where it ends."""
        return self.start + self.length


class Clip:
    """A video file. ``colours`` are those of its first frame, ``size`` is its width and height as it is stored.

    It is opened anew for every pass. Raises :class:`~halfmask.errors.PhotoError` when it is no video, holds not one but
    several, or has pixels or colours that could not be kept; while it is read also when it is damaged or interlaced.
    """

    def __init__(self, path: Path, *, threads: int = 0, span: Span | None = None) -> None:
        self.path = path
        self.span = span
        self.threads = threads
        self.notes: list[str] = []
        with self._open() as file:
            videos = [s for s in file.streams.video if not s.disposition & Disposition.attached_pic]
            if len(videos) != 1 or videos[0].codec_context is None:
                found = f"{len(videos)} videos" if videos else "no video"
                raise PhotoError(f"{shown(path)} holds {found} that can be read; expected one")
            stream = videos[0]
            self.index = stream.index
            self.codec = stream.codec_context.codec.canonical_name
            self.rate = Fraction(stream.average_rate or stream.guessed_rate or 25)
            self.unit = Fraction(stream.time_base or Fraction(1, 90000))
            self.bit_rate = int(stream.bit_rate or 0)
            self.aspect = stream.sample_aspect_ratio
            length = float((file.duration or 0) / av.time_base) if span is None else span.length
            #: how many frames there may be
            self.about = stream.frames if stream.frames and span is None else round(float(self.rate) * length)
            with self._telling("cannot be read"):
                first = next(file.decode(stream), None)
            if first is None:
                raise PhotoError(f"{shown(path)} holds no frame that can be read; it may be damaged")
            try:
                self.colours = pictures.colours(first)
            except PhotoError as error:
                raise PhotoError(f"{shown(path)} cannot be kept as it is: {error}") from error
            self.size = (first.width, first.height)
            self.start = float((first.pts or 0) * (first.time_base or 0))
            side = {data.type.name: data for data in first.side_data}
            matrix = side.get("DISPLAYMATRIX")
            #: how a player turns the frames, nine numbers as FFmpeg has them; None when they are upright
            self.matrix = None if matrix is None else np.frombuffer(bytes(matrix), np.int32).tolist()
            if side.keys() & {"MASTERING_DISPLAY_METADATA", "CONTENT_LIGHT_LEVEL", "DYNAMIC_HDR_PLUS", "DOVI_METADATA"}:
                self.note("what an HDR video says of the screen that it was made on was dropped")

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        with self._telling("is no video that can be read"):
            file = av.open(str(self.path), metadata_errors="replace")
        with file:
            yield file

    @property
    def seen_size(self) -> tuple[int, int]:
        """Width and height as it is seen."""
        return self.size if self.colours.turn % 2 == 0 else self.size[::-1]

    def note(self, note: str) -> None:
        """Add to the ``notes``, once."""
        if note not in self.notes:
            self.notes.append(note)

    def frames(self) -> Iterator[av.VideoFrame]:
        """Every frame from the first, in the order in which they are shown."""
        with self._open() as file:
            for part in self._parts(file, ()):
                if isinstance(part, av.VideoFrame):
                    yield part

    def time(self, frame: av.VideoFrame) -> float:
        """Seconds since the clip's first frame."""
        return float((frame.pts or 0) * (frame.time_base or 0)) - self.start

    def _parts(self, file: Any, others: Sequence[Any]) -> Iterator[Any]:
        """Every frame, and between them the packets of other streams, from the first on."""
        stream = file.streams[self.index]
        stream.codec_context.thread_count = self.threads
        stream.thread_type = "AUTO"
        last: int | None = None
        with self._telling("cannot be read to its end"):
            if self.span is not None and self.span.start:
                file.seek(int((self.start + self.span.start) * av.time_base))
            for packet in file.demux(stream, *others):
                if packet.stream.index != self.index:
                    if packet.pts is not None and self._within(float(packet.pts * packet.time_base) - self.start):
                        yield packet
                    continue
                if packet.dts is not None and self._past(packet):
                    return  # the sound of these seconds has come by now
                for frame in packet.decode():
                    self._check(frame, last)
                    last = frame.pts
                    if frame.is_corrupt:
                        self.note(f"{DAMAGED}frames of it could be read only in part")
                    if self._within(self.time(frame)):
                        yield frame

    def rewrite(
        self,
        target: Path,
        change: Callable[[av.VideoFrame], None],
        times: Sequence[int],
        *,
        quality: int | None = None,
        keep_metadata: bool = False,
        threads: int = 0,
    ) -> None:
        """Write this clip with changed frames to ``target``, whose name says nothing of its container.

        ``change`` changes each frame in place; ``times`` are the frames' ``pts``, all of them. ``quality`` is 1 to 100.
        Raises :class:`~halfmask.errors.PhotoError` when there is no encoder for its codec, or what it wrote is not in
        the same pixels and colours.
        """
        suffix = self.path.suffix.lower()
        options = {"mpegts_copyts": "1"} if VIDEOS[suffix] == "mpegts" else {}
        if suffix in (".mts", ".m2ts"):
            options["mpegts_m2ts_mode"] = "1"
        with self._open() as file, self._telling("could not be written"):
            out = av.open(str(target), "w", format=VIDEOS[suffix], options=options)
            try:
                video, copied = self._streams(file, out, times, quality, keep_metadata, threads)
                self._about(file, out, keep_metadata)
                lengths: dict[int, int] = {}
                for part in self._parts(file, [file.streams[i] for i in copied]):
                    is_frame = isinstance(part, av.VideoFrame)
                    if is_frame:
                        change(part)
                        part.pict_type = 0  # what it was in the file before decides nothing
                    self._shift(part)
                    if is_frame:
                        unit = part.time_base / video.codec_context.time_base
                        if part.duration:
                            lengths[round(part.pts * unit)] = round(part.duration * unit)
                        _mux(out, video, part, lengths)
                    else:
                        part.stream = copied[part.stream.index]
                        out.mux(part)
                _mux(out, video, None, lengths)
                out.close()
            except BaseException:
                with contextlib.suppress(Exception):  # the file goes away
                    out.close()
                raise
        self._see_kept(target)

    def _shift(self, part: Any) -> None:
        """Have a preview begin at 0."""
        if self.span is not None and self.span.start and part.time_base is not None:
            by = round(self.span.start / part.time_base)
            part.pts = None if part.pts is None else part.pts - by
            part.dts = None if part.dts is None else part.dts - by

    def _streams(
        self, file: Any, out: Any, times: Sequence[int], quality: int | None, keep_metadata: bool, threads: int
    ) -> tuple[Any, dict[int, Any]]:
        """The video to write, and what is copied: index in this file → the stream that it becomes."""
        video, copied, dropped = None, {}, 0
        for stream in file.streams:
            font = stream.type == "attachment" and any(f in str(stream.mimetype).lower() for f in _FONTS)
            if stream.index == self.index:
                video = self._video(out, times, quality, threads)
            elif stream.type in ("audio", "subtitle") or font:
                try:
                    made = out.add_stream_from_template(stream)
                except ValueError as error:
                    raise PhotoError(
                        f"{shown(self.path)}: its {stream.type} cannot be copied: {error}. Take it out, or convert it"
                    ) from error
                made.disposition = stream.disposition
                made.metadata.clear()
                made.metadata.update({k: v for k, v in stream.metadata.items() if keep_metadata or font or k in KEPT})
                if not font:
                    copied[stream.index] = made
            elif not (file.chapters() and stream.type == "data" and stream.name == "bin_data"):  # chapters of MP4
                dropped += 1
        if dropped:
            self.note("tracks of data and pictures in it, which may show places and faces, were dropped")
        return video, copied

    def _about(self, file: Any, out: Any, keep_metadata: bool) -> None:
        """Copy the chapters, and what is said of the whole file where that is wanted."""
        chapters = file.chapters() if self.span is None else []
        for chapter in chapters:
            chapter["metadata"] = {k: v for k, v in chapter["metadata"].items() if keep_metadata or k in KEPT}
        if chapters:
            out.set_chapters(chapters)
        if keep_metadata:
            out.metadata.update({k: v for k, v in file.metadata.items() if k not in _OWN})

    def _video(self, out: Any, times: Sequence[int], quality: int | None, threads: int) -> Any:
        """The stream of frames to write."""
        codec, container = self.codec, VIDEOS[self.path.suffix.lower()]
        encoder = _ENCODERS.get(codec)
        if encoder is None:
            raise PhotoError(
                f"{shown(self.path)} is encoded as {codec}, which halfmask cannot write; convert it, for example by: "
                "ffmpeg -i IN -c:v libx264 OUT.mp4"
            )
        try:
            formats = av.Codec(encoder.name, "w").video_formats or []
        except ValueError as error:
            raise PhotoError(
                f"{shown(self.path)} needs the encoder {encoder.name}, which this build of PyAV lacks; install PyAV's "
                "own wheel: pip install --force-reinstall av"
            ) from error
        if formats and self.colours.format not in [f.name for f in formats]:
            raise PhotoError(
                f"{shown(self.path)} has the pixel format {self.colours.format}, which {encoder.name} cannot write; "
                f"expected one of: {', '.join(f.name for f in formats)}"
            )
        options = dict(encoder.options)
        level = encoder.usual if quality is None else max(1, round(encoder.worst * (100 - quality) / 100))
        if encoder.worst > 31:
            options["crf"] = str(level)
        try:
            video = out.add_stream(encoder.name, rate=self.rate, options=options)
        except ValueError as error:
            raise PhotoError(f"{shown(self.path)} cannot be written as {codec} again: {error}. Convert it") from error
        context = video.codec_context
        if encoder.worst == 31:
            context.qscale = True
            context.global_quality = level
        if encoder.name == "libvpx":  # its constant quality keeps within a bit rate
            context.bit_rate = max(2_000_000, 2 * self.bit_rate)
        if container == "avi":
            context.max_b_frames = 0  # AVI knows one time a frame only
        unit = self.unit
        if encoder.name in _FRAME_TIMES:
            unit = _frame_time(times, unit) or 1 / self.rate
        context.width, context.height = self.size
        context.time_base = unit
        video.time_base = unit
        context.pix_fmt = self.colours.format
        context.thread_count = threads
        context.color_range = self.colours.range
        context.colorspace = self.colours.matrix
        context.color_primaries = self.colours.primaries
        context.color_trc = self.colours.transfer
        if self.aspect:
            context.sample_aspect_ratio = self.aspect
        if codec == "hevc" and container in ("mp4", "mov"):
            context.codec_tag = "hvc1"  # the name that Apple's players know
        if self.matrix is not None:
            video.set_display_matrix(self.matrix)
        return video

    def _see_kept(self, target: Path) -> None:
        """See that the pixels and colours of what was written are the clip's."""
        with self._telling("was written, but cannot be read again"), av.open(str(target)) as written:
            frame = next(written.decode(video=0), None)
        if frame is None:
            raise PhotoError(f"{shown(self.path)}: nothing was written of it; it may be damaged")
        before, after = self.colours, pictures.colours(frame)
        lost = [
            name
            for name in ("matrix", "primaries", "transfer")
            if getattr(before, name) not in (0, 2) and getattr(before, name) != getattr(after, name)
        ]
        lost += [name for name in ("bits", "full", "turn") if getattr(before, name) != getattr(after, name)]
        if lost:
            raise PhotoError(
                f"{shown(self.path)}: {self.codec} in a {self.path.suffix} does not keep how its colours are meant "
                f"({', '.join(lost)}); convert it, for example by: ffmpeg -i IN -c:v libx264 OUT.mkv"
            )

    def _within(self, time: float) -> bool:
        return self.span is None or self.span.start - 1e-6 <= time < self.span.end - 1e-6

    def _past(self, packet: Any) -> bool:
        return self.span is not None and float(packet.dts * packet.time_base) - self.start > self.span.end + 2

    def _check(self, frame: av.VideoFrame, last: int | None) -> None:
        at = f"{shown(self.path)} at {self.time(frame):.2f} s"
        if frame.interlaced_frame:
            raise PhotoError(
                f"{at} is interlaced, which halfmask does not write; make it progressive, for example by: ffmpeg -i IN "
                "-vf bwdif OUT"
            )
        if frame.pts is None or (last is not None and frame.pts <= last):
            raise PhotoError(f"{at} has a frame without a time of its own; write it anew: ffmpeg -i IN -c copy OUT")
        if (frame.width, frame.height, frame.format.name) != (*self.size, self.colours.format):
            raise PhotoError(
                f"{at} changes to {frame.width} x {frame.height}, {frame.format.name}; expected one size and pixel "
                "format throughout. Cut it there, or convert it"
            )

    @contextlib.contextmanager
    def _telling(self, what: str) -> Iterator[None]:
        try:
            yield
        except av.FFmpegError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
                raise OSError(error.errno, error.strerror) from error
            raise PhotoError(
                f"{shown(self.path)} {what}: {error.strerror}. It may be damaged, or of a kind that is not known"
            ) from error


def _mux(out: Any, video: Any, frame: av.VideoFrame | None, lengths: dict[int, int]) -> None:
    """Encode a frame, None for the last, and write what comes of it; ``lengths`` are the frames' by their times."""
    for packet in video.encode(frame):
        if packet.pts is not None:
            packet.duration = lengths.pop(packet.pts, packet.duration)
        out.mux(packet)


def _frame_time(times: Sequence[int], unit: Fraction) -> Fraction | None:
    """The time that all frames last a whole number of."""
    step = math.gcd(*(b - a for a, b in itertools.pairwise(times)))
    return step * unit if step else None
