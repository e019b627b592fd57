"""Heap: what a thread frees goes back, whatever is still in use beside it."""

import subprocess
import sys

import pytest

# Large and small blocks in turn: where they share a heap, the small ones keep the large ones' pages. Twice, for glibc
# takes what it has once seen freed for small. Run in a thread, as inference computes in one.
PROGRAM = """
import sys, threading
from pathlib import Path
if sys.argv[1] == "lean":
    from zipmoe.inference.heap import keep_little
    keep_little()
import numpy as np

kept = []

def resident():
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status["RssAnon"].split()[0]) // 1024

def work():
    for _ in range(2):
        blocks = []
        for _ in range(64):
            blocks.append(np.ones(1 << 20, np.uint8))
            kept.append(np.ones(2000, np.uint8))

before = resident()
thread = threading.Thread(target=work)
thread.start()
thread.join()
print(resident() - before)
"""


def grown(how: str) -> int:
    """MiB."""
    return int(subprocess.run([sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True).stdout)


def test_freed_memory_goes_back() -> None:
    if grown("usual") < 8:
        pytest.skip("this C library gives it back by itself")
    assert grown("lean") < 8
