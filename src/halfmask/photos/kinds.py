"""What kind of picture or video a file is, by its first bytes, and by its name only where they do not say."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

#: Bytes from the start of a file that are enough to tell its kind.
HEAD = 256

#: Suffix of a video that halfmask reads → the container that it stands for, as FFmpeg names it.
VIDEOS: Mapping[str, str] = {
    ".mp4": "mp4", ".m4v": "mp4", ".mov": "mov", ".qt": "mov", ".3gp": "3gp", ".3g2": "3g2", ".mkv": "matroska",
    ".webm": "webm", ".avi": "avi", ".ts": "mpegts", ".mts": "mpegts", ".m2ts": "mpegts", ".flv": "flv",
    ".wmv": "asf",
}  # fmt: skip
#: Why a video is left out where only photos are read.
VIDEO_ELSEWHERE = "is a video; videos are read in folders of this machine, without --on ray"
_OF_MANY_THINGS = frozenset({".ts", ".mts"})  # TypeScript is one
_SOUND = frozenset((".m4a", ".m4b", ".m4r", ".mka", ".mks", ".wma", ".aac", ".mp3", ".aax"))  # in containers of video
_NO_FILM = (b"M4A ", b"M4B ", b"M4P ")

_FTYP = {
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs"), "HEIF"),
    **dict.fromkeys((b"avif", b"avis"), "AVIF"),
}
_STARTS = {
    "JPEG": (b"\xff\xd8\xff",), "PNG": (b"\x89PNG\r\n\x1a\n",), "BMP": (b"BM",), "GIF": (b"GIF87a", b"GIF89a"),
    "TIFF": (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+"),
}  # fmt: skip

#: Kinds that halfmask knows of and does not read: how they begin, and what they are called.
_OTHER_STARTS = (
    (re.compile(rb"II\*\0.{4}CR", re.DOTALL), "a camera raw picture (CR2)"),
    (re.compile(rb"....ftypcrx ", re.DOTALL), "a camera raw picture (CR3)"),
    (re.compile(rb"FUJIFILMCCD-RAW"), "a camera raw picture (RAF)"),
    (re.compile(rb"IIR[OS]|MMOR"), "a camera raw picture (ORF)"),
    (re.compile(rb"IIU\0"), "a camera raw picture (RW2)"),
    (re.compile(rb"FOVb"), "a camera raw picture (X3F)"),
    (re.compile(rb"\0MRM"), "a camera raw picture (MRW)"),
    (re.compile(rb"\xff\x0a|\0\0\0\x0cJXL \r\n\x87\n"), "a JPEG XL picture"),
    (re.compile(rb"\0\0\0\x0cjP  \r\n\x87\n|\xff\x4f\xff\x51"), "a JPEG 2000 picture"),
    (re.compile(rb"II\xbc\x01"), "a JPEG XR picture"),
    (re.compile(rb"\xff\xd8\xff\xf7"), "a JPEG-LS picture"),
    (re.compile(rb"8BPS\0[\1\2]"), "a Photoshop picture"),
    (re.compile(rb"gimp xcf"), "a GIMP picture"),
    (re.compile(rb"\x76\x2f\x31\x01"), "an OpenEXR picture"),
    (re.compile(rb"#\?(RADIANCE|RGBE)\n"), "a Radiance HDR picture"),
    (re.compile(rb"P[1-6]\s+(#|\d)|P7\s+WIDTH|P[Ff]\s+\d"), "a PBM, PGM, PPM or PFM picture"),
    (re.compile(rb"qoif"), "a QOI picture"),
    (re.compile(rb"BPG\xfb"), "a BPG picture"),
    (re.compile(rb"FLIF"), "a FLIF picture"),
    (re.compile(rb"SIMPLE  ="), "a FITS picture"),
    (re.compile(rb"\x59\xa6\x6a\x95"), "a Sun raster picture"),
)
_OTHER_SUFFIXES = {
    "a camera raw picture": (
        "3fr ari arw bay braw cap cr2 cr3 crw cs1 dcr dng drf eip erf fff gpr iiq k25 kdc mdc mef mos mrw nef nrw "
        "obm orf ori pef ptx pxn r3d raf raw rw2 rwl rwz sr2 srf srw x3f"
    ),
    "a JPEG XL picture": "jxl",
    "a JPEG 2000 picture": "jp2 j2k j2c jpc jpf jpx jpm jph jhc htj2k",
    "a JPEG XR picture": "jxr wdp hdp",
    "a JPEG-LS picture": "jls",
    "a Photoshop picture": "psd psb psdt",
    "a picture of a paint program": "xcf kra ora afphoto procreate pdn pspimage",
    "an OpenEXR picture": "exr",
    "a PBM, PGM, PPM or PFM picture": "pbm pgm ppm pnm pam pfm",
    "a TGA picture": "tga",
    "a PCX picture": "pcx",
    "a DICOM picture": "dcm dicom",
    "a JPS or PNS stereo picture": "jps pns",
    "a picture sequence": "avifs heics heifs mng jng",
    "a video": "mpg mpeg vob ogv rm rmvb asf divx f4v mxf dv insv lrv mjpg mjpeg y4m",
    "a picture of a rarer kind": "qoi bpg flif fits sgi pict pct ras dds webp2 wp2 jif jfi",
}
_BY_SUFFIX = {"." + suffix: kind for kind, names in _OTHER_SUFFIXES.items() for suffix in names.split()}


def format_by_content(head: bytes) -> str | None:
    r"""The name in :data:`~halfmask.photos.encode.FORMATS` of a file that begins so; None for any other kind.

    HEIF and AVIF share a container. Its first brand decides, and where that is the general one, the next.

    >>> format_by_content(b"\xff\xd8\xff\xe0"), format_by_content(b"\0\0\0\x1cftypavif"), format_by_content(b"8BPS\0\1")
    ('JPEG', 'AVIF', None)
    """
    if head.startswith(b"RIFF") and head[8:12] == b"WEBP":
        return "WEBP"
    if head[4:8] == b"ftyp":
        brands = [head[8:12], *(head[i : i + 4] for i in range(16, min(len(head), int.from_bytes(head[:4], "big")), 4))]
        known = next((_FTYP[brand] for brand in brands if brand in _FTYP), None)
        return known or ("HEIF" if brands[0] in (b"mif1", b"msf1", b"mif2", b"miaf") else None)
    if _other(head):
        return None
    return next((format for format, magic in _STARTS.items() if head.startswith(magic)), None)


def unread(head: bytes, name: str) -> str | None:
    r"""What kind of picture a file is that halfmask does not read, in words; None when it is none that is known.

    >>> unread(b"\0\0\0\x0cJXL \r\n\x87\n", "a.jpg"), unread(b"II*\0", "a.NEF"), unread(b"PK\3\4", "a.zip")
    ('a JPEG XL picture', 'a camera raw picture', None)
    """
    return _other(head) or (_BY_SUFFIX.get(Path(name).suffix.lower()) if head else None)


def _other(head: bytes) -> str | None:
    return next((kind for start, kind in _OTHER_STARTS if start.match(head)), None)


def is_video(path: Path) -> bool:
    """Whether a file is a video that halfmask reads: by the suffix, and for ``.ts``, which is many things, by content.

    >>> is_video(Path("holiday/CLIP.MOV")), is_video(Path("a.jpg"))
    (True, False)
    """
    suffix = path.suffix.lower()
    return suffix in VIDEOS and (suffix not in _OF_MANY_THINGS or _film(_head(path)))


def _film(head: bytes) -> bool:
    """Whether a file that begins so is a container of video, or of sound alone where that cannot be told."""
    if head[4:8] == b"ftyp":
        return format_by_content(head) is None and not _other(head) and head[8:12] not in _NO_FILM
    return (
        head[4:8] in (b"moov", b"mdat", b"wide")
        or head.startswith((b"\x1aE\xdf\xa3", b"FLV\1", b"0&\xb2u\x8ef\xcf\x11", b"\0\0\1\xba", b"\0\0\1\xb3"))
        or (head.startswith(b"RIFF") and head[8:12] == b"AVI ")
        or (head[:1] == b"G" and head[188:189] == b"G")
        or (head[4:5] == b"G" and head[196:197] == b"G")
    )


def _head(path: Path) -> bytes:
    """The first bytes; none of a file that cannot be opened."""
    try:
        with open(path, "rb") as stream:
            return stream.read(HEAD)
    except OSError:
        return b""


def left_out(path: Path, name: str) -> str | None:
    """Why a file that is taken for no photo and no video is one all the same, in words; None when it is neither.

    ``name`` is the file's own. A file that cannot be opened goes by its name.
    """
    try:
        with open(path, "rb") as stream:
            head = stream.read(HEAD)
    except OSError:
        head = b"?"
    return left_out_by(head, name)


def left_out_by(head: bytes, name: str) -> str | None:
    """As :func:`left_out`, of a file that begins with these bytes, at least :data:`HEAD` of them if it has so many."""
    if head.startswith(b"\0\5\x16\7"):  # AppleDouble, which macOS puts beside a file on strange disks
        return None
    if kind := unread(head, name):
        into = "MP4" if kind == "a video" else "JPEG, PNG or TIFF"
        return f"is {kind}{' of a kind' * (into == 'MP4')}, which halfmask does not read; convert it to {into}"
    suffix = Path(name).suffix.lower()
    if suffix in VIDEOS and not name.startswith(".") and (_film(head) or suffix not in _OF_MANY_THINGS):
        return VIDEO_ELSEWHERE
    if _film(head) and suffix not in _SOUND:
        why = "is hidden by the dot; rename it" if name.startswith(".") else "does not end like one; give it the suffix"
        return f"is a video, but its name {why}"
    format = format_by_content(head)
    if format is None or (format == "BMP" and not _bitmap(head)):
        return None
    if name.startswith("."):
        return f"is a {format} picture, but its name is hidden by the dot; rename it"
    return f"is a {format} picture, but its name does not end like one; give it the suffix, or name it by itself"


def _bitmap(head: bytes) -> bool:
    """Whether a file that begins with BM is a bitmap: two letters alone are found in texts."""
    return int.from_bytes(head[14:18], "little") in (12, 16, 40, 52, 56, 64, 108, 124)
