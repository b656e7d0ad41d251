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
from .paste import Change, combine


@dataclass(frozen=True, eq=False)
class Photo:
    """A picture in memory: upright, in the mode and depth of its file, and not to be modified.

    ``samples`` is (H, W) or (H, W, C), uint8, uint16 for the 16-bit modes, bool for mode ``"1"``. ``mode`` is
    Pillow's name or one of ``"LA;16"``, ``"RGB;16"``, ``"RGBA;16"``. ``format`` is one of ``JPEG PNG TIFF BMP WEBP
    GIF HEIF``, None for pixels that came from no file. ``name`` is what messages call it.

    >>> photo = Photo(np.zeros((4, 6, 3), np.uint8), "RGB")
    >>> photo.mode, photo.width, photo.height, photo.bit_depth
    ('RGB', 6, 4, 8)
    >>> change = Change((1, 1, 3, 2), np.full((1, 2, 3), 0.5, np.float32))
    >>> photo.with_changes([change]).pixels[1, :, 0].tolist()
    [0, 128, 128, 0, 0, 0]
    """

    samples: NDArray[Any]
    mode: str
    format: str | None = None
    name: str = "the picture"
    palette: Palette | None = None
    traits: Traits = field(default_factory=Traits, repr=False)

    @property
    def width(self) -> int:
        """Pixels across, after the orientation was applied."""
        return int(self.samples.shape[1])

    @property
    def height(self) -> int:
        """Pixels down, after the orientation was applied."""
        return int(self.samples.shape[0])

    @property
    def bit_depth(self) -> int:
        """Bits a sample: 1, 8 or 16."""
        return samples.depth(self.mode)

    @cached_property
    def pixels(self) -> NDArray[np.uint8]:
        """The colours as 8-bit RGB, uint8 (H, W, 3), read-only; for an RGB photo these are the samples, not a copy."""
        pixels = samples.to_rgb8(self.samples, self.mode, self.palette)
        pixels.setflags(write=False)
        return pixels

    def with_changes(self, changes: Iterable[Change]) -> Photo:
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
        changed = self.samples.copy()
        palette = self.palette
        if palette is not None:
            palette = recolour(changed if changed.ndim == 2 else changed[..., 0], palette, disjoint)
        else:
            for change in disjoint:
                x0, y0, x1, y1 = change.box
                samples.add(changed[y0:y1, x0:x1], self.mode, change.delta, self.traits.key)
        changed.setflags(write=False)
        return replace(self, samples=changed, palette=palette)

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
            return encode.encode(
                self.samples, self.mode, self.palette, self.traits,
                source=self.format, target=target, quality=quality, keep_metadata=keep_metadata,
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
            raise PhotoError(
                f"{self.name} ({self.width} x {self.height}, {self.mode}) cannot be written as {target}: {error}. "
                "Try another format, such as png."
            ) from error

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
        photo's own, else PNG. ``quality``, 1 to 100, is for JPEG, WebP and HEIC; None keeps a JPEG's own tables and a
        lossless WebP lossless. ``keep_metadata`` keeps EXIF and XMP, upright and without previews. What a format
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
