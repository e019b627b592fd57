"""Blob: one run of BF16 words in a pack file, compressed. An expert is one run, a dense tensor is one run.

    [exponents of chunk 0 | pad] [exponents of chunk 1 | pad] ... [sign-mantissas of the whole run | pad]

A chunk is at most CHUNK weights; each chunk's exponents are compressed alone, so that one is decoded and merged at a
time. Everything is padded to PAGE, so that every part can be read with O_DIRECT. Padding is zero and hashed.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

PAGE = 4096
# Bits of a packed exponent's code: the forms that experts are multiplied in as they are (see kernels/src/packed.h).
CODE_BITS = (3, 4)
CHUNK = 1 << 20  # weights; whole pages


def padded(size: int) -> int:
    """`size` bytes, rounded up to whole pages."""
    return -(-size // PAGE) * PAGE


def slot_bytes(weights: int) -> int:
    """Bytes of memory to restore a run into: its words, with room to read the sign-mantissas into the upper half."""
    return 2 * padded(weights)


def packed_offset(weights: int) -> int:
    """Where the exponents start in a slot that keeps a run packed: behind the sign-mantissas."""
    return padded(weights)


def chunks(weights: int) -> Iterator[tuple[int, int]]:
    """(first weight, number of weights) of every chunk of a run."""
    for first in range(0, weights, CHUNK):
        yield first, min(CHUNK, weights - first)


@dataclass(frozen=True, slots=True)
class Blob:
    """Where a run lies and what it must hash to. Sizes are in bytes, hashes are xxh3_64.

    A chunk whose stored size equals its number of weights is stored as it is, whatever the codec.
    """

    offset: int
    weights: int
    exponent_sizes: tuple[int, ...]
    packed_bytes: tuple[int, ...]  # of memory for the exponents in each of CODE_BITS, its chunks' parts padded
    exponent_hash: int  # of the stored exponents, padding included
    sign_mantissa_hash: int  # of the stored sign-mantissas, padding included
    original_hash: int  # of the run's BF16 bytes, as the checkpoint has them

    @property
    def exponent_bytes(self) -> int:
        """Bytes on disk of the compressed exponents, padding included."""
        return sum(padded(size) for size in self.exponent_sizes)

    @property
    def sign_mantissa_offset(self) -> int:
        return self.offset + self.exponent_bytes

    def part_bytes(self, bits: int) -> int:
        """Bytes of memory for the exponents in codes of so many bits."""
        return self.packed_bytes[CODE_BITS.index(bits)]

    def resident_bytes(self, bits: int) -> int:
        """Bytes of memory for the run packed in codes of so many bits, or with 0 as BF16; whole pages."""
        return packed_offset(self.weights) + self.part_bytes(bits) if bits else slot_bytes(self.weights)

    @property
    def shrunk(self) -> bool:
        """Whether no chunk is stored as it is."""
        return all(size < most for size, (_, most) in zip(self.exponent_sizes, chunks(self.weights), strict=True))

    @property
    def end(self) -> int:
        """Offset behind the blob."""
        return self.sign_mantissa_offset + padded(self.weights)

    def to_wire(self) -> list[Any]:
        """Plain numbers, for msgpack or a pipe."""
        hashes = (self.exponent_hash, self.sign_mantissa_hash, self.original_hash)
        return [self.offset, self.weights, list(self.exponent_sizes), list(self.packed_bytes), *hashes]

    @classmethod
    def from_wire(cls, wire: Any) -> "Blob":
        """The inverse of `to_wire`. ValueError if that cannot be a blob."""
        try:
            offset, weights, sizes, packed, *hashes = wire
            numbers = (offset, weights, *sizes, *packed, *hashes)
        except TypeError as error:
            raise ValueError(f"not a blob: {error}") from None
        if not (
            len(hashes) == 3
            and all(type(number) is int and 0 <= number < 1 << 64 for number in numbers)
            and len(packed) == len(CODE_BITS)
            and not any(size % PAGE for size in (offset, *packed))
            and len(sizes) == -(-weights // CHUNK)
            and all(0 < size <= limit for size, (_, limit) in zip(sizes, chunks(weights), strict=True))
        ):
            raise ValueError(f"not a blob: {wire}")
        return cls(offset, weights, tuple(sizes), tuple(packed), *hashes)
