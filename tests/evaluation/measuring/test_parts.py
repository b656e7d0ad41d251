"""What is kept between runs is found again only for the very files it was made from."""

from __future__ import annotations

import os
from pathlib import Path

from halfmask.evaluation.measuring.parts import digest_of


def test_a_digest_follows_every_file(tmp_path: Path) -> None:
    one, two = tmp_path / "1", tmp_path / "2"
    one.write_text("x")
    files = [("a", one), ("b", two)]
    first = digest_of("about", files)
    assert digest_of("about", files) == first
    two.write_text("y")  # was absent
    second = digest_of("about", files)
    os.utime(one, ns=(1, 1))  # a copy of other days
    assert digest_of("about", files) == second
    assert len({first, second, digest_of("other", files)}) == 3
