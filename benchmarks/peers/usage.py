"""Usage: what the processes of a control group have taken until now."""

from dataclasses import dataclass

import psutil

from benchmarks.group import Group


@dataclass(frozen=True, slots=True)
class Usage:
    """Bytes that came from the disk, by reading or by touching what is mapped, and seconds of processors."""

    bytes_read: int = 0
    cpu: float = 0.0

    def __add__(self, other: "Usage") -> "Usage":
        return Usage(self.bytes_read + other.bytes_read, self.cpu + other.cpu)

    def __sub__(self, other: "Usage") -> "Usage":
        return Usage(self.bytes_read - other.bytes_read, self.cpu - other.cpu)


def used(group: Group) -> Usage:
    """By those that are running."""
    total = Usage()
    for process in group.processes():
        try:
            times = process.cpu_times()
            total += Usage(process.io_counters().read_bytes, times.user + times.system)
        except psutil.NoSuchProcess:
            continue
    return total
