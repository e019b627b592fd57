"""Huge pages: the same memory as in small ones, wherever the system has none too; held no longer than it is viewed."""

import gc
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zipmoe.arena.huge_pages import HUGE, anonymous, fill, shared

SIZE = 3 * HUGE + 4096


@pytest.fixture
def descriptor(folder: Path) -> Iterator[int]:
    """An empty file on tmpfs that has its size."""
    descriptor = os.open(folder / "file", os.O_RDWR | os.O_CREAT, 0o600)
    os.ftruncate(descriptor, SIZE)
    yield descriptor
    os.close(descriptor)


def mapped(path: Path) -> int:
    return sum(str(path) in line for line in Path("/proc/self/maps").read_text().splitlines())


def huge(kind: str) -> int:
    """Bytes of this process in huge pages."""
    lines = Path("/proc/self/smaps").read_text().splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(kind))


def collapses() -> bool:
    """Whether the kernel makes huge pages of small ones when told."""
    major, minor = os.uname().release.split(".")[:2]
    return (int(major), int(minor)) >= (6, 1) and Path("/sys/kernel/mm/transparent_hugepage").exists()


def test_anonymous_memory_is_zero_and_writable() -> None:
    memory = anonymous(SIZE)
    assert len(memory) == SIZE
    assert not any(memory[::4096])
    memory[-3:] = b"end"
    assert memory[-3:].tobytes() == b"end"
    assert memory.format == "B"


def test_a_file_is_shared_and_only_read_where_that_was_asked_for(folder: Path, descriptor: int) -> None:
    writer, reader = shared(descriptor, SIZE, writable=True), shared(descriptor, SIZE, writable=False)
    writer[HUGE : HUGE + 4] = b"here"
    assert reader[HUGE : HUGE + 4].tobytes() == b"here"
    assert (folder / "file").read_bytes()[HUGE : HUGE + 4] == b"here"
    assert reader.readonly
    with pytest.raises(TypeError, match="read-only"):
        reader[0] = 1


def test_memory_lasts_as_long_as_a_view_of_it(folder: Path, descriptor: int) -> None:
    memory = shared(descriptor, SIZE, writable=True)
    part = memory[HUGE:].toreadonly()
    memory[HUGE] = 7
    del memory
    gc.collect()
    assert part[0] == 7
    assert mapped(folder / "file") == 1
    del part
    gc.collect()
    assert mapped(folder / "file") == 0


def test_what_is_filled_is_whole_huge_pages_and_zero(descriptor: int) -> None:
    fill(descriptor, SIZE)
    os.posix_fallocate(descriptor, 0, SIZE)
    assert os.fstat(descriptor).st_size == SIZE
    assert os.fstat(descriptor).st_blocks * 512 == SIZE
    memory = shared(descriptor, SIZE, writable=False)
    assert memory.tobytes() == bytes(SIZE)
    if collapses():
        assert huge("ShmemPmdMapped") >= 3 * HUGE


def test_a_small_file_needs_none(descriptor: int) -> None:
    os.ftruncate(descriptor, 8192)
    fill(descriptor, 8192)
    os.posix_fallocate(descriptor, 0, 8192)
    assert os.fstat(descriptor).st_blocks * 512 == 8192


def test_a_full_tmpfs_is_an_error(small_tmpfs: Path) -> None:
    """Of which a written page would have made a signal that ends the process."""
    descriptor = os.open(small_tmpfs / "file", os.O_RDWR | os.O_CREAT, 0o600)
    os.posix_fallocate(descriptor, 0, 1 << 20)
    size = (1 << 20) + 3 * HUGE
    os.ftruncate(descriptor, size)
    with pytest.raises(OSError, match="No space left"):
        fill(descriptor, size)
    os.close(descriptor)


def test_memory_that_cannot_be_mapped_is_an_error() -> None:
    with pytest.raises(OSError, match="Cannot allocate memory"):
        anonymous(1 << 62)
    with pytest.raises(OSError, match="Bad file descriptor"):
        shared(-7, SIZE, writable=False)


def test_threads_may_use_it_until_the_process_ends() -> None:
    code = """
import threading
from zipmoe.arena.huge_pages import anonymous

def use(memory):
    while True:
        memory[:].tobytes()

for _ in range(4):
    threading.Thread(target=use, args=(anonymous(8 << 20),), daemon=True).start()
"""
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True)
    assert (ended.returncode, ended.stderr) == (0, b"")
