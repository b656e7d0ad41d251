"""Where networks run: the one place that opens an onnxruntime session, on the device that was asked for."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from ..errors import UsageError

CPU = "cpu"
#: Device → its execution provider in onnxruntime, and what brings it.
DEVICES: dict[str, tuple[str, str]] = {
    CPU: ("CPUExecutionProvider", "onnxruntime has it everywhere"),
    "cuda": (
        "CUDAExecutionProvider",
        'an NVIDIA GPU with its driver, and: pip uninstall onnxruntime && pip install "onnxruntime-gpu[cuda,cudnn]"',
    ),
    "coreml": ("CoreMLExecutionProvider", "macOS, and: pip install -U onnxruntime"),
    "directml": (
        "DmlExecutionProvider",
        "Windows, and: pip uninstall onnxruntime && pip install onnxruntime-directml",
    ),
}

_device: ContextVar[str] = ContextVar("device", default=CPU)


@contextmanager
def on(device: str) -> Iterator[None]:
    """Networks that are loaded inside run on that device.

    Raises :class:`~halfmask.errors.UsageError` when this machine's onnxruntime does not have it.

    >>> with on("cpu"):
    ...     pass
    """
    check(device)
    token = _device.set(device)
    try:
        yield
    finally:
        _device.reset(token)


def check(device: str) -> None:
    """Raise :class:`~halfmask.errors.UsageError` unless it is a device that this machine's onnxruntime has.

    >>> check("gpu")
    Traceback (most recent call last):
    ...
    halfmask.errors.UsageError: device is 'gpu'; expected one of: cpu, cuda, coreml, directml
    """
    if device not in DEVICES:
        raise UsageError(f"device is {device!r}; expected one of: {', '.join(DEVICES)}")
    if device == CPU:
        return
    import onnxruntime  # costs 0.1 s, so not before it is needed

    provider, needs = DEVICES[device]
    has = onnxruntime.get_available_providers()
    if provider not in has:
        raise UsageError(
            f"the device {device} is not there: onnxruntime {onnxruntime.__version__} here has {', '.join(has)}, "
            f"not {provider}. It needs {needs}"
        )


def session(model: Path | bytes, threads: int) -> Any:
    """An ``onnxruntime.InferenceSession`` of a file or its bytes on the device of :func:`on`; 0 threads is every core.

    Raises :class:`~halfmask.errors.UsageError` when onnxruntime would run it elsewhere, which it does without a word
    where a device does not start, and onnxruntime's own errors when the model does not load.
    """
    import onnxruntime

    device = _device.get()
    provider, needs = DEVICES[device]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or os.cpu_count() or 1
    options.log_severity_level = 3  # it would warn that outputs have other sizes than the file says
    # what a device cannot do of a network is the CPU's part
    providers = [provider] if device == CPU else [provider, DEVICES[CPU][0]]
    source = model if isinstance(model, bytes) else str(model)
    opened = onnxruntime.InferenceSession(source, options, providers=providers)
    if (runs := opened.get_providers()[0]) != provider:
        raise UsageError(f"the device {device} did not start: onnxruntime would run on {runs}. It needs {needs}")
    return opened
