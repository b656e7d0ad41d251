"""scripts/fuzz.py: its files are what they are said to be, and each kind of fault is found out."""

from __future__ import annotations

import re
from pathlib import Path

import fuzz
import pytest
from fuzz import WHOLE_EACH, Limits, Sample, attempt, case, samples, table, tried

from halfmask.errors import PhotoError
from halfmask.photos.encode import register_heif
from halfmask.photos.reading import read

WORK = """
import os, signal
def work(path, whole, max_pixels):
    number = int(path.stem)
    if number == 1:
        os.kill(os.getpid(), signal.SIGSEGV)
    if number == 2:
        while True:
            pass
    if number == 3:
        os._exit(7)
    if number == 4:
        bytearray(os.urandom(1)) * 90_000_000
    return "read", ""
"""


@pytest.fixture(scope="module")
def whole() -> list[Sample]:
    return samples()


def test_whole_files_are_read_and_those_of_several_pictures_refused(whole: list[Sample]) -> None:
    for sample in whole:
        if sample.still:
            photo = read(sample.data)
            assert (photo.width, photo.height) == (64, 64), sample.name
        else:
            with pytest.raises(PhotoError, match=r"2 pictures|image sequence"):
                read(sample.data)
    formats = {sample.format for sample in whole}
    assert formats >= {"JPEG", "PNG", "TIFF", "BMP", "WebP", "GIF", "AVIF"}
    assert ("HEIC" in formats) == register_heif()


def test_a_file_is_a_function_of_seed_and_number(whole: list[Sample]) -> None:
    assert case(1, 7, whole) == case(1, 7, whole)
    assert len({case(seed, 7, whole).data for seed in range(20)}) == 20
    assert case(1, 3 * WHOLE_EACH, whole).data in [sample.data for sample in whole]


def test_damaged_files_are_read_or_refused_by_name(whole: list[Sample], tmp_path: Path) -> None:
    kinds = []
    for number in range(1, 200):
        one = case(1, number, whole)
        path = tmp_path / one.name
        path.write_bytes(one.data)
        kind, why = attempt(path, False, 1_000_000)
        assert kind in ("read", "refused"), f"{one}: {why}"
        kinds.append(kind)
    assert min(kinds.count("read"), kinds.count("refused")) > 20


def test_a_process_that_ends_hangs_or_takes_too_much_is_a_fault(
    whole: list[Sample], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "bad_work.py").write_text(WORK)
    monkeypatch.syspath_prepend(tmp_path)
    import bad_work

    limits = Limits(seconds=0.3, megabytes=50)
    done = list(tried(range(6), 1, whole, limits, bad_work.work))
    assert [one.number for one, _ in done] == list(range(6))
    assert [outcome.kind for _, outcome in done] == ["read", *["fault"] * 4, "read"]
    whys = [outcome.why for _, outcome in done]
    assert whys[1] == "the process ended: SIGSEGV"
    assert whys[2].endswith("of processor time")
    assert whys[3] == "the process ended: exit code 7"
    assert "MB of memory; then read" in whys[4]
    last = table(done, lambda one: one.sample.format, "format").splitlines()[-1]
    assert last.startswith("| all | 6 | 2 | 0 | 0 | 4 |")


@pytest.mark.parametrize(
    ("error", "what"),
    [
        (KeyError("EXIF"), r"KeyError at .*\.py:\d+: 'EXIF'"),
        (PhotoError("something is damaged"), "something is damaged"),  # but what?
        (PhotoError("a.jpg cannot be read"), "more memory than there is"),
    ],
)
def test_other_errors_are_faults(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, what: str) -> None:
    def failing(*_: object, **__: object) -> None:
        if "a.jpg" in str(error):
            raise error from MemoryError()
        raise error

    monkeypatch.setattr(fuzz, "read", failing)
    kind, why = attempt(tmp_path / "a.jpg", False, 100)
    assert kind == "fault"
    assert re.match(what, why)
