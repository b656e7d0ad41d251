"""TensorFlow.js models as ONNX: against what TensorFlow would compute, by brute force."""

from __future__ import annotations

import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

from halfmask.errors import WeightsError
from halfmask.weights.tfjs import graph_model, read_weights


def test_weights_of_every_kind(rng: np.random.Generator) -> None:
    f32, i32 = rng.normal(size=(2, 3)).astype("<f4"), np.array([-1, 16], "<i4")
    f16 = rng.normal(size=4).astype("<f2")
    codes = np.array([[0, 255]], np.uint8)
    data = f32.tobytes() + i32.tobytes() + codes.tobytes() + f16.tobytes()
    manifest = [
        {
            "weights": [
                {"name": "a", "shape": [2, 3], "dtype": "float32"},
                {"name": "b", "shape": [2], "dtype": "int32"},
            ]
        },
        {
            "weights": [
                {
                    "name": "c",
                    "shape": [1, 2],
                    "dtype": "float32",
                    "quantization": {"dtype": "uint8", "scale": 0.01, "min": -1.0},
                },
                {"name": "d", "shape": [4], "dtype": "float32", "quantization": {"dtype": "float16"}},
            ]
        },
    ]
    got = read_weights(manifest, data)
    np.testing.assert_array_equal(got["a"], f32)
    np.testing.assert_array_equal(got["b"], i32)
    np.testing.assert_allclose(got["c"], [[-1.0, 1.55]], rtol=1e-6)
    np.testing.assert_array_equal(got["d"], f16.astype(np.float32))
    assert got["c"].dtype == got["d"].dtype == np.float32
    with pytest.raises(WeightsError, match="ends inside 'd'"):
        read_weights(manifest, data[:-1])
    with pytest.raises(WeightsError, match="its manifest speaks of"):
        read_weights(manifest, data + b"\0")


def text(value: str) -> dict[str, str]:
    return {"s": base64.b64encode(value.encode()).decode()}


def ints(*values: int) -> dict[str, Any]:
    return {"list": {"i": [str(v) for v in values]}}


def fused(*ops: str) -> dict[str, Any]:
    return {"list": {"s": [text(op)["s"] for op in ops]}}


def write_model(folder: Path, nodes: list[dict[str, Any]], weights: dict[str, np.ndarray]) -> tuple[Path, Path]:
    manifest = [{"weights": [{"name": k, "shape": list(v.shape), "dtype": str(v.dtype)} for k, v in weights.items()]}]
    (folder / "m.json").write_text(json.dumps({"modelTopology": {"node": nodes}, "weightsManifest": manifest}))
    (folder / "m.bin").write_bytes(b"".join(np.ascontiguousarray(v).tobytes() for v in weights.values()))
    return folder / "m.json", folder / "m.bin"


def conv_same(x: np.ndarray, w: np.ndarray, bias: np.ndarray, stride: int) -> np.ndarray:
    """A convolution as TensorFlow defines SAME, by brute force. x (N, H, W, C), w (k, k, C, D)."""
    k, size = w.shape[0], x.shape[1]
    out = -(-size // stride)
    pad = max((out - 1) * stride + k - size, 0)
    padded = np.pad(x, ((0, 0), (pad // 2, pad - pad // 2), (pad // 2, pad - pad // 2), (0, 0)))
    y = np.zeros((len(x), out, out, w.shape[3]))
    for i in range(out):
        for j in range(out):
            part = padded[:, i * stride : i * stride + k, j * stride : j * stride + k]
            y[:, i, j] = np.tensordot(part, w, 3) + bias
    return y


def test_graph_is_what_tensorflow_would_compute(tmp_path: Path, rng: np.random.Generator) -> None:
    def f(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    def i(*values: int) -> np.ndarray:
        return np.array(values, np.int32)

    weights = {
        "w": f(3, 3, 3, 4),
        "b": f(4),
        "shape": i(-1, 16),
        "m": f(16, 5),
        "mb": f(5),
        "begin": i(0, 1),
        "end": i(0, 2),
        "stride": i(1, 1),
        "half": np.array(0.5, np.float32),
        "axis": np.array(1, np.int32),
        "two": np.array(2.0, np.float32),
    }
    pool = {"ksize": ints(1, 2, 2, 1), "strides": ints(1, 2, 2, 1), "padding": text("VALID")}
    masks = {"begin_mask": {"i": "1"}, "end_mask": {"i": "1"}, "shrink_axis_mask": {"i": "2"}}
    conv = {"strides": ints(1, 2, 2, 1), "padding": text("SAME"), "fused_ops": fused("BiasAdd", "Relu")}
    nodes: list[dict[str, Any]] = [{"op": "Const", "name": name} for name in weights]
    nodes += [
        {"op": "Placeholder", "name": "x"},
        {"op": "_FusedConv2D", "name": "conv", "input": ["x", "w", "b"], "attr": conv},
        {"op": "Tanh", "name": "tanh", "input": ["conv"]},
        {"op": "MaxPool", "name": "most", "input": ["conv"], "attr": pool},
        {"op": "AvgPool", "name": "mean", "input": ["tanh"], "attr": pool},
        {"op": "Reshape", "name": "flat1", "input": ["most", "shape"]},
        {"op": "Reshape", "name": "flat2", "input": ["mean", "shape"]},
        {"op": "Mul", "name": "product", "input": ["flat1", "flat2"]},
        {
            "op": "_FusedMatMul",
            "name": "dense",
            "input": ["product", "m", "mb"],
            "attr": {"fused_ops": fused("BiasAdd")},
        },
        {"op": "StridedSlice", "name": "one", "input": ["dense", "begin", "end", "stride"], "attr": masks},
        {"op": "AddV2", "name": "more", "input": ["half", "one"]},
        {"op": "ExpandDims", "name": "column", "input": ["more", "axis"]},
        {"op": "RealDiv", "name": "less", "input": ["column", "two"]},
        {"op": "Identity", "name": "Identity", "input": ["less"]},
    ]
    x = f(6, 8, 8, 3)
    model = graph_model(*write_model(tmp_path, nodes, weights), 8, "this test")
    got = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"]).run(
        None, {"image": np.ascontiguousarray(x.transpose(0, 3, 1, 2))}
    )[0]

    y = np.maximum(conv_same(x, weights["w"], weights["b"], 2), 0)  # (6, 4, 4, 4)
    blocks = y.reshape(6, 2, 2, 2, 2, 4)
    most, mean = blocks.max((2, 4)), np.tanh(blocks).mean((2, 4))
    dense = (most.reshape(6, 16) * mean.reshape(6, 16)) @ weights["m"] + weights["mb"]
    np.testing.assert_allclose(got, ((0.5 + dense[:, 1]) / 2)[:, None], rtol=1e-4, atol=1e-5)


def test_unknown_operation_is_named(tmp_path: Path) -> None:
    nodes = [{"op": "Placeholder", "name": "x"}, {"op": "Softplus", "name": "y", "input": ["x"]}]
    with pytest.raises(WeightsError, match="'Softplus'"):
        graph_model(*write_model(tmp_path, nodes, {}), 8, "this test")
