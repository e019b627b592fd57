"""Directory: who lies where. One record an expert, in the arena; its single writer is the scheduler.

A record holds while its lock is held (see `leases`); read without it, it is a hint that may be torn.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from zipmoe.arena.layout import RECORD_BYTES, Header, Part

_RECORD: Final = struct.Struct("<QQQQQ")
_GENERATION: Final = struct.Struct("<QQ")
_STATE: Final = struct.Struct("<Q")


class State(IntEnum):
    """How much of an expert is resident (the ZipMoE paper's cache states F, C, S and E)."""

    ABSENT = 0
    # As BF16 words.
    FULL = 1
    # Sign-mantissas and packed exponents, multiplied as they are.
    COMPRESSED = 2
    # One plane; the other has to be read before the expert can be multiplied with.
    SIGN_MANTISSAS = 3
    EXPONENTS = 4

    @property
    def ready(self) -> bool:
        return self in (State.FULL, State.COMPRESSED)


@dataclass(frozen=True, slots=True)
class Record:
    """Where the parts of an expert lie, in bytes from the arena's start; 0, which is never a slot, where they do not.
    `generation` counts the record's changes."""

    state: State
    generation: int
    words: int
    sign_mantissas: int
    exponents: int


class Directory:
    """The records of an arena; `memory` is the arena's, or for the scheduler its writable part from byte `start` on."""

    def __init__(self, memory: memoryview, header: Header, start: int = 0) -> None:
        self._memory = memory
        self._first = header.directory_offset - start
        self.records = header.records

    def read(self, expert: int) -> Record:
        state, *rest = _RECORD.unpack_from(self._memory, self._first + expert * RECORD_BYTES)
        return Record(State(state), *rest)

    def publish(self, expert: int, offsets: Mapping[Part, int]) -> None:
        """Says that these parts of the expert, complete, and no others lie at these offsets. For the scheduler, under
        the record's exclusive lock."""
        place, generation = self._first + expert * RECORD_BYTES, self.read(expert).generation
        words, sign_mantissas, exponents = (offsets.get(part, 0) for part in Part)
        # The state comes last: a scheduler killed in between leaves an absent expert, not one in the wrong place.
        _RECORD.pack_into(self._memory, place, State.ABSENT, generation + 1, words, sign_mantissas, exponents)
        _STATE.pack_into(self._memory, place, _state(words, sign_mantissas, exponents))

    def withdraw(self, expert: int) -> None:
        """Says that the expert is absent. Only for the scheduler, under the record's exclusive lock."""
        _STATE.pack_into(self._memory, self._first + expert * RECORD_BYTES, State.ABSENT)

    def records_of(self, experts: range) -> bytes:
        """The records of neighbours as they are: if they are the same again, so is all that they say."""
        first, last = (self._first + expert * RECORD_BYTES for expert in (experts.start, experts.stop))
        return bytes(self._memory[first:last])

    def ready(self, expert: int) -> bool:
        """Whether the expert can be multiplied with. The hot path's look."""
        return self.generation(expert) > 0

    def generation(self, expert: int) -> int:
        """That of the record, if the expert can be multiplied with, else 0. Under a lease, the hot path's read."""
        state, generation = _GENERATION.unpack_from(self._memory, self._first + expert * RECORD_BYTES)
        return int(generation) if state in _READY else 0


_READY: Final = frozenset(int(state) for state in State if state.ready)


def _state(words: int, sign_mantissas: int, exponents: int) -> State:
    if words:
        return State.FULL
    if sign_mantissas:
        return State.COMPRESSED if exponents else State.SIGN_MANTISSAS
    return State.EXPONENTS if exponents else State.ABSENT
