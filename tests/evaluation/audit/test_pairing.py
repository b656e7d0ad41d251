"""Pairing up two folders, and the labels and pairs that come with them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from halfmask.datasets.table import Row, Table
from halfmask.errors import UsageError
from halfmask.evaluation.audit import pairing, told


def folder(root: Path, *names: str, shade: int = 0) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((8, 8, 3), shade + i, np.uint8)).save(path, "PNG")
    return root


def test_photos_are_paired_by_path_whatever_the_suffix(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "1.jpg", "sub/1.jpg", "sub/2.JPG", "only.png", "sub/3.bmp")
    after = folder(tmp_path / "b", "1.jpg", "sub/1.png", "sub/2.webp", "sub/3.bmp", "new.png", shade=50)
    (after / "notes.txt").write_text("no photo")
    found = pairing.pair_up(before, after)
    assert {k: v.relative_to(after).as_posix() for k, v in found.protected.items()} == {
        "1.jpg": "1.jpg",
        "sub/1.jpg": "sub/1.png",
        "sub/2.JPG": "sub/2.webp",
        "sub/3.bmp": "sub/3.bmp",
    }
    assert found.missing == ["only.png"]
    assert found.extra == ["new.png"]
    assert len(found.table) == 5
    assert found.same == []
    assert found.notes == []


def test_a_whole_name_beats_a_name_without_suffix(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "1.jpg", "1.png")
    after = folder(tmp_path / "b", "1.png", "1.webp", shade=50)
    found = pairing.pair_up(before, after)
    assert {k: v.name for k, v in found.protected.items()} == {"1.png": "1.png", "1.jpg": "1.webp"}


def test_an_equal_claim_is_refused(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "1.jpg", "1.png", "2.jpg")
    after = folder(tmp_path / "b", "1.webp", "2.jpg", shade=50)
    with pytest.raises(UsageError, match=r"cannot be told .* 1\.jpg and 1\.png with 1\.webp.*rename"):
        pairing.pair_up(before, after)


def test_nothing_in_common_shows_both_sides(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", *(f"{i}.jpg" for i in range(5)))
    after = folder(tmp_path / "b", "x.jpg", shade=50)
    with pytest.raises(UsageError, match=r"ORIGINALS holds 0\.jpg, 1\.jpg, 2\.jpg and 2 more; PROTECTED holds x\.jpg"):
        pairing.pair_up(before, after)


def test_a_shared_folder_may_be_left_out(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "img/1.jpg", "img/2.jpg")
    after = folder(tmp_path / "b", "2.png", "1.png", shade=50)
    found = pairing.pair_up(before, after)
    assert {k: v.name for k, v in found.protected.items()} == {"img/1.jpg": "1.png", "img/2.jpg": "2.png"}
    assert found.notes == ["Names were compared below img/ of the originals."]


def test_the_protected_may_lie_inside_the_originals(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "1.jpg", "2.jpg")
    after = folder(before / "protected", "1.jpg", "2.jpg", shade=50)
    found = pairing.pair_up(before, after)
    assert sorted(found.protected) == ["1.jpg", "2.jpg"]
    assert found.missing == []


def test_unprotected_copies_are_named(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "1.png", "2.png")
    after = folder(tmp_path / "b", "1.png", shade=50)
    (after / "2.png").write_bytes((before / "2.png").read_bytes())
    found = pairing.pair_up(before, after)
    assert found.same == ["2.png"]
    assert "1 of the 2 protected photos are equal to their original" in found.notes[0]


def test_photos_of_another_size_are_named(tmp_path: Path) -> None:
    before, after = folder(tmp_path / "a", "1.png", "2.png"), folder(tmp_path / "b", "1.png", "2.png", shade=9)
    assert not pairing.pair_up(before, after).notes
    Image.fromarray(np.zeros((8, 4, 3), np.uint8)).save(after / "2.png")
    (note,) = pairing.pair_up(before, after).notes
    assert "1 of the 2 protected photos differ in size from their original" in note
    assert note.endswith("First: 2.png.")
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(before / "2.png")  # the same, lying: turned when it is read
    assert not pairing.pair_up(before, after).notes


def test_single_photos_pair_under_any_name(tmp_path: Path) -> None:
    before, after = folder(tmp_path / "a", "me.jpg") / "me.jpg", folder(tmp_path / "b", "you.png", shade=9) / "you.png"
    found = pairing.pair_up(before, after)
    assert found.protected == {"me.jpg": after}


@pytest.mark.parametrize(
    ("before", "after", "message"),
    [
        ("absent", "b", r"there is no .*absent \(ORIGINALS\)"),
        ("a", "absent", r"there is no .*absent \(PROTECTED\)"),
        ("a", "a", "ORIGINALS and PROTECTED are both"),
        ("a", "b/1.jpg", "ORIGINALS is a folder and PROTECTED is a file"),
        ("empty", "b", "ORIGINALS .*empty holds no photo"),
        ("a", "empty", "PROTECTED .*empty holds no photo"),
    ],
)
def test_odd_places_are_refused(tmp_path: Path, before: str, after: str, message: str) -> None:
    folder(tmp_path / "a", "1.jpg")
    folder(tmp_path / "b", "1.jpg", shade=50)
    folder(tmp_path / "empty")
    with pytest.raises(UsageError, match=message):
        pairing.pair_up(tmp_path / before, tmp_path / after)


def test_a_published_layout_brings_its_labels(tmp_path: Path) -> None:
    name = "img_align_celeba/{:06d}.jpg".format
    before = folder(tmp_path / "celeba", name(1), name(2), name(3))
    (before / "list_attr_celeba.txt").write_text("3\nMale\n000001.jpg 1\n000002.jpg -1\n000003.jpg 1\n")
    (before / "identity_CelebA.txt").write_text("000001.jpg 7\n000002.jpg 8\n000003.jpg 7\n")
    (before / "list_eval_partition.txt").write_text("000001.jpg 2\n000002.jpg 2\n000003.jpg 0\n")
    after = folder(tmp_path / "out", "img_align_celeba/000001.png", "img_align_celeba/000002.png", shade=50)
    found = pairing.pair_up(before, after)
    assert found.table.name == "celeba"
    assert [(r.gender, r.identity, r.split) for r in found.table] == [
        (1, "7", "test"),
        (0, "8", "test"),
        (1, "7", "train"),
    ]
    assert found.missing == [name(3)]


def test_an_unrelated_csv_among_the_originals_is_no_obstacle(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "1.jpg", "2.jpg")
    (before / "sales.csv").write_text("file,gender\nx.jpg,f\n")
    found = pairing.pair_up(before, folder(tmp_path / "b", "1.jpg", "2.jpg", shade=50))
    assert len(found.table) == 2
    assert "No labels were read from a" in found.notes[0]


def test_linked_folders_are_followed_once(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "sub/1.jpg")
    (before / "sub" / "loop").symlink_to(before)
    (before / "linked").symlink_to(folder(tmp_path / "elsewhere", "2.jpg"))
    assert list(pairing.photos_in(before)) == ["linked/2.jpg", "sub/1.jpg"]


@pytest.fixture
def table(tmp_path: Path) -> Table:
    names = ("a.jpg", "sub/a.jpg", "sub/b.jpg", "c.jpg")
    return Table("demo", tmp_path, [Row(n, tmp_path / n, gender=1 if n == "c.jpg" else None) for n in names])


def labels(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "labels.csv"
    path.write_text(text)
    return path


def test_labels_beat_what_was_known(tmp_path: Path, table: Table) -> None:
    path = labels(
        tmp_path,
        "file,gender,identity,age,race\n"
        f"a.jpg,F,ann,31,White\nb.jpg,male,bob,50-59,\n{tmp_path / 'sub/a.jpg'},,ann,,\nc.jpg,0,,,\nzzz.jpg,f,,,\n",
    )
    found, notes = told.read_labels(path, table)
    rows = {row.key: (row.gender, row.identity, row.age, row.age_range, row.race) for row in found}
    assert rows == {
        "a.jpg": (0, "ann", 31.0, None, "White"),
        "sub/b.jpg": (1, "bob", None, (50, 59), None),
        "sub/a.jpg": (None, "ann", None, None, None),
        "c.jpg": (0, None, None, None, None),
    }
    assert notes == ["labels.csv names 1 photos that are not among the originals: zzz.jpg (line 6)."]
    assert table[3].gender == 1  # the table that was given is left alone


def test_all_odd_labels_stand_in_one_message(tmp_path: Path, table: Table) -> None:
    path = labels(tmp_path, "file,gender,age\na.jpg,mail,\nc.jpg,f,-4\nsub/b.jpg,x,old\nc.jpg,m,\n")
    with pytest.raises(UsageError) as error:
        told.read_labels(path, table)
    for part in ("gender mail (line 2)", "age -4 (line 3)", "gender x (line 4)", "age old (line 4)"):
        assert part in str(error.value)
    assert "expected female or male, and ages from 0 to 120 years" in str(error.value)
    assert "two things about one photo: gender of c.jpg (line 5)" in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has the columns nothing"),
        ("name,gender\na.jpg,f\n", "has the columns name, gender; expected a first line such as file,gender"),
        ("file,hair\na.jpg,red\n", "of which file and one other are needed"),
        ("file,gender\nx.jpg,f\ny.jpg,m\n", "names no photo of ORIGINALS: x.jpg .line 2., y.jpg"),
    ],
)
def test_unusable_label_files(tmp_path: Path, table: Table, text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        told.read_labels(labels(tmp_path, text), table)


def test_a_name_that_several_photos_go_by(tmp_path: Path, table: Table) -> None:
    rows = [*table.rows, Row("other/b.jpg", tmp_path / "other/b.jpg")]
    with pytest.raises(UsageError, match=r"names that several photos go by: b\.jpg \(line 2\)"):
        told.read_labels(labels(tmp_path, "file,gender\nb.jpg,f\n"), Table("demo", tmp_path, rows))


def test_an_absent_label_file(tmp_path: Path, table: Table) -> None:
    with pytest.raises(UsageError, match="cannot be used: cannot read"):
        told.read_labels(tmp_path / "absent.csv", table)


def test_pairs_that_name_absent_photos_are_listed(tmp_path: Path, table: Table) -> None:
    path = labels(tmp_path, "a,b,same\na.jpg,sub/a.jpg,1\na.jpg,zzz.jpg,0\na.jpg,c.jpg,no\n")
    pairs, notes = told.read_pair_list(path, table)
    assert [(p.a, p.b, p.same) for p in pairs] == [("a.jpg", "sub/a.jpg", True), ("a.jpg", "c.jpg", False)]
    assert notes == ["1 rows of labels.csv were left out: labels.csv line 3: there is no picture zzz.jpg; skipped."]
    with pytest.raises(UsageError, match=r"names no two photos that are here: .*zzz\.jpg.*ORIGINALS holds a\.jpg"):
        told.read_pair_list(labels(tmp_path, "a,b,same\na.jpg,zzz.jpg,1\n"), table)
    with pytest.raises(UsageError, match="expected a, b, same"):
        told.read_pair_list(labels(tmp_path, "x,y\na.jpg,c.jpg\n"), table)


def test_lfw_pairs_are_read_as_published(tmp_path: Path) -> None:
    root = folder(tmp_path / "lfw", "Ann_B/Ann_B_0001.jpg", "Ann_B/Ann_B_0002.jpg", "Cid_D/Cid_D_0001.jpg")
    path = tmp_path / "pairs.txt"
    path.write_text("1 1\nAnn_B 1 2\nAnn_B 1 Cid_D 1\n")
    table, _ = pairing.originals_of(root)
    pairs, notes = told.read_pair_list(path, table)
    assert [p.same for p in pairs] == [True, False]
    assert notes == []


def pairs(found: pairing.Sets, root: Path) -> dict[str, str]:
    return {key: path.relative_to(root).as_posix() for key, path in found.protected.items()}


@pytest.mark.parametrize("affix", [None, "_cloaked"])
def test_an_affix_of_another_tool(tmp_path: Path, affix: str | None) -> None:
    before = folder(tmp_path / "a", "1.jpg", "11.jpg", "sub/2.jpg", "3.jpg")
    after = folder(tmp_path / "b", "1_cloaked.png", "11_cloaked.png", "sub/2_cloaked.png", "new_cloaked.png", shade=50)
    found = pairing.pair_up(before, after, affix=affix)
    assert pairs(found, after) == {
        "1.jpg": "1_cloaked.png",
        "11.jpg": "11_cloaked.png",
        "sub/2.jpg": "sub/2_cloaked.png",
    }
    assert (found.missing, found.extra) == (["3.jpg"], ["new_cloaked.png"])
    how = "found, since the names have it in common" if affix is None else "given"
    assert found.notes == [f"Protected photos are those with '_cloaked' after their original's name ({how})."]


def test_an_affix_before_the_name_and_below_a_shared_folder(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "img/x.jpg", "img/y.jpg")
    after = folder(tmp_path / "b", "safe-x.jpg", "safe-y.jpg", shade=50)
    found = pairing.pair_up(before, after)
    assert pairs(found, after) == {"img/x.jpg": "safe-x.jpg", "img/y.jpg": "safe-y.jpg"}
    assert found.notes[0] == "Names were compared below img/ of the originals."
    assert "'safe-' before their" in found.notes[1]


def test_originals_and_protected_in_one_folder(tmp_path: Path) -> None:
    both = folder(tmp_path / "a", "x.jpg", "y.jpg", "z.png", "x_anonymized.jpg", "y_anonymized.jpg")
    found = pairing.pair_up(both, both)
    assert pairs(found, both) == {"x.jpg": "x_anonymized.jpg", "y.jpg": "y_anonymized.jpg"}
    assert [row.key for row in found.table] == ["x.jpg", "y.jpg", "z.png"]
    assert (found.missing, found.extra) == (["z.png"], [])
    with pytest.raises(UsageError, match=r"are both .*not one name is another with _x before or after it.*--affix"):
        pairing.pair_up(both, both, affix="_x")


def test_copies_of_the_originals_beside_the_protected(tmp_path: Path) -> None:
    before = folder(tmp_path / "a", "x.png", "y.png")
    after = folder(tmp_path / "b", "x_cloaked.png", "y_cloaked.png", shade=50)
    for name in ("x.png", "y.png"):
        (after / name).write_bytes((before / name).read_bytes())
    found = pairing.pair_up(before, after)
    assert pairs(found, after) == {"x.png": "x_cloaked.png", "y.png": "y_cloaked.png"}
    assert found.extra == ["x.png", "y.png"]
    assert found.same == []


@pytest.mark.parametrize("same_folder", [False, True])
def test_two_affixes_are_told_and_not_chosen_from(tmp_path: Path, same_folder: bool) -> None:
    names = ("x_low.png", "y_low.png", "x_high.png", "y_high.png")
    before = folder(tmp_path / "a", "x.jpg", "y.jpg", *(names if same_folder else ()))
    after = before if same_folder else folder(tmp_path / "b", *names, shade=50)
    with pytest.raises(UsageError, match=r"'_(low|high)' after the name \(2 photos\), .*say which is meant by --affix"):
        pairing.pair_up(before, after)
    found = pairing.pair_up(before, after, affix="_low")
    assert pairs(found, after) == {"x.jpg": "x_low.png", "y.jpg": "y_low.png"}


def test_numbers_are_no_affix(tmp_path: Path) -> None:
    before, after = folder(tmp_path / "a", "1.jpg", "2.jpg"), folder(tmp_path / "b", "12.jpg", "21.jpg", shade=50)
    with pytest.raises(UsageError, match="not one photo of ORIGINALS has a protected photo of the same name"):
        pairing.pair_up(before, after)
    with pytest.raises(UsageError, match="the affix is empty"):
        pairing.pair_up(before, after, affix="")
