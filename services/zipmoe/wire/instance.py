"""One instance of a service at a time: gRPC would let a second one steal the socket of the first without a word."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from zipmoe.errors import InvalidRequest


@contextmanager
def only_instance(address: str) -> Iterator[None]:
    """Holds the lock beside the socket of a unix: address; other kinds of address are guarded by the kernel.

    Raises InvalidRequest if another process has it. Makes the socket's folder, and takes the socket away at the end.
    """
    if not address.startswith("unix:"):
        yield
        return
    socket = Path(address.removeprefix("unix:"))
    socket.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    lock = os.open(socket.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o660)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.pread(lock, 32, 0).decode() or "unknown"
            raise InvalidRequest(
                f"{socket} is in use by process {owner}: stop that one first, or choose another run folder (--run)"
            ) from None
        os.ftruncate(lock, 0)
        os.pwrite(lock, str(os.getpid()).encode(), 0)
        try:
            yield
        finally:
            socket.unlink(missing_ok=True)
    finally:
        os.close(lock)
