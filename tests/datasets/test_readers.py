"""Every reader, on a few made-up files in the layout that its data set has, and on the real data at hand."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest

from halfmask.datasets import READERS, Table, read, recognise
from halfmask.datasets.readers.arface import RAW_SHAPE, read_raw
from halfmask.errors import DataError, UsageError


def put(root: Path, *names: str) -> None:
    """Empty files: a reader opens no picture."""
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def write(root: Path, name: str, *lines: str) -> None:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(lines) + "\n", "utf-8")


def labels(table: Table) -> dict[str, tuple[object, ...]]:
    """Key → identity, gender, age or range, race, split."""
    return {r.key: (r.identity, r.gender, r.age_range or r.age, r.race, r.split) for r in table}


def put_celeba(root: Path, anno: str = "", evaluation: str = "") -> None:
    put(root, *(f"img_align_celeba/{n:06d}.jpg" for n in (7, 42, 1234)))
    head = "Arched_Eyebrows Male Young"
    write(
        root, f"{anno}list_attr_celeba.txt", "3", head, "000007.jpg -1  1 -1", "000042.jpg  1 -1  1", "001234.jpg 1 1 1"
    )
    write(root, f"{anno}identity_CelebA.txt", "000007.jpg 10", "000042.jpg 3", "001234.jpg 10")
    write(root, f"{evaluation}list_eval_partition.txt", "000007.jpg 0", "000042.jpg 1", "001234.jpg 2")


@pytest.mark.parametrize(("anno", "evaluation"), [("", ""), ("Anno/", "Eval/")])
def test_celeba(tmp_path: Path, anno: str, evaluation: str) -> None:
    put_celeba(tmp_path, anno, evaluation)
    table = read("celeba", tmp_path)
    assert labels(table) == {
        "img_align_celeba/000007.jpg": ("10", 1, None, None, "train"),
        "img_align_celeba/000042.jpg": ("3", 0, None, None, "valid"),
        "img_align_celeba/001234.jpg": ("10", 1, None, None, "test"),
    }
    assert table.problems == []
    assert table[0].path == tmp_path / "img_align_celeba" / "000007.jpg"


def test_celeba_as_kaggle_has_it(tmp_path: Path) -> None:
    put(tmp_path, "img_align_celeba/img_align_celeba/000002.jpg")
    write(tmp_path, "list_attr_celeba.csv", "image_id,Bald,Male", "000002.jpg,-1,-1")
    write(tmp_path, "list_eval_partition.csv", "image_id,partition", "000002.jpg,2")
    table = read("celeba", tmp_path)
    assert labels(table) == {"img_align_celeba/img_align_celeba/000002.jpg": (None, 0, None, None, "test")}
    assert table.problems == ["identity_CelebA.txt: not there, so what it says is unknown for every picture"]


def test_celeba_names_bad_rows(tmp_path: Path) -> None:
    put_celeba(tmp_path)
    write(
        tmp_path,
        "list_eval_partition.txt",
        "000007.jpg 0",
        "000042.jpg 7",
        "001234.jpg",
        "000099.jpg 1",
        "000007.jpg 2",
    )
    table = read("celeba", tmp_path)
    assert [r.split for r in table] == ["train", None, None]
    assert [p.partition(":")[0] for p in table.problems] == [
        "list_eval_partition.txt line 2",
        "list_eval_partition.txt line 3",
        "list_eval_partition.txt line 5",
        "list_eval_partition.txt",
        "000099.jpg",
    ]


def test_fairface(tmp_path: Path) -> None:
    put(tmp_path, "train/1.jpg", "train/2.jpg", "train/9.jpg", "val/1.jpg")
    head = "file,age,gender,race,service_test"
    write(
        tmp_path,
        "fairface_label_train.csv",
        head,
        "train/1.jpg,50-59,Male,East Asian,True",
        "train/2.jpg,more than 70,Female,Latino_Hispanic,False",
        "train/3.jpg,0-2,Female,White,False",
        "train/9.jpg,old,Neither,Black,True",
    )
    write(tmp_path, "fairface_label_val.csv", head, "val/1.jpg,3-9,Female,Middle Eastern,True")
    table = read("fairface", tmp_path)
    assert labels(table) == {
        "train/1.jpg": (None, 1, (50, 59), "East Asian", "train"),
        "train/2.jpg": (None, 0, (70, 120), "Latino_Hispanic", "train"),
        "train/9.jpg": (None, None, None, "Black", "train"),
        "val/1.jpg": (None, 0, (3, 9), "Middle Eastern", "valid"),
    }
    assert len(table.problems) == 3
    assert "line 4 (train/3.jpg): there is no such picture" in table.problems[0]
    assert "'Neither'" in table.problems[1]
    assert "'old'" in table.problems[2]


def test_fairface_in_the_folder_the_zip_unpacks_to(tmp_path: Path) -> None:
    put(tmp_path, "fairface-img-margin025-trainval/val/4.jpg", "fairface-img-margin025-trainval/val/5.jpg")
    write(tmp_path, "fairface_label_val.csv", "file,age,gender,race,service_test", "val/4.jpg,20-29,Male,White,True")
    table = read("fairface", tmp_path)
    assert labels(table) == {
        "fairface-img-margin025-trainval/val/4.jpg": (None, 1, (20, 29), "White", "valid"),
        "fairface-img-margin025-trainval/val/5.jpg": (None, None, None, None, "valid"),
    }
    assert any("no row for 1 pictures, the first is 5.jpg" in p for p in table.problems)


@pytest.mark.parametrize("folder", ["UTKFace/", "part1/", ""])
def test_utkface(tmp_path: Path, folder: str) -> None:
    good = {
        "1_0_0_20161219140623097.jpg.chip.jpg": (None, 1, 1.0, "White", None),
        "116_1_4_20170120134921760.jpg": (None, 0, 116.0, "Others", None),
        "24_0_1_20170116220224657 .jpg.chip.jpg": (None, 1, 24.0, "Black", None),
    }
    bad = ["39_1_20170116174525125.jpg.chip.jpg", "53__0_20170116184028385.jpg", "20_2_0_20170116184028385.jpg"]
    put(tmp_path, *(folder + name for name in [*good, *bad]))
    table = read("utkface", tmp_path)
    assert labels(table) == {folder + name: row for name, row in good.items()}
    assert sorted(p.partition(": ")[0] for p in table.problems) == sorted(folder + name for name in bad)


def test_lfw(tmp_path: Path) -> None:
    base = "lfw-deepfunneled"
    put(tmp_path, f"{base}/Ann_Lee/Ann_Lee_0001.jpg", f"{base}/Ann_Lee/Ann_Lee_0002.jpg", f"{base}/Bo/Bo_0001.jpg")
    put(tmp_path, f"{base}/Bo/Bo_2.jpg", f"{base}/Cy/Cy_0001.jpg")
    write(tmp_path, "female_names.txt", "Ann_Lee_0001.jpg", "Cy_0001.jpg", "Gone_0001.jpg", "nonsense")
    write(tmp_path, "male_names.txt", "Bo_0001.jpg", "Cy_0001.jpg")
    table = read("lfw", tmp_path)
    assert labels(table) == {
        f"{base}/Ann_Lee/Ann_Lee_0001.jpg": ("Ann_Lee", 0, None, None, None),
        f"{base}/Ann_Lee/Ann_Lee_0002.jpg": ("Ann_Lee", None, None, None, None),
        f"{base}/Bo/Bo_0001.jpg": ("Bo", 1, None, None, None),
        f"{base}/Cy/Cy_0001.jpg": ("Cy", None, None, None, None),
    }
    assert [p.partition(":")[0] for p in table.problems] == [
        f"{base}/Bo/Bo_2.jpg",
        "female_names.txt line 3 (Gone_0001.jpg)",
        "female_names.txt line 4 (nonsense)",
        "Cy_0001.jpg",
    ]


def test_lfw_people_in_the_root(tmp_path: Path) -> None:
    put(tmp_path, "Ann_Lee/Ann_Lee_0011.jpg")
    assert labels(read("lfw", tmp_path)) == {"Ann_Lee/Ann_Lee_0011.jpg": ("Ann_Lee", None, None, None, None)}


@pytest.mark.parametrize("folder", ["jpg", "muct-b-jpg-v1/jpg"])
def test_muct(tmp_path: Path, folder: str) -> None:
    put(tmp_path, *(f"{folder}/{name}" for name in ("i000qa-fn.jpg", "i412ze-mg.jpg", "i12qa-fn.jpg", "i001pa-fn.jpg")))
    table = read("muct", tmp_path)
    assert labels(table) == {
        f"{folder}/i000qa-fn.jpg": ("000", 0, None, None, None),
        f"{folder}/i412ze-mg.jpg": ("412", 1, None, None, None),
    }
    assert len(table.problems) == 2


def test_arface(tmp_path: Path) -> None:
    put(tmp_path, "dbf1/m-001-1.raw", "dbf1/w-001-14.raw", "cropped/M-050-26.bmp", "cropped/F-07-03.bmp", "notes/x.bmp")
    table = read("arface", tmp_path)
    assert labels(table) == {
        "cropped/F-07-03.bmp": ("w-007", 0, None, None, None),
        "cropped/M-050-26.bmp": ("m-050", 1, None, None, None),
        "dbf1/m-001-1.raw": ("m-001", 1, None, None, None),
        "dbf1/w-001-14.raw": ("w-001", 0, None, None, None),
    }
    assert [p.partition(":")[0] for p in table.problems] == ["notes/x.bmp"]
    assert [row.condition for row in table] == ["anger", "scarf, right light", "neutral", "neutral"]
    put(tmp_path / "more", "m-001-8.bmp", "m-001-24.bmp", "m-001-27.bmp")
    assert [row.condition for row in read("arface", tmp_path / "more")] == ["scarf", None, "sunglasses"]


def test_arface_raw_pixels_are_three_planes(tmp_path: Path, rng: np.random.Generator) -> None:
    planes = rng.integers(0, 256, RAW_SHAPE, np.uint8)
    (tmp_path / "m-001-1.raw").write_bytes(planes.tobytes())
    pixels = read_raw(tmp_path / "m-001-1.raw")
    assert pixels.shape == (576, 768, 3)
    assert pixels[5, 700].tolist() == planes[:, 5, 700].tolist()
    (tmp_path / "m-001-2.raw").write_bytes(planes.tobytes()[:-1])
    with pytest.raises(DataError, match="1327103 bytes, expected 1327104"):
        read_raw(tmp_path / "m-001-2.raw")


MORPH_HEAD = "id_num,picture_num,dob,doa,race,gender,facial_hair,age,age_diff,glasses,photo"


def test_morph2(tmp_path: Path) -> None:
    put(tmp_path, "Album2/009055_1M54.JPG", "Album2/012345_02F31.jpg", "Album2/300001_0F16.JPG", "Album2/holiday.jpg")
    write(
        tmp_path,
        "morph_2008_nonCommercial.csv",
        MORPH_HEAD,
        "9055,1,09/17/1951,10/02/2005,W,M,,54,0,,Album2/009055_1M54.JPG",
        "012345,2,01/01/1970,02/02/2001,H,F,NULL,31,1,,Album2/012345_02F31.JPG",
        "300001,0,01/01/1970,02/02/2001,X,F,NULL,16,1,,Album2/300001_0F16.JPG",
        "999999,0,01/01/1970,02/02/2001,B,F,NULL,16,1,,Album2/999999_0F16.JPG",
    )
    table = read("morph2", tmp_path)
    assert labels(table) == {
        "Album2/009055_1M54.JPG": ("009055", 1, 54.0, "White", None),
        "Album2/012345_02F31.jpg": ("012345", 0, 31.0, "Hispanic", None),
        "Album2/300001_0F16.JPG": ("300001", 0, 16.0, None, None),
    }
    assert [p.partition(":")[0].partition(" (")[0] for p in table.problems] == [
        "morph_2008_nonCommercial.csv line 4",
        "morph_2008_nonCommercial.csv line 5",
        "Album2/holiday.jpg",
    ]


def test_morph2_without_its_csv(tmp_path: Path) -> None:
    put(tmp_path, "Album2/009055_1M54.JPG")
    table = read("morph2", tmp_path)
    assert labels(table) == {"Album2/009055_1M54.JPG": ("009055", 1, 54.0, None, None)}
    assert "race is unknown" in table.problems[0]


@pytest.mark.parametrize("folder", ["AFAD-Full/", "AFAD-Lite/", ""])
def test_afad(tmp_path: Path, folder: str) -> None:
    put(
        tmp_path,
        *(folder + name for name in ("15/111/292943-1.jpg", "72/112/671487-0.jpg", "20/113/1-0.jpg", "x/111/1.jpg")),
    )
    put(tmp_path, f"{folder}15/111/Thumbs.db")
    table = read("afad", tmp_path)
    assert labels(table) == {
        f"{folder}15/111/292943-1.jpg": (None, 1, 15.0, None, None),
        f"{folder}72/112/671487-0.jpg": (None, 0, 72.0, None, None),
    }
    assert sorted(p.partition(":")[0] for p in table.problems) == [f"{folder}20/113", f"{folder}x"]


@pytest.mark.parametrize("folder", ["CACD2000/", ""])
def test_cacd(tmp_path: Path, folder: str) -> None:
    names = (
        "53_Robin_Williams_0001.jpg",
        "14_Zoë_Kravitz_0012.jpg",
        "Robin_Williams_0002.jpg",
        "53_Robin_Williams.jpg",
    )
    put(tmp_path, *(folder + name for name in names))
    table = read("cacd", tmp_path)
    assert labels(table) == {
        f"{folder}14_Zoë_Kravitz_0012.jpg": ("Zoë_Kravitz", None, 14.0, None, None),
        f"{folder}53_Robin_Williams_0001.jpg": ("Robin_Williams", None, 53.0, None, None),
    }
    assert len(table.problems) == 2


@pytest.mark.parametrize("base", ["", "All-Age-Faces Dataset/"])
def test_allagefaces(tmp_path: Path, base: str) -> None:
    names = ("00000A02.jpg", "07380A80.jpg", "07381A02.jpg", "13321A80.jpg", "cover.jpg")
    put(tmp_path, *(f"{base}original images/{name}" for name in names), f"{base}aglined faces/00000A02.jpg")
    write(tmp_path, f"{base}image sets/train.txt", "00000A02.jpg 0", "07381A02 1", "00555A10.jpg 0")
    write(tmp_path, f"{base}image sets/val.txt", "13321A80.jpg 1", "07380A80.jpg female", "00000A02.jpg 0")
    table = read("allagefaces", tmp_path)
    assert labels(table) == {
        f"{base}original images/00000A02.jpg": ("00000", 0, 2.0, None, "train"),
        f"{base}original images/07380A80.jpg": ("07380", 0, 80.0, None, None),
        f"{base}original images/07381A02.jpg": ("07381", 1, 2.0, None, "train"),
        f"{base}original images/13321A80.jpg": ("13321", 1, 80.0, None, "valid"),
    }
    assert len(table.problems) == 4


def test_allagefaces_aligned_only(tmp_path: Path) -> None:
    put(tmp_path, "aglined faces/08000A44.jpg")
    assert labels(read("allagefaces", tmp_path)) == {"aglined faces/08000A44.jpg": ("08000", 1, 44.0, None, None)}


def test_folder_without_labels(tmp_path: Path) -> None:
    put(tmp_path, "b.png", "deep/er/a.JPG", "notes.txt", ".hidden/c.jpg", "._b.png")
    table = read("folder", tmp_path)
    assert labels(table) == {"b.png": (None,) * 5, "deep/er/a.JPG": (None,) * 5}
    assert table.problems == []


def test_folder_with_labels(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg", "x/b.jpg", "x/c.jpg", "y/c.jpg", "d.jpg", "e.jpg", "f.jpg")
    write(
        tmp_path,
        "labels.csv",
        "Filename;Sex;Age;Ethnicity;Subject;Partition",
        "a.jpg;Female;31.5;Klingon;s1;training",
        "b.jpg;M;50-59;;s2;val",
        "x\\c.jpg;1;;;s2;test",
        "c.jpg;0;20;;s9;test",
        "gone.jpg;0;20;;s9;test",
        "d.jpg;robot;-4;n/a;;tomorrow",
        "a.jpg;m;20;;s1;test",
        "e.jpg;0;70+",
    )
    table = read("folder", tmp_path)
    assert labels(table) == {
        "a.jpg": ("s1", 0, 31.5, "Klingon", "train"),
        "x/b.jpg": ("s2", 1, (50, 59), None, "valid"),
        "x/c.jpg": ("s2", 1, None, None, "test"),
        "d.jpg": (None, None, None, None, None),
        "e.jpg": (None, 0, (70, 120), None, None),
    }
    told = "\n".join(table.problems)
    assert "labels.csv line 5 (c.jpg): 2 pictures have this name" in told
    assert "labels.csv line 6 (gone.jpg): there is no such picture" in told
    assert "line 7 (d.jpg): age '-4'" in told
    assert "line 7 (d.jpg): gender 'robot'" in told
    assert "line 7 (d.jpg): split 'tomorrow'" in told
    assert "line 8 (a.jpg): names a picture a second time" in told
    assert "names 5 of 7 pictures; 2 left out, the first is f.jpg" in told
    assert len(table.problems) == 7


def test_folder_with_another_csv(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write(tmp_path, "scores.csv", "time,value", "1,2")
    table = read("folder", tmp_path)
    assert len(table) == 1
    (problem,) = table.problems
    assert problem.startswith("scores.csv: not used as labels: the labels file ")
    assert "has the columns time, value; expected a first line such as file,gender" in problem
    assert "Known are for file: path, file, filename" in problem


def test_folder_whose_labels_name_nothing_there(tmp_path: Path) -> None:
    put(tmp_path, "a.jpg")
    write(tmp_path, "labels.csv", "file,gender", "b.jpg,f")
    with pytest.raises(DataError, match=r"names none of the 1 pictures .*b\.jpg"):
        read("folder", tmp_path)


@pytest.mark.parametrize("layout", READERS)
def test_nothing_there_says_what_was_expected(layout: str, tmp_path: Path) -> None:
    write(tmp_path, "readme.txt", "no pictures here")
    with pytest.raises(DataError, match=f"cannot read {layout}: .* holds nothing of its layout. Expected"):
        read(layout, tmp_path)
    with pytest.raises(DataError, match=f"cannot read {layout}: .* is not a folder"):
        read(layout, tmp_path / "absent")


def test_unknown_layout(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"'imagenet'.*celeba"):
        read("imagenet", tmp_path)


@pytest.mark.skipif(sys.platform in ("darwin", "win32"), reason="this file system takes only UTF-8 names")
def test_names_that_are_not_utf8(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path)
    for name in (b"Ren\xe9.jpg", b"Zo\xeb.jpg"):
        Path(os.fsdecode(folder + b"/" + name)).touch()
    (tmp_path / "labels.csv").write_bytes(b"file,gender\nRen\xe9.jpg,m\nOl\xe9.jpg,f\n")
    table = read("folder", tmp_path)
    assert [(row.gender, row.path.exists()) for row in table] == [(1, True)]
    assert len(table.problems) == 2
    for text in table.problems:
        text.encode("utf-8")  # can be printed


LAYOUT_FILES = {
    "fairface": ["train/1.jpg"],
    "utkface": ["UTKFace/1_0_0_20161219140623097.jpg.chip.jpg"],
    "lfw": ["lfw_funneled/Bo/Bo_0001.jpg"],
    "muct": ["jpg/i000qa-fn.jpg"],
    "arface": ["dbf1/m-001-1.raw"],
    "morph2": ["Album2/009055_1M54.JPG"],
    "afad": ["AFAD-Lite/15/111/292943-1.jpg"],
    "cacd": ["CACD2000/53_Robin_Williams_0001.jpg"],
    "allagefaces": ["original images/00000A02.jpg"],
    "folder": ["one.jpg", "two/three.png"],
}


@pytest.mark.parametrize("layout", READERS)
def test_recognise(layout: str, tmp_path: Path) -> None:
    if layout == "celeba":
        put_celeba(tmp_path)
    else:
        put(tmp_path, *LAYOUT_FILES[layout])
    if layout == "fairface":
        write(tmp_path, "fairface_label_train.csv", "file,age,gender,race", "train/1.jpg,0-2,Male,White")
    assert recognise(tmp_path) == layout


@pytest.mark.parametrize("layout", [name for name in READERS if name != "folder"])
@pytest.mark.parametrize("around", ["archive", "dataset/inner"])
def test_a_folder_around_a_layout(layout: str, around: str, tmp_path: Path) -> None:
    """As Kaggle's copies and unpacked archives have it."""
    inner = tmp_path / around
    inner.mkdir(parents=True)
    if layout == "celeba":
        put_celeba(inner)
    else:
        put(inner, *LAYOUT_FILES[layout])
    if layout == "fairface":
        write(inner, "train_labels.csv", "file,age,gender,race", "train/1.jpg,0-2,Male,White")
    assert recognise(tmp_path) == layout
    found, plain = read(layout, tmp_path), read(layout, inner)
    assert [row.key for row in found] == [f"{around}/{row.key}" for row in plain]
    assert [(tmp_path / row.key, row.gender) for row in found] == [(row.path, row.gender) for row in plain]
    assert found.root == tmp_path


