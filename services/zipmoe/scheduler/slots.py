"""Slots: which parts of which expert lie where, and the only writer of the arena's directory. Waits for nothing but a
reader that looks at a record; the loads that fill slots are `scheduler`'s.

A record is changed only under its exclusive lock, so nobody multiplies with a slot that is being refilled.
"""

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Final

from zipmoe.arena.directory import Directory, State
from zipmoe.arena.layout import PLANES, Header, Part, Partition
from zipmoe.arena.leases import Leases
from zipmoe.arena.use import UseTable
from zipmoe.scheduler.policy import Phase, Worth, affinity, chance, rearrange
from zipmoe.scheduler.residency import Residency
from zipmoe.scheduler.store_client import LOAD, RECOVER, REDUCE, Placement
from zipmoe.scheduler.victims import Victims

# Enough to keep two workers busy; the scheduler knows how many there are. Each more takes the slot of an expert of
# another layer, where a load that waits would take that of one which this layer has used by then: at 16 sequences and
# 25 % of the memory, 22 % hits instead of 39.
MOST_ALOFT: Final = 4


class Slots:
    def __init__(
        self,
        header: Header,
        partition: Partition,
        directory: Directory,
        use: UseTable,
        leases: Leases,
        worth: Worth = affinity,
    ) -> None:
        self.partition = partition
        self.residency = Residency({part: partition[part].slots for part in Part})
        self.victims = Victims(self.residency, use, header.layers, header.experts, worth)
        self.use = use
        self.evictions = self.demotions = 0
        # Loads that may be in the air before one more takes a slot away from somebody.
        self.most = MOST_ALOFT
        self._header = header
        self._directory = directory
        self._leases = leases
        self._moved = -1

    async def adopt(self) -> None:
        """Takes over what the directory says is resident, from a scheduler before this one."""
        for expert in range(self._header.records):
            record = self._directory.read(expert)
            offsets = zip(Part, (record.words, record.sign_mantissas, record.exponents), strict=True)
            parts = {part: self.partition[part].slot_at(offset) for part, offset in offsets if offset}
            if record.state and not self.residency.adopt(expert, parts):
                await self._claim(expert)
                self._directory.withdraw(expert)
                self._leases.release(expert)

    def seat(
        self, experts: Iterable[int], phase: Phase, wanted: Collection[int] = (), spared: Collection[int] = ()
    ) -> list[int]:
        """Gives slots to as many of these as policy and leases allow, in their order; returns those to be loaded now.

        Whatever is resident of them, and of those `wanted` besides, stays; who is `spared` goes last.
        """
        queue = self._queue(experts)
        return self._seat(queue, lambda part: self.victims.for_demand(part, phase, {*queue, *wanted}, spared))

    def seat_forecast(self, experts: Iterable[int], phase: Phase, kept: Collection[int], layer: int) -> list[int]:
        """The same for experts that are only forecast. Those `kept` stay besides."""
        queue = self._queue(experts)
        return self._seat(queue, lambda part: self.victims.for_forecast(part, phase, {*queue, *kept}, layer))

    def move(self, spared: Collection[int] = ()) -> int | None:
        """Gives slots to one expert that would lie better in its other form, about once a decode step and one at a
        time: the warmest as words, the coldest of those in planes (F to C) unless it is colder than all there. Nobody
        goes for it who is `spared`."""
        step, done = self.use.step(), self._moved
        if not self.residency.mixed or self.residency.moving or (step == done and not self.residency.free(Part.WORDS)):
            return None
        self._moved = step
        experts = {expert for part in Part for expert in self.residency.resident(part)}
        worth = {expert: chance(*self.use.read(expert).aged(step)) for expert in experts}
        rise, fall = rearrange(self.residency, worth)
        if fall in spared:
            return None
        if fall is not None:
            kept = {expert for expert in experts if worth[expert] >= worth[fall]}.union(spared)
            for part in PLANES:
                if not self.residency.free(part):
                    self._evict(part, 1, self.victims.for_demand(part, Phase.DECODE, kept))
            if all(self.residency.free(part) for part in PLANES):
                self.residency.place(fall, PLANES)
                return fall
            self._evict(Part.WORDS, 1, self.victims.for_demand(Part.WORDS, Phase.DECODE, experts - {fall}))
        if rise is None or not self.residency.free(Part.WORDS):
            return None
        self.residency.place(rise, (Part.WORDS,))
        return rise

    def placement(self, expert: int) -> Placement:
        """What is to be done for an expert that has been given slots."""
        filling = self.residency.filling[expert]
        if not self.residency.ready(expert):
            act, parts = LOAD, dict(filling)
        else:
            act = RECOVER if Part.WORDS in filling else REDUCE
            parts = self.residency.parts(expert) | dict(filling)
        return Placement(expert, act, {part: self.partition[part].slot(slot) for part, slot in parts.items()})

    @property
    def states(self) -> Counter[State]:
        """Experts by how much of them is resident."""
        experts = {expert for part in Part for expert in self.residency.resident(part)}
        return Counter(self._directory.read(expert).state for expert in experts)

    async def publish(self, expert: int) -> None:
        """Its load is complete: readers may find it."""
        await self._claim(expert)
        self.residency.filled(expert)
        self._write(expert)
        self._leases.release(expert)

    def leased(self) -> int:
        """Resident experts that somebody holds a lease on right now."""
        residents = {expert for part in Part for expert in self.residency.resident(part)}
        return sum(self._leases.held(expert) for expert in residents)

    def _place(self, queue: Iterable[int]) -> list[int]:
        placed = []
        for expert in queue:
            lacking = self.residency.lacking(expert)
            if all(self.residency.free(part) for part in lacking):
                self.residency.place(expert, lacking)
                placed.append(expert)
        return placed

    def _queue(self, experts: Iterable[int]) -> list[int]:
        # An expert may still be loading for somebody who gave up: its slots are doubtful, so it waits.
        return [expert for expert in experts if expert not in self.residency.filling]

    def _seat(self, queue: list[int], victims: Callable[[Part], Iterator[int]]) -> list[int]:
        seated = self._place(queue)
        left = [expert for expert in queue if expert not in seated]
        left = left[: max(0, self.most - len(self.residency.filling))]
        # The scarcest part first: who does not get that one takes no slot of another.
        for part in sorted(Part, key=self.residency.slots.__getitem__):
            lacking = [expert for expert in left if part in self.residency.lacking(expert)]
            if len(lacking) > self.residency.free(part):
                self._evict(part, len(lacking) - self.residency.free(part), victims(part))
                late = lacking[self.residency.free(part) :]
                left = [expert for expert in left if expert not in late]
        return seated + self._place(left)

    def _evict(self, part: Part, count: int, victims: Iterator[int]) -> None:
        """Frees up to `count` slots of a part, as far as nobody holds a lease."""
        for expert in victims:
            with self._leases.claimed(expert) as claimed:
                if claimed:
                    self._fall(expert, part)
                    count -= 1
            if not count:
                break

    def _fall(self, expert: int, part: Part) -> None:
        self.residency.drop(expert, self.residency.falling(part))
        self._write(expert)
        if self.residency.parts(expert):
            self.demotions += 1
        else:
            self.evictions += 1

    def _write(self, expert: int) -> None:
        """The record, after what is believed; under its exclusive lock."""
        parts = self.residency.parts(expert)
        if parts:
            self._directory.publish(expert, {part: self.partition[part].slot_offset(at) for part, at in parts.items()})
        else:
            self._directory.withdraw(expert)

    async def _claim(self, expert: int) -> None:
        # Only a reader that is finding out that the expert is absent can be in the way: for microseconds. Or one that
        # multiplies with it in the form that it had: until it is through.
        while not self._leases.claim(expert):  # noqa: ASYNC110
            await asyncio.sleep(0)
