"""UseTable: how much each expert is being used. In the arena; its single writer is inference, the scheduler reads it.

Read without a lock, a record may be torn: it only weighs a choice, it never decides what is true.
"""

import struct
from collections.abc import Collection, Mapping
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from zipmoe.arena.layout import USE_BYTES, Header

# Decode steps after which a use counts half. A text comes back to an expert within a token or two, or because it is
# popular with the model or the subject: the second is seen over a hundred tokens only.
RECENT_HALF_LIFE: Final = 2.0
HABIT_HALF_LIFE: Final = 128.0

_CLOCK: Final = struct.Struct("<QQ")
_USE: Final = struct.Struct("<QQddd")
_USES: Final = np.dtype([("uses", "<i8"), ("step", "<i8"), ("recent", "<f8"), ("habit", "<f8"), ("prompt", "<f8")])


class Use(NamedTuple):
    """`uses`: leases ever taken to multiply with it, `step` of the last one while decoding (0: none), `recent` and
    `habit`: ageing counts of those at that step, `prompt`: gate weights summed over the prompt chunk prefilled last. A
    tuple, for the scheduler makes thousands for each token."""

    uses: int = 0
    step: int = 0
    recent: float = 0.0
    habit: float = 0.0
    prompt: float = 0.0

    def aged(self, now: int) -> tuple[float, float]:
        """`recent` and `habit` as they are `now`, in decode steps."""
        steps = max(0, now - self.step)
        return self.recent * _left(steps, RECENT_HALF_LIFE), self.habit * _left(steps, HABIT_HALF_LIFE)


class UseTable:
    """`memory` is the arena's, or for inference its writable part from byte `start` on."""

    def __init__(self, memory: memoryview, header: Header, start: int = 0) -> None:
        self._memory = memory
        self._first = header.use_offset - start
        # Those of all experts, behind the clock.
        self._uses = np.frombuffer(memory, _USES, header.records, self._first + USE_BYTES)

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
        return Use._make(_USE.unpack_from(self._memory, self._place(expert)))

    def decoded(self, experts: Collection[int] | NDArray[np.int64]) -> None:
        """Counts a use of each by decoding sequences. On the hot path."""
        now = self._count(len(experts))
        places = np.fromiter(experts, np.int64, len(experts))
        uses = self._uses[places]
        uses["uses"] += 1
        steps = np.maximum(0, now - uses["step"])
        uses["recent"] = uses["recent"] * _left(steps, RECENT_HALF_LIFE) + 1
        uses["habit"] = uses["habit"] * _left(steps, HABIT_HALF_LIFE) + 1
        uses["step"] = now
        self._uses[places] = uses

    def prefilled(self, weights: Mapping[int, float]) -> None:
        """Counts a use of each by a chunk of a prompt, with the gate weights that it gave the expert."""
        self._count(len(weights))
        for expert, weight in weights.items():
            place = self._place(expert)
            count, last, recent, habit, _ = _USE.unpack_from(self._memory, place)
            _USE.pack_into(self._memory, place, count + 1, last, recent, habit, weight)

    def _count(self, uses: int) -> int:
        """Adds uses to the clock; returns the present step."""
        step, total = _CLOCK.unpack_from(self._memory, self._first)
        _CLOCK.pack_into(self._memory, self._first, step, total + uses)
        return int(step)

    def _place(self, expert: int) -> int:
        return self._first + (1 + expert) * USE_BYTES


def _left(steps: Any, half_life: float) -> Any:
    """What is left of a count after so many steps, or each of them."""
    return 2.0 ** (-steps / half_life)
