"""halfmask tells nobody anything: no file outside of its own, no connection once the models are there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfmask.errors import WeightsError
from halfmask.weights import store

#: Comes before everything else in each process, workers included: whoever looks up a host or connects is written down.
_WATCH = """
import os, sys
def watch(event, arguments):
    if event in ("socket.connect", "socket.getaddrinfo", "socket.gethostbyname", "socket.sendto"):
        if event == "socket.connect" and isinstance(arguments[1], (str, bytes)):
            return  # a socket in the file system: processes of one machine
        with open(os.environ["WATCHED"], "a") as log:
            log.write(f"{event} {arguments}\\n")
        raise OSError("no network in this test")
sys.addaudithook(watch)
"""


def models(*names: str) -> None:
    for name in names:
        try:
            store.get(name, fetch=False)
        except WeightsError as error:
            pytest.skip(f"needs the model {name}, which is not fetched: {error}")


@pytest.fixture
def photos(tmp_path: Path, astronaut: np.ndarray) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    for i in range(2):
        Image.fromarray(np.ascontiguousarray(astronaut[:250, 100 + i : 350 + i])).save(folder / f"{i}.png")
    return folder


def quiet(tmp_path: Path, *words: object) -> None:
    """Run a command line under a home that is fresh, and see what it leaves there and whom it asks."""
    home, watch = tmp_path / "home", tmp_path / "watch"
    home.mkdir()
    watch.mkdir()
    (watch / "sitecustomize.py").write_text(_WATCH)
    source = str(Path(store.__file__).parents[2])
    fresh = {"HOME": home, "WATCHED": watch / "log", "HALFMASK_CACHE": store.cache_dir(), "OMP_NUM_THREADS": 1}
    fresh |= {"PYTHONPATH": os.pathsep.join([str(watch), source]), "PYTHONDONTWRITEBYTECODE": 1, "LANG": "C.UTF-8"}
    environment = {"PATH": os.environ["PATH"]} | {name: str(value) for name, value in fresh.items()}
    command = [sys.executable, "-m", "halfmask", *map(str, words)]
    strace = [
        "strace",
        "-f",
        "--seccomp-bpf",
        "-qq",
        "-e",
        "trace=connect",
        "-e",
        "signal=none",
        "-o",
        str(watch / "calls"),
    ]
    if traced := subprocess.run([*strace, "true"], capture_output=True).returncode == 0 if _has("strace") else False:
        command = [*strace, *command]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, cwd=tmp_path, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (watch / "log").exists(), (watch / "log").read_text()
    if traced:
        asked = [line for line in (watch / "calls").read_text().splitlines() if "AF_INET" in line]
        assert asked == []
    left = {p.relative_to(home).as_posix() for p in home.rglob("*") if p.is_file()}
    assert left <= {".config/halfmask/key"}


def _has(program: str) -> bool:
    from shutil import which

    return which(program) is not None


def test_the_watch_sees_a_connection(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(_WATCH)
    code = "import socket; socket.create_connection(('127.0.0.1', 9))"
    environment = os.environ | {"PYTHONPATH": str(tmp_path), "WATCHED": str(tmp_path / "log")}
    assert subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True).returncode == 1
    assert "127.0.0.1" in (tmp_path / "log").read_text()


def test_protect(tmp_path: Path, photos: Path) -> None:
    models("yunet", "sface")
    quiet(tmp_path, "protect", photos, "-o", tmp_path / "out", "--score")


def test_predict(tmp_path: Path, photos: Path) -> None:
    models("yunet")
    quiet(tmp_path, "predict", photos)


@pytest.mark.slow
def test_audit(tmp_path: Path, photos: Path) -> None:
    for module in ("sklearn", "skimage", "jinja2", "matplotlib", "onnx"):
        pytest.importorskip(module, reason="an audit needs halfmask[audit]")
    pytest.importorskip("dlib", reason="an audit needs halfmask[audit]")
    models("yunet", "w600k_mbf", "face-api-age-gender", "face-api-age-gender-manifest")
    after = tmp_path / "after"
    after.mkdir()
    for path in photos.iterdir():
        Image.fromarray((np.asarray(Image.open(path)) * 0.9).astype(np.uint8)).save(after / path.name)
    words = ("audit", photos, after, "-o", tmp_path / "report", "--no-attackers", "--workers", 2)
    quiet(tmp_path, *words, "--referee", "w600k_mbf", "--referee", "face-api", "--pictures", 1)


@pytest.mark.slow
def test_deidentify(tmp_path: Path, photos: Path) -> None:
    pytest.importorskip("torch", reason="deidentify needs halfmask[train]")
    from halfmask.methods.deidentify import Deidentify

    models("yunet", "sface", *Deidentify.models)
    quiet(tmp_path, "deidentify", photos / "0.png", "-o", tmp_path / "out.png", "--set", "steps=1")
