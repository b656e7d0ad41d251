"""Palette pictures: change some pixels and stay within 256 colours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from .paste import Change, FaceChange, Shared

Pixels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Palette:
    """``colours`` uint8 (K, 3), K at most 256; ``alpha`` uint8 (K,) per colour, or None when all are opaque."""

    colours: Pixels
    alpha: Pixels | None = None


def recolour(indices: Pixels, palette: Palette, changes: Sequence[Change | FaceChange | Shared]) -> Palette:
    """Add changes to a palette picture, in place of ``indices``, uint8 (H, W); returns the palette that fits it now.

    Slots that no pixel uses are filled with the changed pixels' colours (median cut), and each changed pixel takes
    the nearest colour, exact by squared RGB distance. Used slots never move, so every other pixel keeps index and
    colour. A pixel whose colour is (partly) transparent may only move between slots of the same alpha. A change too
    small to reach another 8-bit colour leaves its pixel alone. ``changes`` must not overlap in effect
    (:func:`~halfmask.photos.paste.combine`).

    >>> picture = np.zeros((1, 2), np.uint8)
    >>> change = Change((1, 0, 2, 1), np.full((1, 1, 3), 0.2, np.float32))
    >>> recolour(picture, Palette(np.array([[100, 100, 100]], np.uint8)), [change]).colours.tolist(), picture.tolist()
    ([[100, 100, 100], [151, 151, 151]], [[0, 1]])
    """
    wanted: list[tuple[NDArray[np.intp], NDArray[np.intp], Pixels]] = []
    for change in changes:
        x0, y0, x1, y1 = change.box
        own = palette.colours[indices[y0:y1, x0:x1]]
        target = np.clip(np.rint(own + change.delta * 255.0), 0, 255).astype(np.uint8)
        rows, columns = np.nonzero((target != own).any(axis=-1))
        wanted.append((rows + y0, columns + x0, target[rows, columns]))
    if not wanted or not sum(len(rows) for rows, _, _ in wanted):
        return palette
    rows, columns = np.concatenate([w[0] for w in wanted]), np.concatenate([w[1] for w in wanted])
    targets = np.concatenate([w[2] for w in wanted])

    alpha = np.full(256, 255, np.uint8)
    if palette.alpha is not None:
        alpha[: len(palette.alpha)] = palette.alpha
    pixel_alpha = alpha[indices[rows, columns]]
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette.colours)] = palette.colours
    used = np.bincount(indices.ravel(), minlength=256) > 0
    # A transparent slot stays what it is even when unused: GIF's one transparent index is known by its number.
    free = np.flatnonzero(~used & (alpha == 255))
    opaque = pixel_alpha == 255
    if len(free) and opaque.any():
        fresh = _median_cut(targets[opaque], len(free))
        free = free[: len(fresh)]
        colours[free] = fresh
        used[free] = True

    for level in np.unique(pixel_alpha):
        mine = pixel_alpha == level
        slots = np.flatnonzero(used & (alpha == level))
        indices[rows[mine], columns[mine]] = slots[_nearest(targets[mine], colours[slots])]
    size = max(len(palette.colours), int(np.flatnonzero(used)[-1]) + 1)
    return Palette(colours[:size], None if palette.alpha is None else alpha[:size])


def _median_cut(colours: Pixels, count: int) -> Pixels:
    """At most ``count`` colours that stand for these, (N, 3)."""
    distinct = np.unique(colours, axis=0)
    if len(distinct) <= count:
        return distinct
    strip = Image.fromarray(np.ascontiguousarray(colours[None]))
    reduced = strip.quantize(count, method=Image.Quantize.MEDIANCUT)
    return np.unique(np.array(reduced.getpalette("RGB"), np.uint8).reshape(-1, 3)[:count], axis=0)


def _nearest(targets: Pixels, colours: Pixels) -> NDArray[np.intp]:
    """For each target the place of the nearest colour. Distances are taken once per distinct target, in blocks."""
    distinct, back = np.unique(targets, axis=0, return_inverse=True)
    nearest = np.empty(len(distinct), np.intp)
    palette = colours.astype(np.float32)
    norm = (palette**2).sum(axis=1)
    for start in range(0, len(distinct), 8192):
        block = distinct[start : start + 8192].astype(np.float32)
        nearest[start : start + 8192] = (norm - 2.0 * block @ palette.T).argmin(axis=1)  # exact: integers below 2^24
    return nearest[back.reshape(-1)]
