"""Inference's door to the scheduler: converts and calls."""

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import grpc

from zipmoe.errors import ServiceRestarting
from zipmoe.v1 import expert_pb2, scheduler_pb2, scheduler_pb2_grpc
from zipmoe.wire.channel import PATIENCE_SECONDS
from zipmoe.wire.exchange import Exchange
from zipmoe.wire.status import raised

log = logging.getLogger(__name__)


# Generic in its type stubs alone, hence the quotes.
_Forecasts: TypeAlias = (
    "grpc.aio.StreamUnaryCall[scheduler_pb2.ForecastExpertsRequest, scheduler_pb2.ForecastExpertsResponse]"
)


@dataclass(frozen=True, slots=True)
class Forecast:
    """Absent experts that later layers will probably want, told while `layer` is computed. `demanding`: some of its own
    are being asked for, too."""

    epoch: int
    experts: int
    layer: int
    numbers: tuple[int, ...]
    prefill: bool
    demanding: bool


class SchedulerClient:
    """Experts are numbered through all layers, `experts` to a layer."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._channel = channel
        self._stub = scheduler_pb2_grpc.SchedulerServiceStub(channel)
        self._forecasts: _Forecasts | None = None
        self._acquired: Exchange[scheduler_pb2.AcquireExpertsRequest, scheduler_pb2.AcquireExpertsResponse]
        self._acquired = Exchange(self._stub.AcquireExperts)

    async def arena(self) -> Path:
        """Where the arena is. Waits for as long as it takes until the scheduler is up."""
        with raised():
            answer = await self._stub.GetCacheStatus(scheduler_pb2.GetCacheStatusRequest(), wait_for_ready=True)
        return Path(answer.arena)

    async def until_reachable(self) -> None:
        """Raises ServiceRestarting if the scheduler stays away."""
        if self._channel.get_state() is grpc.ChannelConnectivity.READY:
            return
        try:
            await asyncio.wait_for(self._channel.channel_ready(), PATIENCE_SECONDS)
        except TimeoutError:
            raise ServiceRestarting(f"the scheduler was away for {PATIENCE_SECONDS:.0f} s: see its log") from None

    async def acquire(
        self, epoch: int, experts: int, numbers: Iterable[int], prefill: bool, found: Mapping[int, int]
    ) -> AsyncIterator[tuple[int, int]]:
        """Yields each number when that expert has become resident, and the bytes read for it. Those `found`, with their
        counts of uses, stay until they have been used."""
        named = _named(experts, numbers)
        request = scheduler_pb2.AcquireExpertsRequest(
            epoch=epoch,
            phase=_phase(prefill),
            experts=named,
            found=[
                scheduler_pb2.FoundExpert(expert=expert, uses=uses)
                for expert, uses in zip(_named(experts, found), found.values(), strict=True)
            ],
        )
        missing = len(named)
        try:
            async for message in self._acquired.ask(request, missing):
                missing -= 1
                yield message.expert.layer * experts + message.expert.expert, message.bytes_read
        finally:
            if missing:
                await self._acquired.end(scheduler_pb2.AcquireExpertsRequest(call=request.call, end=True))

    async def forecast(self, forecast: Forecast) -> None:
        """Tells it, unless the scheduler is away: nothing depends on it."""
        if self._forecasts is None or self._forecasts.done():
            if self._channel.get_state(try_to_connect=True) is not grpc.ChannelConnectivity.READY:
                return
            self._forecasts = self._stub.ForecastExperts()
        request = scheduler_pb2.ForecastExpertsRequest(
            epoch=forecast.epoch,
            phase=_phase(forecast.prefill),
            layer=forecast.layer,
            experts=_named(forecast.experts, forecast.numbers),
            demanding=forecast.demanding,
        )
        try:
            await self._forecasts.write(request)
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError) as error:
            log.info("the scheduler hears no forecasts for the moment: %s", error)


def _phase(prefill: bool) -> scheduler_pb2.Phase:
    return scheduler_pb2.PHASE_PREFILL if prefill else scheduler_pb2.PHASE_DECODE


def _named(experts: int, numbers: Iterable[int]) -> list[expert_pb2.ExpertId]:
    return [expert_pb2.ExpertId(layer=number // experts, expert=number % experts) for number in numbers]
