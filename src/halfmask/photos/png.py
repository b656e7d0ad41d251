"""The parts of PNG that Pillow does not do: 16-bit colour out, and the chunks that say what the colours mean.

Format: W3C, Portable Network Graphics (PNG) Specification, third edition, sections 9 (filters) and 11 (chunks).
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterable
from typing import IO

import numpy as np
from numpy.typing import NDArray

SIGNATURE = b"\x89PNG\r\n\x1a\n"

#: Chunks about colour, not about the person or the camera; they go with the samples.
COLOUR_CHUNKS = (b"cHRM", b"gAMA", b"sRGB", b"cICP", b"mDCV", b"cLLI")

_COLOUR_TYPE = {1: 0, 2: 4, 3: 2, 4: 6}  # channels → colour type


def header(stream: IO[bytes]) -> tuple[int, tuple[tuple[bytes, bytes], ...]]:
    """Bits a sample, and the colour chunks as (type, data), read from the start of a PNG up to its first pixels."""
    stream.seek(len(SIGNATURE))
    bits, found = 8, []
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IDAT":
            break
        if kind == b"IHDR":
            data = stream.read(length)
            bits = data[8]
            stream.seek(4, 1)
        elif kind in COLOUR_CHUNKS and length <= 64:
            found.append((kind, stream.read(length)))
            stream.seek(4, 1)
        else:
            stream.seek(length + 4, 1)
    return bits, tuple(found)


def ends(stream: IO[bytes]) -> bool:
    """Whether a PNG has its last chunk.

    >>> import io
    >>> whole = encode16(np.zeros((2, 3), np.uint16))
    >>> ends(io.BytesIO(whole)), ends(io.BytesIO(whole[:-12]))
    (True, False)
    """
    stream.seek(len(SIGNATURE))
    while len(head := stream.read(8)) == 8:
        length, kind = struct.unpack(">I4s", head)
        if kind == b"IEND":
            return True
        stream.seek(length + 4, 1)
    return False


def chunk(kind: bytes, data: bytes) -> bytes:
    """One chunk as it stands in the file: length, type, data, CRC."""
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def encode16(samples: NDArray[np.uint16], chunks: Iterable[tuple[bytes, bytes]] = (), level: int = 6) -> bytes:
    """Encode uint16 samples (H, W) or (H, W, C), C 1 to 4 (gray, gray + alpha, RGB, RGBA), as a 16-bit PNG.

    ``chunks`` go between the header and the pixels, ``level`` is zlib's. Each row takes the filter whose residuals
    have the smallest absolute sum, the heuristic that the specification recommends (12.7).

    >>> encode16(np.zeros((2, 3), np.uint16))[:8] == SIGNATURE
    True
    """
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    parts = [SIGNATURE]
    parts.append(chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, _COLOUR_TYPE[channels], 0, 0, 0)))
    parts += [chunk(kind, data) for kind, data in chunks]
    packer = zlib.compressobj(level)
    above = np.zeros((1, width * channels * 2), np.uint8)
    band = max(1, (1 << 20) // above.size)  # filters make several copies, so they see a megabyte at a time
    for start in range(0, height, band):
        rows = samples[start : start + band].astype(">u2").reshape(-1, width * channels).view(np.uint8)
        data = packer.compress(_filtered(rows, above, channels * 2).tobytes())
        if data:
            parts.append(chunk(b"IDAT", data))
        above = rows[-1:]
    parts.append(chunk(b"IDAT", packer.flush()))
    parts.append(chunk(b"IEND", b""))
    return b"".join(parts)


def _filtered(rows: NDArray[np.uint8], above: NDArray[np.uint8], step: int) -> NDArray[np.uint8]:
    """Rows with the number of their filter in front; ``step`` is bytes a pixel, ``above`` the row before the first."""
    up = np.concatenate([above, rows[:-1]]).astype(np.int16)
    left = np.zeros_like(up)
    left[:, step:] = rows[:, :-step]
    corner = np.zeros_like(up)
    corner[:, step:] = up[:, :-step]
    to_left, to_up, to_corner = np.abs(up - corner), np.abs(left - corner), np.abs(left + up - 2 * corner)
    paeth = np.where((to_left <= to_up) & (to_left <= to_corner), left, np.where(to_up <= to_corner, up, corner))
    guesses: list[tuple[int, NDArray[np.int16] | int]] = [
        (0, 0), (1, left), (2, up), (3, (left + up) >> 1), (4, paeth),
    ]  # fmt: skip
    best = np.full(len(rows), np.iinfo(np.int64).max)
    result = np.empty((len(rows), rows.shape[1] + 1), np.uint8)
    for number, guess in guesses:
        residual = (rows.astype(np.int16) - guess).astype(np.uint8)
        cost = np.abs(residual.view(np.int8).astype(np.int16)).sum(axis=1, dtype=np.int64)
        better = cost < best
        best[better] = cost[better]
        result[better, 0] = number
        result[better, 1:] = residual[better]
    return result
