"""The page in a real browser, Debian's Chromium, as somebody uses it."""

from __future__ import annotations

import io
import shutil
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from served import TOKEN, Running

import halfmask
from halfmask.weights import store

axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-playwright-python")
api = pytest.importorskip("playwright.sync_api", reason="needs playwright")

#: A page that is computed on, on a busy machine.
LONG = 120_000
TYPES = {"jpg": "image/jpeg", "png": "image/png", "txt": "text/plain"}
CHROMIUM = shutil.which("chromium")
pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="needs Debian's Chromium, which is not installed here: apt-get install chromium"
)


@pytest.fixture(scope="module")
def chromium() -> Iterator[api.Browser]:
    with api.sync_playwright() as play:
        browser = play.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def server(key: str, needs_models: None) -> Iterator[Running]:
    with Running() as server:
        yield server


class Opened:
    """A page that was opened as halfmask serve opens it, and what it complains of."""

    def __init__(self, browser: api.Browser, server: Running, **how: object) -> None:
        self.page = browser.new_page(**how)
        self.page.set_default_timeout(LONG)
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("console", lambda said: said.type == "error" and self.complaints.append(said.text))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(f"{server.address}#{TOKEN}")
        self.page.locator("#method option").first.wait_for(state="attached")

    def give(self, *photos: tuple[str, bytes]) -> None:
        files = [{"name": name, "mimeType": TYPES.get(name[-3:], ""), "buffer": data} for name, data in photos]
        self.page.locator("#pick").set_input_files(files)

    def settled(self) -> None:
        """Wait until all that was asked is there, guesses among it."""
        self.page.locator("#faces .match").first.wait_for()
        self.page.locator("#busy").wait_for(state="hidden")

    def saved(self, button: str) -> bytes:
        with self.page.expect_download() as coming:
            self.page.locator(button).click()
        return Path(coming.value.path()).read_bytes()


@pytest.fixture
def opened(chromium: api.Browser, server: Running) -> Iterator[Opened]:
    opened = Opened(chromium, server)
    yield opened
    opened.page.close()
    assert opened.complaints == []
    assert {url.split("/")[2] for url in opened.asked if not url.startswith("blob:")} == {f"127.0.0.1:{server.port}"}


def drop(page: api.Page, name: str, data: bytes) -> None:
    """Drop a file onto the page, as a mouse does."""
    put = """([name, data]) => {
        const given = new DataTransfer();
        given.items.add(new File([new Uint8Array(data)], name, { type: "image/png" }));
        document.getElementById("drop").dispatchEvent(
            new DragEvent("drop", { dataTransfer: given, bubbles: true, cancelable: true }));
    }"""
    page.evaluate(put, [name, list(data)])


def test_a_photo_is_dropped_looked_at_and_downloaded(opened: Opened, pair: bytes, key: str) -> None:
    page = opened.page
    assert TOKEN not in page.url
    drop(page, "two people.png", pair)
    frames = page.locator("#boxes .face")
    frames.nth(1).wait_for()
    assert frames.count() == 2
    opened.settled()
    assert page.locator("#faces .state").all_inner_texts() == ["protected", "protected"]
    assert page.locator("#faces .guess").count() == 6  # gender, age and race of two

    # a face is switched off in the photo itself, and says that it is unprotected wherever it stands
    frames.nth(1).click()
    page.locator("#faces li.off").wait_for()
    opened.settled()
    assert page.locator("#face-2").is_checked() is False
    assert "UNPROTECTED" in frames.nth(1).inner_text()
    assert "UNPROTECTED" in page.locator("#faces li.off").inner_text()
    assert "1 of 2 UNPROTECTED" in page.locator("#photos").inner_text()

    # the dial shows at once what it will do, and the result follows
    page.locator("#strength").fill("0.96")
    assert page.locator("#strength-word").inner_text() == "96 % (high)"
    page.wait_for_timeout(600)
    opened.settled()
    page.locator("#command-line summary").click()
    command = page.locator("#command")
    api.expect(command).to_contain_text("--strength high")
    api.expect(command).to_contain_text("--skip 2")

    # before, after and the difference
    page.get_by_text("Difference", exact=True).click()
    page.locator("#difference").wait_for()
    page.wait_for_timeout(500)
    spread = """() => {
        const { width, height } = document.getElementById("difference");
        const data = document.getElementById("difference").getContext("2d").getImageData(0, 0, width, height).data;
        const seen = (from, to) => { let most = 0; for (let y = 0; y < height; y++) for (let x = from; x < to; x++)
            most = Math.max(most, Math.abs(data[4 * (y * width + x)] - 128)); return most; };
        return [seen(0, width / 2), seen(width * 0.6, width)];
    }"""
    changed, left = page.evaluate(spread)
    assert changed > 40
    assert left < 20  # the pictures for the screen are JPEG
    page.get_by_text("Compare", exact=True).click()
    page.locator("#split").fill("20")
    assert page.locator("#after-clip").evaluate("e => e.style.clipPath") == "inset(0px 0px 0px 20%)"

    expected = halfmask.protect(pair, strength="high", skip=[2], settings={"key": key}, score=False)
    assert opened.saved("#save") == expected.photo.encode()


