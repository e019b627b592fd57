"""Store: the loads under way, from a pack to an arena. It knows where bytes come from; where they go, it is told."""

import asyncio
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from zipmoe.arena.arena import Arena
from zipmoe.arena.layout import Part, Slot, same_epoch
from zipmoe.arena.leases import MOST_WORKERS, WORKERS, Leases
from zipmoe.errors import ServiceRestarting, UnknownExpert
from zipmoe.expert_store.pool import Load, Pool
from zipmoe.expert_store.shares import shared_out, together
from zipmoe.expert_store.slots import check
from zipmoe.expert_store.task import Act, Outcome, Result, Task, Urgency
from zipmoe.pack.reader import Pack

# A worker of an earlier store ends when its task does: a second, unless the disk hangs.
_WRITERS_PATIENCE_SECONDS: Final = 30.0
_WRITERS_LOOK_SECONDS: Final = 0.01


@dataclass(frozen=True, slots=True)
class Statistics:
    """Since the store started."""

    experts_loaded: int
    bytes_read: int
    workers_replaced: int


class Store:
    def __init__(self, pack: Pack, arena: Arena, pool: Pool) -> None:
        self.pack = pack
        self.arena = arena
        self.pool = pool
        self._loads: dict[tuple[int, int], list[Load]] = {}
        self._experts_loaded = 0
        self._bytes_read = 0

    async def load(
        self, layer: int, expert: int, slots: Mapping[Part, Slot], urgency: Urgency, act: Act = Act.LOAD
    ) -> Outcome:
        """Brings parts of an expert into these slots; returns when nothing writes to them any more.

        Raises UnknownExpert, or InvalidRequest for what are no slots or not what the act needs. If the caller is
        cancelled, a load that has not started is dropped.
        """
        geometry = self.pack.geometry
        if layer >= geometry.layers or expert >= geometry.experts:
            raise UnknownExpert(
                f"there is no expert {expert} in layer {layer}: the model has {geometry.layers} layers "
                f"of {geometry.experts} experts"
            )
        check(self.arena.header, slots, act)
        words, sign_mantissas, exponents = (slots[part].offset if part in slots else 0 for part in Part)
        bits = self.arena.header.bits
        task = Task(act, words, sign_mantissas, exponents, bits, self.pack.expert(layer, expert).to_wire())
        loads = self._loads[layer, expert] = await self.pool.submit_all(shared_out(task), urgency)
        try:
            # Shielded: an outcome belongs to its load; who waits for it may go away.
            outcome = together([await asyncio.shield(load.outcome) for load in loads])
        finally:
            for load in loads:
                self.pool.cancel(load)
            if self._loads.get((layer, expert)) is loads:
                del self._loads[layer, expert]
        self._experts_loaded += outcome.result is Result.LOADED
        self._bytes_read += outcome.bytes_read
        return outcome

    def check_epoch(self, epoch: int) -> None:
        same_epoch(epoch, self.arena.header.epoch, str(self.arena.path))

    def cancel(self, experts: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Drops those of which nothing has started; returns them."""
        return [key for key in experts if self._cancel(self._loads.get(key, ()))]

    def _cancel(self, loads: Sequence[Load]) -> bool:
        """All of an expert's or none: half of one is of no use."""
        if any(load.begun for load in loads):
            return False
        return sum(self.pool.cancel(load) for load in loads) > 0

    def hasten(self, experts: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Makes demands of those that have not started; returns them."""
        return [key for key in experts if sum(self.pool.hasten(load) for load in self._loads.get(key, ()))]

    async def drain(self) -> None:
        """Drops everything queued; returns when nothing is being written."""
        await self.pool.drain()

    def statistics(self) -> Statistics:
        return Statistics(self._experts_loaded, self._bytes_read, self.pool.replaced)


async def until_writers_are_gone(leases: Leases) -> None:
    """Waits for the workers of an earlier store that was killed. Raises ServiceRestarting if they stay."""
    deadline = time.monotonic() + _WRITERS_PATIENCE_SECONDS
    while leases.held(WORKERS, MOST_WORKERS):
        # The kernel tells nobody when a lock goes.
        if time.monotonic() > deadline:
            raise ServiceRestarting("worker processes of an earlier store still write: end them, then start again")
        await asyncio.sleep(_WRITERS_LOOK_SECONDS)
