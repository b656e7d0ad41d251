from __future__ import annotations

import os
from pathlib import Path

import pytest

from halfmask.errors import UsageError, shown
from halfmask.protecting.known import Known, read_boxes, read_labels
from halfmask.protecting.plan import Job, plan, prepare
from halfmask.storage import whole


@pytest.fixture
def album(tmp_path: Path) -> Path:
    folder = tmp_path / "album"
    for name in ("a.jpg", "sub/b.PNG", "sub/deep/c.jpeg", "notes.txt", ".hidden.jpg"):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def outputs(todo) -> list[str]:
    return [job.output.relative_to(todo.out).as_posix() for job in todo.jobs]


def test_a_folder_keeps_its_structure(album: Path, tmp_path: Path) -> None:
    todo = plan([album], tmp_path / "out")
    assert outputs(todo) == ["a.jpg", "sub/b.PNG", "sub/deep/c.jpeg"]
    assert [job.name for job in todo.jobs] == ["a.jpg", "sub/b.PNG", "sub/deep/c.jpeg"]
    assert todo.ignored == 2
    assert todo.problems == ()


def test_several_inputs_keep_the_names_of_their_folders(album: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"x")
    single = tmp_path / "single.jpg"
    single.write_bytes(b"x")
    todo = plan([album, other, single], tmp_path / "out")
    assert outputs(todo) == ["album/a.jpg", "album/sub/b.PNG", "album/sub/deep/c.jpeg", "other/a.jpg", "single.jpg"]


def test_one_photo_goes_to_a_file_or_into_a_folder(album: Path, tmp_path: Path) -> None:
    photo = album / "a.jpg"
    there = tmp_path / "there.d"
    there.mkdir()
    assert plan([photo], tmp_path / "new.png").jobs == (Job(photo, tmp_path / "new.png", "a.jpg", "PNG"),)
    for out in (there, tmp_path / "new", f"{tmp_path}/dotted.name{os.sep}"):
        assert plan([photo], out).jobs[0].output == Path(out) / "a.jpg"
    with pytest.raises(UsageError, match=r"ends with \.xyz.*expected one of"):
        plan([photo], tmp_path / "new.xyz")
    with pytest.raises(UsageError, match="contradict"):
        plan([photo], tmp_path / "new.png", format="jpeg")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UsageError, match=r"pipe\.jpg is a device, a pipe"):
        plan([photo], tmp_path / "pipe.jpg")


def test_a_format_gives_new_suffixes_only_where_needed(album: Path, tmp_path: Path) -> None:
    assert outputs(plan([album], tmp_path / "out", format="jpeg")) == ["a.jpg", "sub/b.jpg", "sub/deep/c.jpeg"]
    bare = tmp_path / "photo.v2"
    bare.write_bytes(b"x")
    assert outputs(plan([bare], tmp_path / "out", format="png")) == ["photo.v2.png"]


def test_two_inputs_for_one_output_are_both_named(album: Path, tmp_path: Path) -> None:
    (album / "a.png").write_bytes(b"x")
    with pytest.raises(UsageError, match=r"a\.jpg and .*a\.png would both be written to .*a\.png"):
        plan([album], tmp_path / "out", format="png")


def test_what_is_given_twice_is_taken_once(album: Path, tmp_path: Path) -> None:
    photo, again = album / "a.jpg", album / "sub" / ".." / "a.jpg"
    assert [job.source for job in plan([photo, again, photo], tmp_path / "out").jobs] == [photo]
    assert plan([photo, again], tmp_path / "new.png").jobs[0].output == tmp_path / "new.png"
    assert outputs(plan([album, album / "sub" / ".."], tmp_path / "out")) == ["a.jpg", "sub/b.PNG", "sub/deep/c.jpeg"]
    (album / "link.jpg").symlink_to(photo)
    assert outputs(plan([photo, album / "link.jpg"], tmp_path / "out")) == ["a.jpg", "link.jpg"]


def test_an_output_inside_or_over_the_input_is_refused(album: Path, tmp_path: Path) -> None:
    for out in (album, album / "out", album / "sub" / ".." / "x", tmp_path / "link"):
        if out.name == "link":
            out.symlink_to(album / "sub")
        with pytest.raises(UsageError, match="inside the input folder"):
            plan([album], out)
    with pytest.raises(UsageError, match="would replace the input"):
        plan([album / "a.jpg"], album)
    with pytest.raises(UsageError, match="would replace the input"):
        plan([album / "a.jpg"], album / "a.jpg")
    out = tmp_path / "hard"
    out.mkdir()
    os.link(album / "a.jpg", out / "a.jpg")
    with pytest.raises(UsageError, match="would replace the input"):
        plan([album], out)


def test_a_file_in_the_place_of_the_folder_is_refused(album: Path, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"x")
    with pytest.raises(UsageError, match="is a file, but several"):
        plan([album], file)


def test_absent_and_odd_inputs_are_named(album: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no .*nothing\.jpg"):
        plan([album, tmp_path / "nothing.jpg"], tmp_path / "out")
    os.mkfifo(tmp_path / "pipe.jpg")
    with pytest.raises(UsageError, match="neither a file nor a folder"):
        plan([tmp_path / "pipe.jpg"], tmp_path / "out")


def test_links_in_a_circle_and_into_the_output_end(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "old.jpg").write_bytes(b"x")
    (album / "sub" / "round").symlink_to(album)
    (album / "results").symlink_to(out)
    (album / "gone.jpg").symlink_to(tmp_path / "nowhere.jpg")
    os.mkfifo(album / "pipe.jpg")
    todo = plan([album], out)
    assert outputs(todo) == ["a.jpg", "sub/b.PNG", "sub/deep/c.jpeg"]
    assert [Path(name).name for name, _ in todo.problems] == ["gone.jpg", "pipe.jpg"]


def test_names_that_are_not_utf8_or_not_printable(album: Path, tmp_path: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(album) + b"/\xff\n.jpg"))
    odd.write_bytes(b"x")
    todo = plan([album], tmp_path / "out")
    job = next(job for job in todo.jobs if "\n" in job.name)
    assert os.fsencode(job.output.name) == b"\xff\n.jpg"
    shown(job.output).encode("ascii")
    assert "\n" not in shown(job.output)


