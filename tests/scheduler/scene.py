"""Scene: a scheduler over a real arena and a fake store, with a reader beside it that does what inference does."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.arena.shapes import header
from tests.scheduler.store import FakeStore, pattern
from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory
from zipmoe.arena.leases import Leases
from zipmoe.arena.use import UseTable
from zipmoe.scheduler import ranking as module
from zipmoe.scheduler.__main__ import attach
from zipmoe.scheduler.policy import Phase, victims
from zipmoe.scheduler.scheduler import Scheduler


@dataclass(frozen=True, slots=True)
class Scene:
    arena: Arena
    store: FakeStore
    scheduler: Scheduler
    leases: Leases
    use: UseTable
    directory: Directory

    async def get(self, *experts: int, phase: Phase = Phase.DECODE) -> list[int]:
        """Acquires experts and takes up each grant; returns them in the order of their arrival."""
        arrived = []
        async with asyncio.timeout(10), aclosing(self.scheduler.acquire(experts, phase)) as granted:
            async for expert in granted:
                self.take_up(expert, phase)
                arrived.append(expert)
        return arrived

    def want(self, *experts: int, phase: Phase = Phase.DECODE) -> "asyncio.Task[list[int]]":
        """The same, meanwhile."""
        return asyncio.get_running_loop().create_task(self.get(*experts, phase=phase))

    def take_up(self, expert: int, phase: Phase = Phase.DECODE) -> None:
        """Leases an expert, looks at its bytes, counts the use, lets it go."""
        with self.leased(expert) as offset:
            length = self.arena.header.slot_bytes
            assert self.arena.memory[offset : offset + length].tobytes() == pattern(expert, length)
            if phase is Phase.PREFILL:
                self.use.prefilled({expert: 1.0})
            else:
                self.use.decoded([expert])

    @contextmanager
    def leased(self, expert: int) -> Iterator[int]:
        """Holds a lease; gives the expert's place."""
        assert self.leases.lease(expert)
        offset = self.directory.resident_offset(expert)
        assert offset, f"expert {expert} is not resident"
        try:
            yield offset
        finally:
            self.leases.release(expert)

    def residents(self) -> set[int]:
        """As a reader sees them, which must be as the scheduler does."""
        pool, seen = self.scheduler.slots.pool, {}
        for expert in range(self.arena.header.records):
            if offset := self.directory.resident_offset(expert):
                seen[expert] = pool.slot_at(offset)
        assert seen == self.scheduler.slots.residency.resident
        return set(seen)


@asynccontextmanager
async def staged(folder: Path, slots: int, prompt: bool = False, layers: int = 2) -> AsyncIterator[Scene]:
    """A running scheduler of 8 experts a layer; what it believes is audited at the end."""
    arena = Arena.create(folder / "arena", header(slots, layers, experts=8))
    store, scheduler = FakeStore(arena, prompt), attach(Arena.open(arena.path))
    leases, use = Leases(arena.path), UseTable(arena.memory, arena.header)
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
        monkeypatch.setattr(module, "victims", self._look)

    async def again(self, times: int = 3) -> None:
        async with asyncio.timeout(10), self._news:
            enough = self._count + times
            await self._news.wait_for(lambda: self._count >= enough)

    def _look(self, *arguments: object) -> list[int]:
        self._count += 1
        task = asyncio.get_running_loop().create_task(self._tell())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return victims(*arguments)  # type: ignore[arg-type]

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
