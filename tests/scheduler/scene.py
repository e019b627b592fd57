"""Scene: a scheduler over a real arena and a fake store, with a reader beside it that does what inference does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.arena.shapes import header
from tests.scheduler.store import FakeStore, pattern
from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory, Record, State
from zipmoe.arena.layout import Part, divide
from zipmoe.arena.leases import Leases
from zipmoe.arena.use_counter import UseCounter
from zipmoe.scheduler.__main__ import attach
from zipmoe.scheduler.forecasts import Forecast
from zipmoe.scheduler.order import ORDERS
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.ranking import Ranking
from zipmoe.scheduler.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Scene:
    arena: Arena
    store: FakeStore
    scheduler: Scheduler
    leases: Leases
    use: UseCounter
    directory: Directory

    async def get(self, *experts: int, phase: Phase = Phase.DECODE) -> list[int]:
        """Acquires experts and takes up each grant; returns them in the order of their arrival."""
        arrived = []
        async with asyncio.timeout(10), aclosing(self.scheduler.acquire(experts, phase)) as granted:
            async for expert, _ in granted:
                self.take_up(expert, phase)
                arrived.append(expert)
        return arrived

    def want(self, *experts: int, phase: Phase = Phase.DECODE) -> "asyncio.Task[list[int]]":
        """The same, meanwhile."""
        return asyncio.get_running_loop().create_task(self.get(*experts, phase=phase))

    def forecast(self, layer: int, *experts: int, phase: Phase = Phase.DECODE, demanding: bool = False) -> None:
        """Says that these will probably be wanted, while a layer is computed."""
        self.scheduler.forecast(Forecast(layer, experts, phase, demanding))

    async def bring(self, layer: int, *experts: int) -> None:
        """Has these forecast, and loaded for that alone."""
        self.forecast(layer, *experts)
        await self.store.until_aloft(*experts)
        for expert in experts:
            self.store.finish(expert)
        await self.quiet()
        assert self.residents().issuperset(experts)

    async def quiet(self) -> None:
        """Lets the scheduler do whatever it would."""
        for _ in range(20):
            await asyncio.sleep(0)

    def take_up(self, expert: int, phase: Phase = Phase.DECODE) -> None:
        """Leases an expert, looks at its bytes, counts the use, lets it go."""
        with self.leased(expert) as record:
            for part, offset in zip(Part, (record.words, record.sign_mantissas, record.exponents), strict=True):
                if offset:
                    length = self.arena.header.part_bytes(part)
                    assert self.arena.memory[offset : offset + length].tobytes() == pattern(expert, part, length)
            if phase is Phase.PREFILL:
                self.use.prefilled({expert: 1.0})
            else:
                self.use.decoded([expert])

    @contextmanager
    def leased(self, expert: int) -> Iterator[Record]:
        """Holds a lease; gives the expert's record."""
        assert self.leases.lease(expert)
        record = self.directory.read(expert)
        assert record.state.ready, f"expert {expert} is not resident"
        try:
            yield record
        finally:
            self.leases.release(expert)

    def states(self) -> dict[int, State]:
        """Of all experts that are not absent, as a reader sees them, which must be as the scheduler does."""
        slots, seen = self.scheduler.slots, dict[int, State]()
        for expert in range(self.arena.header.records):
            record = self.directory.read(expert)
            if record.state is not State.ABSENT:
                offsets = zip(Part, (record.words, record.sign_mantissas, record.exponents), strict=True)
                parts = {part: slots.partition[part].slot_at(offset) for part, offset in offsets if offset}
                assert parts == slots.residency.parts(expert)
                seen[expert] = record.state
            else:
                assert not slots.residency.parts(expert)
        return seen

    def residents(self) -> set[int]:
        """Those that can be multiplied with."""
        return {expert for expert, state in self.states().items() if state.ready}


@asynccontextmanager
async def staged(
    folder: Path,
    slots: int = 0,
    prompt: bool = False,
    layers: int = 2,
    pools: tuple[int, int, int] | None = None,
    order: str = "tokens",
) -> AsyncIterator[Scene]:
    """A running scheduler of 8 experts a layer, over slots for words or `pools` of (words, sign-mantissas, exponents);
    what it believes is audited at the end."""
    shape = header(slots, layers, experts=8, part=5000 if pools else 0)
    if pools is not None:
        shape = replace(shape, size=divide(shape, *pools).end)
    arena = Arena.create(folder / "arena", shape)
    partition = divide(arena.header, *pools) if pools else None
    store, scheduler = FakeStore(arena, prompt), attach(Arena.open(arena.path), partition, ORDERS[order], decoding=10.0)
    leases, use = Leases(arena.path), UseCounter(arena.memory, arena.header)
    async with scheduler.running(store):
        yield Scene(arena, store, scheduler, leases, use, Directory(arena.memory, arena.header))
        assert not scheduler.fatal.done()
        scheduler.slots.residency.check()
    leases.close()


class Looks:
    """Counts how often a scheduler has looked for victims, so that a test can wait for it to have found none."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._count = 0
        self._news = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        victims = Ranking.victims

        def looked(*arguments: Any) -> Iterator[int]:
            self._look()
            return victims(*arguments)

        monkeypatch.setattr(Ranking, "victims", looked)

    async def again(self, times: int = 3) -> None:
        async with asyncio.timeout(10), self._news:
            enough = self._count + times
            await self._news.wait_for(lambda: self._count >= enough)

    def _look(self) -> None:
        self._count += 1
        task = asyncio.get_running_loop().create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
