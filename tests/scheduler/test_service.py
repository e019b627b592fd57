"""The scheduler's door: forecasts are heard for as long as their caller lives, and no longer than the service does."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from functools import partial
from pathlib import Path

import grpc
import pytest

from tests.scheduler.scene import Scene, staged
from zipmoe.scheduler.service import SchedulerService
from zipmoe.v1 import expert_pb2, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import connect
from zipmoe.wire.server import GRACE_SECONDS, serving


@asynccontextmanager
async def served(scene: Scene, folder: Path) -> AsyncIterator[None]:
    service = SchedulerService(scene.scheduler, "arena")
    register = partial(scheduler_pb2_grpc.add_SchedulerServiceServicer_to_server, service)
    async with serving(f"unix:{folder}/scheduler.sock", register):
        with closing(service):
            yield


def connected(folder: Path) -> grpc.aio.Channel:
    return connect(f"unix:{folder}/scheduler.sock")


def request(scene: Scene, layer: int, *experts: int, epoch: int = 0) -> scheduler_pb2.ForecastExpertsRequest:
    """A forecast of experts of the next layer."""
    return scheduler_pb2.ForecastExpertsRequest(
        epoch=epoch or scene.arena.header.epoch,
        phase=scheduler_pb2.PHASE_DECODE,
        layer=layer,
        experts=[expert_pb2.ExpertId(layer=layer + 1, expert=expert) for expert in experts],
    )


async def test_every_message_of_a_stream_is_a_forecast(folder: Path) -> None:
    async with staged(folder, slots=8, layers=4) as scene, served(scene, folder), connected(folder) as channel:
        stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        call = stub.ForecastExperts()
        await call.write(request(scene, 0, 3, 5))
        await scene.store.until_aloft(11, 13)
        await call.write(request(scene, 1, 2))
        await scene.store.until_aloft(11, 13, 18)
        for expert in (11, 13, 18):
            scene.store.finish(expert)
        await scene.quiet()
        scene.take_up(11)
        answer = await stub.GetCacheStatus(scheduler_pb2.GetCacheStatusRequest())
        size = scene.arena.header.slot_bytes
        assert (answer.forecasts, answer.forecast_loads, answer.forecasts_in_time) == (3, 3, 1)
        assert (answer.forecast_bytes_read, answer.forecast_bytes_used) == (3 * size, size)
        await call.done_writing()
        assert await call == scheduler_pb2.ForecastExpertsResponse()


@pytest.mark.parametrize(
    ("expert", "epoch", "code"), [(8, 0, grpc.StatusCode.NOT_FOUND), (3, 1, grpc.StatusCode.ABORTED)]
)
async def test_what_is_wrong_ends_the_stream(folder: Path, expert: int, epoch: int, code: grpc.StatusCode) -> None:
    async with staged(folder, slots=8) as scene, served(scene, folder), connected(folder) as channel:
        call = scheduler_pb2_grpc.SchedulerServiceStub(channel).ForecastExperts()
        await call.write(request(scene, 0, expert, epoch=epoch))
        assert await asyncio.wait_for(call.code(), 10) is code
        assert scene.store.asked == []


async def test_a_service_that_stops_does_not_wait_for_its_callers(folder: Path) -> None:
    async with staged(folder, slots=8) as scene, connected(folder) as channel:
        async with served(scene, folder):
            call = scheduler_pb2_grpc.SchedulerServiceStub(channel).ForecastExperts()
            await call.write(request(scene, 0, 3))
            await scene.store.until_aloft(11)
            stopped = time.monotonic()
        assert time.monotonic() - stopped < GRACE_SECONDS / 2
        assert await call.code() is grpc.StatusCode.OK
