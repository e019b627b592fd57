"""Disk: what it gives to one reader, and to several at once, past the page cache.

A core that sleeps is late to hear that a read has ended, so it matters what else is going on. One reader reads while
nothing is, as when a layer waits for one expert; several while all cores are busy, as when it multiplies those that
come in between.
"""

import itertools
import random
import subprocess
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from functools import partial
from time import perf_counter
from typing import Final

from zipmoe.pack.blob import PAGE, Blob
from zipmoe.pack.file import PackFile
from zipmoe.pack.reader import Pack
from zipmoe.profile.child import child
from zipmoe.profile.sample import memory
from zipmoe.profile.timing import curve, median_of, seconds_of

# Readers at once. A store has a reader a worker, and two a worker are more than it will ever have.
READERS: Final = (1, 2, 4)

WINDOW_SECONDS: Final = 0.03
DISK_SECONDS: Final = 0.3
SEEK_SECONDS: Final = 0.05


def disk(pack: Pack, workers: int) -> dict[int, float]:
    """Bytes/s that so many readers at once get together, for `workers` on as many cores."""
    blobs = [blob for layer in pack.manifest.experts for blob in layer]
    random.Random(0).shuffle(blobs)
    alone = curve((1,), partial(_together, pack.experts_file, blobs))
    with _busy(workers):
        several = (readers for readers in READERS if 1 < readers <= 2 * workers)
        return alone | curve(several, partial(_together, pack.experts_file, blobs))


def seek(pack: Pack) -> float:
    """Seconds that it takes to read 4 KiB anywhere in the experts."""
    file, chance = pack.experts_file, random.Random(0)
    page = memory(PAGE)
    pages = file.size // PAGE
    return median_of(lambda: seconds_of(lambda: file.read_into(chance.randrange(pages) * PAGE, page)), SEEK_SECONDS)


@contextmanager
def _busy(cores: int) -> Iterator[None]:
    with ExitStack() as held:
        busy = [held.enter_context(child("zipmoe.profile.busy", stdout=subprocess.PIPE)) for _ in range(cores)]
        for each in busy:
            assert each.stdout is not None
            each.stdout.readline()
        yield


def _together(file: PackFile, blobs: Sequence[Blob], readers: int) -> float:
    largest = max(blob.end - blob.offset for blob in blobs)
    memories = [memory(largest) for _ in range(readers)]
    turn = itertools.cycle(blobs)

    def read(into: memoryview, ends: float) -> float:
        """Bytes/s of one reader, which reads an expert's two parts apart, as `pack.restore` does."""
        started = now = perf_counter()
        got = 0
        while not got or now < ends:
            blob = next(turn)
            split = blob.end - blob.sign_mantissa_offset
            file.read_into(blob.sign_mantissa_offset, into[:split])
            file.read_into(blob.offset, into[split : split + blob.exponent_bytes])
            got += blob.end - blob.offset
            now = perf_counter()
        return got / (now - started)

    with ThreadPoolExecutor(readers, "read") as pool:
        return median_of(
            lambda: sum(pool.map(read, memories, itertools.repeat(perf_counter() + WINDOW_SECONDS))), DISK_SECONDS
        )
