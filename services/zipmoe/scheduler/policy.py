"""Policy: who goes when a slot is needed. Pure: it looks at the use table's records and ranks; others act.

While decoding, the expert with the least heat goes first (gate mass that halves every HALF_LIFE steps: LRU that knows
how much an expert was wanted). A prefill touches nearly every expert once; were it treated alike, it would flush what
running sequences need for each token (independent measurement on a comparable cache: requests 25-72 % slower). So it
takes the slots of experts outside the decode working set, its own used ones first, and of the working set only what
it needs to keep a few loads moving.
"""

from collections.abc import Mapping
from enum import Enum
from typing import Final

from zipmoe.arena.use import Use

# Decode steps since its last use for which an expert counts to the working set: four half-lives.
WORKING_SET_STEPS: Final = 32

# Slots that a prefill may circulate through even if the working set fills the arena: enough to read some experts
# while one is multiplied. More speeds up a prefill beside running sequences, fewer protects those better.
PREFILL_SLOTS: Final = 8


class Phase(Enum):
    PREFILL = "prefill"
    DECODE = "decode"


def victims(uses: Mapping[int, Use], now: int, phase: Phase, free: int) -> list[int]:
    """The experts that may go for a load of this phase, first to go first.

    `uses` are the records of the resident experts that nobody waits for, `now` is the decode step, `free` the number of
    slots already free or being loaded into.
    """

    def coldness(expert: int) -> tuple[float, float, int]:
        use = uses[expert]
        return use.heat(now), use.prompt, use.step

    ranked = sorted(uses, key=coldness)
    if phase is Phase.DECODE:
        return ranked
    outside = [expert for expert in ranked if not _working(uses[expert], now)]
    short = max(0, PREFILL_SLOTS - len(outside) - free)
    inside = [expert for expert in ranked if _working(uses[expert], now)]
    return outside + inside[:short]


def _working(use: Use, now: int) -> bool:
    return use.mass > 0 and now - use.step < WORKING_SET_STEPS
