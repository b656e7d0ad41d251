"""The crop cache: made once, keyed by the data, honest about what it could not cut."""

from __future__ import annotations

import os
from pathlib import Path

import cv2
import numpy as np
import pytest

from halfmask.datasets import cache
from halfmask.datasets.table import Row, Table
from halfmask.errors import DataError
from halfmask.photos.align import crop_face
from halfmask.photos.detect import Detector, Face


@pytest.fixture
def table(tmp_path: Path, astronaut: np.ndarray, detector: Detector) -> Table:
    root = tmp_path / "data"
    root.mkdir()
    cv2.imwrite(str(root / "face.png"), astronaut[..., ::-1])
    cv2.imwrite(str(root / "mirror.png"), astronaut[:, ::-1, ::-1])
    cv2.imwrite(str(root / "wall.png"), np.full((200, 200, 3), 128, np.uint8))
    (root / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no more")
    (root / "empty.jpg").write_bytes(b"")
    names = ["face.png", "broken.jpg", "mirror.png", "empty.jpg", "wall.png", "absent.png"]
    return Table("demo", root, [Row(n, root / n) for n in names])


def test_cuts_faces_and_names_the_rest(table: Table, tmp_path: Path, astronaut: np.ndarray) -> None:
    crops = cache.open_crops(table, tmp_path / "cache", quiet=True)
    assert [r.key for r in crops.rows] == ["face.png", "mirror.png"]
    assert crops.pixels.shape == (2, 224, 224, 3)
    assert sorted(p.split(":")[0] for p in crops.problems) == ["absent.png", "broken.jpg", "empty.jpg", "wall.png"]
    faces = Detector()(astronaut)
    expected, _ = crop_face(astronaut, faces[0].points)
    assert len(faces) == 1
    assert np.array_equal(crops.pixels[0], expected)
    assert not crops.pixels.flags.writeable


def test_is_made_once_and_anew_when_the_data_change(
    table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "cache"
    cache.open_crops(table, folder, quiet=True)
    built: list[int] = []
    real = cache._build
    monkeypatch.setattr(cache, "_build", lambda *a: built.append(1) or real(*a))
    cache.open_crops(table, folder, quiet=True)
    assert not built
    os.utime(table[0].path, ns=(1, 1))
    cache.open_crops(table, folder, quiet=True)
    assert len(built) == 1
    for made, version in enumerate(("TEMPLATE_VERSION", "DETECTOR_VERSION"), 2):
        monkeypatch.setattr(cache, version, 999)
        cache.open_crops(table, folder, quiet=True)
        assert len(built) == made


def test_a_killed_build_leaves_no_cache(table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cache, "centred_face", dies)
    with pytest.raises(KeyboardInterrupt):
        cache.open_crops(table, tmp_path / "cache", quiet=True)
    assert list((tmp_path / "cache").iterdir()) == []


def test_a_truncated_cache_is_noticed(table: Table, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    cache.open_crops(table, folder, quiet=True)
    data = next(folder.glob("*/crops.u8"))
    data.write_bytes(data.read_bytes()[:-10])
    with pytest.raises(DataError, match="damaged; delete it"):
        cache.open_crops(table, folder, quiet=True)


def test_nothing_to_cut_is_an_error(table: Table, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no face in any"):
        cache.open_crops(table.where(lambda r: r.key == "wall.png"), tmp_path / "cache", quiet=True)
    with pytest.raises(DataError, match="no rows"):
        cache.open_crops(table.where(lambda r: False), tmp_path / "cache", quiet=True)


def test_the_subject_is_the_large_face_in_the_middle() -> None:
    points = np.zeros((5, 2), np.float32)
    subject = Face((60, 60, 80, 80), points, 0.9)
    passer_by = Face((0, 0, 85, 85), points, 0.99)
    tiny = Face((95, 95, 10, 10), points, 0.99)
    assert cache.centred_face([passer_by, tiny, subject], 200, 200) is subject
    assert cache.centred_face([], 200, 200) is None
