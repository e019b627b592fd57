"""Huge pages: memory in pieces of 2 MiB. Who reads all of gigabytes again and again in pages of 4 KiB waits for each
page's address, too (docs/codecs.md says how long).

Asked for, never insisted on: an older kernel, or memory that is left in small pieces, gives the usual ones. Nobody has
to set anything, for what is asked for here does not depend on the system's settings for tmpfs.
"""

import contextlib
import ctypes
import mmap
import os
import weakref
from typing import Final

HUGE: Final = 2 << 20
# As Linux has them.
_PROT_NONE, _MAP_FIXED, _MADV_COLLAPSE = 0, 0x10, 25
# Filled at a time: where the kernel finds no such piece, it is not asked to look for thousands.
_STEP: Final = 64 * HUGE

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]


def anonymous(size: int) -> memoryview:
    """Zeros of this process's own."""
    memory, start = _mapped(-1, size, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, mmap.PROT_READ | mmap.PROT_WRITE)
    _libc.madvise(start, size, mmap.MADV_HUGEPAGE)
    return memory


def shared(descriptor: int, size: int, writable: bool) -> memoryview:
    """So much of a file, from its beginning on. Raises OSError."""
    protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    memory, _ = _mapped(descriptor, size, mmap.MAP_SHARED, protection)
    return memory if writable else memory.toreadonly()


def fill(descriptor: int, size: int) -> None:
    """Gives an empty file on tmpfs, which has its size already, such pages wherever they fit in and can be had. Each is
    zeroed at once, which takes less time than to zero many small ones later. Raises OSError."""
    mapped, start = _mapped(descriptor, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
    for first in range(0, size - HUGE + 1, _STEP):
        last = min(first + _STEP, size) // HUGE * HUGE
        for at in range(first, last, HUGE):
            # Made of the small page that is there. Not written to: a tmpfs that is full would end this process.
            os.posix_fallocate(descriptor, at, 1)
        if _libc.madvise(start + first, last - first, _MADV_COLLAPSE):
            break
    mapped.release()


def _mapped(descriptor: int, size: int, flags: int, protection: int) -> tuple[memoryview, int]:
    """Memory that starts where a huge page may, and its address. Mapped for as long as it is viewed."""
    room = size + HUGE
    reserved = _checked(_libc.mmap(None, room, _PROT_NONE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0))
    start = -(-reserved // HUGE) * HUGE
    with contextlib.ExitStack() as undo:
        undo.callback(_libc.munmap, reserved, room)
        _checked(_libc.mmap(start, size, protection, flags | _MAP_FIXED, descriptor, 0))
        undo.pop_all()
    array = (ctypes.c_char * size).from_address(start)
    # Not as the process ends, when threads may still use it.
    weakref.finalize(array, _libc.munmap, reserved, room).atexit = False
    return memoryview(array).cast("B"), start


def _checked(address: int | None) -> int:
    if address is None or address == ctypes.c_void_p(-1).value:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return address
