"""Overhead: what the services take for themselves, measured by starting them and letting them end at once."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Self

from zipmoe.errors import ZipMoEError

# What they come to have beside their code while they serve: buffers of messages, of reading and decoding, activations.
WORKING: Final = 64 << 20


@dataclass(frozen=True, slots=True)
class Taken:
    """Resident bytes of a process: its own, and of files that it maps."""

    own: int
    files: int

    @classmethod
    def of(cls, status: str) -> Self:
        """From a process's status, as the kernel writes it."""
        fields = dict(line.split(":", 1) for line in status.splitlines())
        return cls(*(int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile")))


@dataclass(frozen=True, slots=True)
class Processes:
    """What each takes that has imported what it needs, and done nothing yet."""

    expert_store: Taken
    worker: Taken
    scheduler: Taken
    inference: Taken


def measured() -> Processes:
    """Takes seconds."""
    return Processes(
        expert_store=started("zipmoe.expert_store.__main__"),
        worker=started("zipmoe.expert_store.worker"),
        scheduler=started("zipmoe.scheduler.__main__"),
        inference=started("zipmoe.inference.__main__"),
    )


def overhead(workers: int) -> int:
    """Bytes that the three services, so many workers and this process have resident. Takes seconds."""
    here, there = Taken.of(Path("/proc/self/status").read_text()), measured()
    every = (here, there.expert_store, there.scheduler, there.inference)
    # Files are mapped by all and there once; whoever maps most has nearly all that the others have.
    files = max(taken.files for taken in (*every, there.worker))
    return sum(taken.own for taken in every) + workers * there.worker.own + files + WORKING


def started(module: str) -> Taken:
    """Of a process that has imported the module. Raises ZipMoEError if it cannot."""
    report = f"import {module}, sys; sys.stdout.write(open('/proc/self/status').read())"
    found = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=False)
    if found.returncode:
        raise ZipMoEError(f"{module} cannot be imported: {found.stderr.strip().splitlines()[-1:]}")
    return Taken.of(found.stdout)
