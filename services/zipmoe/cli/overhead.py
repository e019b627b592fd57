"""Overhead: what the services take for themselves, measured by starting them and letting them end at once."""

import os
import subprocess
import sys
from typing import Final

_SERVICES: Final = ("zipmoe.expert_store", "zipmoe.scheduler", "zipmoe.inference")


def overhead(workers: int) -> int:
    """Bytes that the three services and so many workers have resident once their code is there. Takes seconds."""
    return sum(map(_resident, _SERVICES)) + workers * _resident("zipmoe.expert_store.worker")


def _resident(module: str) -> int:
    """A process that has imported the module. Pages that processes share are counted for each."""
    command = (sys.executable, "-c", f"import {module}")
    if not module.endswith("worker"):
        command = (sys.executable, "-c", f"import {module}.__main__")
    process = subprocess.Popen(command)
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert not process.returncode, f"{module} cannot be imported"
    return used.ru_maxrss * 1024
