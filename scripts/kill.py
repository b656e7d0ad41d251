"""``halfmask protect`` killed at random moments: the table for docs/hardening.md.

    python scripts/kill.py

A folder of small photos in several formats is protected by a process that is ended by SIGKILL, with its whole group,
at a moment drawn from a seed: most while outputs are written, some before. Each file that stands there then
under its own name has to be byte for byte what a run that nobody killed makes. Then the same command runs once more,
and the whole folder, hidden files and records included, has to be that of the other run. Each moment begins with an
empty folder. The key is fixed, since each user's differs.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import multiprocessing
import os
import random
import shutil
import signal
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from fuzz import samples

from halfmask.cli import main as command
from halfmask.storage import PART_SUFFIX, RECORD
from halfmask.tabular import markdown

#: The photos, by the names of :func:`fuzz.samples`; in the bilevel one no face is found.
PHOTOS = (
    "JPEG, baseline", "JPEG, progressive", "JPEG, CMYK", "JPEG, two views", "PNG, RGBA", "PNG, palette", "PNG, bilevel",
    "PNG, 16-bit RGB", "TIFF, strips, lzw", "TIFF, 16-bit RGB, deflate", "BMP, 24 bits", "WebP, lossless",
    "GIF, transparent", "AVIF, plain", "HEIC, plain",
)  # fmt: skip

ROWS = (
    "killed", "killed with no output", "killed with some", "killed with all outputs", "outputs there when killed",
    "broken files", "parts left by killed runs", "parts left after the second run",
    "second runs that end as the uninterrupted one", "ended before they could be killed",
)  # fmt: skip

Files = dict[str, bytes]


def album(folder: Path) -> None:
    """The photos, in two folders, and one file that is none."""
    (folder / "more").mkdir(parents=True)
    for number, sample in enumerate(s for s in samples() if s.name in PHOTOS):
        (folder / ("more" if number % 3 == 0 else "") / f"{number:02}{sample.suffix}").write_bytes(sample.data)
    (folder / "broken.jpg").write_bytes(b"\xff\xd8\xff no photo")


def files(folder: Path) -> Files:
    """Every file below a folder by its path in it, hidden ones as well."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def wrong(there: Files, expected: Files) -> list[str]:
    """What is wrong in a folder whose process was killed: files that are not whole, records with broken lines.

    The last line of a record may be half written. Parts with a hidden name may be there.

    >>> wrong({"a.jpg": b"who", f".0{PART_SUFFIX}": b"wh"}, {"a.jpg": b"whole"})
    ['a.jpg has 3 bytes, not those of an uninterrupted run']
    """
    found = []
    for name, data in there.items():
        last = name.rpartition("/")[2]
        if last == RECORD:
            try:
                for line in data.decode().split("\n")[:-1]:
                    json.loads(line)
            except ValueError as error:
                found.append(f"{name}: {error}")
        elif not (last.startswith(".") and last.endswith(PART_SUFFIX)) and data != expected.get(name):
            found.append(f"{name} has {len(data)} bytes, not those of an uninterrupted run")
    return found


def differing(there: Files, expected: Files) -> list[str]:
    """The files that are too many, absent or different.

    >>> differing({"a": b"1", "b": b"2"}, {"a": b"1", "c": b"3"})
    ['b', 'c']
    """
    return sorted(name for name in there | expected if there.get(name) != expected.get(name))


