"""The user's own secret, from which methods draw what nobody else may be able to guess."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from functools import cache
from pathlib import Path

from ..errors import HalfmaskError, UsageError
from ..storage import ensure_folder, user_folder, whole

_RANDOM = re.compile(r"[0-9a-f]{64}")  # what is made here


def key_file() -> Path:
    """``halfmask/key`` in ``$XDG_CONFIG_HOME``, else in ``~/.config``."""
    return user_folder("XDG_CONFIG_HOME", ".config") / "key"


def own_key() -> str:
    """The user's key: ``$HALFMASK_KEY`` when set, else the content of :func:`key_file`, made at the first call.

    Raises :class:`~halfmask.errors.UsageError` when it can be neither read nor made.
    """
    if (given := os.environ.get("HALFMASK_KEY", "")).strip():
        return given
    path: Path | str = "file"
    try:
        path = key_file()
        if not path.exists():
            ensure_folder(path.parent)
            # of two processes that come first together, one wins and both read its key
            with whole(path, exclusive=True, mode=0o600) as fresh:
                fresh.write_text(secrets.token_hex(32), "ascii")
        key = path.read_text("ascii").strip()
    except (OSError, ValueError, HalfmaskError) as error:
        raise UsageError(
            f"your key {path} can be neither read nor made: {error}. Set HALFMASK_KEY, or give key=TEXT to the method"
        ) from error
    if not key:
        raise UsageError(f"your key {path} is empty; delete it, and a new one is made")
    return key


def keyed(text: str) -> str:
    """A digest of a text, 32 hex digits, that says nothing to who lacks the user's key, not even by trying texts.

    The same text and key give the same digest. Where no key can be had it is another one in each process.
    """
    return hmac.new(_stretched(), text.encode("utf-8", "surrogatepass"), hashlib.sha256).hexdigest()[:32]


@cache
def _fallback() -> str:
    return secrets.token_hex(32)


def _stretched() -> bytes:
    given = os.environ.get("HALFMASK_KEY", "").strip()
    try:
        key = own_key()
    except UsageError:
        key = _fallback()
    return key.encode() if not given and _RANDOM.fullmatch(key) else _stretch(key)


@cache
def _stretch(key: str) -> bytes:
    """A key that may be a word of the user's own is slow to try (a tenth of a second); one made here is no word."""
    return hashlib.pbkdf2_hmac("sha256", key.encode("utf-8", "surrogatepass"), b"halfmask record", 200_000)
