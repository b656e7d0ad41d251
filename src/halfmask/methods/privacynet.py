"""PrivacyNet as a method: any of gender, age and race redrawn as another class, the attributes not named kept."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ..datasets.ages import age_class
from ..errors import DataError, UsageError, WeightsError
from ..weights import shipped
from ..weights.store import sha256_of
from .choice import ATTRIBUTES, attributes, drawn, one_of, secret
from .contract import Crops, Method, Subject, genders
from .key import own_key
from .runtime import Faces, Network

TARGETS = ("drawn", "flip")


class _Reader(Network):
    """Our network ``attributes``, of which one head is asked at a time."""

    def probabilities(self, crops: Faces, head: str) -> Faces:
        feed = {self._names[0]: np.ascontiguousarray(crops, np.float32)}
        return np.asarray(self._session.run([head], feed)[0], np.float32)


class PrivacyNet(Method):
    """PrivacyNet (Mirjalili, Raschka, Ross 2020): one generator, told which class each attribute is to show.

    ``hide`` names one or several of gender, age and race, joined by commas, in any order. Of these the generator is
    given a *target* class, of the others the face's own, so that they stay: the gender that the caller gives, age group
    and race as our network ``attributes`` reads them.

    ``target`` says how the target is found. ``drawn``, the default, takes any class with equal chance, the face's own
    among them, so that an answer inverted is as wrong as the answer. ``flip`` is the paper's: another class than the
    face's. Chance comes from the secret ``key`` and the face, or the name of its person if that is given
    (:func:`~halfmask.methods.choice.drawn`); the key is the user's own unless given. ``person`` names every face that
    is not named by its :class:`~halfmask.methods.contract.Subject`.

    ``weights`` is the folder of a training run, with ``privacynet.onnx``. Raises
    :class:`~halfmask.errors.UsageError` for an attribute or a target that is not known, or a folder without that file,
    and :class:`~halfmask.errors.WeightsError` when the file is no such network.
    """

    hides = frozenset(ATTRIBUTES)
    needs_label = True
    settings: ClassVar[Mapping[str, str]] = {
        "hide": "gender, age, race, or several joined by commas  [default: gender]",
        "weights": "folder of a training run, with privacynet.onnx  [default: the shipped weights]",
        "key": "a secret text that targets are drawn by  [default: $HALFMASK_KEY, else your own, made at first use]",
        "person": "draw by this name instead of the photo: the same target in all photos of one person",
        "target": "drawn: any class; flip: another than the face's, as in the paper  [default: drawn]",
    }
    secrets = frozenset({"key", "person"})
    choices: ClassVar[Mapping[str, tuple[str, ...]]] = {"target": TARGETS}

    def __init__(
        self,
        threads: int = 0,
        *,
        hide: str = "gender",
        weights: Path | str | None = None,
        key: str | float | None = None,
        person: str | float | None = None,
        target: str = "drawn",
    ) -> None:
        self.name = "privacynet"
        self.hidden = attributes(str(hide))
        self.target = one_of("target", target, TARGETS)
        self._key = secret("key", key) or own_key()
        self._person = secret("person", person)
        file = _in_run(Path(weights)) if weights is not None else shipped.path("privacynet.onnx")
        self._net = Network(file, threads)
        self._reader = _Reader(shipped.path("attributes.onnx"), threads)
        #: says which numbers these are: of the file's sha256, 12 digits
        self.fingerprint = sha256_of(file)[:12]
        described = self._net.about
        #: whether the generator is told nothing of what is to stay; one of a run without blank is told its class
        self.blank = described.get("kept") == "blank"
        try:
            groups = json.loads(described["groups"])
            #: the classes of each attribute, in the order in which the generator takes them
            self.classes: dict[str, tuple[str, ...]] = {name: tuple(groups[name]) for name in ATTRIBUTES}
            heads = json.loads(self._reader.about["heads"])
            #: for each attribute, which of its classes (columns) a class of the reader's (rows) belongs to: 0 or 1
            self._belongs = {name: _belongs(name, heads[name]["classes"], groups[name]) for name in ("age", "race")}
        except (KeyError, TypeError, ValueError, AttributeError, DataError) as error:
            raise WeightsError(
                f"{file} is no PrivacyNet that says its classes: {type(error).__name__}: {error}; expected the "
                "privacynet.onnx of a run of: halfmask train privacynet"
            ) from error

    def read(self, crops: Faces, gender: NDArray[np.integer]) -> dict[str, NDArray[np.int64]]:
        """The face's own classes by attribute, (N,) each: the gender given, age group and race as our network reads.

        Crops are RGB (N, 3, 224, 224) in [0, 1].
        """
        classes = {"gender": np.asarray(gender, np.int64)}
        for name, belongs in self._belongs.items():
            probabilities = self._reader.probabilities(crops, name) + self._reader.probabilities(crops[..., ::-1], name)
            classes[name] = (probabilities @ belongs).argmax(1)
        return classes

    def aim(
        self, crops: Faces, own: Mapping[str, NDArray[np.integer]], who: Sequence[str | None] | None = None
    ) -> dict[str, NDArray[np.int64]]:
        """The classes to show, (N,) by attribute: of hidden ones the target, of the others the face's ``own``.

        ``who`` names the N persons, None for all or some when they are not known.
        """
        names = who or [None] * len(crops)
        aimed = {name: np.array(own[name], np.int64) for name in ATTRIBUTES}
        for i, (crop, name_of) in enumerate(zip(crops, names, strict=True)):
            chance = drawn(self._key, crop, name_of or self._person)
            for name in ATTRIBUTES:  # of every attribute, so that what is drawn for one does not depend on the others
                k = len(self.classes[name])
                free, step = int(chance.integers(k)), int(chance.integers(1, k))
                if name in self.hidden:
                    aimed[name][i] = free if self.target == "drawn" else (aimed[name][i] + step) % k
        return aimed

    def redraw(self, crops: Faces, classes: Mapping[str, NDArray[np.integer]]) -> Faces:
        """The change that makes faces show these classes, (N,) by attribute, -1 for none; as :meth:`change`."""
        if not len(crops):
            return np.zeros_like(crops)
        rows = []
        for name in ATTRIBUTES:
            hot = np.eye(len(self.classes[name]) + 1, dtype=np.float32)[classes[name] + 1]  # -1, unknown, is zeros
            rows.append(hot[:, 1:])
        return self._net(crops, np.concatenate(rows, 1))

    def _change(self, crops: Crops, subjects: Sequence[Subject]) -> Crops:
        # the generator's output less its input, both 112 pixels wide in the shipped network, enlarged: the photo's own
        # detail stays
        own = self.read(crops, genders(subjects))
        aim = self.aim(crops, own, [subject.who for subject in subjects])
        if self.blank:
            aim |= {name: np.full(len(crops), -1) for name in ATTRIBUTES if name not in self.hidden}
        return self.redraw(crops, aim)


def _belongs(name: str, theirs: list[str], ours: Mapping[str, list[str] | str] | list[str]) -> NDArray[np.float32]:
    table = np.zeros((len(theirs), len(ours)), np.float32)
    if name == "age":
        ends = [age_class(word) for word in ours]
        for i, word in enumerate(theirs):
            middle = age_class(word).middle
            table[i] = [a.low <= middle and (a.high is None or middle < a.high + 1) for a in ends]
    else:
        if not isinstance(ours, Mapping):
            raise TypeError(f"its races are {ours!r}, expected each with its words")
        for k, words in enumerate(ours.values()):
            table[:, k] = [word == words if isinstance(words, str) else word in words for word in theirs]
    if not table.any(0).all():
        raise ValueError(f"no class that our network reads belongs to one of the {name} classes {list(ours)}")
    return table


def _in_run(folder: Path) -> Path:
    file = folder / "privacynet.onnx"
    if not file.is_file():
        raise UsageError(
            f"weights={folder} holds no privacynet.onnx; expected the folder of a finished training run "
            "(halfmask train privacynet makes one)"
        )
    return file
