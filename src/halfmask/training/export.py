"""From a trained torch network to the ONNX file that the installed core runs."""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ..networks.attribute import AttributeNet
from ..networks.gendercnn import GenderCNN
from ..networks.san import SAN, SANForExport
from ..photos.align import CROP


def export_onnx(net: nn.Module, path: Path, inputs: Mapping[str, Tensor], output: str | Sequence[str]) -> Path:
    """Write ``net`` as ONNX, any batch size; ``inputs`` are examples by name, in the order of ``forward``.

    ``output`` names what ``forward`` returns, several names a tuple.

    The file is whole or absent. Agreement with torch is a test (tests/training/test_san.py).
    """
    outputs = [output] if isinstance(output, str) else list(output)
    part = path.with_name(f".{path.name}.part")
    with warnings.catch_warnings():
        # The newer exporter needs onnxscript and gives the same graph; this one is deprecated, not removed.
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", torch.jit.TracerWarning)
        torch.onnx.export(
            net.eval().cpu().to(memory_format=torch.contiguous_format),  # type: ignore[call-overload]
            tuple(inputs.values()),
            str(part),
            input_names=list(inputs),
            output_names=outputs,
            dynamic_axes={name: {0: "faces"} for name in (*inputs, *outputs)},
            opset_version=17,
            dynamo=False,
        )
    os.replace(part, path)
    return path


def export_san(net: SAN, path: Path) -> Path:
    """SAN with its folded weights: inputs face, same, chosen; output protected."""
    examples = {"face": torch.rand(2, 1, 224, 224), "same": torch.rand(2, 3, 224, 224)}
    return export_onnx(SANForExport(net), path, examples | {"chosen": torch.rand(2, 3, 224, 224)}, "protected")


def export_gender(net: GenderCNN, path: Path) -> Path:
    """The gender classifier: input gray faces (N, 1, 224, 224), output logits (N, 2)."""
    return export_onnx(net, path, {"face": torch.rand(2, 1, 224, 224)}, "logits")


def export_attribute(net: AttributeNet, path: Path) -> Path:
    """Input face (N, 3, 224, 224), RGB in [0, 1]; of each head an output of its name, class probabilities (N, K).

    The file's metadata is that of :meth:`~halfmask.networks.attribute.AttributeNet.save`, so a reader without torch
    knows the classes. ``net`` stays as it is.
    """
    import onnx

    part = path.with_name(f".{path.name}.half")
    export_onnx(_Probabilities(copy.deepcopy(net)), part, {"face": torch.rand(2, 3, CROP, CROP)}, list(net.heads))
    model = onnx.load(part)
    onnx.helper.set_model_props(model, net.description())
    onnx.save(model, part)
    os.replace(part, path)
    return path


class _Probabilities(nn.Module):
    def __init__(self, net: AttributeNet) -> None:
        super().__init__()
        self.net = net

    def forward(self, faces: Tensor) -> tuple[Tensor, ...]:
        return tuple(self.net.probabilities(faces).values())
