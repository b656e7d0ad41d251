"""What is kept between runs is found again only for the very files it was made from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from halfmask.evaluation.measuring import parts
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


@pytest.mark.parametrize("version", ["TEMPLATE_VERSION", "DETECTOR_VERSION"])
def test_a_digest_follows_what_finds_and_cuts_the_faces(monkeypatch: pytest.MonkeyPatch, version: str) -> None:
    before = digest_of("about", ())
    monkeypatch.setattr(parts, version, 999)
    assert digest_of("about", ()) != before
