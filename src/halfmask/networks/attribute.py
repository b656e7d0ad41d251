"""One backbone and several heads: a network that reads gender, age, race, or all of them, off a face."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from .. import __version__
from ..errors import UsageError
from .backbones import BACKBONES, Backbone
from .heads import HEADS, Head
from .state import frozen, loading, read_weights, write_weights

_FORMAT = "1"
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "int8": torch.int8}
#: What is put behind a kernel's name for the scales of an int8 one.
_SCALE = ":scale"


class AttributeNet(nn.Module):
    """Faces RGB in [0, 1], (N, 3, S, S), crops of ``template(S)``, to logits by head name.

    Logits, and labels in :meth:`~halfmask.networks.heads.Head.loss`, are each head's own; ``net.heads["age"]`` is the
    head. Raises :class:`~halfmask.errors.UsageError` when a head does not fit the backbone.

    >>> from halfmask.networks.heads import Binary, Coral
    >>> backbone = BACKBONES["fastcnn"]()
    >>> d = backbone.out_features
    >>> net = AttributeNet(backbone, {"gender": Binary(d), "age": Coral(d, [str(y) for y in range(21, 61)])})
    >>> {name: tuple(z.shape) for name, z in net(torch.rand(2, 3, 224, 224)).items()}
    {'gender': (2, 1), 'age': (2, 39)}
    """

    heads: Mapping[str, Head]

    def __init__(self, backbone: Backbone, heads: Mapping[str, Head]) -> None:
        super().__init__()
        if not heads:
            raise UsageError("an attribute network got no head, expected at least one")
        for name, head in heads.items():
            if not name.isidentifier():
                raise UsageError(f"a head is called {name!r}, expected a word such as 'age'")
            if head.in_features != backbone.out_features:
                raise UsageError(
                    f"the head {name!r} takes {head.in_features} features, {backbone.name} gives "
                    f"{backbone.out_features}: build the head with in_features=backbone.out_features"
                )
        self.backbone = backbone
        try:
            self.heads = nn.ModuleDict(heads)  # type: ignore[assignment]
        except KeyError as error:  # a name that ModuleDict needs itself
            raise UsageError(f"a head cannot be called so: {error}") from error

    def forward(self, faces: Tensor) -> dict[str, Tensor]:
        return self._read(self.backbone.features(faces))

    def look(self, pixels: Tensor) -> dict[str, Tensor]:
        """Logits of faces that were brought to the network's own (N, 3, size, size) before; see Backbone.look."""
        return self._read(self.backbone.look(pixels))

    def probabilities(self, faces: Tensor) -> dict[str, Tensor]:
        """Class probabilities (N, K) by head name."""
        return {name: self.heads[name].probabilities(logits) for name, logits in self(faces).items()}

    def _read(self, features: Tensor) -> dict[str, Tensor]:
        return {name: head(features) for name, head in self.heads.items()}

    def description(self, dtype: str = "float32") -> dict[str, str]:
        """What stands in the metadata of a saved network: all that is needed to build it again, as strings."""
        heads = {n: {"kind": h.kind, "classes": h.words, **h.options} for n, h in self.heads.items()}
        return {
            "format": _FORMAT,
            "halfmask": __version__,
            "backbone": self.backbone.name,
            "size": str(self.backbone.size),
            "cut": str(self.backbone.cut),
            "heads": json.dumps(heads),
            "dtype": dtype,
        }

    def save(self, path: Path, dtype: str = "float32") -> None:
        """Write weights and :meth:`description` as safetensors; the file is whole or absent.

        ``dtype`` float16 or bfloat16 halves the file, int8 quarters it: kernels are rounded, in int8 to 1/127 of each
        output channel's largest weight. The normalisations' statistics stay float32, for their range is too wide.
        """
        if dtype not in _DTYPES:
            raise UsageError(f"weights can be saved as {', '.join(_DTYPES)}, got {dtype!r}")
        state = {}
        for name, v in self.state_dict().items():
            if v.ndim > 1 and dtype == "int8":
                channels = v.flatten(1).abs().amax(1).clamp_min(torch.finfo(torch.float32).tiny) / 127
                state[name + _SCALE] = channels.cpu()
                v = (v / _across(channels, v)).round()
            state[name] = v.to(_DTYPES[dtype]) if v.ndim > 1 else v
        write_weights(path, state, self.description(dtype))

    @classmethod
    def load(cls, path: Path) -> AttributeNet:
        """What :meth:`save` wrote, float32, in evaluation mode, frozen, channels-last.

        Raises :class:`~halfmask.errors.WeightsError` when the file is damaged or something else's.
        """
        with loading(path, "the attribute network", "AttributeNet.save"):
            about, state = read_weights(path, _FORMAT)
            for name in [n for n in state if n.endswith(_SCALE)]:
                kernel = name.removesuffix(_SCALE)
                state[kernel] = state[kernel] * _across(state.pop(name), state[kernel])
            with torch.random.fork_rng(devices=[]):  # numbers that are thrown away must not shift the caller's
                backbone = BACKBONES[about["backbone"]](size=int(about["size"]), cut=int(about["cut"]))
                net = cls(backbone, _heads(json.loads(about["heads"]), backbone.out_features))
            net.load_state_dict({k: v.float() if v.is_floating_point() else v for k, v in state.items()})
        return frozen(net)


def _across(channels: Tensor, kernel: Tensor) -> Tensor:
    """A number an output channel, (C,), as what multiplies that channel's kernel."""
    return channels.view(-1, *[1] * (kernel.ndim - 1))


def _heads(described: Mapping[str, Mapping[str, Iterable[str]]], in_features: int) -> dict[str, Head]:
    heads = {}
    for name, given in described.items():
        options = {k: v for k, v in given.items() if k not in ("kind", "classes")}
        heads[name] = HEADS[str(given["kind"])](in_features, tuple(given["classes"]), **options)
    return heads
