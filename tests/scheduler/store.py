"""FakeStore: a store whose loads end when the test says so, behind the real client's interface."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field

from zipmoe.arena.arena import Arena
from zipmoe.errors import ZipMoEError
from zipmoe.scheduler.store_client import Description, Response, Slot, StoreClient


def pattern(expert: int, length: int) -> bytes:
    """What the fake store loads for an expert."""
    return bytes([expert + 1]) * length


@dataclass(slots=True)
class Call:
    """A running `load`. What is put into `answers` is yielded, or raised."""

    aloft: dict[int, Slot]
    answers: "asyncio.Queue[tuple[int, Response] | ZipMoEError]" = field(default_factory=asyncio.Queue)


class FakeStore(StoreClient):
    """With `prompt`, every load ends at once. `drained` is set: a drain answers; cleared, it waits."""

    def __init__(self, arena: Arena, prompt: bool = False) -> None:
        self.prompt = prompt
        self.asked: list[int] = []
        self.cancelled: list[int] = []
        self.drains = 0
        self.drained = asyncio.Event()
        self.drained.set()
        self.away: ZipMoEError | None = None
        self._arena = arena
        self._calls: list[Call] = []
        self._news = asyncio.Condition()

    @property
    def aloft(self) -> dict[int, Slot]:
        return {expert: slot for call in self._calls for expert, slot in call.aloft.items()}

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
        slot = call.aloft.pop(expert)
        if outcome == Response.OUTCOME_LOADED:
            self._arena.memory[slot.offset : slot.offset + slot.length] = pattern(expert, slot.length)
        call.answers.put_nowait((expert, Response(outcome=outcome, detail=detail, bytes_read=slot.length)))

    def lose(self, error: ZipMoEError) -> None:
        """Goes away under all that is being loaded."""
        for call in self._calls:
            call.answers.put_nowait(error)
        self._calls.clear()

    async def describe(self) -> Description:
        header = self._arena.header
        return Description(header.fingerprint, str(self._arena.path), header.epoch)

    async def load(
        self, epoch: int, experts: int, slots: Iterable[tuple[int, Slot]]
    ) -> AsyncIterator[tuple[int, Response]]:
        assert (epoch, experts) == (self._arena.header.epoch, self._arena.header.experts)
        call = Call(dict(slots))
        self.asked += call.aloft
        for expert, slot in call.aloft.items():
            others = [taken.offset for other, taken in self.aloft.items() if other != expert]
            assert slot.offset not in others, "a slot is being filled twice"
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
