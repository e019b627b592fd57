"""Virtual time: a loop whose clock jumps to whatever is due next, and an expert store that lives in it.

Whatever is random comes from one Random, so that a seed is a run.
"""

import asyncio
import selectors
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import cache
from random import Random
from typing import Any, Final, TypeAlias

import pytest

from tests.scheduler.store import FILLED, pattern
from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory, Record
from zipmoe.arena.layout import Part, Partition, Slot
from zipmoe.errors import ServiceRestarting
from zipmoe.scheduler.store_client import DEMAND, LOAD, Description, Placement, Response, StoreClient, Urgency
from zipmoe.wire.channel import PATIENCE_SECONDS

# What a round of the loop takes. Without it, who waits by looking again and again would stop the clock.
TICK_SECONDS: Final = 2e-5

WORKERS: Final = 3

# How often a load ends so, while there are faults.
LOST: Final = 0.05
CORRUPT: Final = 0.02

GONE: Final = "the socket is closed"

Answers: TypeAlias = "asyncio.Queue[tuple[int, Response] | Exception]"

expected = cache(pattern)


class NumberedFuture(asyncio.Future[Any]):
    """Its hash is the order of its making, where others have an address, so that a set of them is in the same order in
    every run."""

    def __init__(self, number: int, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop=loop)
        self._number = number

    def __hash__(self) -> int:
        return self._number


class Clock(selectors.SelectSelector):
    """Nothing comes from outside, so what would be waited for is skipped."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 1000.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        assert timeout is not None, "everybody waits and nothing will ever happen"
        self.now += max(timeout, TICK_SECONDS)
        return []


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._clock = Clock()
        self._futures = 0
        super().__init__(self._clock)

    def time(self) -> float:
        return self._clock.now

    # For the modules that look at the clock themselves: this in the place of `time`.
    monotonic = time

    def create_future(self) -> asyncio.Future[Any]:
        self._futures += 1
        return NumberedFuture(self._futures, self)


@contextmanager
def virtual_loop() -> Iterator[VirtualLoop]:
    """A loop that ends with all of its tasks; meanwhile its clock is that of the scheduler's modules."""
    loop = VirtualLoop()
    try:
        with pytest.MonkeyPatch.context() as patch:
            for name, module in list(sys.modules.items()):
                if name.startswith("zipmoe.scheduler.") and getattr(module, "time", None) is time:
                    patch.setattr(module, "time", loop)
            yield loop
    finally:
        with closing(loop):
            loop.run_until_complete(_end_all())


async def _end_all() -> None:
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await asyncio.get_running_loop().shutdown_asyncgens()


def parts(record: Record) -> dict[Part, int]:
    """Where the resident parts of an expert lie."""
    offsets = zip(Part, (record.words, record.sign_mantissas, record.exponents), strict=True)
    return {part: offset for part, offset in offsets if offset} if record.state else {}


@dataclass(slots=True, eq=False)
class Load:
    """`answers` is that of its call. `lost`: its scheduler will hear no more of it, and must have the store drain."""

    placement: Placement
    urgency: Urgency
    answers: Answers
    answered: bool = False
    lost: bool = False

    @property
    def filled(self) -> dict[Part, Slot]:
        return {part: slot for part, slot in self.placement.slots.items() if part in FILLED[self.placement.act]}

    @property
    def sources(self) -> dict[Part, Slot]:
        return {part: slot for part, slot in self.placement.slots.items() if part not in FILLED[self.placement.act]}


