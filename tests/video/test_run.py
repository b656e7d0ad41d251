"""Videos through the engine and the command line."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from films import GREEN, RED, Squares, film, make_engine, picture, planes, walk
from PIL import Image

from halfmask.cli import main
from halfmask.errors import PhotoError
from halfmask.methods.match import SFace
from halfmask.photos.detect import Detector
from halfmask.protecting import pipeline
from halfmask.protecting.engine import Engine
from halfmask.protecting.known import Known
from halfmask.protecting.plan import Job
from halfmask.protecting.records import Records
from halfmask.storage import RECORD
from halfmask.video import run as video
from halfmask.weights import store

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], eyes: Squares) -> Call:
    """Run a command line with squares for faces: (exit code, stdout, stderr). No network is loaded or fetched."""
    monkeypatch.setenv("HALFMASK_KEY", "tests")
    monkeypatch.setattr(store, "get", lambda name, **_: Path(name))
    monkeypatch.setattr(video, "SFace", lambda threads: None)
    monkeypatch.setattr(video, "Look", lambda detector, sface: eyes)

    def load(options: Any, **_: Any) -> Engine:
        engine = make_engine()
        engine.options = options
        return engine

    monkeypatch.setattr(pipeline, "load", load)

    def run(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in args])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return run


def job(source: Path) -> Job:
    return Job(source, source.parent / "out" / source.name, source.name)


def absent(frames: int, hidden: range) -> list[np.ndarray]:
    return [picture({} if i in hidden else {RED: (40, 30, 32)}) for i in range(frames)]


def test_faces_change_and_everything_else_is_the_same(tmp_path: Path, engine: Engine, eyes: Squares) -> None:
    source = film(tmp_path / "a.mkv", walk(10, step=1))
    outcome = video.protect(job(source), engine, eyes)
    assert (outcome.status, outcome.frames, outcome.warning) == (pipeline.PROTECTED, 10, None)
    assert [face.changed for face in outcome.faces] == [True]
    for i, (old, new) in enumerate(zip(planes(source), planes(outcome.job.output), strict=True)):
        x, y, side = 8 + i, 30, 32
        inside = (
            new[0][y + 4 : y + side - 4, x + 4 : x + side - 4].astype(int)
            - old[0][y + 4 : y + side - 4, x + 4 : x + side - 4]
        )
        assert inside.mean() == pytest.approx(0.12 * 219, abs=1.5)
        reach = 40  # the change of a whole crop goes on a little beyond it
        assert np.array_equal(old[0][:, x + side + reach :], new[0][:, x + side + reach :])
        assert all(np.array_equal(a[:, (x + side + reach) // 2 + 1 :], b[:, (x + side + reach) // 2 + 1 :])
                   for a, b in zip(old[1:], new[1:], strict=True))  # fmt: skip


def test_one_person_has_one_name_in_a_clip_and_another_in_another(tmp_path: Path, eyes: Squares) -> None:
    shots = [picture({RED: (8 + i, 30, 32), GREEN: (80, 40, 24)}) for i in range(8)]
    names = []
    for n in range(2):
        engine = make_engine()
        source = film(tmp_path / f"{n}.mkv", [*shots, *[shots[-1]] * n])
        video.protect(job(source), engine, eyes)
        names.append({subject.who for subject in engine.networks.method.subjects})  # type: ignore[attr-defined]
    assert [len(group) for group in names] == [2, 2]
    assert not names[0] & names[1]
    again = make_engine()
    video.protect(job(tmp_path / "0.mkv"), again, eyes)
    assert {subject.who for subject in again.networks.method.subjects} == names[0]  # type: ignore[attr-defined]


def test_who_is_known_gets_that_name_and_gender(tmp_path: Path, engine: Engine, eyes: Squares) -> None:
    shots = [picture({RED: (8, 30, 40), GREEN: (80, 40, 24)})] * 6
    known = Known((1,), ("anna",))
    outcome = video.protect(job(film(tmp_path / "a.mkv", shots)), engine, eyes, known=known)
    told = {(subject.who == "anna", subject.gender) for subject in engine.networks.method.subjects}  # type: ignore[attr-defined]
    assert told == {(True, 1), (False, None)}
    assert sorted(str(face.gender_origin) for face in outcome.faces) == ["None", "labels file"]


def test_a_name_for_everybody_beats_the_clips_own(tmp_path: Path, eyes: Squares) -> None:
    engine = make_engine(settings={"person": "anna"})
    video.protect(job(film(tmp_path / "a.mkv", walk(3))), engine, eyes)
    assert {subject.who for subject in engine.networks.method.subjects} == {None}  # type: ignore[attr-defined]


def test_the_largest_alone_is_changed_when_that_is_asked(tmp_path: Path, eyes: Squares) -> None:
    shots = [picture({RED: (4, 30, 40), GREEN: (100, 40, 20)})] * 6
    outcome = video.protect(job(film(tmp_path / "a.mkv", shots)), make_engine(faces="largest"), eyes)
    assert sorted((face.changed, face.left_out) for face in outcome.faces) == [(False, True), (True, False)]
    assert outcome.warning is None


def test_the_change_follows_slowly_so_that_nothing_flickers(
    tmp_path: Path, eyes: Squares, rng: np.random.Generator
) -> None:
    engine = make_engine()
    method = engine.networks.method
    method._change = lambda crops, subjects: np.full_like(crops, 0.1 + rng.normal(0, 0.05))  # type: ignore[method-assign]
    source = film(tmp_path / "a.mkv", [picture({RED: (40, 30, 32)})] * 40)
    outcome = video.protect(job(source), engine, eyes)
    levels = np.array([p[0][40:55, 50:65].mean() for p in planes(outcome.job.output)])
    assert levels[10:].std() < 0.6 * 0.05 * 219


@pytest.mark.parametrize("rotation", [90, 180])
def test_a_turned_clip_is_changed_where_it_is_seen(
    tmp_path: Path, engine: Engine, eyes: Squares, rotation: int
) -> None:
    source = film(tmp_path / "a.mp4", walk(4, step=0), codec="libx264", options={"qp": "1"}, rotation=rotation)
    outcome = video.protect(job(source), engine, eyes)
    old, new = next(planes(source)), next(planes(outcome.job.output))
    assert (new[0][34:58, 12:36].astype(int) - old[0][34:58, 12:36]).mean() == pytest.approx(26, abs=3)
    assert np.abs(new[0][:, 100:].astype(int) - old[0][:, 100:]).mean() < 3


def test_a_gap_exits_3_with_its_times(tmp_path: Path, call: Call) -> None:
    source = film(tmp_path / "a.mkv", absent(40, range(10, 30)))
    code, out, _ = call("protect", source, "-o", tmp_path / "out", "--json", tmp_path / "r.json")
    assert code == 3
    assert "person 1 from 0:00:00.40 to 0:00:01.20: not found, though seen before and after" in out
    assert "1 video (40 frames) protected" in out
    (entry,) = json.loads((tmp_path / "r.json").read_text())["photos"]
    assert entry["gaps"] == [{"person": 1, "from": 0.4, "to": 1.2, "reason": "not found, though seen before and after"}]


def test_a_short_gap_is_bridged_and_exits_0(tmp_path: Path, call: Call) -> None:
    source = film(tmp_path / "a.mkv", absent(24, range(10, 16)))
    code, out, _ = call("protect", source, "-o", tmp_path / "out")
    assert (code, "WARNING" in out) == (0, False)
    old, new = (list(planes(p)) for p in (source, tmp_path / "out" / "a.mkv"))
    assert all((new[i][0][40:55, 50:65] > old[i][0][40:55, 50:65]).all() for i in range(24))


def test_clips_among_photos_are_protected_and_counted_and_a_second_run_makes_none(tmp_path: Path, call: Call) -> None:
    folder = tmp_path / "in"
    (folder / "sub").mkdir(parents=True)
    film(folder / "a.mkv", walk(4))
    film(folder / "sub" / "b.MP4", walk(4), codec="libx264")
    (folder / "code.ts").write_text("const answer = 42;")
    code, out, err = call("protect", folder, "-o", tmp_path / "out")
    assert code == 0, out + err
    assert "2 videos (8 frames) protected, 2 faces changed" in out
    assert "1 other file ignored" in out
    made = sorted(p.relative_to(tmp_path / "out").as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert made == [RECORD, "a.mkv", f"sub/{RECORD}", "sub/b.MP4"]
    before = (tmp_path / "out" / "a.mkv").stat().st_mtime_ns
    code, out, _ = call("protect", folder, "-o", tmp_path / "out")
    assert (code, "2 photos already there" in out) == (0, True)
    assert (tmp_path / "out" / "a.mkv").stat().st_mtime_ns == before
    (tmp_path / "out" / "a.mkv").unlink()
    code, out, _ = call("protect", folder, "-o", tmp_path / "out")
    assert (code, "1 video (4 frames) protected" in out, "1 file already there" in out) == (0, True, True)
    code, out, _ = call("protect", folder, "-o", tmp_path / "out", "--preview", "0.08s")
    assert (code, "2 videos (4 frames)" in out, "a preview of 0.08 s" in out) == (0, True, True)


def test_interrupted_leaves_nothing(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(tmp_path / "a.mkv", walk(6))
    changed = video.Changer.__call__

    def stop(self: video.Changer, frame: Any) -> None:
        changed(self, frame)
        if self.done == 3:
            raise KeyboardInterrupt

    monkeypatch.setattr(video.Changer, "__call__", stop)
    code, out, _ = call("protect", source, "-o", tmp_path / "out")
    assert (code, "stopped early: interrupted" in out) == (130, True)
    assert list((tmp_path / "out").iterdir()) == []
    monkeypatch.undo()


def test_a_change_goes_into_a_frame_as_into_a_photo(
    tmp_path: Path, engine: Engine, eyes: Squares, monkeypatch: pytest.MonkeyPatch
) -> None:
    placed, given = video.paste.face_change, []

    def face_change(*args: Any, **how: Any) -> Any:
        given.append(how)
        return placed(*args, **how)

    monkeypatch.setattr(video.paste, "face_change", face_change)
    monkeypatch.setattr(type(engine.networks.method), "whole", True)
    monkeypatch.setattr(type(engine.networks.method), "edge", 5)
    video.protect(job(film(tmp_path / "a.mkv", walk(3))), engine, eyes)
    assert given
    assert all(how == {"whole": True, "edge": 5} for how in given)


def test_an_error_in_the_middle_leaves_what_was_there(
    tmp_path: Path, engine: Engine, eyes: Squares, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = film(tmp_path / "a.mkv", walk(6))
    with Records({"run": 1}) as records:
        (first,) = video.run([job(source)], engine_with(eyes, monkeypatch), records=records)
    made = first.job.output.read_bytes()

    def broken(*_: Any) -> None:
        raise ValueError("broken on purpose")

    monkeypatch.setattr(video.Changer, "__call__", broken)
    with Records({"run": 2}) as records:
        (second,) = video.run([job(source)], engine_with(eyes, monkeypatch), records=records)
    assert (second.status, "broken on purpose" in str(second.reason)) == (pipeline.FAILED, True)
    assert first.job.output.read_bytes() == made
    assert sorted(p.name for p in first.job.output.parent.iterdir()) == [RECORD, "a.mkv"]


def test_a_clip_that_changes_between_the_passes_is_refused(tmp_path: Path, engine: Engine, eyes: Squares) -> None:
    source = film(tmp_path / "a.mkv", walk(6))
    full, calls = eyes.full, []

    def swap(image: np.ndarray) -> Any:
        if not calls:
            calls.append(film(tmp_path / "b.mkv", walk(4)))
            calls[0].replace(source)
        return full(image)

    eyes.full = swap  # type: ignore[method-assign]
    with pytest.raises(PhotoError, match="changed while it was read"):
        video.protect(job(source), engine, eyes)
    assert not job(source).output.exists()


def engine_with(eyes: Squares, monkeypatch: pytest.MonkeyPatch) -> Engine:
    monkeypatch.setattr(video, "SFace", lambda threads: None)
    monkeypatch.setattr(video, "Look", lambda detector, sface: eyes)
    return make_engine()


def test_without_pyav_a_video_is_named_and_exits_3(tmp_path: Path, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    source = film(tmp_path / "a.mkv", walk(2))
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "av" else there(name))
    code, out, _ = call("protect", source, "-o", tmp_path / "out")
    assert code == 3
    assert 'a.mkv: a video needs av, which is not installed: pip install "halfmask[video]"' in out
    assert not (tmp_path / "out" / "a.mkv").exists()


def test_no_face_is_not_written_unless_asked(tmp_path: Path, call: Call) -> None:
    source = film(tmp_path / "a.mkv", [picture({})] * 3)
    code, out, _ = call("protect", source, "-o", tmp_path / "out")
    assert (code, "without a face found, not written" in out) == (0, True)
    assert not (tmp_path / "out" / "a.mkv").exists()
    code, out, _ = call("protect", source, "-o", tmp_path / "out", "--if-no-face", "copy")
    assert (code, "copied UNPROTECTED" in out) == (0, True)
    assert len(list(planes(tmp_path / "out" / "a.mkv"))) == 3


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--only", "1"], "--only, --skip and --crop are for photos"),
        (["--crop"], "--only, --skip and --crop are for photos"),
        (["--preview", "soon"], "--preview is 'soon'; expected seconds such as 5s"),
        (["--preview", "-1s"], "--preview is '-1s'"),
    ],
)
def test_what_makes_no_sense_for_a_video_exits_2(tmp_path: Path, call: Call, more: list[str], words: str) -> None:
    source = film(tmp_path / "a.mkv", walk(2))
    code, _, err = call("protect", source, "-o", tmp_path / "out", *more)
    assert (code, words in err) == (2, True)


def test_an_output_of_another_kind_exits_2(tmp_path: Path, call: Call) -> None:
    source = film(tmp_path / "a.mkv", walk(2))
    code, _, err = call("protect", source, "-o", tmp_path / "b.mp4")
    assert (code, "ends otherwise than the video" in err) == (2, True)


def test_a_method_that_takes_each_frame_for_itself_is_refused(tmp_path: Path, engine: Engine, eyes: Squares) -> None:
    engine.networks.method.steady = False
    with pytest.raises(PhotoError, match="changes photos only"):
        video.protect(job(film(tmp_path / "a.mkv", walk(2))), engine, eyes)


def test_predict_names_a_video_that_it_does_not_read(
    tmp_path: Path, detector: Detector, capsys: pytest.CaptureFixture[str]
) -> None:
    film(tmp_path / "a.mkv", walk(2))
    Image.new("RGB", (40, 40)).save(tmp_path / "b.png")
    with pytest.raises(SystemExit) as end:
        main(["predict", str(tmp_path)])
    assert end.value.code == 3
    assert "a.mkv: is a video, and predict reads photos only" in capsys.readouterr().err


def test_with_the_real_detector_a_portrait_that_pans(tmp_path: Path, detector: Detector, astronaut: np.ndarray) -> None:
    shots = [np.ascontiguousarray(astronaut[:200, 90 + 3 * i : 330 + 3 * i]) for i in range(8)]
    source = film(tmp_path / "a.mp4", shots, codec="libx264")
    engine = make_engine(score=True)
    outcome = video.protect(job(source), engine, video.Look(detector, SFace(1)))
    assert len(outcome.faces) == 1
    assert outcome.warning is None
    assert outcome.faces[0].match is not None
    assert outcome.faces[0].match > 0.8
    for old, new in zip(planes(source), planes(outcome.job.output), strict=True):
        assert (new[0].astype(int) - old[0])[60:100, 60:140].mean() > 10
