"""scripts/san_report.py: the report's folders, its pairs and its match score."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from san_report import generate, gray_of, match_auc, originals, sampled

from halfmask.datasets import Row, Table, one_pair_each
from halfmask.datasets.cache import Crops
from halfmask.methods.san import San


def test_the_folders_are_the_reports_and_hold_the_methods_own_output(tmp_path: Path, rng: np.random.Generator) -> None:
    small = rng.integers(40, 220, (3, 7, 7, 3), np.uint8)
    pixels = np.stack([cv2.resize(s, (224, 224), interpolation=cv2.INTER_CUBIC) for s in small])
    rows = [Row(f"a/{i}.jpg", Path(f"{i}.jpg"), f"p{i}", i % 2) for i in range(3)]
    crops, san = Crops(pixels, rows, []), San()
    files = generate(crops, san, tmp_path / "generated")
    there = sorted(f.relative_to(tmp_path).as_posix() for f in tmp_path.rglob("*.png"))
    women, men = (
        (f"generated/female/{o}/{i}.png" for o in ("NT", "OP", "SM") for i in (0, 2)),
        (f"generated/male/{o}/1.png" for o in ("NT", "OP", "SM")),
    )
    assert there == [*women, *men]
    face = pixels[1].transpose(2, 0, 1)[None].astype(np.float32) / np.float32(255)
    for output, file in ((o, files[o]["a/1.jpg"]) for o in files):
        san.prototype = output.lower()
        made = cv2.imread(str(file), cv2.IMREAD_UNCHANGED)
        assert np.abs(made - 255 * san.protected_gray(face, np.array([1]))[0, 0]).max() <= 0.51
    times = [files["OP"][row.key].stat().st_mtime_ns for row in rows]
    assert generate(crops, san, tmp_path / "generated") == files
    assert [files["OP"][row.key].stat().st_mtime_ns for row in rows] == times  # what is there is not made again
    first = originals(crops, tmp_path / "lfw", "OR_1")
    assert first["a/2.jpg"] == tmp_path / "lfw" / "female" / "OR_1" / "2.png"
    assert np.array_equal(cv2.imread(str(first["a/2.jpg"]), cv2.IMREAD_UNCHANGED), gray_of(pixels[2]))


def test_equation_6_orders_by_distance_and_not_by_angle() -> None:
    people = np.array([[1.0, 0.0], [3.0, 0.0]])  # one direction, two lengths
    assert match_auc(people, people + 0.1) == 1.0
    assert match_auc(people, people[::-1]) == 0.0


def test_pairs_are_one_a_person_and_as_many_of_each_gender(rng: np.random.Generator) -> None:
    who = [("ann", 0), ("bob", 1), ("cem", 1), ("dan", None), ("eve", 0), ("fay", 0)]
    rows = [Row(f"{name}/{k}.jpg", Path(), name, g) for name, g in who for k in range(1 if name == "eve" else 3)]
    rows += [Row("cem/9.jpg", Path(), "cem", 0)]  # the lists disagree about cem
    shuffled = [rows[i] for i in rng.permutation(len(rows))]
    pairs = one_pair_each(Table("t", Path(), shuffled))
    assert [(a.key, b.key) for a, b in pairs] == [(f"{n}/0.jpg", f"{n}/1.jpg") for n in ("ann", "bob", "fay")]
    assert {a.identity for a, _ in sampled(pairs, 1)} in ({"ann", "bob"}, {"fay", "bob"})
    assert len(sampled(pairs, 200)) == 3


def test_one_pair_each_gives_the_reports_pairs(shared_data: Path) -> None:
    from halfmask.datasets import read

    pairs = one_pair_each(read("lfw", shared_data / "lfw"))
    assert 0 < sum(a.gender == 0 for a, _ in pairs) <= 442  # LFW whole has the report's numbers
    assert 0 < sum(a.gender == 1 for a, _ in pairs) <= 1237
    assert all(a.identity == b.identity != "" and a.key != b.key for a, b in pairs)


@pytest.mark.parametrize("each", [0, 1])
def test_a_sample_is_the_same_in_every_run(each: int) -> None:
    pairs = [(Row(f"{i}a", Path(), f"{i}", i % 2), Row(f"{i}b", Path(), f"{i}", i % 2)) for i in range(9)]
    assert sampled(pairs, each) == sampled(pairs, each)
    assert len(sampled(pairs, each)) == 2 * each
