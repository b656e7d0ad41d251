"""The same file with other frames: what goes along, what does not, and what is refused."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from films import RED, film, picture, planes, walk

from halfmask.errors import PhotoError
from halfmask.video.container import Clip, Span

UNEVEN = [0, 40, 100, 140, 300, 340, 500, 540]
PLACE = {"location": "+48.8577+002.2950/", "title": "at home", "creation_time": "2020-01-01T00:00:00Z"}


def keep(frame: av.VideoFrame) -> None:
    """A change of nothing."""


def rewritten(source: Path, *, span: Span | None = None, **options: Any) -> Path:
    clip = Clip(source, span=span)
    target = source.with_name(f"new{source.suffix}")
    clip.rewrite(target, keep, [int(frame.pts or 0) for frame in clip.frames()], **options)
    return target


def packets(path: Path, kind: str) -> list[tuple[Fraction, bytes]]:
    with av.open(str(path)) as file:
        streams = [s for s in file.streams if s.type == kind]
        found = file.demux(*streams) if streams else ()
        pairs = [(p.pts * p.time_base, bytes(p)) for p in found if p.pts is not None and p.size]
        return [pair for pair in pairs if pair[1] != b"\0\0"]  # a subtitle of nothing, by which MP4 fills gaps


def times(path: Path) -> list[Fraction]:
    with av.open(str(path)) as file:
        return [f.pts * f.time_base for f in file.decode(video=0)]


@pytest.mark.parametrize(
    ("name", "words", "codec"),
    [("a.mp4", "mov_text", "libx264"), ("a.mov", "mov_text", "libx264"), ("a.mkv", "subrip", "libx264")],
)
def test_sound_subtitles_chapters_and_uneven_times_stay(tmp_path: Path, name: str, words: str, codec: str) -> None:
    source = film(tmp_path / name, walk(8), UNEVEN, codec=codec, sound=True, words=words, chapters=True, metadata=PLACE)
    target = rewritten(source)
    for kind in ("audio", "subtitle"):
        assert packets(target, kind) == packets(source, kind)
    assert packets(target, "audio")
    assert times(target) == times(source) == [Fraction(t, 1000) for t in UNEVEN]
    with av.open(str(target)) as file, av.open(str(source)) as old:
        (chapter,) = file.chapters()
        assert (chapter["start"] * chapter["time_base"], chapter["end"] * chapter["time_base"]) == (0, Fraction(1, 5))
        assert chapter["metadata"] == {"title": "the first"}
        assert file.streams.audio[0].metadata["language"] == "fra"
        told = str(file.metadata) + "".join(str(stream.metadata) for stream in file.streams)
        assert "48.85" not in told
        assert "2020" not in told
        assert "at home" not in told
        assert "kitchen" not in told
        assert "48.85" in str(old.metadata)


def test_metadata_stay_when_they_are_wanted(tmp_path: Path) -> None:
    target = rewritten(film(tmp_path / "a.mp4", walk(3), codec="libx264", metadata=PLACE), keep_metadata=True)
    with av.open(str(target)) as file:
        assert file.metadata["location"].startswith("+48.8577")
        assert file.metadata["title"] == "at home"


@pytest.mark.parametrize("rotation", [-90, 90, 180])
def test_rotation_stays(tmp_path: Path, rotation: int) -> None:
    source = film(tmp_path / "a.mp4", walk(3), codec="libx264", rotation=rotation)
    clip = Clip(source)
    assert clip.seen_size == ((128, 96) if rotation == 180 else (96, 128))
    with av.open(str(rewritten(source))) as file:
        frame = next(file.decode(video=0))
        assert abs(frame.rotation) == abs(rotation)
        assert (frame.rotation - rotation) % 360 == 0
        assert (frame.width, frame.height) == (128, 96)


@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p", "yuv420p10le"])
def test_a_lossless_clip_that_nothing_changes_is_the_same(tmp_path: Path, pixels: str) -> None:
    source = film(tmp_path / "a.mkv", walk(4), pixels=pixels)
    for old, new in zip(planes(source), planes(rewritten(source)), strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(old, new, strict=True))


@pytest.mark.parametrize(
    ("name", "codec", "pixels", "colours"),
    [
        ("a.mp4", "libx264", "yuv420p", (1, 1, 1, 1)),
        ("a.mp4", "libx264", "yuvj420p", (6, 6, 6, 2)),
        ("a.mp4", "libx265", "yuv420p10le", (9, 9, 16, 1)),
        ("a.mkv", "libx264", "yuv422p", (1, 1, 1, 1)),
        ("a.webm", "libvpx-vp9", "yuv420p", (1, 1, 1, 1)),
        ("a.webm", "libvpx", "yuv420p", (2, 2, 2, 0)),
        ("a.mkv", "libsvtav1", "yuv420p10le", (9, 9, 18, 1)),
        ("a.avi", "mpeg4", "yuv420p", (2, 2, 2, 0)),
        ("a.mov", "mjpeg", "yuvj420p", (2, 2, 2, 2)),
        ("a.mkv", "mpeg2video", "yuv420p", (2, 2, 2, 1)),
        ("a.ts", "libx264", "yuv420p", (1, 1, 1, 1)),
        ("a.mov", "prores_ks", "yuv422p10le", (1, 1, 1, 0)),
    ],
)
def test_codec_pixels_colours_and_times_stay(
    tmp_path: Path, name: str, codec: str, pixels: str, colours: tuple[int, int, int, int]
) -> None:
    options = {"x265-params": "log-level=error"} if codec == "libx265" else {}
    options |= {"preset": "12"} if codec == "libsvtav1" else {}
    unit = Fraction(1, 25) if codec in ("mpeg4", "mpeg2video", "mjpeg", "prores_ks") else Fraction(1, 1000)
    sound = name.endswith(("webm", "ts"))
    source = film(tmp_path / name, walk(6), codec=codec, pixels=pixels, colours=colours, options=options, unit=unit,
                  sound=sound)  # fmt: skip
    target = rewritten(source)
    before, after = Clip(source), Clip(target)
    assert after.codec == before.codec
    assert after.colours == before.colours
    assert times(target) == times(source)
    assert len(times(target)) == 6
    assert packets(target, "audio") == packets(source, "audio")


def test_quality_is_heard(tmp_path: Path, rng: np.random.Generator) -> None:
    noise = [rng.integers(0, 255, (96, 128, 3), np.uint8) for _ in range(4)]
    source = film(tmp_path / "a.mp4", noise, codec="libx264")
    sizes = [rewritten(source, quality=quality).stat().st_size for quality in (20, 60, 95)]
    assert sizes == sorted(sizes)
    assert sizes[0] * 3 < sizes[2]


def test_a_preview_is_of_these_seconds_and_begins_at_0(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", walk(20), codec="libx264", sound=True, options={"g": "5"})
    assert times(rewritten(source, span=Span(0, 0.2))) == [Fraction(40 * i, 1000) for i in range(5)]
    later = rewritten(source, span=Span(0.4, 0.2))
    assert times(later) == [Fraction(40 * i, 1000) for i in range(5)]
    assert all(time < 1 for time, _ in packets(later, "audio"))


def silence(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        audio = out.add_stream("aac", rate=48000)
        audio.codec_context.layout = "mono"
        chunk = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        chunk.sample_rate, chunk.pts = 48000, 0
        out.mux(audio.encode(chunk))
        out.mux(audio.encode(None))
    return path


def noise(path: Path) -> Path:
    path.write_bytes(np.random.default_rng(0).bytes(5000))
    return path


def two(path: Path) -> Path:
    with av.open(str(path), "w") as out:
        videos = [out.add_stream("libx264", rate=25, width=64, height=64) for _ in range(2)]
        for video in videos:
            out.mux(video.encode(av.VideoFrame.from_ndarray(picture({}, (64, 64)), "rgb24").reformat(format="yuv420p")))
        for video in videos:
            out.mux(video.encode(None))
    return path


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda p: silence(p / "a.mp4"), "holds no video that can be read; expected one"),
        (lambda p: two(p / "a.mp4"), "holds 2 videos that can be read; expected one"),
        (lambda p: noise(p / "a.mp4"), "is no video that can be read"),
        (lambda p: film(p / "a.mkv", walk(2), pixels="bgr0"), "pixel format is bgr0; expected planar YUV"),
        (
            lambda p: film(p / "a.mkv", walk(2), codec="libx264", pixels="yuv444p", colours=(8, 1, 1, 1)),
            "matrix is number 8",
        ),
    ],
    ids=["sound", "two", "noise", "pixels", "matrix"],
)
def test_what_is_no_video_or_could_not_be_kept_is_refused(tmp_path: Path, make: Any, words: str) -> None:
    with pytest.raises(PhotoError, match=words):
        Clip(make(tmp_path))


def test_an_interlaced_clip_is_refused(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mkv", walk(4), codec="mpeg2video", unit=Fraction(1, 25), interlaced=True)
    with pytest.raises(PhotoError, match=r"interlaced.*bwdif"):
        list(Clip(source).frames())


def test_a_codec_without_an_encoder_is_refused(tmp_path: Path) -> None:
    clip = Clip(film(tmp_path / "a.mkv", walk(2)))
    clip.codec = "theora"
    with pytest.raises(PhotoError, match="encoded as theora, which halfmask cannot write"):
        clip.rewrite(tmp_path / "b.mkv", keep, [0, 40])


def test_a_clip_that_ends_early_is_damaged(tmp_path: Path) -> None:
    source = film(tmp_path / "a.mp4", [picture({RED: (5 * i, 20, 40)}) for i in range(12)], codec="libx264")
    source.write_bytes(source.read_bytes()[:900])
    with pytest.raises(PhotoError, match=r"a\.mp4"):
        list(Clip(source).frames())
