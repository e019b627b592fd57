"""UseCounter: the use table as its single writer has it, inference. In numpy, for a step uses hundreds of experts."""

from collections.abc import Collection, Mapping
from typing import Final

import numpy as np
from numpy.typing import NDArray

from zipmoe.arena.layout import USE_BYTES, Header
from zipmoe.arena.use import CLOCK, HABIT_HALF_LIFE, RECENT_HALF_LIFE, UseTable, left

_USES: Final = np.dtype([("uses", "<i8"), ("step", "<i8"), ("recent", "<f8"), ("habit", "<f8"), ("prompt", "<f8")])


class UseCounter(UseTable):
    def __init__(self, memory: memoryview, header: Header, start: int = 0) -> None:
        super().__init__(memory, header, start)
        # Those of all experts, behind the clock.
        self._uses = np.frombuffer(memory, _USES, header.records, self._first + USE_BYTES)

    def advance(self) -> None:
        """Begins the next decode step."""
        CLOCK.pack_into(self._memory, self._first, self.step() + 1, self.total())

    def decoded(self, experts: Collection[int] | NDArray[np.int64]) -> None:
        """Counts a use of each by decoding sequences. On the hot path."""
        now = self._count(len(experts))
        places = np.fromiter(experts, np.int64, len(experts))
        uses = self._uses[places]
        uses["uses"] += 1
        steps = np.maximum(0, now - uses["step"])
        uses["recent"] = uses["recent"] * left(steps, RECENT_HALF_LIFE) + 1
        uses["habit"] = uses["habit"] * left(steps, HABIT_HALF_LIFE) + 1
        uses["step"] = now
        self._uses[places] = uses

    def prefilled(self, weights: Mapping[int, float]) -> None:
        """Counts a use of each by a chunk of a prompt, with the gate weights that it gave the expert."""
        self._count(len(weights))
        places = np.fromiter(weights.keys(), np.int64, len(weights))
        self._uses["uses"][places] += 1
        self._uses["prompt"][places] = np.fromiter(weights.values(), np.float64, len(weights))

    def _count(self, uses: int) -> int:
        """Adds uses to the clock; returns the present step."""
        step, total = CLOCK.unpack_from(self._memory, self._first)
        CLOCK.pack_into(self._memory, self._first, step, total + uses)
        return int(step)
