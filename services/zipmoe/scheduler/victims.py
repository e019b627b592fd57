"""Victims: who may be taken away for whom just now. It names them, first to go first; `slots` finds out who is leased.

Guarantees
  * What has just been granted is not named before its acquirer has used it, or let TAKE_UP_SECONDS pass.
  * What is spared, because it was forecast and is still to be used, is named for nobody but a demand, and there last.
"""

import time
from collections.abc import Collection, Iterable, Iterator
from itertools import islice
from typing import Final

from zipmoe.arena.layout import Part
from zipmoe.arena.use import UseTable
from zipmoe.scheduler.policy import FORECAST_WORTH, PREFILL_SLOTS, Phase, Worth, chance
from zipmoe.scheduler.ranking import Ranking
from zipmoe.scheduler.residency import Residency

# A grant reaches its acquirer within a millisecond; if it was not taken up by now, the acquirer is gone.
TAKE_UP_SECONDS: Final = 1.0

# Of so many that are worth least, somebody may go for a forecast or nobody. If all residents are being used, to look at
# each takes tens of milliseconds, in which no demand is seated.
MOST_LOOKS: Final = 16


class Victims:
    def __init__(self, residency: Residency, use: UseTable, layers: int, experts: int, worth: Worth) -> None:
        """Experts are numbered through all layers, `experts` to a layer."""
        self._residency = residency
        self._use = use
        self._experts = experts
        # A ranking goes on where it was left, so forecasts have theirs: who may not go for one may go for a demand.
        self._rankings = {part: Ranking(use, layers, experts, worth) for part in Part}
        self._forecast_rankings = {part: Ranking(use, layers, experts, worth) for part in Part}
        self._granted: dict[int, tuple[int, float]] = {}

    def grant(self, expert: int) -> None:
        """Protects a resident expert until its acquirer has used it."""
        self._granted[expert] = (self._use.read(expert).uses, time.monotonic() + TAKE_UP_SECONDS)

    def found(self, expert: int, uses: int) -> None:
        """The same for one that somebody has found resident, at so many uses, unless it has been used since."""
        if self._residency.ready(expert) and self._use.read(expert).uses == uses:
            self.grant(expert)

    def for_demand(
        self, part: Part, phase: Phase, wanted: Iterable[int], spared: Collection[int] = ()
    ) -> Iterator[int]:
        """Whose slots of a part may go, by policy, for experts of a layer that are `wanted`; these stay."""
        wanted = set(wanted)
        layer = min(wanted, default=0) // self._experts
        residents, kept = self._residency.resident(part), self._kept(wanted)
        free = self._residency.free(part) + len(self._residency.filling) + len(self._granted)
        yield from self._rankings[part].victims(residents, kept.union(spared), phase, layer, free)
        yield from [expert for expert in spared if expert in residents and expert not in kept]

    def for_forecast(self, part: Part, phase: Phase, kept: Iterable[int], layer: int) -> Iterator[int]:
        """Those that are less likely to be used than an expert that is forecast, and that the last step did not use,
        while this layer is computed."""
        step, residents = self._use.step(), self._residency.resident(part)
        # As if there were free slots enough: a prompt's forecasts take nothing of the working set.
        ranked = self._forecast_rankings[part].victims(residents, self._kept(kept), phase, layer, PREFILL_SLOTS)
        for expert in islice(ranked, MOST_LOOKS):
            use = self._use.read(expert)
            if chance(*use.aged(step)) < FORECAST_WORTH and (not use.step or step - use.step > 1):
                yield expert

    def _kept(self, wanted: Iterable[int]) -> set[int]:
        granted = {expert for expert in list(self._granted) if self._untaken(expert)}
        return granted.union(self._residency.filling, wanted)

    def _untaken(self, expert: int) -> bool:
        """Granted, and its acquirer has not yet used it."""
        uses, deadline = self._granted[expert]
        if self._use.read(expert).uses == uses and time.monotonic() < deadline:
            return True
        del self._granted[expert]
        return False
