"""Memory: how much of it this process and its children may use."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

# What is left to others on a device that is not ours alone.
SHARE: Final = 0.8

_CGROUP: Final = Path("/sys/fs/cgroup")
_UNLIMITED: Final = 1 << 60


def available() -> int:
    """Bytes: the least limit of a control group we are in, of either version, else SHARE of what is available."""
    limits = [limit for limit in _limits() if limit < _UNLIMITED]
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    free = int(int(fields["MemAvailable"].split()[0]) * 1024 * SHARE)
    return min([free, *limits])


def _limits() -> Iterator[int]:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers == "memory":
            yield from _upwards(_CGROUP / "memory", group, "memory.limit_in_bytes")
        elif not controllers:
            yield from _upwards(_CGROUP, group, "memory.max")


def _upwards(top: Path, group: str, name: str) -> Iterator[int]:
    """The limits of a group and of those it lies in. In a container the group's own path may not be there."""
    here = top / group.lstrip("/")
    for folder in (here, *here.parents):
        if folder.is_relative_to(top):
            try:
                yield int((folder / name).read_text())
            except (OSError, ValueError):
                continue  # not there, or "max"
