"""Models A and B of P-FGVM: classifiers that say which of a fixed set of people a face shows.

Chatzikyriakidis, Papaioannidis, Pitas: *Adversarial Face De-Identification*, ICIP 2019; both are on its slides.
They are what the closed-set experiments attack, and judge nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import UsageError
from ..photos.align import CROP
from .facenet import FaceNet
from .resize import Resize
from .sface import SFace
from .state import loading, read_weights, write_weights
from .vggface import VGGFace

#: Weight of the squares of the regularised weights in the loss, the slides' L2Regularizer(1e-3).
L2 = 1e-3
#: Width of what each network that Model B can stand on says of a face. The first is the paper's.
TRUNKS = {"vggface": 2622, "facenet": 512, "sface": 128}
_FORMAT = "1"


class Identity(nn.Module):
    """Faces RGB in [0, 1], (N, 3, S, S), crops of ``template(S)``, to logits (N, K) of K people, in ``people``'s order.

    Models differ in what they do with the faces only; gradients reach the faces as they were given.
    """

    #: The letter on the slides.
    model: str
    #: The layers whose weights the slides regularise.
    regularised: tuple[nn.Linear | nn.Conv2d, ...]

    def __init__(self, people: Sequence[str]) -> None:
        super().__init__()
        if len(set(people)) < max(2, len(people)):
            raise UsageError(f"people are {list(people)}, expected the names of at least 2, each once")
        self.people = tuple(people)

    def penalty(self) -> Tensor:
        """What the regularisers add to the loss while training: 1e-3 times the sum of squares, as Keras has it."""
        return L2 * torch.stack([layer.weight.square().sum() for layer in self.regularised]).sum()

    def description(self) -> dict[str, str]:
        """What stands in the metadata of a saved model, as strings."""
        return {"format": _FORMAT, "model": self.model, "people": json.dumps(self.people)}

    def own_state(self) -> dict[str, Tensor]:
        """The weights that a file of this model holds."""
        return self.state_dict()

    def save(self, path: Path) -> None:
        """Write :meth:`own_state` and :meth:`description` as safetensors; the file is whole or absent."""
        write_weights(path, self.own_state(), self.description())


class ModelA(Identity):
    """The slides' small network: two convolutions and two fully connected layers.

    Conv32 5×5, Conv64 5×5, each with batch normalisation, ReLU and 2×2 pooling; FC512 with batch normalisation, ReLU
    and dropout of 0.9; FC to the people. The slides do not give the size of the input: ``side`` is what the model
    scales every face to. At 224 the first fully connected layer alone would have 103 million weights for 600 faces; at
    the default it has 8.4 million.

    >>> ModelA(["ann", "bob"])(torch.rand(2, 3, 224, 224)).shape
    torch.Size([2, 2])
    """

    model = "a"

    def __init__(self, people: Sequence[str], side: int = 64) -> None:
        super().__init__(people)
        if side < 8 or side % 4:
            raise UsageError(f"side is {side}, expected a multiple of 4 of 8 pixels or more: it is halved twice")
        self.side = side
        self.resize = Resize(side, CROP / side)
        self.conv1, self.conv2 = nn.Conv2d(3, 32, 5, padding=2), nn.Conv2d(32, 64, 5, padding=2)
        self.fc1, self.fc2 = nn.Linear(64 * (side // 4) ** 2, 512), nn.Linear(512, len(people))
        self.norms = nn.ModuleList([nn.BatchNorm2d(32), nn.BatchNorm2d(64), nn.BatchNorm1d(512)])
        self.dropout = nn.Dropout(0.9)
        self.regularised = (self.conv1, self.conv2, self.fc1)

    def forward(self, faces: Tensor) -> Tensor:
        x = self.resize(faces)
        for layer, norm in ((self.conv1, self.norms[0]), (self.conv2, self.norms[1])):
            x = F.max_pool2d(F.relu(norm(layer(x))), 2)
        x = F.relu(self.norms[2](self.fc1(x.flatten(1))))
        out: Tensor = self.fc2(self.dropout(x)).float()
        return out

    def description(self) -> dict[str, str]:
        return super().description() | {"side": str(self.side)}


class ModelB(Identity):
    """A frozen face network, ``trunk``, and on what it says FC256, batch normalisation, ReLU and FC to the people.

    The slides' trunk is VGG-Face, whose weights halfmask cannot fetch. ``trunk`` is a name of :data:`TRUNKS`, and
    ``weights`` the file of a trunk's weights, which only VGG-Face needs. VGG-Face's 2622 numbers go in as they are,
    as on the slides; what another trunk says is scaled to length √width, so that its numbers are about 1.

    Raises :class:`~halfmask.errors.UsageError` for an unknown trunk or VGG-Face without its weights.
    """

    model = "b"

    def __init__(self, people: Sequence[str], trunk: str, weights: Path | str | None = None) -> None:
        super().__init__(people)
        if trunk not in TRUNKS:
            raise UsageError(f"the trunk {trunk!r} is unknown; known: {', '.join(TRUNKS)}")
        if trunk == "vggface" and not weights:
            raise UsageError("the trunk vggface needs 'weights': the file of the published VGG-Face weights")
        self.trunk_name = trunk
        self.trunk = load_trunk(trunk, weights)
        fc1 = nn.Linear(TRUNKS[trunk], 256)
        #: logits (N, K) of :meth:`features`: the part that is trained
        self.head = nn.Sequential(fc1, nn.BatchNorm1d(256), nn.ReLU(), nn.Linear(256, len(people)))
        self.regularised = (fc1,)

    def forward(self, faces: Tensor) -> Tensor:
        out: Tensor = self.head(self.features(faces)).float()
        return out

    def features(self, faces: Tensor) -> Tensor:
        """What the trunk says, (N, D), of length √D unless it is VGG-Face: the part that training does not change."""
        said: Tensor = self.trunk(faces).float()
        return said if self.trunk_name == "vggface" else F.normalize(said) * TRUNKS[self.trunk_name] ** 0.5

    def train(self, mode: bool = True) -> ModelB:
        super().train(mode)
        self.trunk.eval()  # its normalisations are frozen with it
        return self

    def description(self) -> dict[str, str]:
        return super().description() | {"trunk": self.trunk_name}

    def own_state(self) -> dict[str, Tensor]:
        return {k: v for k, v in self.state_dict().items() if not k.startswith("trunk.")}


def load_trunk(name: str, weights: Path | str | None = None) -> nn.Module:
    """A frozen network of :data:`TRUNKS`: faces RGB in [0, 1], (N, 3, S, S), to descriptors (N, D).

    ``weights`` is its file; None takes SFace and FaceNet from the store, which fetches and checks them.
    """
    path = Path(weights) if weights else None
    if name == "sface":
        return SFace.load(path)
    if name == "facenet":
        return FaceNet.load(path)
    assert path is not None
    return VGGFace.load(path, normalize=False)


def load_identity(path: Path, weights: Path | str | None = None) -> ModelA | ModelB:
    """What :meth:`Identity.save` wrote, in evaluation mode, frozen; Model B with its trunk.

    ``weights`` is the trunk's file, which only VGG-Face needs. Raises :class:`~halfmask.errors.WeightsError` when the
    file is damaged or something else's.
    """
    net: ModelA | ModelB
    with loading(path, "the identity model", "halfmask train identity"):
        about, state = read_weights(path, _FORMAT)
        people = json.loads(about["people"])
        with torch.random.fork_rng(devices=[]):  # numbers that are thrown away must not shift the caller's
            net = (
                ModelA(people, int(about["side"])) if about["model"] == "a" else ModelB(people, about["trunk"], weights)
            )
        expected = set(net.own_state())
        if set(state) != expected:
            raise ValueError(f"it holds {sorted(state)}, expected {sorted(expected)}")
        net.load_state_dict(state, strict=False)
    return net.requires_grad_(False).eval()  # as it was saved, to the bit: not channels last
