"""scripts/ages.py: which config each kind of its table is trained by."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from ages import config_of

from halfmask.errors import UsageError

ROOT = Path(__file__).resolve().parents[2]


def test_weighted_kinds_are_the_same_configs_with_weights() -> None:
    configs = ROOT / "configs" / "age"
    for kind in ("or", "coral", "corn"):
        plain, weighted = config_of(kind, 3, configs), config_of(f"{kind}+iw", 3, configs)
        assert (plain.seed, plain.importance, plain.heads["age"]["kind"]) == (3, False, kind)
        assert weighted == replace(plain, importance=True)
    with pytest.raises(UsageError, match="no tasks to weigh"):
        config_of("ce+iw", 1, configs)
