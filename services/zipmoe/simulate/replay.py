"""Replay: how often an expert is missing, had tokens been decoded with so many slots under a policy."""

import heapq
from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np

from zipmoe.routing.routing import Routing
from zipmoe.scheduler.policy import Worth
from zipmoe.simulate.cache import Cache

WARM: Final = 0.25  # the share of the steps that fills the slots and is not counted


@dataclass(frozen=True, slots=True)
class Replayed:
    """`found` counts layers by how many experts they wanted and how many of them were missing; `layers` is how many a
    step has."""

    found: Counter[tuple[int, int]]
    layers: int

    @property
    def wanted(self) -> float:
        """Experts a step, all layers together."""
        return self._a_step(sum(wanted * times for (wanted, _), times in self.found.items()))

    @property
    def missing(self) -> float:
        """The same of those that were missing."""
        return self._a_step(sum(missing * times for (_, missing), times in self.found.items()))

    @property
    def hit_rate(self) -> float:
        return 1 - self.missing / self.wanted

    def _a_step(self, counted: int) -> float:
        return counted * self.layers / self.found.total()


def replay(routing: Routing, slots: int, worth: Worth, warm: float = WARM, batch: int = 1) -> Replayed:
    """Under a policy of the scheduler's, with `batch` sequences decoded at once."""
    cache, visits = Cache(routing.layers, routing.experts, slots, worth), _visits(routing, batch)
    found, first = Counter[tuple[int, int]](), int(len(visits) * warm)
    for number, wanted in enumerate(visits):
        layer = number % routing.layers
        if layer == 0:
            cache.advance()
        missing = cache.decode(layer, wanted)
        if number >= first:
            found[len(wanted), missing] += 1
    return Replayed(found, routing.layers)


def replay_belady(routing: Routing, slots: int, warm: float = WARM, batch: int = 1) -> Replayed:
    """Knowing the future: the expert goes first that is wanted last (Belady, 1966). No policy misses less."""
    visits = _visits(routing, batch)
    nexts, later = [list[int]() for _ in visits], dict[int, int]()
    for number in range(len(visits) - 1, -1, -1):
        nexts[number] = [later.get(expert, len(visits)) for expert in visits[number]]
        later.update(dict.fromkeys(visits[number], number))
    resident = dict[int, int]()  # when each is wanted next
    last = list[tuple[int, int]]()  # those, the latest first; outdated ones too
    found, first = Counter[tuple[int, int]](), int(len(visits) * warm)
    for number, (wanted, following) in enumerate(zip(visits, nexts, strict=True)):
        if number >= first:
            found[len(wanted), sum(expert not in resident for expert in wanted)] += 1
        for expert, use in zip(wanted, following, strict=True):
            resident[expert] = use
            heapq.heappush(last, (-use, expert))
        while len(resident) > slots:
            late, expert = heapq.heappop(last)
            if resident.get(expert) == -late:
                del resident[expert]
    return Replayed(found, routing.layers)


def _visits(routing: Routing, batch: int) -> list[list[int]]:
    """Of each layer of each step, the experts that its tokens want, numbered across the layers."""
    steps = routing.side_by_side(batch)
    first = routing.experts * np.arange(routing.layers)[:, None, None]
    tokens = (steps.transpose(0, 2, 1, 3) + first).reshape(len(steps) * routing.layers, -1)
    return [list(dict.fromkeys(visit)) for visit in tokens.tolist()]
