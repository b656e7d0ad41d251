"""Peak memory of ``halfmask protect``: docs/formats.md and docs/results/speed.md quote it.

    python scripts/memory.py examples/astronaut.jpg --megapixels 200    # one large JPEG, made here of a small one
    python scripts/memory.py DIR/lfw --photos 100000  # the same ones again and again, renamed

The second prints how much memory the process held after each tenth of the photos.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from PIL import Image

from halfmask.photos import jpeg


def make(source: Path, target: Path, megapixels: float) -> tuple[int, int]:
    """Write a 4:3 JPEG with the picture in its middle on gray, in strips, and give its size."""
    face = Image.open(source).convert("RGB")
    width = int((megapixels * 1e6 * 4 / 3) ** 0.5) // 16 * 16
    height = int(megapixels * 1e6 / width) // 16 * 16
    face = face.resize((height // 2, height // 2))
    left, top = (width - face.width) // 2, (height - face.height) // 2

    def strip(y0: int, y1: int) -> Image.Image:
        rows = Image.new("RGB", (width, y1 - y0), (128, 130, 126))
        rows.paste(face, (left, top - y0))
        return rows

    data = jpeg.encode_in_strips(strip, width, height, {"quality": 92, "subsampling": 2}, 16)
    assert data is not None
    target.write_bytes(data)
    return width, height


def repeated(source: Path, target: Path, count: int) -> None:
    """Lay ``count`` copies of the photos below ``source`` into folders of a thousand."""
    photos = sorted(source.rglob("*.jpg"))
    for i, photo in zip(range(count), itertools.cycle(photos), strict=False):
        place = target / f"{i // 1000:04d}"
        place.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(photo, place / f"{i:06d}.jpg")


def over(source: Path, count: int, folder: Path) -> None:
    """Protect many photos in one process; print its memory after each tenth of them."""
    repeated(source, folder / "in", count)
    run = [sys.executable, "-m", "halfmask", "protect", str(folder / "in"), "-o", str(folder / "out")]
    with (folder / "err").open("wb") as err:
        process = psutil.Popen([*run, "--workers", "1"], stdout=subprocess.DEVNULL, stderr=err)
    most, began, tenth = 0, time.perf_counter(), 1
    print("| photos | memory, MB | most so far, MB | minutes |\n|---|---|---|---|")
    while process.poll() is None:
        time.sleep(1)
        try:
            held = process.memory_info().rss
        except psutil.NoSuchProcess:
            break
        most = max(most, held)
        reached = folder / "out" / f"{(tenth * count // 10 - 1) // 1000:04d}" / f"{tenth * count // 10 - 1:06d}.jpg"
        if reached.exists():
            minutes = (time.perf_counter() - began) / 60
            print(f"| {tenth * count // 10} | {held / 1e6:.0f} | {most / 1e6:.0f} | {minutes:.0f} |", flush=True)
            tenth += 1
    print(f"exit {process.wait()}; {sum(1 for _ in (folder / 'out').rglob('*.jpg'))} photos written")


def main() -> None:
    """Make the photos, protect them in a process of its own, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("--megapixels", type=float, default=200)
    parser.add_argument("--photos", type=int, help="so many small ones instead")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.photos:
            over(asked.source, asked.photos, Path(folder))
            return
        photo, out = Path(folder, "large.jpg"), Path(folder, "out.jpg")
        width, height = make(asked.source, photo, asked.megapixels)
        began = time.perf_counter()
        run = [sys.executable, "-m", "halfmask", "protect", str(photo), "-o", str(out), "--max-pixels", "1000000000"]
        subprocess.run(run, check=True)
        peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        print(
            f"{width} x {height} = {width * height / 1e6:.0f} MP, {photo.stat().st_size / 1e6:.0f} MB: "
            f"{peak / 1e9:.2f} GB at the most, {time.perf_counter() - began:.0f} s"
        )


if __name__ == "__main__":
    main()
