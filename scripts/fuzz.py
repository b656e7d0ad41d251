"""What halfmask does with damaged picture files: tables for docs/hardening.md.

    python scripts/fuzz.py

Tiny pictures in every format that is read, made here of examples/astronaut.jpg, are damaged at random: flipped bits,
cut ends, parts of other files, numbers that stand for lengths, zeros, wrong suffixes. Each file is a function of
(seed, number) and goes through a process of its own kind, which reads it, changes it, writes it and reads it again,
and in one of ten through the whole of ``halfmask.protect``. It passes when it is read, or refused with a
:class:`~halfmask.errors.PhotoError` that names it. Faults are any other exception, a process that ends (named by its
signal), more processor time than ``--seconds``, and more memory than ``--megabytes``.

The limit of pixels is set to ``--max-pixels``, so that a file which gets round it is seen by its memory.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import itertools
import multiprocessing
import queue
import resource
import signal
import struct
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, MpoImagePlugin, TiffImagePlugin

from halfmask import protect
from halfmask.errors import ExtraMissingError, PhotoError
from halfmask.photos import encode, png, tiff
from halfmask.photos.paste import Change
from halfmask.photos.reading import read
from halfmask.tabular import markdown

ROOT = Path(__file__).resolve().parents[1]
SIDE = 64
PROTECTED_EACH = 10  # one file in so many goes through the networks as well
WHOLE_EACH = 50  # one in so many is left as it is
CHANGED = 1_000_000  # pixels up to which a photo is changed and written, too

Pixels = NDArray[np.uint8]
_MPO = MpoImagePlugin.MpoImageFile.format  # its import teaches Pillow to write them


# --- pictures that are whole ---


@dataclass(frozen=True)
class Sample:
    """A whole file. ``format`` is its row in the table; ``still`` says whether it holds one picture, and is read."""

    name: str
    format: str
    suffix: str
    data: bytes
    still: bool = True


def samples(source: Path = ROOT / "examples" / "astronaut.jpg") -> list[Sample]:
    """Every kind of file that is read, and those of several pictures, which are refused."""
    with Image.open(source) as photo:
        rgb = photo.convert("RGB").crop((140, 20, 310, 190)).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
    gray, cmyk, bilevel = rgb.convert("L"), rgb.convert("CMYK"), rgb.convert("1")
    indexed = rgb.quantize(200)
    clear = rgb.copy()
    clear.putalpha(Image.linear_gradient("L").resize(rgb.size))
    other = ImageOps.mirror(rgb)
    deep = np.asarray(rgb).astype(np.uint16) * 257
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "Maker"
    exif.get_ifd(0x8769)[0x9003] = "2020:01:01 00:00:00"
    icc = bytes(128) + b"profile"
    found: list[Sample] = []

    def add(name: str, format: str, suffix: str, data: bytes, still: bool = True) -> None:
        found.append(Sample(f"{format}, {name}", format, suffix, data, still))

    def save(name: str, format: str, suffix: str, image: Image.Image, still: bool = True, **options: object) -> None:
        out = io.BytesIO()
        if not still or name == "two views":  # a copy, since Pillow writes on what it saves
            options |= {"append_images": [other.copy()]}
        image.copy().save(out, options.pop("as_", format), **options)
        add(name, format, suffix, out.getvalue(), still)

    save("baseline", "JPEG", ".jpg", rgb)
    save("progressive", "JPEG", ".jpg", rgb, progressive=True)
    save("restart markers", "JPEG", ".jpeg", rgb, subsampling=0, restart_marker_rows=1)
    save("gray", "JPEG", ".jpg", gray)
    save("CMYK", "JPEG", ".jpg", cmyk)
    save("EXIF, ICC and comment", "JPEG", ".JPG", rgb, exif=exif, icc_profile=icc, comment=b"hello", dpi=(300, 300))
    add("motion video", "JPEG", ".jpg", found[0].data + b"\0\0\0\x18ftypmp42" + bytes(200))
    save("two views", "JPEG", ".mpo", rgb, as_=_MPO, save_all=True)

    save("RGB", "PNG", ".png", rgb, icc_profile=icc, dpi=(72, 72), exif=exif)
    save("RGBA", "PNG", ".png", clear)
    save("gray and alpha", "PNG", ".png", clear.convert("LA"))
    save("palette", "PNG", ".png", indexed, transparency=b"\0\x80")
    save("bilevel", "PNG", ".png", bilevel)
    save("4 bits", "PNG", ".png", rgb.quantize(16), bits=4)
    save("colour key", "PNG", ".png", rgb, transparency=(1, 2, 3))
    for channels, named in ((1, "gray"), (2, "gray and alpha"), (3, "RGB"), (4, "RGBA")):
        stack = np.concatenate([deep, deep[..., :1]], axis=2)[..., :channels]
        add(f"16-bit {named}", "PNG", ".png", png.encode16(stack if channels > 1 else stack[..., 0]))
    add("interlaced", "PNG", ".png", interlaced(np.asarray(rgb)))
    save("animation", "PNG", ".apng", rgb, still=False, save_all=True)

    for compression in ("raw", "tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        options = {} if compression == "raw" else {"compression": compression}
        save(f"strips, {compression.removeprefix('tiff_')}", "TIFF", ".tif", rgb, **options)
    save("fax", "TIFF", ".tif", bilevel, compression="group4")
    save("CMYK", "TIFF", ".tiff", cmyk)
    save("palette", "TIFF", ".tif", indexed)
    save("RGBA, EXIF", "TIFF", ".tif", clear, exif=exif, icc_profile=icc)
    save("big", "TIFF", ".tif", rgb, big_tiff=True)
    save("16-bit gray", "TIFF", ".tif", Image.fromarray(deep[..., 0]))
    save("pages", "TIFF", ".tif", rgb, still=False, save_all=True)
    add("tiles", "TIFF", ".tif", tiled(np.asarray(rgb)))
    for compress in (False, True):
        plain = {"icc": icc, "dpi": (72.0, 72.0), "exif": None, "xmp": None}
        add(f"16-bit RGB{', deflate' * compress}", "TIFF", ".tif", tiff.encode16(deep, compress=compress, **plain))

    for image, named in ((rgb, "24 bits"), (gray, "8 bits"), (indexed, "palette"), (bilevel, "1 bit")):
        save(named, "BMP", ".bmp", image)
    add("32 bits", "BMP", ".bmp", encode.encode(
        np.asarray(clear), "RGBA", None, encode.Traits(), source=None, target="BMP", quality=None, keep_metadata=False
    ))  # fmt: skip
    add("run lengths", "BMP", ".bmp", run_lengths(np.asarray(gray)))

    save("lossy", "WebP", ".webp", rgb, exif=exif, icc_profile=icc)
    save("lossless", "WebP", ".webp", rgb, lossless=True)
    save("alpha", "WebP", ".webp", clear)
    save("animation", "WebP", ".webp", rgb, still=False, save_all=True, duration=50)

    save("interlaced", "GIF", ".gif", indexed)
    save("transparent", "GIF", ".gif", indexed, transparency=7, interlace=0, comment=b"hello")
    save("animation", "GIF", ".gif", indexed, still=False, save_all=True)

    if "AVIF" in Image.SAVE:
        save("plain", "AVIF", ".avif", rgb, exif=exif)
        save("alpha", "AVIF", ".avif", clear)
        save("gray", "AVIF", ".avif", gray)
        save("animation", "AVIF", ".avifs", rgb, still=False, save_all=True, duration=50)
    if encode.register_heif() and "HEIF" in Image.SAVE:
        save("plain", "HEIC", ".heic", rgb, as_="HEIF", exif=exif)
        save("alpha", "HEIC", ".heic", clear, as_="HEIF")
        traits = encode.Traits(bits=10, cicp=(9, 16, 9, True))
        add("10-bit PQ", "HEIC", ".hif", encode.encode(
            deep, "RGB;16", None, traits, source=None, target="HEIF", quality=None, keep_metadata=False
        ))  # fmt: skip
        save("several pictures", "HEIC", ".heic", rgb, still=False, as_="HEIF", save_all=True)
    return found


def interlaced(pixels: Pixels) -> bytes:
    """An Adam7 PNG of RGB samples, which no writer at hand makes."""
    height, width = pixels.shape[:2]
    passes = ((0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1))
    rows = b"".join(
        b"".join(b"\0" + row.tobytes() for row in pixels[y::down, x::across] if row.size)
        for y, x, down, across in passes
    )
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 1)
    parts = (png.chunk(b"IHDR", head), png.chunk(b"IDAT", zlib.compress(rows)), png.chunk(b"IEND", b""))
    return png.SIGNATURE + b"".join(parts)


def tiled(pixels: Pixels, side: int = 32) -> bytes:
    """A TIFF in uncompressed tiles of RGB samples; the sides of the picture are multiples of the tile's."""
    height, width = pixels.shape[:2]
    tiles = [
        pixels[y : y + side, x : x + side].tobytes() for y in range(0, height, side) for x in range(0, width, side)
    ]
    ifd = TiffImagePlugin.ImageFileDirectory_v2(prefix=b"II")
    ifd[256], ifd[257], ifd[258], ifd[259], ifd[262], ifd[277], ifd[284] = width, height, (8, 8, 8), 1, 2, 3, 1
    ifd[322], ifd[323] = side, side
    ifd[325] = tuple(len(tile) for tile in tiles)
    start = 0
    for _ in range(2):  # once to see how long it is
        out = io.BytesIO()
        ifd.tagtype[324] = ifd.tagtype[325] = 4
        ifd[324] = tuple(start + sum(map(len, tiles[:i])) for i in range(len(tiles)))
        ifd.save(out)
        start = len(out.getvalue())
    return out.getvalue() + b"".join(tiles)


