"""FakeStore: a store whose loads end when the test says so, behind the real client's interface."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from zipmoe.arena.arena import Arena
from zipmoe.arena.layout import PLANES, Part, Slot
from zipmoe.errors import ZipMoEError
from zipmoe.scheduler.store_client import (
    LOAD,
    RECOVER,
    REDUCE,
    Description,
    Placement,
    Response,
    StoreClient,
    Urgency,
)

# The parts that an act writes, of those it is told the slots of.
FILLED = {LOAD: tuple(Part), RECOVER: (Part.WORDS,), REDUCE: PLANES}


def pattern(expert: int, part: Part, length: int) -> bytes:
    """What the fake store loads for an expert."""
    return bytes([3 * expert + part + 1]) * length


@dataclass(slots=True)
class Call:
    """A running `load`. What is put into `answers` is yielded, or raised."""

    aloft: dict[int, Placement]
    urgency: Urgency
    answers: "asyncio.Queue[tuple[int, Response] | ZipMoEError]" = field(default_factory=asyncio.Queue)


class FakeStore(StoreClient):
    """With `prompt`, every load ends at once. `drained` is set: a drain answers; cleared, it waits."""

    def __init__(self, arena: Arena, prompt: bool = False) -> None:
        self.prompt = prompt
        self.asked: list[int] = []
        self.placements: list[Placement] = []
        self.cancelled: list[int] = []
        self.hastened: list[int] = []
        self.workers = 2
        self.drains = 0
        self.drained = asyncio.Event()
        self.drained.set()
        self.away: ZipMoEError | None = None
        self._arena = arena
        self._calls: list[Call] = []
        self._news = asyncio.Condition()

    @property
    def aloft(self) -> dict[int, Placement]:
        return {expert: placement for call in self._calls for expert, placement in call.aloft.items()}

    @property
    def urgencies(self) -> dict[int, Urgency]:
        """Of all that is being loaded."""
        return {expert: call.urgency for call in self._calls for expert in call.aloft}

    @property
    def slots(self) -> set[Slot]:
        """That are being filled."""
        return {slot for placement in self.aloft.values() for slot in placement.slots.values()}

    async def until_aloft(self, *experts: int) -> None:
        """Waits until exactly these are being loaded."""
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: self.aloft.keys() == set(experts))

    async def until_draining(self, times: int) -> None:
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: self.drains >= times)

    async def until_cancelled(self, *experts: int) -> None:
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: self.cancelled == list(experts))

    def finish(self, expert: int, outcome: Response.Outcome = Response.OUTCOME_LOADED, detail: str = "") -> None:
        """Ends a load."""
        call = next(call for call in self._calls if expert in call.aloft)
        placement = call.aloft.pop(expert)
        filled = {part: slot for part, slot in placement.slots.items() if part in FILLED[placement.act]}
        if outcome == Response.OUTCOME_LOADED:
            for part, slot in filled.items():
                self._arena.memory[slot.offset : slot.offset + slot.length] = pattern(expert, part, slot.length)
        read = sum(slot.length for slot in filled.values()) if placement.act == LOAD else 0
        call.answers.put_nowait((expert, Response(outcome=outcome, detail=detail, bytes_read=read)))

    def lose(self, error: ZipMoEError) -> None:
        """Goes away under all that is being loaded."""
        for call in self._calls:
            call.answers.put_nowait(error)
        self._calls.clear()

    async def describe(self) -> Description:
        header = self._arena.header
        return Description(header.fingerprint, str(self._arena.path), header.epoch, self.workers)

    async def load(
        self, epoch: int, experts: int, placements: Iterable[Placement], urgency: Urgency
    ) -> AsyncIterator[tuple[int, Response]]:
        assert (epoch, experts) == (self._arena.header.epoch, self._arena.header.experts)
        call = Call({placement.expert: placement for placement in placements}, urgency)
        self.asked += call.aloft
        self.placements += call.aloft.values()
        for expert, placement in call.aloft.items():
            others = [slot for other, taken in self.aloft.items() if other != expert for slot in taken.slots.values()]
            assert not set(placement.slots.values()) & set(others), "a slot is being filled twice"
        self._calls.append(call)
        await self._tell()
        wanted = len(call.aloft)
        for expert in list(call.aloft) if self.prompt else ():
            self.finish(expert)
        for _ in range(wanted):
            answer = await call.answers.get()
            if isinstance(answer, ZipMoEError):
                raise answer
            yield answer
        self._calls.remove(call)

    async def cancel(self, experts: int, numbers: Iterable[int]) -> None:
        assert experts == self._arena.header.experts
        self.cancelled += numbers
        await self._tell()

    async def hasten(self, experts: int, numbers: Iterable[int]) -> None:
        assert experts == self._arena.header.experts
        self.hastened += numbers
        await self._tell()

    async def drain(self) -> None:
        self.drains += 1
        await self._tell()
        await self.drained.wait()
        await asyncio.sleep(0)
        if self.away is not None:
            raise self.away

    async def _tell(self) -> None:
        async with self._news:
            self._news.notify_all()
