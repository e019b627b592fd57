"""Invariants: what holds of a scheduler whatever happens, in random runs in virtual time.

Readers do what inference does, a store what the expert store does; loads are lost, stores go away, schedulers die. Each
act of theirs is a step. Checked after every step
  * What a lease is held on stays: the record, and the bytes in its slots.
after some of them
  * Every slot is free, being filled or resident, and never of two experts, nor of one in both forms.
  * The directory says what the scheduler believes, and names no slot that is being written to.
and as it comes
  * The store is asked for slots of the partition that nobody uses, and for an expert that it is not loading already.
  * Who asks is answered: with all it wants, or with an error that a fault explains.
  * What was granted is there for who takes it up in time.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import aclosing, closing, suppress
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from pathlib import Path
from random import Random
from typing import Final, TypeAlias

import pytest

from tests.arena.shapes import header, shared_folder
from tests.scheduler.virtual import Line, VirtualLoop, VirtualStore, parts, virtual_loop
from zipmoe.arena.arena import Arena
from zipmoe.arena.directory import Directory, Record
from zipmoe.arena.layout import Part, Slot, divide
from zipmoe.arena.leases import Leases
from zipmoe.arena.use_counter import UseCounter
from zipmoe.errors import CorruptExpert, ServiceRestarting, WorkerLost, ZipMoEError
from zipmoe.scheduler.__main__ import attach
from zipmoe.scheduler.forecasts import Forecast
from zipmoe.scheduler.order import ORDERS
from zipmoe.scheduler.policy import Phase
from zipmoe.scheduler.residency import Residency
from zipmoe.scheduler.scheduler import MOST_ATTEMPTS, Scheduler
from zipmoe.scheduler.victims import TAKE_UP_SECONDS, Victims

STEPS: Final = 20_000
LAYERS, EXPERTS = 5, 6
READERS: Final = (Phase.DECODE, Phase.DECODE, Phase.DECODE, Phase.PREFILL)

# Slots for words, sign-mantissas, exponents.
Pools: TypeAlias = tuple[int, int, int]
POOLS: Final[dict[str, Pools]] = {
    "words": (4, 0, 0),
    "planes": (0, 7, 7),
    "more sign-mantissas": (0, 10, 5),
    "more exponents": (0, 4, 8),
    "words and planes": (3, 8, 6),
}

STEPS_AN_AUDIT: Final = 20

# From the end of a fault to the next one, on average.
CALM_BETWEEN: Final = 0.2

# How often every expert is wanted once the services stay.
CALM_ROUNDS: Final = 5

# Within which an acquirer is answered: if nothing is amiss, and whatever happens.
CALM_SECONDS: Final = 3.0
PATIENCE_SECONDS: Final = 150.0


@dataclass(frozen=True, slots=True, eq=False)
class Held:
    """A lease and what it was taken on."""

    expert: int
    record: Record


@dataclass(frozen=True, slots=True)
class Grant:
    """By whom, when, and how often the expert had been used before."""

    expert: int
    scheduler: Scheduler
    uses: int
    at: float

    def holds(self, run: "Run") -> bool:
        """Whether it protects the expert still: nobody has used it, and little time has passed."""
        unused = run.use.read(self.expert).uses == self.uses
        return run.scheduler is self.scheduler and unused and run.loop.time() < self.at + 0.9 * TAKE_UP_SECONDS


Arrivals: TypeAlias = "asyncio.Queue[Grant | ZipMoEError]"


class GaveUp(Exception):
    """A reader's client went away."""


