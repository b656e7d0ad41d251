"""Who may ask, what is taken, what is kept, and what is told."""

from __future__ import annotations

import io
import json
import logging
import os
import re
import signal
import struct
import subprocess
import sys
import threading
import time
import urllib.request
import zipfile
import zlib
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from served import BASE, TOKEN, Running, client_of, encoded
from starlette.testclient import TestClient
from test_quiet import _WATCH

from halfmask.cli import cli
from halfmask.cli.serve import serve
from halfmask.errors import UsageError
from halfmask.protecting import engine
from halfmask.serving.guard import HEADERS
from halfmask.serving.limits import Limits, Refused
from halfmask.serving.memory import Held, Shelf
from halfmask.weights import store


def code(answer: object) -> tuple[int, str]:
    return answer.status_code, answer.json()["error"]["code"]


@pytest.fixture(scope="module")
def bare() -> TestClient:
    """A client that says nothing of itself; whatever is asked, no photo is needed."""
    client = client_of()
    del client.headers["x-halfmask-token"]
    return client


GOOD = {"X-Halfmask-Token": TOKEN}


@pytest.mark.parametrize(
    "headers", [{}, {"X-Halfmask-Token": ""}, {"X-Halfmask-Token": TOKEN[:-1]}, {"Authorization": f"Basic {TOKEN}"}]
)
@pytest.mark.parametrize("path", ["methods", "models", "openapi.json", "photos/x", "results/x", "nothing"])
def test_nothing_of_the_api_is_had_without_the_token(bare: TestClient, path: str, headers: dict[str, str]) -> None:
    answer = bare.get(f"/api/v1/{path}", headers=headers)
    assert code(answer) == (401, "no_token")
    assert TOKEN not in answer.text


def test_the_token_may_stand_in_two_headers_and_in_no_address(bare: TestClient) -> None:
    for headers in (GOOD, {"Authorization": f"Bearer {TOKEN}"}):
        assert bare.get("/api/v1/methods", headers=headers).status_code == 200
    assert bare.get(f"/api/v1/methods?token={TOKEN}").status_code == 401
    assert bare.get("/api/v1/methods", headers={"Cookie": f"token={TOKEN}"}).status_code == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8300", "127.0.0.1.evil.example", "127.0.0.1@evil.example", "", "[::2]", "a b"],
)
@pytest.mark.parametrize("path", ["/", "/app.js", "/api/v1/methods"])
def test_another_name_is_refused_even_with_the_token(bare: TestClient, host: str, path: str) -> None:
    assert code(bare.get(path, headers=GOOD | {"Host": host})) == (421, "foreign_host")


