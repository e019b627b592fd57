"""Directory: who lies where. One record an expert, in the arena; its single writer is the scheduler.

A record holds while its lock is held (see `leases`); read without it, it is a hint that may be torn.
"""

import struct
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from zipmoe.arena.layout import RECORD_BYTES, Header

_RECORD: Final = struct.Struct("<QQQ")
_STATE: Final = struct.Struct("<Q")


class State(IntEnum):
    """How much of an expert is resident (the ZipMoE paper's cache states)."""

    ABSENT = 0
    # As BF16 words.
    FULL = 1
    # Sign-mantissas and packed exponents, multiplied as they are.
    COMPRESSED = 2


@dataclass(frozen=True, slots=True)
class Record:
    """`offset` is where the expert lies, in bytes from the arena's start. `generation` counts the record's changes."""

    state: State
    generation: int
    offset: int


class Directory:
    """The records of an arena; `memory` is the arena's, or for the scheduler its writable part from byte `start` on."""

    def __init__(self, memory: memoryview, header: Header, start: int = 0) -> None:
        self._memory = memory
        self._first = header.directory_offset - start
        # All experts of an arena are resident in the same form.
        self._resident = State.COMPRESSED if header.bits else State.FULL
        self.records = header.records

    def read(self, expert: int) -> Record:
        state, generation, offset = _RECORD.unpack_from(self._memory, self._first + expert * RECORD_BYTES)
        return Record(State(state), generation, offset)

    def publish(self, expert: int, offset: int) -> None:
        """Says that the expert lies at `offset`, complete. For the scheduler, under the record's exclusive lock."""
        place, generation = self._first + expert * RECORD_BYTES, self.read(expert).generation
        # The state comes last: a scheduler killed in between leaves an absent expert, not one in the wrong place.
        _RECORD.pack_into(self._memory, place, State.ABSENT, generation + 1, offset)
        _STATE.pack_into(self._memory, place, self._resident)

    def withdraw(self, expert: int) -> None:
        """Says that the expert is absent. Only for the scheduler, under the record's exclusive lock."""
        _STATE.pack_into(self._memory, self._first + expert * RECORD_BYTES, State.ABSENT)

    def resident_offset(self, expert: int) -> int:
        """Where the expert lies, or 0 (never a slot) where it does not."""
        return self.resident(expert)[0]

    def resident(self, expert: int) -> tuple[int, int]:
        """(offset, generation); the offset is 0 where the expert is absent. The hot path's read."""
        state, generation, offset = _RECORD.unpack_from(self._memory, self._first + expert * RECORD_BYTES)
        return (offset if state else 0), generation
