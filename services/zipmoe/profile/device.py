"""Device: what must be the same for what was measured to hold."""

import os
import platform
from dataclasses import dataclass
from pathlib import Path
from typing import Self


@dataclass(frozen=True, slots=True)
class Device:
    """`memory` is the kernel's, in GiB: the last few MiB of it change with the kernel. `disk` is the number of the
    device that the pack's file system is on."""

    processor: str
    cores: int
    memory: int
    disk: str

    @classmethod
    def of(cls, pack: Path) -> Self:
        """This device, with the disk that holds `pack`."""
        number = pack.stat().st_dev
        disk = f"{os.major(number)}:{os.minor(number)}"
        return cls(_processor(), os.cpu_count() or 1, round(_value("/proc/meminfo", "MemTotal") / 2**20), disk)


def _processor() -> str:
    """As it calls itself; ARM gives only numbers of its maker and part."""
    lines = (line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines())
    said = {key.strip(): value.strip() for key, _, value in lines}
    names = (said[key] for key in ("model name", "CPU implementer", "CPU part", "CPU revision") if key in said)
    return " ".join((platform.machine(), *names))


def _value(path: str, name: str) -> int:
    """A number in a file of "name: number unit" lines, or 0."""
    lines = (line.split() for line in Path(path).read_text().splitlines())
    return next((int(words[1]) for words in lines if words[0] == f"{name}:"), 0)
