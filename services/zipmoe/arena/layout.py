"""Where everything in the arena lies: pure arithmetic and byte formats, nothing is opened here."""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self

from xxhash import xxh3_64_intdigest

from zipmoe.errors import StaleEpoch

PAGE: Final = 4096
LAYOUT_VERSION: Final = 4
RECORD_BYTES: Final = 64
USE_BYTES: Final = 40

# One expert is read while another one is multiplied.
FEWEST_SLOTS: Final = 2

_MAGIC: Final = b"ZIPMOE\x00A"
_HEADER: Final = struct.Struct("<8sIIIIQQQQ32s")
_PARTITION: Final = struct.Struct("<10Q")
_CHECKSUM: Final = struct.Struct("<Q")


class Part(IntEnum):
    """What of an expert lies in a slot. Each part has a pool of its own, so that half an expert can be resident."""

    WORDS = 0  # all of it, as BF16
    SIGN_MANTISSAS = 1
    EXPONENTS = 2  # packed


PLANES: Final = (Part.SIGN_MANTISSAS, Part.EXPONENTS)


def round_up(size: int, unit: int = PAGE) -> int:
    return -(-size // unit) * unit


@dataclass(frozen=True, slots=True)
class Header:
    """What an arena is for and how large it is. `size` in bytes; `weights` is the number of BF16 words in an expert.

    `bits` tells how exponents are kept: in codes of 3 or 4 bits, at most `part` bytes an expert, or 0 if experts are
    kept as BF16 words alone.
    """

    layers: int
    experts: int
    weights: int
    bits: int
    part: int
    size: int
    epoch: int
    fingerprint: str

    @property
    def records(self) -> int:
        return self.layers * self.experts

    @property
    def form(self) -> str:
        """How experts are kept, by the name that people use."""
        return f"pack{self.bits}" if self.bits else "bf16"

    def part_bytes(self, part: Part) -> int:
        """Room for a part of an expert. Sign-mantissas are read straight from disk: into a slot of theirs, or into the
        upper half of a slot for words, to be merged there; so each half starts on a page."""
        plane = round_up(self.weights)
        return {Part.WORDS: 2 * plane, Part.SIGN_MANTISSAS: plane, Part.EXPONENTS: round_up(self.part)}[part]

    @property
    def slot_bytes(self) -> int:
        """Room for an expert as it is multiplied: packed, or as BF16 if nothing is kept packed here."""
        return sum(self.part_bytes(part) for part in PLANES) if self.bits else self.part_bytes(Part.WORDS)

    @property
    def directory_offset(self) -> int:
        return 2 * PAGE

    @property
    def use_offset(self) -> int:
        return self.directory_offset + round_up(self.records * RECORD_BYTES)

    @property
    def use_bytes(self) -> int:
        """One leading record holds the clock, then one an expert."""
        return round_up((self.records + 1) * USE_BYTES)

    @property
    def slots_offset(self) -> int:
        return self.use_offset + self.use_bytes

    def to_bytes(self) -> bytes:
        body = _HEADER.pack(
            _MAGIC,
            LAYOUT_VERSION,
            self.layers,
            self.experts,
            self.bits,
            self.weights,
            self.part,
            self.size,
            self.epoch,
            self.fingerprint.encode(),
        )
        return body + _CHECKSUM.pack(xxh3_64_intdigest(body))

    @classmethod
    def from_bytes(cls, page: bytes) -> Self | None:
        """The header in `page`, or None where there is none: another version's, half-written, or no arena at all."""
        if len(page) < _HEADER.size + _CHECKSUM.size:
            return None
        magic, version, layers, experts, bits, weights, part, size, epoch, fingerprint = _HEADER.unpack_from(page)
        (checksum,) = _CHECKSUM.unpack_from(page, _HEADER.size)
        if (magic, version) != (_MAGIC, LAYOUT_VERSION) or checksum != xxh3_64_intdigest(page[: _HEADER.size]):
            return None
        return cls(layers, experts, weights, bits, part, size, epoch, fingerprint.decode().rstrip("\0"))


@dataclass(frozen=True, slots=True)
class Slot:
    """Bytes from the arena's start, and how many."""

    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Pool:
    """Slots of one size, side by side. `offset` and `slot_bytes` are multiples of a page."""

    offset: int
    slot_bytes: int
    slots: int

    @property
    def end(self) -> int:
        return self.offset + self.slots * self.slot_bytes

    def slot(self, number: int) -> Slot:
        return Slot(self.slot_offset(number), self.slot_bytes)

    def slot_offset(self, slot: int) -> int:
        return self.offset + slot * self.slot_bytes

    def slot_at(self, offset: int) -> int:
        """-1 where no slot starts."""
        slot, rest = divmod(offset - self.offset, self.slot_bytes)
        return slot if 0 <= slot < self.slots and not rest else -1


@dataclass(frozen=True, slots=True)
class Partition:
    """The pools of an arena, by part."""

    pools: tuple[Pool, Pool, Pool]

    def __getitem__(self, part: Part) -> Pool:
        return self.pools[part]

    @property
    def end(self) -> int:
        return self.pools[-1].end

    @property
    def experts(self) -> int:
        """How many experts can be resident as they are multiplied."""
        words, sign_mantissas, exponents = (pool.slots for pool in self.pools)
        return words + min(sign_mantissas, exponents)

    def to_bytes(self, epoch: int) -> bytes:
        numbers = (number for pool in self.pools for number in (pool.offset, pool.slot_bytes, pool.slots))
        body = _PARTITION.pack(epoch, *numbers)
        return body + _CHECKSUM.pack(xxh3_64_intdigest(body))

    @classmethod
    def from_bytes(cls, page: bytes, epoch: int) -> Self | None:
        """The partition in `page`, or None where nobody has partitioned this epoch's arena yet."""
        (checksum,) = _CHECKSUM.unpack_from(page, _PARTITION.size)
        found, *numbers = _PARTITION.unpack_from(page)
        if found != epoch or checksum != xxh3_64_intdigest(page[: _PARTITION.size]):
            return None
        return cls((Pool(*numbers[:3]), Pool(*numbers[3:6]), Pool(*numbers[6:])))


def divide(header: Header, words: int, sign_mantissas: int, exponents: int) -> Partition:
    """So many slots of each part, one pool behind the other."""
    first = Pool(header.slots_offset, header.part_bytes(Part.WORDS), words)
    second = Pool(first.end, header.part_bytes(Part.SIGN_MANTISSAS), sign_mantissas)
    third = Pool(second.end, header.part_bytes(Part.EXPONENTS), exponents)
    return Partition((first, second, third))


def whole(header: Header) -> Partition:
    """As many experts as there is room for, all of them as they are multiplied."""
    slots = (header.size - header.slots_offset) // header.slot_bytes
    return divide(header, 0, slots, slots) if header.bits else divide(header, slots, 0, 0)


def same_epoch(asked: int, mine: int, arena: str) -> None:
    """Raises StaleEpoch where a caller speaks of another incarnation of the arena."""
    if asked != mine:
        raise StaleEpoch(f"arena {arena} is at epoch {mine}, the request speaks of epoch {asked}: attach again")
