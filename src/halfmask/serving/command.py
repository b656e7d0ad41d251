"""The command line that does what was done here, for who wants to do it again without the page."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from ..methods import DEFAULT, METHODS
from ..methods.choice import IDENTITY
from ..photos.detect import Face
from ..tabular import csv_line
from .asking import Ask
from .memory import Choice


def of(name: str, output: str, ask: Ask, choice: Choice, faces: Sequence[Face]) -> dict[str, Any]:
    """``command``, the line, and ``files``, name → text of the files that it needs beside it.

    >>> of("a.jpg", "a.jpg", Ask(strength=0.6), Choice(), [])["command"]
    'halfmask protect a.jpg -o protected/a.jpg --strength 0.6'
    """
    photo, result = PurePosixPath(name).name, PurePosixPath(output).name
    method = METHODS[ask.method].cls
    verb = "deidentify" if IDENTITY in method.hides else "protect"
    words = ["halfmask", verb, photo, "-o", f"protected/{result}"]
    if ask.method not in (DEFAULT, verb):
        words += ["--method", ask.method]
    told = {"--hide": ask.hide, "--prototype": ask.prototype}
    gender = ask.gender if method.needs_label else None
    for option, value in {"--strength": ask.strength, "--quality": ask.quality, "--gender": gender, **told}.items():
        if value is not None and not (option in told and verb == "deidentify"):
            words += [option, str(value)]
    if ask.keep_metadata:
        words.append("--keep-metadata")
    if ask.if_no_face == "copy":
        words += ["--if-no-face", "copy"]
    keys = [face.points.tobytes() for face in faces]
    for number, key in enumerate(keys, 1):
        if key in choice.off:
            words += ["--skip", str(number)]
    who = dict(choice.who) if "person" in method.settings else {}
    genders = dict(choice.genders) if method.needs_label and not ask.gender else {}
    known = [key for key in keys if key in who or key in genders]
    files = {}
    # a labels file speaks of the largest face; no two may say the gender
    if known and known == keys[:1] and not choice.boxes and not gender and verb == "protect":
        row = [photo, genders.get(keys[0], ""), who.get(keys[0], "")]
        files["labels.csv"] = "".join(map(csv_line, [["file", "gender", "person"], row]))
        words += ["--labels", "labels.csv"]
    elif known or choice.boxes:
        rows = [["file", "x", "y", "width", "height", "gender", "person"]]
        for face, key in zip(faces, keys, strict=True):
            if key in known or face.origin != "detector":
                sides = [f"{v:.12g}" for v in face.box]
                rows.append([photo, *sides, genders.get(key, ""), who.get(key, "")])
        files["boxes.csv"] = "".join(map(csv_line, rows))
        words += ["--boxes", "boxes.csv"]
    if photo.startswith("-"):
        words[2] = f"./{photo}"
    return {"command": shlex.join(words), "files": files}
