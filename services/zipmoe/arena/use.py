"""UseTable: how much each expert is being used. In the arena; its single writer is inference (see `use_counter`), the
scheduler reads it.

Read without a lock, a record may be torn: it only weighs a choice, it never decides what is true.
"""

import struct
from typing import Any, Final, NamedTuple

from zipmoe.arena.layout import USE_BYTES, Header

# Decode steps after which a use counts half. A text comes back to an expert within a token or two, or because it is
# popular with the model or the subject: the second is seen over a hundred tokens only.
RECENT_HALF_LIFE: Final = 2.0
HABIT_HALF_LIFE: Final = 128.0

CLOCK: Final = struct.Struct("<QQ")
_USE: Final = struct.Struct("<QQddd")


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
        return self.recent * left(steps, RECENT_HALF_LIFE), self.habit * left(steps, HABIT_HALF_LIFE)


class UseTable:
    """`memory` is the arena's, or for inference its writable part from byte `start` on."""

    def __init__(self, memory: memoryview, header: Header, start: int = 0) -> None:
        self._memory = memory
        self._first = header.use_offset - start

    def step(self) -> int:
        """Decode steps since the arena was made."""
        return int(CLOCK.unpack_from(self._memory, self._first)[0])

    def total(self) -> int:
        """Uses of experts since the arena was made."""
        return int(CLOCK.unpack_from(self._memory, self._first)[1])

    def read(self, expert: int) -> Use:
        return Use._make(_USE.unpack_from(self._memory, self._place(expert)))

    def _place(self, expert: int) -> int:
        return self._first + (1 + expert) * USE_BYTES


def left(steps: Any, half_life: float) -> Any:
    """What is left of a count after so many steps, or each of them."""
    return 2.0 ** (-steps / half_life)
