"""Policy: who goes when a slot is needed. Pure: it looks at the use table's records and ranks; others act.

While decoding, the expert goes first that is least likely to be wanted when its layer is computed next, and for which
its slot would have to be kept longest until then. Layers follow one another, so what was just used is furthest from its
next use: if that counted as warm, a step that wants more experts than there are slots would find none of them (as LRU
does; at 16 sequences and 40 % of the memory, 36 % hits instead of 60). `zipmoe simulate` shows what that is worth
beside policies that look at one thing only. A use counts whatever weight the gate gave it: an expert with a small one
comes back as soon.

A prefill touches nearly every expert once; were it treated alike, it would flush what running sequences need for each
token (independent measurement on a comparable cache: requests 25-72 % slower). So it takes the slots of experts outside
the decode working set, its own used ones first, and of the working set only what it needs to keep a few loads moving.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType
from typing import Any, Final, TypeVar

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


# A float, or an array of them, which this file knows nothing of.
Number = TypeVar("Number", bound=Any)


@dataclass(frozen=True, slots=True)
class Visit:
    """When decoding comes to an expert's layer next: in which step, and how much of a step from now, more than 0 and 1
    at most. Until then nothing is learnt of the expert."""

    step: int
    ahead: float


@dataclass(frozen=True, slots=True)
class Place:
    """Where decoding is: the step, the layer, and of how many."""

    step: int
    layer: int
    layers: int

    def next(self, layer: int) -> Visit:
        """The next visit of a layer. That of the present one is under way, so its next is a step ahead."""
        on = (layer - self.layer - 1) % self.layers + 1
        return Visit(self.step + (layer <= self.layer), on / self.layers)


@dataclass(frozen=True, slots=True)
class Worth:
    """What an expert is worth to whom its layer is next visited so: who is worth least goes first. In two parts, for
    all experts of a layer are visited together: what can be said `of` a use once the step of the visit is known, and
    what that is worth when it is `due`, which never changes the order within a layer."""

    of: Callable[[Use, int], float]
    due: Callable[[float, Visit], float]

    def __call__(self, use: Use, visit: Visit) -> float:
        return self.due(self.of(use, visit.step), visit)


def chance(recent: Number, habit: Number) -> Number:
    """About that of a use, by the uses of late and of long, both aged; or by arrays of them."""
    worth: Number = RECENT_WEIGHT * recent / RECENT_HALF_LIFE + habit / HABIT_HALF_LIFE
    return worth


# The chance of a use at that visit, over the time for which a slot has to be kept until then.
affinity: Final = Worth(lambda use, step: chance(*use.aged(step)), lambda worth, visit: worth / visit.ahead)
# The last visit was a whole step before the next one.
lru: Final = Worth(lambda use, _: use.step, lambda worth, visit: worth - (visit.step - visit.ahead))
lfu: Final = Worth(lambda use, _: use.uses, lambda worth, _: worth)

# What is served with comes first; the others are there to be compared with.
POLICIES: Final[Mapping[str, Worth]] = MappingProxyType({"affinity": affinity, "lru": lru, "lfu": lfu})


def ranked(uses: Mapping[int, Use], visits: Callable[[int], Visit], worth: Worth = affinity) -> list[int]:
    """Experts by what they are worth, the least first. `uses` are their records, `visits` when each is next due."""

    return sorted(uses, key=lambda expert: key(uses[expert], visits(expert), worth))


def key(use: Use, visit: Visit, worth: Worth = affinity) -> tuple[float, float, int]:
    """What experts are ranked by: their worth, and among equals how much the last prompt wanted them."""
    return worth(use, visit), use.prompt, use.step


def for_prefill(coldest_first: Sequence[int], uses: Mapping[int, Use], step: int, free: int) -> list[int]:
    """Of those, who may go for a prefill. `free` is the number of slots already free or being loaded into."""
    outside = [expert for expert in coldest_first if not _working(uses[expert], step)]
    short = max(0, PREFILL_SLOTS - len(outside) - free)
    inside = [expert for expert in coldest_first if _working(uses[expert], step)]
    return outside + inside[:short]


# What an expert is worth that is only forecast, as a chance of use: as much as one that every step uses. Three of four
# forecasts come true, and then the coldest has to go anyway, a moment later and with somebody waiting; what the fourth
# costs is less than certain. With half of this there are a twelfth more misses (the demo model, 40 % of its memory).
FORECAST_WORTH: Final = 1.0


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
