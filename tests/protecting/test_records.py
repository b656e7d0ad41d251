"""A second run redoes what has changed since the first, and leaves alone what is not halfmask's."""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from halfmask.methods import key
from halfmask.protecting import records as records_module
from halfmask.protecting.options import Options
from halfmask.protecting.records import Records
from halfmask.storage import RECORD, whole

Run = Callable[..., tuple[int, str, str]]


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder, the records among them."""
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def made(run: Run, album: Path, tmp_path: Path) -> Path:
    """The album, protected with strength mid."""
    assert run("protect", album, "-o", tmp_path / "out", "--strength", "mid")[0] == 0
    return tmp_path / "out"


@pytest.mark.parametrize(
    ("options", "redone"),
    [
        ((), 3),  # how strong it is then, the method says
        (("--strength", "mid"), 0),
        (("--strength", "mid", "--score", "--workers", 1, "--max-pixels", 10**8, "--json", "r.json"), 0),
        (("--strength", "high"), 3),
        (("--strength", "mid", "--hide", "age"), 3),
        (("--strength", "mid", "--set", "key=another"), 3),
        (("--strength", "mid", "--set", "person=anna"), 3),
        (("--strength", "mid", "--quality", 50), 3),
        (("--strength", "mid", "--keep-metadata"), 3),
        (("--strength", "mid", "--faces", "largest"), 3),
        (("--strength", "mid", "--min-face", 40), 3),
        (("--strength", "mid", "--detector-threshold", 0.8), 3),
        (("--method", "san"), 3),
    ],
)
def test_other_options_redo_what_they_change(
    run: Run, album: Path, made: Path, options: tuple[object, ...], redone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(album.parent)
    code, said, _ = run("protect", album, "-o", made, *options, "--dry-run")
    assert code == 0
    wall = redone > 0  # in which no face was found, looked at again where the way of it is another
    assert f"{redone + wall} photos would be protected, {3 - redone} are there already" in said
    assert ("without a face found before: 1" in said) != wall
    code, said, _ = run("protect", album, "-o", made, *options)
    assert code == 0
    assert f"{redone} photos protected" in said
    assert ("3 photos already there" in said) == (redone == 0)
    fresh = album.parent / "fresh"
    assert run("protect", album, "-o", fresh, *options)[0] == 0
    assert files(made) == files(fresh)  # as if the first run had not been, its record included


def test_other_weights_redo(run: Run, album: Path, made: Path, standin: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    mine.mkdir()
    shutil.copy(standin / "halfmask.onnx", mine)
    common = ("protect", album, "-o", made, "--set", f"weights={mine}")
    assert "3 photos protected" in run(*common)[1]
    assert "3 photos already there" in run(*common)[1]
    import onnx

    model = onnx.load(str(mine / "halfmask.onnx"))
    model.doc_string = "trained on"
    onnx.save(model, str(mine / "halfmask.onnx"))
    assert "3 photos protected" in run(*common)[1]


def test_another_label_redoes_its_photo(run: Run, album: Path, tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    common = ("protect", album, "-o", tmp_path / "out", "--method", "san", "--labels", table)
    table.write_text("file,gender\na.jpg,male\nb.jpg,male\n")
    assert "3 photos protected" in run(*common)[1]
    table.write_text("file,gender\na.jpg,male\nb.jpg,female\n")
    assert "1 photos would be protected, 2 are there already" in run(*common, "--dry-run")[1]
    _, said, _ = run(*common)
    assert "1 photo protected" in said
    assert "2 photos already there" in said


def test_another_box_redoes_its_photo(run: Run, album: Path, tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    common = ("protect", album, "-o", tmp_path / "out", "--boxes", table)
    table.write_text("file,x,y,width,height\na.jpg,2,2,40,40\n")
    assert "3 photos protected" in run(*common)[1]
    table.write_text("file,x,y,width,height\na.jpg,2,2,40,40\nb.jpg,2,2,40,40\n")
    assert "1 photos would be protected, 2 are there already" in run(*common, "--dry-run")[1]
    _, said, _ = run(*common)
    assert "1 photo protected" in said
    assert "2 photos already there" in said


def test_other_faces_of_a_photo_redo_it(run: Run, album: Path, tmp_path: Path) -> None:
    common = ("protect", album / "a.jpg", "-o", tmp_path / "out.jpg")
    assert "1 photo protected" in run(*common)[1]
    assert "1 photo already there" in run(*common)[1]
    assert "1 photo protected" in run(*common, "--only", 1)[1]
    assert Options(skip=(2,)).how("") != Options(skip=(1,)).how("") != Options().how("")


def test_another_photo_is_redone_whatever_the_clocks_say(run: Run, album: Path, made: Path) -> None:
    common = ("protect", album, "-o", made, "--strength", "mid")
    for name in ("a.jpg", "b.jpg"):  # the clock went back between the runs
        os.utime(made / name, (1, 1))
    assert "3 photos already there" in run(*common)[1]
    (album / "a.jpg").write_bytes((album / "a.jpg").read_bytes() + b"\0")
    os.utime(album / "a.jpg", (5, 5))  # older than its output
    _, said, _ = run(*common)
    assert "1 photo protected" in said
    assert "2 photos already there" in said


@pytest.mark.parametrize("content", [b"somebody's", b""])
def test_what_is_not_ours_is_never_replaced(run: Run, album: Path, made: Path, content: bytes) -> None:
    common = ("protect", album, "-o", made, "--strength", "high")
    (made / "a.jpg").write_bytes(content)
    old = files(made)
    code, said, error = run(*common, "--dry-run")
    assert code == 3
    assert "was not made by halfmask, or changed since" in error
    assert files(made) == old
    code, said, _ = run(*common)
    assert code == 3
    assert "2 photos protected" in said
    line = next(line for line in said.splitlines() if line.startswith(f"  {album / 'a.jpg'}: "))
    assert "was not made by halfmask, or changed since" in line
    assert "give --overwrite to replace it" in line
    assert (made / "a.jpg").read_bytes() == content
    assert run(*common, "--overwrite")[0] == 0
    assert (made / "a.jpg").read_bytes() == (made / "b.jpg").read_bytes()
    assert "3 photos already there" in run(*common)[1]


def test_outputs_without_a_record_are_left_alone(run: Run, album: Path, made: Path) -> None:
    """As those of halfmask 0.1.0 are."""
    (made / RECORD).unlink()
    code, said, _ = run("protect", album, "-o", made, "--strength", "mid")
    assert code == 3
    assert "2 failed" in said
    assert "1 photo already there" in said  # below, where the record still is


def test_a_single_file_and_a_pipe(
    run: Run, album: Path, jpeg: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "one.jpg"

    def piped(*options: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(jpeg)))
        return run("protect", "-", "-o", target, *options)

    for call in (lambda *o: run("protect", album / "a.jpg", "-o", target, *o), piped):
        code, said, error = call("--strength", "low")
        assert (code, "1 photo protected" in said + error) == (0, True)
        low = target.read_bytes()
        code, said, error = call("--strength", "low")
        assert (code, "1 photo already there" in said + error) == (0, True)
        code, said, error = call("--strength", "high")
        assert (code, "1 photo protected" in said + error) == (0, True)
        assert target.read_bytes() != low
        target.unlink()


def test_a_killed_run_is_known(run: Run, album: Path, made: Path) -> None:
    """Killed after the line of an output and before the output, or in the middle of a line."""
    old = files(made)
    record = made / RECORD
    entry = json.loads(record.read_text().splitlines()[0])
    with open(record, "a") as stream:
        stream.write(json.dumps(entry | {"sha256": "0" * 64, "made": "1" * 32}) + "\n" + '{"file": "b.j')
    code, said, _ = run("protect", album, "-o", made, "--strength", "mid")
    assert (code, "3 photos already there" in said) == (0, True)
    (made / "a.jpg").unlink()
    code, said, _ = run("protect", album, "-o", made, "--strength", "mid")
    assert (code, "2 photos already there" in said) == (0, True)
    assert files(made) == old


def test_two_runs_at_once(run: Run, album: Path, tmp_path: Path) -> None:
    """What another run makes while this one is at work is known to this one, and kept by its tidying."""
    out = tmp_path / "out"
    out.mkdir()
    photos = [album / name for name in ("a.jpg", "b.jpg")]
    mine, theirs = Records({}), Records({})
    with mine:
        assert mine.there(photos[0], out / "x.jpg", mine.mark(photos[0])) is None
        with theirs:
            for n, records in enumerate((theirs, mine)):
                target, mark = out / f"{n}.jpg", records.mark(photos[n])
                with whole(target, placing=partial(records.placing, target, mark)) as fresh:
                    fresh.write_bytes(b"made")
            assert mine.there(photos[0], out / "0.jpg", mine.mark(photos[0])) == ""
    lines = [json.loads(line)["file"] for line in (out / RECORD).read_text().splitlines()]
    assert lines == ["0.jpg", "1.jpg"]


def test_a_record_tells_nothing(run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "out"
    assert run("protect", album, "-o", out, "--set", "person=anna", "--set", "key=sesame")[0] == 0
    text = (out / RECORD).read_text()
    for entry in map(json.loads, text.splitlines()):
        assert set(entry) == {"file", "sha256", "made"}
    assert "anna" not in text
    assert "sesame" not in text
    marks = []
    for own in ("one", "two"):  # without the user's key nobody can try names
        monkeypatch.setenv("HALFMASK_KEY", own)
        marks.append(Records({"person": "anna"}).mark(album / "a.jpg"))
    assert marks[0] != marks[1]


def test_without_a_key_everything_is_redone(
    run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.delenv("HALFMASK_KEY")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "file"))
    common = ("protect", album, "-o", tmp_path / "out", "--method", "san")
    assert run(*common)[0] == 0
    assert "3 photos already there" in run(*common)[1]  # within one process
    key._fallback.cache_clear()  # as another process has it
    assert "3 photos protected" in run(*common)[1]


def test_a_record_in_a_photo_folder_is_no_file_that_was_ignored(run: Run, made: Path, tmp_path: Path) -> None:
    assert "ignored" not in run("protect", made, "-o", tmp_path / "again")[1]


@pytest.mark.parametrize("odd", ["folder", "link"])
def test_a_record_that_cannot_be_written(run: Run, album: Path, tmp_path: Path, odd: str) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").write_text("theirs")
    (out / RECORD).mkdir() if odd == "folder" else (out / RECORD).symlink_to(tmp_path / "elsewhere")
    code, said, _ = run("protect", album / "a.jpg", "-o", out)
    assert code == 3
    assert f"its record {RECORD} beside it could not" in said
    assert not (out / "a.jpg").exists()
    assert (tmp_path / "elsewhere").read_text() == "theirs"


def write(records: Records, output: Path, text: bytes, mark: str) -> None:
    """An output as a run writes it."""
    output.parent.mkdir(exist_ok=True)
    with whole(output, placing=lambda part: records.placing(output, mark, part)) as fresh:
        fresh.write_bytes(text)


def test_a_record_is_read_once_however_long_it_grows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    parse, seen = records_module._parse, [0]

    def counted(data: bytes, known: records_module._Known) -> None:
        seen[0] += len(data)
        parse(data, known)

    monkeypatch.setattr(records_module, "_parse", counted)
    outputs = [tmp_path / f"{i:03d}.jpg" for i in range(60)]
    with Records({}) as records:
        for i, output in enumerate(outputs):
            assert not records.skipped(output, "mine")  # looks for a line that is not there
            if i % 2:
                records.note([(output, records_module.NONE, "mine")])
                assert records.skipped(output, "mine")
            else:
                write(records, output, b"%d" % i, "mine")
                assert records.there(tmp_path / "photo.jpg", output, "mine") == ""
        size = (tmp_path / RECORD).stat().st_size
        assert size <= seen[0] < 2 * size


def test_a_record_that_others_wrote_anew_is_read_anew(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jpg", tmp_path / "two.jpg"
    with Records({}) as records:
        write(records, one, b"1", "first")
        write(records, two, b"2", "first")
        assert records.there(tmp_path / "photo.jpg", one, "first") == ""
        record = tmp_path / RECORD
        text = record.read_text("utf-8")
        with record.open("r+", encoding="utf-8") as same:  # the same file, longer, with another text
            same.write(text.replace("first", "other") + " " * 40 + "\n")
        two.write_bytes(b"22")  # nobody noted it, so the record is looked at again
        assert records.there(tmp_path / "photo.jpg", two, "first") is not None
        assert records.there(tmp_path / "photo.jpg", one, "other") == ""


def test_a_record_that_others_put_in_order_meanwhile(tmp_path: Path) -> None:
    """Sorted, with marks of one length, in a file that got the old one's number: it ends as it did before."""
    outputs = [tmp_path / f"{name}.jpg" for name in "abcd"]
    with Records({}) as records:
        for output in outputs:
            write(records, output, output.name.encode(), "mark 9")
        assert [records.there(tmp_path / "photo.jpg", output, "mark 9") for output in outputs] == [""] * 4
        before, record = (tmp_path / RECORD).read_bytes(), tmp_path / RECORD
        outputs[0].write_bytes(b"made by others")
        lines = before.decode().splitlines()
        lines[0] = lines[0].replace(hashlib.sha256(b"a.jpg").hexdigest(), hashlib.sha256(b"made by others").hexdigest())
        with record.open("r+b") as same:
            same.write("\n".join(lines).encode())
        os.utime(record, ns=(1, 1))
        assert record.stat().st_size == len(before)
        assert records.there(tmp_path / "photo.jpg", outputs[0], "mark 9") == ""


