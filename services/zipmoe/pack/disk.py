"""Disk: room, and what makes written bytes stay."""

import os
from pathlib import Path


def free_bytes(folder: Path) -> int:
    """What an ordinary user may still write on the disk of `folder`."""
    stat = os.statvfs(folder)
    return stat.f_bavail * stat.f_frsize


def mib(size: int) -> str:
    return f"{size / (1 << 20):.1f} MiB"


def write_durably(path: Path, text: bytes) -> None:
    with path.open("wb") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def sync_folder(folder: Path) -> None:
    """Make what was created, renamed or removed in `folder` survive a power cut."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
