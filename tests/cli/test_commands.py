"""The commands beside ``protect``."""

from __future__ import annotations

import json
from importlib import util
from pathlib import Path

import pytest
from PIL import Image

import halfmask
from halfmask.cli import main
from halfmask.weights import shipped, store


def call(capsys: pytest.CaptureFixture[str], *args: object) -> tuple[int, str, str]:
    capsys.readouterr()
    with pytest.raises(SystemExit) as end:
        main([str(a) for a in args])
    out, err = capsys.readouterr()
    return int(end.value.code or 0), out, err


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert call(capsys, "--version")[:2] == (0, f"halfmask, version {halfmask.__version__}\n")
    code, said, _ = call(capsys, "--help")
    assert code == 0
    assert all(f"\n  {command} " in said for command in ("protect", "methods", "models", "data", "train"))
    code, said, _ = call(capsys, "protect", "--help")
    assert code == 0
    assert "Exit code: 0 all done" in said


def test_unknown_command(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = call(capsys, "frobnicate")
    assert code == 2
    assert "No such command" in error


def test_models(capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path))
    code, said, _ = call(capsys, "models")
    assert code == 0
    for name, model in store.MODELS.items():
        line = next(line for line in said.splitlines() if line.startswith(name + " "))
        assert model.licence in line
        assert model.role in line
        assert "fetched when needed" in line
    assert next(line for line in said.splitlines() if line.startswith("san.onnx")).endswith("in the package")
    assert " referee " in next(line for line in said.splitlines() if line.startswith("race-utkface.npz"))
    assert str(tmp_path) in said


def test_the_licence_of_our_own_networks_is_the_manifests(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"sha256": "0", "card": "san.md"}
    files = {"san.onnx": entry, "san.safetensors": entry, "gender.onnx": entry | {"licence": "odd terms"}}
    files["fairface-resnet.safetensors"] = entry
    monkeypatch.setattr(shipped, "manifest", lambda: files)
    lines = {line.split()[0]: line for line in call(capsys, "models")[1].splitlines() if line}
    assert "odd terms" in lines["gender.onnx"]
    assert "see its card" in lines["san.onnx"]
    # what runs is listed as ONNX; a network that only trains others has nothing else to be listed by
    assert "san.safetensors" not in lines
    assert " auxiliary " in lines["fairface-resnet.safetensors"]


def test_models_check_finds_damage(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HALFMASK_CACHE", str(tmp_path))
    code, said, _ = call(capsys, "models", "check")
    assert code == 0
    assert set(said.splitlines()) == {f"{name}: whole" for name in shipped.manifest()}
    where = store.where("yunet")
    where.parent.mkdir(parents=True)
    where.write_bytes(b"junk")
    code, said, _ = call(capsys, "models", "check")
    assert code == 3
    assert "yunet: model 'yunet' is damaged" in said


def test_models_get_names_what_it_does_not_know(capsys: pytest.CaptureFixture[str]) -> None:
    code, _, error = call(capsys, "models", "get", "nonsense")
    assert code == 3
    assert "no model is called 'nonsense'; known: " in error


def test_methods(capsys: pytest.CaptureFixture[str]) -> None:
    code, said, _ = call(capsys, "methods", "--figures")
    assert code == 0
    assert "halfmask (default)" in said
    assert "sm, nt, op" in said


def test_data_check(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    Image.new("RGB", (4, 4)).save(tmp_path / "31_1_2_20170112232321.jpg")
    code, said, _ = call(capsys, "data", "check", tmp_path)
    assert code == 0
    assert "utkface, 1 pictures" in said
    (tmp_path / "25_0_0_20170116211924.jpg").write_bytes(b"junk")
    code, said, _ = call(capsys, "data", "check", tmp_path, "--json")
    assert code == 3
    assert len(json.loads(said)["broken"]) == 1
    code, _, error = call(capsys, "data", "check", tmp_path / "absent")
    assert code in (2, 3)
    assert "absent" in error


def test_train_says_what_is_missing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = tmp_path / "c.yaml"
    config.write_text("train: []\nvalid: []\nspeed: 3\n")
    find = util.find_spec
    monkeypatch.setattr(util, "find_spec", lambda name: None if name == "torch" else find(name))
    code, _, error = call(capsys, "train", "gender", "--config", config, "--out", tmp_path / "run")
    assert code == 3
    assert 'training needs torch, which is not installed: pip install "halfmask[train]"' in error


def test_train_refuses_unknown_keys(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    pytest.importorskip("torch")
    config = tmp_path / "c.yaml"
    config.write_text("train: []\nvalid: []\nspeed: 3\n")
    code, _, error = call(capsys, "train", "gender", "--config", config, "--out", tmp_path / "run")
    assert code == 2
    assert "unknown key speed" in error
    code, _, error = call(capsys, "train", "poetry", "--config", config, "--out", tmp_path / "run")
    assert code == 2


@pytest.mark.parametrize("word", ["-holiday.jpg", "-h.jpg", "-qholiday.jpg", "-out.jpg"])
def test_a_file_that_looks_like_options_is_told_and_no_help_is_printed(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, word: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path(word).write_bytes(b"x")
    code, said, error = call(capsys, "protect", "a.jpg", word, "-o", "out")
    assert (code, said) == (2, "")
    assert f"a file of that name is given as ./{word}, or behind --" in error
    code, _, error = call(capsys, "protect", "-o", "out", "--", word, "b.jpg")
    assert (code, "there is no b.jpg" in error) == (2, True)


def test_clear_words_are_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    for words in (("-h",), ("protect", "--help"), ("protect", "-h")):
        code, said, _ = call(capsys, *words)
        assert (code, said.startswith("Usage: ")) == (0, True)
    assert "which is mid for halfmask" in " ".join(said.split())  # protect's --strength when it is not given
    code, _, error = call(capsys, "protect", tmp_path / "absent.jpg", f"-o{tmp_path}/out")
    assert (code, "there is no" in error) == (2, True)
