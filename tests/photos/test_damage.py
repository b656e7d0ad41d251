"""Files made to keep a reader busy or to fill its memory are refused or read at once, whatever they claim."""

from __future__ import annotations

import io
import os
import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from PIL import Image

from halfmask.errors import PhotoError
from halfmask.photos import isobmff, jpeg, tiff
from halfmask.photos.reading import read


@contextmanager
def quick() -> Iterator[None]:
    """What took minutes takes less than this, on a busy machine too: only our own processor time counts."""
    began = time.thread_time()
    yield
    assert time.thread_time() - began < 3


def box(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I4s", 8 + len(data), kind) + data


def test_a_million_scans_without_an_end() -> None:
    data = b"\xff\xd8" + b"\xff\xda\0\2" * 500_000
    with quick():
        assert not jpeg.ends(data)
    assert jpeg.ends(data + jpeg.EOI)
    assert not jpeg.ends(b"\xff\xd8" + jpeg.EOI + b"\xff\xda\0\2")


def test_references_that_claim_more_than_their_box_holds() -> None:
    one = box(b"dimg", struct.pack(">HHHH", 1, 0xFFFF, 2, 3))
    data = box(b"meta", bytes(4) + box(b"iref", bytes(4) + one * 20_000))
    with quick():
        assert isobmff.contents(data).parts == []


def test_associations_that_claim_more_than_their_box_holds() -> None:
    entry = struct.pack(">HB", 7, 0)
    one = box(b"ipma", bytes(4) + struct.pack(">I", 0xFFFFFFFF) + entry * 4)
    data = box(b"meta", bytes(4) + box(b"iprp", one * 20_000))
    with quick(), pytest.raises(ValueError, match="meta box is damaged"):
        isobmff.contents(data)


def test_a_tiff_that_says_the_same_thousands_of_times() -> None:
    """The last of a tag counts, as Pillow has it; no more than one of each is looked at."""
    values = struct.pack("<4096H", *[8] * 4096)
    entries = struct.pack("<HHII", 258, 3, 4096, 8) * 4094 + struct.pack("<HHIHH", 258, 3, 1, 4, 0)
    entries += struct.pack("<HHIHH", 256, 3, 1, 9, 0)
    data = b"II*\0" + struct.pack("<I", 8 + len(values)) + values + struct.pack("<H", 4096) + entries + bytes(4)
    with quick():
        for _ in range(100):  # as many directories as one file may have, and a tenth of the work
            (only,) = tiff.directories(io.BytesIO(data))
    assert (only.tags[258], only.size) == ((4,), (9, 0))


def test_a_file_larger_than_any_photo_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "film.jpg"
    Image.new("RGB", (8, 8)).save(path)
    os.truncate(path, 300_000_000)  # as a sparse file
    with quick(), pytest.raises(PhotoError, match=r"film.jpg has 300,000,000 bytes, more than any JPEG picture of 64"):
        read(path, max_pixels=64)
    assert read(path.read_bytes()[:1000]).width == 8
