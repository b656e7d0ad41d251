"""From a trained torch network to the ONNX file that the installed core runs."""

from __future__ import annotations

import copy
import json
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.jit._trace import TracerWarning  # torch.jit has it too, but does not export it to type checkers

from ..networks.attribute import AttributeNet
from ..networks.gendercnn import GenderCNN
from ..networks.halfmask import IDENTITY, Masker, MaskerForExport
from ..networks.privacynet import Generator
from ..networks.san import SAN, SANForExport
from ..photos.align import CROP
from ..storage import whole
from ..weights import running


def export_onnx(net: nn.Module, path: Path, inputs: Mapping[str, Tensor], output: str | Sequence[str]) -> Path:
    """Write ``net`` as ONNX, any batch size; ``inputs`` are examples by name, in the order of ``forward``.

    ``output`` names what ``forward`` returns, several names a tuple.

    The file is whole or absent, and one that onnxruntime can open: a network that still has its training's autocast
    would give one that it cannot. Agreement with torch is a test (tests/training/test_san.py).
    """
    outputs = [output] if isinstance(output, str) else list(output)
    with whole(path) as fresh, warnings.catch_warnings():
        # The newer exporter needs onnxscript and gives the same graph; this one is deprecated, not removed.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", TracerWarning)
        torch.onnx.export(
            net.eval().cpu().to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            tuple(inputs.values()),
            str(fresh),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: {0: "faces"} for name in (*inputs, *outputs)},
            opset_version=17,
            dynamo=False,
        )
        running.session(fresh, 1)
    return path


def export_san(net: SAN, path: Path) -> Path:
    """SAN with its folded weights: inputs face, same, chosen; output protected."""
    examples = {"face": torch.rand(2, 1, 224, 224), "same": torch.rand(2, 3, 224, 224)}
    return export_onnx(SANForExport(net), path, examples | {"chosen": torch.rand(2, 3, 224, 224)}, "protected")


def halve_weights(source: Path, path: Path) -> Path:
    """Write an ONNX file anew with float16 kernels, cast back when it is loaded: half the size, the same speed.

    The graph computes in float32 as before, on rounded weights: a SAN's output moves by less than 1e-3 (tested).
    """
    import onnx

    model = onnx.load(source)
    _halve(model.graph)
    with whole(path) as fresh:
        onnx.save(model, fresh)
    return path


def export_gender(net: GenderCNN, path: Path) -> Path:
    """The gender classifier: input gray faces (N, 1, 224, 224), output logits (N, 2)."""
    return export_onnx(net, path, {"face": torch.rand(2, 1, 224, 224)}, "logits")


def export_attribute(net: AttributeNet, path: Path) -> Path:
    """Input face (N, 3, 224, 224), RGB in [0, 1]; of each head an output of its name, class probabilities (N, K).

    The file's metadata is that of :meth:`~halfmask.networks.attribute.AttributeNet.save`, so a reader without torch
    knows the classes. ``net`` stays as it is.
    """
    import onnx

    with whole(path) as fresh:
        export_onnx(_Probabilities(copy.deepcopy(net)), fresh, {"face": torch.rand(2, 3, CROP, CROP)}, list(net.heads))
        model = onnx.load(fresh)
        onnx.helper.set_model_props(model, net.description())
        onnx.save(model, fresh)
    return path


class _Probabilities(nn.Module):
    def __init__(self, net: AttributeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.net.probabilities(faces).values())


def export_masker(net: Masker, path: Path, faces: Tensor | None = None) -> Path:
    """halfmask's generator: inputs face (N, 3, 224, 224) and code (N, C); output change (N, 3, 224, 224).

    What :meth:`~halfmask.networks.halfmask.Masker.encode` needs to know, the words of its groups, is in the metadata.
    Kernels are kept in float16, as by :func:`halve_weights`. With ``faces``, some hundred crops of training people
    (N, 3, 224, 224) in [0, 1], the inner convolutions run in 8 bits, by the ranges that these faces have there: half
    the time, and a change that is off by half a level of 255 in the mean (docs/results/speed.md).
    """
    import onnx

    with whole(path) as fresh:
        wrapped = MaskerForExport(copy.deepcopy(net))
        code = net.encode(*(torch.tensor([0, -1]) for _ in range(3)))
        export_onnx(wrapped, fresh, {"face": torch.rand(2, 3, CROP, CROP), "code": code}, "change")
        model = onnx.load(fresh)
        if faces is not None:
            asked = zip(faces, _codes(net, len(faces)), strict=True)
            model = _in_eight_bits(model, [{"face": f[None].numpy(), "code": c[None].numpy()} for f, c in asked])
        _halve(model.graph)
        about = {"ages": json.dumps(net.ages), "races": json.dumps(net.races), "hides": net.hides}
        onnx.helper.set_model_props(model, about)
        onnx.save(model, fresh)
    return path