def test_a_missed_face_is_marked_by_the_keyboard(opened: Opened, astronaut: np.ndarray, key: str) -> None:
    page = opened.page
    blurred = Image.fromarray(astronaut[:256, 100:356]).resize((5, 5)).resize((256, 256))
    stream = io.BytesIO()
    blurred.save(stream, "PNG")
    opened.give(("blurred.png", stream.getvalue()))
    note = page.locator("#photo-note")
    note.wait_for()
    assert note.inner_text().startswith("UNPROTECTED: no face was found")
    assert page.locator("#save").is_disabled()
    page.locator("#draw").focus()
    page.keyboard.press("Enter")
    assert page.evaluate("() => document.activeElement.id") == "drawn"
    for press in ("ArrowUp", "ArrowUp", "Shift+ArrowDown", "Shift+ArrowRight", "Enter"):
        page.keyboard.press(press)
    page.locator("#boxes .face").wait_for()
    opened.settled()
    page.locator("#command-line summary").click()
    assert page.locator("#command-files pre").inner_text().splitlines()[1].startswith("blurred.png,96,88,68,68")
    expected = halfmask.protect(stream.getvalue(), boxes=[(96, 88, 68, 68)], settings={"key": key}, score=False)
    assert opened.saved("#save") == expected.photo.encode()


def test_who_it_is_can_be_hidden_and_the_dial_stands_at_the_methods_own_mid(opened: Opened, portrait: bytes) -> None:
    page = opened.page
    said = page.locator("#strength-word")
    assert said.inner_text() == "83 % (usual)"
    opened.give(("a.jpg", portrait))
    opened.settled()
    page.locator("#more summary").click()
    page.locator("#method").select_option("stranger")
    assert said.inner_text() == "66 % (usual)"
    assert "who it is" in page.locator("#hide").inner_text()
    page.wait_for_timeout(600)
    opened.settled()
    page.locator("#command-line summary").click()
    api.expect(page.locator("#command")).to_contain_text("halfmask deidentify a.jpg")
    api.expect(page.locator("#command")).to_contain_text("--method stranger --strength mid")
    expected = halfmask.protect(portrait, method="stranger", score=False)
    assert opened.saved("#save") == expected.photo.encode()


def test_many_photos_come_as_one_zip(opened: Opened, portrait: bytes, dot: bytes, key: str) -> None:
    page = opened.page
    opened.give(("a.jpg", portrait), ("dot.png", dot), ("notes.txt", b"no picture"), ("odd.png", b"no picture"))
    api.expect(page.locator("#photos li")).to_have_count(3)
    api.expect(page.locator("#notices")).to_contain_text("1 file is no picture")
    opened.settled()
    api.expect(page.locator("#photos")).to_contain_text("not done")
    archive = zipfile.ZipFile(io.BytesIO(opened.saved("#save-all")))
    assert archive.namelist() == ["a.jpg", "NOT PROTECTED.txt"]
    assert archive.read("a.jpg") == halfmask.protect(portrait, settings={"key": key}, score=False).photo.encode()
    assert "dot.png" in archive.read("NOT PROTECTED.txt").decode()
    api.expect(page.locator("#notices")).to_contain_text("not wholly, protected")
    opened.complaints[:] = [c for c in opened.complaints if "422" not in c]  # the browser's own line for the odd file


