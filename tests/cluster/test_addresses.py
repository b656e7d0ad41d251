"""Photos at addresses, by threads of this process: the same bytes as by the pipeline, and only what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from halfmask.cli import main

fsspec = pytest.importorskip("fsspec", reason="needs halfmask[ray]")
from halfmask.cluster import run as cluster  # noqa: E402
from halfmask.cluster.manifest import BEGUN, Line, Manifest  # noqa: E402
from halfmask.cluster.places import MANIFEST, Place, is_address, renamed  # noqa: E402
from halfmask.errors import DataError, UsageError  # noqa: E402
from halfmask.photos.kinds import VIDEO_ELSEWHERE  # noqa: E402
from halfmask.protecting import pipeline  # noqa: E402
from halfmask.protecting.options import Options  # noqa: E402


def save(folder: Path, name: str, pixels: np.ndarray, **how: Any) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(folder / name, **how)


@pytest.fixture
def album(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """Two photos with a face, one without, and what is no photo."""
    portrait = np.ascontiguousarray(astronaut[:250, 100:350])
    save(tmp_path / "in", "a.jpg", portrait, quality=92)
    save(tmp_path / "in", "sub/b.png", portrait[:, ::-1])
    save(tmp_path / "in", "wall.png", np.full((64, 64, 3), 200, np.uint8))
    (tmp_path / "in" / "note.txt").write_text("no picture")
    return tmp_path / "in"


@pytest.fixture
def memory(album: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("HALFMASK_KEY", "tests")
    fs = fsspec.filesystem("memory")
    fs.store.clear()
    for path in album.rglob("*"):
        if path.is_file():
            fs.pipe_file(f"/album/{path.relative_to(album).as_posix()}", path.read_bytes())
    yield "memory://album"
    fs.store.clear()


@dataclass
class Ended:
    exit_code: int
    output: str


@pytest.fixture
def halfmask(capsys: pytest.CaptureFixture[str]) -> Callable[..., Ended]:
    """``halfmask protect`` with these arguments: its exit code and all that it says."""

    def run(*args: object) -> Ended:
        with pytest.raises(SystemExit) as ended:
            main(["protect", *map(str, args)])
        out, err = capsys.readouterr()
        return Ended(int(ended.value.code or 0), out + err)

    return run


Halfmask = Callable[..., Ended]


def stored(address: str) -> dict[str, bytes]:
    place = Place(address)
    return {name: place.read(entry.path) for name, entry in place.files().items()}


def test_the_bytes_are_the_local_runs(memory: str, album: Path, tmp_path: Path, halfmask: Halfmask) -> None:
    assert halfmask(album, "-o", tmp_path / "out", "-q").exit_code == 0
    local = {
        p.relative_to(tmp_path / "out").as_posix(): p.read_bytes()
        for p in (tmp_path / "out").rglob("*")
        if p.is_file() and not p.name.startswith(".")
    }
    result = halfmask(memory, "-o", "memory://out", "--workers", 2)
    assert result.exit_code == 0, result.output
    assert "2 photos protected" in result.output
    assert "1 photo without a face found, not written" in result.output
    assert stored("memory://out") == local
    again = halfmask(memory, "-o", "memory://out", "--json", tmp_path / "again.json")
    assert "3 photos already there" in again.output
    report = json.loads((tmp_path / "again.json").read_text())
    assert {photo["status"] for photo in report["photos"]} == {pipeline.THERE}


@pytest.mark.parametrize("local", [True, False])
def test_a_video_is_named_and_not_read(tmp_path: Path, local: bool) -> None:
    film = b"\0\0\0\x18ftypmp42" + bytes(20)
    fs = fsspec.filesystem("memory")
    (tmp_path / "film.mp4").write_bytes(film)
    fs.pipe_file("/films/film.mp4", film)
    found = Place(str(tmp_path) if local else "memory://films").photos()
    fs.store.clear()
    assert (found.photos, found.ignored) == ((), 0)
    ((name, why),) = found.pictures
    assert (name.endswith("film.mp4"), why) == (True, VIDEO_ELSEWHERE)


def test_a_second_run_does_what_changed(memory: str, album: Path, halfmask: Halfmask) -> None:
    halfmask(memory, "-o", "memory://out")
    before = stored("memory://out")
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/album/a.jpg", (album / "a.jpg").read_bytes() + b"\0")  # another file, and other times
    result = halfmask(memory, "-o", "memory://out")
    assert "1 photo protected" in result.output
    result = halfmask(memory, "-o", "memory://out", "--strength", "high")
    assert "2 photos protected" in result.output
    after = stored("memory://out")
    assert all(after[name] != before[name] for name in ("a.jpg", "sub/b.png"))
    fs.rm_file("/out/sub/b.png")
    assert "1 photo protected" in halfmask(memory, "-o", "memory://out", "--strength", "high").output
    assert stored("memory://out") == after


def test_what_others_wrote_is_left(memory: str, halfmask: Halfmask) -> None:
    fs = fsspec.filesystem("memory")
    fs.pipe_file("/out/a.jpg", b"somebody's")
    result = halfmask(memory, "-o", "memory://out")
    assert result.exit_code == 3
    assert "was not made by halfmask" in result.output
    assert fs.cat_file("/out/a.jpg") == b"somebody's"
    halfmask(memory, "-o", "memory://out", "--overwrite")
    assert fs.cat_file("/out/a.jpg") != b"somebody's"
    fs.pipe_file("/out/a.jpg", b"changed since")
    assert "was not made by halfmask, or changed since" in halfmask(memory, "-o", "memory://out").output


def test_what_was_begun_and_not_noted_is_ours(memory: str, halfmask: Halfmask) -> None:
    """A run that was killed between an output and its note."""
    options = Options(settings={"key": "tests"})
    todo = cluster.plan([memory], "memory://out", options)
    task = next(task for task in todo.tasks if task.name == "a.jpg")
    Place("memory://out").write("a.jpg", b"half a")  # a store without whole writes
    again = cluster.plan([memory], "memory://out", options)
    assert task in again.tasks
    assert not again.settled
    assert [o.status for o in cluster.run(again, options, "memory://out")].count(pipeline.PROTECTED) == 2
    assert [len(data.splitlines()) for _, data in Place("memory://out").parts()] == [3]


def test_the_manifest_tells_nothing_of_what_was_asked(memory: str, halfmask: Halfmask) -> None:
    halfmask(memory, "-o", "memory://out", "--set", "person=anna")
    text = b"".join(data for _, data in Place("memory://out").parts()).decode()
    assert "anna" not in text
    assert "tests" not in text
    assert {json.loads(line)["source"] for line in text.splitlines()} == {"a.jpg", "sub/b.png", "wall.png"}


def test_a_broken_photo_is_named_and_the_rest_goes_on(memory: str, halfmask: Halfmask) -> None:
    fsspec.filesystem("memory").pipe_file("/album/c.jpg", b"\xff\xd8\xff nothing")
    result = halfmask(memory, "-o", "memory://out")
    assert result.exit_code == 3
    assert "c.jpg" in result.output
    assert "2 photos protected" in result.output


def test_people_of_a_labels_file_get_one_target(memory: str, tmp_path: Path, halfmask: Halfmask) -> None:
    (tmp_path / "labels.csv").write_text("file,person\na.jpg,anna\nsub/b.png,anna\n")
    halfmask(memory, "-o", "memory://named", "--labels", tmp_path / "labels.csv")
    halfmask(memory, "-o", "memory://person", "--set", "person=anna")
    assert stored("memory://named") == stored("memory://person")


def test_requests_that_make_no_sense(memory: str, album: Path, tmp_path: Path, halfmask: Halfmask) -> None:
    for args, message in (
        ((memory, "-o", "memory://album/out"), "lies inside the input"),
        (("memory://nowhere", "-o", "memory://out"), "there is no memory://nowhere"),
        (("nostore://x", "-o", "memory://out"), "nostore"),
        ((memory, "-o", "memory://out", "--only", "1"), "a photo by itself"),
        ((memory, "-o", "memory://out", "--address", "auto"), "--on ray"),
        ((album, "-o", tmp_path / "out", "--address", "auto"), "--on ray"),
        ((memory, "-o", "memory://out", "--dry-run"), "--dry-run"),
        ((memory, "-o", "memory://out", "--on", "ray"), "one process alone"),
    ):
        result = halfmask(*args)
        assert result.exit_code == 2, (args, result.output)
        assert message in result.output


def test_a_manifest_that_is_none(memory: str, halfmask: Halfmask) -> None:
    place = Place("memory://out")
    place.write(f"{MANIFEST}/000001-x.jsonl", b"not json\n")
    with pytest.raises(DataError, match="is no manifest of halfmask"):
        Manifest(place)


def test_states(tmp_path: Path) -> None:
    place = Place(str(tmp_path))
    manifest = Manifest(place)
    there = place.write("a", b"1")
    assert manifest.state("a", "m", there) == "foreign"
    assert manifest.state("a", "m", None) == "none"
    manifest.add(Line("a", 1, "e", "m", "a", BEGUN))
    assert manifest.state("a", "m", there) == "ours"
    manifest.add(Line("a", 1, "e", "m", "a", pipeline.PROTECTED, there.state))
    assert manifest.state("a", "m", there) == "done"
    assert manifest.state("a", "other", there) == "ours"
    assert manifest.state("a", "m", place.write("a", b"22")) == "foreign"
    manifest.add(Line("b", 1, "e", "m", "b", pipeline.SKIPPED))
    assert manifest.state("b", "m", None) == "done"
    manifest.close()
    assert Manifest(place).lines == manifest.lines


def test_addresses_and_names() -> None:
    assert [is_address(t) for t in ("s3://a/b", "C:\\x", "a/b", "a://b", "memory://x")] == [
        True,
        False,
        False,
        False,
        True,
    ]
    assert renamed("x/y.webp", "JPEG") == "x/y.jpg"
    with pytest.raises(UsageError, match="is no address"):
        Place("nostore://x")


def test_a_store_behind_http(album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, halfmask: Halfmask) -> None:
    """S3 as moto plays it."""
    moto = pytest.importorskip("moto.server", reason="needs moto, which plays S3")
    s3fs = pytest.importorskip("s3fs", reason="needs s3fs, which speaks to S3")
    server = moto.ThreadedMotoServer(port=0)
    server.start()
    try:
        host, port = server.get_host_and_port()
        for name, value in {
            "FSSPEC_S3_ENDPOINT_URL": f"http://{host}:{port}",
            "AWS_ACCESS_KEY_ID": "nobody",
            "AWS_SECRET_ACCESS_KEY": "nothing",
            "AWS_DEFAULT_REGION": "us-east-1",
            "HALFMASK_KEY": "tests",
        }.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(fsspec.config, "conf", {})
        fsspec.config.set_conf_env(fsspec.config.conf)
        fs = s3fs.S3FileSystem(endpoint_url=f"http://{host}:{port}", skip_instance_cache=True)
        fs.mkdir("archive")
        fs.put(str(album) + "/", "archive/album/", recursive=True)
        result = halfmask("s3://archive/album", "-o", "s3://archive/out", "--workers", 2)
        assert result.exit_code == 0, result.output
        assert halfmask(album, "-o", tmp_path / "out", "-q").exit_code == 0
        for name in ("a.jpg", "sub/b.png"):
            assert fs.cat_file(f"archive/out/{name}") == (tmp_path / "out" / name).read_bytes()
        assert "3 photos already there" in halfmask("s3://archive/album", "-o", "s3://archive/out").output
        assert "there is no s3://archive/none" in halfmask("s3://archive/none", "-o", "s3://archive/out").output
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
