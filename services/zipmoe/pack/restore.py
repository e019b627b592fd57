"""Restore: a blob on disk becomes BF16 words in memory, without a copy more than decoding needs.

The sign-mantissas are read straight into the upper half of the slot; the exponents are decoded a chunk at a time and
merged upwards, which never overwrites a sign-mantissa that is still needed (see kernels/src/planes.cpp).
"""

import mmap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from time import perf_counter_ns
from types import TracebackType

from xxhash import xxh3_64, xxh3_64_intdigest

from zipmoe.errors import CorruptExpert
from zipmoe.kernels import merge, pack
from zipmoe.pack.blob import CHUNK, Blob, chunks, packed_offset, padded
from zipmoe.pack.codec import Codec
from zipmoe.pack.file import LONGEST_READ, PackFile


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore cost. Decoding includes checking the hashes."""

    bytes_read: int
    read_ns: int
    decode_ns: int

    def __add__(self, other: "Restored") -> "Restored":
        return Restored(
            self.bytes_read + other.bytes_read, self.read_ns + other.read_ns, self.decode_ns + other.decode_ns
        )


class Scratch:
    """Memory that one restore at a time works in: a window of stored exponents and one decoded chunk of them.

    Pages that no blob reached are never touched, so it is as small as the largest blob asks for, and at most 9 MiB."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, LONGEST_READ + CHUNK)
        view = memoryview(self._memory)
        self.window, self.plane = view[:LONGEST_READ], view[LONGEST_READ:]

    def __enter__(self) -> "Scratch":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.window.release()
        self.plane.release()


def restore(file: PackFile, blob: Blob, codec: Codec, slot: memoryview, scratch: Scratch) -> Restored:
    """Bring `blob` into `slot` as BF16: afterwards slot[:2 * blob.weights] holds the checkpoint's words.

    `slot` is writable, starts at a page and has at least slot_bytes(blob.weights) bytes; what lies behind the words is
    undefined. CorruptExpert if the stored bytes are damaged; the slot then holds nothing of use."""
    half = padded(blob.weights)
    _check(slot, 2 * half, blob)
    words, plane = slot[: 2 * blob.weights], slot[half : 2 * half]

    def take(first: int, exponents: memoryview) -> None:
        last = first + len(exponents)
        merge(exponents, plane[first:last], words[2 * first : 2 * last])

    return restore_sign_mantissas(file, blob, plane) + _decode_exponents(file, blob, codec, scratch, take)


def restore_packed(file: PackFile, blob: Blob, codec: Codec, bits: int, slot: memoryview, scratch: Scratch) -> Restored:
    """Bring `blob` into `slot` as it stays resident packed: sign-mantissas, then from packed_offset(blob.weights) on
    the exponents in codes of so many bits.

    `slot` is writable, starts at a page and has at least packed_offset(blob.weights) + blob.part_bytes(bits) bytes.
    CorruptExpert as for `restore`, and where the exponents need more room than the manifest says."""
    half = packed_offset(blob.weights)
    _check(slot, half + blob.part_bytes(bits), blob)
    parts = slot[half : half + blob.part_bytes(bits)]
    return restore_sign_mantissas(file, blob, slot[:half]) + restore_exponents(file, blob, codec, bits, parts, scratch)


def restore_sign_mantissas(file: PackFile, blob: Blob, plane: memoryview) -> Restored:
    """Read the sign-mantissas into `plane`, padded(blob.weights) bytes that start at a page."""
    started = perf_counter_ns()
    file.read_into(blob.sign_mantissa_offset, plane)
    read = perf_counter_ns()
    if xxh3_64_intdigest(plane) != blob.sign_mantissa_hash:
        raise _damaged(file, "sign-mantissas", blob.sign_mantissa_offset, len(plane), "hash differs")
    return Restored(len(plane), read - started, perf_counter_ns() - read)


def restore_exponents(
    file: PackFile, blob: Blob, codec: Codec, bits: int, parts: memoryview, scratch: Scratch
) -> Restored:
    """Bring the exponents into `parts`, blob.part_bytes(bits) that start at a page. If they are stored so, reading them
    is all."""
    if codec.name == f"pack{bits}" and blob.shrunk:
        started = perf_counter_ns()
        file.read_into(blob.offset, parts)
        read = perf_counter_ns()
        if xxh3_64_intdigest(parts) != blob.exponent_hash:
            raise _damaged(file, "exponents", blob.offset, blob.exponent_bytes, "hash differs")
        return Restored(len(parts), read - started, perf_counter_ns() - read)
    used = 0

    def take(_: int, exponents: memoryview) -> None:
        nonlocal used
        size = pack(bits, exponents, parts[used:])
        if size is None:
            raise _damaged(file, "exponents", blob.offset, blob.exponent_bytes, "they have more escapes than recorded")
        used += padded(size)

    return _decode_exponents(file, blob, codec, scratch, take)


def _decode_exponents(
    file: PackFile, blob: Blob, codec: Codec, scratch: Scratch, take: Callable[[int, memoryview], None]
) -> Restored:
    """Give `take` (first weight, exponents) chunk by chunk, ascending."""
    read_ns = decode_ns = 0
    exponent_hash = xxh3_64()
    for offset, size, members in _windows(blob, len(scratch.window)):
        window = scratch.window[:size]
        started = perf_counter_ns()
        file.read_into(offset, window)
        read_ns += perf_counter_ns() - started
        started = perf_counter_ns()
        exponent_hash.update(window)
        if offset + size == blob.sign_mantissa_offset and exponent_hash.intdigest() != blob.exponent_hash:
            raise _damaged(file, "exponents", blob.offset, blob.exponent_bytes, "hash differs")
        for at, stored, first, length in members:
            try:
                exponents = _decode(codec, window[at : at + stored], scratch.plane[:length])
            except ValueError as error:
                raise _damaged(file, "exponents", offset + at, stored, f"{codec.name} says {error}") from None
            take(first, exponents)
        decode_ns += perf_counter_ns() - started
    return Restored(blob.exponent_bytes, read_ns, decode_ns)


def _check(slot: memoryview, needed: int, blob: Blob) -> None:
    if len(slot) < needed:
        raise ValueError(f"slot has {len(slot)} bytes, {blob.weights} weights need {needed}")


# A member of a window: where its stored bytes start in the window and how many, its first weight and how many.
_Member = tuple[int, int, int, int]


def _windows(blob: Blob, limit: int) -> Iterator[tuple[int, int, list[_Member]]]:
    """(offset in the file, bytes, members) of reads of as many whole chunks as fit into `limit` bytes."""
    offset, size, members = blob.offset, 0, list[_Member]()
    for stored, (first, length) in zip(blob.exponent_sizes, chunks(blob.weights), strict=True):
        if size + padded(stored) > limit:
            yield offset, size, members
            offset, size, members = offset + size, 0, []
        members.append((size, stored, first, length))
        size += padded(stored)
    if members:
        yield offset, size, members


def _decode(codec: Codec, stored: memoryview, plane: memoryview) -> memoryview:
    if len(stored) == len(plane):  # did not shrink, so it is stored as it is
        return stored
    codec.decompress_into(stored, plane)
    return plane


def _damaged(file: PackFile, part: str, offset: int, size: int, why: str) -> CorruptExpert:
    return CorruptExpert(f"{file.path}: {part} at {offset} ({size} bytes) are damaged, {why}; copy or pack it again")
