"""``halfmask deidentify`` from the command line, with a stand-in for the matchers."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from halfmask.methods import deidentify
from halfmask.methods.match import SFace
from halfmask.networks.halfmask import Masker
from halfmask.networks.identity import ModelA
from halfmask.training.export import export_masker

Run = Callable[..., tuple[int, str, str]]


class Corners(torch.nn.Module):
    """Describes a face by how light each of its 8 x 8 parts is, less the mean."""

    def forward(self, faces: torch.Tensor) -> torch.Tensor:
        parts = torch.nn.functional.avg_pool2d(faces.float().mean(1, keepdim=True), 28).flatten(1)
        return torch.nn.functional.normalize(parts - parts.mean(1, keepdim=True))


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """No face takes seconds: tiny matchers, no models to fetch, and scores that are told without a network."""
    monkeypatch.setattr(deidentify, "_load", lambda name: Corners())
    monkeypatch.setattr(deidentify, "KEEPERS", ())
    monkeypatch.setattr(deidentify.Deidentify, "models", ())
    scores = iter(np.linspace(0.1, 0.4, 40).tolist())
    monkeypatch.setattr(SFace, "match", lambda self, before, after, points: next(scores))


def test_a_folder(run: Run, album: Path, tmp_path: Path) -> None:
    out, report = tmp_path / "out", tmp_path / "r.json"
    code, said, error = run("deidentify", album, "-o", out, "--set", "steps=2", "--json", report, "--workers", 1)
    assert code == 0, error
    assert sorted(p.relative_to(out).as_posix() for p in out.rglob("*.jpg")) == ["a.jpg", "b.jpg", "sub/c.jpg"]
    assert "3 faces changed (deidentify, steps 2, strength mid)" in said
    assert "gender" not in said
    mean, high = 0.1 + 0.3 / 39, 0.1 + 2 * 0.3 / 39
    assert f"1.000 before, after on average {mean:.3f}, at most {high:.3f}; the same person from 0.363 on" in said
    assert "a.jpg: 0.1" in said
    assert "SFace is one of those attacked, so it judges nothing; halfmask audit asks others" in said
    told = json.loads(report.read_text("utf-8"))
    assert (told["options"]["method"], told["options"]["hide"]) == ("deidentify", "identity")
    assert told["summary"]["match"] == {
        "matcher": "sface (auxiliary)",
        "mean": pytest.approx(mean),
        "lowest": pytest.approx(0.1),
        "highest": pytest.approx(high),
    }
    assert "matched" not in told["summary"]
    before, after = (np.asarray(Image.open(f / "a.jpg")).astype(int) for f in (album, out))
    assert before.shape == after.shape
    assert 0.2 < np.abs(before - after).mean() < 20


def test_strength_and_gray_photos(run: Run, jpeg: bytes, tmp_path: Path) -> None:
    source = tmp_path / "a.png"
    (tmp_path / "a.jpg").write_bytes(jpeg)
    Image.open(tmp_path / "a.jpg").convert("L").save(source)
    changes = []
    for strength in ("low", "1"):
        out = tmp_path / f"{strength}.png"
        code, _, error = run("deidentify", source, "-o", out, "--strength", strength, "--set", "steps=6")
        assert code == 0, error
        assert Image.open(out).mode == "L"
        changes.append(np.abs(np.asarray(Image.open(out)).astype(int) - np.asarray(Image.open(source))).mean())
    assert 0 < 1.3 * changes[0] < changes[1]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--strength", "strong"), "strength is 'strong'; expected low, mid, high or a number from 0 to 1"),
        (("--set", "weights=x"), "method 'deidentify' has no setting 'weights'; its settings are: colour, "),
        (("--gender", "male"), "No such option"),
        (("--hide", "gender"), "No such option"),
    ],
)
def test_what_makes_no_sense(run: Run, album: Path, tmp_path: Path, given: tuple[str, ...], message: str) -> None:
    code, _, error = run("deidentify", album, "-o", tmp_path / "out", *given)
    assert code == 2
    assert message in error
    assert not list(tmp_path.glob("out/**/*.jpg"))


def test_without_torch(run: Run, album: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    code, _, error = run("deidentify", album, "-o", tmp_path / "out")
    assert code == 3
    assert "method 'deidentify' needs torch, which is not installed: pip install \"halfmask[train]\"" in error
    assert not (tmp_path / "out").exists()


def test_the_papers_methods_against_one_network(run: Run, jpeg: bytes, tmp_path: Path) -> None:
    torch.manual_seed(0)
    ModelA(["ann", "bob", "cy"], side=16).save(tmp_path / "identity.safetensors")
    source, out = tmp_path / "a.jpg", tmp_path / "out.png"
    source.write_bytes(jpeg)
    given = ("--against", tmp_path, "--set", "target=bob", "--set", "steps=30")
    code, said, error = run("deidentify", source, "-o", out, "--format", "png", "--method", "i-fgvm", *given)
    assert code == 0, error
    assert "(SFace is an auxiliary, so it judges nothing; halfmask audit asks others)" in said
    before, after = (np.asarray(Image.open(f)).astype(int) for f in (source, out))
    assert 0 < np.abs(before - after).max() < 20


def test_a_trained_network(run: Run, jpeg: bytes, tmp_path: Path) -> None:
    net = Masker({"young": 1.0}, {"a": 1.0}, hides="identity")
    torch.nn.init.constant_(net.luma.bias, 0.05)  # type: ignore[arg-type]
    (tmp_path / "run").mkdir()
    export_masker(net, tmp_path / "run/halfmask.onnx")
    source, out = tmp_path / "a.jpg", tmp_path / "out.png"
    source.write_bytes(jpeg)
    given = ("deidentify", source, "-o", out, "--format", "png", "--method", "stranger")
    code, _, error = run(*given, "--set", "weights=nowhere")
    assert code == 2
    assert "weights=nowhere holds no halfmask.onnx; expected free or the folder of a finished training run" in error
    code, said, error = run(*given, "--set", f"weights={tmp_path / 'run'}")
    assert code == 0, error
    assert "strength mid" in said
    assert out.is_file()


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("--method", "p-fgvm"), "p-fgvm deceives one network; say which: --against NETWORK"),
        (("--method", "p-fgvm", "--against", "nowhere"), "against is 'nowhere': there is no file nowhere"),
        (("--method", "i-fgsm", "--against", "sface", "--strength", "mid"), "i-fgsm has no strength to set"),
        (("--against", "sface"), "method 'deidentify' has no setting 'against'"),
        (("--method", "p-fgvm", "--against", "a", "--set", "against=b"), "--against and --set against= say the same"),
    ],
)
def test_what_they_cannot_do_is_said(
    run: Run, jpeg: bytes, tmp_path: Path, given: tuple[str, ...], message: str
) -> None:
    source = tmp_path / "a.jpg"
    source.write_bytes(jpeg)
    code, _, error = run("deidentify", source, "-o", tmp_path / "out.jpg", *given)
    assert code == 2
    assert message in error
    assert not (tmp_path / "out.jpg").exists()
