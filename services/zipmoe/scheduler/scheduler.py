"""Scheduler: makes experts resident. `policy` decides who goes, `slots` does it; this is where loads are waited for.

     acquire() ─ flight ─▶ waiting ─ _dispatch: slots.seat ─▶ _load ─▶ store
         ▲                    ▲           ▲                     │
         │                    │     forecast(): seated when nobody waits, joined or dropped
         │                    └── lost with a worker or the store: again
         └──── landed ◀──────────── slots.publish ◀─────────────┘

Guarantees
  * One flight an expert, however many want it; one load a flight at a time.
  * A forecast is a flight that nobody waits for. It is seated behind every demand; a demand that comes for it joins.
  * A slot whose writer may still be alive is not used again before the store has said that nothing is being written.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from zipmoe.arena.layout import Header, Part
from zipmoe.errors import (
    CacheExhausted,
    CorruptExpert,
    ServiceRestarting,
    StaleEpoch,
    UnknownExpert,
    WorkerLost,
    ZipMoEError,
)
from zipmoe.scheduler.benefit import Counts
from zipmoe.scheduler.flight import Flight
from zipmoe.scheduler.forecasts import LOADS_A_WORKER, Forecast, Forecasts
from zipmoe.scheduler.order import Job, Order, tokens
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.slots import Slots
from zipmoe.scheduler.store_client import DEMAND, FORECAST, KEEP, Response, StoreClient, Urgency

log = logging.getLogger(__name__)

# Every slot leased for this long: the arena is too small for who uses it.
ROOM_PATIENCE_SECONDS: Final = 30.0

# The kernel tells nobody when a lease ends, so a load that waits for one looks again.
ROOM_LOOK_SECONDS: Final = 0.001

MOST_ATTEMPTS: Final = 3

# Demands in the air: what a worker loads, and what it is given next.
ALOFT_A_WORKER: Final = 2


@dataclass(frozen=True, slots=True)
class Statistics:
    """Since the scheduler started. `partial_misses` are those of the misses that found one plane resident; `hit_rate`
    is the share of uses that needed no load."""

    misses: int
    partial_misses: int
    evictions: int
    demotions: int
    bytes_read: int
    hit_rate: float
    forecasts: Counts


class Scheduler:
    def __init__(self, header: Header, slots: Slots, order: Order = tokens, decoding: float = 0.0) -> None:
        """`order` is that of the loads of a layer. `decoding` a weight's exponent keeps one core as long as reading so
        many bytes keeps the disk."""
        self.header = header
        self.slots = slots
        self._order = order
        self._decoding = decoding
        # Settled with what makes it senseless to go on: another arena, or a fault of ours.
        self.fatal: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._store: StoreClient
        self._workers = 0
        # Rounds of loads whose slots a store that went away may still write to.
        self._recovering = 0
        self._forecasts = Forecasts(slots.use, header.experts)
        self._flights: dict[int, Flight] = {}
        self._waiting: list[Flight] = []
        self._wanted = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._misses = self._partial = self._bytes_read = 0
        self._uses_before = slots.use.total()

    @asynccontextmanager
    async def running(self, store: StoreClient) -> AsyncIterator[None]:
        """Takes over what is resident, then dispatches until the body ends."""
        self._store = store
        self._workers = (await store.describe()).workers
        self._forecasts.most = LOADS_A_WORKER * self._workers
        self.slots.most = max(self.slots.most, ALOFT_A_WORKER * self._workers)
        await store.drain()
        await self.slots.adopt()
        log.info("took over %d resident experts", sum(self.slots.states.values()))
        self._spawn(self._dispatch())
        try:
            yield
        finally:
            for task in self._tasks:
                task.cancel()

    async def acquire(
        self, experts: Iterable[int], phase: Phase, found: Mapping[int, int] = MappingProxyType({})
    ) -> AsyncGenerator[tuple[int, int], None]:
        """Yields each of these experts when it is resident, and the bytes read for it. Closing it drops what nobody
        else waits for. Those `found` resident, with their counts of uses then, stay until they have been used.

        Raises UnknownExpert, CorruptExpert, CacheExhausted or ServiceRestarting for the first one that cannot be.
        """
        waiting: dict[asyncio.Future[None], Flight] = {}
        ready = list[int]()
        try:
            for expert, uses in found.items():
                self._check(expert)
                self.slots.victims.found(expert, uses)
            wanted = list(dict.fromkeys(experts))
            for expert in wanted:
                self._check(expert)
                if self.slots.residency.ready(expert):
                    self.slots.victims.grant(expert)
                    ready.append(expert)
                else:
                    flight = self._join(expert, phase)
                    waiting[flight.landed] = flight
            if wanted:
                self._forecasts.demand(wanted[0] // self.header.experts)
                self._wanted.set()
            for expert in ready:
                yield expert, 0
            while waiting:
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                for landed in done:
                    flight = waiting.pop(landed)
                    flight.waiters -= 1
                    landed.result()
                    yield flight.expert, flight.bytes_read
        finally:
            for flight in waiting.values():
                self._leave(flight)

    def forecast(self, forecast: Forecast) -> None:
        """Reads ahead, as far as there is room, what will probably be wanted. Raises UnknownExpert."""
        for expert in forecast.experts:
            self._check(expert)
        self._forecasts.tell(forecast)
        self._wanted.set()

    def statistics(self) -> Statistics:
        uses = self.slots.use.total() - self._uses_before
        hit_rate = max(0.0, 1 - self._misses / uses) if uses else 0.0
        slots = self.slots
        forecasts = self._forecasts.benefit.counts()
        return Statistics(
            self._misses, self._partial, slots.evictions, slots.demotions, self._bytes_read, hit_rate, forecasts
        )

    def _check(self, expert: int) -> None:
        if not 0 <= expert < self.header.records:
            raise UnknownExpert(f"expert number {expert}: the model has {self.header.records}")

    # -- flights

    def _join(self, expert: int, phase: Phase) -> Flight:
        flight = self._flights.get(expert)
        if flight is None or self._forecasts.join(expert):
            # It has to be waited for: a miss, even if the wait is shorter for having been forecast.
            self._misses += 1
            self._partial += bool(self.slots.residency.parts(expert))
        if flight is None:
            self._forecasts.benefit.gone(expert)
            flight = self._flights[expert] = Flight(expert, phase, time.monotonic())
            self._waiting.append(flight)
        flight.waiters += 1
        return flight

    def _leave(self, flight: Flight) -> None:
        flight.waiters -= 1
        if flight.landed.done() and not flight.landed.cancelled():
            # Another one's error was raised before this could be; asyncio would say that nobody has seen it.
            flight.landed.exception()
        if flight.waiters or flight.landed.done():
            return
        if flight in self._waiting:
            self._waiting.remove(flight)
            self._land(flight, None)
        else:
            self._spawn(self._told(self._store.cancel, [flight.expert]))

    async def _told(self, act: Callable[[int, Iterable[int]], Awaitable[None]], experts: list[int]) -> None:
        """Has the store do something about loads. If it is away, it has none."""
        try:
            await act(self.header.experts, experts)
        except ZipMoEError as error:
            log.info("nothing was done about the loads of experts %s: %s", experts, error)

    def _land(self, flight: Flight, error: ZipMoEError | None) -> None:
        del self._flights[flight.expert]
        if error is None:
            flight.landed.set_result(None)
        elif flight.waiters:
            flight.landed.set_exception(error)
        else:
            flight.landed.cancel()

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)

    def _done(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self.fatal.done():
            self.fatal.set_exception(error)

    # -- loads

    async def _dispatch(self) -> None:
        """Gives slots to waiting flights, decoding before prefill, and sends off each round in one call."""
        while True:
            self._wanted.clear()
            seated = [flight for phase in (Phase.DECODE, Phase.PREFILL) for flight in self._seat(phase)]
            if seated:
                self._spawn(self._load(seated))
            self._tend_forecasts()
            if not self._waiting:
                self._seat_forecasts()
                self._move()
            self._give_up_late()
            if self._waiting:
                await asyncio.sleep(ROOM_LOOK_SECONDS)
            else:
                await self._wanted.wait()

    def _seat(self, phase: Phase) -> list[Flight]:
        """Takes those flights off the waiting list that there is a slot for now."""
        waiting = {flight.expert: flight for flight in self._waiting}
        asked = [expert for expert, flight in waiting.items() if flight.phase is phase]
        if not asked:
            return []
        jobs = [self._job(expert, len(asked) - place) for place, expert in enumerate(asked)]
        ordered = [job.expert for job in self._order(jobs, self._workers)]
        seated = self.slots.seat(ordered, phase, waiting, self._forecasts.spared())
        self._waiting = [flight for flight in self._waiting if flight.expert not in seated]
        return [waiting[expert] for expert in seated]

    def _job(self, expert: int, tokens: int) -> Job:
        """What bringing an expert in costs, in units of what reading a byte does."""
        lacking, header = self.slots.residency.lacking(expert), self.header
        read = sum(header.part_bytes(part) for part in lacking)
        decoded = 0 if lacking == (Part.SIGN_MANTISSAS,) else header.weights * self._decoding
        return Job(expert, read, decoded, 0.0, tokens, lacking != (Part.EXPONENTS,))

    def _tend_forecasts(self) -> None:
        """Has the store hasten what is waited for by now, and drop what is not wanted any more or in the way."""
        joined, stale = self._forecasts.joined(), self._forecasts.stale(crowded=bool(self._waiting))
        # With no more loads than workers, none is queued.
        if joined and len(self.slots.residency.filling) > self._workers:
            self._spawn(self._told(self._store.hasten, joined))
        if stale:
            self._spawn(self._told(self._store.cancel, stale))

    def _seat_forecasts(self) -> None:
        ready, of = self.slots.residency.ready, self._forecasts
        due = of.due(lambda expert: expert not in self._flights and not ready(expert))
        seated = self.slots.seat_forecast(due, of.phase, {*of.near(), *of.spared()}, of.layer) if due else []
        if seated:
            of.begin(seated)
            flights = [Flight(expert, of.phase, time.monotonic(), forecast=True) for expert in seated]
            self._flights.update(zip(seated, flights, strict=True))
            self._spawn(self._load(flights, FORECAST))

    def _move(self) -> None:
        """Begins to bring an expert into its other form, if one would lie better there."""
        if (expert := self.slots.move(self._forecasts.spared())) is not None:
            flight = self._flights[expert] = Flight(expert, Phase.DECODE, time.monotonic())
            self._spawn(self._load([flight], KEEP))

    def _give_up_late(self) -> None:
        deadline = time.monotonic() - ROOM_PATIENCE_SECONDS
        for flight in [flight for flight in self._waiting if flight.since < deadline]:
            self._waiting.remove(flight)
            if flight.expert in self.slots.residency.filling or self._recovering:
                error: ZipMoEError = ServiceRestarting("the expert store stays away: see its log")
            else:
                error = CacheExhausted(
                    f"all {self.slots.partition.experts} slots of the arena stayed in use for "
                    f"{ROOM_PATIENCE_SECONDS:.0f} s: give it more memory (--arena-size)"
                )
            self._land(flight, error)

    async def _load(self, flights: list[Flight], urgency: Urgency = DEMAND) -> None:
        aloft = {flight.expert: flight for flight in flights}
        placements = [self.slots.placement(expert) for expert in aloft]
        header = self.header
        try:
            async for expert, outcome in self._store.load(header.epoch, header.experts, placements, urgency):
                await self._settle(aloft.pop(expert), outcome)
        except StaleEpoch:
            raise
        except ZipMoEError as error:
            log.info("the expert store went away with %d loads: %s", len(aloft), error)
        if aloft:
            await self._recover(list(aloft.values()))

    async def _settle(self, flight: Flight, outcome: Response) -> None:
        self._bytes_read += outcome.bytes_read
        flight.bytes_read += outcome.bytes_read
        if outcome.outcome == Response.OUTCOME_LOADED:
            await self.slots.publish(flight.expert)
            if flight.forecast:
                self._forecasts.landed(flight.expert, outcome.bytes_read, bool(flight.waiters))
                self._wanted.set()
            if flight.waiters:
                self.slots.victims.grant(flight.expert)
            self._land(flight, None)
            # A slot for words may have become free for the one that is to have it: before a miss takes it.
            self._move()
            return
        self._abandon(flight, outcome.bytes_read)
        if outcome.outcome == Response.OUTCOME_CORRUPT:
            self._land(flight, CorruptExpert(outcome.detail))
        else:
            # One that was dropped had not begun, so it has not failed.
            flight.attempts += outcome.outcome != Response.OUTCOME_DROPPED
            self._again(flight, outcome.detail)

    async def _recover(self, flights: list[Flight]) -> None:
        """After the store went away: its workers may still write, so the slots wait until a store says otherwise."""
        self._recovering += 1
        while True:
            try:
                await self._store.drain()
                break
            except ServiceRestarting as error:
                for flight in flights:
                    if not flight.landed.done():
                        self._land(flight, ServiceRestarting(f"the expert store stays away: {error}"))
        self._recovering -= 1
        for flight in flights:
            self._abandon(flight, 0)
            if not flight.landed.done():
                flight.attempts += 1
                self._again(flight, "the expert store went away")

    def _abandon(self, flight: Flight, bytes_read: int) -> None:
        """Its load has come to nothing. If somebody has come to wait for a forecast, it is a demand from now on."""
        self.slots.residency.abandon(flight.expert)
        if flight.forecast:
            self._forecasts.ended(flight.expert, bytes_read)
            flight.forecast = False
            self._wanted.set()

    def _again(self, flight: Flight, why: str) -> None:
        flight.since = time.monotonic()
        if flight.attempts < MOST_ATTEMPTS and flight.waiters:
            self._waiting.append(flight)
            self._wanted.set()
        else:
            self._land(flight, WorkerLost(f"expert {flight.expert} could not be loaded: {why}"))
