"""A photo in memory: its samples as the file holds them, changed at the faces and written whole."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import PhotoError
from ..storage import whole
from . import encode, samples
from .encode import SUFFIXES, Traits, format_of
from .palette import Palette, recolour
from .paste import Change, FaceChange, combine

_AT_ONCE = 1 << 15  # pixels to which a change is added
#: How a note begins that tells of a file which is not as it should be.
DAMAGED = "DAMAGED: "


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture in memory: upright, in the mode and depth of its file, and not to be modified.

    ``stored`` is (H, W) or (H, W, C), uint8, uint16 for the 16-bit modes, bool for mode ``"1"``: the samples before the
    ``patches``, each (x, y, samples of a box), took their places, so that a changed photo needs no second copy of all.
    ``mode`` is Pillow's name or one of ``"LA;16"``, ``"RGB;16"``, ``"RGBA;16"``. ``format`` is one of ``JPEG PNG TIFF
    BMP WEBP GIF HEIF AVIF``, None for pixels that came from no file. ``name`` is what messages call it. ``notes`` say
    what was lost or put right in reading, each as words that go on from "1 photo: ".

    >>> photo = Photo(np.zeros((4, 6, 3), np.uint8), "RGB")
    >>> photo.mode, photo.width, photo.height, photo.bit_depth
    ('RGB', 6, 4, 8)
    >>> change = Change((1, 1, 3, 2), np.full((1, 2, 3), 0.5, np.float32))
    >>> photo.with_changes([change]).pixels[1, :, 0].tolist()
    [0, 128, 128, 0, 0, 0]
    """

    stored: NDArray[Any]
    mode: str
    format: str | None = None
    name: str = "the picture"
    palette: Palette | None = None
    traits: Traits = field(default_factory=Traits, repr=False)
    patches: tuple[tuple[int, int, NDArray[Any]], ...] = field(default=(), repr=False)
    notes: tuple[str, ...] = ()

    @cached_property
    def samples(self) -> NDArray[Any]:
        """All samples, read-only; of a changed photo a copy, so ask for a :meth:`region` where that is enough."""
        if not self.patches:
            return self.stored
        samples = self.region((0, 0, self.width, self.height))
        samples.setflags(write=False)
        return samples

    def region(self, box: tuple[int, int, int, int]) -> NDArray[Any]:
        """A copy of the samples in a box (x0, y0, x1, y1), x1 and y1 exclusive, inside the photo."""
        x0, y0, x1, y1 = box
        region = self.stored[y0:y1, x0:x1].copy()
        for x, y, patch in self.patches:
            left, top = max(x0, x), max(y0, y)
            right, bottom = min(x1, x + patch.shape[1]), min(y1, y + patch.shape[0])
            if left < right and top < bottom:
                part = patch[top - y : bottom - y, left - x : right - x]
                region[top - y0 : bottom - y0, left - x0 : right - x0] = part
        return region

    @property
    def width(self) -> int:
        """Pixels across, after the orientation was applied."""
        return int(self.stored.shape[1])

    @property
    def height(self) -> int:
        """Pixels down, after the orientation was applied."""
        return int(self.stored.shape[0])

    @property
    def bit_depth(self) -> int:
        """Bits a sample: 1, 8 or 16."""
        return samples.depth(self.mode)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The colours as 8-bit RGB, uint8 (H, W, 3), read-only; for an RGB photo these are the samples, not a copy.

        A PQ or HLG photo is given as an ordinary screen shows it (:mod:`~halfmask.photos.tones`).
        """
        pixels = samples.to_rgb8(self.samples, self.mode, self.palette, self.traits.transfer)
        pixels.setflags(write=False)
        return pixels

    def with_changes(self, changes: Iterable[Change | FaceChange]) -> Photo:
        """A photo with these changes added.

        Where they overlap, :func:`~halfmask.photos.paste.combine` says what happens. Same size, mode and depth. Outside
        the boxes, and where a delta is 0, every sample is bit-identical, and alpha is so everywhere. Raises
        ``ValueError`` for a box that reaches out of the photo.
        """
        disjoint = combine(changes)
        for x0, y0, x1, y1 in (change.box for change in disjoint):
            if x0 < 0 or y0 < 0 or x1 > self.width or y1 > self.height:
                raise ValueError(
                    f"the box {(x0, y0, x1, y1)} of a change is not inside a {self.width} x {self.height} photo"
                )
        if not disjoint:
            return self
        if self.palette is not None:
            changed = self.samples.copy()
            palette = recolour(changed if changed.ndim == 2 else changed[..., 0], self.palette, disjoint)
            changed.setflags(write=False)
            return replace(self, stored=changed, palette=palette, patches=())
        after = self
        for change in disjoint:
            region = after.region(change.box)
            # rows in reach of a core's cache; of a bilevel picture all, since it is dithered by its surroundings
            step = len(region) if self.mode == "1" else max(1, _AT_ONCE // region.shape[1])
            for y in range(0, len(region), step):
                part = region[y : y + step]
                samples.add(part, self.mode, change.rows(y, y + len(part)), self.traits.key, self.traits.transfer)
            region.setflags(write=False)
            after = replace(after, patches=(*after.patches, (*change.box[:2], region)))
        return after

    def to_array(self) -> NDArray[Any]:
        """A fresh array, (H, W) gray, (H, W, 2) gray and alpha, (H, W, 3) RGB or (H, W, 4) RGBA, uint8 or uint16.

        Bilevel becomes 0 and 255, a palette its colours (RGBA when some are transparent), CMYK RGB.
        """
        if self.palette is not None:
            index = self.samples if self.samples.ndim == 2 else self.samples[..., 0]
            if self.mode == "PA":
                return np.dstack([self.palette.colours[index], self.samples[..., 1]])
            if self.palette.alpha is not None:
                return np.dstack([self.palette.colours[index], self.palette.alpha[index]])
            colours: NDArray[Any] = self.palette.colours[index]
            return colours
        if self.mode == "CMYK":
            return samples.to_rgb8(self.samples, self.mode, None)
        return samples.to8(self.samples) if self.mode == "1" else self.samples.copy()

    def to_pil(self) -> Image.Image:
        """A Pillow image in the photo's mode, with its profile, resolution and transparency but no other metadata.

        16-bit gray stays 16 bits; 16-bit colour becomes 8 bits, since Pillow has no such mode.
        """
        image = encode.to_pil(self.samples, self.mode, self.palette)
        if self.traits.icc:
            image.info["icc_profile"] = self.traits.icc
        if self.traits.dpi:
            image.info["dpi"] = self.traits.dpi
        if self.bit_depth < 16:
            image.info.update(encode.transparency(self.palette, self.traits.key, self.format or "PNG"))
        return image

    def encode(self, format: str | None = None, *, quality: int | None = None, keep_metadata: bool = False) -> bytes:
        """The whole file as bytes; arguments and errors as in :meth:`save`."""
        target = format_of(format) if format else self.format or "PNG"
        try:
            options: dict[str, Any] = {
                "source": self.format, "target": target, "quality": quality, "keep_metadata": keep_metadata,
            }  # fmt: skip
            if target == "JPEG" and self.mode in ("L", "RGB") and self.width * self.height >= encode.LARGE:
                size = (self.width, self.height)
                if data := encode.large_jpeg(self._rows, size, self.mode, self.traits, **options):
                    return data
            return encode.encode(self.samples, self.mode, self.palette, self.traits, **options)
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise PhotoError(
                f"{self.name} ({self.width} x {self.height}, {self.mode}) cannot be written as {target}: {error}. "
                "Try another format, such as png."
            ) from error

    def _rows(self, y0: int, y1: int) -> Image.Image:
        return encode.to_pil(self.region((0, y0, self.width, y1)), self.mode, None)

    def save(
        self,
        target: str | Path | IO[bytes],
        *,
        format: str | None = None,
        quality: int | None = None,
        keep_metadata: bool = False,
    ) -> None:
        """Write the photo to a path or a binary stream.

        ``format`` is a name or suffix ("png", "jpg"); None takes the one that the path's suffix names, else the
        photo's own, else PNG. ``quality``, 1 to 100, is for JPEG, WebP, HEIC and AVIF; None keeps a JPEG's own tables
        and a lossless WebP lossless. ``keep_metadata`` keeps EXIF and XMP, upright and without previews. What a format
        cannot hold is converted: 16 bits to 8, alpha to white paper, a palette to RGB.

        A file is whole or absent (:func:`halfmask.storage.whole`). A folder, device, pipe or socket is refused.
        Raises :class:`~halfmask.errors.PhotoError` when the photo cannot be encoded or written.
        """
        if not isinstance(target, str | os.PathLike):
            target.write(self.encode(format, quality=quality, keep_metadata=keep_metadata))
            return
        path = Path(target)
        data = self.encode(format or SUFFIXES.get(path.suffix.lower()), quality=quality, keep_metadata=keep_metadata)
        with whole(path, error=PhotoError) as fresh:
            fresh.write_bytes(data)