def test_fairface_as_kaggle_names_its_lists(tmp_path: Path) -> None:
    put(tmp_path, "FairFace/train/1.jpg", "FairFace/val/1.jpg")
    for part, gender in (("train", "Male"), ("val", "Female")):
        write(tmp_path, f"FairFace/{part}_labels.csv", "file,age,gender,race", f"{part}/1.jpg,0-2,{gender},White")
    table = read("fairface", tmp_path)
    assert [(row.key, row.gender, row.split) for row in table] == [
        ("FairFace/train/1.jpg", 1, "train"),
        ("FairFace/val/1.jpg", 0, "valid"),
    ]
    assert table.problems == []


def test_one_stray_name_does_not_make_a_layout(tmp_path: Path) -> None:
    put(tmp_path, "31_1_2_20170112232321.jpg", "beach.jpg", "dog.jpg")
    assert recognise(tmp_path) == "folder"


def test_recognise_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds nothing"):
        recognise(tmp_path)


# The real data at hand; the counts are those of the note that comes with it.


def test_real_celeba(shared_data: Path) -> None:
    table = read("celeba", shared_data / "celeba")
    assert (len(table), len({r.identity for r in table})) == (6500, 1300)
    people = {split: len({r.identity for r in table.split(split)}) for split in ("train", "valid", "test")}
    assert people == {"train": 900, "valid": 80, "test": 320}
    assert set(table.counts("identity").values()) == {5}
    assert None not in table.counts("gender")
    assert table.problems == []


