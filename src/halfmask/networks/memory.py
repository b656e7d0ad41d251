"""How a process keeps its memory while it trains."""

from __future__ import annotations

import ctypes
import sys


def keep_memory() -> None:
    """Tell glibc to keep freed memory: large tensors otherwise go back to the kernel and fault in again every step.

    Measured on 2 cores, one step of the gender classifier at batch 64: 2.3 s without, 0.34 s with it. Elsewhere than
    on Linux with glibc this does nothing. It holds for the rest of the process.
    """
    if not sys.platform.startswith("linux"):
        return
    try:
        libc = ctypes.CDLL("libc.so.6")
        libc.mallopt(-4, 0)  # M_MMAP_MAX: never a mapping of its own for one tensor
        libc.mallopt(-1, 2**31 - 1)  # M_TRIM_THRESHOLD: never give the top of the heap back
        libc.mallopt(-2, 2**28)  # M_TOP_PAD: grow in large steps
    except (OSError, AttributeError):
        return
