"""ONNX networks as functions of arrays: the only place where the installed core runs a network of ours."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError, WeightsError
from ..photos.samples import LUMA
from ..weights import running

Faces = NDArray[np.float32]


def gray(crops: Faces) -> Faces:
    """Luma of RGB crops: (N, 3, H, W) to (N, 1, H, W).

    >>> gray(np.ones((1, 3, 2, 2), np.float32)).round(3).max().item()
    1.0
    """
    return np.tensordot(LUMA, crops, (0, 1))[:, None].astype(np.float32)


class Network:
    """An ONNX network, a file or its bytes, loaded. ``threads`` 0 lets onnxruntime take every core.

    Raises :class:`~halfmask.errors.WeightsError` when it does not load, and :class:`~halfmask.errors.UsageError` when
    the device that was asked for (:func:`halfmask.weights.running.on`) would not run it.
    """

    def __init__(self, model: Path | bytes, threads: int = 0) -> None:
        try:
            self._session = running.session(model, threads)
        except UsageError:  # of the device
            raise
        except Exception as error:  # onnxruntime raises classes of its own that it does not export
            what = "built from its weights" if isinstance(model, bytes) else model
            raise WeightsError(f"the network {what} does not load: {error}. Delete or reinstall it.") from error
        self._names = [i.name for i in self._session.get_inputs()]
        #: the metadata of the file
        self.about: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def __call__(self, *inputs: Faces) -> Faces:
        """Run on arrays in the order of the network's inputs; returns its first output."""
        feed = {name: np.ascontiguousarray(x, np.float32) for name, x in zip(self._names, inputs, strict=True)}
        return np.asarray(self._session.run(None, feed)[0], np.float32)

    def named(self, *inputs: Faces) -> dict[str, Faces]:
        """As a call, but every output, by its name."""
        feed = {name: np.ascontiguousarray(x, np.float32) for name, x in zip(self._names, inputs, strict=True)}
        names = [o.name for o in self._session.get_outputs()]
        return {n: np.asarray(x, np.float32) for n, x in zip(names, self._session.run(names, feed), strict=True)}