class Runs:
    """Runs of one command, each in a process and group of its own, forked from this one, which has done the imports."""

    def __init__(self, source: Path, options: Sequence[str]) -> None:
        self._source, self._options = source, options
        os.environ["HALFMASK_KEY"] = "scripts/kill.py"
        for name in ("cv2", "onnxruntime", "pillow_heif", "tqdm", "halfmask.protecting.pipeline"):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)

    def start(self, out: Path) -> multiprocessing.process.BaseProcess:
        """Begin a run."""
        words = ["protect", str(self._source), "-o", str(out), *self._options]
        process = multiprocessing.get_context("fork").Process(target=_run, args=(words,))
        process.start()
        _lead(process.pid)
        return process

    def watched(self, out: Path) -> tuple[int, float, float]:
        """An uninterrupted run: its exit code, seconds until something stands in the folder, and until its end."""
        began = time.monotonic()
        process = self.start(out)
        first = _first(process, out)
        process.join()
        return process.exitcode or 0, first - began, time.monotonic() - began

    def killed(self, out: Path, *, early: bool, delay: float) -> bool:
        """Kill a run ``delay`` seconds after its start, or after something stands in the folder; whether it ran still.

        ``early`` counts from the start.
        """
        process = self.start(out)
        if not early:
            _first(process, out)
        process.join(delay)
        if process.is_alive():
            os.killpg(process.pid or 0, signal.SIGKILL)
        process.join()
        return process.exitcode == -signal.SIGKILL


def _run(words: list[str]) -> None:
    _lead(0)
    silent = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silent, 1)
    os.dup2(silent, 2)
    command(words)


def _lead(process: int | None) -> None:
    """Make a process the leader of its group: both it and who started it do so, since either may come first."""
    with contextlib.suppress(OSError):
        os.setpgid(process or 0, process or 0)


def _first(process: multiprocessing.process.BaseProcess, out: Path) -> float:
    """The time at which the first file stands in a folder, or the process has ended."""
    while process.is_alive() and not (out.is_dir() and any(os.scandir(out))):
        time.sleep(0.002)
    return time.monotonic()


def main() -> int:
    """Kill and resume, and print the table; 1 when anything was wrong."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seed", type=int, default=14)
    parser.add_argument("--moments", type=int, default=100)
    parser.add_argument("options", nargs="*", default=["--if-no-face", "copy"], help="options of halfmask protect")
    asked = parser.parse_args()
    rng = random.Random(asked.seed)
    counts = Counter(dict.fromkeys(ROWS, 0))
    with tempfile.TemporaryDirectory() as folder:
        source, reference, out = (Path(folder, name) for name in ("album", "reference", "out"))
        album(source)
        runs = Runs(source, asked.options)
        code, first, end = runs.watched(reference)
        expected = files(reference)
        outputs = [name for name in expected if not name.endswith(RECORD)]
        print(f"uninterrupted: exit code {code}, {len(outputs)} outputs, first after {first:.1f} s, end at {end:.1f} s")
        while counts["killed"] < asked.moments:
            early = rng.random() < 0.1
            if not runs.killed(out, early=early, delay=rng.uniform(0.0, first if early else 1.1 * (end - first))):
                counts["ended before they could be killed"] += 1
                shutil.rmtree(out, ignore_errors=True)
                continue
            counts["killed"] += 1
            there = files(out) if out.is_dir() else {}
            done = sum(name in there for name in outputs)
            counts[f"killed with {'no output' if not done else 'all outputs' if done == len(outputs) else 'some'}"] += 1
            counts["outputs there when killed"] += done
            counts["parts left by killed runs"] += sum(name.endswith(PART_SUFFIX) for name in there)
            faults = wrong(there, expected)
            counts["broken files"] += len(faults)
            again = runs.watched(out)[0]
            after = files(out)
            left = [name for name in after if name.endswith(PART_SUFFIX)]
            counts["parts left after the second run"] += len(left)
            other = differing(after, expected)
            counts["second runs that end as the uninterrupted one"] += again == code and not other
            for what in (*faults, *other, *([] if again == code else [f"exit code {again}"])):
                print(f"moment {counts['killed']}: {what}", flush=True)
            shutil.rmtree(out)
    print(markdown([{"what": k, "n": counts[k]} for k in counts], {"what": f"{asked.moments} moments", "n": "count"}))
    right = counts["second runs that end as the uninterrupted one"] == counts["killed"]
    return int(not right or counts["broken files"] > 0)


if __name__ == "__main__":
    sys.exit(main())
