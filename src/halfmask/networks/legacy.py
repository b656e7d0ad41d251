"""Read weights that others published as a pickle, without running what a pickle may hold.

A ``.pkl`` or ``.pth`` file can execute any code when it is unpickled. torch's restricted unpickler
(``weights_only=True``; sound since torch 2.6, the oldest that halfmask takes) rebuilds tensors and plain containers
and refuses every other call, in the format of torch < 1.6 too. What it gives is checked once more here.
"""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import Tensor

from ..errors import WeightsError
from .san import SAN
from .state import frozen

# The names of the SAN authors' release (their src/convae.py), in order, beside those of networks/san.py.
_AUTHORS = {
    "autoencoder.0": "enc1",
    "autoencoder.3": "enc2",
    "autoencoder.6": "dec1",
    "autoencoder.9": "dec2",
    "protocombiner.0": "combine",
}


def load_legacy(path: Path | str) -> dict[str, Tensor]:
    """The tensors of a pickled state dict, by name, on the CPU, contiguous.

    Nothing of the file is executed. Raises :class:`~halfmask.errors.WeightsError` when the file cannot be read, asks
    for anything but tensors and plain containers, is not a dict from names to tensors, or pretends to hold more
    numbers than it has bytes for.
    """
    path = Path(path)
    try:
        size = path.stat().st_size
        loaded = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        reason = str(error).splitlines()[0]
        raise WeightsError(
            f"{path} is not a plain state dict and was not executed ({reason}). "
            "Only tensors are accepted; save the network's state_dict() alone"
        ) from error
    except (
        Exception
    ) as error:  # a damaged pickle makes torch and pickle raise nearly anything, from KeyError to EOFError
        raise WeightsError(
            f"{path} cannot be read as PyTorch weights: {type(error).__name__}: {error}. Expected a state dict; "
            "fetch the file again"
        ) from error
    if not isinstance(loaded, Mapping):
        raise WeightsError(f"{path} holds a {type(loaded).__name__}, expected a dict from names to tensors")
    for name, value in loaded.items():
        if not isinstance(name, str) or not isinstance(value, Tensor):
            raise WeightsError(f"{path}: entry {name!r} is a {type(value).__name__}, expected a tensor")
    # An expanded view claims many numbers with few bytes; copying it would fill the memory.
    claimed = sum(v.numel() * v.element_size() for v in loaded.values())
    if claimed > size:
        raise WeightsError(f"{path} is damaged: it has {size} bytes but its tensors claim {claimed}")
    return {name: value.detach().contiguous() for name, value in loaded.items()}


def load_authors_san(path: Path | str) -> SAN:
    """The SAN authors' released autoencoder (``conv-autoencoder-e20.pkl``), in evaluation mode, frozen.

    A peer to compare with. It was trained on gray faces that a deformable part model cut out of CelebA, with
    prototypes warped to each face. Raises :class:`~halfmask.errors.WeightsError` when the file is another network's.
    """
    tensors = load_legacy(path)
    wanted = {f"{theirs}.{kind}": f"{ours}.{kind}" for theirs, ours in _AUTHORS.items() for kind in ("weight", "bias")}
    if set(tensors) != set(wanted):
        raise WeightsError(
            f"{path} is not the SAN authors' autoencoder: it holds {sorted(tensors)}, not {list(wanted)}"
        )
    net = SAN(slope=0.01)
    try:
        net.load_state_dict({ours: tensors[theirs] for theirs, ours in wanted.items()})
    except RuntimeError as error:  # torch's word for a wrong shape
        raise WeightsError(f"{path} is not the SAN authors' autoencoder: {error}") from error
    return frozen(net)
