"""Slots: which expert lies in which slot, and the only writer of the arena's directory. Waits for nothing but a reader
that looks at a record; the loads that fill slots are `scheduler`'s.

Guarantees
  * A record is changed only under its exclusive lock, so nobody multiplies with a slot that is being refilled.
  * What has just been granted is not taken away before its acquirer has used it, or let TAKE_UP_SECONDS pass.
"""

import asyncio
import time
from collections.abc import Iterable
from typing import Final

from zipmoe.arena.directory import Directory
from zipmoe.arena.layout import Header, Pool
from zipmoe.arena.leases import Leases
from zipmoe.arena.use import UseTable
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.ranking import Ranking
from zipmoe.scheduler.residency import Residency
from zipmoe.scheduler.store_client import Slot

# A grant reaches its acquirer within a millisecond; if it was not taken up by now, the acquirer is gone.
TAKE_UP_SECONDS: Final = 1.0


class Slots:
    def __init__(self, header: Header, pool: Pool, directory: Directory, use: UseTable, leases: Leases) -> None:
        self.pool = pool
        self.residency = Residency(pool.slots)
        self.use = use
        self.evictions = 0
        self._header = header
        self._directory = directory
        self._leases = leases
        self._ranking = Ranking(use)
        self._granted: dict[int, tuple[int, float]] = {}

    async def adopt(self) -> None:
        """Takes over what the directory says is resident, from a scheduler before this one."""
        offsets = ((expert, self._directory.resident_offset(expert)) for expert in range(self._header.records))
        found = [(expert, self.pool.slot_at(offset)) for expert, offset in offsets if offset]
        for expert in self.residency.adopt(found):
            await self._claim(expert)
            self._directory.withdraw(expert)
            self._leases.release(expert)

    def grant(self, expert: int) -> None:
        """Protects a resident expert until its acquirer has used it."""
        self._granted[expert] = (self.use.read(expert).count, time.monotonic() + TAKE_UP_SECONDS)

    def seat(self, experts: Iterable[int], phase: Phase) -> list[int]:
        """Gives slots to as many of these as policy and leases allow, in their order; returns those now loading."""
        # An expert may still be loading for somebody who gave up: its slot is doubtful, so it waits.
        queue = [expert for expert in experts if expert not in self.residency.loading]
        short = len(queue) - self.residency.free
        if short > 0:
            self._evict(short, phase)
        seated = queue[: self.residency.free]
        for expert in seated:
            self.residency.place(expert)
        return seated

    def slot(self, expert: int) -> Slot:
        """Where an expert is being loaded to."""
        return Slot(self.pool.slot_offset(self.residency.loading[expert]), self.pool.slot_bytes)

    async def publish(self, expert: int) -> None:
        """Its load is complete: readers may find it."""
        await self._claim(expert)
        self._directory.publish(expert, self.slot(expert).offset)
        self._leases.release(expert)
        self.residency.loaded(expert)

    def leased(self) -> int:
        """Resident experts that somebody holds a lease on right now."""
        return sum(self._leases.held(expert) for expert in self.residency.resident)

    def _evict(self, count: int, phase: Phase) -> None:
        """Makes up to `count` resident experts absent, as far as policy allows and nobody holds a lease."""
        kept = {expert for expert in list(self._granted) if self._kept(expert)}
        spare = self.residency.free + len(self.residency.loading) + len(kept)
        for expert in self._ranking.victims(self.residency.resident, kept, phase, spare):
            with self._leases.claimed(expert) as claimed:
                if claimed:
                    self._directory.withdraw(expert)
                    self.residency.evict(expert)
                    self.evictions += 1
                    count -= 1
            if not count:
                break

    def _kept(self, expert: int) -> bool:
        """Granted, and its acquirer has not yet used it."""
        count, deadline = self._granted[expert]
        if self.use.read(expert).count == count and time.monotonic() < deadline:
            return True
        del self._granted[expert]
        return False

    async def _claim(self, expert: int) -> None:
        # Only a reader that is finding out that the expert is absent can be in the way: for microseconds.
        while not self._leases.claim(expert):  # noqa: ASYNC110
            await asyncio.sleep(0)
