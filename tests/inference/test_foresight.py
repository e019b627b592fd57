"""Foresight: forecasts reach the scheduler on one stream, whatever becomes of it, and hold nobody up."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc

from tests.inference.service import Ears, served
from zipmoe.inference.foresight import Foresight
from zipmoe.inference.scheduler_client import Forecast, SchedulerClient
from zipmoe.v1 import scheduler_pb2
from zipmoe.wire.channel import connect

EXPERTS = 8


@asynccontextmanager
async def told(folder: Path) -> AsyncIterator[tuple[Foresight, grpc.aio.Channel]]:
    async with connect(f"unix:{folder}/scheduler.sock") as channel:
        yield Foresight(SchedulerClient(channel), asyncio.get_running_loop()), channel


def forecast(layer: int, prefill: bool = False, demanding: bool = False) -> Forecast:
    first = EXPERTS * (layer + 1)
    return Forecast(7, EXPERTS, layer, (first + 3, first + 9), prefill, demanding)


async def test_a_forecast_says_what_where_and_when(tmp_path: Path) -> None:
    ears = Ears()
    async with served(tmp_path, ears), told(tmp_path) as (foresight, channel):
        await channel.channel_ready()
        await asyncio.to_thread(foresight.tell, forecast(4, prefill=True, demanding=True))
        await ears.until_heard(4)
        (heard,) = ears.heard
        assert (heard.epoch, heard.layer, heard.phase, heard.demanding) == (7, 4, scheduler_pb2.PHASE_PREFILL, True)
        assert [(named.layer, named.expert) for named in heard.experts] == [(5, 3), (6, 1)]


async def test_all_forecasts_go_through_one_stream_and_the_newest_are_enough(tmp_path: Path) -> None:
    ears = Ears()
    async with served(tmp_path, ears), told(tmp_path) as (foresight, channel):
        await channel.channel_ready()
        for layer in range(1, 100):
            foresight.tell(forecast(layer))
        await ears.until_heard(99)
        layers = [request.layer for request in ears.heard]
        assert layers == sorted(set(layers))
        assert ears.streams == 1
        assert len(layers) < 99, "those that were replaced before they could be sent"


async def test_a_stream_that_broke_is_opened_again(tmp_path: Path) -> None:
    ears = Ears(most=1)
    async with served(tmp_path, ears), told(tmp_path) as (foresight, channel):
        await channel.channel_ready()
        for layer in (1, 2, 3):
            while not any(request.layer == layer for request in ears.heard):
                foresight.tell(forecast(layer))
                await asyncio.sleep(0.01)
        assert ears.streams >= 3


async def test_a_scheduler_that_is_away_is_told_when_it_is_back(tmp_path: Path) -> None:
    async with told(tmp_path) as (foresight, _):
        for layer in (1, 2, 3):
            foresight.tell(forecast(layer))
            await asyncio.sleep(0.01)
        for layer in (4, 5):
            ears = Ears(most=1)
            async with served(tmp_path, ears):
                while not any(request.layer == layer for request in ears.heard):
                    foresight.tell(forecast(layer))
                    await asyncio.sleep(0.01)
                assert {request.layer for request in ears.heard} == {layer}
