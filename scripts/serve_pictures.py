"""Pictures of the page for docs/serve.md: light, dark and on a phone, of the bundled portrait (public domain).

    python scripts/serve_pictures.py docs/figures

Needs halfmask[test] and Debian's Chromium.
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from playwright.sync_api import Page, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
os.environ["HALFMASK_KEY"] = "the pictures of the page"  # so that they come out the same
sys.path.insert(0, str(ROOT / "tests"))

from served import TOKEN, Running, encoded  # noqa: E402


def photos(folder: Path) -> list[Path]:
    """A photo of two faces, one the other's mirror image, and the portrait by itself."""
    portrait = np.asarray(Image.open(ROOT / "examples" / "astronaut.jpg").convert("RGB"))
    small = np.asarray(Image.fromarray(portrait[:400, :]).resize((384, 300)))[:, ::-1]
    pair = np.full((512, 896, 3), 120, np.uint8)
    pair[:, :512] = portrait
    pair[150:450, 512:896] = small
    paths = [folder / "class photo.jpg", folder / "portrait.jpg"]
    for path, pixels in zip(paths, (pair, portrait), strict=True):
        path.write_bytes(encoded(pixels))
    return paths


def opened(page: Page, address: str, files: list[Path]) -> None:
    """The page with these photos, the second face of the first switched off, everything computed."""
    page.goto(f"{address}#{TOKEN}")
    page.set_input_files("#pick", [str(path) for path in files])
    page.wait_for_selector("#faces .guess", timeout=120_000)
    page.locator("#face-2").uncheck()
    page.wait_for_selector("#faces li.off .mark", timeout=60_000)
    page.locator("#busy").wait_for(state="hidden", timeout=60_000)
    page.wait_for_selector("#faces .guess", timeout=60_000)
    page.evaluate("() => scrollTo(0, 0)")
    page.wait_for_timeout(1500)


def main(out: Path, work: Path) -> None:
    """Make them."""
    work.mkdir(parents=True, exist_ok=True)
    out.mkdir(parents=True, exist_ok=True)
    files = photos(work)
    with Running() as server, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=shutil.which("chromium"), args=["--no-sandbox"])
        for name, scheme, width, height in (
            ("serve-light", "light", 1280, 860),
            ("serve-dark", "dark", 1280, 860),
            ("serve-phone", "light", 360, 1500),
        ):
            page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": height})
            opened(page, server.address, files)
            page.screenshot(path=out / f"{name}.png")
            page.close()
        page = browser.new_page(viewport={"width": 1280, "height": 600})
        page.goto(f"{server.address}#{TOKEN}")
        page.wait_for_selector("#method option", state="attached")
        page.screenshot(path=out / "serve-start.png")
        browser.close()


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as temporary:
        main(Path(sys.argv[1]), Path(temporary))
