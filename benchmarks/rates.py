"""Rates: what the machine's disk and memory give at this moment; a virtual disk's rate wanders."""

import mmap
import os
import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

READERS: Final = 4
BLOCK: Final = 8 << 20
DISK_SECONDS: Final = 1.0
READ_SECONDS: Final = 1.0
ROUNDS: Final = 4


def disk_rate(weights: Path) -> float:
    """Bytes/s that some readers get together, past the page cache, anywhere in the largest of the files."""
    files = weights.iterdir() if weights.is_dir() else [weights]
    file = max(files, key=lambda path: path.stat().st_size)
    blocks, ends = max(1, file.stat().st_size // BLOCK), time.perf_counter() + DISK_SECONDS

    def read(reader: int) -> int:
        chance, memory, got = random.Random(reader), mmap.mmap(-1, BLOCK), 0
        descriptor = os.open(file, os.O_RDONLY | os.O_DIRECT)
        try:
            while time.perf_counter() < ends:
                got += os.preadv(descriptor, [memory], chance.randrange(blocks) * BLOCK)
        finally:
            os.close(descriptor)
        return got

    started = time.perf_counter()
    with ThreadPoolExecutor(READERS) as pool:
        total = sum(pool.map(read, range(READERS)))
    return total / (time.perf_counter() - started)


def memory_rate() -> float:
    """Bytes that all cores read in a second."""
    import torch

    torch.set_num_threads(os.cpu_count() or 1)
    # Small, for what is measured beside it may have its pages cached; and read anew until a GiB has gone by.
    words = torch.ones(1 << 25, dtype=torch.int64)
    best, ends = float("inf"), time.perf_counter() + READ_SECONDS
    while time.perf_counter() < ends:
        started = time.perf_counter()
        for _ in range(ROUNDS):
            words.sum()
        best = min(best, time.perf_counter() - started)
    return ROUNDS * words.nbytes / best
