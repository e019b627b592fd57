"""Overhead: what the services take for themselves, measured by starting them and letting them end at once."""

import subprocess
import sys
from pathlib import Path
from typing import Final

from zipmoe.errors import ZipMoEError

_SERVICES: Final = ("zipmoe.expert_store.__main__", "zipmoe.scheduler.__main__", "zipmoe.inference.__main__")
_WORKER: Final = "zipmoe.expert_store.worker"

# What they come to have beside their code while they serve: buffers of messages, of reading and decoding, activations.
WORKING: Final = 48 << 20


def overhead(workers: int) -> int:
    """Bytes that the three services, so many workers and this process have resident. Takes seconds."""
    own = [_parts(Path("/proc/self/status").read_text()), *map(_started, _SERVICES)]
    of_worker = _started(_WORKER)
    # Files are mapped by all and there once; whoever maps most has nearly all that the others have.
    files = max(file for _, file in [*own, of_worker])
    return sum(anonymous for anonymous, _ in own) + workers * of_worker[0] + files + WORKING


def _started(module: str) -> tuple[int, int]:
    """Of a process that has imported the module."""
    report = f"import {module}, sys; sys.stdout.write(open('/proc/self/status').read())"
    found = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=False)
    if found.returncode:
        raise ZipMoEError(f"{module} cannot be imported: {found.stderr.strip().splitlines()[-1:]}")
    return _parts(found.stdout)


def _parts(status: str) -> tuple[int, int]:
    """Bytes of its own, and of files that it maps, from a process's status."""
    fields = dict(line.split(":", 1) for line in status.splitlines())
    anonymous, file = (int(fields[name].split()[0]) * 1024 for name in ("RssAnon", "RssFile"))
    return anonymous, file
