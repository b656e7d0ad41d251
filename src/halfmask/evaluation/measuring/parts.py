"""Work that is kept on disk between runs: its folder says what it was made from."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

from ...photos.align import TEMPLATE_VERSION
from ...photos.detect import DETECTOR_VERSION


def digest_of(about: str, files: Iterable[tuple[str, Path]]) -> str:
    """Sixteen hex digits for what is made from ``about`` and from files, each given with its key.

    A file counts by its bytes and not by its date, which copying changes; an absent one as absent. What was kept of
    other files is not found, nor what was made by another face search or template.
    """
    digest = hashlib.sha256(f"{TEMPLATE_VERSION} {DETECTOR_VERSION} {about}".encode())
    for key, path in files:
        try:
            with open(path, "rb") as stream:
                mark = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError:
            mark = "absent"
        digest.update(f"{key} {mark}\n".encode("utf-8", "surrogateescape"))
    return digest.hexdigest()[:16]
