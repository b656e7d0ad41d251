"""The user's own secret, from which methods draw what nobody else may be able to guess."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..errors import DataError, UsageError
from ..storage import ensure_folder, whole


def key_file() -> Path:
    """``halfmask/key`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``."""
    return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "halfmask" / "key"


def own_key() -> str:
    """The user's key: ``$HALFMASK_KEY`` when set, else the content of :func:`key_file`, made at the first call.

    Raises :class:`~halfmask.errors.UsageError` when it can be neither read nor made.
    """
    if given := os.environ.get("HALFMASK_KEY"):
        return given
    path = key_file()
    try:
        if not path.exists():
            ensure_folder(path.parent)
            # of two processes that come first together, one wins and both read its key
            with whole(path, exclusive=True, mode=0o600) as fresh:
                fresh.write_text(secrets.token_hex(32), "ascii")
        key = path.read_text("ascii").strip()
    except (OSError, ValueError, DataError) as error:
        raise UsageError(
            f"your key {path} can be neither read nor made: {error}. Set HALFMASK_KEY, or give key=TEXT to the method"
        ) from error
    if not key:
        raise UsageError(f"your key {path} is empty; delete it, and a new one is made")
    return key
