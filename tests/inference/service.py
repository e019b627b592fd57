"""Ears: a scheduler that hears forecasts and does nothing about them, behind the real door at a real socket."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

from zipmoe.errors import StaleEpoch
from zipmoe.v1 import scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.server import serving
from zipmoe.wire.status import Context


class Ears(scheduler_pb2_grpc.SchedulerServiceServicer):
    """With `most`, a stream ends with an error behind so many messages."""

    def __init__(self, most: int = 0) -> None:
        self.heard: list[scheduler_pb2.ForecastExpertsRequest] = []
        self.streams = 0
        self._most = most
        self._news = asyncio.Condition()

    async def AcquireExperts(
        self, request_iterator: AsyncIterator[scheduler_pb2.AcquireExpertsRequest], context: Context
    ) -> AsyncIterator[scheduler_pb2.AcquireExpertsResponse]:
        raise NotImplementedError
        yield

    async def GetCacheStatus(
        self, request: scheduler_pb2.GetCacheStatusRequest, context: Context
    ) -> scheduler_pb2.GetCacheStatusResponse:
        raise NotImplementedError

    async def ForecastExperts(
        self, request_iterator: AsyncIterator[scheduler_pb2.ForecastExpertsRequest], context: Context
    ) -> scheduler_pb2.ForecastExpertsResponse:
        self.streams += 1
        here = 0
        async for request in request_iterator:
            self.heard.append(request)
            here += 1
            async with self._news:
                self._news.notify_all()
            if here == self._most:
                raise StaleEpoch("attach again")
        return scheduler_pb2.ForecastExpertsResponse()

    async def until_heard(self, layer: int) -> None:
        async with asyncio.timeout(10), self._news:
            await self._news.wait_for(lambda: any(request.layer == layer for request in self.heard))


@asynccontextmanager
async def served(folder: Path, ears: Ears) -> AsyncIterator[None]:
    register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, ears)
    async with serving(f"unix:{folder}/scheduler.sock", register):
        yield