class VirtualStore:
    """Checks what it is asked; loads, the most urgent first, for a random time on a few workers. A store that goes away
    leaves workers behind that still write."""

    def __init__(self, arena: Arena, partition: Partition, random: Random, stepped: Callable[[], None]) -> None:
        self.arena = arena
        self.faulty = True
        self.away = False
        # How often the experts' loads were lost in whatever way since they were last complete, and who was damaged.
        self.lost: Counter[int] = Counter()
        self.damaged: set[int] = set()
        self._partition = partition
        self._directory = Directory(arena.memory, arena.header)
        self._random = random
        self._stepped = stepped
        self._news = asyncio.Event()
        # From when an expert is asked for until the scheduler knows what became of it, or the store has drained.
        self._aloft: dict[int, Load] = {}
        self._queue: list[Load] = []
        self._writing: list[Load] = []

    @property
    def written(self) -> list[Slot]:
        """Slots that somebody writes to."""
        return [slot for load in self._writing for slot in load.filled.values()]

    def intact(self, expert: int, part: Part, slot: Slot) -> bool:
        """Whether a slot holds nothing but this part of the expert."""
        found = self.arena.memory[slot.offset : slot.offset + slot.length].tobytes()
        return found == expected(expert, part, slot.length)

    def leave(self) -> None:
        """Goes away; some of the workers die at once."""
        self.away = True
        self._queue.clear()
        self._writing = [load for load in self._writing if self._random.random() < 0.5]
        for load in self._aloft.values():
            if not load.answered and not load.lost:
                self.lose([load])
                load.answers.put_nowait(ServiceRestarting(GONE))
        self._tell()

    def come_back(self) -> None:
        self.away = False
        self._tell()

    def ask(self, placements: Iterable[Placement], urgency: Urgency) -> list[Load]:
        """The loads of a call, if it may be made."""
        answers: Answers = asyncio.Queue()
        loads = [Load(placement, urgency, answers) for placement in placements]
        for load in loads:
            self._check(load)
            self._aloft[load.placement.expert] = load
        return loads

    def queue(self, loads: list[Load]) -> None:
        # The scheduler may be dead by now.
        self._queue += [load for load in loads if not load.lost]
        self._work()

    def lose(self, loads: Iterable[Load]) -> None:
        """Nobody listens for these any more. Those that have not started never will."""
        for load in loads:
            if not load.answered and not load.lost:
                load.lost = True
                self.lost[load.placement.expert] += 1
                if load in self._queue:
                    self._queue.remove(load)

    def forget(self, load: Load) -> None:
        """The scheduler knows what became of it."""
        if self._aloft.get(load.placement.expert) is load:
            del self._aloft[load.placement.expert]

    def drop(self, experts: Iterable[int]) -> None:
        for expert in experts:
            load = self._aloft.get(expert)
            if load is not None and load in self._queue:
                self._queue.remove(load)
                self._answer(load, Response(outcome=Response.OUTCOME_DROPPED))

    def hasten(self, experts: Iterable[int]) -> None:
        for expert in experts:
            load = self._aloft.get(expert)
            if load is not None and load in self._queue:
                load.urgency = DEMAND

    async def drain(self) -> None:
        await self.until(lambda: not self.away)
        for load in list(self._queue):
            # As good as lost: it was not its scheduler that wanted that.
            self.lost[load.placement.expert] += 1
            self.drop([load.placement.expert])
        await self.until(lambda: self.away or not self._writing)
        self.check_there()
        for load in [load for load in self._aloft.values() if load.lost]:
            self.forget(load)

    def check_there(self) -> None:
        if self.away:
            raise ServiceRestarting(GONE)

    async def until(self, true: Callable[[], bool]) -> None:
        while not true():
            await self._news.wait()

    async def travel(self) -> None:
        """A message's way between two processes."""
        await asyncio.sleep(self._random.choice((0.0, 0.0, self._random.expovariate(5000))))

    def _check(self, load: Load) -> None:
        placement = load.placement
        expert, filled, here = placement.expert, load.filled, parts(self._directory.read(placement.expert))
        assert expert not in self._aloft, f"expert {expert} is asked for while it is being loaded"
        assert filled, f"nothing is to be done for expert {expert}"
        for part, slot in placement.slots.items():
            pool = self._partition[part]
            inside = pool.slot_at(slot.offset) >= 0 and slot.length == pool.slot_bytes
            assert inside, f"expert {expert}: {slot} is no slot for {part.name}"
        taken = {
            offset for each in range(self._directory.records) for offset in parts(self._directory.read(each)).values()
        }
        taken.update(slot.offset for other in (*self._aloft.values(), *self._writing) for slot in other.filled.values())
        for part, slot in filled.items():
            assert part not in here, f"{part.name} of expert {expert} is loaded though it is resident"
            assert slot.offset not in taken, f"the slot at {slot.offset} is in use and given to expert {expert}"
        sources = {part: slot.offset for part, slot in load.sources.items()}
        assert not sources or sources == here, f"expert {expert} is not where it is to be recoded from"

    def _work(self) -> None:
        while self._queue and len(self._writing) < WORKERS and not self.away:
            load = min(self._queue, key=lambda each: each.urgency)
            self._queue.remove(load)
            self._writing.append(load)
            for slot in load.filled.values():
                self._write(slot, bytes([255]) * slot.length)
            slow = self._random.random() < 0.05
            asyncio.get_running_loop().call_later(self._random.expovariate(50 if slow else 1000), self._end, load)
            self._stepped()

    def _end(self, load: Load) -> None:
        if load not in self._writing:
            # Its worker is dead.
            return
        self._writing.remove(load)
        expert = load.placement.expert
        for part, slot in load.sources.items():
            assert self.intact(expert, part, slot), f"{part.name} of expert {expert} went while it was recoded"
        outcome = self._outcome(load)
        if outcome == Response.OUTCOME_LOADED:
            for part, slot in load.filled.items():
                self._write(slot, expected(expert, part, slot.length))
        if not load.lost:
            self._record(expert, outcome)
            read = sum(slot.length for slot in load.filled.values()) if load.placement.act == LOAD else 0
            self._answer(load, Response(outcome=outcome, detail="by the test", bytes_read=read))
        self._tell()
        self._work()
        self._stepped()

    def _outcome(self, load: Load) -> Response.Outcome:
        dice = self._random.random() if self.faulty else 1.0
        if dice < LOST:
            return Response.OUTCOME_LOST
        damaged = dice < LOST + CORRUPT and load.placement.act == LOAD
        return Response.OUTCOME_CORRUPT if damaged else Response.OUTCOME_LOADED

    def _record(self, expert: int, outcome: Response.Outcome) -> None:
        if outcome == Response.OUTCOME_LOST:
            self.lost[expert] += 1
        elif outcome == Response.OUTCOME_CORRUPT:
            self.damaged.add(expert)
        else:
            self.lost.pop(expert, None)
            self.damaged.discard(expert)

    def _answer(self, load: Load, response: Response) -> None:
        load.answered = True
        load.answers.put_nowait((load.placement.expert, response))

    def _write(self, slot: Slot, data: bytes) -> None:
        self.arena.memory[slot.offset : slot.offset + slot.length] = data

    def _tell(self) -> None:
        self._news.set()
        self._news.clear()


