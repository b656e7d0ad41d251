"""SAN as a method: gray face in, gray face out, as a change of luminance that any photo can take."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..errors import UsageError
from ..weights import shipped
from ..weights.store import sha256_of
from . import choice
from .contract import Crops, Method, Subject, genders
from .prototypes import GroupEstimate, Prototypes
from .runtime import Faces, Network
from .runtime import gray as to_gray

#: The weights of SAN+ by their name in the setting ``weights`` (docs/results/san.md).
PLUS = "plus"
#: The help of the setting ``prototype``.
PROTOTYPE = "the mean face mixed in: sm, same gender; nt, neutral; op, opposite, which hides most  [default: op]"


class SanFamily(Method):
    """What SAN, Ensemble SAN and FlowSAN share: gray networks, and a ``prototype`` that they mix in.

    ``prototype`` is one of the class's choices, see :data:`~halfmask.methods.choice.PROTOTYPES`; it may be set later.
    """

    hides = frozenset({"gender"})
    gray = True
    steady = True
    needs_label = True
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"prototype": choice.PROTOTYPES}

    def __init__(self, name: str, sans: Sans, prototype: str) -> None:
        self.name = name
        self._sans = sans
        self.prototype = choice.one_of("prototype", prototype, self.choices["prototype"])
        #: of the files' sha256, 12 digits each: first the networks in order, then the prototypes
        self.fingerprint = sans.fingerprint

    def __len__(self) -> int:
        """How many networks there are."""
        return len(self._sans)

    @property
    def prototypes(self) -> Prototypes:
        """The mean faces that are mixed in."""
        return self._sans.prototypes

    @abstractmethod
    def protected_gray(self, crops: Faces, gender: NDArray[np.integer]) -> Faces:
        """The paper's own output: gray faces (N, 1, 224, 224) for RGB crops (N, 3, 224, 224), both in [0, 1].

        ``gender`` (N,) holds 0 = female, 1 = male.
        """

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        # The same amount in all three channels changes luma by that amount and leaves chroma alone, except where a
        # channel is clipped at black or white.
        return np.repeat(self.protected_gray(crops, genders(subjects)) - to_gray(crops), 3, 1)


class San(SanFamily):
    """Semi-adversarial network (Mirjalili, Raschka, Namboodiri, Ross 2018) with one set of trained weights.

    ``weights`` is ``plus``, for SAN+, ours, or the folder of a training run, with ``san.onnx`` and ``san.npz``; without
    it, ``name`` is that of the shipped weights. The two files can also be given one by one: ``network`` is the ONNX
    file of a SAN, ``means`` the prototypes of its training set, see :class:`~halfmask.methods.prototypes.Prototypes`.
    Raises :class:`~halfmask.errors.UsageError` when ``weights`` does not hold the two files.

    A SAN that was trained with prototypes of age and race groups has both estimated by our own attribute network.
    """

    settings: ClassVar[Mapping[str, str]] = {
        "prototype": PROTOTYPE,
        "weights": "plus, for SAN+, ours; or the folder of a training run  [default: SAN's]",
    }

    def __init__(
        self,
        name: str = "san",
        threads: int = 0,
        *,
        prototype: str = choice.OPPOSITE,
        weights: Path | str | None = None,
        network: Path | None = None,
        means: Path | None = None,
    ) -> None:
        if weights == PLUS:
            name = "san-plus"
        elif weights is not None:
            network, means = (in_run(Path(weights), file, "san") for file in ("san.onnx", "san.npz"))
        network = network or shipped.path(f"{name}.onnx")
        means = means or shipped.path(f"{name}.npz")
        super().__init__(name, Sans([network], means, threads), prototype)
        prototypes = self._sans.prototypes
        #: mean faces by gender label, (2, 3, 224, 224), and the neutral one
        self.means, self.neutral = prototypes.means, prototypes.neutral

    @property
    def reach(self) -> float:
        """How far OP goes from the same-gender prototype: 1 to the opposite one. May be set."""
        return self._sans.prototypes.reach

    @reach.setter
    def reach(self, value: float) -> None:
        self._sans.prototypes.reach = value

    def protected_gray(self, crops: Faces, gender: NDArray[np.integer]) -> Faces:
        """As :meth:`SanFamily.protected_gray` says."""
        return self._sans(0, to_gray(crops), gender, self.prototype, self._sans.groups(crops))


class Sans:
    """The networks of one or several SANs and the prototypes that they share.

    ``networks`` are ONNX files of :func:`halfmask.training.export.export_san`, ``means`` their npz.
    """

    def __init__(self, networks: Sequence[Path], means: Path, threads: int = 0) -> None:
        self.prototypes = Prototypes(means)
        self._nets = [Network(path, threads) for path in networks]
        self._grouped = [self.prototypes.grouped(k) for k in range(len(networks))]
        self._estimate = GroupEstimate(threads) if any(self._grouped) else None
        #: of each file's sha256, 12 digits
        self.fingerprint = "-".join(sha256_of(path)[:12] for path in (*networks, means))

    def __len__(self) -> int:
        return len(self._nets)

    def groups(self, crops: Faces) -> NDArray[np.int64] | None:
        """Age and race group of each RGB crop, (N,), estimated; None when no network here needs it."""
        return self._estimate(crops) if self._estimate is not None else None

    def __call__(
        self,
        number: int,
        faces: Faces,
        gender: NDArray[np.integer],
        prototype: str,
        groups: NDArray[np.int64] | None,
    ) -> Faces:
        """What network ``number``, from 0, makes of gray faces (N, 1, 224, 224) in [0, 1]; the same shape."""
        same, chosen = self.prototypes.choose(gender, prototype, groups if self._grouped[number] else None)
        return self._nets[number](faces, same, chosen)


def in_run(folder: Path, file: str, recipe: str) -> Path:
    """The file of a finished run. Raises :class:`~halfmask.errors.UsageError` when it is not there."""
    if not (folder / file).is_file():
        raise UsageError(
            f"weights={folder} holds no {file}; expected the folder of a finished training run, with {recipe}.npz and "
            f"its networks (halfmask train {recipe} makes one)"
        )
    return folder / file


def several(recipe: str, weights: Path | str | None, threads: int) -> Sans:
    """The SANs of a run of ``halfmask train ensemble`` or ``flowsan``: 1.onnx and so on; by default those that ship.

    Raises :class:`~halfmask.errors.UsageError` when ``weights`` is no such run.
    """
    if weights is None:
        names = [f"{recipe}-{k}.onnx" for k in range(1, 100)]
        networks = [shipped.path(names[0])] + [shipped.path(n) for n in names[1:] if n in shipped.manifest()]
        return Sans(networks, shipped.path(f"{recipe}.npz"), threads)
    folder = Path(weights)
    means = in_run(folder, f"{recipe}.npz", recipe)  # is written last
    networks = [in_run(folder, "1.onnx", recipe)]
    while (more := folder / f"{len(networks) + 1}.onnx").is_file():
        networks.append(more)
    return Sans(networks, means, threads)


def whole_number(name: str, value: object, most: int) -> int:
    """A setting that counts, from 1 to ``most``. Raises :class:`~halfmask.errors.UsageError` for anything else."""
    try:
        number = int(str(value))
    except ValueError:
        number = 0
    if not 1 <= number <= most:
        raise UsageError(f"{name} is {value!r}; expected a whole number from 1 to {most}")
    return number
