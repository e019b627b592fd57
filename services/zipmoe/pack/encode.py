"""Encode: runs of a checkpoint become stored chunks, in order, on a few threads, with a bounded number ahead.

A run is read twice, once for its exponents and once for its sign-mantissas: how long the exponents get is known only
at their end, and they lie first. So memory stays at a few chunks, whatever the size of a tensor.
"""

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from zipmoe.kernels import most_bytes, pack, split
from zipmoe.pack.blob import CODE_BITS, chunks, padded
from zipmoe.pack.checkpoint import Checkpoint
from zipmoe.pack.codec import Codec
from zipmoe.pack.family import Run

THREADS = min(os.cpu_count() or 1, 8)

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class Chunk:
    """One stored part of a run: `words` are its BF16 bytes, `stored` what of them goes to the disk, unpadded, and
    `packed_bytes` the memory that its exponents take in each of CODE_BITS (0 where it has none)."""

    words: bytearray
    stored: bytes | bytearray
    packed_bytes: tuple[int, ...] = (0,) * len(CODE_BITS)


def encode(checkpoint: Checkpoint, runs: Iterable[Run], codec: Codec) -> Generator[Chunk]:
    """For each run, its chunks' exponents and then its chunks' sign-mantissas."""

    def exponents(run: Run, first: int, length: int) -> Chunk:
        words, plane, _ = _planes(checkpoint, run, first, length)
        stored = codec.compress(plane)
        return Chunk(
            words, stored if len(stored) < length else plane, tuple(_packed_bytes(plane, bits) for bits in CODE_BITS)
        )

    def sign_mantissas(run: Run, first: int, length: int) -> Chunk:
        words, _, plane = _planes(checkpoint, run, first, length)
        return Chunk(words, plane)

    steps = (
        (part, run, first, length)
        for run in runs
        for part in (exponents, sign_mantissas)
        for first, length in chunks(run.weights)
    )
    with ThreadPoolExecutor(THREADS, "encode") as pool:
        yield from _ahead(pool, lambda step: step[0](*step[1:]), steps, 2 * THREADS)


def read_run(checkpoint: Checkpoint, run: Run, at: int, view: memoryview) -> None:
    """Fill `view` with the run's BF16 bytes from its byte `at`, across its tensors."""
    for tensor in run.tensors:
        take = min(len(view), tensor.size - at)
        if take > 0:
            checkpoint.read_into(tensor, at, view[:take])
            view, at = view[take:], 0
        else:
            at -= tensor.size


def _packed_bytes(plane: bytearray, bits: int) -> int:
    """As if all were escapes where packing would be no smaller than BF16."""
    return padded(pack(bits, plane, bytearray(len(plane))) or most_bytes(bits, len(plane)))


def _planes(checkpoint: Checkpoint, run: Run, first: int, length: int) -> tuple[bytearray, bytearray, bytearray]:
    words, exponents, sign_mantissas = bytearray(2 * length), bytearray(length), bytearray(length)
    read_run(checkpoint, run, 2 * first, memoryview(words))
    split(words, exponents, sign_mantissas)
    return words, exponents, sign_mantissas


def _ahead(
    pool: ThreadPoolExecutor, act: Callable[[Item], Result], items: Iterable[Item], window: int
) -> Generator[Result]:
    """`map` on a pool, in order, never more than `window` results ahead of whoever takes them."""
    waiting: deque[Future[Result]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(act, item))
            if len(waiting) == window:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        for future in waiting:
            future.cancel()
