"""TensorFlow.js models without TensorFlow: decode the weights, rebuild the graph as ONNX.

Format: https://github.com/tensorflow/tfjs/tree/master/tfjs-converter (weights manifest, graph model). Weights lie end
to end in one binary file; a manifest gives name, shape and type of each, and perhaps a quantisation, of which
value = code * scale + min. Only the operations that the models in :mod:`halfmask.weights.store` hold are translated;
any other is refused by name.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import WeightsError, extra


def read_weights(groups: Sequence[dict[str, Any]], data: bytes) -> dict[str, NDArray[Any]]:
    """The arrays of a weights manifest, by name.

    ``groups`` is the manifest, a list of ``{"weights": [{"name", "shape", "dtype", "quantization"?}, ...]}``; ``data``
    is the binary file. Raises :class:`~halfmask.errors.WeightsError` when the data are too short or too long.

    >>> spec = {"name": "w", "shape": [2], "dtype": "float32"}
    >>> quantised = spec | {"quantization": {"dtype": "uint8", "scale": 0.5, "min": -1.0}}
    >>> read_weights([{"weights": [quantised]}], bytes([0, 4]))["w"].tolist()
    [-1.0, 1.0]
    """
    arrays: dict[str, NDArray[Any]] = {}
    offset = 0
    for group in groups:
        for spec in group["weights"]:
            quantised = spec.get("quantization")
            stored = np.dtype(quantised["dtype"] if quantised else spec["dtype"]).newbyteorder("<")
            count = int(np.prod(spec["shape"], dtype=np.int64))
            if offset + count * stored.itemsize > len(data):
                raise WeightsError(f"the weight file ends inside {spec['name']!r}: it holds {len(data)} bytes")
            raw = np.frombuffer(data, stored, count, offset)
            offset += count * stored.itemsize
            if quantised and stored.kind == "u":
                raw = raw.astype(np.float64) * quantised["scale"] + quantised["min"]
            arrays[spec["name"]] = raw.astype(spec["dtype"]).reshape(spec["shape"])
    if offset != len(data):
        raise WeightsError(f"the weight file holds {len(data)} bytes, its manifest speaks of {offset}")
    return arrays


class Graph:
    """An ONNX graph under construction: :meth:`add` nodes, then :meth:`model`.

    Images are NCHW. ``add`` returns the name of the node's output.
    """

    def __init__(self, need: str) -> None:
        self._onnx = extra("onnx", need)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def constant(self, value: NDArray[Any]) -> str:
        """Put an array into the graph."""
        name = f"c{len(self._constants)}"
        self._constants.append(self._onnx.numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    def add(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node with one output."""
        name = f"n{len(self._nodes)}"
        self._nodes.append(self._onnx.helper.make_node(op, list(inputs), [name], **attributes))
        return name

    def model(self, size: int, outputs: Sequence[str]) -> bytes:
        """The serialised ONNX model from ``image``, float32 (N, 3, size, size), to ``outputs``, each (N, K)."""
        helper, f32 = self._onnx.helper, self._onnx.TensorProto.FLOAT
        graph = helper.make_graph(
            self._nodes,
            "halfmask",
            [helper.make_tensor_value_info("image", f32, ["N", 3, size, size])],
            [helper.make_tensor_value_info(name, f32, ["N", None]) for name in outputs],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        self._onnx.checker.check_model(model)
        return bytes(model.SerializeToString())


def graph_model(topology: Path, weights: Path, size: int, need: str) -> bytes:
    """Translate a TensorFlow.js *graph model* (one image in, one tensor out) to ONNX.

    ``topology`` is the json, ``weights`` the binary file, ``size`` the side of the image. The ONNX model takes
    ``image``, float32 (N, 3, size, size), although the original wants NHWC.
    """
    described = json.loads(topology.read_text())
    values = read_weights(described["weightsManifest"], weights.read_bytes())
    graph = Graph(need)
    names: dict[str, str] = {}  # TensorFlow's name of a tensor -> ours
    images: set[str] = set()  # those of ours that are NCHW where TensorFlow's are NHWC
    last = ""
    for node in described["modelTopology"]["node"]:
        op, name, inputs = node["op"], node["name"], node.get("input", [])
        if op == "Const":
            continue
        if op == "Placeholder":
            names[name] = "image"
            images.add("image")
            continue
        translate = _Translation(graph, node.get("attr", {}), inputs, names, images, values)
        last = names[name] = translate(op)
        if op in _KEEPS_IMAGE and names[inputs[0]] in images:
            images.add(last)
    return graph.model(size, [last])


_KEEPS_IMAGE = {"_FusedConv2D", "MaxPool", "AvgPool", "Tanh", "Relu", "Identity"}
_SAME_NAME = {"Mul": "Mul", "AddV2": "Add", "RealDiv": "Div", "Tanh": "Tanh", "Relu": "Relu", "Identity": "Identity"}


class _Translation:
    """One TensorFlow node in its surroundings. TensorFlow.js keeps strings in base64 and integers as text."""

    def __init__(
        self,
        graph: Graph,
        attributes: dict[str, Any],
        inputs: Sequence[str],
        names: dict[str, str],
        images: set[str],
        values: dict[str, NDArray[Any]],
    ) -> None:
        self.graph, self.attributes, self.inputs = graph, attributes, inputs
        self.names, self.images, self.values = names, images, values

    def __call__(self, op: str) -> str:
        if op in _SAME_NAME:
            given = [self.tensor(i) for i in range(len(self.inputs))]
            return self.graph.add(_SAME_NAME[op], *given)
        if op == "_FusedConv2D":
            filters = self.graph.constant(self.value(1).transpose(3, 2, 0, 1))  # HWIO -> OIHW
            bias = self.graph.constant(self.value(2))
            geometry = self.padding() | {"strides": self.numbers("strides")[1:3]}
            return self.fused(self.graph.add("Conv", self.tensor(0), filters, bias, **geometry))
        if op == "_FusedMatMul":
            return self.fused(self.graph.add("Gemm", *[self.tensor(i) for i in range(3)]))
        if op in ("MaxPool", "AvgPool"):
            geometry = {"kernel_shape": self.numbers("ksize")[1:3], "strides": self.numbers("strides")[1:3]}
            name = "MaxPool" if op == "MaxPool" else "AveragePool"
            return self.graph.add(name, self.tensor(0), **geometry, **self.padding())
        if op == "Reshape":
            source = self.tensor(0)
            if source in self.images:  # what is flattened must lie in TensorFlow's order
                source = self.graph.add("Transpose", source, perm=[0, 2, 3, 1])
            return self.graph.add("Reshape", source, self.graph.constant(self.value(1).astype(np.int64)))
        if op == "ExpandDims":
            return self.graph.add(
                "Unsqueeze", self.tensor(0), self.graph.constant(self.value(1).astype(np.int64).ravel())
            )
        if op == "StridedSlice":
            return self.sliced()
        raise WeightsError(f"the model holds the operation {op!r}, which halfmask does not translate")

    def value(self, i: int) -> NDArray[Any]:
        """Input i, which must be a constant."""
        if self.inputs[i] not in self.values:
            raise WeightsError(f"the model computes {self.inputs[i]!r}, which halfmask expects to be constant")
        return self.values[self.inputs[i]]

    def tensor(self, i: int) -> str:
        """Input i, constant or computed."""
        name = self.inputs[i]
        return self.graph.constant(self.values[name]) if name in self.values else self.names[name]

    def numbers(self, key: str) -> list[int]:
        return [int(i) for i in self.attributes[key]["list"]["i"]]

    def mask(self, key: str) -> int:
        return int(self.attributes.get(key, {}).get("i", 0))

    def padding(self) -> dict[str, str]:
        text = base64.b64decode(self.attributes["padding"]["s"]).decode()
        return {"auto_pad": {"SAME": "SAME_UPPER", "VALID": "VALID"}[text]}

    def fused(self, output: str) -> str:
        for coded in self.attributes["fused_ops"]["list"]["s"]:
            activation = base64.b64decode(coded).decode()
            if activation == "BiasAdd":
                continue  # given to Conv or Gemm already
            output = self.graph.add(_SAME_NAME[activation], output)
        return output

    def sliced(self) -> str:
        """x[begin:end:stride] with TensorFlow's masks: open begin, open end, axis dropped."""
        if self.mask("ellipsis_mask") or self.mask("new_axis_mask"):
            raise WeightsError("the model slices with an ellipsis or a new axis, which halfmask does not translate")
        begin, end, stride = (self.value(i).astype(np.int64) for i in (1, 2, 3))
        axes = range(len(begin))
        drop = [a for a in axes if self.mask("shrink_axis_mask") >> a & 1]
        first = [0 if self.mask("begin_mask") >> a & 1 else int(begin[a]) for a in axes]
        last = [
            first[a] + 1 if a in drop else (np.iinfo(np.int64).max if self.mask("end_mask") >> a & 1 else int(end[a]))
            for a in axes
        ]
        given = [np.array(v, np.int64) for v in (first, last, list(axes), stride)]
        output = self.graph.add("Slice", self.tensor(0), *[self.graph.constant(v) for v in given])
        return self.graph.add("Squeeze", output, self.graph.constant(np.array(drop, np.int64))) if drop else output
