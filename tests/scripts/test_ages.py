"""scripts/ages.py: which config each kind of its table is trained by."""

from __future__ import annotations

from dataclasses import replace

import pytest
from ages import config_of

from halfmask.errors import UsageError


def test_weighted_kinds_are_the_same_configs_with_weights() -> None:
    for kind in ("or", "coral", "corn"):
        plain, weighted = config_of(kind, 3), config_of(f"{kind}+iw", 3)
        assert (plain.seed, plain.importance, plain.heads["age"]["kind"]) == (3, False, kind)
        assert weighted == replace(plain, importance=True)
    with pytest.raises(UsageError, match="no tasks to weigh"):
        config_of("ce+iw", 1)