class Run:
    """An arena, a store, one scheduler after the other, readers."""

    def __init__(self, loop: VirtualLoop, folder: Path, pools: Pools, seed: int, steps: int) -> None:
        self.loop = loop
        self.random = Random(seed)
        self.steps = steps
        self.step = 0
        # How often readers have nothing to do: now all of them compute at once, now one alone.
        self.leisure = 0.0
        # When the last fault was over; infinite while there is one.
        self.disturbed = 0.0
        shape = header(0, LAYERS, EXPERTS, weights=4096, part=4000 if pools[Part.EXPONENTS] else 0)
        self.partition = divide(shape, *pools)
        self.arena = Arena.create(folder / "arena", replace(shape, size=self.partition.end))
        self.directory = Directory(self.arena.memory, self.arena.header)
        self.use = UseCounter(self.arena.memory, self.arena.header)
        self.store = VirtualStore(self.arena, self.partition, self.random, self.stepped)
        self.scheduler: Scheduler | None = None
        self.held: dict[Held, None] = {}
        self._order = ORDERS[self.random.choice(sorted(ORDERS))]
        self._line = Line(self.store)
        self._serving = asyncio.Event()
        self._killed: asyncio.Future[None] = loop.create_future()
        self._failed: asyncio.Future[None] = loop.create_future()
        self._calls: dict[asyncio.Task[None], None] = {}

    async def go(self) -> None:
        async with asyncio.TaskGroup() as group:
            always = [group.create_task(each) for each in (self._watch(), self._serve())]
            faults = group.create_task(self._disturb())
            readers = [group.create_task(self._read(phase)) for phase in READERS]
            await asyncio.wait([faults, *readers])
            await self._settle_down()
            for each in always:
                each.cancel()

    def fail(self, error: BaseException) -> None:
        if not self._failed.done():
            self._failed.set_exception(error)

    async def serving(self) -> Scheduler:
        """The scheduler, once there is one."""
        while self.scheduler is None:
            await self._serving.wait()
        return self.scheduler

    def call(self, experts: list[int], phase: Phase, found: Mapping[int, int]) -> "tuple[asyncio.Task[None], Arrivals]":
        """Acquires experts meanwhile. A call ends with its scheduler."""
        assert self.scheduler is not None
        arrivals: Arrivals = asyncio.Queue()
        task = self.loop.create_task(self._bring(self.scheduler, experts, phase, found, arrivals))
        self._calls[task] = None
        task.add_done_callback(partial(self._called, arrivals))
        return task, arrivals

    # -- checks

    def stepped(self) -> None:
        self.step += 1
        for held in self.held:
            self.check(held)
        if not self.step % STEPS_AN_AUDIT:
            self.audit()

    def check(self, held: Held) -> None:
        expert, record = held.expert, held.record
        assert self.directory.read(expert) == record, f"the record of expert {expert} changed under a lease"
        for part, offset in parts(record).items():
            slot = Slot(offset, self.partition[part].slot_bytes)
            assert self.store.intact(expert, part, slot), f"{part.name} of expert {expert} changed under a lease"

    def audit(self) -> None:
        named = dict[int, int]()
        for expert in range(self.directory.records):
            here = parts(self.directory.read(expert))
            for part, offset in here.items():
                assert self.partition[part].slot_at(offset) >= 0, f"{part.name} of expert {expert} lies in no slot"
                other = named.setdefault(offset, expert)
                assert other == expert, f"experts {other} and {expert} lie in one slot"
            assert Part.WORDS not in here or len(here) == 1, f"expert {expert} lies in both forms"
            if self.scheduler is not None:
                believed = self.scheduler.slots.residency.parts(expert).items()
                same = here == {part: self.partition[part].slot_offset(slot) for part, slot in believed}
                assert same, f"the directory does not say what is believed of expert {expert}"
        assert named.keys().isdisjoint(slot.offset for slot in self.store.written), "a resident's slot is written to"
        if self.scheduler is not None:
            self.scheduler.slots.residency.check()

    def explained(self, error: ZipMoEError, experts: Collection[int], since: float) -> bool:
        """Whether a fault has brought it about."""
        if isinstance(error, CorruptExpert):
            return any(expert in self.store.damaged for expert in experts)
        if isinstance(error, WorkerLost):
            return any(self.store.lost[expert] >= MOST_ATTEMPTS for expert in experts)
        return isinstance(error, ServiceRestarting) and self.disturbed > since

    # -- what happens

    async def _watch(self) -> None:
        await self._failed

    async def _serve(self) -> None:
        """Starts a scheduler whenever there is none."""
        while True:
            began, self._line = self.loop.time(), Line(self.store)
            scheduler = attach(self.arena, self.partition, self._order, decoding=10.0)
            try:
                await self._run(scheduler)
            except ServiceRestarting:
                assert self.disturbed > began, "a scheduler did not find the store that was there"
            finally:
                scheduler.slots._leases.close()

    async def _run(self, scheduler: Scheduler) -> None:
        """Until it is killed."""
        async with scheduler.running(self._line):
            self.scheduler, self._killed = scheduler, self.loop.create_future()
            self._serving.set()
            await asyncio.wait((self._killed, scheduler.fatal), return_when=asyncio.FIRST_COMPLETED)
            if scheduler.fatal.done() and (error := scheduler.fatal.exception()):
                self.fail(error)
            if self._calls:
                await asyncio.wait(self._calls)
            tasks = list(scheduler._tasks)
        await asyncio.gather(*tasks, return_exceptions=True)

    def _kill(self) -> None:
        """What the scheduler would still do, nobody hears of."""
        self._line.cut()
        self.scheduler = None
        self._serving.clear()
        for call in self._calls:
            call.cancel()
        self._killed.set_result(None)

    async def _disturb(self) -> None:
        while self.step < self.steps:
            await asyncio.sleep(self.random.expovariate(1 / CALM_BETWEEN))
            await self.serving()
            self.leisure, self.disturbed = self.random.choice((0.0, 0.1, 0.5)), inf
            self.stepped()
            dice = self.random.random()
            if dice < 0.4:
                self._kill()
                await asyncio.sleep(self.random.expovariate(1000))
            if dice > 0.3:
                self.store.leave()
                # Rarely for longer than anybody's patience.
                await asyncio.sleep(40 if self.random.random() < 0.005 else self.random.expovariate(20))
                self.store.come_back()
            await self.serving()
            self.disturbed = self.loop.time()
            self.stepped()

    async def _read(self, phase: Phase) -> None:
        with closing(Leases(self.arena.path)) as leases:
            reader = Reader(self, leases, phase)
            while self.step < self.steps:
                with suppress(GaveUp, ZipMoEError):
                    await reader.compute()

    async def _settle_down(self) -> None:
        """With no more faults, every expert can be had, and in the end nothing is under way."""
        with closing(Leases(self.arena.path)) as leases:
            reader = Reader(self, leases, Phase.DECODE, patient=True)
            # Loads are lost still, and no other fault comes to hide that somebody is forgotten.
            for expert in CALM_ROUNDS * [*range(self.directory.records)]:
                with suppress(ZipMoEError):
                    await reader.walk([expert])
            self.store.faulty = False
            for expert in range(self.directory.records):
                await reader.walk([expert])
        scheduler = await self.serving()
        async with asyncio.timeout(CALM_SECONDS):
            while scheduler._flights or scheduler.slots.residency.filling:
                await asyncio.sleep(0.001)
        assert not scheduler._waiting
        self.audit()

    async def _bring(
        self, scheduler: Scheduler, experts: list[int], phase: Phase, found: Mapping[int, int], arrivals: Arrivals
    ) -> None:
        await self.store.travel()
        began, uses = self.loop.time(), {expert: self.use.read(expert).uses for expert in experts}
        left = set(experts)
        try:
            async with asyncio.timeout(PATIENCE_SECONDS), aclosing(scheduler.acquire(experts, phase, found)) as granted:
                async for expert, _ in granted:
                    left.remove(expert)
                    arrivals.put_nowait(Grant(expert, scheduler, uses[expert], self.loop.time()))
            assert not left, f"experts {left} were not granted"
        except ZipMoEError as error:
            if not self.explained(error, left, began):
                raise AssertionError(f"nothing explains why experts {left} could not be had") from error
            arrivals.put_nowait(error)
        except TimeoutError:
            raise AssertionError(f"whoever waits for experts {left} was forgotten") from None
        took = self.loop.time() - began
        assert took < CALM_SECONDS or self.disturbed > began, f"experts {experts} took {took:.1f} s"

    def _called(self, arrivals: Arrivals, task: "asyncio.Task[None]") -> None:
        del self._calls[task]
        # For who still waits; a call may be cancelled before it has begun.
        arrivals.put_nowait(ServiceRestarting("the scheduler died"))
        if not task.cancelled() and (error := task.exception()):
            self.fail(error)


