"""How many photos a second `halfmask serve` protects, for 1, 4 and 16 clients at a time.

    python scripts/serve_load.py [--requests 48] [--photo FILE] [--rembg]

Starts a server of its own, sends the photo by POST /api/v1/protect, and prints a table: requests a second, the median
and the 95th percentile of the seconds that one took (waiting for its turn included), answers of 429 that were repeated
as Retry-After said, requests that were lost, and the server's memory. --rembg asks a peer's server for the same photo:
`rembg s`, which removes backgrounds by its default network; it has to be installed, with that network.
"""

from __future__ import annotations

import argparse
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CLIENTS = (1, 4, 16)


@dataclass
class Tally:
    """What came of the requests of one run."""

    seconds: list[float] = field(default_factory=list)
    busy: int = 0
    lost: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def memory(pid: int) -> tuple[float, float]:
    """Megabytes that a process has now, and had at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    now, most = (int(re.search(rf"{name}:\s+(\d+)", text)[1]) / 1000 for name in ("VmRSS", "VmHWM"))
    return now, most


def one(make: Callable[[], urllib.request.Request], tally: Tally) -> None:
    """One request, repeated while the server says that it is busy."""
    began = time.monotonic()
    while True:
        try:
            with urllib.request.urlopen(make(), timeout=600) as answer:
                size = len(answer.read())
            with tally.lock:
                tally.seconds.append(time.monotonic() - began)
                if not size:
                    tally.lost.append("an empty answer")
            return
        except urllib.error.HTTPError as error:
            if error.code != 429:
                tally.lost.append(f"{error.code}: {error.read()[:200]!r}")
                return
            with tally.lock:
                tally.busy += 1
            time.sleep(float(error.headers["Retry-After"]))
        except OSError as error:
            tally.lost.append(str(error))
            return


def load(make: Callable[[], urllib.request.Request], clients: int, requests: int) -> tuple[Tally, float]:
    """So many requests by so many clients at a time, and the seconds of it all."""
    tally, left = Tally(), iter(range(requests))
    took = threading.Lock()

    def client() -> None:
        while True:
            with took:
                if next(left, None) is None:
                    return
            one(make, tally)

    threads = [threading.Thread(target=client) for _ in range(clients)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tally, time.monotonic() - began


def table(name: str, pid: int, make: Callable[[], urllib.request.Request], requests: int) -> None:
    """Run all of :data:`CLIENTS` and print a row for each."""
    warm, _ = load(make, 1, 2)
    if warm.lost:
        sys.exit(f"{name} does not answer: {warm.lost[0]}")
    print("| server | clients | requests/s | median s | p95 s | 429, repeated | lost | MB now | MB at most |")
    print("|---|---|---|---|---|---|---|---|---|")
    for clients in CLIENTS:
        tally, seconds = load(make, clients, requests)
        took = sorted(tally.seconds)
        p95 = took[min(len(took) - 1, int(0.95 * len(took)))]
        now, most = memory(pid)
        print(
            f"| {name} | {clients} | {len(took) / seconds:.2f} | {statistics.median(took):.2f} | {p95:.2f} "
            f"| {tally.busy} | {requests - len(took)} | {now:.0f} | {most:.0f} |"
        )


def until(ready: Callable[[], object], what: str) -> None:
    """Wait until something holds, at most two minutes."""
    end = time.monotonic() + 120
    while not ready():
        if time.monotonic() > end:
            sys.exit(f"{what} did not start")
        time.sleep(0.1)


def halfmask(photo: bytes, requests: int) -> None:
    """Our own server."""
    token = secrets.token_hex(32)
    environment = os.environ | {"HALFMASK_TOKEN": token, "HALFMASK_KEY": "load", "PYTHONUNBUFFERED": "1"}
    command = [sys.executable, "-m", "halfmask", "serve", "--port", "0", "--no-browser", "--queue", "8"]
    server = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://[\d.:]+/", server.stdout.readline())[0]
        headers = {"X-Halfmask-Token": token, "Content-Type": "application/octet-stream"}
        where = f"{address}api/v1/protect"
        table("halfmask serve", server.pid, lambda: urllib.request.Request(where, photo, headers), requests)
    finally:
        server.terminate()
        server.wait(30)


def rembg(photo: bytes, requests: int) -> None:
    """The peer's, when it is here."""
    program = shutil.which("rembg")
    if program is None:
        sys.exit('rembg is not installed: pip install "rembg[cpu,cli]", and its default network')
    server = subprocess.Popen([program, "s", "--host", "127.0.0.1", "--port", "7123"], stdout=subprocess.DEVNULL)
    boundary = "----load"
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="a.jpg"\r\n\r\n'.encode()
    body = head + photo + f"\r\n--{boundary}--\r\n".encode()
    headers = {"Content-Type": f"multipart/form-data; boundary={boundary}"}

    def answers() -> bool:
        try:
            urllib.request.urlopen("http://127.0.0.1:7123/api", timeout=5).close()
        except OSError:
            return False
        return True

    try:
        until(answers, "rembg")
        where = "http://127.0.0.1:7123/api/remove"
        table("rembg s", server.pid, lambda: urllib.request.Request(where, body, headers), requests)
    finally:
        server.terminate()
        server.wait(30)


def main() -> None:
    """Parse and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--photo", type=Path, default=ROOT / "examples" / "astronaut.jpg")
    parser.add_argument("--requests", type=int, default=48)
    parser.add_argument("--rembg", action="store_true")
    given = parser.parse_args()
    (rembg if given.rembg else halfmask)(given.photo.read_bytes(), given.requests)


if __name__ == "__main__":
    main()