def test_a_photo_that_was_forgotten_is_given_again(opened: Opened, server: Running, pair: bytes, key: str) -> None:
    page = opened.page
    opened.give(("pair.png", pair))
    opened.settled()
    page.locator("#face-1").uncheck()
    page.locator("#faces li.off").wait_for()
    opened.settled()
    server.app.state.house.shelf.clear()
    page.locator("#strength").fill("0.53")
    page.wait_for_timeout(600)
    opened.settled()
    assert page.locator("#face-1").is_checked() is False
    expected = halfmask.protect(pair, strength="low", skip=[1], settings={"key": key}, score=False)
    assert opened.saved("#save") == expected.photo.encode()
    opened.complaints[:] = [c for c in opened.complaints if "404" not in c]


def test_a_missing_model_is_named_and_fetched_when_asked(
    opened: Opened, portrait: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page, here, asked = opened.page, store.cache_dir(), []
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path))
    real = store.get

    def get(name: str, **how: object) -> Path:
        if not store.present(name):  # here it comes from the other cache
            asked.append(name)
            store.where(name).parent.mkdir(exist_ok=True)
            shutil.copyfile(here / "models" / store.MODELS[name].file, store.where(name))
        return real(name, **how)

    monkeypatch.setattr(store, "get", get)
    opened.give(("a.jpg", portrait))
    notice = page.locator("#notices .notice")
    notice.wait_for()
    assert "yunet (0.2 MB, MIT, for finding faces)" in notice.inner_text()
    assert "halfmask models get yunet" in notice.inner_text()
    assert asked == []
    page.get_by_text("Fetch now").click()
    page.locator("#boxes .face").wait_for()
    assert asked == ["yunet"]
    opened.complaints[:] = [c for c in opened.complaints if "409" not in c]


def test_what_is_in_no_way_open_is_told(chromium: api.Browser, server: Running) -> None:
    page = chromium.new_page()
    page.goto(server.address)
    api.expect(page.locator("#notices")).to_contain_text("The token is missing or wrong")
    page.close()


def serious(page: api.Page) -> list[str]:
    found = axe.Axe().run(page).response["violations"]
    return [f"{v['id']}: {v['help']}: {v['nodes'][0]['html']}" for v in found if v["impact"] in ("serious", "critical")]


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 1280), ("light", 360)])
def test_the_page_has_no_barrier_and_no_sideways_scrolling(
    chromium: api.Browser, server: Running, pair: bytes, scheme: str, width: int
) -> None:
    how = {"color_scheme": scheme, "viewport": {"width": width, "height": 800}, "bypass_csp": True}  # axe is put in
    opened = Opened(chromium, server, **how)
    page = opened.page
    assert serious(page) == []
    opened.give(("two people of a class with a very long name indeed.png", pair), ("b.png", pair))
    opened.settled()
    page.locator("#face-2").uncheck()
    page.locator("#faces li.off").wait_for()
    opened.settled()
    for summary in page.locator("summary").all():
        summary.click()
    assert serious(page) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width
    text = page.locator("body").inner_text()
    assert not [word for word in ("AUC", "TMR", "FMR") if word in text]
    # every control can be reached by the keyboard, and shows that it was
    page.evaluate("() => document.activeElement.blur()")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("() => document.activeElement.id || document.activeElement.className"))
    wanted = {"pick", "pick-folder", "save-all", "remove", "split", "draw", "strength", "method", "format", "face-1"}
    assert wanted | {"who-1", "face", "save", "copy", "frames"} <= reached
    page.close()
    assert opened.complaints == []


def test_photos_are_forgotten_when_the_page_is_closed(chromium: api.Browser, server: Running, portrait: bytes) -> None:
    opened = Opened(chromium, server)
    opened.give(("a.jpg", portrait))
    opened.settled()
    assert server.app.state.house.shelf.bytes
    opened.page.goto("about:blank")
    for _ in range(200):
        if not server.app.state.house.shelf.bytes:
            break
        opened.page.wait_for_timeout(50)
    assert server.app.state.house.shelf.bytes == 0
    opened.page.close()
