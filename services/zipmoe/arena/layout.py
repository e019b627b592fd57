"""Where everything in the arena lies: pure arithmetic and byte formats, nothing is opened here."""

import struct
from dataclasses import dataclass
from typing import Final, Self

from xxhash import xxh3_64_intdigest

from zipmoe.errors import StaleEpoch

PAGE: Final = 4096
LAYOUT_VERSION: Final = 3
RECORD_BYTES: Final = 64
USE_BYTES: Final = 40

_MAGIC: Final = b"ZIPMOE\x00A"
_HEADER: Final = struct.Struct("<8sIIIIQQQQ32s")
_PARTITION: Final = struct.Struct("<QQQQ")
_CHECKSUM: Final = struct.Struct("<Q")


def round_up(size: int, unit: int = PAGE) -> int:
    return -(-size // unit) * unit


@dataclass(frozen=True, slots=True)
class Header:
    """What an arena is for and how large it is. `size` in bytes; `weights` is the number of BF16 words in an expert.

    `bits` tells how experts lie in their slots: 0 as BF16 words, else packed, sign-mantissas and then exponents in
    codes of 3 or 4 bits, at most `part` bytes of them.
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
        """How experts lie in their slots, by the name that people use."""
        return f"pack{self.bits}" if self.bits else "bf16"

    @property
    def slot_bytes(self) -> int:
        """Room for an expert. The sign-mantissas are read straight from disk: into the first half of a packed slot, or
        the upper half of a BF16 one, to be merged there; so each half starts on a page."""
        return round_up(self.weights) + round_up(self.part or self.weights)

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
class Pool:
    """Slots of one size, side by side. `offset` and `slot_bytes` are multiples of a page."""

    offset: int
    slot_bytes: int
    slots: int

    def slot_offset(self, slot: int) -> int:
        return self.offset + slot * self.slot_bytes

    def slot_at(self, offset: int) -> int:
        return (offset - self.offset) // self.slot_bytes

    def to_bytes(self, epoch: int) -> bytes:
        body = _PARTITION.pack(epoch, self.offset, self.slot_bytes, self.slots)
        return body + _CHECKSUM.pack(xxh3_64_intdigest(body))

    @classmethod
    def from_bytes(cls, page: bytes, epoch: int) -> Self | None:
        """The pool in `page`, or None where nobody has partitioned this epoch's arena yet."""
        (checksum,) = _CHECKSUM.unpack_from(page, _PARTITION.size)
        found, offset, slot_bytes, slots = _PARTITION.unpack_from(page)
        if found != epoch or checksum != xxh3_64_intdigest(page[: _PARTITION.size]):
            return None
        return cls(offset, slot_bytes, slots)


def whole(header: Header) -> Pool:
    """All of the arena's slots as one pool of full experts."""
    return Pool(header.slots_offset, header.slot_bytes, (header.size - header.slots_offset) // header.slot_bytes)


def same_epoch(asked: int, mine: int, arena: str) -> None:
    """Raises StaleEpoch where a caller speaks of another incarnation of the arena."""
    if asked != mine:
        raise StaleEpoch(f"arena {arena} is at epoch {mine}, the request speaks of epoch {asked}: attach again")
