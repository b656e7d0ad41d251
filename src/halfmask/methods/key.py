"""The user's own secret, from which methods draw what nobody else may be able to guess."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

from ..errors import UsageError


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
        path.parent.mkdir(parents=True, exist_ok=True)
        # Written aside and linked: of two processes that come first together, one wins and both read its key.
        part = path.with_name(f".key.{os.getpid()}.{secrets.token_hex(4)}")
        if not path.exists():
            part.touch(mode=0o600)
            part.write_text(secrets.token_hex(32), "ascii")
            try:
                os.link(part, path)
            except FileExistsError:
                pass
            finally:
                part.unlink()
        key = path.read_text("ascii").strip()
    except (OSError, ValueError) as error:
        raise UsageError(
            f"your key {path} can be neither read nor made: {error}. Set HALFMASK_KEY, or give key=TEXT to the method"
        ) from error
    if not key:
        raise UsageError(f"your key {path} is empty; delete it, and a new one is made")
    return key