class Line(StoreClient):
    """A scheduler's line to the store. It ends with its scheduler."""

    def __init__(self, store: VirtualStore) -> None:
        self._store = store
        self._asked: list[Load] = []
        self._cut = False

    def cut(self) -> None:
        self._cut = True
        self._store.lose(self._asked)

    async def describe(self) -> Description:
        await self._store.until(lambda: not self._store.away)
        header = self._store.arena.header
        return Description(header.fingerprint, str(self._store.arena.path), header.epoch, WORKERS)

    async def load(
        self, epoch: int, experts: int, placements: Iterable[Placement], urgency: Urgency
    ) -> AsyncIterator[tuple[int, Response]]:
        header = self._store.arena.header
        assert (epoch, experts) == (header.epoch, header.experts)
        loads = {load.placement.expert: load for load in self._store.ask(placements, urgency)}
        self._asked += loads.values()
        try:
            await self._travel()
            self._store.queue(list(loads.values()))
            while loads:
                answer = await next(iter(loads.values())).answers.get()
                if isinstance(answer, Exception):
                    raise answer
                load = loads.pop(answer[0])
                self._asked.remove(load)
                self._store.forget(load)
                yield answer
        finally:
            self._store.lose(loads.values())
            self._asked = [load for load in self._asked if load not in loads.values()]

    async def cancel(self, experts: int, numbers: Iterable[int]) -> None:
        assert experts == self._store.arena.header.experts
        await self._travel()
        self._store.drop(numbers)

    async def hasten(self, experts: int, numbers: Iterable[int]) -> None:
        assert experts == self._store.arena.header.experts
        await self._travel()
        self._store.hasten(numbers)

    async def drain(self) -> None:
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await self._store.travel()
                await self._store.drain()
                await self._store.travel()
        except TimeoutError:
            raise ServiceRestarting("nobody listens") from None
        if self._cut:
            raise ServiceRestarting(GONE)

    async def _travel(self) -> None:
        """Raises ServiceRestarting if the store is away, or the scheduler dead."""
        await self._store.travel()
        self._store.check_there()
        if self._cut:
            raise ServiceRestarting(GONE)