def _codes(net: Masker, count: int) -> Tensor:
    """Codes (N, C) as faces meet them: every gender, age and race in turn, or that of no target."""
    place = torch.arange(count)
    sizes = (0, 0, 0) if net.hides == IDENTITY else (2, len(net.ages), len(net.races))
    return net.encode(*(place % (size + 1) - 1 for size in sizes))


def export_privacynet(
    net: Generator, groups: Mapping[str, Any], path: Path, *, reach: float = 1.0, blank: bool = False
) -> Path:
    """Inputs face (N, 3, 224, 224), RGB in [0, 1], and labels (N, K); output change (N, 3, 224, 224), to be added.

    ``groups`` says in the file's metadata what the labels are: the words of gender and age classes, and each race with
    the data sets' words for it; ``blank`` that labels of what is to stay are zeros. The change is ``reach`` times what
    the network draws. Kernels are stored as float16, which halves the file, and run as float32. ``net`` stays as it is.
    """
    import onnx

    with whole(path) as fresh:
        examples = {"face": torch.rand(2, 3, CROP, CROP), "labels": torch.zeros(2, net.classes)}
        with warnings.catch_warnings():
            # a face is always normalised by its own statistics, which the exporter takes for training
            warnings.filterwarnings("ignore", message="ONNX export mode is set to TrainingMode.EVAL")
            export_onnx(_Change(copy.deepcopy(net), reach), fresh, examples, "change")
        model = onnx.load(fresh)
        _halve(model.graph)
        about = {"format": "1", "size": str(net.size), "groups": json.dumps(groups), "reach": str(reach)}
        about["kept"] = "blank" if blank else "named"
        onnx.helper.set_model_props(model, about)
        onnx.save(model, fresh)
    return path


class _Change(nn.Module):
    def __init__(self, net: Generator, reach: float) -> None:
        super().__init__()
        self.net, self.reach = net, reach

    def forward(self, faces: Tensor, labels: Tensor) -> Tensor:
        return self.reach * self.net.change(faces, labels)


def _in_eight_bits(model: Any, feeds: Sequence[Mapping[str, Any]]) -> Any:
    """An ONNX model whose convolutions of 3 x 3 from 32 channels on, but for the last, run in 8 bits.

    The ranges of what goes in and out are those of ``feeds``. Kernels have 7 bits, so that no sum saturates on a
    processor without VNNI, and stay in the file as they are: runtimes round them when they load it.
    """
    import onnx
    from onnx import helper, numpy_helper
    from onnxruntime import quantization as q

    class Reader(q.CalibrationDataReader):  # type: ignore[misc]  # onnxruntime has no types
        def __init__(self) -> None:
            self.feeds = iter(feeds)

        def get_next(self) -> Mapping[str, Any] | None:
            return next(self.feeds, None)

    kernels = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer if len(t.dims) == 4}
    wide = {name for name, kernel in kernels.items() if kernel.shape[2] == 3 and min(kernel.shape[:2]) >= 32}
    with tempfile.TemporaryDirectory() as folder:
        q.quantize_static(
            model,
            f"{folder}/eight.onnx",
            Reader(),
            quant_format=q.QuantFormat.QDQ,
            per_channel=True,
            reduce_range=True,
            activation_type=q.QuantType.QUInt8,
            weight_type=q.QuantType.QInt8,
            nodes_to_quantize=[n.name for n in model.graph.node if n.op_type == "Conv" and n.input[1] in wide],
            extra_options={"QuantizeBias": False},
        )
        eight = onnx.load(f"{folder}/eight.onnx")
    for rounded in [t for t in eight.graph.initializer if t.name.removesuffix("_quantized") in wide]:
        name = rounded.name.removesuffix("_quantized")
        ends = [f"{name}_scale", f"{name}_zero_point"]
        eight.graph.node.insert(0, helper.make_node("QuantizeLinear", [name, *ends], [rounded.name], axis=0))
        eight.graph.initializer.remove(rounded)
        eight.graph.initializer.append(numpy_helper.from_array(kernels[name], name))
    return eight


def _halve(graph: Any) -> None:
    """Store the kernels of an ONNX graph as float16, each with a cast to float32, which runtimes fold when loading."""
    from onnx import TensorProto, helper, numpy_helper

    kernels = [t for t in graph.initializer if t.data_type == TensorProto.FLOAT and len(t.dims) == 4]
    for k, kernel in enumerate(kernels):
        name = kernel.name
        kernel.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(kernel).astype("float16"), f"{name}.half"))
        graph.node.insert(k, helper.make_node("Cast", [f"{name}.half"], [name], to=TensorProto.FLOAT))
