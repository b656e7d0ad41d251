"""HDR pictures as an ordinary screen shows them, for networks that know no others, and changes taken back into HDR.

Format: ITU-R BT.2100 (PQ and HLG), BT.2408 (203 nits for diffuse white), IEC 61966-2-1 (sRGB).
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

PQ, HLG = 16, 18

#: Transfer characteristics of H.273 whose samples are shown as they are: unspecified, BT.709 and its like, gamma, sRGB.
ORDINARY = frozenset({1, 2, 4, 5, 6, 11, 13, 14, 15})


@lru_cache(maxsize=4)
def curve(transfer: int, levels: int) -> NDArray[np.float64]:
    """What each of ``levels`` sample values of PQ (16) or HLG (18) looks like in sRGB, float64 (levels,) in [0, 1].

    Rises everywhere, so it can be taken back. Light above diffuse white is rolled off, not clipped.

    >>> float(curve(PQ, 256)[0]), round(float(curve(PQ, 256)[-1]), 3), bool((np.diff(curve(HLG, 65536)) > 0).all())
    (0.0, 1.0, True)
    """
    e = np.linspace(0.0, 1.0, levels)
    if transfer == PQ:
        m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
        root = e ** (1 / m2)
        light = (np.maximum(root - c1, 0.0) / (c2 - c3 * root)) ** (1 / m1) * 10000 / 203
    else:
        a, b, c = 0.17883277, 0.28466892, 0.55991073
        scene = np.where(e <= 0.5, e**2 / 3, (np.exp((e - c) / a) + b) / 12)
        light = scene**1.2 * 1000 / 203
    peak = light[-1]
    shown = light * (1 + light / peak**2) / (1 + light)
    srgb = np.where(shown <= 0.0031308, 12.92 * shown, 1.055 * np.maximum(shown, 1e-9) ** (1 / 2.4) - 0.055)
    srgb = np.maximum.accumulate(srgb + np.arange(levels) * 1e-9)  # PQ's first values are all but black
    result = np.asarray((srgb - srgb[0]) / (srgb[-1] - srgb[0]), np.float64)
    result.setflags(write=False)
    return result


def shown(samples: NDArray[Any], transfer: int) -> NDArray[np.uint8]:
    """Samples, uint8 or uint16, as 8-bit sRGB of the same shape."""
    table = np.rint(curve(transfer, np.iinfo(samples.dtype).max + 1) * 255).astype(np.uint8)
    return np.asarray(table[samples], np.uint8)


def add(samples: NDArray[Any], delta: NDArray[np.float32], transfer: int) -> NDArray[np.float64]:
    """Samples with a change added in what they look like; unrounded, and exactly the old ones where delta is 0."""
    table = curve(transfer, np.iinfo(samples.dtype).max + 1)
    wanted = np.clip(table[samples] + delta, 0.0, 1.0)
    moved = np.interp(wanted, table, np.arange(len(table)))
    return np.where(delta == 0, samples, moved)
