"""Heap: what is freed goes back to the system, for it is taken from the experts."""

import ctypes
from typing import Final

# Parameters of glibc's mallopt(3). Threads share one heap, as one alone computes; and what is large is memory of its
# own, which ends when it is freed, whatever lies above it.
_ARENA_MAX: Final = -8
_MMAP_THRESHOLD: Final = -3
_LARGE: Final = 256 << 10


def keep_little() -> None:
    """To be called before there are threads. Other C libraries do as they do."""
    tune = getattr(ctypes.CDLL(None), "mallopt", None)
    if tune is not None:
        tune(_ARENA_MAX, 1)
        tune(_MMAP_THRESHOLD, _LARGE)
