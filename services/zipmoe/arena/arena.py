"""Arena: the file on tmpfs and its mappings. The expert store makes it; everybody else opens what is there.

Guarantees
  * Every page exists before anybody maps it (`posix_fallocate`): a full tmpfs is an error at the start, never SIGBUS.
  * A mapping lives as long as whoever views it, in a service as long as its process.
  * Readers map read-only. The few pages a process may write are mapped apart, by their owner (`writable`).
  * An arena that holds a model is never thrown away for another one unasked.
"""

import contextlib
import mmap
import os
import time
import weakref
from dataclasses import replace
from pathlib import Path
from typing import Self

from zipmoe.arena import huge_pages
from zipmoe.arena.layout import PAGE, Header, Partition
from zipmoe.errors import CacheExhausted, InvalidRequest, ServiceRestarting


class Arena:
    """An attached arena: `header` says what it is for, `memory` is all of it."""

    def __init__(self, path: Path, header: Header, descriptor: int, writable: bool) -> None:
        self.path = path
        self.header = header
        self._descriptor = descriptor
        self.memory = huge_pages.shared(descriptor, header.size, writable)
        # An open file keeps its pages, also when it is removed: who attaches only for a while gives them back.
        weakref.finalize(self, os.close, descriptor)

    @classmethod
    def create(cls, path: Path, wanted: Header) -> Self:
        """Attaches to the arena at `path`, cache and all, if it is the wanted one; makes it if there is none.

        `wanted.epoch` is ignored: an arena found keeps its own, a new one takes the time of its making.
        Raises InvalidRequest for an arena of another model or size, CacheExhausted where tmpfs has too little room.
        """
        found = _header_at(path)
        if found is None:
            found = _make(path, wanted)
        elif replace(found, epoch=wanted.epoch) != wanted:
            raise InvalidRequest(_difference(path, found, wanted))
        return cls(path, found, os.open(path, os.O_RDWR | os.O_CLOEXEC), writable=True)

    @classmethod
    def open(cls, path: Path) -> Self:
        """Attaches read-only. Raises ServiceRestarting while there is no arena: the expert store makes it."""
        header = _header_at(path)
        if header is None:
            raise ServiceRestarting(f"there is no arena at {path} yet: start the expert store")
        return cls(path, header, os.open(path, os.O_RDWR | os.O_CLOEXEC), writable=False)

    def writable(self, offset: int, length: int) -> memoryview:
        """A second, writable mapping of some pages, for their one owner. Both numbers are multiples of a page."""
        return memoryview(mmap.mmap(self._descriptor, length, access=mmap.ACCESS_WRITE, offset=offset))

    def partition(self) -> Partition | None:
        """The pools, once the scheduler has divided the arena into them."""
        return Partition.from_bytes(bytes(self.memory[PAGE : 2 * PAGE]), self.header.epoch)


def remove(path: Path) -> None:
    """Gives the memory back. Only for who stops all services: a process still attached keeps its pages."""
    for name in (path, _new(path), locks_path(path)):
        name.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        # Not if it holds anything else, or is a mount.
        path.parent.rmdir()


def locks_path(path: Path) -> Path:
    return path.with_name(path.name + ".locks")


def _new(path: Path) -> Path:
    return path.with_name(path.name + ".new")


def _header_at(path: Path) -> Header | None:
    try:
        with open(path, "rb", buffering=0) as file:
            header = Header.from_bytes(file.read(PAGE))
            size = os.fstat(file.fileno()).st_size
    except FileNotFoundError:
        return None
    return header if header is not None and header.size == size else None


def _make(path: Path, wanted: Header) -> Header:
    header = replace(wanted, epoch=time.time_ns())
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    descriptor = os.open(_new(path), os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o660)
    try:
        os.ftruncate(descriptor, header.size)
        huge_pages.fill(descriptor, header.size)
        os.posix_fallocate(descriptor, 0, header.size)
        os.pwrite(descriptor, header.to_bytes(), 0)
        # Renamed only when whole: whoever finds an arena may map all of it.
        os.rename(_new(path), path)
    except OSError as error:
        # What it has got so far is not to be counted as taken.
        os.ftruncate(descriptor, 0)
        _new(path).unlink(missing_ok=True)
        room = os.statvfs(path.parent)
        raise CacheExhausted(
            f"the arena needs {header.size / 2**20:.1f} MiB in {path.parent}, "
            f"where {room.f_bavail * room.f_frsize / 2**20:.1f} MiB are free ({error.strerror}): "
            f"ask for a smaller arena, or mount that tmpfs with a larger size="
        ) from error
    finally:
        os.close(descriptor)
    return header


def _difference(path: Path, found: Header, wanted: Header) -> str:
    remedy = f"stop all services, then remove {path} or name another arena"
    if found.fingerprint != wanted.fingerprint:
        return f"the arena {path} holds another model ({found.fingerprint}, the pack is {wanted.fingerprint}): {remedy}"
    if (found.form, found.part) != (wanted.form, wanted.part):
        return f"the arena {path} holds experts as {found.form}, asked for was {wanted.form}: {remedy}"
    return (
        f"the arena {path} has {found.size / 2**20:.1f} MiB, asked for were {wanted.size / 2**20:.1f} MiB: "
        f"start with the old size, or {remedy}"
    )
