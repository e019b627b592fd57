"""Group: a control group of processes, with a memory limit or without, of whichever version this machine has.

Page cache counts as memory, that of mapped files too. What a group leaves in the page cache is charged to its parent
when the group goes: drop it before another is measured.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Self

import psutil

_V1 = Path("/sys/fs/cgroup/memory")


class Group:
    def __init__(self, path: Path, v1: bool) -> None:
        self.path = path
        self._v1 = v1

    @classmethod
    def made(cls, name: str, limit: int | None) -> Self:
        """A new one, with a limit in bytes. Needs root."""
        v1 = _V1.exists()
        made = cls((_V1 if v1 else Path("/sys/fs/cgroup")) / f"zipmoe-{name}-{os.getpid()}", v1)
        made.path.mkdir()
        if limit is not None:
            (made.path / ("memory.limit_in_bytes" if v1 else "memory.max")).write_text(str(limit))
        return made

    @classmethod
    def own(cls) -> Self:
        """That this process is in."""
        for line in Path("/proc/self/cgroup").read_text().splitlines():
            _, controllers, name = line.split(":", 2)
            if controllers == "memory":
                return cls(_V1 / name.lstrip("/"), True)
        return cls(Path("/sys/fs/cgroup") / name.lstrip("/"), False)

    def within(self, command: Sequence[str]) -> list[str]:
        """The command that runs this one in the group, with all that it starts. A shell joins, for code of ours between
        fork and exec is unsafe where gRPC has threads."""
        return ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(self.path / "cgroup.procs"), *command]

    def usage(self) -> int:
        return int((self.path / ("memory.usage_in_bytes" if self._v1 else "memory.current")).read_text())

    def peak(self) -> int:
        """The most bytes at once, page cache included."""
        return int((self.path / ("memory.max_usage_in_bytes" if self._v1 else "memory.peak")).read_text())

    def met(self) -> int:
        """How often the limit was met."""
        return int((self.path / "memory.failcnt").read_text()) if self._v1 else self._events("max")

    def killed(self) -> int:
        if not self._v1:
            return self._events("oom_kill")
        lines = (self.path / "memory.oom_control").read_text().splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("oom_kill ")), 0)

    def processes(self) -> list[psutil.Process]:
        found = []
        for pid in (self.path / "cgroup.procs").read_text().split():
            try:
                found.append(psutil.Process(int(pid)))
            except psutil.NoSuchProcess:
                continue
        return found

    def remove(self) -> None:
        self.path.rmdir()

    def _events(self, name: str) -> int:
        lines = (self.path / "memory.events").read_text().splitlines()
        return next(int(line.split()[1]) for line in lines if line.split()[0] == name)