@pytest.mark.parametrize(
    "host", ["127.0.0.1:8300", "localhost:1", "[::1]:8300", "photos.example", "PHOTOS.example:443"]
)
def test_its_own_names_are_taken(bare: TestClient, host: str) -> None:
    assert bare.get("/api/v1/methods", headers=GOOD | {"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    ["null", "https://evil.example", "http://127.0.0.1.evil.example", "file://", "http://127.0.0.1@evil.example", ""],
)
def test_a_page_of_another_site_is_refused_even_with_the_token(bare: TestClient, origin: str) -> None:
    for ask in (bare.get, bare.post):
        answer = ask("/api/v1/models", headers=GOOD | {"Origin": origin})
        assert code(answer) == (403, "foreign_origin")
        assert not [name for name in answer.headers if name.startswith("access-control")]
    assert code(bare.get("/api/v1/models", headers=GOOD | {"Sec-Fetch-Site": "cross-site"})) == (403, "foreign_origin")
    own = {"Origin": BASE, "Sec-Fetch-Site": "same-origin"}
    behind_a_proxy = own | {"Host": "photos.example", "Origin": "https://photos.example"}
    for headers in (own, behind_a_proxy):
        assert bare.get("/api/v1/models", headers=GOOD | headers).status_code == 200


def test_nothing_is_shared_with_other_origins(bare: TestClient) -> None:
    asked = {"Origin": BASE, "Access-Control-Request-Method": "POST"}
    answer = bare.options("/api/v1/photos", headers=GOOD | asked)
    assert answer.status_code == 405
    assert not [name for name in answer.headers if name.startswith("access-control")]


@pytest.mark.parametrize("path", ["/", "/app.js", "/style.css", "/api/v1/methods", "/api/v1/nothing", "/nothing"])
def test_every_answer_is_strict(bare: TestClient, path: str) -> None:
    for headers in (GOOD, {}, GOOD | {"Host": "evil.example"}):
        answer = bare.get(path, headers=headers)
        for name, value in HEADERS.items():
            assert answer.headers[name] == value
    policy = HEADERS["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "http" not in policy.replace("https", "http")
    assert policy.startswith("default-src 'none'")


def test_the_page_loads_nothing_from_elsewhere_and_runs_nothing_inline(bare: TestClient) -> None:
    page = bare.get("/").text
    assert not re.findall(r"<script(?![^>]*src=)|\son\w+=|\sstyle=|<style|javascript:", page)
    static = Path(store.__file__).parents[1] / "serving" / "static"
    files = list(static.iterdir())
    assert sum(file.stat().st_size for file in files) < 100_000
    for file in files:
        text = file.read_text("utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.findall(r"https?://|@import|url\(|innerHTML|insertAdjacentHTML|document\.write|eval\(", text)


def request(*lines: str, body: bytes = b"", token: str = TOKEN) -> bytes:
    head = [
        "POST /api/v1/photos HTTP/1.1",
        "Host: 127.0.0.1",
        f"X-Halfmask-Token: {token}",
        "Connection: close",
        *lines,
    ]
    return "\r\n".join([*head, "", ""]).encode() + body


SMALL = Limits(body_bytes=50_000, pixels=1_000_000, body_seconds=2.0, idle_seconds=0.4, workers=1)


def test_limits_hold_whatever_a_request_says_of_its_length(needs_models: None, dot: bytes) -> None:
    with Running(SMALL) as server:
        piece = b"2710\r\n" + b"x" * 10_000 + b"\r\n"
        answers = {
            "said too long": server.raw(request("Content-Length: 50001")),
            "said absurdly long": server.raw(request(f"Content-Length: {'9' * 400}")),
            "chunked without end": server.raw(request("Transfer-Encoding: chunked"), rest=piece * 40),
            "compressed": server.raw(request("Content-Length: 4", "Content-Encoding: gzip", body=b"abcd")),
            "never comes": server.raw(request("Content-Length: 100", body=b"x")),
            "comes in drops": server.raw(request("Content-Length: 100", body=b"x"), pause=1.0, rest=b"y"),
            "is cut off": server.raw(request("Content-Length: 100", body=b"x"), close=True),
            "said too short": server.raw(request("Content-Length: 10", body=dot)),
        }
        for what, status in {
            "said too long": b"413", "said absurdly long": b"4", "chunked without end": b"413", "compressed": b"415",
            "never comes": b"408", "comes in drops": b"408", "said too short": b"422",
        }.items():  # fmt: skip
            assert answers[what].startswith(b"HTTP/1.1 " + status), (what, answers[what][:300])
        assert answers["is cut off"] in (b"",) or answers["is cut off"].startswith(b"HTTP/1.1 4")
        assert server.app.state.house.shelf.bytes == 0
        assert server.raw(request(f"Content-Length: {len(dot)}", body=dot)).startswith(b"HTTP/1.1 201")


def test_without_the_token_no_body_is_read(needs_models: None) -> None:
    with Running(SMALL) as server:
        began = time.monotonic()
        answer = server.raw(request("Content-Length: 40000", token="no"))
        assert answer.startswith(b"HTTP/1.1 401")
        assert time.monotonic() - began < SMALL.body_seconds


def bomb(width: int, height: int) -> bytes:
    """A PNG of little data that says it is huge."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(9999))) + chunk(b"IEND", b"")
    )


def test_too_many_pixels_are_refused_before_they_are_decoded(client: TestClient) -> None:
    before = resident()
    for path in ("photos", "protect", "predict"):
        answer = client.post(f"/api/v1/{path}", content=bomb(60_000, 60_000))
        assert code(answer) == (422, "bad_photo")
        assert "limit is 100,000,000" in answer.json()["error"]["message"]
    assert resident() - before < 200_000_000  # decoded it would be 10.8 GB


def test_what_a_file_is_goes_by_its_content(client: TestClient, dot: bytes) -> None:
    told = client.post("/api/v1/photos", content=dot, headers={"X-Halfmask-Name": "a.jpg", "Content-Type": "text/html"})
    assert told.json()["format"] == "PNG"
    for text in (b"<html><script>alert(1)</script>", b"%PDF-1.7", b"GIF89a", b"", b"\xff\xd8\xff" + b"0" * 99):
        assert code(client.post("/api/v1/photos", content=text, headers={"X-Halfmask-Name": "a.png"})) == (
            422,
            "bad_photo",
        )


@pytest.mark.parametrize(
    "name",
    ["..%2F..%2Fetc%2Fpasswd", "a%0d%0aSet-Cookie%3A%20x.png", "%00", "C%3A%5Cx.png", "%FF%FE", "a" * 5000, "con.png",
     "%E2%80%AEgnp.exe", "x/" * 500],
)  # fmt: skip
def test_names_lead_nowhere(client: TestClient, dot: bytes, name: str) -> None:
    given = client.post("/api/v1/photos", content=dot, headers={"X-Halfmask-Name": name}).json()
    result = client.post(f"/api/v1/photos/{given['id']}/protect", json={"if_no_face": "copy"}).json()
    said = client.get(f"/api/v1/results/{result['id']}").headers["content-disposition"]
    assert re.fullmatch(r"attachment; filename\*=UTF-8''[\w%.~-]{1,700}", said), said
    begun = client.post("/api/v1/batches", json={"photos": [given["id"]], "options": {"if_no_face": "copy"}}).json()
    entries = zipfile.ZipFile(io.BytesIO(client.get(f"/api/v1/batches/{begun['id']}/zip").content)).namelist()
    for entry in [given["name"], *entries]:
        parts = entry.split("/")
        assert len(parts) <= 6
        assert not [p for p in parts if p in ("", ".", "..") or len(p) > 110 or re.search(r'[\x00-\x1f\\:<>|?*"]', p)]
        assert entry.isprintable()


def test_photos_and_results_are_forgotten(needs_models: None, key: str, portrait: bytes) -> None:
    now, limits = [0.0], Limits()
    with client_of(limits, shelf=Shelf(limits, lambda: now[0])) as client:
        photo = client.post("/api/v1/photos", content=portrait).json()["id"]
        now[0] = 800.0
        result = client.post(f"/api/v1/photos/{photo}/protect", json={}).json()["id"]
        now[0] = 1600.0  # twice the first 15 minutes, and less than 15 since it was used
        assert client.get(f"/api/v1/results/{result}").status_code == 200
        assert client.app.state.house.shelf.bytes > len(portrait)
        now[0] = 1600.0 + 901.0
        assert code(client.get(f"/api/v1/results/{result}")) == (404, "not_found")
        assert code(client.get(f"/api/v1/photos/{photo}")) == (404, "not_found")
        assert client.app.state.house.shelf.bytes == 0


def test_memory_is_bounded(needs_models: None, key: str) -> None:
    noise = np.random.default_rng(1).integers(0, 255, (60, 60, 3), np.uint8)
    photo = encoded(noise, "PNG")
    with client_of(Limits(memory_bytes=3 * len(photo) + 100, decoded_bytes=1)) as client:
        ids = [client.post("/api/v1/photos", content=photo).json()["id"] for _ in range(3)]
        assert code(client.post("/api/v1/photos", content=photo)) == (507, "memory_full")
        held = [client.app.state.house.shelf.photo(id) for id in ids]
        assert [h.work is not None for h in held] == [False, False, True]  # the others are decoded again when asked
        assert client.get(f"/api/v1/photos/{ids[0]}").json()["width"] == 60
        assert held[0].work is None  # what is told of it is still known
        assert client.get(f"/api/v1/photos/{ids[0]}/picture").status_code == 200
        client.delete(f"/api/v1/photos/{ids[1]}")
        assert client.post("/api/v1/photos", content=photo).status_code == 201


def test_results_of_one_photo_do_not_pile_up() -> None:
    from halfmask.serving.asking import Ask
    from halfmask.serving.memory import Choice, Kept

    shelf, held = Shelf(Limits()), Held(b"x", "a")
    shelf.add(held)
    kept = [Kept(held, Ask(), Choice(), {}, "a", "PNG", data=b"y") for _ in range(20)]
    for one in kept:
        shelf.keep(one)
    assert shelf.bytes == 1 + 8
    with pytest.raises(Refused):
        shelf.result(kept[0].id)
    assert shelf.result(kept[-1].id) is kept[-1]


def test_errors_tell_an_id_and_neither_trace_nor_path(
    client: TestClient, dot: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("/home/me/secret.key is broken")

    monkeypatch.setattr(client.app.state.house.studio, "take", broken)
    with caplog.at_level(logging.ERROR):
        answer = client.post("/api/v1/photos", content=dot)
    assert code(answer) == (500, "failed")
    assert "secret" not in answer.text
    assert "Traceback" not in answer.text
    assert answer.json()["error"]["id"] in caplog.text
    assert "secret.key is broken" in caplog.text


def test_a_broken_key_of_the_server_is_not_told(
    needs_models: None,
    portrait: bytes,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(engine, "_loaded", OrderedDict())  # a method that was used knows its key
    monkeypatch.delenv("HALFMASK_KEY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "halfmask").mkdir()
    (tmp_path / "halfmask" / "key").write_text("")
    with client_of() as client, caplog.at_level(logging.ERROR):
        answer = client.post("/api/v1/protect", content=portrait)
    assert code(answer) == (500, "failed")
    assert str(tmp_path) not in answer.text
    assert str(tmp_path) in caplog.text


@pytest.mark.parametrize("body", [b"{", b"[]", b"nul", b'{"strength": NaN}', b"\xff", b"[" * 100_000, b'"x"'])
def test_odd_json_is_refused_in_words(client: TestClient, dot: bytes, body: bytes) -> None:
    id = client.post("/api/v1/photos", content=dot).json()["id"]
    for path in (f"photos/{id}/protect", f"photos/{id}/faces", "batches", "models"):
        assert client.post(f"/api/v1/{path}", content=body).status_code in (400, 422)


def resident() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="needs /proc to see the memory of a process")
@pytest.mark.slow
def test_a_thousand_requests_leave_memory_as_it_was(client: TestClient, portrait: bytes, dot: bytes) -> None:
    tiny = encoded(np.full((7, 7, 3), 99, np.uint8), "PNG")

    def some(count: int) -> None:
        for i in range(count):
            id = client.post("/api/v1/photos", content=tiny).json()["id"]
            assert client.post("/api/v1/protect?if_no_face=copy", content=tiny).status_code == 200
            if i == 0:
                assert client.post("/api/v1/protect", content=portrait).status_code == 200
            assert client.delete(f"/api/v1/photos/{id}").status_code == 204

    some(110)
    before = resident()
    some(334)
    assert resident() < 1.1 * before
    assert client.app.state.house.shelf.bytes == 0


def test_the_server_needs_no_torch() -> None:
    code = "import sys, halfmask.serving.app; print([m for m in ('torch', 'jinja2', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_only_this_computer_unless_told() -> None:
    for host in ("0.0.0.0", "::", "192.168.1.5"):
        done = CliRunner().invoke(cli, ["serve", "--host", host, "--no-browser"], standalone_mode=False)
        assert isinstance(done.exception, UsageError)
        assert "--allow-remote" in str(done.exception)
    assert next(p.default for p in serve.params if p.name == "host") == "127.0.0.1"


def test_without_a_terminal_the_token_is_printed_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    done = CliRunner().invoke(cli, ["serve", "--no-browser"], standalone_mode=False)
    assert "HALFMASK_TOKEN" in str(done.exception)
    monkeypatch.setenv("HALFMASK_TOKEN", "short")
    done = CliRunner().invoke(cli, ["serve", "--no-browser"], standalone_mode=False)
    assert "too short" in str(done.exception)


def call(address: str, path: str, data: bytes | None = None, method: str | None = None) -> bytes:
    headers = {"X-Halfmask-Token": TOKEN, "Content-Type": "application/octet-stream"}
    asked = urllib.request.Request(f"{address}api/v1/{path}", data, headers, method=method)
    with urllib.request.urlopen(asked, timeout=120) as answer:
        return answer.read()


def test_a_whole_run_leaves_nothing_asks_nobody_and_logs_no_token(
    needs_models: None, tmp_path: Path, portrait: bytes
) -> None:
    """The server as a user starts it, in a fresh home, with a watch on every connection that it makes."""
    places = {name: tmp_path / name for name in ("home", "temp", "cwd", "watch")}
    for place in places.values():
        place.mkdir()
    (places["watch"] / "sitecustomize.py").write_text(_WATCH)
    source = str(Path(store.__file__).parents[2])
    fresh = {
        "HOME": places["home"], "TMPDIR": places["temp"], "WATCHED": tmp_path / "log", "HALFMASK_TOKEN": TOKEN,
        "HALFMASK_CACHE": store.cache_dir(), "OMP_NUM_THREADS": 1, "LANG": "C.UTF-8", "PYTHONDONTWRITEBYTECODE": 1,
        "PYTHONPATH": os.pathsep.join([str(places["watch"]), source]), "PYTHONUNBUFFERED": 1,
    }  # fmt: skip
    environment = {"PATH": os.environ["PATH"]} | {name: str(value) for name, value in fresh.items()}
    kept = sorted(p for p in store.cache_dir().rglob("*") if p.is_file())
    command = [sys.executable, "-m", "halfmask", "serve", "--port", "0", "--no-browser", "--memory", "200"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    running = subprocess.Popen(command, env=environment, cwd=places["cwd"], **pipes)
    said: list[str] = []
    reader = threading.Thread(target=lambda: said.extend(iter(running.stdout.readline, "")), daemon=True)
    reader.start()
    try:
        until = time.monotonic() + 120
        while not any("http://" in line for line in said) and time.monotonic() < until:
            time.sleep(0.05)
        address = re.search(r"http://127\.0\.0\.1:\d+/", "".join(said))[0]
        photo = json.loads(call(address, "photos", portrait))["id"]
        result = json.loads(call(address, f"photos/{photo}/protect", b"{}"))["id"]
        assert call(address, f"results/{result}").startswith(b"\xff\xd8")
        call(address, f"photos/{photo}/reads", json.dumps({"result": result}).encode())
        call(address, "predict", portrait)
        call(address, "protect?strength=low", portrait)
        boundary = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'
        form = boundary + portrait + b" " * 2_000_000 + b"\r\n--b--\r\n"  # more than what forms are spooled from
        asked = urllib.request.Request(f"{address}api/v1/protect", form)
        asked.add_header("X-Halfmask-Token", TOKEN)
        asked.add_header("Content-Type", "multipart/form-data; boundary=b")
        with urllib.request.urlopen(asked, timeout=120) as answer:
            assert answer.status == 200
        batch = json.loads(call(address, "batches", json.dumps({"photos": [photo, photo]}).encode()))["id"]
        assert len(zipfile.ZipFile(io.BytesIO(call(address, f"batches/{batch}/zip"))).namelist()) == 2
        with pytest.raises(urllib.error.HTTPError):
            call(address, "photos", b"nonsense")
        left = [p for name in ("home", "temp", "cwd") for p in places[name].rglob("*") if p.is_file()]
        assert [p.relative_to(tmp_path).as_posix() for p in left] == ["home/.config/halfmask/key"]
        assert sorted(p for p in store.cache_dir().rglob("*") if p.is_file()) == kept
        opened = (
            [str(f.readlink()) for f in Path(f"/proc/{running.pid}/fd").iterdir()] if Path("/proc").exists() else []
        )
        assert not [f for f in opened if "(deleted)" in f or str(tmp_path) in f]
    finally:
        running.send_signal(signal.SIGINT)
        assert running.wait(60) is not None
        reader.join(10)
    assert not (tmp_path / "log").exists(), (tmp_path / "log").read_text()
    assert TOKEN not in "".join(said)
    assert "a.jpg" not in "".join(said)
    left = [p for name in ("home", "temp", "cwd") for p in places[name].rglob("*") if p.is_file()]
    assert [p.name for p in left] == ["key"]
