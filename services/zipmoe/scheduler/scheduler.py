"""Scheduler: makes experts resident. Decisions are `policy`'s and `residency`'s; this is where they are waited for.

     acquire() ─ flight ─▶ waiting ─ _dispatch: a free slot, or a victim's ─▶ _load ─▶ store
         ▲                    ▲            (claims the victim's record)         │
         │                    └── lost with the store or a worker: again ◀──────┤
         └──── settled ◀──────────── directory record published ◀───────────────┘

Guarantees
  * One flight an expert, however many want it; one load a flight at a time.
  * A record is changed only under its exclusive lock, so nobody multiplies with a slot that is being refilled.
  * A slot whose writer may still be alive is not used again before the store has said that nothing is being written.
  * What has just been granted is not taken away before its acquirer has used it, or let TAKE_UP_SECONDS pass.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Final

from zipmoe.arena.directory import Directory
from zipmoe.arena.layout import Header, Pool
from zipmoe.arena.leases import Leases
from zipmoe.arena.use import UseTable
from zipmoe.errors import (
    CacheExhausted,
    CorruptExpert,
    ServiceRestarting,
    StaleEpoch,
    UnknownExpert,
    WorkerLost,
    ZipMoEError,
)
from zipmoe.scheduler.policy import Phase, victims
from zipmoe.scheduler.residency import Residency
from zipmoe.scheduler.store_client import Response, Slot, StoreClient

log = logging.getLogger(__name__)

# A grant reaches its acquirer within a millisecond; if it was not taken up by now, the acquirer is gone.
TAKE_UP_SECONDS: Final = 1.0

# Every slot leased for this long: the arena is too small for who uses it.
ROOM_PATIENCE_SECONDS: Final = 30.0

# The kernel tells nobody when a lease ends, so a load that waits for one looks again.
ROOM_LOOK_SECONDS: Final = 0.001

MOST_ATTEMPTS: Final = 3


@dataclass(slots=True)
class Flight:
    """An expert on its way in, and how many wait for it."""

    expert: int
    phase: Phase
    since: float
    waiters: int = 0
    attempts: int = 0
    landed: asyncio.Future[None] = field(default_factory=lambda: asyncio.get_running_loop().create_future())


@dataclass(frozen=True, slots=True)
class Statistics:
    """Since the scheduler started; `hit_rate` is the share of uses that needed no load."""

    misses: int
    evictions: int
    bytes_read: int
    hit_rate: float


class Scheduler:
    def __init__(self, header: Header, pool: Pool, directory: Directory, use: UseTable, leases: Leases) -> None:
        self.header = header
        self.pool = pool
        self.residency = Residency(pool.slots)
        self.directory = directory
        self.leases = leases
        self.use = use
        # Settled with what makes it senseless to go on: another arena, or a fault of ours.
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._store: StoreClient
        self._flights: dict[int, Flight] = {}
        self._waiting: list[Flight] = []
        self._wanted: asyncio.Event = asyncio.Event()
        self._granted: dict[int, tuple[int, float]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._misses = self._evictions = self._bytes_read = 0
        self._uses_before = use.total()

    @asynccontextmanager
    async def running(self, store: StoreClient) -> AsyncIterator[None]:
        """Takes over what the directory says is resident, then dispatches until the body ends."""
        self._store = store
        await store.drain()
        offsets = ((expert, self.directory.resident_offset(expert)) for expert in range(self.header.records))
        found = [(expert, self.pool.slot_at(offset)) for expert, offset in offsets if offset]
        for expert in self.residency.adopt(found):
            await self._withdraw(expert)
        log.info("took over %d resident experts", len(self.residency.resident))
        self._spawn(self._dispatch())
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()

    async def acquire(self, experts: Iterable[int], phase: Phase) -> AsyncGenerator[int, None]:
        """Yields each of these experts when it is resident. Closing it drops what nobody else waits for.

        Raises UnknownExpert, CorruptExpert, CacheExhausted or ServiceRestarting for the first one that cannot be.
        """
        waiting: dict[asyncio.Future[None], Flight] = {}
        try:
            for expert in dict.fromkeys(experts):
                if not 0 <= expert < self.header.records:
                    raise UnknownExpert(f"expert number {expert}: the model has {self.header.records}")
                if expert in self.residency.resident:
                    self._grant(expert)
                    yield expert
                else:
                    flight = self._join(expert, phase)
                    waiting[flight.landed] = flight
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for landed in done:
                    flight = waiting.pop(landed)
                    flight.waiters -= 1
                    landed.result()
                    yield flight.expert
        finally:
            for flight in waiting.values():
                self._leave(flight)

    def statistics(self) -> Statistics:
        uses = self.use.total() - self._uses_before
        hit_rate = max(0.0, 1 - self._misses / uses) if uses else 0.0
        return Statistics(self._misses, self._evictions, self._bytes_read, hit_rate)

    def leased(self) -> int:
        """Resident experts that somebody holds a lease on right now."""
        return sum(self.leases.held(expert) for expert in self.residency.resident)

    # -- flights

    def _join(self, expert: int, phase: Phase) -> Flight:
        flight = self._flights.get(expert)
        if flight is None:
            self._misses += 1
            flight = self._flights[expert] = Flight(expert, phase, time.monotonic())
            self._waiting.append(flight)
            self._wanted.set()
        flight.waiters += 1
        return flight

    def _leave(self, flight: Flight) -> None:
        flight.waiters -= 1
        if flight.waiters or flight.landed.done():
            return
        if flight in self._waiting:
            self._waiting.remove(flight)
            self._land(flight, None)
        else:
            self._spawn(self._cancel(flight))

    async def _cancel(self, flight: Flight) -> None:
        try:
            await self._store.cancel(self.header.experts, [flight.expert])
        except ZipMoEError as error:
            log.info("could not cancel the load of expert %d: %s", flight.expert, error)

    def _land(self, flight: Flight, error: ZipMoEError | None) -> None:
        del self._flights[flight.expert]
        if error is None:
            flight.landed.set_result(None)
        elif flight.waiters:
            flight.landed.set_exception(error)
        else:
            flight.landed.cancel()

    def _grant(self, expert: int) -> None:
        self._granted[expert] = (self.use.read(expert).count, time.monotonic() + TAKE_UP_SECONDS)

    def _spawn(self, work: "asyncio._CoroutineLike[None]") -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.fatal.done():
            self.fatal.set_exception(error)

    # -- slots

    async def _dispatch(self) -> None:
        """Gives slots to waiting flights, decoding before prefill, and sends them off in one call a round."""
        while True:
            self._wanted.clear()
            ready = self._seat(sorted(self._waiting, key=lambda flight: flight.phase is Phase.PREFILL))
            if ready:
                self._spawn(self._load(ready))
            self._give_up_late()
            if self._waiting:
                await asyncio.sleep(ROOM_LOOK_SECONDS)
            else:
                await self._wanted.wait()

    def _seat(self, flights: list[Flight]) -> list[Flight]:
        """Takes those flights off the waiting list that a slot can be found for now."""
        seated: list[Flight] = []
        for phase in Phase.DECODE, Phase.PREFILL:
            # An expert may still be loading for a flight that was given up: its slot is doubtful, so it waits.
            queue = [f for f in flights if f.phase is phase and f.expert not in self.residency.loading]
            short = len(queue) - self.residency.free
            if short > 0:
                self._evict(short, phase)
            for flight in queue[: self.residency.free]:
                self.residency.place(flight.expert)
                self._waiting.remove(flight)
                seated.append(flight)
        return seated

    def _evict(self, count: int, phase: Phase) -> None:
        """Makes up to `count` resident experts absent, as far as policy allows and nobody holds a lease."""
        kept = {expert for expert in list(self._granted) if self._kept(expert)}
        uses = {expert: self.use.read(expert) for expert in self.residency.resident if expert not in kept}
        spare = self.residency.free + len(self.residency.loading) + len(kept)
        for expert in victims(uses, self.use.step(), phase, spare):
            if not count:
                break
            with self.leases.claimed(expert) as claimed:
                if claimed:
                    self.directory.withdraw(expert)
                    self.residency.evict(expert)
                    self._evictions += 1
                    count -= 1

    def _kept(self, expert: int) -> bool:
        """Granted, and its acquirer has not yet used it."""
        count, deadline = self._granted[expert]
        if self.use.read(expert).count == count and time.monotonic() < deadline:
            return True
        del self._granted[expert]
        return False

    def _give_up_late(self) -> None:
        deadline = time.monotonic() - ROOM_PATIENCE_SECONDS
        for flight in [flight for flight in self._waiting if flight.since < deadline]:
            self._waiting.remove(flight)
            if flight.expert in self.residency.loading:
                error: ZipMoEError = ServiceRestarting("the expert store stays away: see its log")
            else:
                error = CacheExhausted(
                    f"all {self.pool.slots} slots of the arena stayed in use for {ROOM_PATIENCE_SECONDS:.0f} s: "
                    "give it more memory (--arena-size)"
                )
            self._land(flight, error)

    # -- loads

    async def _load(self, flights: list[Flight]) -> None:
        aloft = {flight.expert: flight for flight in flights}
        slots = [(expert, self._slot(expert)) for expert in aloft]
        try:
            async for expert, outcome in self._store.load(self.header.epoch, self.header.experts, slots):
                await self._settle(aloft.pop(expert), outcome)
        except StaleEpoch:
            raise
        except ZipMoEError as error:
            log.info("the expert store went away with %d loads: %s", len(aloft), error)
        if aloft:
            await self._recover(list(aloft.values()))

    async def _settle(self, flight: Flight, outcome: Response) -> None:
        self._bytes_read += outcome.bytes_read
        if outcome.outcome == Response.OUTCOME_LOADED:
            await self._publish(flight.expert)
            self._grant(flight.expert)
            self._land(flight, None)
            return
        self.residency.abandon(flight.expert)
        if outcome.outcome == Response.OUTCOME_CORRUPT:
            self._land(flight, CorruptExpert(outcome.detail))
        else:
            self._again(flight, outcome.detail)

    async def _recover(self, flights: list[Flight]) -> None:
        """After the store went away: its workers may still write, so the slots wait until a store says otherwise."""
        while True:
            try:
                await self._store.drain()
                break
            except ServiceRestarting as error:
                for flight in flights:
                    if not flight.landed.done():
                        self._land(flight, ServiceRestarting(f"the expert store stays away: {error}"))
        for flight in flights:
            self.residency.abandon(flight.expert)
            if not flight.landed.done():
                self._again(flight, "the expert store went away")

    def _again(self, flight: Flight, why: str) -> None:
        flight.attempts += 1
        if flight.attempts < MOST_ATTEMPTS and flight.waiters:
            self._waiting.append(flight)
            self._wanted.set()
        else:
            self._land(flight, WorkerLost(f"expert {flight.expert} could not be loaded: {why}"))

    def _slot(self, expert: int) -> Slot:
        return Slot(self.pool.slot_offset(self.residency.loading[expert]), self.pool.slot_bytes)

    # -- records

    async def _publish(self, expert: int) -> None:
        await self._claim(expert)
        self.directory.publish(expert, self._slot(expert).offset)
        self.leases.release(expert)
        self.residency.loaded(expert)

    async def _withdraw(self, expert: int) -> None:
        await self._claim(expert)
        self.directory.withdraw(expert)
        self.leases.release(expert)

    async def _claim(self, expert: int) -> None:
        # Only a reader that is finding out that the expert is absent can be in the way: for microseconds.
        while not self.leases.claim(expert):  # noqa: ASYNC110
            await asyncio.sleep(0)
