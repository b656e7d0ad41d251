"""``halfmask audit`` from the command line, with stand-in referees."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib import util
from pathlib import Path

import cv2
import numpy as np
import pytest
from stand_ins import Brightness

from halfmask.cli import main
from halfmask.cli.audit import read_budget
from halfmask.errors import UsageError
from halfmask.evaluation import referees
from halfmask.evaluation.audit import run as auditing
from halfmask.photos.detect import Detector

Run = Callable[..., tuple[int, str, str]]


class Named(Brightness):
    """Bears the name of a referee that the command line knows."""

    name = "face-api"


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, detector: Detector) -> Run:
    """A command line in this process, judged by the stand-in: (exit code, stdout, stderr)."""
    one = Named()
    monkeypatch.setattr(referees, "load", lambda threads, only: referees.Referees({"b": one}, {"b": one}))

    def call(*args: object) -> tuple[int, str, str]:
        capsys.readouterr()
        with pytest.raises(SystemExit) as end:
            main(["audit", *map(str, args), "--referee", "face-api", "--workers", "1", "--pictures", "0"])
        out, err = capsys.readouterr()
        return int(end.value.code or 0), out, err

    return call


@pytest.fixture
def lfw(tmp_path: Path, astronaut: np.ndarray) -> Path:
    """Four people, two photos each, laid out as LFW; and the photos with less light, in a folder beside it."""
    people = ("Ann_A", "Bob_B", "Cid_C", "Dee_D")
    for i, name in enumerate(people):
        for n in (1, 2):
            photo = astronaut[:250, 100 : 350 + 10 * i] * (0.9 if name in ("Ann_A", "Dee_D") else 0.6)
            for folder, light in (("lfw/lfw-deepfunneled", 1.0), ("after/lfw-deepfunneled", 0.8)):
                path = tmp_path / folder / name / f"{name}_{n:04d}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                cv2.imwrite(str(path), (photo * light - n).clip(0, 255).astype(np.uint8)[..., ::-1])
    for word, names in (("female", ("Ann_A", "Dee_D")), ("male", ("Bob_B", "Cid_C"))):
        lines = [f"{name}_{n:04d}.png" for name in names for n in (1, 2)]
        (tmp_path / f"lfw/{word}_names.txt").write_text("\n".join(lines))
    return tmp_path / "lfw"


def test_two_folders(run: Run, lfw: Path, tmp_path: Path) -> None:
    after, report = tmp_path / "after", tmp_path / "report"
    (after / "lfw-deepfunneled/Ann_A/Ann_A_0002.png").unlink()
    code, said, err = run(lfw, after, "-o", report, "--no-attackers", "--title", "our album", "--seed", 3)
    assert code == 0
    assert "Can unprepared software still read the gender?" in said
    assert said.splitlines()[-1] == f"report: {report / 'report.html'}"
    assert "1 photos have no protected photo: lfw-deepfunneled/Ann_A/Ann_A_0002.png" in err
    found = json.loads((report / "results.json").read_text("utf-8"))
    assert found["set"]["originals"] == "our album"
    assert (found["set"]["women"], found["set"]["men"], found["set"]["people"]) == (3, 4, 4)
    assert found["command"].startswith(f"halfmask audit {lfw} {after} --output {report} --no-attackers")
    assert "--seed 3" in found["command"]
    assert found["method"] is None
    (after / "lfw-deepfunneled/Bob_B/Bob_B_0001.png").write_bytes(b"torn")
    code, said, err = run(lfw, after, "-o", tmp_path / "again", "--no-attackers", "-q")
    assert code == 3
    assert said == ""
    assert "lfw-deepfunneled/Bob_B/Bob_B_0001.png: protected: " in err


def test_a_method_protects_first(run: Run, lfw: Path, tmp_path: Path) -> None:
    report = tmp_path / "report"
    line = ("--method", "san", "--dataset", "lfw", "--data", tmp_path, "-o", report, "--no-attackers", "--most", 5)
    code, _, err = run(*line, "--prototype", "sm")
    assert code == 0
    assert "6 of 8 photos were measured, of whole people drawn by lot." in err
    found = json.loads((report / "results.json").read_text("utf-8"))
    assert found["method"] == {
        "name": "san",
        "prototype": "sm",
        "strength": None,
        "hide": "gender",
        "settings": {},
    }
    assert found["set"]["photos"] == len(list((report / "protected").rglob("*.png"))) == 6
    made = {path: path.stat().st_mtime_ns for path in (report / "protected").rglob("*.png")}
    assert run(*line, "--prototype", "sm")[0] == 0
    assert made == {path: path.stat().st_mtime_ns for path in (report / "protected").rglob("*.png")}
    code, _, err = run(*line, "--prototype", "op")
    assert code == 2
    assert "protected in another way; give another -o" in err


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("a",), "expected two folders, ORIGINALS PROTECTED, or --method and --dataset; got 1 paths"),
        (("a", "b", "--prototype", "op"), "--prototype is for --method"),
        (("a", "b", "--method", "san", "--dataset", "lfw"), "give two folders"),
        (("--method", "san"), "both of --method and --dataset"),
        (("--method", "magic", "--dataset", "lfw"), "method is 'magic'; expected one of"),
        (("--method", "san", "--dataset", "poetry"), "there is no data set 'poetry'"),
        (("--method", "san", "--dataset", "lfw", "--split", "train"), "no photos in the split train; it has no split"),
        (("--method", "san", "--dataset", "lfw", "--set", "colour=blue"), "has no setting 'colour'"),
        (("a", "b"), "there is no a (ORIGINALS)"),
        (("a", "b", "--attack", "magic"), "no attack is called magic"),
        (("a", "b", "--direction", "deidentify", "--attack", "probe"), "probe reads the gender, which"),
        (("--method", "deidentify", "--dataset", "lfw", "--attack", "probe"), "reads the gender, which"),
        (("--method", "san", "--dataset", "lfw", "--referee", "magic"), "no referee is called magic"),
    ],
)
def test_odd_requests(
    run: Run, lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    code, _, err = run(*args, "-o", "report")
    assert code == 2
    assert message in err
    assert not Path("report").exists()


def test_ctrl_c_and_a_missing_extra(run: Run, lfw: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*args: object, **options: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(auditing, "measure", stop)
        code, _, err = run(lfw, tmp_path / "after", "-o", tmp_path / "r", "--no-attackers")
    assert (code, err.strip()) == (130, "interrupted")
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else find(name))
    code, _, err = run(lfw, tmp_path / "after", "-o", tmp_path / "r")
    assert code == 3
    assert 'pip install "halfmask[train]", or leave the attackers out (--no-attackers)' in err


def test_budgets(tmp_path: Path) -> None:
    path = tmp_path / "budget.yaml"
    path.write_text("epochs: 2\nmatchers: [dlib]\n")
    assert (read_budget(path).epochs, read_budget(path).matchers) == (2, ("dlib",))
    for text, message in (
        ("epoch: 2", "makes no sense: .*epoch.*expected numbers for epochs, seen"),
        ("epochs: many", "makes no sense"),
        ("epochs: 0", "wants epochs above 0"),
        ("- 3", "holds \\[3\\]; expected lines such as epochs: 5"),
        ("a: [", "cannot be read"),
    ):
        path.write_text(text)
        with pytest.raises(UsageError, match=message):
            read_budget(path)
    with pytest.raises(UsageError, match="cannot be read"):
        read_budget(tmp_path / "absent.yaml")
