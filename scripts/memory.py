"""Peak memory of ``halfmask protect`` on a large JPEG, made here of a small one: docs/formats.md quotes it.

python scripts/memory.py examples/astronaut.jpg --megapixels 200
"""

from __future__ import annotations

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

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


def main() -> None:
    """Make the photo, protect it in a process of its own, and print what that took."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("source", type=Path)
    parser.add_argument("--megapixels", type=float, default=200)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
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
