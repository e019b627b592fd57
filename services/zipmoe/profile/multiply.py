"""Multiply: how long one expert takes in each form, with the kernels and as inference calls them.

Weights come from memory, in huge pages as the arena is: more experts than the processor's cache holds are walked over,
round and round. No more than that, for a first start may have little memory. What a walk does around them belongs to it
(lease, count, gather rows, add up): behind the weights of a layer none of that is in a cache either, and it takes many
times as long as by itself.
"""

import itertools
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from zipmoe import kernels
from zipmoe.arena.directory import Directory
from zipmoe.arena.huge_pages import anonymous
from zipmoe.arena.layout import Header
from zipmoe.arena.leases import Leases
from zipmoe.arena.use_counter import UseCounter
from zipmoe.kernels import Packed
from zipmoe.pack.blob import packed_offset
from zipmoe.pack.reader import Pack
from zipmoe.profile.form import FORMS
from zipmoe.profile.sample import memory, slots
from zipmoe.profile.timing import curve, mean_of, seconds_of

ROWS: Final = (1, 2, 4, 8, 16, 64)

# As many experts are multiplied in one go as inference does for one token; with more rows as few, for as much work.
TOGETHER: Final = 8

MULTIPLY_SECONDS: Final = 0.1

# What is walked over, in caches, and the size of one where the kernel does not say.
_CACHES: Final = 3
_USUAL_CACHE: Final = 32 << 20
_MOST_WALK: Final = 1 << 29
_MOST_EXPERTS: Final = 1 << 11

Words = NDArray[np.uint16]
Expert = tuple[Any, Any]  # gate_up and down, both Packed or both words


def multiply(pack: Pack, form: str, threads: int, folder: Path) -> dict[int, float]:
    """Seconds for one expert in one of FORMS, by rows. Makes a lock file in `folder`."""
    bits = FORMS[form]
    size = pack.geometry
    experts = [_expert(slot, bits, size.weights, size.hidden) for slot in _walk(pack, bits)]
    # Of an arena, only the tables.
    header = Header(size.layers, size.experts, size.weights, 0, 0, size=0, epoch=0, fingerprint=pack.fingerprint)
    tables, leases = memory(header.slots_offset), Leases(folder / "arena")
    with closing(leases):
        around = _Tables(leases, Directory(tables, header), UseCounter(tables, header), header.records)
        return curve(ROWS, lambda rows: _seconds(around, experts, rows, size.hidden, bits, threads))


@dataclass(frozen=True, slots=True)
class _Tables:
    """What a walk looks at and writes to beside weights."""

    leases: Leases
    directory: Directory
    use: UseCounter
    records: int


def _seconds(around: _Tables, experts: list[Expert], rows: int, hidden: int, bits: int, threads: int) -> float:
    x = (np.random.default_rng(0).standard_normal((rows, hidden), np.float32).view(np.uint32) >> 16).astype(np.uint16)
    places, shares, together = np.arange(rows), np.ones(rows, np.float32), max(1, TOGETHER // rows)
    turn, numbers = itertools.cycle(experts), itertools.cycle(range(around.records))

    def act() -> None:
        leased = list(itertools.islice(numbers, together))
        for number in leased:
            around.leases.lease(number)
            around.directory.generation(number)
        around.use.decoded(leased)
        taken = [(x[places], *expert) for expert in itertools.islice(turn, together)]
        outs = [np.empty_like(x) for _ in taken]
        work = [(*one, out) for one, out in zip(taken, outs, strict=True)]
        if bits:
            kernels.experts(work, threads)
        else:
            for one in work:
                kernels.expert(*one, threads)
        around.leases.release(0, around.records)
        kernels.mix(np.empty_like(x), [(places, shares, out) for out in outs])

    return mean_of(lambda: seconds_of(act), MULTIPLY_SECONDS) / together


def _walk(pack: Pack, bits: int) -> Iterator[memoryview]:
    """Experts side by side in memory, more bytes of them than the cache holds."""
    originals = list(slots(pack, bits))
    size = max(len(slot) for slot in originals)
    count = min(_MOST_EXPERTS, -(-min(_MOST_WALK, _CACHES * _cache_bytes()) // size))
    walk = anonymous(count * size)
    for place, original in zip(range(0, len(walk), size), itertools.cycle(originals), strict=False):
        slot = walk[place : place + len(original)]
        slot[:] = original
        yield slot


def _expert(slot: memoryview, bits: int, weights: int, hidden: int) -> Expert:
    inner = weights // (3 * hidden)
    cut = 2 * inner * hidden
    if not bits:
        words: Words = np.frombuffer(slot, np.uint16, weights)
        return words[:cut].reshape(2 * inner, hidden), words[cut:].reshape(hidden, inner)
    half = packed_offset(weights)
    plane, parts = slot[:weights], slot[half:]
    return Packed(plane, parts, 0, 2 * inner, hidden), Packed(plane, parts, cut, hidden, inner)


def _cache_bytes() -> int:
    """Of the processor's largest cache."""
    sizes = Path("/sys/devices/system/cpu/cpu0/cache").glob("index*/size")
    kibibytes = [int(size.read_text().strip().removesuffix("K")) for size in sizes]
    return max(kibibytes, default=0) << 10 or _USUAL_CACHE