def run_lengths(gray: Pixels) -> bytes:
    """A BMP of 8 bits a pixel, packed by run lengths (BI_RLE8)."""
    height, width = gray.shape
    rows = []
    for row in gray[::-1]:
        starts = [0, *(np.flatnonzero(np.diff(row)) + 1).tolist(), width]
        pairs = [(end - start, int(row[start])) for start, end in itertools.pairwise(starts)]
        rows.append(b"".join(bytes(pair) for pair in pairs) + b"\0\0")
    data = b"".join(rows) + b"\0\1"
    colours = b"".join(bytes((i, i, i, 0)) for i in range(256))
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 8, 1, len(data), 0, 0, 256, 0)
    place = 14 + len(head) + len(colours)
    return struct.pack("<2sIHHI", b"BM", place + len(data), 0, 0, place) + head + colours + data


# --- pictures that are not ---


def flipped(data: bytearray, rng: np.random.Generator, others: Sequence[Sample]) -> bytearray:
    """One to sixteen bits the other way."""
    for _ in range(int(rng.integers(1, 17))):
        data[place(data, rng)] ^= 1 << int(rng.integers(8))
    return data


def cut(data: bytearray, rng: np.random.Generator, others: Sequence[Sample]) -> bytearray:
    """The end is missing, or the middle."""
    a, b = sorted(rng.integers(0, len(data) + 1, 2).tolist())
    return data[:a] if rng.random() < 0.6 else data[:a] + data[b:]


