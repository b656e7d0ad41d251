"""An attribute network as ``halfmask train attribute`` exports it, run without torch."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.ages import AgeClass, age_class
from ..errors import WeightsError
from ..methods.runtime import Faces, Network
from ..photos.align import CROP
from ..weights import shipped

#: The network that the package brings.
SHIPPED = "fairface-gendercnn.onnx"
#: What can be predicted; further heads of a network are not asked.
HEADS = ("gender", "age", "race")
#: Faces that go through the network at once, each with its mirror image. More gain little: in CPU time of one thread
#: the fast CNN takes 1.5 ms a crop alone, 1.1 in fours and in sixteens, ResNet-18 6.4 ms alone, 5.4 in fours, 5.2 in
#: eights and sixteens; the gray CNN takes half as long again as the fast one.
BATCH = 4

_EXPECTED = "expected the attribute.onnx of a run of: halfmask train attribute"


class AttributeNetwork(Network):
    """The network in an ``.onnx`` file that :func:`~halfmask.training.export.export_attribute` wrote, ready to run.

    ``file`` None takes the one that the package brings. ``classes`` are the words of each head that is there, in the
    order of their ranks; ``years`` what those of an age head mean; ``about`` the network in plain values. Safe to share
    between threads; ``threads`` 0 takes every core.

    Raises :class:`~halfmask.errors.WeightsError` when the file is absent, or is no network that describes itself.
    """

    classes: Mapping[str, tuple[str, ...]]
    years: tuple[AgeClass, ...]
    about: dict[str, Any]

    def __init__(self, file: Path | None = None, threads: int = 0) -> None:
        path = file if file is not None else shipped_network()
        if not path.is_file():
            raise WeightsError(f"there is no network {path}; {_EXPECTED}")
        try:
            super().__init__(path, threads)
        except WeightsError as error:
            raise WeightsError(f"{path} does not load as ONNX: {error.__cause__}; {_EXPECTED}") from error
        described = self._session.get_modelmeta().custom_metadata_map
        try:
            if described.get("format") != "1":
                raise ValueError(f"its description has the format {described.get('format')}, expected 1")
            heads = json.loads(described["heads"])
            self.classes = {name: tuple(heads[name]["classes"]) for name in HEADS if name in heads}
            if not self.classes:
                raise ValueError(f"its heads are {', '.join(heads)}; expected one of {', '.join(HEADS)}")
            self.years = tuple(age_class(word) for word in self.classes.get("age", ()))
            if odd := [w for words in self.classes.values() for w in words if not w or not w.isprintable()]:
                raise ValueError(f"the class {odd[0]!r} cannot be shown")
            self.about = {
                "file": path.name,
                "backbone": described["backbone"],
                "size": int(described["size"]),
                "halfmask": described["halfmask"],
                "heads": {name: {"kind": str(heads[name]["kind"]), "classes": list(w)} for name, w in self._words},
            }
            got = {name: p.shape[1] for name, p in self._run(np.zeros((1, 3, CROP, CROP), np.float32)).items()}
            if got != {name: len(words) for name, words in self._words}:
                raise ValueError(f"it gives {got} classes")
        except Exception as error:  # a stranger's file may say anything of itself, and onnxruntime raises its own
            raise WeightsError(
                f"{path} is no attribute network that describes itself: {type(error).__name__}: {error}; {_EXPECTED}"
            ) from error

    def probabilities(self, crops: Faces) -> dict[str, NDArray[np.float64]]:
        """Class probabilities (N, K) by head, of crops RGB in [0, 1], (N, 3, 224, 224); face and mirror averaged."""
        parts = []
        for start in range(0, len(crops), BATCH):
            part = crops[start : start + BATCH]
            both = self._run(np.concatenate([part, part[..., ::-1]]))
            parts.append({name: (p[: len(part)] + p[len(part) :]) / 2 for name, p in both.items()})
        return {
            name: np.concatenate([p[name] for p in parts]) if parts else np.zeros((0, len(words)))
            for name, words in self._words
        }

    @property
    def _words(self) -> list[tuple[str, tuple[str, ...]]]:
        return list(self.classes.items())

    def _run(self, crops: Faces) -> dict[str, NDArray[np.float64]]:
        answers = self._session.run(list(self.classes), {self._names[0]: np.ascontiguousarray(crops)})
        return {name: np.asarray(p, np.float64) for name, p in zip(self.classes, answers, strict=True)}


def shipped_network() -> Path:
    """The file of the network that the package brings.

    Raises :class:`~halfmask.errors.WeightsError` when it brings none.
    """
    if SHIPPED not in shipped.manifest():
        raise WeightsError(
            f"this halfmask brings no {SHIPPED}. Train one (halfmask train attribute) and give its attribute.onnx: "
            "--network FILE, network=FILE"
        )
    return shipped.path(SHIPPED)
