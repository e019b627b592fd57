"""Policy: who goes when a slot is needed. Pure: it looks at the use table's records and ranks; others act.

While decoding, the expert goes first that is least likely to be wanted next: it was not used a moment ago, nor often
lately. `zipmoe simulate` shows what that is worth beside policies that look at one thing only. A use counts whatever
weight the gate gave it: an expert with a small one comes back as soon.

A prefill touches nearly every expert once; were it treated alike, it would flush what running sequences need for each
token (independent measurement on a comparable cache: requests 25-72 % slower). So it takes the slots of experts outside
the decode working set, its own used ones first, and of the working set only what it needs to keep a few loads moving.
"""

from collections.abc import Callable, Mapping
from enum import Enum
from types import MappingProxyType
from typing import Final

from zipmoe.arena.layout import Part
from zipmoe.arena.use import HABIT_HALF_LIFE, RECENT_HALF_LIFE, Use
from zipmoe.scheduler.residency import Residency

# What a recent use weighs against a habit of as many uses a step.
RECENT_WEIGHT: Final = 0.7

# Decode steps since its last use for which an expert counts to the working set.
WORKING_SET_STEPS: Final = 32

# Slots that a prefill may circulate through even if the working set fills the arena: enough to read some experts
# while one is multiplied. More speeds up a prefill beside running sequences, fewer protects those better.
PREFILL_SLOTS: Final = 8


class Phase(Enum):
    PREFILL = "prefill"
    DECODE = "decode"


# What an expert is worth at a decode step: who is worth least goes first.
Worth = Callable[[Use, int], float]


def affinity(use: Use, now: int) -> float:
    """About the chance of a use in the next step: the uses of a step, of late and of long."""
    recent, habit = use.aged(now)
    return RECENT_WEIGHT * recent / RECENT_HALF_LIFE + habit / HABIT_HALF_LIFE


def lru(use: Use, now: int) -> float:
    return use.step - now


def lfu(use: Use, now: int) -> float:  # noqa: ARG001
    return use.count


# What is served with comes first; the others are there to be compared with.
POLICIES: Final[Mapping[str, Worth]] = MappingProxyType({"affinity": affinity, "lru": lru, "lfu": lfu})


def victims(uses: Mapping[int, Use], now: int, phase: Phase, free: int, worth: Worth = affinity) -> list[int]:
    """The experts that may go for a load of this phase, first to go first.

    `uses` are the records of the resident experts that nobody waits for, `now` is the decode step, `free` the number of
    slots already free or being loaded into.
    """

    def rank(expert: int) -> tuple[float, float, int]:
        use = uses[expert]
        return worth(use, now), use.prompt, use.step

    ranked = sorted(uses, key=rank)
    if phase is Phase.DECODE:
        return ranked
    outside = [expert for expert in ranked if not _working(uses[expert], now)]
    short = max(0, PREFILL_SLOTS - len(outside) - free)
    inside = [expert for expert in ranked if _working(uses[expert], now)]
    return outside + inside[:short]


# How much warmer an expert must be than one that lies as words to take its place: less would move them to and fro.
BETTER: Final = 1.25


def rearrange(residency: Residency, worth: Mapping[int, float]) -> tuple[int | None, int | None]:
    """Who should lie as words instead of in planes, and who should make room for it; None for who need not."""
    here = residency.resident(Part.WORDS).keys()
    packed = residency.resident(Part.SIGN_MANTISSAS).keys() & residency.resident(Part.EXPONENTS).keys()
    warmest = max(packed - residency.filling.keys(), key=worth.__getitem__, default=None)
    if warmest is None or residency.free(Part.WORDS):
        return warmest, None
    coldest = min(here - residency.filling.keys(), key=worth.__getitem__, default=None)
    if coldest is None or worth[warmest] <= BETTER * worth[coldest]:
        return None, None
    return warmest, coldest


def _working(use: Use, now: int) -> bool:
    return use.habit > 0 and now - use.step < WORKING_SET_STEPS
