"""What a picture file says beside its pixels: which way is up, and what may be kept when the user asks for it.

Metadata is private by default: it holds places, names, serial numbers, and previews that show the face unprotected.
Even when it is kept, only what is on a list is: nothing that could hide a preview (the thumbnail directory, maker
notes, XMP thumbnails), and nothing that points to a part of the file that is not written.
"""

from __future__ import annotations

import re
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import escape

import numpy as np
from numpy.typing import NDArray
from PIL import Image

ORIENTATION = 0x0112
_EXIF, _GPS = 0x8769, 0x8825
_WIDTH, _HEIGHT = 0xA002, 0xA003

#: What is kept of the first directory: description, make, model, resolution, software, date, artist, copyright, XP*.
#: Lists of the kept rather than the dropped, since TIFF keeps offsets and private blocks in the same directory.
_KEPT = (0x010E, 0x010F, 0x0110, 0x011A, 0x011B, 0x0128, 0x0131, 0x0132, 0x013B, 0x8298, *range(0x9C9B, 0x9CA0))

#: And of the EXIF directory, by CIPA DC-008: exposure, dates, lens, owner, the user's comment; no maker note, no
#: interoperability, no block of settings. GPS's tags are the numbers up to 31.
_KEPT_EXIF = frozenset(
    (0x829A, 0x829D, 0x8822, 0x8824, 0x8827, *range(0x8830, 0x8836), 0x9000, 0x9003, 0x9004, *range(0x9010, 0x9013),
     0x9101, *range(0x9201, 0x920B), 0x9214, 0x9286, *range(0x9290, 0x9293), *range(0x9400, 0x9406), 0xA000, 0xA001,
     _WIDTH, _HEIGHT, 0xA20B, *range(0xA20E, 0xA211), 0xA214, 0xA215, 0xA217, 0xA300, 0xA301, *range(0xA401, 0xA40B),
     0xA40C, 0xA420, *range(0xA430, 0xA436), 0xA500)
)  # fmt: skip
_KEPT_GPS = frozenset(range(32))

#: A value that is longer could be a picture.
_LONGEST = 4096

_RDF, _XML, _META = (
    "http://www.w3.org/1999/02/22-rdf-syntax-ns#", "http://www.w3.org/XML/1998/namespace", "adobe:ns:meta/",
)  # fmt: skip
_IPTC = "http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/"

#: What is kept of XMP: prefix → namespace and the names in it, "*" for all. None of it points to another part of the
#: file or to another file: no gain map, no motion video, no extended packet, no history, no settings of a developer.
_KEPT_XMP: dict[str, tuple[str, str]] = {
    "dc": ("http://purl.org/dc/elements/1.1/", "*"),
    "xmp": ("http://ns.adobe.com/xap/1.0/", "CreateDate ModifyDate MetadataDate CreatorTool Label Rating Nickname"),
    "xmpRights": ("http://ns.adobe.com/xap/1.0/rights/", "*"),
    "photoshop": (
        "http://ns.adobe.com/photoshop/1.0/",
        "AuthorsPosition CaptionWriter Category City Country Credit DateCreated Headline Instructions Source State "
        "SupplementalCategories TransmissionReference Urgency",
    ),
    "Iptc4xmpCore": (_IPTC, "CountryCode IntellectualGenre Location Scene SubjectCode"),
    "tiff": (
        "http://ns.adobe.com/tiff/1.0/",
        "Make Model Software Artist Copyright DateTime ImageDescription XResolution YResolution ResolutionUnit",
    ),
    "exif": (
        "http://ns.adobe.com/exif/1.0/",
        "ExposureTime FNumber ExposureProgram SpectralSensitivity ISOSpeedRatings DateTimeOriginal DateTimeDigitized "
        "ShutterSpeedValue ApertureValue BrightnessValue ExposureBiasValue MaxApertureValue SubjectDistance "
        "MeteringMode LightSource FocalLength UserComment WhiteBalance DigitalZoomRatio FocalLengthIn35mmFilm "
        "SceneCaptureType GainControl Contrast Saturation Sharpness SubjectDistanceRange ExposureMode SensingMethod "
        "GPSVersionID GPSLatitude GPSLongitude GPSAltitude GPSAltitudeRef GPSTimeStamp GPSImgDirection "
        "GPSImgDirectionRef GPSSpeed GPSSpeedRef GPSMapDatum GPSDestBearing GPSDestBearingRef",
    ),
    "aux": (
        "http://ns.adobe.com/exif/1.0/aux/",
        "Lens LensInfo LensID LensSerialNumber SerialNumber OwnerName Firmware ImageNumber FlashCompensation",
    ),
    "exifEX": (
        "http://cipa.jp/exif/1.0/",
        "LensModel LensMake LensSpecification LensSerialNumber BodySerialNumber CameraOwnerName "
        "PhotographicSensitivity",
    ),
    "lr": ("http://ns.adobe.com/lightroom/1.0/", "hierarchicalSubject"),
}
_XMP_LIMIT = 1 << 20

