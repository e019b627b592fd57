"""PackFile: a pack's file, read past the page cache straight into memory that the caller owns."""

import errno
import mmap
import os
from pathlib import Path
from types import TracebackType

from zipmoe.errors import CorruptExpert
from zipmoe.pack.blob import PAGE

# A read this long is as fast as a longer one, and whoever waits for the disk waits no longer than for this.
LONGEST_READ = 8 << 20


class PackFile:
    """An open file. Not all file systems know O_DIRECT: one that does not is read through the page cache, and the
    pages are given back at once, because the cache is not counted in the memory budget.

    OSError if the file cannot be opened."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)
        self._fd, self.direct = _open(self.path)

    def __enter__(self) -> "PackFile":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    @property
    def size(self) -> int:
        return os.fstat(self._fd).st_size

    def read_into(self, offset: int, view: memoryview) -> None:
        """Fill `view` from `offset`. Offset, length and address must be multiples of PAGE.

        ValueError if they are not; CorruptExpert if the file ends early or the disk cannot read it twice running."""
        if offset % PAGE or len(view) % PAGE:
            raise ValueError(f"offset {offset} and length {len(view)} must be multiples of {PAGE}")
        done = 0
        while done < len(view):
            got = self._read(offset + done, view[done : done + LONGEST_READ])
            if got == 0:
                raise CorruptExpert(
                    f"{self.path} is truncated: it should have {len(view)} bytes at {offset}, and ends after {done} of "
                    "them; copy or pack it again"
                )
            done += got
        if not self.direct:
            os.posix_fadvise(self._fd, offset, len(view), os.POSIX_FADV_DONTNEED)

    def _read(self, offset: int, view: memoryview) -> int:
        try:
            return self._read_once(offset, view)
        except OSError as error:
            if error.errno != errno.EIO:
                raise
        try:
            return self._read_once(offset, view)
        except OSError as error:
            raise CorruptExpert(
                f"{self.path}: the disk cannot read {len(view)} bytes at {offset} ({error.strerror}, tried twice); "
                "check the disk, then copy or pack it again"
            ) from None

    def _read_once(self, offset: int, view: memoryview) -> int:
        try:
            return os.preadv(self._fd, [view], offset)
        except OSError as error:
            if error.errno == errno.EINVAL and self.direct:
                raise ValueError(f"the memory to read into must start at a multiple of {PAGE}") from None
            raise


def _open(path: Path) -> tuple[int, bool]:
    """A descriptor, and whether it is O_DIRECT: some file systems refuse at open, others at the first read."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECT)
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    try:
        with mmap.mmap(-1, PAGE) as page:
            os.preadv(fd, [page], 0)
    except OSError as error:
        os.close(fd)
        if error.errno != errno.EINVAL:
            raise
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC), False
    return fd, True