def test_a_record_that_vanishes_says_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ours, theirs = tmp_path / "ours.jpg", tmp_path / "theirs.jpg"
    records = Records({})
    write(records, ours, b"1", "mine")
    assert records.there(tmp_path / "photo.jpg", ours, "mine") == ""
    theirs.write_bytes(b"somebody's own")
    write(Records({}), ours, b"2", "mine")
    lstat = Path.lstat

    def gone(path: Path) -> os.stat_result:
        about = lstat(path)
        if path.name == RECORD:
            path.unlink()
        return about

    monkeypatch.setattr(Path, "lstat", gone)
    assert "was not made by halfmask" in str(records.there(tmp_path / "photo.jpg", theirs, "mine"))


def test_the_same_bytes_made_in_another_way(tmp_path: Path) -> None:
    output = tmp_path / "out.jpg"
    records = Records({})
    for mark in ("first", "second"):
        write(records, output, b"1", mark)
        assert records.there(tmp_path / "photo.jpg", output, mark) == ""


def test_a_half_line_counts_once_it_is_whole(tmp_path: Path) -> None:
    one, two = tmp_path / "one.jpg", tmp_path / "two.jpg"
    with Records({}) as records:
        write(records, one, b"1", "mine")
        assert records.there(tmp_path / "photo.jpg", one, "mine") == ""
        two.write_bytes(b"2")
        line = json.dumps({"file": two.name, "sha256": hashlib.sha256(b"2").hexdigest(), "made": "mine"}).encode()
        with (tmp_path / RECORD).open("ab") as record:
            record.write(line[:50])
            record.flush()
            assert "was not made by halfmask" in str(records.there(tmp_path / "photo.jpg", two, "mine"))
            record.write(line[50:] + b"\n")
            record.flush()
            assert records.there(tmp_path / "photo.jpg", two, "mine") == ""


def test_more_folders_than_are_kept_in_mind(tmp_path: Path) -> None:
    outputs = [tmp_path / f"{i}" / "a.jpg" for i in range(records_module._FOLDERS + 5)]
    with Records({}) as records:
        for output in outputs:
            write(records, output, output.parent.name.encode(), "mine")
    with Records({}) as records:
        for output in [*outputs, *outputs]:
            assert records.there(tmp_path / "photo.jpg", output, "mine") == ""
            assert records.there(tmp_path / "photo.jpg", output, "other") is None
        assert len(records._folders) == records_module._FOLDERS
