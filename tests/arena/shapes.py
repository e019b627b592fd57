"""Shapes: small arenas for tests."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from zipmoe.arena.layout import Header

FINGERPRINT = "00112233445566778899aabbccddeeff"


def header(slots: int, layers: int = 2, experts: int = 4, weights: int = 3 * 64 * 64, part: int = 0) -> Header:
    """Of an arena with so many slots; it has no epoch yet."""
    empty = Header(layers, experts, weights, 3 if part else 0, part, size=0, epoch=0, fingerprint=FINGERPRINT)
    return replace(empty, size=empty.slots_offset + slots * empty.slot_bytes)


@contextmanager
def shared_folder() -> Iterator[Path]:
    """A folder in shared memory, taken away with all that lies in it."""
    path = Path(tempfile.mkdtemp(prefix="zipmoe-test-", dir="/dev/shm"))
    try:
        yield path
    finally:
        shutil.rmtree(path)