def spliced(data: bytearray, rng: np.random.Generator, others: Sequence[Sample]) -> bytearray:
    """A part of another file, or of this one, put between or over what is there."""
    other = others[int(rng.integers(len(others)))].data if rng.random() < 0.7 else bytes(data)
    a, b = sorted(rng.integers(0, len(other) + 1, 2).tolist())
    at = place(data, rng)
    end = at if rng.random() < 0.5 else at + b - a
    return data[:at] + other[a : min(b, a + 4096)] + data[end:]


def lengths(data: bytearray, rng: np.random.Generator, others: Sequence[Sample]) -> bytearray:
    """One to three fields of 1 to 8 bytes hold a number at an edge."""
    for _ in range(int(rng.integers(1, 4))):
        size = int(rng.choice([1, 2, 4, 8], p=[0.2, 0.4, 0.35, 0.05]))
        bits = 8 * size
        edges = [0, 1, 2, 7, 0x7F, (1 << bits) - 1, (1 << bits - 1) - 1, 1 << bits - 1, len(data), 65500, 5000]
        number = int(edges[int(rng.integers(len(edges)))]) & ((1 << bits) - 1)
        at = min(place(data, rng), max(0, len(data) - size))
        data[at : at + size] = number.to_bytes(size, "big" if rng.random() < 0.5 else "little")
    return data


