"""UseTable: how much each expert is being used. In the arena; its single writer is inference, the scheduler reads it.

Read without a lock, a record may be torn: it only weighs a choice, it never decides what is true.
"""

import math
import struct
from dataclasses import dataclass
from typing import Final

from zipmoe.arena.layout import USE_BYTES, Header

# Decode steps after which a use counts half: the span in which a running text comes back to an expert.
HALF_LIFE: Final = 8.0

_CLOCK: Final = struct.Struct("<QQ")
_USE: Final = struct.Struct("<QQdd")


@dataclass(frozen=True, slots=True)
class Use:
    """`count` of all leases taken to multiply with it, `step` of the last one while decoding (0: none), `mass`: ageing
    sum of gate weights at that step, `prompt`: gate weights summed over the prompt chunk prefilled last."""

    count: int
    step: int
    mass: float
    prompt: float

    def heat(self, now: int) -> float:
        """The gate mass as it weighs `now`, in decode steps."""
        return _aged(self.mass, now - self.step)


class UseTable:
    """`memory` is the arena's, or for inference its writable part from byte `start` on."""

    def __init__(self, memory: memoryview, header: Header, start: int = 0) -> None:
        self._memory = memory
        self._first = header.use_offset - start

    def step(self) -> int:
        """Decode steps since the arena was made."""
        return int(_CLOCK.unpack_from(self._memory, self._first)[0])

    def total(self) -> int:
        """Uses of experts since the arena was made."""
        return int(_CLOCK.unpack_from(self._memory, self._first)[1])

    def advance(self) -> None:
        """Begins the next decode step."""
        _CLOCK.pack_into(self._memory, self._first, self.step() + 1, self.total())

    def read(self, expert: int) -> Use:
        return Use(*_USE.unpack_from(self._memory, self._place(expert)))

    def decoded(self, expert: int, weight: float) -> None:
        """Counts a use by decoding sequences, with the gate weights they gave it. On the hot path."""
        place = self._place(expert)
        count, last, mass, prompt = _USE.unpack_from(self._memory, place)
        now = self._count()
        _USE.pack_into(self._memory, place, count + 1, now, _aged(mass, now - last) + weight, prompt)

    def prefilled(self, expert: int, weight: float) -> None:
        """Counts a use by a chunk of a prompt."""
        place = self._place(expert)
        count, last, mass, _ = _USE.unpack_from(self._memory, place)
        self._count()
        _USE.pack_into(self._memory, place, count + 1, last, mass, weight)

    def _count(self) -> int:
        """Adds a use to the clock; returns the present step."""
        step, total = _CLOCK.unpack_from(self._memory, self._first)
        _CLOCK.pack_into(self._memory, self._first, step, total + 1)
        return int(step)

    def _place(self, expert: int) -> int:
        return self._first + (1 + expert) * USE_BYTES


def _aged(mass: float, steps: int) -> float:
    return mass * math.exp2(-max(0, steps) / HALF_LIFE)
