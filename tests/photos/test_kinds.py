"""Pictures that are not read are told from files that are none, by their content first."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import pytest
from PIL import Image

from halfmask.errors import PhotoError
from halfmask.photos import kinds
from halfmask.photos.listing import list_photos
from halfmask.photos.reading import read

HEADS = {
    "jxl": (b"\xff\x0a" + bytes(30), "JPEG XL"),
    "jxl in a box": (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(20), "JPEG XL"),
    "jp2": (b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(20), "JPEG 2000"),
    "j2k": (b"\xff\x4f\xff\x51" + bytes(20), "JPEG 2000"),
    "jxr": (b"II\xbc\x01" + bytes(20), "JPEG XR"),
    "jls": (b"\xff\xd8\xff\xf7" + bytes(20), "JPEG-LS"),
    "psd": (b"8BPS\0\1" + bytes(20), "Photoshop"),
    "cr2": (b"II*\0\x10\0\0\0CR\2\0" + bytes(20), "CR2"),
    "cr3": (b"\0\0\0\x18ftypcrx " + bytes(20), "CR3"),
    "raf": (b"FUJIFILMCCD-RAW 0201" + bytes(20), "RAF"),
    "orf": (b"IIRO" + bytes(20), "ORF"),
    "rw2": (b"IIU\0" + bytes(20), "RW2"),
    "exr": (b"\x76\x2f\x31\x01" + bytes(20), "OpenEXR"),
    "ppm": (b"P6\n# made by\n2 2\n255\n" + bytes(12), "PPM"),
    "xcf": (b"gimp xcf file" + bytes(20), "GIMP"),
}


@pytest.mark.parametrize("kind", HEADS)
def test_pictures_that_are_not_read_are_known_by_their_content(kind: str, tmp_path: Path) -> None:
    head, word = HEADS[kind]
    path = tmp_path / "nameless"
    path.write_bytes(head)
    listing = list_photos(tmp_path)
    assert (listing.photos, listing.others) == ({}, 0)
    assert [(name, word in reason) for name, reason in listing.pictures] == [("nameless", True)]
    wrong = tmp_path / "a.jpg"
    wrong.write_bytes(head)
    with pytest.raises(PhotoError, match=rf"a\.jpg is an? .*{word}.*; expected JPEG.*Convert it"):
        read(wrong)


@pytest.mark.parametrize(
    "suffix", ["dng", "NEF", "arw", "cr2", "cr3", "raf", "orf", "rw2", "pef", "srw", "3fr", "iiq", "jxl", "jp2", "psd",
               "tga", "heics", "xcf"],
)  # fmt: skip
def test_a_suffix_is_enough(suffix: str, tmp_path: Path) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(b"what a camera wrote")
    listing = list_photos(tmp_path)
    assert [name for name, _ in listing.pictures] == [f"a.{suffix}"]
    assert listing.others == 0


def test_photos_that_are_hidden_or_nameless_are_named(tmp_path: Path) -> None:
    for format in ("JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF", "AVIF"):
        out = io.BytesIO()
        Image.new("RGB", (16, 16)).save(out, format)
        (tmp_path / f"{format}.dat").write_bytes(out.getvalue())
        (tmp_path / f".{format}.{format.lower()}").write_bytes(out.getvalue())
    (tmp_path / "heic").write_bytes(b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(8))
    listing = list_photos(tmp_path)
    assert (len(listing.pictures), listing.others, listing.photos) == (15, 0, {})
    assert {reason.split(";")[0] for _, reason in listing.pictures} >= {
        "is a JPEG picture, but its name is hidden by the dot", "is a HEIF picture, but its name does not end like one",
    }  # fmt: skip


def test_videos_are_listed_by_name_and_told_by_content(tmp_path: Path) -> None:
    film = b"\0\0\0\x18ftypmp42" + bytes(20)
    names = ("film.mp4", "film.TS", "noname", ".hidden.mp4", "sound.m4a", "words.ts", "old.vob")
    contents = (
        film,
        b"G" + bytes(187) + b"G" + bytes(20),
        film,
        film,
        b"\0\0\0\x18ftypM4A ",
        b"let a = 1",
        b"\0\0\1\xba",
    )
    for name, data in zip(names, contents, strict=True):
        (tmp_path / name).write_bytes(data)
    listing = list_photos(tmp_path)
    assert sorted(listing.videos) == ["film.TS", "film.mp4"]
    assert listing.others == 2
    reasons = dict(listing.pictures)
    assert "hidden by the dot" in reasons[".hidden.mp4"]
    assert "does not end like one" in reasons["noname"]
    assert "convert it to MP4" in reasons["old.vob"]
    assert set(reasons) == {".hidden.mp4", "noname", "old.vob"}


def test_what_is_no_picture_is_only_counted(tmp_path: Path) -> None:
    files = {
        "notes.txt": b"hello", "BMW": b"BMW and other cars, a list of them that is long", "empty.psd": b"",
        "._a.cr2": b"\0\5\x16\7" + bytes(30), "code.ts": b"const answer = 42",
        "a.zip": b"PK\3\4" + bytes(40),
        "p.txt": b"P6 is a street", ".DS_Store": b"\0\0\0\1Bud1", "song.raw.txt": b"x",
    }  # fmt: skip
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    listing = list_photos(tmp_path)
    assert listing.pictures == []
    assert listing.others == len(files)


def test_a_general_brand_is_decided_by_the_next() -> None:
    for brand, format in ((b"avif", "AVIF"), (b"heic", "HEIF"), (b"\0\0\0\0", "HEIF")):
        assert kinds.format_by_content(struct.pack(">I", 24) + b"ftypmif1\0\0\0\0miaf" + brand + bytes(8)) == format