def zeroed(data: bytearray, rng: np.random.Generator, others: Sequence[Sample]) -> bytearray:
    """A range of one value, mostly 0, as a broken disk or download leaves it."""
    at = place(data, rng)
    size = min(int(2 ** rng.uniform(0, 12)), len(data) - at)
    data[at : at + size] = bytes([0 if rng.random() < 0.7 else 255]) * size
    return data


def grown(data: bytearray, rng: np.random.Generator, others: Sequence[Sample]) -> bytearray:
    """Something follows: noise, zeros, or another file."""
    kind = int(rng.integers(3))
    tail = rng.integers(0, 256, 600, np.uint8).tobytes() if kind == 0 else bytes(5000)
    return data + (others[int(rng.integers(len(others)))].data if kind == 2 else tail)


def place(data: bytearray, rng: np.random.Generator) -> int:
    """Somewhere in a file: as often among its first 256 bytes, where most of what decides stands."""
    return int(rng.integers(min(256, len(data)) if rng.random() < 0.5 else len(data)))


MUTATIONS: dict[str, Callable[[bytearray, np.random.Generator, Sequence[Sample]], bytearray]] = {
    "flipped bits": flipped, "cut": cut, "spliced": spliced, "lengths": lengths, "zeroed": zeroed, "grown": grown,
}  # fmt: skip


def checked_again(data: bytes) -> bytes:
    """A damaged PNG whose chunks have right checksums all the same, so that more than the checksums is tried."""
    out, at = bytearray(data[:8]), 8
    while at + 12 <= len(data):
        length = int.from_bytes(data[at : at + 4], "big")
        if at + 12 + length > len(data):
            break
        out += png.chunk(data[at + 4 : at + 8], data[at + 8 : at + 8 + length])
        at += 12 + length
    return bytes(out) + data[at:]


@dataclass(frozen=True)
class Case:
    """One file to try: the sample that it was, what was done to it, its name and bytes."""

    number: int
    sample: Sample
    how: str
    name: str
    data: bytes


def case(seed: int, number: int, whole: Sequence[Sample]) -> Case:
    """The file of this number."""
    rng = np.random.default_rng([seed, number])
    formats = sorted({sample.format for sample in whole})
    format = formats[int(rng.integers(len(formats)))]
    mine = [sample for sample in whole if sample.format == format]
    sample = mine[int(rng.integers(len(mine)))]
    data, suffix, how = sample.data, sample.suffix, []
    if number % WHOLE_EACH:
        for _ in range(1 if rng.random() < 0.7 else 2):
            kind = list(MUTATIONS)[int(rng.integers(len(MUTATIONS)))]
            data = bytes(MUTATIONS[kind](bytearray(data), rng, whole)) if data else data
            how.append(kind)
        if format == "PNG" and data.startswith(png.SIGNATURE) and rng.random() < 0.6:
            data = checked_again(data)
        if rng.random() < 0.1:
            suffix = str(rng.choice([".jpg", ".png", ".tif", ".heic", ".avif", ".gif", ".bmp", ".webp", "", ".txt"]))
            how.append("wrong suffix")
    return Case(number, sample, " and ".join(how) or "whole", f"{number:06}{suffix}", data)


# --- trying them ---


@dataclass(frozen=True)
class Outcome:
    """What became of a file. ``kind`` is "read", "protected", "refused" or "fault"; ``why`` tells of the last two."""

    kind: str
    why: str = ""
    seconds: float = 0.0
    megabytes: float = 0.0


