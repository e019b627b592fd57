"""PackFile: exact bytes or a named error, with O_DIRECT and without, over short reads and bad ones."""

import errno
import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from zipmoe.errors import CorruptExpert
from zipmoe.pack import file as pack_file
from zipmoe.pack.file import PackFile

CONTENT = os.urandom(5 * 4096)
preadv = os.preadv


@pytest.fixture
def path(tmp_path: Path) -> Path:
    (tmp_path / "a.bin").write_bytes(CONTENT)
    return tmp_path / "a.bin"


@pytest.fixture
def page() -> memoryview:
    return memoryview(mmap.mmap(-1, 4 * 4096))


def reads(monkeypatch: pytest.MonkeyPatch, act: Callable[[int, list[memoryview], int], int]) -> None:
    """From here on, read by `act`."""
    monkeypatch.setattr(os, "preadv", act)


def test_reads_what_is_there(path: Path, page: memoryview) -> None:
    with PackFile(path) as file:
        assert file.size == len(CONTENT)
        file.read_into(4096, page)
    assert page == CONTENT[4096:]


def test_goes_on_after_short_reads(path: Path, page: memoryview, monkeypatch: pytest.MonkeyPatch) -> None:
    with PackFile(path) as file:
        reads(monkeypatch, lambda fd, views, at: preadv(fd, [views[0][:4096]], at))
        file.read_into(0, page)
    assert page == CONTENT[: 4 * 4096]


def test_no_call_is_longer_than_the_longest(path: Path, page: memoryview, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[int] = []

    def read(fd: int, views: list[memoryview], at: int) -> int:
        asked.append(len(views[0]))
        return preadv(fd, views, at)

    monkeypatch.setattr(pack_file, "LONGEST_READ", 8192)
    with PackFile(path) as file:
        reads(monkeypatch, read)
        file.read_into(0, page)
    assert asked == [8192, 8192]


def test_an_early_end_is_corruption(path: Path, page: memoryview) -> None:
    with (
        PackFile(path) as file,
        pytest.raises(CorruptExpert, match="16384 bytes at 8192, and ends after 12288 of them"),
    ):
        file.read_into(8192, page)


def test_reads_once_more_after_an_input_output_error(
    path: Path, page: memoryview, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = [OSError(errno.EIO, "Input/output error")]

    def read(fd: int, views: list[memoryview], at: int) -> int:
        if errors:
            raise errors.pop()
        return preadv(fd, views, at)

    with PackFile(path) as file:
        reads(monkeypatch, read)
        file.read_into(0, page)
        assert page == CONTENT[: 4 * 4096]
        errors += [OSError(errno.EIO, "Input/output error")] * 2
        with pytest.raises(CorruptExpert, match=r"cannot read 16384 bytes at 0 .*tried twice"):
            file.read_into(0, page)


@pytest.mark.parametrize("refuses", ["open", "read"])
def test_does_without_direct_reads(path: Path, page: memoryview, monkeypatch: pytest.MonkeyPatch, refuses: str) -> None:
    """Where the file system knows no O_DIRECT: some say so at open, some at the first read."""
    real_open = os.open
    direct: set[int] = set()

    def open_file(name: Path, flags: int) -> int:
        if flags & os.O_DIRECT and refuses == "open":
            raise OSError(errno.EINVAL, "Invalid argument")
        fd = real_open(name, flags & ~os.O_DIRECT)
        direct.add(fd) if flags & os.O_DIRECT else direct.discard(fd)
        return fd

    def read(fd: int, views: list[memoryview], at: int) -> int:
        if fd in direct:
            raise OSError(errno.EINVAL, "Invalid argument")
        return preadv(fd, views, at)

    monkeypatch.setattr(os, "open", open_file)
    reads(monkeypatch, read)
    with PackFile(path) as file:
        assert not file.direct
        file.read_into(4096, page)
    assert page == CONTENT[4096:]


def test_misalignment_is_the_callers_error(path: Path, page: memoryview) -> None:
    with PackFile(path) as file:
        for offset, view in ((1, page), (0, page[:100])):
            with pytest.raises(ValueError, match="multiples of 4096"):
                file.read_into(offset, view)
        if file.direct:
            with pytest.raises(ValueError, match="must start at a multiple of 4096"):
                file.read_into(0, page[1 : 1 + 4096])
