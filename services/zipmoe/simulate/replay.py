"""Replay: how often an expert is missing, had tokens been decoded with so many slots under a policy."""

import heapq
from dataclasses import dataclass
from typing import Final

import numpy as np

from zipmoe.arena.layout import Header
from zipmoe.arena.use import Use, UseTable
from zipmoe.scheduler.policy import Phase, Worth, victims
from zipmoe.simulate.routing import Routing

WARM: Final = 0.25  # the share of the tokens that fills the slots and is not counted


@dataclass(frozen=True, slots=True)
class Replayed:
    """Per token, all layers together."""

    wanted: float
    missing: float

    @property
    def hit_rate(self) -> float:
        return 1 - self.missing / self.wanted


def replay(routing: Routing, slots: int, worth: Worth, warm: float = WARM) -> Replayed:
    """Under a policy of the scheduler's. A layer's own experts stay until it is done, so `slots` must be k at least."""
    shape = Header(routing.layers, routing.experts, weights=0, bits=0, part=0, size=0, epoch=0, fingerprint="")
    table = UseTable(memoryview(bytearray(shape.use_bytes)), shape, start=shape.use_offset)
    resident = dict[int, Use]()
    missed, first = 0, int(len(routing.chosen) * warm)
    for token, layers in enumerate(routing.numbered().tolist()):
        table.advance()
        for wanted in layers:
            missing = [expert for expert in wanted if expert not in resident]
            missed += len(missing) * (token >= first)
            if (short := len(resident) + len(missing) - slots) > 0:
                others = {expert: use for expert, use in resident.items() if expert not in wanted}
                for expert in victims(others, table.step(), Phase.DECODE, 0, worth)[:short]:
                    del resident[expert]
            table.decoded(wanted)
            for expert in wanted:
                resident[expert] = table.read(expert)
    return Replayed(routing.layers * routing.k, missed / (len(routing.chosen) - first))


def replay_belady(routing: Routing, slots: int, warm: float = WARM) -> Replayed:
    """Knowing the future: the expert goes first that is wanted last (Belady, 1966). No policy misses less."""
    wanted = routing.numbered()
    flat = wanted.reshape(-1)
    after, later = np.empty_like(flat), np.full(routing.layers * routing.experts, len(flat))
    for at in range(len(flat) - 1, -1, -1):
        after[at], later[flat[at]] = later[flat[at]], at
    nexts = after.reshape(wanted.shape)
    resident = dict[int, int]()  # when each is wanted next
    last = list[tuple[int, int]]()  # those, the latest first; outdated ones too
    missed, first = 0, int(len(wanted) * warm)
    for token in range(len(wanted)):
        for experts, following in zip(wanted[token].tolist(), nexts[token].tolist(), strict=True):
            missing = sum(expert not in resident for expert in experts)
            missed += missing * (token >= first)
            short = len(resident) + missing - slots
            kept = []
            while short > 0:
                late, expert = heapq.heappop(last)
                if resident.get(expert) != -late:
                    continue
                if expert in experts:
                    kept.append((late, expert))
                    continue
                del resident[expert]
                short -= 1
            for entry in kept:
                heapq.heappush(last, entry)
            for expert, use in zip(experts, following, strict=True):
                resident[expert] = use
                heapq.heappush(last, (-use, expert))
    return Replayed(routing.layers * routing.k, missed / (len(routing.chosen) - first))
