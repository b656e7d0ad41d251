"""Tiny networks in the place of the trained ones, so that these tests are fast and do not hang on any weights."""

from __future__ import annotations

import hashlib
import io
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from PIL import Image

from halfmask.cli import main
from halfmask.protecting import engine
from halfmask.weights import shipped


def _save(path: Path, inputs: dict[str, int], output: list[object], nodes: list[object], **constants: list) -> None:
    faces = [helper.make_tensor_value_info(n, TensorProto.FLOAT, ["n", c, 224, 224]) for n, c in inputs.items()]
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, output)
    kept = [helper.make_tensor(n, t, s, v) for n, (t, s, v) in constants.items()]
    graph = helper.make_graph(nodes, "standin", faces, [out], kept)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


def _save_halfmask(path: Path, nodes: list[Any]) -> None:
    """The stand-in of halfmask's generator: two groups of ages and of races, so that a code has eight numbers."""
    face = helper.make_tensor_value_info("face", TensorProto.FLOAT, ["n", 3, 224, 224])
    code = helper.make_tensor_value_info("code", TensorProto.FLOAT, ["n", 8])
    out = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["n", 3, 224, 224])
    whole = {"first": [3], "last": [4], "columns": [1], "shape": [-1, 1, 1, 1]}
    kept = [helper.make_tensor(n, TensorProto.INT64, [len(v)], v) for n, v in whole.items()]
    scalars = {"unit": 2.0, "none": 0.0, "size": 0.02}
    kept += [helper.make_tensor(n, TensorProto.FLOAT, [], [v]) for n, v in scalars.items()]
    model = helper.make_model(
        helper.make_graph(nodes, "standin", [face, code], [out], kept),
        opset_imports=[helper.make_opsetid("", 18)],
        ir_version=8,
    )
    groups = {"young": 0.5, "old": 0.5}
    helper.set_model_props(model, {"ages": json.dumps(groups), "races": json.dumps(groups)})
    onnx.checker.check_model(model)
    onnx.save(model, str(path))


@pytest.fixture(scope="session")
def standin_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder like halfmask/weights/data.

    ``san.onnx`` lightens a face by 0.05 + 0.2 (mean of the chosen prototype - mean of the same-gender one); with the
    prototypes below that is 0.05 for SM, about 0.11 for the OP of a woman and -0.01 for that of a man. ``gender.onnx``
    takes light faces for men. ``halfmask.onnx`` lightens by 0.02 (2 + the code's side): by 0.06 toward a
    man and by 0.02 toward a woman.
    """
    folder = tmp_path_factory.mktemp("standin")
    axes = (TensorProto.INT64, [3], [1, 2, 3])
    nodes = [
        helper.make_node("ReduceMean", ["chosen", "axes"], ["c"], keepdims=1),
        helper.make_node("ReduceMean", ["same", "axes"], ["s"], keepdims=1),
        helper.make_node("Sub", ["c", "s"], ["d"]),
        helper.make_node("Mul", ["d", "factor"], ["m"]),
        helper.make_node("Add", ["m", "base"], ["change"]),
        helper.make_node("Add", ["face", "change"], ["sum"]),
        helper.make_node("Clip", ["sum", "low", "high"], ["out"]),
    ]
    scalars = {"factor": 0.2, "base": 0.05, "low": 0.0, "high": 1.0}
    constants = {n: (TensorProto.FLOAT, [], [v]) for n, v in scalars.items()}
    _save(folder / "san.onnx", {"face": 1, "same": 3, "chosen": 3}, ["n", 1, 224, 224], nodes, axes=axes, **constants)
    nodes = [
        helper.make_node("ReduceMean", ["face", "axes"], ["mean"], keepdims=0),
        helper.make_node("Reshape", ["mean", "shape"], ["column"]),
        helper.make_node("Sub", ["column", "half"], ["centred"]),
        helper.make_node("Mul", ["centred", "slope"], ["out"]),
    ]
    _save(
        folder / "gender.onnx", {"face": 1}, ["n", 2], nodes, axes=axes,
        shape=(TensorProto.INT64, [2], [-1, 1]), half=(TensorProto.FLOAT, [], [0.5]),
        slope=(TensorProto.FLOAT, [1, 2], [0.0, 20.0]),
    )  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["code", "first", "last", "columns"], ["side"]),
        helper.make_node("Reshape", ["side", "shape"], ["one"]),
        helper.make_node("Add", ["one", "unit"], ["sum"]),
        helper.make_node("Mul", ["face", "none"], ["zeros"]),
        helper.make_node("Mul", ["sum", "size"], ["step"]),
        helper.make_node("Add", ["zeros", "step"], ["out"]),
    ]
    _save_halfmask(folder / "halfmask.onnx", nodes)
    female, male = (np.full((224, 224, 3), level, np.uint8) for level in (100, 180))
    for name in ("san", "mixing"):
        np.savez(folder / f"{name}.npz", female=female, male=male, male_share=0.5)
    names = ("san.onnx", "gender.onnx", "san.npz", "mixing.npz", "halfmask.onnx")
    sums = {n: {"sha256": hashlib.sha256((folder / n).read_bytes()).hexdigest(), "card": "card.md"} for n in names}
    (folder / "manifest.json").write_text(json.dumps(sums), "utf-8")
    return folder


def forget() -> None:
    """Drop what was loaded from another weights folder."""
    for cached in (shipped.manifest, shipped.path):
        cached.cache_clear()
    engine._loaded.clear()


@pytest.fixture
def standin(standin_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stand-ins are the shipped weights during the test."""
    monkeypatch.setattr(shipped, "DATA", standin_folder)
    monkeypatch.setenv("HALFMASK_KEY", "tests")
    forget()
    yield standin_folder
    monkeypatch.undo()
    forget()


@pytest.fixture
def portrait(astronaut: np.ndarray) -> np.ndarray:
    """One face in 250 x 250 pixels, as LFW has them."""
    return np.ascontiguousarray(astronaut[:250, 100:350])


@pytest.fixture
def jpeg(portrait: np.ndarray) -> bytes:
    """The portrait as a JPEG file with EXIF."""
    exif = Image.Exif()
    exif[0x010F] = "Maker"
    out = io.BytesIO()
    Image.fromarray(portrait).save(out, "JPEG", quality=90, exif=exif)
    return out.getvalue()


@pytest.fixture
def album(tmp_path: Path, jpeg: bytes) -> Path:
    """Three photos with one face, in two folders, and one photo with none."""
    folder = tmp_path / "album"
    (folder / "sub").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "sub/c.jpg"):
        (folder / name).write_bytes(jpeg)
    Image.new("RGB", (60, 40), "teal").save(folder / "wall.png")
    (folder / "notes.txt").write_text("no photo")
    return folder


Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(standin: Path, capsysbinary: pytest.CaptureFixture[bytes]) -> Run:
    """Run a command line in this process with the stand-ins: (exit code, stdout, stderr)."""

    def call(*args: object) -> tuple[int, str, str]:
        capsysbinary.readouterr()
        with pytest.raises(SystemExit) as end:
            main([str(a) for a in args])
        sys.stdout.flush()
        out, err = capsysbinary.readouterr()
        return int(end.value.code or 0), out.decode("utf-8", "replace"), err.decode("utf-8", "replace")

    return call