def attempt(path: Path, whole: bool, max_pixels: int) -> tuple[str, str]:
    """Read, change, write and read again; with ``whole`` protect it. Gives kind and reason of an :class:`Outcome`."""
    try:
        photo = read(path, max_pixels=max_pixels)
        photo.pixels.max()
        if photo.width * photo.height <= CHANGED:
            x, y = photo.width // 4, photo.height // 4
            box = (x, y, x + max(1, photo.width // 2), y + max(1, photo.height // 2))
            delta = np.full((box[3] - box[1], box[2] - box[0], 3), 0.1, np.float32)
            again = read(photo.with_changes([Change(box, delta)]).encode(keep_metadata=True))
            if (again.width, again.height) != (photo.width, photo.height):
                return "fault", f"written with {again.width} x {again.height}, read with {photo.width} x {photo.height}"
        if whole:
            result = protect(path, if_no_face="copy", score=False, max_pixels=max_pixels, threads=1)
            result.photo.encode()
            return "protected" if result.faces else "read", ""
        return "read", ""
    except (PhotoError, ExtraMissingError) as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, MemoryError) or "nsufficient memory" in str(cause):
                return "fault", f"more memory than there is: {error}"
            cause = cause.__cause__
        return ("refused" if path.name in str(error) else "fault"), str(error)
    except Exception as error:
        where = error.__traceback__
        while where and where.tb_next:
            where = where.tb_next
        place = f"{Path(where.tb_frame.f_code.co_filename).name}:{where.tb_lineno}" if where else "?"
        return "fault", f"{type(error).__name__} at {place}: {error}"


def resident(name: str) -> float:
    """Megabytes of memory by that name in /proc; 0 where there is none."""
    try:
        text = Path("/proc/self/status").read_text()
    except OSError:
        return 0.0
    return next(int(line.split()[1]) / 1024 for line in text.splitlines() if line.startswith(name))


@dataclass(frozen=True)
class Limits:
    """What a file may take: processor time, megabytes beyond what the process had, and pixels."""

    seconds: float = 10
    megabytes: float = 400
    max_pixels: int = 10_000_000


Work = Callable[[Path, bool, int], tuple[str, str]]


def serve(
    pipe: Connection, numbers: Sequence[int], seed: int, whole: Sequence[Sample], limits: Limits, work: Work
) -> None:
    """Try files and send an :class:`Outcome` each, in their order. Ends by SIGPROF when one takes too long."""
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with tempfile.TemporaryDirectory() as folder:
        for number in numbers:
            one = case(seed, number, whole)
            path = Path(folder, one.name)
            path.write_bytes(one.data)
            if base := resident("VmRSS"):
                Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from here
            began = time.process_time()
            signal.setitimer(signal.ITIMER_PROF, limits.seconds)
            kind, why = work(path, number % PROTECTED_EACH == 0, limits.max_pixels)
            signal.setitimer(signal.ITIMER_PROF, 0)
            seconds, megabytes = time.process_time() - began, max(0.0, resident("VmHWM") - base)
            if megabytes > limits.megabytes:
                kind, why = "fault", f"{megabytes:.0f} MB of memory; then {kind} {why}"
            pipe.send(Outcome(kind, why, seconds, megabytes))
            path.unlink()


def tried(
    numbers: Sequence[int], seed: int, whole: Sequence[Sample], limits: Limits, work: Work = attempt
) -> Iterator[tuple[Case, Outcome]]:
    """Each file of these numbers and what became of it. A process that a file ends is replaced by another."""
    spawn = multiprocessing.get_context("spawn")
    left = list(numbers)
    while left:
        ours, theirs = spawn.Pipe(duplex=False)
        process = spawn.Process(target=serve, args=(theirs, left, seed, whole, limits, work), daemon=True)
        process.start()
        theirs.close()
        while left:
            lost = None
            try:
                wait = 60 + 30 * limits.seconds  # it sleeps then, since processor time is cut off in there
                lost = None if ours.poll(wait) else f"no answer in {wait:.0f} s"
                outcome = Outcome("fault", lost) if lost else ours.recv()
            except EOFError:
                process.join()
                lost = how_ended(process.exitcode or 0, limits)
                outcome = Outcome("fault", lost)
            yield case(seed, left.pop(0), whole), outcome
            if lost:
                break
        process.kill()
        process.join()
        ours.close()


def at_once(
    jobs: int, numbers: Sequence[int], seed: int, whole: Sequence[Sample], limits: Limits
) -> Iterator[tuple[Case, Outcome]]:
    """As :func:`tried`, in several processes, each with its share of the numbers; in no fixed order."""
    done: queue.SimpleQueue[tuple[Case, Outcome]] = queue.SimpleQueue()

    def work(share: Sequence[int]) -> None:
        for result in tried(share, seed, whole, limits):
            done.put(result)

    shares = [numbers[start::jobs] for start in range(jobs) if numbers[start::jobs]]
    with ThreadPoolExecutor(jobs) as pool:
        running = [pool.submit(work, share) for share in shares]
        for _ in numbers:
            while True:
                with contextlib.suppress(queue.Empty):
                    yield done.get(timeout=1)
                    break
                for future in running:
                    if future.done():
                        future.result()  # it may have failed itself


def how_ended(code: int, limits: Limits) -> str:
    """What the exit code of a process says of its last file."""
    if code == -signal.SIGPROF:
        return f"more than {limits.seconds:.0f} s of processor time"
    return f"the process ended: {signal.Signals(-code).name if code < 0 else f'exit code {code}'}"


def table(done: Sequence[tuple[Case, Outcome]], by: Callable[[Case], str], heading: str) -> str:
    """Counts by something, with the worst time and memory, and a last line of all."""
    rows = []
    for name in [*sorted({by(one) for one, _ in done}), "all"]:
        mine = [(one, outcome) for one, outcome in done if name in ("all", by(one))]
        kinds = [outcome.kind for _, outcome in mine]
        rows.append({
            "name": name, "files": len(mine), "read": kinds.count("read") + kinds.count("protected"),
            "protected": kinds.count("protected"), "refused": kinds.count("refused"), "faults": kinds.count("fault"),
            "seconds": max(outcome.seconds for _, outcome in mine),
            "megabytes": max(outcome.megabytes for _, outcome in mine),
        })  # fmt: skip
    columns = {
        "name": heading, "files": "files", "read": "read", "protected": "of these, protected", "refused": "refused",
        "faults": "faults", "seconds": "longest, s|.1f", "megabytes": "most memory, MB|.0f",
    }  # fmt: skip
    return markdown(rows, columns)


def main() -> int:
    """Try the files and print the tables; 1 when there was a fault."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--files", type=int, default=10_000)
    parser.add_argument("--only", type=int, help="the file of this number alone")
    parser.add_argument("--jobs", type=int, default=1, help="processes")
    parser.add_argument("--keep", type=Path, help="a folder for the files at fault, or that one")
    parser.add_argument("--seconds", type=float, default=Limits.seconds)
    parser.add_argument("--megabytes", type=float, default=Limits.megabytes)
    parser.add_argument("--max-pixels", type=int, default=Limits.max_pixels)
    asked = parser.parse_args()
    limits = Limits(asked.seconds, asked.megabytes, asked.max_pixels)
    numbers = range(asked.files) if asked.only is None else [asked.only]
    done = []
    for one, outcome in at_once(asked.jobs, numbers, asked.seed, samples(), limits):
        if one.how == "whole" and one.sample.still and outcome.kind == "refused":
            outcome = Outcome("fault", f"whole, and refused: {outcome.why}")
        done.append((one, outcome))
        if (outcome.kind == "fault" or asked.only is not None) and asked.keep is not None:
            asked.keep.mkdir(parents=True, exist_ok=True)
            (asked.keep / one.name).write_bytes(one.data)
        if outcome.kind == "fault" or asked.only is not None:
            print(f"{one.name}: {one.sample.name}, {one.how}: {outcome.kind}: {outcome.why}", flush=True)
    print(table(done, lambda one: one.sample.format, "format"), "", sep="\n")
    print(table(done, lambda one: one.how.split(" and ")[0], "first change"))
    return int(any(outcome.kind == "fault" for _, outcome in done))


if __name__ == "__main__":
    sys.exit(main())