def test_real_fairface(shared_data: Path) -> None:
    table = read("fairface", shared_data / "fairface")
    assert table.counts("split") == {"train": 10290, "valid": 1288}
    assert set(table.counts("race").values()) == {1654}
    assert len(table.counts("race")) == 7
    assert table.counts("gender") == {0: 5789, 1: 5789}
    assert len(table.counts("age_range")) == 9
    assert table.problems == []


def test_real_lfw(shared_data: Path) -> None:
    table = read("lfw", shared_data / "lfw")
    assert len(table) == 3811
    assert table.counts("gender") == {0: 973, 1: 2835, None: 3}
    assert table.problems == []


def test_real_lfw30(shared_data: Path) -> None:
    table = read("lfw", shared_data / "lfw30")
    assert set(table.counts("identity").values()) == {30}
    assert len(table) == 34 * 30


def test_real_utkface(shared_data: Path) -> None:
    table = read("utkface", shared_data / "utkface")
    assert len(table) == 4500
    assert max(r.age or 0 for r in table) <= 116
    assert table.problems == []


def test_real_layouts_are_recognised(shared_data: Path) -> None:
    found = {name: recognise(shared_data / name) for name in ("celeba", "fairface", "lfw", "lfw30", "utkface")}
    assert found == {"celeba": "celeba", "fairface": "fairface", "lfw": "lfw", "lfw30": "lfw", "utkface": "utkface"}