def test_prepare_clears_what_is_nobodys_and_refuses_what_cannot_be_written(album: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    for name in "12":
        (out / f".{name}.halfmask-part").write_bytes(b"half")
    with whole(out / "a.jpg") as fresh:  # another run, which is at work
        prepare(plan([album], out))
        assert [p.name for p in out.iterdir()] == [fresh.name]
    (tmp_path / "file").write_bytes(b"x")
    with pytest.raises(UsageError, match="nothing can be written"):
        prepare(plan([album], tmp_path / "file" / "out"))


def labels(tmp_path: Path, text: str | bytes, *names: str) -> dict[Path, int]:
    path = tmp_path / "labels.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    known = read_labels(path, [Job(tmp_path / "in" / n, tmp_path / "out" / n, n) for n in names])
    return {source: one.genders[0] for source, one in known.items() if one.genders[0] is not None}


def test_labels(tmp_path: Path) -> None:
    text = f"\ufefffile,gender,note\na.jpg,Female,x\nsub/b.jpg,1,\n{tmp_path}/in/c.jpg,m,\nd.jpg,,\n"
    assert labels(tmp_path, text, "a.jpg", "sub/b.jpg", "c.jpg", "d.jpg") == {
        tmp_path / "in" / name: gender for name, gender in (("a.jpg", 0), ("sub/b.jpg", 1), ("c.jpg", 1))
    }
    name = os.fsdecode(b"\xff.jpg")
    assert labels(tmp_path, b"file,gender\n\xff.jpg,male\n", name) == {tmp_path / "in" / name: 1}


def test_a_label_holds_for_one_photo_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("A", "B"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "p.jpg").write_bytes(b"x")
    (tmp_path / "B" / "own.jpg").write_bytes(b"x")
    jobs = plan([Path("A"), Path("B")], "out").jobs
    table = tmp_path / "labels.csv"
    for named in ("A/p.jpg", "./A/p.jpg", tmp_path / "A" / "p.jpg"):
        table.write_text(f"file,gender\n{named},female\nown.jpg,male\n")
        assert read_labels(table, jobs) == {
            Path("A/p.jpg"): Known((0,), (None,)),
            Path("B/own.jpg"): Known((1,), (None,)),
        }
    table.write_text("file,gender\np.jpg,female\n")
    with pytest.raises(UsageError, match=r"several photos go by: p\.jpg \(line 2\), which is A/p\.jpg or B/p\.jpg"):
        read_labels(table, jobs)


def test_wrong_labels_are_listed(tmp_path: Path) -> None:
    with pytest.raises(
        UsageError, match=r"not among the inputs: x\.jpg \(line 2\), y\.jpg \(line 4\); it holds genders"
    ):
        labels(tmp_path, "file,gender\nx.jpg,male\na.jpg,robot\ny.jpg,male\n", "a.jpg")
    with pytest.raises(UsageError, match=r"says both female and male of: a\.jpg"):
        labels(tmp_path, "file,gender\na.jpg,male\na.jpg,female\n", "a.jpg")
    with pytest.raises(UsageError, match=r"has the columns name, sex; expected a first line such as file,gender"):
        labels(tmp_path, "name,sex\n", "a.jpg")
    with pytest.raises(UsageError, match="and 15 more"):
        labels(tmp_path, "file,gender\n" + "".join(f"{i}.jpg,male\n" for i in range(25)))
    with pytest.raises(UsageError, match="cannot read"):
        read_labels(tmp_path / "absent.csv", [])


def test_a_labels_file_says_who_is_who(tmp_path: Path) -> None:
    table = tmp_path / "labels.csv"
    jobs = [Job(tmp_path / n, tmp_path / "out" / n, n) for n in ("a.jpg", "b.jpg", "c.jpg")]
    table.write_text("file,person,gender\na.jpg,anna,f\nb.jpg,anna,\nc.jpg,,\n")
    assert read_labels(table, jobs) == {
        tmp_path / "a.jpg": Known((0,), ("anna",)),
        tmp_path / "b.jpg": Known((None,), ("anna",)),
    }
    table.write_text("file,person\na.jpg,anna\na.jpg,berta\n")
    with pytest.raises(UsageError, match=r"gives two names to: a\.jpg"):
        read_labels(table, jobs)


def test_a_boxes_file_says_who_is_in_a_box(tmp_path: Path) -> None:
    table = tmp_path / "boxes.csv"
    job = Job(tmp_path / "a.jpg", tmp_path / "out.jpg", "a.jpg")
    table.write_text("file,x,y,width,height,name,person,gender\na.jpg,1,2,3,4,x,anna,w\na.jpg,5,6,7,8,,,\n")
    assert read_boxes(table, [job]) == {
        job.source: Known(boxes=((1, 2, 3, 4), (5, 6, 7, 8)), box_genders=(0, None), box_who=("anna", None))
    }
    table.write_text("file,x,y,width,height,gender\na.jpg,1,2,3,4,robot\n")
    with pytest.raises(UsageError, match="line 2 holds the gender robot; expected female or male"):
        read_boxes(table, [job])
