"""Leases: kernel byte-range locks on the records of the directory.

A reader holds a shared lock on an expert's byte while it uses the expert; the scheduler changes a record only under
the exclusive lock, which it takes without waiting and holds for microseconds. The kernel drops a dead process's locks,
so no lease outlives its holder and nothing times out. The lock is the memory barrier, too.

  byte of expert e                      shared: a reader uses it · exclusive: the scheduler changes its record
  WORKERS + index                       exclusive, for life: a worker process of the store may write to slots

Locks belong to the open file, not the process: one `Leases` a purpose, and no two holders of one expert share one.
"""

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from zipmoe.arena.arena import locks_path

WORKERS: Final = 1 << 32
MOST_WORKERS: Final = 1 << 10

# struct flock of 64-bit Linux: type, whence, start, length, pid (which must be 0 for locks of an open file).
_FLOCK: Final = struct.Struct("hhxxxxqqixxxx")


class Leases:
    def __init__(self, arena: Path) -> None:
        """Opens (and makes, where it is missing) the lock file of the arena at this path."""
        arena.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        self._file = os.open(locks_path(arena), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)

    def close(self) -> None:
        """Drops all locks taken here."""
        os.close(self._file)

    def lease(self, start: int, length: int = 1) -> bool:
        """Takes a shared lock, in one call of all of a range. False if the scheduler is changing a record of it at this
        very moment."""
        return self._set(fcntl.F_RDLCK, start, length)

    def claim(self, byte: int) -> bool:
        """Takes the exclusive lock. False if somebody holds a lease."""
        return self._set(fcntl.F_WRLCK, byte)

    def release(self, start: int, length: int = 1) -> None:
        """Drops what is held here of a range: one call, however much that is."""
        self._set(fcntl.F_UNLCK, start, length)

    @contextmanager
    def claimed(self, byte: int) -> Iterator[bool]:
        """Claims without waiting; the body must look at what it got."""
        got = self.claim(byte)
        try:
            yield got
        finally:
            if got:
                self.release(byte)

    def held(self, start: int, length: int = 1) -> bool:
        """True if anybody else holds any lock in the range."""
        probe = fcntl.fcntl(self._file, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, start, length, 0))
        return bool(_FLOCK.unpack(probe)[0] != fcntl.F_UNLCK)

    def _set(self, kind: int, start: int, length: int = 1) -> bool:
        try:
            fcntl.fcntl(self._file, fcntl.F_OFD_SETLK, _FLOCK.pack(kind, os.SEEK_SET, start, length, 0))
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        return True
