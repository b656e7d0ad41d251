"""How a process keeps its memory while networks work in it."""

from __future__ import annotations

import ctypes
import sys


def keep_memory(*, shared: bool = False) -> None:
    """Tell glibc to keep freed memory: large arrays otherwise go back to the kernel and fault in again each time.

    Measured on 2 cores, one step of the gender classifier at batch 64: 2.3 s without, 0.34 s with it; protecting photos
    of 12 megapixels takes a seventh less processor time, at the same peak. ``shared`` has all threads take from one
    heap, for threads that pass large arrays on; it must be said before they start. Elsewhere than on Linux with glibc
    this does nothing. It holds for the rest of the process.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        if shared:
            libc.mallopt(-8, 1)  # M_ARENA_MAX: a heap a thread would each keep its own largest photo
        libc.mallopt(-4, 0)  # M_MMAP_MAX: never a mapping of its own for one array
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never give the top of the heap back
        libc.mallopt(-2, 2**28)  # M_TOP_PAD: grow in large steps
    except (OSError, AttributeError):
        return
