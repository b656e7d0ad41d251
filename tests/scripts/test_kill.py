"""scripts/kill.py: it tells what is wrong, and a run that was killed ends as another."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from kill import PHOTOS, album, differing, wrong

from halfmask.errors import WeightsError
from halfmask.photos.encode import register_heif
from halfmask.storage import PART_SUFFIX, RECORD
from halfmask.weights import store

EXPECTED = {"a.jpg": b"whole", f"sub/{RECORD}": b'{"file": "b.jpg"}\n', "sub/b.jpg": b"too"}


def test_what_is_wrong_when_killed() -> None:
    part = f"sub/.0123{PART_SUFFIX}"
    assert wrong({}, EXPECTED) == []
    assert wrong({"a.jpg": b"whole", part: b"ha", f"sub/{RECORD}": b'{"file": "b.jpg"}\n{"fi'}, EXPECTED) == []
    for there, what in (
        ({"a.jpg": b"who"}, "a.jpg has 3 bytes"),
        ({"a.jpg": b"other"}, "a.jpg has 5 bytes"),
        ({"c.jpg": b""}, "c.jpg has 0 bytes"),
        ({f"sub/{RECORD}": b'{"file": \n{"file": "b.jpg"}\n'}, f"sub/{RECORD}: "),
    ):
        (found,) = wrong(there, EXPECTED)
        assert found.startswith(what)


def test_what_differs_in_the_end() -> None:
    assert differing(dict(EXPECTED), EXPECTED) == []
    assert differing({"a.jpg": b"whole", "x": b"", "sub/b.jpg": b"two"}, EXPECTED) == [
        f"sub/{RECORD}",
        "sub/b.jpg",
        "x",
    ]


def test_the_album_has_every_photo(tmp_path: Path) -> None:
    album(tmp_path)
    expected = len(PHOTOS) + 1 - (not register_heif())
    assert sum(path.is_file() for path in tmp_path.rglob("*")) == expected


@pytest.mark.slow
def test_one_moment() -> None:
    try:
        store.get("yunet", fetch=False)
    except WeightsError as error:
        pytest.skip(f"needs the model yunet, which is not fetched: {error}")
    script = Path(__file__).resolve().parents[2] / "scripts" / "kill.py"
    done = subprocess.run([sys.executable, str(script), "--moments", "1"], capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "| second runs that end as the uninterrupted one | 1 |" in done.stdout