class Reader:
    """Computes layer after layer, as inference does: first what is resident, then what is missing as it arrives. Unless
    it is `patient`, it sometimes gives up."""

    def __init__(self, run: Run, leases: Leases, phase: Phase, patient: bool = False) -> None:
        self._run = run
        self._leases = leases
        self._phase = phase
        self._patient = patient
        self._random = run.random
        # Some experts are wanted more than others.
        self._popular = [self._random.expovariate(1) for _ in range(run.directory.records)]

    async def compute(self) -> None:
        """A token, or a piece of a prompt. Raises GaveUp, or what came instead of an expert."""
        if self._random.random() < self._run.leisure:
            # Between two requests.
            await asyncio.sleep(self._random.expovariate(2))
        if self._phase is Phase.DECODE and self._random.random() < 0.7:
            self._run.use.advance()
            self._run.stepped()
        for layer in range(LAYERS):
            await self.walk(self._choose(layer, EXPERTS if self._phase is Phase.PREFILL else 4), forecasts=True)

    async def walk(self, needed: list[int], forecasts: bool = False) -> None:
        """Uses these experts of a layer, whatever it takes."""
        ready = self._run.directory.ready
        here, missing = [each for each in needed if ready(each)], [each for each in needed if not ready(each)]
        while here or missing:
            scheduler, call = await self._run.serving() if missing else self._run.scheduler, None
            if missing:
                found = {expert: self._run.use.read(expert).uses for expert in here}
                call, arrivals = self._run.call(missing, self._phase, found)
                self._run.stepped()
            if forecasts and scheduler is not None and self._random.random() < 0.8:
                self._forecast(scheduler, needed[0] // EXPERTS, bool(missing))
            try:
                gone = list[int]()
                while here:
                    together = self._random.randint(1, 3)
                    gone += await self._use(here[:together])
                    here = here[together:]
                for _ in missing:
                    arrived = await self._arrived(arrivals)
                    await self._pause()
                    gone += await self._use([arrived.expert], arrived)
            finally:
                if call is not None:
                    call.cancel()
            here, missing = [], gone

    async def _arrived(self, arrivals: Arrivals) -> Grant:
        """Raises GaveUp, or what came instead."""
        hasty = not self._patient and self._random.random() < 0.2
        try:
            async with asyncio.timeout(self._random.expovariate(500) if hasty else None):
                arrived = await arrivals.get()
        except TimeoutError:
            raise GaveUp from None
        if isinstance(arrived, ZipMoEError):
            raise arrived
        return arrived

    async def _use(self, experts: list[int], grant: Grant | None = None) -> list[int]:
        """Leases these, works with them, lets them go. Returns those that are gone."""
        run, leased, gone = self._run, list[Held](), list[int]()
        for expert in experts:
            assert self._leases.lease(expert), f"expert {expert} is being changed for more than a moment"
            record = run.directory.read(expert)
            if record.state.ready:
                leased.append(Held(expert, record))
            else:
                self._leases.release(expert)
                gone.append(expert)
                assert grant is None or not grant.holds(run), f"expert {expert} was granted and taken away"
        try:
            run.held.update(dict.fromkeys(leased))
            run.stepped()
            if self._phase is Phase.DECODE:
                run.use.decoded([held.expert for held in leased])
            else:
                run.use.prefilled({held.expert: 1.0 for held in leased})
            for _ in range(self._random.randint(0, 3) if leased else 0):
                await self._pause()
                for held in leased:
                    run.check(held)
        finally:
            for held in leased:
                del run.held[held]
                self._leases.release(held.expert)
        run.stepped()
        return gone

    def _forecast(self, scheduler: Scheduler, layer: int, demanding: bool) -> None:
        later = [each for ahead in range(layer + 1, LAYERS)[:2] for each in self._choose(ahead, 4)]
        absent = tuple(each for each in later if not self._run.directory.ready(each))
        scheduler.forecast(Forecast(layer, absent, self._phase, demanding))
        self._run.stepped()

    def _choose(self, layer: int, most: int) -> list[int]:
        """Some experts of a layer, most wanted first."""
        experts = range(layer * EXPERTS, (layer + 1) * EXPERTS)
        ranked = sorted(experts, key=lambda each: -self._popular[each] * self._random.random())
        return ranked[: self._random.randint(1, most)]

    async def _pause(self) -> None:
        """Raises GaveUp."""
        dice = self._random.random()
        await asyncio.sleep(0 if dice < 0.4 else self._random.expovariate(1000 if dice < 0.98 else 50))
        if not self._patient and self._random.random() < 0.02:
            raise GaveUp


def perform(folder: Path, pools: Pools, seed: int, steps: int) -> Run:
    """Raises AssertionError for whatever goes wrong, with what it takes to see it again."""
    with virtual_loop() as loop:
        running = Run(loop, folder, pools, seed, steps)
        loop.set_exception_handler(
            lambda _, context: running.fail(context.get("exception") or AssertionError(context["message"]))
        )
        try:
            loop.run_until_complete(running.go())
        except Exception as error:
            cause: BaseException = error
            while isinstance(cause, BaseExceptionGroup):
                cause = cause.exceptions[0]
            where = f"pools {pools}, seed {seed}, step {running.step}, {loop.time():.6f} s"
            raise AssertionError(f"{where}: {cause!r}") from cause
        return running


@pytest.mark.parametrize(("seed", "pools"), list(enumerate(POOLS.values())), ids=POOLS)
def test_whatever_happens(folder: Path, seed: int, pools: Pools) -> None:
    perform(folder, pools, seed, STEPS)


def test_a_seed_is_a_run() -> None:
    def performed() -> tuple[int, float, object]:
        with shared_folder() as folder:
            run = perform(folder, POOLS["words and planes"], seed=1, steps=1000)
        return run.step, run.loop.time(), run.random.getstate()

    assert performed() == performed()


# -- schedulers that do not keep a promise


def claims_what_is_leased(patch: pytest.MonkeyPatch) -> None:
    claim = Leases.claim
    patch.setattr(Leases, "claim", lambda leases, expert: claim(leases, expert) or True)


def places_where_somebody_lies(patch: pytest.MonkeyPatch) -> None:
    place = Residency.place

    def placed(residency: Residency, expert: int, parts: Collection[Part]) -> None:
        place(residency, expert, parts)
        slots = residency._filling[expert]
        slots.update({part: taken for part in slots for taken in residency.resident(part).values()})

    patch.setattr(Residency, "place", placed)


def keeps_quiet_about_who_went(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Directory, "withdraw", lambda *_: None)


def forgets_what_was_lost(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Scheduler, "_again", lambda *_: None)


def does_not_drain(patch: pytest.MonkeyPatch) -> None:
    async def drained(line: Line) -> None: ...

    patch.setattr(Line, "drain", drained)


def takes_back_what_it_granted(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Victims, "grant", lambda *_: None)


@pytest.mark.parametrize(
    ("breaks", "what"),
    [
        (claims_what_is_leased, "changed under a lease"),
        (places_where_somebody_lies, "is in use and given to"),
        (keeps_quiet_about_who_went, "is in use and given to"),
        (forgets_what_was_lost, "was forgotten"),
        (does_not_drain, "(is asked for while it is being loaded|is in use and given to)"),
        (takes_back_what_it_granted, "was granted and taken away"),
    ],
)
def test_a_broken_promise_is_noticed(
    folder: Path, monkeypatch: pytest.MonkeyPatch, breaks: Callable[[pytest.MonkeyPatch], None], what: str
) -> None:
    breaks(monkeypatch)
    with pytest.raises(AssertionError, match=f"seed 0, step .*{what}"):
        perform(folder, POOLS["planes"], seed=0, steps=5000)
