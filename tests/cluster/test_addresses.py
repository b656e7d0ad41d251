"""Photos at addresses, by threads of this process: the same bytes as by the pipeline, and only what is missing."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from halfmask.cli import main

fsspec = pytest.importorskip("fsspec", reason="needs halfmask[ray]")
from halfmask.cluster import run as cluster  # noqa: E402
from halfmask.cluster.manifest import BEGUN, DONE, FOREIGN, TODO, WITHOUT, Manifest  # noqa: E402
from halfmask.cluster.places import MANIFEST, Place, is_address, renamed  # noqa: E402
from halfmask.cluster.work import Task  # noqa: E402
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


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFMASK_KEY", "tests")


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
    assert "2 photos already there" in again.output
    report = json.loads((tmp_path / "again.json").read_text())
    assert sorted(photo["status"] for photo in report["photos"]) == [*[pipeline.THERE] * 2, pipeline.SKIPPED]


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
        ((f"{memory}/a.jpg", "-o", "memory://out/b.jpg"), "has a picture's name; give a folder"),
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


def test_states(memory: str) -> None:
    place = Place("memory://out")
    task = Task("a", memory, "/album/a", "a", 1, "e", "m")
    other = replace(task, mark="other")

    def states(*noted: tuple[Task, str, str]) -> list[str]:
        manifest = Manifest(place)
        for note in noted:
            manifest.add(*note)
        manifest.flush()
        return [manifest.state(task), manifest.state(other)]

    assert states() == [TODO, TODO]
    assert states((task, pipeline.SKIPPED, "")) == [WITHOUT, TODO]
    first = place.write("a", b"1").state
    assert states() == [FOREIGN, FOREIGN]
    assert states((task, BEGUN, "")) == [TODO, TODO]
    assert states((task, pipeline.PROTECTED, first)) == [DONE, TODO]
    assert states((other, BEGUN, ""), (other, pipeline.PROTECTED, place.write("a", b"22").state)) == [TODO, DONE]
    place.write("a", b"333")
    assert states() == [FOREIGN, FOREIGN]
    Manifest(place).close()
    assert [len(data.splitlines()) for _, data in place.parts()] == [3]  # none of them stands
    assert states((task, pipeline.COPIED, place.write("a", b"4444").state)) == [TODO, TODO]
    Manifest(place).close()
    assert [len(data.splitlines()) for _, data in place.parts()] == [1]


def test_two_runs_at_once_that_want_different_things(memory: str) -> None:
    """The last to write an output is not the last to note it: either is known as ours."""
    place = Place("memory://out")
    low, high = (Task("a", memory, "/album/a", "a", 1, "e", mark) for mark in ("low", "high"))
    slow, quick = Manifest(place), Manifest(place)
    for manifest, task in ((slow, low), (quick, high)):
        manifest.begin([task])
    states = {task: place.write("a", data).state for task, data in ((low, b"low"), (high, b"higher"))}
    quick.add(high, pipeline.PROTECTED, states[high])
    quick.close()
    slow.begin([])
    slow.add(low, pipeline.PROTECTED, states[low])
    slow.close()
    again = Manifest(place)
    assert [again.state(task) for task in (low, high)] == [TODO, DONE]
    again.close()
    assert [len(data.splitlines()) for _, data in place.parts()] == [1]


# --- runs with and without Ray in one folder ---


def everything(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, records among them."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("first", ["file://", ""])
def test_one_goes_on_where_the_other_was(album: Path, tmp_path: Path, halfmask: Halfmask, first: str) -> None:
    """An address is run by what runs Ray, a path without it; a folder's records are the same."""
    out = tmp_path / "out"
    second = "" if first else "file://"
    assert "2 photos protected" in halfmask(album, "-o", f"{first}{out}").output
    before = everything(out)
    assert {name for name in before if "." in name} == {"a.jpg", ".halfmask.jsonl", "sub/b.png", "sub/.halfmask.jsonl"}
    for args, said in (
        ((), ("2 photos already there", "1 photo without a face found, not written")),
        (("--strength", "high"), ("2 photos protected",)),
        ((), ("2 photos protected",)),
    ):
        result = halfmask(album, "-o", f"{second}{out}", *args)
        assert (result.exit_code, all(line in result.output for line in said)) == (0, True), result.output
    assert everything(out) == before
    (out / "a.jpg").write_bytes(b"somebody's")
    result = halfmask(album, "-o", f"{second}{out}")
    assert (result.exit_code, "as .halfmask.jsonl" in result.output) == (3, True)
    assert (out / "a.jpg").read_bytes() == b"somebody's"
    (out / "a.jpg").unlink()
    assert "1 photo protected" in halfmask(album, "-o", f"{second}{out}").output
    assert "2 photos already there" in halfmask(album, "-o", f"{first}{out}").output
    assert everything(out) == before


def test_a_run_without_ray_goes_on_after_one_that_was_killed(album: Path, tmp_path: Path, halfmask: Halfmask) -> None:
    out = tmp_path / "out"
    assert halfmask(album, "-o", tmp_path / "undisturbed").exit_code == 0
    todo = cluster.plan([str(album)], str(out), Options())
    assert sorted(task.output for task in todo.tasks) == ["a.jpg", "sub/b.png", "wall.png"]
    Place(str(out)).write("a.jpg", b"made in another way, and not noted")
    result = halfmask(album, "-o", out)
    assert (result.exit_code, "2 photos protected" in result.output) == (0, True), result.output
    assert everything(out) == everything(tmp_path / "undisturbed")


@pytest.mark.parametrize("kind", ["file://", "memory://", ""])
def test_what_was_skipped_is_copied_when_that_is_asked(
    memory: str, album: Path, tmp_path: Path, halfmask: Halfmask, kind: str
) -> None:
    out = f"{kind}{tmp_path}/out"
    assert "1 photo without a face found, not written" in halfmask(album, "-o", out).output
    result = halfmask(album, "-o", out, "--if-no-face", "copy")
    assert "1 photo without a face found, copied UNPROTECTED" in result.output
    result = halfmask(album, "-o", out, "--strength", "high")  # in another way, so it is looked at again
    assert (result.exit_code, "may be an unprotected copy" in result.output) == (3, True), result.output


@pytest.mark.parametrize("format", ["png", "JPEG"])
def test_names_are_those_of_a_run_without_an_address(
    album: Path, tmp_path: Path, halfmask: Halfmask, format: str
) -> None:
    for kind in ("", "file://"):
        out = tmp_path / f"out{len(kind)}"
        result = halfmask(album / "a.jpg", album / "sub", "-o", f"{kind}{out}", "--format", format)
        assert result.exit_code == 0, result.output
    assert everything(tmp_path / "out0") == everything(tmp_path / "out7")


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
        assert "2 photos already there" in halfmask("s3://archive/album", "-o", "s3://archive/out").output
        assert "there is no s3://archive/none" in halfmask("s3://archive/none", "-o", "s3://archive/out").output
    finally:
        server.stop()
        s3fs.S3FileSystem.clear_instance_cache()
