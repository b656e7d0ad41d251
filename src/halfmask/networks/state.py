"""Weights of networks in files: safetensors, with what is needed to build the network again in the metadata."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from torch import Tensor, nn

from ..errors import UsageError, WeightsError
from ..storage import whole

Net = TypeVar("Net", bound=nn.Module)


def write_weights(path: Path, state: Mapping[str, Tensor], about: Mapping[str, str]) -> None:
    """Write a state and its description; the file is whole or absent."""
    from safetensors.torch import save_file

    with whole(path, error=WeightsError) as fresh:
        save_file({name: v.detach().cpu().contiguous().clone() for name, v in state.items()}, fresh, dict(about))


def read_weights(path: Path, form: str | None = None) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The description and the state of a file; ``ValueError`` when the description's ``format`` is not ``form``.

    Files of a kind that has had one form only need not say which.

    >>> import tempfile, torch
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     file = Path(folder) / "net.safetensors"
    ...     write_weights(file, {"w": torch.ones(2)}, {"format": "1"})
    ...     read_weights(file, "1")
    ({'format': '1'}, {'w': tensor([1., 1.])})
    """
    from safetensors import safe_open

    with safe_open(path, "pt") as stream:
        about = dict(stream.metadata() or {})
        state = {name: stream.get_tensor(name) for name in stream.keys()}  # noqa: SIM118 (not a dict)
    if form is not None and about.get("format") != form:
        raise ValueError(f"its format is {about.get('format')}, expected {form}")
    return about, state


def read_exported(path: Path) -> tuple[dict[str, str], dict[str, Tensor]]:
    """The description and the state of an ONNX file of ``training.export`` that wraps its network as ``net``.

    Kernels are as they are stored there, most in float16. ``ValueError`` when it is no ONNX file.
    """
    import onnx
    from onnx import numpy_helper

    try:
        model = onnx.load(path)
    except Exception as error:  # onnx raises protobuf's own classes, which it does not export
        raise ValueError(f"it is no ONNX file: {error}") from error
    steps = ("_scale", "_zero_point")  # of kernels that run in 8 bits
    arrays = {t.name.removesuffix(".half"): numpy_helper.to_array(t) for t in model.graph.initializer}
    ours = {k.removeprefix("net."): v for k, v in arrays.items() if k.startswith("net.") and not k.endswith(steps)}
    state = {k: torch.from_numpy(v.copy()) for k, v in ours.items()}
    return {p.key: p.value for p in model.metadata_props}, state


def frozen(net: Net) -> Net:
    """The network as auxiliaries are used: in evaluation mode, without gradients of its own, channels last.

    >>> from torch import nn
    >>> net = frozen(nn.Conv2d(3, 4, 3))
    >>> net.training, net.weight.requires_grad
    (False, False)
    """
    net.requires_grad_(False).eval()
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch's types do not know it
    return net


@contextmanager
def loading(path: Path, what: str, writer: str) -> Iterator[None]:
    """Whatever goes wrong while ``what`` is built from a file becomes a :class:`~halfmask.errors.WeightsError`."""
    from safetensors import SafetensorError

    try:
        yield
    except (
        OSError, SafetensorError, UsageError, RuntimeError, KeyError, TypeError, ValueError, AttributeError,
    ) as error:  # fmt: skip
        raise WeightsError(
            f"{what} {path} cannot be loaded: {type(error).__name__}: {error}. Expected what {writer} wrote"
        ) from error
