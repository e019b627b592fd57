"""Exchange: calls that share a stream are answered apart, and end together only where the stream does."""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from tests.inference.service import Ears
from zipmoe.errors import CorruptExpert, ServiceRestarting
from zipmoe.v1 import expert_pb2, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.exchange import Exchange, answer_each
from zipmoe.wire.server import serving
from zipmoe.wire.status import Context

Request: TypeAlias = scheduler_pb2.AcquireExpertsRequest
Response: TypeAlias = scheduler_pb2.AcquireExpertsResponse
Asking = Exchange[Request, Response]
WRONG_LAYER, ENDLESS_LAYER = 7, 8


class Grants(Ears):
    """Grants the experts of a call when told to; those of one layer never, those of another end in an error."""

    def __init__(self) -> None:
        super().__init__()
        self.open = 0
        self.next = asyncio.Event()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def AcquireExperts(
        self,
        request_iterator: AsyncIterator[Request],
        context: Context,  # noqa: ARG002
    ) -> AsyncIterator[Response]:
        self.streams += 1
        async for message in answer_each(request_iterator, self._grant, lambda request: request.end, self.closed):
            yield message

    async def _grant(self, request: Request) -> AsyncGenerator[Response, None]:
        self.open += 1
        try:
            for named in request.experts:
                if named.layer == WRONG_LAYER:
                    raise CorruptExpert("expert 3 of layer 7")
                if named.layer == ENDLESS_LAYER:
                    await asyncio.Event().wait()
                await self.next.wait()
                yield Response(expert=named)
        finally:
            self.open -= 1

    async def until_open(self, count: int) -> None:
        async with asyncio.timeout(5):
            while self.open != count:
                await asyncio.sleep(0.005)


@asynccontextmanager
async def asking(folder: Path, grants: Grants) -> AsyncIterator[Asking]:
    register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, grants)
    address = f"unix:{folder}/grants.sock"
    async with serving(address, register), connect(address) as channel:
        yield Exchange(scheduler_pb2_grpc.SchedulerServiceStub(channel).AcquireExperts)
        grants.closed.set_result(None)


def request(layer: int, *experts: int) -> Request:
    return Request(experts=[expert_pb2.ExpertId(layer=layer, expert=expert) for expert in experts])


async def granted(asked: Asking, wanted: Request) -> list[tuple[int, int]]:
    return [(message.expert.layer, message.expert.expert) async for message in asked.ask(wanted, len(wanted.experts))]


async def patiently(asked: Asking, wanted: Request) -> list[tuple[int, int]]:
    """Asks again for as long as it is told to."""
    async with asyncio.timeout(5):
        while True:
            with suppress(ServiceRestarting):
                return await granted(asked, wanted)


async def test_each_call_hears_its_own_answers_over_one_stream(tmp_path: Path) -> None:
    grants = Grants()
    async with asking(tmp_path, grants) as asked:
        calls = [asyncio.create_task(granted(asked, request(layer, *range(layer + 1)))) for layer in range(5)]
        await grants.until_open(5)
        grants.next.set()
        assert await asyncio.gather(*calls) == [[(layer, each) for each in range(layer + 1)] for layer in range(5)]
        assert grants.streams == 1
        await grants.until_open(0)


async def test_an_error_ends_all_that_is_under_way_and_nothing_after_it(tmp_path: Path) -> None:
    grants = Grants()
    async with asking(tmp_path, grants) as asked:
        waiting = asyncio.create_task(granted(asked, request(0, 1)))
        await grants.until_open(1)
        for call in (granted(asked, request(WRONG_LAYER, 3)), waiting):
            with pytest.raises(CorruptExpert, match=r"^expert 3 of layer 7$"):
                await call
        await grants.until_open(0)
        grants.next.set()
        assert await granted(asked, request(1, 2)) == [(1, 2)]
        assert grants.streams == 2


async def test_a_stream_that_ends_while_it_is_written_to_can_be_asked_again(tmp_path: Path) -> None:
    # Requests come faster than the first one's error goes back. Then gRPC may hide what the stream ended with.
    grants = Grants()
    async with asking(tmp_path, grants) as asked:
        for _ in range(50):
            calls = [granted(asked, request(WRONG_LAYER, 3)) for _ in range(8)]
            for error in await asyncio.gather(*calls, return_exceptions=True):
                assert isinstance(error, CorruptExpert | ServiceRestarting), repr(error)
        with pytest.raises(CorruptExpert):
            await patiently(asked, request(WRONG_LAYER, 3))


async def test_a_call_that_is_ended_is_closed_and_the_others_go_on(tmp_path: Path) -> None:
    grants = Grants()
    async with asking(tmp_path, grants) as asked:
        endless = request(ENDLESS_LAYER, 0)
        unwanted = asyncio.create_task(granted(asked, endless))
        other = asyncio.create_task(granted(asked, request(2, 5)))
        await grants.until_open(2)
        unwanted.cancel()
        await asked.end(Request(call=endless.call, end=True))
        await grants.until_open(1)
        grants.next.set()
        assert await other == [(2, 5)]
        assert grants.streams == 1


async def test_what_a_caller_waited_for_is_closed_when_it_goes_away(tmp_path: Path) -> None:
    grants = Grants()
    register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, grants)
    address = f"unix:{tmp_path}/grants.sock"
    async with serving(address, register):
        async with connect(address) as channel:
            asked: Asking = Exchange(scheduler_pb2_grpc.SchedulerServiceStub(channel).AcquireExperts)
            waiting = asyncio.create_task(granted(asked, request(ENDLESS_LAYER, 0)))
            await grants.until_open(1)
        with pytest.raises(ServiceRestarting):
            await waiting
        await grants.until_open(0)
        grants.closed.set_result(None)


async def test_a_service_that_stops_waits_for_no_caller(tmp_path: Path) -> None:
    grants = Grants()
    register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, grants)
    address = f"unix:{tmp_path}/grants.sock"
    async with connect(address) as channel:
        asked: Asking = Exchange(scheduler_pb2_grpc.SchedulerServiceStub(channel).AcquireExperts)
        async with serving(address, register):
            waiting = asyncio.create_task(granted(asked, request(ENDLESS_LAYER, 0)))
            await grants.until_open(1)
            started = time.monotonic()
            grants.closed.set_result(None)
        assert time.monotonic() - started < 2
        with pytest.raises(ServiceRestarting):
            await waiting