_XMP_ORIENTATION = ("http://ns.adobe.com/tiff/1.0/", "Orientation")


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 to 8; 1 when there is none or it makes no sense. Never raises."""
    try:
        value = image.getexif().get(ORIENTATION, 1)
    except Exception:  # a damaged EXIF block raises almost anything, and is no reason to refuse the pixels
        return 1
    return int(value) if isinstance(value, int) and 1 <= value <= 8 else 1


def upright(samples: NDArray[Any], value: int) -> NDArray[Any]:
    """Turn samples (H, W[, C]) stored with this EXIF orientation so that up is up. Copies only for 2 to 8.

    >>> upright(np.array([[1, 2], [3, 4]]), 6).tolist()  # stored lying on its left side
    [[3, 1], [4, 2]]
    """
    if value >= 5:
        samples = samples.swapaxes(0, 1)
    if value in (2, 3, 6, 7):
        samples = samples[:, ::-1]
    if value in (3, 4, 7, 8):
        samples = samples[::-1]
    return np.ascontiguousarray(samples)


def kept_exif(image: Image.Image, size: tuple[int, int]) -> bytes | None:
    """The EXIF block to write when metadata is kept: upright, of the new ``size`` (width, height), without a preview.

    None when there is none, or when it is too damaged to be written again.
    """
    try:
        source = image.getexif()
        exif = Image.Exif()
        for tag in _KEPT:
            if tag in source:
                exif[tag] = source[tag]
        for tag in (_EXIF, _GPS):
            kept = _KEPT_EXIF if tag == _EXIF else _KEPT_GPS
            directory = {
                number: value
                for number, value in source.get_ifd(tag).items()
                if number in kept and not (isinstance(value, bytes | str) and len(value) > _LONGEST)
            }
            for name, number in zip((_WIDTH, _HEIGHT), size, strict=True):
                if tag == _EXIF and name in directory:
                    directory[name] = number
            if directory:
                exif.get_ifd(tag).update(directory)
                exif[tag] = exif.get_ifd(tag)
        if not len(exif):
            return None
        exif[ORIENTATION] = 1
        return exif.tobytes()
    except Exception:  # as above: metadata that cannot be read is metadata that is not there
        return None


def kept_xmp(image: Image.Image) -> bytes | None:
    """The XMP packet to write when metadata is kept, upright, made anew of what is on the list; None when it is empty.

    So whatever points to a part that is not written, or could hold a preview, is gone with the rest.
    """
    packet = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp")
    if packet is None:
        packet = getattr(image, "tag_v2", {}).get(700)
    if isinstance(packet, str):
        packet = packet.encode()
    return _rewritten(packet) if isinstance(packet, bytes) and len(packet) <= _XMP_LIMIT else None


def _rewritten(packet: bytes) -> bytes | None:
    text = re.sub(rb"\A<\?xml\s[^>]*>", b"", packet.strip(b"\0 \r\n\t\xef\xbb\xbf"))
    # Some writers leave out to declare the usual prefixes.
    usual = {"rdf": _RDF, "x": _META, **{prefix: space for prefix, (space, _) in _KEPT_XMP.items()}}
    declared = "".join(f" xmlns:{prefix}='{space}'" for prefix, space in (usual | _UNDECLARED).items()).encode()
    try:
        root = ElementTree.fromstring(b"<packet" + declared + b">" + text + b"</packet>")
    except ElementTree.ParseError:
        return None
    kept: dict[tuple[str, str], str] = {}
    for description in root.iter(f"{{{_RDF}}}Description"):
        for name, value in description.attrib.items():
            _keep(kept, name, _text(value))
        for child in description:
            _keep(kept, child.tag, _content(child))
    if not kept:
        return None
    spaces = "".join(
        f" xmlns:{prefix}='{space}'"
        for prefix, (space, _) in _KEPT_XMP.items()
        if any(prefix == used for used, _ in kept)
    )
    simple = "".join(f" {p}:{n}='{v}'" for (p, n), v in kept.items() if not v.startswith("<"))
    lists = "".join(f"<{p}:{n}>{v}</{p}:{n}>" for (p, n), v in kept.items() if v.startswith("<"))
    return (
        f"<x:xmpmeta xmlns:x='{_META}'><rdf:RDF xmlns:rdf='{_RDF}'><rdf:Description rdf:about=''{spaces}{simple}>"
        f"{lists}</rdf:Description></rdf:RDF></x:xmpmeta>"
    ).encode()


#: Prefixes of what is never kept, where their writer did not declare them.
_UNDECLARED = {name: f"urn:halfmask:{name}" for name in ("xmpGImg", "stEvt", "stRef", "xmpMM", "crs", "GCamera")}


def _keep(kept: dict[tuple[str, str], str], tag: str, value: str | None) -> None:
    """Add a property when it is on the list."""
    space, _, name = tag.removeprefix("{").rpartition("}")
    prefix = next((p for p, (known, _) in _KEPT_XMP.items() if known == space), None)
    if prefix is None or value is None:
        return
    names = _KEPT_XMP[prefix][1]
    if (space, name) == _XMP_ORIENTATION:
        kept[prefix, name] = "1"
    elif name.isidentifier() and (names == "*" or name in names.split()):
        kept[prefix, name] = value


def _content(element: ElementTree.Element) -> str | None:
    """A property as XMP: its text, or a list of texts; None for anything deeper."""
    children = list(element)
    if not children:
        return _text(element.text or "")
    kind = children[0].tag.removeprefix(f"{{{_RDF}}}")
    if len(children) > 1 or kind not in ("Seq", "Bag", "Alt"):
        return None
    items = []
    for item in children[0]:
        language = item.get(f"{{{_XML}}}lang")
        text = _text(item.text or "")
        if len(item) or text is None:
            return None
        spoken = f" xml:lang='{_text(language)}'" if language else ""
        items.append(f"<rdf:li{spoken}>{text}</rdf:li>")
    return f"<rdf:{kind}>{''.join(items)}</rdf:{kind}>"


def _text(value: str) -> str | None:
    """A value as it stands in XML; None for one that is long enough to be a picture."""
    return escape(value, {"'": "&apos;"}) if len(value) <= _LONGEST else None
